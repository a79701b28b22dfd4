//! One kind of bad request, watched: blocks, their evidence for every alternative and every start time.

use serde::{Deserialize, Serialize};

use super::block::{self, ALTERNATIVES, Block, Ceiling, STAKES, Tolerance};
use super::math::{expit, log_add, log_sum, logit};

/// Primary counts wait this long for a canary request to close their block; a silent primary excuses nobody after it.
pub(super) const PATIENCE_SECS: f64 = 30.0;
/// Half the prior on start times is spent on the start itself.
const START: f64 = 0.5;
/// A quarter is shared by the weight steps.
const AT_STEPS: f64 = 0.25;
/// A quarter falls on any later block, the k-th with `H / ((k+H-1)(k+H))`, which sums to one.
const ANY_TIME: f64 = 0.25;
const ANY_TIME_HALF_LIFE: f64 = 60.0;
/// The primary's rate fades with this half-life.
const PRIMARY_HALF_LIFE_SECS: f64 = 300.0;
/// Before it was ever seen, the primary is taken to fail a fifth of the objective, with this many errors' certainty.
const PRIMARY_PRIOR_ERRORS: f64 = 0.25;
const PRIMARY_PRIOR_SHARE: f64 = 0.2;
/// The log-odds step of the brake above the objective, and its bounds.
const BRAKE_SHIFT: f64 = 1.5;
const BRAKE_MAX: f64 = 9.2;
const BRAKE_HOLDS: f64 = 3.0;

/// The counts of one scrape: `n` requests and `x` bad ones of the canary, `m` and `y` of the primary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub n: u64,
    pub x: u64,
    pub m: u64,
    pub y: u64,
}

/// Everything about a stream that never changes while it is watched.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rules {
    /// The objective: also the scale of the prior on the primary's rate.
    pub(super) p0: f64,
    /// Log weight of the objective's check among all checks; none when it is not checked.
    pub(super) slo: Option<f64>,
    pub(super) attributed: bool,
    /// Log weight of the relative check, and what it tolerates.
    pub(super) relative: Option<(f64, Tolerance)>,
    pub(super) brake: bool,
    /// Shares of each check's wealth on likelihood ratios and on live bets; they sum to one.
    pub(super) ratio_share: f64,
    pub(super) live_share: f64,
    pub(super) dispersion: f64,
    pub(super) alpha: f64,
    pub(super) weight_steps: u32,
    /// Alternatives of the objective's check, and of the brake.
    slo_rates: [f64; ALTERNATIVES],
    brake_rate: f64,
}

impl Rules {
    #[expect(clippy::too_many_arguments, reason = "a plain record, built in one place")]
    pub(super) fn new(
        p0: f64,
        slo: Option<f64>,
        attributed: bool,
        relative: Option<(f64, Tolerance)>,
        brake: bool,
        (ratio_share, live_share): (f64, f64),
        (dispersion, alpha): (f64, f64),
        weight_steps: u32,
    ) -> Self {
        Self {
            p0,
            slo,
            attributed,
            relative,
            brake,
            ratio_share,
            live_share,
            dispersion,
            alpha,
            weight_steps,
            slo_rates: block::alternatives(p0),
            brake_rate: expit(logit(p0) + BRAKE_SHIFT),
        }
    }

    /// The most one block may say, `0.5 ln(1/(alpha g0 w_m w_j))`: one scrape alone never decides, two always can.
    ///
    /// A smaller e-value is an e-value, so the cap costs no validity.
    fn cap(&self, log_weight: f64) -> f64 {
        let prior = self.alpha * START / ALTERNATIVES as f64;
        0.5 * (-prior.ln() - log_weight)
    }
}

/// The log wealth of one check on each alternative, by likelihood ratios and by live bets.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wealth {
    pub(super) ratio: [f64; ALTERNATIVES],
    pub(super) live: [f64; ALTERNATIVES],
}

impl Wealth {
    const NONE: Self =
        Self { ratio: [f64::NEG_INFINITY; ALTERNATIVES], live: [f64::NEG_INFINITY; ALTERNATIVES] };
}

/// Requests of the primary, faded with time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Faded {
    pub(super) requests: f64,
    pub(super) bad: f64,
}

impl Faded {
    fn fade(&mut self, secs: f64) {
        let keep = (-secs / PRIMARY_HALF_LIFE_SECS).exp2();
        self.requests *= keep;
        self.bad *= keep;
    }

    fn add(&mut self, m: f64, y: f64) {
        self.requests += m;
        self.bad += y;
    }

    /// The plug-in rate for the next block, from earlier blocks only.
    fn rate(&self, p0: f64) -> f64 {
        let prior = PRIMARY_PRIOR_ERRORS / (PRIMARY_PRIOR_SHARE * p0);
        ((self.bad + PRIMARY_PRIOR_ERRORS) / (self.requests + prior)).clamp(1e-9, 0.999)
    }
}

/// Counts that wait for a block to close, and for how long they have.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Waiting {
    pub(super) n: f64,
    pub(super) x: f64,
    pub(super) m: f64,
    pub(super) y: f64,
    pub(super) secs: f64,
}

/// The state of a stream; see [`Stream::observe`] for how it moves.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stream {
    pub(super) slo: Wealth,
    pub(super) relative: Wealth,
    /// Blocks closed.
    pub(super) blocks: u64,
    /// The prior mass handed out so far, and what of it the live bets have not taken up yet.
    pub(super) spent: f64,
    pub(super) spent_live: f64,
    pub(super) steps_spent: u32,
    pub(super) step_pending: bool,
    pub(super) primary: Faded,
    pub(super) primary_silent_secs: f64,
    pub(super) waiting: Waiting,
    pub(super) waiting_live: Waiting,
    pub(super) brake: f64,
    pub(super) total: Sample,
    pub(super) step: (u64, u64),
    /// Log evidence of the two checks, kept so that a scrape without news costs nothing.
    pub(super) log_slo: f64,
    pub(super) log_relative: f64,
}

impl Stream {
    pub(super) fn new() -> Self {
        Self {
            slo: Wealth::NONE,
            relative: Wealth::NONE,
            blocks: 0,
            spent: 0.0,
            spent_live: 0.0,
            steps_spent: 0,
            step_pending: false,
            primary: Faded::default(),
            primary_silent_secs: 0.0,
            waiting: Waiting::default(),
            waiting_live: Waiting::default(),
            brake: 0.0,
            total: Sample::default(),
            step: (0, 0),
            log_slo: 0.0,
            log_relative: 0.0,
        }
    }

    pub(super) fn weight_changed(&mut self) {
        self.step_pending = true;
        self.step = (0, 0);
    }

    pub(super) fn brakes(&self) -> bool {
        self.brake >= BRAKE_HOLDS
    }

    /// The combined log evidence, or nothing when no check has weight.
    pub(super) fn log_evidence(&self, rules: &Rules) -> f64 {
        let slo = rules.slo.map_or(f64::NEG_INFINITY, |weight| weight + self.log_slo);
        let relative =
            rules.relative.map_or(f64::NEG_INFINITY, |(weight, _)| weight + self.log_relative);
        log_add(slo, relative)
    }

    /// Takes in a scrape that covers the last `secs` seconds; true when it closed a block.
    ///
    /// Block ends depend on counts of requests only, never on outcomes: a block closes at a scrape with canary requests,
    /// and the primary's counts of earlier scrapes wait for it at most [`PATIENCE_SECS`].
    pub(super) fn observe(&mut self, rules: &Rules, sample: Sample, secs: f64) -> bool {
        let Sample { n, x, m, y } = sample;
        let (x, y) = (x.min(n), y.min(m));
        self.total.n = self.total.n.saturating_add(n);
        self.total.x = self.total.x.saturating_add(x);
        self.total.m = self.total.m.saturating_add(m);
        self.total.y = self.total.y.saturating_add(y);
        self.step = (self.step.0.saturating_add(n), self.step.1.saturating_add(x));
        self.primary_silent_secs = if m > 0 { 0.0 } else { self.primary_silent_secs + secs };
        // The rate to bet with comes from earlier blocks: not from counts that wait, and not from this scrape.
        let rate = self.primary.rate(rules.p0);
        self.primary.fade(secs);
        self.waiting.m += m as f64;
        self.waiting.y += y as f64;
        self.waiting.secs += secs;
        if n == 0 {
            if self.waiting.secs > PATIENCE_SECS {
                self.primary.add(self.waiting.m, self.waiting.y);
                self.waiting = Waiting::default();
            }
            return false;
        }
        let closed = Waiting { n: n as f64, x: x as f64, ..self.waiting };
        self.waiting = Waiting::default();
        self.primary.add(closed.m, closed.y);
        self.close(rules, closed, rate);
        true
    }

    /// The prior mass on "it went bad at this block".
    ///
    /// A quarter of it for the weight steps runs out with the steps that were announced, so that hand-made weights beyond
    /// the plan cannot spend alpha twice.
    fn start_mass(&mut self, rules: &Rules) -> f64 {
        let k = self.blocks as f64;
        self.blocks += 1;
        if k == 0.0 {
            self.step_pending = false;
            return START;
        }
        let h = ANY_TIME_HALF_LIFE;
        let mut mass = ANY_TIME * h / ((k + h - 1.0) * (k + h));
        if self.step_pending {
            self.step_pending = false;
            if self.steps_spent < rules.weight_steps {
                self.steps_spent += 1;
                mass += AT_STEPS / f64::from(rules.weight_steps);
            }
        }
        mass
    }

    /// `A_k(j) = (A_{k-1}(j) + gamma_k) S_k(j)`, `E_k = sum_j w_j A_k(j) + 1 - sum gamma`.
    ///
    /// `E` starts at 1 and is a supermartingale under the null: mass moves from the last term into the first, and each `S`
    /// has mean at most 1 given the past. So `P(sup E >= 1/alpha) <= alpha` (Ville 1939).
    fn close(&mut self, rules: &Rules, closed: Waiting, rate: f64) {
        let mass = self.start_mass(rules);
        self.spent += mass;
        let counts = Block { n: closed.n, x: closed.x, m: closed.m, y: closed.y };
        let attributed = rules.attributed && self.primary_silent_secs < PATIENCE_SECS;
        if rules.ratio_share > 0.0 {
            self.close_ratio(rules, &counts, attributed, rate, mass.ln());
        }
        if rules.live_share > 0.0 {
            self.close_live(rules, &closed, attributed, mass);
        }
        if rules.brake {
            let step = block::slo(&counts, rules.brake_rate, rules.p0) / rules.dispersion;
            self.brake = (self.brake + step).clamp(0.0, BRAKE_MAX);
        }
        self.recombine(rules);
    }

    /// Brings the two checks' log evidence up to date with their wealth.
    pub(super) fn recombine(&mut self, rules: &Rules) {
        self.log_slo = self.combine(rules, &self.slo);
        self.log_relative = self.combine(rules, &self.relative);
    }

    fn combine(&self, rules: &Rules, wealth: &Wealth) -> f64 {
        let weight = -(ALTERNATIVES as f64).ln();
        let unspent = (1.0 - self.spent).max(0.0).ln();
        let mut log_e = unspent;
        if rules.ratio_share > 0.0 {
            log_e = log_add(log_e, rules.ratio_share.ln() + weight + log_sum(&wealth.ratio));
        }
        if rules.live_share > 0.0 {
            let live = log_add(weight + log_sum(&wealth.live), self.spent_live.ln());
            log_e = log_add(log_e, rules.live_share.ln() + live);
        }
        log_e
    }

    /// Likelihood ratios, raised to `1/D`: exact for clusters up to `D` (Hoelder, then Jensen).
    fn close_ratio(
        &mut self,
        rules: &Rules,
        counts: &Block,
        attributed: bool,
        rate: f64,
        log_mass: f64,
    ) {
        if let Some(weight) = rules.slo {
            let cap = rules.cap(weight);
            for (wealth, q) in self.slo.ratio.iter_mut().zip(rules.slo_rates) {
                let mut says = block::slo(counts, q, rules.p0);
                if attributed {
                    // The minimum per block is an e-value if either null holds in that block.
                    says = says.min(block::relative(counts, q, rate, Tolerance::NONE));
                }
                *wealth = log_add(*wealth, log_mass) + (says / rules.dispersion).min(cap);
            }
        }
        if let Some((weight, tolerance)) = rules.relative {
            let cap = rules.cap(weight);
            let rates = block::alternatives(tolerance.limit(rate).min(0.999));
            for (wealth, q) in self.relative.ratio.iter_mut().zip(rates) {
                let says = block::relative(counts, q, rate, tolerance);
                *wealth = log_add(*wealth, log_mass) + (says / rules.dispersion).min(cap);
            }
        }
    }

    /// Live-ceiling bets, which wait until their block holds `D` canary requests.
    ///
    /// New start mass joins when a block opens: what arrives while one is open has seen part of it, and waits for the next.
    fn close_live(&mut self, rules: &Rules, closed: &Waiting, attributed: bool, mass: f64) {
        self.spent_live += mass;
        if self.waiting_live.n == 0.0 {
            let log_mass = self.spent_live.ln();
            self.spent_live = 0.0;
            for wealth in self.slo.live.iter_mut().chain(&mut self.relative.live) {
                *wealth = log_add(*wealth, log_mass);
            }
        }
        let open = &mut self.waiting_live;
        open.n += closed.n;
        open.x += closed.x;
        open.m += closed.m;
        open.y += closed.y;
        open.secs += closed.secs;
        if open.n < rules.dispersion && open.secs < PATIENCE_SECS {
            return;
        }
        let counts = Block { n: open.n, x: open.x, m: open.m, y: open.y };
        *open = Waiting::default();
        let p0 = rules.p0;
        if let Some(weight) = rules.slo {
            let ceiling = if attributed { Ceiling::Attributed { p0 } } else { Ceiling::Slo { p0 } };
            bet(&mut self.slo.live, &counts, ceiling, rules.dispersion, rules.cap(weight));
        }
        if let Some((weight, tolerance)) = rules.relative {
            let ceiling = Ceiling::Relative(tolerance);
            bet(&mut self.relative.live, &counts, ceiling, rules.dispersion, rules.cap(weight));
        }
    }
}

fn bet(wealth: &mut [f64; ALTERNATIVES], counts: &Block, kind: Ceiling, dispersion: f64, cap: f64) {
    let against_primary = match kind {
        Ceiling::Slo { .. } => false,
        Ceiling::Attributed { .. } | Ceiling::Relative(_) => true,
    };
    if against_primary && counts.m <= 0.0 {
        return;
    }
    let ceiling = block::ceiling(counts, kind, dispersion);
    for (wealth, stake) in wealth.iter_mut().zip(STAKES) {
        *wealth += block::live(counts, stake, ceiling).min(cap);
    }
}
