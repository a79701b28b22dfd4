//! Lives by their seeds: how many, on two threads, and what was simulated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::plan::Plan;
use crate::run::{Options, Outcome, report, run, user};
use crate::shrink::shrink;
use crate::{chance, plan};

/// Lives in the gate when the code is not optimised; `make test` runs more in the profile for it.
const SEEDS: u64 = 5;
/// Moves of a life beyond the first few.
const LENGTH: u64 = 12;
const THREADS: usize = 2;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn length() -> u64 {
    number("SERIN_LENGTH").unwrap_or(LENGTH)
}

/// What was simulated.
#[derive(Default)]
struct Table {
    lives: u64,
    releases: u64,
    writes: u64,
    virtual_time: Duration,
    states: BTreeSet<u64>,
    faults: BTreeMap<&'static str, u64>,
}

impl Table {
    fn add(&mut self, outcome: &Outcome) {
        self.lives += 1;
        self.releases += outcome.releases;
        self.writes += outcome.writes;
        self.virtual_time += outcome.virtual_time;
        self.states.extend(&outcome.states);
        for (fault, count) in &outcome.faults {
            *self.faults.entry(fault).or_default() += count;
        }
    }

    fn print(&self, took: Duration) {
        let rate = self.lives as f64 / took.as_secs_f64();
        let hours = self.virtual_time.as_secs() / 3600;
        println!("| what | how many |");
        println!("|---|---|");
        println!("| lives | {} ({rate:.1} a second) |", self.lives);
        println!("| releases | {} |", self.releases);
        println!("| hours of cluster time | {hours} |");
        println!("| writes of the operator | {} |", self.writes);
        println!("| distinct states of a canary | {} |", self.states.len());
        for (fault, count) in &self.faults {
            println!("| {fault} | {count} |");
        }
    }
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
    let last = first + number("SERIN_SEEDS").unwrap_or(SEEDS);
    let wanted = number("SERIN_FAILURES").unwrap_or(1);
    let next = AtomicU64::new(first);
    let table = Mutex::new(Table::default());
    let failures = Mutex::new(BTreeMap::new());
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last || failures.lock().unwrap().len() as u64 >= wanted {
                        return;
                    }
                    let plan = chance::plan(seed, length());
                    let outcome = run(&plan, &Options::default());
                    table.lock().unwrap().add(&outcome);
                    if outcome.broken.is_some() {
                        failures.lock().unwrap().insert(seed, (plan, outcome));
                    }
                }
            });
        }
    });
    table.lock().unwrap().print(began.elapsed());
    let failures = failures.into_inner().unwrap();
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
const REGRESSIONS: [(u64, &str); 1] =
    [(478, "a deletion waited for the endpoints of a Service that nobody brings back")];

#[test]
fn no_life_that_broke_a_law_breaks_it_again() {
    for (seed, why) in REGRESSIONS {
        let plan = chance::plan(seed, LENGTH);
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
