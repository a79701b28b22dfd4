//! Runs pods: as real processes in local mode, by a script in the simulation.

pub mod launcher;
pub mod logs;
mod probe;
pub mod process;
mod report;
mod status;
mod virtual_runtime;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

pub use self::logs::{LogError, LogOptions, LogStream, Logs};
pub use self::process::{Images, ProcessConfig, ProcessError, ProcessRuntime};
pub use self::report::{ContainerReport, ContainerState, Exit, PodReport, Reporter, Reports};
pub(crate) use self::status::pod_status;
pub use self::virtual_runtime::{Behaviour, PodFault, VirtualRuntime};

use crate::store::Clock;

/// A running pod, as a future that the caller polls.
pub type PodFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs pods.
pub trait PodRuntime: Send + Sync + 'static {
    /// Runs one pod. The future ends when all its processes have ended; dropping it kills them.
    fn run(&self, job: PodJob) -> PodFuture;
}

/// Reads the ConfigMaps and Secrets of a pod, at the moment it starts.
pub trait Configs: Send + Sync {
    /// A ConfigMap; `None` if it does not exist.
    fn config_map(&self, namespace: &str, name: &str) -> Option<Arc<Value>>;
    /// A Secret; `None` if it does not exist.
    fn secret(&self, namespace: &str, name: &str) -> Option<Arc<Value>>;
}

/// One pod to run.
pub struct PodJob {
    pub pod: Arc<Value>,
    pub configs: Arc<dyn Configs>,
    pub reporter: Reporter,
    pub clock: Clock,
    pub stop: watch::Receiver<Option<Stop>>,
}

/// How to terminate a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The time from SIGTERM to SIGKILL; zero kills at once.
    pub grace: Duration,
    /// Whether requests may still arrive at the pod, so that it has to be drained before SIGTERM.
    pub drain: bool,
}

/// Waits until the pod is to terminate: at once if the kubelet is gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<Option<Stop>>) -> Stop {
    match stop.wait_for(Option::is_some).await {
        Ok(asked) => asked.clone().unwrap_or(Stop { grace: Duration::ZERO, drain: false }),
        Err(_closed) => Stop { grace: Duration::ZERO, drain: false },
    }
}
