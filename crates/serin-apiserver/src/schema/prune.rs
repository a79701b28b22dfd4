//! Drops fields that a schema does not have, and sets its defaults.

use serde_json::Value;

use super::{Additional, Schema, Structural};

/// The greatest number of paths reported; a hostile object has megabytes of them.
const REPORTED_MAX: usize = 100;

impl Structural {
    /// Drops unknown fields and returns their paths, at most a hundred of them.
    pub fn prune(&self, value: &mut Value) -> Vec<String> {
        let mut dropped = Vec::new();
        prune(&self.root, value, "", &mut dropped);
        dropped
    }

    /// Sets defaults, outer fields before inner ones.
    pub fn default(&self, value: &mut Value) {
        fill(&self.root, value);
    }
}

pub(super) fn child(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

fn prune(schema: &Schema, value: &mut Value, at: &str, dropped: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let open = schema.preserve || matches!(schema.additional, Additional::Anything);
            map.retain(|name, value| {
                match (schema.properties.get(name), &schema.additional) {
                    (Some(property), _) => prune(property, value, &child(at, name), dropped),
                    (None, Additional::Values(values)) => {
                        prune(values, value, &child(at, name), dropped)
                    }
                    (None, Additional::Nothing | Additional::Anything) if open => {}
                    (None, Additional::Nothing | Additional::Anything) => {
                        if dropped.len() < REPORTED_MAX {
                            dropped.push(child(at, name));
                        }
                        return false;
                    }
                }
                true
            });
        }
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                for (index, item) in list.iter_mut().enumerate() {
                    prune(items, item, &format!("{at}[{index}]"), dropped);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn fill(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, property) in &schema.properties {
                let Some(default) = &property.default else { continue };
                let missing = match map.get(name) {
                    None => true,
                    Some(Value::Null) => !property.nullable,
                    Some(_) => false,
                };
                if missing {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in map.iter_mut() {
                match (schema.properties.get(name), &schema.additional) {
                    (Some(property), _) => fill(property, value),
                    (None, Additional::Values(values)) => {
                        if let (Value::Null, Some(default), false) =
                            (&*value, &values.default, values.nullable)
                        {
                            *value = default.clone();
                        }
                        fill(values, value);
                    }
                    (None, Additional::Nothing | Additional::Anything) => {}
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return };
            for item in list {
                if let (Value::Null, Some(default), false) =
                    (&*item, &items.default, items.nullable)
                {
                    *item = default.clone();
                }
                fill(items, item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
