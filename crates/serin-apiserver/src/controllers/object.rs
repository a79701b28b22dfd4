//! Reads and writes the fields of an object that every controller needs.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::json_pointer::At;

pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.at(pointer).and_then(Value::as_str).unwrap_or("")
}

pub(crate) fn int(object: &Value, pointer: &str) -> Option<i64> {
    object.at(pointer).and_then(Value::as_i64)
}

pub(crate) fn flag(object: &Value, pointer: &str) -> bool {
    object.at(pointer).and_then(Value::as_bool).unwrap_or(false)
}

pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.at(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(crate) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

pub(crate) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

pub(crate) fn deleting(object: &Value) -> bool {
    object.at("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null())
}

pub(crate) fn label<'a>(object: &'a Value, key: &str) -> &'a str {
    object
        .at("/metadata/labels")
        .and_then(|labels| labels.get(key))
        .and_then(Value::as_str)
        .unwrap_or("")
}

pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    object
        .at("/metadata/annotations")
        .and_then(|all| all.get(key))
        .and_then(Value::as_str)
        .unwrap_or("")
}

/// The uid of the controller that owns the object.
pub(crate) fn owner(object: &Value) -> Option<&str> {
    list(object, "/metadata/ownerReferences")
        .iter()
        .find(|reference| flag(reference, "/controller"))
        .map(|reference| text(reference, "/uid"))
}

/// The owner reference of an object that `owner` controls.
pub(crate) fn controlled_by(owner: &Value, api_version: &str, kind: &str) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": kind,
        "name": name(owner),
        "uid": uid(owner),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// Adds a controller reference to an object that has none.
pub(crate) fn adopted(object: &Value, reference: Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let references = metadata.entry("ownerReferences").or_insert_with(|| json!([]));
        if let Some(references) = references.as_array_mut() {
            references.push(reference);
        } else {
            *references = json!([reference]);
        }
    }
    object
}

/// A time as Kubernetes writes it: RFC 3339 in UTC, whole seconds.
pub(crate) fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(crate) fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    object.at(pointer).and_then(Value::as_str).and_then(|at| at.parse().ok())
}

/// `at` plus whole seconds; the latest representable time if the sum is beyond it.
pub(crate) fn plus(at: Timestamp, seconds: i64) -> Timestamp {
    let span = jiff::SignedDuration::from_secs(seconds);
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}

pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, "/status/conditions").iter().find(|condition| text(condition, "/type") == kind)
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| text(ready, "/status") == "True")
}

/// Neither finished nor terminating.
pub(crate) fn is_active(pod: &Value) -> bool {
    !deleting(pod) && !is_finished(pod)
}

pub(crate) fn is_finished(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// When a ready pod counts as available; `None` if it is not ready.
pub(crate) fn available_at(pod: &Value, min_ready_secs: i64) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|ready| text(ready, "/status") == "True")?;
    if min_ready_secs == 0 {
        return Some(Timestamp::MIN);
    }
    Some(plus(time(ready, "/lastTransitionTime")?, min_ready_secs))
}

/// Whether a `LabelSelector` matches these labels. An absent or empty selector matches nothing here: no controller may own all pods.
pub(crate) fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.get("matchLabels").and_then(Value::as_object);
    let expressions = list(selector, "/matchExpressions");
    if wanted.is_none_or(Map::is_empty) && expressions.is_empty() {
        return false;
    }
    let same = wanted.into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    same && expressions.iter().all(|expression| expression_holds(expression, labels))
}

/// Whether one requirement of a label or node selector holds.
pub(crate) fn expression_holds(expression: &Value, labels: &Value) -> bool {
    let held = labels.get(text(expression, "/key")).and_then(Value::as_str);
    let listed = |value: &str| {
        list(expression, "/values").iter().any(|listed| listed.as_str() == Some(value))
    };
    let number = |text: &str| text.parse::<i64>().ok();
    let bound = list(expression, "/values").first().and_then(Value::as_str).and_then(number);
    match text(expression, "/operator") {
        "In" => held.is_some_and(listed),
        "NotIn" => !held.is_some_and(listed),
        "Exists" => held.is_some(),
        "DoesNotExist" => held.is_none(),
        "Gt" => held.and_then(number).zip(bound).is_some_and(|(held, bound)| held > bound),
        "Lt" => held.and_then(number).zip(bound).is_some_and(|(held, bound)| held < bound),
        _ => false,
    }
}

/// Sets a key of a nested map; missing maps on the path are created.
pub(crate) fn set(object: &mut Value, path: &[&str], value: Value) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut at = object;
    for key in parents {
        if !at.get(*key).is_some_and(Value::is_object) {
            if !at.is_object() {
                *at = json!({});
            }
            at[*key] = json!({});
        }
        at = &mut at[*key];
    }
    if !at.is_object() {
        *at = json!({});
    }
    at[*last] = value;
}

/// Sets a condition in a list. `lastTransitionTime` stays when the status does not change.
pub(crate) fn put_condition(conditions: &mut Vec<Value>, mut fresh: Value, now: Timestamp) {
    let at = conditions.iter().position(|old| old["type"] == fresh["type"]);
    let since = match at.and_then(|at| conditions.get(at)) {
        Some(old) if old["status"] == fresh["status"] => old["lastTransitionTime"].clone(),
        Some(_) | None => json!(stamp(now)),
    };
    fresh["lastTransitionTime"] = since;
    match at.and_then(|at| conditions.get_mut(at)) {
        Some(slot) => *slot = fresh,
        None => conditions.push(fresh),
    }
}

/// The earlier of two times; `None` if both are missing.
pub(crate) fn earliest(left: Option<Timestamp>, right: Option<Timestamp>) -> Option<Timestamp> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (one, None) | (None, one) => one,
    }
}
