//! The fields of built-in kinds: dropping what they do not have, refusing what has the wrong type.

use serde_json::{Map, Value};

use super::prune::child;
use crate::protobuf::{Field, Table, table};

/// Nobody reads more of them, and a hostile object has megabytes.
const REPORTED_MAX: usize = 100;
/// Real objects stay below fifteen levels.
const DEPTH_MAX: usize = 64;

/// Drops the fields that the object's kind does not have and returns their paths, as `Structural::prune` does for
/// custom resources. A value of the wrong type is an error, worded as Kubernetes words it: 400 BadRequest.
/// A kind whose fields are not known here is left as it is.
pub fn prune_builtin(object: &mut Value) -> Result<Vec<String>, String> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let table = table();
    let Some(message) = table.roots.get(&(api_version.clone(), kind.clone())) else {
        return Ok(Vec::new());
    };
    let Value::Object(map) = object else { return Ok(Vec::new()) };
    let mut walk = Walk { table, dropped: Vec::new() };
    let (version, name) = (map.remove("apiVersion"), map.remove("kind"));
    let result = walk.message(message, map, "", DEPTH_MAX);
    map.extend(version.map(|version| ("apiVersion".to_owned(), version)));
    map.extend(name.map(|name| ("kind".to_owned(), name)));
    let version = api_version.rsplit('/').next().unwrap_or_default();
    result.map_err(|why| {
        format!("{kind} in version {version:?} cannot be handled as a {kind}: json: {why}")
    })?;
    Ok(walk.dropped)
}

struct Walk {
    table: &'static Table,
    dropped: Vec<String>,
}

impl Walk {
    /// The field of that name in a message, or in one that is inside it without a name.
    fn field(&self, message: &str, name: &str, depth: usize) -> Option<&'static Field> {
        let fields = self.table.messages.get(message)?;
        fields.values().find(|field| field.name == name).or_else(|| {
            let inside = fields.values().filter(|field| field.name == "." && depth > 0);
            inside.filter_map(|inner| self.field(&inner.kind, name, depth - 1)).next()
        })
    }

    fn message(
        &mut self,
        message: &str,
        map: &mut Map<String, Value>,
        at: &str,
        depth: usize,
    ) -> Result<(), String> {
        let mut wrong = Ok(());
        map.retain(|name, value| {
            let path = child(at, name);
            let Some(field) = self.field(message, name, 4).filter(|_| depth > 0) else {
                if self.dropped.len() < REPORTED_MAX {
                    self.dropped.push(path);
                }
                return false;
            };
            if wrong.is_ok() {
                wrong = self.value(&field.kind, value, &path, depth);
            }
            true
        });
        wrong
    }

    fn value(
        &mut self,
        kind: &str,
        value: &mut Value,
        at: &str,
        depth: usize,
    ) -> Result<(), String> {
        if value.is_null() || kind == "-" || kind == "RawExtension" {
            return Ok(());
        }
        if let Some(items) = kind.strip_prefix("[]") {
            let Value::Array(list) = value else { return mismatch(value, at, "slice") };
            let mut items_at = list.iter_mut().enumerate();
            return items_at.try_for_each(|(index, item)| {
                self.value(items, item, &format!("{at}[{index}]"), depth)
            });
        }
        if let Some(values) = kind.strip_prefix("{}") {
            let Value::Object(map) = value else { return mismatch(value, at, "map") };
            return map
                .iter_mut()
                .try_for_each(|(name, value)| self.value(values, value, &child(at, name), depth));
        }
        match (kind, &mut *value) {
            ("string" | "bytes" | "Time" | "MicroTime" | "Duration", Value::String(_)) => Ok(()),
            ("string" | "bytes" | "Time" | "MicroTime" | "Duration", _) => {
                mismatch(value, at, "string")
            }
            ("bool", Value::Bool(_)) => Ok(()),
            ("bool", _) => mismatch(value, at, "bool"),
            ("int", Value::Number(number))
                if number.as_f64().is_some_and(|number| number.fract() == 0.0) =>
            {
                Ok(())
            }
            ("int", _) => mismatch(value, at, "int32"),
            ("double" | "Quantity" | "IntOrString", Value::Number(_)) => Ok(()),
            ("Quantity" | "IntOrString", Value::String(_)) => Ok(()),
            ("double" | "Quantity" | "IntOrString", _) => mismatch(value, at, kind),
            (message, Value::Object(map)) => self.message(message, map, at, depth - 1),
            (message, _) => mismatch(value, at, message.rsplit('.').next().unwrap_or(message)),
        }
    }
}

fn mismatch(value: &Value, at: &str, wanted: &str) -> Result<(), String> {
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    Err(format!("cannot unmarshal {is} into Go struct field {at} of type {wanted}"))
}
