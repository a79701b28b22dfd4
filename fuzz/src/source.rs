//! Bytes read as choices: whatever the fuzzer invents becomes something with a shape.

use serde_json::{Map, Value, json};

/// Names that appear on both sides of a patch, so that they meet.
const KEYS: &[&str] = &[
    "a",
    "b",
    "c",
    "name",
    "spec",
    "metadata",
    "labels",
    "containers",
    "image",
    "ports",
    "env",
    "kind",
    "apiVersion",
    "containerPort",
    "protocol",
    "value",
    "template",
    "args",
    "finalizers",
    "x/y",
    "x~z",
    "",
    "items",
];

/// Reads bytes until there are none; from then on every choice is the first one.
pub struct Source<'a> {
    data: &'a [u8],
}

impl<'a> Source<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self { data }
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.data.split_first() else { return 0 };
        self.data = rest;
        *first
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    pub fn yes(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    pub fn key(&mut self) -> String {
        self.of(KEYS).to_owned()
    }

    pub fn scalar(&mut self) -> Value {
        match self.below(8) {
            0 => Value::Null,
            1 => json!(self.yes()),
            2 => json!(self.byte()),
            3 => json!(self.of(&[i64::MIN, -1, 0, 80, 1 << 53, i64::MAX])),
            4 => json!(self.of(&[0.5, -0.0, 1e300, 5e-324])),
            _ => json!(self.of(&["", "x", "y", "TCP", "a.b", "$patch", "\u{1f426}"])),
        }
    }

    pub fn object(&mut self, depth: usize) -> Value {
        let mut map = Map::new();
        for _ in 0..self.below(5) {
            let key = self.key();
            map.insert(key, self.value(depth.saturating_sub(1)));
        }
        Value::Object(map)
    }

    pub fn value(&mut self, depth: usize) -> Value {
        if depth == 0 || self.is_empty() {
            return self.scalar();
        }
        match self.below(5) {
            0 | 1 => self.object(depth),
            2 => {
                let length = self.below(4);
                Value::Array((0..length).map(|_| self.value(depth - 1)).collect())
            }
            _ => self.scalar(),
        }
    }
}
