//! Deliberate bugs of the operator, one at a time: the lives of seed after seed must find each within its budget.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serin_core::mutant::{Mutant, Switched};

use crate::chance;
use crate::run::{Options, run};

const LENGTH: u64 = 12;
const THREADS: usize = 2;

/// What the small world of `serin-core` cannot show: the shell, the routers, hooks, deletions. The test there finds the
/// others.
const OF_THE_SHELL: [Mutant; 9] = [
    Mutant::TellTwice,
    Mutant::RetryConflict,
    Mutant::LeadWithoutLease,
    Mutant::RepairToHundred,
    Mutant::DropFinalizerEarly,
    Mutant::RestoreRouteFirst,
    Mutant::UnfencedScale,
    Mutant::PromoteWhateverIsThere,
    Mutant::RollBackAfterHook,
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The first seed whose life breaks a law, and which.
fn find(mutant: Mutant, budget: u64) -> Option<(u64, String)> {
    let _switched = Switched::on(mutant);
    (0..budget).find_map(|seed| {
        let outcome = run(&chance::plan(seed, LENGTH), &Options::default());
        outcome.broken.map(|broken| (seed, format!("{}: {}", broken.law, broken.what)))
    })
}

#[test]
fn every_deliberate_bug_is_found() {
    let Some(budget) = number("SERIN_MUTANT_SEEDS") else {
        println!("skipped: SERIN_MUTANT_SEEDS is not set; make mutants sets it");
        return;
    };
    let wanted: Vec<Mutant> = match std::env::var("SERIN_MUTANT") {
        Ok(name) => Mutant::ALL.into_iter().filter(|m| format!("{m:?}") == name).collect(),
        Err(_) => OF_THE_SHELL.to_vec(),
    };
    let next = AtomicUsize::new(0);
    let found = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(mutant) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let how = find(*mutant, budget);
                    found.lock().unwrap().insert(*mutant, how);
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    let mut table = String::from("| deliberate bug | lives | law |\n|---|---|---|\n");
    for (mutant, how) in &found {
        match how {
            Some((seed, law)) => writeln!(table, "| {mutant:?} | {} | {law} |", seed + 1).unwrap(),
            None => writeln!(table, "| {mutant:?} | not in {budget} | |").unwrap(),
        }
    }
    println!("{table}");
    let missed: Vec<&Mutant> =
        found.iter().filter(|(_, how)| how.is_none()).map(|(mutant, _)| mutant).collect();
    assert!(missed.is_empty(), "not found within {budget} lives: {missed:?}");
}
