//! The searches of the gate and their figures.

use std::io::Write as _;

use serde_json::json;

use crate::moves::State;
use crate::search::{Found, search};
use crate::world::{World, template};
use serin_core::model::Canary;
use serin_mutants::{Bug, FoundBy, Switched};

fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn check(name: &str, canary: &Canary, root: State) {
    let faults = root.faults_left;
    let Found { states, steps, depth, broken } = search(canary, root);
    say(&format!(
        "{name}, at most {faults} faults: {states} states, {steps} steps, the farthest after {depth}"
    ));
    if let Some(broken) = broken {
        panic!("law {}: {}\n{}", broken.law, broken.what, broken.story);
    }
}

/// Two faults, and two releases, take minutes: for whoever has the time.
#[expect(clippy::disallowed_methods, reason = "how far to search is for whoever runs it to say")]
fn all() -> bool {
    std::env::var("SERIN_STATES").is_ok_and(|states| states == "all")
}

/// From a plain workload to rest.
fn adoption(faults: u8) -> State {
    State::new(World::plain(), faults, 0)
}

/// One release from rest to rest.
fn release(canary: &Canary, faults: u8) -> State {
    State::new(World::plain(), faults, 1).rested(canary)
}

/// One release, and another that the user brings, or the way back, whenever it may come.
fn change_of_mind(canary: &Canary, faults: u8) -> State {
    State::new(World::plain(), faults, 2).rested(canary)
}

#[test]
fn every_way_through_a_release_keeps_the_laws() {
    let canary = template(json!({}));
    check("a release", &canary, release(&canary, 2));
}

#[test]
fn every_way_through_two_releases_keeps_the_laws() {
    let canary = template(json!({}));
    check("a release that changes on its way", &canary, change_of_mind(&canary, 1));
}

#[test]
fn every_way_through_an_adoption_keeps_the_laws() {
    let canary = template(json!({}));
    check("an adoption", &canary, adoption(2));
    check("an adoption from Flagger", &canary, State::new(World::of_flagger(), 2, 1));
}

#[test]
fn every_way_back_in_steps_keeps_the_laws() {
    let canary = template(json!({"stepWeightPromotion": 20}));
    check("a promotion in steps", &canary, release(&canary, 1));
}

#[test]
fn every_way_with_old_lists_keeps_the_laws() {
    let canary = template(json!({}));
    let faults = if all() { 2 } else { 1 };
    let stale = State::with_stale_lists;
    check("an adoption with old lists", &canary, stale(adoption(faults)));
    let flaggers = State::new(World::of_flagger(), faults, 1);
    check("an adoption from Flagger with old lists", &canary, stale(flaggers));
    check("a release with old lists", &canary, stale(release(&canary, faults)));
    if all() {
        let changes = stale(change_of_mind(&canary, 1));
        check("a release that changes on its way with old lists", &canary, changes);
    }
}

/// The searches of the gate, the smaller ones first; the first that sees the bug ends it.
fn find(bug: &Bug) -> Option<String> {
    let canary = template(json!({}));
    let worlds = [
        ("an adoption", adoption(1)),
        ("an adoption from Flagger", State::new(World::of_flagger(), 0, 0)),
        ("a release", release(&canary, 0)),
        ("a release", release(&canary, 1)),
        ("two releases", change_of_mind(&canary, 0)),
        ("a release", release(&canary, 2)),
    ];
    let _switched = Switched::on(bug);
    let mut states = 0;
    for (name, root) in worlds {
        let faults = root.faults_left;
        let found = search(&canary, root);
        states += found.states;
        if let Some(broken) = found.broken {
            let (law, what) = (broken.law, broken.what);
            let steps = broken.story.lines().filter(|line| !line.starts_with(' ')).count();
            return Some(format!(
                "{name}, {faults} faults, {states} states, {steps} moves | law {law}: {what}"
            ));
        }
    }
    None
}

#[test]
#[ignore = "needs the copy of the source with the bugs in it: make mutants"]
fn every_deliberate_bug_is_found() {
    let mut missed = Vec::new();
    for bug in serin_mutants::found_by(FoundBy::SmallWorld).unwrap() {
        match find(&bug) {
            Some(how) => say(&format!("| {} | {} | {how} |", bug.name, bug.what)),
            None => missed.push(bug.name),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
