//! Sets of fields, in memory and as the `FieldsV1` of managed fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::keys::{ListType, Shape};

/// The greatest depth that is parsed; no object is that deep.
const DEPTH_MAX: usize = 130;

/// A tree of path elements as `FieldsV1` writes them: `f:name`, `k:{"name":"app"}`, `v:"value"`, `i:0`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FieldSet {
    /// Whether the field itself is in the set, not only fields below it.
    pub(super) member: bool,
    pub(super) children: BTreeMap<String, FieldSet>,
}

/// Fields that the server maintains and that have no owner.
const UNOWNED: &[&str] = &[
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

impl FieldSet {
    pub(super) fn leaf() -> FieldSet {
        FieldSet { member: true, children: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// Parses `FieldsV1`; `None` if it is malformed.
    pub(super) fn from_json(json: &Value) -> Option<FieldSet> {
        let mut set = Self::read(json, DEPTH_MAX)?;
        set.member = false;
        Some(set)
    }

    fn read(json: &Value, depth: usize) -> Option<FieldSet> {
        let map = json.as_object()?;
        if depth == 0 {
            return None;
        }
        let mut set = FieldSet { member: map.is_empty(), children: BTreeMap::new() };
        for (key, below) in map {
            if key == "." {
                set.member = true;
                continue;
            }
            set.children.insert(canonical(key)?, Self::read(below, depth - 1)?);
        }
        Some(set)
    }

    pub(super) fn to_json(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (key, below) in &self.children {
            map.insert(key.clone(), below.to_json());
        }
        Value::Object(map)
    }

    pub(super) fn union(&mut self, other: &FieldSet) {
        self.member |= other.member;
        for (key, below) in &other.children {
            self.children.entry(key.clone()).or_default().union(below);
        }
    }

    /// Removes the members that `other` has.
    pub(super) fn subtract(&mut self, other: &FieldSet) {
        self.member &= !other.member;
        self.children.retain(|key, below| {
            if let Some(other) = other.children.get(key) {
                below.subtract(other);
            }
            !below.is_empty()
        });
    }

    /// Removes the fields that the server maintains.
    pub(super) fn without_unowned(mut self) -> FieldSet {
        self.member = false;
        self.children.remove("f:apiVersion");
        self.children.remove("f:kind");
        if let Some(metadata) = self.children.get_mut("f:metadata") {
            metadata.member = false;
            metadata.children.retain(|key, _| !UNOWNED.contains(&key.trim_start_matches("f:")));
            if metadata.is_empty() {
                self.children.remove("f:metadata");
            }
        }
        self
    }

    /// The members that `changed` overwrites: equal ones, and all below a field that was replaced as a whole.
    pub(super) fn overwritten_by(&self, changed: &FieldSet) -> FieldSet {
        if changed.member && changed.children.is_empty() {
            return self.clone();
        }
        let mut hit = FieldSet { member: self.member && changed.member, children: BTreeMap::new() };
        for (key, below) in &self.children {
            let below = changed
                .children
                .get(key)
                .map(|changed| below.overwritten_by(changed))
                .unwrap_or_default();
            if !below.is_empty() {
                hit.children.insert(key.clone(), below);
            }
        }
        hit
    }

    /// The members as field paths: `.spec.containers[name="app"].image`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(String::new(), &mut paths);
        paths
    }

    fn collect(&self, at: String, paths: &mut Vec<String>) {
        if self.member {
            paths.push(at.clone());
        }
        for (key, below) in &self.children {
            below.collect(format!("{at}{}", readable(key)), paths);
        }
    }

    /// Every field of `value`: leaves, keyed items and, with `containers`, the maps and lists around them.
    pub(super) fn of(value: &Value, shape: &Shape, containers: bool) -> Result<FieldSet, String> {
        let mut set = FieldSet { member: containers, children: BTreeMap::new() };
        match value {
            Value::Object(map) if !shape.atomic && !map.is_empty() => {
                for (key, value) in map {
                    let below = Self::of(value, shape.field(key), containers)
                        .map_err(|why| format!(".{key}{why}"))?;
                    set.children.insert(format!("f:{key}"), below);
                }
            }
            Value::Array(list) if !list.is_empty() && shape.list != ListType::Atomic => {
                for (key, item) in items(list, &shape.list)? {
                    let mut below = Self::of(item, shape.item(), containers)
                        .map_err(|why| format!("[]{why}"))?;
                    if matches!(shape.list, ListType::Set) {
                        below.children.clear();
                    }
                    below.member = true;
                    set.children.insert(key, below);
                }
            }
            Value::Object(_)
            | Value::Array(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_) => set.member = true,
        }
        Ok(set)
    }

    /// A list with duplicate keys: its manager owns the keys, and not the contents of the items.
    fn of_duplicates(list: &[Value], shape: &Shape) -> FieldSet {
        let mut set = FieldSet::leaf();
        for item in list {
            let one = std::slice::from_ref(item);
            let Ok(found) = items(one, &shape.list) else { return FieldSet::leaf() };
            for (key, item) in found {
                let below = match set.children.contains_key(&key) {
                    true => FieldSet::leaf(),
                    false => Self::of_any(item, shape.item()),
                };
                set.children.insert(key, below);
            }
        }
        set
    }

    /// Like `of`, but a list whose items have no unique keys counts as one leaf.
    pub(super) fn of_any(value: &Value, shape: &Shape) -> FieldSet {
        match value {
            Value::Object(map) if !shape.atomic && !map.is_empty() => FieldSet {
                member: true,
                children: map
                    .iter()
                    .map(|(key, value)| (format!("f:{key}"), Self::of_any(value, shape.field(key))))
                    .collect(),
            },
            Value::Array(list) => match items(list, &shape.list) {
                Ok(items) => FieldSet {
                    member: true,
                    children: items
                        .into_iter()
                        .map(|(key, item)| (key, Self::of_any(item, shape.item())))
                        .collect(),
                },
                Err(_) => Self::of_duplicates(list, shape),
            },
            Value::Object(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_) => FieldSet::leaf(),
        }
    }
}

/// The items of a keyed list or a set with their path elements; an atomic list has none.
pub(super) fn items<'a>(
    list: &'a [Value],
    kind: &ListType,
) -> Result<Vec<(String, &'a Value)>, String> {
    let mut found = Vec::with_capacity(list.len());
    let mut seen = BTreeSet::new();
    for item in list {
        let key = match kind {
            ListType::Atomic => return Err(": the list is atomic".to_owned()),
            ListType::Set => format!("v:{item}"),
            ListType::Map { keys, defaults } => item_key(item, keys, defaults)
                .map_err(|why| format!(": element {}{why}", found.len()))?,
        };
        if !seen.insert(key.clone()) {
            return Err(format!(": duplicate entries for key {}", readable(&key)));
        }
        found.push((key, item));
    }
    Ok(found)
}

/// The path element of an item of a keyed list.
pub(crate) fn item_key(
    item: &Value,
    keys: &[String],
    defaults: &BTreeMap<String, Value>,
) -> Result<String, String> {
    let Some(map) = item.as_object() else {
        return Err(": associative list with keys may not contain non-map elements".to_owned());
    };
    let mut element = BTreeMap::new();
    for key in keys {
        match map.get(key).filter(|value| !value.is_null()).or_else(|| defaults.get(key)) {
            Some(value) => element.insert(key, value),
            None => {
                return Err(format!(
                    ": associative list with keys has an element that omits all key fields [{key:?}] (and doesn't have default values for any key fields)"
                ));
            }
        };
    }
    let element: Vec<String> = element
        .iter()
        .map(|(key, value)| format!("{}:{value}", Value::from(key.as_str())))
        .collect();
    Ok(format!("k:{{{}}}", element.join(",")))
}

/// A client's path element in canonical form; `None` if it is malformed.
fn canonical(element: &str) -> Option<String> {
    let (kind, rest) = element.split_once(':')?;
    match kind {
        "f" => Some(element.to_owned()),
        "i" => rest.parse::<u32>().ok().map(|index| format!("i:{index}")),
        "v" => serde_json::from_str::<Value>(rest).ok().map(|value| format!("v:{value}")),
        "k" => {
            let keys: BTreeMap<String, Value> = serde_json::from_str(rest).ok()?;
            let keys: Vec<String> = keys
                .iter()
                .map(|(key, value)| format!("{}:{value}", Value::from(key.as_str())))
                .collect();
            Some(format!("k:{{{}}}", keys.join(",")))
        }
        _ => None,
    }
}

/// The names of the key fields in a `k:` element.
pub(super) fn key_fields(element: &str) -> Vec<String> {
    let Some(keys) = element.strip_prefix("k:") else { return Vec::new() };
    let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
    keys.keys().cloned().collect()
}

fn readable(element: &str) -> String {
    match element.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("k", keys)) => {
            let keys: BTreeMap<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> =
                keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        Some(("v", value)) => format!("[={value}]"),
        Some(("i", index)) => format!("[{index}]"),
        Some(_) | None => element.to_owned(),
    }
}

/// The difference of two objects.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    pub(super) changed: FieldSet,
    pub(super) removed: FieldSet,
}

/// Compares two values; where both are set and are no maps or lists, the whole field has changed.
pub(super) fn compare(old: Option<&Value>, new: Option<&Value>, shape: &Shape) -> Changes {
    let mut changes = Changes::default();
    match (old, new) {
        (None, None) => {}
        (Some(old), Some(new)) if old == new => {}
        (None, Some(new)) => changes.changed = FieldSet::of_any(new, shape),
        (Some(old), None) => changes.removed = FieldSet::of_any(old, shape),
        (Some(Value::Object(old)), Some(Value::Object(new))) if !shape.atomic => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let below = compare(old.get(key), new.get(key), shape.field(key));
                changes.put(format!("f:{key}"), below);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            match (items(old, &shape.list), items(new, &shape.list)) {
                (Ok(old), Ok(new)) => {
                    let old: BTreeMap<String, &Value> = old.into_iter().collect();
                    let new: BTreeMap<String, &Value> = new.into_iter().collect();
                    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
                    for key in keys {
                        let below =
                            compare(old.get(key).copied(), new.get(key).copied(), shape.item());
                        changes.put(key.clone(), below);
                    }
                }
                (Ok(_) | Err(_), _) => changes.changed = FieldSet::leaf(),
            }
        }
        (Some(old), Some(_)) => {
            changes.changed = FieldSet::leaf();
            changes.removed = FieldSet::of_any(old, shape);
            changes.removed.member = false;
        }
    }
    changes
}

impl Changes {
    fn put(&mut self, key: String, below: Changes) {
        if !below.changed.is_empty() {
            self.changed.children.insert(key.clone(), below.changed);
        }
        if !below.removed.is_empty() {
            self.removed.children.insert(key, below.removed);
        }
    }

    pub(super) fn without_unowned(self) -> Changes {
        Changes { changed: self.changed.without_unowned(), removed: self.removed.without_unowned() }
    }
}
