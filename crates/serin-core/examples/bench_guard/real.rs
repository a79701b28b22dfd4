//! What really happens: bursts, outages that both versions suffer, series that come and go, clocks, and damage, beside what the
//! version before made of them.

use jiff::Timestamp;
use serin_core::judge::design::{Measured, Memory};
use serin_judge::counters::{Born, Monotonic, Reading, Side};
use serin_judge::monitor::{Monitor, Source};
use serin_judge::{Attribution, Decision, GuardConfig, Question, Tolerance};

use crate::policy::{ALPHA, DELTA, P0};
use crate::stream::{Counters, Pattern, QUARTERS, World, hash, uniform};
use crate::{SEED, THREADS, head, yes};

/// A rollback takes effect this long after its decision.
const ACTUATION_SECS: u64 = 1;
/// What the release before did, as it was reported of it: mean requests hurt, or releases rolled back of so many.
const BURSTS: [(u64, [f64; 3]); 3] =
    [(0, [20.0, 9.0, 11.0]), (20, [48.0, 63.0, 90.0]), (95, [184.0, 257.0, 425.0])];
const FAULTS: [f64; 3] = [1.0, 0.2, 0.05];
const OUTAGES: [(f64, f64, u64); 5] =
    [(0.2, 0.5, 48), (0.05, 0.5, 170), (1.0, 0.9, 172), (2.0, 0.95, 183), (1.0, 0.5, 0)];

fn watch(bounds: usize) -> Option<Monitor> {
    let tolerance = Tolerance { rho: 1.0, delta: DELTA };
    let ask = || Question::Share { slo: P0, attribution: Attribution::Primary, tolerance };
    let mut questions = vec![("error-rate".to_owned(), ask())];
    let mut sources = vec![Source::Errors];
    for bound in 0..bounds {
        questions.push((format!("slower-{bound}"), ask()));
        sources.push(Source::Slower(bound));
    }
    let config = GuardConfig { alpha: ALPHA, ..GuardConfig::new(questions, 6) };
    Monitor::new(config, bounds, sources).ok()
}

fn reading(side: Side, requests: u64, errors: u64) -> Reading<'static> {
    let (series, born, warm, timed) = ("gateway", Born::Before, true, requests);
    let started = Some(1_700_000_000);
    Reading { side, series, born, started, warm, requests, errors, timed, within: &[] }
}

fn rolled_back(watch: &Monitor) -> bool {
    watch.guard().decision() == Decision::RollBack
}

/// Plays runs on all threads.
fn all<T: Send>(count: u64, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let part = |first: u64| -> Vec<T> {
        (first..count).step_by(THREADS as usize).map(|seed| run(SEED + seed)).collect()
    };
    let part = &part;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|i| scope.spawn(move || part(i))).collect();
        threads.into_iter().flat_map(|t| t.join().expect("a run does not panic")).collect()
    })
}

/// Requests hurt by a canary that fails from `AT` on, beside a primary with a burst of errors before.
fn burst(seed: u64, errors: u64, fault: f64, back: bool) -> (f64, bool) {
    const AT: u64 = 400;
    const BURST: u64 = 300;
    let world = World::new(100.0, Pattern::Late { at: AT as f64, fault, base: 0.001 });
    let Some(mut watch) = watch(0) else { return (0.0, false) };
    watch.at_share(0.05);
    let (mut counters, mut order) = (Counters::default(), Monotonic::default());
    let (mut before, mut decided) = (0, None);
    for second in 1..=AT + 600 {
        for quarter in 0..QUARTERS {
            world.play(seed, second * QUARTERS + quarter, 0.05, &mut counters);
        }
        if second == BURST {
            (counters.m, counters.y) = (counters.m + errors, counters.y + errors);
        }
        if second == AT {
            before = counters.x;
        }
        if decided.is_some_and(|at| second >= at + ACTUATION_SECS) {
            return ((counters.x - before) as f64, true);
        }
        // The clock is set back by a minute and a half just before.
        let told = if back && second >= AT - 5 { 1000 * second - 90_000 } else { 1000 * second };
        let told = i64::try_from(10_000_000 + told).unwrap_or(0);
        let Counters { n, x, m, y } = counters;
        let both = [reading(Side::Canary, n, x), reading(Side::Primary, m, y)];
        let _ = watch.observe(order.at(told, 1000, watch.counters().at_millis()), both);
        if rolled_back(&watch) {
            decided.get_or_insert(second);
        }
    }
    ((counters.x - before) as f64, false)
}

/// Both versions fail everything for ten minutes.
fn outage(seed: u64, rps: f64, share: f64) -> bool {
    fn rates(t: f64) -> (f64, f64) {
        let rate = if (300.0..900.0).contains(&t) { 1.0 } else { 0.001 };
        (rate, rate)
    }
    let world = World::new(rps, Pattern::Varying(rates));
    let Some(mut watch) = watch(0) else { return false };
    watch.at_share(share);
    let mut counters = Counters::default();
    (1..=900).any(|second: u64| {
        for quarter in 0..QUARTERS {
            world.play(seed, second * QUARTERS + quarter, share, &mut counters);
        }
        let Counters { n, x, m, y } = counters;
        let both = [reading(Side::Canary, n, x), reading(Side::Primary, m, y)];
        let _ = watch.observe(1000 * second, both);
        rolled_back(&watch)
    })
}

/// A healthy release, of whose canary some series are missing from one page in twenty: its 5xx, its buckets, or all.
fn flapping(seed: u64, what: u64) -> bool {
    let world = World::new(100.0, Pattern::Fixed(0.001, 0.001));
    let Some(mut watch) = watch(1) else { return false };
    watch.at_share(0.05);
    // The last release was bad, and its counters are still there.
    let mut counters = Counters { n: 20_000, x: 1600, m: 400_000, y: 400 };
    (1..=600).any(|second: u64| {
        for quarter in 0..QUARTERS {
            world.play(seed, second * QUARTERS + quarter, 0.05, &mut counters);
        }
        let Counters { n, x, m, y } = counters;
        let missing = uniform(hash(seed ^ 0xf1a9, second, what)) < 0.05;
        let (fast, slow) = ([Some(n)], [Some(0)]);
        let mut canary = Reading { within: &fast, ..reading(Side::Canary, n, x) };
        match (missing, what) {
            (true, 0) => canary = Reading { requests: n - x, errors: 0, ..canary },
            (true, 1) => canary = Reading { within: &slow, ..canary },
            (true, _) => {
                canary = Reading { timed: 0, within: &slow, ..reading(Side::Canary, 0, 0) };
            }
            (false, _) => {}
        }
        let of_primary = [Some(m)];
        let primary = Reading { within: &of_primary, ..reading(Side::Primary, m, y) };
        let _ = watch.observe(1000 * second, [canary, primary]);
        rolled_back(&watch)
    })
}

/// A kept memory with one to three characters changed: whether it is believed, and whether it rolls back at once.
fn damaged(kept: &str, seed: u64) -> Option<bool> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = kept.as_bytes().to_vec();
    for change in 0..=hash(seed, 0, 0) % 3 {
        let place = (hash(seed, 1, change) % bytes.len() as u64) as usize;
        bytes[place] = LETTERS[(hash(seed, 2, change) % 64) as usize];
    }
    if bytes == kept.as_bytes() {
        return None;
    }
    let value = serde_json::from_slice(&bytes).ok()?;
    let memory = Memory::read(&value).ok()?;
    if serde_json::from_str(kept).is_ok_and(|kept| Memory::read(&kept).as_ref() == Ok(&memory)) {
        // The same in other letters, such as a time with a small t.
        return None;
    }
    let Memory { decided, watch, .. } = memory;
    let watch = Monitor::restore(config(), 0, vec![Source::Errors], &watch).ok()?;
    Some(decided.is_some() || rolled_back(&watch))
}

fn config() -> GuardConfig {
    watch(0).map_or_else(|| GuardConfig::new(Vec::new(), 6), |watch| watch.guard().config().clone())
}

fn memory() -> String {
    let Some(mut watch) = watch(0) else { return String::new() };
    for second in 1..300 {
        let both = [
            reading(Side::Canary, 5 * second, second / 40),
            reading(Side::Primary, 95 * second, second / 9),
        ];
        let _ = watch.observe(1000 * second, both);
    }
    let time = Timestamp::from_second(1_800_000_000).unwrap_or_default();
    let measured = Measured { objectives: vec![0], ..Measured::default() };
    let memory = Memory { time, weight: 5, steps: 6, measured, decided: None, watch: watch.save() };
    memory.to_value().to_string()
}

/// Prints the table; false when a release that is healthy is rolled back more often than alpha allows, or a clock or damage
/// does more than it may. What a burst costs is told only: one second of errors still counts as a group.
pub(crate) fn table(count: u64) -> bool {
    println!("\n## What really happens ({count} runs per cell)");
    println!("\nThe version before as it was reported of it.");
    head("what happens", &["the version before", "this version"]);
    let mut good = true;
    let mut calm = [0.0; 3];
    for (errors, before) in BURSTS {
        let runs = FAULTS.map(|fault| all(count, |seed| burst(seed, errors, fault, false)));
        let mean =
            |runs: &Vec<(f64, bool)>| runs.iter().map(|r| r.0).sum::<f64>() / runs.len() as f64;
        let means = runs.each_ref().map(mean);
        let found = runs.iter().flatten().filter(|run| run.1).count() as f64 / (3 * count) as f64;
        if errors == 0 {
            calm = means;
        }
        let text = |all: [f64; 3]| all.map(|mean| format!("{mean:.0}")).join(" / ");
        println!(
            "| {errors} errors of the primary in one second, 100 s before the canary fails 100 / 20 / 5 %: requests hurt | {} | {}, {:.0} % found |",
            text(before),
            text(means),
            found * 100.0
        );
    }
    for (rps, share, before) in OUTAGES {
        let fired = all(200, |seed| outage(seed, rps, share)).into_iter().filter(|f| *f).count();
        good &= fired <= 6;
        println!(
            "| both fail everything for ten minutes, {rps} requests per second, canary at {:.0} %: rolled back | {before} of 200 | {fired} of 200 |",
            share * 100.0
        );
    }
    for (what, name) in ["5xx series", "buckets", "all series"].iter().enumerate() {
        let fired = all(50, |seed| flapping(seed, what as u64)).into_iter().filter(|f| *f).count();
        good &= fired == 0;
        println!(
            "| {name} of a healthy canary missing from one page in twenty: rolled back | 50 of 50 | {fired} of 50 |"
        );
    }
    let runs = all(count, |seed| burst(seed, 0, 1.0, true));
    let hurt = runs.iter().map(|run| run.0).sum::<f64>() / runs.len() as f64;
    good &= hurt <= 1.5 * calm[0];
    println!(
        "| the clock is set back by 90 s, then the canary fails 100 %: requests hurt | 455 | {hurt:.0} |"
    );
    let kept = memory();
    let believed: Vec<bool> = (0..60_000).filter_map(|seed| damaged(&kept, seed)).collect();
    let fired = believed.iter().filter(|fired| **fired).count();
    good &= believed.is_empty();
    println!(
        "| one to three characters of what was kept are changed, 60000 times: believed, rolled back at once | 35059, 40 | {}, {fired} |",
        believed.len()
    );
    println!("\nAs promised: {}", yes(good));
    good
}
