//! One kind of bad request, watched: blocks, their evidence for every alternative and every start time.

use crate::block::{self, ALTERNATIVES, Block, Ceiling, STAKES, Tolerance};
use crate::math::{expit, exps_up_to_700, log_add, logit};
use crate::settings::{Onset, Settings};

/// The counts of one scrape: `n` requests and `x` bad ones of the canary, `m` and `y` of the primary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// The canary's requests.
    pub n: u64,
    /// Bad ones of them.
    pub x: u64,
    /// The primary's requests.
    pub m: u64,
    /// Bad ones of them.
    pub y: u64,
}

/// Everything about a stream that never changes while it is watched.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rules {
    /// The objective: also the scale of the prior on the primary's rate.
    pub(crate) p0: f64,
    /// Log weight of the objective's check among all checks; none when it is not checked.
    pub(crate) slo: Option<f64>,
    pub(crate) attributed: bool,
    /// Log weight of the relative check, and what it tolerates.
    pub(crate) relative: Option<(f64, Tolerance)>,
    pub(crate) brake: bool,
    /// Shares of each check's wealth on likelihood ratios and on live bets; they sum to one.
    pub(crate) ratio_share: f64,
    pub(crate) live_share: f64,
    pub(crate) dispersion: f64,
    pub(crate) alpha: f64,
    pub(crate) weight_steps: u32,
    /// The share of the requests that the canary is to get now, where somebody has said so.
    pub(crate) canary_share: Option<f64>,
    pub(crate) settings: Settings,
    /// The most one block may say in each check.
    caps: (f64, f64),
    /// Alternatives of the objective's check, and what a bad and a good request say for each of them; the same of the brake.
    slo_rates: [f64; ALTERNATIVES],
    slo_bad: [f64; ALTERNATIVES],
    slo_good: [f64; ALTERNATIVES],
    brake_says: (f64, f64),
}

impl Rules {
    #[expect(clippy::too_many_arguments, reason = "a plain record, built in one place")]
    pub(crate) fn new(
        p0: f64,
        slo: Option<f64>,
        attributed: bool,
        relative: Option<(f64, Tolerance)>,
        brake: bool,
        (ratio_share, live_share): (f64, f64),
        (dispersion, alpha): (f64, f64),
        weight_steps: u32,
        settings: &Settings,
    ) -> Self {
        let brake_rate = expit(logit(p0) + settings.brake.shift);
        let slo_rates = block::alternatives(p0);
        let bad = |q: f64| (q / p0).ln();
        let good = |q: f64| ((1.0 - q) / (1.0 - p0)).ln();
        let start = settings.onset.at_start;
        let cap = |log_weight: f64| cap(alpha, start, log_weight);
        let caps = (cap(slo.unwrap_or(0.0)), cap(relative.map_or(0.0, |(w, _)| w)));
        Self {
            caps,
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
            canary_share: None,
            settings: *settings,
            slo_rates,
            slo_bad: slo_rates.map(bad),
            slo_good: slo_rates.map(good),
            brake_says: (bad(brake_rate), good(brake_rate)),
        }
    }
}

/// The most one block may say, `0.5 ln(1/(alpha g0 w_m w_j))`: one scrape alone never decides, two always can.
///
/// A smaller e-value is an e-value, so the cap costs no validity.
fn cap(alpha: f64, start: f64, log_weight: f64) -> f64 {
    let prior = alpha * start / ALTERNATIVES as f64;
    0.5 * (-prior.ln() - log_weight)
}

/// Wealth on each alternative: `e^scale` times the values, which stay near 1 so that nothing overflows.
///
/// What is more than e^-690 below the largest is lost, and less wealth is still an e-process.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wealth {
    scale: f64,
    /// `e^scale`.
    factor: f64,
    values: [f64; ALTERNATIVES],
}

/// Values are scaled anew when the largest leaves this range.
const SCALE_RANGE: std::ops::Range<f64> = 1e-60..1e60;

impl Wealth {
    pub(crate) const NONE: Self = Self { scale: 0.0, factor: 1.0, values: [0.0; ALTERNATIVES] };

    pub(crate) fn of_logs(logs: &[f64; ALTERNATIVES]) -> Self {
        let scale = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if !scale.is_finite() {
            return Self::NONE;
        }
        Self { scale, factor: scale.exp(), values: logs.map(|log| (log - scale).exp()) }
    }

    pub(crate) fn logs(&self) -> [f64; ALTERNATIVES] {
        self.values.map(|value| value.ln() + self.scale)
    }

    /// Everybody gets the mass.
    pub(crate) fn add(&mut self, mass: f64) {
        if mass <= 0.0 {
            return;
        }
        let unit = mass / self.factor;
        if unit < SCALE_RANGE.end {
            self.values.iter_mut().for_each(|value| *value += unit);
            return;
        }
        // What is there is next to nothing beside it, and is told in units of it.
        let shrink = self.factor / mass;
        self.values.iter_mut().for_each(|value| *value = *value * shrink + 1.0);
        (self.scale, self.factor) = (mass.ln(), mass);
    }

    /// Everybody's wealth grows by `e^says`.
    pub(crate) fn multiply(&mut self, says: &[f64; ALTERNATIVES]) {
        let mut largest = 0.0_f64;
        for j in (0..ALTERNATIVES).step_by(2) {
            let [one, other] = exps_up_to_700([says[j], says[j + 1]]);
            self.values[j] *= one;
            self.values[j + 1] *= other;
        }
        for value in &self.values {
            largest = if *value > largest { *value } else { largest };
        }
        if largest > 0.0 && !SCALE_RANGE.contains(&largest) {
            self.scale += largest.ln();
            self.factor = self.scale.exp();
            self.values.iter_mut().for_each(|value| *value /= largest);
        }
    }

    /// Everybody's wealth shrinks by `e^by`.
    pub(crate) fn shrink(&mut self, by: f64) {
        self.scale -= by;
        self.factor = self.scale.exp();
    }

    /// All of it; infinite when that is too much for a number.
    pub(crate) fn sum(&self) -> f64 {
        self.values.iter().sum::<f64>() * self.factor
    }

    /// The logarithm of all of it.
    fn log_sum(&self) -> f64 {
        self.values.iter().sum::<f64>().ln() + self.scale
    }
}

/// The wealth of one check, by likelihood ratios and by live bets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wealths {
    pub(crate) ratio: Wealth,
    pub(crate) live: Wealth,
}

impl Wealths {
    const NONE: Self = Self { ratio: Wealth::NONE, live: Wealth::NONE };
}

/// The time since the last scrape, and what it leaves of the primary's past.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Elapsed {
    secs: f64,
    keep: f64,
}

impl Elapsed {
    pub(crate) fn new(secs: f64, settings: &Settings) -> Self {
        Self { secs, keep: (-secs / settings.baseline_half_life_secs).exp2() }
    }
}

/// Requests of the primary, faded with time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Faded {
    pub(crate) requests: f64,
    pub(crate) bad: f64,
}

impl Faded {
    fn fade(&mut self, keep: f64) {
        self.requests *= keep;
        self.bad *= keep;
    }

    fn add(&mut self, m: f64, y: f64) {
        self.requests += m;
        self.bad += y;
    }

    /// The plug-in rate for the next block, from earlier blocks only.
    fn rate(&self, p0: f64, settings: &Settings) -> f64 {
        let errors = settings.baseline_prior_errors;
        let prior = errors / (settings.baseline_prior_share * p0);
        ((self.bad + errors) / (self.requests + prior)).clamp(1e-9, 0.999)
    }
}

/// Counts that wait for a block to close, and for how long they have.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) n: f64,
    pub(crate) x: f64,
    pub(crate) m: f64,
    pub(crate) y: f64,
    pub(crate) secs: f64,
}

/// The state of a stream; see [`Stream::observe`] for how it moves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stream {
    pub(crate) slo: Wealths,
    pub(crate) relative: Wealths,
    /// Blocks closed.
    pub(crate) blocks: u64,
    /// The prior mass handed out so far, and what of it the live bets have not taken up yet.
    pub(crate) spent: f64,
    pub(crate) spent_live: f64,
    pub(crate) steps_spent: u32,
    pub(crate) step_pending: bool,
    pub(crate) primary: Faded,
    pub(crate) primary_silent_secs: f64,
    /// The canary's requests since the primary's last one.
    pub(crate) alone: u64,
    pub(crate) waiting: Waiting,
    pub(crate) waiting_live: Waiting,
    pub(crate) brake: f64,
    pub(crate) total: Sample,
    pub(crate) step: (u64, u64),
    /// The primary's requests since the last weight change.
    pub(crate) step_primary: u64,
    /// Log evidence of the two checks, kept so that a scrape without news costs nothing.
    pub(crate) log_slo: f64,
    pub(crate) log_relative: f64,
}

impl Stream {
    pub(crate) fn new() -> Self {
        Self {
            slo: Wealths::NONE,
            relative: Wealths::NONE,
            blocks: 0,
            spent: 0.0,
            spent_live: 0.0,
            steps_spent: 0,
            step_pending: false,
            primary: Faded::default(),
            primary_silent_secs: 0.0,
            alone: 0,
            waiting: Waiting::default(),
            waiting_live: Waiting::default(),
            brake: 0.0,
            total: Sample::default(),
            step: (0, 0),
            step_primary: 0,
            log_slo: 0.0,
            log_relative: 0.0,
        }
    }

    pub(crate) fn weight_changed(&mut self) {
        self.step_pending = true;
        self.step = (0, 0);
        self.step_primary = 0;
    }

    /// Whether there is nobody beside the canary: the primary has had no request for so long, and while so many went to the
    /// canary, that it would be a wonder if it got any.
    ///
    /// Time alone says little: at one request in a minute half a minute without one is what is usual. A predictable switch,
    /// so that the block's evidence stays an e-value on either side of it.
    fn is_alone(&self, rules: &Rules) -> bool {
        if self.primary_silent_secs < rules.settings.patience_secs {
            return false;
        }
        // Without the silence that is to be judged.
        let canary = self.step.0.saturating_sub(self.alone);
        let both = canary.saturating_add(self.step_primary);
        let seen = (both >= rules.settings.share_known_from).then(|| canary as f64 / both as f64);
        let unknown = rules.settings.canary_share_unknown;
        let share = match (rules.canary_share, seen) {
            (Some(told), _) if told >= 1.0 => return true,
            (Some(told), seen) => seen.map_or(told, |seen| seen.max(told)),
            (None, seen) => seen.unwrap_or(unknown),
        };
        self.alone as f64 * -share.min(unknown).ln() >= rules.settings.surprise
    }

    /// The prior mass that is not handed out yet, with the weights of both checks.
    pub(crate) fn unspent(&self, rules: &Rules) -> f64 {
        let weight = |log: f64| log.exp() * (1.0 - self.spent).max(0.0);
        rules.slo.map_or(0.0, weight) + rules.relative.map_or(0.0, |(log, _)| weight(log))
    }

    /// All wealth shrinks by `e^by`: less of it is still an e-process.
    pub(crate) fn shrink(&mut self, rules: &Rules, by: f64) {
        let Wealths { ratio, live } = &mut self.slo;
        let Wealths { ratio: relative, live: relative_live } = &mut self.relative;
        [ratio, live, relative, relative_live].into_iter().for_each(|wealth| wealth.shrink(by));
        self.spent_live *= (-by).exp();
        self.recombine(rules);
    }

    pub(crate) fn brakes(&self, rules: &Rules) -> bool {
        self.brake >= rules.settings.brake.holds
    }

    /// The log evidence of both checks with their weights; nothing of a check that has none.
    pub(crate) fn logs(&self, rules: &Rules) -> [f64; 2] {
        [
            rules.slo.map_or(f64::NEG_INFINITY, |weight| weight + self.log_slo),
            rules.relative.map_or(f64::NEG_INFINITY, |(weight, _)| weight + self.log_relative),
        ]
    }

    /// Takes in a scrape that covers the time since the last one; true when it closed a block.
    ///
    /// Block ends depend on counts of requests only, never on outcomes: a block closes at a scrape with canary requests,
    /// and the primary's counts of earlier scrapes wait for it at most [`Settings::patience_secs`].
    pub(crate) fn observe(&mut self, rules: &Rules, sample: Sample, elapsed: Elapsed) -> bool {
        let Elapsed { secs, keep } = elapsed;
        let Sample { n, x, m, y } = sample;
        let (x, y) = (x.min(n), y.min(m));
        self.total.n = self.total.n.saturating_add(n);
        self.total.x = self.total.x.saturating_add(x);
        self.total.m = self.total.m.saturating_add(m);
        self.total.y = self.total.y.saturating_add(y);
        self.step = (self.step.0.saturating_add(n), self.step.1.saturating_add(x));
        self.step_primary = self.step_primary.saturating_add(m);
        self.primary_silent_secs = if m > 0 { 0.0 } else { self.primary_silent_secs + secs };
        self.alone = if m > 0 { 0 } else { self.alone.saturating_add(n) };
        // The rate to bet with comes from earlier blocks: not from counts that wait, and not from this scrape.
        let rate = self.primary.rate(rules.p0, &rules.settings);
        self.primary.fade(keep);
        self.waiting.m += m as f64;
        self.waiting.y += y as f64;
        self.waiting.secs += secs;
        if n == 0 {
            if self.waiting.secs > rules.settings.patience_secs {
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
        let Onset { at_start, at_steps, any_time, half_life_blocks: h } = rules.settings.onset;
        let k = self.blocks as f64;
        self.blocks += 1;
        if k == 0.0 {
            self.step_pending = false;
            return at_start;
        }
        let mut mass = any_time * h / ((k + h - 1.0) * (k + h));
        if self.step_pending {
            self.step_pending = false;
            if self.steps_spent < rules.weight_steps {
                self.steps_spent += 1;
                mass += at_steps / f64::from(rules.weight_steps);
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
        let attributed = rules.attributed && !self.is_alone(rules);
        if rules.ratio_share > 0.0 {
            self.close_ratio(rules, &counts, attributed, rate, mass);
        }
        if rules.live_share > 0.0 {
            self.close_live(rules, &closed, attributed, mass);
        }
        if rules.brake {
            let (bad, good) = rules.brake_says;
            let step = (counts.x * bad + (counts.n - counts.x) * good) / rules.dispersion;
            self.brake = (self.brake + step).clamp(0.0, rules.settings.brake.most);
        }
        self.recombine(rules);
    }

    /// Brings the two checks' log evidence up to date with their wealth.
    pub(crate) fn recombine(&mut self, rules: &Rules) {
        if rules.slo.is_some() {
            self.log_slo = self.combine(rules, &self.slo);
        }
        if rules.relative.is_some() {
            self.log_relative = self.combine(rules, &self.relative);
        }
    }

    fn combine(&self, rules: &Rules, wealth: &Wealths) -> f64 {
        let weight = 1.0 / ALTERNATIVES as f64;
        let unspent = (1.0 - self.spent).max(0.0);
        let ratio = weight * wealth.ratio.sum();
        let live = weight * wealth.live.sum() + self.spent_live;
        let all = unspent + rules.ratio_share * ratio + rules.live_share * live;
        if all.is_finite() {
            return all.ln();
        }
        // Too much for one number: only the largest parts count.
        let part = |share: f64, wealth: &Wealth| share.ln() + weight.ln() + wealth.log_sum();
        log_add(part(rules.ratio_share, &wealth.ratio), part(rules.live_share, &wealth.live))
    }

    /// Likelihood ratios, raised to `1/D`: exact for clusters up to `D` (Hoelder, then Jensen).
    fn close_ratio(
        &mut self,
        rules: &Rules,
        counts: &Block,
        attributed: bool,
        rate: f64,
        mass: f64,
    ) {
        let (slo_cap, relative_cap) = rules.caps;
        if rules.slo.is_some() {
            // As in `block::slo`.
            let mut says = [0.0; ALTERNATIVES];
            for (says, (bad, good)) in
                says.iter_mut().zip(rules.slo_bad.iter().zip(&rules.slo_good))
            {
                *says = counts.x * bad + (counts.n - counts.x) * good;
            }
            if attributed {
                // The minimum per block is an e-value if either null holds in that block.
                let beside = block::relative_all(counts, &rules.slo_rates, rate, Tolerance::NONE);
                says.iter_mut().zip(beside).for_each(|(says, beside)| *says = says.min(beside));
            }
            self.slo.ratio.add(mass);
            self.slo.ratio.multiply(&says.map(|says| (says / rules.dispersion).min(slo_cap)));
        }
        if let Some((_, tolerance)) = rules.relative {
            let rates = block::alternatives(tolerance.limit(rate).min(0.999));
            let says = block::relative_all(counts, &rates, rate, tolerance);
            self.relative.ratio.add(mass);
            let says = says.map(|says| (says / rules.dispersion).min(relative_cap));
            self.relative.ratio.multiply(&says);
        }
    }

    /// Live-ceiling bets, which wait until their block holds `D` canary requests.
    ///
    /// New start mass joins when a block opens: what arrives while one is open has seen part of it, and waits for the next.
    fn close_live(&mut self, rules: &Rules, closed: &Waiting, attributed: bool, mass: f64) {
        self.spent_live += mass;
        if self.waiting_live.n == 0.0 {
            self.slo.live.add(self.spent_live);
            self.relative.live.add(self.spent_live);
            self.spent_live = 0.0;
        }
        let open = &mut self.waiting_live;
        open.n += closed.n;
        open.x += closed.x;
        open.m += closed.m;
        open.y += closed.y;
        open.secs += closed.secs;
        if open.n < rules.dispersion && open.secs < rules.settings.patience_secs {
            return;
        }
        let counts = Block { n: open.n, x: open.x, m: open.m, y: open.y };
        *open = Waiting::default();
        let p0 = rules.p0;
        let (slo_cap, relative_cap) = rules.caps;
        if rules.slo.is_some() {
            let ceiling = if attributed { Ceiling::Attributed { p0 } } else { Ceiling::Slo { p0 } };
            bet(&mut self.slo.live, &counts, ceiling, rules.dispersion, slo_cap);
        }
        if let Some((_, tolerance)) = rules.relative {
            let ceiling = Ceiling::Relative(tolerance);
            bet(&mut self.relative.live, &counts, ceiling, rules.dispersion, relative_cap);
        }
    }
}

fn bet(wealth: &mut Wealth, counts: &Block, kind: Ceiling, dispersion: f64, cap: f64) {
    let against_primary = match kind {
        Ceiling::Slo { .. } => false,
        Ceiling::Attributed { .. } | Ceiling::Relative(_) => true,
    };
    if against_primary && counts.m <= 0.0 {
        return;
    }
    let ceiling = block::ceiling(counts, kind, dispersion);
    wealth.multiply(&STAKES.map(|stake| block::live(counts, stake, ceiling).min(cap)));
}
