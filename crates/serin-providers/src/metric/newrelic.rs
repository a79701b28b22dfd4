//! New Relic: one NRQL query over the last interval, by the Insights query API.

use bytes::Bytes;
use http::Response;
use http::header::HeaderName;
use serde_json::Value;
use serin_core::model::{MetricKind, metric_kind};

use super::access::{Access, hidden};
use super::answer::{WORDS_MAX, json};
use super::conversation::{MetricProvider, Progress, Query, Sample};
use super::{MetricError, TIMEOUT_SECS};
use crate::json::{bounded, text};

const KEY: HeaderName = HeaderName::from_static("x-query-key");

pub(super) struct NewRelic;

impl MetricProvider for NewRelic {
    fn kind(&self) -> &'static MetricKind {
        &metric_kind::NEWRELIC
    }

    fn begin(&self, query: &Query<'_>, access: &Access) -> Result<Progress, MetricError> {
        let Query { text, window_millis, now: _ } = *query;
        let secs = window_millis / 1000;
        let account = access.key("newrelic_account_id").unwrap_or_default();
        if account.is_empty() || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            let why = "newrelic_account_id is a number";
            return Err(MetricError::Secret(why.to_owned()));
        }
        let nrql = format!("{text} SINCE {secs} seconds ago");
        let path = format!("/v1/accounts/{account}/query");
        let mut request = access.get(&path, &[("nrql", &nrql)])?;
        let key = access.key("newrelic_query_key").unwrap_or_default();
        request.headers_mut().insert(KEY, hidden(key)?);
        Ok(Progress::http(access.call(request, TIMEOUT_SECS), move |response, _now| {
            Ok(Progress::done(read(&response)?, Some(secs)))
        }))
    }
}

fn words(body: &Value) -> Option<String> {
    let error = text(body, "/error").or_else(|| text(body, "/error/message"));
    error.map(|error| bounded(error, WORDS_MAX))
}

/// `{"results": [{"result": 1.5}]}`: like in Flagger, the query names the value.
fn read(response: &Response<Bytes>) -> Result<Sample, MetricError> {
    let body = json(&metric_kind::NEWRELIC, response, words)?;
    let complaint = |why: &str| Err(MetricError::Answer(why.to_owned()));
    match body.pointer("/results").and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => Ok(Sample::NoData("the query returned nothing".to_owned())),
        Some([one]) => match one.get("result") {
            Some(Value::Null) => Ok(Sample::NoData("the query returned null".to_owned())),
            Some(value) => match value.as_f64() {
                Some(value) => Ok(Sample::Value(value)),
                None => complaint("the result is no number"),
            },
            None => complaint("the query names no value: add AS result behind it"),
        },
        Some(_) => complaint("the query returned several values where one is needed: select one"),
        None if body.get("facets").is_some() => {
            complaint("the query returned facets where one value is needed: leave out FACET")
        }
        None => complaint("the answer has no results"),
    }
}

#[cfg(test)]
mod tests;
