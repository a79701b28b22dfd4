//! Pods as processes of this machine, each with a loopback address of its own.

mod address;
mod container;
mod env;
mod images;
mod spawn;
mod volumes;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::future::Future;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;
use tokio::sync::watch;

pub use self::images::Images;

use self::address::{AddressLease, Addresses};
use self::container::{Container, End};
use self::spawn::Spawner;
use super::logs::{LogError, LogOptions, LogStore, LogStream, Logs};
use super::report::{ContainerReport, ContainerState};
use super::{PodFuture, PodJob, PodRuntime, Stop, stopped};
use crate::controllers::object::{self, list, text};
use crate::failure::Failure;
use crate::http::{LogRequest, LogSource};

/// The wait before the setup of a pod is tried again.
const SETUP_RETRY: Duration = Duration::from_secs(5);

/// How pods run as processes.
#[derive(Clone, Debug)]
pub struct ProcessConfig {
    pub images: Images,
    /// The command that is put before every container's command: a program that ends in [`launcher::exec`](super::launcher::exec). Empty means none; pods then survive a server that is killed.
    pub launcher: Vec<OsString>,
    /// A private directory for volumes; created if it does not exist.
    pub dir: PathBuf,
    /// How long a terminating pod still serves before SIGTERM, while gateways remove it from their backends.
    pub drain: Duration,
    /// The second octet, x, of the addresses 127.x.0.0/16.
    pub second: u8,
}

impl ProcessConfig {
    /// Defaults: no launcher, one second to drain, and a second octet derived from the process id, which other servers on this machine rarely share.
    pub fn new(images: Images, dir: PathBuf) -> Self {
        let second = u8::try_from(std::process::id() % 120 + 1).unwrap_or(1);
        Self { images, launcher: Vec::new(), dir, drain: Duration::from_secs(1), second }
    }
}

/// Why pods cannot be run as processes.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("cannot start the thread that starts pods")]
    Thread(#[source] std::io::Error),
    #[error("cannot make the directory {dir}")]
    Dir {
        dir: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// The state that all pods share.
struct Shared {
    config: ProcessConfig,
    addresses: Addresses,
    spawner: Spawner,
    logs: LogStore,
}

/// Runs pods as processes.
#[derive(Clone)]
pub struct ProcessRuntime {
    shared: Arc<Shared>,
}

impl ProcessRuntime {
    /// Creates the directory of volumes and starts the thread that starts processes.
    pub fn new(config: ProcessConfig) -> Result<Self, ProcessError> {
        volumes::private_dir(&config.dir)
            .map_err(|source| ProcessError::Dir { dir: config.dir.clone(), source })?;
        let spawner = Spawner::new().map_err(ProcessError::Thread)?;
        let addresses = Addresses::new(config.second);
        Ok(Self {
            shared: Arc::new(Shared { config, addresses, spawner, logs: LogStore::default() }),
        })
    }
}

impl Logs for ProcessRuntime {
    fn read(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        options: &LogOptions,
    ) -> Result<LogStream, LogError> {
        self.shared.logs.read(namespace, pod, container, options)
    }
}

/// Serves `kubectl logs`.
impl LogSource for ProcessRuntime {
    fn logs(&self, request: &LogRequest) -> Result<LogStream, Failure> {
        let LogRequest {
            namespace,
            pod,
            container,
            follow,
            previous,
            tail_lines,
            since,
            timestamps,
            limit_bytes,
        } = request;
        let options = LogOptions {
            follow: *follow,
            previous: *previous,
            tail_lines: *tail_lines,
            since: *since,
            timestamps: *timestamps,
            limit_bytes: *limit_bytes,
        };
        let container = container.as_deref().unwrap_or("");
        self.read(namespace, pod, container, &options)
            .map_err(|error| Failure::bad_request(error.to_string()))
    }
}

impl PodRuntime for ProcessRuntime {
    fn run(&self, job: PodJob) -> PodFuture {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { live(&shared, &job).await })
    }
}

/// A running pod with its address, directory and termination stage.
struct PodContext<'a> {
    shared: &'a Shared,
    job: &'a PodJob,
    ip: Ipv4Addr,
    dir: PathBuf,
    end: watch::Receiver<End>,
}

/// Removes the pod's files and ends its logs when dropped.
struct Cleanup<'a> {
    shared: &'a Shared,
    pod: &'a Value,
    dir: PathBuf,
}

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.dir)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, pod = object::name(self.pod), "cannot remove the pod's files");
        }
        self.shared.logs.retire(object::namespace(self.pod), object::name(self.pod));
    }
}

async fn live(shared: &Shared, job: &PodJob) {
    let pod = job.pod.as_ref();
    let report = |key: &str| {
        list(pod, key)
            .iter()
            .map(|container| ContainerReport::waiting(container, "ContainerCreating"))
            .collect()
    };
    job.reporter.update(|fresh| {
        fresh.init = report("/spec/initContainers");
        fresh.containers = report("/spec/containers");
    });
    let mut stop = job.stop.clone();
    if let Some(why) = volumes::unsupported(pod) {
        refuse(job, "CreateContainerConfigError", &why);
        stopped(&mut stop).await;
        return;
    }
    let dir = shared.config.dir.join(object::uid(pod));
    let cleanup = Cleanup { shared, pod, dir: dir.clone() };
    let (stage, end) = watch::channel(End::Not);
    let run = async {
        let mut stop = job.stop.clone();
        let lease = tokio::select! {
            lease = set_up(shared, job, &dir) => lease,
            _ = stopped(&mut stop) => return,
        };
        let context = PodContext { shared, job, ip: lease.ip, dir, end };
        job.reporter.update(|report| report.ip = Some(context.ip.to_string()));
        context.run().await;
    };
    // Once stopped, the containers end by themselves, and `run` with them.
    tokio::select! {
        () = run => {}
        () = finish(shared, &mut stop, &stage, pod) => {}
    }
    drop(cleanup);
}

/// Retries until the pod has an address and its volumes.
async fn set_up(shared: &Shared, job: &PodJob, dir: &Path) -> AddressLease {
    let ports: Vec<u16> = list(&job.pod, "/spec/containers")
        .iter()
        .flat_map(|container| list(container, "/ports"))
        .filter_map(|port| u16::try_from(port["containerPort"].as_i64()?).ok())
        .collect();
    loop {
        let ready = volumes::private_dir(dir)
            .map_err(|error| error.to_string())
            .and_then(|()| volumes::prepare(&job.pod, dir, &*job.configs));
        let why = match ready {
            Ok(()) => match shared.addresses.lease(&ports) {
                Some(lease) => return lease,
                None => "no loopback address is free on all of the pod's ports: another program may listen on 0.0.0.0".to_owned(),
            },
            Err(why) => why,
        };
        refuse(job, "CreateContainerConfigError", &why);
        tokio::time::sleep(SETUP_RETRY).await;
    }
}

fn refuse(job: &PodJob, reason: &'static str, why: &str) {
    let state = ContainerState::Waiting { reason, message: why.to_owned() };
    job.reporter.update(|report| {
        report.containers.iter_mut().for_each(|container| container.state = state.clone())
    });
    job.reporter.event(true, "Failed", why.to_owned());
}

/// Terminates a pod: drain, SIGTERM, grace period, SIGKILL. A later request for a shorter grace period applies at every step. Returns only if a container does not end.
async fn finish(
    shared: &Shared,
    stop: &mut watch::Receiver<Option<Stop>>,
    stage: &watch::Sender<End>,
    pod: &Value,
) {
    let Stop { grace, drain } = stopped(stop).await;
    stop.mark_unchanged();
    if drain && !grace.is_zero() {
        unless_sooner(shared.config.drain, stop).await;
    }
    let now = Stop { grace: Duration::ZERO, drain: false };
    let kill = grace.is_zero() || stop.borrow().as_ref().is_none_or(|asked| *asked == now);
    if !kill {
        stage.send_replace(End::Term);
        unless_sooner(grace, stop).await;
    }
    stage.send_replace(End::Kill);
    // A killed process can still hang in the kernel; its pod must not hang with it.
    tokio::time::sleep(KILL_TIMEOUT).await;
    tracing::warn!(pod = object::name(pod), "a pod's processes did not end when killed");
}

/// How long the kernel may take to end a killed process.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

async fn unless_sooner(wait: Duration, stop: &mut watch::Receiver<Option<Stop>>) {
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        _ = stop.changed() => {}
    }
}

impl PodContext<'_> {
    /// Init containers in order, then all others together.
    async fn run(&self) {
        for spec in list(&self.job.pod, "/spec/initContainers") {
            if !self.container(spec, true).supervise().await {
                return;
            }
        }
        let containers: Vec<Container<'_>> = list(&self.job.pod, "/spec/containers")
            .iter()
            .map(|spec| self.container(spec, false))
            .collect();
        join_all(containers.iter().map(supervised)).await;
    }

    fn container<'a>(&'a self, spec: &'a Value, init: bool) -> Container<'a> {
        Container { context: self, spec, name: text(spec, "/name"), init }
    }
}

fn supervised<'a>(container: &'a Container<'a>) -> impl Future<Output = bool> + Send + 'a {
    container.supervise()
}
