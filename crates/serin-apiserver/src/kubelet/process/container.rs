//! One container: its command, its runs and restarts, its probes.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::PodContext;
use super::env::{Env, EnvSources, expand};
use super::spawn::Process;
use super::volumes::Mounts;
use crate::controllers::object::{self, int, list, text};
use crate::kubelet::launcher;
use crate::kubelet::logs::{LINE_BYTES_MAX, Ring};
use crate::kubelet::probe::{self, Action, Probe};
use crate::kubelet::report::{ContainerState, Exit};
use crate::store::Clock;

/// The wait before the first restart; it doubles with each restart.
const BACK_OFF: Duration = Duration::from_secs(1);
/// The longest wait before a restart.
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// After a run of this length the wait before a restart starts again at `BACK_OFF`.
const BACK_OFF_RESET_AFTER: Duration = Duration::from_secs(600);
/// The probe period until the first success, if `periodSeconds` is longer: on a laptop pods become ready sooner.
const UNREADY_PROBE_PERIOD: Duration = Duration::from_millis(250);
/// How often a port without a probe is tried until it opens.
const PORT_POLL: Duration = Duration::from_millis(50);
/// How long the remaining output of an ended process is read.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(200);

/// The stage of a pod's termination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Not,
    Term,
    Kill,
}

pub(super) struct Container<'a> {
    pub(super) context: &'a PodContext<'a>,
    pub(super) spec: &'a Value,
    pub(super) name: &'a str,
    pub(super) init: bool,
}

/// A container that is ready to start: its command, environment and probes.
struct Prepared {
    argv: Vec<String>,
    env: Env,
    mounts: Mounts,
    probes: Probes,
    pre_stop: Option<Action>,
}

struct Probes {
    startup: Option<Probe>,
    readiness: Option<Probe>,
    liveness: Option<Probe>,
}

/// Why a container cannot be started, as the kubelet reports it.
struct StartError {
    reason: &'static str,
    message: String,
}

impl Container<'_> {
    /// Runs and restarts the container until the restart policy or the pod's termination ends it; true if the last run succeeded.
    pub(super) async fn supervise(&self) -> bool {
        let mut wait = BACK_OFF;
        loop {
            let begun = Instant::now();
            let exit = match self.prepare() {
                Ok(prepared) => self.run(&prepared).await,
                Err(error) => {
                    self.report_start_error(&error);
                    if self.wait_unless_stopped(wait).await {
                        return false;
                    }
                    wait = (wait * 2).min(BACK_OFF_MAX);
                    continue;
                }
            };
            let code = exit.code;
            self.report(|report| {
                report.ready = false;
                report.started = false;
                report.state = ContainerState::Exited(exit.clone());
            });
            if *self.context.end.borrow() != End::Not || !self.restarts(code) {
                return code == 0;
            }
            if begun.elapsed() >= BACK_OFF_RESET_AFTER {
                wait = BACK_OFF;
            }
            self.back_off(exit, wait);
            if self.wait_unless_stopped(wait).await {
                return false;
            }
            self.report(|report| report.restarts += 1);
            wait = (wait * 2).min(BACK_OFF_MAX);
        }
    }

    fn restarts(&self, code: i32) -> bool {
        match text(&self.context.job.pod, "/spec/restartPolicy") {
            "Never" => false,
            "OnFailure" => code != 0,
            _ => !self.init || code != 0,
        }
    }

    fn report(&self, change: impl FnOnce(&mut crate::kubelet::ContainerReport)) {
        self.context.job.reporter.container(self.name, change);
    }

    fn event(&self, warning: bool, reason: &'static str, message: String) {
        self.context.job.reporter.event(warning, reason, message);
    }

    /// Waits; true if the pod is terminated meanwhile.
    async fn wait_unless_stopped(&self, wait: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(wait) => false,
            () = ending(&self.context.end, End::Term) => true,
        }
    }

    fn report_start_error(&self, error: &StartError) {
        // As a kubelet does, the second ErrImagePull in a row becomes ImagePullBackOff.
        let again = |state: &ContainerState| {
            matches!(state, ContainerState::Waiting { reason: "ErrImagePull", .. })
        };
        let mut reason = error.reason;
        self.report(|report| {
            if reason == "ErrImagePull" && again(&report.state) {
                reason = "ImagePullBackOff";
            }
            report.state = ContainerState::Waiting { reason, message: error.message.clone() };
        });
        if reason == "ImagePullBackOff" {
            self.event(
                false,
                "BackOff",
                format!("Back-off pulling image {:?}", text(self.spec, "/image")),
            );
        } else {
            self.event(true, "Failed", format!("Error: {}: {}", error.reason, error.message));
        }
    }

    fn back_off(&self, exit: Exit, wait: Duration) {
        let pod = object::name(&self.context.job.pod);
        let message = format!(
            "back-off {}s restarting failed container={} pod={pod}",
            wait.as_secs(),
            self.name
        );
        self.report(|report| {
            report.last = Some(exit);
            report.state = ContainerState::Waiting { reason: "CrashLoopBackOff", message };
        });
        self.event(
            true,
            "BackOff",
            format!("Back-off restarting failed container {} in pod {pod}", self.name),
        );
    }

    fn prepare(&self) -> Result<Prepared, StartError> {
        let config = |message: String| StartError { reason: "CreateContainerConfigError", message };
        let PodContext { job, ip, dir, .. } = self.context;
        let facts = EnvSources { pod: &job.pod, ip: *ip, configs: &*job.configs };
        let mounts = Mounts::of(self.spec, dir);
        let mut env = facts.environment(self.spec).map_err(config)?;
        for value in env.values_mut() {
            *value = mounts.rewrite(value);
        }
        let argv = self.command(&env)?.iter().map(|word| mounts.rewrite(word)).collect();
        let probe = |key: &str| Probe::of(self.spec, key, *ip).map_err(config);
        let probes = Probes {
            startup: probe("startupProbe")?,
            readiness: probe("readinessProbe")?,
            liveness: probe("livenessProbe")?,
        };
        let hook = self.spec.pointer("/lifecycle/preStop").filter(|hook| hook.is_object());
        let pre_stop = hook
            .map(|hook| Action::of(hook, self.spec, *ip))
            .transpose()
            .map_err(|why| config(format!("lifecycle.preStop: {why}")))?;
        Ok(Prepared { argv, env, mounts, probes, pre_stop })
    }

    /// The container's own command, or the one that the image table has for its image.
    fn command(&self, env: &Env) -> Result<Vec<String>, StartError> {
        let words = |key: &str| {
            list(self.spec, key)
                .iter()
                .filter_map(Value::as_str)
                .map(|word| expand(word, env))
                .collect::<Vec<_>>()
        };
        let own = words("/command");
        let image = text(self.spec, "/image");
        let mut argv = if own.is_empty() {
            self.context.shared.config.images.command(image).unwrap_or_default()
        } else {
            own
        };
        if argv.is_empty() {
            let message = format!(
                "no command is known for image {image:?}: give the container a command, or map the image to one"
            );
            return Err(StartError { reason: "ErrImagePull", message });
        }
        argv.extend(words("/args"));
        Ok(argv)
    }

    fn process(&self, argv: &[String], prepared: &Prepared) -> Command {
        let launcher = &self.context.shared.config.launcher;
        let mut words = launcher.iter().cloned().chain(argv.iter().map(OsString::from));
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            .env_clear()
            .envs(&prepared.env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if !launcher.is_empty() {
            command.env(launcher::PARENT, std::process::id().to_string());
        }
        let dir = text(self.spec, "/workingDir");
        if !dir.is_empty() {
            command.current_dir(Path::new(&prepared.mounts.rewrite(dir)));
        }
        command
    }

    /// One run, from start to end.
    async fn run(&self, prepared: &Prepared) -> Exit {
        let job = self.context.job;
        let started = (job.clock)();
        let exit = |code: i32, signal: Option<i32>, message: String| Exit {
            code,
            signal,
            message,
            started,
            finished: (job.clock)(),
        };
        let mut process =
            match self.context.shared.spawner.spawn(self.process(&prepared.argv, prepared)).await {
                Ok(process) => process,
                Err(error) => {
                    let message = format!(
                        "cannot run {:?}: {error}",
                        prepared.argv.first().map_or("", String::as_str)
                    );
                    self.event(true, "Failed", format!("Error: {message}"));
                    return exit(
                        if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 },
                        None,
                        message,
                    );
                }
            };
        self.report(|report| report.state = ContainerState::Running { since: started });
        self.event(false, "Started", format!("Started container {}", self.name));
        let ring = self.context.shared.logs.begin(
            object::namespace(&job.pod),
            object::name(&job.pod),
            self.name,
        );
        let mut pumps = JoinSet::new();
        if let Some(stdout) = process.child.stdout.take() {
            pumps.spawn(copy_output(stdout, Arc::clone(&ring), Arc::clone(&job.clock)));
        }
        if let Some(stderr) = process.child.stderr.take() {
            pumps.spawn(copy_output(stderr, Arc::clone(&ring), Arc::clone(&job.clock)));
        }
        let status = self.watch_over(&mut process, prepared).await;
        let drained = async { while pumps.join_next().await.is_some() {} };
        // A process that left its process group may hold the pipes open; its output is not waited for.
        let _cut_off = tokio::time::timeout(OUTPUT_TIMEOUT, drained).await;
        ring.close();
        match status {
            Ok(status) => exit(code(status), status.signal(), String::new()),
            Err(error) => exit(255, None, error.to_string()),
        }
    }

    async fn watch_over(
        &self,
        process: &mut Process,
        prepared: &Prepared,
    ) -> std::io::Result<ExitStatus> {
        let why = tokio::select! {
            status = process.wait() => return status,
            why = self.monitor(prepared) => Some(why),
            () = ending(&self.context.end, End::Term) => None,
        };
        let grace = match why {
            Some(why) => {
                self.event(
                    false,
                    "Killing",
                    format!("Container {} {why}, will be restarted", self.name),
                );
                Duration::from_secs(
                    int(&self.context.job.pod, "/spec/terminationGracePeriodSeconds")
                        .and_then(|secs| u64::try_from(secs).ok())
                        .unwrap_or(30),
                )
            }
            // The pod's grace period decides when to kill.
            None => Duration::MAX,
        };
        if let Some(hook) = &prepared.pre_stop {
            tokio::select! {
                status = process.wait() => return status,
                done = self.act(hook, prepared) => if let Err(error) = done { self.event(true, "FailedPreStopHook", error) },
                () = ending(&self.context.end, End::Kill) => {}
            }
        }
        process.signal(Signal::TERM);
        tokio::select! {
            status = process.wait() => return status,
            () = tokio::time::sleep(grace) => {}
            () = ending(&self.context.end, End::Kill) => {}
        }
        process.signal(Signal::KILL);
        process.wait().await
    }

    /// Runs the probes while the process runs; returns why the container must be restarted.
    async fn monitor(&self, prepared: &Prepared) -> &'static str {
        let Probes { startup, readiness, liveness } = &prepared.probes;
        if let Some(startup) = startup
            && !self.until_started(startup, prepared).await
        {
            return "failed startup probe";
        }
        self.report(|report| report.started = true);
        tokio::select! {
            () = self.watch_readiness(readiness.as_ref(), prepared) => std::future::pending().await,
            () = self.until_dead(liveness.as_ref(), prepared) => "failed liveness probe",
        }
    }

    async fn until_started(&self, probe: &Probe, prepared: &Prepared) -> bool {
        tokio::time::sleep(probe.initial_delay).await;
        let (mut failures, mut counted) = (0, Instant::now());
        loop {
            match self.ask("Startup", probe, prepared).await {
                Ok(()) => return true,
                Err(why) if counted.elapsed() >= probe.period => {
                    self.event(true, "Unhealthy", why);
                    counted = Instant::now();
                    failures += 1;
                    if failures >= probe.failures {
                        return false;
                    }
                }
                Err(_early) => {}
            }
            tokio::time::sleep(UNREADY_PROBE_PERIOD.min(probe.period)).await;
        }
    }

    async fn watch_readiness(&self, probe: Option<&Probe>, prepared: &Prepared) {
        let Some(probe) = probe else {
            self.until_open().await;
            self.report(|report| report.ready = true);
            return std::future::pending().await;
        };
        tokio::time::sleep(probe.initial_delay).await;
        let (mut failures, mut successes, mut ever) = (0, 0, false);
        let mut counted = Instant::now();
        loop {
            match self.ask("Readiness", probe, prepared).await {
                Ok(()) => {
                    (failures, successes, ever) = (0, successes + 1, true);
                    if successes >= probe.successes {
                        self.report(|report| report.ready = true);
                    }
                }
                Err(why) => {
                    successes = 0;
                    if ever || counted.elapsed() >= probe.period {
                        counted = Instant::now();
                        failures += 1;
                        self.event(true, "Unhealthy", why);
                    }
                    if failures >= probe.failures {
                        self.report(|report| report.ready = false);
                    }
                }
            }
            tokio::time::sleep(if ever {
                probe.period
            } else {
                UNREADY_PROBE_PERIOD.min(probe.period)
            })
            .await;
        }
    }

    /// Without a readiness probe, a container is ready once its first port is open.
    async fn until_open(&self) {
        let port =
            int(self.spec, "/ports/0/containerPort").and_then(|port| u16::try_from(port).ok());
        let udp = text(self.spec, "/ports/0/protocol") == "UDP";
        let Some(port) = port.filter(|_| !udp && !self.init) else { return };
        while probe::tcp(&self.context.ip.to_string(), port).await.is_err() {
            tokio::time::sleep(PORT_POLL).await;
        }
    }

    async fn until_dead(&self, probe: Option<&Probe>, prepared: &Prepared) {
        let Some(probe) = probe else { return std::future::pending().await };
        tokio::time::sleep(probe.initial_delay).await;
        let mut failures = 0;
        loop {
            tokio::time::sleep(probe.period).await;
            match self.ask("Liveness", probe, prepared).await {
                Ok(()) => failures = 0,
                Err(why) => {
                    self.event(true, "Unhealthy", why);
                    failures += 1;
                }
            }
            if failures >= probe.failures {
                return;
            }
        }
    }

    async fn ask(&self, what: &str, probe: &Probe, prepared: &Prepared) -> Result<(), String> {
        let answer = tokio::time::timeout(probe.timeout, self.act(&probe.action, prepared)).await;
        let late = || Err(format!("no answer within {}s", probe.timeout.as_secs()));
        answer.unwrap_or_else(|_| late()).map_err(|why| format!("{what} probe failed: {why}"))
    }

    async fn act(&self, action: &Action, prepared: &Prepared) -> Result<(), String> {
        match action {
            Action::Http { host, port, path, headers } => {
                probe::http(host, *port, path, headers).await
            }
            Action::Tcp { host, port } => probe::tcp(host, *port).await,
            Action::Sleep(wait) => {
                tokio::time::sleep(*wait).await;
                Ok(())
            }
            Action::Exec(argv) => {
                let argv: Vec<String> =
                    argv.iter().map(|word| prepared.mounts.rewrite(word)).collect();
                let mut command = self.process(&argv, prepared);
                command.stdout(Stdio::null()).stderr(Stdio::null());
                let mut process = self
                    .context
                    .shared
                    .spawner
                    .spawn(command)
                    .await
                    .map_err(|error| format!("cannot run {argv:?}: {error}"))?;
                let status = process.wait().await.map_err(|error| error.to_string())?;
                if status.success() {
                    Ok(())
                } else {
                    Err(format!("command {argv:?} ended with {}", code(status)))
                }
            }
        }
    }
}

/// The exit code as a shell gives it: 128 plus the signal if a signal ended the process.
fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}

/// Waits until the termination has reached stage `point`: at once if the pod's task is gone.
async fn ending(end: &watch::Receiver<End>, point: End) {
    let mut end = end.clone();
    let _closed = end.wait_for(|end| *end >= point).await;
}

/// Copies the output of a process to its log, line by line.
async fn copy_output(mut from: impl AsyncRead + Unpin, ring: Arc<Ring>, clock: Clock) {
    let mut held = Vec::new();
    loop {
        let read = from.read_buf(&mut held).await;
        while let Some(at) = held
            .iter()
            .position(|byte| *byte == b'\n')
            .map(|at| at + 1)
            .or_else(|| (held.len() >= LINE_BYTES_MAX).then_some(held.len()))
        {
            let line: Vec<u8> = held.drain(..at).collect();
            ring.write(Bytes::from(line), clock());
        }
        if !matches!(read, Ok(1..)) {
            break;
        }
    }
    if !held.is_empty() {
        ring.write(Bytes::from(held), clock());
    }
}
