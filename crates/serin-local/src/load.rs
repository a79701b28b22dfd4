//! A bounded open-loop load generator that tells which version answered what, while it runs.

mod snapshot;

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

pub use snapshot::{LATENCY_BOUNDS, Snapshot, Tally, UNVERSIONED};

use crate::app::VERSION_HEADER;
use crate::http_server::BoxError;

/// Past this the generator measures itself.
const RATE_MAX: f64 = 20_000.0;
/// Each request under way is a task and a socket.
const CONCURRENCY_MAX: usize = 1024;
/// Often enough to look live, seldom enough to cost nothing.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);
/// Shorter than servers wait, so that no request meets a connection being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// What to send, how often and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    pub url: Uri,
    pub method: Method,
    /// The `Host` header, where it is not the URL's.
    pub host: Option<String>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub requests_per_second: f64,
    /// Without one, until stopped.
    pub duration: Option<Duration>,
    /// Requests under way at once; those due beyond it are counted as skipped.
    pub concurrency: usize,
    /// From sending to the last byte of the answer.
    pub timeout: Duration,
}

impl Options {
    pub fn new(url: Uri, requests_per_second: f64) -> Self {
        Self {
            url,
            method: Method::GET,
            host: None,
            headers: Vec::new(),
            requests_per_second,
            duration: None,
            concurrency: 64,
            timeout: Duration::from_secs(10),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the rate must be above 0 and at most {RATE_MAX} requests per second, not {0}")]
    Rate(f64),
    #[error("the concurrency must be between 1 and {CONCURRENCY_MAX}, not {0}")]
    Concurrency(usize),
    #[error("the URL must be http:// with a host, not {0}")]
    Url(Uri),
    #[error("{0:?} is not a Host header")]
    Host(String),
}

/// Load under way; dropping it stops it.
pub struct Load {
    snapshots: watch::Receiver<Snapshot>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Load {
    /// Live figures; each change wakes who waits.
    pub fn snapshots(&self) -> watch::Receiver<Snapshot> {
        self.snapshots.clone()
    }

    pub fn snapshot(&self) -> Snapshot {
        self.snapshots.borrow().clone()
    }

    /// Sends nothing more, waits for what is under way and gives the final figures.
    pub async fn stop(self) -> Snapshot {
        self.stop.send_replace(true);
        self.finish().await
    }

    /// Waits until the duration is over and gives the final figures.
    pub async fn finish(self) -> Snapshot {
        let Self { snapshots, stop: _stop, task } = self;
        if let Err(error) = task.await {
            tracing::warn!(%error, "the load generator ended early");
        }
        snapshots.borrow().clone()
    }
}

/// Starts sending; needs a tokio runtime.
pub fn run(options: Options) -> Result<Load, LoadError> {
    let request = template(&options)?;
    let rate = options.requests_per_second;
    if !(rate > 0.0 && rate <= RATE_MAX) {
        return Err(LoadError::Rate(rate));
    }
    if options.concurrency == 0 || options.concurrency > CONCURRENCY_MAX {
        return Err(LoadError::Concurrency(options.concurrency));
    }
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(options.timeout));
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(options.concurrency)
        .build(connector);
    let (publish, snapshots) = watch::channel(Snapshot::new(jiff::Timestamp::now()));
    let (stop, stopped) = watch::channel(false);
    let state = Mutex::new(Snapshot::new(jiff::Timestamp::now()));
    let sender = Arc::new(Sender {
        client,
        request,
        timeout: options.timeout,
        begun: Instant::now(),
        state,
    });
    let task = tokio::spawn(send_all(sender, options, publish, stopped));
    Ok(Load { snapshots, stop, task })
}

fn template(options: &Options) -> Result<Request<Empty<Bytes>>, LoadError> {
    if options.url.scheme_str() != Some("http") || options.url.host().is_none() {
        return Err(LoadError::Url(options.url.clone()));
    }
    let mut request = Request::new(Empty::new());
    *request.method_mut() = options.method.clone();
    *request.uri_mut() = options.url.clone();
    if let Some(host) = &options.host {
        let value = HeaderValue::from_str(host).map_err(|_| LoadError::Host(host.clone()))?;
        request.headers_mut().insert(header::HOST, value);
    }
    for (name, value) in &options.headers {
        request.headers_mut().append(name, value.clone());
    }
    Ok(request)
}

struct Sender {
    client: Client<HttpConnector, Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
    timeout: Duration,
    begun: Instant,
    state: Mutex<Snapshot>,
}

// Open loop: a slow answer does not delay the next request, as users do not wait for each other.
async fn send_all(
    sender: Arc<Sender>,
    options: Options,
    publish: watch::Sender<Snapshot>,
    mut stopped: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(options.concurrency));
    let (mut issued, mut published) = (0_u64, Duration::ZERO);
    loop {
        let elapsed = sender.begun.elapsed();
        if options.duration.is_some_and(|duration| elapsed >= duration) {
            break;
        }
        let due = (elapsed.as_secs_f64() * options.requests_per_second) as u64 + 1;
        while issued < due {
            issued += 1;
            match Arc::clone(&room).try_acquire_owned() {
                Ok(permit) => {
                    sender.state().sent += 1;
                    let sender = Arc::clone(&sender);
                    tokio::spawn(async move {
                        sender.send().await;
                        drop(permit);
                    });
                }
                Err(_) => sender.state().skipped += 1,
            }
        }
        if elapsed >= published + PUBLISH_EVERY {
            published = elapsed;
            publish.send_replace(sender.snapshot());
        }
        let next = Duration::from_secs_f64(issued as f64 / options.requests_per_second);
        let next =
            next.min(published + PUBLISH_EVERY).min(options.duration.unwrap_or(Duration::MAX));
        tokio::select! {
            ended = stopped.wait_for(|stop| *stop) => {
                drop(ended);
                break;
            }
            () = tokio::time::sleep_until((sender.begun + next).into()) => {}
        }
    }
    // Each request ends within its own timeout, so this wait is bounded as well.
    let all = u32::try_from(options.concurrency).unwrap_or(u32::MAX);
    drop(room.acquire_many(all).await);
    publish.send_replace(sender.snapshot());
}

impl Sender {
    fn state(&self) -> MutexGuard<'_, Snapshot> {
        self.state.lock()
    }

    fn snapshot(&self) -> Snapshot {
        let mut state = self.state();
        state.elapsed = self.begun.elapsed();
        state.clone()
    }

    async fn send(&self) {
        let begun = Instant::now();
        let answered = tokio::time::timeout(self.timeout, self.exchange()).await;
        let seconds = begun.elapsed().as_secs_f64();
        let now = jiff::Timestamp::now();
        let mut state = self.state();
        match answered {
            Ok(Ok((status, version))) => state.answered(status, version.as_deref(), seconds, now),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no answer");
                state.failed(seconds, now);
            }
            Err(_) => {
                tracing::debug!("no answer in time");
                state.failed(seconds, now);
            }
        }
    }

    async fn exchange(&self) -> Result<(u16, Option<String>), BoxError> {
        let mut response = self.client.request(self.request.clone()).await?;
        let version = response.headers().get(VERSION_HEADER);
        let version = version.and_then(|version| version.to_str().ok()).map(str::to_owned);
        while let Some(frame) = response.body_mut().frame().await {
            frame?;
        }
        Ok((response.status().as_u16(), version))
    }
}

#[cfg(test)]
mod tests;
