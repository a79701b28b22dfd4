//! The control loop: watches Canaries, ticks those that are due, a bounded number at a time, on the leader only.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use kube::api::Api;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use serin_core::model::Key;
use serin_providers::change::CANARY;
use tokio::sync::watch;

use crate::cache;
use crate::cache::key_of;
use crate::cache::packed::Packed;
use crate::operator::context::Context;
use crate::operator::error::TickError;
use crate::operator::reconcile;

/// The canaries as the API has them, kept by a watch on every replica, leading or not.
pub struct Canaries {
    pub store: Store<Packed>,
    ready: watch::Receiver<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Canaries {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Canaries {
    /// Starts the watch. Each change wakes its canary; one that is gone is forgotten everywhere.
    pub fn watch(context: &Arc<Context>) -> Self {
        let resource = cache::resource(&CANARY);
        let api: Api<Packed> = match &context.settings.namespace {
            Some(namespace) => Api::namespaced_with(context.client.clone(), namespace, &resource),
            None => Api::all_with(context.client.clone(), &resource),
        };
        let writer = reflector::store::Writer::<Packed>::new(resource.clone());
        let store = writer.as_reader();
        let (tell, ready) = watch::channel(false);
        let context = Arc::clone(context);
        let read = store.clone();
        let task = tokio::spawn(async move {
            let events = watcher(api, cache::watch_config()).default_backoff().reflect(writer);
            futures::pin_mut!(events);
            while let Some(event) = events.next().await {
                let listed = matches!(event, Ok(watcher::Event::InitDone));
                hear(&context, &read, event);
                if listed {
                    doubt(&context, &read).await;
                }
                if read.wait_until_ready().now_or_never().is_some() {
                    tell.send_if_modified(|ready| !std::mem::replace(ready, true));
                }
            }
        });
        Self { store, ready, task }
    }

    pub async fn wait_until_ready(&self) {
        let mut ready = self.ready.clone();
        // The sender lives as long as the task; if that ended, waiting longer helps nobody.
        drop(ready.wait_for(|ready| *ready).await);
    }
}

fn hear(context: &Context, store: &Store<Packed>, event: watcher::Result<watcher::Event<Packed>>) {
    match event {
        Ok(watcher::Event::Apply(object)) => {
            if let Some(key) = key_of(&object) {
                context.memory.caught_up(&key, object.version());
                context.wake.wake(&key);
            }
        }
        Ok(watcher::Event::Delete(object)) => {
            if let Some(key) = key_of(&object) {
                forget(context, &key);
            }
        }
        Ok(watcher::Event::InitDone) => {
            let keys: BTreeSet<Key> =
                store.state().iter().filter_map(|object| key_of(&**object)).collect();
            let known = context.claims.keys();
            for gone in known.iter().filter(|key| !keys.contains(key)) {
                forget(context, gone);
            }
            for key in &keys {
                context.wake.wake(key);
            }
        }
        Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => return,
        Err(error) => {
            tracing::warn!(error = %crate::http_client::chain(&error), "the watch on canaries was interrupted");
            return;
        }
    }
    let keys = store.state().iter().filter_map(|object| key_of(&**object)).collect();
    context.metrics.show_totals(&keys);
}

/// A list has canaries with lower versions than our own last writes: it is old, or the cluster was restored from a backup.
/// What the API answers for each of them tells.
async fn doubt(context: &Context, store: &Store<Packed>) {
    for object in store.state() {
        let Some(key) = key_of(&*object) else { continue };
        let ours = context.memory.version(&key);
        if ours.is_none() || !cache::newer(ours.as_deref(), object.version()) {
            continue;
        }
        let api = context.cache.api(&CANARY, &key.namespace);
        match tokio::time::timeout(cache::READ_TIMEOUT, api.get_metadata_opt(&key.name)).await {
            Ok(Ok(now)) => {
                let now = now.and_then(|now| now.metadata.resource_version);
                if now != ours {
                    context.memory.mistrust(&key);
                    context.wake.wake(&key);
                }
            }
            // The next conflict tells.
            Ok(Err(error)) => {
                tracing::warn!(canary = %key, error = %crate::http_client::chain(&error), "cannot read the canary again");
            }
            Err(_) => tracing::warn!(canary = %key, "cannot read the canary again: no answer"),
        }
    }
}

fn forget(context: &Context, key: &Key) {
    context.cache.forget(key);
    context.metrics.forget(key);
    context.guards.forget(key);
    context.memory.forget(key);
    context.releasing.forget(key);
    for waiting in context.claims.release(key) {
        context.wake.wake(&waiting);
    }
}

/// Back-off after an error: doubling from one second to a minute, so that nothing spins and nothing is given up.
const RETRY_MIN_SECS: u64 = 1;
const RETRY_MAX_SECS: u64 = 60;
/// Others write what we write as well, and a tick that meets them is made again. So many in a row are somebody's fight.
const ROUTINE_CONFLICTS: u32 = 2;

/// Ticks canaries until dropped. Dropping it is safe at any point: what was not written will be decided again.
pub async fn lead(context: Arc<Context>, canaries: &Canaries) {
    canaries.wait_until_ready().await;
    // A task of its own: no tick delays the guard. It ends with the leadership.
    context.guards.clear();
    context.releasing.clear();
    let mut guard = tokio::task::JoinSet::new();
    guard.spawn(crate::guard::run(Arc::new(context.guard())));
    // Everything is due once: what happened while nobody led is found now. Wishes come first, so that one list per
    // kind fills the cache. In order, because what the store hands out has none.
    let mut all = canaries.store.state();
    all.sort_by_key(|packed| key_of(&**packed));
    for packed in all {
        let Ok(object) = packed.object() else { continue };
        context.claims.claim(&object);
        reconcile::announce(&context, &object);
        if let Some(key) = key_of(&object) {
            context.wake.wake(&key);
        }
    }
    let look = |key: Key| {
        let object = ObjectRef::<Packed>::new_with(&key.name, cache::resource(&CANARY))
            .within(&key.namespace);
        let (context, store) = (Arc::clone(&context), canaries.store.clone());
        async move {
            // One that is gone is woken by its coming back.
            let packed = store.get(&object)?;
            Some(match reconcile(&packed, &context).await {
                Ok(again) => again,
                Err(error) => retry(&packed, &error, &context),
            })
        }
    };
    tokio::select! {
        biased;
        () = crate::operator::queue::work(&context.wake, look) => {}
        // It never ends but by a panic; whoever waits for us then starts all of it again.
        _ = guard.join_next() => tracing::error!("the guard has stopped"),
    }
}

/// Returns after which time to look again.
async fn reconcile(packed: &Packed, context: &Arc<Context>) -> Result<Duration, TickError> {
    let Some(key) = key_of(packed) else { return Err(TickError::Encode) };
    let turn = context.turns.of(&key.namespace);
    reconcile::wait_for(context, &key, &turn).await;
    let started = tokio::time::Instant::now();
    let object = Arc::new(packed.object().map_err(|_| TickError::Encode)?);
    // A panic in one canary's tick is that canary's error and no other's.
    let ticking = AssertUnwindSafe(reconcile::tick(context, &object, &turn)).catch_unwind();
    let result = turn.during(ticking).await;
    context.metrics.observe_tick(started.elapsed().as_secs_f64());
    let next = match result {
        Ok(Err(error)) if object.metadata.deletion_timestamp.is_some() && error.is_absence() => {
            tracing::debug!(canary = %key, "the canary is gone");
            return Ok(Duration::from_secs(RETRY_MAX_SECS));
        }
        Ok(next) => next?,
        Err(_) => return Err(TickError::Panicked),
    };
    context.memory.with(&key, |entry| entry.errors = 0);
    let wait = next.duration_since(context.clock.now());
    let millis = u64::try_from(wait.as_millis()).unwrap_or(0);
    Ok(Duration::from_millis(millis.max(1)))
}

fn retry(object: &Packed, error: &TickError, context: &Context) -> Duration {
    let Some(key) = key_of(object) else { return Duration::from_secs(RETRY_MAX_SECS) };
    if let TickError::Conflict = error {
        // The world moved on; the watch brings the newer object, and the tick is decided anew.
        tracing::debug!(canary = %key, "status write conflicted, deciding again");
        context.memory.mistrust(&key);
        return Duration::from_millis(100);
    }
    let count = context.memory.with(&key, |entry| {
        entry.errors = entry.errors.saturating_add(1);
        entry.errors
    });
    let secs = (RETRY_MIN_SECS << (count - 1).min(6)).min(RETRY_MAX_SECS);
    let text = crate::http_client::chain(error);
    if error.is_conflict() && count <= ROUTINE_CONFLICTS {
        tracing::debug!(canary = %key, error = text, retry_secs = secs, "tick conflicted");
    } else {
        tracing::warn!(canary = %key, error = text, retry_secs = secs, "tick failed");
    }
    Duration::from_secs(secs)
}
