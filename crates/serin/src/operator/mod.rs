//! The operator as a whole: one watch on canaries, one election, one control loop while it leads.

pub mod actions;
mod answer_cache;
pub mod apply;
pub mod ask;
pub mod claims;
pub mod context;
pub mod controller;
pub mod error;
pub mod events;
pub mod leader;
pub mod memory;
pub mod notifier;
pub mod observe;
mod pods;
pub mod queue;
pub mod reconcile;
pub mod record;
mod refusal;
mod releasing;
pub mod settings;
pub mod turns;
mod write_timeout;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::Api;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cache::wake::Wake;
use crate::clock::{SharedClock, SystemClock};
use crate::http_client::{HttpClient, HttpError, ReqwestClient};
use crate::http_server::{Health, serve};
use crate::metrics::Metrics;
use crate::operator::context::Context;
use crate::operator::controller::{Canaries, lead};
use crate::operator::leader::{Election, FLAGGER_LEASE, LeaseView};
use crate::operator::settings::Settings;

/// Name of our Lease.
pub const LEASE: &str = "serin-leader-election";
/// Where Flagger's election puts its Lease unless told otherwise.
const FLAGGER_NAMESPACE: &str = "kube-system";
/// How often it is looked at while Flagger holds it.
const FLAGGER_LOOK: Duration = Duration::from_secs(10);
/// How long a stop waits for what is under way.
const STOP_WAIT: Duration = Duration::from_secs(15);

/// Everything an operator needs besides a client.
pub struct Options {
    pub settings: Settings,
    pub clock: SharedClock,
    pub http_client: Arc<dyn HttpClient>,
    /// Namespace of the Lease; without one it leads at once and alone.
    pub election: Option<String>,
    /// Where `/healthz`, `/readyz` and `/metrics` are served; nowhere without.
    pub listener: Option<TcpListener>,
    /// Default provider, for `flagger_info`.
    pub mesh_provider: String,
}

impl Options {
    /// For a laptop: alone, without a port, with analysis intervals as short as `min_interval_secs`.
    pub fn local(metrics_server: String, min_interval_secs: i64) -> Result<Self, HttpError> {
        let parse =
            serin_core::parse::Limits { min_interval_secs, ..serin_core::parse::Limits::default() };
        let providers =
            serin_providers::Settings { metrics_server, ..serin_providers::Settings::default() };
        let core =
            serin_core::step::Settings { drain_secs: 2, ..serin_core::step::Settings::default() };
        Ok(Self {
            settings: Settings {
                namespace: None,
                concurrency: 16,
                core,
                parse,
                providers,
                event_webhook: None,
                gateways: Vec::new(),
                identity_token: None,
                instance: "serin-local".to_owned(),
            },
            clock: Arc::new(SystemClock::default()),
            http_client: Arc::new(ReqwestClient::new()?),
            election: None,
            listener: None,
            mesh_provider: "traefik".to_owned(),
        })
    }
}

/// A running operator.
pub struct Operator {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    address: Option<SocketAddr>,
    context: Arc<Context>,
}

impl Operator {
    pub fn start(client: Client, options: Options) -> Self {
        let Options { settings, clock, http_client, election, listener, mesh_provider } = options;
        let (stop, stopped) = watch::channel(false);
        let metrics = Arc::new(Metrics::new(&mesh_provider));
        let health = Arc::new(Health::default());
        let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let server =
            listener.map(|l| tokio::spawn(serve(l, Arc::clone(&metrics), Arc::clone(&health))));
        let identity = settings.instance.clone();
        let context = Arc::new(Context::new(
            client.clone(),
            Wake::default(),
            Arc::clone(&clock),
            http_client,
            metrics,
            settings,
        ));
        let election = election.map(|namespace| Election {
            leases: Api::namespaced(client.clone(), &namespace),
            name: LEASE.to_owned(),
            identity,
            clock,
            busy: context.releasing.any(),
        });
        let running = Arc::clone(&context);
        let task = tokio::spawn(async move {
            run(&running, client, election, &health, stopped).await;
            if let Some(server) = server {
                server.abort();
            }
        });
        Self { stop, task, address, context }
    }

    /// Where the port is, when there is one.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Ends it as a crash would, for tests: nothing is finished, the Lease is not given back.
    pub fn kill(self) {
        self.task.abort();
    }

    /// Stops deciding, gives the Lease back, tells what is still to be told.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        drop(tokio::time::timeout(STOP_WAIT, self.task).await);
        self.context.notifier.finish().await;
    }
}

async fn run(
    context: &Arc<Context>,
    client: Client,
    election: Option<Election>,
    health: &Health,
    mut stopped: watch::Receiver<bool>,
) {
    let canaries = Canaries::watch(context);
    tokio::select! {
        biased;
        _ = stopped.wait_for(|stop| *stop) => return,
        () = canaries.wait_until_ready() => {}
    }
    health.ready.store(true, Ordering::Relaxed);
    let Some(election) = election else {
        context.metrics.set_leader(true);
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => {}
            () = lead(Arc::clone(context), &canaries) => health.broken.store(true, Ordering::Relaxed),
        }
        return;
    };
    tokio::select! {
        biased;
        _ = stopped.wait_for(|stop| *stop) => return,
        () = wait_for_flagger(&client) => {}
    }
    let (mut leads, campaign) = election.run(stopped.clone());
    loop {
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => break,
            leading = leads.wait_for(|leads| *leads) => if leading.is_err() { break },
        }
        tracing::info!("leading");
        context.metrics.set_leader(true);
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => {}
            // What was under way is dropped: everything it may still write is fenced.
            _ = leads.wait_for(|leads| !*leads) => tracing::warn!("no longer leading"),
            () = lead(Arc::clone(context), &canaries) => health.broken.store(true, Ordering::Relaxed),
        }
        context.metrics.set_leader(false);
        if *stopped.borrow() {
            break;
        }
    }
    drop(campaign.await);
}

/// Two controllers must not drive one canary: while Flagger holds its Lease we wait.
async fn wait_for_flagger(client: &Client) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), FLAGGER_NAMESPACE);
    let (mut view, mut told) = (LeaseView::default(), false);
    loop {
        // Without the right to look there is nothing to find out; the Role for it is optional.
        let lease = match leases.get_opt(FLAGGER_LEASE).await {
            Ok(Some(lease)) => lease,
            Ok(None) => return,
            Err(error) => {
                let error = crate::http_client::chain(&error);
                tracing::warn!(%error, "cannot see whether Flagger still runs in this cluster");
                return;
            }
        };
        view.see(&lease);
        let Some((holder, until)) = view.holder() else { return };
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(%holder, "Flagger holds its lease in this cluster; waiting until it has stopped");
        }
        tokio::time::sleep_until(until.min(Instant::now() + FLAGGER_LOOK)).await;
    }
}
