//! Prometheus and what speaks its query API: one instant query that must come down to one number.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Request, Response};
use serde_json::Value;
use serin_core::model::MetricKind;

use super::{Access, Credentials, MetricError, MetricProvider, Sample};
use crate::call::{percent_encoded, uri};
use crate::json::{bounded, text};

/// One number needs no more; a query that forgot its `sum` may bring far more.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Of the backend's own words in a message.
const WORDS_MAX: usize = 200;
/// Series that a complaint about their number names.
const SERIES_SHOWN: usize = 3;

/// Headers that say where a request goes and where it ends: whoever sets them can send another one along.
const OURS: [HeaderName; 6] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, UPGRADE, TE];

pub(super) struct Prometheus;

impl MetricProvider for Prometheus {
    fn kind(&self) -> MetricKind {
        MetricKind::Prometheus
    }

    fn request(&self, query: &str, access: &Access) -> Result<Request<Bytes>, MetricError> {
        let base = access.address.trim().trim_end_matches('/');
        let url = format!("{base}/api/v1/query?query={}", percent_encoded(query));
        let uri = uri(&url).map_err(MetricError::Address)?;
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri;
        for (name, values) in &access.headers {
            let complaint = || MetricError::Header(name.clone());
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| complaint())?;
            if OURS.contains(&header) {
                return Err(complaint());
            }
            for value in values {
                let value = HeaderValue::from_str(value).map_err(|_| complaint())?;
                request.headers_mut().append(header.clone(), value);
            }
        }
        let authorization = match &access.credentials {
            Credentials::None => return Ok(request),
            Credentials::Bearer(token) => format!("Bearer {token}"),
            Credentials::Basic { username, password } => {
                format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
            }
        };
        let mut value = HeaderValue::from_str(&authorization)
            .map_err(|_| MetricError::Secret("it has characters that no header may have".into()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
        Ok(request)
    }

    fn parse(&self, response: &Response<Bytes>) -> Result<Sample, MetricError> {
        parse(response).map_err(MetricError::Answer)
    }
}

fn parse(response: &Response<Bytes>) -> Result<Sample, String> {
    let status = response.status();
    let length = response.body().len();
    if length > BODY_BYTES_MAX {
        return Err(format!("the answer has {length} bytes, more than {BODY_BYTES_MAX}"));
    }
    let body: Option<Value> = serde_json::from_slice(response.body()).ok();
    // Only Prometheus's own words are repeated: whatever else answers at the address stays private.
    let words = body.as_ref().filter(|body| text(body, "/status") == Some("error")).map(|body| {
        let kind = text(body, "/errorType").unwrap_or("error");
        let error = text(body, "/error").unwrap_or("no reason given");
        format!("{}: {}", bounded(kind, 40), bounded(error, WORDS_MAX))
    });
    if !status.is_success() {
        let words = words.map_or_else(String::new, |words| format!(": {words}"));
        return Err(format!("the server answered {}{words}", status.as_u16()));
    }
    if let Some(words) = words {
        return Err(words);
    }
    let Some(body) = body else {
        return Err(format!("the answer is not JSON ({length} bytes): is this a Prometheus?"));
    };
    if text(&body, "/status") != Some("success") {
        return Err("the answer is not that of a Prometheus: it has no status".to_owned());
    }
    result(&body)
}

fn result(body: &Value) -> Result<Sample, String> {
    let result = body.pointer("/data/result");
    match text(body, "/data/resultType") {
        Some("scalar") => result.map_or_else(|| Err(no_number()), sample),
        Some("vector") => match result.and_then(Value::as_array).map(Vec::as_slice) {
            Some([]) => Ok(Sample::NoData("the query returned nothing".to_owned())),
            Some([series]) => one(series),
            Some(many) => Err(too_many(many)),
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

/// Which of them was meant is a guess that could promote a broken version.
fn too_many(series: &[Value]) -> String {
    let shown: Vec<String> = series
        .iter()
        .take(SERIES_SHOWN)
        .map(|series| bounded(&series.get("metric").map(Value::to_string).unwrap_or_default(), 60))
        .collect();
    format!(
        "the query returned {} series where one is needed, such as {}: wrap it in sum() or name one",
        series.len(),
        shown.join(", ")
    )
}

#[cfg(test)]
mod tests;
