//! The builtin metrics: success rate in percent and the 99th percentile of the duration in milliseconds, as PromQL.

use serin_core::model::{Builtin, Canary, Provider};

use crate::gateway::traefik_pattern;

pub(super) fn query(canary: &Canary, builtin: Builtin, interval: &str) -> String {
    match canary.spec.provider {
        Provider::Traefik => {
            let bucket = "traefik_service_request_duration_seconds_bucket";
            let service = traefik_service(canary);
            match builtin {
                Builtin::RequestSuccessRate => {
                    let all = format!("{service},le=\"+Inf\"");
                    success_rate(bucket, &all, "code!~\"5..\"", interval)
                }
                Builtin::RequestDuration => p99_in_ms(bucket, &service, interval),
            }
        }
        Provider::Kubernetes => {
            let pods = format!(
                "kubernetes_namespace=\"{}\",kubernetes_pod_name=~\"{}-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)\"",
                canary.key.namespace,
                quoted(&canary.spec.target.name)
            );
            match builtin {
                Builtin::RequestSuccessRate => success_rate(
                    "http_request_duration_seconds_count",
                    &pods,
                    "status!~\"5.*\"",
                    interval,
                ),
                Builtin::RequestDuration => {
                    p99_in_ms("http_request_duration_seconds_bucket", &pods, interval)
                }
            }
        }
    }
}

/// Traefik names a child of a weighted service in one of two ways, by its `safeNaming`. Both speak of the Service and of
/// the port as it is written, never of the target.
fn traefik_service(canary: &Canary) -> String {
    let pattern = traefik_pattern(canary, &canary.spec.service.canary_name());
    format!("service=~\"{pattern}\"")
}

/// A version that fails every request has no good series at all: that is 0 %, not the absence of data.
fn success_rate(metric: &str, all: &str, good: &str, interval: &str) -> String {
    format!(
        "(sum(rate({metric}{{{all},{good}}}[{interval}])) or vector(0)) \
         / sum(rate({metric}{{{all}}}[{interval}])) * 100"
    )
}

fn p99_in_ms(bucket: &str, selector: &str, interval: &str) -> String {
    format!(
        "histogram_quantile(0.99, sum(rate({bucket}{{{selector}}}[{interval}])) by (le)) * 1000"
    )
}

/// A name as a regular expression inside a PromQL string.
pub(crate) fn quoted(name: &str) -> String {
    regex::escape(name).replace("\\-", "-").replace('\\', "\\\\").replace('"', "\\\"")
}
