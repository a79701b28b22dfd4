//! Deliberate bugs of the operator, one at a time: the lives of seed after seed must find each within its budget.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serin_core::mutant::{Mutant, Shows, Switched};

use crate::plan::Plan;
use crate::run::{Options, report, run};
use crate::{chance, crossings, provoke};

const LENGTH: u64 = 12;
const THREADS: usize = 2;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Where each was found first, so that the gate need not search: a seed that has gone stale makes it slower, not wrong.
const KNOWN: [(Mutant, u64); 18] = [
    (Mutant::WatchWhole, 0),
    (Mutant::RepairToHundred, 0),
    (Mutant::TouchTarget, 0),
    (Mutant::TellTwice, 1),
    (Mutant::DropFinalizerEarly, 1),
    (Mutant::RestoreRouteFirst, 1),
    (Mutant::UnfencedScale, 3),
    (Mutant::ReadErrorIsChange, 5),
    (Mutant::GatesOpen, 9),
    (Mutant::PromoteWhateverIsThere, 11),
    (Mutant::RollBackAfterHook, 15),
    (Mutant::ActOnStaleCache, 19),
    (Mutant::SpendAlphaAgain, 19),
    (Mutant::LeadWithoutLease, 24),
    (Mutant::BlindForEver, 23),
    (Mutant::BlameForOthers, 86),
    (Mutant::RetryConflict, 151),
    (Mutant::RaiseLate, 365),
];

/// Seeds to be tried, the known one first; never more than the budget.
fn seeds(mutant: Mutant, budget: u64) -> impl Iterator<Item = u64> {
    let fresh = std::env::var_os("SERIN_MUTANT_FRESH").is_some();
    let of = |(known, seed): &(Mutant, u64)| (*known == mutant && !fresh).then_some(*seed);
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
fn find(mutant: Mutant, budget: u64) -> Option<(u64, String)> {
    seeds(mutant, budget).find_map(|seed| {
        let plan = life(seed);
        let switched = Switched::on(mutant);
        let broken = run(&plan, &Options::default()).broken?;
        drop(switched);
        // A life that breaks a law anyway shows nothing.
        if let Some(anyway) = run(&plan, &Options::default()).broken {
            println!(
                "life {seed} breaks a law without {mutant:?}: {}: {}",
                anyway.law, anyway.what
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
fn every_deliberate_bug_is_found() {
    let Some(budget) = number("SERIN_MUTANT_SEEDS") else {
        println!("skipped: SERIN_MUTANT_SEEDS is not set; make simulation and make mutants set it");
        return;
    };
    let all = Mutant::ALL.iter().copied();
    let wanted: Vec<Mutant> = match std::env::var("SERIN_MUTANT") {
        Ok(name) => all.filter(|mutant| format!("{mutant:?}") == name).collect(),
        // The search of the small world shows the others.
        Err(_) => all.filter(|mutant| mutant.shows() == Shows::InLives).collect(),
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
    let mut table =
        String::from("| deliberate bug | what it does | found in | law |\n|---|---|---|---|\n");
    for (mutant, how) in &found {
        let what = mutant.what();
        match how {
            Some((seed, law)) => writeln!(table, "| {mutant:?} | {what} | life {seed} | {law} |"),
            None => writeln!(table, "| {mutant:?} | {what} | not in {budget} lives | |"),
        }
        .unwrap();
    }
    println!("{table}");
    let missed: Vec<&Mutant> =
        found.iter().filter(|(_, how)| how.is_none()).map(|(mutant, _)| mutant).collect();
    assert!(missed.is_empty(), "not found within {budget} lives: {missed:?}");
}
