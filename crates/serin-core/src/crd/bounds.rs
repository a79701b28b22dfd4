//! Bounds on what an API server takes: every string of a spec ends somewhere.
//!
//! What is stored already and does not change stays valid, so no bound is tighter than anything that works.

use serde_json::{Map, Value, json};

use crate::words::NAME_MAX;

/// What has no bound of its own here: URLs, headers, annotations' values apart.
const TEXT_MAX: usize = 8 << 10;
/// Queries and what is put into them.
const QUERY_MAX: usize = 64 << 10;
/// All annotations of an object together.
const ANNOTATION_MAX: usize = 256 << 10;

/// Bounds every string below the spec.
pub(super) fn strings(root: &mut Value) {
    if let Some(spec) = root.pointer_mut("/properties/spec") {
        bound(spec, "spec");
    }
}

fn bound(node: &mut Value, field: &str) {
    let Some(map) = node.as_object_mut() else { return };
    if is_text(map) {
        map.entry("maxLength").or_insert_with(|| json!(most(field)));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(inner) {
            bound(inner, field);
        }
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        for (field, property) in properties {
            bound(property, field);
        }
    }
}

fn is_text(map: &Map<String, Value>) -> bool {
    map.get("type") == Some(&json!("string")) && !map.contains_key("enum")
}

fn most(field: &str) -> usize {
    match field {
        "name" | "namespace" | "apiVersion" | "kind" | "provider" | "portName" | "type" => NAME_MAX,
        "query" | "templateVariables" => QUERY_MAX,
        "annotations" => ANNOTATION_MAX,
        _ => TEXT_MAX,
    }
}
