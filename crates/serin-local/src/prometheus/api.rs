//! The query API of Prometheus, as far as operators and dashboards ask it.

use std::collections::{BTreeMap, BTreeSet};
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

use super::promql::{self, Error, Expr, Range, Sample, Value as Found, decimal};
use super::store::Labels;
use super::{Shared, Target, now_ms};

const CONNECTIONS_MAX: usize = 128;
const BODY_MAX: usize = 1 << 20;
/// As in Prometheus: more points than this in one series is a mistake in the step.
const POINTS_MAX: i64 = 11_000;

pub(crate) struct State {
    pub(crate) store: Shared,
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

fn refused(error: &Error) -> Failure {
    match error {
        Error::Parse { .. } => bad(format!("invalid parameter \"query\": {error}")),
        Error::Execution(why) => Failure {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            kind: "execution",
            message: why.clone(),
        },
    }
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
        "/api/v1/labels" => names(params, state),
        "/api/v1/targets" => Ok(targets(state)),
        "/api/v1/status/buildinfo" => Ok(json!({"version": "2.42.0", "revision": "embedded"})),
        "/api/v1/metadata" => Ok(json!({})),
        other => {
            match other.strip_prefix("/api/v1/label/").and_then(|rest| rest.strip_suffix("/values"))
            {
                Some(label) => values(label, params, state),
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
    let at = optional_time(params, "time")?.unwrap_or_else(now_ms);
    let query = first(params, "query");
    let value = promql::instant(&state.store.read(), query, at).map_err(|e| refused(&e))?;
    Ok(match value {
        Found::Scalar(value) => json!({"resultType": "scalar", "result": point(at, value)}),
        Found::Text(text) => json!({"resultType": "string", "result": [seconds(at), text]}),
        Found::Vector(samples) => {
            let one = |Sample { labels, value }: &Sample| json!({"metric": labels, "value": point(at, *value)});
            let result: Vec<Value> = samples.iter().map(one).collect();
            json!({"resultType": "vector", "result": result})
        }
        Found::Matrix(series) => json!({"resultType": "matrix", "result": matrix(&series)}),
    })
}

fn range(params: &Params, state: &State) -> Result<Value, Failure> {
    let time = |name| {
        let missing =
            || bad(format!("invalid parameter {name:?}: cannot parse \"\" to a valid timestamp"));
        optional_time(params, name)?.ok_or_else(missing)
    };
    let (start, end) = (time("start")?, time("end")?);
    if end < start {
        return Err(bad("invalid parameter \"end\": end timestamp must not be before start time"));
    }
    let step = first(params, "step");
    let step = duration_ms(step).ok_or_else(|| {
        bad(format!("invalid parameter \"step\": cannot parse {step:?} to a valid duration"))
    })?;
    if step <= 0 {
        return Err(bad(
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if (end - start) / step > POINTS_MAX {
        return Err(bad(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let query = first(params, "query");
    let found = promql::range(&state.store.read(), query, start, end, step);
    Ok(json!({"resultType": "matrix", "result": matrix(&found.map_err(|e| refused(&e))?)}))
}

fn matrix(series: &[Range]) -> Vec<Value> {
    let one = |Range { labels, points }: &Range| {
        let values: Vec<Value> = points.iter().map(|(time, value)| point(*time, *value)).collect();
        json!({"metric": labels, "values": values})
    };
    series.iter().map(one).collect()
}

/// Labels of the series that `match[]` selects (all, if there is none) and that have a sample between `start` and `end`.
fn selected(params: &Params, state: &State) -> Result<BTreeSet<Labels>, Failure> {
    let from = optional_time(params, "start")?.unwrap_or(i64::MIN);
    let to = optional_time(params, "end")?.unwrap_or(i64::MAX);
    let mut selectors = Vec::new();
    for text in params.get("match[]").map(Vec::as_slice).unwrap_or_default() {
        match promql::parse(text) {
            Ok(Expr::Vector(selector)) => selectors.push(selector),
            Ok(_) => {
                return Err(bad(format!("invalid parameter \"match[]\": {text:?} is no selector")));
            }
            Err(error) => return Err(bad(format!("invalid parameter \"match[]\": {error}"))),
        }
    }
    let store = state.store.read();
    let wanted =
        |labels: &Labels| selectors.is_empty() || selectors.iter().any(|s| s.matches(labels));
    Ok(store
        .series()
        .filter(|series| wanted(&series.labels) && series.latest(from, to).is_some())
        .map(|series| (*series.labels).clone())
        .collect())
}

fn series(params: &Params, state: &State) -> Result<Value, Failure> {
    if params.get("match[]").is_none_or(Vec::is_empty) {
        return Err(bad("no match[] parameter provided"));
    }
    Ok(json!(selected(params, state)?))
}

fn names(params: &Params, state: &State) -> Result<Value, Failure> {
    let names: BTreeSet<String> =
        selected(params, state)?.into_iter().flat_map(BTreeMap::into_keys).collect();
    Ok(json!(names))
}

fn values(label: &str, params: &Params, state: &State) -> Result<Value, Failure> {
    if !promql::valid_label(label) {
        return Err(bad(format!("invalid label name: {label:?}")));
    }
    let values: BTreeSet<String> = selected(params, state)?
        .into_iter()
        .filter_map(|mut labels| labels.remove(label))
        .collect();
    Ok(json!(values))
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

fn point(time: i64, value: f64) -> Value {
    json!([seconds(time), number(value)])
}

/// Whole seconds are written without a point.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit 53 bits for 285,000 years"
)]
fn seconds(time: i64) -> Value {
    if time % 1000 == 0 { json!(time / 1000) } else { json!(time as f64 / 1000.0) }
}

/// As Prometheus writes floats in JSON: with an exponent only where the number would be long.
pub fn number(value: f64) -> String {
    let long = value != 0.0 && value.is_finite() && !(1e-6..1e21).contains(&value.abs());
    if !long {
        return decimal(value);
    }
    let text = format!("{value:e}");
    match text.split_once("e-") {
        Some((digits, exponent)) => format!("{digits}e-{exponent:0>2}"),
        None => text.replacen('e', "e+", 1),
    }
}

fn first<'a>(params: &'a Params, name: &str) -> &'a str {
    params.get(name).and_then(|values| values.first()).map_or("", String::as_str)
}

/// Seconds since 1970 (with fraction), or RFC 3339.
fn optional_time(params: &Params, name: &str) -> Result<Option<i64>, Failure> {
    let text = first(params, name);
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(secs) = text.parse::<f64>()
        && secs.is_finite()
        && secs.abs() < 1e11
    {
        return Ok(Some(millis(secs)));
    }
    text.parse::<jiff::Timestamp>().map(|time| Some(time.as_millisecond())).map_err(|_| {
        bad(format!("invalid parameter {name:?}: cannot parse {text:?} to a valid timestamp"))
    })
}

#[expect(clippy::cast_possible_truncation, reason = "callers bound the seconds")]
fn millis(secs: f64) -> i64 {
    (secs * 1000.0).round() as i64
}

/// `15`, `15.5`, `15s`, `1m30s`.
fn duration_ms(text: &str) -> Option<i64> {
    match text.parse::<f64>() {
        Ok(secs) => (secs.is_finite() && secs.abs() < 1e10).then(|| millis(secs)),
        Err(_) => promql::duration(text),
    }
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
