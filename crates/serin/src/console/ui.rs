//! `serin ui`: the console on this machine, with the rights of a kubeconfig.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use kube::Client;
use tokio::net::TcpListener;

use super::{Board, serve};
use crate::clock::SystemClock;

/// Flags of `serin ui`.
#[derive(Clone, Debug, Args)]
pub struct UiArgs {
    /// Only this namespace; without it all, which takes the right to list Canaries in all of them.
    #[arg(short, long, env = "SERIN_NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    pub cluster: crate::kubeconfig::ClusterArgs,
    /// Where the console listens. Every client that reaches it reads what you may read, so it must be loopback.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 8003)))]
    address: SocketAddr,
}

/// Serves until Ctrl-C or SIGTERM; `say` prints where.
pub async fn run(
    client: Client,
    args: &UiArgs,
    say: impl FnOnce(&str) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let address = args.address;
    anyhow::ensure!(
        address.ip().is_loopback(),
        "{address} is not a loopback address, and every client that reaches this console reads what you may read"
    );
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr().context("cannot read the console's address")?;
    let namespace = args.namespace.clone().filter(|namespace| !namespace.is_empty());
    let board = Board::new(client, namespace, None, Arc::new(SystemClock::default()));
    say(&format!("The console is at http://{address}/ until Ctrl-C.\n"))?;
    tokio::select! {
        () = board.run() => anyhow::bail!("the watch on Canaries has ended"),
        () = serve(listener, board.clone()) => anyhow::bail!("the console has ended"),
        stopped = crate::shutdown::signal() => stopped,
    }
}
