//! One request through the gateway: match, choose, pass on, stream back, count.

mod body;
mod forward;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header, request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;

use super::config::Middleware;
use super::metrics::{Observation, Scope};
use super::rule::{Facts, routing_host, routing_path};
use super::runtime::{BodyCopy, Choice, Runtime};
use super::{Shared, mirror};
use crate::http_server::{Body, BoxError, full, plain};
use body::{Counted, Measured};

/// A backend on this machine answers at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Traefik's own limit for idle connections to a backend.
const IDLE_MAX: usize = 200;
/// Shorter than any server in common use waits (Node: 5 s), so that no request meets a connection being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Mirrored requests under way; more are left out, because a mirror must never hold up real traffic.
const MIRRORED_MAX: usize = 256;

pub(super) struct Proxy {
    shared: Arc<Shared>,
    client: Client<HttpConnector, Body>,
    response_timeout: Duration,
    mirrored: Arc<Semaphore>,
}

/// A request taken apart, its path cleaned.
struct Parts {
    method: Method,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
}

impl Proxy {
    pub(super) fn new(shared: Arc<Shared>, response_timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Self { shared, client, response_timeout, mirrored: Arc::new(Semaphore::new(MIRRORED_MAX)) }
    }

    pub(super) async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Body> {
        let (head, body) = request.into_parts();
        let mut observation = Observation::begin(&self.shared.metrics, &head.method, &head.headers);
        observation.on(Scope::EntryPoint);
        let body =
            Counted::new(body, observation.bytes_in()).map_err(BoxError::from).boxed_unsync();
        let response = self.respond(head, body, peer, &mut observation).await;
        observation.answered(response.status());
        response.map(|body| Measured::new(body, observation).boxed_unsync())
    }

    async fn respond(
        &self,
        head: request::Parts,
        body: Body,
        peer: SocketAddr,
        observation: &mut Observation,
    ) -> Response<Body> {
        // Two could be read as one by us and as the other by whoever is behind us.
        let hosts = head.headers.get_all(header::HOST).iter().count();
        if hosts > 1 || (hosts == 0 && head.version == Version::HTTP_11) {
            return plain(StatusCode::BAD_REQUEST, "a request names exactly one Host");
        }
        let runtime = self.shared.runtime();
        let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = head
            .uri
            .authority()
            .map(http::uri::Authority::as_str)
            .or(host)
            .unwrap_or("")
            .to_owned();
        let path = routing_path(head.uri.path());
        let facts = Facts {
            method: head.method.as_str(),
            host: &routing_host(&host),
            path: &path,
            query: head.uri.query().unwrap_or(""),
            headers: &head.headers,
            client: peer.ip(),
        };
        let Some(route) = runtime.route(&facts) else {
            return forward::not_found();
        };
        let (router, service) = (Arc::clone(&route.name), Arc::clone(&route.service_name));
        observation.on(Scope::Router { router, service });
        if head.headers.contains_key(header::UPGRADE) || head.method == Method::CONNECT {
            return plain(
                StatusCode::NOT_IMPLEMENTED,
                "the embedded gateway does not upgrade connections",
            );
        }
        let query = head.uri.query().map(str::to_owned);
        let mut parts = Parts { method: head.method, path, query, headers: head.headers };
        let choice = runtime.choose(route, &parts.headers);
        forward::prepare(&mut parts.headers, &host, peer);
        for middleware in &route.middlewares {
            on_request(middleware, &mut parts);
        }
        let mut response = self.send(&runtime, parts, body, choice, observation).await;
        // Like onions, the last middleware sees the answer first.
        for middleware in route.middlewares.iter().rev() {
            on_response(middleware, response.headers_mut());
        }
        response
    }

    /// Passes the request on to the chosen server and to the mirrors.
    async fn send(
        &self,
        runtime: &Arc<Runtime>,
        parts: Parts,
        body: Body,
        choice: Choice,
        observation: &mut Observation,
    ) -> Response<Body> {
        let Choice { target, cookies, mirrors } = choice;
        let (body, copied) = match widest(&mirrors) {
            None => (body, None),
            Some(limit) => {
                let copying = mirror::copy(body, limit);
                match tokio::time::timeout(self.response_timeout, copying).await {
                    Ok(Ok((body, copied))) => (body, copied),
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "a request's body broke off");
                        return plain(StatusCode::BAD_REQUEST, "cannot read the request's body");
                    }
                    Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "Request Timeout"),
                }
            }
        };
        let copies: Vec<_> = mirrors
            .into_iter()
            .filter_map(|(service, limit)| Some((service, fitting(limit, copied.as_ref()?)?)))
            .map(|(service, bytes)| (service, parts.copy(), bytes))
            .collect();
        let mut response = match target {
            // Not counted on any service, as with Traefik.
            None => plain(StatusCode::SERVICE_UNAVAILABLE, "no available server\n"),
            Some(target) => {
                observation.on(Scope::Service(Arc::clone(&target.service)));
                forward::forward(&self.client, parts, body, &target, self.response_timeout).await
            }
        };
        for cookie in cookies {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        for (service, parts, bytes) in copies {
            self.mirror(runtime, service, parts, bytes);
        }
        response
    }

    fn mirror(&self, runtime: &Arc<Runtime>, service: usize, parts: Parts, bytes: Bytes) {
        let Ok(permit) = Arc::clone(&self.mirrored).try_acquire_owned() else {
            tracing::warn!("a request is not mirrored: {MIRRORED_MAX} are under way");
            return;
        };
        let Some(target) = runtime.choose_mirror(service, &parts.headers) else { return };
        let mut observation =
            Observation::begin(&self.shared.metrics, &parts.method, &parts.headers);
        observation.on(Scope::Service(Arc::clone(&target.service)));
        let (client, timeout) = (self.client.clone(), self.response_timeout);
        tokio::spawn(async move {
            let response = forward::forward(&client, parts, full(bytes), &target, timeout).await;
            observation.answered(response.status());
            let mut body = Measured::new(response.into_body(), observation);
            let drained = async { while let Some(Ok(_)) = body.frame().await {} };
            if tokio::time::timeout(timeout, drained).await.is_err() {
                tracing::debug!("the answer of a mirror was cut");
            }
            drop(permit);
        });
    }
}

impl Parts {
    fn copy(&self) -> Self {
        let Self { method, path, query, headers } = self;
        let (path, query) = (path.clone(), query.clone());
        Self { method: method.clone(), path, query, headers: headers.clone() }
    }
}

/// The most that any mirror wants of the body.
fn widest(mirrors: &[(usize, BodyCopy)]) -> Option<BodyCopy> {
    let sizes = mirrors.iter().map(|(_, body)| match body {
        BodyCopy::Nothing => None,
        BodyCopy::UpTo(limit) => Some(*limit),
    });
    sizes.max().map(|widest| widest.map_or(BodyCopy::Nothing, BodyCopy::UpTo))
}

fn fitting(limit: BodyCopy, copied: &Bytes) -> Option<Bytes> {
    match limit {
        BodyCopy::Nothing => Some(Bytes::new()),
        BodyCopy::UpTo(limit) => (copied.len() <= limit).then(|| copied.clone()),
    }
}

fn on_request(middleware: &Middleware, parts: &mut Parts) {
    match middleware {
        Middleware::Headers { request, response: _ } => set_all(request, &mut parts.headers),
        Middleware::StripPrefix(prefixes) => {
            let rest = prefixes.iter().find_map(|prefix| parts.path.strip_prefix(prefix.as_str()));
            if let Some(rest) = rest {
                parts.path = format!("/{}", rest.trim_start_matches('/'));
            }
        }
        Middleware::AddPrefix(prefix) => parts.path = format!("{prefix}{}", parts.path),
    }
}

fn on_response(middleware: &Middleware, headers: &mut HeaderMap) {
    match middleware {
        Middleware::Headers { request: _, response } => set_all(response, headers),
        Middleware::StripPrefix(_) | Middleware::AddPrefix(_) => {}
    }
}

fn set_all(wanted: &[(header::HeaderName, header::HeaderValue)], headers: &mut HeaderMap) {
    for (name, value) in wanted {
        if value.is_empty() {
            headers.remove(name);
        } else {
            headers.insert(name.clone(), value.clone());
        }
    }
}
