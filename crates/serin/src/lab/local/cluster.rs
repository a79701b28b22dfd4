//! A whole cluster in one process: the API, its controllers, pods as processes, a gateway, metrics and the operator.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serin_apiserver::controllers::Controllers;
use serin_apiserver::crds::{gateway_api_crds, traefik_crds};
use serin_apiserver::http::Api;
use serin_apiserver::kubelet::{Images, ProcessConfig, ProcessError, ProcessRuntime};
use serin_apiserver::snapshot::{self, SnapshotError};
use serin_apiserver::store::Store;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::dir::{DirError, RunDir};
use super::gateway::{Gateway, GatewayError};
use super::manifest::{self, ManifestError};
use super::metrics::{Metrics, MetricsError};
use super::options::{Options, launcher};
use super::{images, targets};
use crate::clock::SystemClock;
use crate::console::{Board, Live};
use crate::operator::context::Context;
use crate::operator::{Operator, Options as OperatorOptions};

/// How long a pod that is to end still serves, as a `preStop` of five seconds would make it: the gateways learn of it
/// within 200 ms, but a machine whose cores are all taken needs seconds.
const DRAIN: Duration = Duration::from_secs(5);
/// Blocks of addresses that pods may have; one cluster takes one.
const BLOCKS: u8 = 120;
/// No other's, as far as we know; on an address that no pod gets.
const CLAIM_PORT: u16 = 47_127;
/// For pods and gateways to end in order; after that they are killed.
const STOP_MAX: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error("{0} is not a loopback address, and anyone who reaches this API may run programs")]
    Open(SocketAddr),
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot make a directory to run in")]
    Dir(#[from] DirError),
    #[error("cannot load the cluster")]
    Load(#[from] SnapshotError),
    #[error("cannot install a CustomResourceDefinition")]
    Install(#[from] ManifestError),
    #[error("cannot run pods")]
    Pods(#[from] ProcessError),
    #[error("no loopback addresses are left for pods")]
    Addresses(#[source] std::io::Error),
    #[error("cannot start the gateway")]
    Gateway(#[from] GatewayError),
    #[error("cannot start the metrics")]
    Metrics(#[from] MetricsError),
    #[error("cannot start the operator")]
    Client(#[source] kube::Error),
    #[error("cannot start the operator")]
    Operator(#[source] crate::http_client::HttpError),
    #[error("cannot read the API's address")]
    Address(#[source] http::uri::InvalidUri),
}

/// A running cluster. `stop` ends it in order; dropping it kills what is left.
pub struct Cluster {
    store: Store,
    api: SocketAddr,
    gateway: Gateway,
    metrics: Metrics,
    operator: Option<Operator>,
    console: Option<SocketAddr>,
    stop_controllers: oneshot::Sender<()>,
    controllers: JoinHandle<()>,
    /// The API and what follows the store; ends with the cluster.
    tasks: JoinSet<()>,
    data: Option<snapshot::FileLock>,
    /// Hears why the cluster's objects cannot be kept.
    unsaved: oneshot::Receiver<SnapshotError>,
    dir: RunDir,
    _claim: Claim,
}

impl Cluster {
    pub async fn start(options: Options) -> Result<Self, LocalError> {
        let addresses = [options.api, options.gateway_admin, options.prometheus];
        for address in addresses.into_iter().chain(options.console) {
            if !address.ip().is_loopback() {
                return Err(LocalError::Open(address));
            }
        }
        let dir = RunDir::make()?;
        let data = options.data.as_deref().map(snapshot::FileLock::take).transpose()?;
        let store = store(data.as_ref().map(snapshot::FileLock::path)).await?;
        let (runtime, claim) = pods(&options, &dir)?;

        let mut tasks = JoinSet::new();
        let listen = |source| LocalError::Listen { address: options.api, source };
        let listener = TcpListener::bind(options.api).await.map_err(listen)?;
        let api = listener.local_addr().map_err(listen)?;
        let served = Api::new(store.clone()).with_logs(Arc::new(runtime.clone()));
        tasks.spawn(serin_apiserver::http::serve(listener, served));
        dir.write_kubeconfig(api)?;

        let (stop_controllers, stopped) = oneshot::channel::<()>();
        let controllers =
            Controllers::new(Arc::new(store.clone()), Arc::new(runtime), Arc::new(Timestamp::now));
        let controllers = tokio::spawn(controllers.run(async {
            // A cluster that is dropped wants its controllers to end as well.
            drop(stopped.await);
        }));

        let gateway = Gateway::start(&options, &store, api, dir.path(), &mut tasks).await?;
        for object in gateway.objects() {
            manifest::apply(&store, &object)?;
        }
        gateway.tell_features(&store)?;
        let (publish, wanted) = watch::channel(targets::of(&store, gateway.admin()));
        tasks.spawn(targets::follow_pods(store.clone(), gateway.admin(), publish));
        let metrics = Metrics::start(&options, wanted, dir.path(), &mut tasks).await?;
        let operator = match options.operator {
            true => {
                Some(operator(api, &metrics.url(), gateway.admin(), options.min_interval_secs)?)
            }
            false => None,
        };
        let console = match options.console {
            Some(address) => {
                Some(console(address, client(api)?, operator.as_ref(), &mut tasks).await?)
            }
            None => None,
        };
        let (tell, unsaved) = oneshot::channel();
        if let Some(claim) = &data {
            snapshot::begin(&store, claim.path())?;
            let kept = snapshot::keep(store.clone(), claim.path().to_owned());
            tasks.spawn(async move {
                // Nobody waits any more when the cluster is stopped.
                drop(tell.send(kept.await));
            });
        }
        Ok(Self {
            store,
            api,
            gateway,
            metrics,
            operator,
            console,
            stop_controllers,
            controllers,
            tasks,
            data,
            unsaved,
            dir,
            _claim: claim,
        })
    }

    /// The operator in it, if it has one.
    pub fn operator(&self) -> Option<Arc<Context>> {
        self.operator.as_ref().map(|operator| Arc::clone(operator.context()))
    }

    /// The cluster's objects, without the way through HTTP.
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn api_url(&self) -> String {
        format!("http://{}", self.api)
    }

    pub fn gateway_url(&self) -> String {
        format!("http://{}", self.gateway.traffic())
    }

    /// Where the gateway's `/metrics` and `/api` are.
    pub fn gateway_admin_url(&self) -> String {
        format!("http://{}", self.gateway.admin())
    }

    pub fn prometheus_url(&self) -> String {
        self.metrics.url()
    }

    /// Where the console is, if it has one.
    pub fn console_url(&self) -> Option<String> {
        self.console.map(|address| format!("http://{address}/"))
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.kubeconfig()
    }

    /// Logs of the real parts, and everything else that goes with the cluster.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Which program plays the gateway, and which the metrics: for people.
    pub fn parts(&self) -> (String, String) {
        (self.gateway.describe(), self.metrics.describe())
    }

    /// Waits until a real part ends by itself, which it must not, and says which. With embedded parts it waits for ever.
    pub async fn broken(&mut self) -> String {
        tokio::select! {
            why = self.gateway.broken() => why,
            why = self.metrics.broken() => why,
            Ok(error) = &mut self.unsaved => {
                let cause = std::error::Error::source(&error);
                let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
                format!("the cluster's objects are not kept: {error}{cause}")
            }
        }
    }

    /// Ends everything in order. Nothing of the cluster is left running when this returns.
    pub async fn stop(self) {
        let Self {
            store,
            operator,
            stop_controllers,
            controllers,
            gateway,
            metrics,
            mut tasks,
            data,
            ..
        } = self;
        if let Some(operator) = operator {
            operator.stop().await;
        }
        // What is on disk is the cluster as it was used, not as its pods end.
        if let Some(claim) = data
            && let Err(error) = snapshot::close(&store, claim.path()).await
        {
            tracing::error!(%error, "the cluster's state was not saved");
        }
        tasks.shutdown().await;
        let _already_ended = stop_controllers.send(());
        let abort = controllers.abort_handle();
        if tokio::time::timeout(STOP_MAX, controllers).await.is_err() {
            tracing::warn!("some pods did not end in time");
            abort.abort();
        }
        gateway.stop().await;
        metrics.stop().await;
    }
}

async fn store(data: Option<&Path>) -> Result<Store, LocalError> {
    let seed = u64::try_from(Timestamp::now().as_nanosecond() & i128::from(u64::MAX)).unwrap_or(1);
    let store = Store::new(Arc::new(Timestamp::now), seed);
    if let Some(path) = data {
        snapshot::load(&store, path).await?;
    }
    let foreign = traefik_crds().into_iter().chain(gateway_api_crds());
    for crd in serin_core::crd::crds().into_iter().chain(foreign) {
        manifest::apply(&store, &crd)?;
    }
    Ok(store)
}

fn pods(options: &Options, dir: &RunDir) -> Result<(ProcessRuntime, Claim), LocalError> {
    let table = options.images.iter().cloned().chain(images::builtin(&options.program));
    let mut config = ProcessConfig::new(Images::new(table), dir.path().join("pods"));
    config.launcher = launcher(&options.program);
    config.drain = DRAIN;
    let claim = Claim::make(config.second)?;
    config.second = claim.second;
    Ok((ProcessRuntime::new(config)?, claim))
}

/// The addresses 127.x.0.0/16 for our pods, held against other clusters on this machine by listening on one of them.
struct Claim {
    second: u8,
    _held: std::net::TcpListener,
}

impl Claim {
    /// Takes the first free block from `first` on.
    fn make(first: u8) -> Result<Self, LocalError> {
        let mut last = std::io::Error::other("no block was tried");
        for step in 0..BLOCKS {
            let second = (first - 1 + step) % BLOCKS + 1;
            match std::net::TcpListener::bind((Ipv4Addr::new(127, second, 255, 254), CLAIM_PORT)) {
                Ok(held) => return Ok(Self { second, _held: held }),
                Err(error) => last = error,
            }
        }
        Err(LocalError::Addresses(last))
    }
}

/// A client of this cluster's API.
fn client(api: SocketAddr) -> Result<kube::Client, LocalError> {
    // Plain HTTP needs none, but the client insists on one; whoever came first may have set it.
    drop(rustls::crypto::ring::default_provider().install_default());
    let url = format!("http://{api}").parse().map_err(LocalError::Address)?;
    kube::Client::try_from(kube::Config::new(url)).map_err(LocalError::Client)
}

/// The pages, with what the guards of the operator in this process know at each moment.
async fn console(
    address: SocketAddr,
    client: kube::Client,
    operator: Option<&Operator>,
    tasks: &mut JoinSet<()>,
) -> Result<SocketAddr, LocalError> {
    let listen = |source| LocalError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    let live = operator.map(|operator| Arc::clone(operator.context()) as Arc<dyn Live>);
    let board = Board::new(client, None, live, Arc::new(SystemClock::default()));
    let watching = board.clone();
    tasks.spawn(async move { watching.run().await });
    tasks.spawn(crate::console::serve(listener, board));
    Ok(bound)
}

fn operator(
    api: SocketAddr,
    prometheus: &str,
    gateway: SocketAddr,
    interval: i64,
) -> Result<Operator, LocalError> {
    let client = client(api)?;
    let mut options =
        OperatorOptions::local(prometheus.to_owned(), interval).map_err(LocalError::Operator)?;
    options.settings.gateways = vec![format!("http://{gateway}/metrics")];
    Ok(Operator::start(client, options))
}
