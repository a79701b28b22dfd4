//! `spec.analysis`: the steps of a release and what is asked at each.

use std::collections::BTreeMap;

use super::{Guard, Number, document};

document! {
    /// How a new version is introduced and judged. Exactly one of `stepWeight`, `stepWeights` and `iterations` is set.
    pub struct Analysis {
        /// Time between two steps, such as `30s` or `1m`. At each step all checks are made once. Default `1m`; less than
        /// `10s` is raised to `10s`.
        #[schemars(regex(pattern = "^[0-9]+(m|s)"))]
        interval: String,
        /// Checks made before the promotion, for Blue/Green and A/B testing, which do not raise the traffic in steps.
        iterations: i32,
        /// Failed checks, over the whole analysis, that make a rollback. Default 1.
        threshold: i32,
        /// Weight in percent at which the canary is promoted, 1 to 100. The last step may pass it. Default 100. Has no
        /// effect with `stepWeights`.
        #[schemars(range(min = 0, max = 100))]
        max_weight: i32,
        /// Percent of the traffic that each step adds to the canary's share.
        #[schemars(range(min = 0, max = 100))]
        step_weight: i32,
        /// Percent of the traffic that the canary gets, step by step, rising. It is promoted after the last.
        #[schemars(length(max = 100), inner(range(min = 0, max = 100)))]
        step_weights: Vec<i32>,
        /// Percent of the traffic that each step moves back to the primary during promotion. Default 0: all at once.
        #[schemars(range(min = 0, max = 100))]
        step_weight_promotion: i32,
        /// Send copies of the requests to the canary before it gets traffic of its own. Default false.
        mirror: bool,
        /// Percent of the requests that are copied. Default: all.
        #[schemars(range(min = 0, max = 100))]
        mirror_weight: i32,
        /// Percent of the primary's updated pods that must be available for it to count as ready. Default 100.
        #[schemars(range(max = 100))]
        primary_ready_threshold: i32,
        /// While a release runs, keep the primary as large as it was when the release began, or as the canary has grown, so
        /// that it can take all traffic back: its autoscaler's `minReplicas` is raised meanwhile. Default true; false
        /// trusts the autoscaler to grow it in time.
        hold_primary_replicas: bool,
        /// Percent of the canary's updated pods that must be available for it to count as ready. Default 100.
        #[schemars(range(max = 100))]
        canary_ready_threshold: i32,
        /// Which users see the canary, for A/B testing. A request matches when one of the entries does.
        r#match: Vec<AnalysisMatch>,
        /// What is measured at each step. All must pass for the release to advance.
        #[schemars(length(max = 100))]
        metrics: Vec<Metric>,
        /// Who is told in chat what happens.
        #[schemars(length(max = 100))]
        alerts: Vec<Alert>,
        /// HTTP calls that gate, test, accompany and end the release.
        #[schemars(length(max = 100))]
        webhooks: Vec<Webhook>,
        /// Keep users on the version that they saw first, by a cookie.
        session_affinity: SessionAffinity,
        /// Watches the canary's traffic every second and rolls back on evidence, between the steps. On by default with
        /// Traefik where a builtin check is used: its limits become the guard's.
        guard: Guard,
    }

    /// A set of conditions on a request; all of them must hold.
    pub struct AnalysisMatch {
        /// Conditions on headers, by lower-case name.
        headers: BTreeMap<String, HeaderMatch>,
        /// Conditions on query parameters, by name.
        query_params: BTreeMap<String, QueryMatch>,
        /// Labels of the calling workload (Istio).
        source_labels: BTreeMap<String, String>,
    }

    /// A condition on a header; exactly one field is set.
    pub struct HeaderMatch {
        /// The whole value.
        exact: String,
        /// The beginning of the value.
        prefix: String,
        /// The end of the value.
        suffix: String,
        /// A regular expression (RE2) that the whole value matches.
        regex: String,
    }

    /// A condition on a query parameter; at most one field is set.
    pub struct QueryMatch {
        /// The whole value.
        exact: String,
        /// The beginning of the value.
        prefix: String,
        /// A regular expression (RE2) that the whole value matches.
        regex: String,
    }

    /// A value that is measured at each step, and its limits.
    pub struct Metric {
        /// Name of the metric. `request-success-rate` (percent) and `request-duration` (99th percentile in milliseconds)
        /// are built in and need no query.
        name: String,
        /// Range that the query looks at, such as `30s`: `{{ interval }}` in the query. Default `1m`.
        #[schemars(regex(pattern = "^[0-9]+(m|s)"))]
        interval: String,
        /// Deprecated, use `thresholdRange`: least value of `request-success-rate`, greatest value of everything else.
        /// Default 0.
        threshold: Number,
        /// The values that pass.
        threshold_range: ThresholdRange,
        /// What follows when the query works and finds nothing, as without traffic: `hold` advances nothing and counts
        /// nothing, `pass` goes on, `fail` counts a failed check. Default `fail`, as in Flagger.
        #[schemars(extend("enum" = ["hold", "pass", "fail"]))]
        no_data: String,
        /// What follows when the provider does not answer, or with an error: `hold`, `pass` or `fail`. Default `fail`, as
        /// in Flagger.
        #[schemars(extend("enum" = ["hold", "pass", "fail"]))]
        cannot_measure: String,
        /// PromQL to ask the canary's Prometheus server. Prefer `templateRef`.
        query: String,
        /// The MetricTemplate that has the query.
        template_ref: CrossReference,
        /// Values for the template: `{{ variables.name }}` in the query.
        template_variables: BTreeMap<String, String>,
    }

    /// Bounds of a value; both belong to the range.
    pub struct ThresholdRange {
        /// Least value that passes. Unset has no lower bound.
        min: Number,
        /// Greatest value that passes. Unset has no upper bound.
        max: Number,
    }

    /// An object that may lie in another namespace.
    pub struct CrossReference {
        /// Name of the object.
        name: String,
        /// Namespace of the object. Default: the canary's.
        namespace: String,
    }

    /// Where messages about the release go.
    pub struct Alert {
        /// Name of this entry.
        name: String,
        /// Least severity that is sent: `info`, `warn` or `error`. Default `info`.
        #[schemars(extend("enum" = ["", "info", "warn", "error"]))]
        severity: String,
        /// The AlertProvider.
        provider_ref: CrossReference,
    }

    /// An HTTP call. `200` to `202` means yes, anything else no.
    pub struct Webhook {
        /// Name of this entry.
        name: String,
        /// When it is called: `confirm-rollout` (before a release starts), `pre-rollout` (before the first traffic),
        /// `rollout` (at each step), `confirm-traffic-increase`, `confirm-promotion`, `post-rollout` (at the end),
        /// `rollback` (a yes rolls back) or `event` (for each Event). Default `rollout`.
        #[schemars(extend("enum" = [
            "", "confirm-rollout", "pre-rollout", "rollout", "confirm-promotion", "post-rollout", "event", "rollback",
            "confirm-traffic-increase",
        ]))]
        r#type: String,
        /// Send no alert while this gate keeps the release waiting. Default false.
        mute_alert: bool,
        /// URL that is called with POST.
        url: String,
        /// Longest time of one attempt, such as `30s`. Default `10s`.
        #[schemars(regex(pattern = "^[0-9]+(m|s)"))]
        timeout: String,
        /// Further attempts after one that failed. Default 0.
        retries: i32,
        /// Accept any server certificate. Default false.
        #[serde(rename = "disableTLS")]
        disable_tls: bool,
        /// Sent along in the body.
        metadata: BTreeMap<String, String>,
    }

    /// Keeps users on the version that they saw first, by a cookie.
    pub struct SessionAffinity {
        /// Name of the cookie of users who saw the canary.
        cookie_name: String,
        /// Name of the cookie of users who saw the primary. Unset leaves them free to move. Must differ from `cookieName`.
        primary_cookie_name: String,
        /// `Domain` of the cookie.
        domain: String,
        /// `HttpOnly`: hide the cookie from scripts. Default false.
        http_only: bool,
        /// `Max-Age` of the canary's cookie, in seconds. Default 86400.
        max_age: i64,
        /// `Partitioned`: keep the cookie apart per top-level site. Default false.
        partitioned: bool,
        /// `Path` of the cookie.
        path: String,
        /// `SameSite` of the cookie.
        #[schemars(extend("enum" = ["Strict", "Lax", "None"]))]
        same_site: String,
        /// `Secure`: send the cookie over HTTPS only. Default false.
        secure: bool,
    }
}
