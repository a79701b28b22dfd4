//! How seldom a status is written that says the same wait in other words.

use jiff::Timestamp;

use super::world::{World, canary, later};
use crate::model::*;
use crate::observed::*;
use crate::plan::{Plan, Step};
use crate::step::step;

fn decide(world: &World, seen: &Observed, now: Timestamp) -> Plan {
    match step(&world.canary, seen, now, &world.settings) {
        Step::Act(plan) => *plan,
        Step::Ask(checks) => panic!("asks {checks:?}"),
    }
}

/// A release whose canary has no ready pods, with the time at which that was written.
fn waiting() -> (World, Timestamp) {
    let mut world = canary().resting();
    world.push("s1:v2");
    world.until(Phase::Progressing);
    let plan = decide(&world, &saying(&world, "0 of 2 pods are available"), world.now);
    assert_eq!(plan.explanation.reason.code(), "CanaryNotReady");
    world.canary.status = plan.status;
    let written = world.now;
    (world, written)
}

fn saying(world: &World, why: &str) -> Observed {
    let mut seen = world.observe();
    let Seen::Present(target) = &mut seen.target else { panic!("no target") };
    target.readiness = Readiness::Progressing(why.to_owned());
    target.available_replicas = 0;
    seen
}

#[test]
fn other_words_for_one_wait_are_written_when_the_last_ones_have_stood_for_a_while() {
    let (world, written) = waiting();
    let status = &world.canary.status;
    let other = saying(&world, "1 of 2 pods are available");
    for secs in 0..10 {
        let plan = decide(&world, &other, later(written, secs));
        assert_eq!(&plan.status, status, "after {secs} s");
        assert!(plan.next <= later(written, 10), "after {secs} s");
        assert!(plan.explanation.message.contains("1 of 2"), "the log has the present");
    }
    let now = later(written, 10);
    let plan = decide(&world, &other, now);
    let said = plan.status.last_reason.as_ref().unwrap();
    assert!(said.message.contains("1 of 2"), "{}", said.message);
    assert_eq!(said.time, Some(now));
    let ready = plan.status.conditions.iter().find(|one| one.kind == "Ready").unwrap();
    assert!(ready.message.contains("1 of 2"), "{}", ready.message);
}

#[test]
fn what_is_written_anyway_takes_the_other_words_along() {
    let (world, written) = waiting();
    let now = later(written, 1);
    // The target was scaled: its generation is written at once.
    let mut seen = saying(&world, "1 of 2 pods are available");
    if let Seen::Present(target) = &mut seen.target {
        target.generation += 1;
    }
    let plan = decide(&world, &seen, now);
    assert!(plan.status.last_reason.unwrap().message.contains("1 of 2"));
    // Another reason is another wait.
    let mut blind = saying(&world, "1 of 2 pods are available");
    blind.target = Seen::Unreadable("timed out".into());
    let plan = decide(&world, &blind, now);
    assert_ne!(&plan.status, &world.canary.status);
    // A clock that was set back keeps nothing back.
    let plan = decide(&world, &saying(&world, "2 of 2 pods start"), later(written, -60));
    assert!(plan.status.last_reason.unwrap().message.contains("2 of 2"));
}
