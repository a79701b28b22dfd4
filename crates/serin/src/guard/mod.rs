//! The guard clock: opinions on canaries that have traffic, formed between ticks and read by them.
//!
//! Ticks say which canaries have traffic; loops of its own read the sources, feed each canary's evidence and wake those whose
//! opinion has changed. It decides nothing: `step` does, and the status keeps what must outlive this process.

mod checks;
pub(crate) mod evidence;
mod fitness;
mod probe;
mod scrape;
mod shortfall;
mod source;
#[cfg(test)]
mod tests;
mod ward;
mod warm;

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use serin_core::model::{Canary, Exposure, Key, Phase};
use serin_core::observed::{self, Fitness, Guard};
use serin_core::words::{SENTENCE_MAX, line};
use tokio::sync::{Notify, watch};

use crate::cache::World;
use crate::cache::wake::Wake;
use crate::clock::SharedClock;
use crate::guard::evidence::Evidence;
use crate::http_client::Outside;
use crate::metrics::Metrics;
pub use scrape::run;
use source::SourceKey;
pub use source::{Sources, Target, targets};
use ward::{Trust, Ward};

type Shared = Arc<Mutex<Ward>>;

/// What the guard works with.
pub struct Environment {
    pub client: Client,
    pub world: World,
    pub wake: Wake,
    pub clock: SharedClock,
    pub outside: Arc<dyn Outside>,
    pub metrics: Arc<Metrics>,
    /// `/metrics` of every replica of the gateway.
    pub gateways: Vec<String>,
    pub guards: Arc<Guards>,
}

/// The canaries that have traffic and a guard.
#[derive(Default)]
pub struct Guards {
    sources: Sources,
    wards: Mutex<BTreeMap<Key, Watched>>,
    /// A canary came under guard: look at once, for its first counters are what later ones are compared with.
    came: watch::Sender<u64>,
    /// An opinion turned.
    turned: Notify,
    /// What is known of canaries at rest.
    probes: probe::Probes,
}

struct Watched {
    /// None when there is nobody to ask: guards that were asked for hold, the others stay out of the way.
    source: Option<SourceKey>,
    ward: Shared,
}

fn lock(ward: &Shared) -> MutexGuard<'_, Ward> {
    ward.lock()
}

/// Pages of gateways and answers of servers are in others' words.
fn legible(guard: Guard, mut watched: observed::Watched) -> (Guard, observed::Watched) {
    let clean = |why: &mut String| *why = line(why, SENTENCE_MAX);
    if let Some(
        Fitness::Partial { reason: _, message }
        | Fitness::Unfit { reason: _, message }
        | Fitness::Unknown { reason: _, message },
    ) = &mut watched.metrics
    {
        clean(message);
    }
    watched.would.iter_mut().for_each(clean);
    watched.unknown.iter_mut().filter_map(|unknown| unknown.unmeasured.as_mut()).for_each(clean);
    watched.checks.iter_mut().for_each(|check| clean(&mut check.message));
    let guard = match guard {
        Guard::Quiet => Guard::Quiet,
        Guard::Hold(why) => Guard::Hold(line(&why, SENTENCE_MAX)),
        Guard::RollBack(why) => Guard::RollBack(line(&why, SENTENCE_MAX)),
    };
    (guard, watched)
}

/// Whether it is the promoted primary that is watched.
fn soaks(canary: &Canary) -> bool {
    let status = &canary.status;
    let asked = canary.spec.analysis.guard.as_ref().is_some_and(|guard| guard.soak_secs.is_some());
    let rests = matches!(status.phase, Some(Phase::Succeeded | Phase::Waiting));
    asked && rests && status.soak.as_ref().is_some_and(|soak| soak.undo.is_empty())
}

impl Guards {
    pub fn new(sources: Sources) -> Self {
        Self { sources, ..Self::default() }
    }

    fn wards(&self) -> MutexGuard<'_, BTreeMap<Key, Watched>> {
        self.wards.lock()
    }

    fn ward(&self, key: &Key) -> Option<Shared> {
        self.wards().get(key).map(|watched| Arc::clone(&watched.ward))
    }

    /// Whoever is judged by this source.
    fn of(&self, source: &SourceKey) -> Vec<(Key, Shared)> {
        let wards = self.wards();
        let its = wards.iter().filter(|(_, watched)| watched.source.as_ref() == Some(source));
        its.map(|(key, watched)| (key.clone(), Arc::clone(&watched.ward))).collect()
    }

    /// The sources that somebody is judged by.
    fn sources(&self) -> BTreeSet<SourceKey> {
        self.wards().values().filter_map(|watched| watched.source.clone()).collect()
    }

    /// The canary as a tick has it. `routed` is whether the route gives it traffic; none when that is not known (yet).
    pub fn follow(&self, canary: &Canary, routed: Option<bool>) {
        // A pace that follows the evidence asks how much traffic there is before it gives any away.
        let paced = canary.spec.analysis.evidence_pace().is_some();
        // Whoever has lost its share to blindness gets none before somebody sees.
        let opening = canary.status.phase == Some(Phase::Progressing)
            && (paced || canary.status.blind_since.is_some());
        let exposed = canary.status.phase.is_some_and(Phase::is_releasing)
            && (!canary.status.exposure().is_none() || routed == Some(true) || opening);
        let asked = canary.spec.analysis.guard.as_ref();
        let soaks = soaks(canary);
        let spec = match asked {
            Some(spec) if soaks => Some(spec.of_soak()),
            Some(spec) if exposed => Some(spec.clone()),
            Some(_) | None => None,
        };
        let Some(spec) = spec else {
            if routed.is_some() || asked.is_none() {
                self.wards().remove(&canary.key);
            }
            if !exposed {
                self.probes.consider(&self.sources, canary);
            }
            return;
        };
        self.probes.forget(&canary.key);
        let source = self.sources.key(canary, &spec);
        let trust = Trust::of(&spec, source.as_ref());
        let mut wards = self.wards();
        // What is known of a canary says nothing about the primary that it became.
        let goes_on = |ward: &Shared| {
            let ward = lock(ward);
            ward.soaks() == soaks && !ward.is_over(canary)
        };
        if let Some(watched) = wards.get_mut(&canary.key).filter(|old| goes_on(&old.ward)) {
            let mut ward = lock(&watched.ward);
            ward.follow(canary, &spec);
            ward.trust(trust);
            drop(ward);
            if watched.source != source {
                watched.source = source;
                drop(wards);
                self.came.send_modify(|count| *count += 1);
            }
            return;
        }
        let mut ward = Ward::begin(canary, &spec, source.is_none());
        ward.trust(trust);
        let condemned = matches!(ward.opinion(), Guard::RollBack(_));
        let ward = Arc::new(Mutex::new(ward));
        wards.insert(canary.key.clone(), Watched { source, ward });
        drop(wards);
        self.came.send_modify(|count| *count += 1);
        if condemned {
            self.turned.notify_waiters();
        }
    }

    /// The route as it was read, beside the status of the same tick.
    pub fn see_route(&self, canary: &Canary, live: Exposure) {
        if let Some(ward) = self.ward(&canary.key) {
            lock(&ward).see_route(!canary.status.exposure().is_none() && live.is_none());
        }
    }

    /// Whether the route keeps clients with a version, so that shares of requests are none of clients.
    pub fn see_sticky(&self, key: &Key, sticky: bool) {
        if let Some(ward) = self.ward(key) {
            lock(&ward).stick(sticky);
        }
    }

    /// How many pods can serve, of the target and of the primary.
    pub fn count_pods(&self, key: &Key, target: Option<u32>, primary: Option<u32>) {
        if let Some(ward) = self.ward(key) {
            let mut ward = lock(&ward);
            let pods = if ward.soaks() { primary } else { target };
            ward.count_pods(pods);
        }
    }

    /// What the guard thinks now.
    pub fn opinion(&self, key: &Key) -> Guard {
        self.ward(key).map(|ward| lock(&ward).opinion()).unwrap_or_default()
    }

    /// What the guard thinks, and what it wants the status to say.
    pub fn sight(&self, key: &Key) -> (Guard, observed::Watched) {
        let Some(ward) = self.ward(key) else {
            let metrics = self.probes.found(key);
            return legible(Guard::Quiet, observed::Watched { metrics, ..Default::default() });
        };
        let ward = lock(&ward);
        legible(ward.opinion(), ward.watched())
    }

    /// The evidence on a canary at this moment, in one line; none without a guard, or before its first request.
    pub fn line(&self, key: &Key) -> Option<String> {
        self.ward(key).and_then(|ward| lock(&ward).line())
    }

    /// The evidence on a canary at this moment, with its numbers; none without a guard, or before its first request.
    pub fn evidence(&self, key: &Key) -> Option<Evidence> {
        self.ward(key).and_then(|ward| lock(&ward).evidence())
    }

    pub fn is_condemned(&self, key: &Key) -> bool {
        matches!(self.opinion(key), Guard::RollBack(_))
    }

    /// Waits until the guard wants this canary off the road.
    pub async fn condemned(&self, key: &Key) {
        loop {
            let turned = self.turned.notified();
            tokio::pin!(turned);
            turned.as_mut().enable();
            if self.is_condemned(key) {
                return;
            }
            turned.await;
        }
    }

    /// The canary is gone or has no traffic left; what is to be kept of its evidence is in its status.
    pub fn forget(&self, key: &Key) {
        self.wards().remove(key);
        self.probes.forget(key);
    }

    /// Somebody else may have led in between: the statuses know better.
    pub fn clear(&self) {
        self.wards().clear();
        self.probes.clear();
    }

    /// The shortest time between two looks at a source that any canary asks for; none without canaries.
    fn interval(&self, source: &SourceKey) -> Option<Duration> {
        self.of(source).iter().map(|(_, ward)| lock(ward).interval()).min()
    }
}
