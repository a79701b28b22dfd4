//! The size of error groups as the operator measures it: during releases, on the primary's pods together, and kept for the next.

use serin_judge::counters::{Born, Reading, Side};
use serin_judge::monitor::{Monitor, Source};
use serin_judge::{Attribution, Decision, GuardConfig, Question, Tolerance};

use crate::policy::{ALPHA, DELTA, P0};
use crate::stream::{Counters, Pattern, QUARTERS, World};
use crate::{SEED, THREADS, head, yes};

/// One release after the other of the same service.
const RELEASES: usize = 4;
const WEIGHTS: [f64; 6] = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5];
const STEP_SECS: u64 = 60;
const HORIZON_SECS: u64 = 1800;

struct Released {
    rolled_back: bool,
    /// What it showed of the groups, once it was promoted.
    seen: Option<f64>,
}

fn watch(known: f64) -> Option<Monitor> {
    let tolerance = Tolerance { rho: 1.0, delta: DELTA };
    let question = Question::Share { slo: P0, attribution: Attribution::Primary, tolerance };
    let questions = vec![("error-rate".to_owned(), question)];
    let mut config = GuardConfig { alpha: ALPHA, ..GuardConfig::new(questions, 6) };
    for metric in &mut config.metrics {
        metric.dispersion = known;
    }
    Monitor::new(config, 0, vec![Source::Errors]).ok()
}

fn reading(side: Side, requests: u64, errors: u64) -> Reading<'static> {
    let (series, born, warm, timed) = ("gateway", Born::Before, true, requests);
    let (started, within) = (None, &[]);
    Reading { side, series, born, started, warm, requests, errors, timed, within }
}

/// Flagger's weights on a clock of a minute, as long as the guard does not hold.
fn release(world: &World, seed: u64, known: f64) -> Option<Released> {
    let mut watch = watch(known)?;
    let (mut counters, mut step) = (Counters::default(), 0);
    for second in 1..=HORIZON_SECS {
        let weight = WEIGHTS[step];
        for quarter in 0..QUARTERS {
            world.play(seed, second * QUARTERS + quarter, weight, &mut counters);
        }
        let Counters { n, x, m, y } = counters;
        let both = [reading(Side::Canary, n, x), reading(Side::Primary, m, y)];
        let verdict = watch.observe(second * 1000, both).ok()?;
        match verdict.decision {
            Decision::RollBack => return Some(Released { rolled_back: true, seen: None }),
            Decision::Continue if second.is_multiple_of(STEP_SECS) => {
                step += 1;
                if step == WEIGHTS.len() {
                    let seen = watch.dispersion().next().map(|(_, seen)| seen);
                    return Some(Released { rolled_back: false, seen });
                }
                watch.weight_changed();
            }
            Decision::Continue | Decision::Hold(_) => {}
        }
    }
    Some(Released { rolled_back: false, seen: None })
}

/// For each release of a service: how often it was rolled back, and the sum of what was known by then.
fn service(world: &World, run: u64) -> [(f64, f64); RELEASES] {
    let mut known = 1.0;
    std::array::from_fn(|place| {
        let seed = SEED + 1000 * run + place as u64;
        let before = known;
        let Some(Released { rolled_back, seen }) = release(world, seed, known) else {
            return (0.0, before);
        };
        known = seen.unwrap_or(known);
        (f64::from(u8::from(rolled_back)), before)
    })
}

fn nulls() -> Vec<(&'static str, World)> {
    let still = |rps, rate| World::new(rps, Pattern::Fixed(rate, rate));
    let batches = |rate, size| World::batches(100.0, Pattern::Fixed(rate, rate), size);
    vec![
        ("each on its own, 0.5%", still(100.0, 0.005)),
        ("batches of 10 with one fate, 0.5%", batches(0.005, 10)),
        ("batches of 10 with one fate, 0.1%", batches(0.001, 10)),
        ("batches of 50 with one fate, 0.5%", batches(0.005, 50)),
        ("runs of 10 on a side, 0.5%", still(100.0, 0.005).sticky(10)),
        ("runs of 10 on a side, 0.1%", still(100.0, 0.001).sticky(10)),
        ("runs of 50 on a side, 0.5%", still(100.0, 0.005).sticky(50)),
        ("runs of 10 on a side, 10 rps, 0.5%", still(10.0, 0.005).sticky(10)),
    ]
}

/// Prints the table; false when releases that knew of groups were rolled back more often than alpha allows.
pub(crate) fn table(count: u64) -> bool {
    println!(
        "\n## Groups of errors as the operator measures them ({count} services of {RELEASES} releases, one after the other)"
    );
    println!(
        "\nFalse rollbacks of each release, and of those whose releases before had shown groups; errors alone with all of alpha. Within a release the guard goes by what the primary has shown so far."
    );
    head("null", &["first release", "second", "third", "fourth"]);
    let mut good = true;
    for (name, world) in nulls() {
        let part = |first: u64| -> Vec<[(f64, f64); RELEASES]> {
            let mine = (first..count).step_by(THREADS as usize);
            mine.map(|run| service(&world, run)).collect()
        };
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|i| scope.spawn(move || part(i))).collect();
            threads.into_iter().flat_map(|t| t.join().expect("a run does not panic")).collect()
        });
        let cells: Vec<String> = (0..RELEASES)
            .map(|place| {
                let all: Vec<(f64, f64)> = all.iter().map(|run| run[place]).collect();
                let knew: Vec<(f64, f64)> =
                    all.iter().filter(|cell| cell.1 > 1.2).copied().collect();
                let share = |cells: &[(f64, f64)]| {
                    cells.iter().map(|cell| cell.0).sum::<f64>() / cells.len().max(1) as f64
                };
                let of_knew = share(&knew);
                let spread = (ALPHA * (1.0 - ALPHA) / knew.len().max(1) as f64).sqrt();
                good &= knew.len() < 50 || of_knew <= ALPHA + 2.0 * spread;
                let some = knew.len() as f64 / all.len().max(1) as f64 * 100.0;
                let told = if knew.is_empty() {
                    String::new()
                } else {
                    format!(" · {:.2}% of the {some:.0}% that knew", of_knew * 100.0)
                };
                format!("{:.2}%{told}", share(&all) * 100.0)
            })
            .collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
    println!("\nEvery release that knew of groups within alpha: {}", yes(good));
    good
}
