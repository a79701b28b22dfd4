//! Kubernetes Events: one per thing that happened, with its own reason; repeats are counted, not repeated.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::Status;
use serde_json::json;
use serin_core::names::{OBJECT_MAX, derived};
use serin_core::plan::Notice;
use serin_core::reason::Reason;
use serin_core::words::line;

use crate::cache;
use crate::clock::SharedClock;

/// Dashboards made for Flagger select Events by this component.
const SOURCE_COMPONENT: &str = "flagger";
const REPORTING_COMPONENT: &str = "serin";
/// Events that may still be counted up instead of written anew.
const RECENT_MAX: usize = 512;
/// After this long a repeat is news again.
const RECENT_SECS: i64 = 600;
/// The cause that an API server names when it refuses to create something in a namespace that is being deleted.
const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";
/// Kubernetes' limit for a message.
const MESSAGE_MAX: usize = 1024;

/// The object that an Event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    /// Which release it is about: what happens again in another one is news.
    pub release: String,
}

struct Recent {
    subject: Subject,
    notice: (bool, Reason, String),
    event: String,
    count: u32,
    time: Timestamp,
}

/// Writes Events; keeps the last few in mind to count repeats.
pub struct Events {
    client: Client,
    clock: SharedClock,
    /// Which replica speaks.
    instance: String,
    recent: Mutex<VecDeque<Recent>>,
    /// Tells apart what happens at the same instant.
    written: AtomicU64,
}

impl Events {
    pub fn new(client: Client, clock: SharedClock, instance: String) -> Self {
        Self { client, clock, instance, recent: Mutex::default(), written: AtomicU64::new(0) }
    }

    pub async fn publish(&self, subject: &Subject, notice: &Notice) -> kube::Result<()> {
        let now = self.clock.now();
        let Notice { warning, reason, message, alert: _ } = notice;
        let message = line(message, MESSAGE_MAX);
        let api: Api<DynamicObject> = Api::namespaced_with(
            self.client.clone(),
            &subject.namespace,
            &cache::resource(&cache::EVENT),
        );
        if let Some((event, count)) = self.repeat(subject, (*warning, *reason, &message), now) {
            let patch = json!({"count": count, "lastTimestamp": seconds(now)});
            match api.patch(&event, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let tail = format!(".{:x}.{number:04x}", now.as_nanosecond());
        let name = derived(&subject.name, &tail, OBJECT_MAX);
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": subject.namespace},
            "involvedObject": {
                "apiVersion": "flagger.app/v1beta1",
                "kind": "Canary",
                "namespace": subject.namespace,
                "name": subject.name,
                "uid": subject.uid,
                "resourceVersion": subject.resource_version,
            },
            "type": if *warning { "Warning" } else { "Normal" },
            "reason": reason.code(),
            "message": message,
            "count": 1,
            "firstTimestamp": seconds(now),
            "lastTimestamp": seconds(now),
            "source": {"component": SOURCE_COMPONENT},
            "reportingComponent": REPORTING_COMPONENT,
            "reportingInstance": self.instance,
        });
        let object: DynamicObject =
            serde_json::from_value(event).map_err(kube::Error::SerdeError)?;
        let created = match api.create(&PostParams::default(), &object).await {
            // The namespace goes, and its Events with it.
            Err(kube::Error::Api(status)) if namespace_goes(&status) => return Ok(()),
            created => created?,
        };
        let mut recent = self.recent.lock();
        if recent.len() >= RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(Recent {
            subject: subject.clone(),
            notice: (*warning, *reason, message),
            event: created.metadata.name.unwrap_or(name),
            count: 1,
            time: now,
        });
        Ok(())
    }

    /// The Event that said the same a moment ago, and how often it was said now.
    fn repeat(
        &self,
        subject: &Subject,
        notice: (bool, Reason, &str),
        now: Timestamp,
    ) -> Option<(String, u32)> {
        let mut recent = self.recent.lock();
        recent.retain(|known| now.as_second() - known.time.as_second() < RECENT_SECS);
        let known = recent.iter_mut().find(|known| {
            (&known.subject.uid, &known.subject.release) == (&subject.uid, &subject.release)
                && (known.notice.0, known.notice.1, known.notice.2.as_str()) == notice
        })?;
        known.count = known.count.saturating_add(1);
        Some((known.event.clone(), known.count))
    }
}

/// Whether nothing new may be made because the namespace is being deleted.
fn namespace_goes(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == NAMESPACE_TERMINATING)
}

/// Kubernetes' core Events have whole seconds.
fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}
