//! Events have two faces, `v1` and `events.k8s.io/v1`, and one store: the core one.

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
