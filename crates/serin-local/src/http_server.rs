//! An HTTP/1.1 listener with bounded connections and a graceful end, for the gateway and the sample application.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// More clients than any laptop story has; the rest wait in the listen queue.
const CONNECTIONS_MAX: usize = 4096;
/// A client that has not sent its header by then is not a client.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// After an accept error (too many open files) trying again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A running listener.
pub(crate) struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `handler` on `listener` until told to stop; `open` counts the open connections.
    pub(crate) fn start<F, R>(
        listener: TcpListener,
        open: Arc<AtomicI64>,
        grace: Duration,
        handler: F,
    ) -> std::io::Result<Self>
    where
        F: Fn(Request<Incoming>, SocketAddr) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(listener, open, grace, handler, stopped));
        Ok(Self { address, stop, task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener and idle connections and waits for requests in flight, at most the grace time.
    pub(crate) async fn shutdown(self) {
        let Self { address: _, stop, task } = self;
        stop.send_replace(true);
        if let Err(error) = task.await {
            tracing::debug!(%error, "the listener's task ended early");
        }
    }
}

async fn accept<F, R>(
    listener: TcpListener,
    open: Arc<AtomicI64>,
    grace: Duration,
    handler: F,
    mut stopped: watch::Receiver<bool>,
) where
    F: Fn(Request<Incoming>, SocketAddr) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let told = stopped.clone();
    loop {
        let next = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            () = told_to_stop(&mut stopped) => break,
            _ = connections.join_next(), if !connections.is_empty() => {}
            (permit, accepted) = next => match accepted {
                Ok((stream, peer)) => {
                    let counted = Counted::new(&open);
                    let serving = serve(stream, peer, handler.clone(), told.clone());
                    connections.spawn(async move {
                        serving.await;
                        drop((permit, counted));
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, drained).await.is_err() {
        tracing::warn!("connections are cut at the end of the grace time");
    }
}

async fn serve<F, R>(
    stream: TcpStream,
    peer: SocketAddr,
    handler: F,
    mut stopped: watch::Receiver<bool>,
) where
    F: Fn(Request<Incoming>, SocketAddr) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let service = service_fn(move |request| {
        let answer = handler(request, peer);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut stopping = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = told_to_stop(&mut stopped), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection broke");
    }
}

// A dropped `Server` stops as well.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    let _ended = stopped.wait_for(|stop| *stop).await.is_ok();
}

/// One open connection in the gauge, for as long as it lives.
struct Counted(Arc<AtomicI64>);

impl Counted {
    fn new(open: &Arc<AtomicI64>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body that is there at once.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A short answer of the given content type.
pub(crate) fn answer(
    status: StatusCode,
    kind: &'static str,
    text: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

/// A short answer in plain text.
pub(crate) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    answer(status, "text/plain; charset=utf-8", text)
}
