//! Tables of actions and the writes they become.

use expect_test::{Expect, expect};
use serin_core::model::Weight;

use super::*;
use crate::change::TRAEFIK_SERVICE;
use crate::testing::{canary, shown, target, with, world, yaml};

fn check(action: &Action, present: &[Value], expected: Expect) {
    let canary = canary(
        "autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: hpa, primaryScalerReplicas: {minReplicas: 4}}",
    );
    let objects = world(&canary, present);
    let got = match render(&canary, action, &objects, &Settings::default()) {
        Ok(changes) => shown(&changes),
        Err(error) => format!("error: {error}"),
    };
    expected.assert_eq(&got);
}

#[test]
fn a_value_that_is_already_so_is_not_written() {
    check(
        &Action::ScaleTarget(Running::Off),
        &[target()],
        expect!["scale Deployment develop/backend to 0 at 11"],
    );
    check(&Action::ScaleTarget(Running::On(Some(2))), &[target()], expect![""]);
    check(
        &Action::ScaleTarget(Running::On(Some(3))),
        &[target()],
        expect!["scale Deployment develop/backend to 3"],
    );
    check(
        &Action::ScaleTarget(Running::On(Some(2))),
        &[],
        expect!["error: Deployment develop/backend does not exist"],
    );
    check(&Action::RestoreRoute, &[], expect![""]);
}

#[test]
fn a_finalizer_is_fenced_and_leaves_others_alone() {
    let object = yaml(
        "{kind: Canary, metadata: {name: backend, namespace: develop, resourceVersion: '9', finalizers: [other]}}",
    );
    check(&Action::Finalizer(false), std::slice::from_ref(&object), expect![""]);
    check(
        &Action::Finalizer(true),
        std::slice::from_ref(&object),
        expect!["patch Canary develop/backend at 9"],
    );
    let canary = canary("");
    let objects = world(&canary, &[object]);
    let changes =
        render(&canary, &Action::Finalizer(true), &objects, &Settings::default()).unwrap();
    let Some(Change::MergePatch { target: _, patch }) = changes.first() else { panic!("no patch") };
    assert_eq!(patch["metadata"]["finalizers"], json!(["other", OWN_FINALIZER]));
}

#[test]
fn flaggers_finalizer_is_only_where_flagger_takes_it_away() {
    let after = |revert: &str, before: &str, wanted: bool| {
        let object = yaml(&format!(
            "{{kind: Canary, metadata: {{name: backend, namespace: develop, resourceVersion: '9', finalizers: [{before}]}}, spec: {{{revert}}}}}",
        ));
        let canary = canary("");
        let objects = world(&canary, &[object]);
        let changes =
            render(&canary, &Action::Finalizer(wanted), &objects, &Settings::default()).unwrap();
        match changes.first() {
            Some(Change::MergePatch { target: _, patch }) => {
                patch["metadata"]["finalizers"].to_string()
            }
            Some(_) | None => "the same".to_owned(),
        }
    };
    let (theirs, ours) = (FINALIZER, OWN_FINALIZER);
    for (revert, before, wanted, expected) in [
        ("", theirs.to_owned(), true, json!([ours]).to_string()),
        ("revertOnDeletion: true", ours.to_owned(), true, json!([theirs]).to_string()),
        ("revertOnDeletion: true", format!("x, {theirs}"), true, "the same".to_owned()),
        ("", format!("{ours}, x"), true, "the same".to_owned()),
        (
            "revertOnDeletion: false",
            format!("{ours}, x, {theirs}"),
            false,
            json!(["x"]).to_string(),
        ),
        ("", "x".to_owned(), false, "the same".to_owned()),
    ] {
        assert_eq!(after(revert, &before, wanted), expected, "{revert} {before} {wanted}");
    }
}

#[test]
fn repair_never_raises() {
    let canary = canary("");
    let route = |canary_weight: u32| {
        yaml(&format!("{{apiVersion: traefik.io/v1alpha1, kind: TraefikService, metadata: {{name: backend, namespace: develop, resourceVersion: '5'}},
        spec: {{weighted: {{services: [{{name: backend-primary, weight: 50}}, {{name: backend-canary, weight: {canary_weight}}}]}}}}}}"))
    };
    for (live, wanted, becomes) in [(50, 20, 20), (50, 70, 50), (50, 50, 50), (0, 30, 0)] {
        let objects = world(&canary, &[route(live)]);
        let action = Action::EnsureRoute(Exposure::share(Weight::saturating(wanted)));
        let changes = render(&canary, &action, &objects, &Settings::default()).unwrap();
        let after = crate::testing::apply_all(&objects, &changes);
        let split = router(canary.spec.provider).read(&canary, &after).unwrap();
        assert_eq!(u32::from(split.share.percent()), becomes, "{live} {wanted}");
    }
}

#[test]
fn a_route_that_may_be_raised_by_a_late_write_is_sealed() {
    let route = yaml("{apiVersion: traefik.io/v1alpha1, kind: TraefikService, metadata: {name: backend, namespace: develop, resourceVersion: '5'},
        spec: {weighted: {services: [{name: backend-primary, namespace: develop, port: 80, weight: 100}]}}}");
    let mut canary = canary("");
    let lower = Action::Route(Exposure::NONE);
    let objects = world(&canary, &[route]);
    let settled = crate::testing::apply_all(
        &objects,
        &render(&canary, &lower, &objects, &Settings::default()).unwrap(),
    );
    assert_eq!(render(&canary, &lower, &settled, &Settings::default()), Ok(vec![]));
    canary.status.canary_weight = 10;
    let changes = render(&canary, &lower, &settled, &Settings::default()).unwrap();
    expect!["patch TraefikService develop/backend"].assert_eq(&shown(&changes));
    let sealed = crate::testing::apply_all(&settled, &changes);
    assert_eq!(render(&canary, &lower, &sealed, &Settings::default()), Ok(vec![]));
    let restored = crate::testing::apply_all(
        &sealed,
        &render(&canary, &Action::RestoreRoute, &sealed, &Settings::default()).unwrap(),
    );
    let live = restored.present(&TRAEFIK_SERVICE.named("develop", "backend")).unwrap();
    assert!(!live.to_string().contains("serin.dev"));
}

#[test]
fn the_primarys_autoscaler_is_a_copy() {
    let hpa = yaml("{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: hpa, namespace: develop, labels: {a: b, x.toolkit.fluxcd.io/y: z}},
        spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: backend}, minReplicas: 2, maxReplicas: 8, metrics: []}}");
    check(
        &Action::PrimaryScaler,
        &[],
        expect!["error: HorizontalPodAutoscaler develop/hpa does not exist"],
    );
    check(
        &Action::PrimaryScaler,
        std::slice::from_ref(&hpa),
        expect!["create HorizontalPodAutoscaler develop/hpa-primary"],
    );
    let canary = canary(
        "autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: hpa, primaryScalerReplicas: {minReplicas: 4}}",
    );
    let objects = world(&canary, std::slice::from_ref(&hpa));
    let changes = scaler::render(&canary, &objects).unwrap();
    let Some(Change::Create { target: _, object }) = changes.first() else { panic!("no copy") };
    assert_eq!(object["metadata"]["labels"], json!({"a": "b"}));
    expect![[r#"{"maxReplicas":8,"metrics":[],"minReplicas":4,"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"backend-primary"}}"#]]
        .assert_eq(&object["spec"].to_string());
    let after = crate::testing::apply_all(&objects, &changes);
    assert_eq!(scaler::render(&canary, &after), Ok(vec![]));
    let more = with(hpa, "{spec: {maxReplicas: 9}}");
    let primary = after
        .present(&crate::change::HORIZONTAL_POD_AUTOSCALER.named("develop", "hpa-primary"))
        .unwrap();
    let objects = world(&canary, &[more, primary.clone()]);
    expect!["replace HorizontalPodAutoscaler develop/hpa-primary at 1"]
        .assert_eq(&shown(&scaler::render(&canary, &objects).unwrap()));
}

#[test]
fn what_was_not_looked_up_is_never_taken_for_absent() {
    let canary = canary("");
    for action in [
        Action::Services,
        Action::ApexToPrimary,
        Action::PromotePrimary { revision: String::new() },
        Action::ScaleTarget(Running::On(Some(1))),
        Action::Route(Exposure::NONE),
        Action::EnsureRoute(Exposure::NONE),
        Action::RestoreRoute,
        Action::Finalizer(true),
    ] {
        assert!(render(&canary, &action, &Objects::new(), &Settings::default()).is_err());
    }
}
