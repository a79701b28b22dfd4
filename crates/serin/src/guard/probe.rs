//! The fitness check: before the first release and after every change of a spec, two looks at what a canary at rest is to be
//! judged by, to say what to put right before it matters.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serin_core::model::{Bad, Canary, GuardSpec, Key, MetricSource, Phase};
use serin_core::observed::Fitness;
use serin_core::step::METRICS_READY;
use serin_providers::gateway::Wanted;
use tokio::sync::watch;
use tokio::time::Instant;

use super::checks::{self, Asked};
use super::fitness::{self, Rest};
use super::source::{Discovery, Look, SourceKey, Sources};
use crate::guard::Environment;

/// Who comes within this is looked at together.
const GATHER: Duration = Duration::from_secs(1);
/// More at once make a look too long.
const BATCH_MAX: usize = 500;
/// Between the two looks at a gateway; at a server it is one scrape.
const APART: Duration = Duration::from_secs(5);
const APART_MAX: Duration = Duration::from_secs(70);
/// What is not fit yet is looked at again after a time that doubles.
const AGAIN_MIN: Duration = Duration::from_secs(30);
const AGAIN_MAX: Duration = Duration::from_secs(600);

/// The canaries at rest whose metrics nobody has seen to be fit.
#[derive(Default)]
pub(super) struct Probes {
    all: Mutex<BTreeMap<Key, Probe>>,
    came: watch::Sender<u64>,
}

struct Probe {
    canary: Canary,
    due: Option<Instant>,
    wait: Duration,
    found: Option<Fitness>,
}

impl Probes {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Key, Probe>> {
        self.all.lock()
    }

    /// A canary that is not exposed, as a tick has it.
    pub(super) fn consider(&self, sources: &Sources, canary: &Canary) {
        let rests = matches!(
            canary.status.phase,
            Some(Phase::Initialized | Phase::Succeeded | Phase::Failed)
        );
        let fit = canary.status.conditions.iter().any(|condition| {
            condition.kind == METRICS_READY
                && condition.status == "True"
                && condition.observed_generation == Some(canary.generation)
        });
        let mut all = self.all();
        if fit || !rests || !is_measured(sources, canary) {
            all.remove(&canary.key);
            return;
        }
        if all.get(&canary.key).is_some_and(|known| known.canary.generation == canary.generation) {
            return;
        }
        let due = Some(Instant::now() + GATHER);
        let probe = Probe { canary: canary.clone(), due, wait: AGAIN_MIN, found: None };
        all.insert(canary.key.clone(), probe);
        drop(all);
        self.came.send_modify(|count| *count += 1);
    }

    pub(super) fn found(&self, key: &Key) -> Option<Fitness> {
        self.all().get(key)?.found.clone()
    }

    pub(super) fn forget(&self, key: &Key) {
        self.all().remove(key);
    }

    pub(super) fn clear(&self) {
        self.all().clear();
    }

    fn next(&self) -> Option<Instant> {
        self.all().values().filter_map(|probe| probe.due).min()
    }

    /// Those that are due, which they are no more.
    fn take(&self) -> Vec<Canary> {
        let now = Instant::now();
        let mut all = self.all();
        let due = all.values_mut().filter(|probe| probe.due.is_some_and(|due| due <= now));
        due.take(BATCH_MAX)
            .map(|probe| {
                probe.due = None;
                probe.canary.clone()
            })
            .collect()
    }

    /// Says whether that is news.
    fn put(&self, canary: &Canary, fitness: Fitness) -> bool {
        let mut all = self.all();
        let Some(probe) = all.get_mut(&canary.key) else { return false };
        if probe.canary.generation != canary.generation {
            return false;
        }
        if fitness != Fitness::Fit {
            probe.due = Some(Instant::now() + probe.wait);
            probe.wait = (probe.wait * 2).min(AGAIN_MAX);
        }
        let news = probe.found.as_ref() != Some(&fitness);
        probe.found = Some(fitness);
        news
    }
}

/// Looks until dropped.
pub(super) async fn run(env: &Environment, gateways: &Arc<Discovery>) {
    let probes = &env.guards.probes;
    let mut came = probes.came.subscribe();
    loop {
        came.borrow_and_update();
        match probes.next() {
            None => drop(came.changed().await),
            Some(due) => tokio::select! {
                biased;
                () = tokio::time::sleep_until(due) => {}
                _ = came.changed() => {}
            },
        }
        let due = probes.take();
        if due.is_empty() {
            continue;
        }
        for (canary, fitness) in check(env, gateways, &due).await {
            if probes.put(canary, fitness) {
                env.wake.wake(&canary.key);
            }
        }
    }
}

type Both = (Look, Look);

/// Looks at each source twice, for all canaries that it is about, and says what came of it.
async fn check<'c>(
    env: &Environment,
    gateways: &Arc<Discovery>,
    canaries: &'c [Canary],
) -> Vec<(&'c Canary, Fitness)> {
    let mut wanted: BTreeMap<SourceKey, Wanted> = BTreeMap::new();
    let sources = &env.guards.sources;
    let canaries: Vec<(&Canary, Vec<Asked<'_>>)> =
        canaries.iter().map(|canary| (canary, checks::asked(env, canary))).collect();
    let measured = canaries.into_iter();
    let canaries: Vec<(&Canary, Vec<Asked<'_>>)> = measured
        .filter(|(canary, asked)| canary.spec.analysis.guard.is_some() || !asked.is_empty())
        .collect();
    for (canary, asked) in &canaries {
        let guard = canary.spec.analysis.guard.as_ref();
        let own = guard.and_then(|spec| sources.key(canary, spec));
        let keys: BTreeSet<SourceKey> = own
            .into_iter()
            .chain(asked.iter().filter_map(|a| server(sources, canary, a)))
            .collect();
        for key in keys {
            let wanted = wanted.entry(key).or_default();
            wanted.add(canary, &bounds(canary));
            if guard.is_some_and(|spec| spec.objectives.iter().any(|o| o.bad == Bad::Shape)) {
                wanted.ask_for_bounds();
            }
            wanted.look_around();
        }
    }
    let looks = wanted.iter().map(|(key, wanted)| async move {
        let mut source = key.open(gateways);
        let first = source.look(env, wanted).await;
        tokio::time::sleep(apart(&first)).await;
        (key.clone(), (first, source.look(env, wanted).await))
    });
    let looks: BTreeMap<SourceKey, Both> = join_all(looks).await.into_iter().collect();
    let judged = canaries.iter().map(|(canary, asked)| {
        let of_guard = canary.spec.analysis.guard.as_ref();
        let unfit = of_guard
            .map(|spec| judge(env, canary, spec, &looks))
            .filter(|fitness| *fitness != Fitness::Fit);
        // A guard that is fit has seen its requests.
        let used = of_guard.is_some();
        let safe = looks.values().any(|(_, look)| look.pages.iter().any(|(_, page)| page.safe));
        let fitness = unfit
            .or_else(|| {
                let servers: BTreeSet<SourceKey> =
                    asked.iter().filter_map(|asked| server(sources, canary, asked)).collect();
                servers.iter().find_map(|key| {
                    let its = |a: &&Asked<'_>| server(sources, canary, a).as_ref() == Some(key);
                    let its: Vec<&Asked<'_>> = asked.iter().filter(its).collect();
                    let (_, look) = looks.get(key)?;
                    checks::judge(canary, &its, look, safe, used)
                })
            })
            .unwrap_or(Fitness::Fit);
        (*canary, fitness)
    });
    judged.collect()
}

/// Whom a check asks.
fn server(sources: &Sources, canary: &Canary, asked: &Asked<'_>) -> Option<SourceKey> {
    match &asked.server {
        Some(server) => Some(SourceKey::Prometheus(server.clone())),
        None => sources.prometheus(canary),
    }
}

/// Whether anything is asked of a gateway's counters, by a guard or by a check.
fn is_measured(sources: &Sources, canary: &Canary) -> bool {
    let analysis = &canary.spec.analysis;
    let mut checks = analysis.metrics.iter().flat_map(|metric| &metric.sources);
    let counted = |source: &MetricSource| match source {
        MetricSource::Builtin(_) => sources.prometheus(canary).is_some(),
        // Whether it is about the gateway is known when it is read.
        MetricSource::Template { .. } => true,
        MetricSource::Query(_) => false,
    };
    let of_gateway = canary.spec.provider.capabilities.counts && checks.any(counted);
    analysis.guard.is_some() || of_gateway
}

/// Bounds that somebody cares about.
fn bounds(canary: &Canary) -> Vec<f64> {
    let guard = canary.spec.analysis.guard.as_ref();
    let objectives = guard.iter().flat_map(|spec| &spec.objectives);
    let bounds = objectives.filter_map(|objective| match objective.bad {
        Bad::Failed | Bad::Shape => None,
        Bad::SlowerThan(millis) => Some(millis),
    });
    bounds.chain(checks::limits(canary)).collect()
}

fn apart(first: &Look) -> Duration {
    let every = first.pages.iter().filter_map(|(_, page)| page.sampled?.every_millis).max();
    every.map_or(APART, |every| Duration::from_millis(every).saturating_add(APART)).min(APART_MAX)
}

/// Whether the guard can measure.
fn judge(
    env: &Environment,
    canary: &Canary,
    spec: &GuardSpec,
    looks: &BTreeMap<SourceKey, Both>,
) -> Fitness {
    let Some(key) = env.guards.sources.key(canary, spec) else { return fitness::nobody() };
    let Some((first, second)) = looks.get(&key) else { return fitness::nobody() };
    let recorded = matches!(key, SourceKey::Prometheus(_));
    Rest { canary, spec, recorded, first, second }.judge()
}
