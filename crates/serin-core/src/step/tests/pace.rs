//! Paces and soaks as tables: what the evidence allows, what is kept, and how a promotion is undone.

use expect_test::{Expect, expect};

use super::world::{World, canary, later};
use crate::model::*;
use crate::observed::*;

fn told(world: &mut World, expected: &Expect) {
    expected.assert_eq(&world.take_log());
}

fn soaking() -> World {
    let mut world = canary().weighted(&[50]).guarded(Pace::Fixed, 0, Some(60)).resting();
    world.push("s1:v2");
    world.until(Phase::Succeeded);
    world.log.clear();
    world
}

#[test]
fn a_primary_that_stays_good_is_left_alone() {
    let mut world = canary().weighted(&[50]).guarded(Pace::Fixed, 0, Some(60)).resting();
    world.push("s1:v2");
    world.until(Phase::Succeeded).run(8);
    assert!(world.log.contains("[keep s1:v1] [promote s1:v2]"), "{}", world.log);
    world.log.clear();
    let mut world = soaking();
    world.run(6);
    assert_eq!(world.canary.status.soak, None);
    told(
        &mut world,
        &expect![[r#"
            5735s Succeeded 0 (route 0) Soaking
                   - The promoted primary is watched until 2026-01-01T01:36:33Z.
            5736s Succeeded 0 (route 0) Soaking
            5793s Succeeded 0 (route 0) SoakPassed
                   - api.develop was watched after its promotion and stays
            5795s Succeeded 0 (route 0) AtRest
            6095s Succeeded 0 (route 0) AtRest
            6395s Succeeded 0 (route 0) AtRest
        "#]],
    );
}

#[test]
fn a_primary_that_turns_bad_is_taken_back_and_its_revision_stays_rejected() {
    let mut world = soaking();
    world.run(2);
    world.guard = Guard::RollBack("error-rate".into());
    world.tick();
    world.guard = Guard::Quiet;
    world.run(6);
    let status = &world.canary.status;
    assert_eq!((status.phase, &*status.last_promoted_spec), (Some(Phase::Failed), "s1:v1"));
    assert_eq!((&*status.last_applied_spec, &status.soak), ("s1:v2", &None));
    assert_eq!(world.primary.as_ref().unwrap().revision, "s1:v1");
    told(
        &mut world,
        &expect![[r#"
            5735s Succeeded 0 (route 0) Soaking
                   - The promoted primary is watched until 2026-01-01T01:36:33Z.
            5736s Succeeded 0 (route 0) Soaking
            5793s Failed 0 (route 0) Undoing [undo s1:v1]
                   ! Undoing backend.develop guard: error-rate <Error: Promotion is undone: error-rate>
            5795s Failed 0 (route 0) Undone
                   - api.develop runs what it ran before
            5797s Failed 0 (route 0) AtRest
            6097s Failed 0 (route 0) AtRest
            6397s Failed 0 (route 0) AtRest
            6697s Failed 0 (route 0) AtRest
            6997s Failed 0 (route 0) AtRest
        "#]],
    );
    // The fix is a release like any other.
    world.push("s1:v3");
    world.until(Phase::Succeeded);
    assert_eq!(world.primary.as_ref().unwrap().revision, "s1:v3");
}

#[test]
fn an_undo_survives_a_crash_after_its_status_write() {
    let mut world = soaking();
    world.run(2);
    world.guard = Guard::RollBack("error-rate".into());
    world.crash_after = Some(1);
    world.tick();
    world.guard = Guard::Quiet;
    assert_eq!(world.primary.as_ref().unwrap().revision, "s1:v2");
    world.run(6);
    assert_eq!(world.primary.as_ref().unwrap().revision, "s1:v1");
    assert_eq!(world.canary.status.phase, Some(Phase::Failed));
}

#[test]
fn a_new_revision_ends_the_watch() {
    let mut world = soaking();
    world.push("s1:v3");
    world.until(Phase::Progressing);
    assert_eq!(world.canary.status.soak, None);
    assert!(world.log.contains("no longer watched"), "{}", world.log);
    world.until(Phase::Succeeded);
    assert_eq!(world.canary.status.soak.as_ref().unwrap().previous, "s1:v2");
}

#[test]
fn a_soak_without_anything_kept_raises_the_alarm_only() {
    let mut world = soaking();
    world.canary.status.soak.as_mut().unwrap().previous.clear();
    world.guard = Guard::RollBack("error-rate".into());
    let plan = world.tick();
    assert_eq!(
        (plan.explanation.reason.code(), plan.actions.len()),
        ("SoakAlarm", 0),
        "{}",
        world.log
    );
    assert_eq!(world.canary.status.phase, Some(Phase::Succeeded));
}

#[test]
fn a_promotion_waits_for_the_shortest_time() {
    let mut world = canary().weighted(&[50]).guarded(Pace::Fixed, 25, None).resting();
    world.push("s1:v2");
    world.until(Phase::Promoting);
    told(
        &mut world,
        &expect![[r#"
            5713s Progressing 0 (route 0) NewRevision [scale 2]
                   - New revision detected! Scaling up api.develop <Info: New revision detected, progressing canary analysis.>
            5715s Progressing 0 (route 0) CanaryNotReady
                   - The canary is not ready: pods start
            5716s Progressing 50 (route 0) Advanced [route 50]
                   - Starting canary analysis for api.develop
                   - Advance backend.develop canary weight 50
            5726s Progressing 50 (route 50) Baking
            5736s Progressing 50 (route 50) Baking
            5746s Promoting 50 (route 50) Promoting [promote s1:v2]
                   - Copying api.develop template spec to api-primary.develop
        "#]],
    );
}

/// What the pace does at this weight, having seen this.
fn at(weight: u8, secs: i64, known: Option<Known>, guard: Guard) -> String {
    let pace = EvidencePace { blast_radius: 25.0, min_dwell_secs: 10, max_duration_secs: 600 };
    let world =
        canary().weighted(&[1, 2, 5, 10, 50]).guarded(Pace::Evidence(pace), 0, None).resting();
    let mut world = world;
    world.push("s1:v2");
    world.until(Phase::Progressing);
    world.run(3);
    world.canary.status.canary_weight = weight;
    world.route = Some(Exposure::share(Weight::saturating(u32::from(weight))));
    let began = world.now;
    if weight > 0 {
        world.canary.status.weight_time = Some(began);
        world.canary.status.traffic_start_time = Some(began);
    }
    world.canary.status.last_step_time = None;
    world.now = later(began, secs);
    world.guard = guard;
    world.known = known;
    let plan = world.decide();
    format!(
        "{} {}: {}",
        plan.status.canary_weight,
        plan.explanation.reason.code(),
        plan.explanation.message
    )
}

#[test]
fn the_share_follows_the_evidence() {
    let known =
        Known { rate: 100.0, look_secs: 1.0, excess: 0.02, step_requests: 50, requests_to_go: 0 };
    let rows = [
        at(0, 5, None, Guard::Quiet),
        at(0, 5, Some(known), Guard::Quiet),
        at(0, 5, Some(Known { rate: 5000.0, ..known }), Guard::Quiet),
        at(0, 5, Some(Known { rate: 1.0, ..known }), Guard::Quiet),
        at(0, 5, Some(Known { look_secs: 15.0, ..known }), Guard::Quiet),
        at(0, 5, Some(known), Guard::Hold("it has not looked".into())),
        at(5, 4, Some(known), Guard::Quiet),
        at(5, 11, Some(known), Guard::Quiet),
        at(10, 11, Some(Known { excess: 0.3, ..known }), Guard::Quiet),
        at(5, 11, Some(Known { step_requests: 3, ..known }), Guard::Quiet),
        at(50, 11, Some(Known { requests_to_go: 70, ..known }), Guard::Quiet),
        at(50, 700, Some(Known { requests_to_go: 70, ..known }), Guard::Quiet),
        at(5, 700, Some(known), Guard::Hold("leans".into())),
        at(50, 700, Some(known), Guard::Quiet),
    ];
    expect![[r#"
        0 GatheringEvidence: The guard has not measured yet how much traffic there is.
        5 Advanced: The canary gets 5 %: at 100 requests per second it hurts about 15 before it is undone if all of them fail.
        1 Advanced: The canary gets 1 %: at 5000 requests per second it hurts about 150 before it is undone if all of them fail.
        10 Advanced: The canary gets 10 %: at 1 requests per second it hurts about 0 before it is undone if all of them fail.
        1 Advanced: The canary gets 1 %: at 100 requests per second it hurts about 31 before it is undone if all of them fail.
        0 GuardHolds: it has not looked
        5 GatheringEvidence: At 5 %: this weight is kept for another 6 s; after 50 requests here the rate of bad ones is at most 2 % above what it may be.
        10 Advanced: The canary gets 10 %: at most about 1 requests beyond what may be bad are at stake; after 50 requests here the rate of bad ones is at most 2 % above what it may be.
        10 GatheringEvidence: At 10 %: the next weight could hurt about 45 requests before it is undone, 25 are allowed; after 50 requests here the rate of bad ones is at most 30 % above what it may be.
        5 GatheringEvidence: At 5 %: 17 more canary requests are needed at this weight; after 3 requests here the rate of bad ones is at most 2 % above what it may be.
        50 GatheringEvidence: At 50 %: about 70 more good canary requests are needed to go on; after 50 requests here the rate of bad ones is at most 2 % above what it may be.
        50 EvidenceMissing: The evidence does not suffice after 600 s. At 50 %: about 70 more good canary requests are needed to go on; after 50 requests here the rate of bad ones is at most 2 % above what it may be.
        5 EvidenceMissing: The evidence does not suffice after 600 s. leans
        50 Promoting: Revision s1:v2 goes to the primary.
    "#]].assert_eq(&format!("{}\n", rows.join("\n")));
}

#[test]
fn the_shortest_time_begins_again_when_the_route_never_got_its_share() {
    let mut world = canary().guarded(Pace::Fixed, 90, None).at(10);
    world.run(2);
    world.route = Some(Exposure::NONE);
    let lost = world.now;
    world.until(Phase::Promoting);
    let secs = world.now.duration_since(lost).as_secs();
    assert!(secs >= 90, "{secs} s: {}", world.log);
}
