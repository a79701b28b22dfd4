//! The hop to a backend: headers as a proxy must set them, and what a failed hop answers.

use std::error::Error as _;
use std::net::SocketAddr;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;

use super::Parts;
use crate::gateway::runtime::Target;
use crate::http_server::{Body, BoxError, plain};

/// Headers that concern one connection only.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What clients may not claim; Traefik trusts nobody unless told.
const FORWARDED: [&str; 9] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-forwarded-uri",
    "x-forwarded-prefix",
    "x-real-ip",
];

/// Makes a client's headers ready for the next hop.
pub(super) fn prepare(headers: &mut HeaderMap, host: &str, peer: SocketAddr) {
    let trailers = headers.get(header::TE).is_some_and(|te| te.as_bytes() == b"trailers");
    remove_hop_by_hop(headers);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    for name in FORWARDED {
        headers.remove(name);
    }
    let client = peer.ip().to_canonical().to_string();
    let port = host.rsplit_once(':').map_or("80", |(_, port)| port);
    for (name, value) in [
        ("x-forwarded-for", client.as_str()),
        ("x-forwarded-host", host),
        ("x-forwarded-port", port),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-server", "serin"),
        ("x-real-ip", client.as_str()),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Sends the request once; there are no retries.
pub(super) async fn forward(
    client: &Client<HttpConnector, Body>,
    parts: Parts,
    body: Body,
    target: &Target,
    timeout: Duration,
) -> Response<Body> {
    let Parts { method, path, query, mut headers } = parts;
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let uri: Uri = match format!("http://{}{path}{query}", target.authority).parse() {
        Ok(uri) => uri,
        Err(error) => {
            tracing::debug!(%error, "a request has no valid path");
            return plain(StatusCode::BAD_REQUEST, "Bad Request");
        }
    };
    if !target.pass_host_header {
        headers.remove(header::HOST);
    }
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    match tokio::time::timeout(timeout, client.request(request)).await {
        Err(_) => plain(StatusCode::GATEWAY_TIMEOUT, "Gateway Timeout"),
        Ok(Err(error)) => {
            tracing::debug!(backend = %target.authority, %error, cause = ?error.source(), "no answer");
            plain(StatusCode::BAD_GATEWAY, "Bad Gateway")
        }
        Ok(Ok(mut response)) => {
            remove_hop_by_hop(response.headers_mut());
            *response.version_mut() = Version::HTTP_11;
            response.map(|body| body.map_err(BoxError::from).boxed_unsync())
        }
    }
}

/// Traefik's answer when no route matches.
pub(super) fn not_found() -> Response<Body> {
    let mut response = plain(StatusCode::NOT_FOUND, "404 page not found\n");
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}
