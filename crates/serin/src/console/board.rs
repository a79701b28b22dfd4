//! What is known of all Canaries while somebody looks: one watch, one track each, in bounded room.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::runtime::{WatchStreamExt, watcher};
use serde::Serialize;
use serin_core::model::Key;
use serin_core::words::{SENTENCE_MAX, line};
use serin_providers::change::CANARY;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::read::{self, Detail};
use crate::cache;
use crate::clock::SharedClock;
use crate::guard::evidence::Evidence;
use crate::http_client::chain;
use crate::view::fleet::{Row, row};
use crate::view::{ReleaseView, Track, VERSION, view};

/// How often the guards of this process are asked, and images are read.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Canaries that are remembered with everything; of the others only the last state is.
const WHOLE_MAX: usize = 256;
/// Canaries of which anything is remembered.
const TRACKS_MAX: usize = 20_000;
/// Removals that are remembered for those who ask what has changed.
const GONE_MAX: usize = 1024;
/// The longest time between two tries of a watch, and some more.
const TROUBLE_LASTS: Duration = Duration::from_secs(60);
/// Workloads read in one go, for the versions of rows.
const IMAGES_AT_ONCE: usize = 8;

/// What a guard in this process knows at this moment; a status has it later.
pub trait Live: Send + Sync {
    fn evidence(&self, key: &Key) -> Option<Evidence>;
}

impl Live for crate::operator::context::Context {
    fn evidence(&self, key: &Key) -> Option<Evidence> {
        self.guards.evidence(key)
    }
}

/// Clones share it.
#[derive(Clone)]
pub struct Board {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    namespace: Option<String>,
    live: Option<Arc<dyn Live>>,
    clock: SharedClock,
    state: Mutex<State>,
    details: Mutex<BTreeMap<Key, Arc<Detail>>>,
    /// A canary has changed.
    changed: watch::Sender<u64>,
    /// Images are to be read.
    hungry: Notify,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Key, Entry>,
    gone: VecDeque<(u64, Key)>,
    /// Those who know less than this are told everything.
    since: u64,
    sequence: u64,
    /// The list is complete.
    listed: bool,
    /// Why nothing could be read, and when that was.
    trouble: Option<(Instant, String)>,
}

struct Entry {
    track: Track,
    row: Row,
    sequence: u64,
    /// Revision that the images were read for.
    pictured: Option<String>,
}

/// All rows, or those that have changed.
#[derive(Debug, Serialize)]
pub struct Fleet {
    pub version: u32,
    pub sequence: u64,
    /// Milliseconds of the epoch.
    pub now: i64,
    /// These are all, not only what has changed.
    pub whole: bool,
    /// The list is complete.
    pub listed: bool,
    pub canaries: Vec<Row>,
    pub gone: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl State {
    /// A number that no server before this one has told.
    fn begin(now: jiff::Timestamp) -> Self {
        let start = u64::try_from(now.as_millisecond()).unwrap_or_default();
        Self { since: start, sequence: start, ..Self::default() }
    }

    /// A watch that has failed tries again and again, and says so each time; one that goes on is silent.
    fn trouble(&self) -> Option<String> {
        let (time, why) = self.trouble.as_ref()?;
        (!self.listed || time.elapsed() < TROUBLE_LASTS).then(|| why.clone())
    }

    fn step(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn touch(&mut self, key: &Key) {
        let sequence = self.step();
        if let Some(entry) = self.entries.get_mut(key) {
            (entry.row, entry.sequence) = (row(&entry.track), sequence);
        }
    }

    fn remove(&mut self, key: &Key) {
        if self.entries.remove(key).is_none() {
            return;
        }
        let sequence = self.step();
        self.gone.push_back((sequence, key.clone()));
        if self.gone.len() > GONE_MAX
            && let Some((sequence, _)) = self.gone.pop_front()
        {
            self.since = sequence;
        }
    }

    /// Lets go of what nobody looks at: releases that were over first.
    fn bound(&mut self) {
        if self.entries.len() <= WHOLE_MAX {
            return;
        }
        let mut over: Vec<(u64, Key)> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.track.is_releasing())
            .map(|(key, entry)| (entry.sequence, key.clone()))
            .collect();
        over.sort();
        let surplus = self.entries.len() - WHOLE_MAX;
        for (_, key) in over.into_iter().take(surplus) {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.track.fold();
            }
        }
    }
}

fn key_of(object: &DynamicObject) -> Option<Key> {
    let meta = &object.metadata;
    Some(Key { namespace: meta.namespace.clone()?, name: meta.name.clone()? })
}

impl Board {
    /// Of one namespace, or of all; `live` asks the guards of this process.
    pub fn new(
        client: Client,
        namespace: Option<String>,
        live: Option<Arc<dyn Live>>,
        clock: SharedClock,
    ) -> Self {
        let (changed, hungry) = (watch::Sender::new(0), Notify::new());
        let state = Mutex::new(State::begin(clock.now()));
        let details = Mutex::default();
        let inner = Inner { client, namespace, live, clock, state, details, changed, hungry };
        Self { inner: Arc::new(inner) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while holding it leaves rows that the next event sets right.
        self.inner.state.lock()
    }

    fn tell(&self) {
        let sequence = self.state().sequence;
        self.inner.changed.send_replace(sequence);
    }

    /// Hears of every change.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// Watches, looks and reads until dropped.
    pub async fn run(&self) {
        tokio::join!(self.follow(), self.look(), self.picture());
    }

    async fn follow(&self) {
        let resource = cache::resource(&CANARY);
        let client = self.inner.client.clone();
        let api: Api<DynamicObject> = match &self.inner.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let events = watcher(api, cache::watch_config()).default_backoff();
        let mut events = std::pin::pin!(events);
        let mut listing = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listing.clear(),
                Ok(watcher::Event::InitApply(object)) => {
                    listing.extend(key_of(&object));
                    self.note(&object);
                }
                Ok(watcher::Event::InitDone) => self.listed(&std::mem::take(&mut listing)),
                Ok(watcher::Event::Apply(object)) => self.note(&object),
                Ok(watcher::Event::Delete(object)) => {
                    if let Some(key) = key_of(&object) {
                        self.state().remove(&key);
                        self.details().remove(&key);
                    }
                }
                Err(error) => {
                    let mut state = self.state();
                    let why = line(&chain(&error), SENTENCE_MAX);
                    state.trouble = Some((Instant::now(), why));
                    state.step();
                }
            }
            self.tell();
        }
    }

    fn note(&self, object: &DynamicObject) {
        let (Some(key), Some(value)) = (key_of(object), cache::to_value(object)) else { return };
        let now = self.inner.clock.now();
        let mut state = self.state();
        if let Some(entry) = state.entries.get_mut(&key) {
            let before = entry.track.is_releasing();
            entry.track.note(value, now);
            if before && !entry.track.is_releasing() {
                state.bound();
            }
        } else if state.entries.len() >= TRACKS_MAX {
            let why = format!("there are more than {TRACKS_MAX} Canaries; the rest is left out");
            state.trouble = Some((Instant::now(), why));
            return;
        } else if let Some(track) = Track::new(value, now) {
            let entry = Entry { row: row(&track), track, sequence: 0, pictured: None };
            state.entries.insert(key.clone(), entry);
        } else {
            return;
        }
        state.touch(&key);
        drop(state);
        self.inner.hungry.notify_one();
    }

    fn listed(&self, there: &BTreeSet<Key>) {
        let mut state = self.state();
        let gone: Vec<Key> =
            state.entries.keys().filter(|key| !there.contains(key)).cloned().collect();
        gone.iter().for_each(|key| state.remove(key));
        (state.listed, state.trouble) = (true, None);
        state.step();
        state.bound();
    }

    /// Asks the guards of this process.
    async fn look(&self) {
        let Some(live) = self.inner.live.clone() else { return };
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let releasing: Vec<Key> = {
                let state = self.state();
                let entries = state.entries.iter();
                entries
                    .filter(|(_, e)| e.track.is_releasing())
                    .map(|(key, _)| key.clone())
                    .collect()
            };
            let mut news = false;
            for key in releasing {
                let Some(evidence) = live.evidence(&key) else { continue };
                let mut state = self.state();
                let Some(entry) = state.entries.get_mut(&key) else { continue };
                if entry.track.look(evidence) {
                    state.touch(&key);
                    news = true;
                }
            }
            if news {
                self.tell();
            }
        }
    }

    /// Reads what workloads run, for those that are being released.
    async fn picture(&self) {
        loop {
            let hungry = self.inner.hungry.notified();
            let due = self.due();
            if due.is_empty() {
                hungry.await;
                continue;
            }
            let read = due.into_iter().map(|(key, revision, [target, primary])| async move {
                let client = &self.inner.client;
                let images = read::images(client, &key.namespace, &target, &primary).await;
                (key, revision, images)
            });
            for (key, revision, images) in futures::future::join_all(read).await {
                let mut state = self.state();
                let Some(entry) = state.entries.get_mut(&key) else { continue };
                // What cannot be read is asked for again with the next revision.
                entry.pictured = Some(revision);
                if let Some(images) = images {
                    entry.track.run(images);
                    state.touch(&key);
                }
            }
            self.tell();
        }
    }

    fn due(&self) -> Vec<(Key, String, [String; 2])> {
        let state = self.state();
        let moves = state.entries.iter().filter(|(_, entry)| entry.row.under_way.is_some());
        let due = moves.filter_map(|(key, entry)| {
            let status = entry.track.status();
            // A target whose release has not begun has another image than what it will be read for.
            let revision = format!("{} {:?}", status.last_applied_spec, status.phase);
            if entry.pictured.as_ref() == Some(&revision) {
                return None;
            }
            Some((key.clone(), revision, entry.track.workloads()?))
        });
        due.take(IMAGES_AT_ONCE).collect()
    }

    fn details(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Detail>>> {
        self.inner.details.lock()
    }

    /// The rows that have changed since, or all of them.
    pub fn fleet(&self, since: Option<u64>) -> Fleet {
        let state = self.state();
        let since = since.filter(|since| *since >= state.since && *since <= state.sequence);
        let news = |sequence: u64| since.is_none_or(|since| sequence > since);
        let rows = state.entries.values().filter(|entry| news(entry.sequence));
        let gone = state.gone.iter().filter(|(sequence, _)| since.is_some() && news(*sequence));
        Fleet {
            version: VERSION,
            sequence: state.sequence,
            now: self.inner.clock.now().as_millisecond(),
            whole: since.is_none(),
            listed: state.listed,
            canaries: rows.map(|entry| entry.row.clone()).collect(),
            gone: gone.map(|(_, key)| key.to_string()).collect(),
            namespace: self.inner.namespace.clone(),
            trouble: state.trouble(),
        }
    }

    /// Why nothing can be read, and whether the list is complete.
    pub fn standing(&self) -> (Option<String>, bool) {
        let state = self.state();
        (state.trouble(), state.listed)
    }

    /// Name of the target, and which generation of it the operator has compared last.
    pub fn target(&self, key: &Key) -> Option<(String, Option<i64>)> {
        let state = self.state();
        let track = &state.entries.get(key)?.track;
        let [target, _] = track.workloads()?;
        Some((target, track.status().target_generation))
    }

    /// The picture of one release, with its pods and what Events tell of it.
    pub async fn release(&self, key: &Key) -> Option<ReleaseView> {
        let workloads = self.state().entries.get(key)?.track.workloads();
        let detail = read::detail(&mut self.details(), key);
        let around = detail.refresh(&self.inner.client, key, workloads.as_ref()).await;
        let mut state = self.state();
        let entry = state.entries.get_mut(key)?;
        if let Some(images) = around.images {
            entry.track.run(images);
        }
        entry.track.recall(&around.events);
        Some(view(&entry.track, &around.surroundings, self.inner.clock.now()))
    }
}
