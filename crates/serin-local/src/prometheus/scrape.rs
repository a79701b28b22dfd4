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
use tsink::{DataPoint, Label, Row};

use super::exposition::{self, Sample};
use super::{Series, now_ms};

const BODY_MAX: usize = 16 << 20;
/// The value that says "this series has ended" (Prometheus, `value.StaleNaN`).
const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// What to scrape, and the labels its series get.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    pub url: String,
    /// `job`, `instance` and whatever else, in any order.
    pub labels: BTreeMap<String, String>,
}

type Identity = (String, Vec<(String, String)>);

/// Series of a target as of its last scrape, with the time that it gave them itself, if it did.
type Alive = BTreeMap<Identity, Option<i64>>;

/// Marks series as ended. Those that bring their own times end by themselves, as in Prometheus.
fn end(series: Alive, at: i64, rows: &mut Vec<Row>) {
    for (identity, _) in series.iter().filter(|(_, own_time)| own_time.is_none()) {
        rows.push(row(identity, at, f64::from_bits(STALE_BITS)));
    }
}

pub(crate) async fn run(
    series: Series,
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
            let (fresh, up) = ingest(&target, at, result, &before, &mut rows);
            before.retain(|identity, _| !fresh.contains_key(identity));
            end(before, at, &mut rows);
            rows.push(row(&identity("up", &[], &target), at, f64::from(u8::from(up))));
            alive.insert(target, fresh);
        }
        if let Err(error) = series.storage.insert_rows(&rows) {
            tracing::warn!(%error, "samples were not kept");
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
    before: &Alive,
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
        tracing::debug!(url = %target.url, bad, "lines that make no sense");
    }
    let mut fresh = Alive::new();
    for Sample { name, labels, value, timestamp_ms } in samples {
        let identity = identity(&name, &labels, target);
        // A target that repeats a sample has nothing new to say.
        let known =
            timestamp_ms.is_some() && before.get(&identity).copied().flatten() >= timestamp_ms;
        if !known {
            rows.push(row(&identity, timestamp_ms.unwrap_or(at), value));
        }
        fresh.insert(identity, timestamp_ms);
    }
    (fresh, true)
}

/// The target's labels win; a sample's label of the same name becomes `exported_<name>`, as in Prometheus.
fn identity(name: &str, labels: &[(String, String)], target: &Target) -> Identity {
    let mut all: Vec<(String, String)> = target.labels.clone().into_iter().collect();
    for (label, value) in labels {
        let label = if target.labels.contains_key(label) {
            format!("exported_{label}")
        } else {
            label.clone()
        };
        if !value.is_empty() {
            all.push((label, value.clone()));
        }
    }
    all.sort();
    (name.to_owned(), all)
}

fn row((name, labels): &Identity, at: i64, value: f64) -> Row {
    let labels = labels.iter().map(|(name, value)| Label::new(name, value)).collect();
    Row::with_labels(name, labels, DataPoint::new(at, value))
}
