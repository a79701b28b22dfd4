//! Whole documents: defaults, metadata, status, and the examples of the repository.

use super::*;
use crate::model::provider::KUBERNETES;
use crate::model::{HookKind, Limit, Metric, MetricSource, Phase, Severity, TargetPort};

#[test]
fn defaults_are_flaggers() {
    let object = object(
        "
analysis:
  interval: null
  threshold: null
  metrics:
  - {name: request-success-rate, threshold: 99}
  - {name: request-duration, interval: 30s, thresholdRange: {max: 500}}
  - {name: errors, templateRef: {name: errors}, templateVariables: {a: b}, threshold: 5}
  webhooks:
  - {name: a, url: 'http://a'}
  - {name: b, url: 'http://b', type: pre-rollout, timeout: 1m30s, retries: 2, disableTLS: true, muteAlert: true, metadata: {k: v}}
  - {name: c, url: 'http://c', timeout: '5'}
  alerts:
  - {name: a, providerRef: {name: slack}}
",
    );
    let canary = canary(&object).unwrap();
    assert_eq!(canary.key, Key::new("develop", "backend"));
    assert_eq!((canary.uid.as_str(), canary.resource_version.as_str()), ("u1", "7"));
    assert_eq!((canary.generation, canary.deleting, canary.has_finalizer), (3, false, false));
    let spec = canary.spec;
    assert_eq!(spec.progress_deadline_secs, 600);
    assert_eq!((spec.analysis.interval_secs, spec.analysis.threshold), (60, 1));
    assert_eq!(spec.service.name, "backend");
    assert_eq!(spec.service.port_name(), "http");
    assert_eq!(spec.service.target_port, None);
    let [success, duration, errors] = <[Metric; 3]>::try_from(spec.analysis.metrics).unwrap();
    assert_eq!((success.interval.as_str(), success.limit), ("1m", Limit::AtLeast(99.0)));
    assert_eq!(duration.limit, Limit::Range { min: None, max: Some(500.0) });
    assert_eq!((errors.interval.as_str(), errors.limit), ("1m", Limit::AtMost(5.0)));
    let template = MetricSource::Template {
        namespace: "develop".into(),
        name: "errors".into(),
        variables: [("a".to_owned(), "b".to_owned())].into(),
    };
    assert_eq!(errors.sources, [template]);
    let hooks: Vec<_> = spec
        .analysis
        .webhooks
        .iter()
        .map(|h| (h.kind, h.timeout_secs, h.retries, h.disable_tls, h.mute_alert))
        .collect();
    let expected = [
        (HookKind::Rollout, 10, 0, false, false),
        (HookKind::PreRollout, 90, 2, true, true),
        (HookKind::Rollout, 10, 0, false, false),
    ];
    assert_eq!(hooks, expected);
    let alert = &spec.analysis.alerts[0];
    assert_eq!((alert.severity, alert.provider_namespace.as_str()), (Severity::Info, "develop"));
}

#[test]
fn target_ports() {
    for (row, expected) in [
        ("service: {targetPort: 8080}", Some(TargetPort::Number(8080))),
        ("service: {targetPort: '8080'}", Some(TargetPort::Number(8080))),
        ("service: {targetPort: 0}", None),
        ("service: {targetPort: '0'}", None),
        ("service: {targetPort: ''}", None),
        ("service: {targetPort: web}", Some(TargetPort::Name("web".into()))),
    ] {
        assert_eq!(canary(&object(row)).unwrap().spec.service.target_port, expected, "{row}");
    }
}

#[test]
fn the_controller_sets_limits() {
    let limits =
        Limits { min_interval_secs: 1, provider: "kubernetes".into(), cross_namespace: false };
    let object = object(
        "
provider: null
analysis:
  interval: 2s
  stepWeight: null
  iterations: 2
  metrics: [{name: m, templateRef: {name: t, namespace: other}, threshold: 1}]
  alerts: [{name: a, providerRef: {name: p, namespace: develop}}]
",
    );
    let failure = crate::parse::canary(&object, &limits).unwrap_err();
    let expected = expect![
        "spec.analysis.metrics[0].templateRef.namespace: other is another namespace, which this controller does not allow"
    ];
    expected.assert_eq(&failure.to_string());
    let relaxed = Limits { cross_namespace: true, ..limits };
    let canary = crate::parse::canary(&object, &relaxed).unwrap();
    assert_eq!(canary.spec.provider, &KUBERNETES);
    assert_eq!(canary.spec.analysis.interval_secs, 2);
    assert_eq!(canary.spec.findings, []);
}

#[test]
fn a_refused_canary_keeps_its_name_and_status() {
    let mut object = object("provider: istio");
    object["metadata"]["finalizers"] = json!(["x", "finalizer.flagger.app"]);
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    object["status"] = json!({"phase": "Progressing", "canaryWeight": 30});
    let failure = canary(&object).unwrap_err();
    assert_eq!(failure.key, Some(Key::new("develop", "backend")));
    assert_eq!((failure.generation, failure.deleting, failure.has_finalizer), (3, true, true));
    assert_eq!(failure.status.phase, Some(Phase::Progressing));
    assert_eq!(failure.status.canary_weight, 30);
}

#[test]
fn not_even_an_object() {
    for (value, expected) in [
        (
            json!(null),
            expect!["must be an object, not null; metadata.name: is required; spec: is required"],
        ),
        (
            json!([1]),
            expect!["must be an object, not a list; metadata.name: is required; spec: is required"],
        ),
        (json!({}), expect!["metadata.name: is required; spec: is required"]),
        (
            json!({"kind": "Pod", "metadata": 7, "spec": "x"}),
            expect![
                "kind: must be Canary, not Pod; metadata: must be an object, not a number; metadata.name: is required; spec: must be an object, not a string"
            ],
        ),
        (
            json!({"metadata": {"name": "a", "generation": "x", "finalizers": 3}, "spec": {}}),
            expect![
                "metadata.generation: must be a whole number, not a string; metadata.finalizers: must be a list, not a number; spec.targetRef: is required; spec.service: is required; spec.analysis: is required"
            ],
        ),
    ] {
        let failure = canary(&value).unwrap_err();
        expected.assert_eq(&failure.to_string());
    }
}

#[test]
fn a_broken_status_loses_only_what_is_broken() {
    for (status, expected) in [
        (json!(null), expect![[r#"{"failedChecks":0,"canaryWeight":0,"iterations":0}"#]]),
        (json!("x"), expect![[r#"{"failedChecks":0,"canaryWeight":0,"iterations":0}"#]]),
        (
            json!({"phase": "Sleeping", "canaryWeight": 30, "lastPromotedSpec": "abc"}),
            expect![[
                r#"{"failedChecks":0,"canaryWeight":30,"iterations":0,"lastPromotedSpec":"abc"}"#
            ]],
        ),
        (
            json!({"phase": "", "canaryWeight": 300, "failedChecks": -1, "iterations": -1}),
            expect![[r#"{"failedChecks":0,"canaryWeight":100,"iterations":-1}"#]],
        ),
        (
            json!({"phase": "Failed", "canaryWeight": 150, "failedChecks": 2.0}),
            expect![[r#"{"phase":"Failed","failedChecks":2,"canaryWeight":100,"iterations":0}"#]],
        ),
        (
            json!({"phase": "Failed", "lastTransitionTime": "yesterday", "trackedConfigs": {"configmap/a": "1", "secret/b": 2}}),
            expect![[r#"{"phase":"Failed","failedChecks":0,"canaryWeight":0,"iterations":0}"#]],
        ),
        (
            json!({"conditions": [{"type": "Promoted", "status": "True", "lastUpdateTime": "x"}, 7, {"type": "Ready", "status": 1}], "checks": "none"}),
            expect![[
                r#"{"failedChecks":0,"canaryWeight":0,"iterations":0,"conditions":[{"type":"Promoted","status":"True","reason":"","message":""},{"type":"Ready","status":"","reason":"","message":""}]}"#
            ]],
        ),
    ] {
        let mut object = object("");
        object["status"] = status;
        let status = canary(&object).unwrap().status;
        expected.assert_eq(&serde_json::to_string(&status).unwrap());
    }
}

#[test]
fn metric_templates() {
    for (spec, expected) in [
        (
            "{provider: {type: prometheus, address: 'http://p:9090', secretRef: {name: s}, headers: {X-Scope: [a, b]}}, query: up}",
            expect![[
                r#"MetricTemplate { key: Key { namespace: "develop", name: "errors" }, generation: 0, provider: MetricBackend { kind: Prometheus, address: Some("http://p:9090"), region: None, headers: {"X-Scope": ["a", "b"]}, secret: Some("s"), insecure_skip_verify: false }, query: "up" }"#
            ]],
        ),
        (
            "{provider: {type: cloudwatch, region: eu-west-1}, query: up}",
            expect![[
                r#"MetricTemplate { key: Key { namespace: "develop", name: "errors" }, generation: 0, provider: MetricBackend { kind: Amazon CloudWatch, address: None, region: Some("eu-west-1"), headers: {}, secret: None, insecure_skip_verify: false }, query: "up" }"#
            ]],
        ),
        (
            "{provider: {type: splunk, address: 'http://p:9090'}, query: up}",
            expect![[r#"
                error spec.provider.type: splunk is not supported yet; use prometheus, datadog, cloudwatch, newrelic, dynatrace or keptn
            "#]],
        ),
        (
            "{provider: {type: datadog}, query: up}",
            expect![[r#"
                error spec.provider.secretRef: is required: datadog needs a Secret with datadog_api_key and datadog_application_key
            "#]],
        ),
        (
            "{provider: {type: dynatrace, secretRef: {name: s}}, query: up}",
            expect![[r#"
                error spec.provider.address: is required
            "#]],
        ),
        (
            "{provider: {type: cloudwatch}, query: up}",
            expect![[r#"
                error spec.provider.region: is required
            "#]],
        ),
        (
            "{provider: {type: cloudwatch, region: 'evil.example/'}, query: up}",
            expect![[r#"
                error spec.provider.region: "evil.example/" is no region; write one such as eu-west-1
            "#]],
        ),
        (
            "{provider: {type: other}, query: 7}",
            expect![[r#"
                error spec.provider.type: unknown type "other"; use prometheus, datadog, cloudwatch, newrelic, dynatrace or keptn
                error spec.query: must be a string, not a number
            "#]],
        ),
        (
            "{provider: {address: p, headers: {a: b}, secretRef: {}}}",
            expect![[r#"
            error spec.provider.type: is required
            error spec.provider.address: "p" is no http or https URL
            error spec.provider.headers.a: must be a list, not a string
            error spec.provider.secretRef.name: is required
            error spec.query: is required
        "#]],
        ),
        (
            "7",
            expect![[r#"
                error spec: must be an object, not a number
                error spec.provider: is required
                error spec.provider.type: is required
                error spec.query: is required
            "#]],
        ),
    ] {
        let object = json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "MetricTemplate",
            "metadata": {"name": "errors", "namespace": "develop"}, "spec": yaml(spec),
        });
        let text = match metric_template(&object) {
            Ok(template) => format!("{template:?}"),
            Err(errors) => lines(&errors),
        };
        expected.assert_eq(&text);
    }
}

#[test]
fn alert_providers() {
    for (spec, expected) in [
        (
            "{type: slack, address: 'https://hooks'}",
            expect![[
                r#"AlertProvider { key: Key { namespace: "develop", name: "chat" }, generation: 0, kind: Slack, channel: "general", username: "flagger", address: Some("https://hooks"), proxy: None, secret: None }"#
            ]],
        ),
        (
            "{type: gchat, secretRef: {name: s}, channel: c, username: u, proxy: 'http://p'}",
            expect![[
                r#"AlertProvider { key: Key { namespace: "develop", name: "chat" }, generation: 0, kind: GoogleChat, channel: "c", username: "u", address: None, proxy: Some("http://p"), secret: Some("s") }"#
            ]],
        ),
        (
            "{type: teams, address: x}",
            expect![[r#"
            error spec.type: unknown type "teams"; use slack, msteams, discord, rocket, gchat
            error spec.address: "x" is no http or https URL
        "#]],
        ),
        (
            "{}",
            expect![[r#"
            error spec.type: is required
            error spec.address: is required unless a secretRef has it
        "#]],
        ),
    ] {
        let object =
            json!({"metadata": {"name": "chat", "namespace": "develop"}, "spec": yaml(spec)});
        let text = match alert_provider(&object) {
            Ok(provider) => format!("{provider:?}"),
            Err(errors) => lines(&errors),
        };
        expected.assert_eq(&text);
    }
}

fn lines(errors: &[Finding]) -> String {
    errors.iter().map(|error| format!("error {error}\n")).collect()
}

#[test]
fn the_list_of_complaints_is_bounded() {
    let mut object = object("");
    object["spec"]["analysis"]["metrics"] = json!(vec![json!({}); 5000]);
    assert_eq!(canary(&object).unwrap_err().obstacles().count(), 50);
}

/// The documents of an example, each parsed.
fn example(text: &str) -> Vec<Result<Vec<Finding>, Vec<Finding>>> {
    let parse = |document: &str| {
        let object = yaml(document);
        match object["kind"].as_str() {
            Some("Canary") => canary(&object).map(|c| c.spec.findings).map_err(|f| f.findings),
            Some("MetricTemplate") => metric_template(&object).map(|_| Vec::new()),
            Some("AlertProvider") => alert_provider(&object).map(|_| Vec::new()),
            _ => Ok(Vec::new()),
        }
    };
    text.split("\n---\n").map(parse).collect()
}

#[test]
fn the_examples_are_in_order() {
    for text in [
        include_str!("../../../../../examples/sre/00-namespace.yaml"),
        include_str!("../../../../../examples/sre/10-backend.yaml"),
        include_str!("../../../../../examples/sre/20-route.yaml"),
        include_str!("../../../../../examples/sre/30-metrics.yaml"),
        include_str!("../../../../../examples/sre/40-canary.yaml"),
        include_str!("../../../../../examples/flagger/canary.yaml"),
    ] {
        for outcome in example(text) {
            assert_eq!(outcome, Ok(Vec::new()), "{text}");
        }
    }
}
