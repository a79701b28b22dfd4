//! Scraping: one loop for all targets, with staleness markers for what has gone.

use std::collections::{BTreeMap, BTreeSet};
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

pub(crate) async fn run(
    series: Series,
    mut targets: watch::Receiver<Vec<Target>>,
    interval: Duration,
) {
    let client: Client<HttpConnector, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let mut alive: BTreeMap<Target, BTreeSet<Identity>> = BTreeMap::new();
    let mut clock = tokio::time::interval(interval);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let wanted: Vec<Target> = targets.borrow_and_update().clone();
        let gone: Vec<Target> =
            alive.keys().filter(|target| !wanted.contains(target)).cloned().collect();
        let mut rows = Vec::new();
        for target in gone {
            for identity in alive.remove(&target).unwrap_or_default() {
                rows.push(row(&identity, now_ms(), f64::from_bits(STALE_BITS)));
            }
        }
        let scrapes = futures::future::join_all(
            wanted.iter().map(|target| scrape(&client, target, interval)),
        )
        .await;
        for (target, (at, result)) in wanted.into_iter().zip(scrapes) {
            let before = alive.remove(&target).unwrap_or_default();
            let (fresh, up) = ingest(&target, at, result, &mut rows);
            for identity in before.difference(&fresh) {
                rows.push(row(identity, at, f64::from_bits(STALE_BITS)));
            }
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
    rows: &mut Vec<Row>,
) -> (BTreeSet<Identity>, bool) {
    let text = match result {
        Ok(text) => text,
        Err(why) => {
            tracing::debug!(url = %target.url, %why, "scrape failed");
            return (BTreeSet::new(), false);
        }
    };
    let (samples, bad) = exposition::parse(&text);
    if bad > 0 {
        tracing::debug!(url = %target.url, bad, "lines that make no sense");
    }
    let mut fresh = BTreeSet::new();
    for Sample { name, labels, value, timestamp_ms } in samples {
        let identity = identity(&name, &labels, target);
        rows.push(row(&identity, timestamp_ms.unwrap_or(at), value));
        fresh.insert(identity);
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
