//! Events that actors write: repeated ones are counted, and only so many are kept.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::change::{Doomed, Kind, Note};
use super::cluster::{Cluster, Refused};
use super::hash::suffix;
use super::object::{int, stamp};

/// Older ones are deleted; a day of rollouts on a laptop fits.
const EVENTS_MAX: usize = 2_000;

/// Writes Events and forgets the oldest.
#[derive(Default)]
pub(crate) struct Recorder {
    written: VecDeque<(String, String)>,
}

impl Recorder {
    pub(crate) fn record(
        &mut self,
        cluster: &dyn Cluster,
        note: &Note,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let namespace = if note.namespace.is_empty() { "default" } else { &note.namespace };
        let name = format!("{}.{}", note.name, suffix(&[&note.uid, note.reason, &note.message]));
        if let Some(old) = cluster.get(Kind::Event, namespace, &name) {
            let mut again = old.as_ref().clone();
            again["count"] = json!(int(&old, "/count").unwrap_or(1) + 1);
            again["lastTimestamp"] = json!(stamp(now));
            return cluster.update(Kind::Event, again);
        }
        cluster.create(Kind::Event, event(note, namespace, &name, now))?;
        self.written.push_back((namespace.to_owned(), name));
        while self.written.len() > EVENTS_MAX {
            self.forget_oldest(cluster);
        }
        Ok(())
    }

    fn forget_oldest(&mut self, cluster: &dyn Cluster) {
        let Some((namespace, name)) = self.written.pop_front() else { return };
        if let Some(old) = cluster.get(Kind::Event, &namespace, &name) {
            // Someone else removing it first is just as well.
            let _gone = cluster.delete(&Doomed::of(Kind::Event, &old, None));
        }
    }
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
