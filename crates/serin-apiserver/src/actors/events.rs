//! Events that actors write: repeated ones are counted. The store keeps only so many.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::change::{Kind, Note};
use super::cluster::{Cluster, Refused};
use super::hash::suffix;
use super::object::{int, stamp};

/// Writes an Event, or counts one up that says the same.
pub(crate) fn record(cluster: &dyn Cluster, note: &Note, now: Timestamp) -> Result<(), Refused> {
    let namespace = if note.namespace.is_empty() { "default" } else { &note.namespace };
    let name = format!("{}.{}", note.name, suffix(&[&note.uid, note.reason, &note.message]));
    if let Some(old) = cluster.get(Kind::Event, namespace, &name) {
        let mut again = old.as_ref().clone();
        again["count"] = json!(int(&old, "/count").unwrap_or(1) + 1);
        again["lastTimestamp"] = json!(stamp(now));
        return cluster.update(Kind::Event, again);
    }
    cluster.create(Kind::Event, event(note, namespace, &name, now))
}

fn event(note: &Note, namespace: &str, name: &str, now: Timestamp) -> Value {
    let at = stamp(now);
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": note.kind.api_version(), "kind": note.kind.name(), "name": note.name, "namespace": note.namespace, "uid": note.uid,
        },
        "type": if note.warning { "Warning" } else { "Normal" },
        "reason": note.reason,
        "message": note.message,
        "source": {"component": note.from},
        "reportingComponent": note.from,
        "reportingInstance": "",
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    })
}
