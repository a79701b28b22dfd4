//! The rules that are compared: Flagger's, transcribed from its behaviour, and the guard's.

use serin_judge::pace::{self, Pace, PaceFacts, PaceLimits};
use serin_judge::{
    Attribution, Bets, Decision, Guard, GuardConfig, Metric, Question, Sample, Settings, Tolerance,
};

use crate::stream::{Counters, QUARTERS, World};

pub(crate) const ALPHA: f64 = 0.01;
pub(crate) const P0: f64 = 0.01;
pub(crate) const DELTA: f64 = 0.005;
/// Every policy's rollback takes effect this long after its decision.
pub(crate) const ACTUATION_SECS: u64 = 1;
/// Flagger's weights, also the guard's on a fixed clock.
const WEIGHTS: [f64; 6] = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5];
const LADDER: [f64; 9] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5];

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Action {
    Stay,
    Weight(f64),
    RollBack,
    Promote,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Policy {
    Flagger {
        interval_secs: u64,
        threshold: u32,
    },
    /// The guard with Flagger's weights and 60 s steps, scraping every so many quarters of a second.
    Fixed {
        scrape: u64,
        second_look: bool,
        bets: Bets,
    },
    /// The guard with weights that follow the blast-radius rule.
    Paced {
        scrape: u64,
        second_look: bool,
    },
}

/// Which dispersion a guard is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Told {
    One,
    Measured,
}

pub(crate) enum Player {
    Flagger(Flagger),
    Guarded(Box<Guarded>),
}

impl Player {
    pub(crate) fn new(policy: Policy, world: &World, seed: u64, told: Told, mass: f64) -> Self {
        let dispersion = match told {
            Told::One => 1.0,
            Told::Measured => measure(world, seed),
        };
        match policy {
            Policy::Flagger { interval_secs, threshold } => Self::Flagger(Flagger {
                interval_secs,
                threshold,
                failed: 0,
                step: 0,
                past: vec![],
            }),
            Policy::Fixed { scrape, second_look, bets } => {
                let guard = guard(dispersion, WEIGHTS.len(), bets, mass);
                let ladder = WEIGHTS.to_vec();
                let g = Guarded::new(guard, ladder, scrape, second_look, 60.0, None, world.rps);
                Self::Guarded(Box::new(g))
            }
            Policy::Paced { scrape, second_look } => {
                let limits = PaceLimits::default();
                let tau =
                    pace::reaction_secs(scrape as f64 / QUARTERS as f64, ACTUATION_SECS as f64);
                let first = pace::first_share(&LADDER, world.rps, tau, &limits);
                let ladder: Vec<f64> = LADDER.into_iter().filter(|w| *w >= first).collect();
                let guard = guard(dispersion, ladder.len(), Bets::Auto, mass);
                let g = Guarded::new(
                    guard,
                    ladder,
                    scrape,
                    second_look,
                    0.0,
                    Some((limits, tau)),
                    world.rps,
                );
                Self::Guarded(Box::new(g))
            }
        }
    }

    pub(crate) fn first_weight(&self) -> f64 {
        match self {
            Self::Flagger(_) => WEIGHTS[0],
            Self::Guarded(guarded) => guarded.ladder[0],
        }
    }

    /// Called after every quarter; `tick` quarters have passed.
    pub(crate) fn tick(&mut self, tick: u64, counters: &Counters) -> Action {
        match self {
            Self::Flagger(flagger) => flagger.tick(tick, counters),
            Self::Guarded(guarded) => guarded.tick(tick, counters),
        }
    }
}

/// Fifteen minutes of the primary on two pods before the rollout; what goes wrong later is not in it.
fn measure(world: &World, seed: u64) -> f64 {
    use serin_judge::DispersionMeter;
    let mut meter = DispersionMeter::new(2);
    let mut last = Counters::default();
    let mut now = last;
    let quiet = world.healthy();
    for second in 0..900_u64 {
        for quarter in 0..QUARTERS {
            // Half of the traffic for each pod.
            quiet.play(seed ^ 0xd15, second * QUARTERS + quarter, 0.5, &mut now);
        }
        meter.observe(0, now.n - last.n, now.x - last.x);
        meter.observe(1, now.m - last.m, now.y - last.y);
        last = now;
    }
    meter.value()
}

fn guard(dispersion: f64, steps: usize, bets: Bets, mass: f64) -> Guard {
    let tolerance = Tolerance { rho: 1.0, delta: DELTA };
    let question = Question::Share { slo: P0, attribution: Attribution::Primary, tolerance };
    let config = GuardConfig {
        alpha: ALPHA,
        beta: 0.05,
        dispersion,
        weight_steps: u32::try_from(steps).unwrap_or(u32::MAX),
        bets,
        // The other part of the mass belongs to a healthy latency metric, and is counted as zero.
        metrics: vec![Metric {
            name: "error-rate".into(),
            question,
            weight: mass,
            dispersion: 1.0,
        }],
        settings: Settings::default(),
    };
    Guard::new(config).expect("the reference's setting is valid")
}

/// Error share over a minute against a limit, once per interval; scraped every 5 s.
pub(crate) struct Flagger {
    interval_secs: u64,
    threshold: u32,
    failed: u32,
    step: usize,
    /// Canary counters at past scrapes, five seconds apart.
    past: Vec<(u64, u64)>,
}

impl Flagger {
    fn tick(&mut self, tick: u64, counters: &Counters) -> Action {
        if tick.is_multiple_of(5 * QUARTERS) {
            self.past.push((counters.n, counters.x));
        }
        if !tick.is_multiple_of(self.interval_secs * QUARTERS) {
            return Action::Stay;
        }
        if self.failed >= self.threshold {
            return Action::RollBack;
        }
        let now = self.past.last().copied().unwrap_or_default();
        let then = self.past.len().checked_sub(13).map_or((0, 0), |i| self.past[i]);
        let (n, x) = (now.0 - then.0, now.1 - then.1);
        if n == 0 || x as f64 > P0 * n as f64 {
            self.failed += 1;
            return Action::Stay;
        }
        self.step += 1;
        WEIGHTS.get(self.step).map_or(Action::Promote, |w| Action::Weight(*w))
    }
}

pub(crate) struct Guarded {
    guard: Guard,
    ladder: Vec<f64>,
    scrape: u64,
    second_look: bool,
    dwell_secs: f64,
    paced: Option<(PaceLimits, f64)>,
    rps: f64,
    step: usize,
    step_from: u64,
    last: Counters,
    last_tick: u64,
    next: u64,
}

impl Guarded {
    fn new(
        guard: Guard,
        ladder: Vec<f64>,
        scrape: u64,
        second_look: bool,
        dwell_secs: f64,
        paced: Option<(PaceLimits, f64)>,
        rps: f64,
    ) -> Self {
        Self {
            guard,
            ladder,
            scrape,
            second_look,
            dwell_secs,
            paced,
            rps,
            step: 0,
            step_from: 0,
            last: Counters::default(),
            last_tick: 0,
            next: scrape,
        }
    }

    fn tick(&mut self, tick: u64, now: &Counters) -> Action {
        if tick < self.next {
            return Action::Stay;
        }
        let (n, x) = (now.n - self.last.n, now.x - self.last.x);
        let (m, y) = (now.m - self.last.m, now.y - self.last.y);
        let secs = (tick - self.last_tick) as f64 / QUARTERS as f64;
        (self.last, self.last_tick) = (*now, tick);
        let verdict = self.guard.observe(secs, &[Sample { n, x, m, y }]);
        let regular = (tick / self.scrape + 1) * self.scrape;
        self.next = if self.second_look && verdict.look_again { tick + 1 } else { regular };
        match verdict.decision {
            Decision::RollBack => Action::RollBack,
            Decision::Hold(_) => Action::Stay,
            Decision::Continue => self.advance(tick),
        }
    }

    fn advance(&mut self, tick: u64) -> Action {
        let step_secs = (tick - self.step_from) as f64 / QUARTERS as f64;
        let next = self.ladder.get(self.step + 1).copied();
        let raise = match self.paced {
            None => {
                let go = next.is_some() || self.guard.requests_to_go() == 0;
                step_secs >= self.dwell_secs && go
            }
            // Asked before the bounds are computed, because it is the usual answer.
            Some((limits, _)) if step_secs < limits.min_dwell_secs => false,
            Some((limits, reaction_secs)) => {
                let facts = PaceFacts {
                    rate: self.rps,
                    reaction_secs,
                    excess: self.guard.excess(),
                    step_secs,
                    rollout_secs: tick as f64 / QUARTERS as f64,
                    step_requests: self.guard.step_requests(),
                    held: false,
                    requests_to_go: if next.is_some() { 0 } else { self.guard.requests_to_go() },
                };
                match pace::decide(&limits, &facts, next) {
                    Pace::Raise { .. } | Pace::Promote => true,
                    Pace::Wait(_) => false,
                }
            }
        };
        if !raise {
            return Action::Stay;
        }
        let Some(weight) = next else { return Action::Promote };
        self.step += 1;
        self.step_from = tick;
        self.guard.weight_changed();
        Action::Weight(weight)
    }
}
