//! What is kept of `metadata.managedFields`: who has written an object, and of Services which ports and metadata.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use kube::api::DynamicObject;
use serde_json::{Map, Value};
use serin_providers::change::{CANARY, SERVICE};

/// Parts of a Service that others may have fields in beside ours.
const SHARED: [[&str; 2]; 3] =
    [["f:metadata", "f:labels"], ["f:metadata", "f:annotations"], ["f:spec", "f:ports"]];

/// None where nothing of it is asked: ownership of Canaries is never in doubt.
pub(crate) fn kept(object: &DynamicObject) -> Option<Vec<ManagedFieldsEntry>> {
    let all = object.metadata.managed_fields.as_ref()?;
    let kind = object.types.as_ref().map(|types| types.kind.as_str());
    if kind == Some(CANARY.kind) {
        return None;
    }
    let fields = kind == Some(SERVICE.kind);
    let lean = |entry: &ManagedFieldsEntry| ManagedFieldsEntry {
        manager: entry.manager.clone(),
        operation: entry.operation.clone(),
        fields_v1: entry.fields_v1.as_ref().filter(|_| fields).map(shared),
        ..ManagedFieldsEntry::default()
    };
    let mut kept: Vec<ManagedFieldsEntry> = Vec::new();
    for entry in all.iter().filter(|entry| entry.subresource.is_none()).map(lean) {
        if !kept.contains(&entry) {
            kept.push(entry);
        }
    }
    (!kept.is_empty()).then_some(kept)
}

fn shared(fields: &FieldsV1) -> FieldsV1 {
    let mut kept = Map::new();
    for [outer, inner] in SHARED {
        if let Some(part) = fields.0.pointer(&format!("/{outer}/{inner}")) {
            let outer = kept.entry(outer).or_insert_with(|| Value::Object(Map::new()));
            if let Some(outer) = outer.as_object_mut() {
                outer.insert(inner.to_owned(), part.clone());
            }
        }
    }
    FieldsV1(Value::Object(kept))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn managers_are_kept_and_of_services_what_others_may_share() {
        let fields = json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:ports": {"k:{}": {}}, "f:type": {}}});
        let kept_of = |kind: &str| {
            let object: DynamicObject = serde_json::from_value(json!({
                "apiVersion": "v1", "kind": kind,
                "metadata": {"name": "a", "managedFields": [
                    {"manager": "helm", "operation": "Update", "time": "2026-01-01T00:00:00Z", "fieldsV1": fields},
                    {"manager": "kubelet", "operation": "Update", "subresource": "status"},
                ]},
            }))
            .unwrap();
            serde_json::to_value(kept(&object)).unwrap()
        };
        let ports =
            json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:ports": {"k:{}": {}}}});
        assert_eq!(kept_of("Deployment"), json!([{"manager": "helm", "operation": "Update"}]));
        assert_eq!(
            kept_of("Service"),
            json!([{"manager": "helm", "operation": "Update", "fieldsV1": ports}])
        );
        assert_eq!(kept_of("Canary"), Value::Null);
    }
}
