//! The one place that writes a Canary's status: whole, versioned, and only when something changed.

use std::borrow::Cow;
use std::sync::Arc;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Map, Value, json};
use serin_core::model::{Key, Status};

use serin_providers::change::{CANARY, FIELD_MANAGER};

use crate::cache;
use crate::operator::context::Context;
use crate::operator::error::{RecordError, STATUS_MAX};
use crate::operator::write_timeout::bounded;

/// Proof that the object says what was decided. Only [`record`] makes one, and nothing that could raise is written without.
#[derive(Debug)]
pub struct Recorded {
    /// The object as the write left it; none where it said the same already.
    written: Option<Arc<DynamicObject>>,
}

impl Recorded {
    pub fn written(&self) -> Option<&Arc<DynamicObject>> {
        self.written.as_ref()
    }
}

/// Writes `status` over what `object` has; nothing where nothing would change.
pub async fn record(
    context: &Context,
    key: &Key,
    object: &DynamicObject,
    status: &Status,
) -> Result<Recorded, RecordError> {
    let new = encode(key, status)?;
    let empty = Value::Object(Map::new());
    let old = object.data.get("status").unwrap_or(&empty);
    let Some(change) = difference(old, &new) else { return Ok(Recorded { written: None }) };
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), &key.namespace, &cache::resource(&CANARY));
    let patch = json!({
        "metadata": { "resourceVersion": object.metadata.resource_version },
        "status": change,
    });
    let params =
        PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(&patch);
    let write = api.patch_status(&key.name, &params, &patch);
    match bounded(context, key, write).await.and_then(|written| written) {
        Ok(mut written) => {
            written.metadata.managed_fields = None;
            Ok(Recorded { written: Some(Arc::new(written)) })
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Err(RecordError::Conflict),
        Err(source) => Err(RecordError::Write { key: key.clone(), source }),
    }
}

/// The status as it is written: what would make it too large for an API server goes first, the oldest before the newer.
fn encode(key: &Key, status: &Status) -> Result<Value, RecordError> {
    let mut status = Cow::Borrowed(status);
    loop {
        let text = serde_json::to_vec(&*status)
            .map_err(|source| RecordError::Encode { key: key.clone(), source })?;
        if text.len() <= STATUS_MAX {
            return serde_json::to_value(&*status)
                .map_err(|source| RecordError::Encode { key: key.clone(), source });
        }
        if status.checks.is_empty() {
            return Err(RecordError::TooLarge { key: key.clone(), bytes: text.len() });
        }
        status.to_mut().checks.remove(0);
    }
}

/// Whether both say the same: an API server keeps 0.0 as 0, and would be told 0.0 again at every look.
fn same(old: &Value, new: &Value) -> bool {
    match (old, new) {
        // Large whole numbers are more exact than what they would be compared as.
        (Value::Number(old), Value::Number(new)) => {
            old == new || (old.is_f64() != new.is_f64() && old.as_f64() == new.as_f64())
        }
        (Value::Array(old), Value::Array(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| same(old, new))
        }
        (Value::Object(old), Value::Object(new)) => {
            let kept = |(name, old)| new.get(name).is_some_and(|new| same(old, new));
            old.len() == new.len() && old.iter().all(kept)
        }
        (old, new) => old == new,
    }
}

/// The merge patch (RFC 7386) that turns `old` into `new`; none when they are equal.
fn difference(old: &Value, new: &Value) -> Option<Value> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let mut patch = Map::new();
            for (name, value) in new {
                match old.get(name) {
                    Some(before) => {
                        if let Some(change) = difference(before, value) {
                            patch.insert(name.clone(), change);
                        }
                    }
                    None => {
                        patch.insert(name.clone(), value.clone());
                    }
                }
            }
            for name in old.keys().filter(|name| !new.contains_key(*name)) {
                patch.insert(name.clone(), Value::Null);
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (old, new) if same(old, new) => None,
        (_, new) => Some(new.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_is_too_large_loses_its_oldest_checks() {
        let check = |number: usize| serin_core::status::CheckRecord {
            name: format!("check {number}"),
            message: "x".repeat(100_000),
            ..Default::default()
        };
        let status = Status { checks: (0..16).map(check).collect(), ..Status::default() };
        let key = Key::new("develop", "backend");
        let written = encode(&key, &status).unwrap();
        assert!(written.to_string().len() <= STATUS_MAX);
        let names: Vec<&str> = written["checks"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|c| c["name"].as_str())
            .collect();
        assert_eq!(names, ["check 11", "check 12", "check 13", "check 14", "check 15"]);
        let configs = (0..10_000).map(|n| (format!("configmap/{n}"), "x".repeat(100))).collect();
        let status = Status { tracked_configs: Some(configs), ..Status::default() };
        assert!(matches!(encode(&key, &status), Err(RecordError::TooLarge { .. })));
    }

    #[test]
    fn a_difference_adds_changes_and_removes() {
        let old = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [1], "gone": true});
        let new = json!({"a": 1, "b": {"c": 4}, "e": [1, 2], "new": {}});
        let patch = difference(&old, &new).unwrap();
        assert_eq!(patch, json!({"b": {"c": 4, "d": null}, "e": [1, 2], "new": {}, "gone": null}));
        assert_eq!(difference(&new, &new), None);
    }

    #[test]
    fn a_number_that_is_kept_without_its_fraction_is_no_difference() {
        let sent = json!({"value": 0.0, "checks": [{"value": 100.0, "low": 0.5}], "requests": 7});
        let kept = json!({"value": 0, "checks": [{"value": 100, "low": 0.5}], "requests": 7});
        assert_eq!(difference(&kept, &sent), None);
        let other = json!({"value": 0.25, "checks": [{"value": 100, "low": 0.5}], "requests": 8});
        assert_eq!(difference(&kept, &other), Some(json!({"value": 0.25, "requests": 8})));
        let counts = json!({"requests": 9_007_199_254_740_993_u64});
        let one_less = json!({"requests": 9_007_199_254_740_992_u64});
        assert_eq!(difference(&one_less, &counts), Some(counts.clone()));
    }
}
