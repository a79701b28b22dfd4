//! As many pods as carried the traffic, wherever it moves.

use expect_test::{Expect, expect};

use super::world::{World, canary};
use crate::model::*;

fn check(world: &mut World, expected: &Expect) {
    expected.assert_eq(&world.take_log());
}

fn scaled() -> World {
    let scaler = ScalerRef { name: "hpa".into(), min_replicas: None, max_replicas: None };
    let mut world = canary().spec(|spec| spec.scaler = Some(scaler)).resting();
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
