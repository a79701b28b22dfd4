//! A gateway that understands the Traefik objects we and our users write, serves real HTTP/1.1 and counts like Traefik.

mod admin;
pub mod balance;
pub mod config;
mod metrics;
mod mirror;
mod proxy;
pub mod rule;
mod runtime;

use parking_lot::RwLock;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use tokio::net::TcpListener;

pub use config::{Config, GatewayObjects, Problem};

use crate::http_server::Server;
use metrics::Registry;
use proxy::Proxy;
use runtime::Runtime;

/// The name of the only entry point.
pub const ENTRY_POINT: &str = "web";
/// Bounds that can tell fast answers apart; Traefik's own start at 0.1 s.
pub const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Enough for a slow answer to end, short enough for a person to wait.
const GRACE: Duration = Duration::from_secs(10);

/// Where to listen and how to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Traffic.
    pub listen: SocketAddr,
    /// `/metrics`, `/ping` and `/api`.
    pub admin: SocketAddr,
    /// Upper bounds of the duration histograms, in seconds, rising.
    pub buckets: Vec<f64>,
    /// How long a backend may take to begin its answer.
    pub response_timeout: Duration,
}

impl Options {
    pub fn new(listen: SocketAddr, admin: SocketAddr) -> Self {
        let response_timeout = Duration::from_secs(60);
        Self { listen, admin, buckets: BUCKETS.to_vec(), response_timeout }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("histogram buckets must be finite and rising")]
    Buckets,
}

/// The addresses in use, with ports chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub listen: SocketAddr,
    pub admin: SocketAddr,
}

/// A running gateway.
pub struct Gateway {
    shared: Arc<Shared>,
    traffic: Server,
    admin: Server,
}

/// What both listeners look at.
struct Shared {
    metrics: Arc<Registry>,
    runtime: RwLock<Arc<Runtime>>,
}

impl Shared {
    fn runtime(&self) -> Arc<Runtime> {
        Arc::clone(&self.runtime.read())
    }
}

impl Gateway {
    /// Listens and answers 404 until the first `update`.
    pub async fn start(options: Options) -> Result<Self, GatewayError> {
        let Options { listen, admin, buckets, response_timeout } = options;
        let rising = buckets.windows(2).all(|pair| pair[0] < pair[1]);
        if !rising || !buckets.iter().all(|bound| bound.is_finite()) {
            return Err(GatewayError::Buckets);
        }
        let open = Arc::new(AtomicI64::new(0));
        let metrics = Arc::new(Registry::new(buckets, Arc::clone(&open)));
        let runtime = RwLock::new(Arc::new(Runtime::default()));
        let shared = Arc::new(Shared { metrics, runtime });

        let proxy = Arc::new(Proxy::new(Arc::clone(&shared), response_timeout));
        let serve = move |request, peer| {
            let proxy = Arc::clone(&proxy);
            async move { proxy.serve(request, peer).await }
        };
        let traffic = bind(listen).await?;
        let traffic = Server::start(traffic, open, GRACE, serve)
            .map_err(|source| GatewayError::Listen { address: listen, source })?;

        let looked_at = Arc::clone(&shared);
        let serve = move |request, _peer| {
            let shared = Arc::clone(&looked_at);
            async move { admin::serve(&shared, &request) }
        };
        let listener = bind(admin).await?;
        let admin = Server::start(listener, Arc::new(AtomicI64::new(0)), GRACE, serve)
            .map_err(|source| GatewayError::Listen { address: admin, source })?;
        Ok(Self { shared, traffic, admin })
    }

    /// Serves these objects from the next request on; requests in flight end as they began.
    /// An update that changes nothing keeps the balancers where they are.
    pub fn update(&self, objects: &GatewayObjects) -> Vec<Problem> {
        let (config, problems) = config::build(objects);
        let current = self.shared.runtime();
        if current.generation() > 0 && current.describes(&config, &problems) {
            return problems;
        }
        let next = Arc::new(Runtime::build(config, problems.clone(), current.generation() + 1));
        *self.shared.runtime.write() = next;
        self.shared.metrics.reloaded();
        problems
    }

    pub fn addresses(&self) -> Addresses {
        Addresses { listen: self.traffic.address(), admin: self.admin.address() }
    }

    /// What the current objects ask for and do not get.
    pub fn problems(&self) -> Vec<Problem> {
        self.shared.runtime().problems().to_vec()
    }

    /// Stops listening and waits for requests in flight, within bounds.
    pub async fn shutdown(self) {
        let Self { shared: _, traffic, admin } = self;
        traffic.shutdown().await;
        admin.shutdown().await;
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, GatewayError> {
    TcpListener::bind(address).await.map_err(|source| GatewayError::Listen { address, source })
}

#[cfg(test)]
mod tests;
