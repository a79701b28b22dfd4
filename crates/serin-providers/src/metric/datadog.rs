//! Datadog: one metrics query over a window of time, with two keys.

use bytes::Bytes;
use http::Response;
use http::header::HeaderName;
use jiff::Timestamp;
use serde_json::Value;
use serin_core::model::{MetricKind, metric_kind};

use super::access::{Access, hidden};
use super::answer::{Bucket, WORDS_MAX, json, newest, too_many};
use super::conversation::{Measured, MetricProvider, Progress, Query};
use super::{MetricError, TIMEOUT_SECS};
use crate::json::{bounded, items, text};

/// Keys of the Secret, and the headers that carry them.
const KEYS: [(&str, HeaderName); 2] = [
    ("datadog_api_key", HeaderName::from_static("dd-api-key")),
    ("datadog_application_key", HeaderName::from_static("dd-application-key")),
];

pub(super) struct Datadog;

impl MetricProvider for Datadog {
    fn kind(&self) -> &'static MetricKind {
        &metric_kind::DATADOG
    }

    fn begin(&self, query: &Query<'_>, access: &Access) -> Result<Progress, MetricError> {
        let Query { text, window_millis, now } = *query;
        let to = now.as_second();
        let from = to.saturating_sub(window_millis / 1000);
        let pairs =
            [("from", from.to_string()), ("query", text.to_owned()), ("to", to.to_string())];
        let pairs = pairs.each_ref().map(|(key, value)| (*key, value.as_str()));
        let mut request = access.get("/api/v1/query", &pairs)?;
        for (key, header) in KEYS {
            let value = access.key(key).unwrap_or_default();
            request.headers_mut().insert(header, hidden(value)?);
        }
        let call = access.call(request, TIMEOUT_SECS);
        Ok(Progress::http(call, move |response, now| {
            Ok(Progress::Done(read(&response, window_millis, now)?))
        }))
    }
}

/// `{"errors": ["Forbidden"]}`, or a query that cannot be answered: `{"status": "error", "error": "..."}`.
fn words(body: &Value) -> Option<String> {
    let first = items(body, "/errors").first().and_then(Value::as_str);
    let error = first.or_else(|| text(body, "/error")).filter(|words| !words.is_empty());
    let failed = text(body, "/status") == Some("error");
    let words = error.or_else(|| failed.then_some("no reason given"))?;
    Some(bounded(words, WORDS_MAX))
}

fn read(
    response: &Response<Bytes>,
    window_millis: i64,
    now: Timestamp,
) -> Result<Measured, MetricError> {
    let body = json(&metric_kind::DATADOG, response, words)?;
    let complaint = |why: &str| MetricError::Answer(why.to_owned());
    let series = body.pointer("/series").and_then(Value::as_array).map(Vec::as_slice);
    let series = match series.ok_or_else(|| complaint("the answer has no series"))? {
        [] => return Ok(newest(&[], 0, window_millis, now)),
        [series] => series,
        many => {
            let name = |series: &Value| {
                let scope = text(series, "/scope").or_else(|| text(series, "/expression"));
                scope.unwrap_or_default().to_owned()
            };
            let way_out = "leave out its `by {...}`, or name one";
            return Err(MetricError::Answer(too_many(many, name, way_out)));
        }
    };
    let points = series.pointer("/pointlist").and_then(Value::as_array);
    let points = points.ok_or_else(|| complaint("the series has no points"))?;
    let all: Vec<(i64, Option<f64>)> = points.iter().map(point).collect::<Result<_, _>>()?;
    let length = bucket_millis(series, &all);
    let buckets: Vec<Bucket> = all
        .iter()
        .filter_map(|(begin_millis, value)| {
            Some(Bucket { begin_millis: *begin_millis, value: (*value)? })
        })
        .collect();
    Ok(newest(&buckets, length, window_millis, now))
}

/// `[milliseconds, number]`; null is a bucket in which nothing was seen. Flagger takes it for 0.
fn point(point: &Value) -> Result<(i64, Option<f64>), MetricError> {
    let complaint =
        || MetricError::Answer("a point of the series is no pair of numbers".to_owned());
    let pair = point.as_array().filter(|pair| pair.len() == 2).ok_or_else(complaint)?;
    let [at, value] = [pair.first(), pair.last()];
    let at = at.and_then(Value::as_f64).ok_or_else(complaint)?;
    let value = match value {
        None | Some(Value::Null) => None,
        Some(value) => Some(value.as_f64().ok_or_else(complaint)?),
    };
    // A float of that size says milliseconds exactly; what is out of range is at an end of time.
    Ok((at as i64, value))
}

/// The series says how long its buckets are; what does not is as long as it is to the next.
fn bucket_millis(series: &Value, points: &[(i64, Option<f64>)]) -> i64 {
    let said = series.pointer("/interval").and_then(Value::as_f64).filter(|secs| *secs > 0.0);
    let between = points.windows(2).filter_map(|pair| match pair {
        [(before, _), (after, _)] => Some(after.saturating_sub(*before)),
        _ => None,
    });
    match said {
        Some(secs) => (secs * 1000.0) as i64,
        None => between.filter(|millis| *millis > 0).min().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests;
