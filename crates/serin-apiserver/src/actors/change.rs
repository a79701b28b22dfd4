//! What actors want done to the store, as values.

use jiff::Timestamp;
use serde_json::Value;

use super::object;

/// The kinds that actors read and write.
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

    /// As in `apiVersion`.
    pub fn api_version(self) -> String {
        let (group, version, _, _) = self.resource();
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
    }

    /// As in `kind`.
    pub fn name(self) -> &'static str {
        self.resource().3
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Create(Kind, Value),
    /// Metadata and spec; carries the resourceVersion it was made from.
    Update(Kind, Value),
    /// The status alone.
    Status(Kind, Value),
    Delete(Doomed),
    /// Something to tell people.
    Event(Note),
}

/// What is to be deleted; the uid keeps a successor of the same name alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doomed {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Zero removes a pod at once; `None` leaves the wait to the object.
    pub grace_secs: Option<i64>,
}

impl Doomed {
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

/// An Event about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
    /// Who says it, as in `source.component`.
    pub from: &'static str,
}

impl Note {
    pub(crate) fn of(
        kind: Kind,
        object: &Value,
        from: &'static str,
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
            from,
        }
    }
}

/// What one look at an object leads to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) changes: Vec<Change>,
    /// When time alone may change the answer.
    pub(crate) wake: Option<Timestamp>,
}

impl Outcome {
    pub(crate) fn wake_at(&mut self, at: Option<Timestamp>) {
        self.wake = object::earliest(self.wake, at);
    }
}
