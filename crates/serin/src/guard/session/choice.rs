//! Which objectives of a release can be measured: chosen once, as soon as a histogram tells or is known to be missing.

use std::collections::{BTreeMap, BTreeSet};

use serin_core::judge::design::{Design, Measured, shape_bounds};
use serin_core::model::{Bad, Objective};
use serin_judge::counters::{Born, Inconsistency};
use serin_judge::monitor::Monitor;
use serin_providers::gateway::{Counters, Page, Sides};

use super::{PROCESSES_MAX, Session, State, readings};
use crate::guard::source::Scraped;

/// A histogram comes with the first request that it counts: when this many looks have brought requests and no histogram,
/// there is none.
const LOOKS_WITHOUT: u32 = 3;

/// Why an objective is not measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// Requests are counted, their durations are not.
    Histogram,
    /// No bound of the histogram is the threshold.
    Bucket,
    /// It is there now, and was not when this release began.
    Late,
    /// Its counters are below what they were, and the process has not restarted.
    Fallen,
    /// More failures than requests were counted.
    Ahead,
    /// Fewer requests are counted than the canary's share of them.
    Missing,
}

impl Lack {
    pub(super) fn why(self) -> &'static str {
        match self {
            Lack::Histogram => "the gateway has no histogram of durations",
            Lack::Bucket => "no bound of the histogram is its threshold",
            Lack::Late => {
                "its histogram came after the release began; the next release is judged by it"
            }
            Lack::Fallen => {
                "its counters are below what they were, and the gateway has not restarted"
            }
            Lack::Ahead => "the gateway counts failures without their requests",
            Lack::Missing => {
                "the gateway counts fewer requests of the canary than its share of them"
            }
        }
    }
}

/// What was seen before anything could be judged.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The counters that later ones are compared with, by process, and when they were read.
    base: BTreeMap<String, Sides>,
    base_millis: u64,
    /// Requests at the last look, and looks that have brought some.
    requests: u64,
    looks: u32,
    /// The bounds at which latencies are compared, once they are known: then they are read.
    pub(super) shape: Vec<f64>,
    /// What there is to measure does not tell about any objective.
    pub(super) nothing: bool,
}

impl Waiting {
    /// Takes in a look without a histogram; true when there is none to come.
    fn is_over(&mut self, sides: Vec<(String, Sides)>, at_millis: u64) -> bool {
        let of = |sides: &Sides| sides.canary.requests.saturating_add(sides.primary.requests);
        let requests = sides.iter().map(|(_, sides)| of(sides)).sum::<u64>();
        if self.base_millis > 0 && requests > self.requests {
            self.looks += 1;
        }
        self.requests = requests;
        if self.looks == 0 {
            self.base = sides.into_iter().take(PROCESSES_MAX).collect();
            self.base_millis = at_millis;
            return false;
        }
        for (process, sides) in sides {
            // Whoever was born since then counts from zero.
            if sides.born == Born::Before && self.base.len() < PROCESSES_MAX {
                self.base.entry(process).or_insert(sides);
            }
        }
        self.looks >= LOOKS_WITHOUT
    }

    /// Begins a watch where this was read: what has been counted since is its first block.
    fn begin(&self, watch: &mut Monitor, bounds: usize, at_millis: u64) {
        if self.base_millis == 0 || self.base_millis >= at_millis {
            return;
        }
        let base: Vec<(&str, Sides)> = self
            .base
            .iter()
            .map(|(p, s)| (p.as_str(), s))
            .map(|(process, Sides { canary, primary, born: _, started })| {
                let timeless = |counters: &Counters| Counters {
                    within: vec![Some(0); bounds],
                    ..counters.clone()
                };
                let born = Born::Before;
                let (canary, primary, started) = (timeless(canary), timeless(primary), *started);
                (process, Sides { canary, primary, born, started })
            })
            .collect();
        // The first scrape is a base; one without any process is none.
        let _ = watch.observe(self.base_millis, readings(&base, true));
    }
}

fn is_slow(objective: &Objective) -> bool {
    objective.bad != Bad::Failed
}

fn has_histogram(pages: &[Scraped]) -> bool {
    pages.iter().any(|(_, page)| !page.bounds.is_empty())
}

fn has(objective: &Objective, pages: &[Scraped]) -> bool {
    let all = |of: &dyn Fn(&Page) -> bool| pages.iter().all(|(_, page)| of(page));
    match objective.bad {
        Bad::Failed => true,
        Bad::SlowerThan(millis) => has_histogram(pages) && all(&|page| page.has_bound(millis)),
        Bad::Shape => !common(pages).is_empty(),
    }
}

/// The bounds that every histogram has.
fn common(pages: &[Scraped]) -> Vec<f64> {
    let mut histograms = pages.iter().map(|(_, page)| page).filter(|page| !page.bounds.is_empty());
    let Some(first) = histograms.next() else { return Vec::new() };
    let others: Vec<&Page> = histograms.collect();
    let everywhere = |bound: &&f64| others.iter().all(|page| page.has_bound(**bound));
    first.bounds.iter().filter(everywhere).copied().collect()
}

impl Session {
    /// Which objectives can be measured, as soon as a histogram tells, or that there is none.
    pub(super) fn choose(&mut self, pages: &[Scraped], at_millis: u64, began: f64) {
        let State::New(waiting) = &mut self.state else { return };
        if self.spec.objectives.iter().any(is_slow) && !has_histogram(pages) {
            let sides = pages
                .iter()
                .map(|(process, page)| (process.clone(), page.sides(&self.pair, &[], began)));
            if !waiting.is_over(sides.collect(), at_millis) {
                return;
            }
        }
        let all = self.spec.objectives.iter().enumerate();
        let objectives: Vec<usize> =
            all.filter(|(_, o)| has(o, pages)).map(|(place, _)| place).collect();
        let shaped =
            |place: &usize| self.spec.objectives.get(*place).is_some_and(|o| o.bad == Bad::Shape);
        if objectives.iter().any(shaped) {
            waiting.shape = shape_bounds(&self.spec, &common(pages));
            let read = |page: &Page| waiting.shape.iter().all(|bound| page.reads(*bound));
            if !pages.iter().all(|(_, page)| read(page)) {
                // The next look brings them.
                return;
            }
        }
        waiting.nothing = objectives.is_empty();
        if waiting.nothing {
            return;
        }
        let (known, shape) = (&self.canary.status.dispersion, waiting.shape.clone());
        let measured = Measured::new(&self.spec, objectives, known, shape);
        let Design { config, sources, bounds } = Design::new(&self.spec, &measured, self.steps);
        self.state = match Monitor::new(config, bounds.len(), sources) {
            Err(error) => State::Lost(error.to_string()),
            Ok(mut watch) => {
                waiting.begin(&mut watch, bounds.len(), at_millis);
                watch.at_share(super::share(&self.canary));
                State::Watching { watch: Box::new(watch), measured, bounds }
            }
        };
    }

    /// It is known which buckets to read, and they have not been read yet.
    pub(super) fn waits_for_bounds(&self) -> bool {
        matches!(&self.state, State::New(waiting) if !waiting.shape.is_empty())
    }

    /// Says for each objective that is not measured why that is so.
    pub(super) fn note_lacks(&mut self, pages: &[Scraped]) {
        let measured: BTreeSet<usize> = match &self.state {
            State::Watching { measured, .. } => measured.objectives.iter().copied().collect(),
            State::New(waiting) if waiting.nothing => BTreeSet::new(),
            State::New(_) | State::Lost(_) => {
                self.lacks.clear();
                return;
            }
        };
        let all = self.spec.objectives.iter().enumerate();
        let missing = all.filter(|(place, _)| !measured.contains(place));
        self.lacks = missing
            .map(|(place, objective)| {
                let lack = match (has_histogram(pages), has(objective, pages)) {
                    (false, _) => Lack::Histogram,
                    (true, false) => Lack::Bucket,
                    (true, true) => Lack::Late,
                };
                (place, lack)
            })
            .collect();
        let inconsistency = match &self.state {
            State::Watching { watch, .. } => watch.counters().inconsistency(),
            State::New(_) | State::Lost(_) => None,
        };
        let lack = match inconsistency {
            Some(Inconsistency::Fallen) => Some(Lack::Fallen),
            Some(Inconsistency::Ahead) => Some(Lack::Ahead),
            None => self.shortfall.told().map(|_| Lack::Missing),
        };
        if let Some(lack) = lack {
            let all = self.spec.objectives.iter().enumerate();
            let failures = all.filter(|(_, objective)| objective.bad == Bad::Failed);
            self.lacks.extend(failures.map(|(place, _)| (place, lack)));
        }
    }

    /// The objectives that are not measured, and why.
    pub(super) fn unmeasured(&self) -> impl Iterator<Item = (&Objective, Lack)> {
        self.lacks
            .iter()
            .filter_map(|(place, lack)| Some((self.spec.objectives.get(*place)?, *lack)))
    }
}
