//! What is known early: units, routers that are not named, what is not supported, and that all of it is told at once.

use super::*;
use crate::model::{FindingCode, FindingSeverity};

#[test]
fn limits_in_another_unit_are_doubted() {
    let metric = |limit: &str| format!("analysis: {{metrics: [{{interval: 1m, {limit}}}]}}");
    let rows = [
        "name: request-success-rate, thresholdRange: {min: 99}",
        "name: request-success-rate, thresholdRange: {min: 0.99}",
        "name: request-success-rate, thresholdRange: {min: 1}",
        "name: request-success-rate, thresholdRange: {min: 5}",
        "name: request-success-rate, thresholdRange: {min: 101}",
        "name: request-success-rate, thresholdRange: {max: 1}",
        "name: request-success-rate, threshold: 0.95",
        "name: request-duration, thresholdRange: {max: 500}",
        "name: request-duration, thresholdRange: {max: 0.5}",
        "name: request-duration, threshold: 2",
        "name: request-duration, thresholdRange: {min: 500}",
        "name: request-duration, thresholdRange: {}",
        "name: request-duration, thresholdRange: {max: 500}, threshold: 1",
        "name: my-own, query: up, thresholdRange: {max: 0.5}",
    ]
    .map(metric);
    complaints(
        &rows.each_ref().map(String::as_str),
        expect![[r#"
        analysis: {metrics: [{interval: 1m, name: request-success-rate, thresholdRange: {min: 99}}]}
            ok
        analysis: {metrics: [{interval: 1m, name: request-success-rate, thresholdRange: {min: 0.99}}]}
            warning spec.analysis.metrics[0].thresholdRange.min: is a limit in percent, and 0.99 percent lets 99.01 of 100 requests fail; write 99 if that share is meant
        analysis: {metrics: [{interval: 1m, name: request-success-rate, thresholdRange: {min: 1}}]}
            warning spec.analysis.metrics[0].thresholdRange.min: is a limit in percent, and 1 percent lets 99 of 100 requests fail; write 100 if that share is meant
        analysis: {metrics: [{interval: 1m, name: request-success-rate, thresholdRange: {min: 5}}]}
            warning spec.analysis.metrics[0].thresholdRange.min: lets 95 of 100 requests fail: it is the percent that must succeed; to allow 5 percent of errors, write 95
        analysis: {metrics: [{interval: 1m, name: request-success-rate, thresholdRange: {min: 101}}]}
            warning spec.analysis.metrics[0].thresholdRange.min: is a limit in percent, and no release reaches 101; write at most 100
        analysis: {metrics: [{interval: 1m, name: request-success-rate, thresholdRange: {max: 1}}]}
            warning spec.analysis.metrics[0].thresholdRange.max: 1 is the most percent of requests that may succeed: a release that fails none is rejected; to allow 1 percent of errors, write min: 99
        analysis: {metrics: [{interval: 1m, name: request-success-rate, threshold: 0.95}]}
            warning spec.analysis.metrics[0].threshold: is a limit in percent, and 0.95 percent lets 99.05 of 100 requests fail; write 95 if that share is meant
        analysis: {metrics: [{interval: 1m, name: request-duration, thresholdRange: {max: 500}}]}
            ok
        analysis: {metrics: [{interval: 1m, name: request-duration, thresholdRange: {max: 0.5}}]}
            warning spec.analysis.metrics[0].thresholdRange.max: is a limit in milliseconds, and few releases answer within 0.5 ms; write 500 if seconds are meant
        analysis: {metrics: [{interval: 1m, name: request-duration, threshold: 2}]}
            warning spec.analysis.metrics[0].threshold: is a limit in milliseconds, and few releases answer within 2 ms; write 2000 if seconds are meant
        analysis: {metrics: [{interval: 1m, name: request-duration, thresholdRange: {min: 500}}]}
            warning spec.analysis.metrics[0].thresholdRange.min: 500 is the least duration in milliseconds: a faster release is rejected; to allow at most 500 ms, write max: 500
        analysis: {metrics: [{interval: 1m, name: request-duration, thresholdRange: {}}]}
            warning spec.analysis.metrics[0].thresholdRange: has neither min nor max: every value passes
        analysis: {metrics: [{interval: 1m, name: request-duration, thresholdRange: {max: 500}, threshold: 1}]}
            warning spec.analysis.metrics[0].threshold: has no effect beside thresholdRange
        analysis: {metrics: [{interval: 1m, name: my-own, query: up, thresholdRange: {max: 0.5}}]}
            ok
    "#]],
    );
    let guard = |field: &str| format!("analysis: {{guard: {{{field}}}}}");
    let rows = [
        "errorRate: {slo: 1}",
        "errorRate: {slo: 99}",
        "latency: [{threshold: 0.5, slo: 1}]",
        "latency: [{threshold: 500, slo: 1}]",
    ]
    .map(guard);
    complaints(
        &rows.each_ref().map(String::as_str),
        expect![[r#"
        analysis: {guard: {errorRate: {slo: 1}}}
            ok
        analysis: {guard: {errorRate: {slo: 99}}}
            warning spec.analysis.guard.errorRate.slo: lets 99 percent of all requests be bad; write 1 if 99 percent must be good
        analysis: {guard: {latency: [{threshold: 0.5, slo: 1}]}}
            warning spec.analysis.guard.latency[0].threshold: is a limit in milliseconds, and few releases answer within 0.5 ms; write 500 if seconds are meant
        analysis: {guard: {latency: [{threshold: 500, slo: 1}]}}
            ok
    "#]],
    );
}

#[test]
fn a_router_is_not_guessed_where_the_object_speaks_of_another() {
    let unset = |field: &str| format!("{{provider: null, {field}}}");
    let rows = [
        "ingressRef: {apiVersion: networking.k8s.io/v1, kind: Ingress, name: backend}",
        "routeRef: {apiVersion: apisix.apache.org/v2, kind: ApisixRoute, name: backend}",
        "upstreamRef: {apiVersion: gloo.solo.io/v1, kind: Upstream, name: backend}",
        "service: {gateways: [public]}",
        "service: {gatewayRefs: [{name: public}], hosts: [a.example.com]}",
        "service: {gateways: []}",
        "service: {timeout: 15s}",
    ]
    .map(unset);
    complaints(
        &rows.each_ref().map(String::as_str),
        expect![[r#"
            {provider: null, ingressRef: {apiVersion: networking.k8s.io/v1, kind: Ingress, name: backend}}
                unsupported spec.provider: is not set, and spec.ingressRef is a field of nginx or skipper, not of traefik, which is the default here; set it to traefik, or to the router that is meant
            {provider: null, routeRef: {apiVersion: apisix.apache.org/v2, kind: ApisixRoute, name: backend}}
                unsupported spec.provider: is not set, and spec.routeRef is a field of apisix or gatewayapi:v1, not of traefik, which is the default here; set it to traefik, or to the router that is meant
            {provider: null, upstreamRef: {apiVersion: gloo.solo.io/v1, kind: Upstream, name: backend}}
                unsupported spec.provider: is not set, and spec.upstreamRef is a field of gloo, not of traefik, which is the default here; set it to traefik, or to the router that is meant
            {provider: null, service: {gateways: [public]}}
                unsupported spec.provider: is not set, and spec.service.gateways is a field of istio, not of traefik, which is the default here; set it to traefik, or to the router that is meant
            {provider: null, service: {gatewayRefs: [{name: public}], hosts: [a.example.com]}}
                unsupported spec.provider: is not set, and spec.service.gatewayRefs is a field of gatewayapi:v1, not of traefik, which is the default here; set it to traefik, or to the router that is meant
                unsupported spec.provider: is not set, and spec.service.hosts is a field of istio or gatewayapi:v1, not of traefik, which is the default here; set it to traefik, or to the router that is meant
            {provider: null, service: {gateways: []}}
                ok
            {provider: null, service: {timeout: 15s}}
                warning spec.service.timeout: has no effect with Traefik; put it on the IngressRoute, a Middleware or a ServersTransport, which stay yours
        "#]],
    );
    let failure = canary(&object("{provider: null, service: {gateways: [public]}}")).unwrap_err();
    assert!(failure.is_unsupported_only());
    assert_eq!(failure.findings[0].code, FindingCode::ProviderUnclear);
}

#[test]
fn all_that_is_not_supported_is_told_at_once_and_called_so() {
    let failure = canary(&object(
        "{provider: istio, targetRef: {kind: Service}, autoscalerRef: {apiVersion: keda.sh/v1alpha1, kind: ScaledObject, name: a}}",
    ))
    .unwrap_err();
    assert!(failure.is_unsupported_only(), "{failure}");
    expect!["spec.provider: istio is not supported yet; use traefik, gatewayapi:v1 or kubernetes; spec.targetRef.kind: Service targets (Kubernetes and Knative) are not supported yet; use a Deployment or a DaemonSet; spec.autoscalerRef.kind: KEDA ScaledObjects are not supported yet; name its HorizontalPodAutoscaler or leave the reference out"].assert_eq(&failure.to_string());
    // What is wrong besides is told beside it, and then it is wrong.
    let failure = canary(&object("{provider: istio, service: {port: 0}}")).unwrap_err();
    assert!(!failure.is_unsupported_only());
    let severities: Vec<_> = failure.findings.iter().map(|found| found.severity).collect();
    assert_eq!(severities, [FindingSeverity::Unsupported, FindingSeverity::Error]);
}

#[test]
fn the_version_of_an_autoscaler_is_no_reason_to_refuse() {
    let rows = [
        "autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: a}",
        "autoscalerRef: {apiVersion: autoscaling/v2beta2, kind: HorizontalPodAutoscaler, name: a}",
        "autoscalerRef: {kind: HorizontalPodAutoscaler, name: a}",
        "autoscalerRef: {apiVersion: autoscaling/v1, name: a}",
        "autoscalerRef: {apiVersion: autoscaling/v2, kind: Hpa, name: a}",
        "autoscalerRef: {apiVersion: v1, kind: VerticalPodAutoscaler, name: a}",
        "autoscalerRef: {apiVersion: keda.sh/v1alpha1, kind: ScaledObject, name: a}",
        "autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler}",
    ];
    complaints(
        &rows,
        expect![[r#"
        autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: a}
            ok
        autoscalerRef: {apiVersion: autoscaling/v2beta2, kind: HorizontalPodAutoscaler, name: a}
            warning spec.autoscalerRef.apiVersion: autoscaling/v2beta2 is read as autoscaling/v2; write autoscaling/v2
        autoscalerRef: {kind: HorizontalPodAutoscaler, name: a}
            warning spec.autoscalerRef.apiVersion: is missing, autoscaling/v2 is read; write autoscaling/v2
        autoscalerRef: {apiVersion: autoscaling/v1, name: a}
            warning spec.autoscalerRef.kind: is missing, HorizontalPodAutoscaler is taken; write HorizontalPodAutoscaler
            warning spec.autoscalerRef.apiVersion: autoscaling/v1 is read as autoscaling/v2; write autoscaling/v2
        autoscalerRef: {apiVersion: autoscaling/v2, kind: Hpa, name: a}
            warning spec.autoscalerRef.kind: "Hpa" is read as HorizontalPodAutoscaler; write HorizontalPodAutoscaler, or remove the reference
        autoscalerRef: {apiVersion: v1, kind: VerticalPodAutoscaler, name: a}
            warning spec.autoscalerRef.kind: "VerticalPodAutoscaler" is no kind of autoscaler that is known, so the reference has no effect; write HorizontalPodAutoscaler, or remove the reference
        autoscalerRef: {apiVersion: keda.sh/v1alpha1, kind: ScaledObject, name: a}
            unsupported spec.autoscalerRef.kind: KEDA ScaledObjects are not supported yet; name its HorizontalPodAutoscaler or leave the reference out
        autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler}
            error spec.autoscalerRef.name: is required
    "#]],
    );
}
