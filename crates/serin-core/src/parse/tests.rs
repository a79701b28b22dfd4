//! Tables of specs and what becomes of them.

#![allow(clippy::too_many_lines, reason = "tables are long")]

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::model::{HookKind, Limit, Metric, MetricSource, Phase, Severity, Strategy, TargetPort};

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// The smallest Canary, with the fields of `patch` (YAML below `spec`) put over it; null takes a field away.
fn object(patch: &str) -> Value {
    let mut object = yaml(
        "
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: backend, namespace: develop, uid: u1, resourceVersion: '7', generation: 3}
spec:
  provider: traefik
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: backend}
  service: {port: 80}
  analysis: {interval: 10s, threshold: 1, stepWeight: 10}
",
    );
    if !patch.trim().is_empty() {
        merge(&mut object["spec"], &yaml(patch));
    }
    object
}

fn merge(into: &mut Value, from: &Value) {
    let Value::Object(from) = from else {
        *into = from.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    for (key, value) in from {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}

/// What `parse` says of each row: nothing, warnings, or errors.
fn complaints(rows: &[&str], expected: Expect) {
    let mut out = String::new();
    for row in rows {
        out.push_str(&format!("{row}\n"));
        match canary(&object(row)) {
            Ok(canary) if canary.spec.warnings.is_empty() => out.push_str("    ok\n"),
            Ok(canary) => {
                canary
                    .spec
                    .warnings
                    .iter()
                    .for_each(|w| out.push_str(&format!("    warning {w}\n")));
            }
            Err(failure) => {
                failure.errors.iter().for_each(|e| out.push_str(&format!("    error {e}\n")));
            }
        }
    }
    expected.assert_eq(&out);
}

fn strategies(rows: &[&str], expected: Expect) {
    let mut out = String::new();
    for row in rows {
        let text = match canary(&object(row)) {
            Err(failure) => format!("error {failure}"),
            Ok(canary) => {
                let warnings: String =
                    canary.spec.warnings.iter().map(|w| format!("\n    warning {w}")).collect();
                match canary.spec.analysis.strategy {
                    Strategy::Weighted(ladder) => {
                        let rungs: Vec<_> = ladder.rungs.iter().map(Weight::to_string).collect();
                        let back = ladder.promotion_step.map(|w| format!(", back by {w}"));
                        format!("{}{}{warnings}", rungs.join(" "), back.unwrap_or_default())
                    }
                    Strategy::BlueGreen { iterations } => {
                        format!("blue-green {iterations}{warnings}")
                    }
                }
            }
        };
        out.push_str(&format!("{row} => {text}\n"));
    }
    expected.assert_eq(&out);
}

use crate::model::Weight;

#[test]
fn ladders_are_flaggers() {
    strategies(
        &[
            "analysis: {stepWeight: 10, maxWeight: 50}",
            "analysis: {stepWeight: 20, maxWeight: 50}",
            "analysis: {stepWeight: 60, maxWeight: 50}",
            "analysis: {stepWeight: 30}",
            "analysis: {stepWeight: 100}",
            "analysis: {stepWeight: 250}",
            "analysis: {stepWeight: 50, maxWeight: 0}",
            "analysis: {stepWeight: 50, maxWeight: -4}",
            "analysis: {stepWeight: 50, maxWeight: 101}",
            "analysis: {stepWeight: 0}",
            "analysis: {stepWeight: -5}",
            "analysis: {stepWeight: 2.5}",
            "analysis: {stepWeight: 50.0}",
            "analysis: {stepWeight: '50'}",
            "analysis: {stepWeight: 50, stepWeightPromotion: 20}",
            "analysis: {stepWeight: 50, stepWeightPromotion: 0}",
            "analysis: {stepWeight: 50, stepWeightPromotion: 200}",
            "analysis: {stepWeight: 50, stepWeightPromotion: -1}",
            "analysis: {stepWeight: null, stepWeights: [5, 10, 20, 30, 40, 50]}",
            "analysis: {stepWeight: null, stepWeights: [1]}",
            "analysis: {stepWeight: null, stepWeights: [50, 100]}",
            "analysis: {stepWeight: null, stepWeights: [50, 110]}",
            "analysis: {stepWeight: null, stepWeights: [50, 100, 110]}",
            "analysis: {stepWeight: null, stepWeights: []}",
            "analysis: {stepWeight: null, stepWeights: [0, 10]}",
            "analysis: {stepWeight: null, stepWeights: [10, 10]}",
            "analysis: {stepWeight: null, stepWeights: [10, 30, 20, 25, 40]}",
            "analysis: {stepWeight: null, stepWeights: [10, x, 2.5, null]}",
            "analysis: {stepWeight: null, stepWeights: 10}",
            "analysis: {stepWeight: null, stepWeights: [10, 20], maxWeight: 20}",
            "analysis: {stepWeight: null, stepWeights: [10, 20], maxWeight: 50}",
            "analysis: {stepWeight: null}",
            "analysis: {stepWeights: [10]}",
            "analysis: {stepWeights: [10], iterations: 3}",
        ],
        expect![[r#"
            analysis: {stepWeight: 10, maxWeight: 50} => 10 20 30 40 50
            analysis: {stepWeight: 20, maxWeight: 50} => 20 40 60
            analysis: {stepWeight: 60, maxWeight: 50} => 60
            analysis: {stepWeight: 30} => 30 60 90 100
            analysis: {stepWeight: 100} => 100
            analysis: {stepWeight: 250} => 100
            analysis: {stepWeight: 50, maxWeight: 0} => 50 100
            analysis: {stepWeight: 50, maxWeight: -4} => 50 100
            analysis: {stepWeight: 50, maxWeight: 101} => error spec.analysis.maxWeight: must be at most 100, not 101: it would never be reached
            analysis: {stepWeight: 0} => error spec.analysis.stepWeight: must be at least 1, not 0: the release would never advance
            analysis: {stepWeight: -5} => error spec.analysis.stepWeight: must be at least 1, not -5: the release would never advance
            analysis: {stepWeight: 2.5} => error spec.analysis.stepWeight: must be a whole number, not 2.5
            analysis: {stepWeight: 50.0} => 50 100
            analysis: {stepWeight: '50'} => error spec.analysis.stepWeight: must be a whole number, not a string
            analysis: {stepWeight: 50, stepWeightPromotion: 20} => 50 100, back by 20
            analysis: {stepWeight: 50, stepWeightPromotion: 0} => 50 100
            analysis: {stepWeight: 50, stepWeightPromotion: 200} => 50 100, back by 100
            analysis: {stepWeight: 50, stepWeightPromotion: -1} => error spec.analysis.stepWeightPromotion: must be between 0 and 2147483647, not -1
            analysis: {stepWeight: null, stepWeights: [5, 10, 20, 30, 40, 50]} => 5 10 20 30 40 50
            analysis: {stepWeight: null, stepWeights: [1]} => 1
            analysis: {stepWeight: null, stepWeights: [50, 100]} => 50 100
            analysis: {stepWeight: null, stepWeights: [50, 110]} => 50 100
                warning spec.analysis.stepWeights[1]: 110 is taken as 100
            analysis: {stepWeight: null, stepWeights: [50, 100, 110]} => 50 100
                warning spec.analysis.stepWeights[2]: 110 is taken as 100
            analysis: {stepWeight: null, stepWeights: []} => error spec.analysis.stepWeights: must not be empty: the release would never advance
            analysis: {stepWeight: null, stepWeights: [0, 10]} => error spec.analysis.stepWeights[0]: must be at least 1, not 0
            analysis: {stepWeight: null, stepWeights: [10, 10]} => error spec.analysis.stepWeights[1]: must be more than 10 before it, not 10: steps rise
            analysis: {stepWeight: null, stepWeights: [10, 30, 20, 25, 40]} => error spec.analysis.stepWeights[2]: must be more than 30 before it, not 20: steps rise; spec.analysis.stepWeights[3]: must be more than 30 before it, not 25: steps rise
            analysis: {stepWeight: null, stepWeights: [10, x, 2.5, null]} => error spec.analysis.stepWeights[1]: must be a whole number, not a string; spec.analysis.stepWeights[2]: must be a whole number, not 2.5; spec.analysis.stepWeights[3]: must be a whole number, not null
            analysis: {stepWeight: null, stepWeights: 10} => error spec.analysis.stepWeights: must be a list, not a number
            analysis: {stepWeight: null, stepWeights: [10, 20], maxWeight: 20} => 10 20
            analysis: {stepWeight: null, stepWeights: [10, 20], maxWeight: 50} => 10 20
                warning spec.analysis.maxWeight: has no effect with stepWeights, whose last is 20
            analysis: {stepWeight: null} => error spec.analysis.stepWeight: one of iterations, stepWeight and stepWeights is required
            analysis: {stepWeights: [10]} => error spec.analysis.stepWeight: only one of stepWeight, stepWeights can be set
            analysis: {stepWeights: [10], iterations: 3} => error spec.analysis.iterations: Blue/Green is not supported with Traefik yet; use stepWeight or stepWeights; spec.analysis.iterations: only one of iterations, stepWeight, stepWeights can be set
        "#]],
    );
}

#[test]
fn provider_kubernetes_is_always_blue_green() {
    strategies(
        &[
            "{provider: kubernetes, analysis: {stepWeight: null, iterations: 5}}",
            "{provider: kubernetes, analysis: {stepWeight: null, iterations: 0}}",
            "{provider: kubernetes, analysis: {stepWeight: 10, maxWeight: 50}}",
            "{provider: kubernetes, analysis: {stepWeight: null, stepWeights: [10, 20]}}",
            "{provider: kubernetes, analysis: {stepWeight: null, iterations: 5, stepWeightPromotion: 10}}",
            "{provider: kubernetes, analysis: {stepWeight: null}}",
        ],
        expect![[r#"
            {provider: kubernetes, analysis: {stepWeight: null, iterations: 5}} => blue-green 5
            {provider: kubernetes, analysis: {stepWeight: null, iterations: 0}} => blue-green 10
                warning spec.analysis.iterations: provider kubernetes has no router to shift traffic with: the release is Blue/Green with 10 iterations
            {provider: kubernetes, analysis: {stepWeight: 10, maxWeight: 50}} => blue-green 10
                warning spec.analysis.maxWeight: has no effect with provider kubernetes, which has no router
                warning spec.analysis.stepWeight: provider kubernetes has no router to shift traffic with: the release is Blue/Green with 10 iterations
            {provider: kubernetes, analysis: {stepWeight: null, stepWeights: [10, 20]}} => blue-green 10
                warning spec.analysis.stepWeights: provider kubernetes has no router to shift traffic with: the release is Blue/Green with 10 iterations
            {provider: kubernetes, analysis: {stepWeight: null, iterations: 5, stepWeightPromotion: 10}} => blue-green 5
                warning spec.analysis.stepWeightPromotion: has no effect with provider kubernetes, which has no router
            {provider: kubernetes, analysis: {stepWeight: null}} => error spec.analysis.stepWeight: one of iterations, stepWeight and stepWeights is required
        "#]],
    );
}

#[test]
fn what_never_runs_is_not_judged() {
    strategies(
        &[
            "{skipAnalysis: true, analysis: {stepWeight: 0}}",
            "{skipAnalysis: true, analysis: {stepWeight: null}}",
            "{skipAnalysis: true, analysis: {stepWeight: 10, maxWeight: 200}}",
            "{skipAnalysis: true, analysis: {stepWeight: null, stepWeights: [30, 20]}}",
            "{skipAnalysis: true, analysis: {mirror: true}}",
        ],
        expect![[r#"
            {skipAnalysis: true, analysis: {stepWeight: 0}} => 100
            {skipAnalysis: true, analysis: {stepWeight: null}} => 100
            {skipAnalysis: true, analysis: {stepWeight: 10, maxWeight: 200}} => 10 20 30 40 50 60 70 80 90 100
            {skipAnalysis: true, analysis: {stepWeight: null, stepWeights: [30, 20]}} => 100
            {skipAnalysis: true, analysis: {mirror: true}} => 10 20 30 40 50 60 70 80 90 100
                warning spec.analysis.mirror: mirroring is not supported with this provider, and users would not get what it says
        "#]],
    );
}

#[test]
fn every_mistake_has_a_path() {
    complaints(
        &[
            "",
            "provider: istio",
            "provider: trafik",
            "provider: ''",
            "provider: 7",
            "targetRef: null",
            "targetRef: 7",
            "targetRef: {kind: DaemonSet}",
            "targetRef: {kind: Service}",
            "targetRef: {kind: StatefulSet}",
            "targetRef: {kind: null, name: null, apiVersion: null}",
            "targetRef: {apiVersion: extensions/v1beta1}",
            "targetRef: {name: Backend}",
            "targetRef: {name: a.b}",
            "{targetRef: {name: a.b}, service: {name: ab}}",
            "service: null",
            "service: []",
            "service: {port: null}",
            "service: {port: 0}",
            "service: {port: 70000}",
            "service: {port: http}",
            "service: {port: 80.5}",
            "service: {portName: Http}",
            "service: {targetPort: true}",
            "service: {targetPort: too-long-a-port-name}",
            "service: {targetPort: 99999}",
            "service: {name: 1backend}",
            "service: {name: a-name-so-long-that-the-suffix-primary-has-no-room-after-it}",
            "service: {trafficDistribution: Local}",
            "service: {trafficDistribution: PreferClose}",
            "service: {headless: 'yes'}",
            "service: {apex: {labels: {a: 1}}}",
            "service: {apex: 1, canary: {annotations: []}}",
            "service: {unmanagedMetadata: {annotations: [1], labels: a}}",
            "metricsServer: prometheus:9090",
            "metricsServer: http://prometheus.monitoring:9090",
            "progressDeadlineSeconds: 60",
            "progressDeadlineSeconds: -1",
            "{suspend: 1, skipAnalysis: 'true', revertOnDeletion: []}",
            "analysis: null",
            "analysis: 7",
            "analysis: {interval: 1}",
            "analysis: {interval: 5s}",
            "analysis: {interval: 10mfoo}",
            "analysis: {interval: 1m30s}",
            "analysis: {threshold: -1}",
            "analysis: {threshold: 1.5}",
            "analysis: {primaryReadyThreshold: 101, canaryReadyThreshold: -1}",
            "analysis: {guard: {}}",
            "analysis: {mirror: true}",
            "analysis: {mirrorWeight: 10}",
            "analysis: {match: [{headers: {x: {exact: a}}}]}",
            "analysis: {sessionAffinity: {cookieName: c}}",
            "analysis: {stepWeight: null, iterations: 3}",
            "analysis: {stepWeight: null, iterations: 0}",
            "{provider: kubernetes, analysis: {stepWeight: null, iterations: 3, mirror: true, match: [{}], sessionAffinity: {cookieName: c}}}",
            "service: {mirror: [{}]}",
            "service: {timeout: 5s, retries: {attempts: 3}, match: [{}], hosts: [a], gateways: [], delegation: false}",
            "service: {gateways: [g], gatewayRefs: [{name: g}], delegation: true, meshName: m, backends: [b]}",
            "autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: backend}",
            "autoscalerRef: {apiVersion: autoscaling/v2beta2, kind: HorizontalPodAutoscaler, name: backend}",
            "autoscalerRef: {apiVersion: keda.sh/v1alpha1, kind: ScaledObject, name: backend}",
            "autoscalerRef: {apiVersion: autoscaling/v2, kind: Other}",
            "autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: b, primaryScalerReplicas: {minReplicas: 5, maxReplicas: 2}}",
            "autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: b, primaryScalerReplicas: {minReplicas: 0}}",
            "autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: b, primaryScalerQueries: {a: b}}",
            "upstreamRef: {apiVersion: gloo.solo.io/v1, kind: Upstream, name: u}",
            "ingressRef: {apiVersion: networking.k8s.io/v1, kind: Ingress, name: i}",
        ],
        expect![[r#"

                ok
            provider: istio
                error spec.provider: istio is not supported yet; use traefik or kubernetes
            provider: trafik
                error spec.provider: unknown provider "trafik"; use traefik or kubernetes
            provider: ''
                ok
            provider: 7
                error spec.provider: must be a string, not a number
            targetRef: null
                error spec.targetRef: is required
            targetRef: 7
                error spec.targetRef: must be an object, not a number
            targetRef: {kind: DaemonSet}
                error spec.targetRef.kind: DaemonSet targets are not supported yet
            targetRef: {kind: Service}
                error spec.targetRef.kind: Service targets (Kubernetes and Knative) are not supported yet
            targetRef: {kind: StatefulSet}
                error spec.targetRef.kind: unknown kind "StatefulSet"; use Deployment
            targetRef: {kind: null, name: null, apiVersion: null}
                error spec.targetRef.kind: is required
                error spec.targetRef.apiVersion: is required
                error spec.targetRef.name: is required
            targetRef: {apiVersion: extensions/v1beta1}
                warning spec.targetRef.apiVersion: extensions/v1beta1 is read as apps/v1
            targetRef: {name: Backend}
                error spec.targetRef.name: "Backend" is no object name: lower-case letters, digits, '-' and '.'
                error spec.service.name: "Backend" (from targetRef.name) is no Service name: lower-case letters, digits and '-', starting with a letter
            targetRef: {name: a.b}
                error spec.service.name: "a.b" (from targetRef.name) is no Service name: lower-case letters, digits and '-', starting with a letter
            {targetRef: {name: a.b}, service: {name: ab}}
                ok
            service: null
                error spec.service: is required
            service: []
                error spec.service: must be an object, not a list
            service: {port: null}
                error spec.service.port: is required
            service: {port: 0}
                error spec.service.port: must be between 1 and 65535, not 0
            service: {port: 70000}
                error spec.service.port: must be between 1 and 65535, not 70000
            service: {port: http}
                error spec.service.port: must be a whole number, not a string
            service: {port: 80.5}
                error spec.service.port: must be a whole number, not 80.5
            service: {portName: Http}
                error spec.service.portName: "Http" is no port name: lower-case letters, digits and '-'
            service: {targetPort: true}
                error spec.service.targetPort: must be a number or a port's name, not a boolean
            service: {targetPort: too-long-a-port-name}
                error spec.service.targetPort: "too-long-a-port-name" is no port name: at most 15 lower-case letters, digits and '-'
            service: {targetPort: 99999}
                error spec.service.targetPort: must be between 0 and 65535, not 99999
            service: {name: 1backend}
                error spec.service.name: "1backend" is no Service name: lower-case letters, digits and '-', starting with a letter
            service: {name: a-name-so-long-that-the-suffix-primary-has-no-room-after-it}
                error spec.service.name: "a-name-so-long-that-the-suffix-primary-has-no-room-after-it" must have at most 55 characters, so that -primary fits after it
            service: {trafficDistribution: Local}
                error spec.service.trafficDistribution: unknown value "Local"; use PreferClose, PreferSameZone, PreferSameNode
            service: {trafficDistribution: PreferClose}
                ok
            service: {headless: 'yes'}
                error spec.service.headless: must be true or false, not a string
            service: {apex: {labels: {a: 1}}}
                error spec.service.apex.labels.a: must be a string, not a number
            service: {apex: 1, canary: {annotations: []}}
                error spec.service.apex: must be an object, not a number
                error spec.service.canary.annotations: must be an object, not a list
            service: {unmanagedMetadata: {annotations: [1], labels: a}}
                error spec.service.unmanagedMetadata.annotations[0]: must be a string, not a number
                error spec.service.unmanagedMetadata.labels: must be a list, not a string
            metricsServer: prometheus:9090
                error spec.metricsServer: "prometheus:9090" is no http or https URL
            metricsServer: http://prometheus.monitoring:9090
                ok
            progressDeadlineSeconds: 60
                ok
            progressDeadlineSeconds: -1
                error spec.progressDeadlineSeconds: must be between 0 and 2147483647, not -1
            {suspend: 1, skipAnalysis: 'true', revertOnDeletion: []}
                error spec.skipAnalysis: must be true or false, not a string
                error spec.revertOnDeletion: must be true or false, not a list
                error spec.suspend: must be true or false, not a number
            analysis: null
                error spec.analysis: is required
            analysis: 7
                error spec.analysis: must be an object, not a number
            analysis: {interval: 1}
                error spec.analysis.interval: must be a string, not a number
            analysis: {interval: 5s}
                warning spec.analysis.interval: 5s is raised to 10s
            analysis: {interval: 10mfoo}
                warning spec.analysis.interval: "10mfoo" is no duration such as 30s or 1m; 60s is used
            analysis: {interval: 1m30s}
                ok
            analysis: {threshold: -1}
                ok
            analysis: {threshold: 1.5}
                error spec.analysis.threshold: must be a whole number, not 1.5
            analysis: {primaryReadyThreshold: 101, canaryReadyThreshold: -1}
                error spec.analysis.primaryReadyThreshold: must be between -2147483648 and 100, not 101
            analysis: {guard: {}}
                error spec.analysis.guard: the guard is not available yet; remove it
            analysis: {mirror: true}
                error spec.analysis.mirror: mirroring is not supported with this provider, and users would not get what it says
            analysis: {mirrorWeight: 10}
                warning spec.analysis.mirrorWeight: has an effect with Istio only
            analysis: {match: [{headers: {x: {exact: a}}}]}
                error spec.analysis.match: A/B testing is not supported with Traefik yet; Flagger would send all users to the canary
            analysis: {sessionAffinity: {cookieName: c}}
                error spec.analysis.sessionAffinity: session affinity is not supported with Traefik yet; users would move between versions
            analysis: {stepWeight: null, iterations: 3}
                error spec.analysis.iterations: Blue/Green is not supported with Traefik yet; use stepWeight or stepWeights
            analysis: {stepWeight: null, iterations: 0}
                error spec.analysis.iterations: must be at least 1, not 0: the release would never end
            {provider: kubernetes, analysis: {stepWeight: null, iterations: 3, mirror: true, match: [{}], sessionAffinity: {cookieName: c}}}
                warning spec.analysis.match: A/B testing needs a router; with provider kubernetes the release is Blue/Green
                warning spec.analysis.mirror: has no effect with provider kubernetes, which has no router
                warning spec.analysis.sessionAffinity: has no effect with provider kubernetes, which has no router
            service: {mirror: [{}]}
                error spec.service.mirror: mirroring is not supported with this provider, and users would not get what it says
            service: {timeout: 5s, retries: {attempts: 3}, match: [{}], hosts: [a], gateways: [], delegation: false}
                warning spec.service.timeout: has no effect with Traefik: put it on the IngressRoute, a Middleware or a ServersTransport, which stay yours
                warning spec.service.retries: has no effect with Traefik: put it on the IngressRoute, a Middleware or a ServersTransport, which stay yours
                warning spec.service.match: has no effect with Traefik: put it on the IngressRoute, a Middleware or a ServersTransport, which stay yours
                warning spec.service.hosts: has no effect with Traefik: put it on the IngressRoute, a Middleware or a ServersTransport, which stay yours
            service: {gateways: [g], gatewayRefs: [{name: g}], delegation: true, meshName: m, backends: [b]}
                warning spec.service.gateways: belongs to another mesh and has no effect here
                warning spec.service.gatewayRefs: belongs to another mesh and has no effect here
                warning spec.service.delegation: belongs to another mesh and has no effect here
                warning spec.service.meshName: belongs to another mesh and has no effect here
                warning spec.service.backends: belongs to another mesh and has no effect here
            autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: backend}
                ok
            autoscalerRef: {apiVersion: autoscaling/v2beta2, kind: HorizontalPodAutoscaler, name: backend}
                error spec.autoscalerRef.apiVersion: only autoscaling/v2 is supported; every API server since Kubernetes 1.23 has it
            autoscalerRef: {apiVersion: keda.sh/v1alpha1, kind: ScaledObject, name: backend}
                error spec.autoscalerRef.kind: KEDA ScaledObjects are not supported yet; name its HorizontalPodAutoscaler or leave the reference out
            autoscalerRef: {apiVersion: autoscaling/v2, kind: Other}
                error spec.autoscalerRef.kind: unknown kind "Other"; use HorizontalPodAutoscaler
                error spec.autoscalerRef.name: is required
            autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: b, primaryScalerReplicas: {minReplicas: 5, maxReplicas: 2}}
                error spec.autoscalerRef.primaryScalerReplicas.minReplicas: 5 is more than maxReplicas 2
            autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: b, primaryScalerReplicas: {minReplicas: 0}}
                error spec.autoscalerRef.primaryScalerReplicas.minReplicas: must be between 1 and 2147483647, not 0
            autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: b, primaryScalerQueries: {a: b}}
                warning spec.autoscalerRef.primaryScalerQueries: is for KEDA ScaledObjects and has no effect on a HorizontalPodAutoscaler
            upstreamRef: {apiVersion: gloo.solo.io/v1, kind: Upstream, name: u}
                warning spec.upstreamRef: is for Gloo and has no effect here
            ingressRef: {apiVersion: networking.k8s.io/v1, kind: Ingress, name: i}
                ok
        "#]],
    );
}

#[test]
fn metrics_hooks_and_alerts() {
    complaints(
        &[
            "analysis: {metrics: [{name: request-success-rate, thresholdRange: {min: 99}}]}",
            "analysis: {metrics: [{name: request-success-rate, threshold: 99}]}",
            "analysis: {metrics: [{name: request-success-rate}]}",
            "analysis: {metrics: [{name: request-duration, interval: 30s}]}",
            "analysis: {metrics: [{name: request-duration, interval: '1m] or up', thresholdRange: {max: 1}}]}",
            "analysis: {metrics: [{name: request-duration, interval: 1mfoo, thresholdRange: {max: 1}}]}",
            "analysis: {metrics: [{name: m, thresholdRange: {max: 1}}]}",
            "analysis: {metrics: [{name: m, query: '', thresholdRange: {max: 1}}]}",
            "analysis: {metrics: [{name: m, query: up, thresholdRange: {min: 2, max: 1}}]}",
            "analysis: {metrics: [{name: m, query: up, thresholdRange: {min: x}}]}",
            "analysis: {metrics: [{name: m, query: up, thresholdRange: []}]}",
            "analysis: {metrics: [{query: up, threshold: 5}]}",
            "analysis: {metrics: [{name: m, templateRef: {}, threshold: 5}]}",
            "analysis: {metrics: [{name: m, templateRef: t, threshold: 5}]}",
            "analysis: {metrics: [{name: m, templateRef: {name: t}, templateVariables: {a: 1}, threshold: 5}]}",
            "analysis: {metrics: [{name: request-success-rate, templateRef: {name: t}, threshold: 5}]}",
            "analysis: {metrics: [m, 1, null]}",
            "analysis: {metrics: {}}",
            "analysis: {webhooks: [{name: h, url: 'http://gate/'}]}",
            "analysis: {webhooks: [{}]}",
            "analysis: {webhooks: [{name: h, url: 'gate', type: gate, timeout: 5, retries: -1}]}",
            "analysis: {webhooks: [{name: h, url: 'http://', timeout: 5x, retries: 1000}]}",
            "analysis: {webhooks: [{name: h, url: 'https://gate', timeout: 0s, metadata: {a: true}}]}",
            "analysis: {webhooks: [{name: h, url: 'https://ga te', muteAlert: 1}]}",
            "analysis: {alerts: [{name: a, providerRef: {name: p}}]}",
            "analysis: {alerts: [{name: a}]}",
            "analysis: {alerts: [{severity: bad, providerRef: {}}]}",
            "analysis: {alerts: [{name: a, severity: '', providerRef: {name: p, namespace: other}}]}",
        ],
        expect![[r#"
            analysis: {metrics: [{name: request-success-rate, thresholdRange: {min: 99}}]}
                ok
            analysis: {metrics: [{name: request-success-rate, threshold: 99}]}
                ok
            analysis: {metrics: [{name: request-success-rate}]}
                ok
            analysis: {metrics: [{name: request-duration, interval: 30s}]}
                warning spec.analysis.metrics[0].thresholdRange: neither thresholdRange nor threshold is set: any value above 0 fails
            analysis: {metrics: [{name: request-duration, interval: '1m] or up', thresholdRange: {max: 1}}]}
                error spec.analysis.metrics[0].interval: "1m] or up" is no duration such as 30s or 1m
            analysis: {metrics: [{name: request-duration, interval: 1mfoo, thresholdRange: {max: 1}}]}
                error spec.analysis.metrics[0].interval: "1mfoo" is no duration such as 30s or 1m
            analysis: {metrics: [{name: m, thresholdRange: {max: 1}}]}
                error spec.analysis.metrics[0].templateRef: needs a query, a templateRef, or the name request-success-rate or request-duration
            analysis: {metrics: [{name: m, query: '', thresholdRange: {max: 1}}]}
                error spec.analysis.metrics[0].templateRef: needs a query, a templateRef, or the name request-success-rate or request-duration
            analysis: {metrics: [{name: m, query: up, thresholdRange: {min: 2, max: 1}}]}
                error spec.analysis.metrics[0].thresholdRange.min: 2 is more than max 1: nothing would pass
            analysis: {metrics: [{name: m, query: up, thresholdRange: {min: x}}]}
                error spec.analysis.metrics[0].thresholdRange.min: must be a number, not a string
            analysis: {metrics: [{name: m, query: up, thresholdRange: []}]}
                error spec.analysis.metrics[0].thresholdRange: must be an object, not a list
            analysis: {metrics: [{query: up, threshold: 5}]}
                error spec.analysis.metrics[0].name: is required
            analysis: {metrics: [{name: m, templateRef: {}, threshold: 5}]}
                error spec.analysis.metrics[0].templateRef.name: is required
            analysis: {metrics: [{name: m, templateRef: t, threshold: 5}]}
                error spec.analysis.metrics[0].templateRef: must be an object, not a string
            analysis: {metrics: [{name: m, templateRef: {name: t}, templateVariables: {a: 1}, threshold: 5}]}
                error spec.analysis.metrics[0].templateVariables.a: must be a string, not a number
            analysis: {metrics: [{name: request-success-rate, templateRef: {name: t}, threshold: 5}]}
                error spec.analysis.metrics[0].threshold: is read as a minimum by one query of this metric and as a maximum by the other; use thresholdRange
            analysis: {metrics: [m, 1, null]}
                error spec.analysis.metrics[0]: must be an object, not a string
                error spec.analysis.metrics[1]: must be an object, not a number
                error spec.analysis.metrics[2]: must be an object, not null
            analysis: {metrics: {}}
                error spec.analysis.metrics: must be a list, not an object
            analysis: {webhooks: [{name: h, url: 'http://gate/'}]}
                ok
            analysis: {webhooks: [{}]}
                error spec.analysis.webhooks[0].url: is required
                error spec.analysis.webhooks[0].name: is required
            analysis: {webhooks: [{name: h, url: 'gate', type: gate, timeout: 5, retries: -1}]}
                error spec.analysis.webhooks[0].type: unknown type "gate"; use confirm-rollout, pre-rollout, rollout, confirm-traffic-increase, confirm-promotion, post-rollout, rollback, event
                error spec.analysis.webhooks[0].url: "gate" is no http or https URL
                error spec.analysis.webhooks[0].timeout: must be a string, not a number
                error spec.analysis.webhooks[0].retries: must not be negative, but is -1
            analysis: {webhooks: [{name: h, url: 'http://', timeout: 5x, retries: 1000}]}
                error spec.analysis.webhooks[0].url: "http://" is no http or https URL
                error spec.analysis.webhooks[0].timeout: "5x" is no duration such as 30s or 1m
            analysis: {webhooks: [{name: h, url: 'https://gate', timeout: 0s, metadata: {a: true}}]}
                error spec.analysis.webhooks[0].timeout: must be more than nothing
                error spec.analysis.webhooks[0].metadata.a: must be a string, not a boolean
            analysis: {webhooks: [{name: h, url: 'https://ga te', muteAlert: 1}]}
                error spec.analysis.webhooks[0].url: "https://ga te" is no http or https URL
                error spec.analysis.webhooks[0].muteAlert: must be true or false, not a number
            analysis: {alerts: [{name: a, providerRef: {name: p}}]}
                ok
            analysis: {alerts: [{name: a}]}
                error spec.analysis.alerts[0].providerRef: is required
            analysis: {alerts: [{severity: bad, providerRef: {}}]}
                error spec.analysis.alerts[0].severity: unknown severity "bad"; use info, warn or error
                error spec.analysis.alerts[0].providerRef.name: is required
                error spec.analysis.alerts[0].name: is required
            analysis: {alerts: [{name: a, severity: '', providerRef: {name: p, namespace: other}}]}
                ok
        "#]],
    );
}

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
    assert_eq!(spec.service.port_name, "http");
    assert_eq!(spec.service.target_port, TargetPort::Number(80));
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
        ("service: {targetPort: 8080}", TargetPort::Number(8080)),
        ("service: {targetPort: '8080'}", TargetPort::Number(8080)),
        ("service: {targetPort: 0}", TargetPort::Number(80)),
        ("service: {targetPort: '0'}", TargetPort::Number(80)),
        ("service: {targetPort: ''}", TargetPort::Number(80)),
        ("service: {targetPort: web}", TargetPort::Name("web".into())),
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
    let failure = canary_within(&object, &limits).unwrap_err();
    let expected = expect![
        "spec.analysis.metrics[0].templateRef.namespace: other is another namespace, which this controller does not allow"
    ];
    expected.assert_eq(&failure.to_string());
    let relaxed = Limits { cross_namespace: true, ..limits };
    let canary = canary_within(&object, &relaxed).unwrap();
    assert_eq!(canary.spec.provider, Provider::Kubernetes);
    assert_eq!(canary.spec.analysis.interval_secs, 2);
    assert_eq!(canary.spec.warnings, []);
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
            expect![": must be an object, not null; metadata.name: is required; spec: is required"],
        ),
        (
            json!([1]),
            expect![
                ": must be an object, not a list; metadata.name: is required; spec: is required"
            ],
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
                r#"MetricTemplate { key: Key { namespace: "develop", name: "errors" }, generation: 0, provider: MetricBackend { kind: Prometheus, address: Some("http://p:9090"), headers: {"X-Scope": ["a", "b"]}, secret: Some("s"), insecure_skip_verify: false }, query: "up" }"#
            ]],
        ),
        (
            "{provider: {type: datadog, address: 'http://p:9090'}, query: up}",
            expect![[r#"
            error spec.provider.type: datadog is not supported yet; use prometheus
        "#]],
        ),
        (
            "{provider: {type: other}, query: 7}",
            expect![[r#"
                error spec.provider.type: unknown type "other"; use prometheus
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

fn lines(errors: &[SpecError]) -> String {
    errors.iter().map(|error| format!("error {error}\n")).collect()
}

#[test]
fn the_list_of_complaints_is_bounded() {
    let mut object = object("");
    object["spec"]["analysis"]["metrics"] = json!(vec![json!({}); 5000]);
    assert_eq!(canary(&object).unwrap_err().errors.len(), 50);
}

#[test]
fn the_catalogue_as_markdown() {
    let table = refused_markdown();
    assert_eq!(table.lines().count(), REFUSED.len() + 4);
    assert!(table.lines().all(|line| line.matches('|').count() == 6), "{table}");
}

/// Every field that some row of this file uses, so that mutations reach all of `parse`.
fn rich() -> Value {
    object(
        "
metricsServer: http://p
autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: b, primaryScalerReplicas: {minReplicas: 1}}
ingressRef: {name: i}
progressDeadlineSeconds: 60
service: {name: a, portName: web, targetPort: web, apex: {labels: {a: b}}, unmanagedMetadata: {labels: [a]}, timeout: 5s}
analysis:
  stepWeight: null
  stepWeights: [5, 10]
  maxWeight: 10
  stepWeightPromotion: 5
  metrics: [{name: request-duration, interval: 30s, thresholdRange: {max: 500, min: 0}}, {name: m, templateRef: {name: t}, templateVariables: {a: b}, threshold: 1}]
  webhooks: [{name: h, url: 'http://h', type: rollout, timeout: 5s, retries: 1, metadata: {a: b}}]
  alerts: [{name: a, severity: warn, providerRef: {name: p}}]
",
    )
}

fn any_json() -> impl Strategy_<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        "[0-9]{1,20}(ms|s|m|h)".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

use proptest::strategy::Strategy as Strategy_;

/// Puts `value` in place of the node that `pick` leads to.
fn mutate(node: &mut Value, pick: &mut impl Iterator<Item = usize>, value: &Value) {
    let step = pick.next().unwrap_or(0);
    let stop = step.is_multiple_of(7);
    if let Some(map) = node.as_object_mut().filter(|map| !map.is_empty() && !stop) {
        let n = step % map.len();
        mutate(map.values_mut().nth(n).unwrap(), pick, value);
        return;
    }
    if let Some(list) = node.as_array_mut().filter(|list| !list.is_empty() && !stop) {
        let n = step % list.len();
        mutate(&mut list[n], pick, value);
        return;
    }
    *node = value.clone();
}

proptest! {
    #[test]
    fn nothing_panics(picks in prop::collection::vec(prop::collection::vec(any::<usize>(), 1..8), 1..4), value in any_json()) {
        let mut object = rich();
        object["status"] = json!({"phase": "Failed", "conditions": [{"type": "Promoted"}], "trackedConfigs": {"a": "b"}, "guard": {}});
        for pick in picks {
            mutate(&mut object, &mut pick.into_iter(), &value);
        }
        match canary(&object) {
            Ok(canary) => {
                prop_assert!(canary.spec.analysis.interval_secs >= INTERVAL_FLOOR_SECS);
                prop_assert!(canary.status.canary_weight <= 100);
                prop_assert!(canary.spec.service.port > 0);
                if let Strategy::Weighted(ladder) = &canary.spec.analysis.strategy {
                    prop_assert!(!ladder.rungs.is_empty());
                    prop_assert!(ladder.rungs.is_sorted_by(|a, b| a < b));
                    prop_assert!(ladder.rungs[0] > Weight::ZERO);
                }
            }
            Err(failure) => prop_assert!(!failure.errors.is_empty()),
        }
        let _ = metric_template(&object);
        let _ = alert_provider(&object);
    }

    #[test]
    fn anything_at_all(value in any_json()) {
        prop_assert!(canary(&value).is_err());
    }
}

/// Places where a value of a wrong type goes unseen, and why that is right.
const UNREAD: [&str; 6] = [
    // Only the name is of use, in query templates; the kind says nothing that the field does not.
    "spec.ingressRef.apiVersion",
    "spec.ingressRef.kind",
    "spec.routeRef.apiVersion",
    "spec.routeRef.kind",
    // Only ever together with the catalogue's word on the whole of it.
    "spec.targetRef.kind",
    "spec.autoscalerRef.kind",
];

/// The law of this module: of what the schema has, nothing is ignored silently.
#[test]
fn every_field_of_the_schema_is_read_or_in_the_catalogue() {
    let crds = crate::crd::crds();
    let schema = &crds[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut fields = Vec::new();
    leaves("spec", schema, &mut fields);
    assert!(fields.len() > 100, "{}", fields.len());
    for provider in ["traefik", "kubernetes"] {
        for (path, wrong) in &fields {
            if UNREAD.contains(&path.as_str()) || path == "spec.provider" {
                continue;
            }
            let mut object = rich();
            object["spec"]["provider"] = json!(provider);
            put(&mut object, path, wrong.clone());
            let said = match canary(&object) {
                Ok(canary) => canary.spec.warnings,
                Err(failure) => failure.errors,
            };
            let about = |field: &str| {
                let field = field.replace("[0]", "");
                path.replace("[]", "").starts_with(&field)
            };
            assert!(said.iter().any(|s| about(&s.field)), "{provider}: {path}: {said:?}");
        }
    }
}

/// Each field without fields of its own, and a value that it cannot have.
fn leaves(path: &str, schema: &Value, out: &mut Vec<(String, Value)>) {
    let Some(properties) = schema["properties"].as_object() else {
        let wrong = if schema["type"] == "object" { json!(7) } else { json!({"wrong": 1}) };
        out.push((path.to_owned(), wrong));
        return;
    };
    for (name, inner) in properties {
        let path = format!("{path}.{name}");
        if inner["items"]["properties"].is_object() {
            leaves(&format!("{path}[]"), &inner["items"], out);
        } else {
            leaves(&path, inner, out);
        }
    }
}

fn put(object: &mut Value, path: &str, value: Value) {
    let mut node = object;
    for key in path.split('.') {
        node = match key.strip_suffix("[]") {
            None => &mut node[key],
            Some(list) => {
                if !node[list].is_array() {
                    node[list] = json!([{}]);
                }
                &mut node[list][0]
            }
        };
    }
    *node = value;
}

/// The documents of an example, each parsed.
fn example(text: &str) -> Vec<Result<Vec<SpecError>, Vec<SpecError>>> {
    let parse = |document: &str| {
        let object = yaml(document);
        match object["kind"].as_str() {
            Some("Canary") => canary(&object).map(|c| c.spec.warnings).map_err(|f| f.errors),
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
        include_str!("../../../../examples/sre/00-namespace.yaml"),
        include_str!("../../../../examples/sre/10-backend.yaml"),
        include_str!("../../../../examples/sre/20-route.yaml"),
        include_str!("../../../../examples/sre/30-metrics.yaml"),
        include_str!("../../../../examples/sre/40-canary.yaml"),
        include_str!("../../../../examples/flagger/canary.yaml"),
    ] {
        for outcome in example(text) {
            assert_eq!(outcome, Ok(Vec::new()), "{text}");
        }
    }
}
