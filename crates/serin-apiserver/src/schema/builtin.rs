//! The fields of built-in kinds: unknown ones are dropped, values of the wrong type refused.

use serde_json::{Map, Number, Value};

use super::prune::child;
use super::quantity;
use crate::protobuf::{Field, Table, table};

/// The greatest number of paths reported; a hostile object has megabytes of them.
const REPORTED_MAX: usize = 100;
/// The greatest depth; real objects stay below fifteen levels.
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
        format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}")
    })?;
    Ok(walk.dropped)
}

struct Walk {
    table: &'static Table,
    dropped: Vec<String>,
}

impl Walk {
    /// The field of a message by name, also through messages embedded inline.
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
                let go_field = GoField { holder: message, field: &path, name };
                wrong = self.value(&field.kind, value, &go_field, &path, depth);
            }
            true
        });
        wrong
    }

    fn value(
        &mut self,
        kind: &str,
        value: &mut Value,
        go_field: &GoField<'_>,
        at: &str,
        depth: usize,
    ) -> Result<(), String> {
        if value.is_null() || kind == "-" || kind == "RawExtension" {
            return Ok(());
        }
        if let Some(items) = kind.strip_prefix("[]") {
            let Value::Array(list) = value else { return go_field.mismatch(value, kind) };
            let mut items_at = list.iter_mut().enumerate();
            return items_at.try_for_each(|(index, item)| {
                self.value(items, item, go_field, &format!("{at}[{index}]"), depth)
            });
        }
        if let Some(values) = kind.strip_prefix("{}") {
            let Value::Object(map) = value else { return go_field.mismatch(value, kind) };
            return map.iter_mut().try_for_each(|(name, value)| {
                self.value(values, value, go_field, &child(at, name), depth)
            });
        }
        match (kind, &mut *value) {
            ("bytes", Value::String(text)) => base64_of(text),
            ("MicroTime", Value::String(text)) => micro_time(text),
            ("Quantity", Value::String(_) | Value::Number(_)) => quantity::canonicalize(value),
            ("string" | "Time" | "Duration", Value::String(_))
            | ("bool", Value::Bool(_))
            | ("double" | "IntOrString", Value::Number(_))
            | ("IntOrString", Value::String(_)) => Ok(()),
            ("int", Value::Number(number)) if fits(number, go_field.name) => Ok(()),
            (
                "string" | "bytes" | "Time" | "MicroTime" | "Duration" | "bool" | "int" | "double"
                | "Quantity" | "IntOrString",
                _,
            ) => go_field.mismatch(value, kind),
            (message, Value::Object(map)) => self.message(message, map, at, depth - 1),
            (message, _) => go_field.mismatch(value, message),
        }
    }
}

/// A field and its path, named as in Go's errors.
struct GoField<'a> {
    /// The message that has the field.
    holder: &'a str,
    field: &'a str,
    name: &'a str,
}

impl GoField<'_> {
    fn mismatch(&self, value: &Value, kind: &str) -> Result<(), String> {
        let is = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(number) if kind == "int" => format!("number {number}"),
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        let holder = self.holder.rsplit('.').next().unwrap_or(self.holder);
        // Go's path has no indices and no map keys.
        let mut path = String::new();
        let mut depth = 0;
        for sign in self.field.chars() {
            match sign {
                '[' => depth += 1,
                ']' => depth -= 1,
                sign if depth == 0 => path.push(sign),
                _ => {}
            }
        }
        let wanted = go_type(kind, self.name);
        Err(format!(
            "json: cannot unmarshal {is} into Go struct field {holder}.{path} of type {wanted}"
        ))
    }
}

/// Names of 64-bit integer fields; all others have 32 bits.
const INT64_FIELDS: &[&str] = &[
    "generation",
    "observedGeneration",
    "terminationGracePeriodSeconds",
    "activeDeadlineSeconds",
    "deletionGracePeriodSeconds",
    "tolerationSeconds",
    "expirationSeconds",
    "runAsUser",
    "runAsGroup",
    "fsGroup",
    "supplementalGroups",
    "seconds",
    "revision",
    "gracePeriodSeconds",
];

fn fits(number: &Number, name: &str) -> bool {
    match number.as_i64() {
        Some(whole) => INT64_FIELDS.contains(&name) || i32::try_from(whole).is_ok(),
        None => false,
    }
}

fn go_type(kind: &str, name: &str) -> String {
    if let Some(items) = kind.strip_prefix("[]") {
        return format!("[]{}", go_type(items, name));
    }
    if let Some(values) = kind.strip_prefix("{}") {
        return format!("map[string]{}", go_type(values, name));
    }
    match kind {
        "int" if INT64_FIELDS.contains(&name) => "int64".to_owned(),
        "int" => "int32".to_owned(),
        "double" => "float64".to_owned(),
        "bytes" => "[]uint8".to_owned(),
        "string" | "bool" => kind.to_owned(),
        message => {
            let (group, last) = message.rsplit_once('.').unwrap_or(("", message));
            let version = if group.ends_with('2') { "v2" } else { "v1" };
            format!("{version}.{last}")
        }
    }
}

fn base64_of(text: &str) -> Result<(), String> {
    use base64::Engine;
    match base64::engine::general_purpose::STANDARD.decode(text) {
        Ok(_) => Ok(()),
        Err(base64::DecodeError::InvalidByte(at, _)) => {
            Err(format!("illegal base64 data at input byte {at}"))
        }
        Err(_) => Err(format!("illegal base64 data at input byte {}", text.len() / 4 * 4)),
    }
}

/// Checks a MicroTime: exactly six digits after the point.
fn micro_time(text: &str) -> Result<(), String> {
    const LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";
    let bad = |rest: &str, wanted: &str| {
        Err(format!("parsing time {text:?} as {LAYOUT:?}: cannot parse {rest:?} as {wanted:?}"))
    };
    if text.parse::<jiff::Timestamp>().is_err() {
        return bad(text, "2006");
    }
    let fraction = text.get(19..).unwrap_or_default();
    let digits = fraction
        .strip_prefix('.')
        .map_or(0, |rest| rest.chars().take_while(char::is_ascii_digit).count());
    if digits == 6 { Ok(()) } else { bad(fraction, ".000000") }
}
