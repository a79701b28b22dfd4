//! What pods report: their latest state each, and a bounded list of notes.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::actors::{Kind, Note, object};

/// Notes not yet written down; older ones are dropped, for a pod in trouble repeats itself.
const NOTES_MAX: usize = 1_000;

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
    /// How it ended the time before.
    pub last: Option<Exit>,
    pub restarts: u32,
    pub ready: bool,
    /// Past its startup probe.
    pub started: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    Waiting { reason: &'static str, message: String },
    Running { since: Timestamp },
    Exited(Exit),
}

/// The end of a container.
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
struct Board {
    pods: BTreeMap<String, PodReport>,
    finished: BTreeSet<String>,
    notes: VecDeque<Note>,
}

/// Where all pods report; cheap to clone.
#[derive(Clone)]
pub struct Reports {
    board: Arc<Mutex<Board>>,
    changed: watch::Sender<u64>,
}

impl Default for Reports {
    fn default() -> Self {
        Self { board: Arc::default(), changed: watch::Sender::new(0) }
    }
}

impl Reports {
    // A board is whole after every statement, so a panic elsewhere does not spoil it.
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock()
    }

    fn bump(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn of(&self, uid: &str) -> Option<PodReport> {
        self.board().pods.get(uid).cloned()
    }

    pub(crate) fn take_notes(&self) -> Vec<Note> {
        self.board().notes.drain(..).collect()
    }

    pub(crate) fn take_finished(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.board().finished)
    }

    pub(crate) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.board().pods.retain(|uid, _| keep(uid));
    }

    /// The voice of one pod.
    pub fn reporter(&self, pod: &Arc<Value>) -> Reporter {
        Reporter { reports: self.clone(), pod: Arc::clone(pod) }
    }

    /// Says that the pod is over when dropped, however its task came to its end.
    pub(crate) fn ended(&self, uid: String) -> Ended {
        Ended { reports: self.clone(), uid }
    }
}

/// See [`Reports::ended`].
pub(crate) struct Ended {
    reports: Reports,
    uid: String,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.reports.board().finished.insert(std::mem::take(&mut self.uid));
        self.reports.bump();
    }
}

/// By which one pod reports.
#[derive(Clone)]
pub struct Reporter {
    reports: Reports,
    pod: Arc<Value>,
}

impl Reporter {
    /// Changes the report; equal ones wake nobody.
    pub fn update(&self, change: impl FnOnce(&mut PodReport)) {
        let changed = {
            let mut board = self.reports.board();
            let report = board.pods.entry(object::uid(&self.pod).to_owned()).or_default();
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

    /// An Event about the pod.
    pub fn note(&self, warning: bool, reason: &'static str, message: String) {
        let note = Note { warning, ..Note::of(Kind::Pod, &self.pod, "kubelet", reason, message) };
        {
            let mut board = self.reports.board();
            if board.notes.len() == NOTES_MAX {
                board.notes.pop_front();
            }
            board.notes.push_back(note);
        }
        self.reports.bump();
    }
}
