//! As many pods as carried the traffic, wherever it moves.

use expect_test::{Expect, expect};

use super::world::{World, canary};
use crate::model::*;
use crate::observed::Guard;

fn check(world: &mut World, expected: &Expect) {
    expected.assert_eq(&world.take_log());
}

fn scaler() -> Option<ScalerRef> {
    Some(ScalerRef { name: "hpa".into(), min_replicas: None, max_replicas: None })
}

fn scaled() -> World {
    let mut world = canary().spec(|spec| spec.scaler = scaler()).resting();
    world.primary.as_mut().unwrap().replicas = 6;
    world
}

#[test]
fn a_shrunk_primary_does_not_get_what_many_pods_have_carried() {
    let mut world = scaled();
    world.push("s1:v2");
    while world.canary.status.canary_weight < 50 {
        world.run(1);
    }
    world.target.as_mut().unwrap().replicas = 8;
    world.until(Phase::Promoting);
    world.primary.as_mut().unwrap().replicas = 2;
    world.run(6);
    assert_eq!(world.canary.status.last_reason.as_ref().unwrap().code, "CapacityShort");
    assert_eq!((world.canary.status.canary_weight, world.held), (50, Some(8)));
    world.primary.as_mut().unwrap().replicas = 8;
    world.until(Phase::Succeeded);
    world.run(2);
    assert_eq!(world.held, None, "at rest the autoscaler is free again");
    check(
        &mut world,
        &expect![[r#"
        5713s Progressing 0 (route 0) NewRevision [scale 1]
               - New revision detected! Scaling up api.develop <Info: New revision detected, progressing canary analysis.>
        5715s Progressing 0 (route 0) CanaryNotReady [hold 6]
               - The canary is not ready: pods start
        5716s Progressing 10 (route 0) Advanced [route 10]
               - Starting canary analysis for api.develop
               - Advance backend.develop canary weight 10
        5726s Progressing 50 (route 10) Advanced [route 50]
               - Advance backend.develop canary weight 50
        5736s Promoting 50 (route 50) Promoting [hold 8] [promote s1:v2] [scaler]
               - Copying api.develop template spec to api-primary.develop
        5738s Promoting 50 (route 50) CapacityShort [scaler]
               - The primary has 2 of the 8 ready pods that 100 % of the traffic needs; it is waited for until 60 s of progressDeadlineSeconds are over.
        5740s Promoting 50 (route 50) CapacityShort [scaler]
        5742s Promoting 50 (route 50) CapacityShort [scaler]
        5744s Promoting 50 (route 50) CapacityShort [scaler]
        5746s Promoting 50 (route 50) CapacityShort [scaler]
        5748s Promoting 50 (route 50) CapacityShort [scaler]
        5750s Finalising 0 (route 50) Finalising [scaler] [route 0]
               - Routing all traffic to primary
        5752s Finalising 0 (route 0) Draining
        5755s Succeeded 0 (route 0) Promoted [route 0] [scale 0]
               - Promotion completed! Scaling down api.develop <Info: Canary analysis completed successfully, promotion finished.>
        5757s Succeeded 0 (route 0) Repaired [hold no more]
        5758s Succeeded 0 (route 0) AtRest
    "#]],
    );
}

#[test]
fn it_is_not_waited_for_beyond_the_deadline() {
    let mut world = scaled();
    world.push("s1:v2");
    world.until(Phase::Promoting);
    world.primary.as_mut().unwrap().replicas = 2;
    world.until(Phase::Succeeded);
    let log = world.take_log();
    assert!(log.contains("The primary gets all traffic with 2 of the 6 ready pods"), "{log}");
}

#[test]
fn who_trusts_the_autoscaler_holds_nothing() {
    let mut world = scaled().spec(|spec| spec.analysis.hold_primary_replicas = false);
    world.push("s1:v2");
    world.until(Phase::Promoting);
    assert_eq!(world.held, None);
}

#[test]
fn a_canary_gets_the_pods_that_its_share_needs_before_it_gets_the_share() {
    let mut world = canary().resting();
    world.primary.as_mut().unwrap().replicas = 6;
    world.push("s1:v2");
    world.run(1);
    world.target.as_mut().unwrap().replicas = 1;
    world.until(Phase::Promoting);
    check(
        &mut world,
        &expect![[r#"
            5713s Progressing 0 (route 0) NewRevision [scale 6]
                   - New revision detected! Scaling up api.develop <Info: New revision detected, progressing canary analysis.>
            5715s Progressing 0 (route 0) CanaryNotReady
                   - The canary is not ready: pods start
            5716s Progressing 10 (route 0) Advanced [route 10]
                   - Starting canary analysis for api.develop
                   - Advance backend.develop canary weight 10
            5726s Progressing 10 (route 10) CapacityShort [scale 3]
                   - The canary has 1 of the 3 ready pods that 50 % of the traffic needs; it is waited for until 60 s of progressDeadlineSeconds are over.
            5729s Progressing 10 (route 10) NotDue
            5736s Progressing 50 (route 10) Advanced [route 50]
                   - Advance backend.develop canary weight 50
            5746s Promoting 50 (route 50) Promoting [promote s1:v2]
                   - Copying api.develop template spec to api-primary.develop
        "#]],
    );
}

#[test]
fn a_rollback_waits_for_nothing_says_what_lacks_and_makes_up_for_it() {
    let mut world = canary().resting();
    world.primary.as_mut().unwrap().replicas = 4;
    world.push("s1:v2");
    while world.canary.status.canary_weight < 50 {
        world.run(1);
    }
    world.take_log();
    world.primary.as_mut().unwrap().replicas = 1;
    world.guard = Guard::RollBack("error-rate".into());
    world.until(Phase::Failed);
    world.guard = Guard::Quiet;
    world.run(1);
    let log = world.take_log();
    let short = "The primary gets all traffic with 1 of the 4 ready pods that carried it: a rollback waits for nothing";
    assert!(log.contains(short), "{log}");
    assert_eq!(world.primary.as_ref().unwrap().replicas, 4, "{log}");
    world.run(5);
    assert_eq!(world.canary.status.primary_replicas, None, "at rest its size is the user's");
    world.primary.as_mut().unwrap().replicas = 2;
    world.run(3);
    assert_eq!(world.primary.as_ref().unwrap().replicas, 2);
}

#[test]
fn a_primary_that_is_large_enough_is_rolled_back_to_without_a_word() {
    let mut world = canary().at(50);
    world.guard = Guard::RollBack("error-rate".into());
    world.until(Phase::Failed);
    let log = world.take_log();
    assert!(!log.contains("ready pods"), "{log}");
    assert_eq!(world.canary.status.primary_replicas, None);
}

#[test]
fn nobody_shrinks_the_primary_while_a_release_runs() {
    let mut world = canary().resting();
    world.primary.as_mut().unwrap().replicas = 4;
    world.push("s1:v2");
    world.run(3);
    world.primary.as_mut().unwrap().replicas = 1;
    world.run(2);
    assert_eq!(world.primary.as_ref().unwrap().replicas, 4);
    let mut trusting = canary().spec(|spec| spec.analysis.hold_primary_replicas = false).resting();
    trusting.push("s1:v2");
    trusting.run(3);
    trusting.primary.as_mut().unwrap().replicas = 1;
    trusting.run(2);
    assert_eq!(trusting.primary.as_ref().unwrap().replicas, 1);
}

#[test]
fn everything_goes_to_green_only_with_as_many_pods_or_after_the_deadline() {
    let mut world = canary().switching(1).resting();
    world.primary.as_mut().unwrap().replicas = 4;
    world.push("s1:v2");
    world.run(2);
    let mut waited = false;
    for _ in 0..80 {
        // Another client sizes it.
        world.target.as_mut().unwrap().replicas = 1;
        world.run(1);
        let status = &world.canary.status;
        waited |= status.last_reason.as_ref().is_some_and(|last| last.code == "CapacityShort");
        if status.canary_weight == 100 {
            break;
        }
    }
    let log = world.take_log();
    assert!(waited, "{log}");
    assert!(
        log.contains("The canary gets 100 % with 1 of the 4 ready pods that it needs"),
        "{log}"
    );
}

#[test]
fn a_target_that_takes_over_is_as_large_as_what_it_replaces_or_the_deadline_is_over() {
    let mut world = canary().resting();
    world.primary.as_mut().unwrap().replicas = 4;
    world.canary.has_finalizer = true;
    world.canary.deleting = true;
    for _ in 0..60 {
        if world.gone {
            break;
        }
        if let Some(target) = world.target.as_mut().filter(|target| target.replicas > 0) {
            target.replicas = 1;
        }
        world.run(1);
    }
    let log = world.take_log();
    assert!(world.gone, "{log}");
    assert!(log.contains("The target gets all traffic with 1 of the 4 ready pods"), "{log}");
}

#[test]
fn an_undone_promotion_has_the_pods_that_it_had_before_it_counts_as_undone() {
    let mut world =
        canary().guarded(Pace::Fixed, 0, Some(300)).spec(|spec| spec.scaler = scaler()).resting();
    world.primary.as_mut().unwrap().replicas = 4;
    world.push("s1:v2");
    world.until(Phase::Succeeded);
    world.guard = Guard::RollBack("error-rate".into());
    world.until(Phase::Failed);
    world.guard = Guard::Quiet;
    world.primary.as_mut().unwrap().replicas = 1;
    world.run(2);
    assert_eq!(world.canary.status.last_reason.as_ref().unwrap().code, "CapacityShort");
    assert_eq!(world.held, Some(4), "its autoscaler may not shrink it meanwhile");
    world.primary.as_mut().unwrap().replicas = 4;
    world.run(3);
    assert_eq!((world.held, &world.canary.status.soak), (None, &None));
}
