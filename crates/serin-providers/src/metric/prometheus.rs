//! Prometheus and what speaks its query API: one instant query that must come down to one number.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Response;
use http::header::AUTHORIZATION;
use serde_json::Value;
use serin_core::model::{MetricKind, metric_kind};

use super::access::{Access, hidden};
use super::answer::{WORDS_MAX, json, too_many};
use super::conversation::{MetricProvider, Progress, Query, Sample};
use super::{MetricError, TIMEOUT_SECS, reach_secs};
use crate::json::{bounded, text};

pub(super) struct Prometheus;

impl MetricProvider for Prometheus {
    fn kind(&self) -> &'static MetricKind {
        &metric_kind::PROMETHEUS
    }

    fn begin(&self, query: &Query<'_>, access: &Access) -> Result<Progress, MetricError> {
        let mut request = access.get("/api/v1/query", &[("query", query.text)])?;
        if let Some(authorization) = authorization(access) {
            request.headers_mut().insert(AUTHORIZATION, hidden(&authorization)?);
        }
        let reach = reach_secs(query.text);
        Ok(Progress::http(access.call(request, TIMEOUT_SECS), move |response, _now| {
            Ok(Progress::done(read(&response)?, reach))
        }))
    }
}

fn authorization(access: &Access) -> Option<String> {
    if let Some(token) = access.key("token") {
        return Some(format!("Bearer {token}"));
    }
    let (username, password) = (access.key("username")?, access.key("password")?);
    Some(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
}

/// What the answer to an instant query says. Total: whatever comes back is a sample or a complaint.
pub fn read(response: &Response<Bytes>) -> Result<Sample, MetricError> {
    let body = json(&metric_kind::PROMETHEUS, response, words)?;
    if text(&body, "/status") != Some("success") {
        let why = "the answer is not that of a Prometheus: it has no status";
        return Err(MetricError::Answer(why.to_owned()));
    }
    result(&body).map_err(MetricError::Answer)
}

fn words(body: &Value) -> Option<String> {
    if text(body, "/status") != Some("error") {
        return None;
    }
    let kind = text(body, "/errorType").unwrap_or("error");
    let error = text(body, "/error").unwrap_or("no reason given");
    Some(format!("{}: {}", bounded(kind, 40), bounded(error, WORDS_MAX)))
}

fn result(body: &Value) -> Result<Sample, String> {
    let result = body.pointer("/data/result");
    match text(body, "/data/resultType") {
        Some("scalar") => result.map_or_else(|| Err(no_number()), sample),
        Some("vector") => match result.and_then(Value::as_array).map(Vec::as_slice) {
            Some([]) => Ok(Sample::NoData("the query returned nothing".to_owned())),
            Some([series]) => one(series),
            Some(many) => Err(too_many(many, labels, "wrap it in sum() or name one")),
            None => Err("the answer has no result".to_owned()),
        },
        Some("matrix") => Err(
            "the query returned values over time, not one: remove the range behind the selector or wrap it in rate()"
                .to_owned(),
        ),
        Some("string") => Err("the query returned a string, not a number".to_owned()),
        Some(other) => Err(format!("the answer has an unknown type {:?}", bounded(other, 40))),
        None => Err("the answer has no result".to_owned()),
    }
}

fn one(series: &Value) -> Result<Sample, String> {
    match (series.get("value"), series.get("histogram")) {
        (Some(value), _) => sample(value),
        (None, Some(_)) => Err(
            "the query returned a native histogram, not a number: wrap it in histogram_quantile()"
                .to_owned(),
        ),
        (None, None) => Err(no_number()),
    }
}

/// `[unix time, "number"]`.
fn sample(value: &Value) -> Result<Sample, String> {
    let text = value.as_array().and_then(|pair| pair.get(1)?.as_str()).ok_or_else(no_number)?;
    let number: f64 = match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().map_err(|_| no_number())?,
    };
    if number.is_nan() {
        return Ok(Sample::NoData("the query returned NaN: there was no traffic".to_owned()));
    }
    Ok(Sample::Value(number))
}

fn no_number() -> String {
    "the answer has no number in it".to_owned()
}

fn labels(series: &Value) -> String {
    series.get("metric").map(Value::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests;
