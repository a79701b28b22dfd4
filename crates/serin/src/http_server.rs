//! The operator's own port: `/healthz`, `/readyz` and `/metrics`.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::metrics::Metrics;

/// Probes and scrapers need a handful. The oldest makes room for the newest: a probe is answered in milliseconds, and who
/// only holds a connection open cannot keep one away.
const CONNECTIONS_MAX: usize = 128;
/// Of one address: a kubelet, a Prometheus, or somebody who opens as many as he can.
const CONNECTIONS_EACH: usize = 16;
/// A request is one packet.
const HEADER_TIMEOUT: Duration = Duration::from_secs(2);
/// Heads of probes and scrapers are shorter.
const HEAD_MAX: usize = 16 << 10;
/// When there are no descriptors left, some are given back before the next look.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What the probes ask for.
#[derive(Debug, Default)]
pub struct Health {
    /// Caches are filled: this replica could act at once.
    pub ready: AtomicBool,
    /// A task that must never end has ended.
    pub broken: AtomicBool,
}

/// The connections that are open, by age.
#[derive(Default)]
struct Connections {
    next: u64,
    open: BTreeMap<u64, (IpAddr, AbortHandle)>,
}

impl Connections {
    /// Makes room for one more from `peer`.
    fn make_room(&mut self, peer: IpAddr) {
        self.open.retain(|_, (_, task)| !task.is_finished());
        let of_peer = || self.open.iter().filter(|(_, (of, _))| *of == peer);
        let oldest = if of_peer().count() >= CONNECTIONS_EACH {
            of_peer().next()
        } else if self.open.len() >= CONNECTIONS_MAX {
            self.open.iter().next()
        } else {
            None
        };
        if let Some((_, task)) = oldest.map(|(id, _)| *id).and_then(|id| self.open.remove(&id)) {
            task.abort();
        }
    }

    fn add(&mut self, peer: IpAddr, task: AbortHandle) {
        self.open.insert(self.next, (peer, task));
        self.next += 1;
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        for (_, task) in self.open.values() {
            task.abort();
        }
    }
}

/// Serves until dropped.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, health: Arc<Health>) {
    listen(listener, move |request: Request<Incoming>| {
        let response = answer(request.uri().path(), &metrics, &health);
        async move { response }
    })
    .await;
}

/// Answers requests until dropped, with bounded connections; a body of a request is never read.
pub(crate) async fn listen<A, F>(listener: TcpListener, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let connections = Mutex::new(Connections::default());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let peer = peer.ip().to_canonical();
        let mut connections = connections.lock();
        connections.make_room(peer);
        let task = tokio::spawn(connection(stream, answer.clone()));
        connections.add(peer, task.abort_handle());
    }
}

async fn connection<A, F>(stream: TcpStream, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended early");
    }
}

fn answer(path: &str, metrics: &Metrics, health: &Health) -> Response<Full<Bytes>> {
    match path {
        "/healthz" if health.broken.load(Ordering::Relaxed) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, "a control loop has stopped".to_owned())
        }
        "/healthz" => text(StatusCode::OK, "OK".to_owned()),
        "/readyz" if health.ready.load(Ordering::Relaxed) => text(StatusCode::OK, "OK".to_owned()),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "caches are being filled".to_owned()),
        "/metrics" => {
            let mut response = text(StatusCode::OK, metrics.render());
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                header::HeaderValue::from_static(
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                ),
            );
            response
        }
        _ => text(StatusCode::NOT_FOUND, "try /healthz, /readyz or /metrics".to_owned()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}

/// Binds the operator's port.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn probe(from: &str, to: SocketAddr) -> std::io::Result<String> {
        let mut stream = connect(from, to).await?;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: serin\r\nconnection: close\r\n\r\n")
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    async fn connect(from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0))?;
        socket.connect(to).await
    }

    /// Whether the server closes it.
    async fn is_closed(stream: &mut TcpStream) -> bool {
        let mut one = [0];
        !matches!(stream.read(&mut one).await, Ok(1..))
    }

    async fn served() -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Arc::new(Metrics::new("traefik"));
        (address, tokio::spawn(serve(listener, metrics, Arc::new(Health::default()))))
    }

    #[tokio::test]
    async fn idle_connections_of_many_keep_no_probe_waiting() {
        let (address, _server) = served().await;
        let mut idle = Vec::new();
        for count in 0..400 {
            // A dozen addresses, and one that opens most of them.
            let from = if count % 4 == 0 { count % 12 + 2 } else { 1 };
            idle.push(connect(&format!("127.0.3.{from}"), address).await.unwrap());
            if count % 50 == 49 {
                for from in ["127.0.3.1", "127.0.4.1"] {
                    let answer = probe(from, address).await.unwrap();
                    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                }
            }
        }
        // The oldest had to go, and in the end all of them do: none has asked anything.
        assert!(is_closed(&mut idle[0]).await);
        for stream in &mut idle {
            assert!(is_closed(stream).await);
        }
    }

    #[tokio::test]
    async fn one_address_cannot_take_the_connections_of_another() {
        let (scraper, crowd) = ([127, 0, 4, 1].into(), [127, 0, 3, 1].into());
        let mut connections = Connections::default();
        let mut open = |peer: IpAddr| {
            connections.make_room(peer);
            connections.add(peer, tokio::spawn(std::future::pending::<()>()).abort_handle());
            let of = |peer| connections.open.values().filter(|(of, _)| *of == peer).count();
            (of(scraper), of(crowd), connections.open.len())
        };
        assert_eq!(open(scraper), (1, 0, 1));
        for _ in 0..2 * CONNECTIONS_MAX {
            open(crowd);
        }
        assert_eq!(open(crowd), (1, CONNECTIONS_EACH, CONNECTIONS_EACH + 1));
        // Of many addresses the oldest goes, and there are never more than so many.
        for last in 0..=u8::MAX {
            let (_, _, all) = open([127, 0, 5, last].into());
            assert!(all <= CONNECTIONS_MAX);
        }
        assert_eq!(open(scraper), (1, 0, CONNECTIONS_MAX));
    }
}
