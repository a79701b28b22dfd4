//! What people ask of a release: once, for the release that they mean, in every phase.

use expect_test::{Expect, expect};

use super::world::{World, canary, later};
use crate::control::Command;
use crate::model::*;
use crate::observed::{Answer, Guard};

fn check(world: &mut World, expected: &Expect) {
    let log = world.take_log();
    let outcomes = std::mem::take(&mut world.outcomes);
    expected.assert_eq(&format!("{log}{}\n", outcomes.join("\n")));
}

fn refuse() -> Answer {
    Answer::Refused("no".to_owned())
}

fn at_ten() -> World {
    let mut world = canary().resting();
    world.push("s1:v2");
    while world.canary.status.canary_weight < 10 {
        world.run(1);
    }
    world.take_log();
    world
}

#[test]
fn an_abort_takes_the_traffic_at_once_and_rejects_the_revision() {
    let mut world = at_ten();
    world.ask_for(Command::Abort);
    world.run(6);
    assert_eq!(world.canary.status.phase, Some(Phase::Failed));
    check(
        &mut world,
        &expect![[r#"
        5726s Failed 0 (route 10) Aborted [!route 0]
               - abort by kim: incident 7: the primary has the traffic
               ! Rolling back backend.develop aborted by kim: incident 7 <Warn: Aborted by kim: incident 7>
               ! Canary failed! Scaling down backend.develop
        5731s Failed 0 (route 0) RolledBack [route 0] [scale 0]
        5733s Failed 0 (route 0) AtRest
        5734s Failed 0 (route 0) AtRest
        6034s Failed 0 (route 0) AtRest
        6334s Failed 0 (route 0) AtRest
        abort Done: the primary has the traffic
    "#]],
    );
    world.ask_for(Command::Retry);
    world.run(3);
    check(
        &mut world,
        &expect![[r#"
            6634s Progressing 0 (route 0) NewRevision [scale 2]
                   - retry by kim: incident 7: it is analysed again
                   - New revision detected! Scaling up api.develop <Info: New revision detected, progressing canary analysis.>
            6636s Progressing 0 (route 0) CanaryNotReady
                   - The canary is not ready: pods start
            6637s Progressing 10 (route 0) Advanced [route 10]
                   - Starting canary analysis for api.develop
                   - Advance backend.develop canary weight 10
            retry Done: it is analysed again
        "#]],
    );
}

#[test]
fn an_abort_works_where_everything_else_waits() {
    // At the gate of its start, at the gate of its promotion, while it is promoted, and under suspension.
    let mut starting = canary().hook(HookKind::ConfirmRollout).resting();
    starting.hooks.insert(HookKind::ConfirmRollout, refuse());
    starting.push("s1:v2");
    starting.until(Phase::Waiting);
    let mut ending = canary().hook(HookKind::ConfirmPromotion).resting();
    ending.hooks.insert(HookKind::ConfirmPromotion, refuse());
    ending.push("s1:v2");
    ending.until(Phase::WaitingPromotion);
    let mut promoting = canary().resting();
    promoting.push("s1:v2");
    promoting.broken_primary.insert("s1:v2".to_owned());
    promoting.until(Phase::Promoting);
    let mut suspended = at_ten();
    suspended.canary.spec.suspend = true;
    for (name, mut world) in [
        ("starting", starting),
        ("ending", ending),
        ("promoting", promoting),
        ("suspended", suspended),
    ] {
        world.blind.insert("primary");
        world.ask_for(Command::Abort);
        let plan = world.tick();
        assert_eq!(plan.status.phase, Some(Phase::Failed), "{name}");
        assert!(plan.status.exposure().is_none(), "{name}");
        world.blind.clear();
        world.run(5);
        assert_eq!(world.canary.status.phase, Some(Phase::Failed), "{name} stays rejected");
    }
}

#[test]
fn a_pause_holds_what_rises_and_nothing_else() {
    let mut world = at_ten();
    world.ask_for(Command::Pause);
    world.run(6);
    assert_eq!(world.canary.status.canary_weight, 10);
    world.ask_for(Command::Resume);
    world.until(Phase::Succeeded);
    check(
        &mut world,
        &expect![[r#"
            5726s Progressing 10 (route 10) Paused
                   - pause by kim: incident 7: nothing is raised until it is resumed; checks go on
                   - The release is paused by kim: incident 7.
            5736s Progressing 10 (route 10) Paused
            5746s Progressing 10 (route 10) Paused
            5756s Progressing 10 (route 10) Paused
            5766s Progressing 10 (route 10) Paused
            5776s Progressing 10 (route 10) Paused
            5786s Progressing 50 (route 10) Advanced [route 50]
                   - resume by kim: incident 7: it goes on
                   - Advance backend.develop canary weight 50
            5796s Promoting 50 (route 50) Promoting [promote s1:v2]
                   - Copying api.develop template spec to api-primary.develop
            5798s Finalising 0 (route 50) Finalising [route 0]
                   - Routing all traffic to primary
            5800s Finalising 0 (route 0) Draining
            5803s Succeeded 0 (route 0) Promoted [route 0] [scale 0]
                   - Promotion completed! Scaling down api.develop <Info: Canary analysis completed successfully, promotion finished.>
            pause Done: nothing is raised until it is resumed; checks go on
            resume Done: it goes on
        "#]],
    );

    let mut world = at_ten();
    world.ask_for(Command::Pause);
    world.run(2);
    world.failing.insert("s1:v2".to_owned());
    world.until(Phase::Failed);
}

#[test]
fn a_promotion_by_hand_passes_over_the_rest() {
    let mut world = at_ten();
    world.ask_for(Command::Promote);
    world.until(Phase::Succeeded);
    check(
        &mut world,
        &expect![[r#"
            5726s Promoting 10 (route 10) Promoting [promote s1:v2]
                   - promote by kim: incident 7: it is promoted as soon as the canary is ready, without the rest of its analysis
                   - Copying api.develop template spec to api-primary.develop
            5728s Finalising 0 (route 10) Finalising [route 0]
                   - Routing all traffic to primary
            5730s Finalising 0 (route 0) Draining
            5733s Succeeded 0 (route 0) PromotedUnanalysed [route 0] [scale 0]
                   - Promotion completed by kim: incident 7! Scaling down api.develop <Info: Promoted by kim: incident 7, promotion finished.>
            promote Done: it is promoted as soon as the canary is ready, without the rest of its analysis
        "#]],
    );
}

#[test]
fn the_guard_overrules_a_promotion_by_hand() {
    let mut world = at_ten();
    world.ask_for(Command::Promote);
    world.run(1);
    world.guard = Guard::RollBack("too many errors".to_owned());
    world.run(1);
    assert_eq!(world.canary.status.phase, Some(Phase::Failed));
}

#[test]
fn a_step_and_a_share_by_hand() {
    let mut world = at_ten();
    world.ask_for(Command::Advance);
    world.run(1);
    assert_eq!(world.canary.status.canary_weight, 50);
    world.ask_for(Command::SetWeight(Weight::saturating(20)));
    world.run(4);
    assert_eq!(world.canary.status.canary_weight, 20, "it is paused there");
    world.ask_for(Command::SetWeight(Weight::saturating(30)));
    world.run(1);
    world.ask_for(Command::Resume);
    world.until(Phase::Succeeded);
    check(
        &mut world,
        &expect![[r#"
        5726s Progressing 50 (route 10) Advanced [route 50]
               - advance by kim: incident 7: the next stage begins
               - Advance backend.develop canary weight 50
        5736s Progressing 20 (route 50) Paused [!route 20]
               - set-weight 20 by kim: incident 7: the canary gets 20 %, and the release is paused
               - The canary gets 20 %, by kim: incident 7; the release is paused.
        5746s Progressing 20 (route 20) Paused
        5756s Progressing 20 (route 20) Paused
        5766s Progressing 20 (route 20) Paused
        5776s Progressing 30 (route 20) Paused [route 30]
               - set-weight 30 by kim: incident 7: the canary gets 30 %, and the release is paused
        5786s Progressing 50 (route 30) Advanced [route 50]
               - resume by kim: incident 7: it goes on
               - Advance backend.develop canary weight 50
        5796s Promoting 50 (route 50) Promoting [promote s1:v2]
               - Copying api.develop template spec to api-primary.develop
        5798s Finalising 0 (route 50) Finalising [route 0]
               - Routing all traffic to primary
        5800s Finalising 0 (route 0) Draining
        5803s Succeeded 0 (route 0) Promoted [route 0] [scale 0]
               - Promotion completed! Scaling down api.develop <Info: Canary analysis completed successfully, promotion finished.>
        advance Done: the next stage begins
        set-weight Done: the canary gets 20 %, and the release is paused
        set-weight Done: the canary gets 30 %, and the release is paused
        resume Done: it goes on
    "#]],
    );
}

#[test]
fn gates_are_decided_in_the_place_of_hooks() {
    let mut world =
        canary().hook(HookKind::ConfirmRollout).hook(HookKind::ConfirmPromotion).resting();
    world.hooks.insert(HookKind::ConfirmRollout, refuse());
    world.hooks.insert(HookKind::ConfirmPromotion, refuse());
    world.push("s1:v2");
    world.until(Phase::Waiting);
    world.take_log();
    world.ask_for(Command::Approve { gate: "other".to_owned() });
    world.ask_for(Command::Approve { gate: "confirm-rollout".to_owned() });
    world.until(Phase::WaitingPromotion);
    world.ask_for(Command::Approve { gate: "confirm-promotion".to_owned() });
    world.until(Phase::Succeeded);
    check(
        &mut world,
        &expect![[r#"
        5716s Progressing 0 (route 0) NewRevision [scale 2]
               ! approve other is refused: no hook that confirms has this name; there are confirm-rollout, confirm-promotion
               - approve confirm-rollout by kim: incident 7: the hook is taken to approve, for this release
               - Confirm-rollout check confirm-rollout passed
               - New revision detected! Scaling up api.develop <Info: New revision detected, progressing canary analysis.>
        5718s Progressing 0 (route 0) CanaryNotReady
               - The canary is not ready: pods start
        5719s Progressing 10 (route 0) Advanced [route 10]
               - Starting canary analysis for api.develop
               - Advance backend.develop canary weight 10
        5729s Progressing 50 (route 10) Advanced [route 50]
               - Advance backend.develop canary weight 50
        5739s WaitingPromotion 50 (route 50) WaitingForPromotionApproval
               ! Halt backend.develop advancement waiting for promotion approval confirm-promotion <Warn: Canary promotion is waiting for approval.>
        5749s Promoting 50 (route 50) Promoting [promote s1:v2]
               - approve confirm-promotion by kim: incident 7: the hook is taken to approve, for this release
               - Confirm-promotion check confirm-promotion passed
               - Copying api.develop template spec to api-primary.develop
        5751s Finalising 0 (route 50) Finalising [route 0]
               - Routing all traffic to primary
        5753s Finalising 0 (route 0) Draining
        5756s Succeeded 0 (route 0) Promoted [route 0] [scale 0]
               - Promotion completed! Scaling down api.develop <Info: Canary analysis completed successfully, promotion finished.>
        approve Refused: no hook that confirms has this name; there are confirm-rollout, confirm-promotion
        approve Done: the hook is taken to approve, for this release
        approve Done: the hook is taken to approve, for this release
    "#]],
    );

    // The next release asks again.
    world.push("s1:v3");
    world.until(Phase::Waiting);
}

#[test]
fn what_is_meant_for_another_release_does_nothing() {
    let mut world = at_ten();
    world.ask_for(Command::Promote);
    world.ask_for(Command::Abort);
    world.requests.iter_mut().for_each(|request| request.release = "s1:v1".to_owned());
    world.run(1);
    assert_eq!(world.canary.status.phase, Some(Phase::Progressing));
    assert!(world.canary.status.control.is_none());
    check(
        &mut world,
        &expect![[r#"
        5726s Progressing 50 (route 10) Advanced [route 50]
               ! promote is refused: it is meant for s1:v1, and the release now is s1:v2
               ! abort is refused: it is meant for s1:v1, and the release now is s1:v2
               - Advance backend.develop canary weight 50
        promote Refused: it is meant for s1:v1, and the release now is s1:v2
        abort Refused: it is meant for s1:v1, and the release now is s1:v2
    "#]],
    );

    // A promotion by hand that was noted says nothing of the revision that comes next.
    world.ask_for(Command::Pause);
    world.run(1);
    world.push("s1:v3");
    world.run(1);
    world.until(Phase::Succeeded);
}

#[test]
fn what_cannot_be_done_in_time_expires() {
    let mut world = at_ten();
    world.ask_for(Command::SetWeight(Weight::saturating(40)));
    world.blind.insert("route");
    world.run(3);
    assert!(world.outcomes.is_empty());
    world.requests.iter_mut().for_each(|request| request.expires = later(world.now, -1));
    world.run(1);
    world.take_log();
    check(
        &mut world,
        &expect![[r#"
        set-weight Expired: It could not be carried out before its time was over.
    "#]],
    );
}

#[test]
fn a_crash_before_the_answer_does_nothing_twice() {
    let mut world = at_ten();
    world.ask_for(Command::Advance);
    world.crash_after = Some(1);
    world.run(1);
    assert_eq!(world.requests.len(), 1, "nobody was told");
    assert_eq!(world.canary.status.canary_weight, 50);
    world.take_log();
    world.run(1);
    check(
        &mut world,
        &expect![[r#"
        5736s Progressing 50 (route 10) RouteRepaired [route 50]
               - The route had 10 % and has 50 % again.
        advance Done: It was carried out.
    "#]],
    );
    assert_eq!(world.canary.status.canary_weight, 50);
}

#[test]
fn a_promotion_is_undone_where_something_is_kept() {
    let mut world = canary().resting();
    world.push("s1:v2");
    world.until(Phase::Succeeded);
    world.take_log();
    world.ask_for(Command::Undo);
    world.run(1);
    assert_eq!(world.canary.status.phase, Some(Phase::Succeeded));
    check(
        &mut world,
        &expect![[r#"
        5745s Succeeded 0 (route 0) AtRest
               ! undo is refused: nothing is kept that the primary could go back to; analysis.guard.soak keeps it from the next promotion on
        undo Refused: nothing is kept that the primary could go back to; analysis.guard.soak keeps it from the next promotion on
    "#]],
    );

    let mut world = canary().guarded(Pace::Fixed, 0, Some(20)).resting();
    world.push("s1:v2");
    world.until(Phase::Succeeded);
    // The watch is over, and what the primary ran is still kept.
    while world.canary.status.soak.is_some() {
        world.run(1);
    }
    world.take_log();
    world.ask_for(Command::Undo);
    world.run(4);
    assert_eq!(world.primary.as_ref().unwrap().revision, "s1:v1");
    check(
        &mut world,
        &expect![[r#"
        5765s Failed 0 (route 0) Undoing [undo s1:v1]
               - undo by kim: incident 7: the primary goes back to s1:v1
               ! Undoing backend.develop by kim: incident 7 <Warn: Promotion is undone by kim: incident 7>
        5767s Failed 0 (route 0) Undone
               - api.develop runs what it ran before
        5769s Failed 0 (route 0) AtRest
        6069s Failed 0 (route 0) AtRest
        undo Done: the primary goes back to s1:v1
    "#]],
    );
}
