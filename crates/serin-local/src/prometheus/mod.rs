//! A Prometheus in miniature: scrapes targets on loopback, keeps a few hours in memory, answers the query API.
//!
//! A difference test holds its answers against the real Prometheus.

pub mod api;
pub mod exposition;
pub mod history;
pub mod promql;
pub mod scrape;
pub mod store;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use scrape::Target;
use store::Store;

#[derive(Clone, Debug)]
pub struct Options {
    /// Where the query API listens; port 0 takes a free one.
    pub listen: SocketAddr,
    pub scrape_interval: Duration,
    pub retention: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum PrometheusError {
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
}

/// The samples, shared between the scraper and the queries.
#[derive(Clone)]
pub(crate) struct Shared(Arc<RwLock<Store>>);

impl Shared {
    fn new(retention: Duration) -> Self {
        let millis = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        Self(Arc::new(RwLock::new(Store::new(millis))))
    }

    // A store whose writer panicked has whole samples or none; what is there can be read.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Store> {
        self.0.read()
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Store> {
        self.0.write()
    }
}

/// A running server; dropping it stops it.
pub struct Prometheus {
    address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl Prometheus {
    /// Starts scraping what `targets` names, whenever it changes, and serving.
    pub async fn start(
        options: Options,
        targets: watch::Receiver<Vec<Target>>,
    ) -> Result<Self, PrometheusError> {
        let listen = |source| PrometheusError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let store = Shared::new(options.retention);
        let state = Arc::new(api::State { store: store.clone(), targets: targets.clone() });
        let tasks = vec![
            tokio::spawn(scrape::run(store, targets, options.scrape_interval)),
            tokio::spawn(api::serve(listener, state)),
        ];
        Ok(Self { address, tasks })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
