//! The control loop: watches Canaries, ticks those that are due, a bounded number at a time, on the leader only.

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use kube::api::{Api, DynamicObject};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource};
use serin_core::model::{Canary, Key};
use serin_providers::change::CANARY;
use tokio::sync::watch;

use crate::claims::Claims;
use crate::clock::SharedClock;
use crate::metrics::Metrics;
use crate::outside::Outside;
use crate::packed::Packed;
use crate::pods::Pods;
use crate::refusal::Refusals;
use crate::releasing::Releasing;
use crate::tick::{self, TickError};
use crate::turns::Turns;
use crate::unused::Unused;
use crate::wake::Wake;
use crate::world::{self, World};

/// The settings that the control loop and its ticks need.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Watch this namespace only.
    pub namespace: Option<String>,
    /// Ticks at once.
    pub concurrency: u16,
    pub core: serin_core::step::Settings,
    pub parse: serin_core::parse::Limits,
    pub providers: serin_providers::Settings,
    /// Hook for all Events of canaries that have no `event` hook of their own.
    pub event_webhook: Option<String>,
    /// `/metrics` of every replica of the gateway, for the guard.
    pub gateways: Vec<String>,
    /// File of the token by which the controller shows other services who it is.
    pub identity_token: Option<PathBuf>,
    /// Which replica speaks: host name and a random part.
    pub instance: String,
}

/// What every tick shares.
pub struct Context {
    pub client: Client,
    pub world: World,
    pub wake: Wake,
    pub clock: SharedClock,
    pub outside: Arc<dyn Outside>,
    pub metrics: Arc<Metrics>,
    pub settings: Settings,
    pub teller: crate::tell::Teller,
    /// Which canary writes which object.
    pub claims: Claims,
    /// Opinions of the guard.
    pub guards: crate::guard::Guards,
    /// Ticks at once; what the guard wants off the road does not wait for one.
    turns: Turns,
    pub(crate) releasing: Releasing,
    /// Answers to decisions that could not be written down: nobody is asked twice for one decision.
    pub(crate) unused: Unused,
    /// Writes that could not be carried out.
    pub(crate) refusals: Refusals,
    /// Whose the pods behind the Services are.
    pub(crate) pods: Pods,
    /// Consecutive errors by canary, for the back-off.
    errors: Mutex<BTreeMap<Key, u32>>,
    /// Canaries as our own writes left them, for ticks that are faster than the watch.
    written: Mutex<BTreeMap<Key, Packed>>,
    /// The last spec of each canary that made sense: what to take off the road when an edit makes none.
    valid: Mutex<BTreeMap<Key, Canary>>,
}

pub fn key_of(object: &impl Resource) -> Option<Key> {
    Some(Key::new(object.meta().namespace.clone()?, object.meta().name.clone()?))
}

impl Context {
    pub fn new(
        client: Client,
        wake: Wake,
        clock: SharedClock,
        outside: Arc<dyn Outside>,
        metrics: Arc<Metrics>,
        settings: Settings,
    ) -> Self {
        let turns = Turns::new(usize::from(settings.concurrency));
        let guards = crate::guard::Guards::new(crate::guard::Sources::of(&settings));
        let world = World::new(client.clone(), settings.namespace.clone(), wake.clone());
        let teller = crate::tell::Teller::start(
            client.clone(),
            Arc::clone(&clock),
            Arc::clone(&outside),
            &settings,
        );
        Self {
            client,
            world,
            wake,
            clock,
            outside,
            metrics,
            settings,
            teller,
            claims: Claims::default(),
            guards,
            turns,
            releasing: Releasing::default(),
            unused: Unused::default(),
            refusals: Refusals::default(),
            pods: Pods::default(),
            errors: Mutex::default(),
            written: Mutex::default(),
            valid: Mutex::default(),
        }
    }

    /// The newer of what the watch has brought and what our own last write returned.
    pub fn freshest(&self, object: &Arc<DynamicObject>) -> Arc<DynamicObject> {
        let Some(key) = key_of(&**object) else { return Arc::clone(object) };
        let mut written = self.written.lock();
        let watched = object.metadata.resource_version.as_deref();
        match written.get(&key).filter(|ours| world::newer(ours.version(), watched)) {
            // What we packed ourselves can be read; if not, the watch's is right but late.
            Some(ours) => ours.object().map_or_else(|_| Arc::clone(object), Arc::new),
            None => {
                written.remove(&key);
                Arc::clone(object)
            }
        }
    }

    pub fn remember(&self, key: &Key, written: &DynamicObject) {
        let packed = Packed::new(written);
        let mut known = self.written.lock();
        match packed {
            Ok(packed) => known.insert(key.clone(), packed),
            Err(_) => known.remove(key),
        };
    }

    /// The watch has brought it: our own copy is of no more use, unless it is newer still.
    fn caught_up(&self, key: &Key, watched: Option<&str>) {
        let mut written = self.written.lock();
        if written.get(key).is_some_and(|ours| !world::newer(ours.version(), watched)) {
            written.remove(key);
        }
    }

    /// A conflict: somebody else has written, and what we wrote before is of no use.
    pub fn mistrust(&self, key: &Key) {
        self.written.lock().remove(key);
    }

    pub fn note_valid(&self, canary: &Canary) {
        self.valid.lock().insert(canary.key.clone(), canary.clone());
    }

    pub fn last_valid(&self, key: &Key) -> Option<Canary> {
        self.valid.lock().get(key).cloned()
    }
}

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
        let resource = world::resource(&CANARY);
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
            let events = watcher(api, world::watch_config()).default_backoff().reflect(writer);
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
                context.caught_up(&key, object.version());
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
            tracing::warn!(error = %crate::outside::chain(&error), "the watch on canaries was interrupted");
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
        let ours = {
            let written = context.written.lock();
            written.get(&key).and_then(|ours| ours.version().map(str::to_owned))
        };
        if ours.is_none() || !world::newer(ours.as_deref(), object.version()) {
            continue;
        }
        let api = context.world.api(&CANARY, &key.namespace);
        match tokio::time::timeout(world::READ_TIMEOUT, api.get_metadata_opt(&key.name)).await {
            Ok(Ok(now)) => {
                let now = now.and_then(|now| now.metadata.resource_version);
                if now != ours {
                    context.mistrust(&key);
                    context.wake.wake(&key);
                }
            }
            // The next conflict tells.
            Ok(Err(error)) => {
                tracing::warn!(canary = %key, error = %crate::outside::chain(&error), "cannot read the canary again");
            }
            Err(_) => tracing::warn!(canary = %key, "cannot read the canary again: no answer"),
        }
    }
}

fn forget(context: &Context, key: &Key) {
    context.world.forget(key);
    context.metrics.forget(key);
    context.guards.forget(key);
    context.unused.forget(key);
    context.refusals.clear(key);
    context.pods.forget(key);
    context.releasing.forget(key);
    context.errors.lock().remove(key);
    context.written.lock().remove(key);
    context.valid.lock().remove(key);
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
    guard.spawn(crate::guard::run(Arc::clone(&context)));
    // Everything is due once: what happened while nobody led is found now. Wishes come first, so that one list per
    // kind fills the cache. In order, because what the store hands out has none.
    let mut all = canaries.store.state();
    all.sort_by_key(|packed| key_of(&**packed));
    for packed in all {
        let Ok(object) = packed.object() else { continue };
        context.claims.claim(&object);
        tick::announce(&context, &object);
        if let Some(key) = key_of(&object) {
            context.wake.wake(&key);
        }
    }
    let look = |key: Key| {
        let object = ObjectRef::<Packed>::new_with(&key.name, world::resource(&CANARY))
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
        () = crate::queue::work(&context.wake, look) => {}
        // It never ends but by a panic; whoever waits for us then starts all of it again.
        _ = guard.join_next() => tracing::error!("the guard has stopped"),
    }
}

/// Returns after which time to look again.
async fn reconcile(packed: &Packed, context: &Arc<Context>) -> Result<Duration, TickError> {
    let Some(key) = key_of(packed) else { return Err(TickError::Encode) };
    let turn = context.turns.of(&key.namespace);
    tick::wait_for(context, &key, &turn).await;
    let started = tokio::time::Instant::now();
    let object = Arc::new(packed.object().map_err(|_| TickError::Encode)?);
    // A panic in one canary's tick is that canary's error and nobody else's.
    let ticking = AssertUnwindSafe(tick::tick(context, &object, &turn)).catch_unwind();
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
    context.errors.lock().remove(&key);
    let wait = next.duration_since(context.clock.now());
    let millis = u64::try_from(wait.as_millis()).unwrap_or(0);
    Ok(Duration::from_millis(millis.max(1)))
}

fn retry(object: &Packed, error: &TickError, context: &Context) -> Duration {
    let Some(key) = key_of(object) else { return Duration::from_secs(RETRY_MAX_SECS) };
    if let TickError::Conflict = error {
        // The world moved on; the watch brings the newer object, and the tick is decided anew.
        tracing::debug!(canary = %key, "status write conflicted, deciding again");
        context.mistrust(&key);
        return Duration::from_millis(100);
    }
    let mut errors = context.errors.lock();
    let count = errors.entry(key.clone()).or_default();
    *count = count.saturating_add(1);
    let secs = (RETRY_MIN_SECS << (*count - 1).min(6)).min(RETRY_MAX_SECS);
    let text = crate::outside::chain(error);
    if error.is_conflict() && *count <= ROUTINE_CONFLICTS {
        tracing::debug!(canary = %key, error = text, retry_secs = secs, "tick conflicted");
    } else {
        tracing::warn!(canary = %key, error = text, retry_secs = secs, "tick failed");
    }
    Duration::from_secs(secs)
}
