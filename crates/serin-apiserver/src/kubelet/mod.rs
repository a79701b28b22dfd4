//! What runs a pod: real processes in local mode, a script in the simulation.

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
pub use self::virtual_runtime::{Behaviour, Trouble, VirtualRuntime};

use crate::store::Clock;

/// A pod's life as a future that somebody else polls.
pub type PodLife = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs pods.
pub trait PodRuntime: Send + Sync + 'static {
    /// Runs one pod. The future ends when nothing of the pod is left running; dropping it kills what is.
    fn run(&self, job: PodJob) -> PodLife;
}

/// Where a pod's configuration is read from, at the moment it starts.
pub trait Configs: Send + Sync {
    fn config_map(&self, namespace: &str, name: &str) -> Option<Arc<Value>>;
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

/// How a pod is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// From SIGTERM to SIGKILL; zero kills at once.
    pub grace: Duration,
    /// Whether requests may still be on their way to the pod.
    pub drain: bool,
}

/// Waits until the pod is to end. A kubelet that is gone wants it to end at once.
pub(crate) async fn stopped(stop: &mut watch::Receiver<Option<Stop>>) -> Stop {
    match stop.wait_for(Option::is_some).await {
        Ok(asked) => asked.clone().unwrap_or(Stop { grace: Duration::ZERO, drain: false }),
        Err(_closed) => Stop { grace: Duration::ZERO, drain: false },
    }
}
