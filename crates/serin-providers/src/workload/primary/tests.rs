//! Tables of primaries.

use expect_test::expect;

use super::*;
use crate::testing::{apply_all, canary, shown, target, with, world, yaml};
use crate::workload::names;

fn created(target: &Value, settings: &Settings) -> Value {
    let canary = canary("");
    let objects = world(&canary, std::slice::from_ref(target));
    let changes = super::render(&canary, &revision(target), None, &objects, settings).unwrap();
    match changes.as_slice() {
        [Change::Create { target: _, object }] => object.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_primary_is_made_as_flagger_makes_it() {
    let settings = Settings {
        include_label_prefixes: vec!["te".into(), String::new()],
        ..Settings::default()
    };
    let mut object = created(&target(), &settings);
    let id = live_id(&object);
    assert_eq!((id.len(), id.matches('-').count()), (36, 4));
    object["spec"]["template"]["metadata"]["annotations"][ID_ANNOTATION] = json!("ID");
    object["metadata"]["annotations"][REVISION_ANNOTATION] = json!("REVISION");
    expect![[r#"
        {
          "apiVersion": "apps/v1",
          "kind": "Deployment",
          "metadata": {
            "annotations": {
              "owner": "sre",
              "serin.dev/revision": "REVISION"
            },
            "labels": {
              "app": "backend-primary",
              "team": "sre"
            },
            "name": "backend-primary",
            "namespace": "develop",
            "ownerReferences": [
              {
                "apiVersion": "flagger.app/v1beta1",
                "blockOwnerDeletion": true,
                "controller": true,
                "kind": "Canary",
                "name": "backend",
                "uid": "u1"
              }
            ]
          },
          "spec": {
            "minReadySeconds": 3,
            "replicas": 2,
            "selector": {
              "matchLabels": {
                "app": "backend-primary",
                "tier": "web"
              }
            },
            "strategy": {
              "type": "RollingUpdate"
            },
            "template": {
              "metadata": {
                "annotations": {
                  "flagger-id": "ID"
                },
                "creationTimestamp": null,
                "labels": {
                  "app": "backend-primary",
                  "tier": "web"
                },
                "name": "N"
              },
              "spec": {
                "containers": "C"
              }
            }
          }
        }"#]]
    .assert_eq(&{
        object["spec"]["template"]["spec"]["containers"] = json!("C");
        object["spec"]["template"]["metadata"]["name"] = json!("N");
        serde_json::to_string_pretty(&object).unwrap()
    });
}

#[test]
fn rules_that_spread_pods_follow_the_copy_and_others_stay() {
    let target = with(
        target(),
        "
spec: {template: {spec: {
  affinity: {
    podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {matchLabels: {app: backend}}}]},
    podAntiAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {matchExpressions: [
        {key: app, operator: In, values: [other, backend]}, {key: tier, operator: In, values: [backend]}]}}],
      preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {labelSelector: {matchLabels: {app: backend}}}}]}},
  topologySpreadConstraints: [{labelSelector: {matchLabels: {app: backend, name: backend, tier: web}}}, {labelSelector: {matchLabels: {app: other}}}]}}}",
    );
    let object = created(&target, &Settings::default());
    let spec = &object["spec"]["template"]["spec"];
    expect![[r#"{"podAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"labelSelector":{"matchLabels":{"app":"backend"}}}]},"podAntiAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"podAffinityTerm":{"labelSelector":{"matchLabels":{"app":"backend-primary"}}},"weight":1}],"requiredDuringSchedulingIgnoredDuringExecution":[{"labelSelector":{"matchExpressions":[{"key":"app","operator":"In","values":["other","backend-primary"]},{"key":"tier","operator":"In","values":["backend"]}]}}]}}"#]]
    .assert_eq(&spec["affinity"].to_string());
    expect![[r#"[{"labelSelector":{"matchLabels":{"app":"backend-primary","name":"backend-primary","tier":"web"}}},{"labelSelector":{"matchLabels":{"app":"other"}}}]"#]]
    .assert_eq(&spec["topologySpreadConstraints"].to_string());
}

#[test]
fn promoting_replaces_the_template_whoever_set_its_fields_and_twice_is_once() {
    let canary = canary("");
    let settings = Settings::default();
    let v1 = target();
    let objects = world(&canary, std::slice::from_ref(&v1));
    let made = super::render(&canary, &revision(&v1), Some(3), &objects, &settings).unwrap();
    let objects = apply_all(&objects, &made);
    assert_eq!(super::render(&canary, &revision(&v1), Some(3), &objects, &settings), Ok(vec![]));

    let primary = objects.present(&names::primary(&canary)).unwrap().clone();
    let primary = with(
        primary,
        "{metadata: {annotations: {foreign: x}}, spec: {template: {spec: {dnsPolicy: Old}}}, status: {replicas: 3}}",
    );
    let v2 = with(
        target(),
        "{spec: {template: {spec: {containers: [{name: app, image: 'backend:2'}]}}}}",
    );
    let objects = world(&canary, &[v2.clone(), primary]);
    assert!(matches!(
        super::render(&canary, &revision(&v1), None, &objects, &settings),
        Err(RenderError::TargetMoved { .. })
    ));
    let changes = super::render(&canary, &revision(&v2), None, &objects, &settings).unwrap();
    expect!["replace Deployment develop/backend-primary at 1"].assert_eq(&shown(&changes));
    let objects = apply_all(&objects, &changes);
    let live = objects.present(&names::primary(&canary)).unwrap();
    let spec = &live["spec"]["template"]["spec"];
    assert_eq!(
        (&spec["containers"][0]["image"], spec.get("dnsPolicy")),
        (&json!("backend:2"), None)
    );
    assert_eq!(live["metadata"]["annotations"]["foreign"], "x");
    assert_eq!(live["metadata"]["annotations"][REVISION_ANNOTATION], revision(&v2));
    assert_eq!(super::render(&canary, &revision(&v2), None, &objects, &settings), Ok(vec![]));
}

#[test]
fn a_changed_config_rolls_the_primary_out_even_after_a_crash_between_the_writes() {
    let canary = canary("");
    let settings = Settings::default();
    let target = with(
        target(),
        "{spec: {template: {spec: {containers: [{name: app, envFrom: [{configMapRef: {name: a}}]}]}}}}",
    );
    let config = |v: &str| {
        yaml(&format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a, namespace: develop}}, data: {{k: {v}}}}}"
        ))
    };
    let objects = world(&canary, &[target.clone(), config("one")]);
    let changes = super::render(&canary, &revision(&target), None, &objects, &settings).unwrap();
    expect![[r#"
        create ConfigMap develop/a-primary
        create Deployment develop/backend-primary"#]]
    .assert_eq(&shown(&changes));
    let mut objects = apply_all(&objects, &changes);
    let primary = objects.present(&names::primary(&canary)).unwrap();
    let container = &primary["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["envFrom"][0]["configMapRef"]["name"], "a-primary");

    let source = crate::change::CONFIG_MAP.named("develop", "a");
    objects.put(source, Seen::Present(std::sync::Arc::new(config("two"))));
    let changes = super::render(&canary, &revision(&target), None, &objects, &settings).unwrap();
    expect![[r#"
        replace ConfigMap develop/a-primary at 1
        replace Deployment develop/backend-primary at 1"#]]
    .assert_eq(&shown(&changes));
    let crashed = apply_all(&objects, &changes[..1]);
    let changes = super::render(&canary, &revision(&target), None, &crashed, &settings).unwrap();
    expect!["replace Deployment develop/backend-primary at 1"].assert_eq(&shown(&changes));

    // What it was made with is told by the configs that the status speaks of.
    let done = apply_all(&crashed, &changes);
    for (objects, made_with) in [(&objects, "one"), (&crashed, "one"), (&done, "two")] {
        let of = |v: &str| {
            let seen = world(&canary, &[target.clone(), config(v)]);
            let now = jiff::Timestamp::UNIX_EPOCH;
            crate::observe::observe(&canary, &seen, &settings, now).configs.present().cloned()
        };
        let mut canary = canary.clone();
        let seen = |canary: &Canary| {
            let now = jiff::Timestamp::UNIX_EPOCH;
            let seen = crate::observe::observe(canary, objects, &settings, now);
            seen.primary.present().unwrap().configs.clone()
        };
        assert_eq!(seen(&canary), None);
        (canary.status.promoted_configs, canary.status.tracked_configs) = (of("one"), of("two"));
        assert_eq!(seen(&canary), of(made_with));
    }
}

#[test]
fn a_primary_of_flaggers_keeps_its_selector_and_its_pods() {
    let canary = canary("");
    let settings = Settings::default();
    let v1 = target();
    let mut flaggers = created(&v1, &settings);
    flaggers["metadata"]["annotations"] = json!({});
    flaggers["metadata"]["resourceVersion"] = json!("4");
    flaggers["spec"]["selector"]["matchLabels"] = json!({"app": "old-name"});
    flaggers["spec"]["template"]["metadata"]["labels"]["app"] = json!("old-name");
    flaggers["spec"]["template"]["metadata"]["annotations"][ID_ANNOTATION] = json!("random");
    let objects = world(&canary, &[v1.clone(), flaggers]);
    let seen = crate::observe::observe(&canary, &objects, &settings, jiff::Timestamp::UNIX_EPOCH);
    let primary = seen.primary.present().unwrap().clone();
    assert!(primary.matches_target && primary.owned && primary.revision.is_empty());

    let changes = super::render(&canary, &revision(&v1), None, &objects, &settings).unwrap();
    let after = apply_all(&objects, &changes);
    let live = after.present(&names::primary(&canary)).unwrap();
    assert_eq!(
        live["spec"]["template"],
        objects.present(&names::primary(&canary)).unwrap()["spec"]["template"]
    );
    assert_eq!(live["metadata"]["annotations"][REVISION_ANNOTATION], revision(&v1));
}

#[test]
fn what_is_not_ours_and_what_cannot_be_told_apart_is_refused() {
    let canary = canary("");
    let settings = Settings::default();
    let foreign = yaml(
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: backend-primary, namespace: develop}, spec: {}}",
    );
    let objects = world(&canary, &[target(), foreign]);
    let error =
        super::render(&canary, &revision(&target()), None, &objects, &settings).unwrap_err();
    expect![
        "Deployment develop/backend-primary belongs to someone else (it names no owner) and is left alone: delete or rename it"
    ]
    .assert_eq(&error.to_string());

    let unlabelled = with(target(), "{spec: {selector: {matchLabels: {app: null}}}}");
    let objects = world(&canary, std::slice::from_ref(&unlabelled));
    let error =
        super::render(&canary, &revision(&unlabelled), None, &objects, &settings).unwrap_err();
    expect!["Deployment develop/backend: spec.selector.matchLabels must contain one of [app, name, app.kubernetes.io/name]"].assert_eq(&error.to_string());
}
