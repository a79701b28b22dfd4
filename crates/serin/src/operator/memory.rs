//! What the operator remembers of each canary from tick to tick. All of it goes with the canary.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::api::DynamicObject;
use parking_lot::Mutex;
use serin_core::model::{Canary, Key};
use serin_providers::PodOwner;

use crate::cache;
use crate::cache::packed::Packed;
use crate::operator::answer_cache::Answers;
use crate::operator::refusal::Refused;

/// By canary.
#[derive(Default)]
pub struct Memory {
    entries: Mutex<BTreeMap<Key, Entry>>,
}

/// What is remembered of one canary.
#[derive(Default)]
pub(crate) struct Entry {
    /// Consecutive errors, for the back-off.
    pub errors: u32,
    /// The Canary as our own last write left it, for ticks that are faster than the watch.
    pub written: Option<Packed>,
    /// The last spec that was valid: it knows the route when an edit makes the spec invalid.
    pub valid: Option<Box<Canary>>,
    /// Answers to a decision that could not be written down: no server is asked twice for one decision.
    pub answers: Answers,
    /// The write that could not be carried out.
    pub refused: Refused,
    /// Whose the pods behind the Services are.
    pub pods: Pods,
}

/// What was found out. Owners of a pod do not change; those of pods that are gone are dropped.
#[derive(Default)]
pub(crate) struct Pods {
    pub owners: BTreeMap<String, PodOwner>,
    pub listens: BTreeSet<(String, u16)>,
}

impl Memory {
    /// Works on the entry of one canary, which is made if there is none.
    pub(crate) fn with<T>(&self, key: &Key, work: impl FnOnce(&mut Entry) -> T) -> T {
        let mut entries = self.entries.lock();
        match entries.get_mut(key) {
            Some(entry) => work(entry),
            None => work(entries.entry(key.clone()).or_default()),
        }
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.entries.lock().remove(key);
    }

    /// The newer of what the watch has brought and what our own last write returned.
    pub(crate) fn freshest(&self, key: &Key, object: &Arc<DynamicObject>) -> Arc<DynamicObject> {
        self.with(key, |entry| {
            let watched = object.metadata.resource_version.as_deref();
            match entry.written.as_ref().filter(|ours| cache::newer(ours.version(), watched)) {
                // What we packed ourselves can be read; if not, the watch's is right but late.
                Some(ours) => ours.object().map_or_else(|_| Arc::clone(object), Arc::new),
                None => {
                    entry.written = None;
                    Arc::clone(object)
                }
            }
        })
    }

    /// The Canary as our own write left it.
    pub(crate) fn wrote(&self, key: &Key, written: &DynamicObject) {
        let packed = Packed::new(written).ok();
        self.with(key, |entry| entry.written = packed);
    }

    /// The version of our own last write that the watch has not brought yet.
    pub(crate) fn version(&self, key: &Key) -> Option<String> {
        let entries = self.entries.lock();
        entries.get(key)?.written.as_ref()?.version().map(str::to_owned)
    }

    /// The watch has brought it: our own copy is of no more use, unless it is newer still.
    pub(crate) fn caught_up(&self, key: &Key, watched: Option<&str>) {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get_mut(key)
            && entry.written.as_ref().is_some_and(|ours| !cache::newer(ours.version(), watched))
        {
            entry.written = None;
        }
    }

    /// A conflict: another client has written, and what we wrote before is of no use.
    pub(crate) fn mistrust(&self, key: &Key) {
        if let Some(entry) = self.entries.lock().get_mut(key) {
            entry.written = None;
        }
    }
}
