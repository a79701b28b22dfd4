//! The searches of the gate and their figures.

use std::io::Write as _;

use serde_json::json;

use super::moves::State;
use super::search::{Found, search};
use super::world::template;
use crate::model::Canary;

fn check(name: &str, canary: &Canary, root: State) -> Found {
    let faults = root.faults_left;
    let found = search(canary, root);
    let Found { states, steps, depth, broken } = &found;
    drop(writeln!(
        std::io::stderr(),
        "{name}, at most {faults} faults: {states} states, {steps} steps, the farthest after {depth}"
    ));
    if let Some(broken) = broken {
        panic!("law {}: {}\n{}", broken.law, broken.what, broken.story);
    }
    found
}

#[test]
fn release() {
    let canary = template(json!({}));
    for faults in 0..3 {
        check("a release", &canary, State::new(faults, 1).rested(&canary));
    }
}

#[test]
fn second() {
    let canary = template(json!({}));
    for faults in 0..2 {
        check("a release that changes", &canary, State::new(faults, 2).rested(&canary));
    }
}

#[test]
fn adoption() {
    let canary = template(json!({}));
    for faults in 0..3 {
        check("an adoption", &canary, State::new(faults, 0));
    }
}
