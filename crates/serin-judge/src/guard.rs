//! The guard: rolls back on evidence whose chance of being wrong is bounded for the whole rollout.
//!
//! Every check keeps an e-process, a number that starts at 1 and does not grow on average while the canary is tolerable.
//! Their weighted average `E` is one too, so `P(E ever reaches 1/alpha) <= alpha` (Ville 1939) at any scrape rate, after any
//! number of looks, whatever decides when to look. The blocks' evidence is in [`crate::block`], start times and merging in
//! `stream`, what lets a rollout go on in [`crate::bound`] and [`crate::pace`].
//!
//! Nothing here reads a clock or a socket: times and counts are arguments.

#[cfg(test)]
mod properties;
mod saved;
#[cfg(test)]
mod tests;

pub use self::saved::RestoreError;

use crate::bound;
use crate::config::{self, Attribution, Bets, GuardConfig, Metric, Question};
use crate::error::GuardError;
use crate::stream::{Elapsed, Rules, Sample, Stream};
use crate::verdict::{Decision, Hold, Odds, Verdict};

/// Why a scrape was not judged: three different things, of which none says anything about the canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unjudged {
    /// It has the time of the scrape before: the same answer again.
    #[error("this scrape has been judged before")]
    Duplicate,
    /// It is older than the scrape before, as when a clock was set back or another reader has another clock.
    #[error("this scrape is {millis} ms older than the one before")]
    ClockWentBack {
        /// By how much.
        millis: u64,
    },
    /// There is not one counter in it.
    #[error("nothing was measured")]
    NotMeasured,
}

impl Unjudged {
    /// The time between two scrapes; none has passed before the first.
    pub(crate) fn since(last: Option<u64>, at_millis: u64) -> Result<u64, Self> {
        match last {
            None => Ok(0),
            Some(last) if at_millis == last => Err(Self::Duplicate),
            Some(last) if at_millis < last => Err(Self::ClockWentBack { millis: last - at_millis }),
            Some(last) => Ok(at_millis - last),
        }
    }
}

/// Where a stream belongs: its metric, and for dominance its bound.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slot {
    pub(crate) metric: usize,
    pub(crate) bound: Option<usize>,
    pub(crate) rules: Rules,
}

/// The judge of one rollout; feed it with [`Guard::observe`].
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    pub(crate) config: GuardConfig,
    pub(crate) slots: Vec<Slot>,
    pub(crate) streams: Vec<Stream>,
    /// The highest log evidence ever: a rollback is not taken back.
    peak: f64,
    /// `ln E` now.
    log_e: f64,
    /// Streams that have seen the same as the one before, under the same rules: bounds that all requests stay below, or
    /// that none does.
    repeats: Vec<bool>,
    /// Seconds and canary requests of late, to say how long something takes; not kept.
    recent: (f64, f64),
    /// When the last scrape was, where the caller tells.
    pub(crate) at_millis: Option<u64>,
}

impl Guard {
    /// A guard before its first request.
    pub fn new(config: GuardConfig) -> Result<Self, GuardError> {
        config::check(&config)?;
        let slots = slots(&config);
        let streams: Vec<Stream> = slots.iter().map(|_| Stream::new()).collect();
        let peak = f64::NEG_INFINITY;
        let (repeats, recent) = (Vec::new(), (0.0, 0.0));
        let at_millis = None;
        let mut guard =
            Self { config, slots, streams, peak, log_e: 0.0, repeats, recent, at_millis };
        guard.find_repeats();
        guard.refresh();
        Ok(guard)
    }

    fn find_repeats(&mut self) {
        let places = 0..self.streams.len();
        let repeat = |i: usize| {
            i > 0
                && self.slots[i].rules == self.slots[i - 1].rules
                && self.streams[i] == self.streams[i - 1]
        };
        self.repeats = places.map(repeat).collect();
    }

    /// What it was built from.
    pub fn config(&self) -> &GuardConfig {
        &self.config
    }

    /// How many samples a scrape has: one per share metric, one per bound of a dominance metric, in the metrics' order.
    pub fn samples(&self) -> usize {
        self.streams.len()
    }

    /// Tells how large groups of errors of a metric are, for the scrapes to come; never less than it was configured with.
    ///
    /// Each block's evidence is raised to `1/D` with the `D` of that moment. It may follow the past, like the plug-in rate: given
    /// the past, the mean is at most 1 whenever `D` is as large as the groups.
    pub fn assume(&mut self, metric: usize, dispersion: f64) {
        let Some(Metric { dispersion: least, .. }) = self.config.metrics.get(metric) else {
            return;
        };
        let dispersion = dispersion.max(*least).max(self.config.dispersion);
        let dispersion =
            if dispersion <= self.config.settings.groups.ignored { 1.0 } else { dispersion };
        for slot in self.slots.iter_mut().filter(|slot| slot.metric == metric) {
            slot.rules.dispersion = dispersion;
        }
    }

    /// Tells that the canary's weight was changed: a place where faults begin, and the start of a step's counts.
    pub fn weight_changed(&mut self) {
        for stream in &mut self.streams {
            stream.weight_changed();
        }
    }

    /// Tells which share of the requests the canary is to get from now on, up to 1, or 0 where nobody knows: by this it is judged whether a
    /// primary without requests is gone, or only seldom asked.
    pub fn at_share(&mut self, share: f64) {
        let share = (share > 0.0 && share <= 1.0).then_some(share);
        for slot in &mut self.slots {
            slot.rules.canary_share = share;
        }
    }

    /// Takes in one scrape, the increases over the last `secs` seconds, and judges.
    ///
    /// Samples are in the order of [`Guard::samples`]; missing ones count as silent. Costs O(checks x 10) and allocates nothing.
    pub fn observe(&mut self, secs: f64, samples: &[Sample]) -> Verdict {
        let secs = if secs.is_finite() { secs.max(0.0) } else { 0.0 };
        let (mut news, mut requests) = (false, 0);
        let elapsed = Elapsed::new(secs, &self.config.settings);
        let sample = |i: usize| samples.get(i).copied().unwrap_or_default();
        for i in 0..self.streams.len() {
            requests = requests.max(sample(i).n);
            if self.repeats[i] {
                // The same questions and the same answers so far: so is the evidence.
                if sample(i) == sample(i - 1) {
                    let (before, after) = self.streams.split_at_mut(i);
                    after[0].clone_from(&before[i - 1]);
                    continue;
                }
                self.repeats[i] = false;
            }
            news |= self.streams[i].observe(&self.slots[i].rules, sample(i), elapsed);
        }
        let keep = (-secs / self.config.settings.recent_half_life_secs).exp2();
        self.recent = (keep * self.recent.0 + secs, keep * self.recent.1 + requests as f64);
        let (before, log_before) = (self.peak, self.log_e);
        self.refresh();
        self.hold_back(log_before);
        if news {
            self.peak = self.peak.max(self.log_e);
        }
        let log_e = self.log_e;
        let decision = self.decision();
        let undecided = decision != Decision::RollBack;
        let look_again =
            news && undecided && log_e >= self.config.settings.look_again && log_e > before;
        Verdict { log_e, odds: Odds(log_e), decision, requests, look_again }
    }

    /// One scrape alone never decides, however many checks it speaks to: from even odds it lifts the merged evidence to half of
    /// what a rollback needs at most, and beyond that only as far as scrapes before it agree. Each check's own cap bounds
    /// the sum only where there are few of them.
    fn hold_back(&mut self, before: f64) {
        let half = (self.threshold() - std::f64::consts::LN_2).max(0.5 * self.threshold());
        let most = half + 2.0 * before.max(0.0);
        if self.log_e <= most || before >= self.threshold() {
            return;
        }
        let unspent: f64 =
            self.slots.iter().zip(&self.streams).map(|(slot, s)| s.unspent(&slot.rules)).sum();
        // What is not at stake stays.
        let of_wealth = |log: f64| log + (-(unspent * (-log).exp())).ln_1p();
        let by = of_wealth(self.log_e) - of_wealth(most);
        for (slot, stream) in self.slots.iter().zip(&mut self.streams) {
            stream.shrink(&slot.rules, by);
        }
        self.refresh();
    }

    /// `ln E`, the weighted average of all checks' evidence.
    pub fn log_evidence(&self) -> f64 {
        self.log_e
    }

    /// Takes in one scrape with the time when it was taken, in milliseconds since any fixed moment.
    ///
    /// A sample that was not measured is no sample without bad requests: it says nothing. The first scrape covers no time. What is not judged
    /// is no scrape either: the next one covers its time as well.
    pub fn observe_at(
        &mut self,
        at_millis: u64,
        samples: &[Option<Sample>],
    ) -> Result<Verdict, Unjudged> {
        let since = Unjudged::since(self.at_millis, at_millis)?;
        if samples.iter().take(self.samples()).all(Option::is_none) {
            return Err(Unjudged::NotMeasured);
        }
        self.at_millis = Some(at_millis);
        let samples: Vec<Sample> =
            samples.iter().map(|sample| sample.unwrap_or_default()).collect();
        Ok(self.observe(since as f64 / 1000.0, &samples))
    }

    /// Brings `ln E` up to date with the streams.
    fn refresh(&mut self) {
        let all =
            || self.slots.iter().zip(&self.streams).flat_map(|(s, stream)| stream.logs(&s.rules));
        let most = all().fold(f64::NEG_INFINITY, f64::max);
        self.log_e = most + all().map(|log| (log - most).exp()).sum::<f64>().ln();
    }

    /// `ln(1/alpha)`.
    pub fn threshold(&self) -> f64 {
        -self.config.alpha.ln()
    }

    /// What follows from the evidence so far.
    pub fn decision(&self) -> Decision {
        if self.peak >= self.threshold() {
            return Decision::RollBack;
        }
        if self
            .slots
            .iter()
            .zip(&self.streams)
            .any(|(slot, s)| slot.rules.brake && s.brakes(&slot.rules))
        {
            return Decision::Hold(Hold::ObjectiveBurning);
        }
        let seen = self.streams.iter().any(|stream| stream.blocks > 0);
        if seen && self.log_evidence() >= 0.0 {
            return Decision::Hold(Hold::Suspicion);
        }
        Decision::Continue
    }

    /// The highest rate above an objective that cannot be excluded: `max over metrics of p_U - p0`; 1 before any request.
    pub fn excess(&self) -> f64 {
        let mut worst: Option<f64> = None;
        for (slot, stream) in self.objectives() {
            let d = slot.rules.dispersion;
            let (x, n) = (stream.total.x as f64 / d, stream.total.n as f64 / d);
            let upper = bound::upper_bound(x, n, slot.rules.p0, self.config.beta);
            let excess = if stream.total.n == 0 { 1.0 } else { upper - slot.rules.p0 };
            worst = Some(worst.map_or(excess, |w| w.max(excess)));
        }
        worst.unwrap_or(1.0)
    }

    /// Clean requests still needed at this weight to say that every rate is tolerable, `2 p0`; none when all are.
    pub fn requests_to_go(&self) -> u64 {
        self.objectives().map(|(slot, stream)| self.missing(slot, stream)).max().unwrap_or(0)
    }

    /// The log evidence for going on, `G`, of the metric that has least.
    pub fn go_evidence(&self) -> f64 {
        let go = |(slot, stream): (&Slot, &Stream)| {
            let d = slot.rules.dispersion;
            let (n, x) = (stream.step.0 as f64 / d, stream.step.1 as f64 / d);
            bound::go_evidence(x, n, self.tolerable(slot.rules.p0))
        };
        self.objectives().map(go).fold(f64::INFINITY, f64::min)
    }

    /// Canary requests since the last weight change, of the metric that saw most.
    pub fn step_requests(&self) -> u64 {
        self.streams.iter().map(|stream| stream.step.0).max().unwrap_or(0)
    }

    /// Canary requests since the last weight change in one sample.
    pub fn step_requests_of(&self, sample: usize) -> u64 {
        self.streams.get(sample).map_or(0, |stream| stream.step.0)
    }

    /// Whether no canary request was ever seen.
    pub fn is_silent(&self) -> bool {
        self.streams.iter().all(|stream| stream.total.n == 0)
    }

    /// Whether any time has passed since it began or was restored, so that there is a rate to speak of.
    pub(crate) fn sees_time(&self) -> bool {
        self.recent.0 > 0.0
    }

    /// Canary requests per second of late; none when there are none.
    pub fn rate(&self) -> Option<f64> {
        let (secs, requests) = self.recent;
        (secs > 0.0 && requests / secs > 1e-3).then(|| requests / secs)
    }

    fn objectives(&self) -> impl Iterator<Item = (&Slot, &Stream)> {
        self.slots.iter().zip(&self.streams).filter(|(slot, _)| slot.rules.slo.is_some())
    }

    pub(crate) fn missing(&self, slot: &Slot, stream: &Stream) -> u64 {
        let (n, x) = (stream.step.0 as f64, stream.step.1 as f64);
        let go = self.tolerable(slot.rules.p0);
        bound::requests_to_go(x, n, go, self.config.beta, slot.rules.dispersion)
    }

    /// The rate that the last step has to rule out.
    fn tolerable(&self, p0: f64) -> f64 {
        (self.config.settings.go_limit * p0).min(0.5 * (1.0 + p0))
    }
}

fn slots(config: &GuardConfig) -> Vec<Slot> {
    let steps = config.weight_steps;
    let mut slots = Vec::new();
    for (metric, asked) in config.metrics.iter().enumerate() {
        let Metric { name: _, question, weight, dispersion } = asked;
        let dispersion = dispersion.max(config.dispersion);
        let dispersion =
            if dispersion <= config.settings.groups.ignored { 1.0 } else { dispersion };
        let shares = match config.bets {
            Bets::Auto if dispersion > 1.0 => (0.5, 0.5),
            Bets::Auto | Bets::Ratios => (1.0, 0.0),
            Bets::Live => (0.0, 1.0),
        };
        let noise = (dispersion, config.alpha);
        let settings = &config.settings;
        match question {
            Question::Share { slo, attribution, tolerance } => {
                let attributed = *attribution == Attribution::Primary;
                let half = (0.5 * weight).ln();
                let relative = Some((half, *tolerance));
                let rules = Rules::new(
                    *slo,
                    Some(half),
                    attributed,
                    relative,
                    true,
                    shares,
                    noise,
                    steps,
                    settings,
                );
                slots.push(Slot { metric, bound: None, rules });
            }
            Question::Dominance { bounds, tolerance, scale } => {
                let each = (weight / bounds.len() as f64).ln();
                for bound in 0..bounds.len() {
                    let relative = Some((each, *tolerance));
                    let rules = Rules::new(
                        *scale, None, false, relative, false, shares, noise, steps, settings,
                    );
                    slots.push(Slot { metric, bound: Some(bound), rules });
                }
            }
        }
    }
    slots
}
