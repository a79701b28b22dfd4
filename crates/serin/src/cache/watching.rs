//! The watch on one kind, and the single reads that it makes necessary, side by side: a slow read delays no news.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Weak;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use kube::Resource;
use kube::api::{Api, ApiResource};
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use serin_providers::change::Kind;
use tokio::time::Instant;

use super::state::{Due, Heard, is_told};
use super::told::Told;
use super::{Inner, ObjectCache, Subscription, resource};
use crate::cache::packed::Packed;
use crate::http_client::chain;

/// Objects on a page of a list. A page is held whole while it is decoded, and objects have up to 1.5 MiB: this is the most
/// that a cluster full of such objects takes of a container's limit, and a cluster as they are takes less than a megabyte.
pub(crate) const PAGE_OBJECTS: u32 = 50;
/// Single reads of one kind at once.
const READS_AT_ONCE: usize = 8;
/// A read that failed is tried again: doubling from one second to half a minute.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// How every watch here begins.
pub(crate) fn config() -> watcher::Config {
    watcher::Config::default().page_size(PAGE_OBJECTS)
}

impl ObjectCache {
    pub(super) fn watch(&self, kind: Kind) -> tokio::task::JoinHandle<()> {
        let inner = std::sync::Arc::downgrade(&self.inner);
        if is_told(&kind) {
            tokio::spawn(follow::<Told>(inner, kind, self.all(&kind)))
        } else {
            tokio::spawn(follow::<Packed>(inner, kind, self.all(&kind)))
        }
    }

    fn all<K: Resource<DynamicType = ApiResource, Scope = kube::core::DynamicResourceScope>>(
        &self,
        kind: &Kind,
    ) -> Api<K> {
        let client = self.inner.client.clone();
        match &self.inner.namespace {
            Some(namespace) if !kind.is_cluster_scoped() => {
                Api::namespaced_with(client, namespace, &resource(kind))
            }
            Some(_) | None => Api::all_with(client, &resource(kind)),
        }
    }

    /// Takes in what the watch brings, and says what has to be read by itself.
    fn hear<K: Heard>(
        &self,
        kind: &Kind,
        event: watcher::Result<watcher::Event<K>>,
    ) -> BTreeSet<Subscription> {
        let mut due = Due::default();
        {
            let mut state = self.state();
            let news = |object: K| object.news(kind);
            match event {
                Ok(watcher::Event::Init) => state.begin_list(kind),
                Ok(watcher::Event::InitApply(object)) => {
                    if let Some(news) = news(object) {
                        state.put(kind, news, true, &mut due);
                    }
                }
                Ok(watcher::Event::InitDone) => state.listed(kind, &mut due),
                Ok(watcher::Event::Apply(object)) => {
                    if let Some(news) = news(object) {
                        state.put(kind, news, false, &mut due);
                    }
                }
                Ok(watcher::Event::Delete(object)) => {
                    if let Some(news) = news(object) {
                        state.remove(&news, &mut due);
                    }
                }
                Err(error) => {
                    let why = chain(&error);
                    let entry = state.kinds.entry(*kind).or_default();
                    let now = format!("cannot watch {}: {why}", kind.plural);
                    // A connection that ends is nothing to talk about; what was refused, or goes on, is.
                    if is_refused(&error) && entry.error.as_ref() != Some(&now) {
                        tracing::warn!(kind = %kind.plural, error = %why, "watch refused");
                    } else {
                        tracing::debug!(kind = %kind.plural, error = %why, "watch interrupted");
                    }
                    entry.error = Some(now);
                }
            }
        }
        self.inner.changed.notify_waiters();
        for key in due.woken {
            self.inner.wake.wake(&key);
        }
        due.reads
    }
}

/// The API server does not let us, or does not know the kind: somebody has to grant or install it.
pub(crate) fn is_refused(error: &watcher::Error) -> bool {
    let refused = |code: u16| matches!(code, 403 | 404);
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => {
            matches!(error, kube::Error::Api(status) if refused(status.code))
        }
        watcher::Error::WatchError(status) => refused(status.code),
        watcher::Error::NoResourceVersion => false,
    }
}

/// What is to be read by itself: each once at a time, a bounded number of them at once, again when it failed. Only what a
/// canary wants gets in here.
#[derive(Default)]
struct Reads {
    due: BTreeSet<Subscription>,
    busy: BTreeSet<Subscription>,
    failed: BTreeMap<Subscription, (Instant, Duration)>,
}

impl Reads {
    fn take(&mut self) -> Option<Subscription> {
        if self.busy.len() >= READS_AT_ONCE {
            return None;
        }
        let now = Instant::now();
        let again = self
            .failed
            .iter()
            .find(|(_, (at, _))| *at <= now)
            .map(|(subscription, _)| subscription);
        let free = self
            .due
            .iter()
            .chain(again)
            .find(|subscription| !self.busy.contains(*subscription))
            .cloned()?;
        self.due.remove(&free);
        if let Some((at, _)) = self.failed.get_mut(&free) {
            // Until the read is done, no timer is to ring for it.
            *at = now + RETRY_MAX;
        }
        self.busy.insert(free.clone());
        Some(free)
    }

    fn done(&mut self, subscription: Subscription, done: bool) {
        self.busy.remove(&subscription);
        if done {
            self.failed.remove(&subscription);
            return;
        }
        let before = self.failed.get(&subscription).map(|(_, wait)| *wait * 2);
        let wait = before.unwrap_or(RETRY_MIN).min(RETRY_MAX);
        self.failed.insert(subscription, (Instant::now() + wait, wait));
    }

    /// When the next read that failed is to be tried again.
    fn next(&self) -> Option<Instant> {
        let waiting =
            self.failed.iter().filter(|(subscription, _)| !self.busy.contains(*subscription));
        waiting.map(|(_, (at, _))| *at).min()
    }
}

async fn follow<K>(inner: Weak<Inner>, kind: Kind, api: Api<K>)
where
    K: Resource + Heard + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let events = watcher(api, config()).default_backoff();
    attend(&inner, &kind, events).await;
}

async fn attend<K: Heard>(
    inner: &Weak<Inner>,
    kind: &Kind,
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>>,
) {
    futures::pin_mut!(events);
    let mut reads = Reads::default();
    let mut reading = FuturesUnordered::new();
    loop {
        while let Some(subscription) = reads.take() {
            let Some(inner) = inner.upgrade() else { return };
            reading.push(async move {
                let done = ObjectCache { inner }.read_again(&subscription).await;
                (subscription, done)
            });
        }
        let retry = reads.next();
        tokio::select! {
            biased;
            event = events.next() => {
                let (Some(event), Some(inner)) = (event, inner.upgrade()) else { return };
                let due = ObjectCache { inner }.hear(kind, event);
                reads.due.extend(due);
            }
            Some((subscription, done)) = reading.next(), if !reading.is_empty() => reads.done(subscription, done),
            () = async { tokio::time::sleep_until(retry.unwrap_or_else(Instant::now)).await },
                if retry.is_some() => {}
        }
    }
}
