//! The command line: verbs, their arguments, and where they lead.

pub mod config;
pub mod control;
pub mod docs;
pub mod explain;
pub mod helm_values;
pub mod migrate;
pub mod rights;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use kube::{Client, Config};
use serin_core::words::line;

use crate::cli::config::{ControllerArgs, go_dashes};
use crate::clock::SystemClock;
use crate::http_client::{Hosts, ReqwestClient};
use crate::kubeconfig::ClusterArgs;
use crate::operator::settings::Settings;
use crate::operator::{Operator, Options};
use crate::telemetry;

/// Progressive delivery for Kubernetes: seconds to rollback, decided by evidence, and it says why.
#[derive(Debug, Parser)]
#[command(name = "serin", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator against a cluster.
    Controller(Box<ControllerArgs>),
    /// Run a cluster in this process: API, pods as processes, gateway, metrics and operator.
    #[cfg(feature = "laboratory")]
    Local(Box<crate::lab::local::LocalArgs>),
    /// Watch a good release being promoted and a bad one being rolled back, with nothing else installed.
    #[cfg(feature = "laboratory")]
    Demo(Box<crate::lab::demo::DemoArgs>),
    #[command(flatten)]
    Control(crate::cli::control::ControlCommand),
    /// List canaries: how each stands, its weight and why.
    Get(crate::term::GetArgs),
    /// Wait for the end of a release. Exit code 0: promoted; 1: rolled back; 2: held, or the time is over; 3: not found out.
    Status(crate::term::StatusArgs),
    /// Watch one release on the whole terminal: weights, rates with their ranges, evidence, decisions.
    #[cfg(feature = "laboratory")]
    Watch(crate::term::WatchArgs),
    /// Serve the console on this machine, with the rights of your kubeconfig: all releases, live, in a browser.
    Ui(crate::console::UiArgs),
    /// Say where a release stands and why: the last decision, its checks, and the guard's evidence.
    Explain(crate::cli::explain::ExplainArgs),
    /// Try a policy on recorded history: what its checks and its guard would have stopped, and what not.
    #[cfg(feature = "laboratory")]
    Backtest(Box<crate::backtest::BacktestArgs>),
    /// Say what a Canary would create and change, how its releases would go and what they risk, without a write.
    #[cfg(feature = "laboratory")]
    Plan(crate::plan::PlanArgs),
    /// Come from Flagger, or leave for another controller: values of its chart in those of Serin's, finalizers taken away.
    Migrate(crate::cli::migrate::MigrateArgs),
    /// Print the CustomResourceDefinitions.
    Crds,
    /// Print a script that completes commands and flags in a shell.
    Completion(crate::term::shell::CompletionArgs),
    /// Write man pages.
    Man(crate::term::shell::ManArgs),
    /// Write the generated pages and manifests, or check that they are fresh.
    Docs {
        /// Change nothing; fail when something is stale.
        #[arg(long)]
        check: bool,
    },
    /// The sample application, as pods of a local cluster run it.
    #[command(hide = true)]
    #[cfg(feature = "laboratory")]
    App(crate::lab::local::AppArgs),
}

/// The longest line of a complaint.
const LINE_MAX: usize = 4096;

/// Parses the arguments of the process and does what they say.
pub fn main() -> ExitCode {
    #[cfg(feature = "laboratory")]
    if let Some(command) = crate::lab::local::pod_command(std::env::args_os()) {
        let error = serin_apiserver::kubelet::launcher::exec(command);
        complain(&format!("error: {error}"));
        // As a shell answers for what it cannot find, and for what it cannot run.
        return ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound {
            127
        } else {
            126
        });
    }
    if called().as_deref() == Some(crate::term::shell::COMPLETER) {
        let args = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
        let args: Vec<String> = args.collect();
        drop(say(&crate::term::shell::complete(&command(), &args)));
        return ExitCode::SUCCESS;
    }
    let parsed = definition().try_get_matches_from(go_dashes(std::env::args_os()));
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    // One TLS stack; a second installation is no error worth stopping for.
    drop(rustls::crypto::ring::default_provider().install_default());
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            // A server's words may be in it; the lines are ours.
            let error = format!("{error:#}");
            let lines: Vec<String> = error.lines().map(|text| line(text, LINE_MAX)).collect();
            complain(&format!("error: {}", lines.join("\n")));
            ExitCode::FAILURE
        }
    }
}

/// The name that kubectl looks for.
const PLUGIN: &str = "kubectl-serin";

/// The name that this program was called by.
fn called() -> Option<String> {
    let called = std::env::args_os().next().map(std::path::PathBuf::from)?;
    Some(called.file_stem()?.to_string_lossy().into_owned())
}

/// The command line as it is defined.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// The command line, under the name that it was called by: as a plugin it is `kubectl serin`.
fn definition() -> clap::Command {
    let command = command();
    match called().as_deref() {
        Some(PLUGIN) => command.name(PLUGIN).bin_name("kubectl serin"),
        Some(_) | None => command,
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Controller(args) => block_on(controller(*args)),
        Command::Explain(args) => block_on(async {
            let client = Client::try_from(kubeconfig(args.kubeconfig()).await?)
                .context("cannot set up the client")?;
            say(&crate::cli::explain::run(&client, &args).await?)?;
            Ok(ExitCode::SUCCESS)
        }),
        Command::Control(command) => block_on(control(command)),
        Command::Get(args) => block_on(async {
            say(&crate::term::get(&args).await?)?;
            Ok(ExitCode::SUCCESS)
        }),
        Command::Status(args) => block_on(status(args)),
        #[cfg(feature = "laboratory")]
        Command::Watch(args) => block_on(async {
            crate::term::watch(&args).await?;
            Ok(ExitCode::SUCCESS)
        }),
        Command::Ui(args) => block_on(ui(args)),
        #[cfg(feature = "laboratory")]
        Command::Backtest(args) => block_on(async {
            let (text, tried) = crate::backtest::run(&args, &SystemClock::default()).await?;
            say(&text)?;
            anyhow::ensure!(
                tried,
                "nothing was tried: no canary had requests at the times that were named"
            );
            Ok(ExitCode::SUCCESS)
        }),
        #[cfg(feature = "laboratory")]
        Command::Plan(args) => block_on(plan(args)),
        Command::Migrate(args) => migrate(&args),
        Command::Crds => {
            say(&crate::cli::docs::crds_yaml()?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completion(args) => {
            let script = crate::term::shell::completion(definition(), &args);
            say(&String::from_utf8(script).context("the script is no text")?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man(args) => {
            say(&crate::term::shell::man(definition(), &args)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Docs { check } => crate::cli::docs::docs(check),
        #[cfg(feature = "laboratory")]
        Command::Local(args) => block_on(async {
            telemetry::start("warn,serin=info", telemetry::LogFormat::Human);
            crate::lab::local::run(*args).await?;
            Ok(ExitCode::SUCCESS)
        }),
        #[cfg(feature = "laboratory")]
        Command::Demo(args) => block_on(async {
            // The story tells what matters itself, and its picture must not be torn.
            telemetry::start("error", telemetry::LogFormat::Human);
            crate::lab::demo::run(*args).await
        }),
        #[cfg(feature = "laboratory")]
        Command::App(args) => block_on(async {
            telemetry::start("info", telemetry::LogFormat::Human);
            crate::lab::local::run_app(args).await?;
            Ok(ExitCode::SUCCESS)
        }),
    }
}

#[cfg(feature = "laboratory")]
async fn plan(args: crate::plan::PlanArgs) -> anyhow::Result<ExitCode> {
    let client = match args.kubeconfig() {
        Some(path) => {
            let config = kubeconfig(Some(path)).await?;
            Some(Client::try_from(config).context("cannot set up the client")?)
        }
        None => None,
    };
    let (text, code) = crate::plan::run(client.as_ref(), &args).await?;
    say(&text)?;
    Ok(code)
}

fn migrate(args: &crate::cli::migrate::MigrateArgs) -> anyhow::Result<ExitCode> {
    match args.helm_values() {
        Some(file) => {
            let (values, refused) = crate::cli::helm_values::run(file)?;
            say(&values)?;
            for line in &refused {
                complain(&format!("refused: {line}"));
            }
            Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        None => block_on(async {
            let client = Client::try_from(kubeconfig(args.kubeconfig()).await?)
                .context("cannot set up the client")?;
            say(&crate::cli::migrate::run(&client, args).await?)?;
            Ok(ExitCode::SUCCESS)
        }),
    }
}

async fn status(args: crate::term::StatusArgs) -> anyhow::Result<ExitCode> {
    // One is a rollback.
    crate::term::status(&args).await.or_else(|error| {
        complain(&format!("error: {}", line(&format!("{error:#}"), LINE_MAX)));
        Ok(ExitCode::from(3))
    })
}

async fn ui(args: crate::console::UiArgs) -> anyhow::Result<ExitCode> {
    telemetry::start("warn", telemetry::LogFormat::Human);
    let (client, _) = args.cluster.client().await?;
    crate::console::run(client, &args, say).await?;
    Ok(ExitCode::SUCCESS)
}

fn block_on(future: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4)))
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(future)
}

/// stdout is data.
fn say(text: &str) -> std::io::Result<()> {
    use std::io::Write;
    std::io::stdout().lock().write_all(text.as_bytes())
}

/// stderr is talk; if that is closed there is nobody to talk to.
fn complain(text: &str) {
    use std::io::Write;
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

async fn control(command: crate::cli::control::ControlCommand) -> anyhow::Result<ExitCode> {
    let (text, code) = crate::cli::control::run(&command).await?;
    say(&text)?;
    Ok(code)
}

async fn controller(args: ControllerArgs) -> anyhow::Result<ExitCode> {
    telemetry::start(&args.log_level, args.zap_encoding.into());
    let config = kubeconfig(args.kubeconfig.as_deref()).await?;
    let client = Client::try_from(config).context("cannot set up the client")?;
    let listener = crate::http_server::bind(args.listen())
        .await
        .with_context(|| format!("cannot listen on {}", args.listen()))?;
    let election = args.enable_leader_election.then(|| {
        let own = || {
            std::env::var("POD_NAMESPACE").unwrap_or_else(|_| client.default_namespace().to_owned())
        };
        args.leader_election_namespace.clone().unwrap_or_else(own)
    });
    let options = Options {
        mesh_provider: args.mesh_provider.clone(),
        settings: settings(&args)?,
        clock: Arc::new(SystemClock::default()),
        http_client: Arc::new(
            ReqwestClient::new().context("cannot set up the HTTP client")?.only(hosts(&args)),
        ),
        election,
        listener: Some(listener),
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), provider = %args.mesh_provider, "starting");
    let operator = Operator::start(client, options);
    crate::shutdown::signal().await?;
    tracing::info!("stopping");
    operator.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Where objects may send requests to.
fn hosts(args: &ControllerArgs) -> Hosts {
    let own = [Some(&args.metrics_server), args.event_webhook.as_ref()];
    let own = own.into_iter().flatten().filter_map(|url| {
        let uri: http::Uri = url.parse().ok()?;
        uri.host().map(str::to_owned)
    });
    let named = Hosts::new(args.allow_hosts.iter().cloned());
    if named == Hosts::default() {
        return named;
    }
    Hosts::new(args.allow_hosts.iter().cloned().chain(own))
}

fn settings(args: &ControllerArgs) -> anyhow::Result<Settings> {
    let defaults = serin_core::parse::Limits::default();
    crate::guard::targets(&args.gateway_metrics).map_err(anyhow::Error::msg)?;
    let aws = crate::http_client::aws::identity(|name| std::env::var(name).ok());
    Ok(Settings {
        namespace: args.namespace.clone().filter(|namespace| !namespace.is_empty()),
        concurrency: args.threadiness,
        core: serin_core::step::Settings {
            drain_secs: args.drain,
            ..serin_core::step::Settings::default()
        },
        parse: serin_core::parse::Limits {
            min_interval_secs: args.min_interval,
            provider: args.mesh_provider.clone(),
            cross_namespace: defaults.cross_namespace && !args.no_cross_namespace_refs,
        },
        providers: serin_providers::Settings {
            selector_labels: args.selector_labels.clone(),
            include_label_prefixes: args
                .include_label_prefix
                .iter()
                .filter(|p| !p.is_empty())
                .cloned()
                .collect(),
            track_configs: args.enable_config_tracking,
            cluster_name: args.cluster_name.clone(),
            aws: aws.0,
            metrics_server: args.metrics_server.clone(),
        },
        event_webhook: args.event_webhook.clone().filter(|url| !url.is_empty()),
        gateways: args.gateway_metrics.iter().filter(|part| !part.is_empty()).cloned().collect(),
        identity_token: aws.1,
        instance: instance(),
    })
}

/// Pod name or host name, and the process: unique among replicas.
fn instance() -> String {
    let host = std::env::var("POD_NAME")
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_else(|_| "serin".to_owned());
    let nanos = jiff::Timestamp::now().subsec_nanosecond();
    format!("{host}_{}-{nanos:x}", std::process::id())
}

async fn kubeconfig(path: Option<&str>) -> anyhow::Result<Config> {
    ClusterArgs { kubeconfig: path.map(str::to_owned), context: None }.config().await
}
