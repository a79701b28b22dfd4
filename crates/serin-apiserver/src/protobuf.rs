//! Decodes request bodies in protobuf, which kubectl sends for `create namespace` and others, by a table of messages.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use base64::Engine as _;
use serde_json::{Map, Value, json};

/// The greatest nesting of messages; real objects stay below fifteen levels.
const DEPTH_MAX: usize = 32;
/// The options of a DELETE, which clients write in the version of the deleted object.
const OPTIONS: &str = "DeleteOptions";
const MAGIC: &[u8] = b"k8s\0";

/// Why a body was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// 400 BadRequest.
    #[error("the protobuf body is malformed: {0}")]
    Malformed(&'static str),
    /// 415 UnsupportedMediaType.
    #[error(
        "{0} is not understood in protobuf; use `kubectl create --dry-run=client -o yaml ... | kubectl apply -f -` instead"
    )]
    Unsupported(String),
}

impl ProtobufError {
    /// The HTTP code and the `Status` reason.
    pub fn status(&self) -> (u16, &'static str) {
        match self {
            ProtobufError::Malformed(_) => (400, "BadRequest"),
            ProtobufError::Unsupported(_) => (415, "UnsupportedMediaType"),
        }
    }
}

/// Decodes a body of type `application/vnd.kubernetes.protobuf` to the equivalent JSON.
pub fn decode(body: &[u8]) -> Result<Value, ProtobufError> {
    let envelope =
        body.strip_prefix(MAGIC).ok_or(ProtobufError::Malformed("it does not begin with k8s"))?;
    let (mut api_version, mut kind, mut raw): (&[u8], &[u8], &[u8]) = (b"", b"", b"");
    for field in Fields(envelope) {
        match field? {
            (1, Wire::Bytes(meta)) => {
                for field in Fields(meta) {
                    match field? {
                        (1, Wire::Bytes(text)) => api_version = text,
                        (2, Wire::Bytes(text)) => kind = text,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            (3, Wire::Bytes(encoding)) if !encoding.is_empty() => {
                return Err(ProtobufError::Unsupported("a compressed body".into()));
            }
            _ => {}
        }
    }
    let (api_version, kind) = (text(api_version)?, text(kind)?);
    let table = table();
    let named = table.roots.get(&(api_version.clone(), kind.clone()));
    let Some(message) = named.map(String::as_str).or((kind == OPTIONS).then_some(OPTIONS)) else {
        return Err(ProtobufError::Unsupported(format!("{kind} of {api_version}")));
    };
    let mut object = Map::from_iter([
        ("apiVersion".to_owned(), json!(api_version)),
        ("kind".to_owned(), json!(kind)),
    ]);
    object.extend(decode_message(table, message, raw, DEPTH_MAX)?);
    Ok(Value::Object(object))
}

/// A field's value on the wire.
#[derive(Clone, Copy, Debug)]
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

impl Wire<'_> {
    fn is_zero(self) -> bool {
        match self {
            Wire::Varint(number) | Wire::Fixed64(number) => number == 0,
            Wire::Bytes(bytes) => bytes.is_empty(),
            Wire::Fixed32 => false,
        }
    }
}

/// An iterator over the fields of a message; it ends after the first error.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Wire<'a>), ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<(u64, Wire<'a>), ProtobufError> {
        let key = self.varint()?;
        let wire = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(
                self.take(8)?
                    .try_into()
                    .map_err(|_| ProtobufError::Malformed("it ends within a number"))?,
            )),
            2 => {
                let length = usize::try_from(self.varint()?)
                    .map_err(|_| ProtobufError::Malformed("a length is too large"))?;
                Wire::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Wire::Fixed32)?,
            _ => return Err(ProtobufError::Malformed("a wire type is unknown")),
        };
        Ok((key >> 3, wire))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ProtobufError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(ProtobufError::Malformed("it ends within a field"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte, rest @ ..] = self.0 else {
                return Err(ProtobufError::Malformed("it ends within a number"));
            };
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ProtobufError::Malformed("a number is too long"))
    }
}

fn text(bytes: &[u8]) -> Result<String, ProtobufError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ProtobufError::Malformed("a string is not UTF-8"))
}

/// The table of kinds with their messages, and of messages with their fields.
pub(crate) struct Table {
    pub(crate) roots: BTreeMap<(String, String), String>,
    pub(crate) messages: BTreeMap<String, BTreeMap<u64, Field>>,
}

pub(crate) struct Field {
    pub(crate) name: String,
    /// The type without its marks.
    pub(crate) kind: String,
    /// A pointer in Go: zero differs from absent.
    pointer: bool,
    /// The encoder writes zero too.
    written: bool,
}

pub(crate) fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = Table { roots: BTreeMap::new(), messages: BTreeMap::new() };
        let mut last = String::new();
        for line in
            include_str!("protobuf/messages.txt").lines().filter(|line| !line.starts_with('#'))
        {
            let words: Vec<&str> = line.split_whitespace().collect();
            match (words.as_slice(), line.starts_with(' ')) {
                ([number, name, kind], true) => {
                    let field = Field {
                        name: (*name).to_owned(),
                        kind: kind.trim_start_matches('*').trim_end_matches('!').to_owned(),
                        pointer: kind.starts_with('*'),
                        written: kind.ends_with('!'),
                    };
                    let number = number.parse().expect("the table has numbers here");
                    table.messages.entry(last.clone()).or_default().insert(number, field);
                }
                ([api_version, kind, message], false) => {
                    table.roots.insert(
                        ((*api_version).to_owned(), (*kind).to_owned()),
                        (*message).to_owned(),
                    );
                }
                ([message], false) => {
                    (*message).clone_into(&mut last);
                    table.messages.entry(last.clone()).or_default();
                }
                (_, _) => {}
            }
        }
        table
    })
}

fn decode_message(
    table: &Table,
    name: &str,
    bytes: &[u8],
    depth: usize,
) -> Result<Map<String, Value>, ProtobufError> {
    if depth == 0 {
        return Err(ProtobufError::Malformed("it is nested too deeply"));
    }
    let Some(message) = table.messages.get(name) else {
        return Err(ProtobufError::Unsupported(format!("a {name}")));
    };
    let mut object = Map::new();
    for field in message.values().filter(|field| field.written) {
        let zero = if field.kind == "bool" { json!(false) } else { json!(0) };
        object.insert(field.name.clone(), zero);
    }
    for field in Fields(bytes) {
        let (number, wire) = field?;
        let Some(field) = message.get(&number) else {
            if wire.is_zero() {
                continue;
            }
            return Err(ProtobufError::Unsupported(format!("field {number} of {name}")));
        };
        if field.kind == "-" {
            // A field that the server maintains can be left out; one that a user sets cannot.
            if wire.is_zero() || ["status", "managedFields"].contains(&field.name.as_str()) {
                continue;
            }
            return Err(ProtobufError::Unsupported(format!("{} in {name}", field.name)));
        }
        if field.name == "." {
            let Wire::Bytes(bytes) = wire else {
                return Err(ProtobufError::Malformed("a message is expected"));
            };
            object.extend(decode_message(table, &field.kind, bytes, depth - 1)?);
            continue;
        }
        decode_field(table, field, wire, &mut object, depth)?;
    }
    Ok(object)
}

fn decode_field(
    table: &Table,
    field: &Field,
    wire: Wire<'_>,
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    if let Some(items) = field.kind.strip_prefix("[]") {
        let list = object.entry(field.name.clone()).or_insert_with(|| json!([]));
        let Value::Array(list) = list else { return Ok(()) };
        if let ("int", Wire::Bytes(packed)) = (items, wire) {
            let mut packed = Fields(packed);
            while !packed.0.is_empty() {
                list.push(json!(packed.varint()? as i64));
            }
            return Ok(());
        }
        list.push(decode_value(table, items, wire, depth)?);
        return Ok(());
    }
    if let Some(values) = field.kind.strip_prefix("{}") {
        let Wire::Bytes(entry) = wire else {
            return Err(ProtobufError::Malformed("a map entry is expected"));
        };
        let (mut key, mut value) = (String::new(), Wire::Bytes(b""));
        for field in Fields(entry) {
            match field? {
                (1, Wire::Bytes(bytes)) => key = text(bytes)?,
                (2, wire) => value = wire,
                _ => {}
            }
        }
        let value = decode_value(table, values, value, depth)?;
        if let Value::Object(map) = object.entry(field.name.clone()).or_insert_with(|| json!({})) {
            map.insert(key, value);
        }
        return Ok(());
    }
    let value = decode_value(table, &field.kind, wire, depth)?;
    if field.pointer || !empty(&value) {
        object.insert(field.name.clone(), value);
    }
    Ok(())
}

/// Whether the value is what Go's encoder writes for an unset field.
fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn decode_value(
    table: &Table,
    kind: &str,
    wire: Wire<'_>,
    depth: usize,
) -> Result<Value, ProtobufError> {
    match (kind, wire) {
        ("int", Wire::Varint(number)) => Ok(json!(number as i64)),
        ("bool", Wire::Varint(number)) => Ok(json!(number != 0)),
        ("double", Wire::Fixed64(bits)) => Ok(json!(f64::from_bits(bits))),
        ("string", Wire::Bytes(bytes)) => text(bytes).map(Value::String),
        ("bytes", Wire::Bytes(bytes)) => {
            Ok(json!(base64::engine::general_purpose::STANDARD.encode(bytes)))
        }
        ("int" | "bool" | "double" | "string" | "bytes", _) => {
            Err(ProtobufError::Malformed("a field has the wrong wire type"))
        }
        ("Time" | "MicroTime", Wire::Bytes(bytes)) => decode_time(kind, bytes),
        ("IntOrString", Wire::Bytes(bytes)) => decode_int_or_string(bytes),
        ("Quantity", Wire::Bytes(bytes)) => match first_bytes(bytes)? {
            Some(bytes) => text(bytes).map(Value::String),
            None => Ok(json!("0")),
        },
        ("RawExtension", Wire::Bytes(bytes)) => match first_bytes(bytes)? {
            Some(bytes) => serde_json::from_slice(bytes)
                .map_err(|_| ProtobufError::Malformed("embedded JSON is no JSON")),
            None => Ok(Value::Null),
        },
        (message, Wire::Bytes(bytes)) => {
            decode_message(table, message, bytes, depth - 1).map(Value::Object)
        }
        (_, Wire::Varint(_) | Wire::Fixed64(_) | Wire::Fixed32) => {
            Err(ProtobufError::Malformed("a message is expected"))
        }
    }
}

/// The bytes of field 1 of a message that has no other field.
fn first_bytes(bytes: &[u8]) -> Result<Option<&[u8]>, ProtobufError> {
    let mut first = None;
    for field in Fields(bytes) {
        if let (1, Wire::Bytes(bytes)) = field? {
            first = Some(bytes);
        }
    }
    Ok(first)
}

/// The numbers of fields 1 and 2.
fn two_numbers(bytes: &[u8]) -> Result<(i64, i64), ProtobufError> {
    let (mut first, mut second) = (0, 0);
    for field in Fields(bytes) {
        match field? {
            (1, Wire::Varint(number)) => first = number as i64,
            (2, Wire::Varint(number)) => second = number as i64,
            _ => {}
        }
    }
    Ok((first, second))
}

fn decode_time(kind: &str, bytes: &[u8]) -> Result<Value, ProtobufError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (seconds, nanos) = two_numbers(bytes)?;
    let nanos =
        i32::try_from(nanos).map_err(|_| ProtobufError::Malformed("a time is out of range"))?;
    let time = jiff::Timestamp::new(seconds, nanos)
        .map_err(|_| ProtobufError::Malformed("a time is out of range"))?;
    Ok(match kind {
        "MicroTime" => json!(format!("{time:.6}")),
        _ => json!(format!("{time:.0}")),
    })
}

fn decode_int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (kind, number) = two_numbers(bytes)?;
    if kind == 0 {
        return Ok(json!(number));
    }
    for field in Fields(bytes) {
        if let (3, Wire::Bytes(bytes)) = field? {
            return text(bytes).map(Value::String);
        }
    }
    Ok(json!(""))
}

#[cfg(test)]
mod tests;
