//! Pods: schedules them to the node, starts and stops them, and writes their status.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Clock;
use super::change::{Change, Deletion, Kind, NewEvent};
use super::cluster::Cluster;
use super::node::{self, NODE};
use super::object::{self, int, text};
use super::view::ClusterView;
use crate::kubelet::{Configs, PodJob, PodReport, PodRuntime, Reports, Stop, pod_status};

/// The time that processes get to end when the server shuts down.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// The default of `terminationGracePeriodSeconds` in Kubernetes.
const GRACE_SECS: i64 = 30;

/// Runs pods, one task each.
pub(crate) struct Kubelet {
    runtime: Arc<dyn PodRuntime>,
    cluster: Arc<dyn Cluster>,
    clock: Clock,
    reports: Reports,
    running: BTreeMap<String, watch::Sender<Option<Stop>>>,
    /// Pods whose object was deleted from the API; a finalizer may keep it.
    removed: BTreeSet<String>,
    /// Pods whose containers have ended; their status may not say so yet.
    over: BTreeSet<String>,
    /// The object and report that the last status was written from, by uid.
    written: BTreeMap<String, (Arc<Value>, PodReport)>,
    tasks: JoinSet<()>,
}

/// Reads ConfigMaps and Secrets from the store.
struct StoreConfigs(Arc<dyn Cluster>);

impl Configs for StoreConfigs {
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

    pub(crate) fn step(&mut self, view: &ClusterView, now: Timestamp) -> Vec<Change> {
        while self.tasks.try_join_next().is_some() {}
        let finished = self.reports.take_finished();
        let labels = node::labels(view);
        let mut changes: Vec<Change> =
            self.reports.take_events().into_iter().map(Change::Event).collect();
        let mut seen = BTreeSet::new();
        for pod in view.all(Kind::Pod) {
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

    /// Handles a pod without a task: schedules it, starts it, or removes it. A finished one is left as it is.
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
                changes.push(Change::Delete(Deletion::of(Kind::Pod, pod, Some(0))));
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
                changes.push(Change::Event(NewEvent::of(
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
            configs: Arc::new(StoreConfigs(Arc::clone(&self.cluster))),
            reporter: self.reports.reporter(pod),
            clock: Arc::clone(&self.clock),
            stop: stopped,
        };
        self.running.insert(uid.clone(), stop);
        let ended = self.reports.finished_on_drop(uid);
        let work = self.runtime.run(job);
        self.tasks.spawn(async move {
            let _ended = ended;
            work.await;
        });
    }

    fn write_down(&mut self, pod: &Arc<Value>, changes: &mut Vec<Change>, now: Timestamp) {
        // A status write now would conflict, because the object changes in this pass.
        let touched = changes.last().is_some_and(|change| matches!(change, Change::Event(event) if event.uid == object::uid(pod) && event.reason == "Scheduled"));
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

    /// Kills pods whose objects no longer exist, and drops everything known about them.
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

    /// Ends all pods with a short grace period, then kills them.
    pub(crate) async fn shutdown(mut self) {
        for stop in self.running.values() {
            end(stop, &Stop { grace: SHUTDOWN_GRACE, drain: false });
        }
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // Dropping a task kills the processes that have not ended by then.
        let _late = tokio::time::timeout(SHUTDOWN_GRACE * 2, all).await;
    }
}

/// Requests termination. Only a shorter grace period replaces an earlier request.
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
    // Only a pod that can still receive requests needs to be drained.
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
    changes.push(Change::Event(NewEvent::of(
        Kind::Pod,
        pod,
        "default-scheduler",
        "FailedScheduling",
        message.to_owned(),
    )));
}
