//! A real program that goes with the cluster: its output in a file, its end with ours.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serin_apiserver::kubelet::launcher::PARENT;
use tokio::process::{Child as Process, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::get::get;
use super::options::launcher;

/// A cold start on a busy machine.
const READY_MAX: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(50);
/// Enough of a log to see why a program gave up.
const TAIL: usize = 2000;

#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    #[error("there is no program {0}")]
    Missing(PathBuf),
    #[error("cannot run {program}")]
    Spawn {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{program} ended before it was ready:\n{tail}")]
    Ended { program: PathBuf, tail: String },
    #[error("{program} was not ready within {READY_MAX:?}:\n{tail}")]
    Late { program: PathBuf, tail: String },
}

/// What to run.
pub(super) struct Plan<'a> {
    /// This program, which ties the life of the other to its own.
    pub(super) launcher: &'a Path,
    /// A path, or a name to be looked up on the PATH.
    pub(super) program: &'a Path,
    pub(super) args: Vec<String>,
    /// Where its output goes.
    pub(super) log: PathBuf,
    /// Answers 200 once it is ready.
    pub(super) ready: String,
}

/// A running program; dropping it kills it.
pub(super) struct Child {
    process: Process,
    program: PathBuf,
    log: PathBuf,
    // The signal at a parent's death comes when the thread that started the program ends: that thread must stay.
    _thread: std::sync::mpsc::Sender<()>,
}

impl Child {
    /// Runs it and waits until it is ready.
    pub(super) async fn start(plan: Plan<'_>) -> Result<Self, ChildError> {
        let Plan { launcher: own, program, args, log, ready } = plan;
        let program = find(program).ok_or_else(|| ChildError::Missing(program.to_owned()))?;
        let failed = |source| ChildError::Spawn { program: program.clone(), source };
        let output = File::create(&log).map_err(failed)?;
        let errors = output.try_clone().map_err(failed)?;
        let words = launcher(own).into_iter().chain([OsString::from(&program)]);
        let mut words = words.chain(args.into_iter().map(OsString::from));
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            .env(PARENT, std::process::id().to_string())
            // Both would turn Traefik away from the API that it is given.
            .env_remove("KUBECONFIG")
            .env_remove("KUBERNETES_SERVICE_HOST")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // Ctrl-C in the terminal is for us; we end the others in order.
            .process_group(0)
            .kill_on_drop(true);
        let (process, thread) = spawn(command).await.map_err(failed)?;
        let mut child = Self { process, program, log, _thread: thread };
        child.until_ready(&ready).await?;
        Ok(child)
    }

    async fn until_ready(&mut self, url: &str) -> Result<(), ChildError> {
        let ready = async {
            loop {
                if let Ok((status, _)) = get(url).await
                    && status.is_success()
                {
                    return;
                }
                tokio::time::sleep(READY_POLL).await;
            }
        };
        let error = tokio::select! {
            () = ready => return Ok(()),
            _ = self.process.wait() => ChildError::Ended { program: self.program.clone(), tail: self.tail() },
            () = tokio::time::sleep(READY_MAX) => ChildError::Late { program: self.program.clone(), tail: self.tail() },
        };
        Err(error)
    }

    /// Waits for an end that nobody asked for.
    pub(super) async fn broken(&mut self) -> String {
        let end = match self.process.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        format!("{} ended by itself ({end}):\n{}", self.program.display(), self.tail())
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    pub(super) async fn stop(mut self) {
        // Its data goes with the cluster, so there is nothing that it could put in order.
        if let Err(error) = self.process.kill().await {
            tracing::warn!(%error, program = %self.program.display(), "cannot end a program");
        }
    }

    fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(TAIL)..]).into_owned()
    }
}

async fn spawn(mut command: Command) -> io::Result<(Process, std::sync::mpsc::Sender<()>)> {
    let (alive, ended) = std::sync::mpsc::channel::<()>();
    let (done, result) = oneshot::channel();
    let handle = Handle::current();
    std::thread::Builder::new().name("child".to_owned()).spawn(move || {
        let started = {
            let _runtime = handle.enter();
            command.spawn()
        };
        if done.send(started).is_ok() {
            // Nothing is ever sent: this ends when the other side is dropped.
            let _dropped = ended.recv();
        }
    })?;
    Ok((result.await.map_err(io::Error::other)??, alive))
}

/// A path as it is, a bare name looked up on the PATH.
fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|full| full.is_file())
}

/// Ports that are free now, for programs that must be told theirs.
pub(super) async fn free(address: std::net::SocketAddr) -> io::Result<std::net::SocketAddr> {
    // With a port of its own choice this finds out early whether it is taken.
    tokio::net::TcpListener::bind(address).await?.local_addr()
}

/// Every line that a program prints about its flags; empty if it cannot be asked.
pub(super) async fn help(program: &Path) -> String {
    let Some(program) = find(program) else { return String::new() };
    let output =
        Command::new(program).arg("--help").stdin(Stdio::null()).kill_on_drop(true).output();
    match tokio::time::timeout(READY_MAX, output).await {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(Err(_)) | Err(_) => String::new(),
    }
}
