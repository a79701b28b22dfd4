//! Deliberate bugs of the operator, one at a time: the lives of seed after seed must find each within its budget.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serin_mutants::{Bug, FoundBy, Switched};

use crate::plan::Plan;
use crate::run::{Options, report, run};
use crate::{chance, crossings, provoke};

const LENGTH: u64 = 12;
const THREADS: usize = 2;
/// Lives that each bug is looked for in; SERIN_MUTANT_SEEDS says otherwise.
const BUDGET: u64 = 100;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The life in which each was found first, so that the gate need not search.
const KNOWN: [(&str, u64); 18] = [
    ("WatchWhole", 0),
    ("RepairToHundred", 0),
    ("TouchTarget", 0),
    ("TellTwice", 5),
    ("DropFinalizerEarly", 1),
    ("RestoreRouteFirst", 1),
    ("UnfencedScale", 3),
    ("ReadErrorIsChange", 5),
    ("GatesOpen", 9),
    ("PromoteWhateverIsThere", 11),
    ("RollBackAfterHook", 15),
    ("ActOnStaleCache", 19),
    ("SpendAlphaAgain", 19),
    ("LeadWithoutLease", 24),
    ("BlindForEver", 23),
    ("BlameForOthers", 86),
    ("RetryConflict", 151),
    ("RaiseLate", 365),
];

/// Seeds to be tried, the known one first; never more than the budget.
fn seeds(bug: &Bug, budget: u64) -> impl Iterator<Item = u64> {
    let fresh = std::env::var_os("SERIN_MUTANT_FRESH").is_some();
    let of = |(known, seed): &(&str, u64)| (*known == bug.name && !fresh).then_some(*seed);
    let known = KNOWN.iter().find_map(of);
    let others = (0..budget).filter(move |seed| Some(*seed) != known);
    known.into_iter().chain(others).take(usize::try_from(budget).unwrap_or(usize::MAX))
}

/// Half of the lives are such in which bugs have it easy.
fn life(seed: u64) -> Plan {
    match seed % 4 {
        0 | 2 => chance::plan(seed, LENGTH),
        1 => provoke::plan(seed, LENGTH),
        _ => crossings::plan(seed),
    }
}

/// The first life that breaks a law with the bug and keeps them all without it, and which law that is.
fn find(bug: &Bug, budget: u64) -> Option<(u64, String)> {
    seeds(bug, budget).find_map(|seed| {
        let plan = life(seed);
        let switched = Switched::on(bug);
        let broken = run(&plan, &Options::default()).broken?;
        drop(switched);
        // A life that breaks a law anyway shows nothing.
        if let Some(anyway) = run(&plan, &Options::default()).broken {
            println!(
                "life {seed} breaks a law without {}: {}: {}",
                bug.name, anyway.law, anyway.what
            );
            return None;
        }
        Some((seed, format!("{}: {}", broken.law, broken.what)))
    })
}

#[test]
fn no_life_that_provokes_breaks_a_law_without_a_bug() {
    let lives = number("SERIN_MUTANT_SEEDS").map_or(4, |budget| budget.min(100));
    for seed in (0..lives).map(|life| 2 * life + 1) {
        let plan = life(seed);
        let outcome = run(&plan, &Options::default());
        assert!(outcome.broken.is_none(), "life {seed}: {}", report(&plan, &outcome));
    }
}

#[test]
#[ignore = "needs the copy of the source with the bugs in it: make mutants"]
fn every_deliberate_bug_is_found() {
    let budget = number("SERIN_MUTANT_SEEDS").unwrap_or(BUDGET);
    let mut bugs = serin_mutants::found_by(FoundBy::Lives).unwrap();
    if let Ok(name) = std::env::var("SERIN_MUTANT") {
        bugs = serin_mutants::all().unwrap();
        bugs.retain(|bug| bug.name == name);
    }
    let next = AtomicUsize::new(0);
    let found = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let how = find(bug, budget);
                    found.lock().unwrap().insert(&bug.name, (&bug.what, how));
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    let mut table =
        String::from("| deliberate bug | what it does | found in | law |\n|---|---|---|---|\n");
    for (name, (what, how)) in &found {
        match how {
            Some((seed, law)) => writeln!(table, "| {name} | {what} | life {seed} | {law} |"),
            None => writeln!(table, "| {name} | {what} | not in {budget} lives | |"),
        }
        .unwrap();
    }
    println!("{table}");
    let missed: Vec<_> =
        found.iter().filter(|(_, (_, how))| how.is_none()).map(|(name, _)| name).collect();
    assert!(missed.is_empty(), "not found within {budget} lives: {missed:?}");
    let stale = |(name, seed): &&(&str, u64)| {
        let first = found.iter().find(|(bug, _)| bug.as_str() == *name);
        first.and_then(|(_, (_, how))| how.as_ref()).is_some_and(|(first, _)| first != seed)
    };
    let fresh = std::env::var_os("SERIN_MUTANT_FRESH").is_some();
    let stale: Vec<_> = KNOWN.iter().filter(stale).filter(|_| !fresh).collect();
    assert!(stale.is_empty(), "no longer found where KNOWN says: {stale:?}; see the table above");
}
