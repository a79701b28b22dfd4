//! Starts processes in process groups of their own, and kills the group when the process ends.

use std::io;
use std::process::ExitStatus;
use std::sync::mpsc::{SyncSender, sync_channel};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Bound of the queue of processes to start.
const WAITING_MAX: usize = 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Starts all processes from one thread that lives as long as the runtime: the death signal of a parent is bound to the thread that forked.
pub(crate) struct Spawner {
    jobs: SyncSender<Job>,
}

impl Spawner {
    pub(crate) fn new() -> io::Result<Self> {
        let (jobs, waiting) = sync_channel::<Job>(WAITING_MAX);
        std::thread::Builder::new().name("pod-spawner".to_owned()).spawn(move || {
            for job in waiting {
                job();
            }
        })?;
        Ok(Self { jobs })
    }

    pub(crate) async fn spawn(&self, mut command: Command) -> io::Result<Process> {
        let (done, result) = oneshot::channel();
        let handle = Handle::current();
        let job = move || {
            let _runtime = handle.enter();
            let child = command.process_group(0).kill_on_drop(true).spawn();
            // If the caller is gone, dropping the handle kills the process.
            let _unheard = done.send(child.map(Process::new));
        };
        self.jobs.try_send(Box::new(job)).map_err(|error| io::Error::other(error.to_string()))?;
        result.await.map_err(io::Error::other)?
    }
}

/// A process and its group; dropping it kills them.
pub(crate) struct Process {
    pub(crate) child: Child,
    group: Option<Pid>,
}

impl Process {
    fn new(child: Child) -> Self {
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self { child, group }
    }

    /// Sends a signal to the whole group; no error if the group is gone.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(group) = self.group
            && let Err(error) = kill_process_group(group, signal)
        {
            tracing::debug!(%error, "no such process group");
        }
    }

    /// Waits for the process, then kills what is left of its group.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.signal(Signal::KILL);
        self.group = None;
        Ok(status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
