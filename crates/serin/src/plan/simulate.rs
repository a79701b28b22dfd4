//! One imagined release under the guard: requests that arrive, fail and are counted, with a seed and no cluster.

use jiff::{SignedDuration, Timestamp};
use serin_core::judge::design::{Design, Measured, weight_steps};
use serin_core::model::{Bad, Canary, Exposure, GuardSpec, Objective, Weight};
use serin_core::observed::Known;
use serin_core::step::{self, ACTUATION_SECS};
use serin_judge::monitor::Source;
use serin_judge::{Decision, Guard, Sample};

/// Nobody waits longer for a plan, and no release should take as long.
pub(super) const HORIZON_SECS: f64 = 3600.0;
/// Looks of one imagined release, whatever the interval.
const LOOKS_MAX: u32 = 20_000;
/// A healthy version fails this part of what it may.
const HEALTHY: f64 = 0.1;
/// The histogram's bounds in milliseconds, as Traefik has them unless it is told others.
const SHAPE_BOUNDS: [f64; 4] = [100.0, 300.0, 1200.0, 5000.0];
/// Fewer requests than this are drawn one by one.
const ONE_BY_ONE_MAX: u64 = 200;

/// When the canary begins to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Never,
    First,
    /// When it gets its highest share.
    Highest,
}

/// What a release meets, and what it may do wrong.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    /// Requests per second of both versions together.
    pub(super) rps: f64,
    /// Share of requests that fail at a healthy version; none takes a part of what may fail.
    pub(super) healthy: Option<f64>,
    /// Shares of its requests that bad releases fail.
    pub(super) failing: Vec<f64>,
}

/// How requests fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Luck {
    /// Evenly, and none of them fails: the fastest that a release can go.
    Best,
    Seed(u64),
}

/// What became of a release.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Seconds from the first request that failed to the rollback taking effect; none without one.
    pub(super) rolled_back: Option<f64>,
    /// Requests that failed because of the fault.
    pub(super) hurt: f64,
    /// Seconds from the first traffic to each share, in percent.
    pub(super) shares: Vec<(f64, u8)>,
    /// Seconds from the first traffic to the promotion.
    pub(super) promoted: Option<f64>,
    /// How often the guard looked: what it cost to imagine this.
    pub(super) looks: u32,
}

/// A generator of which nothing is asked but to be the same everywhere (SplitMix64).
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal: twelve uniforms.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 50.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.uniform(), 0);
        while product > limit && count < 1000 {
            product *= self.uniform();
            count += 1;
        }
        count
    }

    fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if n <= ONE_BY_ONE_MAX {
            return (0..n).filter(|_| self.uniform() < p).count() as u64;
        }
        let mean = n as f64 * p;
        if mean < 20.0 {
            return self.poisson(mean).min(n);
        }
        let wide = (mean * (1.0 - p)).sqrt();
        ((mean + wide * self.normal()).round().max(0.0) as u64).min(n)
    }
}

/// The release as it goes.
#[derive(Clone)]
pub(super) struct Run<'a> {
    canary: Canary,
    guard: Guard,
    spec: &'a GuardSpec,
    sources: Vec<Source>,
    begin: Timestamp,
    secs: f64,
    last_step: f64,
    rps: f64,
    /// Share of bad requests of a healthy version, per objective.
    healthy: Vec<f64>,
    dice: Dice,
    luck: Luck,
    /// What was not yet handed out as whole requests: canary, primary.
    owed: (f64, f64),
    outcome: Outcome,
    faulty_since: Option<f64>,
}

/// The share that a release begins with under this traffic; none where it has no weights.
pub(super) fn first_share(canary: &Canary, rps: f64) -> Option<Weight> {
    let analysis = &canary.spec.analysis;
    let look_secs =
        analysis.guard.as_ref().map_or(1.0, |guard| guard.interval_millis as f64 / 1000.0);
    let (step_requests, requests_to_go) = (0, u64::MAX);
    let known = Known { rate: rps, look_secs, excess: 1.0, step_requests, requests_to_go };
    step::first_weight(analysis, &known)
}

fn healthy(objective: &Objective, traffic: &Traffic) -> f64 {
    match objective.bad {
        Bad::Failed => traffic.healthy.unwrap_or(objective.slo * HEALTHY),
        Bad::SlowerThan(_) | Bad::Shape => objective.slo * HEALTHY,
    }
}

/// Plays one release of a canary that has a guard and weights; none without them.
pub(super) fn play(
    canary: &Canary,
    traffic: &Traffic,
    rate: f64,
    fault: Fault,
    luck: Luck,
) -> Option<Outcome> {
    Some(begun(canary, traffic, luck)?.play(rate, fault, LOOKS_MAX))
}

/// A healthy release when it gets its highest share. It is imagined once: what comes after it is the same for every fault,
/// and small steps make the way there longer than everything else. One that takes too long is taken to be there.
pub(super) fn at_the_highest<'a>(canary: &'a Canary, traffic: &Traffic) -> Option<Run<'a>> {
    let mut run = begun(canary, traffic, Luck::Best)?;
    let dt = run.spec.interval_millis as f64 / 1000.0;
    for _ in 0..LOOKS_MAX {
        if run.next().is_none() || run.look(dt, 0.0, Fault::Never) {
            break;
        }
    }
    while let Some(next) = run.next() {
        run.share(next);
    }
    Some(run)
}

/// A release with its first share.
fn begun<'a>(canary: &'a Canary, traffic: &Traffic, luck: Luck) -> Option<Run<'a>> {
    let spec = canary.spec.analysis.guard.as_ref()?;
    let ladder = canary.spec.analysis.schedule.ladder()?;
    let all: Vec<usize> = (0..spec.objectives.len()).collect();
    let groups = &canary.status.dispersion;
    let measured = Measured::new(spec, all, groups, SHAPE_BOUNDS.to_vec());
    let design = Design::new(spec, &measured, weight_steps(&canary.spec.analysis));
    let mut run = Run {
        canary: canary.clone(),
        guard: Guard::new(design.config).ok()?,
        spec,
        sources: design.sources,
        begin: Timestamp::UNIX_EPOCH,
        secs: 0.0,
        last_step: 0.0,
        healthy: spec.objectives.iter().map(|objective| healthy(objective, traffic)).collect(),
        rps: traffic.rps,
        dice: Dice(0),
        luck: Luck::Best,
        owed: (0.0, 0.0),
        outcome: Outcome::default(),
        faulty_since: None,
    };
    let first = first_share(canary, traffic.rps).or(ladder.first().copied())?;
    run.canary.status.traffic_start_time = Some(run.begin);
    run.share(first);
    Some(run.with(luck))
}

impl Run<'_> {
    /// The same with other luck from here on.
    pub(super) fn with(mut self, luck: Luck) -> Self {
        self.luck = luck;
        if let Luck::Seed(seed) = luck {
            self.dice = Dice(seed);
        }
        self
    }

    /// Goes on until it is over, for an hour at most.
    pub(super) fn play(mut self, rate: f64, fault: Fault, looks_max: u32) -> Outcome {
        let dt = self.spec.interval_millis as f64 / 1000.0;
        let end = self.secs + HORIZON_SECS;
        self.outcome.looks = 0;
        for _ in 0..looks_max {
            if self.secs >= end {
                break;
            }
            self.outcome.looks += 1;
            if self.look(dt, rate, fault) {
                break;
            }
        }
        self.outcome
    }

    fn now(&self) -> Timestamp {
        let millis = SignedDuration::from_millis((self.secs * 1000.0) as i64);
        self.begin.checked_add(millis).unwrap_or(Timestamp::MAX)
    }

    fn weight(&self) -> Weight {
        self.canary.status.exposure().share
    }

    fn next(&self) -> Option<Weight> {
        self.canary.spec.analysis.schedule.next_share(self.weight())
    }

    fn share(&mut self, weight: Weight) {
        self.canary.status.expose(Exposure::share(weight));
        self.canary.status.weight_time = Some(self.now());
        self.last_step = self.secs;
        self.guard.weight_changed();
        self.outcome.shares.push((self.secs, weight.percent()));
    }

    fn requests(&mut self, mean: f64, canary: bool) -> u64 {
        match self.luck {
            Luck::Seed(_) => self.dice.poisson(mean),
            Luck::Best => {
                let owed = if canary { &mut self.owed.0 } else { &mut self.owed.1 };
                *owed += mean;
                let whole = owed.floor();
                *owed -= whole;
                whole as u64
            }
        }
    }

    fn failures(&mut self, n: u64, rate: f64) -> u64 {
        match self.luck {
            Luck::Best => 0,
            Luck::Seed(_) => self.dice.binomial(n, rate),
        }
    }

    /// One look of the guard. True when the release is over.
    fn look(&mut self, dt: f64, rate: f64, fault: Fault) -> bool {
        self.secs += dt;
        let share = f64::from(self.weight().percent()) / 100.0;
        let faulty = match fault {
            Fault::Never => false,
            Fault::First => true,
            Fault::Highest => self.faulty_since.is_some() || self.next().is_none(),
        };
        if faulty {
            self.faulty_since.get_or_insert(self.secs - dt);
        }
        let (n, m) = (
            self.requests(self.rps * share * dt, true),
            self.requests(self.rps * (1.0 - share) * dt, false),
        );
        let mut samples = Vec::with_capacity(self.sources.len());
        for place in 0..self.sources.len() {
            // The last objective may have a sample at each bound.
            let healthy = self.healthy.get(place).or(self.healthy.last()).copied().unwrap_or(0.0);
            // What fails is what the first objective is about.
            let of_canary = if faulty && place == 0 { rate.max(healthy) } else { healthy };
            let (x, y) = (self.failures(n, of_canary), self.failures(m, healthy));
            if faulty && place == 0 {
                self.outcome.hurt += x as f64;
            }
            samples.push(Sample { n, x, m, y });
        }
        let verdict = self.guard.observe(dt, &samples);
        match verdict.decision {
            Decision::RollBack => {
                self.outcome.hurt +=
                    if faulty { self.rps * share * ACTUATION_SECS * rate } else { 0.0 };
                let since = self.faulty_since.unwrap_or(0.0);
                self.outcome.rolled_back = Some(self.secs - since + ACTUATION_SECS);
                true
            }
            Decision::Hold(_) => false,
            Decision::Continue => self.advance(),
        }
    }

    fn advance(&mut self) -> bool {
        let analysis = &self.canary.spec.analysis;
        let due = match analysis.evidence_pace() {
            None => self.secs - self.last_step >= analysis.interval_secs as f64,
            Some(_) => {
                let known = Known {
                    rate: self.rps,
                    look_secs: self.spec.interval_millis as f64 / 1000.0,
                    excess: self.guard.excess(),
                    step_requests: self.guard.step_requests(),
                    requests_to_go: self.guard.requests_to_go(),
                };
                step::allows_more(&self.canary, &known, self.now())
            }
        };
        if !due {
            return false;
        }
        if let Some(next) = self.next() {
            self.share(next);
            return false;
        }
        if self.secs < self.spec.min_bake_secs as f64 {
            return false;
        }
        self.outcome.promoted = Some(self.secs);
        true
    }
}
