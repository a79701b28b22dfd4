//! Converts Events between `v1`, which is stored, and `events.k8s.io/v1`.

use serde_json::{Map, Value, json};

const FIELDS: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("reportingController", "reportingComponent"),
];

/// From `events.k8s.io/v1` (an object or a patch of one) to core `v1`.
pub(crate) fn to_core(event: &Value) -> Value {
    if !event.is_object() {
        return event.clone();
    }
    let mut core =
        renamed(event, |name| FIELDS.iter().find(|(new, _)| *new == name).map(|(_, core)| *core));
    if core.contains_key("apiVersion") {
        core.insert("apiVersion".to_owned(), json!("v1"));
    }
    if let Some(time) = core.get("eventTime").cloned().filter(|time| !time.is_null()) {
        core.entry("firstTimestamp").or_insert_with(|| time.clone());
        core.entry("lastTimestamp").or_insert(time);
        core.entry("count").or_insert(json!(1));
    }
    if let Some(series) = core.get("series").cloned() {
        if let Some(count) = series.get("count") {
            core.insert("count".to_owned(), count.clone());
        }
        if let Some(last) = series.get("lastObservedTime") {
            core.insert("lastTimestamp".to_owned(), last.clone());
        }
    }
    if let Some(controller) = core.get("reportingComponent").cloned() {
        core.entry("source").or_insert_with(|| json!({"component": controller}));
    }
    Value::Object(core)
}

/// A patch of an `events.k8s.io/v1` event as a patch of the core one; also a JSON patch, which is a list.
pub(crate) fn patch_to_core(patch: Value) -> Value {
    let Value::Array(operations) = patch else { return to_core(&patch) };
    let moved = |mut operation: Value| {
        for field in ["path", "from"] {
            if let Some(path) = operation.get(field).and_then(Value::as_str) {
                let path = path.strip_prefix('/').map(|rest| format!("/{}", core_path(rest, '/')));
                if let Some(path) = path {
                    operation[field] = json!(path);
                }
            }
        }
        operation
    };
    Value::Array(operations.into_iter().map(moved).collect())
}

/// A field path with its first segment named as in core `v1`: `regarding.name` becomes `involvedObject.name`.
pub(crate) fn core_path(path: &str, separator: char) -> String {
    let (first, rest) = path.split_once(separator).map_or((path, None), |(f, r)| (f, Some(r)));
    let first = FIELDS.iter().find(|(new, _)| *new == first).map_or(first, |(_, core)| *core);
    rest.map_or_else(|| first.to_owned(), |rest| format!("{first}{separator}{rest}"))
}

/// From core `v1` to `events.k8s.io/v1`.
pub(crate) fn from_core(event: &Value) -> Value {
    let mut new =
        renamed(event, |name| FIELDS.iter().find(|(_, core)| *core == name).map(|(new, _)| *new));
    new.insert("apiVersion".to_owned(), json!("events.k8s.io/v1"));
    new.entry("eventTime").or_insert(Value::Null);
    Value::Object(new)
}

fn renamed(event: &Value, rename: impl Fn(&str) -> Option<&'static str>) -> Map<String, Value> {
    event
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (rename(name).unwrap_or(name).to_owned(), value.clone()))
        .collect()
}
