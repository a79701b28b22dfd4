//! Releases of a workload that has a pod on every node.

use expect_test::{Expect, expect};

use super::world::{World, canary};
use crate::model::*;

fn check(world: &mut World, expected: &Expect) {
    expected.assert_eq(&world.take_log());
}

fn on_every_node() -> World {
    canary().spec(|spec| spec.target.kind = TargetKind::DaemonSet).resting()
}

#[test]
fn it_is_started_on_every_node_and_stopped_on_all() {
    let mut world = on_every_node();
    world.push("s1:v2");
    world.until(Phase::Succeeded);
    world.run(2);
    check(
        &mut world,
        &expect![[r#"
        5713s Progressing 0 (route 0) NewRevision [scale every node]
               - New revision detected! Scaling up api.develop <Info: New revision detected, progressing canary analysis.>
        5715s Progressing 0 (route 0) CanaryNotReady
               - The canary is not ready: pods start
        5716s Progressing 10 (route 0) Advanced [route 10]
               - Starting canary analysis for api.develop
               - Advance backend.develop canary weight 10
        5726s Progressing 50 (route 10) Advanced [route 50]
               - Advance backend.develop canary weight 50
        5736s Promoting 50 (route 50) Promoting [promote s1:v2]
               - Copying api.develop template spec to api-primary.develop
        5738s Finalising 0 (route 50) Finalising [route 0]
               - Routing all traffic to primary
        5740s Finalising 0 (route 0) Draining
        5743s Succeeded 0 (route 0) Promoted [route 0] [scale 0]
               - Promotion completed! Scaling down api.develop <Info: Canary analysis completed successfully, promotion finished.>
        5745s Succeeded 0 (route 0) AtRest
        5746s Succeeded 0 (route 0) AtRest
    "#]],
    );
}

#[test]
fn a_node_that_leaves_is_not_waited_for() {
    let mut world = on_every_node();
    world.push("s1:v2");
    while world.canary.status.canary_weight < 50 {
        world.run(1);
    }
    assert_eq!(world.canary.status.primary_replicas, Some(2));
    world.take_log();
    world.primary.as_mut().unwrap().replicas = 1;
    world.target.as_mut().unwrap().replicas = 1;
    world.until(Phase::Succeeded);
    check(
        &mut world,
        &expect![[r#"
        5736s Promoting 50 (route 50) Promoting [promote s1:v2]
               - Copying api.develop template spec to api-primary.develop
        5738s Finalising 0 (route 50) Finalising [route 0]
               - Routing all traffic to primary
        5740s Finalising 0 (route 0) Draining
        5743s Succeeded 0 (route 0) Promoted [route 0] [scale 0]
               - Promotion completed! Scaling down api.develop <Info: Canary analysis completed successfully, promotion finished.>
    "#]],
    );
}

#[test]
fn one_that_is_started_by_hand_is_told_what_makes_it_larger() {
    let mut world = on_every_node();
    world.take_log();
    world.target.as_mut().unwrap().replicas = 2;
    world.run(2);
    check(
        &mut world,
        &expect![[r#"
        5713s Initialized 0 (route 0) TargetScaledDown [route 0] [scale 0]
               - Scaling down api.develop: 2 replicas run at rest, where DaemonSet api-primary serves; for more capacity add nodes, or let its pods run on more of them
        5715s Initialized 0 (route 0) AtRest
    "#]],
    );
}

#[test]
fn it_gets_the_traffic_back_when_the_canary_leaves() {
    let mut world = on_every_node();
    world.take_log();
    world.canary.deleting = true;
    world.run(6);
    check(
        &mut world,
        &expect![[r#"
        5713s Terminating 0 (route 0) Terminating [scale every node]
               - Terminating canary backend.develop
        5715s Terminating 0 (route 0) Terminating
        5716s Terminating 0 (route 0) Terminating [apex to target]
        5718s Terminating 0 (route 0) Terminating [restore route]
        5723s Terminating 0 (route -) Terminated [restore route] [finalizer false]
               - Terminated canary backend.develop
    "#]],
    );
}
