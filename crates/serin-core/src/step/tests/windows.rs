//! A check counts against a revision only by what that revision did: hotfixes after and over bad versions.

use expect_test::expect;

use super::world::{World, canary, later};
use crate::model::*;

fn rolled_back(world: &mut World) {
    world.failing.insert("s1:v2".into());
    world.until(Phase::Failed);
    world.run(1);
    world.now = later(world.now, 10);
    world.log.clear();
}

#[test]
fn a_hotfix_does_not_answer_for_the_version_that_was_rolled_back_before_it() {
    let mut world = canary().window(60).at(10);
    rolled_back(&mut world);
    world.push("s1:v3");
    world.until(Phase::Succeeded);
    expect![[r#"
        5803s Progressing 0 (route 0) NewRevision [scale 2]
               - New revision detected! Scaling up api.develop <Info: New revision detected, progressing canary analysis.>
        5805s Progressing 0 (route 0) CanaryNotReady
               - The canary is not ready: pods start
        5806s Progressing 10 (route 0) Advanced [route 10]
               - Starting canary analysis for api.develop
               - Advance backend.develop canary weight 10
        5816s Progressing 10 (route 10) WindowReachesBack
               ! Halt backend.develop advancement errors 7.00 > 1 does not count yet: its window of 60 s reaches back before this revision was measured; it counts from 2026-01-01T01:37:46Z
        5826s Progressing 10 (route 10) WindowReachesBack
        5836s Progressing 10 (route 10) WindowReachesBack
        5846s Progressing 10 (route 10) WindowReachesBack
        5856s Progressing 50 (route 10) Advanced [route 50]
               - Advance backend.develop canary weight 50
        5866s Promoting 50 (route 50) Promoting [promote s1:v3]
               - Copying api.develop template spec to api-primary.develop
        5868s Finalising 0 (route 50) Finalising [route 0]
               - Routing all traffic to primary
        5870s Finalising 0 (route 0) Draining
        5873s Succeeded 0 (route 0) Promoted [route 0] [scale 0]
               - Promotion completed! Scaling down api.develop <Info: Canary analysis completed successfully, promotion finished.>
    "#]].assert_eq(&world.take_log());
}

#[test]
fn a_hotfix_over_a_bad_version_does_not_answer_for_it_either() {
    let mut world = canary().window(60).at(10);
    world.failing.insert("s1:v2".into());
    world.run(2);
    world.push("s1:v3");
    world.until(Phase::Succeeded);
    expect![[r#"
        5726s Progressing 10 (route 10) WindowReachesBack
               ! Halt backend.develop advancement errors 7.00 > 1 does not count yet: its window of 60 s reaches back before this revision was measured; it counts from 2026-01-01T01:36:16Z
        5736s Progressing 10 (route 10) WindowReachesBack
        5746s Progressing 0 (route 10) Restarted [!route 0]
               - New revision detected! Restarting analysis for backend.develop <Info: New revision detected, progressing canary analysis.>
        5748s Progressing 0 (route 0) CanaryNotReady
               - The canary is not ready: pods start
        5749s Progressing 10 (route 0) Advanced [route 10]
               - Starting canary analysis for api.develop
               - Advance backend.develop canary weight 10
        5759s Progressing 10 (route 10) WindowReachesBack
               ! Halt backend.develop advancement errors 7.00 > 1 does not count yet: its window of 60 s reaches back before this revision was measured; it counts from 2026-01-01T01:36:49Z
        5769s Progressing 10 (route 10) WindowReachesBack
        5779s Progressing 10 (route 10) WindowReachesBack
        5789s Progressing 10 (route 10) WindowReachesBack
        5799s Progressing 10 (route 10) WindowReachesBack
        5809s Progressing 50 (route 10) Advanced [route 50]
               - Advance backend.develop canary weight 50
        5819s Promoting 50 (route 50) Promoting [promote s1:v3]
               - Copying api.develop template spec to api-primary.develop
        5821s Finalising 0 (route 50) Finalising [route 0]
               - Routing all traffic to primary
        5823s Finalising 0 (route 0) Draining
        5826s Succeeded 0 (route 0) Promoted [route 0] [scale 0]
               - Promotion completed! Scaling down api.develop <Info: Canary analysis completed successfully, promotion finished.>
    "#]].assert_eq(&world.take_log());
}

#[test]
fn what_the_hotfix_itself_does_counts_as_soon_as_the_window_is_its_own() {
    let mut world = canary().window(60).at(10);
    rolled_back(&mut world);
    world.failing.insert("s1:v3".into());
    world.push("s1:v3");
    while world.canary.status.canary_weight == 0 {
        world.tick();
    }
    let begun = world.canary.status.measured_since.unwrap();
    world.until(Phase::Failed);
    let took = world.canary.status.phase_time.unwrap().duration_since(begun).as_secs();
    assert_eq!(took, 70, "the window is a minute long, and the second check makes a rollback");
    assert_eq!(world.canary.status.checks.iter().filter(|c| c.verdict == "fail").count(), 2);
    assert_eq!(world.canary.status.measured_since, None);
}

#[test]
fn a_window_that_a_query_has_of_its_own_is_the_one_that_counts() {
    for (reach, held) in [(Some(60), true), (Some(10), false), (None, false)] {
        let mut world = canary().at(10);
        world.failing.insert("s1:v2".into());
        world.reach = reach;
        world.run(1);
        let log = world.take_log();
        assert_eq!(log.contains("WindowReachesBack"), held, "{reach:?}: {log}");
        assert_eq!(world.canary.status.failed_checks, u32::from(!held), "{reach:?}");
    }
}

#[test]
fn blue_green_counts_from_its_first_iteration_on() {
    let mut world = canary().blue_green(4).window(30).resting();
    world.failing.insert("s1:v2".into());
    world.push("s1:v2");
    world.run(4);
    assert_eq!(world.canary.status.iterations, 1);
    world.push("s1:v3");
    world.until(Phase::Succeeded);
    let log = world.take_log();
    assert!(log.contains("does not count yet") && !log.contains("CheckFailed"), "{log}");
    // What fails by itself is found all the same.
    world.failing.insert("s1:v4".into());
    world.push("s1:v4");
    world.until(Phase::Failed);
}

#[test]
fn a_value_of_the_version_before_is_no_pass_either() {
    let mut world = canary().window(60).at(10);
    world.push("s1:v3");
    world.run(4);
    let status = &world.canary.status;
    assert_eq!((status.canary_weight, status.failed_checks), (10, 0));
    let reason = status.last_reason.as_ref().unwrap();
    assert_eq!(reason.code, "WindowReachesBack");
    assert!(reason.message.contains("errors says little yet"), "{}", reason.message);
    assert_eq!(status.checks.last().map(|check| check.verdict.as_str()), Some("hold"));
    world.until(Phase::Succeeded);
}
