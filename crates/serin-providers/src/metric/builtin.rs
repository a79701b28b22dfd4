//! The builtin metrics: success rate in percent and the 99th percentile of the duration in milliseconds, as PromQL.
//!
//! Which series say it is the router's to know ([`crate::router::Router::builtin`]); the shapes of the queries are here.

use serin_core::model::{Builtin, Canary};

use crate::router::router;

pub(super) fn query(canary: &Canary, builtin: Builtin, window: &str) -> String {
    router(canary.spec.provider).builtin(canary, builtin, window)
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
