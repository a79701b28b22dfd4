//! The metrics: the embedded Prometheus, or the real one as a child process, over the same targets.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use serin_local::prometheus::{self as embedded, Target};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::child::{self, Child, ChildError, Plan};
use super::dir::{self, DirError};
use super::options::{Options, Part, SCRAPE_EVERY};
use super::targets;

/// A day at a laptop; what is older nobody looks at.
const RETENTION: Duration = Duration::from_secs(6 * 3600);

#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("the embedded metrics do not start")]
    Embedded(#[from] embedded::PrometheusError),
    #[error("Prometheus does not start")]
    Prometheus(#[from] ChildError),
    #[error("cannot configure Prometheus")]
    Configure(#[from] DirError),
    #[error("cannot listen on {address}")]
    Port {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
}

/// Running metrics and their address.
pub(super) struct Metrics {
    kind: Kind,
    address: SocketAddr,
}

enum Kind {
    Embedded(embedded::Prometheus),
    Prometheus(Box<Child>),
}

impl Metrics {
    pub(super) async fn start(
        options: &Options,
        wanted: watch::Receiver<Vec<Target>>,
        dir: &Path,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, MetricsError> {
        match &options.metrics {
            Part::Embedded => {
                let server = embedded::Options {
                    listen: options.prometheus,
                    scrape_interval: SCRAPE_EVERY,
                    retention: RETENTION,
                };
                let server = embedded::Prometheus::start(server, wanted).await?;
                let address = server.address();
                Ok(Self { kind: Kind::Embedded(server), address })
            }
            Part::Real(program) => {
                let failed = |source| MetricsError::Port { address: options.prometheus, source };
                let address = child::free(options.prometheus).await.map_err(failed)?;
                let files = Files::write(dir, &wanted)?;
                tasks.spawn(keep(files.targets.clone(), wanted));
                let plan = Plan {
                    launcher: &options.program,
                    program,
                    args: files.flags(address, dir),
                    log: dir.join("prometheus.log"),
                    ready: format!("http://{address}/-/ready"),
                };
                let child = Child::start(plan).await?;
                Ok(Self { kind: Kind::Prometheus(Box::new(child)), address })
            }
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn describe(&self) -> String {
        match &self.kind {
            Kind::Embedded(_) => "embedded metrics".to_owned(),
            Kind::Prometheus(child) => format!("real Prometheus ({})", child.program().display()),
        }
    }

    pub(super) async fn broken(&mut self) -> String {
        match &mut self.kind {
            Kind::Embedded(_) => std::future::pending().await,
            Kind::Prometheus(child) => child.broken().await,
        }
    }

    pub(super) async fn stop(self) {
        match self.kind {
            Kind::Embedded(server) => drop(server),
            Kind::Prometheus(child) => child.stop().await,
        }
    }
}

/// What Prometheus reads.
struct Files {
    config: PathBuf,
    targets: PathBuf,
}

impl Files {
    fn write(dir: &Path, wanted: &watch::Receiver<Vec<Target>>) -> Result<Self, DirError> {
        let files = Self { config: dir.join("prometheus.yml"), targets: dir.join("targets.json") };
        let every = format!("{}s", SCRAPE_EVERY.as_secs());
        // Each target brings its job along.
        let job = json!({
            "job_name": "local",
            "file_sd_configs": [{"files": [files.targets], "refresh_interval": "5s"}],
        });
        let global = json!({"scrape_interval": every, "scrape_timeout": every});
        let config = json!({"global": global, "scrape_configs": [job]});
        dir::write(&files.config, format!("{config:#}\n").as_bytes())?;
        write_targets(&files.targets, &wanted.borrow())?;
        Ok(files)
    }

    fn flags(&self, address: SocketAddr, dir: &Path) -> Vec<String> {
        vec![
            format!("--config.file={}", self.config.display()),
            format!("--storage.tsdb.path={}", dir.join("prometheus").display()),
            format!("--storage.tsdb.retention.time={}s", RETENTION.as_secs()),
            format!("--web.listen-address={address}"),
            "--log.level=warn".to_owned(),
        ]
    }
}

fn write_targets(path: &Path, targets: &[Target]) -> Result<(), DirError> {
    dir::write(path, targets::file_sd(targets).to_string().as_bytes())
}

async fn keep(path: PathBuf, mut wanted: watch::Receiver<Vec<Target>>) {
    while wanted.changed().await.is_ok() {
        let targets = wanted.borrow_and_update().clone();
        if let Err(error) = write_targets(&path, &targets) {
            tracing::error!(%error, "Prometheus does not learn of its targets");
        }
    }
}
