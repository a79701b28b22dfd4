//! Where recorded samples come from: a Prometheus server, or a file in memory. Answers are read in pages of bounded size.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::Request;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use serde_json::Value;
use serin_local::prometheus::history::{self as recorded, History as Recorded};
use serin_providers::call::percent_encoded;

use crate::http_client::{CallOptions, HttpClient as _, HttpError, ReqwestClient};

/// An answer that is longer is asked for in smaller pages.
const ANSWER_MAX: usize = 16 << 20;
/// Samples of one window that are held at once; each takes some dozens of bytes.
const SAMPLES_MAX: usize = 4_000_000;
/// Raw samples are asked for in pages of this long, or shorter ones.
const PAGE_MS: i64 = 3_600_000;
const PAGE_MS_MIN: i64 = 60_000;
/// Prometheus refuses more points of a series in one answer than 11,000.
const POINTS_MAX: i64 = 10_000;
/// History is read from disk: slower than what an operator asks.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer lines of a file are no samples.
const LINE_MAX: u64 = 64 * 1024;
/// Of a server's own words in a message.
const WORDS_MAX: usize = 300;

/// One series over time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Curve {
    /// The metric's name is `__name__`.
    pub(super) labels: BTreeMap<String, String>,
    /// Milliseconds since 1970, rising, and the values.
    pub(super) points: Vec<(i64, f64)>,
}

/// Recorded samples.
pub(super) enum History {
    Server { http_client: Box<ReqwestClient>, base: String, token: Option<String> },
    Recorded(Box<Recorded>),
}

/// Why a query brought nothing.
enum Refusal {
    /// A smaller piece may do.
    TooMuch,
    /// Nobody answered.
    Silent(String),
    Other(String),
}

impl History {
    pub(super) fn server(base: &str, token: Option<String>) -> anyhow::Result<Self> {
        let base = base.trim().trim_end_matches('/').to_owned();
        if !base.starts_with("http://") && !base.starts_with("https://") {
            bail!("--prometheus {base}: must begin with http:// or https://");
        }
        let http_client = Box::new(ReqwestClient::new()?);
        Ok(Self::Server { http_client, base, token })
    }

    /// Reads a file of OpenMetrics with times, line by line.
    pub(super) fn file(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let file = std::fs::File::open(path)
            .with_context(|| format!("--history {shown}: cannot read it"))?;
        let mut reader = std::io::BufReader::new(file);
        let mut recorded = Recorded::default();
        let (mut line, mut number) = (String::new(), 0_u64);
        loop {
            line.clear();
            number += 1;
            let length = std::io::Read::take(&mut reader, LINE_MAX)
                .read_line(&mut line)
                .with_context(|| format!("--history {shown}: line {number}"))?;
            if length == 0 {
                break;
            }
            if let Err(why) = recorded.read_line(&line) {
                bail!("--history {shown}: line {number}: {why}");
            }
        }
        Self::recorded(recorded).with_context(|| format!("--history {shown}"))
    }

    pub(super) fn recorded(mut recorded: Recorded) -> anyhow::Result<Self> {
        recorded.flush().map_err(anyhow::Error::msg)?;
        Ok(Self::Recorded(Box::new(recorded)))
    }

    pub(super) fn is_recording(&self) -> bool {
        match self {
            Self::Server { .. } => false,
            Self::Recorded(_) => true,
        }
    }

    pub(super) fn describe(&self) -> String {
        match (self, self.span()) {
            (Self::Server { base, .. }, _) => base.clone(),
            (Self::Recorded(_), Some((first, last))) => {
                format!("a recording from {first} to {last}")
            }
            (Self::Recorded(_), None) => "an empty recording".to_owned(),
        }
    }

    /// What a recording covers; a server does not say.
    pub(super) fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let time = |millis| Timestamp::from_millisecond(millis).unwrap_or_default();
        match self {
            Self::Server { .. } => None,
            Self::Recorded(recorded) => {
                recorded.span().map(|(first, last)| (time(first), time(last)))
            }
        }
    }

    /// A query at every `step` from `from` to `to`, both included; all in milliseconds.
    pub(super) async fn range(
        &self,
        query: &str,
        from: i64,
        to: i64,
        step: i64,
    ) -> anyhow::Result<Vec<Curve>> {
        let mut all = BTreeMap::new();
        let mut start = from;
        while start <= to {
            let end = to.min(start + (POINTS_MAX - 1) * step);
            let answer = match self {
                Self::Server { .. } => {
                    let path = format!(
                        "/api/v1/query_range?query={}&start={}&end={}&step={}",
                        percent_encoded(query),
                        seconds(start),
                        seconds(end),
                        seconds(step)
                    );
                    self.get(&path).await
                }
                Self::Recorded(recorded) => {
                    recorded.range(query, start, end, step).map(of_memory).map_err(Refusal::Other)
                }
            };
            let series = answer.map_err(|refusal| refusal.of(query))?;
            join(&mut all, series, start - 1).with_context(|| format!("the query {query}"))?;
            start = end + step;
        }
        Ok(curves(all))
    }

    /// The raw samples of a selector after `from` up to `to`, in milliseconds.
    pub(super) async fn raw(
        &self,
        selector: &str,
        from: i64,
        to: i64,
    ) -> anyhow::Result<Vec<Curve>> {
        let mut all = BTreeMap::new();
        let (mut start, mut page) = (from, PAGE_MS);
        while start < to {
            let end = to.min(start + page);
            let answer = match self {
                Self::Server { .. } => {
                    let query = format!("{selector}[{}ms]", end - start);
                    let path = format!(
                        "/api/v1/query?query={}&time={}",
                        percent_encoded(&query),
                        seconds(end)
                    );
                    self.get(&path).await
                }
                Self::Recorded(recorded) => {
                    recorded.raw(selector, start, end).map(of_memory).map_err(Refusal::Other)
                }
            };
            match answer {
                Err(Refusal::TooMuch) if page > PAGE_MS_MIN => page = (page / 4).max(PAGE_MS_MIN),
                Err(refusal) => return Err(refusal.of(selector)),
                Ok(series) => {
                    join(&mut all, series, start)
                        .with_context(|| format!("the series {selector}"))?;
                    start = end;
                }
            }
        }
        Ok(curves(all))
    }

    async fn get(&self, path: &str) -> Result<Vec<Curve>, Refusal> {
        let Self::Server { http_client, base, token } = self else { return Ok(Vec::new()) };
        let mut request = Request::get(format!("{base}{path}"));
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Bytes::new())
            .map_err(|error| Refusal::Other(format!("the request cannot be made: {error}")))?;
        let (mut body, mut over) = (Vec::new(), false);
        let mut take = |piece: &[u8]| {
            over |= body.len() + piece.len() > ANSWER_MAX;
            if !over {
                body.extend_from_slice(piece);
            }
        };
        let status = match http_client.read(request, CallOptions::within(PATIENCE), &mut take).await
        {
            Ok(status) => status,
            Err(HttpError::TooLong) => return Err(Refusal::TooMuch),
            Err(error) => return Err(Refusal::Silent(format!("{base} does not answer: {error}"))),
        };
        if over {
            return Err(Refusal::TooMuch);
        }
        answer(status.as_u16(), &body)
    }
}

impl Refusal {
    fn of(self, query: &str) -> anyhow::Error {
        match self {
            Self::TooMuch => anyhow::anyhow!(
                "the query {query} brings more than {} MiB in a minute; is it meant for one canary?",
                ANSWER_MAX >> 20
            ),
            Self::Silent(why) => anyhow::anyhow!(why),
            Self::Other(why) => anyhow::anyhow!("the query {query} failed: {why}"),
        }
    }
}

fn seconds(millis: i64) -> String {
    format!("{}.{:03}", millis.div_euclid(1000), millis.rem_euclid(1000))
}

/// The series of an answer.
fn answer(status: u16, body: &[u8]) -> Result<Vec<Curve>, Refusal> {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let Some(parsed) = parsed else {
        let why = format!("the server answered {status} without JSON: is this a Prometheus?");
        return Err(Refusal::Other(why));
    };
    if parsed["status"] != "success" {
        let said = parsed["error"].as_str().unwrap_or("no reason given");
        // Prometheus has a limit of its own on what it loads.
        if said.contains("too many samples") {
            return Err(Refusal::TooMuch);
        }
        let said: String = said.chars().take(WORDS_MAX).collect();
        return Err(Refusal::Other(format!("the server answered {status}: {said}")));
    }
    match parsed.pointer("/data/result") {
        Some(Value::Array(series)) => Ok(series.iter().map(curve).collect()),
        Some(_) | None => Err(Refusal::Other("the answer has no series".to_owned())),
    }
}

type All = BTreeMap<BTreeMap<String, String>, Vec<(i64, f64)>>;

fn curve(series: &Value) -> Curve {
    let labels = series["metric"].as_object().into_iter().flatten();
    let labels = labels
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    let points = series["values"].as_array().into_iter().flatten().filter_map(|pair| {
        let at = (pair.get(0)?.as_f64()? * 1000.0).round() as i64;
        Some((at, number(pair.get(1)?.as_str()?)?))
    });
    Curve { labels, points: points.collect() }
}

fn of_memory(curves: Vec<recorded::Curve>) -> Vec<Curve> {
    curves.into_iter().map(|(labels, points)| Curve { labels, points }).collect()
}

/// Adds the points after `after`.
fn join(all: &mut All, curves: Vec<Curve>, after: i64) -> anyhow::Result<()> {
    for Curve { labels, points } in curves {
        let known = all.entry(labels).or_default();
        let last = known.last().map_or(after, |(at, _)| *at);
        known.extend(points.into_iter().filter(|(at, _)| *at > last));
    }
    let held: usize = all.values().map(Vec::len).sum();
    if held > SAMPLES_MAX {
        bail!("it has more than {SAMPLES_MAX} samples in one window");
    }
    Ok(())
}

fn curves(all: All) -> Vec<Curve> {
    all.into_iter().map(|(labels, points)| Curve { labels, points }).collect()
}

/// As Prometheus writes floats in JSON.
fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    }
}
