//! The guard: rolls back on evidence whose chance of being wrong is bounded for the whole rollout.
//!
//! Every check keeps an e-process, a number that starts at 1 and does not grow on average while the canary is tolerable.
//! Their weighted average `E` is one too, so `P(E ever reaches 1/alpha) <= alpha` (Ville 1939) at any scrape rate, after any
//! number of looks, whatever decides when to look. The blocks' evidence is in [`block`], start times and merging in
//! `stream`, what lets a rollout go on in [`bound`] and [`pace`].
//!
//! Nothing here reads a clock or a socket: seconds and counts are arguments.

use serde::{Deserialize, Serialize};

pub mod block;
pub mod bound;
pub mod dispersion;
pub mod math;
pub mod pace;
pub mod soak;
mod state;
mod stream;
mod verdict;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use crate::words::Percent;
pub use block::Tolerance;
pub use bound::Interval;
pub use dispersion::DispersionMeter;
pub use soak::Soak;
pub use state::RestoreError;
pub use stream::Sample;
pub use verdict::{
    CheckKind, CheckReason, Decision, Explanation, Hold, Missing, Odds, Rate, Verdict,
};

use stream::{Elapsed, Rules, Stream};

/// Bounds of latency dominance above this are refused: each costs ten alternatives per scrape.
pub const BOUNDS_MAX: usize = 64;
/// Metrics above this are refused.
pub const METRICS_MAX: usize = 16;

/// Whether the objective's check excuses the canary for what the primary suffers as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Attribution {
    /// A block counts against the objective only as far as the canary is also worse than the primary in it.
    Primary,
    None,
}

/// Which bets a check makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Bets {
    /// Likelihood ratios, and half live-ceiling bets once errors come in groups.
    Auto,
    Ratios,
    Live,
}

/// What a metric asks of the canary.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Bad requests (errors, or slower than one bucket bound) stay within an objective and close to the primary's.
    Share { slo: f64, attribution: Attribution, tolerance: Tolerance },
    /// At no bucket bound is the share of slower requests above `tolerance` of the primary's: stochastic dominance with a
    /// margin. `bounds` are names for people, in the order of the samples; `scale` is the prior scale of the shares.
    Dominance { bounds: Vec<String>, tolerance: Tolerance, scale: f64 },
}

/// One metric and its share of the evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    pub name: String,
    pub question: Question,
    /// The weight `v` of the metric's checks together; all metrics' weights sum to at most one.
    pub weight: f64,
    /// The dispersion `D` of this metric's bad requests, measured on healthy pods; up to 1.2 counts as 1.
    pub dispersion: f64,
}

/// What a guard is asked to guarantee, and about what.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardConfig {
    /// The chance of a false rollback, of all metrics together, over the whole rollout.
    pub alpha: f64,
    /// The chance that a bound or the evidence for going on is ever wrong.
    pub beta: f64,
    /// The least dispersion `D` of every metric.
    pub dispersion: f64,
    /// Weight changes that are expected, the start included.
    pub weight_steps: u32,
    pub bets: Bets,
    pub metrics: Vec<Metric>,
}

impl GuardConfig {
    /// Equal shares for all `questions`, alpha 1 %, beta 5 %.
    pub fn new(questions: Vec<(String, Question)>, weight_steps: u32) -> Self {
        let weight = 1.0 / questions.len().max(1) as f64;
        let metrics = questions
            .into_iter()
            .map(|(name, question)| Metric { name, question, weight, dispersion: 1.0 })
            .collect();
        Self { alpha: 0.01, beta: 0.05, dispersion: 1.0, weight_steps, bets: Bets::Auto, metrics }
    }
}

/// What a guard cannot be built from.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GuardError {
    #[error("{what} is {value}, but must lie between 0 and 1, both excluded")]
    NoShare { what: String, value: f64 },
    #[error("{what} is {value}, but must be finite and at least {least}")]
    TooSmall { what: String, value: f64, least: f64 },
    #[error("the metrics' weights sum to {sum}, which is more than 1")]
    Weights { sum: f64 },
    #[error("{what} are {count}, but must be between 1 and {most}")]
    Count { what: String, count: usize, most: usize },
}

/// Where a stream belongs: its metric, and for dominance its bound.
#[derive(Debug, Clone, PartialEq)]
struct Seat {
    metric: usize,
    bound: Option<usize>,
    rules: Rules,
}

/// The judge of one rollout; feed it with [`Guard::observe`].
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    config: GuardConfig,
    seats: Vec<Seat>,
    streams: Vec<Stream>,
    /// The highest log evidence ever: a rollback is not taken back.
    peak: f64,
    /// `ln E` now.
    log_e: f64,
    /// Streams that have seen the same as the one before, under the same rules: bounds that all requests stay below, or
    /// that none does.
    twins: Vec<bool>,
    /// Seconds and canary requests of late, to say how long something takes; not kept.
    late: (f64, f64),
}

/// The past counts for half after this long where rates are told to people.
const LATE_SECS: f64 = 15.0;

impl Guard {
    /// A guard before its first request.
    pub fn new(config: GuardConfig) -> Result<Self, GuardError> {
        check(&config)?;
        let seats = seats(&config);
        let streams: Vec<Stream> = seats.iter().map(|_| Stream::new()).collect();
        let peak = f64::NEG_INFINITY;
        let (twins, late) = (Vec::new(), (0.0, 0.0));
        let mut guard = Self { config, seats, streams, peak, log_e: 0.0, twins, late };
        guard.find_twins();
        guard.refresh();
        Ok(guard)
    }

    fn find_twins(&mut self) {
        let places = 0..self.streams.len();
        let twin = |i: usize| {
            i > 0
                && self.seats[i].rules == self.seats[i - 1].rules
                && self.streams[i] == self.streams[i - 1]
        };
        self.twins = places.map(twin).collect();
    }

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
            if dispersion <= dispersion::DISPERSION_IGNORED { 1.0 } else { dispersion };
        for seat in self.seats.iter_mut().filter(|seat| seat.metric == metric) {
            seat.rules.dispersion = dispersion;
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
        for seat in &mut self.seats {
            seat.rules.canary_share = share;
        }
    }

    /// Takes in one scrape, the increases over the last `secs` seconds, and judges.
    ///
    /// Samples are in the order of [`Guard::samples`]; missing ones count as silent. Costs O(checks x 10) and allocates nothing.
    pub fn observe(&mut self, secs: f64, samples: &[Sample]) -> Verdict {
        let secs = if secs.is_finite() { secs.max(0.0) } else { 0.0 };
        let (mut news, mut requests) = (false, 0);
        let elapsed = Elapsed::new(secs);
        let sample = |i: usize| samples.get(i).copied().unwrap_or_default();
        for i in 0..self.streams.len() {
            requests = requests.max(sample(i).n);
            if self.twins[i] {
                // The same questions and the same answers so far: so is the evidence.
                if sample(i) == sample(i - 1) {
                    let (before, after) = self.streams.split_at_mut(i);
                    after[0].clone_from(&before[i - 1]);
                    continue;
                }
                self.twins[i] = false;
            }
            news |= self.streams[i].observe(&self.seats[i].rules, sample(i), elapsed);
        }
        let keep = (-secs / LATE_SECS).exp2();
        self.late = (keep * self.late.0 + secs, keep * self.late.1 + requests as f64);
        let (before, log_before) = (self.peak, self.log_e);
        self.refresh();
        self.hold_back(log_before);
        if news {
            self.peak = self.peak.max(self.log_e);
        }
        let log_e = self.log_e;
        let decision = self.decision();
        let undecided = decision != Decision::RollBack;
        let look_again = news && undecided && log_e >= LOOK_AGAIN && log_e > before;
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
            self.seats.iter().zip(&self.streams).map(|(seat, s)| s.unspent(&seat.rules)).sum();
        // What is not at stake stays.
        let of_wealth = |log: f64| log + (-(unspent * (-log).exp())).ln_1p();
        let by = of_wealth(self.log_e) - of_wealth(most);
        for (seat, stream) in self.seats.iter().zip(&mut self.streams) {
            stream.shrink(&seat.rules, by);
        }
        self.refresh();
    }

    /// `ln E`, the weighted average of all checks' evidence.
    pub fn log_evidence(&self) -> f64 {
        self.log_e
    }

    /// Brings `ln E` up to date with the streams.
    fn refresh(&mut self) {
        let all =
            || self.seats.iter().zip(&self.streams).flat_map(|(s, stream)| stream.logs(&s.rules));
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
        if self.seats.iter().zip(&self.streams).any(|(seat, s)| seat.rules.brake && s.brakes()) {
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
        for (seat, stream) in self.objectives() {
            let d = seat.rules.dispersion;
            let (x, n) = (stream.total.x as f64 / d, stream.total.n as f64 / d);
            let upper = bound::upper_bound(x, n, seat.rules.p0, self.config.beta);
            let excess = if stream.total.n == 0 { 1.0 } else { upper - seat.rules.p0 };
            worst = Some(worst.map_or(excess, |w| w.max(excess)));
        }
        worst.unwrap_or(1.0)
    }

    /// Clean requests still needed at this weight to say that every rate is tolerable, `2 p0`; none when all are.
    pub fn requests_to_go(&self) -> u64 {
        self.objectives().map(|(seat, stream)| self.missing(seat, stream)).max().unwrap_or(0)
    }

    /// The log evidence for going on, `G`, of the metric that has least.
    pub fn go_evidence(&self) -> f64 {
        let go = |(seat, stream): (&Seat, &Stream)| {
            let d = seat.rules.dispersion;
            let (n, x) = (stream.step.0 as f64 / d, stream.step.1 as f64 / d);
            bound::go_evidence(x, n, tolerable(seat.rules.p0))
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
    fn sees_time(&self) -> bool {
        self.late.0 > 0.0
    }

    /// Canary requests per second of late; none when there are none.
    pub fn rate(&self) -> Option<f64> {
        let (secs, requests) = self.late;
        (secs > 0.0 && requests / secs > 1e-3).then(|| requests / secs)
    }

    fn objectives(&self) -> impl Iterator<Item = (&Seat, &Stream)> {
        self.seats.iter().zip(&self.streams).filter(|(seat, _)| seat.rules.slo.is_some())
    }

    fn missing(&self, seat: &Seat, stream: &Stream) -> u64 {
        let (n, x) = (stream.step.0 as f64, stream.step.1 as f64);
        let go = tolerable(seat.rules.p0);
        bound::requests_to_go(x, n, go, self.config.beta, seat.rules.dispersion)
    }
}

/// Evidence above `e^0.7`, about 2 to 1 against the canary, is worth a second look before the next regular scrape.
const LOOK_AGAIN: f64 = 0.7;

/// The rate that the last step has to rule out, twice the objective.
fn tolerable(p0: f64) -> f64 {
    (2.0 * p0).min(0.5 * (1.0 + p0))
}

fn share(what: impl FnOnce() -> String, value: f64) -> Result<(), GuardError> {
    if value > 0.0 && value < 1.0 {
        Ok(())
    } else {
        Err(GuardError::NoShare { what: what(), value })
    }
}

fn least(what: impl FnOnce() -> String, value: f64, least: f64) -> Result<(), GuardError> {
    if value.is_finite() && value >= least {
        return Ok(());
    }
    Err(GuardError::TooSmall { what: what(), value, least })
}

fn count(what: impl FnOnce() -> String, count: usize, most: usize) -> Result<(), GuardError> {
    if (1..=most).contains(&count) {
        return Ok(());
    }
    Err(GuardError::Count { what: what(), count, most })
}

fn check(config: &GuardConfig) -> Result<(), GuardError> {
    share(|| "alpha".into(), config.alpha)?;
    share(|| "beta".into(), config.beta)?;
    least(|| "the dispersion".into(), config.dispersion, 1.0)?;
    count(|| "the weight steps".into(), config.weight_steps as usize, 10_000)?;
    count(|| "the metrics".into(), config.metrics.len(), METRICS_MAX)?;
    for Metric { name, question, weight, dispersion } in &config.metrics {
        least(|| format!("the dispersion of {name}"), *dispersion, 1.0)?;
        least(|| format!("the weight of {name}"), *weight, f64::MIN_POSITIVE)?;
        let tolerance = match question {
            Question::Share { slo, tolerance, attribution: _ } => {
                share(|| format!("the objective of {name}"), *slo)?;
                tolerance
            }
            Question::Dominance { bounds, tolerance, scale } => {
                share(|| format!("the scale of {name}"), *scale)?;
                count(|| format!("the bounds of {name}"), bounds.len(), BOUNDS_MAX)?;
                // With nothing absolute allowed, a bound no request reaches has no boundary to stand on.
                least(|| format!("the absolute tolerance of {name}"), tolerance.delta, 1e-6)?;
                tolerance
            }
        };
        least(|| format!("the relative tolerance of {name}"), tolerance.rho, 1e-3)?;
        least(|| format!("the absolute tolerance of {name}"), tolerance.delta, 0.0)?;
    }
    let sum: f64 = config.metrics.iter().map(|metric| metric.weight).sum();
    if sum > 1.0 + 1e-9 {
        return Err(GuardError::Weights { sum });
    }
    Ok(())
}

fn seats(config: &GuardConfig) -> Vec<Seat> {
    let steps = config.weight_steps;
    let mut seats = Vec::new();
    for (metric, asked) in config.metrics.iter().enumerate() {
        let Metric { name: _, question, weight, dispersion } = asked;
        let dispersion = dispersion.max(config.dispersion);
        let dispersion =
            if dispersion <= dispersion::DISPERSION_IGNORED { 1.0 } else { dispersion };
        let shares = match config.bets {
            Bets::Auto if dispersion > 1.0 => (0.5, 0.5),
            Bets::Auto | Bets::Ratios => (1.0, 0.0),
            Bets::Live => (0.0, 1.0),
        };
        let noise = (dispersion, config.alpha);
        match question {
            Question::Share { slo, attribution, tolerance } => {
                let attributed = *attribution == Attribution::Primary;
                let half = (0.5 * weight).ln();
                let relative = Some((half, *tolerance));
                let rules =
                    Rules::new(*slo, Some(half), attributed, relative, true, shares, noise, steps);
                seats.push(Seat { metric, bound: None, rules });
            }
            Question::Dominance { bounds, tolerance, scale } => {
                let each = (weight / bounds.len() as f64).ln();
                for bound in 0..bounds.len() {
                    let relative = Some((each, *tolerance));
                    let rules =
                        Rules::new(*scale, None, false, relative, false, shares, noise, steps);
                    seats.push(Seat { metric, bound: Some(bound), rules });
                }
            }
        }
    }
    seats
}
