//! The fields that field selectors support; as on any API server they are few, and others are refused.

use crate::failure::Failure;
use crate::registry::{Resource, Version};

/// Fields that every kind supports.
const COMMON_FIELDS: &[&str] = &["metadata.name", "metadata.namespace"];

/// Fields that some kinds support in addition.
const KIND_FIELDS: &[(&str, &[&str])] = &[
    (
        "Pod",
        &[
            "spec.hostNetwork",
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.nominatedNodeName",
            "status.phase",
            "status.podIP",
        ],
    ),
    (
        "Event",
        &[
            "involvedObject.apiVersion",
            "involvedObject.fieldPath",
            "involvedObject.kind",
            "involvedObject.name",
            "involvedObject.namespace",
            "involvedObject.resourceVersion",
            "involvedObject.uid",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
    ),
    ("Namespace", &["status.phase"]),
    ("Node", &["spec.unschedulable"]),
    ("Secret", &["type"]),
    ("Service", &["spec.clusterIP", "spec.type"]),
    ("ReplicaSet", &["status.replicas"]),
    ("ReplicationController", &["status.replicas"]),
    ("Job", &["status.successful"]),
];

/// Refuses a field that selectors of this kind do not support.
pub(super) fn check(resource: &Resource, version: &Version, field: &str) -> Result<(), Failure> {
    let named = |(kind, _): &&(&str, &[&str])| !resource.custom && *kind == resource.kind;
    let of_kind = KIND_FIELDS.iter().find(named).map_or(&[][..], |(_, fields)| *fields);
    let declared = version.selectable.iter().any(|selectable| selectable == field);
    if declared || COMMON_FIELDS.contains(&field) || of_kind.contains(&field) {
        return Ok(());
    }
    if of_kind.is_empty() && version.selectable.is_empty() {
        let known: Vec<String> = COMMON_FIELDS.iter().map(|field| format!("{field:?}")).collect();
        return Err(Failure::bad_request(format!(
            "{field:?} is not a known field selector: only {}",
            known.join(", ")
        )));
    }
    Err(Failure::bad_request(format!("field label not supported: {field}")))
}
