//! MetricTemplate and AlertProvider: what canaries share.

use std::collections::BTreeMap;

use super::{Foreign, document};

document! {
    /// A query that canaries refer to, and the backend that answers it.
    pub struct MetricTemplate {
        /// Version of this document's schema: `flagger.app/v1beta1`.
        api_version: String,
        /// Kind of this document: `MetricTemplate`.
        kind: String,
        /// Name, namespace, labels and annotations.
        metadata: Foreign,
        /// The query and its backend.
        spec: MetricTemplateSpec,
        /// What the controller has to say of this document.
        status: Foreign,
    }

    /// The query and its backend.
    pub struct MetricTemplateSpec {
        /// The backend.
        provider: MetricsProvider,
        /// The query. `{{ name }}`, `{{ namespace }}`, `{{ target }}`, `{{ service }}`, `{{ ingress }}`, `{{ route }}`,
        /// `{{ interval }}` and `{{ variables.name }}` stand for values of the canary that uses it.
        query: String,
    }

    /// A metrics backend.
    pub struct MetricsProvider {
        /// Kind of the backend. `influxdb`, `externalmetrics`, `stackdriver`, `graphite` and `splunk` are refused so far.
        #[schemars(extend("enum" = [
            "prometheus", "influxdb", "datadog", "externalmetrics", "stackdriver", "cloudwatch", "newrelic", "graphite",
            "dynatrace", "keptn", "splunk",
        ]))]
        r#type: String,
        /// URL of the backend's API. Unset, for `prometheus`: the server that answers the canary's builtin queries; for
        /// `datadog`, `cloudwatch` and `newrelic`: the makers' own.
        address: String,
        /// HTTP headers that are sent along, each with its values.
        headers: BTreeMap<String, Vec<String>>,
        /// Secret in the template's namespace with the credentials. Prometheus: `token`, or `username` and `password`.
        /// Datadog: `datadog_api_key` and `datadog_application_key`. CloudWatch: `aws_access_key_id`,
        /// `aws_secret_access_key` and perhaps `aws_session_token`; without one, the controller's own identity. New Relic:
        /// `newrelic_account_id` and `newrelic_query_key`. Dynatrace: `dynatrace_token`. In each, `ca.crt` may name an
        /// authority to trust.
        secret_ref: SecretReference,
        /// Region of the backend (CloudWatch).
        region: String,
        /// Accept any server certificate of the `address`. Default false.
        insecure_skip_verify: bool,
    }

    /// A Secret in the same namespace.
    pub struct SecretReference {
        /// Name of the Secret.
        name: String,
    }

    /// A chat that canaries send alerts to.
    pub struct AlertProvider {
        /// Version of this document's schema: `flagger.app/v1beta1`.
        api_version: String,
        /// Kind of this document: `AlertProvider`.
        kind: String,
        /// Name, namespace, labels and annotations.
        metadata: Foreign,
        /// The chat and how to reach it.
        spec: AlertProviderSpec,
        /// What the controller has to say of this document.
        status: Foreign,
    }

    /// The chat and how to reach it. One of `address` and `secretRef` is set.
    pub struct AlertProviderSpec {
        /// Kind of the chat.
        #[schemars(extend("enum" = ["slack", "msteams", "discord", "rocket", "gchat"]))]
        r#type: String,
        /// Channel to write to (Slack, Discord, Rocket). Default `general`.
        channel: String,
        /// Name to write under (Slack, Discord, Rocket). Default `flagger`.
        username: String,
        /// URL of the chat's incoming webhook.
        address: String,
        /// URL of an HTTP proxy to go through.
        proxy: String,
        /// Secret in the same namespace with the URL as `address`, and for Slack optionally a `token`.
        secret_ref: SecretReference,
    }
}
