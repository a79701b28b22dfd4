//! Converts JSON to CEL values.

use std::collections::HashMap;
use std::sync::Arc;

use cel::Value as Cel;
use cel::objects::{Key, Map};
use serde_json::Value;

use crate::schema::{Additional, Schema, Type};

/// Converts a value with the types of its schema: 1 is a double where the schema says number.
pub(super) fn to_cel(value: &Value, schema: Option<&Schema>) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::String(text) => text_to_cel(text, schema),
        Value::Number(number) => {
            let double = schema
                .is_some_and(|schema| schema.kind == Some(Type::Number) && !schema.int_or_string);
            let whole = schema.is_some_and(|schema| schema.kind == Some(Type::Integer));
            match (number.as_i64(), number.as_f64()) {
                (Some(number), _) if !double => Cel::Int(number),
                (None, Some(number)) if whole && number.fract() == 0.0 => Cel::Int(number as i64),
                (_, Some(number)) => Cel::Float(number),
                (_, None) => Cel::Null,
            }
        }
        Value::Array(list) => {
            let items = schema.and_then(|schema| schema.items.as_deref());
            Cel::List(Arc::new(list.iter().map(|item| to_cel(item, items)).collect()))
        }
        Value::Object(map) => {
            let fields = map.iter().filter_map(|(name, value)| field_to_cel(name, value, schema));
            let fields: HashMap<Key, Cel> =
                fields.map(|(name, value)| (Key::from(name), value)).collect();
            Cel::Map(Map::from(fields))
        }
    }
}

/// A field under its name in CEL; `None` for null and for a field that the schema does not have.
fn field_to_cel(name: &str, value: &Value, schema: Option<&Schema>) -> Option<(String, Cel)> {
    let Some(schema) = schema else { return Some((name.to_owned(), to_cel(value, None))) };
    match (schema.properties.get(name), &schema.additional) {
        (Some(_), _) if value.is_null() => None,
        (Some(property), _) => Some((escaped(name), to_cel(value, Some(property)))),
        (None, Additional::Values(values)) => Some((name.to_owned(), to_cel(value, Some(values)))),
        (None, Additional::Anything) => Some((name.to_owned(), to_cel(value, None))),
        (None, Additional::Nothing) if schema.preserve => {
            Some((name.to_owned(), to_cel(value, None)))
        }
        (None, Additional::Nothing) => None,
    }
}

fn text_to_cel(text: &str, schema: Option<&Schema>) -> Cel {
    match schema.and_then(|schema| schema.format.as_deref()) {
        Some("date-time") => match chrono::DateTime::parse_from_rfc3339(text) {
            Ok(time) => Cel::Timestamp(time),
            Err(_) => Cel::from(text),
        },
        Some("duration") => match crate::schema::duration_nanos(text) {
            Some(nanos) => Cel::Duration(chrono::Duration::nanoseconds(nanos)),
            None => Cel::from(text),
        },
        Some(_) | None => Cel::from(text),
    }
}

/// Property names that are no CEL identifiers, as Kubernetes escapes them.
fn escaped(name: &str) -> String {
    const RESERVED: &[&str] = &[
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}
