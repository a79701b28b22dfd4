//! Tables of revisions and of readiness.

use expect_test::{Expect, expect};

use super::*;
use crate::testing::{target, with, yaml};
use crate::workload::revision;

#[test]
fn a_revision_is_of_the_template_alone_and_blind_to_defaults() {
    let base = revision(&target());
    expect!["s1:"].assert_eq(&base[..3]);
    assert_eq!(base.len(), 3 + 16);
    for same in [
        "{spec: {replicas: 7, strategy: {type: Recreate}}}",
        "{metadata: {labels: {a: b}, generation: 9}, status: {replicas: 1}}",
        "{spec: {template: {spec: {nodeSelector: {}, tolerations: [], securityContext: {}}}}}",
    ] {
        assert_eq!(revision(&with(target(), same)), base, "{same}");
    }
    for other in [
        "{spec: {template: {metadata: {annotations: {restarted: now}}}}}",
        "{spec: {template: {metadata: {labels: {tier: db}}}}}",
        "{spec: {template: {spec: {containers: [{name: app, image: 'backend:2'}]}}}}",
    ] {
        assert_ne!(revision(&with(target(), other)), base, "{other}");
    }
}

#[test]
fn an_empty_selector_is_not_a_missing_one() {
    let spread = |selector: &str| {
        revision(&with(
            target(),
            &format!(
                "{{spec: {{template: {{spec: {{topologySpreadConstraints: [{{maxSkew: 1{selector}}}]}}}}}}}}"
            ),
        ))
    };
    assert_ne!(spread(""), spread(", labelSelector: {}"));
}

fn check(status: &str, threshold: u8, expected: Expect) {
    let deployment = with(
        yaml(
            "{metadata: {generation: 2}, spec: {replicas: 4}, status: {observedGeneration: 2, replicas: 4, updatedReplicas: 4, availableReplicas: 4}}",
        ),
        status,
    );
    let now = "2026-01-01T00:10:01Z".parse().unwrap();
    expected.assert_eq(&format!("{:?}", Deployment.readiness(&deployment, threshold, 600, now)));
}

#[test]
fn readiness_is_what_the_deployment_says() {
    check("{status: {}}", 100, expect!["Ready"]);
    check("{spec: {paused: true}, status: {}}", 100, expect!["Ready"]);
    check(
        "{spec: {paused: true}, status: {updatedReplicas: 0}}",
        100,
        expect![[
            r#"Progressing("it is paused, set spec.paused to false; 0 out of 4 new replicas have been updated")"#
        ]],
    );
    check(
        "{spec: {replicas: 0}, status: {replicas: 0, updatedReplicas: 0, availableReplicas: 0}}",
        100,
        expect!["Ready"],
    );
    check(
        "{status: {observedGeneration: 1}}",
        100,
        expect![[r#"Progressing("the controller has seen generation 1 of 2")"#]],
    );
    let refused = "{type: ReplicaFailure, status: 'True', message: 'pods \"app-5f-x7\" is forbidden: exceeded quota: few, requested: pods=1'}";
    check(
        &format!("{{status: {{updatedReplicas: 3, conditions: [{refused}]}}}}"),
        100,
        expect![[
            r#"Progressing("3 out of 4 new replicas have been updated, its pods are refused: exceeded quota: few, requested: pods=1")"#
        ]],
    );
    check(
        "{status: {updatedReplicas: 3}}",
        100,
        expect![[r#"Progressing("3 out of 4 new replicas have been updated")"#]],
    );
    check(
        "{status: {replicas: 6}}",
        100,
        expect![[r#"Progressing("2 old replicas are pending termination")"#]],
    );
    check("{status: {availableReplicas: 2}}", 50, expect!["Ready"]);
    check(
        "{status: {availableReplicas: 1}}",
        50,
        expect![[r#"Progressing("1 of 4 (readyThreshold 50%) updated replicas are available")"#]],
    );
    check(
        "{status: {conditions: [{type: Progressing, reason: ProgressDeadlineExceeded}]}}",
        100,
        expect![[r#"Stuck("its own progress deadline is exceeded")"#]],
    );
}

#[test]
fn our_own_deadline_counts_from_when_it_became_unavailable() {
    let unavailable = |since: &str| {
        format!(
            "{{status: {{availableReplicas: 1, conditions: [{{type: Progressing}}, {{type: Available, status: 'False', reason: MinimumReplicasUnavailable, lastUpdateTime: '{since}'}}]}}}}"
        )
    };
    check(
        &unavailable("2026-01-01T00:00:00Z"),
        100,
        expect![[
            r#"Stuck("1 of 4 (readyThreshold 100%) updated replicas are available after 600 s")"#
        ]],
    );
    check(
        &unavailable("2026-01-01T00:00:02Z"),
        100,
        expect![[r#"Progressing("1 of 4 (readyThreshold 100%) updated replicas are available")"#]],
    );
}

#[test]
fn a_primary_is_never_replaced_by_taking_all_its_pods_away() {
    let rolled = |surge: Value| json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": surge}});
    let rolling = |unavailable: Value, surge: Value| json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}});
    let kept = |strategy: Value, replicas| assert_eq!(serving(&strategy, replicas), strategy);
    assert_eq!(serving(&json!({"type": "Recreate"}), 3), rolled(json!("25%")));
    assert_eq!(serving(&rolling(json!("100%"), json!("50%")), 4), rolled(json!("50%")));
    assert_eq!(serving(&rolling(json!(1), json!(0)), 1), rolled(json!("25%")));
    assert_eq!(serving(&rolling(json!("25%"), json!(0)), 1), rolled(json!("25%")));
    kept(rolling(json!(1), json!(0)), 2);
    kept(rolling(json!("25%"), json!("25%")), 1);
    kept(rolling(json!("50%"), json!(0)), 4);
    kept(json!({"type": "RollingUpdate"}), 1);
}
