//! What one block of requests is worth: e-values whose mean is at most 1 while the canary is tolerable.
//!
//! A block is the canary's `n` requests, `x` of them bad, and the primary's `m` and `y` over the same time.
//! Every function returns the logarithm of an e-value.

use crate::math::{ln_ratios, two, x_ln};

/// How many alternatives every check holds against its boundary.
pub const ALTERNATIVES: usize = 10;

/// Log-odds shifts of the alternatives above the boundary, equally weighted.
///
/// One grid serves every objective and every baseline, because a shift in log-odds means the same at 0.1 % and at 10 %.
pub const SHIFTS: [f64; ALTERNATIVES] = [0.4, 0.8, 1.2, 1.7, 2.3, 3.0, 4.0, 5.5, 8.0, 12.0];

/// The share of its wealth each live-ceiling bet stakes.
pub const STAKES: [f64; ALTERNATIVES] = [0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.5, 0.7, 0.9, 0.99];

/// Newton with a bracket gains at least a bit each round, and usually doubles its digits.
const PROJECTION_ROUNDS_MAX: u32 = 60;

/// The counts of one block: `n`, `x` of the canary, `m`, `y` of the primary.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Block {
    /// The canary's requests.
    pub n: f64,
    /// Bad ones of them.
    pub x: f64,
    /// The primary's requests.
    pub m: f64,
    /// Bad ones of them.
    pub y: f64,
}

/// The null hypothesis of a relative check: the canary's rate is at most `rho` times the primary's plus `delta`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// What multiplies the primary's rate.
    pub rho: f64,
    /// What is added to it.
    pub delta: f64,
}

impl Tolerance {
    /// "Not worse than the primary", the attribution's question.
    pub const NONE: Self = Self { rho: 1.0, delta: 0.0 };

    /// The highest tolerable rate of the canary beside a primary with `rate`.
    pub fn limit(&self, rate: f64) -> f64 {
        self.rho * rate + self.delta
    }
}

/// `e^s` for each of [`SHIFTS`]: factors on the odds.
const FACTORS: [f64; ALTERNATIVES] = [
    1.491_824_697_641_270_3,
    2.225_540_928_492_467_6,
    3.320_116_922_736_547_5,
    5.473_947_391_727_199,
    9.974_182_454_814_718,
    20.085_536_923_187_668,
    54.598_150_033_144_236,
    244.691_932_264_220_38,
    2_980.957_987_041_728,
    162_754.791_419_003_92,
];

/// The rates that lie [`SHIFTS`] above `boundary`.
pub fn alternatives(boundary: f64) -> [f64; ALTERNATIVES] {
    let odds = boundary / (1.0 - boundary);
    FACTORS.map(|factor| factor * odds / (1.0 + factor * odds))
}

/// The evidence of a block for the rate `q` against every rate up to `p0`.
///
/// `S = (q/p0)^x ((1-q)/(1-p0))^(n-x)`, the likelihood ratio of Wald 1945.
/// One request of rate `p` has mean `1 + (p-p0) g` with `g = (q-p0)/(p0(1-p0)) > 0`, so by `ln(1+z) <= z` a block has
/// mean at most `exp(n g (mean p - p0)) <= 1` whenever its *average* rate is at most `p0`.
pub fn slo(block: &Block, q: f64, p0: f64) -> f64 {
    x_ln(block.x, q / p0) + x_ln(block.n - block.x, (1.0 - q) / (1.0 - p0))
}

/// The primary's rate at the point of the null's boundary nearest to `(q, r)`: the reverse information projection.
///
/// `argmin n KL(q, pc) + m KL(r, pp)` subject to `pc = rho pp + delta`; convex in the one unknown `pp`, whose derivative
/// `-n rho (q-pc)/(pc(1-pc)) - m (r-pp)/(pp(1-pp))` changes sign once in `[r, (q-delta)/rho]`.
/// Times `-pc(1-pc) pp(1-pp)` that is a cubic with the same root, which costs Newton one division per round.
/// For `rho = 1, delta = 0` the root is the pooled rate `(n q + m r)/(n + m)`.
/// Source: Turner, Ly, Grunwald, JSPI 2024 (arXiv 2106.02693), extended to `rho` and `delta`.
pub fn project(n: f64, m: f64, q: f64, r: f64, tolerance: Tolerance) -> f64 {
    let Tolerance { rho, delta } = tolerance;
    if rho == 1.0 && delta == 0.0 {
        return (n * q + m * r) / (n + m);
    }
    let (mut low, mut high) = (r, ((q - delta) / rho).min(1.0));
    let mut pp = low + (high - low) * n * rho / (n * rho + m);
    for _ in 0..PROJECTION_ROUNDS_MAX {
        let pc = rho * pp + delta;
        let (vc, vp) = (pc * (1.0 - pc), pp * (1.0 - pp));
        let (canary, primary) = (n * rho * (q - pc), m * (r - pp));
        let cubic = canary * vp + primary * vc;
        if cubic > 0.0 {
            low = pp;
        } else {
            high = pp;
        }
        let slope = canary * (1.0 - 2.0 * pp) - n * rho * rho * vp - m * vc
            + primary * rho * (1.0 - 2.0 * pc);
        let newton = pp - cubic / slope;
        let inside = newton > low && newton < high;
        let next = if inside { newton } else { low + (high - low) * 0.5 };
        // Newton doubles its digits, so a step this small leaves an error of the size of rounding.
        let done = (next - pp).abs() <= if inside { 1e-8 * pp } else { 1e-15 * pp };
        pp = next;
        if done {
            break;
        }
    }
    pp
}

/// A step this small beside the root leaves an error of some `1e-12` of it.
const NEAR: f64 = 1e-4;

/// [`project`] for all alternatives at once, in steps that a compiler can do two at a time.
///
/// It begins at the root for rare events, where `p(1-p)` is `p` and the cubic is a square, or where that is off, at the
/// mean of both ends by their counts. Halley's step, which knows the curvature, trebles its digits: two or three rounds are
/// usual.
fn project_all(
    n: f64,
    m: f64,
    qs: &[f64; ALTERNATIVES],
    r: f64,
    tolerance: Tolerance,
) -> [f64; ALTERNATIVES] {
    let Tolerance { rho, delta } = tolerance;
    let highs = qs.map(|q| ((q - delta) / rho).min(1.0));
    let mean = n * rho / (n * rho + m);
    let lead = 2.0 * rho * (n * rho + m);
    let mut pps = [0.0; ALTERNATIVES];
    for ((pp, q), high) in pps.iter_mut().zip(qs).zip(&highs) {
        let middle = n * rho * (delta - q) + m * (delta - r * rho);
        let root = ((middle * middle + 2.0 * lead * m * r * delta).sqrt() - middle) / lead;
        let even = r + (high - r) * mean;
        *pp = if root > r && root < *high && *q < 0.5 { root } else { even };
    }
    let (mut lows, mut highs) = ([r; ALTERNATIVES], highs);
    for _ in 0..PROJECTION_ROUNDS_MAX {
        let (mut steps, mut spreads) = ([0.0; ALTERNATIVES], [0.0; ALTERNATIVES]);
        for j in 0..ALTERNATIVES {
            let (q, pp) = (qs[j], pps[j]);
            let pc = rho * pp + delta;
            let (vc, vp) = (pc * (1.0 - pc), pp * (1.0 - pp));
            let (canary, primary) = (n * rho * (q - pc), m * (r - pp));
            let cubic = canary * vp + primary * vc;
            let low = if cubic > 0.0 { pp } else { lows[j] };
            let high = if cubic > 0.0 { highs[j] } else { pp };
            let (dp, dc) = (1.0 - 2.0 * pp, rho * (1.0 - 2.0 * pc));
            let squeeze = n * rho * rho;
            let slope = canary * dp - squeeze * vp - m * vc + primary * dc;
            let bend = -2.0 * (squeeze * dp + canary + m * dc + primary * rho * rho);
            let halley = pp - 2.0 * cubic * slope / (2.0 * slope * slope - cubic * bend);
            let middle = low + (high - low) * 0.5;
            let next = if halley > low { halley } else { middle };
            let next = if halley < high { next } else { middle };
            // The step after one this small would be of the size of rounding. Whoever is there stays, while the others
            // go on.
            let spread = if vc < vp { vc } else { vp };
            let there = (halley - pp).abs() <= NEAR * spread;
            let next = if there { halley } else { next };
            (lows[j], highs[j], spreads[j]) = (low, high, spread);
            (steps[j], pps[j]) = ((next - pp).abs(), next);
        }
        if steps.iter().zip(&spreads).all(|(step, spread)| *step <= NEAR * spread) {
            break;
        }
    }
    pps
}

/// The evidence of a block for `(q, r)` against "the canary's rate is within `tolerance` of the primary's".
///
/// `S = (q/pc*)^x ((1-q)/(1-pc*))^(n-x) (r/pp*)^y ((1-r)/(1-pp*))^(m-y)` with `(pc*, pp*)` from [`project`].
/// With `g = (q-pc*)/(pc*(1-pc*))` and `h = (r-pp*)/(pp*(1-pp*))` stationarity reads `n rho g + m h = 0`, so for
/// independent requests of any rates
/// `ln E[S] <= n g (mean pc - pc*) + m h (mean pp - pp*) = n g [(mean pc - pc*) - rho (mean pp - pp*)] <= 0`.
/// Only block averages enter: drift, routes and incidents inside a block are harmless.
/// The value is 0 (no evidence) when a side is silent or `q` does not lie above the limit at `r`.
pub fn relative(block: &Block, q: f64, r: f64, tolerance: Tolerance) -> f64 {
    let Block { n, x: _, m, y: _ } = *block;
    if n <= 0.0 || m <= 0.0 || q <= tolerance.limit(r) {
        return 0.0;
    }
    at_projection(block, q, r, project(n, m, q, r, tolerance), tolerance)
}

/// [`relative`] for all of `qs`.
pub fn relative_all(
    block: &Block,
    qs: &[f64; ALTERNATIVES],
    r: f64,
    tolerance: Tolerance,
) -> [f64; ALTERNATIVES] {
    let Block { n, x: _, m, y: _ } = *block;
    if n <= 0.0 || m <= 0.0 {
        return [0.0; ALTERNATIVES];
    }
    if tolerance == Tolerance::NONE {
        let share = 1.0 / (n + m);
        let pps = qs.map(|q| (n * q + m * r) * share);
        let mut says = at_projections(block, qs, r, &pps, tolerance);
        says.iter_mut().zip(qs).for_each(|(says, q)| *says = if *q > r { *says } else { 0.0 });
        return says;
    }
    let limit = tolerance.limit(r);
    if qs.iter().any(|q| *q <= limit) {
        return qs.map(|q| relative(block, q, r, tolerance));
    }
    at_projections(block, qs, r, &project_all(n, m, qs, r, tolerance), tolerance)
}

/// [`at_projection`] for all alternatives. Bad requests are rare, and their logarithms are not asked for where there are none.
fn at_projections(
    block: &Block,
    qs: &[f64; ALTERNATIVES],
    r: f64,
    pps: &[f64; ALTERNATIVES],
    tolerance: Tolerance,
) -> [f64; ALTERNATIVES] {
    let Block { n, x, m, y } = *block;
    let Tolerance { rho, delta } = tolerance;
    let (good, fine) = (n - x, m - y);
    let mut says = [0.0; ALTERNATIVES];
    for j in (0..ALTERNATIVES).step_by(2) {
        let (q, pp) = ([qs[j], qs[j + 1]], [pps[j], pps[j + 1]]);
        let pc = two(|i| rho * pp[i] + delta);
        let canary = ln_ratios(two(|i| 1.0 - q[i]), two(|i| 1.0 - pc[i]));
        let primary = ln_ratios([1.0 - r; 2], two(|i| 1.0 - pp[i]));
        let mut both = two(|i| good * canary[i] + fine * primary[i]);
        if x > 0.0 {
            let canary = ln_ratios(q, pc);
            both = two(|i| both[i] + x * canary[i]);
        }
        if y > 0.0 {
            let primary = ln_ratios([r; 2], pp);
            both = two(|i| both[i] + y * primary[i]);
        }
        [says[j], says[j + 1]] = both;
    }
    says
}

fn at_projection(block: &Block, q: f64, r: f64, pp: f64, tolerance: Tolerance) -> f64 {
    let Block { n, x, m, y } = *block;
    let pc = tolerance.limit(pp);
    x_ln(x, q / pc)
        + x_ln(n - x, (1.0 - q) / (1.0 - pc))
        + x_ln(y, r / pp)
        + x_ln(m - y, (1.0 - r) / (1.0 - pp))
}

/// The ceiling a live bet measures the canary against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ceiling {
    /// The objective alone: there is no primary to blame.
    Slo {
        /// The objective.
        p0: f64,
    },
    /// The objective, or what the primary suffers now if that is more.
    Attributed {
        /// The objective.
        p0: f64,
    },
    /// The relative limit at what the primary suffers now.
    Relative(Tolerance),
}

/// What the canary's share of bad requests is measured against: `b(u)` at `u = (y + D)/(m + D)`.
///
/// Given the past, `x/n` has mean `pc <= b(pp)` whatever the dependence among the canary's requests, and it is independent
/// of `y`. For `y ~ Bin(m, p)`, `E[(m+1)/(y+1)] = (1-(1-p)^(m+1))/p <= 1/p`; sums of unlike requests are smaller in convex
/// order, and clusters of `D` with one fate give the same in units of `D`. `a -> 1/b(1/a)` is concave for the three
/// ceilings, so `E[1/b(u)] <= 1/b(pp)`, and `E[1 - c + c (x/n)/b(u)] <= 1`.
pub fn ceiling(block: &Block, ceiling: Ceiling, dispersion: f64) -> f64 {
    let u = (block.y + dispersion) / (block.m + dispersion);
    match ceiling {
        Ceiling::Slo { p0 } => p0,
        Ceiling::Attributed { p0 } => p0.max(u),
        Ceiling::Relative(tolerance) => tolerance.limit(u),
    }
}

/// The evidence of a bet of the share `stake` on the canary's burn rate: `ln(1 - c + c (x/n) / b)`.
///
/// Source of the form: betting on bounded means, Waudby-Smith and Ramdas, JRSS-B 2024 (arXiv 2010.09686).
pub fn live(block: &Block, stake: f64, ceiling: f64) -> f64 {
    (-stake + stake * (block.x / block.n) / ceiling).ln_1p()
}
