//! What is read beside a Canary: its workloads, pods and Events, at most once a second for all who look.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::Value;
use serin_core::model::Key;
use serin_core::words::{SENTENCE_MAX, line};
use serin_providers::change::{DEPLOYMENT, Kind};
use tokio::time::Instant;

use crate::cache::{self, EVENT};
use crate::http_client::chain;
use crate::view::{self, Images, Side, Surroundings};

const POD: Kind = Kind { group: "", version: "v1", kind: "Pod", plural: "pods" };
/// What was read is good for so long.
const FRESH: Duration = Duration::from_secs(1);
/// Whoever waits for a page does not wait longer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Objects of one list.
const LIST_MAX: u32 = 200;
/// Canaries that are looked at closely at once.
const DETAILS_MAX: usize = 64;

/// What was read of one Canary's surroundings.
#[derive(Clone, Default)]
pub(super) struct Around {
    pub(super) surroundings: Surroundings,
    pub(super) images: Option<Images>,
    pub(super) events: Vec<(Timestamp, String, String)>,
}

/// One that somebody looks at.
#[derive(Default)]
pub(super) struct Detail {
    known: Mutex<(Option<Instant>, Around)>,
    /// Held by whoever reads.
    reading: tokio::sync::Mutex<()>,
}

/// That of a key; the one that was read longest ago makes room.
pub(super) fn detail(all: &mut BTreeMap<Key, Arc<Detail>>, key: &Key) -> Arc<Detail> {
    if let Some(detail) = all.get(key) {
        return Arc::clone(detail);
    }
    if all.len() >= DETAILS_MAX {
        let oldest =
            all.iter().min_by_key(|(_, detail)| detail.known().0).map(|(key, _)| key.clone());
        oldest.and_then(|key| all.remove(&key));
    }
    Arc::clone(all.entry(key.clone()).or_default())
}

impl Detail {
    fn known(&self) -> (Option<Instant>, Around) {
        self.known.lock().clone()
    }

    /// Reads anew unless it is fresh, or somebody is at it and something is known.
    pub(super) async fn refresh(
        &self,
        client: &Client,
        key: &Key,
        workloads: Option<&[String; 2]>,
    ) -> Around {
        let (time, known) = self.known();
        if time.is_some_and(|time| time.elapsed() < FRESH) {
            return known;
        }
        let reading = match time {
            Some(_) => match self.reading.try_lock() {
                Ok(reading) => reading,
                Err(_) => return known,
            },
            None => self.reading.lock().await,
        };
        let (time, known) = self.known();
        if time.is_some_and(|time| time.elapsed() < FRESH) {
            return known;
        }
        let around = around(client, key, workloads).await;
        let mut known = self.known.lock();
        *known = (Some(Instant::now()), around.clone());
        drop(known);
        drop(reading);
        around
    }
}

async fn around(client: &Client, key: &Key, workloads: Option<&[String; 2]>) -> Around {
    let namespace = &key.namespace;
    let mut unseen = Vec::new();
    let by_canary = ListParams::default()
        .fields(&format!("involvedObject.kind=Canary,involvedObject.name={}", key.name));
    let none = || futures::future::ready(Ok(None)).left_future();
    let [target, primary] = match workloads {
        Some([target, primary]) => [
            get(client, namespace, target).right_future(),
            get(client, namespace, primary).right_future(),
        ],
        None => [none(), none()],
    };
    let (target, primary, events) =
        tokio::join!(target, primary, list(client, &EVENT, namespace, by_canary));
    let mut or_none = |what: &str, read: Result<Option<Value>, String>| {
        read.unwrap_or_else(|error| {
            unseen.push(format!("{what}: {error}"));
            None
        })
    };
    let (target, primary) = (or_none("the target", target), or_none("the primary", primary));
    let (canary, promoted) = tokio::join!(
        pods(client, namespace, target.as_ref()),
        pods(client, namespace, primary.as_ref())
    );
    let mut or_empty = |what: &str, read: Result<Vec<Value>, String>| {
        read.unwrap_or_else(|error| {
            unseen.push(format!("{what}: {error}"));
            Vec::new()
        })
    };
    let pods = [
        (&target, Side::Canary, or_empty("the canary's pods", canary)),
        (&primary, Side::Primary, or_empty("the primary's pods", promoted)),
    ];
    let events = or_empty("Events", events);
    let all = pods.iter().flat_map(|(workload, side, pods)| {
        workload.as_ref().map(|workload| view::pods(workload, *side, pods)).unwrap_or_default()
    });
    let read = target.is_some() || primary.is_some();
    Around {
        images: read.then(|| view::images(target.as_ref(), primary.as_ref())),
        events: view::events(&events),
        surroundings: Surroundings { pods: all.collect(), unseen },
    }
}

/// The pods that a workload selects.
async fn pods(
    client: &Client,
    namespace: &str,
    workload: Option<&Value>,
) -> Result<Vec<Value>, String> {
    let labels = workload.and_then(|one| one.pointer("/spec/selector/matchLabels")?.as_object());
    let Some(labels) = labels.filter(|labels| !labels.is_empty()) else { return Ok(Vec::new()) };
    let pairs = labels.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
    let selector = pairs.collect::<Vec<_>>().join(",");
    list(client, &POD, namespace, ListParams::default().labels(&selector)).await
}

/// What a target and its primary run; none where neither can be read.
pub(crate) async fn images(
    client: &Client,
    namespace: &str,
    target: &str,
    primary: &str,
) -> Option<Images> {
    let (target, primary) =
        tokio::join!(get(client, namespace, target), get(client, namespace, primary));
    let (target, primary) = (target.ok().flatten(), primary.ok().flatten());
    (target.is_some() || primary.is_some()).then(|| view::images(target.as_ref(), primary.as_ref()))
}

async fn get(client: &Client, namespace: &str, name: &str) -> Result<Option<Value>, String> {
    let resource = cache::resource(&DEPLOYMENT);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let object = in_time(api.get_opt(name)).await?;
    Ok(object.and_then(|object| serde_json::to_value(object).ok()))
}

async fn list(
    client: &Client,
    kind: &Kind,
    namespace: &str,
    params: ListParams,
) -> Result<Vec<Value>, String> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &cache::resource(kind));
    let list = in_time(api.list(&params.limit(LIST_MAX))).await?;
    Ok(list.items.into_iter().filter_map(|object| serde_json::to_value(object).ok()).collect())
}

async fn in_time<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(TIMEOUT, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) => Err(line(&status.message, SENTENCE_MAX)),
        Ok(Err(error)) => Err(line(&chain(&error), SENTENCE_MAX)),
        Err(_) => Err(format!("no answer within {TIMEOUT:?}")),
    }
}
