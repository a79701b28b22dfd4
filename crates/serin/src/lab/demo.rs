//! `serin demo`: a good release that is promoted and a bad one that is rolled back, as they happen.

mod story;
mod summary;
mod view;

use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::lab::local::{self, Cluster, PartArgs};
use story::Story;
use view::View;

/// Flags of `serin demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    #[command(flatten)]
    parts: PartArgs,
    /// Leave the cluster and its traffic running at the end, and say how to look at it.
    #[arg(long)]
    keep: bool,
    /// Requests per second.
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u32).range(20..=2000))]
    rate: u32,
}

/// Tells the story; succeeds only if the good release was promoted and the bad one was rolled back.
pub async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let DemoArgs { parts, keep, rate } = args;
    let mut view = View::new(std::io::stdout().is_terminal());
    view.line(
        "Starting a local cluster: API, gateway, metrics and operator, all in this process.",
    )?;
    let console = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let mut cluster = Cluster::start(local::Options { console, ..parts.options()? }).await?;
    let (router, metrics) = cluster.parts();
    view.line(&format!("It runs with the {router} and the {metrics}."))?;
    if let Some(url) = cluster.console_url() {
        view.line(&format!("Watch it in a browser: {url}"))?;
    }
    let told = tell(&mut cluster, &mut view, rate, keep).await;
    cluster.stop().await;
    told
}

async fn tell(
    cluster: &mut Cluster,
    view: &mut View,
    rate: u32,
    keep: bool,
) -> anyhow::Result<ExitCode> {
    let story = Story::new(cluster, rate)?;
    let told = tokio::select! {
        told = story.tell(view) => told,
        ended = local::wait(cluster) => {
            ended?;
            anyhow::bail!("interrupted before the story was over");
        }
    };
    // What is on the screen stays there, whatever comes next.
    view.leave()?;
    let (summary, load) = told?;
    let mut out = std::io::stdout();
    write!(out, "\n{summary}").context("cannot write")?;
    if keep {
        write!(out, "\n{}", keeping(cluster)).context("cannot write")?;
        local::wait(cluster).await?;
    }
    load.stop().await;
    Ok(if summary.as_promised() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn keeping(cluster: &Cluster) -> String {
    format!(
        "The cluster and its traffic go on; Ctrl-C ends them. In another shell:

  export KUBECONFIG={kubeconfig}
  kubectl get canaries -n develop -w
  kubectl get canary backend -n develop -o jsonpath='{{.status.canaryWeight}}'
  kubectl set image -n develop deployment/backend backend=local/backend:v4
  kubectl describe canary backend -n develop
  curl -i {gateway}/

  console         {console}
  gateway         {gateway}
  its metrics     {admin}/metrics
  Prometheus API  {prometheus}
",
        kubeconfig = cluster.kubeconfig().display(),
        console = cluster.console_url().unwrap_or_default(),
        gateway = cluster.gateway_url(),
        admin = cluster.gateway_admin_url(),
        prometheus = cluster.prometheus_url(),
    )
}
