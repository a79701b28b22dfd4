//! The API over HTTP: a `tower` service for use in process, and a server on a socket.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::admission::Admission;
use crate::failure::Failure;
use crate::store::Store;

mod body;
mod fields;
mod log;
mod objects;
mod openapi2;
mod options;
mod origin;
mod reviews;
mod route;
mod scale;
mod target;
#[cfg(test)]
mod tests;
mod watch_stream;

use route::Route;

/// The bound of a request body in bytes, as for etcd and kube-apiserver.
const BODY_MAX: usize = 3 << 20;
const CONNECTIONS_MAX: usize = 1024;
/// The time for the headers of a request; a slower client would hold a connection slot.
const HEADERS_MAX: Duration = Duration::from_secs(10);

/// The body of a response: whole, or a stream of lines.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The log that `kubectl logs` requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRequest {
    pub namespace: String,
    pub pod: String,
    pub container: Option<String>,
    pub follow: bool,
    pub previous: bool,
    pub tail_lines: Option<usize>,
    /// Only lines at or after this time.
    pub since: Option<Timestamp>,
    pub timestamps: bool,
    pub limit_bytes: Option<usize>,
}

/// Reads the logs of pods: implemented by the runtime that runs them.
pub trait LogSource: Send + Sync {
    /// The bytes of a log; with `follow` they end when the container does.
    fn logs(&self, request: &LogRequest) -> Result<BoxStream<'static, Bytes>, Failure>;
}

/// The API of one store; clones share it.
#[derive(Clone)]
pub struct Api {
    store: Store,
    logs: Option<Arc<dyn LogSource>>,
    admission: Option<Arc<dyn Admission>>,
}

/// A parsed request.
struct Call {
    method: Method,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    fn flag(&self, name: &str) -> bool {
        matches!(self.query(name), "true" | "1" | "True")
    }

    fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn accepts(&self, what: &str) -> bool {
        self.header(header::ACCEPT).contains(what)
    }
}

impl Api {
    /// The API without logs and without admission.
    pub fn new(store: Store) -> Self {
        Self { store, logs: None, admission: None }
    }

    /// Sets the source of `kubectl logs`.
    #[must_use]
    pub fn with_logs(mut self, logs: Arc<dyn LogSource>) -> Self {
        self.logs = Some(logs);
        self
    }

    /// Sets the admission that is asked before every write.
    #[must_use]
    pub fn with_admission(mut self, admission: Arc<dyn Admission>) -> Self {
        self.admission = Some(admission);
        self
    }

    /// The store that this API serves.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let body = match Limited::new(body, BODY_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => {
                let message =
                    format!("the request body is longer than {BODY_MAX} bytes, or was cut off");
                return failure(&Failure::new(413, "RequestEntityTooLarge", message));
            }
        };
        let mut query = BTreeMap::new();
        for (name, value) in
            form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        {
            if !name.is_empty() {
                query.insert(name.into_owned(), value.into_owned());
            }
        }
        let call = Call { method: parts.method, query, headers: parts.headers, body };
        let route = Route::parse(parts.uri.path());
        let answer = self.answer(&route, &call).and_then(|response| {
            if call.method != Method::GET {
                self.check_journal()?;
            }
            Ok(response)
        });
        match answer {
            Ok(response) => response,
            Err(refused) => failure(&refused),
        }
    }

    /// Refuses to acknowledge a write that cannot be written to the journal.
    fn check_journal(&self) -> Result<(), Failure> {
        match self.store.journal_error() {
            None => Ok(()),
            Some(error) => {
                let why = format!("the change cannot be kept: {error}");
                Err(Failure::new(500, "InternalError", why))
            }
        }
    }

    fn answer(&self, route: &Route, call: &Call) -> Result<Response<Body>, Failure> {
        match route {
            Route::Objects(place) => self.objects(place, call),
            Route::Health => Ok(text("ok")),
            Route::Version => Ok(json(StatusCode::OK, &crate::discovery::version())),
            Route::Core | Route::Groups | Route::Group(_) | Route::Resources { .. } => {
                self.discovery(route, call)
            }
            Route::OpenApiV2 => {
                let mut response = Response::new(full(self.open_api_v2()));
                response
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, HeaderValue::from_static(openapi2::CONTENT_TYPE));
                Ok(response)
            }
            Route::OpenApiIndex => Ok(json(StatusCode::OK, &self.open_api_index())),
            Route::OpenApi { group, version } => self.open_api(group, version),
            Route::Unknown => Err(Failure::new(
                404,
                "NotFound",
                "the server could not find the requested resource",
            )),
        }
    }

    fn discovery(&self, route: &Route, call: &Call) -> Result<Response<Body>, Failure> {
        use crate::discovery as d;
        let resources = self.store.resources();
        let aggregated = call.accepts("as=APIGroupDiscoveryList") && call.accepts("v=v2;");
        let body = match route {
            Route::Core | Route::Groups if aggregated => {
                let body = d::aggregated(&resources, matches!(route, Route::Core));
                let mut response = json(StatusCode::OK, &body);
                response
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, HeaderValue::from_static(d::AGGREGATED));
                return Ok(response);
            }
            Route::Core => d::versions(),
            Route::Groups => d::group_list(&resources),
            Route::Group(group) => d::one_group(&resources, group)?,
            Route::Resources { group, version } => d::resource_list(&resources, group, version)?,
            Route::Objects(_)
            | Route::Health
            | Route::Version
            | Route::OpenApiIndex
            | Route::OpenApiV2
            | Route::OpenApi { .. }
            | Route::Unknown => return Err(Failure::new(404, "NotFound", "not discovery")),
        };
        Ok(json(StatusCode::OK, &body))
    }

    fn group_versions(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for resource in self.store.resources() {
            for version in &resource.versions {
                let pair = (resource.id.group.clone(), version.name.clone());
                if !all.contains(&pair) {
                    all.push(pair);
                }
            }
        }
        all
    }

    fn open_api_index(&self) -> Value {
        // The documents depend on the CRDs only, so that one hash of all CRDs is enough for clients' caches.
        let hash = format!("{:X}", self.store.schema_version());
        let paths: Vec<String> =
            self.group_versions().iter().map(|(g, v)| crate::openapi::path(g, v)).collect();
        crate::openapi::index(paths.iter().map(|path| (path.as_str(), hash.as_str())))
    }

    fn open_api(&self, group: &str, version: &str) -> Result<Response<Body>, Failure> {
        let resources = self.store.resources();
        let kinds: Vec<crate::openapi::ApiKind<'_>> = resources
            .iter()
            .filter(|resource| resource.id.group == group)
            .filter_map(|resource| {
                let served = resource.version(version)?;
                Some(crate::openapi::ApiKind {
                    group,
                    version,
                    kind: &resource.kind,
                    plural: &resource.id.plural,
                    namespaced: resource.namespaced,
                    schema: resource.custom.then_some(&served.raw_schema),
                })
            })
            .collect();
        if kinds.is_empty() {
            return Err(Failure::new(
                404,
                "NotFound",
                "the server could not find the requested resource",
            ));
        }
        Ok(json(StatusCode::OK, &crate::openapi::document(kinds)))
    }
}

impl<B> tower::Service<Request<B>> for Api
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let api = self.clone();
        Box::pin(async move { Ok(api.handle(request).await) })
    }
}

/// Serves connections of the listener until dropped.
pub async fn serve(listener: TcpListener, api: Api) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Watches are many small writes.
        drop(stream.set_nodelay(true));
        let api = api.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let api = api.clone();
                async move {
                    Ok::<_, Infallible>(match origin::refusal(request.headers()) {
                        Some(refusal) => failure(&refusal),
                        None => api.handle(request).await,
                    })
                }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS_MAX)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "connection ended early");
            }
            drop(slot);
        });
    }
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

fn stream(lines: BoxStream<'static, Bytes>) -> Body {
    use futures::StreamExt;
    StreamBody::new(lines.map(|line| Ok(Frame::data(line)))).boxed_unsync()
}

fn json(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string() + "\n"));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn text(body: &'static str) -> Response<Body> {
    let mut response = Response::new(full(body));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn failure(failure: &Failure) -> Response<Body> {
    let status = StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, &failure.status())
}
