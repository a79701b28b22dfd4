//! The sample application: a small web service with a version, whose faults can be switched on while it runs.

mod faults;
mod metrics;
mod settings;

use parking_lot::{Mutex, MutexGuard};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::body::Incoming;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Notify;

pub use faults::Faults;
pub use settings::{Options, SettingError};

use crate::exposition::CONTENT_TYPE;
use crate::http_server::{Body, Server, answer, plain};
use faults::Injector;
use metrics::Metrics;

/// The header that names the version which answered.
pub const VERSION_HEADER: &str = "x-version";
/// Enough for a page of JSON with six numbers.
const FAULTS_BODY_MAX: usize = 4096;

/// The same answer, whose connection is closed after the first byte of the body.
fn cut(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let length = http_body::Body::size_hint(&body).exact().unwrap_or(2);
    head.headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    let begin = async { Ok(http_body::Frame::data(bytes::Bytes::from_static(b"{"))) };
    let end = async {
        // The head and the first byte leave in between.
        tokio::task::yield_now().await;
        Err("the answer breaks off, as told".into())
    };
    let body = futures::stream::once(begin).chain(futures::stream::once(end));
    let body = StreamBody::new(body);
    Response::from_parts(head, body.boxed_unsync())
}

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot wait for signals")]
    Signal(#[source] std::io::Error),
    #[error("exits after {0:?}, as told")]
    Exit(Duration),
}

/// A running sample application.
pub struct App {
    server: Server,
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    begun: Instant,
    injector: Mutex<Injector>,
    metrics: Mutex<Metrics>,
    stopping: AtomicBool,
    stop: Notify,
}

impl App {
    pub async fn start(options: Options) -> Result<Self, AppError> {
        let (address, grace) = (options.listen, options.grace);
        let failed = |source| AppError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            injector: Mutex::new(Injector::new(options.faults, faults::seed(&options.pod))),
            metrics: Mutex::new(Metrics::new(&options)),
            stopping: AtomicBool::new(false),
            stop: Notify::new(),
            options,
        });
        let serving = Arc::clone(&shared);
        let handler = move |request, peer| {
            let shared = Arc::clone(&serving);
            async move { shared.serve(request, peer).await }
        };
        let open = Arc::new(AtomicI64::new(0));
        let server = Server::start(listener, open, grace, handler).map_err(failed)?;
        Ok(Self { server, shared })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Replaces the faults, as `POST /faults` does.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.injector().set(faults);
    }

    /// Becomes unready, finishes the requests in flight and ends.
    pub async fn shutdown(self) {
        let Self { server, shared } = self;
        shared.stopping.store(true, Ordering::Relaxed);
        shared.stop.notify_waiters();
        server.shutdown().await;
    }
}

/// Serves until SIGTERM or Ctrl-C, then finishes what is in flight. An error ends the process, as a crash would.
pub async fn serve(options: Options) -> Result<(), AppError> {
    let exit_after = options.exit_after;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(AppError::Signal)?;
    let app = App::start(options).await?;
    tracing::info!(address = %app.address(), version = app.shared.options.version, "serving");
    let exit = async {
        match exit_after {
            Some(after) => {
                tokio::time::sleep(after).await;
                after
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(AppError::Signal)?,
        after = exit => return Err(AppError::Exit(after)),
    }
    tracing::info!("finishing requests in flight");
    app.shutdown().await;
    Ok(())
}

/// To its end, as an application would: a connection that closes before is a failure to a gateway. Nothing of it is kept.
async fn read_off(mut body: Incoming) {
    while let Some(Ok(_frame)) = body.frame().await {}
}

impl Shared {
    fn injector(&self) -> MutexGuard<'_, Injector> {
        self.injector.lock()
    }

    fn metrics(&self) -> MutexGuard<'_, Metrics> {
        self.metrics.lock()
    }

    async fn serve(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let path = request.uri().path();
        let mut response = match path {
            "/healthz" => plain(StatusCode::OK, "OK\n"),
            "/readyz" => self.ready(),
            "/metrics" => answer(StatusCode::OK, CONTENT_TYPE, self.metrics().page()),
            "/faults" => self.faults(request, peer).await,
            _ => {
                let (head, body) = request.into_parts();
                read_off(body).await;
                self.work(&Request::from_parts(head, ())).await
            }
        };
        if let Ok(version) = HeaderValue::from_str(&self.options.version) {
            response.headers_mut().insert(VERSION_HEADER, version);
        }
        response
    }

    fn ready(&self) -> Response<Body> {
        let waiting = self.begun.elapsed() < self.options.ready_after;
        if waiting {
            plain(StatusCode::SERVICE_UNAVAILABLE, "starting\n")
        } else if self.stopping.load(Ordering::Relaxed) {
            plain(StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
        } else {
            plain(StatusCode::OK, "OK\n")
        }
    }

    async fn work<B>(&self, request: &Request<B>) -> Response<Body> {
        let begun = Instant::now();
        let due = self.begun.elapsed() >= self.options.faults_after;
        let fault = if due { self.injector().next() } else { faults::Fault::default() };
        if let Some(latency) = fault.latency {
            tokio::time::sleep(latency).await;
        }
        let status = fault.status.unwrap_or(StatusCode::OK);
        let Options { version, pod, namespace, app, .. } = &self.options;
        let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
        let body = json!({
            "app": app,
            "host": host,
            "message": if status.is_success() { "hello" } else { "an injected fault" },
            "namespace": namespace,
            "path": request.uri().path(),
            "pod": pod,
            "status": status.as_u16(),
            "version": version,
        });
        let path = if request.uri().path() == "/" { "/" } else { "other" };
        let seconds = begun.elapsed().as_secs_f64();
        self.metrics().observe(request.method(), path, status, seconds);
        let response = answer(status, "application/json", format!("{body}\n"));
        if fault.cut { cut(response) } else { response }
    }

    async fn faults(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let page = |faults: Faults| {
            answer(StatusCode::OK, "application/json", format!("{}\n", json!(faults)))
        };
        if request.method() == Method::GET {
            return page(self.injector().faults());
        }
        if request.method() != Method::POST && request.method() != Method::PUT {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "GET shows the faults, POST sets them\n");
        }
        // A proxied request also comes from a loopback address, but says for whom.
        if !peer.ip().to_canonical().is_loopback()
            || request.headers().contains_key("x-forwarded-for")
        {
            return plain(StatusCode::FORBIDDEN, "faults are set from this machine only\n");
        }
        let body = match Limited::new(request.into_body(), FAULTS_BODY_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                return plain(StatusCode::BAD_REQUEST, format!("cannot read the body: {error}\n"));
            }
        };
        let parsed = serde_json::from_slice::<Faults>(&body).map_err(|error| error.to_string());
        match parsed.and_then(|faults| faults.check().map_err(|error| error.to_string())) {
            Ok(faults) => {
                tracing::info!(?faults, "faults set");
                self.injector().set(faults);
                page(faults)
            }
            Err(error) => plain(StatusCode::BAD_REQUEST, format!("{error}\n")),
        }
    }
}

#[cfg(test)]
mod tests;
