//! The writes that controllers ask the store for, as values.

use jiff::Timestamp;
use serde_json::Value;

use super::object;

/// The kinds that controllers read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Deployment,
    ReplicaSet,
    DaemonSet,
    Pod,
    Service,
    EndpointSlice,
    Endpoints,
    Node,
    ConfigMap,
    Secret,
    Event,
    HorizontalPodAutoscaler,
}

impl Kind {
    /// Group (empty for core), version, plural and kind.
    pub fn resource(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Deployment => ("apps", "v1", "deployments", "Deployment"),
            Self::ReplicaSet => ("apps", "v1", "replicasets", "ReplicaSet"),
            Self::DaemonSet => ("apps", "v1", "daemonsets", "DaemonSet"),
            Self::Pod => ("", "v1", "pods", "Pod"),
            Self::Service => ("", "v1", "services", "Service"),
            Self::EndpointSlice => ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
            Self::Endpoints => ("", "v1", "endpoints", "Endpoints"),
            Self::Node => ("", "v1", "nodes", "Node"),
            Self::ConfigMap => ("", "v1", "configmaps", "ConfigMap"),
            Self::Secret => ("", "v1", "secrets", "Secret"),
            Self::Event => ("", "v1", "events", "Event"),
            Self::HorizontalPodAutoscaler => {
                ("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
            }
        }
    }

    /// The `apiVersion` of an object of this kind: `apps/v1`, or `v1` for the core group.
    pub fn api_version(self) -> String {
        let (group, version, _, _) = self.resource();
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
    }

    /// The `kind` of an object, such as `ReplicaSet`.
    pub fn name(self) -> &'static str {
        self.resource().3
    }
}

/// One write to the store.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Create(Kind, Value),
    /// Replaces metadata and spec. The object carries the resourceVersion that it was made from; a newer one in the store is a conflict.
    Update(Kind, Value),
    /// Replaces the status alone, through the status subresource.
    Status(Kind, Value),
    Delete(Deletion),
    /// Records an Event.
    Event(NewEvent),
}

/// The object to delete. The uid is a precondition: a newer object of the same name is not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Grace period in seconds: 0 removes a pod at once, `None` takes the default of the object.
    pub grace_secs: Option<i64>,
}

impl Deletion {
    pub(crate) fn of(kind: Kind, object: &Value, grace_secs: Option<i64>) -> Self {
        Self {
            kind,
            namespace: object::namespace(object).to_owned(),
            name: object::name(object).to_owned(),
            uid: object::uid(object).to_owned(),
            grace_secs,
        }
    }
}

/// An Event to record about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
    /// The component that reports the Event, as in `source.component`.
    pub component: &'static str,
}

impl NewEvent {
    pub(crate) fn of(
        kind: Kind,
        object: &Value,
        component: &'static str,
        reason: &'static str,
        message: String,
    ) -> Self {
        Self {
            kind,
            namespace: object::namespace(object).to_owned(),
            name: object::name(object).to_owned(),
            uid: object::uid(object).to_owned(),
            warning: reason.starts_with("Fail"),
            reason,
            message,
            component,
        }
    }
}

/// The result of reconciling one object.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) changes: Vec<Change>,
    /// When to reconcile again even if no object changes; `None` if time alone changes nothing.
    pub(crate) requeue_at: Option<Timestamp>,
}

impl Outcome {
    pub(crate) fn requeue_at(&mut self, at: Option<Timestamp>) {
        self.requeue_at = object::earliest(self.requeue_at, at);
    }
}
