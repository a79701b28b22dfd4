//! Records the Events of controllers: a repeated Event raises the count. The store bounds their number.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::change::{Kind, NewEvent};
use super::cluster::{Cluster, Refused};
use super::hash::suffix;
use super::object::{int, stamp};

/// Creates the Event, or raises the count of an equal one.
pub(crate) fn record(cluster: &dyn Cluster, new: &NewEvent, now: Timestamp) -> Result<(), Refused> {
    let namespace = if new.namespace.is_empty() { "default" } else { &new.namespace };
    let name = format!("{}.{}", new.name, suffix(&[&new.uid, new.reason, &new.message]));
    if let Some(old) = cluster.get(Kind::Event, namespace, &name) {
        let mut again = old.as_ref().clone();
        again["count"] = json!(int(&old, "/count").unwrap_or(1) + 1);
        again["lastTimestamp"] = json!(stamp(now));
        return cluster.update(Kind::Event, again);
    }
    cluster.create(Kind::Event, event(new, namespace, &name, now))
}

fn event(new: &NewEvent, namespace: &str, name: &str, now: Timestamp) -> Value {
    let at = stamp(now);
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": new.kind.api_version(), "kind": new.kind.name(), "name": new.name, "namespace": new.namespace, "uid": new.uid,
        },
        "type": if new.warning { "Warning" } else { "Normal" },
        "reason": new.reason,
        "message": new.message,
        "source": {"component": new.component},
        "reportingComponent": new.component,
        "reportingInstance": "",
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    })
}
