//! Latency from histogram buckets: one bound with an objective against dominance over all bounds.

use serin_judge::{Attribution, Decision, Guard, GuardConfig, Metric, Question, Sample, Tolerance};

use crate::stream::{Poisson, hash, uniform};
use crate::{SEED, THREADS, quantile};

/// Linkerd's bounds, in milliseconds.
const BOUNDS: [f64; 25] = [
    1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 1e3,
    2e3, 3e3, 4e3, 5e3, 1e4, 2e4, 3e4, 4e4, 5e4,
];
const LIMIT: usize = 14;
const SECS: u64 = 600;
const WEIGHT: f64 = 0.05;
const MEDIAN_MS: f64 = 80.0;
const SIGMA: f64 = 0.6;

/// How the canary differs from the primary.
#[derive(Clone, Copy)]
enum Canary {
    Slower(f64),
    Hangs(f64),
}

/// What the reference found: share in percent and median seconds, on the bound, then by dominance.
type Found = [(f64, f64); 2];

const CANARIES: [(&str, Canary, [Found; 3]); 6] = [
    ("same as primary", Canary::Slower(1.0), [[(0.0, 0.0); 2]; 3]),
    ("x1.1 (inside the margin)", Canary::Slower(1.1), [[(0.0, 0.0); 2]; 3]),
    (
        "x1.5",
        Canary::Slower(1.5),
        [[(0.0, 0.0), (88.0, 352.0)], [(3.0, 299.0), (100.0, 36.0)], [(86.0, 297.0), (100.0, 5.0)]],
    ),
    (
        "x2.5",
        Canary::Slower(2.5),
        [
            [(99.0, 178.0), (100.0, 45.0)],
            [(100.0, 17.0), (100.0, 5.0)],
            [(100.0, 3.0), (100.0, 3.0)],
        ],
    ),
    (
        "3% of requests take 2-3 s",
        Canary::Hangs(0.03),
        [
            [(55.0, 312.0), (41.0, 410.0)],
            [(100.0, 60.0), (100.0, 86.0)],
            [(100.0, 7.5), (100.0, 12.0)],
        ],
    ),
    (
        "everything takes > 2 s",
        Canary::Hangs(1.0),
        [[(100.0, 5.0), (100.0, 8.0)], [(100.0, 2.0), (100.0, 2.0)], [(100.0, 2.0), (100.0, 2.0)]],
    ),
];

impl Canary {
    /// Milliseconds of a request, from two uniform numbers.
    fn draw(self, u: f64, v: f64) -> f64 {
        let normal = (-2.0 * u.max(1e-300).ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        let usual = MEDIAN_MS * (SIGMA * normal).exp();
        match self {
            Self::Slower(factor) => usual * factor,
            // The low digits of one of the numbers decide, so that the rest stays as it was.
            Self::Hangs(share) if (u * 1e6).fract() < share => 2000.0 + 1000.0 * v,
            Self::Hangs(_) => usual,
        }
    }
}

fn guard(question: Question) -> Guard {
    let metrics = vec![Metric { name: "latency".into(), question, weight: 0.5, dispersion: 1.0 }];
    Guard::new(GuardConfig { metrics, ..GuardConfig::new(vec![], 6) })
        .expect("a plain setting is valid")
}

/// Every bound, at most 1.25 times the primary's share and half a point.
pub(crate) fn dominance() -> Guard {
    let bounds = BOUNDS.iter().map(|ms| format!("{ms} ms")).collect();
    let tolerance = Tolerance { rho: 1.25, delta: 0.005 };
    guard(Question::Dominance { bounds, tolerance, scale: 0.01 })
}

/// Guards with their scrapes, for the stopwatch: traffic as in the table, and the same with nothing alike between bounds.
pub(crate) fn busy() -> Vec<(&'static str, Guard, Vec<Vec<Sample>>)> {
    let share = |name: &str, weight, dispersion| {
        let tolerance = Tolerance { rho: 1.0, delta: 0.005 };
        let question = Question::Share { slo: 0.01, attribution: Attribution::Primary, tolerance };
        Metric { name: name.into(), question, weight, dispersion }
    };
    let guard = |metrics| {
        Guard::new(GuardConfig { metrics, ..GuardConfig::new(vec![], 6) })
            .expect("a plain setting is valid")
    };
    let lognormal: Vec<Vec<Sample>> = {
        let arrivals = Poisson::new(100.0);
        (0..2000)
            .map(|second| second_of(Canary::Slower(1.1), &arrivals, 7, second).to_vec())
            .collect()
    };
    let unlike: Vec<Vec<Sample>> = (0..2000_u64)
        .map(|second| {
            let draw = |k: u64, n: u64, p: f64| {
                (0..n).filter(|i| uniform(hash(second, k, *i)) < p).count() as u64
            };
            let (n, m) = (5 + second % 7, 90 + second % 13);
            let one = |bound: u64| {
                let p = 0.5 * 0.75_f64.powi(bound as i32);
                Sample { n, x: draw(bound, n, p), m, y: draw(64 + bound, m, p) }
            };
            (0..BOUNDS.len() as u64).map(one).collect()
        })
        .collect();
    let errors = |scrapes: &[Vec<Sample>], more: usize| -> Vec<Vec<Sample>> {
        let bad = |second: usize| Sample {
            x: u64::from(second.is_multiple_of(29)),
            y: u64::from(second.is_multiple_of(2)),
            ..scrapes[second][LIMIT]
        };
        (0..scrapes.len())
            .map(|second| {
                [&[bad(second), scrapes[second][LIMIT]], &scrapes[second][..more]].concat()
            })
            .collect()
    };
    let all = || {
        let bounds = dominance().config().metrics[0].clone();
        let third = Metric { weight: 0.34, ..bounds };
        guard(vec![share("errors", 0.33, 1.0), share("latency", 0.33, 1.0), third])
    };
    vec![
        (
            "errors and latency (four checks)",
            guard(vec![share("errors", 0.5, 1.0), share("latency", 0.5, 1.0)]),
            errors(&unlike, 0),
        ),
        (
            "the same with dispersion 3",
            guard(vec![share("errors", 0.5, 3.0), share("latency", 0.5, 3.0)]),
            errors(&unlike, 0),
        ),
        ("dominance over 25 bounds, lognormal latencies", dominance(), lognormal.clone()),
        (
            "errors, latency and dominance, lognormal latencies",
            all(),
            errors(&lognormal, BOUNDS.len()),
        ),
        (
            "errors, latency and dominance, no two bounds alike",
            all(),
            errors(&unlike, BOUNDS.len()),
        ),
    ]
}

/// The counts of one second, by bound.
fn second_of(canary: Canary, arrivals: &Poisson, seed: u64, second: u64) -> [Sample; BOUNDS.len()] {
    let mut samples = [Sample::default(); BOUNDS.len()];
    for i in 0..arrivals.draw(uniform(hash(seed, second, u64::MAX))) {
        let mine = uniform(hash(seed, second, 4 * i)) < WEIGHT;
        let (u, v) =
            (uniform(hash(seed, second, 4 * i + 1)), uniform(hash(seed, second, 4 * i + 2)));
        let ms = if mine { canary } else { Canary::Slower(1.0) }.draw(u, v);
        let slower = BOUNDS.partition_point(|bound| *bound < ms);
        for (bound, sample) in samples.iter_mut().enumerate() {
            let bad = u64::from(bound < slower);
            if mine {
                (sample.n, sample.x) = (sample.n + 1, sample.x + bad);
            } else {
                (sample.m, sample.y) = (sample.m + 1, sample.y + bad);
            }
        }
    }
    samples
}

/// Seconds until each guard rolls back, if it does.
fn play(canary: Canary, arrivals: &Poisson, seed: u64) -> [Option<f64>; 2] {
    let slo = 0.01;
    let tolerance = Tolerance { rho: 1.0, delta: 0.005 };
    let mut on_bound = guard(Question::Share { slo, attribution: Attribution::Primary, tolerance });
    let mut dominance = dominance();
    let mut found = [None; 2];
    for second in 0..SECS {
        let samples = second_of(canary, arrivals, seed, second);
        let verdicts =
            [on_bound.observe(1.0, &samples[LIMIT..=LIMIT]), dominance.observe(1.0, &samples)];
        for (found, verdict) in found.iter_mut().zip(verdicts) {
            if found.is_none() && verdict.decision == Decision::RollBack {
                *found = Some((second + 1) as f64);
            }
        }
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found
}

/// Prints the table; false when a canary within its margins was rolled back too often.
pub(crate) fn table(count: u64) -> bool {
    println!(
        "\n## Latency from 25 histogram bounds, 5% weight for 600 s, baseline lognormal, median 80 ms ({count} runs, fewer at 1000 rps)"
    );
    println!(
        "\nFound · median seconds (the reference's in brackets). Bound: P(> 500 ms) at most 1 % and primary + 0.5 points. Dominance: every bound, at most 1.25 x primary + 0.5 points."
    );
    crate::head("rps | canary", &["500 ms bound", "all bounds"]);
    let mut good = true;
    for (place, rps) in [10.0, 100.0, 1000.0].into_iter().enumerate() {
        let count = if rps > 100.0 { (count / 4).max(8) } else { count };
        let arrivals = Poisson::new(rps);
        for (index, (name, canary, wanted)) in CANARIES.iter().enumerate() {
            let part = |first: u64| -> Vec<[Option<f64>; 2]> {
                let mine = (first..count).step_by(THREADS as usize);
                mine.map(|run| play(*canary, &arrivals, SEED + run)).collect()
            };
            let all: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS).map(|i| scope.spawn(move || part(i))).collect();
                threads.into_iter().flat_map(|t| t.join().expect("a run does not panic")).collect()
            });
            let cells = [0, 1].map(|column| {
                let secs: Vec<f64> = all.iter().filter_map(|run| run[column]).collect();
                let share = secs.len() as f64 / all.len() as f64 * 100.0;
                good &= index > 1 || share <= 1.0 + 200.0 * (0.01 / all.len() as f64).sqrt();
                let secs = quantile(secs, 0.5).map_or("-".into(), |s| format!("{s:.0} s"));
                let (want, at) = wanted[place][column];
                format!("{share:.0}% · {secs} ({want:.0}% · {at:.0} s)")
            });
            println!("| {rps} | {name} | {} |", cells.join(" | "));
        }
    }
    good
}
