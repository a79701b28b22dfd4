//! Validation of built-in kinds as in kube-apiserver, with its messages and their order; the difference test compares them.

mod autoscaler;
mod config;
mod container;
mod field;
mod ingress;
mod meta;
mod names;
mod pod;
mod service;
mod slice;
mod volume;
mod workload;

use serde_json::Value;

use crate::schema::FieldError;
use field::{Errors, Field};

/// The greatest number of errors reported; a hostile object has megabytes of them.
const ERRORS_MAX: usize = 100;

/// The errors of an object that has its defaults already. `old` is the object that it replaces.
pub(crate) fn check(kind: &str, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let root = Field::root(object);
    meta::check(kind, &root.child("metadata"), old.map(|old| &old["metadata"]), &mut errors);
    let spec = root.child("spec");
    let old_spec = old.map(|old| &old["spec"]);
    match kind {
        "Service" => service::check(&spec, old_spec, &mut errors),
        "Deployment" => workload::deployment(&spec, old_spec, &mut errors),
        "ReplicaSet" => workload::replica_set(&spec, old_spec, &mut errors),
        "DaemonSet" => workload::daemon_set(&spec, old_spec, &mut errors),
        "StatefulSet" => workload::stateful_set(&spec, old_spec, &mut errors),
        "Pod" => pod::check(&spec, &mut errors),
        "HorizontalPodAutoscaler" => autoscaler::check(&spec, &mut errors),
        "EndpointSlice" => slice::check(&root, old, &mut errors),
        "Ingress" => ingress::check(&root, old.is_none(), &mut errors),
        "ConfigMap" => config::map(&root, old, &mut errors),
        "Secret" => config::secret(&root, old, &mut errors),
        "Lease" => config::lease(&spec, &mut errors),
        "PodDisruptionBudget" => workload::budget(&spec, &mut errors),
        "Event" => config::event(&root, &mut errors),
        "ResourceQuota" => config::quota(&spec, &mut errors),
        "Role" | "ClusterRole" => config::role(&root, &mut errors),
        _ => {}
    }
    errors.list(ERRORS_MAX)
}

/// The errors of a status that a client writes.
pub(crate) fn check_status(kind: &str, object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if kind == "Deployment" {
        workload::deployment_status(&Field::root(object).child("status"), &mut errors);
    }
    errors.list(ERRORS_MAX)
}

/// The errors of a custom resource's metadata.
pub(crate) fn check_metadata(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let root = Field::root(object);
    let meta = root.child("metadata");
    meta::check(meta::CUSTOM, &meta, old.map(|old| &old["metadata"]), &mut errors);
    errors.list(ERRORS_MAX)
}
