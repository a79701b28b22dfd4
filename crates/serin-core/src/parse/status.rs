//! A stored status, read leniently: what is broken falls away field by field, so that a canary is never lost for it.

use serde_json::{Map, Value};

use crate::model::Status;

/// What of the status is valid.
pub(super) fn read(status: Option<&Value>) -> Status {
    let Some(fields) = status.and_then(Value::as_object) else { return Status::default() };
    // Nearly every status is valid as it is, and is read with every look at its canary.
    let plain = fields.iter().map(|(name, value)| match value {
        Value::Number(number) => (name.clone(), whole(name, number)),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            (name.clone(), value.clone())
        }
    });
    if let Ok(status) = serde_json::from_value(Value::Object(plain.collect())) {
        return status;
    }
    let mut kept = Map::new();
    for (name, value) in fields {
        let value = lenient(name, value);
        if understood(name, &value) {
            kept.insert(name.clone(), value);
        }
    }
    serde_json::from_value(Value::Object(kept)).unwrap_or_default()
}

fn understood(name: &str, value: &Value) -> bool {
    let alone = Value::Object(Map::from_iter([(name.to_owned(), value.clone())]));
    serde_json::from_value::<Status>(alone).is_ok()
}

/// The value without what is broken inside it.
fn lenient(name: &str, value: &Value) -> Value {
    match value {
        Value::Number(number) => whole(name, number),
        Value::Array(list) => {
            let one = |item: &Value| understood(name, &Value::Array(vec![item.clone()]));
            let list = list.iter().map(|item| without_broken(name, item));
            Value::Array(list.filter(one).collect())
        }
        // All or nothing: half a map of checksums would look like a change of what is deployed.
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Object(_) => value.clone(),
    }
}

/// A list's object without the fields that break it.
fn without_broken(name: &str, item: &Value) -> Value {
    let Value::Object(map) = item else { return item.clone() };
    let one = |(key, field): &(&String, &Value)| {
        let alone = Map::from_iter([((*key).clone(), (*field).clone())]);
        understood(name, &Value::Array(vec![Value::Object(alone)]))
    };
    Value::Object(map.iter().filter(one).map(|(k, v)| (k.clone(), v.clone())).collect())
}

/// `5.0` is 5: Flagger's schema lets floats through. A weight out of bounds is the nearest bound.
fn whole(name: &str, number: &serde_json::Number) -> Value {
    match number.as_f64() {
        Some(float) if name == "canaryWeight" => Value::from(float.clamp(0.0, 100.0) as i64),
        Some(float) if !number.is_i64() && !number.is_u64() && float.fract() == 0.0 => {
            Value::from(float as i64)
        }
        Some(_) | None => Value::Number(number.clone()),
    }
}
