//! Scraping: one loop for all targets, with staleness markers for what has gone.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::exposition::{self, Sample};
use super::store::{Labels, NAME, stale};
use super::{Shared, now_ms};

const BODY_MAX: usize = 16 << 20;

/// What to scrape, and the labels its series get.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    pub url: String,
    /// `job`, `instance` and whatever else, in any order.
    pub labels: BTreeMap<String, String>,
}

/// Series of a target as of its last scrape, and whether the target gave them a time itself.
type Alive = BTreeMap<Labels, bool>;

type Row = (Labels, i64, f64);

/// Marks series as ended. Those that bring their own times end by themselves, as in Prometheus.
fn end(series: Alive, at: i64, rows: &mut Vec<Row>) {
    rows.extend(
        series.into_iter().filter(|(_, own)| !own).map(|(labels, _)| (labels, at, stale())),
    );
}

pub(crate) async fn run(
    store: Shared,
    mut targets: watch::Receiver<Vec<Target>>,
    interval: Duration,
) {
    let client: Client<HttpConnector, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let mut alive: BTreeMap<Target, Alive> = BTreeMap::new();
    let mut clock = tokio::time::interval(interval);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let wanted: Vec<Target> = targets.borrow_and_update().clone();
        let gone: Vec<Target> =
            alive.keys().filter(|target| !wanted.contains(target)).cloned().collect();
        let mut rows = Vec::new();
        for target in gone {
            end(alive.remove(&target).unwrap_or_default(), now_ms(), &mut rows);
        }
        let scrapes = futures::future::join_all(
            wanted.iter().map(|target| scrape(&client, target, interval)),
        )
        .await;
        for (target, (at, result)) in wanted.into_iter().zip(scrapes) {
            let mut before = alive.remove(&target).unwrap_or_default();
            let (fresh, up) = ingest(&target, at, result, &mut rows);
            before.retain(|identity, _| !fresh.contains_key(identity));
            end(before, at, &mut rows);
            rows.push((identity("up", &[], &target), at, f64::from(u8::from(up))));
            alive.insert(target, fresh);
        }
        let samples = rows.iter().map(|(labels, at, value)| (labels, *at, *value));
        let written = store.write().write(samples, now_ms());
        if written.too_many > 0 {
            tracing::warn!(dropped = written.too_many, "too many series: samples were not kept");
        }
    }
}

async fn scrape(
    client: &Client<HttpConnector, Empty<Bytes>>,
    target: &Target,
    timeout: Duration,
) -> (i64, Result<String, String>) {
    let at = now_ms();
    let fetch = async {
        let url = target.url.parse::<http::Uri>().map_err(|error| error.to_string())?;
        let response = client.get(url).await.map_err(|error| error.to_string())?;
        if !response.status().is_success() {
            return Err(format!("status {}", response.status()));
        }
        let body = Limited::new(response.into_body(), BODY_MAX)
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        String::from_utf8(body.to_bytes().to_vec()).map_err(|error| error.to_string())
    };
    let result = tokio::time::timeout(timeout.max(Duration::from_secs(1)), fetch).await;
    (at, result.unwrap_or_else(|_| Err("no answer in time".to_owned())))
}

fn ingest(
    target: &Target,
    at: i64,
    result: Result<String, String>,
    rows: &mut Vec<Row>,
) -> (Alive, bool) {
    let text = match result {
        Ok(text) => text,
        Err(why) => {
            tracing::debug!(url = %target.url, %why, "scrape failed");
            return (Alive::new(), false);
        }
    };
    let (samples, bad) = exposition::parse(&text);
    if bad > 0 {
        tracing::debug!(url = %target.url, bad, "lines that cannot be read");
    }
    let mut fresh = Alive::new();
    for Sample { name, labels, value, timestamp_ms } in samples {
        let labels = identity(&name, &labels, target);
        // A target that repeats a sample has nothing new to say; the store drops it.
        rows.push((labels.clone(), timestamp_ms.unwrap_or(at), value));
        fresh.insert(labels, timestamp_ms.is_some());
    }
    (fresh, true)
}

/// The target's labels win; a sample's label of the same name becomes `exported_<name>`, as in Prometheus.
fn identity(name: &str, labels: &[(String, String)], target: &Target) -> Labels {
    let mut all = target.labels.clone();
    for (label, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
        let exported = target.labels.contains_key(label);
        let label = if exported { format!("exported_{label}") } else { label.clone() };
        all.insert(label, value.clone());
    }
    all.insert(NAME.to_owned(), name.to_owned());
    all
}
