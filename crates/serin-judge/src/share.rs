//! Whether as many requests of the canary are counted as its share of them: a shortfall is requests that are in no counter.
//!
//! A gateway counts a request with its answer. One that breaks off, or that finds no endpoint, may be counted nowhere, and then a
//! canary that fails them all looks like one that has little traffic. What shows it is the share itself.
//!
//! The null hypothesis is honest only where every request is drawn anew, and counted soon: not where sessions stick to a
//! version, where clients choose one by themselves, or where connections are held open for long. Whoever asks has to know.

use crate::block::ALTERNATIVES;
use crate::stream::Wealth;

/// The parts of the canary's requests that are taken to be missing.
const MISSING: [f64; ALTERNATIVES] = [0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 0.9, 0.97, 0.999];
/// Half the prior is spent on the first block, half on the later ones, the k-th with `H / ((k+H-1)(k+H))`.
const START: f64 = 0.5;
const HALF_LIFE_BLOCKS: f64 = 60.0;
/// Evidence beyond this multiple of the threshold is dropped, so that it ends soon after the shortfall does.
const KEPT_MAX: f64 = 1.5;

/// What is left of a share when a part of its requests is missing: the rest of them among the rest of all.
fn left(share: f64, missing: f64) -> f64 {
    share * (1.0 - missing) / (1.0 - share * missing)
}

/// An e-process against "each counted request is the canary's with at least what is left of its share when the tolerated part
/// of its requests is missing, whatever came before".
///
/// A block of `n` counted requests of the canary and `m` of the primary is worth `S = (q/p0)^n ((1-q)/(1-p0))^m`, where `p0` is
/// what is left when the tolerated part is missing, and `q < p0` when more is. One request of the canary with
/// probability `p` has mean `1 - (p - p0) g` with `g = (p0-q)/(p0(1-p0)) > 0`, so a block has mean at most 1 while every `p` is
/// at least `p0`. Dealing requests out in turns spreads `n` less than chance does, which makes the mean smaller, as `S` is
/// convex in `n`.
#[derive(Debug, Clone, PartialEq)]
pub struct ShareTest {
    alpha: f64,
    tolerance: f64,
    wealth: Wealth,
    spent: f64,
    blocks: u64,
    short: bool,
}

impl ShareTest {
    /// A test that ever calls a share short that is not with probability `alpha` at most; `tolerance` is the part of the
    /// canary's requests that may be missing.
    pub fn new(alpha: f64, tolerance: f64) -> Self {
        let tolerance = tolerance.clamp(0.0, 0.99);
        Self { alpha, tolerance, wealth: Wealth::NONE, spent: 0.0, blocks: 0, short: false }
    }

    /// Takes in `n` counted requests of the canary and `m` of the primary, while the canary is to get `share` of them.
    ///
    /// Returns whether the share is short now: from the threshold `1/alpha` on, until the evidence is gone.
    pub fn observe(&mut self, n: u64, m: u64, share: f64) -> bool {
        if n.saturating_add(m) == 0 || !(share > 0.0 && share < 1.0) {
            return self.short;
        }
        let p0 = left(share, self.tolerance);
        let mass = self.mass();
        self.spent += mass;
        self.wealth.add(mass);
        let (n, m) = (n as f64, m as f64);
        let says = MISSING.map(|part| {
            let q = left(share, part).min(p0);
            let says = n * (q / p0).ln() + m * ((1.0 - q) / (1.0 - p0)).ln();
            says.min(self.cap())
        });
        self.wealth.multiply(&says);
        let beyond = self.log_evidence() - KEPT_MAX * self.threshold();
        if beyond > 0.0 {
            self.wealth.shrink(beyond);
        }
        let log_e = self.log_evidence();
        self.short = log_e >= self.threshold() || (self.short && log_e > 0.0);
        self.short
    }

    /// Whether the share was short at the last block.
    pub fn is_short(&self) -> bool {
        self.short
    }

    /// `ln E` now.
    pub fn log_evidence(&self) -> f64 {
        let unspent = (1.0 - self.spent).max(0.0);
        (unspent + self.wealth.sum() / ALTERNATIVES as f64).ln()
    }

    fn threshold(&self) -> f64 {
        -self.alpha.ln()
    }

    /// One block never decides, two may.
    fn cap(&self) -> f64 {
        0.5 * (self.threshold() + (ALTERNATIVES as f64 / START).ln())
    }

    fn mass(&mut self) -> f64 {
        let k = self.blocks as f64;
        self.blocks += 1;
        if k == 0.0 {
            return START;
        }
        let h = HALF_LIFE_BLOCKS;
        (1.0 - START) * h / ((k + h - 1.0) * (k + h))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator, so that the test has no dependency on anybody's idea of randomness.
    fn uniform(state: &mut u64) -> f64 {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Blocks until the share is short; `missing` of the canary's requests are counted nowhere.
    fn found(seed: u64, share: f64, missing: f64, blocks: u64) -> Option<u64> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut test = ShareTest::new(0.01, 0.1);
        (1..=blocks).find(|_| {
            let (mut n, mut m) = (0, 0);
            for _ in 0..100 {
                if uniform(&mut state) >= share {
                    m += 1;
                } else if uniform(&mut state) >= missing {
                    n += 1;
                }
            }
            test.observe(n, m, share)
        })
    }

    #[test]
    fn a_share_that_is_counted_is_never_called_short() {
        // Alpha is what is promised, at the edge of the null as well: 3 of 300, and three standard deviations.
        for (share, missing) in [(0.01, 0.0), (0.05, 0.0), (0.5, 0.0), (0.95, 0.0), (0.2, 0.09)] {
            let short = (0..300).filter(|seed| found(*seed, share, missing, 600).is_some()).count();
            assert!(short <= 8, "{share} {missing}: {short} of 300");
        }
        // A router that deals requests out in turns.
        let mut test = ShareTest::new(0.01, 0.1);
        assert!((0..100_000_u64).all(|k| !test.observe(
            u64::from(k % 3 == 0),
            6 + u64::from(k % 3 > 0),
            0.05
        )));
    }

    #[test]
    fn requests_that_are_counted_nowhere_are_found() {
        for (share, missing, most) in
            [(0.05, 1.0, 6), (0.05, 0.5, 90), (0.5, 0.5, 10), (0.5, 0.2, 200)]
        {
            for seed in 0..50 {
                let after = found(seed, share, missing, 2000);
                assert!(
                    after.is_some_and(|blocks| (2..=most).contains(&blocks)),
                    "{share} {missing}: {after:?}"
                );
            }
        }
    }

    /// Clients that try again are no other clients: each attempt is dealt out anew, whichever side has failed the last one.
    #[test]
    fn retries_do_not_make_a_share_short() {
        for seed in 0..100_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut test = ShareTest::new(0.01, 0.1);
            for _ in 0..600 {
                let (mut n, mut m) = (0, 0);
                for _ in 0..100 {
                    for _attempt in 0..4 {
                        let of_canary = uniform(&mut state) < 0.05;
                        (n, m) = if of_canary { (n + 1, m) } else { (n, m + 1) };
                        if uniform(&mut state) >= 0.3 {
                            break;
                        }
                    }
                }
                test.observe(n, m, 0.05);
            }
            assert!(test.log_evidence() < 0.0, "{seed}: {}", test.log_evidence());
        }
    }

    #[test]
    fn one_block_never_decides_and_what_has_ended_is_forgotten_soon() {
        let mut test = ShareTest::new(0.01, 0.1);
        assert!(!test.observe(0, 1_000_000, 0.05) && test.observe(0, 1_000_000, 0.05));
        for _ in 0..1000 {
            test.observe(0, 1000, 0.05);
        }
        let blocks = (1..100).find(|_| !test.observe(50, 950, 0.05)).unwrap();
        assert!(blocks < 40, "{blocks}");
        assert!(
            !test.observe(0, 0, 0.05) && !test.observe(0, 1000, 0.0) && !test.observe(0, 9, 1.0)
        );
    }

    /// The mean of a block's worth at the null's edge, over all outcomes.
    #[test]
    fn a_block_is_worth_one_on_average_at_most() {
        let (share, tolerance) = (0.3, 0.1);
        for p in [left(share, tolerance), 0.3, 0.6] {
            let mut mean = 0.0;
            for n in 0..=8_u64 {
                let ways: f64 = (0..n).map(|i| (8 - i) as f64 / (i + 1) as f64).product();
                let chance = ways * f64::powi(p, n as i32) * f64::powi(1.0 - p, 8 - n as i32);
                let mut test = ShareTest::new(0.01, tolerance);
                test.observe(n, 8 - n, share);
                mean += chance * test.log_evidence().exp();
            }
            assert!(mean <= 1.0 + 1e-12, "{p}: {mean}");
        }
    }
}
