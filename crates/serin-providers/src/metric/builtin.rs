//! The builtin metrics: success rate in percent and the 99th percentile of the duration in milliseconds, as PromQL.
//!
//! Which series say it is the router's to know ([`crate::router::Router::builtin`]); the shapes of the queries are here.

use serin_core::model::{Builtin, Canary};

use crate::router::router;

pub(super) fn query(canary: &Canary, builtin: Builtin, window: &str) -> String {
    router(canary.spec.provider).builtin(canary, builtin, window)
}

/// What the pods themselves count, where they do: Flagger's query for routers without counters that it knows.
pub(crate) fn of_pods(canary: &Canary, builtin: Builtin, window: &str) -> String {
    let pods = format!(
        "kubernetes_namespace=\"{}\",kubernetes_pod_name=~\"{}-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)\"",
        canary.key.namespace,
        quoted(&canary.spec.target.name)
    );
    let bucket = "http_request_duration_seconds_bucket";
    match builtin {
        Builtin::RequestSuccessRate => {
            let count = "http_request_duration_seconds_count";
            success_rate(count, &pods, "status!~\"5.*\"", window)
        }
        Builtin::RequestDuration => p99_in_ms(bucket, &pods, window),
    }
}

/// A version that fails every request has no good series at all: that is 0 %, not the absence of data.
pub(crate) fn success_rate(metric: &str, all: &str, good: &str, interval: &str) -> String {
    format!(
        "(sum(rate({metric}{{{all},{good}}}[{interval}])) or vector(0)) \
         / sum(rate({metric}{{{all}}}[{interval}])) * 100"
    )
}

pub(crate) fn p99_in_ms(bucket: &str, selector: &str, interval: &str) -> String {
    format!(
        "histogram_quantile(0.99, sum(rate({bucket}{{{selector}}}[{interval}])) by (le)) * 1000"
    )
}

/// A name as a regular expression inside a PromQL string.
pub(crate) fn quoted(name: &str) -> String {
    regex::escape(name).replace("\\-", "-").replace('\\', "\\\\").replace('"', "\\\"")
}
