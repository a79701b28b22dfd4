//! The guard clock: verdicts on canaries that have traffic, formed between ticks and read by them.
//!
//! Ticks say which canaries have traffic; loops of its own read the sources, feed each canary's evidence and wake those whose
//! verdict has changed. It decides nothing: `step` does, and the status keeps what must outlive this process.

mod checks;
pub(crate) mod evidence;
mod fitness;
mod probe;
mod scrape;
mod session;
mod shortfall;
mod source;
#[cfg(test)]
mod tests;
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

use crate::cache::ObjectCache;
use crate::cache::wake::Wake;
use crate::clock::SharedClock;
use crate::guard::evidence::Evidence;
use crate::http_client::HttpClient;
use crate::metrics::Metrics;
pub use scrape::run;
use session::{Session, Trust};
use source::SourceKey;
pub use source::{Sources, Target, targets};

type Shared = Arc<Mutex<Session>>;

/// What the guard works with.
pub struct Environment {
    pub client: Client,
    pub cache: ObjectCache,
    pub wake: Wake,
    pub clock: SharedClock,
    pub http_client: Arc<dyn HttpClient>,
    pub metrics: Arc<Metrics>,
    /// `/metrics` of every replica of the gateway.
    pub gateways: Vec<String>,
    pub guards: Arc<Guards>,
}

/// What a tick has read that the guard has to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TickRead {
    /// What the route gives the canary; nothing where it is missing, and none where it could not be read.
    pub route: Option<Exposure>,
    /// The route is there.
    pub route_exists: bool,
    /// The route keeps users on the version that they met first.
    pub sticky: bool,
    /// Pods of the target that can serve; none where that is not known.
    pub target_pods: Option<u32>,
    /// Pods of the primary that can serve; none where that is not known.
    pub primary_pods: Option<u32>,
}

/// The canaries that have traffic and a guard.
#[derive(Default)]
pub struct Guards {
    sources: Sources,
    sessions: Mutex<BTreeMap<Key, Watched>>,
    /// A canary came under guard: look at once, for its first counters are what later ones are compared with.
    came: watch::Sender<u64>,
    /// An verdict turned.
    turned: Notify,
    /// What is known of canaries at rest.
    probes: probe::Probes,
}

struct Watched {
    /// None when there is nobody to ask: guards that were asked for hold, the others stay out of the way.
    source: Option<SourceKey>,
    session: Shared,
}

fn lock(session: &Shared) -> MutexGuard<'_, Session> {
    session.lock()
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

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<Key, Watched>> {
        self.sessions.lock()
    }

    fn session(&self, key: &Key) -> Option<Shared> {
        self.sessions().get(key).map(|watched| Arc::clone(&watched.session))
    }

    /// Whoever is judged by this source.
    fn of(&self, source: &SourceKey) -> Vec<(Key, Shared)> {
        let sessions = self.sessions();
        let its = sessions.iter().filter(|(_, watched)| watched.source.as_ref() == Some(source));
        its.map(|(key, watched)| (key.clone(), Arc::clone(&watched.session))).collect()
    }

    /// The sources that somebody is judged by.
    fn sources(&self) -> BTreeSet<SourceKey> {
        self.sessions().values().filter_map(|watched| watched.source.clone()).collect()
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
                self.sessions().remove(&canary.key);
            }
            if !exposed {
                self.probes.consider(&self.sources, canary);
            }
            return;
        };
        self.probes.forget(&canary.key);
        let source = self.sources.key(canary, &spec);
        let trust = Trust::of(&spec, source.as_ref());
        let mut sessions = self.sessions();
        // What is known of a canary says nothing about the primary that it became.
        let goes_on = |session: &Shared| {
            let session = lock(session);
            session.soaks() == soaks && !session.is_over(canary)
        };
        if let Some(watched) = sessions.get_mut(&canary.key).filter(|old| goes_on(&old.session)) {
            let mut session = lock(&watched.session);
            session.follow(canary, &spec);
            session.trust(trust);
            drop(session);
            if watched.source != source {
                watched.source = source;
                drop(sessions);
                self.came.send_modify(|count| *count += 1);
            }
            return;
        }
        let mut session = Session::begin(canary, &spec, source.is_none());
        session.trust(trust);
        let condemned = matches!(session.verdict(), Guard::RollBack(_));
        let session = Arc::new(Mutex::new(session));
        sessions.insert(canary.key.clone(), Watched { source, session });
        drop(sessions);
        self.came.send_modify(|count| *count += 1);
        if condemned {
            self.turned.notify_waiters();
        }
    }

    /// The one exchange with a tick: what it has read goes in, what the guard knows comes out.
    pub fn observe(&self, canary: &Canary, read: &TickRead) -> (Guard, observed::Watched) {
        self.follow(canary, read.route.map(|live| !live.is_none()));
        if let Some(session) = self.session(&canary.key) {
            let mut session = lock(&session);
            if let Some(live) = read.route.filter(|_| read.route_exists) {
                session.see_route(!canary.status.exposure().is_none() && live.is_none());
                session.stick(read.sticky);
            }
            let pods = if session.soaks() { read.primary_pods } else { read.target_pods };
            session.count_pods(pods);
        }
        self.report(&canary.key)
    }

    /// What the guard thinks now.
    pub fn verdict(&self, key: &Key) -> Guard {
        self.session(key).map(|session| lock(&session).verdict()).unwrap_or_default()
    }

    /// What the guard thinks, and what it wants the status to say.
    pub fn report(&self, key: &Key) -> (Guard, observed::Watched) {
        let Some(session) = self.session(key) else {
            let metrics = self.probes.found(key);
            return legible(Guard::Quiet, observed::Watched { metrics, ..Default::default() });
        };
        let session = lock(&session);
        legible(session.verdict(), session.watched())
    }

    /// The evidence on a canary at this moment, in one line; none without a guard, or before its first request.
    pub fn line(&self, key: &Key) -> Option<String> {
        self.session(key).and_then(|session| lock(&session).line())
    }

    /// The evidence on a canary at this moment, with its numbers; none without a guard, or before its first request.
    pub fn evidence(&self, key: &Key) -> Option<Evidence> {
        self.session(key).and_then(|session| lock(&session).evidence())
    }

    pub fn is_condemned(&self, key: &Key) -> bool {
        matches!(self.verdict(key), Guard::RollBack(_))
    }

    /// Waits until the guard condemns this canary.
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
        self.sessions().remove(key);
        self.probes.forget(key);
    }

    /// Another client may have led in between: the statuses know better.
    pub fn clear(&self) {
        self.sessions().clear();
        self.probes.clear();
    }

    /// The shortest time between two looks at a source that any canary asks for; none without canaries.
    fn interval(&self, source: &SourceKey) -> Option<Duration> {
        self.of(source).iter().map(|(_, session)| lock(session).interval()).min()
    }
}
