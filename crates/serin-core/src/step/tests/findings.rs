//! What is known of a spec and its queries is in the conditions at once, and comes as one Event.

use super::world::{World, canary};
use crate::model::*;
use crate::plan::{Plan, Step};

fn plan(world: &mut World, unmeasurable: &[Finding]) -> Plan {
    let mut seen = world.observe();
    seen.unmeasurable = unmeasurable.to_vec();
    let step = crate::step::step(&world.canary, &seen, world.now, &world.settings);
    let Step::Act(plan) = step else { panic!("{step:?}") };
    world.canary.status = plan.status.clone();
    *plan
}

fn condition<'a>(plan: &'a Plan, kind: &str) -> (&'a str, &'a str, &'a str) {
    let found = plan.status.conditions.iter().find(|c| c.kind == kind);
    found.map_or(("", "", ""), |c| (&*c.status, &*c.reason, &*c.message))
}

fn told(plan: &Plan) -> Vec<(&'static str, bool)> {
    plan.notices.iter().map(|notice| (notice.reason.code(), notice.warning)).collect()
}

#[test]
fn a_warning_is_in_the_condition_and_in_one_event() {
    let mut world = canary().resting();
    let timeout = Finding::warning(FindingCode::NoEffect, "spec.service.timeout", "has no effect");
    world.canary.spec.findings = vec![timeout];
    let first = plan(&mut world, &[]);
    let message = "The spec is valid, with warnings: spec.service.timeout: has no effect";
    assert_eq!(condition(&first, "SpecValid"), ("True", "Warnings", message));
    assert_eq!(told(&first), [("SpecWarning", true)]);
    let second = plan(&mut world, &[]);
    assert_eq!((told(&second), &second.status), (vec![], &first.status));
    world.canary.spec.findings.push(Finding::warning(FindingCode::Unit, "spec.x", "is odd"));
    assert_eq!(told(&plan(&mut world, &[])), [("SpecWarning", true)]);
    world.canary.spec.findings.clear();
    let last = plan(&mut world, &[]);
    assert_eq!(condition(&last, "SpecValid"), ("True", "Valid", "The spec is valid."));
    assert_eq!(told(&last), []);
}

#[test]
fn a_query_that_cannot_be_made_is_told_at_rest_and_taken_back_when_it_can() {
    let mut world = canary().resting();
    let missing = Finding::warning(
        FindingCode::NoSuchObject,
        "spec.analysis.metrics[0].templateRef",
        "MetricTemplate develop/errors does not exist",
    );
    let first = plan(&mut world, std::slice::from_ref(&missing));
    let (status, why, message) = condition(&first, "MetricsReady");
    assert_eq!((status, why), ("False", "NoSuchObject"));
    assert_eq!(message, missing.to_string());
    assert_eq!(told(&first), [("MetricsNotReady", true)]);
    let second = plan(&mut world, std::slice::from_ref(&missing));
    assert_eq!((told(&second), &second.status), (vec![], &first.status));
    let last = plan(&mut world, &[]);
    assert_eq!(condition(&last, "MetricsReady").0, "Unknown");
    assert_eq!(told(&last), []);
}

#[test]
fn what_the_guard_measures_does_not_hide_a_query_that_cannot_be_made() {
    let mut world = canary().resting();
    let odd = Finding::warning(FindingCode::QueryInvalid, "spec.q", "cannot be made");
    plan(&mut world, std::slice::from_ref(&odd));
    let mut seen = world.observe();
    seen.unmeasurable = vec![odd];
    seen.watched.metrics = Some(crate::observed::Fitness::Fit);
    let step = crate::step::step(&world.canary, &seen, world.now, &world.settings);
    let Step::Act(plan) = step else { panic!("{step:?}") };
    assert_eq!(plan.status, world.canary.status);
    assert!(plan.notices.is_empty());
}

#[test]
fn what_is_not_supported_is_not_called_wrong() {
    let world = canary().resting();
    let route = crate::observed::Seen::Absent;
    let findings = [Finding::unsupported("spec.provider", "istio is not supported yet")
        .way_out("use traefik or kubernetes")];
    let plan = crate::step::invalid(&world.canary.status, 2, &findings, &route, world.now);
    let sentence = "spec.provider: istio is not supported yet; use traefik or kubernetes";
    assert_eq!(condition(&plan, "SpecValid"), ("Unknown", "Unsupported", sentence));
    assert_eq!(condition(&plan, "Stalled"), ("True", "Unsupported", sentence));
    assert_eq!(told(&plan), [("Unsupported", true)]);
    assert_eq!(
        (plan.explanation.reason.code(), plan.notices[0].message.as_str()),
        ("Unsupported", sentence)
    );
    let wrong = Finding::error("spec.service.port", "is required");
    let both = [findings[0].clone(), wrong];
    let plan = crate::step::invalid(&world.canary.status, 2, &both, &route, world.now);
    assert_eq!(condition(&plan, "SpecValid").1, "Invalid");
    assert!(plan.explanation.message.contains("istio"), "{}", plan.explanation.message);
    assert!(plan.explanation.message.contains("port"), "{}", plan.explanation.message);
}

#[test]
fn a_test_that_passed_is_not_asked_again_while_a_gate_refuses() {
    let mut world =
        canary().hook(HookKind::PreRollout).hook(HookKind::ConfirmTrafficIncrease).resting();
    let refused = crate::observed::Answer::Refused("not now".into());
    world.hooks.insert(HookKind::ConfirmTrafficIncrease, refused.clone());
    world.push("s1:v2");
    world.run(120);
    assert_eq!(world.canary.status.canary_weight, 0);
    assert_eq!(world.canary.status.passed_tests, ["pre-rollout"]);
    assert_eq!(
        world.log.matches("Pre-rollout check pre-rollout passed").count(),
        1,
        "{}",
        world.log
    );
    // Another revision is another test.
    world.push("s1:v3");
    world.run(120);
    assert_eq!(
        world.log.matches("Pre-rollout check pre-rollout passed").count(),
        2,
        "{}",
        world.log
    );
    // And one that has not passed is asked again.
    world.hooks.insert(HookKind::PreRollout, refused);
    world.push("s1:v4");
    world.until(Phase::Failed);
}
