//! One canary under guard: its evidence, what it leads to, and whether it can be had at all.

mod choice;
mod verdict;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use serin_core::judge::design::{Design, Measured, Memory, weight_steps};
use serin_core::model::{Bad, Canary, GuardSpec, Objective};
use serin_core::observed::{Fitness, Guard};
use serin_core::step::KEEP_EVERY_SECS;
use serin_judge::counters::{Monotonic, Reading};
use serin_judge::monitor::Monitor;
use serin_judge::traffic::Traffic;
use serin_judge::words::Percent;
use serin_judge::{Decision, Verdict};
use serin_providers::gateway::{Page, Pair, Sides, Wanted};

use self::choice::{Lack, Waiting};
use super::fitness;
use super::shortfall::Shortfall;
use super::source::{Scraped, SourceKey};
use super::warm::Warmth;

/// Not seeing anything for this long is a reason not to go on.
const BLIND: SignedDuration = SignedDuration::from_secs(5);
/// Scrapes of a metrics server that may be late before nothing is known.
const SAMPLES_MISSED_MAX: i32 = 3;
/// More processes of gateways than are looked at; those that are gone are forgotten then.
const PROCESSES_MAX: usize = 512;
/// Keeps the memory small whatever objectives are called.
const SENTENCE_MAX: usize = 400;

/// Where the counts come from, as the ledger says it.
const COUNTED: &str = "guard, from the gateway's counters";
const RECORDED: &str = "guard, from what Prometheus has of the gateway";

/// How a session takes what its source says, or that it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trust {
    /// Nobody has asked for this guard nor for its source: it stays out of the way where it cannot measure.
    pub optional: bool,
    /// Counters are read by another client now and then, and so do not tell of the present.
    pub recorded: bool,
}

impl Trust {
    pub(super) fn of(spec: &GuardSpec, source: Option<&SourceKey>) -> Self {
        let recorded = matches!(source, Some(SourceKey::Prometheus(_)));
        Self { optional: recorded && !spec.asked && spec.source.is_none(), recorded }
    }

    fn source(self) -> &'static str {
        if self.recorded { RECORDED } else { COUNTED }
    }
}

/// What a look leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Something a tick should know of.
    pub wake: bool,
    /// The verdict turned.
    pub turned: bool,
    /// Worth another look before the next is due.
    pub again: bool,
}

enum State {
    /// Nothing was seen that says which objectives can be measured.
    New(Waiting),
    Watching {
        watch: Box<Monitor>,
        measured: Measured,
        bounds: Vec<f64>,
    },
    /// The evidence so far cannot be continued, and a fresh start would spend alpha again.
    Lost(String),
}

pub(super) struct Session {
    canary: Canary,
    spec: GuardSpec,
    pair: Pair,
    steps: u32,
    state: State,
    /// There is no gateway to ask.
    blind: bool,
    /// When a look last succeeded, and since when and why the later ones fail.
    seen: Option<Timestamp>,
    failure: Option<(Timestamp, String)>,
    /// They have failed for too long.
    cannot_see: bool,
    /// Another client, or this process before it was restarted, has led this release so far.
    inherited: bool,
    /// Replicas of the gateway that nobody looks at.
    beyond: usize,
    /// When the look began that is under way.
    asked: Option<Timestamp>,
    /// The route gave the canary nothing when it was first read, though the status says otherwise, and has not since.
    taken_off: Option<bool>,
    /// The first look.
    since: Option<Timestamp>,
    decided: Option<String>,
    traffic: Traffic,
    warmth: Warmth,
    /// The last look found that the evidence allows more.
    ready: bool,
    fitness: Option<Fitness>,
    /// Places of the objectives that are not measured.
    lacks: BTreeMap<usize, Lack>,
    shortfall: Shortfall,
    /// When the status last got our memory, as far as is known, or was last asked to.
    saved: Option<Timestamp>,
    trust: Trust,
    /// When the newest sample of each process was taken.
    samples: BTreeMap<String, i64>,
    /// When a look last brought something that was not known.
    moved: Option<Timestamp>,
    ordered: Monotonic,
    /// None has been taken since the canary's share was changed.
    stale: bool,
    /// Samples that are older have been counted by another source.
    not_before: Option<i64>,
    /// Until then another source has counted, under other names, so that a process born before is no news.
    counted_until: Option<Timestamp>,
}

impl Session {
    pub(super) fn begin(canary: &Canary, spec: &GuardSpec, blind: bool) -> Self {
        let mut session = Self {
            canary: canary.clone(),
            spec: spec.clone(),
            pair: pair(canary),
            steps: weight_steps(&canary.spec.analysis),
            state: State::New(Waiting::default()),
            blind,
            seen: None,
            failure: None,
            cannot_see: false,
            inherited: false,
            beyond: 0,
            asked: None,
            taken_off: None,
            since: None,
            decided: None,
            traffic: Traffic::default(),
            warmth: Warmth::default(),
            ready: false,
            fitness: blind.then(fitness::nobody),
            lacks: BTreeMap::new(),
            shortfall: Shortfall::new(spec.alpha, canary.status.exposure()),
            saved: None,
            trust: Trust::default(),
            samples: BTreeMap::new(),
            moved: None,
            ordered: Monotonic::default(),
            stale: true,
            not_before: None,
            counted_until: None,
        };
        if let Some(kept) = &canary.status.guard {
            session.inherited = true;
            session.restore(kept);
        }
        session
    }

    fn restore(&mut self, kept: &Value) {
        let lost = |error: &dyn std::fmt::Display| {
            State::Lost(format!(
                "the evidence on this release cannot be continued ({error}); it waits for the spec as it was, or for another revision"
            ))
        };
        let memory = match Memory::read(kept) {
            Ok(memory) => memory,
            Err(error) => {
                self.state = lost(&error);
                return;
            }
        };
        let Memory { time, weight, steps, measured, decided, watch } = memory;
        let Design { config, sources, bounds } = Design::new(&self.spec, &measured, steps);
        self.state = match Monitor::restore(config, bounds.len(), sources, &watch) {
            Ok(mut watch) => {
                if weight != self.canary.status.canary_weight {
                    watch.weight_changed();
                }
                watch.at_share(share(&self.canary));
                State::Watching { watch: Box::new(watch), measured, bounds }
            }
            Err(error) => lost(&error),
        };
        (self.steps, self.decided, self.saved) = (steps, decided, Some(time));
    }

    /// From now on counters come from elsewhere, or are taken in another way.
    pub(super) fn trust(&mut self, trust: Trust) {
        if trust.recorded && !self.trust.recorded {
            self.not_before = self.seen.map(Timestamp::as_millisecond);
        }
        if trust.recorded != self.trust.recorded {
            self.counted_until = self.seen;
        }
        self.trust = trust;
    }

    /// Whether another analysis began, which knows nothing of this one: what one version did says nothing about the next.
    pub(super) fn is_over(&self, canary: &Canary) -> bool {
        let (now, then) = (&canary.status, &self.canary.status);
        now.guard.is_none() && now.analysis_start_time != then.analysis_start_time
    }

    /// The same rollout, one tick later.
    pub(super) fn follow(&mut self, canary: &Canary, spec: &GuardSpec) {
        if canary.status.exposure() != self.canary.status.exposure() {
            self.stale = true;
            if let State::Watching { watch, .. } = &mut self.state {
                watch.weight_changed();
                watch.at_share(share(canary));
            }
        }
        if let Some((time, _)) = canary.status.guard.as_ref().map(Memory::glance) {
            self.saved = self.saved.max(time);
        }
        self.shortfall.follow(canary.status.exposure());
        let changed = *spec != self.spec;
        self.canary = canary.clone();
        self.pair = pair(canary);
        if changed {
            self.spec = spec.clone();
            let saved = self.saved;
            // Alpha and the clock may change; other questions are refused.
            if let Some(memory) = self.memory().or_else(|| canary.status.guard.clone()) {
                self.restore(&memory);
            }
            self.saved = saved;
        }
    }

    /// Whether the route lacks the traffic that the status speaks of.
    pub(super) fn see_route(&mut self, lacks: bool) {
        self.taken_off = Some(lacks && self.taken_off.unwrap_or(true));
    }

    /// Whether the route keeps clients with a version.
    pub(super) fn stick(&mut self, sticky: bool) {
        self.shortfall.stick(sticky);
    }

    /// How many of the pods that are judged can serve.
    pub(super) fn count_pods(&mut self, pods: Option<u32>) {
        self.warmth.count(pods);
    }

    /// The promoted primary is what is watched.
    pub(super) fn soaks(&self) -> bool {
        super::soaks(&self.canary)
    }

    pub(super) fn canary(&self) -> &Canary {
        &self.canary
    }

    pub(super) fn interval(&self) -> Duration {
        Duration::from_millis(self.spec.interval_millis)
    }

    /// Adds to what is read of every page.
    pub(super) fn add_to(&self, wanted: &mut Wanted) {
        let bound = |objective: &Objective| match objective.bad {
            Bad::Failed | Bad::Shape => None,
            Bad::SlowerThan(millis) => Some(millis),
        };
        let mut bounds: Vec<f64> = self.spec.objectives.iter().filter_map(bound).collect();
        match &self.state {
            State::Watching { measured, .. } => bounds.extend(&measured.shape),
            State::New(waiting) => {
                bounds.extend(&waiting.shape);
                if self.spec.objectives.iter().any(|objective| objective.bad == Bad::Shape) {
                    wanted.ask_for_bounds();
                }
            }
            State::Lost(_) => {}
        }
        wanted.add(&self.canary, &bounds);
    }

    /// `ln E`, once there is any.
    pub(super) fn log_evidence(&self) -> Option<f64> {
        match &self.state {
            State::Watching { watch, .. } => Some(watch.guard().log_evidence()),
            State::New(_) | State::Lost(_) => None,
        }
    }

    /// The source is being asked.
    pub(super) fn ask(&mut self, now: Timestamp) {
        self.asked = Some(now);
    }

    /// So many replicas of the gateway are not looked at.
    pub(super) fn leave_out(&mut self, beyond: usize) {
        self.beyond = beyond;
    }

    /// The source has not answered yet, which is known before it gives up.
    pub(super) fn hangs(&mut self, now: Timestamp) -> News {
        let Some(asked) = self.asked.filter(|asked| now.duration_since(*asked) >= BLIND) else {
            return News::default();
        };
        let before = (kind(&self.verdict()), self.fitness.clone());
        let secs = now.duration_since(asked).as_secs();
        let (since, why) =
            self.failure.take().unwrap_or_else(|| (asked, format!("no answer for {secs} s")));
        self.cannot_see = now.duration_since(since) >= BLIND;
        self.fitness = Some(fitness::unreachable(self.trust.recorded, cannot_see(&why)));
        self.failure = Some((since, why));
        let turned = before.0 != kind(&self.verdict());
        News { wake: turned || before.1 != self.fitness, turned, again: false }
    }

    /// Takes in what the gateways say now; `failure` is what one of those that did not answer said.
    pub(super) fn look(
        &mut self,
        pages: &[Scraped],
        failure: Option<&str>,
        now: Timestamp,
    ) -> News {
        let waited = self.waits_for_bounds();
        let before = (kind(&self.verdict()), self.fitness.clone(), self.decided.is_some());
        self.since.get_or_insert(now);
        let news = self.is_news(pages);
        match failure {
            Some(why) if pages.is_empty() => {
                // Whoever does not answer has not since it was asked.
                let asked = self.asked.unwrap_or(now).min(now);
                let since = self.failure.as_ref().map_or(asked, |(since, _)| *since);
                self.failure = Some((since, why.to_owned()));
            }
            Some(_) | None => self.failure = self.stands(pages, news, now),
        }
        let verdict = if news { self.take(pages, now) } else { None };
        if !pages.is_empty() {
            self.seen = Some(now);
            self.note_lacks(pages);
        }
        self.cannot_see =
            self.failure.as_ref().is_some_and(|(since, _)| now.duration_since(*since) >= BLIND);
        self.fitness = self.judge_sources(pages, now).or(self.fitness.take());
        let soaks = self.soaks();
        if let State::Watching { watch, .. } = &mut self.state
            && self.decided.is_none()
            && watch.guard().decision() == Decision::RollBack
        {
            watch.settle();
            self.decided = Some(if soaks { verdict_of_soak(watch) } else { sentence(watch) });
        }
        self.carry_out(verdict.is_some());
        let turned = before.0 != kind(&self.verdict());
        let unsaved = self.saved.is_none_or(|saved| {
            now.duration_since(saved) >= SignedDuration::from_secs(KEEP_EVERY_SECS)
        });
        let save = unsaved && verdict.is_some();
        if save {
            self.saved = Some(now);
        }
        let other = before.1 != self.fitness || before.2 != self.decided.is_some();
        let ready = self.allows_more(now);
        let risen = ready && !self.ready;
        self.ready = ready;
        News {
            wake: turned || other || save || risen,
            turned,
            again: verdict.is_some_and(|v| v.look_again) || (!waited && self.waits_for_bounds()),
        }
    }

    /// Whoever led before lowers the route at once and then writes the status, and may have been stopped in between. Then the
    /// canary has no traffic that could change the evidence any more, and what was kept of it is older than that decision:
    /// where it leans against the canary as well, the decision stands.
    fn carry_out(&mut self, news: bool) {
        let taken_off = self.taken_off == Some(true) && !self.canary.status.exposure().is_none();
        let inherits = self.inherited && taken_off && news && self.decided.is_none();
        let State::Watching { watch, .. } = &self.state else { return };
        if inherits && !self.soaks() && matches!(watch.guard().decision(), Decision::Hold(_)) {
            let text = format!(
                "the replica that led before has taken its traffic away; {}",
                sentence(watch)
            );
            self.decided = Some(text.chars().take(SENTENCE_MAX).collect());
        }
    }

    /// Whether any of it was counted since the last look: the same samples once more are no time without requests.
    fn is_news(&mut self, pages: &[Scraped]) -> bool {
        let samples = pages.iter().filter_map(|(process, page)| Some((process, page.sampled?)));
        let samples: BTreeMap<&String, i64> =
            samples.map(|(process, sampled)| (process, sampled.at_millis)).collect();
        if samples.is_empty() {
            return !pages.is_empty();
        }
        if self.not_before.is_some_and(|time| samples.values().any(|at| *at < time)) {
            return false;
        }
        let first = self.samples.is_empty();
        let mut news = false;
        for (process, at) in &samples {
            let newest = self.samples.entry((*process).clone()).or_insert(i64::MIN);
            news |= *at > *newest;
            *newest = (*newest).max(*at);
        }
        if self.samples.len() > PROCESSES_MAX {
            self.samples.retain(|process, _| samples.contains_key(process));
        }
        // The first ones may have been taken before.
        self.stale &= !news || first;
        news
    }

    /// Since when, and that, samples come whose times do not go on, as when somebody has set the server's clock back.
    fn stands(
        &mut self,
        pages: &[Scraped],
        news: bool,
        now: Timestamp,
    ) -> Option<(Timestamp, String)> {
        if news || self.moved.is_none() {
            self.moved = Some(now);
        }
        let moved = self.moved?;
        let sampled = pages.iter().filter_map(|(_, page)| page.sampled);
        let every = sampled.map(|sampled| sampled.every_millis.unwrap_or_default()).max()?;
        let every = SignedDuration::from_millis(i64::try_from(every).unwrap_or(i64::MAX));
        let long = BLIND.saturating_add(every.saturating_mul(SAMPLES_MISSED_MAX));
        let standing = now.duration_since(moved);
        (standing >= long).then(|| {
            let secs = standing.as_secs();
            (moved, format!("the times of its samples have not gone on for {secs} s"))
        })
    }

    /// When this look was, for the evidence.
    fn order(&mut self, now: Timestamp) -> u64 {
        let after = match &self.state {
            State::Watching { watch, .. } => watch.counters().at_millis(),
            State::New(_) | State::Lost(_) => None,
        };
        self.ordered.at(now.as_millisecond(), self.spec.interval_millis, after)
    }

    /// Another replica of the server may be behind the one that was asked before: what it has is known.
    fn is_old(&self, process: &str, page: &Page) -> bool {
        let newest = self.samples.get(process).copied();
        page.sampled.zip(newest).is_some_and(|(sampled, newest)| sampled.at_millis < newest)
    }

    fn take(&mut self, pages: &[Scraped], now: Timestamp) -> Option<Verdict> {
        let at_millis = self.order(now);
        let status = &self.canary.status;
        let soak = status.soak.as_ref().filter(|_| self.soaks()).and_then(|soak| soak.start_time);
        let warm =
            self.warmth.is_warm(soak.or(status.traffic_start_time), self.spec.warm_up_secs, now);
        let began = soak.or(status.analysis_start_time).unwrap_or(now);
        let began = self.counted_until.map_or(began, |until| until.max(began));
        let began = began.as_millisecond() as f64 / 1000.0;
        self.choose(pages, at_millis, began);
        let State::Watching { bounds, .. } = &self.state else { return None };
        // A process that lacks a bound would show every request as slow.
        let sides: Vec<(&str, Sides)> = pages
            .iter()
            .filter(|(_, page)| bounds.iter().all(|b| page.has_bound(*b) && page.reads(*b)))
            .filter(|(process, page)| !self.is_old(process, page))
            .map(|(process, page)| (process.as_str(), page.sides(&self.pair, bounds, began)))
            .collect();
        let idle = !super::soaks(&self.canary) && self.canary.status.exposure().is_none();
        let State::Watching { watch, .. } = &mut self.state else { return None };
        watch.set_idle(idle);
        let verdict = watch.observe(at_millis, readings(&sides, warm)).ok();
        let increase = watch.counters().increase();
        if verdict.is_some() {
            let requests = increase.canary.requests.saturating_add(increase.primary.requests);
            self.traffic.observe(increase.secs, requests);
            if self.trust.recorded {
                self.shortfall.skip();
            } else if !super::soaks(&self.canary) {
                self.shortfall.take(&self.pair, pages, increase, now);
            }
        }
        verdict
    }

    /// The first thing to put right; none when nothing can be said yet.
    fn judge_sources(&self, pages: &[Scraped], now: Timestamp) -> Option<Fitness> {
        if let Some((since, why)) = &self.failure {
            let long = now.duration_since(*since) >= BLIND;
            return long.then(|| fitness::unreachable(self.trust.recorded, cannot_see(why)));
        }
        let since = self.since.unwrap_or(now);
        let found = fitness::judge(&self.canary, &self.spec, pages, since, now)?;
        let lacking = self.unmeasured().find_map(|(objective, lack)| match lack {
            Lack::Histogram => Some(fitness::timeless(objective)),
            Lack::Late => Some(fitness::late(objective)),
            Lack::Bucket => None,
            Lack::Fallen | Lack::Ahead => Some(fitness::contradictory(objective, lack.why())),
            Lack::Missing => {
                let told = self.shortfall.told().unwrap_or_default();
                Some(fitness::missing(objective, told))
            }
        });
        let partly = (self.beyond > 0).then(|| fitness::too_many(self.beyond));
        let partly =
            partly.or_else(|| fitness::unseen(self.shortfall.untested(), pages, &self.pair));
        Some(lacking.or(partly).filter(|_| found == Fitness::Fit).unwrap_or(found))
    }

    fn memory(&self) -> Option<Value> {
        let State::Watching { watch, measured, bounds: _ } = &self.state else {
            return None;
        };
        let at = i64::try_from(watch.counters().at_millis()?).ok()?;
        let counted = Timestamp::from_millisecond(at).ok()?;
        let memory = Memory {
            time: self.seen.unwrap_or(counted),
            weight: self.canary.status.canary_weight,
            steps: self.steps,
            measured: measured.clone(),
            decided: self.decided.clone(),
            watch: watch.save(),
        };
        Some(memory.to_value())
    }
}

fn readings<'a>(
    sides: &'a [(&'a str, Sides)],
    warm: bool,
) -> impl Iterator<Item = Reading<'a>> + Clone {
    sides.iter().flat_map(move |(process, sides)| sides.readings(process, warm))
}

/// The share of the requests that the judged side is to get; 0 where it is not known.
fn share(canary: &Canary) -> f64 {
    // Beside a promoted primary there is nobody.
    if super::soaks(canary) { 1.0 } else { f64::from(canary.status.canary_weight) / 100.0 }
}

fn kind(verdict: &Guard) -> u8 {
    match verdict {
        Guard::Quiet => 0,
        Guard::Hold(_) => 1,
        Guard::RollBack(_) => 2,
    }
}

fn cannot_see(why: &str) -> String {
    format!("The guard cannot see what the canary does to its users: {why}.")
}

/// Whom the guard judges, and what runs beside it. Beside a promoted primary there is nothing but a canary without traffic.
fn pair(canary: &Canary) -> Pair {
    let Pair { canary: of_canary, primary } = Pair::of(canary);
    if super::soaks(canary) {
        Pair { canary: primary, primary: of_canary }
    } else {
        Pair { canary: of_canary, primary }
    }
}

/// Counts of the primary, odds and limit, in one sentence.
fn verdict_of_soak(watch: &Monitor) -> String {
    let explanation = watch.explain();
    let needed = explanation.threshold.exp();
    let main = explanation.checks.first().map_or_else(String::new, |check| {
        let limit = Percent(check.limit);
        format!("{} of the promoted primary, limit {limit}: {}", check.metric, check.canary)
    });
    let text = format!("{}, limit 1 in {needed:.0}; {main}", explanation.odds);
    text.chars().take(SENTENCE_MAX).collect()
}

/// First what a person has to know, then how sure it is, then the counts on both sides.
fn sentence(watch: &Monitor) -> String {
    let explanation = watch.explain();
    let needed = explanation.threshold.exp();
    let main = explanation.checks.first();
    let headline = main.map(|check| format!("{}; ", check.headline())).unwrap_or_default();
    let counts = main.map(ToString::to_string).unwrap_or_default();
    let text = format!("{headline}{}, limit 1 in {needed:.0}; {counts}", explanation.odds);
    text.chars().take(SENTENCE_MAX).collect()
}
