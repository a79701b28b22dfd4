//! Releases whose canary gets copies of requests before it has users.

use expect_test::{Expect, expect};

use super::world::{World, canary};
use crate::model::*;
use crate::observed::*;

fn check(world: &mut World, expected: &Expect) {
    expected.assert_eq(&world.take_log());
}

/// Flagger asks for more traffic before the copies, and then never again before the first share; we do.
#[test]
fn copies_come_before_the_first_share() {
    let mut world = canary().mirrored(100).hook(HookKind::ConfirmTrafficIncrease).resting();
    world.push("s1:v2");
    world.until(Phase::Succeeded);
    check(
        &mut world,
        &expect![[r#"
        5713s Progressing 0 (route 0) NewRevision [scale 2]
               - New revision detected! Scaling up api.develop <Info: New revision detected, progressing canary analysis.>
        5715s Progressing 0 (route 0) CanaryNotReady
               - The canary is not ready: pods start
        5716s Progressing 0 (route 0) Advanced [route 0, copies 100]
               - Starting canary analysis for api.develop
               - Confirm-traffic-increase check confirm-traffic-increase passed
               - Advance backend.develop canary weight 0
        5726s Progressing 10 (route 0, copies 100) Advanced [route 10]
               - Confirm-traffic-increase check confirm-traffic-increase passed
               - Advance backend.develop canary weight 10
        5736s Progressing 50 (route 10) Advanced [route 50]
               - Confirm-traffic-increase check confirm-traffic-increase passed
               - Advance backend.develop canary weight 50
        5746s Promoting 50 (route 50) Promoting [promote s1:v2]
               - Copying api.develop template spec to api-primary.develop
        5748s Finalising 0 (route 50) Finalising [route 0]
               - Routing all traffic to primary
        5750s Finalising 0 (route 0) Draining
        5753s Succeeded 0 (route 0) Promoted [route 0] [scale 0]
               - Promotion completed! Scaling down api.develop <Info: Canary analysis completed successfully, promotion finished.>
    "#]],
    );
}

#[test]
fn blue_green_has_copies_in_all_its_rounds() {
    let mut world = canary().switching(2).mirrored(30).resting();
    world.push("s1:v2");
    world.until(Phase::Succeeded);
    check(
        &mut world,
        &expect![[r#"
        5713s Progressing 0 (route 0) NewRevision [scale 2]
               - New revision detected! Scaling up api.develop <Info: New revision detected, progressing canary analysis.>
        5715s Progressing 0 (route 0) CanaryNotReady
               - The canary is not ready: pods start
        5716s Progressing 0 (route 0) IterationPassed [route 0, copies 30]
               - Starting canary analysis for api.develop
               - Advance backend.develop canary iteration 1/2
        5726s Progressing 0 (route 0, copies 30) IterationPassed
               - Advance backend.develop canary iteration 2/2
        5736s Progressing 100 (route 0, copies 30) Advanced [route 100]
               - Stop traffic mirroring and route all traffic to canary
        5746s Promoting 100 (route 100) Promoting [promote s1:v2]
               - Copying api.develop template spec to api-primary.develop
        5748s Finalising 0 (route 100) Finalising [route 0]
               - Routing all traffic to primary
        5750s Finalising 0 (route 0) Draining
        5753s Succeeded 0 (route 0) Promoted [route 0] [scale 0]
               - Promotion completed! Scaling down api.develop <Info: Canary analysis completed successfully, promotion finished.>
    "#]],
    );
}

#[test]
fn a_canary_that_fails_on_copies_meets_no_user() {
    let mut world = canary().mirrored(100).resting();
    world.failing.insert("s1:v2".into());
    world.push("s1:v2");
    world.until(Phase::Failed);
    check(
        &mut world,
        &expect![[r#"
        5713s Progressing 0 (route 0) NewRevision [scale 2]
               - New revision detected! Scaling up api.develop <Info: New revision detected, progressing canary analysis.>
        5715s Progressing 0 (route 0) CanaryNotReady
               - The canary is not ready: pods start
        5716s Progressing 0 (route 0) Advanced [route 0, copies 100]
               - Starting canary analysis for api.develop
               - Advance backend.develop canary weight 0
        5726s Progressing 0 (route 0, copies 100) CheckFailed
               ! Halt backend.develop advancement errors 7.00 > 1
        5736s Failed 0 (route 0, copies 100) ThresholdReached [!route 0]
               ! Halt backend.develop advancement errors 7.00 > 1
               ! Rolling back backend.develop failed checks threshold reached 2 <Error: Failed checks threshold reached 2: Halt backend.develop advancement errors 7.00 > 1>
               ! Canary failed! Scaling down backend.develop
    "#]],
    );
}

#[test]
fn the_guard_takes_copies_away() {
    let mut world = canary().mirrored(100).resting();
    world.push("s1:v2");
    while world.route.is_none_or(|route| route.mirrored == Weight::ZERO) {
        world.tick();
    }
    world.guard = Guard::RollBack("errors".into());
    let plan = world.tick();
    assert_eq!(plan.lower, Some(Exposure::NONE));
    assert_eq!(plan.status.phase, Some(Phase::Failed));
}

#[test]
fn copies_that_were_lost_come_back_and_are_no_share() {
    let mut world = canary().mirrored(100).resting();
    world.push("s1:v2");
    while world.route.is_none_or(|route| route.mirrored == Weight::ZERO) {
        world.tick();
    }
    let copies = Exposure::mirrored(Weight::FULL);
    world.route = Some(Exposure::NONE);
    while world.route == Some(Exposure::NONE) {
        world.tick();
    }
    assert_eq!(world.route, Some(copies));
}

#[test]
fn the_pace_of_the_evidence_begins_with_copies_too() {
    let pace = EvidencePace { blast_radius: 25.0, min_dwell_secs: 10, max_duration_secs: 600 };
    let world = canary().weighted(&[1, 5, 50]).guarded(Pace::Evidence(pace), 0, None);
    let mut world = world.mirrored(100).resting();
    let known =
        Known { rate: 1.0, look_secs: 1.0, excess: 0.02, step_requests: 50, requests_to_go: 0 };
    world.known = Some(known);
    world.push("s1:v2");
    let mut routes = vec![Exposure::NONE];
    while world.canary.status.canary_weight == 0 {
        world.tick();
        routes.push(world.canary.status.exposure());
    }
    routes.dedup();
    let shares =
        [Exposure::NONE, Exposure::mirrored(Weight::FULL), Exposure::share(Weight::saturating(5))];
    assert_eq!(routes, shares, "{}", world.log);
}
