//! The way in: the embedded gateway fed from the store, or the real Traefik as a child process.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use serin_apiserver::failure::Failure;
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{Store, Sub, WriteOptions};
use serin_local::gateway::{self as embedded, GatewayObjects, Problem};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::child::{self, Child, ChildError, Plan};
use super::follow::follow;
use super::http_routes;
use super::options::{Options, Part};

/// For the rest of a set of files to be applied, and for the operator to make what they refer to.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("the embedded gateway does not start")]
    Embedded(#[from] embedded::GatewayError),
    #[error("Traefik does not start")]
    Traefik(#[from] ChildError),
    #[error("cannot say what the gateway does")]
    Class(#[source] Failure),
    #[error("cannot listen on {address}")]
    Port {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
}

/// A running gateway and its addresses.
pub(super) struct Gateway {
    kind: Kind,
    traffic: SocketAddr,
    admin: SocketAddr,
}

enum Kind {
    Embedded(Arc<embedded::Gateway>),
    Traefik(Box<Child>),
}

impl Gateway {
    /// Starts the gateway that the options name; what keeps it up to date goes into `tasks`.
    pub(super) async fn start(
        options: &Options,
        store: &Store,
        api: SocketAddr,
        dir: &Path,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, GatewayError> {
        match &options.router {
            Part::Embedded => {
                let wanted = embedded::Options::new(options.gateway, options.gateway_admin);
                let gateway = Arc::new(embedded::Gateway::start(wanted).await?);
                let embedded::Addresses { listen, admin } = gateway.addresses();
                tasks.spawn(feed(store.clone(), Arc::clone(&gateway)));
                Ok(Self { kind: Kind::Embedded(gateway), traffic: listen, admin })
            }
            Part::Real(program) => {
                let port = |address| async move {
                    child::free(address)
                        .await
                        .map_err(|source| GatewayError::Port { address, source })
                };
                let traffic = port(options.gateway).await?;
                let admin = port(options.gateway_admin).await?;
                let safe_naming = child::help(program).await.to_lowercase().contains("safenaming");
                let plan = Plan {
                    launcher: &options.program,
                    program,
                    args: flags(traffic, admin, api, safe_naming),
                    log: dir.join("traefik.log"),
                    ready: format!("http://{admin}/ping"),
                };
                let child = Child::start(plan).await?;
                Ok(Self { kind: Kind::Traefik(Box::new(child)), traffic, admin })
            }
        }
    }

    pub(super) fn traffic(&self) -> SocketAddr {
        self.traffic
    }

    pub(super) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// What the embedded gateway does of the Gateway API; the real one says so by itself.
    pub(super) fn tell_features(&self, store: &Store) -> Result<(), GatewayError> {
        match &self.kind {
            Kind::Embedded(_) => {
                let class = ResourceId::new("gateway.networking.k8s.io", "gatewayclasses");
                let names = FEATURES.map(|name| json!({"name": name}));
                let tell = |object: &mut Value| {
                    object["status"] = json!({"supportedFeatures": names});
                };
                let options = WriteOptions::by("serin-local");
                store
                    .modify(&class, "", CLASS, Sub::Status, &options, tell)
                    .map_err(GatewayError::Class)?;
                Ok(())
            }
            Kind::Traefik(_) => Ok(()),
        }
    }

    /// What a real gateway wants to find in the cluster before it serves HTTPRoutes; the embedded one serves all.
    pub(super) fn objects(&self) -> Vec<Value> {
        match &self.kind {
            Kind::Embedded(_) => gateway_objects(self.traffic, EMBEDDED).into(),
            Kind::Traefik(_) => gateway_objects(self.traffic, TRAEFIK).into(),
        }
    }

    pub(super) fn describe(&self) -> String {
        match &self.kind {
            Kind::Embedded(_) => "embedded gateway".to_owned(),
            Kind::Traefik(child) => format!("real Traefik ({})", child.program().display()),
        }
    }

    pub(super) async fn broken(&mut self) -> String {
        match &mut self.kind {
            Kind::Embedded(_) => std::future::pending().await,
            Kind::Traefik(child) => child.broken().await,
        }
    }

    /// To be called when the task that feeds it has ended.
    pub(super) async fn stop(self) {
        match self.kind {
            Kind::Embedded(gateway) => match Arc::try_unwrap(gateway) {
                Ok(gateway) => gateway.shutdown().await,
                Err(_still_fed) => tracing::warn!("the gateway is still in use"),
            },
            Kind::Traefik(child) => child.stop().await,
        }
    }
}

fn flags(
    traffic: SocketAddr,
    admin: SocketAddr,
    api: SocketAddr,
    safe_naming: bool,
) -> Vec<String> {
    let buckets: Vec<String> = embedded::BUCKETS.iter().map(f64::to_string).collect();
    let mut flags = vec![
        format!("--entryPoints.web.address={traffic}"),
        format!("--entryPoints.traefik.address={admin}"),
        "--ping=true".to_owned(),
        "--api.insecure=true".to_owned(),
        "--metrics.prometheus=true".to_owned(),
        "--metrics.prometheus.addRoutersLabels=true".to_owned(),
        format!("--metrics.prometheus.buckets={}", buckets.join(",")),
        "--providers.kubernetesCRD=true".to_owned(),
        format!("--providers.kubernetesCRD.endpoint=http://{api}"),
        // Without it, a service that has no endpoint for a moment takes the whole route away.
        "--providers.kubernetesCRD.allowEmptyServices=true".to_owned(),
        "--providers.kubernetesGateway=true".to_owned(),
        format!("--providers.kubernetesGateway.endpoint=http://{api}"),
        "--providers.providersThrottleDuration=100ms".to_owned(),
        "--global.checkNewVersion=false".to_owned(),
        "--global.sendAnonymousUsage=false".to_owned(),
        "--log.level=INFO".to_owned(),
        "--log.noColor=true".to_owned(),
    ];
    if safe_naming {
        // Names of services as Flagger's queries and ours expect them; older versions know no others.
        flags.push("--providers.kubernetesCRD.safeNaming=false".to_owned());
    }
    flags
}

const TRAEFIK: &str = "traefik.io/gateway-controller";
const EMBEDDED: &str = "serin.dev/embedded-gateway";
/// Whichever gateway it is, so that one set of files goes with both.
const CLASS: &str = "traefik";
const FEATURES: [&str; 4] = [
    "HTTPRouteMethodMatching",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestPercentageMirror",
];

/// The class of the gateway, and a Gateway `default/traefik` that routes of all namespaces may attach to. A
/// listener's port has to be the one of an entry point.
fn gateway_objects(traffic: SocketAddr, controller: &str) -> [Value; 2] {
    let api_version = "gateway.networking.k8s.io/v1";
    [
        json!({
            "apiVersion": api_version, "kind": "GatewayClass", "metadata": {"name": CLASS},
            "spec": {"controllerName": controller},
        }),
        json!({
            "apiVersion": api_version, "kind": "Gateway",
            "metadata": {"name": "traefik", "namespace": "default"},
            "spec": {
                "gatewayClassName": CLASS,
                "listeners": [{
                    "name": "web", "port": traffic.port(), "protocol": "HTTP",
                    "allowedRoutes": {"namespaces": {"from": "All"}},
                }],
            },
        }),
    ]
}

/// Gives the gateway every change of what it looks at, and the log what it cannot do.
async fn feed(store: Store, gateway: Arc<embedded::Gateway>) {
    let (found, problems) = watch::channel(BTreeSet::new());
    tokio::join!(update(store.clone(), gateway, found), complain(store, problems));
}

async fn update(
    store: Store,
    gateway: Arc<embedded::Gateway>,
    found: watch::Sender<BTreeSet<Problem>>,
) {
    let traefik = |plural| ResourceId::new("traefik.io", plural);
    let kinds = [
        traefik("ingressroutes"),
        traefik("traefikservices"),
        traefik("middlewares"),
        ResourceId::core("services"),
        ResourceId::new("discovery.k8s.io", "endpointslices"),
        ResourceId::new("gateway.networking.k8s.io", "httproutes"),
    ];
    follow(store, &kinds, |store| {
        let list = |kind: &ResourceId| -> Vec<Value> {
            store.list(kind, None).iter().map(|object| (**object).clone()).collect()
        };
        let [
            mut ingress_routes,
            mut traefik_services,
            middlewares,
            services,
            endpoint_slices,
            http_routes,
        ] = kinds.each_ref().map(list);
        let mut problems = BTreeSet::new();
        for translated in http_routes.iter().map(http_routes::translate) {
            ingress_routes.extend(translated.ingress_routes);
            traefik_services.extend(translated.traefik_services);
            problems.extend(translated.problems);
        }
        let objects = GatewayObjects {
            ingress_routes,
            traefik_services,
            middlewares,
            services,
            endpoint_slices,
        };
        problems.extend(gateway.update(&objects));
        found.send_replace(problems);
    })
    .await;
}

/// Says each new problem once, in the log and as an Event on its object. Files are applied one by one, so what is
/// missing for a moment is no problem yet.
async fn complain(store: Store, mut problems: watch::Receiver<BTreeSet<Problem>>) {
    let mut known = BTreeSet::new();
    while problems.changed().await.is_ok() {
        tokio::time::sleep(PATIENCE).await;
        let now = problems.borrow_and_update().clone();
        for problem in now.difference(&known) {
            let Problem { object, field, message } = problem;
            tracing::warn!(object, "the gateway leaves something out: {field} {message}");
            super::problem::tell(&store, problem);
        }
        known = now;
    }
}
