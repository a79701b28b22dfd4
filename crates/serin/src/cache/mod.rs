//! What is known of the cluster: watches into a cache that holds only the objects some canary refers to.
//!
//! A kind is watched from the first canary on that needs it. An object is kept only while a canary wants it, so memory
//! grows with the canaries and not with the cluster. Of ConfigMaps and Secrets the watch tells only which versions there
//! are, and the wanted ones are read one by one. An idle tick reads nothing from the API.

mod managers;
pub(crate) mod packed;
pub mod wake;

mod state;
mod told;
mod watching;

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::{Client, Resource};
use serde_json::{Value, json};
use serin_core::model::Key;
use serin_core::observed::Seen;
use serin_providers::change::{ENDPOINT_SLICE, GATEWAY, Kind, ObjectRef};
use tokio::sync::Notify;

use crate::cache::packed::{Packed, SERVICE_NAME_LABEL};
use crate::cache::wake::Wake;
use crate::http_client::chain;
pub(crate) use state::newer;
use state::{Objects, State, asked_of, is_told, subscription_of};
pub(crate) use watching::config as watch_config;

/// How long a tick waits for a cache to fill before it takes the object for unreadable.
const SYNC_WAIT: Duration = Duration::from_secs(10);
/// Single reads of one canary at once.
const READS_AT_ONCE: usize = 8;
/// A single read.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A read that something has overtaken is made again at once; after this many it is no better than none.
const READ_TRIES: u32 = 3;

/// One thing a canary wants to know: an object by name, or for EndpointSlices all those of the Service of that name.
pub type Subscription = ObjectRef;

pub use serin_providers::metric::METRIC_TEMPLATE;
pub use serin_providers::notify::ALERT_PROVIDER;

/// A kind that only the shell knows.
pub const EVENT: Kind = Kind { group: "", version: "v1", kind: "Event", plural: "events" };

/// What people ask of a canary.
pub const RELEASE_ACTION: Kind = Kind {
    group: serin_core::api::action::GROUP,
    version: serin_core::api::action::VERSION,
    kind: "ReleaseAction",
    plural: "releaseactions",
};

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

/// What came of a single read.
enum Taken {
    Whole,
    /// Something newer became known meanwhile.
    Overtaken,
    Failed,
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
pub struct ObjectCache {
    inner: Arc<Inner>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        for kind in state.kinds.values() {
            if let Some(task) = &kind.task {
                task.abort();
            }
        }
    }
}

impl ObjectCache {
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

    /// Rings at every news of any kind.
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.inner.changed.notified()
    }

    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while holding it leaves a cache that the next event or relist sets right.
        self.inner.state.lock()
    }

    /// From now on `key` is woken by changes of these, and of nothing else.
    pub fn subscribe(&self, key: &Key, wanted: &BTreeSet<Subscription>) {
        let mut state = self.state();
        let before = state.wants.insert(key.clone(), wanted.clone()).unwrap_or_default();
        for subscription in before.difference(wanted) {
            state.unsubscribe(key, subscription);
        }
        for subscription in wanted {
            let known = state.subscriptions.get(subscription).is_some_and(|s| s.objects.is_some());
            let kind = state.kinds.entry(subscription.kind).or_default();
            let late = !known && (kind.listing || kind.synced);
            if kind.task.is_none() {
                kind.task = Some(self.watch(subscription.kind));
            }
            let entry = state.subscriptions.entry(subscription.clone()).or_default();
            entry.read_alone |= is_told(&subscription.kind) || (late && entry.wanted_by.is_empty());
            entry.wanted_by.insert(key.clone());
        }
    }

    /// The canary is gone, and with it what only it wanted.
    pub fn forget(&self, key: &Key) {
        let mut state = self.state();
        for subscription in state.wants.remove(key).unwrap_or_default() {
            state.unsubscribe(key, &subscription);
        }
    }

    /// Waits, within bounds, until each of these is known or known to be unreadable.
    pub async fn settle(&self, wanted: &BTreeSet<Subscription>) {
        let deadline = tokio::time::Instant::now() + SYNC_WAIT;
        // One read each: what fails now is tried again by the next tick, not in a circle.
        let mut tried = BTreeSet::new();
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (mut alone, waiting) = self.unsettled(wanted);
            alone.retain(|subscription| tried.insert(subscription.clone()));
            if alone.is_empty() && !waiting {
                return;
            }
            if !alone.is_empty() {
                for some in alone.chunks(READS_AT_ONCE) {
                    futures::future::join_all(
                        some.iter().map(|subscription| self.read_again(subscription)),
                    )
                    .await;
                }
                continue;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return;
            }
        }
    }

    /// Slots to read one by one, and whether others still wait for their kind's list.
    fn unsettled(&self, wanted: &BTreeSet<Subscription>) -> (Vec<Subscription>, bool) {
        let state = self.state();
        let mut alone = Vec::new();
        let mut waiting = false;
        for subscription in wanted {
            let Some(entry) = state.subscriptions.get(subscription) else { continue };
            if entry.objects.is_some() {
                continue;
            }
            let kind = state.kinds.get(&subscription.kind);
            if entry.read_alone && kind.is_some_and(|kind| kind.synced) {
                alone.push(subscription.clone());
            } else if kind.is_some_and(|kind| kind.error.is_none()) {
                waiting = true;
            }
        }
        (alone, waiting)
    }

    /// The object of a subscription.
    pub fn object(&self, subscription: &Subscription) -> Seen<Arc<Value>> {
        match self.objects(subscription) {
            Seen::Present(objects) => {
                objects.into_values().next().map_or(Seen::Absent, Seen::Present)
            }
            Seen::Absent => Seen::Absent,
            Seen::Unreadable(why) => Seen::Unreadable(why),
        }
    }

    /// All objects of a subscription: the slices of a Service.
    pub fn objects(&self, subscription: &Subscription) -> Seen<BTreeMap<String, Arc<Value>>> {
        let elsewhere =
            |watched: &String| subscription.kind == GATEWAY && *watched != subscription.namespace;
        if let Some(watched) = self.inner.namespace.as_ref().filter(|watched| elsewhere(watched)) {
            let why = format!("it is not in namespace {watched}, and no other is watched");
            return Seen::Unreadable(why);
        }
        let state = self.state();
        let entry = state.subscriptions.get(subscription);
        let known = entry.and_then(|entry| entry.objects.as_ref().filter(|_| !entry.is_blind()));
        let Some(objects) = known else {
            let error = entry.and_then(|entry| entry.failed.clone());
            let error = error
                .or_else(|| state.kinds.get(&subscription.kind).and_then(|kind| kind.error.clone()))
                .unwrap_or_else(|| format!("{} not listed yet", subscription.kind.plural));
            return Seen::Unreadable(error);
        };
        if objects.is_empty() {
            return Seen::Absent;
        }
        let open =
            |(name, packed): (&String, &Packed)| Ok((name.clone(), Arc::new(packed.value()?)));
        match objects.iter().map(open).collect::<serde_json::Result<_>>() {
            Ok(objects) => Seen::Present(objects),
            Err(error) => {
                Seen::Unreadable(format!("{} cannot be read: {error}", subscription.kind.plural))
            }
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
            let Some(subscription) = subscription_of(&kind, &object, || asked_of(&object)) else {
                continue;
            };
            if let Some(entry) = state.subscriptions.get_mut(&subscription) {
                entry.take(&kind, &object);
            }
        }
    }

    /// A scale of ours succeeded. The version stays the old one, so that what the watch brings still counts as newer.
    pub fn learn_replicas(&self, subscription: &Subscription, replicas: u32) {
        let mut state = self.state();
        let objects =
            state.subscriptions.get_mut(subscription).and_then(|entry| entry.objects.as_mut());
        if let Some(known) = objects.and_then(|objects| objects.get_mut(&subscription.name))
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
            .subscriptions
            .values()
            .filter_map(|entry| entry.objects.as_ref())
            .map(BTreeMap::len)
            .sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn api(&self, kind: &Kind, namespace: &str) -> Api<DynamicObject> {
        let client = self.inner.client.clone();
        match kind.is_cluster_scoped() {
            true => Api::all_with(client, &resource(kind)),
            false => Api::namespaced_with(client, namespace, &resource(kind)),
        }
    }

    /// What the API answers now replaces what is known, a lower version as well: a write of ours has conflicted, a list is
    /// older than what is known, or a newer version was told of. Versions fall when a cluster is restored from a backup, and
    /// no watch would ever bring one that counts as newer.
    /// Says whether there was an answer that nothing has overtaken.
    pub async fn read_again(&self, subscription: &Subscription) -> bool {
        for _ in 0..READ_TRIES {
            let Some((epoch, before)) = self
                .state()
                .subscriptions
                .get(subscription)
                .map(|entry| (entry.epoch, entry.versions()))
            else {
                return true;
            };
            let found = self.fetch(subscription).await;
            match self.take_answer(subscription, epoch, &before, found) {
                Taken::Overtaken => {}
                Taken::Whole => return true,
                Taken::Failed => return false,
            }
        }
        false
    }

    fn take_answer(
        &self,
        subscription: &Subscription,
        epoch: u64,
        before: &BTreeMap<String, Option<String>>,
        found: Result<Vec<DynamicObject>, String>,
    ) -> Taken {
        let (taken, woken) = {
            let mut state = self.state();
            let Some(entry) = state.subscriptions.get_mut(subscription) else {
                return Taken::Whole;
            };
            let known = entry.objects.is_some();
            let (taken, changed) = match found {
                Ok(_) if entry.epoch != epoch => return Taken::Overtaken,
                Ok(objects) => {
                    // Unless the watch or another write of ours was faster than the answer.
                    if *before == entry.versions() {
                        entry.objects = Some(Objects::new());
                    }
                    for object in &objects {
                        entry.take(&subscription.kind, object);
                    }
                    entry.catch_up();
                    (Taken::Whole, *before != entry.versions())
                }
                Err(why) => {
                    let error = format!("cannot read {subscription}: {why}");
                    tracing::debug!(%error, "read failed");
                    // What is known is as good as it was, unless a newer version was told of.
                    let first = entry.failed.replace(error).is_none();
                    (Taken::Failed, first && entry.is_behind())
                }
            };
            // Who waits for the first read of all looks at it by itself.
            (taken, if known && changed { entry.wanted_by.clone() } else { BTreeSet::new() })
        };
        self.inner.changed.notify_waiters();
        for key in woken {
            self.inner.wake.wake(&key);
        }
        taken
    }

    /// Asks the API for the objects of a subscription, once.
    async fn fetch(&self, subscription: &Subscription) -> Result<Vec<DynamicObject>, String> {
        let api = self.api(&subscription.kind, &subscription.namespace);
        let read = async {
            if subscription.kind == ENDPOINT_SLICE {
                let params = ListParams::default()
                    .labels(&format!("{SERVICE_NAME_LABEL}={}", subscription.name));
                api.list(&params).await.map(|list| list.items)
            } else if subscription.kind == RELEASE_ACTION {
                let mut list = api.list(&ListParams::default()).await?;
                list.items.retain(|object| asked_of(object).as_ref() == Some(&subscription.name));
                Ok(list.items)
            } else {
                api.get_opt(&subscription.name).await.map(|found| found.into_iter().collect())
            }
        };
        match tokio::time::timeout(READ_TIMEOUT, read).await {
            Ok(found) => found.map_err(|error| chain(&error)),
            Err(_) => Err(format!("no answer within {READ_TIMEOUT:?}")),
        }
    }
}

/// An object as plain JSON, with no more of `metadata.managedFields` than is asked for.
pub fn to_value(object: &DynamicObject) -> Option<Value> {
    let mut value = serde_json::to_value(object).ok()?;
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        match crate::cache::managers::kept(object) {
            Some(kept) => metadata.insert("managedFields".into(), serde_json::to_value(kept).ok()?),
            None => metadata.remove("managedFields"),
        };
    }
    Some(value)
}

/// The name of an object that has a namespace.
pub fn key_of(object: &impl Resource) -> Option<Key> {
    Some(Key::new(object.meta().namespace.clone()?, object.meta().name.clone()?))
}
