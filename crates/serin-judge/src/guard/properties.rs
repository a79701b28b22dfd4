//! The e-value property, enumerated exactly, and the rate of false rollbacks, drawn with fixed seeds.

use proptest::prelude::*;

use super::tests::{errors, read, reference};
use super::*;
use crate::block::{self, Block, Ceiling, SHIFTS, STAKES, Tolerance};
use crate::math::{expit, ln_gamma, logit};

/// What summing a few thousand terms may lose.
const SLACK: f64 = 1e-12;

fn binomial(n: u64, p: f64) -> Vec<f64> {
    if p <= 0.0 || p >= 1.0 {
        return (0..=n).map(|k| f64::from(u8::from(k == if p <= 0.0 { 0 } else { n }))).collect();
    }
    let log = |k: u64| {
        ln_gamma(n as f64 + 1.0) - ln_gamma(k as f64 + 1.0) - ln_gamma((n - k) as f64 + 1.0)
    };
    let raw: Vec<f64> = (0..=n)
        .map(|k| (log(k) + k as f64 * p.ln() + (n - k) as f64 * (-p).ln_1p()).exp())
        .collect();
    // Normalised, so that the sum of the probabilities is not what the test measures.
    let sum: f64 = raw.iter().sum();
    raw.into_iter().map(|v| v / sum).collect()
}

fn mean(n: u64, m: u64, pc: f64, pp: f64, says: impl Fn(&Block) -> f64) -> f64 {
    let (canary, primary) = (binomial(n, pc), binomial(m, pp));
    let mut sum = 0.0;
    for (x, px) in canary.iter().enumerate() {
        for (y, py) in primary.iter().enumerate() {
            let block = Block { n: n as f64, x: x as f64, m: m as f64, y: y as f64 };
            sum += px * py * says(&block).exp();
        }
    }
    sum
}

const SIZES: [(u64, u64); 5] = [(1, 1), (1, 19), (3, 17), (8, 8), (20, 5)];
const RATES: [f64; 8] = [0.0, 0.0005, 0.004, 0.01, 0.05, 0.2, 0.6, 0.95];

#[test]
fn objective_evidence_has_mean_at_most_one() {
    for p0 in [0.001, 0.01, 0.1, 0.5] {
        for shift in SHIFTS {
            let q = expit(logit(p0) + shift);
            for n in [1, 2, 7, 40] {
                for part in [0.0, 0.3, 0.9, 1.0] {
                    let e = mean(n, 0, p0 * part, 0.0, |b| block::slo(b, q, p0));
                    assert!(e <= 1.0 + SLACK, "p0 {p0} shift {shift} n {n} part {part}: {e}");
                }
            }
        }
    }
}

#[test]
fn relative_evidence_has_mean_at_most_one_on_the_boundary() {
    let tolerances = [(1.0, 0.0), (1.0, 0.005), (1.25, 0.005), (2.0, 0.0), (0.8, 0.02), (1.5, 0.1)];
    let mut largest = 0.0_f64;
    for (rho, delta) in tolerances {
        let tolerance = Tolerance { rho, delta };
        for r in [0.0005, 0.01, 0.2] {
            for q in block::alternatives(tolerance.limit(r)) {
                for (n, m) in SIZES {
                    for pp in RATES.into_iter().filter(|pp| tolerance.limit(*pp) <= 1.0) {
                        let pc = tolerance.limit(pp);
                        let e = mean(n, m, pc, pp, |b| block::relative(b, q, r, tolerance));
                        assert!(e <= 1.0 + SLACK, "{tolerance:?} r {r} q {q} {n} {m} pp {pp}: {e}");
                        largest = largest.max(e);
                    }
                }
            }
        }
    }
    assert!(largest > 0.999, "the boundary is touched: {largest}");
}

#[test]
fn attributed_evidence_has_mean_at_most_one_under_either_excuse() {
    let p0 = 0.01;
    for shift in SHIFTS {
        let q = expit(logit(p0) + shift);
        for r in [0.0005, 0.01, 0.2] {
            let says =
                |b: &Block| block::slo(b, q, p0).min(block::relative(b, q, r, Tolerance::NONE));
            for (n, m) in SIZES {
                for pp in RATES {
                    // Within the objective, or not worse than the primary: the worst null has the higher of both.
                    let e = mean(n, m, p0.max(pp), pp, says);
                    assert!(e <= 1.0 + SLACK, "shift {shift} r {r} {n} {m} pp {pp}: {e}");
                }
            }
        }
    }
}

#[test]
fn averages_over_a_block_are_enough() {
    // Half of the block at a low rate, half in an incident that both sides share: the pooled rate is what counts.
    let (tolerance, r) = (Tolerance { rho: 1.0, delta: 0.005 }, 0.001);
    for q in block::alternatives(tolerance.limit(r)) {
        let (low, high) = (binomial(4, 0.0), binomial(4, 0.4));
        let (calm, incident) = (binomial(10, 0.0), binomial(10, 0.4));
        let mut e = 0.0;
        for (x1, p1) in low.iter().enumerate() {
            for (x2, p2) in high.iter().enumerate() {
                for (y1, p3) in calm.iter().enumerate() {
                    for (y2, p4) in incident.iter().enumerate() {
                        let (x, y) = ((x1 + x2) as f64, (y1 + y2) as f64);
                        let b = Block { n: 8.0, x, m: 20.0, y };
                        e += p1 * p2 * p3 * p4 * block::relative(&b, q, r, tolerance).exp();
                    }
                }
            }
        }
        assert!(e <= 1.0 + SLACK, "{q}: {e}");
    }
}

#[test]
fn live_bets_have_mean_at_most_one_with_a_dependent_canary() {
    let tolerance = Tolerance { rho: 1.25, delta: 0.005 };
    let p0 = 0.01;
    for stake in STAKES {
        for (n, clusters, d) in [(1_u64, 20_u64, 1.0), (10, 30, 1.0), (10, 7, 10.0), (50, 3, 50.0)]
        {
            for pp in RATES.into_iter().filter(|pp| tolerance.limit(*pp) <= 1.0) {
                let kinds = [
                    (Ceiling::Attributed { p0 }, p0.max(pp)),
                    (Ceiling::Relative(tolerance), tolerance.limit(pp)),
                    (Ceiling::Slo { p0 }, p0),
                ];
                for (kind, pc) in kinds {
                    let mut e = 0.0;
                    // All canary requests share one fate; the primary fails in clusters of d.
                    for (y, py) in binomial(clusters, pp).into_iter().enumerate() {
                        let (m, y) = (clusters as f64 * d, y as f64 * d);
                        for (x, px) in [(0.0, 1.0 - pc), (n as f64, pc)] {
                            let b = Block { n: n as f64, x, m, y };
                            e +=
                                px * py * block::live(&b, stake, block::ceiling(&b, kind, d)).exp();
                        }
                    }
                    assert!(e <= 1.0 + SLACK, "{stake} {n} {clusters} {d} {pp} {kind:?}: {e}");
                }
            }
        }
    }
}

#[test]
fn deflated_evidence_has_mean_at_most_one_in_clusters() {
    let p0 = 0.01;
    for d in [2_u64, 5, 10] {
        for shift in SHIFTS {
            let q = expit(logit(p0) + shift);
            let e: f64 = binomial(6, p0)
                .into_iter()
                .enumerate()
                .map(|(x, px)| {
                    let (n, x) = ((6 * d) as f64, (x as u64 * d) as f64);
                    let b = Block { n, x, m: 0.0, y: 0.0 };
                    px * (block::slo(&b, q, p0) / d as f64).exp()
                })
                .sum();
            assert!(e <= 1.0 + SLACK, "{d} {shift}: {e}");
        }
    }
}

/// Counter-based noise: the same seed and place give the same number on every machine.
fn noise(seed: u64, place: u64) -> f64 {
    let mut z =
        seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ place.wrapping_mul(0xd1b5_4a32_d192_ed03);
    for _ in 0..2 {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
    }
    (z >> 11) as f64 / (1_u64 << 53) as f64
}

fn draw(seed: u64, place: u64, n: u64, p: f64) -> u64 {
    (0..n).map(|i| u64::from(noise(seed, place * 4096 + i) < p)).sum()
}

#[test]
fn false_rollbacks_stay_below_alpha() {
    const RUNS: u64 = 300;
    // Alpha is 10 %: three standard deviations above it would be 15 %.
    type Rates = fn(u64) -> (f64, f64);
    let nulls: [(&str, Rates); 4] = [
        ("on the objective", |_| (0.01, 0.01)),
        ("on the tolerance", |_| (0.006, 0.001)),
        ("shared incident", |t| if (60..90).contains(&t) { (0.3, 0.3) } else { (0.002, 0.002) }),
        ("excused at a high rate", |_| (0.05, 0.05)),
    ];
    for (name, rates) in nulls {
        let mut fired = 0;
        for seed in 0..RUNS {
            let mut guard = Guard::new(GuardConfig { alpha: 0.1, ..reference(errors()) }).unwrap();
            for t in 0..240 {
                let (pc, pp) = rates(t);
                let (x, y) = (draw(seed, 2 * t, 8, pc), draw(seed, 2 * t + 1, 60, pp));
                guard.observe(1.0, &[Sample { n: 8, x, m: 60, y }]);
                if t % 60 == 59 {
                    guard.weight_changed();
                }
            }
            fired += u64::from(guard.decision() == Decision::RollBack);
        }
        assert!(fired <= RUNS / 10, "{name}: {fired} of {RUNS}");
    }
}

#[test]
fn a_bad_canary_is_found() {
    for (rate, most) in [(1.0, 3), (0.2, 25), (0.05, 160)] {
        for seed in 0..40 {
            let mut guard = Guard::new(reference(errors())).unwrap();
            let found = (0..400).find(|t| {
                let (x, y) = (draw(seed, 2 * t, 5, rate), draw(seed, 2 * t + 1, 95, 0.001));
                let verdict = guard.observe(1.0, &[Sample { n: 5, x, m: 95, y }]);
                verdict.decision == Decision::RollBack
            });
            assert!(found.is_some_and(|t| t < most), "{rate} seed {seed}: {found:?}");
        }
    }
}

/// A count of any order of magnitude.
fn count() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0_u64), 3 => 0..20_u64, 2 => 0..100_000_u64, 1 => 0..1_000_000_000_000_u64]
}

fn any_config() -> impl Strategy<Value = GuardConfig> {
    let rate = || prop_oneof![Just(1e-6), Just(1e-4), Just(0.01), Just(0.3), Just(0.999)];
    let rho = prop_oneof![Just(1.0), Just(1.25), Just(5.0), Just(0.1)];
    let delta = prop_oneof![Just(0.0), Just(1e-6), Just(0.005), Just(0.5)];
    let d = prop_oneof![Just(1.0), Just(1.3), Just(50.0), Just(1000.0)];
    let bets = prop_oneof![Just(Bets::Auto), Just(Bets::Ratios), Just(Bets::Live)];
    (rate(), rho, delta, d, bets, any::<bool>()).prop_map(
        |(slo, rho, delta, d, bets, attributed)| {
            let attribution = if attributed { Attribution::Primary } else { Attribution::None };
            let question =
                Question::Share { slo, attribution, tolerance: Tolerance { rho, delta } };
            GuardConfig { dispersion: d, bets, ..reference(question) }
        },
    )
}

proptest! {
    #[test]
    fn no_counts_confuse_it(
        config in any_config(),
        scrapes in proptest::collection::vec((count(), count(), count(), count(), 0.0..100.0_f64, any::<bool>()), 1..40),
    ) {
        let mut guard = Guard::new(config.clone()).unwrap();
        let mut rolled_back = false;
        for (n, x, m, y, secs, step) in scrapes {
            let before = guard.log_evidence();
            let verdict = guard.observe(secs, &[Sample { n, x: x.min(n), m, y: y.min(m) }]);
            prop_assert!(verdict.log_e.is_finite(), "{verdict:?} after {before}");
            prop_assert!(verdict.log_e - before <= 20.0, "a scrape is capped: {before} {verdict:?}");
            rolled_back |= verdict.decision == Decision::RollBack;
            prop_assert_eq!(rolled_back, verdict.decision == Decision::RollBack);
            if step {
                guard.weight_changed();
            }
        }
        let excess = guard.excess();
        prop_assert!((-1.0..=1.0).contains(&excess), "{excess}");
        prop_assert!(!guard.explain().to_string().contains("NaN"));
        let back = read(config, &guard).unwrap();
        prop_assert_eq!(back.decision() == Decision::RollBack, rolled_back);
        prop_assert!(back.log_evidence() <= guard.log_evidence() + 1e-9);
    }

    #[test]
    fn all_at_once_is_one_by_one(
        n in 1..2000_u64,
        m in 1..20_000_u64,
        parts in (0.0..=1.0_f64, 0.0..=1.0_f64),
        r in prop_oneof![Just(1e-9), 1e-5..0.05_f64, 0.05..0.9_f64],
        rho in prop_oneof![Just(1.0), 0.2..1.8_f64],
        delta in prop_oneof![Just(0.0), 1e-6..0.05_f64],
    ) {
        let (n, m) = (n as f64, m as f64);
        let block = Block { n, x: (parts.0 * n).floor(), m, y: (parts.1 * m).floor() };
        let tolerance = Tolerance { rho, delta };
        let qs = block::alternatives(tolerance.limit(r).min(0.999));
        let all = block::relative_all(&block, &qs, r, tolerance);
        for (q, says) in qs.into_iter().zip(all) {
            let one = block::relative(&block, q, r, tolerance);
            prop_assert!((says - one).abs() <= 1e-6 * (1.0 + one.abs()), "q {}: {} not {}", q, says, one);
        }
    }

    #[test]
    fn the_projection_solves_its_equation(
        n in 1.0..1e6_f64,
        m in 1.0..1e6_f64,
        r in 1e-6..0.5_f64,
        lift in 0.01..0.99_f64,
        rho in 0.2..1.8_f64,
        delta in 1e-6..0.05_f64,
    ) {
        let tolerance = Tolerance { rho, delta };
        let q = tolerance.limit(r) + (1.0 - tolerance.limit(r)) * lift;
        let pp = block::project(n, m, q, r, tolerance);
        let pc = tolerance.limit(pp);
        let (canary, primary) = (n * rho * (q - pc) / (pc * (1.0 - pc)), m * (r - pp) / (pp * (1.0 - pp)));
        let off = (canary + primary).abs() / (canary.abs() + primary.abs() + 1e-9);
        prop_assert!(off < 1e-6, "{off} at {pp}");
    }
}
