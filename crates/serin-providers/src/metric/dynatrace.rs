//! Dynatrace: one metric selector, brought down to one value for the last ten intervals.

use bytes::Bytes;
use http::Response;
use http::header::AUTHORIZATION;
use serde_json::Value;
use serin_core::model::{MetricKind, metric_kind};

use super::access::{Access, hidden};
use super::answer::{WORDS_MAX, json, too_many};
use super::conversation::{MetricProvider, Progress, Query, Sample};
use super::{MetricError, TIMEOUT_SECS};
use crate::json::{bounded, text};

pub(super) struct Dynatrace;

impl MetricProvider for Dynatrace {
    fn kind(&self) -> &'static MetricKind {
        &metric_kind::DYNATRACE
    }

    fn begin(&self, query: &Query<'_>, access: &Access) -> Result<Progress, MetricError> {
        let Query { text, window_millis, now } = *query;
        // Whole seconds in milliseconds, as Flagger has it.
        let to = now.as_second().saturating_mul(1000);
        let from = to.saturating_sub(window_millis);
        let (from, to) = (from.to_string(), to.to_string());
        let pairs = [
            ("from", from.as_str()),
            ("metricSelector", text),
            ("resolution", "Inf"),
            ("to", to.as_str()),
        ];
        let mut request = access.get("/api/v2/metrics/query", &pairs)?;
        let token = access.key("dynatrace_token").unwrap_or_default();
        request.headers_mut().insert(AUTHORIZATION, hidden(&format!("Api-Token {token}"))?);
        let reach = window_millis / 1000;
        Ok(Progress::http(access.call(request, TIMEOUT_SECS), move |response, _now| {
            // The one value stands for the whole of the window.
            Ok(Progress::done(read(&response)?, Some(reach)))
        }))
    }
}

/// `{"error": {"code": 400, "message": "..."}}`.
fn words(body: &Value) -> Option<String> {
    text(body, "/error/message").map(|message| bounded(message, WORDS_MAX))
}

fn read(response: &Response<Bytes>) -> Result<Sample, MetricError> {
    let body = json(&metric_kind::DYNATRACE, response, words)?;
    let complaint = |why: &str| MetricError::Answer(why.to_owned());
    let results = body.pointer("/result").and_then(Value::as_array);
    let metric = |result: &Value| text(result, "/metricId").unwrap_or_default().to_owned();
    let result = match results.ok_or_else(|| complaint("the answer has no result"))?.as_slice() {
        [] => return Ok(nothing()),
        [result] => result,
        many => {
            let way_out = "select one metric";
            return Err(MetricError::Answer(too_many(many, metric, way_out)));
        }
    };
    let data = result.pointer("/data").and_then(Value::as_array);
    let dimensions =
        |series: &Value| series.get("dimensions").map(Value::to_string).unwrap_or_default();
    let series = match data.ok_or_else(|| complaint("the result has no data"))?.as_slice() {
        [] => return Ok(nothing()),
        [series] => series,
        many => {
            let way_out = "add :splitBy():sum, or filter for one";
            return Err(MetricError::Answer(too_many(many, dimensions, way_out)));
        }
    };
    let values = series.pointer("/values").and_then(Value::as_array);
    match values.ok_or_else(|| complaint("the series has no values"))?.as_slice() {
        [] | [Value::Null] => Ok(nothing()),
        [value] => match value.as_f64() {
            Some(value) => Ok(Sample::Value(value)),
            None => Err(complaint("the value is no number")),
        },
        _ => Err(complaint("the answer has several values where one was asked for")),
    }
}

fn nothing() -> Sample {
    Sample::NoData("the query returned nothing".to_owned())
}

#[cfg(test)]
mod tests;
