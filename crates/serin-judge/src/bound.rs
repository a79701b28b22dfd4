//! What the counts so far say about a rate, at all times at once: bounds, and evidence for going on.

use crate::math::{expit, ln_beta, log_sum, logit, x_ln};

/// Halvings of the search for a bound; more than a double can tell apart.
const HALVINGS: u32 = 60;

/// Log-odds below the tolerable rate at which [`go_evidence`] bets.
const GO_SHIFTS: [f64; 4] = [0.7, 1.5, 3.0, 6.0];

/// No answer beyond this is worth waiting for, so none is searched.
const REQUESTS_MAX: u64 = 1 << 40;

/// A range of rates that holds the true one at all times at once with probability `1 - beta`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lowest rate that the counts allow.
    pub low: f64,
    /// The highest rate that they allow.
    pub high: f64,
}

/// Log ratio of the Beta(1, 1/p0) mixture to the likelihood of `p`.
fn mixture(x: f64, n: f64, p: f64, prior: f64) -> f64 {
    ln_beta(1.0 + x, prior + n - x) - ln_beta(1.0, prior) - x_ln(x, p) - x_ln(n - x, 1.0 - p)
}

/// The anytime-valid upper bound on a rate after `x` bad of `n`.
///
/// `sup{ p : B(1+x, 1/p0+n-x) / (B(1, 1/p0) p^x (1-p)^(n-x)) < 1/beta }`, the beta-binomial mixture of Robbins 1970 and
/// Howard et al. 2021 (arXiv 1810.08240). Counts may be fractions: dividing both by a dispersion `D` is the mixture of the
/// likelihood ratios raised to `1/D`, valid for clusters of up to `D` requests with one fate.
pub fn upper_bound(x: f64, n: f64, p0: f64, beta: f64) -> f64 {
    if n <= 0.0 {
        return 1.0;
    }
    let limit = -beta.ln();
    if x >= n && mixture(x, n, 1.0, 1.0 / p0) < limit {
        return 1.0;
    }
    let (mut low, mut high) = (x / n, 1.0);
    for _ in 0..HALVINGS {
        let p = 0.5 * (low + high);
        if mixture(x, n, p, 1.0 / p0) < limit {
            low = p;
        } else {
            high = p;
        }
    }
    0.5 * (low + high)
}

/// Both ends of the set that [`upper_bound`] is the supremum of.
pub fn interval(x: f64, n: f64, p0: f64, beta: f64) -> Interval {
    let high = upper_bound(x, n, p0, beta);
    if n <= 0.0 || x <= 0.0 {
        return Interval { low: 0.0, high };
    }
    let (mut low, mut top) = (0.0, x / n);
    for _ in 0..HALVINGS {
        let p = 0.5 * (low + top);
        if mixture(x, n, p, 1.0 / p0) < -beta.ln() {
            top = p;
        } else {
            low = p;
        }
    }
    Interval { low: 0.5 * (low + top), high }
}

/// The evidence that a rate is below `p_go`, as a logarithm, from `x` bad of `n`.
///
/// `G = sum_i 1/4 LR(q_i : p_go)` with `q_i = expit(logit(p_go) - {.7, 1.5, 3, 6})`; `G >= 1/beta` rejects `p >= p_go`.
pub fn go_evidence(x: f64, n: f64, p_go: f64) -> f64 {
    let base = logit(p_go);
    let terms = GO_SHIFTS.map(|shift| {
        let q = expit(base - shift);
        x * (q / p_go).ln() + (n - x) * ((-q).ln_1p() - (-p_go).ln_1p()) - 4.0_f64.ln()
    });
    log_sum(&terms)
}

/// How many more clean requests make [`go_evidence`] reach `1/beta`; none when it has.
///
/// More than 10^12 are reported as that many: nobody waits for them.
pub fn requests_to_go(x: f64, n: f64, p_go: f64, beta: f64, dispersion: f64) -> u64 {
    let reached =
        |more: u64| go_evidence(x / dispersion, (n + more as f64) / dispersion, p_go) >= -beta.ln();
    let mut high = 1_u64;
    if reached(0) {
        return 0;
    }
    while high < REQUESTS_MAX && !reached(high) {
        high *= 2;
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if reached(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_agree_with_the_reference() {
        let cases = [
            (upper_bound(0.0, 300.0, 0.01, 0.05), 0.014_500_594),
            (upper_bound(3.0, 500.0, 0.01, 0.05), 0.021_105_851),
            (go_evidence(0.0, 173.0, 0.02), 3.009_169_207),
            (go_evidence(2.0, 400.0, 0.02), 2.434_200_642),
        ];
        for (i, (got, want)) in cases.into_iter().enumerate() {
            assert!((got - want).abs() < 1e-9, "case {i}: {got} {want}");
        }
    }

    #[test]
    fn clean_requests_needed_match_the_reference_table() {
        for (p_go, need) in [(0.1, 34), (0.05, 68), (0.02, 173), (0.01, 347)] {
            assert_eq!(requests_to_go(0.0, 0.0, p_go, 0.05, 1.0), need, "p_go {p_go}");
        }
        assert_eq!(requests_to_go(0.0, 173.0, 0.02, 0.05, 1.0), 0);
        assert_eq!(requests_to_go(0.0, 100.0, 0.02, 0.05, 1.0), 73);
    }

    #[test]
    fn an_interval_holds_the_observed_rate_and_shrinks() {
        let mut width = 1.0;
        for n in [0.0, 10.0, 100.0, 1000.0, 1e5, 1e7] {
            let Interval { low, high } = interval((n * 0.03_f64).floor(), n, 0.01, 0.05);
            assert!(low <= 0.03 && (0.027..=1.0).contains(&high), "{n}: {low} {high}");
            assert!(high - low <= width, "{n}");
            width = high - low;
        }
    }
}
