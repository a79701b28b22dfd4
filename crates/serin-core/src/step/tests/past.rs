//! Reads of the past, and objects that were made anew: which version of the target a decision may be about.

use super::world::{World, canary};
use crate::model::Phase;

/// At rest after `s1:v2` was found to be bad, and the target as it was before.
fn rejected() -> (World, super::world::Side) {
    let mut world = canary().resting();
    let before = world.target.clone().unwrap();
    world.failing.insert("s1:v2".into());
    world.push("s1:v2");
    world.until(Phase::Failed);
    world.run(20);
    world.take_log();
    (world, before)
}

fn code(world: &World) -> String {
    world.canary.status.last_reason.as_ref().map_or(String::new(), |reason| reason.code.clone())
}

/// Life 1449 of the simulation.
#[test]
fn a_read_of_the_past_is_no_way_back() {
    let (mut world, before) = rejected();
    let now = world.target.replace(before);
    world.run(5);
    assert_eq!(world.canary.status.last_applied_spec, "s1:v2");
    assert_eq!(code(&world), "CannotSee");
    world.target = now;
    world.run(50);
    assert_eq!(world.canary.status.phase, Some(Phase::Failed));
    let log = world.take_log();
    assert!(!log.contains("New revision"), "{log}");
}

#[test]
fn what_the_api_server_stands_by_is_believed() {
    let (mut world, before) = rejected();
    world.confirmed = true;
    world.target = Some(before);
    world.run(5);
    assert_eq!(world.canary.status.last_applied_spec, "s1:v1");
    world.confirmed = false;
    world.push("s1:v2");
    world.until(Phase::Progressing);
}

#[test]
fn a_target_that_was_made_anew_begins_anew() {
    let (mut world, before) = rejected();
    world.target = Some(before);
    world.target.as_mut().unwrap().uid = "another".into();
    world.run(5);
    assert_eq!(world.canary.status.last_applied_spec, "s1:v1", "a way back");
    assert_eq!(world.canary.status.target_uid.as_deref(), Some("another"));
}

/// The number of its generation is the one that was compared last, by chance.
#[test]
fn a_target_that_was_made_anew_is_released_and_not_renamed() {
    let mut world = canary().resting();
    let target = world.target.as_mut().unwrap();
    target.uid = "another".into();
    target.revision = "s1:v3".into();
    world.until(Phase::Progressing);
    world.until(Phase::Succeeded);
    assert_eq!(world.primary.as_ref().unwrap().revision, "s1:v3");
}

/// Written before uids were kept: it goes by the generation alone, and keeps the uid from then on.
#[test]
fn a_status_without_a_uid_goes_on() {
    let (mut world, before) = rejected();
    world.canary.status.target_uid = None;
    world.run(2);
    assert_eq!(world.canary.status.target_uid.as_deref(), Some("target"));
    assert_eq!(world.canary.status.phase, Some(Phase::Failed));
    world.canary.status.target_uid = None;
    world.target = Some(before);
    world.run(2);
    assert_eq!(world.canary.status.last_applied_spec, "s1:v1");
}
