//! The world outside the cluster: metric servers, webhooks and chats, over one bounded HTTP client.

pub mod aws;
pub mod retry;

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, HeaderValue, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode};
use serin_core::words::{SENTENCE_MAX, line};
use serin_providers::Listening;

/// Answers longer than this are cut off and treated as an error: no metric or hook needs more.
pub const BODY_MAX: usize = 1 << 20;

/// Pages that are read piece by piece and not kept may be this long.
pub const PAGE_MAX: usize = 256 << 20;

/// A name that takes longer is not known now.
const LOOKUP_MAX: Duration = Duration::from_secs(1);

/// How one request is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOptions {
    pub timeout: Duration,
    /// Do not verify the server's certificate (`insecureSkipVerify`, `disableTLS`).
    pub insecure: bool,
    /// PEM of the authority to trust besides the system's.
    pub ca: Option<Bytes>,
    /// Proxy URL, for chats.
    pub proxy: Option<String>,
    /// The destination is named by the operator's own flags and not by an object of somebody.
    pub trusted: bool,
    /// Refuse an answer that ends with the connection: it looks whole wherever it was cut. JSON does not, pages do.
    pub framed: bool,
}

impl CallOptions {
    pub fn within(timeout: Duration) -> Self {
        Self { timeout, insecure: false, ca: None, proxy: None, trusted: false, framed: false }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the answer is too long")]
    TooLong,
    #[error("the answer does not say where it ends, so it may be cut short")]
    Unframed,
    #[error("cannot reach {host}: {why}")]
    Connect { host: String, why: String },
    #[error("cannot set up the client: {0}")]
    Setup(String),
    #[error("{host} is none of the hosts that --allow-hosts names")]
    NotAllowed { host: String },
}

/// A pod in reach answers or refuses within a fraction of this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends a request; the simulation has one of its own.
pub trait HttpClient: Send + Sync {
    fn send(
        &self,
        request: Request<Bytes>,
        options: CallOptions,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpError>>;

    /// The addresses behind a name, one for each replica; none where names are not looked up here.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Option<Vec<SocketAddr>>, HttpError>> {
        let _ = (host, port);
        Box::pin(async { Ok(None) })
    }

    /// One connection, to see whether anything listens there; unknown where that is not tried.
    fn connects(&self, address: SocketAddr) -> BoxFuture<'_, Listening> {
        let _ = address;
        Box::pin(async { Listening::Unknown })
    }

    /// Sends a request and hands the answer over in pieces, for pages too long to be kept: nothing limits them but
    /// [`PAGE_MAX`] and time. What was handed over before an
    /// error is worth nothing.
    fn read<'a>(
        &'a self,
        request: Request<Bytes>,
        options: CallOptions,
        take: &'a mut (dyn FnMut(&[u8]) + Send),
    ) -> BoxFuture<'a, Result<StatusCode, HttpError>> {
        Box::pin(async move {
            let answer = self.send(request, options).await?;
            take(answer.body());
            Ok(answer.status())
        })
    }
}

/// The real thing. One pooled client serves every plain request; special TLS or proxy settings get one each.
pub struct ReqwestClient {
    plain: reqwest::Client,
    allowed: Hosts,
}

/// Hosts that objects may send requests to. Nothing in it means every host, as in Flagger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// Names, addresses, and `*.example.com` for what is below a name.
    pub fn new(hosts: impl IntoIterator<Item = String>) -> Self {
        let hosts = hosts.into_iter().map(|host| host.trim().to_ascii_lowercase());
        Self(hosts.filter(|host| !host.is_empty()).collect())
    }

    fn allow(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let below = |of: &str| host.strip_suffix(of).is_some_and(|rest| rest.ends_with('.'));
        self.0.is_empty()
            || self.0.iter().any(|known| match known.strip_prefix("*.") {
                Some(of) => below(of),
                None => *known == host,
            })
    }
}

impl ReqwestClient {
    pub fn new() -> Result<Self, HttpError> {
        // One TLS stack for the whole process; that it is there already is no error.
        drop(rustls::crypto::ring::default_provider().install_default());
        let plain = builder().build().map_err(|error| HttpError::Setup(chain(&error)))?;
        Ok(Self { plain, allowed: Hosts::default() })
    }

    /// Objects may send requests to these hosts only.
    #[must_use]
    pub fn only(self, allowed: Hosts) -> Self {
        Self { allowed, ..self }
    }

    fn check(&self, host: &str, options: &CallOptions) -> Result<(), HttpError> {
        // A proxy is a destination as well.
        let proxy = options.proxy.as_deref().map(|proxy| {
            let uri: Option<http::Uri> = proxy.parse().ok();
            uri.and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default()
        });
        let mut hosts = std::iter::once(host).chain(proxy.as_deref());
        match hosts.find(|host| !options.trusted && !self.allowed.allow(host)) {
            Some(host) => Err(HttpError::NotAllowed { host: line(host, SENTENCE_MAX) }),
            None => Ok(()),
        }
    }

    fn client(&self, options: &CallOptions) -> Result<reqwest::Client, HttpError> {
        let CallOptions { timeout: _, insecure, ca, proxy, trusted: _, framed: _ } = options;
        if !insecure && ca.is_none() && proxy.is_none() {
            return Ok(self.plain.clone());
        }
        let setup = |error: reqwest::Error| HttpError::Setup(chain(&error));
        let mut client = builder().danger_accept_invalid_certs(*insecure);
        if let Some(pem) = ca {
            for certificate in reqwest::Certificate::from_pem_bundle(pem).map_err(setup)? {
                client = client.add_root_certificate(certificate);
            }
        }
        if let Some(url) = proxy {
            client = client.proxy(reqwest::Proxy::all(url).map_err(setup)?);
        }
        client.build().map_err(setup)
    }
}

fn builder() -> reqwest::ClientBuilder {
    // A redirect could carry credentials to another host; the peers' receivers do not redirect.
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("serin/", env!("CARGO_PKG_VERSION")))
        .pool_max_idle_per_host(4)
}

impl HttpClient for ReqwestClient {
    fn send(
        &self,
        request: Request<Bytes>,
        options: CallOptions,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpError>> {
        Box::pin(async move {
            let host = request.uri().host().unwrap_or("").to_owned();
            self.check(&host, &options)?;
            let client = self.client(&options)?;
            let answer = exchange(&client, request, &host, options.framed);
            match tokio::time::timeout(options.timeout, answer).await {
                Ok(result) => result,
                Err(_) => Err(HttpError::Timeout(options.timeout)),
            }
        })
    }

    fn connects(&self, address: SocketAddr) -> BoxFuture<'_, Listening> {
        Box::pin(async move {
            let connect = tokio::net::TcpStream::connect(address);
            match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
                Ok(Ok(_)) => Listening::Yes,
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    Listening::Refused
                }
                Ok(Err(_)) | Err(_) => Listening::Unknown,
            }
        })
    }

    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Option<Vec<SocketAddr>>, HttpError>> {
        Box::pin(async move {
            let failed = |why: String| HttpError::Connect { host: host.to_owned(), why };
            let found = tokio::time::timeout(LOOKUP_MAX, tokio::net::lookup_host((host, port)));
            let found = found.await.map_err(|_| HttpError::Timeout(LOOKUP_MAX))?;
            let all: Vec<SocketAddr> = found.map_err(|error| failed(error.to_string()))?.collect();
            // A replica with an address of each family is still one.
            let four = all.iter().any(SocketAddr::is_ipv4);
            Ok(Some(all.into_iter().filter(|address| address.is_ipv4() == four).collect()))
        })
    }

    fn read<'a>(
        &'a self,
        request: Request<Bytes>,
        options: CallOptions,
        take: &'a mut (dyn FnMut(&[u8]) + Send),
    ) -> BoxFuture<'a, Result<StatusCode, HttpError>> {
        Box::pin(async move {
            let host = request.uri().host().unwrap_or("").to_owned();
            self.check(&host, &options)?;
            let client = self.client(&options)?;
            let answer = pieces(&client, request, take, &host, options.framed);
            match tokio::time::timeout(options.timeout, answer).await {
                Ok(result) => result,
                Err(_) => Err(HttpError::Timeout(options.timeout)),
            }
        })
    }
}

async fn pieces(
    client: &reqwest::Client,
    request: Request<Bytes>,
    take: &mut (dyn FnMut(&[u8]) + Send),
    host: &str,
    framed: bool,
) -> Result<StatusCode, HttpError> {
    let connect = |error: reqwest::Error| HttpError::Connect {
        host: host.to_owned(),
        why: chain(&error.without_url()),
    };
    let request = prepared(request).map_err(connect)?;
    let mut response = client.execute(request).await.map_err(connect)?;
    expect_end(&response, PAGE_MAX, framed)?;
    let mut length = 0;
    while let Some(chunk) = response.chunk().await.map_err(connect)? {
        length += chunk.len();
        if length > PAGE_MAX {
            return Err(HttpError::TooLong);
        }
        take(&chunk);
    }
    Ok(response.status())
}

/// User and password of a URL are sent as Flagger sends them, and are in nothing that anybody prints.
fn prepared(request: Request<Bytes>) -> reqwest::Result<reqwest::Request> {
    let mut request = reqwest::Request::try_from(request)?;
    let url = request.url();
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
    let (user, password) = (decoded(url.username()), url.password().map(decoded));
    if user.is_empty() && password.is_none() {
        return Ok(request);
    }
    let both = [user, password.unwrap_or_default()].join(&b':');
    let value = format!("Basic {}", STANDARD.encode(both));
    if let Ok(mut value) = HeaderValue::from_str(&value) {
        value.set_sensitive(true);
        request.headers_mut().entry(AUTHORIZATION).or_insert(value);
    }
    // Neither fails for a URL that has a host.
    let url = request.url_mut();
    let _ = (url.set_username(""), url.set_password(None));
    Ok(request)
}

/// A URL as it may be printed: without user and password, and without the query.
pub fn shown(url: &str) -> String {
    let uri: Option<http::Uri> = url.trim().parse().ok();
    let parts =
        uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?, uri.path())));
    let Some((scheme, authority, path)) = parts else { return "a malformed URL".to_owned() };
    let place = authority.as_str().rsplit('@').next().unwrap_or_default();
    line(&format!("{scheme}://{place}{path}"), SENTENCE_MAX)
}

/// What the head of an answer says of its end.
fn expect_end(response: &reqwest::Response, max: usize, framed: bool) -> Result<(), HttpError> {
    let length = response.content_length();
    if length.is_some_and(|length| !usize::try_from(length).is_ok_and(|length| length <= max)) {
        return Err(HttpError::TooLong);
    }
    let coding = response.headers().get_all(TRANSFER_ENCODING).iter().next_back();
    let coding = coding.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let last = coding.rsplit(',').next().unwrap_or_default().trim();
    match framed && length.is_none() && !last.eq_ignore_ascii_case("chunked") {
        true => Err(HttpError::Unframed),
        false => Ok(()),
    }
}

async fn exchange(
    client: &reqwest::Client,
    request: Request<Bytes>,
    host: &str,
    framed: bool,
) -> Result<Response<Bytes>, HttpError> {
    let connect = |error: reqwest::Error| HttpError::Connect {
        host: host.to_owned(),
        why: chain(&error.without_url()),
    };
    let request = prepared(request).map_err(connect)?;
    let mut response = client.execute(request).await.map_err(connect)?;
    expect_end(&response, BODY_MAX, framed)?;
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(connect)? {
        if body.len() + chunk.len() > BODY_MAX {
            return Err(HttpError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    let mut answer = Response::new(body.freeze());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = response.headers().clone();
    Ok(answer)
}

/// An error with everything behind it, on one line. Much of it is in others' words: those of servers, proxies and admission
/// webhooks.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let refusal = refusal(cause);
        next = cause.source().filter(|_| refusal.is_none());
        let cause = refusal.unwrap_or_else(|| cause.to_string());
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    line(&text, SENTENCE_MAX)
}

/// What the API server has said, in its own words and without the client's.
fn refusal(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let boxed = error.downcast_ref::<Box<kube::Error>>().map(|boxed| &**boxed);
    match error.downcast_ref().or(boxed) {
        Some(kube::Error::Api(status)) => Some(format!("{} ({})", status.message, status.code)),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests;
