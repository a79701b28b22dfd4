//! The console over HTTP: only reading, only for this machine's own browser, without code or resources from elsewhere.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::json;
use serin_core::model::Key;
use serin_core::words::NAME_MAX;
use tokio::net::TcpListener;

use super::assets;
use super::board::Board;

/// Nothing runs and nothing is loaded but the console's own files, and nobody frames it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const API: &str = "/api/v1/";

type Answer = Response<Full<Bytes>>;

/// Serves until dropped.
pub async fn serve(listener: TcpListener, board: Board) {
    let port = listener.local_addr().map(|address| address.port()).unwrap_or_default();
    crate::http_server::listen(listener, move |request| {
        let board = board.clone();
        async move { secured(answer(&request, port, &board).await) }
    })
    .await;
}

/// Whether a request is of a page of ours, or of somebody who types: a name that leads here from elsewhere (DNS rebinding) and a
/// page of another site get nothing.
pub(super) fn is_ours(headers: &HeaderMap, port: u16) -> bool {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let Some(host) = text(&header::HOST) else { return false };
    let named = ["127.0.0.1", "localhost", "[::1]"];
    if !named.iter().any(|name| host == format!("{name}:{port}")) {
        return false;
    }
    if text(&header::ORIGIN).is_some_and(|origin| origin != format!("http://{host}")) {
        return false;
    }
    let site = text(&HeaderName::from_static("sec-fetch-site"));
    let mode = text(&HeaderName::from_static("sec-fetch-mode"));
    // A link in a chat may lead here; what is shown stays here.
    matches!(site, None | Some("same-origin" | "none")) || mode == Some("navigate")
}

async fn answer<B>(request: &Request<B>, port: u16, board: &Board) -> Answer {
    if !is_ours(request.headers(), port) {
        let text = "This console answers to the browser of its own machine, at the address that was printed.";
        return refused(StatusCode::FORBIDDEN, text);
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "This console only reads.");
    }
    let path = request.uri().path();
    if let Some(asset) = assets::find(path) {
        return body(StatusCode::OK, asset.kind, asset.text.to_owned());
    }
    match path.strip_prefix(API) {
        Some("fleet") => fleet(request, board),
        Some(rest) => match rest.strip_prefix("releases/").and_then(key) {
            Some(key) => release(request, board, &key).await,
            None => refused(StatusCode::NOT_FOUND, "There is no such feed."),
        },
        None => refused(StatusCode::NOT_FOUND, "There is no such page."),
    }
}

/// Namespace and name of a path.
fn key(path: &str) -> Option<Key> {
    let (namespace, name) = path.split_once('/')?;
    let decode = |part: &str| {
        let part = percent_decode_str(part).decode_utf8().ok()?;
        let named = !part.is_empty() && part.len() <= NAME_MAX;
        let plain = part.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
        (named && plain).then(|| part.into_owned())
    };
    Some(Key { namespace: decode(namespace)?, name: decode(name)? })
}

fn fleet<B>(request: &Request<B>, board: &Board) -> Answer {
    let query = request.uri().query().unwrap_or_default();
    let since = query.split('&').find_map(|pair| pair.strip_prefix("since=")?.parse().ok());
    document(&board.fleet(since))
}

async fn release<B>(request: &Request<B>, board: &Board, key: &Key) -> Answer {
    let Some(mut view) = board.release(key).await else {
        let (trouble, listed) = board.standing();
        return match (trouble, listed) {
            (Some(why), _) => refused(StatusCode::BAD_GATEWAY, &why),
            (None, true) => refused(StatusCode::NOT_FOUND, &format!("There is no Canary {key}.")),
            (None, false) => {
                refused(StatusCode::SERVICE_UNAVAILABLE, "The list of Canaries is being read.")
            }
        };
    };
    // Time passes without news.
    let now = std::mem::take(&mut view.now);
    let tag = serde_json::to_string(&view).map(|text| tag(&text));
    view.now = now;
    let Ok(tag) = tag else {
        return refused(StatusCode::INTERNAL_SERVER_ERROR, "This release cannot be written down.");
    };
    if request.headers().get(header::IF_NONE_MATCH).is_some_and(|known| *known == tag) {
        return body(StatusCode::NOT_MODIFIED, "application/json", String::new());
    }
    let mut answer = document(&view);
    answer.headers_mut().insert(header::ETAG, tag);
    answer
}

fn tag(text: &str) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    HeaderValue::from_str(&format!("\"{:016x}\"", hasher.finish()))
        .unwrap_or(HeaderValue::from_static("\"0\""))
}

fn document(value: &impl Serialize) -> Answer {
    match serde_json::to_string(value) {
        Ok(text) => body(StatusCode::OK, "application/json", text),
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn refused(status: StatusCode, why: &str) -> Answer {
    body(status, "application/json", json!({"error": why}).to_string())
}

fn body(status: StatusCode, kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn secured(mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    let all = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in all {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}
