//! Lives by their seeds: how many, on all cores, and what was simulated.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::plan::Plan;
use crate::run::{Options, Outcome, report, run, user};
use crate::shrink::shrink;
use crate::table::Table;
use crate::{chance, plan};

/// Lives in the gate when the code is not optimised; `make test` runs more in the profile for it.
const SEEDS: u64 = 5;
/// Moves of a life beyond the first few.
const LENGTH: u64 = 12;
/// Between two looks at the table of a soak.
const BETWEEN: Duration = Duration::from_secs(60);

fn threads() -> usize {
    let asked = number("SERIN_THREADS").and_then(|threads| usize::try_from(threads).ok());
    let cores = || std::thread::available_parallelism().map_or(2, usize::from);
    asked.unwrap_or_else(cores).clamp(1, 16)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn length() -> u64 {
    number("SERIN_LENGTH").unwrap_or(LENGTH)
}

fn failure(plan: &Plan, outcome: &Outcome) -> String {
    let (small, of_small) = shrink(plan, outcome);
    format!(
        "{}\n`SERIN_SEED={} SERIN_LENGTH={} cargo test -p serin --test sim no_life` shows all of it, {} moves instead of {}.",
        report(&small, &of_small),
        plan.seed,
        length(),
        plan.moves.len(),
        small.moves.len(),
    )
}

#[test]
fn no_life_breaks_a_law() {
    if let Some(seed) = number("SERIN_SEED") {
        let plan = chance::plan(seed, length());
        let outcome = run(&plan, &Options::default());
        println!("{}", report(&plan, &outcome));
        assert!(outcome.broken.is_none(), "{}", failure(&plan, &outcome));
        return;
    }
    let first = number("SERIN_FIRST").unwrap_or(0);
    live(Table::from(first), number("SERIN_SEEDS").unwrap_or(SEEDS), None);
}

/// Set once somebody wants an end, by SIGINT or SIGTERM.
fn interrupted() -> &'static AtomicBool {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt()).unwrap();
            let mut terminate = signal(SignalKind::terminate()).unwrap();
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            println!("the lives that are under way come to their end");
            INTERRUPTED.store(true, Ordering::Relaxed);
        });
    });
    &INTERRUPTED
}

/// `make soak`: as many lives more, or lives until somebody interrupts it, counted in a file together with those of before.
#[test]
fn a_soak_goes_on_where_it_was() {
    let Some(path) = std::env::var_os("SERIN_SOAK").map(PathBuf::from) else {
        println!("skipped: SERIN_SOAK names no file; make soak does");
        return;
    };
    live(Table::load(&path), number("SERIN_SEEDS").unwrap_or(u64::MAX), Some(&path));
}

/// Lives so many seeds from the table's next on, and fails if one of them breaks a law.
fn live(mut table: Table, seeds: u64, path: Option<&Path>) {
    let (first, last) = (table.next, table.next.saturating_add(seeds));
    let stop = path.map(|_| interrupted());
    let stopped = || stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
    let wanted = number("SERIN_FAILURES").unwrap_or(1);
    let next = AtomicU64::new(first);
    let broken = AtomicU64::new(0);
    let mut failures = BTreeMap::new();
    table.built(length());
    std::thread::scope(|scope| {
        let (tell, lived) = mpsc::sync_channel(2 * threads());
        for _ in 0..threads() {
            let (tell, next, broken, stopped) = (tell.clone(), &next, &broken, &stopped);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last || broken.load(Ordering::Relaxed) >= wanted || stopped() {
                        return;
                    }
                    let plan = chance::plan(seed, length());
                    let outcome = run(&plan, &Options::default());
                    broken.fetch_add(u64::from(outcome.broken.is_some()), Ordering::Relaxed);
                    if tell.send((seed, plan, outcome)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        // Lives end in any order and are counted in that of their seeds.
        let mut ended = BTreeMap::new();
        let (mut began, mut shown) = (std::time::Instant::now(), std::time::Instant::now());
        for (seed, plan, outcome) in lived {
            ended.insert(seed, (plan, outcome));
            while let Some((plan, outcome)) = ended.remove(&table.next) {
                table.add(table.next, &outcome);
                if outcome.broken.is_some() {
                    failures.insert(table.next, (plan, outcome));
                }
                table.next += 1;
            }
            table.pass(began.elapsed());
            began = std::time::Instant::now();
            if let Some(path) = path.filter(|_| shown.elapsed() > BETWEEN) {
                table.save(path);
                table.print();
                shown = std::time::Instant::now();
            }
        }
        // A life that broke a law ends the others early: they are lived again next time, this one is counted.
        for (seed, (plan, outcome)) in ended.into_iter().filter(|(_, (_, o))| o.broken.is_some()) {
            failures.insert(seed, (plan, outcome));
        }
    });
    if let Some(path) = path {
        table.save(path);
    }
    table.print();
    if wanted > 1 {
        for (seed, (_, outcome)) in &failures {
            println!("seed {seed}: {:?}", outcome.broken);
        }
    }
    if let Some((_, (plan, outcome))) = failures.first_key_value() {
        panic!("{}", failure(plan, outcome));
    }
}

/// Lives that once broke a law, and why.
const REGRESSIONS: [(u64, &str); 3] = [
    (478, "a deletion waited for the endpoints of a Service that nobody brings back"),
    (1449, "a list of the past looked like a way back, and a rejected version like a new one"),
    (2011, "blue/green waited for requests that only its route would have brought"),
];

/// The same of wide lives.
const WIDE_REGRESSIONS: [(u64, &str); 7] = [
    (10, "a canary without traffic was held for requests that could not come"),
    (309, "a version was judged by what the one before had done"),
    (765, "a conflict made the operator ask its hooks again"),
    (813, "the shortest time with traffic began before the hooks had answered"),
    (1913, "a rollback that came too late to keep a version off the primary did not say so"),
    (2321, "the shortest time with traffic did not begin again with the route"),
    (2628, "the route came seconds after the decision, which the law did not know"),
];

#[test]
fn no_life_that_broke_a_law_breaks_it_again() {
    let first = REGRESSIONS.map(|(seed, why)| (chance::first_kinds(seed, LENGTH), why));
    let wide = WIDE_REGRESSIONS.map(|(seed, why)| (chance::wide(seed, LENGTH), why));
    for (plan, why) in first.into_iter().chain(wide) {
        let outcome = run(&plan, &Options::default());
        assert!(outcome.broken.is_none(), "once: {why}\n{}", failure(&plan, &outcome));
    }
}

#[test]
fn a_life_is_the_same_each_time() {
    for seed in 0..number("SERIN_TWICE").unwrap_or(3) {
        let plan = chance::plan(seed, length());
        let (one, other) = (run(&plan, &Options::default()), run(&plan, &Options::default()));
        if let Some(at) =
            (0..one.history.len()).find(|at| one.history.get(*at) != other.history.get(*at))
        {
            panic!(
                "seed {seed}, line {at}:\n{}\n{:#?}\n{:#?}",
                one.history[at.saturating_sub(12)..at].join("\n"),
                one.history.get(at),
                other.history.get(at)
            );
        }
        assert_eq!(one.digest, other.digest, "seed {seed}: the calls differ");
        assert_eq!(one.history, other.history);
    }
}

#[test]
fn the_smallest_world_promotes_what_is_healthy_and_takes_back_what_is_not() {
    for (quality, phase) in [(plan::Quality::Healthy, "Succeeded"), (plan::Quality::Bad, "Failed")]
    {
        let plan = Plan {
            seed: 1,
            replicas: 1,
            canaries: vec![plan::Shape::small()],
            moves: vec![user(30, 0, plan::Act::Release(quality))],
        };
        let outcome = run(&plan, &Options::default());
        assert_eq!(outcome.broken, None, "{}", report(&plan, &outcome));
        let ended = outcome.history.iter().any(|line| line.contains(&format!("app0 {phase} ")));
        assert!(ended && outcome.releases == 1, "{}", report(&plan, &outcome));
    }
}
