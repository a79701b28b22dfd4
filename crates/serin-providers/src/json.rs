//! Small questions to JSON objects as Kubernetes has them, and one canonical form to hash and compare.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Annotation keys that keep GitOps tools from undoing what a release does, with their values.
pub const TOOLKIT_ANNOTATIONS: [(&str, &str); 2] = [
    ("helm.toolkit.fluxcd.io/driftDetection", "disabled"),
    ("kustomize.toolkit.fluxcd.io/reconcile", "disabled"),
];

/// On a route that was found without a canary's share when the share was taken back: the version of the Canary that knew.
pub(crate) const TOUCHED: &str = "serin.dev/sealed";

/// Whether a metadata key belongs to the GitOps toolkit and is never copied.
pub fn is_toolkit(key: &str) -> bool {
    key.contains("toolkit.fluxcd.io")
}

pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

pub(crate) fn int(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer).and_then(Value::as_i64)
}

/// A count that Kubernetes leaves out when it is zero.
/// Zero for what is less.
pub(crate) fn unsigned(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

pub(crate) fn count(value: &Value, pointer: &str) -> i64 {
    int(value, pointer).unwrap_or(0)
}

/// A list that Kubernetes leaves out when it is empty.
pub(crate) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A map of strings; what is not a string is left out.
pub(crate) fn strings(value: &Value, pointer: &str) -> BTreeMap<String, String> {
    let map = value.pointer(pointer).and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

pub(crate) fn resource_version(object: &Value) -> Option<&str> {
    text(object, "/metadata/resourceVersion")
}

/// Sets `key` in an object; what is no object is left alone.
pub(crate) fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

pub(crate) fn remove(object: &mut Value, key: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(key);
    }
}

/// The object under `key`, made if it is missing; none when `value` is no object.
pub(crate) fn child<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    let slot = value.as_object_mut()?.entry(key).or_insert_with(|| json!({}));
    if slot.is_null() {
        *slot = json!({});
    }
    slot.as_object_mut()
}

/// Keys whose empty object means "everything", which is not the same as leaving it out.
fn empty_means_all(key: &str) -> bool {
    key == "labelSelector" || key == "namespaceSelector"
}

/// The value without nulls, empty objects and empty lists: what the API server may add or drop without meaning anything.
pub(crate) fn significant(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(map) => {
            let kept: Map<String, Value> = map
                .iter()
                .filter_map(|(key, value)| {
                    let kept = significant(value)
                        .or_else(|| (empty_means_all(key) && value.is_object()).then(|| json!({})));
                    Some((key.clone(), kept?))
                })
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(list) => {
            // A list's empty element holds its place.
            let kept: Vec<Value> =
                list.iter().map(|value| significant(value).unwrap_or_else(|| json!({}))).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value.clone()),
    }
}

/// JSON text with sorted keys and no insignificant parts: equal texts mean equal objects.
pub(crate) fn canonical(value: &Value) -> String {
    fn write(value: &Value, out: &mut String) {
        match value {
            Value::Object(map) => {
                let sorted: BTreeMap<&String, &Value> = map.iter().collect();
                out.push('{');
                for (index, (key, value)) in sorted.into_iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    out.push_str(&Value::String(key.clone()).to_string());
                    out.push(':');
                    write(value, out);
                }
                out.push('}');
            }
            Value::Array(list) => {
                out.push('[');
                for (index, value) in list.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write(value, out);
                }
                out.push(']');
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                out.push_str(&value.to_string());
            }
        }
    }
    let mut out = String::new();
    write(&significant(value).unwrap_or(Value::Null), &mut out);
    out
}

/// The first `bytes` bytes of the SHA-256 of a text, in lower hex.
pub(crate) fn sha256_hex(text: &str, bytes: usize) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `live` says everything that `wanted` says. Elements of a list may stand anywhere, as in lists that merge by key.
pub(crate) fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| match live.get(key) {
                Some(live) => covers(live, wanted),
                None => significant(wanted).is_none(),
            })
        }
        (Value::Array(live), Value::Array(wanted)) => {
            wanted.iter().all(|wanted| live.iter().any(|live| covers(live, wanted)))
        }
        (live, wanted) => live == wanted,
    }
}

/// Keys that start with one of the prefixes; `*` keeps all, toolkit keys are always dropped.
pub(crate) fn by_prefix(
    map: &BTreeMap<String, String>,
    prefixes: &[String],
) -> BTreeMap<String, String> {
    let kept = |key: &str| {
        prefixes
            .iter()
            .any(|prefix| prefix == "*" || (!prefix.is_empty() && key.starts_with(prefix.as_str())))
    };
    map.iter()
        .filter(|(key, _)| kept(key) && !is_toolkit(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// What another client has written, as it may be repeated.
pub(crate) fn bounded(text: &str, max: usize) -> String {
    serin_core::words::line(text.trim(), max)
}
