//! The query API of Prometheus, as far as operators and dashboards ask it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tsink::promql::{PromqlValue, Sample, Series as RangeSeries};
use tsink::{Label, SeriesSelection};

use super::{Series, Target, naming, now_ms};

const CONNECTIONS_MAX: usize = 128;
const BODY_MAX: usize = 1 << 20;
/// As in Prometheus: more points than this in one series is a mistake in the step.
const POINTS_MAX: i64 = 11_000;

pub(crate) struct State {
    pub(crate) series: Series,
    pub(crate) targets: watch::Receiver<Vec<Target>>,
}

pub(crate) async fn serve(listener: TcpListener, state: Arc<State>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(answer(request, state).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "connection ended early");
            }
            drop(slot);
        });
    }
}

struct Failure {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

fn bad(message: impl Into<String>) -> Failure {
    Failure { status: StatusCode::BAD_REQUEST, kind: "bad_data", message: message.into() }
}

type Params = BTreeMap<String, Vec<String>>;

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Response<Full<Bytes>> {
    let path = request.uri().path().trim_end_matches('/').to_owned();
    if matches!(path.as_str(), "/-/ready" | "/-/healthy") {
        return respond(
            StatusCode::OK,
            "text/plain",
            "Prometheus (embedded) is ready.\n".to_owned(),
        );
    }
    let result = match params(request).await {
        // A query may take a while; it must not hold up the other connections of this thread.
        Ok(params) => tokio::task::spawn_blocking(move || route(&path, &params, &state))
            .await
            .unwrap_or_else(|_| {
                Err(Failure {
                    status: StatusCode::INTERNAL_SERVER_ERROR,
                    kind: "internal",
                    message: "the query failed".into(),
                })
            }),
        Err(failure) => Err(failure),
    };
    match result {
        Ok(data) => respond(
            StatusCode::OK,
            "application/json",
            json!({"status": "success", "data": data}).to_string(),
        ),
        Err(Failure { status, kind, message }) => {
            let body = json!({"status": "error", "errorType": kind, "error": message});
            respond(status, "application/json", body.to_string())
        }
    }
}

fn route(path: &str, params: &Params, state: &State) -> Result<Value, Failure> {
    match path {
        "/api/v1/query" => instant(params, state),
        "/api/v1/query_range" => range(params, state),
        "/api/v1/series" => series(params, state),
        "/api/v1/labels" => names(state),
        "/api/v1/targets" => Ok(targets(state)),
        "/api/v1/status/buildinfo" => Ok(json!({"version": "2.42.0", "revision": "embedded"})),
        "/api/v1/metadata" => Ok(json!({})),
        other => {
            match other.strip_prefix("/api/v1/label/").and_then(|rest| rest.strip_suffix("/values"))
            {
                Some(label) => values(label, state),
                None => Err(Failure {
                    status: StatusCode::NOT_FOUND,
                    kind: "not_found",
                    message: format!(
                        "the embedded Prometheus does not serve {other}; use --prometheus for the real one"
                    ),
                }),
            }
        }
    }
}

fn instant(params: &Params, state: &State) -> Result<Value, Failure> {
    let query = required(params, "query")?;
    let at = optional_time(params, "time")?.unwrap_or_else(now_ms);
    let value =
        state.series.engine.instant_query(query, at).map_err(|error| bad(error.to_string()))?;
    let nameless = naming::nameless(query);
    Ok(match value {
        PromqlValue::Scalar(value, time) => {
            json!({"resultType": "scalar", "result": point(time, value)})
        }
        PromqlValue::String(text, time) => {
            json!({"resultType": "string", "result": [seconds(time), text]})
        }
        PromqlValue::InstantVector(samples) => {
            let result: Vec<Value> = samples
                .iter()
                .map(|Sample { metric, labels, value, .. }| {
                    let name = if nameless { "" } else { metric.as_str() };
                    json!({"metric": identity(name, labels), "value": point(at, *value)})
                })
                .collect();
            json!({"resultType": "vector", "result": result})
        }
        PromqlValue::RangeVector(series) => {
            json!({"resultType": "matrix", "result": matrix(&series, naming::nameless(query))})
        }
    })
}

fn range(params: &Params, state: &State) -> Result<Value, Failure> {
    let query = required(params, "query")?;
    let time = |name| {
        optional_time(params, name)?.ok_or_else(|| bad(format!("missing parameter {name:?}")))
    };
    let (start, end) = (time("start")?, time("end")?);
    let step = duration_ms(required(params, "step")?)
        .ok_or_else(|| bad("cannot parse parameter \"step\""))?;
    if step <= 0 || end < start {
        return Err(bad("step must be positive and end must not be before start"));
    }
    if (end - start) / step > POINTS_MAX {
        return Err(bad("exceeded maximum resolution of 11,000 points per timeseries"));
    }
    match state
        .series
        .engine
        .range_query(query, start, end, step)
        .map_err(|error| bad(error.to_string()))?
    {
        PromqlValue::RangeVector(series) => {
            Ok(json!({"resultType": "matrix", "result": matrix(&series, naming::nameless(query))}))
        }
        PromqlValue::Scalar(..) | PromqlValue::InstantVector(_) | PromqlValue::String(..) => {
            Err(bad("the query does not give a range"))
        }
    }
}

fn matrix(series: &[RangeSeries], nameless: bool) -> Vec<Value> {
    series
        .iter()
        .map(|RangeSeries { metric, labels, samples, .. }| {
            let values: Vec<Value> =
                samples.iter().map(|(time, value)| point(*time, *value)).collect();
            let name = if nameless { "" } else { metric.as_str() };
            json!({"metric": identity(name, labels), "values": values})
        })
        .collect()
}

/// Plain `name` and `name{label="value"}` selectors, which is what dashboards ask for.
fn series(params: &Params, state: &State) -> Result<Value, Failure> {
    let mut found = Vec::new();
    for selector in params.get("match[]").map(Vec::as_slice).unwrap_or_default() {
        // An instant query at now applies every kind of matcher and the usual look-back.
        let at = optional_time(params, "end")?.unwrap_or_else(now_ms);
        let value = state
            .series
            .engine
            .instant_query(selector, at)
            .map_err(|error| bad(error.to_string()))?;
        if let PromqlValue::InstantVector(samples) = value {
            found.extend(samples.iter().map(|sample| identity(&sample.metric, &sample.labels)));
        }
    }
    Ok(Value::Array(found))
}

fn names(state: &State) -> Result<Value, Failure> {
    let mut names = std::collections::BTreeSet::from(["__name__".to_owned()]);
    for series in all(state)? {
        names.extend(series.1.into_iter().map(|label| label.name));
    }
    Ok(json!(names))
}

fn values(label: &str, state: &State) -> Result<Value, Failure> {
    let mut values = std::collections::BTreeSet::new();
    for (name, labels) in all(state)? {
        if label == "__name__" {
            values.insert(name);
        } else {
            values.extend(labels.into_iter().filter(|l| l.name == label).map(|l| l.value));
        }
    }
    Ok(json!(values))
}

fn all(state: &State) -> Result<Vec<(String, Vec<Label>)>, Failure> {
    let found = state
        .series
        .storage
        .select_series(&SeriesSelection::new())
        .map_err(|error| bad(error.to_string()))?;
    Ok(found.into_iter().map(|series| (series.name, series.labels)).collect())
}

fn targets(state: &State) -> Value {
    let active: Vec<Value> = state
        .targets
        .borrow()
        .iter()
        .map(|target| json!({"scrapeUrl": target.url, "labels": target.labels, "scrapePool": "local"}))
        .collect();
    json!({"activeTargets": active, "droppedTargets": []})
}

fn identity(name: &str, labels: &[Label]) -> Value {
    let mut all: BTreeMap<&str, &str> =
        labels.iter().map(|l| (l.name.as_str(), l.value.as_str())).collect();
    if !name.is_empty() {
        all.insert("__name__", name);
    }
    json!(all)
}

fn point(time: i64, value: f64) -> Value {
    json!([seconds(time), number(value)])
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit 53 bits for 285,000 years"
)]
fn seconds(time: i64) -> f64 {
    time as f64 / 1000.0
}

/// As Prometheus writes floats in JSON.
fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

fn required<'a>(params: &'a Params, name: &str) -> Result<&'a str, Failure> {
    params
        .get(name)
        .and_then(|values| values.first())
        .map(String::as_str)
        .ok_or_else(|| bad(format!("missing parameter {name:?}")))
}

/// Seconds since 1970 (with fraction), or RFC 3339.
fn optional_time(params: &Params, name: &str) -> Result<Option<i64>, Failure> {
    let Some(text) = params.get(name).and_then(|values| values.first()) else { return Ok(None) };
    if let Ok(secs) = text.parse::<f64>()
        && secs.is_finite()
        && secs.abs() < 1e11
    {
        return Ok(Some(millis(secs)));
    }
    text.parse::<jiff::Timestamp>()
        .map(|time| Some(time.as_millisecond()))
        .map_err(|_| bad(format!("cannot parse parameter {name:?}: {text:?} is no time")))
}

#[expect(clippy::cast_possible_truncation, reason = "callers bound the seconds")]
fn millis(secs: f64) -> i64 {
    (secs * 1000.0).round() as i64
}

/// `15`, `15.5`, `15s`, `1m`, `2h`.
fn duration_ms(text: &str) -> Option<i64> {
    let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let scale = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let secs = number.parse::<f64>().ok()? * scale;
    (secs.is_finite() && secs.abs() < 1e10).then(|| millis(secs))
}

async fn params(request: Request<Incoming>) -> Result<Params, Failure> {
    let mut params = Params::new();
    if let Some(query) = request.uri().query() {
        decode(query, &mut params);
    }
    if request.method() == Method::POST {
        let body = Limited::new(request.into_body(), BODY_MAX)
            .collect()
            .await
            .map_err(|_| bad("the body is too long or was cut off"))?;
        decode(&String::from_utf8_lossy(&body.to_bytes()), &mut params);
    } else if request.method() != Method::GET {
        return Err(bad("use GET or POST"));
    }
    Ok(params)
}

fn decode(text: &str, params: &mut Params) {
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        params.entry(name.into_owned()).or_default().push(value.into_owned());
    }
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
