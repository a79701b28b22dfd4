//! What is known of the cluster: watches into a cache that holds only the objects some canary refers to.
//!
//! A kind is watched from the first canary on that needs it. An object is kept only while a canary wants it, so memory
//! grows with the canaries and not with the cluster. An idle tick reads nothing from the API.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, TypeMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use serin_core::model::Key;
use serin_core::observed::Seen;
use serin_providers::change::{ENDPOINT_SLICE, Kind, ObjectRef};
use tokio::sync::Notify;

use crate::outside::chain;
use crate::packed::Packed;
use crate::wake::Wake;

/// How long a tick waits for a cache to fill before it takes the object for unreadable.
const SYNC_WAIT: Duration = Duration::from_secs(10);
/// Reads that check a list of lower versions, at once.
const READS_AT_ONCE: usize = 8;
/// A single read that a new wish costs.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(10);
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// One thing a canary wants to know: an object by name, or for EndpointSlices all those of the Service of that name.
pub type Slot = ObjectRef;

pub use serin_providers::metric::METRIC_TEMPLATE;

/// Kinds that only the shell reads.
pub const ALERT_PROVIDER: Kind = Kind {
    group: "flagger.app",
    version: "v1beta1",
    kind: "AlertProvider",
    plural: "alertproviders",
};
pub const EVENT: Kind = Kind { group: "", version: "v1", kind: "Event", plural: "events" };

/// A kind as the client's URLs need it.
pub fn resource(kind: &Kind) -> ApiResource {
    ApiResource {
        group: kind.group.to_owned(),
        version: kind.version.to_owned(),
        api_version: kind.api_version(),
        kind: kind.kind.to_owned(),
        plural: kind.plural.to_owned(),
    }
}

/// The objects of a slot by name: one, or the slices of a Service.
type Objects = BTreeMap<String, Packed>;

#[derive(Default)]
struct SlotState {
    /// None until first looked at.
    objects: Option<Objects>,
    wanted_by: BTreeSet<Key>,
    /// Wished for while the kind's list was already under way: the list may have passed it.
    read_alone: bool,
}

#[derive(Default)]
struct KindState {
    listing: bool,
    synced: bool,
    error: Option<String>,
    /// Seen since the list began; the rest is gone when it is done.
    listed: BTreeSet<(Slot, String)>,
    /// Listed with a lower version than is known. The list is old, or the cluster was restored: a read of its own tells.
    doubted: BTreeSet<Slot>,
    task: Option<tokio::task::JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    kinds: BTreeMap<Kind, KindState>,
    slots: BTreeMap<Slot, SlotState>,
    wants: BTreeMap<Key, BTreeSet<Slot>>,
}

struct Inner {
    client: Client,
    namespace: Option<String>,
    state: Mutex<State>,
    changed: Notify,
    wake: Wake,
}

/// The cache; clones share it.
#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        for kind in state.kinds.values() {
            if let Some(task) = &kind.task {
                task.abort();
            }
        }
    }
}

impl World {
    /// `namespace` restricts every watch to one namespace.
    pub fn new(client: Client, namespace: Option<String>, wake: Wake) -> Self {
        Self {
            inner: Arc::new(Inner {
                client,
                namespace,
                state: Mutex::default(),
                changed: Notify::new(),
                wake,
            }),
        }
    }

    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while holding it leaves a cache that the next event or relist sets right.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on `key` is woken by changes of these, and of nothing else.
    pub fn want(&self, key: &Key, wanted: &BTreeSet<Slot>) {
        let mut state = self.state();
        let before = state.wants.insert(key.clone(), wanted.clone()).unwrap_or_default();
        for slot in before.difference(wanted) {
            state.unwant(key, slot);
        }
        for slot in wanted {
            let known = state.slots.get(slot).is_some_and(|s| s.objects.is_some());
            let kind = state.kinds.entry(slot.kind).or_default();
            let late = !known && (kind.listing || kind.synced);
            if kind.task.is_none() {
                kind.task = Some(self.watch(slot.kind));
            }
            let entry = state.slots.entry(slot.clone()).or_default();
            entry.read_alone |= late && entry.wanted_by.is_empty();
            entry.wanted_by.insert(key.clone());
        }
    }

    /// The canary is gone, and with it what only it wanted.
    pub fn forget(&self, key: &Key) {
        let mut state = self.state();
        for slot in state.wants.remove(key).unwrap_or_default() {
            state.unwant(key, &slot);
        }
    }

    /// Waits, within bounds, until each of these is known or known to be unreadable.
    pub async fn settle(&self, wanted: &BTreeSet<Slot>) {
        let deadline = tokio::time::Instant::now() + SYNC_WAIT;
        // One read each: what fails now is tried again by the next tick, not in a circle.
        let mut tried = BTreeSet::new();
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (mut alone, waiting) = self.unsettled(wanted);
            alone.retain(|slot| tried.insert(slot.clone()));
            if alone.is_empty() && !waiting {
                return;
            }
            if !alone.is_empty() {
                futures::future::join_all(alone.iter().map(|slot| self.read(slot))).await;
                continue;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return;
            }
        }
    }

    /// Slots to read one by one, and whether others still wait for their kind's list.
    fn unsettled(&self, wanted: &BTreeSet<Slot>) -> (Vec<Slot>, bool) {
        let state = self.state();
        let mut alone = Vec::new();
        let mut waiting = false;
        for slot in wanted {
            let Some(entry) = state.slots.get(slot) else { continue };
            if entry.objects.is_some() {
                continue;
            }
            let kind = state.kinds.get(&slot.kind);
            if entry.read_alone && kind.is_some_and(|kind| kind.synced) {
                alone.push(slot.clone());
            } else if kind.is_some_and(|kind| kind.error.is_none()) {
                waiting = true;
            }
        }
        (alone, waiting)
    }

    /// The object of a slot.
    pub fn object(&self, slot: &Slot) -> Seen<Arc<Value>> {
        match self.objects(slot) {
            Seen::Present(objects) => {
                objects.into_values().next().map_or(Seen::Absent, Seen::Present)
            }
            Seen::Absent => Seen::Absent,
            Seen::Unreadable(why) => Seen::Unreadable(why),
        }
    }

    /// All objects of a slot: the slices of a Service.
    pub fn objects(&self, slot: &Slot) -> Seen<BTreeMap<String, Arc<Value>>> {
        let state = self.state();
        let Some(objects) = state.slots.get(slot).and_then(|entry| entry.objects.as_ref()) else {
            let error = state.kinds.get(&slot.kind).and_then(|kind| kind.error.clone());
            return Seen::Unreadable(
                error.unwrap_or_else(|| format!("{} not listed yet", slot.kind.plural)),
            );
        };
        if objects.is_empty() {
            return Seen::Absent;
        }
        let open =
            |(name, packed): (&String, &Packed)| Ok((name.clone(), Arc::new(packed.value()?)));
        match objects.iter().map(open).collect::<serde_json::Result<_>>() {
            Ok(objects) => Seen::Present(objects),
            Err(error) => Seen::Unreadable(format!("{} cannot be read: {error}", slot.kind.plural)),
        }
    }

    /// What a write of ours returned is known before the watch tells.
    pub fn learn(&self, object: DynamicObject) {
        let Some(types) = object.types.clone() else { return };
        let mut state = self.state();
        let kinds: Vec<Kind> = state
            .kinds
            .keys()
            .filter(|k| k.kind == types.kind && k.api_version() == types.api_version)
            .copied()
            .collect();
        for kind in kinds {
            let Some(slot) = slot_of(&kind, &object) else { continue };
            if let Some(entry) = state.slots.get_mut(&slot) {
                entry.take(&kind, &object);
            }
        }
    }

    /// A scale of ours succeeded. The version stays the old one, so that what the watch brings still counts as newer.
    pub fn learn_replicas(&self, slot: &Slot, replicas: u32) {
        let mut state = self.state();
        let objects = state.slots.get_mut(slot).and_then(|entry| entry.objects.as_mut());
        if let Some(known) = objects.and_then(|objects| objects.get_mut(&slot.name))
            && let Ok(mut scaled) = known.object()
        {
            scaled.data["spec"]["replicas"] = json!(replicas);
            if let Ok(scaled) = Packed::new(&scaled) {
                *known = scaled;
            }
        }
    }

    /// How many objects are held, for the benchmark and the tests.
    pub fn len(&self) -> usize {
        self.state()
            .slots
            .values()
            .filter_map(|entry| entry.objects.as_ref())
            .map(BTreeMap::len)
            .sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn api(&self, kind: &Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.inner.client.clone(), namespace, &resource(kind))
    }

    async fn read(&self, slot: &Slot) {
        let found = self.fetch(slot).await;
        let mut state = self.state();
        match found {
            Ok(objects) => {
                if let Some(entry) = state.slots.get_mut(slot) {
                    entry.objects.get_or_insert_default();
                    for object in &objects {
                        entry.take(&slot.kind, object);
                    }
                }
            }
            Err(why) => state.fail(slot, why),
        }
        drop(state);
        self.inner.changed.notify_waiters();
    }

    /// What the API answers now replaces what is known, a lower version as well: a write of ours has conflicted, or a list
    /// is older than what is known. Versions fall when a cluster is restored from a backup, and no watch would ever bring
    /// one that counts as newer.
    /// Says whether there was an answer.
    pub async fn read_again(&self, slot: &Slot) -> bool {
        let before = self.state().slots.get(slot).map(SlotState::versions);
        let found = self.fetch(slot).await;
        let answered = found.is_ok();
        let woken = {
            let mut state = self.state();
            let Some(entry) = state.slots.get_mut(slot) else { return false };
            match found {
                Ok(objects) => {
                    // Unless the watch or another write of ours was faster than the answer.
                    if before == Some(entry.versions()) {
                        entry.objects = Some(Objects::new());
                    }
                    for object in &objects {
                        entry.take(&slot.kind, object);
                    }
                }
                // What is known is as good as it was; the next conflict or list asks again.
                Err(error) => tracing::debug!(%slot, %error, "cannot read it again"),
            }
            if before == Some(entry.versions()) { BTreeSet::new() } else { entry.wanted_by.clone() }
        };
        for key in woken {
            self.inner.wake.wake(&key);
        }
        answered
    }

    /// Asks the API for the objects of a slot, once.
    async fn fetch(&self, slot: &Slot) -> Result<Vec<DynamicObject>, String> {
        let api = self.api(&slot.kind, &slot.namespace);
        let read = async {
            if slot.kind == ENDPOINT_SLICE {
                let params =
                    ListParams::default().labels(&format!("{SERVICE_NAME_LABEL}={}", slot.name));
                api.list(&params).await.map(|list| list.items)
            } else {
                api.get_opt(&slot.name).await.map(|found| found.into_iter().collect())
            }
        };
        match tokio::time::timeout(READ_TIMEOUT, read).await {
            Ok(found) => found.map_err(|error| chain(&error)),
            Err(_) => Err(format!("no answer within {READ_TIMEOUT:?}")),
        }
    }

    fn watch(&self, kind: Kind) -> tokio::task::JoinHandle<()> {
        let resource = resource(&kind);
        let api: Api<DynamicObject> = match &self.inner.namespace {
            Some(namespace) => {
                Api::namespaced_with(self.inner.client.clone(), namespace, &resource)
            }
            None => Api::all_with(self.inner.client.clone(), &resource),
        };
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            let events = watcher(api, watcher::Config::default()).default_backoff();
            futures::pin_mut!(events);
            while let Some(event) = events.next().await {
                let Some(inner) = inner.upgrade() else { return };
                let world = World { inner };
                let doubted = world.hear(&kind, event);
                for some in doubted.chunks(READS_AT_ONCE) {
                    futures::future::join_all(some.iter().map(|slot| world.read_again(slot))).await;
                }
            }
        })
    }

    /// Takes in what the watch brings, and says what has to be read again.
    fn hear(
        &self,
        kind: &Kind,
        event: watcher::Result<watcher::Event<DynamicObject>>,
    ) -> Vec<Slot> {
        let mut woken = BTreeSet::new();
        let mut doubted = BTreeSet::new();
        {
            let mut state = self.state();
            match event {
                Ok(watcher::Event::Init) => {
                    let kind = state.kinds.entry(*kind).or_default();
                    kind.listing = true;
                    kind.listed.clear();
                    kind.doubted.clear();
                }
                Ok(watcher::Event::InitApply(object)) => state.put(kind, &object, true, &mut woken),
                Ok(watcher::Event::InitDone) => doubted = state.listed(kind, &mut woken),
                Ok(watcher::Event::Apply(object)) => state.put(kind, &object, false, &mut woken),
                Ok(watcher::Event::Delete(object)) => state.remove(kind, &object, &mut woken),
                Err(error) => {
                    let why = chain(&error);
                    tracing::debug!(kind = %kind.plural, error = %why, "watch interrupted");
                    let entry = state.kinds.entry(*kind).or_default();
                    entry.error = Some(format!("cannot watch {}: {why}", kind.plural));
                }
            }
        }
        self.inner.changed.notify_waiters();
        for key in woken {
            self.inner.wake.wake(&key);
        }
        doubted.into_iter().collect()
    }
}

impl State {
    fn unwant(&mut self, key: &Key, slot: &Slot) {
        if let Some(entry) = self.slots.get_mut(slot) {
            entry.wanted_by.remove(key);
            if entry.wanted_by.is_empty() {
                self.slots.remove(slot);
            }
        }
    }

    fn put(
        &mut self,
        kind: &Kind,
        object: &DynamicObject,
        listing: bool,
        woken: &mut BTreeSet<Key>,
    ) {
        let Some(slot) = slot_of(kind, object) else { return };
        let Some(entry) = self.slots.get_mut(&slot) else { return };
        if entry.take(kind, object) {
            woken.extend(entry.wanted_by.iter().cloned());
        }
        if listing && let Some(kind) = self.kinds.get_mut(kind) {
            let name = object.name_any();
            let known = entry.objects.iter().flatten().find(|(other, _)| **other == name);
            if known.is_some_and(|(_, known)| newer(known.version(), version(object))) {
                kind.doubted.insert(slot.clone());
            }
            kind.listed.insert((slot, name));
        }
    }

    fn remove(&mut self, kind: &Kind, object: &DynamicObject, woken: &mut BTreeSet<Key>) {
        let Some(slot) = slot_of(kind, object) else { return };
        let Some(entry) = self.slots.get_mut(&slot) else { return };
        if entry.objects.get_or_insert_default().remove(&object.name_any()).is_some() {
            woken.extend(entry.wanted_by.iter().cloned());
        }
    }

    /// The list is complete: what it did not show does not exist. Returns what has to be read again.
    fn listed(&mut self, kind: &Kind, woken: &mut BTreeSet<Key>) -> BTreeSet<Slot> {
        let Some(state) = self.kinds.get_mut(kind) else { return BTreeSet::new() };
        let listed = std::mem::take(&mut state.listed);
        state.listing = false;
        state.synced = true;
        state.error = None;
        let doubted = std::mem::take(&mut state.doubted);
        for (slot, entry) in self.slots.iter_mut().filter(|(slot, _)| slot.kind == *kind) {
            match &mut entry.objects {
                Some(objects) => {
                    let before = objects.len();
                    objects.retain(|name, _| listed.contains(&(slot.clone(), name.clone())));
                    if objects.len() != before {
                        woken.extend(entry.wanted_by.iter().cloned());
                    }
                }
                None if entry.read_alone => {}
                None => {
                    entry.objects = Some(Objects::new());
                    woken.extend(entry.wanted_by.iter().cloned());
                }
            }
        }
        doubted
    }

    fn fail(&mut self, slot: &Slot, why: String) {
        let error =
            format!("cannot read {} {}/{}: {why}", slot.kind.plural, slot.namespace, slot.name);
        tracing::debug!(%error, "read failed");
        if let Some(kind) = self.kinds.get_mut(&slot.kind) {
            // The slot stays unknown; the next tick reads again.
            kind.error = Some(error);
        }
    }
}

impl SlotState {
    /// Which versions of what is known.
    fn versions(&self) -> BTreeMap<String, Option<String>> {
        let objects = self.objects.iter().flatten();
        objects.map(|(name, object)| (name.clone(), object.version().map(str::to_owned))).collect()
    }

    /// Takes an object unless a newer one is known. Says whether anything changed.
    fn take(&mut self, kind: &Kind, object: &DynamicObject) -> bool {
        let objects = self.objects.get_or_insert_default();
        let name = object.name_any();
        if let Some(known) = objects.get(&name)
            && !newer(version(object), known.version())
        {
            return false;
        }
        let mut object = Cow::Borrowed(object);
        if object.types.is_none() {
            // Items of a list come without them.
            let types = TypeMeta { api_version: kind.api_version(), kind: kind.kind.to_owned() };
            object.to_mut().types = Some(types);
        }
        match Packed::new(&object) {
            Ok(packed) => {
                objects.insert(name, packed);
                true
            }
            Err(_) => false,
        }
    }
}

/// Whether version `new` comes after `old`. Versions of one kind are ordered numbers; where they are not, the later
/// arrival wins.
pub(crate) fn newer(new: Option<&str>, old: Option<&str>) -> bool {
    match (new.and_then(|v| v.parse::<u64>().ok()), old.and_then(|v| v.parse::<u64>().ok())) {
        (Some(new), Some(old)) => new > old,
        (None, _) | (_, None) => new != old,
    }
}

fn version(object: &DynamicObject) -> Option<&str> {
    object.metadata.resource_version.as_deref()
}

fn slot_of(kind: &Kind, object: &DynamicObject) -> Option<Slot> {
    let namespace = object.namespace()?;
    let name = if *kind == ENDPOINT_SLICE {
        object.labels().get(SERVICE_NAME_LABEL)?.clone()
    } else {
        object.name_any()
    };
    Some(Slot { kind: *kind, namespace, name })
}

/// An object as plain JSON, with no more of `metadata.managedFields` than is asked for.
pub fn to_value(object: &DynamicObject) -> Option<Value> {
    let mut value = serde_json::to_value(object).ok()?;
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        match crate::managers::kept(object) {
            Some(kept) => metadata.insert("managedFields".into(), serde_json::to_value(kept).ok()?),
            None => metadata.remove("managedFields"),
        };
    }
    Some(value)
}
