//! What the guard does not know, and what it learns of one release for the next.

use super::world::{World, canary};
use crate::model::*;
use crate::observed::*;

fn world(unmeasured: Option<&str>, policy: Policy) -> World {
    let mut world = canary().guarded(Pace::Fixed, 0, None).at(10);
    let unmeasured = unmeasured.map(str::to_owned);
    world.unknown = vec![Unknown { name: "error-rate".into(), unmeasured, policy }];
    world
}

#[test]
fn what_the_guard_does_not_know_is_waited_for_or_a_failed_check() {
    let rows = [
        (None, "NoData", "noData", "no requests counted for error-rate at 10 %"),
        (
            Some("refused"),
            "CannotMeasure",
            "cannotMeasure",
            "error-rate cannot be measured: refused",
        ),
    ];
    for (unmeasured, code, verdict, text) in rows {
        let mut world = world(unmeasured, Policy::Hold);
        world.run(30);
        let status = &world.canary.status;
        assert_eq!((status.canary_weight, status.failed_checks), (10, 0));
        let reason = status.last_reason.as_ref().unwrap();
        assert_eq!(reason.code, code);
        assert!(reason.message.contains(text), "{}", reason.message);
        let record = status.checks.iter().rfind(|check| check.name == "error-rate").unwrap();
        assert_eq!((record.verdict.as_str(), &record.message), (verdict, &reason.message));
        let halts = world.log.lines().filter(|line| line.contains("! ")).count();
        assert_eq!(halts, 1, "people are told once: {}", world.log);
        world.unknown.clear();
        world.until(Phase::Succeeded);

        let mut world = self::world(unmeasured, Policy::Fail);
        world.until(Phase::Failed);
        assert!(world.log.contains(text), "{}", world.log);
    }
}

#[test]
fn a_pace_that_follows_the_evidence_waits_for_requests_by_itself() {
    let pace = EvidencePace { blast_radius: 25.0, min_dwell_secs: 10, max_duration_secs: 1800 };
    let mut world = canary().guarded(Pace::Fixed, 0, None).at(10);
    world.canary.spec.analysis.guard.as_mut().unwrap().pace = Pace::Evidence(pace);
    let unmeasured = None;
    world.unknown = vec![Unknown { name: "error-rate".into(), unmeasured, policy: Policy::Hold }];
    world.run(30);
    let status = &world.canary.status;
    assert_eq!((status.canary_weight, status.failed_checks), (10, 0));
    assert_ne!(status.last_reason.as_ref().unwrap().code, "NoData");
}

#[test]
fn blue_green_gets_its_route_again_though_nothing_was_counted_without_it() {
    let blue_green = |spec: &mut Spec| spec.analysis.schedule = Schedule::blue_green(3, true);
    let mut world = canary().guarded(Pace::Fixed, 0, None).spec(blue_green).at(100);
    world.route = Some(Exposure::NONE);
    let unmeasured = None;
    world.unknown = vec![Unknown { name: "error-rate".into(), unmeasured, policy: Policy::Hold }];
    world.run(30);
    assert_eq!(world.route, Some(Exposure::share(Weight::FULL)), "{}", world.log);
    world.unknown.clear();
    world.until(Phase::Succeeded);
}

#[test]
fn groups_of_errors_are_remembered_of_releases_that_are_promoted() {
    let seen = |size: f64| [("error-rate".to_owned(), size)].into();
    let mut world = canary().guarded(Pace::Fixed, 0, None).resting();
    let kept = |world: &World| world.canary.status.dispersion.get("error-rate").copied();
    world.dispersion = seen(9.876);
    world.failing.insert("s1:v2".into());
    world.push("s1:v2");
    world.until(Phase::Failed);
    assert_eq!(kept(&world), None, "nothing is learnt beside a bad canary");
    world.push("s1:v3");
    world.until(Phase::Succeeded);
    assert_eq!(kept(&world), Some(9.88));
    world.dispersion.clear();
    world.push("s1:v4");
    world.run(1);
    world.until(Phase::Succeeded);
    assert_eq!(kept(&world), Some(9.88), "nothing could be seen");
    world.dispersion = seen(1.0);
    world.push("s1:v5");
    world.run(1);
    world.until(Phase::Succeeded);
    assert_eq!(kept(&world), None, "they come one by one again");
}

fn pass(world: &mut World, secs: i64) {
    let end = world.now.as_second() + secs;
    while world.now.as_second() < end {
        world.run(1);
    }
}

fn blind(weight: u8, deadline: BlindDeadline, visibility: Visibility) -> World {
    let mut world = canary().guarded(Pace::Fixed, 0, None).at(weight);
    world.canary.spec.analysis.guard.as_mut().unwrap().blind = deadline;
    world.guard = Guard::Hold("no answer within 1s".into());
    world.visibility = visibility;
    world
}

#[test]
fn a_share_is_taken_back_when_nobody_has_seen_for_too_long() {
    let mut world = blind(50, BlindDeadline::AboveFirst(60), Visibility::Blind);
    pass(&mut world, 55);
    assert_eq!(world.canary.status.canary_weight, 50);
    pass(&mut world, 10);
    let status = &world.canary.status;
    assert_eq!((status.canary_weight, status.failed_checks), (0, 0));
    assert_eq!(status.phase, Some(Phase::Progressing), "not knowing rejects nothing");
    let reason = status.last_reason.as_ref().unwrap();
    assert_eq!(reason.code, "GuardBlind");
    assert!(reason.message.contains("no answer within 1s"), "{}", reason.message);
    // It gets nothing again before somebody sees, a new leader that has not looked included.
    for visibility in [Visibility::Blind, Visibility::Unknown, Visibility::Contradicted] {
        world.visibility = visibility;
        pass(&mut world, 300);
        let status = &world.canary.status;
        assert_eq!((status.canary_weight, status.phase), (0, Some(Phase::Progressing)));
    }
    (world.guard, world.visibility) = (Guard::Quiet, Visibility::Clear);
    world.until(Phase::Succeeded);
    assert_eq!(world.canary.status.blind_since, None);
}

#[test]
fn how_long_a_share_is_kept_blindly_is_up_to_the_share_and_the_spec() {
    use BlindDeadline::{AboveFirst, Always, Never};
    for (weight, deadline, visibility, failed, kept) in [
        (10, AboveFirst(60), Visibility::Blind, 0, true),
        // Something else speaks against it.
        (10, AboveFirst(60), Visibility::Blind, 1, false),
        (10, AboveFirst(60), Visibility::Contradicted, 0, false),
        (10, Always(60), Visibility::Blind, 0, false),
        (50, Always(9000), Visibility::Blind, 0, true),
        (50, Never, Visibility::Blind, 0, true),
        (50, AboveFirst(60), Visibility::Unknown, 0, true),
        (50, AboveFirst(60), Visibility::Clear, 0, true),
    ] {
        let mut world = blind(weight, deadline, visibility);
        world.canary.status.failed_checks = failed;
        pass(&mut world, 300);
        let weight = if kept { weight } else { 0 };
        let row = (deadline, visibility, failed);
        assert_eq!(world.canary.status.canary_weight, weight, "{row:?}: {}", world.log);
    }
}

#[test]
fn a_guard_that_sees_in_between_begins_to_wait_anew() {
    let mut world = blind(50, BlindDeadline::AboveFirst(60), Visibility::Blind);
    for _ in 0..5 {
        world.visibility = Visibility::Blind;
        pass(&mut world, 40);
        world.visibility = Visibility::Clear;
        pass(&mut world, 10);
    }
    assert_eq!(world.canary.status.canary_weight, 50);
}
