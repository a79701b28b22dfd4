//! What the primary runs though nobody decided so, or nobody was told: copies that arrive late, and what Flagger left.

use super::world::{Side, World, canary};
use crate::model::{HookKind, Phase, Status};

fn code(world: &World) -> String {
    world.canary.status.last_reason.as_ref().map_or(String::new(), |reason| reason.code.clone())
}

fn promoted(world: &World) -> &str {
    &world.canary.status.last_promoted_spec
}

/// `s1:v2` was sent to the primary and runs there, and the operator sees what ran before. Gives back what runs.
fn copied_unseen(mut world: World) -> (World, Side) {
    world = world.resting();
    let before = world.primary.clone();
    world.push("s1:v2");
    world.until(Phase::Promoting);
    assert_eq!(world.primary.as_ref().unwrap().revision, "s1:v2");
    let now = std::mem::replace(&mut world.primary, before).unwrap();
    world.take_log();
    (world, now)
}

/// Walk 22,676 of the decision core.
#[test]
fn a_way_back_from_a_copy_that_arrived_unseen_is_released() {
    let (mut world, now) = copied_unseen(canary());
    world.push("s1:v1");
    world.run(3);
    assert_eq!((world.canary.status.phase, promoted(&world)), (Some(Phase::Succeeded), "s1:v1"));
    world.primary = Some(now);
    world.until(Phase::Progressing);
    assert_eq!(promoted(&world), "s1:v2");
    let log = world.take_log();
    assert!(log.contains("Succeeded 0 (route 0) CopyArrived"), "{log}");
    assert!(log.contains("The primary runs s1:v2, not s1:v1"), "{log}");
    world.until(Phase::Succeeded);
    assert_eq!(
        (world.primary.as_ref().unwrap().revision.as_str(), promoted(&world)),
        ("s1:v1", "s1:v1")
    );
    assert!(world.canary.status.sent.is_empty());
    world.run(30);
    assert_eq!(world.canary.status.phase, Some(Phase::Succeeded));
}

#[test]
fn such_a_way_back_is_approved_by_whoever_approves_releases() {
    let (mut world, now) = copied_unseen(canary().hook(HookKind::ConfirmRollout));
    let refuses = crate::observed::Answer::Refused("not now".into());
    world.hooks.insert(HookKind::ConfirmRollout, refuses);
    world.push("s1:v1");
    world.run(3);
    world.primary = Some(now);
    world.until(Phase::Waiting);
    world.hooks.clear();
    world.until(Phase::Succeeded);
    assert_eq!(promoted(&world), "s1:v1");
}

/// The copy arrives in the middle of the next release: what the user can go back to is what the primary runs.
#[test]
fn a_copy_that_arrives_in_the_next_release_is_what_there_is_to_go_back_to() {
    for back in ["s1:v1", "s1:v2"] {
        let (mut world, now) = copied_unseen(canary());
        world.push("s1:v3");
        world.until(Phase::Progressing);
        world.primary = Some(now);
        world.run(2);
        world.push(back);
        world.run(2);
        let ends = back == "s1:v2";
        assert_eq!(world.canary.status.phase == Some(Phase::Succeeded), ends, "{}", world.log);
        world.until(Phase::Succeeded);
        assert_eq!(
            (world.primary.as_ref().unwrap().revision.as_str(), promoted(&world)),
            (back, back)
        );
    }
}

/// Rejected stays rejected, whatever else arrives.
#[test]
fn a_copy_that_arrives_after_a_rejection_releases_nothing() {
    let (mut world, now) = copied_unseen(canary());
    world.failing.insert("s1:v3".into());
    world.push("s1:v3");
    world.run(2);
    world.until(Phase::Failed);
    world.run(20);
    world.primary = Some(now);
    world.take_log();
    world.run(30);
    assert_eq!((world.canary.status.phase, promoted(&world)), (Some(Phase::Failed), "s1:v2"));
    assert_eq!(world.canary.status.last_applied_spec, "s1:v3");
    let log = world.take_log();
    assert!(!log.contains("New revision"), "{log}");
}

/// It was sent, and never came: what the primary ran before is no sign of it.
#[test]
fn a_primary_of_the_past_is_no_copy_that_arrived() {
    let (mut world, _) = copied_unseen(canary());
    world.push("s1:v1");
    world.run(20);
    assert_eq!(world.canary.status.sent.len(), 1);
    let primary = world.primary.as_mut().unwrap();
    primary.generation -= 1;
    primary.revision = "s1:v2".into();
    world.run(5);
    assert_eq!((world.canary.status.phase, promoted(&world)), (Some(Phase::Succeeded), "s1:v1"));
    assert_eq!(code(&world), "Reverted");
}

#[test]
fn what_is_remembered_of_lost_copies_is_bounded() {
    let mut world = canary().resting();
    let before = world.primary.clone();
    for number in 2..12 {
        world.push(&format!("s1:v{number}"));
        world.until(Phase::Progressing);
        world.until(Phase::Promoting);
        world.primary.clone_from(&before);
    }
    assert_eq!(world.canary.status.sent.len(), 4);
}

/// As Flagger left it: `s1:v1` on the target, and a primary that runs something else.
fn found_beside() -> World {
    let mut world = canary().resting();
    world.canary.status = Status {
        phase: Some(Phase::Succeeded),
        last_applied_spec: "5f56684589".into(),
        last_promoted_spec: "7d76684581".into(),
        ..Status::default()
    };
    let primary = world.primary.as_mut().unwrap();
    primary.revision = String::new();
    primary.generation = 1;
    world.run(5);
    world
}

/// It differs from the primary, so it was never promoted: a way back to it is a release like any other.
#[test]
fn what_flagger_left_beside_another_primary_was_not_promoted() {
    let mut world = found_beside();
    let status = &world.canary.status;
    assert_eq!(
        (status.phase, status.last_applied_spec.as_str()),
        (Some(Phase::Succeeded), "s1:v1")
    );
    assert_eq!(status.last_promoted_spec, "s1:flagger-7d76684581");
    let log = world.take_log();
    assert!(log.contains("though it differs from its primary"), "{log}");
    assert!(!log.contains("New revision"), "{log}");
    world.push("s1:v2");
    world.until(Phase::Progressing);
    world.push("s1:v1");
    world.run(2);
    assert_eq!(world.canary.status.phase, Some(Phase::Progressing));
    let log = world.take_log();
    assert!(log.contains("Progressing 0 (route 0) Restarted"), "{log}");
    world.until(Phase::Succeeded);
    assert_eq!(
        (world.primary.as_ref().unwrap().revision.as_str(), promoted(&world)),
        ("s1:v1", "s1:v1")
    );
}

/// A gate that nobody opened: whoever goes back before it finds the world as it was.
#[test]
fn a_way_back_before_the_gate_leaves_it_as_flagger_did() {
    let mut world = found_beside();
    world = world.hook(HookKind::ConfirmRollout);
    let refuses = crate::observed::Answer::Refused("not now".into());
    world.hooks.insert(HookKind::ConfirmRollout, refuses);
    world.push("s1:v2");
    world.until(Phase::Waiting);
    world.push("s1:v1");
    world.run(20);
    assert_eq!(
        (world.canary.status.phase, code(&world)),
        (Some(Phase::Initialized), "Reverted".into())
    );
    assert_eq!(world.primary.as_ref().unwrap().revision, "");
}

/// At rest with one config, and another one under analysis.
fn new_config(mut world: World) -> World {
    world.configs.insert("configmap/app".into(), "aa".into());
    world = world.resting();
    world.configs.insert("configmap/app".into(), "bb".into());
    world.until(Phase::Progressing);
    world.take_log();
    world
}

fn runs(world: &World) -> &str {
    &world.primary.as_ref().unwrap().configs["configmap/app"]
}

/// The primary's revision is the same before and after: what says that the copy arrived are its configs.
#[test]
fn a_config_whose_copy_failed_is_copied_again() {
    let mut world = new_config(canary());
    while world.canary.status.phase != Some(Phase::Promoting) {
        if world.canary.status.canary_weight == 50 {
            // The status is written, and the copy is not.
            world.crash_after = Some(1);
        }
        world.tick();
    }
    assert_eq!(runs(&world), "aa", "{}", world.log);
    world.until(Phase::Succeeded);
    assert_eq!(runs(&world), "bb", "{}", world.log);
    assert_eq!(world.canary.status.promoted_configs, Some(world.configs.clone()));
}

#[test]
fn a_way_back_from_a_config_that_arrived_unseen_is_released() {
    let mut world = new_config(canary());
    let before = world.primary.clone();
    world.until(Phase::Promoting);
    let now = std::mem::replace(&mut world.primary, before);
    world.configs.insert("configmap/app".into(), "aa".into());
    world.run(3);
    assert_eq!(world.canary.status.phase, Some(Phase::Succeeded));
    world.primary = now;
    world.until(Phase::Progressing);
    assert!(world.log.contains("its configs before"), "{}", world.log);
    world.until(Phase::Succeeded);
    assert_eq!(runs(&world), "aa");
}

/// A rejected config has the revision of the promoted one.
#[test]
fn a_primary_is_not_made_anew_with_a_rejected_config() {
    let mut world = new_config(canary());
    world.metric = Some(crate::observed::Answer::Value(7.0));
    world.until(Phase::Failed);
    world.run(20);
    world.primary = None;
    world.run(5);
    assert_eq!((code(&world).as_str(), world.primary.is_none()), ("PrimaryMissing", true));
}
