//! A Prometheus in miniature: scrapes targets on loopback, keeps a few hours in memory, answers the query API.
//!
//! Storage and PromQL are the `tsink` crate's. A difference test holds its answers against the real Prometheus.

pub mod api;
pub mod exposition;
mod naming;
pub mod scrape;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tsink::promql::Engine;
use tsink::{Storage, StorageBuilder, TimestampPrecision};

pub use scrape::Target;

/// Series in memory; more than this are refused by the storage, and the scrape says so.
const SERIES_MAX: usize = 100_000;
const MEMORY_MAX: usize = 256 << 20;

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
    #[error("cannot open the metrics storage")]
    Storage(#[source] tsink::TsinkError),
}

/// Samples and the engine that answers for them.
#[derive(Clone)]
pub(crate) struct Series {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) engine: Arc<Engine>,
}

impl Series {
    pub(crate) fn open(retention: Duration) -> Result<Self, PrometheusError> {
        let storage = StorageBuilder::new()
            .with_timestamp_precision(TimestampPrecision::Milliseconds)
            .with_retention(retention)
            .with_cardinality_limit(SERIES_MAX)
            .with_memory_limit(MEMORY_MAX)
            .with_wal_enabled(false)
            .build()
            .map_err(PrometheusError::Storage)?;
        let engine = Engine::with_precision(Arc::clone(&storage), TimestampPrecision::Milliseconds);
        Ok(Self { storage, engine: Arc::new(engine) })
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
        let series = Series::open(options.retention)?;
        let state = Arc::new(api::State { series: series.clone(), targets: targets.clone() });
        let tasks = vec![
            tokio::spawn(scrape::run(series, targets, options.scrape_interval)),
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
