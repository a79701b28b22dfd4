//! Tables of the questions that metrics become.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use regex::Regex;
use serin_core::model::{Builtin, Key, Metric, MetricBackend};

use super::*;
use crate::testing::canary;

fn metric(patch: &str) -> (Canary, Metric) {
    let canary = canary(patch);
    let metric = canary.spec.analysis.metrics.first().unwrap().clone();
    (canary, metric)
}

fn check(patch: &str, expected: Expect) {
    let (canary, metric) = metric(patch);
    let settings = Settings::default();
    let question = question(&canary, &metric, &metric.sources[0], None, &settings).unwrap();
    expected.assert_eq(&question.query);
}

#[test]
fn builtins_ask_for_the_service_and_know_zero_from_nothing() {
    let spec = |provider: &str, name: &str| {
        format!(
            "{{provider: {provider}, service: {{port: 80, name: front}}, analysis: {{stepWeight: null, maxWeight: null, iterations: 2, metrics: [{{name: {name}, interval: 30s, thresholdRange: {{min: 99}}}}]}}}}"
        )
    };
    check(
        &spec("traefik", "request-success-rate"),
        expect![[
            r#"(sum(rate(traefik_service_request_duration_seconds_bucket{service=~"develop-front-canary-(80|http)@kubernetescrd|develop_front_wrr_[0-9]+_develop_front-canary_(80|http)@kubernetescrd",le="+Inf",code!~"5.."}[30s])) or vector(0)) / sum(rate(traefik_service_request_duration_seconds_bucket{service=~"develop-front-canary-(80|http)@kubernetescrd|develop_front_wrr_[0-9]+_develop_front-canary_(80|http)@kubernetescrd",le="+Inf"}[30s])) * 100"#
        ]],
    );
    check(
        &spec("traefik", "request-duration"),
        expect![[
            r#"histogram_quantile(0.99, sum(rate(traefik_service_request_duration_seconds_bucket{service=~"develop-front-canary-(80|http)@kubernetescrd|develop_front_wrr_[0-9]+_develop_front-canary_(80|http)@kubernetescrd"}[30s])) by (le)) * 1000"#
        ]],
    );
    check(
        &spec("kubernetes", "request-success-rate"),
        expect![[
            r#"(sum(rate(http_request_duration_seconds_count{kubernetes_namespace="develop",kubernetes_pod_name=~"backend-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)",status!~"5.*"}[30s])) or vector(0)) / sum(rate(http_request_duration_seconds_count{kubernetes_namespace="develop",kubernetes_pod_name=~"backend-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)"}[30s])) * 100"#
        ]],
    );
    check(
        &spec("kubernetes", "request-duration"),
        expect![[
            r#"histogram_quantile(0.99, sum(rate(http_request_duration_seconds_bucket{kubernetes_namespace="develop",kubernetes_pod_name=~"backend-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)"}[30s])) by (le)) * 1000"#
        ]],
    );
}

#[test]
fn traefiks_names_of_the_canary_match_and_no_others() {
    let canary = canary("service: {port: 80, name: front}");
    let query = builtin::query(&canary, Builtin::RequestDuration, "1m");
    let inner = query.split('"').nth(1).unwrap().replace("\\\\", "\\");
    let regex = Regex::new(&format!("^(?:{inner})$")).unwrap();
    for name in [
        "develop-front-canary-80@kubernetescrd",
        "develop-front-canary-http@kubernetescrd",
        "develop_front_wrr_1_develop_front-canary_80@kubernetescrd",
    ] {
        assert!(regex.is_match(name), "{name}");
    }
    for name in [
        "develop-front-primary-80@kubernetescrd",
        "develop-front-canary-x-80@kubernetescrd",
        "other-front-canary-80@kubernetescrd",
        "develop-front@kubernetescrd",
    ] {
        assert!(!regex.is_match(name), "{name}");
    }
}

#[test]
fn each_source_has_its_server() {
    let settings = Settings::default();
    let ask = |patch: &str, address: Option<&str>| {
        let (canary, metric) = metric(patch);
        let template = MetricTemplate {
            key: Key::new("develop", "t"),
            generation: 1,
            provider: MetricBackend {
                kind: &metric_kind::PROMETHEUS,
                region: None,
                address: address.map(str::to_owned),
                headers: BTreeMap::new(),
                secret: None,
                insecure_skip_verify: true,
            },
            query: "up{a=\"{{ variables.a }}\"}".to_owned(),
        };
        let resolved = Some(Resolved { template: &template, secret: None });
        let question = question(&canary, &metric, &metric.sources[0], resolved, &settings).unwrap();
        let Progress::Http { call, .. } = question.begin(Timestamp::UNIX_EPOCH).unwrap() else {
            panic!("Prometheus is asked by HTTP")
        };
        let uri = call.request.uri();
        format!("{} {} {}", uri.authority().unwrap(), question.query, call.insecure)
    };
    let inline = "metrics: [{name: x, query: 'up{c=\"{{ name }}\"}', thresholdRange: {max: 1}}]";
    let template = "metrics: [{name: x, templateRef: {name: t}, templateVariables: {a: b}, thresholdRange: {max: 1}}]";
    expect![[r#"prometheus:9090 up{c="backend"} false"#]]
        .assert_eq(&ask(&format!("analysis: {{{inline}}}"), None));
    expect![[r#"own:1 up{c="backend"} false"#]]
        .assert_eq(&ask(&format!("metricsServer: 'http://own:1'\nanalysis: {{{inline}}}"), None));
    expect![[r#"own:1 up{a="b"} true"#]]
        .assert_eq(&ask(&format!("metricsServer: 'http://own:1'\nanalysis: {{{template}}}"), None));
    expect![[r#"theirs:2 up{a="b"} true"#]]
        .assert_eq(&ask(&format!("analysis: {{{template}}}"), Some("http://theirs:2")));
}

#[test]
fn a_template_that_is_not_there_is_named() {
    let (canary, metric) = metric(
        "analysis: {metrics: [{name: x, templateRef: {name: t}, thresholdRange: {max: 1}}]}",
    );
    let error =
        question(&canary, &metric, &metric.sources[0], None, &Settings::default()).err().unwrap();
    expect!["MetricTemplate develop/t does not exist or is invalid"].assert_eq(&error.to_string());
}

#[test]
fn every_kind_of_the_catalogue_is_built_in() {
    let built_in: Vec<&str> = METRICS.iter().map(|provider| provider.kind().name).collect();
    let known: Vec<&str> = metric_kind::ALL.iter().map(|kind| kind.name).collect();
    assert_eq!(built_in, known);
    for kind in metric_kind::ALL {
        assert!(metric_provider(kind).is_ok_and(|provider| provider.kind() == *kind));
    }
}
