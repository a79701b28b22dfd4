//! The world outside the cluster: metric servers, webhooks and chats, over one bounded HTTP client.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::header::TRANSFER_ENCODING;
use http::{Request, Response, StatusCode};

/// Answers longer than this are cut off and treated as an error: no metric or hook needs more.
pub const BODY_MAX: usize = 1 << 20;

/// Pages that are read piece by piece and not kept may be this long.
pub const PAGE_MAX: usize = 64 << 20;

/// A name that takes longer is not known now.
const LOOKUP_MAX: Duration = Duration::from_secs(1);

/// How one request is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manner {
    pub timeout: Duration,
    /// Do not verify the server's certificate (`insecureSkipVerify`, `disableTLS`).
    pub insecure: bool,
    /// PEM of the authority to trust besides the system's.
    pub ca: Option<Bytes>,
    /// Proxy URL, for chats.
    pub proxy: Option<String>,
    /// Refuse an answer that ends with the connection: it looks whole wherever it was cut. JSON does not, pages do.
    pub framed: bool,
}

impl Manner {
    pub fn within(timeout: Duration) -> Self {
        Self { timeout, insecure: false, ca: None, proxy: None, framed: false }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
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
}

/// Sends a request; the simulation has one of its own.
pub trait Outside: Send + Sync {
    fn send(
        &self,
        request: Request<Bytes>,
        manner: Manner,
    ) -> BoxFuture<'_, Result<Response<Bytes>, OutsideError>>;

    /// The addresses behind a name, one for each replica; none where names are not looked up here.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Option<Vec<SocketAddr>>, OutsideError>> {
        let _ = (host, port);
        Box::pin(async { Ok(None) })
    }

    /// Sends a request and hands the answer over in pieces, for pages too long to be kept. What was handed over before an
    /// error is worth nothing.
    fn read<'a>(
        &'a self,
        request: Request<Bytes>,
        manner: Manner,
        take: &'a mut (dyn FnMut(&[u8]) + Send),
    ) -> BoxFuture<'a, Result<StatusCode, OutsideError>> {
        Box::pin(async move {
            let answer = self.send(request, manner).await?;
            take(answer.body());
            Ok(answer.status())
        })
    }
}

/// The real thing. One pooled client serves every plain request; special TLS or proxy settings get one each.
pub struct HttpOutside {
    plain: reqwest::Client,
}

impl HttpOutside {
    pub fn new() -> Result<Self, OutsideError> {
        // One TLS stack for the whole process; that it is there already is no error.
        drop(rustls::crypto::ring::default_provider().install_default());
        Ok(Self { plain: builder().build().map_err(|error| OutsideError::Setup(chain(&error)))? })
    }

    fn client(&self, manner: &Manner) -> Result<reqwest::Client, OutsideError> {
        let Manner { timeout: _, insecure, ca, proxy, framed: _ } = manner;
        if !insecure && ca.is_none() && proxy.is_none() {
            return Ok(self.plain.clone());
        }
        let setup = |error: reqwest::Error| OutsideError::Setup(chain(&error));
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

impl Outside for HttpOutside {
    fn send(
        &self,
        request: Request<Bytes>,
        manner: Manner,
    ) -> BoxFuture<'_, Result<Response<Bytes>, OutsideError>> {
        Box::pin(async move {
            let client = self.client(&manner)?;
            let host = request.uri().host().unwrap_or("").to_owned();
            let answer = exchange(&client, request, &host, manner.framed);
            match tokio::time::timeout(manner.timeout, answer).await {
                Ok(result) => result,
                Err(_) => Err(OutsideError::Timeout(manner.timeout)),
            }
        })
    }

    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Option<Vec<SocketAddr>>, OutsideError>> {
        Box::pin(async move {
            let failed = |why: String| OutsideError::Connect { host: host.to_owned(), why };
            let found = tokio::time::timeout(LOOKUP_MAX, tokio::net::lookup_host((host, port)));
            let found = found.await.map_err(|_| OutsideError::Timeout(LOOKUP_MAX))?;
            let all: Vec<SocketAddr> = found.map_err(|error| failed(error.to_string()))?.collect();
            // A replica with an address of each family is still one.
            let four = all.iter().any(SocketAddr::is_ipv4);
            Ok(Some(all.into_iter().filter(|address| address.is_ipv4() == four).collect()))
        })
    }

    fn read<'a>(
        &'a self,
        request: Request<Bytes>,
        manner: Manner,
        take: &'a mut (dyn FnMut(&[u8]) + Send),
    ) -> BoxFuture<'a, Result<StatusCode, OutsideError>> {
        Box::pin(async move {
            let client = self.client(&manner)?;
            let host = request.uri().host().unwrap_or("").to_owned();
            let answer = pieces(&client, request, take, &host, manner.framed);
            match tokio::time::timeout(manner.timeout, answer).await {
                Ok(result) => result,
                Err(_) => Err(OutsideError::Timeout(manner.timeout)),
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
) -> Result<StatusCode, OutsideError> {
    let connect = |error: reqwest::Error| OutsideError::Connect {
        host: host.to_owned(),
        why: chain(&error.without_url()),
    };
    let request = reqwest::Request::try_from(request).map_err(connect)?;
    let mut response = client.execute(request).await.map_err(connect)?;
    expect_end(&response, PAGE_MAX, framed)?;
    let mut length = 0;
    while let Some(chunk) = response.chunk().await.map_err(connect)? {
        length += chunk.len();
        if length > PAGE_MAX {
            return Err(OutsideError::TooLong);
        }
        take(&chunk);
    }
    Ok(response.status())
}

/// What the head of an answer says of its end.
fn expect_end(response: &reqwest::Response, max: usize, framed: bool) -> Result<(), OutsideError> {
    let length = response.content_length();
    if length.is_some_and(|length| !usize::try_from(length).is_ok_and(|length| length <= max)) {
        return Err(OutsideError::TooLong);
    }
    let coding = response.headers().get_all(TRANSFER_ENCODING).iter().next_back();
    let coding = coding.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let last = coding.rsplit(',').next().unwrap_or_default().trim();
    match framed && length.is_none() && !last.eq_ignore_ascii_case("chunked") {
        true => Err(OutsideError::Unframed),
        false => Ok(()),
    }
}

async fn exchange(
    client: &reqwest::Client,
    request: Request<Bytes>,
    host: &str,
    framed: bool,
) -> Result<Response<Bytes>, OutsideError> {
    let connect = |error: reqwest::Error| OutsideError::Connect {
        host: host.to_owned(),
        why: chain(&error.without_url()),
    };
    let request = reqwest::Request::try_from(request).map_err(connect)?;
    let mut response = client.execute(request).await.map_err(connect)?;
    expect_end(&response, BODY_MAX, framed)?;
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(connect)? {
        if body.len() + chunk.len() > BODY_MAX {
            return Err(OutsideError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    let mut answer = Response::new(body.freeze());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = response.headers().clone();
    Ok(answer)
}

/// An error with everything behind it, on one line.
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
    text
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
