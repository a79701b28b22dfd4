//! The fitness check: before the first release and after every change of a spec, two looks at what a canary at rest is to be
//! judged by, to say what to put right before it matters.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use serin_core::model::{Bad, Builtin, Canary, GuardSpec, Key, MetricSource, Phase};
use serin_core::observed::{Fitness, Seen};
use serin_core::step::METRICS_READY;
use serin_providers::gateway::Wanted;
use tokio::sync::watch;
use tokio::time::Instant;

use super::fitness::{self, Rest};
use super::source::{Discovery, Look, SourceKey, Sources};
use crate::controller::Context;
use crate::world::METRIC_TEMPLATE;

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
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A canary that is not exposed, as a tick has it.
    pub(super) fn consider(&self, canary: &Canary) {
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
        if fit || !rests || canary.spec.analysis.guard.is_none() {
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
pub(super) async fn run(context: &Context, gateways: &Arc<Discovery>) {
    let probes = &context.guards.probes;
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
        for (canary, fitness) in check(context, gateways, &due).await {
            if probes.put(canary, fitness) {
                context.wake.wake(&canary.key);
            }
        }
    }
}

type Both = (Look, Look);

/// Looks at each source twice, for all canaries that it is about, and says what came of it.
async fn check<'c>(
    context: &Context,
    gateways: &Arc<Discovery>,
    canaries: &'c [Canary],
) -> Vec<(&'c Canary, Fitness)> {
    let mut wanted: BTreeMap<SourceKey, Wanted> = BTreeMap::new();
    let sources = &context.guards.sources;
    for canary in canaries {
        let Some(spec) = &canary.spec.analysis.guard else { continue };
        let keys = [sources.key(canary, spec), checked(sources, canary)];
        for key in keys.into_iter().flatten() {
            wanted.entry(key).or_default().add(canary, &bounds(spec));
        }
    }
    let looks = wanted.iter().map(|(key, wanted)| async move {
        let mut source = key.open(gateways);
        let first = source.look(context, wanted).await;
        tokio::time::sleep(apart(&first)).await;
        (key.clone(), (first, source.look(context, wanted).await))
    });
    let looks: BTreeMap<SourceKey, Both> = join_all(looks).await.into_iter().collect();
    let judged = canaries.iter().filter_map(|canary| {
        let spec = canary.spec.analysis.guard.as_ref()?;
        Some((canary, judge(context, canary, spec, &looks)))
    });
    judged.collect()
}

fn bounds(spec: &GuardSpec) -> Vec<f64> {
    let bounds = spec.objectives.iter().filter_map(|objective| match objective.bad {
        Bad::Failed => None,
        Bad::SlowerThan(millis) => Some(millis),
    });
    bounds.collect()
}

/// The server that the builtin checks ask.
fn checked(sources: &Sources, canary: &Canary) -> Option<SourceKey> {
    let mut metrics = canary.spec.analysis.metrics.iter().flat_map(|metric| &metric.sources);
    let builtin = metrics.any(|source| matches!(source, MetricSource::Builtin(_)));
    if builtin { sources.prometheus(canary) } else { None }
}

fn apart(first: &Look) -> Duration {
    let every = first.pages.iter().filter_map(|(_, page)| page.sampled?.every_millis).max();
    every.map_or(APART, |every| Duration::from_millis(every).saturating_add(APART)).min(APART_MAX)
}

fn judge(
    context: &Context,
    canary: &Canary,
    spec: &GuardSpec,
    looks: &BTreeMap<SourceKey, Both>,
) -> Fitness {
    let sources = &context.guards.sources;
    let Some(key) = sources.key(canary, spec) else { return fitness::nobody() };
    let Some((first, second)) = looks.get(&key) else { return fitness::nobody() };
    let recorded = matches!(key, SourceKey::Prometheus(_));
    let rest = Rest { canary, spec, recorded, first, second };
    let found = rest.judge(&queries(context, canary));
    if found != Fitness::Fit {
        return found;
    }
    let server = checked(sources, canary).and_then(|key| looks.get(&key));
    server.and_then(|(_, look)| fitness::checks(canary, look)).unwrap_or(Fitness::Fit)
}

/// Queries that people have written for this canary, with the metric's name.
fn queries(context: &Context, canary: &Canary) -> Vec<(String, String)> {
    let metrics = canary.spec.analysis.metrics.iter();
    let sources = metrics.flat_map(|metric| metric.sources.iter().map(move |s| (metric, s)));
    let texts = sources.filter_map(|(metric, source)| {
        let text = match source {
            MetricSource::Builtin(Builtin::RequestSuccessRate | Builtin::RequestDuration) => None,
            MetricSource::Query(text) => Some(text.clone()),
            MetricSource::Template { namespace, name, variables: _ } => {
                let Seen::Present(object) =
                    context.world.object(&METRIC_TEMPLATE.named(namespace, name))
                else {
                    return None;
                };
                object.pointer("/spec/query")?.as_str().map(str::to_owned)
            }
        };
        text.map(|text| (metric.name.clone(), text))
    });
    texts.collect()
}
