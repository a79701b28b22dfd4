//! Which fields a selector may name: as on any API server they are few, and the others are refused.

use crate::failure::Failure;
use crate::registry::{Resource, Version};

/// What every kind can be selected by.
const OF_ALL: &[&str] = &["metadata.name", "metadata.namespace"];

/// What some kinds can be selected by beside that.
const OF_KINDS: &[(&str, &[&str])] = &[
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

/// Refuses a field that objects of this kind cannot be selected by.
pub(super) fn check(resource: &Resource, version: &Version, field: &str) -> Result<(), Failure> {
    let named = |(kind, _): &&(&str, &[&str])| !resource.custom && *kind == resource.kind;
    let of_kind = OF_KINDS.iter().find(named).map_or(&[][..], |(_, fields)| *fields);
    let declared = version.selectable.iter().any(|selectable| selectable == field);
    if declared || OF_ALL.contains(&field) || of_kind.contains(&field) {
        return Ok(());
    }
    if of_kind.is_empty() && version.selectable.is_empty() {
        let known: Vec<String> = OF_ALL.iter().map(|field| format!("{field:?}")).collect();
        return Err(Failure::bad_request(format!(
            "{field:?} is not a known field selector: only {}",
            known.join(", ")
        )));
    }
    Err(Failure::bad_request(format!("field label not supported: {field}")))
}
