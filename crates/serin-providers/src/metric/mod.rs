//! Metric providers: what to ask of a backend for a check, and what its answer says.

mod access;
mod answer;
mod builtin;
mod cloudwatch;
mod conversation;
mod datadog;
mod dynatrace;
mod findings;
mod keptn;
mod newrelic;
mod prometheus;
mod reach;
#[cfg(test)]
mod talk;
pub mod template;

use std::collections::BTreeMap;

pub use access::Access;
pub(crate) use builtin::{of_pods, p99_in_ms, quoted, success_rate};
pub use conversation::{Measured, MetricProvider, Progress, Query, Sample, Then};
pub use findings::{METRIC_TEMPLATE, findings, findings_in};
use jiff::Timestamp;
pub use prometheus::read as prometheus_sample;
pub use reach::reach_secs;
use serde_json::Value;
use serin_core::model::{Canary, Metric, MetricKind, MetricSource, MetricTemplate, metric_kind};
use serin_core::observed::Answer;
use serin_core::parse::duration_millis;

use crate::settings::Settings;

/// Flagger's, for every backend that answers at once.
const TIMEOUT_SECS: u32 = 5;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    #[error("MetricTemplate {0} does not exist or is invalid")]
    NoTemplate(String),
    #[error("the query cannot be made: {0}")]
    Query(#[from] template::TemplateError),
    #[error("the provider's address is of no use: {0}")]
    Address(String),
    #[error("the provider's Secret is of no use: {0}")]
    Secret(String),
    #[error("header {0:?} of the provider cannot be sent")]
    Header(String),
    /// What the backend could not read.
    #[error("the query is of no use: {0}")]
    Text(String),
    #[error("no backend of type {0} is built in")]
    NotBuiltIn(&'static str),
    #[error("{0}")]
    Answer(String),
}

/// Every backend that is complete: one for each kind of the catalogue.
pub const METRICS: &[&dyn MetricProvider] = &[
    &prometheus::Prometheus,
    &datadog::Datadog,
    &cloudwatch::CloudWatch,
    &newrelic::NewRelic,
    &dynatrace::Dynatrace,
    &keptn::Keptn,
];

pub fn metric_provider(kind: &MetricKind) -> Result<&'static dyn MetricProvider, MetricError> {
    let found = METRICS.iter().copied().find(|provider| provider.kind().name == kind.name);
    found.ok_or(MetricError::NotBuiltIn(kind.name))
}

/// What to ask for one source of a metric, before anybody is asked.
pub struct Question {
    provider: &'static dyn MetricProvider,
    access: Access,
    window_millis: i64,
    /// For people to read.
    pub query: String,
}

impl Question {
    pub fn kind(&self) -> &'static MetricKind {
        self.provider.kind()
    }

    /// The first step of the conversation that answers it.
    pub fn begin(&self, now: Timestamp) -> Result<Progress, MetricError> {
        let Self { provider, access, window_millis, query } = self;
        let window_millis = *window_millis;
        provider.begin(&Query { text: query, window_millis, now }, access)
    }

    /// Whether it can be asked at all.
    pub fn check(&self) -> Result<(), MetricError> {
        self.begin(Timestamp::UNIX_EPOCH).map(drop)
    }
}

/// The template, and the Secret it names if that was found, for a source that is one.
#[derive(Clone, Copy, Debug)]
pub struct Resolved<'a> {
    pub template: &'a MetricTemplate,
    pub secret: Option<&'a Value>,
}

/// What to ask for one source of a metric.
pub fn question(
    canary: &Canary,
    metric: &Metric,
    source: &MetricSource,
    resolved: Option<Resolved<'_>>,
    settings: &Settings,
) -> Result<Question, MetricError> {
    let none = BTreeMap::new();
    let ours = |query: String| {
        let access = Access::open(server(canary, settings));
        (&metric_kind::PROMETHEUS, access, query)
    };
    let (kind, access, query) = match source {
        MetricSource::Builtin(builtin) => ours(builtin::query(canary, *builtin, &metric.interval)),
        MetricSource::Query(text) => ours(template::render(text, canary, &metric.interval, &none)?),
        MetricSource::Template { namespace, name, variables } => {
            let Some(Resolved { template, secret }) = resolved else {
                return Err(MetricError::NoTemplate(format!("{namespace}/{name}")));
            };
            let query = template::render(&template.query, canary, &metric.interval, variables)?;
            let server = server(canary, settings);
            let access = Access::of(&template.provider, secret, server, settings)?;
            (template.provider.kind, access, query)
        }
    };
    // The parser has refused what is no duration.
    let interval = duration_millis(&metric.interval).unwrap_or_default();
    let window_millis = kind.window_millis(interval).unwrap_or_default();
    Ok(Question { provider: metric_provider(kind)?, access, window_millis, query })
}

fn server<'a>(canary: &'a Canary, settings: &'a Settings) -> &'a str {
    canary.spec.metrics_server.as_ref().unwrap_or(&settings.metrics_server)
}

/// What `step` hears of it.
pub fn answer(sample: Result<Sample, MetricError>) -> Answer {
    match sample {
        Ok(Sample::Value(value)) => Answer::Value(value),
        Ok(Sample::NoData(why)) => Answer::NoData(why),
        Err(error) => Answer::Unreachable(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
