//! The reports of running pods: the latest state of each, and a bounded queue of Events.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::controllers::{Kind, NewEvent, object};

/// Events that are not recorded yet; the oldest are dropped, because a failing pod repeats its Events.
const EVENTS_MAX: usize = 1_000;

/// The state of a pod as its runtime sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodReport {
    pub ip: Option<String>,
    pub init: Vec<ContainerReport>,
    pub containers: Vec<ContainerReport>,
}

/// The state of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerReport {
    pub name: String,
    pub image: String,
    pub state: ContainerState,
    /// How the run before the current one ended.
    pub last: Option<Exit>,
    pub restarts: u32,
    pub ready: bool,
    /// Whether the startup probe has succeeded.
    pub started: bool,
}

/// The state of a container, as in `status.containerStatuses[].state`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    Waiting { reason: &'static str, message: String },
    Running { since: Timestamp },
    Exited(Exit),
}

/// The end of a run of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    pub code: i32,
    pub signal: Option<i32>,
    pub message: String,
    pub started: Timestamp,
    pub finished: Timestamp,
}

impl ContainerReport {
    /// A container that has not run yet.
    pub fn waiting(container: &Value, reason: &'static str) -> Self {
        Self {
            name: object::text(container, "/name").to_owned(),
            image: object::text(container, "/image").to_owned(),
            state: ContainerState::Waiting { reason, message: String::new() },
            last: None,
            restarts: 0,
            ready: false,
            started: false,
        }
    }
}

#[derive(Default)]
struct ReportState {
    pods: BTreeMap<String, PodReport>,
    finished: BTreeSet<String>,
    events: VecDeque<NewEvent>,
}

/// The reports of all pods; clones share them.
#[derive(Clone)]
pub struct Reports {
    state: Arc<Mutex<ReportState>>,
    changed: watch::Sender<u64>,
}

impl Default for Reports {
    fn default() -> Self {
        Self { state: Arc::default(), changed: watch::Sender::new(0) }
    }
}

impl Reports {
    // The state is consistent after every statement, so a panic elsewhere leaves it usable.
    fn state(&self) -> MutexGuard<'_, ReportState> {
        self.state.lock()
    }

    fn bump(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn of(&self, uid: &str) -> Option<PodReport> {
        self.state().pods.get(uid).cloned()
    }

    pub(crate) fn take_events(&self) -> Vec<NewEvent> {
        self.state().events.drain(..).collect()
    }

    pub(crate) fn take_finished(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.state().finished)
    }

    pub(crate) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.state().pods.retain(|uid, _| keep(uid));
    }

    /// The reporter of one pod.
    pub fn reporter(&self, pod: &Arc<Value>) -> Reporter {
        Reporter { reports: self.clone(), pod: Arc::clone(pod) }
    }

    /// A guard that marks the pod as finished when it is dropped, however the pod's task ended.
    pub(crate) fn finished_on_drop(&self, uid: String) -> FinishedOnDrop {
        FinishedOnDrop { reports: self.clone(), uid }
    }
}

/// See [`Reports::finished_on_drop`].
pub(crate) struct FinishedOnDrop {
    reports: Reports,
    uid: String,
}

impl Drop for FinishedOnDrop {
    fn drop(&mut self) {
        self.reports.state().finished.insert(std::mem::take(&mut self.uid));
        self.reports.bump();
    }
}

/// Reports the state of one pod.
#[derive(Clone)]
pub struct Reporter {
    reports: Reports,
    pod: Arc<Value>,
}

impl Reporter {
    /// Changes the report; an unchanged one wakes no reader.
    pub fn update(&self, change: impl FnOnce(&mut PodReport)) {
        let changed = {
            let mut state = self.reports.state();
            let report = state.pods.entry(object::uid(&self.pod).to_owned()).or_default();
            let before = report.clone();
            change(report);
            *report != before
        };
        if changed {
            self.reports.bump();
        }
    }

    /// Changes the report of one container.
    pub fn container(&self, name: &str, change: impl FnOnce(&mut ContainerReport)) {
        self.update(|report| {
            if let Some(container) = report
                .containers
                .iter_mut()
                .chain(&mut report.init)
                .find(|container| container.name == name)
            {
                change(container);
            }
        });
    }

    /// Queues an Event about the pod, with the kubelet as its component.
    pub fn event(&self, warning: bool, reason: &'static str, message: String) {
        let event =
            NewEvent { warning, ..NewEvent::of(Kind::Pod, &self.pod, "kubelet", reason, message) };
        {
            let mut state = self.reports.state();
            if state.events.len() == EVENTS_MAX {
                state.events.pop_front();
            }
            state.events.push_back(event);
        }
        self.reports.bump();
    }
}
