//! Metric providers: what to ask of a backend for a check, and what its answer says.

mod builtin;
mod findings;
mod prometheus;
mod reach;
pub mod template;

use std::collections::BTreeMap;
use std::fmt;

pub(crate) use builtin::{of_pods, p99_in_ms, quoted, success_rate};
use bytes::Bytes;
pub use findings::{METRIC_TEMPLATE, findings, findings_in};
use http::{Request, Response};
pub use reach::reach_secs;
use serde_json::Value;
use serin_core::model::{Canary, Metric, MetricBackend, MetricKind, MetricSource, MetricTemplate};
use serin_core::observed::Answer;

use crate::call::{Call, secret_text, secret_value};
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
    #[error("{0}")]
    Answer(String),
}

/// Where a query goes and what opens the door. Its secrets are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    pub address: String,
    headers: BTreeMap<String, Vec<String>>,
    credentials: Credentials,
    insecure: bool,
    ca: Option<Bytes>,
}

#[derive(Clone, PartialEq, Eq)]
enum Credentials {
    None,
    Bearer(String),
    Basic { username: String, password: String },
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl Access {
    /// A server that lets everyone in.
    pub fn open(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            headers: BTreeMap::new(),
            credentials: Credentials::None,
            insecure: false,
            ca: None,
        }
    }

    /// `secret` is the Secret that the backend names, as the API has it; `default` the server for one without an address.
    pub fn of(
        backend: &MetricBackend,
        secret: Option<&Value>,
        default: &str,
    ) -> Result<Self, MetricError> {
        if backend.address.is_none() && (backend.secret.is_some() || !backend.headers.is_empty()) {
            // Whoever may write a Canary could otherwise have them sent to a server of their own.
            let why = "a provider with a secretRef or headers must have one of its own";
            return Err(MetricError::Address(why.to_owned()));
        }
        let mut access = Self::open(backend.address.as_deref().unwrap_or(default));
        access.headers.clone_from(&backend.headers);
        access.insecure = backend.insecure_skip_verify;
        match (&backend.secret, secret) {
            (None, _) => {}
            (Some(name), None) => {
                return Err(MetricError::Secret(format!("{name} does not exist")));
            }
            (Some(_), Some(secret)) => access.unlock(secret).map_err(MetricError::Secret)?,
        }
        Ok(access)
    }

    /// `token`, or `username` with `password`; `ca.crt` may stand beside them or alone.
    fn unlock(&mut self, secret: &Value) -> Result<(), String> {
        self.ca = secret_value(secret, "ca.crt")?.map(Bytes::from);
        let token = secret_text(secret, "token")?;
        let username = secret_text(secret, "username")?;
        let password = secret_text(secret, "password")?;
        self.credentials = match (token, username, password) {
            (Some(token), _, _) => Credentials::Bearer(token),
            (None, Some(username), Some(password)) => Credentials::Basic { username, password },
            (None, None, None) if self.ca.is_some() => Credentials::None,
            (None, _, _) => return Err("it needs token, or username and password".to_owned()),
        };
        Ok(())
    }
}

/// What a backend said.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    Value(f64),
    /// The query worked and there is nothing to judge; why.
    NoData(String),
}

pub trait MetricProvider: Send + Sync {
    fn kind(&self) -> MetricKind;
    fn request(&self, query: &str, access: &Access) -> Result<Request<Bytes>, MetricError>;
    /// Total: whatever comes back is a sample or a complaint.
    fn parse(&self, response: &Response<Bytes>) -> Result<Sample, MetricError>;
}

/// Every backend that is complete.
pub const METRICS: &[&dyn MetricProvider] = &[&prometheus::Prometheus];

pub fn metric_provider(kind: MetricKind) -> &'static dyn MetricProvider {
    match kind {
        MetricKind::Prometheus => &prometheus::Prometheus,
    }
}

/// A request to send, who understands its answer, and the query for people to read.
pub struct Question {
    pub call: Call,
    pub kind: MetricKind,
    pub query: String,
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
    let (kind, access, query) = match source {
        MetricSource::Builtin(builtin) => {
            let query = builtin::query(canary, *builtin, &metric.interval);
            (MetricKind::Prometheus, Access::open(server(canary, settings)), query)
        }
        MetricSource::Query(text) => {
            let query = template::render(text, canary, &metric.interval, &none)?;
            (MetricKind::Prometheus, Access::open(server(canary, settings)), query)
        }
        MetricSource::Template { namespace, name, variables } => {
            let Some(Resolved { template, secret }) = resolved else {
                return Err(MetricError::NoTemplate(format!("{namespace}/{name}")));
            };
            let query = template::render(&template.query, canary, &metric.interval, variables)?;
            let access = Access::of(&template.provider, secret, server(canary, settings))?;
            (template.provider.kind, access, query)
        }
    };
    let request = metric_provider(kind).request(&query, &access)?;
    let call = Call {
        request,
        timeout_secs: TIMEOUT_SECS,
        insecure: access.insecure,
        ca: access.ca,
        proxy: None,
    };
    Ok(Question { call, kind, query })
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
