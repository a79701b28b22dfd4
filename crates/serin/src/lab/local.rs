//! `serin local`: a cluster in one process, for laptops, courses and the CI of release policies.

mod child;
pub mod cluster;
mod dir;
mod follow;
mod gateway;
pub mod get;
mod http_routes;
mod images;
pub mod manifest;
mod metrics;
mod options;
mod problem;
mod targets;

use std::ffi::OsString;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

pub use cluster::{Cluster, LocalError};
pub use images::{AppArgs, run_app};
pub use options::{Options, Part};

/// Flags of `serin local`.
#[derive(Clone, Debug, Args)]
pub struct LocalArgs {
    /// Keep the cluster's objects in this file, and begin with what is in it.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    #[command(flatten)]
    parts: PartArgs,
    /// Where the Kubernetes API listens. Anyone who reaches it may run programs, so it must be loopback.
    #[arg(long, value_name = "ADDRESS", default_value_t = at(8001))]
    api: SocketAddr,
    /// Where the gateway listens.
    #[arg(long, value_name = "ADDRESS", default_value_t = at(8000))]
    gateway: SocketAddr,
    /// Where the gateway's own /metrics and /api are.
    #[arg(long, value_name = "ADDRESS", default_value_t = at(8002))]
    gateway_admin: SocketAddr,
    /// Where the Prometheus API listens.
    #[arg(long, value_name = "ADDRESS", default_value_t = at(9090))]
    metrics: SocketAddr,
    /// Where the console is, for a browser. It shows everything, so it must be loopback.
    #[arg(long, value_name = "ADDRESS", default_value_t = at(8003))]
    console: SocketAddr,
    /// Do not run the operator, so that one can be run against this cluster by hand.
    #[arg(long)]
    no_operator: bool,
    /// Shortest analysis interval that is accepted, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..=3600))]
    min_interval: i64,
}

/// Which parts are real, and what runs for images.
#[derive(Clone, Debug, Args)]
pub struct PartArgs {
    /// Route with the real Traefik, found on the PATH or given by path, instead of the embedded gateway.
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = "traefik")]
    traefik: Option<PathBuf>,
    /// Measure with the real Prometheus, found on the PATH or given by path, instead of the embedded one.
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = "prometheus")]
    prometheus: Option<PathBuf>,
    /// A YAML list of `image` (a pattern with *) and `command` (with {image}, {name} and {tag}): what runs for an image.
    ///
    /// Images under local/ are the built-in sample application; a tag that ends in -bad makes it fail and slow down,
    /// one that ends in -dead fail always, and one that ends in -base08 fail 0.8 % of its requests, at random.
    #[arg(long, value_name = "FILE")]
    images: Option<PathBuf>,
}

impl PartArgs {
    /// A cluster with these parts on free ports.
    pub fn options(&self) -> anyhow::Result<Options> {
        let Self { traefik, prometheus, images } = self;
        let part = |path: &Option<PathBuf>| path.clone().map_or(Part::Embedded, Part::Real);
        let mut options =
            Options::new(std::env::current_exe().context("cannot find this program's own file")?);
        options.router = part(traefik);
        options.metrics = part(prometheus);
        if let Some(path) = images {
            options.images = images::read(path)?;
        }
        Ok(options)
    }
}

impl LocalArgs {
    fn options(self) -> anyhow::Result<Options> {
        let Self {
            data,
            parts,
            api,
            gateway,
            gateway_admin,
            metrics,
            console,
            no_operator,
            min_interval,
        } = self;
        Ok(Options {
            api,
            gateway,
            gateway_admin,
            prometheus: metrics,
            console: Some(console),
            data,
            operator: !no_operator,
            min_interval_secs: min_interval,
            ..parts.options()?
        })
    }
}

/// The command after the hidden verb that starts pods: it is taken as it is, not read as flags of ours.
pub fn pod_command(args: impl IntoIterator<Item = OsString>) -> Option<Vec<OsString>> {
    let mut args = args.into_iter().skip(1);
    (args.next()? == options::POD_EXEC).then(|| args.collect())
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Runs a cluster until Ctrl-C or SIGTERM.
pub async fn run(args: LocalArgs) -> anyhow::Result<()> {
    let operator = !args.no_operator;
    let mut cluster = Cluster::start(args.options()?).await?;
    std::io::stdout().lock().write_all(banner(&cluster, operator).as_bytes())?;
    let ended = wait(&mut cluster).await;
    cluster.stop().await;
    ended
}

/// Waits for Ctrl-C or SIGTERM; a real part that ends by itself is an error.
pub async fn wait(cluster: &mut Cluster) -> anyhow::Result<()> {
    tokio::select! {
        stopped = crate::shutdown::signal() => stopped,
        why = cluster.broken() => Err(anyhow::anyhow!(why)),
    }
}

fn banner(cluster: &Cluster, operator: bool) -> String {
    let (router, metrics) = cluster.parts();
    let [api, gateway, admin, prometheus] = [
        cluster.api_url(),
        cluster.gateway_url(),
        cluster.gateway_admin_url(),
        cluster.prometheus_url(),
    ];
    let console = cluster.console_url().unwrap_or_else(|| "none".to_owned());
    let operator = if operator { "embedded" } else { "none: run `serin controller` yourself" };
    format!(
        "A local cluster is running; Ctrl-C ends it and everything in it.

  Kubernetes API  {api}
  gateway         {gateway}  ({router}; its metrics: {admin}/metrics)
  Prometheus API  {prometheus}  ({metrics})
  operator        {operator}
  console         {console}

In another shell:

  export KUBECONFIG={kubeconfig}
  kubectl apply -f examples/sre/
  kubectl get canaries -n develop -w
  kubectl set image -n develop deployment/backend backend=local/backend:v2
  curl -i {gateway}/

",
        kubeconfig = cluster.kubeconfig().display(),
    )
}
