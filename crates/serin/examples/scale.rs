//! What a full cluster costs: peak memory of an operator beside thousands of ConfigMaps and Secrets that no canary uses.
//!
//! `make bench-scale` runs it in release. The operator is the real binary in a process of its own; the API server and its
//! controllers are in this one.

use std::convert::Infallible;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use serin::lab::local::manifest;
use serin_apiserver::controllers::Controllers;
use serin_apiserver::http::Api;
use serin_apiserver::kubelet::{Behaviour, VirtualRuntime};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{Store, Sub, WriteOptions};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// Foreign objects of each kind unless told otherwise.
const FOREIGN: usize = 5000;
/// Every tenth is as large as an object may be, the others are as configs are.
const LARGE: usize = (1 << 20) - 1024;
const SMALL: usize = 16 << 10;
/// What no cluster may make an operator take.
const PEAK_MAX_MIB: f64 = 64.0;
const PATIENCE: Duration = Duration::from_secs(300);
const NAMESPACE: &str = "develop";
const OTHERS: &str = "others";

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let serin =
            std::env::args().nth(1).context("usage: scale PATH_OF_SERIN [FOREIGN OBJECTS]")?;
        let count = std::env::args().nth(2).map_or(Ok(FOREIGN), |text| text.parse())?;
        measure(&serin, count).await
    })
}

struct Operator {
    child: Child,
    kubeconfig: PathBuf,
}

impl Drop for Operator {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_file(&self.kubeconfig));
    }
}

async fn measure(serin: &str, count: usize) -> anyhow::Result<()> {
    let store = Store::new(Arc::new(jiff::Timestamp::now), 1);
    let pods = VirtualRuntime::new(|_, _| Behaviour::default());
    let controllers =
        Controllers::new(Arc::new(store.clone()), Arc::new(pods), Arc::new(jiff::Timestamp::now));
    tokio::spawn(controllers.run(std::future::pending()));
    let objects = serin_core::crd::crds()
        .into_iter()
        .chain(serin_apiserver::crds::traefik_crds())
        .chain(ours());
    for object in objects {
        manifest::apply(&store, &object).map_err(|error| anyhow::anyhow!("{error}"))?;
    }
    let mut bytes = 0;
    for index in 0..count {
        let size = if index % 10 == 0 { LARGE } else { SMALL };
        bytes += 2 * size;
        for kind in ["ConfigMap", "Secret"] {
            manifest::apply(&store, &foreign(kind, index, size))
                .map_err(|error| anyhow::anyhow!("{error}"))?;
        }
    }
    let asked = Arc::new(AtomicU64::new(0));
    let operator = start(serin, serve(Api::new(store.clone()), Arc::clone(&asked)).await?)?;
    let began = Instant::now();
    phase(&store, "Initialized").await?;
    let (ready, requests) = (began.elapsed(), asked.load(Ordering::Relaxed));
    // Others go on with their lives, and a config of ours changes: that it starts a release shows that it is watched.
    for index in 0..count.min(500) {
        let options = WriteOptions::by("others");
        let id = ResourceId::core("configmaps");
        store
            .modify(&id, OTHERS, &format!("foreign-{index}"), Sub::Main, &options, |object| {
                object["data"]["more"] = json!("x");
            })
            .map_err(|failure| anyhow::anyhow!(failure.message))?;
    }
    manifest::apply(&store, &config("ConfigMap", "two"))
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    phase(&store, "Progressing").await?;
    let peak = peak_mib(operator.child.id())?;
    let line = format!(
        "peak memory with {count} ConfigMaps and {count} Secrets that no canary uses ({} MiB in all): {peak:.1} MiB; \
         ready after {:.1} s and {requests} requests",
        bytes >> 20,
        ready.as_secs_f64(),
    );
    println(&line);
    ensure!(peak < PEAK_MAX_MIB, "more than {PEAK_MAX_MIB} MiB");
    Ok(())
}

fn println(text: &str) {
    use std::io::Write;
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

fn config(kind: &str, text: &str) -> Value {
    let field = if kind == "Secret" { "stringData" } else { "data" };
    json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": {"name": "settings", "namespace": NAMESPACE}, field: {"TEXT": text},
    })
}

fn foreign(kind: &str, index: usize, size: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": {"name": format!("foreign-{index}"), "namespace": OTHERS},
        // A Secret's is base64, a ConfigMap's is any text.
        "data": {"text": "eHh4".repeat(size / 4)},
    })
}

/// One canary with a ConfigMap and a Secret.
fn ours() -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OTHERS}}),
        config("ConfigMap", "one"),
        config("Secret", "one"),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "backend", "namespace": NAMESPACE},
            "spec": {
                "replicas": 1, "selector": {"matchLabels": {"app": "backend"}},
                "template": {
                    "metadata": {"labels": {"app": "backend"}},
                    "spec": {"containers": [{
                        "name": "app", "image": "app:v1", "ports": [{"containerPort": 8080}],
                        "envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "settings"}}],
                    }]},
                },
            },
        }),
        json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
            "metadata": {"name": "backend", "namespace": NAMESPACE},
            "spec": {
                "provider": "traefik",
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "backend"},
                "service": {"port": 80, "targetPort": 8080},
                "analysis": {"interval": "2s", "threshold": 2, "stepWeights": [5, 50]},
            },
        }),
    ]
}

/// Serves the API and counts what it is asked.
async fn serve(api: Api, asked: Arc<AtomicU64>) -> anyhow::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (api, asked) = (api.clone(), Arc::clone(&asked));
            let service = service_fn(move |request: Request<Incoming>| {
                asked.fetch_add(1, Ordering::Relaxed);
                let api = api.clone();
                async move { Ok::<_, Infallible>(api.handle(request).await) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(address)
}

fn start(serin: &str, api: std::net::SocketAddr) -> anyhow::Result<Operator> {
    let kubeconfig = std::env::temp_dir().join(format!("serin-scale-{}.yaml", std::process::id()));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "scale",
        "clusters": [{"name": "scale", "cluster": {"server": format!("http://{api}")}}],
        "users": [{"name": "scale", "user": {}}],
        "contexts": [{"name": "scale", "context": {"cluster": "scale", "user": "scale", "namespace": "default"}}],
    });
    std::fs::write(&kubeconfig, config.to_string())?;
    let child = Command::new(serin)
        .args(["controller", "--address", "127.0.0.1", "--port", "0", "--min-interval", "1"])
        .args(["--drain", "1", "--enable-leader-election=false", "--log-level", "error"])
        .env("SERIN_KUBECONFIG", &kubeconfig)
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start serin")?;
    Ok(Operator { child, kubeconfig })
}

async fn phase(store: &Store, wanted: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let canaries = ResourceId::new("flagger.app", "canaries");
    let mut changed = store.changed();
    loop {
        let canary = store.get(&canaries, NAMESPACE, "backend").context("no canary")?;
        if canary.pointer("/status/phase").and_then(Value::as_str) == Some(wanted) {
            return Ok(());
        }
        if tokio::time::timeout_at(deadline, changed.changed()).await.is_err() {
            bail!("not {wanted} in time: {}", canary["status"]);
        }
    }
}

/// The most that the process ever had in memory.
fn peak_mib(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no VmHWM")?.parse()?;
    Ok(kib / 1024.0)
}
