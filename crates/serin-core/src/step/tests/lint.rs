//! The lint finds what it is there for: plans made bad on purpose.

use super::world::{World, canary, later};
use crate::lint::lint;
use crate::model::{Exposure, Phase, Running, Weight};
use crate::observed::{Guard, Selects};
use crate::plan::{Action, Plan};
use crate::reason::Reason;
use crate::step::{Settings, unlawful};

fn route(weight: u32) -> Action {
    Action::Route(Exposure::share(Weight::saturating(weight)))
}

fn share(weight: u32) -> Option<Exposure> {
    Some(Exposure::share(Weight::saturating(weight)))
}

/// The laws that a plan breaks once it is made bad.
fn laws(mut world: World, spoil: impl FnOnce(&mut World, &mut Plan)) -> Vec<u8> {
    let mut plan = world.decide();
    spoil(&mut world, &mut plan);
    let breaches = lint(&world.canary, &world.observe(), &plan, world.now);
    breaches.into_iter().map(|breach| breach.law.number()).collect()
}

#[test]
fn bad_plans_are_found() {
    let at = |weight| canary().weighted(&[10, 20, 50]).at(weight);
    assert_eq!(laws(at(10), |_, _| {}), [0u8; 0]);
    assert_eq!(laws(at(10), |_, plan| plan.lower = share(60)), [2, 2]);
    assert!(laws(at(10), |_, plan| plan.actions.push(route(60))).contains(&2));
    let skip = |_: &mut World, plan: &mut Plan| {
        plan.status.canary_weight = 50;
        plan.actions = vec![route(50)];
    };
    assert_eq!(laws(at(10), skip), [2]);
    let against = |world: &mut World, plan: &mut Plan| {
        world.guard = Guard::Hold("little".into());
        plan.status.canary_weight = 20;
        plan.actions = vec![route(20)];
    };
    assert_eq!(laws(at(10), against), [2]);
    let unready = |world: &mut World, plan: &mut Plan| {
        world.target.as_mut().unwrap().ready_at = later(world.now, 9);
        plan.status.canary_weight = 20;
    };
    assert!(laws(at(10), unready).contains(&5));
    assert_eq!(laws(at(10), |_, plan| plan.actions.push(Action::ScaleTarget(Running::Off))), [5]);
    let other = Action::PromotePrimary { revision: "s1:v9".into() };
    assert!(laws(at(50), |_, plan| plan.actions.push(other)).contains(&4));
    let apex = |world: &mut World, plan: &mut Plan| {
        world.apex = Selects::Target;
        plan.actions = vec![Action::ScaleTarget(Running::Off)];
    };
    assert_eq!(laws(canary().resting(), apex), [5]);
    assert_eq!(laws(canary().resting(), |_, plan| plan.actions.push(Action::ApexToTarget)), [5, 5]);
    let rejected = |world: &mut World, plan: &mut Plan| {
        world.canary.status.phase = Some(Phase::Failed);
        plan.status.phase = Some(Phase::Progressing);
    };
    assert!(laws(canary().resting(), rejected).contains(&3));
    assert_eq!(laws(at(10), |world, plan| plan.next = world.now), [9]);
    assert_eq!(laws(at(10), |_, plan| plan.explanation.message.clear()), [10]);
}

#[test]
fn a_plan_that_was_refused_changes_nothing_and_is_told_once() {
    let mut world = canary().weighted(&[10, 20, 50]).at(10);
    let mut plan = world.decide();
    plan.lower = share(60);
    let seen = world.observe();
    let breaches = lint(&world.canary, &seen, &plan, world.now);
    let refused = unlawful(&world.canary, &seen, &breaches, world.now, &Settings::default());
    assert!(refused.lower.is_none() && refused.actions.is_empty() && refused.calls.is_empty());
    let (before, after) = (&world.canary.status, &refused.status);
    assert_eq!((after.phase, after.exposure()), (before.phase, before.exposure()));
    let last = after.last_reason.as_ref().unwrap();
    assert_eq!(last.code, "LintBroken");
    assert!(last.message.contains("law 2 (raising exposure is fenced): what is to lower"));
    let stalled = after.conditions.iter().find(|one| one.kind == "Stalled").unwrap();
    assert_eq!((stalled.status.as_str(), stalled.reason.as_str()), ("True", "LintBroken"));
    let told =
        |plan: &Plan| plan.notices.iter().filter(|one| one.reason == Reason::LintBroken).count();
    assert_eq!(told(&refused), 1);
    world.canary.status = refused.status;
    let again = unlawful(&world.canary, &seen, &breaches, world.now, &Settings::default());
    assert_eq!(told(&again), 0);
    assert_eq!(again.status.last_reason, world.canary.status.last_reason);
}

#[test]
fn a_defect_that_is_over_is_not_what_the_status_speaks_of_at_rest() {
    let mut world = canary().resting();
    let mut plan = world.decide();
    plan.lower = share(60);
    let seen = world.observe();
    let breaches = lint(&world.canary, &seen, &plan, world.now);
    let refused = unlawful(&world.canary, &seen, &breaches, world.now, &Settings::default());
    world.canary.status = refused.status;
    let status = world.decide().status;
    assert_eq!(status.last_reason.as_ref().unwrap().code, "AtRest");
    let stalled = status.conditions.iter().find(|one| one.kind == "Stalled").unwrap();
    assert_eq!(stalled.status, "False");
}
