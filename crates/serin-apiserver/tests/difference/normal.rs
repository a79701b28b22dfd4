//! Normalises answers: removes what differs between runs, such as times, versions, uids and addresses.

use regex::Regex;
use serde_json::{Value, json};

const DROPPED: &[&str] = &[
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "time",
    "lastTransitionTime",
    "clusterIP",
    "clusterIPs",
    "nodePort",
    "continue",
    "selfLink",
];

/// A normalised body.
pub(crate) fn body(mut value: Value) -> Value {
    let patterns = Patterns::new();
    patterns.walk("", &mut value);
    in_order(&mut value);
    value
}

/// Sorts errors about properties of a schema, which come in the random order of a Go map, and
/// the field managers of a conflict, for the same reason.
fn in_order(status: &mut Value) {
    if !status.is_object() {
        return;
    }
    let custom = status["details"]["group"].as_str().is_some_and(|group| group.ends_with(".com"));
    let any_order = custom || status["reason"] == "Conflict";
    let Some(causes) = status["details"]["causes"].as_array_mut().filter(|_| any_order) else {
        return;
    };
    let text = |cause: &Value| {
        format!(
            "{}: {}",
            cause["field"].as_str().unwrap_or_default(),
            cause["message"].as_str().unwrap_or_default()
        )
    };
    let all = |causes: &[Value]| causes.iter().map(text).collect::<Vec<_>>().join(", ");
    let before = all(causes);
    causes.sort_by_key(text);
    let after = all(causes);
    if let Some(message) = status["message"].as_str() {
        status["message"] = json!(message.replace(&before, &after));
    }
}

struct Patterns {
    uid: Regex,
    version: Regex,
    told_version: Regex,
    time: Regex,
    age: Regex,
    address: Regex,
}

impl Patterns {
    fn new() -> Self {
        let regex = |text| Regex::new(text).expect("a pattern");
        Self {
            uid: regex("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
            version: regex(r"\b[0-9]{16}\b"),
            // A version in a message, or in an object that a message quotes.
            told_version: regex(r#"(current: |record \(|resourceVersion\\?":\\?")[0-9]+"#),
            time: regex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"),
            age: regex(r"^[0-9]+[smh]([0-9]+[smh])?$"),
            address: regex(r"\b10\.(96|43)\.[0-9]+\.[0-9]+\b"),
        }
    }

    fn walk(&self, name: &str, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (name, value) in map.iter_mut() {
                    if DROPPED.contains(&name.as_str()) && is_set(name, value) {
                        *value = json!("(varies)");
                    } else {
                        self.walk(name, value);
                    }
                }
            }
            Value::Array(list) => {
                if name == "columnDefinitions" {
                    // Column descriptions are not compared: kubectl does not show them.
                    list.iter_mut().filter_map(Value::as_object_mut).for_each(|column| {
                        column.remove("description");
                    });
                }
                list.iter_mut().for_each(|item| self.walk("", item));
                if name == "managedFields" {
                    let key = |entry: &Value| {
                        ["manager", "operation", "subresource"].map(|part| entry[part].to_string())
                    };
                    list.sort_by_key(key);
                }
                if name == "cells" {
                    for cell in list {
                        if cell.as_str().is_some_and(|text| self.age.is_match(text)) {
                            *cell = json!("(age)");
                        }
                    }
                }
            }
            Value::String(text) => {
                for (pattern, name) in [
                    (&self.uid, "(uid)"),
                    (&self.version, "(version)"),
                    (&self.told_version, "${1}(version)"),
                    (&self.time, "(time)"),
                    (&self.address, "(address)"),
                ] {
                    *text = pattern.replace_all(text, name).into_owned();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Field sets, and special addresses, are kept.
fn is_set(name: &str, value: &Value) -> bool {
    match (name, value) {
        ("clusterIP", Value::String(text)) => !text.is_empty() && text != "None",
        ("clusterIPs", Value::Array(list)) => list.iter().all(|item| item != "None"),
        (_, Value::String(text)) => !text.is_empty(),
        (_, Value::Number(_)) => true,
        (_, Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => false,
    }
}
