//! Releases from beginning to end, and what interrupts them.
//!
//! A transcript has one line for each tick, and one below it for each Event:
//!
//! ```text
//!  10s Progressing 20 (route 10) Advanced [route 20] [!route 0]
//!   |       |      |      |         |          |          |
//!   |       |      |      |         |          |          written before the status: it only lowers
//!   |       |      |      |         reason     actions, after the status; `ensure route` is left out
//!   |       |      |      what the route gives the canary as the tick began; `-` without a route
//!   |       phase  status.canaryWeight
//!   seconds since the beginning
//!        - a Normal Event <Info: the alert that goes with it>
//!        ! a Warning Event
//! ```

use expect_test::{Expect, expect};

use super::world::{World, canary};
use crate::model::*;
use crate::observed::*;
use crate::reason::Reason;

fn check(world: &mut World, expected: &Expect) {
    expected.assert_eq(&world.take_log());
}

#[test]
fn bootstrap_loses_nothing() {
    let mut world = canary();
    world.until(Phase::Initialized);
    world.run(3);
    check(
        &mut world,
        &expect![[r#"
              0s Initializing 0 (route -) Initializing [finalizer true] [services] [create s1:v1 x2]
                   - New Deployment detected, starting initialization of backend.develop
              2s Initializing 0 (route -) Initializing
              3s Initializing 0 (route -) Initializing [apex to primary]
              5s Initializing 0 (route 0) Initializing
             10s Initialized 0 (route 0) Initialized [scale 0]
                   - Initialization done! backend.develop <Info: New Deployment detected, initialization completed.>
             12s Initialized 0 (route 0) AtRest
             13s Initialized 0 (route 0) AtRest
            313s Initialized 0 (route 0) AtRest
        "#]],
    );
}

#[test]
fn a_healthy_release_is_promoted() {
    let mut world = canary().hook(HookKind::PreRollout).hook(HookKind::PostRollout).resting();
    world.push("s1:v2");
    world.until(Phase::Succeeded);
    world.run(3);
    check(
        &mut world,
        &expect![[r#"
            5713s Progressing 0 (route 0) NewRevision [scale 2]
                   - New revision detected! Scaling up api.develop <Info: New revision detected, progressing canary analysis.>
            5715s Progressing 0 (route 0) CanaryNotReady
                   - The canary is not ready: pods start
            5716s Progressing 10 (route 0) Advanced [route 10]
                   - Starting canary analysis for api.develop
                   - Pre-rollout check pre-rollout passed
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
                   calls [1]
            5745s Succeeded 0 (route 0) AtRest
            5746s Succeeded 0 (route 0) AtRest
            6046s Succeeded 0 (route 0) AtRest
        "#]],
    );
    assert_eq!(world.canary.status.last_promoted_spec, "s1:v2");
}

#[test]
fn a_failing_release_is_rolled_back_on_the_tick_that_reaches_the_threshold() {
    let mut world = canary().at(10);
    world.failing.insert("s1:v2".into());
    world.until(Phase::Failed);
    world.run(6);
    check(
        &mut world,
        &expect![[r#"
            5726s Progressing 10 (route 10) CheckFailed
                   ! Halt backend.develop advancement errors 7.00 > 1
            5736s Failed 0 (route 10) ThresholdReached [!route 0]
                   ! Halt backend.develop advancement errors 7.00 > 1
                   ! Rolling back backend.develop failed checks threshold reached 2 <Error: Failed checks threshold reached 2: Halt backend.develop advancement errors 7.00 > 1>
                   ! Canary failed! Scaling down backend.develop
            5741s Failed 0 (route 0) RolledBack [route 0] [scale 0]
            5743s Failed 0 (route 0) AtRest
            5744s Failed 0 (route 0) AtRest
            6044s Failed 0 (route 0) AtRest
            6344s Failed 0 (route 0) AtRest
            6644s Failed 0 (route 0) AtRest
        "#]],
    );
    assert_eq!(world.target.unwrap().replicas, 0);
}

#[test]
fn the_guard_rolls_back_between_two_steps_and_while_suspended() {
    let mut world = canary().at(10);
    world.canary.spec.suspend = true;
    world.run(2);
    world.guard = Guard::RollBack("errors 31 of 200, primary 0 of 900".into());
    world.run(1);
    world.guard = Guard::Quiet;
    world.run(3);
    // What happened stays said, and nothing that is not so is said beside it.
    let status = world.canary.status.clone();
    assert_eq!(status.last_reason.as_ref().unwrap().code, "GuardRolledBack");
    let said = |kind: &str| {
        let found = world.canary.status.conditions.iter().find(|one| one.kind == kind).unwrap();
        format!("{} {}", found.status, found.message)
    };
    let runs = "True spec.suspend is set: the canary was rolled back and has no traffic; its 2 pods run until spec.suspend is no longer set.";
    assert_eq!(said("Suspended"), runs);
    assert_eq!(
        said("Promoted"),
        "False Canary analysis failed, Deployment runs until spec.suspend is not set."
    );
    world.canary.spec.suspend = false;
    world.run(5);
    let said = |kind: &str| {
        let found = world.canary.status.conditions.iter().find(|one| one.kind == kind).unwrap();
        format!("{} {}", found.status, found.message)
    };
    assert_eq!(said("Suspended"), "False spec.suspend is not set.");
    assert_eq!(said("Promoted"), "False Canary analysis failed, Deployment scaled to zero.");
    check(
        &mut world,
        &expect![[r#"
            5726s Progressing 10 (route 10) Suspended
                   - backend.develop is suspended, skipping canary run
            6026s Progressing 10 (route 10) Suspended
            6326s Failed 0 (route 10) GuardRolledBack [!route 0]
                   ! Rolling back backend.develop guard: errors 31 of 200, primary 0 of 900 <Error: Guard rolled back: errors 31 of 200, primary 0 of 900>
                   ! Canary failed! Scaling down backend.develop
            6331s Failed 0 (route 0) Suspended
            6631s Failed 0 (route 0) Suspended
            6931s Failed 0 (route 0) Suspended
            7231s Failed 0 (route 0) RolledBack [route 0] [scale 0]
            7233s Failed 0 (route 0) AtRest
            7234s Failed 0 (route 0) AtRest
            7534s Failed 0 (route 0) AtRest
            7834s Failed 0 (route 0) AtRest
        "#]],
    );
}

#[test]
fn a_rollback_survives_a_crash_after_its_first_write() {
    let mut world = canary().at(50);
    world.failing.insert("s1:v2".into());
    world.run(1);
    while world.canary.status.failed_checks < 1 {
        world.run(1);
    }
    world.now = super::world::later(world.now, 20);
    world.crash_after = Some(1);
    world.run(1);
    assert_eq!(world.route, Some(Exposure::NONE));
    assert_eq!(world.canary.status.phase, Some(Phase::Progressing));
    world.until(Phase::Failed);
    world.run(4);
    check(
        &mut world,
        &expect![[r#"
            5736s Progressing 50 (route 50) CheckFailed
                   ! Halt backend.develop advancement errors 7.00 > 1
            5766s Failed 0 (route 50) ThresholdReached [!route 0]
                   ! Halt backend.develop advancement errors 7.00 > 1
                   ! Rolling back backend.develop failed checks threshold reached 2 <Error: Failed checks threshold reached 2: Halt backend.develop advancement errors 7.00 > 1>
                   ! Canary failed! Scaling down backend.develop
            5771s Failed 0 (route 0) ThresholdReached [!route 0]
                   ! Halt backend.develop advancement errors 7.00 > 1
                   ! Rolling back backend.develop failed checks threshold reached 2 <Error: Failed checks threshold reached 2: Halt backend.develop advancement errors 7.00 > 1>
                   ! Canary failed! Scaling down backend.develop
            5776s Failed 0 (route 0) RolledBack [route 0] [scale 0]
            5778s Failed 0 (route 0) AtRest
            5779s Failed 0 (route 0) AtRest
            6079s Failed 0 (route 0) AtRest
        "#]],
    );
}

#[test]
fn a_rollback_waits_for_nothing_that_cannot_be_read() {
    let mut world = canary().at(50);
    world.blind.extend(["target", "primary", "configs", "scaler", "apex", "services", "route"]);
    world.guard = Guard::RollBack("errors".into());
    let plan = world.tick();
    assert_eq!(plan.lower, Some(Exposure::NONE));
    assert_eq!(plan.status.phase, Some(Phase::Failed));
    assert_eq!(world.route, Some(Exposure::NONE));
}

#[test]
fn checks_go_on_and_roll_back_while_the_rest_cannot_be_read() {
    let mut world = canary().at(10);
    world.blind.extend(["primary", "configs", "scaler"]);
    world.failing.insert("s1:v2".into());
    world.until(Phase::Failed);
    assert_eq!(world.route, Some(Exposure::NONE));
}

#[test]
fn a_new_revision_mid_analysis_starts_again_and_its_gate_is_asked_again() {
    let mut world = canary().hook(HookKind::ConfirmRollout).at(10);
    world.hooks.insert(HookKind::ConfirmRollout, Answer::Refused("not yet".into()));
    world.push("s1:v3");
    world.run(4);
    world.hooks.clear();
    world.until(Phase::Succeeded);
    check(
        &mut world,
        &expect![[r#"
            5726s Waiting 0 (route 10) Restarted [!route 0]
                   - New revision detected! Restarting analysis for backend.develop <Info: New revision detected, progressing canary analysis.>
            5728s Waiting 0 (route 0) WaitingForRolloutApproval
                   - The hook confirm-rollout has not approved the new revision.
            5729s Waiting 0 (route 0) NotDue
            5731s Waiting 0 (route 0) NotDue
            5733s Waiting 0 (route 0) NotDue
            5735s Waiting 0 (route 0) NotDue
            5737s Waiting 0 (route 0) NotDue
            5739s Progressing 0 (route 0) NewRevision
                   - Confirm-rollout check confirm-rollout passed
                   - New revision detected! Scaling up api.develop <Info: New revision detected, progressing canary analysis.>
            5741s Progressing 10 (route 0) Advanced [route 10]
                   - Starting canary analysis for api.develop
                   - Advance backend.develop canary weight 10
            5751s Progressing 50 (route 10) Advanced [route 50]
                   - Advance backend.develop canary weight 50
            5761s Promoting 50 (route 50) Promoting [promote s1:v3]
                   - Copying api.develop template spec to api-primary.develop
            5763s Finalising 0 (route 50) Finalising [route 0]
                   - Routing all traffic to primary
            5765s Finalising 0 (route 0) Draining
            5768s Succeeded 0 (route 0) Promoted [route 0] [scale 0]
                   - Promotion completed! Scaling down api.develop <Info: Canary analysis completed successfully, promotion finished.>
        "#]],
    );
    assert_eq!(world.canary.status.last_promoted_spec, "s1:v3");
}

#[test]
fn a_revert_mid_analysis_ends_it_without_a_promotion() {
    let mut world = canary().at(10);
    world.push("s1:v1");
    world.run(5);
    check(
        &mut world,
        &expect![[r#"
            5726s Succeeded 0 (route 10) Reverted [!route 0]
                   - api.develop went back to the promoted revision s1:v1; the analysis ends without a promotion <Info: Target was reverted, analysis ended.>
            5728s Succeeded 0 (route 0) Draining
            5729s Succeeded 0 (route 0) Draining
            5731s Succeeded 0 (route 0) TargetScaledDown [route 0] [scale 0]
                   - Scaling down api.develop: 2 replicas run at rest, where Deployment api-primary serves; for more capacity scale Deployment api-primary for now, and set replicas in the target for the next release
            5733s Succeeded 0 (route 0) AtRest
        "#]],
    );
    assert_eq!(world.primary.unwrap().generation, 1);
}

#[test]
fn a_rejected_revision_never_starts_again_but_after_a_revert_it_does() {
    let mut world = canary().at(10);
    world.failing.insert("s1:v2".into());
    world.until(Phase::Failed);
    world.run(10);
    assert_eq!(world.canary.status.phase, Some(Phase::Failed));
    // GitOps scales it up again.
    world.target.as_mut().unwrap().replicas = 3;
    world.target.as_mut().unwrap().generation += 1;
    world.run(5);
    assert_eq!(world.canary.status.phase, Some(Phase::Failed));
    assert_eq!(world.target.as_ref().unwrap().replicas, 0);
    world.push("s1:v1");
    world.run(3);
    assert_eq!(world.canary.status.phase, Some(Phase::Failed));
    world.failing.clear();
    world.push("s1:v2");
    world.until(Phase::Succeeded);
}

#[test]
fn another_hash_of_the_same_generation_is_no_release() {
    let mut world = canary().resting();
    world.target.as_mut().unwrap().revision = "s1:same-in-new-words".into();
    world.run(5);
    assert_eq!(world.canary.status.phase, Some(Phase::Initialized));
    assert_eq!(world.canary.status.last_promoted_spec, "s1:same-in-new-words");
    world.blind.insert("configs");
    world.push("s1:v2");
    world.run(5);
    assert_eq!(world.canary.status.phase, Some(Phase::Initialized), "unreadable is no release");
    world.blind.clear();
    world.until(Phase::Succeeded);
}

#[test]
fn a_changed_config_is_a_release() {
    let mut world = canary();
    world.configs.insert("configmap/app".into(), "aa".into());
    world = world.resting();
    world.configs.insert("configmap/app".into(), "bb".into());
    world.until(Phase::Succeeded);
    assert_eq!(world.canary.status.promoted_configs, Some(world.configs.clone()));
}

#[test]
fn a_failed_bootstrap_leaves_the_live_target_alone_and_heals() {
    let mut world = canary();
    world.broken_primary.insert("s1:v1".into());
    world.run(10);
    assert_eq!(world.apex, Selects::Target);
    assert_eq!(world.target.as_ref().unwrap().replicas, 2);
    world.push("s1:v2");
    world.until(Phase::Initialized);
    assert_eq!(world.canary.status.last_promoted_spec, "s1:v2");
    check(
        &mut world,
        &expect![[r#"
              0s Initializing 0 (route -) Initializing [finalizer true] [services] [create s1:v1 x2]
                   - New Deployment detected, starting initialization of backend.develop
              2s Initializing 0 (route -) PrimaryStuck
                   ! The primary cannot start: ImagePullBackOff. Fix the target.
              3s Initializing 0 (route -) PrimaryStuck
            303s Initializing 0 (route -) PrimaryStuck
            603s Initializing 0 (route -) PrimaryStuck
            903s Initializing 0 (route -) PrimaryStuck
            1203s Initializing 0 (route -) PrimaryStuck
            1503s Initializing 0 (route -) PrimaryStuck
            1803s Initializing 0 (route -) PrimaryStuck
            2103s Initializing 0 (route -) PrimaryStuck
            2403s Initializing 0 (route -) PrimaryRepaired [promote s1:v2]
                   - The primary takes up the target's fix.
            2405s Initializing 0 (route -) Initializing [apex to primary]
                   - The traffic moves to the primary.
            2406s Initializing 0 (route 0) Initializing
            2411s Initialized 0 (route 0) Initialized [scale 0]
                   - Initialization done! backend.develop <Info: New Deployment detected, initialization completed.>
        "#]],
    );
}

#[test]
fn a_change_during_bootstrap_is_not_lost() {
    let mut world = canary();
    world.run(2);
    world.push("s1:v2");
    world.until(Phase::Initialized);
    assert_eq!(world.canary.status.last_promoted_spec, "s1:v1");
    world.until(Phase::Succeeded);
    assert_eq!(world.canary.status.last_promoted_spec, "s1:v2");
}

#[test]
fn a_promotion_that_kills_the_primary_keeps_the_users_on_the_canary() {
    let mut world = canary().at(50);
    world.broken_primary.insert("s1:v2".into());
    world.until(Phase::Failed);
    world.run(3);
    assert_eq!(world.route, Some(Exposure::share(Weight::FULL)));
    // The next push is not what was analysed; nothing else serves, so the primary takes it up.
    world.push("s1:v3");
    world.until(Phase::Succeeded);
    assert_eq!(world.route, Some(Exposure::NONE));
    check(
        &mut world,
        &expect![[r#"
            5736s Promoting 50 (route 50) Promoting [promote s1:v2]
                   - Copying api.develop template spec to api-primary.develop
            5738s Failed 100 (route 50) PromotionFailed [route 100]
                   ! Promotion failed, primary not ready: ImagePullBackOff <Error: Promotion failed, primary not ready: ImagePullBackOff>
            5739s Failed 100 (route 100) PromotionFailed
            6039s Failed 100 (route 100) PromotionFailed
            6339s Failed 100 (route 100) PromotionFailed
            6639s Failed 100 (route 100) PromotionFailed
            6642s Promoting 100 (route 100) PrimaryRepaired [promote s1:v3]
                   - Nothing else can serve: the primary takes up the target's fix.
            6644s Finalising 0 (route 100) Finalising [route 0]
                   - Routing all traffic to primary
            6646s Finalising 0 (route 0) Draining
            6649s Succeeded 0 (route 0) Promoted [route 0] [scale 0]
                   - Promotion completed! Scaling down api.develop <Info: Canary analysis completed successfully, promotion finished.>
        "#]],
    );
}

#[test]
fn a_stranded_canary_goes_home_when_the_primary_heals() {
    let mut world = canary().at(50);
    world.broken_primary.insert("s1:v2".into());
    world.until(Phase::Failed);
    world.run(2);
    world.broken_primary.clear();
    world.until(Phase::Succeeded);
    assert_eq!(world.route, Some(Exposure::NONE));
}

#[test]
fn the_way_back_to_the_primary_can_have_steps() {
    let mut world = canary().weighted(&[100]).spec(|spec| {
        spec.analysis.schedule = Schedule::weighted([Weight::FULL], Some(Weight::saturating(50)));
    });
    world = world.resting();
    world.push("s1:v2");
    world.until(Phase::Succeeded);
    check(
        &mut world,
        &expect![[r#"
            5713s Progressing 0 (route 0) NewRevision [scale 2]
                   - New revision detected! Scaling up api.develop <Info: New revision detected, progressing canary analysis.>
            5715s Progressing 0 (route 0) CanaryNotReady
                   - The canary is not ready: pods start
            5716s Progressing 100 (route 0) Advanced [route 100]
                   - Starting canary analysis for api.develop
                   - Advance backend.develop canary weight 100
            5726s Promoting 100 (route 100) Promoting [promote s1:v2]
                   - Copying api.develop template spec to api-primary.develop
            5728s Promoting 100 (route 100) NotDue
            5736s Promoting 50 (route 100) PromotionStep [route 50]
                   - Advance backend.develop primary weight 50
            5746s Finalising 0 (route 50) Finalising [route 0]
                   - Routing all traffic to primary
            5748s Finalising 0 (route 0) Draining
            5751s Succeeded 0 (route 0) Promoted [route 0] [scale 0]
                   - Promotion completed! Scaling down api.develop <Info: Canary analysis completed successfully, promotion finished.>
        "#]],
    );
}

#[test]
fn skip_analysis_still_waits_for_the_primary() {
    let mut world = canary().spec(|spec| spec.skip_analysis = true).resting();
    world.push("s1:v2");
    world.until(Phase::Succeeded);
    check(
        &mut world,
        &expect![[r#"
            5713s Progressing 0 (route 0) NewRevision [scale 2]
                   - New revision detected! Scaling up api.develop <Info: New revision detected, progressing canary analysis.>
            5715s Progressing 0 (route 0) CanaryNotReady
                   - The canary is not ready: pods start
            5716s Promoting 0 (route 0) Promoting [promote s1:v2]
                   - Copying api.develop template spec to api-primary.develop
            5718s Finalising 0 (route 0) Finalising [route 0]
                   - Routing all traffic to primary
            5720s Finalising 0 (route 0) Draining
            5723s Succeeded 0 (route 0) PromotedUnanalysed [route 0] [scale 0]
                   - Promotion completed! Canary analysis was skipped for api.develop <Info: Canary analysis was skipped, promotion finished.>
        "#]],
    );
}

#[test]
fn gates_say_it_once() {
    let mut world =
        canary().hook(HookKind::ConfirmTrafficIncrease).hook(HookKind::ConfirmPromotion).resting();
    let no = Answer::Refused("wait".into());
    world.hooks.insert(HookKind::ConfirmTrafficIncrease, no.clone());
    world.hooks.insert(HookKind::ConfirmPromotion, no);
    world.push("s1:v2");
    world.run(6);
    world.hooks.remove(&HookKind::ConfirmTrafficIncrease);
    world.run(5);
    world.hooks.clear();
    world.until(Phase::Succeeded);
    check(
        &mut world,
        &expect![[r#"
            5713s Progressing 0 (route 0) NewRevision [scale 2]
                   - New revision detected! Scaling up api.develop <Info: New revision detected, progressing canary analysis.>
            5715s Progressing 0 (route 0) CanaryNotReady
                   - The canary is not ready: pods start
            5716s Progressing 0 (route 0) WaitingForTrafficApproval
                   - Starting canary analysis for api.develop
                   ! Halt backend.develop waiting for traffic increase approval confirm-traffic-increase <Warn: Canary traffic increase is waiting for approval.>
            5726s Progressing 0 (route 0) WaitingForTrafficApproval
            5736s Progressing 0 (route 0) WaitingForTrafficApproval
            5746s Progressing 0 (route 0) WaitingForTrafficApproval
            5756s Progressing 10 (route 0) Advanced [route 10]
                   - Confirm-traffic-increase check confirm-traffic-increase passed
                   - Advance backend.develop canary weight 10
            5766s Progressing 50 (route 10) Advanced [route 50]
                   - Confirm-traffic-increase check confirm-traffic-increase passed
                   - Advance backend.develop canary weight 50
            5776s WaitingPromotion 50 (route 50) WaitingForPromotionApproval
                   ! Halt backend.develop advancement waiting for promotion approval confirm-promotion <Warn: Canary promotion is waiting for approval.>
            5786s WaitingPromotion 50 (route 50) WaitingForPromotionApproval
            5796s WaitingPromotion 50 (route 50) WaitingForPromotionApproval
            5806s Promoting 50 (route 50) Promoting [promote s1:v2]
                   - Confirm-promotion check confirm-promotion passed
                   - Copying api.develop template spec to api-primary.develop
            5808s Finalising 0 (route 50) Finalising [route 0]
                   - Routing all traffic to primary
            5810s Finalising 0 (route 0) Draining
            5813s Succeeded 0 (route 0) Promoted [route 0] [scale 0]
                   - Promotion completed! Scaling down api.develop <Info: Canary analysis completed successfully, promotion finished.>
        "#]],
    );
}

#[test]
fn a_rollback_hook_works_in_every_phase_with_traffic() {
    for phase in [Phase::Progressing, Phase::WaitingPromotion, Phase::Promoting] {
        let mut world = canary().hook(HookKind::Rollback).hook(HookKind::ConfirmPromotion).at(50);
        if phase == Phase::WaitingPromotion {
            world.hooks.insert(HookKind::ConfirmPromotion, Answer::Refused("no".into()));
        }
        world.until(phase);
        if phase == Phase::Promoting {
            // A primary that takes its time.
            world.primary.as_mut().unwrap().ready_at = super::world::later(world.now, 40);
        }
        world.hooks.insert(HookKind::Rollback, Answer::Approved);
        world.until(Phase::Failed);
        assert_eq!(world.route, Some(Exposure::NONE), "{}", phase.name());
    }
}

#[test]
fn no_data_and_unreachable_count_but_have_their_own_reasons() {
    for (answer, code) in [
        (Answer::NoData("empty".into()), "NoData"),
        (Answer::Unreachable("refused".into()), "CannotMeasure"),
        (Answer::Value(7.0), "CheckFailed"),
    ] {
        let mut world = canary().at(10);
        world.metric = Some(answer);
        while world.canary.status.failed_checks == 0 {
            world.run(1);
        }
        assert_eq!(world.canary.status.last_reason.as_ref().unwrap().code, code);
        world.until(Phase::Failed);
    }
}

#[test]
fn what_is_not_known_is_waited_for_or_passed_where_a_metric_asks_for_it() {
    let unknown = [
        (Answer::NoData("empty".into()), "NoData", "noData"),
        (Answer::Unreachable("refused".into()), "CannotMeasure", "cannotMeasure"),
    ];
    for (answer, code, verdict) in unknown {
        for policy in [Policy::Hold, Policy::Pass] {
            let mut world = canary().at(10);
            let metric = &mut world.canary.spec.analysis.metrics[0];
            (metric.no_data, metric.cannot_measure) = (policy, policy);
            world.metric = Some(answer.clone());
            world.run(30);
            let status = &world.canary.status;
            assert_eq!(status.failed_checks, 0, "{verdict} {}", policy.name());
            let holds = policy == Policy::Hold;
            assert_eq!(status.phase == Some(Phase::Progressing), holds, "{:?}", status.phase);
            if holds {
                assert_eq!(
                    (status.last_reason.as_ref().unwrap().code.as_str(), status.canary_weight),
                    (code, 10)
                );
                assert_eq!(status.checks.last().unwrap().verdict, verdict);
                let halts = world.take_log().lines().filter(|line| line.contains("! ")).count();
                assert_eq!(halts, 1, "people are told once");
                // It goes on as soon as something is known.
                world.metric = None;
                world.until(Phase::Succeeded);
            }
        }
    }
}

#[test]
fn an_empty_window_that_begins_before_the_traffic_is_waited_for() {
    let mut world = canary().window(60).at(10);
    world.metric = Some(Answer::NoData("empty".into()));
    let begun = world.now;
    world.until(Phase::Failed);
    let took = world.now.duration_since(begun).as_secs();
    assert!(
        (60..=90).contains(&took),
        "the window is a minute long, the second check fails: {took}"
    );
    let log = world.take_log();
    assert!(log.contains("begins before the canary's first request"), "{log}");

    let mut world = canary().window(60).at(10);
    world.metric = Some(Answer::NoData("empty".into()));
    world.run(3);
    assert_eq!((world.canary.status.failed_checks, world.canary.status.canary_weight), (0, 10));
    world.metric = None;
    world.until(Phase::Succeeded);
}

#[test]
fn a_policy_for_what_is_not_known_never_excuses_what_is() {
    let mut world = canary().at(10);
    let metric = &mut world.canary.spec.analysis.metrics[0];
    (metric.no_data, metric.cannot_measure) = (Policy::Pass, Policy::Hold);
    world.metric = Some(Answer::Value(7.0));
    world.until(Phase::Failed);
}

#[test]
fn a_canary_without_endpoints_loses_its_share_at_once() {
    let mut world = canary().at(10);
    let now = world.now;
    world.target.as_mut().unwrap().ready_at = super::world::later(now, 7);
    let plan = world.tick();
    assert_eq!(plan.lower, Some(Exposure::NONE));
    assert_eq!(plan.status.canary_weight, 0);
    world.until(Phase::Succeeded);
}

#[test]
fn a_route_by_hand_goes_down_at_once_and_up_only_with_a_passed_check() {
    let mut world = canary().at(10);
    world.route = Some(Exposure::share(Weight::saturating(60)));
    let plan = world.tick();
    assert_eq!(plan.lower, Some(Exposure::share(Weight::saturating(10))));
    world.route = Some(Exposure::share(Weight::saturating(3)));
    world.failing.insert("s1:v2".into());
    while world.canary.status.failed_checks == 0 {
        world.tick();
    }
    assert_eq!(world.route, Some(Exposure::share(Weight::saturating(3))));
    world.failing.clear();
    world.until(Phase::Succeeded);
    check(
        &mut world,
        &expect![[r#"
            5726s Progressing 10 (route 60) RouteLowered [!route 10]
                   - The route gave the canary 60 %, lowered to 10 %.
            5728s Progressing 10 (route 3) CheckFailed
                   ! Halt backend.develop advancement errors 7.00 > 1
            5738s Progressing 10 (route 3) RouteRepaired [route 10]
                   - The route had 3 % and has 10 % again.
            5748s Progressing 50 (route 10) Advanced [route 50]
                   - Advance backend.develop canary weight 50
            5758s Promoting 50 (route 50) Promoting [promote s1:v2]
                   - Copying api.develop template spec to api-primary.develop
            5760s Finalising 0 (route 50) Finalising [route 0]
                   - Routing all traffic to primary
            5762s Finalising 0 (route 0) Draining
            5765s Succeeded 0 (route 0) Promoted [route 0] [scale 0]
                   - Promotion completed! Scaling down api.develop <Info: Canary analysis completed successfully, promotion finished.>
        "#]],
    );
}

#[test]
fn a_canary_that_never_starts_is_rolled_back() {
    let mut world = canary().resting();
    world.broken.insert("s1:v2".into());
    world.push("s1:v2");
    world.until(Phase::Failed);
    world.run(6);
    assert_eq!(world.target.as_ref().unwrap().replicas, 0);
    world.push("s1:v3");
    world.until(Phase::Succeeded);
}

#[test]
fn leaving_gives_the_target_its_traffic_before_the_primary_goes() {
    let mut world = canary().spec(|spec| spec.revert_on_deletion = true).at(10);
    assert!(world.canary.has_finalizer);
    world.canary.deleting = true;
    world.run(30);
    assert!(world.gone);
    check(
        &mut world,
        &expect![[r#"
            5726s Terminating 0 (route 10) Terminating [!route 0] [apex to target]
                   ! Terminating canary backend.develop: its target takes the traffic with revision s1:v2, which was not promoted
            5728s Terminating 0 (route 0) Terminating [restore route]
            5733s Terminating 0 (route -) Terminated [restore route] [finalizer false]
                   - Terminated canary backend.develop
        "#]],
    );
}

#[test]
fn a_target_that_cannot_take_over_is_said_to_hold_the_deletion() {
    let mut world = canary().spec(|spec| spec.revert_on_deletion = true).resting();
    world.broken.insert("s1:v2".into());
    world.push("s1:v2");
    world.run(2);
    world.canary.deleting = true;
    world.run(4);
    assert!(!world.gone);
    let status = &world.canary.status;
    let stalled = status.conditions.iter().find(|condition| condition.kind == "Stalled").unwrap();
    assert_eq!((stalled.status.as_str(), stalled.reason.as_str()), ("True", "TargetNotReady"));
    check(
        &mut world,
        &expect![[r#"
        5713s Progressing 0 (route 0) NewRevision [scale 2]
               - New revision detected! Scaling up api.develop <Info: New revision detected, progressing canary analysis.>
        5715s Failed 0 (route 0) CanaryStuck [!route 0]
               ! Rolling back backend.develop progress deadline exceeded ImagePullBackOff <Error: Progress deadline exceeded ImagePullBackOff>
               ! Canary failed! Scaling down backend.develop
        5716s Terminating 0 (route 0) TargetNotReady
               ! Terminating canary backend.develop: its target takes the traffic with revision s1:v2, which was not promoted
               ! The target cannot take the traffic back: ImagePullBackOff. Repair it, or let go of the traffic with revertOnDeletion: false.
        5718s Terminating 0 (route 0) TargetNotReady
        5720s Terminating 0 (route 0) TargetNotReady
        5722s Terminating 0 (route 0) TargetNotReady
    "#]],
    );
    world.broken.clear();
    world.run(200);
    assert!(world.gone);
}

#[test]
fn flaggers_canaries_are_adopted_without_an_analysis() {
    for phase in [Phase::Initialized, Phase::Succeeded, Phase::Failed] {
        let mut world = canary().resting();
        world.canary.status = Status {
            phase: Some(phase),
            last_applied_spec: "5f56684589".into(),
            last_promoted_spec: "5f56684589".into(),
            tracked_configs: Some(world.configs.clone()),
            ..Status::default()
        };
        world.primary.as_mut().unwrap().revision = "s1:v1".into();
        world.run(5);
        assert_eq!(world.canary.status.phase, Some(phase));
        assert_eq!(world.canary.status.last_applied_spec, "s1:v1");
        assert_eq!(world.canary.status.last_promoted_spec, "s1:v1");
        world.push("s1:v2");
        world.until(Phase::Succeeded);
    }
}

#[test]
fn flaggers_analysis_under_way_begins_once_more() {
    let mut world = canary().at(10);
    world.canary.status.last_applied_spec = "5f56684589".into();
    world.canary.status.last_promoted_spec = "7d56684581".into();
    world.canary.status.target_generation = None;
    let plan = world.tick();
    assert_eq!(plan.lower, Some(Exposure::NONE));
    world.until(Phase::Succeeded);
}

#[test]
fn whatever_flagger_was_doing_its_adoption_is_told_once() {
    let phases = [
        Phase::Initialized,
        Phase::Waiting,
        Phase::Progressing,
        Phase::WaitingPromotion,
        Phase::Promoting,
        Phase::Finalising,
        Phase::Succeeded,
        Phase::Failed,
    ];
    for phase in phases {
        for promoted in ["s1:v1", "s1:v2"] {
            let mut world = canary().at(10);
            let status = &mut world.canary.status;
            status.phase = Some(phase);
            status.last_applied_spec = "5f56684589".into();
            status.last_promoted_spec = "7d56684581".into();
            status.target_generation = None;
            world.primary.as_mut().unwrap().revision = promoted.into();
            let mut told = 0;
            for _ in 0..30 {
                let plan = world.tick();
                told += plan.notices.iter().filter(|one| one.reason == Reason::Adopted).count();
            }
            assert_eq!(told, 1, "{phase:?} beside {promoted}");
        }
    }
}

#[test]
fn a_duplicate_stays_out_of_the_way() {
    let world = canary().resting();
    let mut seen = world.observe();
    seen.duplicate_of =
        Some(Duplicate { older: Key::new("develop", "older"), object: "Deployment api".into() });
    let step = crate::step::step(&world.canary, &seen, world.now, &world.settings);
    let crate::plan::Step::Act(plan) = step else { panic!("{step:?}") };
    assert!(plan.actions.is_empty() && plan.lower.is_none());
    assert_eq!(plan.explanation.reason.code(), "DuplicateTarget");
}

#[test]
fn a_spec_that_became_invalid_takes_the_canary_off_the_road_and_comes_back() {
    let mut world = canary().at(50);
    let errors = [Finding::error("spec.analysis.stepWeights", "steps rise")];
    let route = Seen::Present(world.route.unwrap());
    let status = world.canary.status.clone();
    let plan = crate::step::invalid(&status, 2, &errors, &route, world.now);
    assert_eq!(plan.lower, Some(Exposure::NONE));
    assert_eq!(plan.notices.len(), 1);
    let route = Seen::Present(Exposure::NONE);
    let again = crate::step::invalid(&plan.status, 2, &errors, &route, plan.next);
    assert_eq!(again.status, plan.status);
    assert!(again.notices.is_empty() && again.lower.is_none());
    world.canary.status = plan.status;
    world.route = Some(Exposure::NONE);
    world.until(Phase::Succeeded);
}

#[test]
fn blue_green_without_a_router() {
    let mut world = canary().blue_green(1).resting();
    world.push("s1:v2");
    world.until(Phase::Succeeded);
    check(
        &mut world,
        &expect![[r#"
            5713s Progressing 0 (route -) NewRevision [scale 2]
                   - New revision detected! Scaling up api.develop <Info: New revision detected, progressing canary analysis.>
            5715s Progressing 0 (route -) CanaryNotReady
                   - The canary is not ready: pods start
            5716s Progressing 0 (route -) IterationPassed
                   - Starting canary analysis for api.develop
                   - Advance backend.develop canary iteration 1/1
            5726s Promoting 0 (route -) Promoting [promote s1:v2]
                   - Copying api.develop template spec to api-primary.develop
            5728s Finalising 0 (route -) Finalising
                   - All traffic goes to the promoted primary.
            5730s Finalising 0 (route -) Draining
            5733s Succeeded 0 (route -) Promoted [scale 0]
                   - Promotion completed! Scaling down api.develop <Info: Canary analysis completed successfully, promotion finished.>
        "#]],
    );
}

#[test]
fn an_autoscaler_that_is_missing_holds_the_start_but_no_rollback() {
    let scaler = || ScalerRef { name: "hpa".into(), min_replicas: None, max_replicas: None };
    let mut world = canary().spec(|spec| spec.scaler = Some(scaler())).resting();
    assert!(world.scaler_copied);
    world.blind.insert("scaler");
    world.push("s1:v2");
    world.run(5);
    assert_eq!(world.canary.status.phase, Some(Phase::Initialized));
    world.blind.clear();
    world.until(Phase::Progressing);
    world.run(3);
    world.blind.insert("scaler");
    world.failing.insert("s1:v2".into());
    world.until(Phase::Failed);
}

#[test]
fn conditions_tell_kstatus_where_it_stands() {
    let told = |world: &World| {
        let conditions = world.canary.status.conditions.iter();
        let words = conditions.map(|one| format!("{}={} {}", one.kind, one.status, one.reason));
        words.collect::<Vec<_>>().join(", ")
    };
    let mut world = canary().at(10);
    let progressing = told(&world);
    world.failing.insert("s1:v2".into());
    world.until(Phase::Failed);
    world.run(5);
    let failed = told(&world);
    world.push("s1:v3");
    world.until(Phase::Succeeded);
    expect![[r#"
        Promoted=Unknown Progressing, Ready=Unknown Progressing, Reconciling=True Progressing, Stalled=False Working, SpecValid=True Valid
        Promoted=False Failed, Ready=False Failed, Reconciling=False Failed, Stalled=True Failed, SpecValid=True Valid
        Promoted=True Succeeded, Ready=True Succeeded, Reconciling=False Succeeded, Stalled=False Working, SpecValid=True Valid"#]].assert_eq(&[progressing, failed, told(&world)].join("\n"));
}
