//! What is said of fields that are invalid.

use super::*;

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
            "analysis: {guard: {mode: 'off'}}",
            "analysis: {guard: {errorRate: {slo: 1}, latency: [{threshold: 500, slo: 2}]}}",
            "analysis: {guard: {mode: 'on', source: thanos, interval: 5h, alpha: 1, attribution: both, errorRate: {slo: 0, tolerance: {absolute: -1, relative: 0}}, latency: [{}, {threshold: 0, slo: 1}, {threshold: 1, slo: 1}, {threshold: 1, slo: 2}]}}",
            "analysis: {guard: {errorRate: {slo: 1}, pace: evidence, blastRadius: 5, minDwell: 1s, maxDuration: 1h, minBake: 1h, soak: {duration: 1m}}}",
            "analysis: {guard: {errorRate: {slo: 1}, pace: fixed}}",
            "{provider: kubernetes, analysis: {stepWeight: null, iterations: 3, guard: {errorRate: {slo: 1}}}}",
            "{provider: kubernetes, analysis: {stepWeight: null, iterations: 3, guard: {mode: 'off'}}}",
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
                unsupported spec.provider: istio is not supported yet; use traefik, gatewayapi:v1 or kubernetes
            provider: trafik
                error spec.provider: unknown provider "trafik"; use traefik, gatewayapi:v1 or kubernetes
            provider: ''
                ok
            provider: 7
                error spec.provider: must be a string, not a number
            targetRef: null
                error spec.targetRef: is required
            targetRef: 7
                error spec.targetRef: must be an object, not a number
            targetRef: {kind: DaemonSet}
                ok
            targetRef: {kind: Service}
                unsupported spec.targetRef.kind: Service targets (Kubernetes and Knative) are not supported yet; use a Deployment or a DaemonSet
            targetRef: {kind: StatefulSet}
                error spec.targetRef.kind: unknown kind "StatefulSet"; use Deployment or DaemonSet
            targetRef: {kind: null, name: null, apiVersion: null}
                error spec.targetRef.kind: is required
                error spec.targetRef.apiVersion: is required
                error spec.targetRef.name: is required
            targetRef: {apiVersion: extensions/v1beta1}
                warning spec.targetRef.apiVersion: extensions/v1beta1 is read as apps/v1
            targetRef: {name: Backend}
                error spec.targetRef.name: "Backend" is no object name: lower-case letters, digits, '-' and '.'
                error spec.service.name: "Backend" (from targetRef.name) is no Service name: lower-case letters, digits and '-', starting with a letter; name the Service with spec.service.name
            targetRef: {name: a.b}
                error spec.service.name: "a.b" (from targetRef.name) is no Service name: lower-case letters, digits and '-', starting with a letter; name the Service with spec.service.name
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
                ok
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
                error spec.analysis.guard: has nothing to watch: set errorRate, latency or latencyShape, or use the builtin checks request-success-rate and request-duration
            analysis: {guard: {mode: 'off'}}
                ok
            analysis: {guard: {errorRate: {slo: 1}, latency: [{threshold: 500, slo: 2}]}}
                ok
            analysis: {guard: {mode: 'on', source: thanos, interval: 5h, alpha: 1, attribution: both, errorRate: {slo: 0, tolerance: {absolute: -1, relative: 0}}, latency: [{}, {threshold: 0, slo: 1}, {threshold: 1, slo: 1}, {threshold: 1, slo: 2}]}}
                error spec.analysis.guard.attribution: "both" is none of primary, none
                error spec.analysis.guard.mode: "on" is none of enforce, observe, off
                error spec.analysis.guard.source: "thanos" is none of gateway, prometheus
                error spec.analysis.guard.interval: "5h" is no duration between 250ms and 1m
                error spec.analysis.guard.alpha: must be more than 0 and at most 0.5, not 1
                error spec.analysis.guard.errorRate.slo: must be at least 0.01 and less than 100 percent, not 0
                error spec.analysis.guard.errorRate.tolerance.absolute: must be between 0 and 100, not -1
                error spec.analysis.guard.errorRate.tolerance.relative: must be between 0.1 and 100, not 0
                error spec.analysis.guard.latency[0].slo: is required
                error spec.analysis.guard.latency[0].threshold: is required
                error spec.analysis.guard.latency[1].threshold: must be more than 0 ms, not 0
                error spec.analysis.guard.latency[3].threshold: 1 ms has an entry already
                warning spec.analysis.guard.latency[2].threshold: is a limit in milliseconds, and few releases answer within 1 ms; write 1000 if seconds are meant
                warning spec.analysis.guard.latency[3].threshold: is a limit in milliseconds, and few releases answer within 1 ms; write 1000 if seconds are meant
            analysis: {guard: {errorRate: {slo: 1}, pace: evidence, blastRadius: 5, minDwell: 1s, maxDuration: 1h, minBake: 1h, soak: {duration: 1m}}}
                ok
            analysis: {guard: {errorRate: {slo: 1}, pace: fixed}}
                ok
            {provider: kubernetes, analysis: {stepWeight: null, iterations: 3, guard: {errorRate: {slo: 1}}}}
                error spec.analysis.guard: needs a router that counts the requests of both versions, which provider kubernetes has not; remove it or set mode off
            {provider: kubernetes, analysis: {stepWeight: null, iterations: 3, guard: {mode: 'off'}}}
                ok
            analysis: {mirror: true}
                ok
            analysis: {mirrorWeight: 10}
                warning spec.analysis.mirrorWeight: has no effect without mirror
            analysis: {match: [{headers: {x: {exact: a}}}]}
                unsupported spec.analysis.match: a share of the matching requests only is not supported; use iterations for A/B testing, or remove match
            analysis: {sessionAffinity: {cookieName: c}}
                unsupported spec.analysis.sessionAffinity: session affinity is not supported with this provider yet, and users would move between versions; remove it, if they may
            analysis: {stepWeight: null, iterations: 3}
                ok
            analysis: {stepWeight: null, iterations: 0}
                error spec.analysis.iterations: must be at least 1, not 0: the release would never end
            {provider: kubernetes, analysis: {stepWeight: null, iterations: 3, mirror: true, match: [{}], sessionAffinity: {cookieName: c}}}
                warning spec.analysis.match: A/B testing needs a router; with provider kubernetes the release is Blue/Green; remove it
                warning spec.analysis.mirror: has no effect with provider kubernetes, which has no router; remove it
                warning spec.analysis.sessionAffinity: has no effect with provider kubernetes, which has no router; remove it
            service: {mirror: [{}]}
                unsupported spec.service.mirror: copies of all requests to other backends are not supported yet; put the filter on an HTTPRoute or a TraefikService of your own
            service: {timeout: 5s, retries: {attempts: 3}, match: [{}], hosts: [a], gateways: [], delegation: false}
                warning spec.service.timeout: has no effect with Traefik; put it on the IngressRoute, a Middleware or a ServersTransport, which stay yours
                warning spec.service.retries: has no effect with Traefik; put it on the IngressRoute, a Middleware or a ServersTransport, which stay yours
                warning spec.service.match: has no effect with Traefik; put it on the IngressRoute, a Middleware or a ServersTransport, which stay yours
                warning spec.service.hosts: has no effect with Traefik; put it on the IngressRoute, a Middleware or a ServersTransport, which stay yours
            service: {gateways: [g], gatewayRefs: [{name: g}], delegation: true, meshName: m, backends: [b]}
                warning spec.service.gateways: belongs to another router and has no effect here; remove it
                warning spec.service.gatewayRefs: belongs to another router and has no effect here; remove it
                warning spec.service.delegation: belongs to another router and has no effect here; remove it
                warning spec.service.meshName: belongs to another router and has no effect here; remove it
                warning spec.service.backends: belongs to another router and has no effect here; remove it
            autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: backend}
                ok
            autoscalerRef: {apiVersion: autoscaling/v2beta2, kind: HorizontalPodAutoscaler, name: backend}
                warning spec.autoscalerRef.apiVersion: autoscaling/v2beta2 is read as autoscaling/v2; write autoscaling/v2
            autoscalerRef: {apiVersion: keda.sh/v1alpha1, kind: ScaledObject, name: backend}
                unsupported spec.autoscalerRef.kind: KEDA ScaledObjects are not supported yet; name its HorizontalPodAutoscaler or leave the reference out
            autoscalerRef: {apiVersion: autoscaling/v2, kind: Other}
                warning spec.autoscalerRef.kind: "Other" is no kind of autoscaler that is known, so the reference has no effect; write HorizontalPodAutoscaler, or remove the reference
            autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: b, primaryScalerReplicas: {minReplicas: 5, maxReplicas: 2}}
                error spec.autoscalerRef.primaryScalerReplicas.minReplicas: 5 is more than maxReplicas 2
            autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: b, primaryScalerReplicas: {minReplicas: 0}}
                error spec.autoscalerRef.primaryScalerReplicas.minReplicas: must be between 1 and 2147483647, not 0
            autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: b, primaryScalerQueries: {a: b}}
                warning spec.autoscalerRef.primaryScalerQueries: is for KEDA ScaledObjects and has no effect on a HorizontalPodAutoscaler; remove it
            upstreamRef: {apiVersion: gloo.solo.io/v1, kind: Upstream, name: u}
                warning spec.upstreamRef: is for Gloo and has no effect here; remove it
            ingressRef: {apiVersion: networking.k8s.io/v1, kind: Ingress, name: i}
                warning spec.ingressRef: is for another router and fills only the template words of queries here; remove it, unless a query uses it
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
                warning spec.analysis.metrics[0].thresholdRange.max: is a limit in milliseconds, and few releases answer within 1 ms; write 1000 if seconds are meant
            analysis: {metrics: [{name: request-duration, interval: 1mfoo, thresholdRange: {max: 1}}]}
                error spec.analysis.metrics[0].interval: "1mfoo" is no duration such as 30s or 1m
                warning spec.analysis.metrics[0].thresholdRange.max: is a limit in milliseconds, and few releases answer within 1 ms; write 1000 if seconds are meant
            analysis: {metrics: [{name: m, thresholdRange: {max: 1}}]}
                error spec.analysis.metrics[0].templateRef: needs a query, a templateRef, or the name request-success-rate or request-duration
            analysis: {metrics: [{name: m, query: '', thresholdRange: {max: 1}}]}
                error spec.analysis.metrics[0].templateRef: needs a query, a templateRef, or the name request-success-rate or request-duration
            analysis: {metrics: [{name: m, query: up, thresholdRange: {min: 2, max: 1}}]}
                error spec.analysis.metrics[0].thresholdRange.min: 2 is more than max 1: nothing would pass
            analysis: {metrics: [{name: m, query: up, thresholdRange: {min: x}}]}
                error spec.analysis.metrics[0].thresholdRange.min: must be a number, not a string
                warning spec.analysis.metrics[0].thresholdRange: has neither min nor max: every value passes
            analysis: {metrics: [{name: m, query: up, thresholdRange: []}]}
                error spec.analysis.metrics[0].thresholdRange: must be an object, not a list
                warning spec.analysis.metrics[0].thresholdRange: has neither min nor max: every value passes
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
                warning spec.analysis.metrics[0].threshold: lets 95 of 100 requests fail: it is the percent that must succeed; to allow 5 percent of errors, write 95
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
                warning spec.analysis.webhooks[0].retries: 1000 is taken as 100
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
