//! The real stack for the benchmark: a cluster with Traefik, Prometheus and kubectl, its applications, load and releases.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use serde_json::{Value, json};
use serin::lab::local::{Cluster, Options, Part, manifest};
use serin_apiserver::registry::ResourceId;
use serin_core::status::{Phase, Status};
use serin_local::app::Faults;
use serin_local::load::{self, Load};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

pub(crate) const NAMESPACE: &str = "bench";
/// Far more than anything here needs; the slow rule takes five minutes.
const PATIENCE: Duration = Duration::from_secs(900);
/// Until every answer under way has come back and been counted.
pub(crate) const SETTLE: Duration = Duration::from_secs(3);

/// The programs that are used.
pub(crate) struct Parts {
    pub(crate) serin: PathBuf,
    pub(crate) traefik: Option<PathBuf>,
    pub(crate) prometheus: Option<PathBuf>,
    pub(crate) kubectl: Option<PathBuf>,
}

pub(crate) struct TestCluster {
    cluster: Cluster,
    kubectl: Option<PathBuf>,
}

/// An application with its Canary.
pub(crate) struct App {
    pub(crate) name: String,
    /// Tag of the version that runs at first.
    pub(crate) tag: &'static str,
    pub(crate) analysis: Value,
}

/// How a release went.
pub(crate) struct Outcome {
    pub(crate) phase: Phase,
    pub(crate) code: String,
    pub(crate) message: String,
    /// When the route gave the canary its first share, and when it took the last away.
    pub(crate) on: Timestamp,
    pub(crate) off: Timestamp,
}

impl TestCluster {
    pub(crate) async fn start(parts: Parts) -> anyhow::Result<Self> {
        let Parts { serin, traefik, prometheus, kubectl } = parts;
        let part = |path: Option<PathBuf>| path.map_or(Part::Embedded, Part::Real);
        let mut options = Options::new(serin);
        (options.router, options.metrics) = (part(traefik), part(prometheus));
        let cluster = Cluster::start(options).await?;
        let cluster = Self { cluster, kubectl };
        let metadata = json!({"name": NAMESPACE});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        cluster.apply(&[namespace]).await?;
        Ok(cluster)
    }

    pub(crate) fn describe(&self) -> String {
        let (gateway, metrics) = self.cluster.parts();
        let kubectl = self.kubectl.as_ref().map_or("no kubectl", |_| "real kubectl");
        format!("{gateway}, {metrics}, {kubectl}")
    }

    pub(crate) async fn stop(self) {
        self.cluster.stop().await;
    }

    /// Runs kubectl with this on its stdin.
    async fn kubectl(&self, program: &PathBuf, args: &[&str], input: &str) -> anyhow::Result<()> {
        let mut child = tokio::process::Command::new(program)
            .args(args)
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .env("HOME", self.cluster.dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run kubectl")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await??;
        if !output.status.success() {
            bail!("kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    async fn apply(&self, objects: &[Value]) -> anyhow::Result<()> {
        if let Some(program) = &self.kubectl {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
            return self.kubectl(program, &["apply", "-f", "-"], &list.to_string()).await;
        }
        for object in objects {
            manifest::apply(self.cluster.store(), object)?;
        }
        Ok(())
    }

    /// Brings the application and its Canary up, until the gateway serves it.
    pub(crate) async fn set_up(&self, app: &App) -> anyhow::Result<()> {
        self.apply(&app.objects()).await?;
        let name = &app.name;
        self.until(&format!("{name} is initialised"), || {
            (self.status(name).phase == Some(Phase::Initialized)).then_some(())
        })
        .await?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let mut options = self.traffic(name, 20.0)?;
            options.duration = Some(Duration::from_millis(500));
            let seen = load::run(options)?.finish().await;
            if seen.by_version.contains_key(app.tag) && seen.total.requests > 5 {
                return Ok(());
            }
        }
        bail!("the gateway does not serve {name}")
    }

    fn traffic(&self, name: &str, rate: f64) -> anyhow::Result<load::Options> {
        let url = format!("{}/", self.cluster.gateway_url()).parse().context("the gateway")?;
        let mut options = load::Options::new(url, rate);
        options.host = Some(name.to_owned());
        options.concurrency = 256;
        Ok(options)
    }

    pub(crate) fn load(&self, name: &str, rate: f64) -> anyhow::Result<Load> {
        Ok(load::run(self.traffic(name, rate)?)?)
    }

    /// Brings a new version, to start its release.
    pub(crate) async fn bring(&self, name: &str, tag: &str) -> anyhow::Result<()> {
        let image = format!("local/app:{tag}");
        let Some(program) = &self.kubectl else {
            let store = self.cluster.store();
            return Ok(manifest::set_image(store, NAMESPACE, name, "app", &image)?);
        };
        let (deployment, image) = (format!("deployment/{name}"), format!("app={image}"));
        self.kubectl(program, &["set", "image", "-n", NAMESPACE, &deployment, &image], "").await
    }

    /// Brings a new version and follows its release to the end.
    pub(crate) async fn release(&self, name: &str, tag: &str) -> anyhow::Result<Outcome> {
        let before = self.status(name).last_applied_spec;
        self.bring(name, tag).await?;
        let what = |what: &str| format!("{what} of {name} {tag}");
        let on =
            self.until(&what("first share"), || self.routed(name).then(Timestamp::now)).await?;
        let off = self
            .until(&what("end of the traffic"), || (!self.routed(name)).then(Timestamp::now))
            .await?;
        let (phase, status) = self
            .until(&what("end of the release"), || {
                let status = self.status(name);
                let phase = status.phase.filter(|phase| {
                    matches!(phase, Phase::Failed | Phase::Succeeded)
                        && status.last_applied_spec != before
                })?;
                Some((phase, status))
            })
            .await?;
        let reason = status.last_reason.unwrap_or_default();
        Ok(Outcome { phase, code: reason.code, message: reason.message, on, off })
    }

    /// Whether the route gives the canary a share.
    pub(crate) fn routed(&self, name: &str) -> bool {
        let id = ResourceId::new("traefik.io", "traefikservices");
        let route = self.cluster.store().get(&id, NAMESPACE, name);
        let services = route.as_ref().and_then(|route| route.pointer("/spec/weighted/services"));
        let canary = format!("{name}-canary");
        services.and_then(Value::as_array).is_some_and(|services| {
            services.iter().any(|service| service["name"] == canary.as_str())
        })
    }

    pub(crate) fn status(&self, name: &str) -> Status {
        let id = ResourceId::new("flagger.app", "canaries");
        let canary = self.cluster.store().get(&id, NAMESPACE, name);
        let status = canary.as_ref().and_then(|canary| canary.get("status")).cloned();
        status.and_then(|status| serde_json::from_value(status).ok()).unwrap_or_default()
    }

    /// Waits until there is an answer.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        so: impl Fn() -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut changed = self.cluster.store().changed();
        loop {
            changed.mark_unchanged();
            if let Some(found) = so() {
                return Ok(found);
            }
            if tokio::time::timeout_at(deadline, changed.changed()).await.is_err() {
                bail!("not in time: {what}");
            }
        }
    }

    /// Sets the faults of every pod of an application, primary and canary.
    pub(crate) async fn set_faults(&self, name: &str, faults: Faults) -> anyhow::Result<usize> {
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let body = Bytes::from(serde_json::to_vec(&faults)?);
        let mut set = 0;
        for pod in self.cluster.store().list(&ResourceId::core("pods"), Some(NAMESPACE)) {
            let text = |pointer| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let ours = text("/metadata/name").starts_with(&format!("{name}-"));
            if !ours || text("/status/podIP").is_empty() {
                continue;
            }
            let url = format!("http://{}:8080/faults", text("/status/podIP"));
            let request = Request::post(url).body(Full::new(body.clone()))?;
            let answer = tokio::time::timeout(SETTLE, client.request(request)).await??;
            if !answer.status().is_success() {
                bail!("the faults of {} were not set: {}", text("/metadata/name"), answer.status());
            }
            set += 1;
        }
        Ok(set)
    }
}

impl App {
    fn objects(&self) -> Vec<Value> {
        let Self { name, tag, analysis } = self;
        let metadata = json!({"name": name, "namespace": NAMESPACE});
        let labels = json!({"app": name});
        let ready = json!({"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1});
        let container = json!({
            "name": "app", "image": format!("local/app:{tag}"), "readinessProbe": ready,
            "ports": [{"name": "http", "containerPort": 8080}],
        });
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name});
        let service = json!({"kind": "TraefikService", "name": name});
        let rule = json!({
            "kind": "Rule", "match": format!("Host(`{name}`)"), "services": [service],
        });
        vec![
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {"containers": [container]},
                    },
                },
            }),
            json!({
                "apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute", "metadata": metadata,
                "spec": {"entryPoints": ["web"], "routes": [rule]},
            }),
            json!({
                "apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": metadata,
                "spec": {
                    "provider": "traefik", "targetRef": target, "progressDeadlineSeconds": 120,
                    "service": {"port": 80, "targetPort": "http"},
                    "analysis": analysis,
                },
            }),
        ]
    }
}
