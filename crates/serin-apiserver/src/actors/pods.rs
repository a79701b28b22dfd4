//! Pods: scheduling them to the node, starting and stopping them, and writing down what they report.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Clock;
use super::change::{Change, Doomed, Kind, Note};
use super::cluster::Cluster;
use super::node::{self, NODE};
use super::object::{self, int, text};
use super::world::World;
use crate::kubelet::{Configs, PodJob, PodReport, PodRuntime, Reports, Stop, pod_status};

/// How long processes get to end when the server does.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// Kubernetes' own default.
const GRACE_SECS: i64 = 30;

/// The pods that run, one task each.
pub(crate) struct Kubelet {
    runtime: Arc<dyn PodRuntime>,
    cluster: Arc<dyn Cluster>,
    clock: Clock,
    reports: Reports,
    running: BTreeMap<String, watch::Sender<Option<Stop>>>,
    /// Pods whose removal has been asked for; a finalizer may hold them.
    removed: BTreeSet<String>,
    /// Pods that came to their end by themselves; their status may not say so yet.
    over: BTreeSet<String>,
    /// Pods whose status says what they reported then.
    written: BTreeMap<String, (Arc<Value>, PodReport)>,
    tasks: JoinSet<()>,
}

/// ConfigMaps and Secrets straight from the store.
struct Stored(Arc<dyn Cluster>);

impl Configs for Stored {
    fn config_map(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.0.get(Kind::ConfigMap, namespace, name)
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.0.get(Kind::Secret, namespace, name)
    }
}

impl Kubelet {
    pub(crate) fn new(
        runtime: Arc<dyn PodRuntime>,
        cluster: Arc<dyn Cluster>,
        clock: Clock,
    ) -> Self {
        let (reports, running, removed) = (Reports::default(), BTreeMap::new(), BTreeSet::new());
        Self {
            runtime,
            cluster,
            clock,
            reports,
            running,
            removed,
            over: BTreeSet::new(),
            written: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    pub(crate) fn reports(&self) -> watch::Receiver<u64> {
        self.reports.watch()
    }

    pub(crate) fn step(&mut self, world: &World, now: Timestamp) -> Vec<Change> {
        while self.tasks.try_join_next().is_some() {}
        let finished = self.reports.take_finished();
        let labels = node::labels(world);
        let mut changes: Vec<Change> =
            self.reports.take_notes().into_iter().map(Change::Event).collect();
        let mut seen = BTreeSet::new();
        for pod in world.all(Kind::Pod) {
            seen.insert(object::uid(pod).to_owned());
            if finished.contains(object::uid(pod)) {
                self.running.remove(object::uid(pod));
                self.over.insert(object::uid(pod).to_owned());
            }
            match self.running.get(object::uid(pod)) {
                Some(stop) if object::deleting(pod) => end(stop, &stop_of(pod)),
                Some(_) => {}
                None => self.idle(pod, &labels, &mut changes, now),
            }
            self.write_down(pod, &mut changes, now);
        }
        self.drop_unknown(&seen, &finished);
        changes
    }

    /// A pod without a task: to be placed, started, removed, or left as it ended.
    fn idle(
        &mut self,
        pod: &Arc<Value>,
        labels: &Value,
        changes: &mut Vec<Change>,
        now: Timestamp,
    ) {
        let uid = object::uid(pod);
        if object::deleting(pod) {
            if self.removed.insert(uid.to_owned()) {
                changes.push(Change::Delete(Doomed::of(Kind::Pod, pod, Some(0))));
            }
            return;
        }
        if object::is_finished(pod) || self.over.contains(uid) {
            return;
        }
        match text(pod, "/spec/nodeName") {
            NODE => self.start(pod),
            "" if labels.is_null() => {}
            "" if node::fits(&pod["spec"], labels) => {
                let mut placed = pod.as_ref().clone();
                placed["spec"]["nodeName"] = json!(NODE);
                changes.push(Change::Update(Kind::Pod, placed));
                let message = format!(
                    "Successfully assigned {}/{} to {NODE}",
                    object::namespace(pod),
                    object::name(pod)
                );
                changes.push(Change::Event(Note::of(
                    Kind::Pod,
                    pod,
                    "default-scheduler",
                    "Scheduled",
                    message,
                )));
            }
            "" => unschedulable(pod, changes, now),
            _elsewhere => {}
        }
    }

    fn start(&mut self, pod: &Arc<Value>) {
        let uid = object::uid(pod).to_owned();
        let (stop, stopped) = watch::channel(None);
        let job = PodJob {
            pod: Arc::clone(pod),
            configs: Arc::new(Stored(Arc::clone(&self.cluster))),
            reporter: self.reports.reporter(pod),
            clock: Arc::clone(&self.clock),
            stop: stopped,
        };
        self.running.insert(uid.clone(), stop);
        let ended = self.reports.ended(uid);
        let work = self.runtime.run(job);
        self.tasks.spawn(async move {
            let _ended = ended;
            work.await;
        });
    }

    fn write_down(&mut self, pod: &Arc<Value>, changes: &mut Vec<Change>, now: Timestamp) {
        // A status for an object that changes in this very step would only be refused.
        let touched = changes.last().is_some_and(|change| matches!(change, Change::Event(note) if note.uid == object::uid(pod) && note.reason == "Scheduled"));
        let Some(report) = self.reports.of(object::uid(pod)).filter(|_| !touched) else { return };
        let known = self.written.get(object::uid(pod));
        if known.is_some_and(|(known, said)| Arc::ptr_eq(known, pod) && *said == report) {
            return;
        }
        let fresh = pod_status(pod, &report, now);
        if pod.get("status") == Some(&fresh) {
            self.written.insert(object::uid(pod).to_owned(), (Arc::clone(pod), report));
        } else {
            let mut changed = pod.as_ref().clone();
            changed["status"] = fresh;
            changes.push(Change::Status(Kind::Pod, changed));
        }
    }

    /// Pods that are gone from the store are killed, and everything about them forgotten.
    fn drop_unknown(&mut self, seen: &BTreeSet<String>, finished: &BTreeSet<String>) {
        self.removed.retain(|uid| seen.contains(uid));
        self.over.retain(|uid| seen.contains(uid));
        self.written.retain(|uid, _| seen.contains(uid));
        let now = Stop { grace: Duration::ZERO, drain: false };
        for (_, stop) in self.running.iter().filter(|(uid, _)| !seen.contains(*uid)) {
            end(stop, &now);
        }
        self.running.retain(|uid, _| seen.contains(uid) || !finished.contains(uid));
        let running = &self.running;
        self.reports.retain(|uid| seen.contains(uid) || running.contains_key(uid));
    }

    /// Ends all pods, kindly for a moment, then not.
    pub(crate) async fn shutdown(mut self) {
        for stop in self.running.values() {
            end(stop, &Stop { grace: SHUTDOWN_GRACE, drain: false });
        }
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // What has not ended by then is killed when its task is dropped.
        let _late = tokio::time::timeout(SHUTDOWN_GRACE * 2, all).await;
    }
}

/// Asks for the end; only a shorter wait replaces an earlier request.
fn end(stop: &watch::Sender<Option<Stop>>, wanted: &Stop) {
    stop.send_if_modified(|asked| {
        let sooner = asked.as_ref().is_none_or(|asked| wanted.grace < asked.grace);
        if sooner {
            *asked = Some(wanted.clone());
        }
        sooner
    });
}

fn stop_of(pod: &Value) -> Stop {
    let secs = int(pod, "/metadata/deletionGracePeriodSeconds")
        .or_else(|| int(pod, "/spec/terminationGracePeriodSeconds"))
        .unwrap_or(GRACE_SECS);
    let secs = u64::try_from(secs).unwrap_or(0);
    // Only a pod that may still get requests needs to be drained.
    Stop { grace: Duration::from_secs(secs), drain: secs > 0 && object::is_ready(pod) }
}

fn unschedulable(pod: &Value, changes: &mut Vec<Change>, now: Timestamp) {
    if object::condition(pod, "PodScheduled").is_some() {
        return;
    }
    let message = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
    let mut waiting = pod.clone();
    let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message, "lastTransitionTime": object::stamp(now)});
    object::set(&mut waiting, &["status", "phase"], json!("Pending"));
    object::set(&mut waiting, &["status", "conditions"], json!([condition]));
    changes.push(Change::Status(Kind::Pod, waiting));
    changes.push(Change::Event(Note::of(
        Kind::Pod,
        pod,
        "default-scheduler",
        "FailedScheduling",
        message.to_owned(),
    )));
}
