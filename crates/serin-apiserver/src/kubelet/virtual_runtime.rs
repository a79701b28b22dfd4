//! Pods without processes: they become ready, or fail, after delays of virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::report::{ContainerReport, ContainerState, Exit, Reporter};
use super::{PodFuture, PodJob, PodRuntime, stopped};
use crate::controllers::object;

/// The wait before the first restart after a crash; it doubles.
const BACK_OFF: Duration = Duration::from_secs(1);
/// The longest wait between two crashes.
const BACK_OFF_MAX: Duration = Duration::from_secs(60);

/// How pods of an image behave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// The time from the start to readiness, or to the crash.
    pub ready_after: Duration,
    /// The time from the termination request to the end.
    pub stops_after: Duration,
    pub trouble: Option<PodFault>,
}

/// How a virtual pod fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodFault {
    ErrImagePull,
    CrashLoop,
    NeverReady,
}

type Script = dyn Fn(&str, &Value) -> Behaviour + Send + Sync;

/// Runs pods by a script, without processes.
pub struct VirtualRuntime {
    script: Arc<Script>,
    addresses: AtomicU32,
}

impl VirtualRuntime {
    /// `script` is called once per pod, with the image of its first container and the pod object.
    pub fn new(script: impl Fn(&str, &Value) -> Behaviour + Send + Sync + 'static) -> Self {
        Self { script: Arc::new(script), addresses: AtomicU32::new(0) }
    }

    fn address(&self) -> String {
        let count = self.addresses.fetch_add(1, Ordering::Relaxed) % (250 * 250);
        format!("10.244.{}.{}", count / 250 + 1, count % 250 + 1)
    }
}

impl PodRuntime for VirtualRuntime {
    fn run(&self, job: PodJob) -> PodFuture {
        let image = object::text(&job.pod, "/spec/containers/0/image").to_owned();
        let behaviour = (self.script)(&image, &job.pod);
        let ip = self.address();
        Box::pin(async move {
            job.reporter.update(|report| {
                let containers = object::list(&job.pod, "/spec/containers").iter();
                report.containers = containers
                    .map(|container| ContainerReport::waiting(container, "ContainerCreating"))
                    .collect();
            });
            let stops_after = behaviour.stops_after;
            let mut stop = job.stop.clone();
            tokio::select! {
                biased;
                () = live(&job, &image, ip, &behaviour) => {}
                stop = stopped(&mut stop) => {
                    tokio::time::sleep(stops_after.min(stop.grace)).await;
                }
            }
        })
    }
}

/// Never ends: a virtual pod runs until it is stopped.
async fn live(job: &PodJob, image: &str, ip: String, behaviour: &Behaviour) {
    let reporter = &job.reporter;
    if behaviour.trouble == Some(PodFault::ErrImagePull) {
        tokio::time::sleep(behaviour.ready_after).await;
        each(reporter, |container| {
            container.state = ContainerState::Waiting {
                reason: "ErrImagePull",
                message: format!("cannot pull {image}"),
            }
        });
        reporter.event(true, "Failed", format!("Failed to pull image \"{image}\""));
        return std::future::pending().await;
    }
    reporter.update(|report| report.ip = Some(ip));
    let mut wait = BACK_OFF;
    loop {
        let since = (job.clock)();
        each(reporter, |container| {
            container.state = ContainerState::Running { since };
            container.started = true;
        });
        reporter.event(false, "Started", format!("Started containers of image \"{image}\""));
        tokio::time::sleep(behaviour.ready_after).await;
        match behaviour.trouble {
            None => {
                each(reporter, |container| container.ready = true);
                return std::future::pending().await;
            }
            Some(PodFault::NeverReady) => {
                reporter.event(true, "Unhealthy", "Readiness probe failed: as scripted".to_owned());
                return std::future::pending().await;
            }
            Some(PodFault::ErrImagePull) => return std::future::pending().await,
            Some(PodFault::CrashLoop) => {
                let exit = Exit {
                    code: 1,
                    signal: None,
                    message: String::new(),
                    started: since,
                    finished: (job.clock)(),
                };
                each(reporter, |container| crash(container, &exit, wait));
                reporter.event(true, "BackOff", "Back-off restarting failed container".to_owned());
                tokio::time::sleep(wait).await;
                each(reporter, |container| container.restarts += 1);
                wait = (wait * 2).min(BACK_OFF_MAX);
            }
        }
    }
}

fn crash(container: &mut ContainerReport, exit: &Exit, wait: Duration) {
    container.last = Some(exit.clone());
    container.ready = false;
    container.started = false;
    container.state = ContainerState::Waiting {
        reason: "CrashLoopBackOff",
        message: format!("back-off {}s restarting failed container", wait.as_secs()),
    };
}

fn each(reporter: &Reporter, change: impl Fn(&mut ContainerReport)) {
    reporter.update(|report| report.containers.iter_mut().for_each(change));
}
