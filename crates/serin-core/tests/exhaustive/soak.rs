//! Walks by their seeds, on two threads, and what was walked.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::laws::Broken;
use crate::walk::{Tally, policies, walk};
use serin_mutants::Switched;

/// Walks in the gate; `make soak-core` goes on for a million releases.
const WALKS: u64 = 300;
const THREADS: usize = 2;
/// Walks within which a deliberate bug must be found.
const MUTANT_WALKS: u64 = 300;

fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

#[expect(clippy::disallowed_methods, reason = "how many walks is for whoever runs the test to say")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn table(tally: &Tally, took: std::time::Duration) {
    let rate = tally.walks as f64 / took.as_secs_f64();
    say("| what | how many |\n|---|---|");
    say(&format!("| walks | {} ({rate:.0} a second) |", tally.walks));
    say(&format!("| releases | {} |", tally.releases));
    say(&format!("| ... promoted | {} |", tally.promoted));
    say(&format!("| ... rolled back | {} |", tally.rolled_back));
    say(&format!("| moves | {} |", tally.moves));
    say(&format!("| distinct states (HyperLogLog, ±0.8 %) | {:.0} |", tally.states.estimate()));
    say(&format!("| days of cluster time | {} |", tally.virtual_secs / 86_400));
    for (name, count) in tally.users.iter().chain(&tally.faults) {
        say(&format!("| {name} | {count} |"));
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the rate is printed, and nothing is decided by it")]
fn no_walk_breaks_a_law() {
    if let Some(seed) = number("SERIN_WALK") {
        let policies = policies();
        let walked = walk(&policies, seed, &mut Tally::default());
        say(&walked.report(seed));
        assert!(walked.broken.is_none(), "{:?}", walked.broken);
        return;
    }
    let first = number("SERIN_FIRST").unwrap_or(0);
    let last = first + number("SERIN_WALKS").unwrap_or(WALKS);
    let next = AtomicU64::new(first);
    let whole = Mutex::new(Tally::default());
    let wanted = number("SERIN_FAILURES").unwrap_or(1);
    // By law and what happened: the same bug once.
    let failures = Mutex::new(BTreeMap::new());
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let (policies, mut tally) = (policies(), Tally::default());
                while (failures.lock().unwrap().len() as u64) < wanted {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last {
                        break;
                    }
                    let walked = walk(&policies, seed, &mut tally);
                    if let Some(Broken { law, what }) = &walked.broken {
                        let bug = (*law, what.clone());
                        failures.lock().unwrap().entry(bug).or_insert((seed, walked.report(seed)));
                    }
                }
                whole.lock().unwrap().join(&tally);
            });
        }
    });
    table(&whole.into_inner().unwrap(), began.elapsed());
    let failures = failures.into_inner().unwrap();
    for (seed, report) in failures.values() {
        say(&format!(
            "{report}\n`SERIN_WALK={seed} cargo test -p serin-core --test exhaustive no_walk` walks it again."
        ));
    }
    assert!(failures.is_empty(), "broken: {:?}", failures.keys());
}

/// Bugs that the search finds as well: of order, of fences, of evidence, of shares, of endpoints, of memory.
const FOR_WALKS: [&str; 10] = [
    "ActBeforeRecord",
    "ActUnrecorded",
    "UnfencedRecord",
    "DoubleStep",
    "NoDataPasses",
    "ForgetRejected",
    "IgnoreGuard",
    "ForgetDrain",
    "KeepLostCanary",
    "ReleaseOnGeneration",
];

#[test]
#[ignore = "needs the copy of the source with the bugs in it: make mutants"]
fn walks_find_deliberate_bugs_too() {
    let policies = policies();
    let mut bugs = serin_mutants::all().unwrap();
    bugs.retain(|bug| FOR_WALKS.contains(&bug.name.as_str()));
    assert_eq!(bugs.len(), FOR_WALKS.len());
    let mut missed = Vec::new();
    for bug in &bugs {
        let _switched = Switched::on(bug);
        let found = (0..MUTANT_WALKS).find_map(|seed| {
            let broken = walk(&policies, seed, &mut Tally::default()).broken?;
            Some((seed, broken))
        });
        match found {
            Some((seed, broken)) => {
                let (name, law, what) = (&bug.name, broken.law, broken.what);
                say(&format!("| {name} | walk {seed} | law {law}: {what} |"));
            }
            None => missed.push(&bug.name),
        }
    }
    assert!(missed.is_empty(), "not found within {MUTANT_WALKS} walks: {missed:?}");
}
