//! From raw series of the gateway to what the guard would have read of it, look by look.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::Timestamp;
use serin_core::judge::design::shape_bounds;
use serin_core::model::{Bad, Canary, GuardSpec};
use serin_judge::counters::Tracker;
use serin_providers::gateway::{Page, Pair, Scrape, Sides, Wanted};

use super::history::{Curve, History};

/// The gateway's families that count requests.
pub(super) const REQUESTS: &str = "traefik_service_requests_total";
pub(super) const TIMED: &str = "traefik_service_request_duration_seconds_count";
pub(super) const BUCKET: &str = "traefik_service_request_duration_seconds_bucket";
/// These tell requests of one process apart; every other label tells processes apart.
const OF_REQUEST: [&str; 6] = ["__name__", "service", "code", "method", "protocol", "le"];
/// A process that was not scraped for so many intervals is gone.
const GONE: i64 = 5;
/// Shorter than anyone scrapes, and longer than anyone should.
const INTERVAL_MS_MIN: i64 = 250;
const INTERVAL_MS_MAX: i64 = 300_000;

/// Matches both sides, and the workload's own Service before it was adopted, by either of Traefik's ways to name them.
pub(super) fn services(canary: &Canary) -> String {
    let namespace = escaped(&canary.key.namespace);
    let service = &canary.spec.service;
    let apex = escaped(&service.name);
    let [primary, of_canary] =
        [service.primary_name(), service.canary_name()].map(|name| escaped(&name));
    let port =
        format!("({}|{})", canary.spec.service.port, escaped(canary.spec.service.port_name()));
    let side = format!("({apex}|{primary}|{of_canary})");
    format!(
        "service=~\"{namespace}-{side}-{port}@kubernetescrd|\
         {namespace}_{apex}_wrr_[0-9]+_{namespace}_{side}_{port}@kubernetescrd\""
    )
}

/// Names of Kubernetes: letters, digits, dashes and dots.
fn escaped(name: &str) -> String {
    name.replace('.', "\\\\.")
}

/// Whether a query reads what the gateway counts.
pub(super) fn is_counted(query: &str) -> bool {
    query.contains("traefik_service_request")
}

/// Everything the gateway counted of the canary's services between two times, in milliseconds. `all` buckets, or only those
/// that the guard needs.
pub(super) async fn fetch(
    history: &History,
    canary: &Canary,
    from: i64,
    to: i64,
    all: bool,
) -> anyhow::Result<Vec<Curve>> {
    let services = services(canary);
    let mut curves = history.raw(&format!("{REQUESTS}{{{services}}}"), from, to).await?;
    curves.extend(history.raw(&format!("{TIMED}{{{services}}}"), from, to).await?);
    let bounds = bounds(history, canary, from, to).await?;
    let wanted = watched(canary);
    let texts: Vec<&str> = bounds
        .iter()
        .filter(|(_, millis)| {
            all || shape(canary).is_some() || wanted.iter().any(|bound| same(*bound, *millis))
        })
        .map(|(text, _)| text.as_str())
        .collect();
    if !texts.is_empty() {
        let le = texts.join("|").replace('+', "\\\\+").replace('.', "\\\\.");
        let selector = format!("{BUCKET}{{{services},le=~\"{le}\"}}");
        curves.extend(history.raw(&selector, from, to).await?);
    }
    Ok(curves)
}

/// The bounds of the histogram, as they are written and in milliseconds.
pub(super) async fn bounds(
    history: &History,
    canary: &Canary,
    from: i64,
    to: i64,
) -> anyhow::Result<Vec<(String, f64)>> {
    let query = format!("count by (le) ({BUCKET}{{{}}})", services(canary));
    let step = ((to - from) / 20).max(60_000);
    let found = history.range(&query, from, to, step).await?;
    let bound = |curve: &Curve| {
        let text = curve.labels.get("le")?.clone();
        let secs = if text == "+Inf" { f64::INFINITY } else { text.parse().ok()? };
        Some((text, secs * 1000.0))
    };
    let mut bounds: Vec<(String, f64)> = found.iter().filter_map(bound).collect();
    bounds.sort_by(|a, b| a.1.total_cmp(&b.1));
    Ok(bounds)
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * a.abs().max(b.abs())
}

/// Bounds that the guard watches, in milliseconds.
pub(super) fn watched(canary: &Canary) -> Vec<f64> {
    let objectives = canary.spec.analysis.guard.iter().flat_map(|guard| &guard.objectives);
    let bound = |bad: Bad| match bad {
        Bad::Failed | Bad::Shape => None,
        Bad::SlowerThan(millis) => Some(millis),
    };
    objectives.filter_map(|objective| bound(objective.bad)).collect()
}

/// The guard, if it compares the shape of latencies.
fn shape(canary: &Canary) -> Option<&GuardSpec> {
    let guard = canary.spec.analysis.guard.as_ref();
    guard.filter(|spec| spec.objectives.iter().any(|objective| objective.bad == Bad::Shape))
}

/// One look at every process of the gateway.
pub(super) struct Look {
    pub(super) at: i64,
    pub(super) pages: Vec<(String, Sides)>,
}

/// What the guard would have seen, and how often it would have looked.
pub(super) struct Looks {
    pub(super) looks: Vec<Look>,
    pub(super) interval_ms: i64,
    /// Bounds in milliseconds that the histogram has, of those that are watched.
    pub(super) bounds: Vec<f64>,
    /// Those at which the shape of latencies is compared.
    pub(super) shape: Vec<f64>,
}

impl Looks {
    /// Between which looks, in milliseconds, nothing was scraped for much longer than usual.
    pub(super) fn gaps(&self, from: i64, to: i64) -> Vec<(i64, i64)> {
        let times: Vec<i64> = self.looks.iter().map(|look| look.at).collect();
        let pairs = times.windows(2).map(|pair| (pair[0], pair[1]));
        pairs.filter(|(a, b)| *b > from && *a < to && b - a > GONE * self.interval_ms).collect()
    }
}

/// The canary's requests up to a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) at: i64,
    pub(super) requests: u64,
    pub(super) failed: u64,
}

/// Scrapes of one process: what was read at each time.
type Scrapes = BTreeMap<i64, String>;

pub(super) fn looks(canary: &Canary, curves: &[Curve], began: Timestamp) -> Looks {
    let mut processes: BTreeMap<String, Scrapes> = BTreeMap::new();
    let mut bounds: Vec<f64> = Vec::new();
    for curve in curves {
        let process: Vec<String> = curve
            .labels
            .iter()
            .filter(|(name, _)| !OF_REQUEST.contains(&name.as_str()))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if let Some(Ok(secs)) = curve.labels.get("le").map(|le| le.parse::<f64>()) {
            bounds.push(secs * 1000.0);
        }
        let scrapes = processes.entry(process.join(",")).or_default();
        let head = head(&curve.labels);
        for (at, value) in &curve.points {
            let text = scrapes.entry(*at).or_default();
            let _infallible = writeln!(text, "{head} {value}");
        }
    }
    let interval_ms = interval(processes.values());
    bounds.retain(|bound| bound.is_finite());
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    let shape = shape(canary).map(|spec| shape_bounds(spec, &bounds)).unwrap_or_default();
    bounds = watched(canary).into_iter().filter(|w| bounds.iter().any(|b| same(*w, *b))).collect();
    let mut read = bounds.clone();
    read.extend(shape.iter().filter(|bound| !bounds.contains(bound)));
    let looks = merge(canary, &processes, &read, interval_ms, began);
    Looks { looks, interval_ms, bounds, shape }
}

/// A series as a page of the gateway shows it.
fn head(labels: &BTreeMap<String, String>) -> String {
    let inner: Vec<String> = OF_REQUEST[1..]
        .iter()
        .filter_map(|name| Some(format!("{name}=\"{}\"", labels.get(*name)?)))
        .collect();
    let name = labels.get("__name__").map(String::as_str).unwrap_or_default();
    format!("{name}{{{}}}", inner.join(","))
}

/// The usual time between two scrapes.
fn interval<'a>(processes: impl Iterator<Item = &'a Scrapes>) -> i64 {
    let mut gaps: Vec<i64> = processes
        .flat_map(|scrapes| {
            let times: Vec<i64> = scrapes.keys().copied().collect();
            times.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
        })
        .collect();
    gaps.sort_unstable();
    let median = gaps.get(gaps.len() / 2).copied().unwrap_or(INTERVAL_MS_MIN);
    median.clamp(INTERVAL_MS_MIN, INTERVAL_MS_MAX)
}

/// At every time that something was scraped, at most once per interval, what each process last said.
fn merge(
    canary: &Canary,
    processes: &BTreeMap<String, Scrapes>,
    bounds: &[f64],
    interval_ms: i64,
    began: Timestamp,
) -> Vec<Look> {
    let (pair, mut wanted) = (Pair::of(canary), Wanted::default());
    wanted.add(canary, bounds);
    let began = began.as_millisecond() as f64 / 1000.0;
    let times: BTreeSet<i64> =
        processes.values().flat_map(|scrapes| scrapes.keys()).copied().collect();
    let mut looks: Vec<Look> = Vec::new();
    for at in times {
        // Processes are scraped at different moments of the same interval.
        let early = looks.last().is_some_and(|look| at - look.at < interval_ms * 9 / 10);
        if early && processes.len() > 1 {
            continue;
        }
        let pages = processes.iter().filter_map(|(process, scrapes)| {
            let (_, text) = scrapes.range(at - GONE * interval_ms..=at).next_back()?;
            let page: Page = read(&wanted, text);
            Some((process.clone(), page.sides(&pair, bounds, began)))
        });
        looks.push(Look { at, pages: pages.collect() });
    }
    looks
}

fn read(wanted: &Wanted, text: &str) -> Page {
    let mut scrape = Scrape::new(wanted);
    scrape.push(text.as_bytes());
    scrape.finish()
}

/// The canary's requests and failures, counted up over the looks.
pub(super) fn count(looks: &Looks) -> Vec<Counted> {
    let mut evidence = Tracker::new(looks.bounds.len());
    let mut sum = Counted::default();
    let mut all = Vec::with_capacity(looks.looks.len());
    for look in &looks.looks {
        let at = u64::try_from(look.at).unwrap_or(0);
        let readings = look.pages.iter().flat_map(|(process, sides)| sides.readings(process, true));
        if let Ok(increase) = evidence.observe(at, readings) {
            sum.requests += increase.canary.requests;
            sum.failed += increase.canary.errors;
        }
        sum.at = look.at;
        all.push(sum);
    }
    all
}

/// Whether the router counts what a replay needs.
pub(super) fn supported(canary: &Canary) -> Result<(), String> {
    let provider = canary.spec.provider;
    if provider.capabilities.counts {
        return Ok(());
    }
    Err(format!(
        "provider {provider} has no router that counts the requests of both versions; a backtest needs one"
    ))
}
