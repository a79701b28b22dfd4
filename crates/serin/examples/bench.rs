//! What an operator costs: API requests and metric queries while idle and per step, and resident memory.
//!
//! `make bench` runs it in release. The operator is the real binary in a process of its own; the API server, the pods and
//! the metric server are stand-ins in this one, which counts what they are asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use serin_apiserver::http::Api;
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{Store, Sub, WriteOptions};
use tokio::net::TcpListener;
use tokio::time::Instant;

type Counts = Arc<Mutex<BTreeMap<String, u64>>>;

/// Quiet minutes that are watched.
const QUIET: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(1200);

fn main() -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let serin = std::env::args().nth(1).context("usage: bench PATH_OF_SERIN [CANARIES]")?;
        let most = std::env::args().nth(2).map_or(Ok(1000), |text| text.parse()).context("the number of canaries")?;
        println(format_args!("| canaries | seconds to initialise all | API requests per idle canary and minute | metric queries | resident memory |"));
        println(format_args!("|---:|---:|---:|---:|---:|"));
        for count in [1, most] {
            idle(&serin, count).await?;
        }
        release(&serin).await
    })
}

fn println(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

struct TestCluster {
    store: Store,
    requests: Counts,
    queries: Counts,
    serin: Child,
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        drop(self.serin.kill());
        drop(self.serin.wait());
    }
}

async fn cluster(serin: &str, canaries: usize) -> anyhow::Result<TestCluster> {
    let clock: serin_apiserver::store::Clock = Arc::new(jiff::Timestamp::now);
    let store = Store::new(clock, 1);
    for crd in serin_core::crd::crds().into_iter().chain([traefik_service_crd()]) {
        create(
            &store,
            &ResourceId::new("apiextensions.k8s.io", "customresourcedefinitions"),
            "",
            crd,
        )?;
    }
    create(
        &store,
        &ResourceId::core("namespaces"),
        "",
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}}),
    )?;
    tokio::spawn(instant_cluster(store.clone()));
    let (requests, queries) = (Counts::default(), Counts::default());
    let api = serve(Api::new(store.clone()), Arc::clone(&requests)).await?;
    let prometheus = metrics(Arc::clone(&queries)).await?;
    for index in 0..canaries {
        add(&store, index)?;
    }
    let kubeconfig = std::env::temp_dir().join(format!("serin-bench-{}.yaml", std::process::id()));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {"server": format!("http://{api}")}}],
        "users": [{"name": "bench", "user": {}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench", "namespace": "default"}}],
    });
    std::fs::write(&kubeconfig, config.to_string())?;
    let child = Command::new(serin)
        .args([
            "controller",
            "--address",
            "127.0.0.1",
            "--port",
            "0",
            "--min-interval",
            "1",
            "--drain",
            "1",
        ])
        .args(["--enable-leader-election=false", "--log-level", "error"])
        .arg("--metrics-server")
        .arg(format!("http://{prometheus}"))
        .env("SERIN_KUBECONFIG", &kubeconfig)
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start serin")?;
    Ok(TestCluster { store, requests, queries, serin: child })
}

async fn idle(serin: &str, count: usize) -> anyhow::Result<()> {
    let started = Instant::now();
    let cluster = cluster(serin, count).await?;
    until(&cluster, |phases| phases.get("Initialized").copied().unwrap_or(0) == count).await?;
    let secs = started.elapsed().as_secs_f64();
    // Let what the bootstrap set in motion come to rest.
    tokio::time::sleep(Duration::from_secs(15)).await;
    clear(&cluster);
    tokio::time::sleep(QUIET).await;
    let asked: u64 = total(&cluster.requests);
    let queried = total(&cluster.queries);
    let memory = memory_kib(cluster.serin.id())?;
    let each = asked as f64 / count as f64;
    println(format_args!(
        "| {count} | {secs:.1} | {each:.3} ({asked} in all) | {queried} | {:.1} MiB |",
        memory as f64 / 1024.0
    ));
    Ok(())
}

/// One release, and what it asked for.
async fn release(serin: &str) -> anyhow::Result<()> {
    let cluster = cluster(serin, 1).await?;
    until(&cluster, |phases| phases.contains_key("Initialized")).await?;
    clear(&cluster);
    let began = Instant::now();
    let deployments = ResourceId::new("apps", "deployments");
    cluster
        .store
        .modify(&deployments, "bench", "app-0", Sub::Main, &WriteOptions::by("bench"), |object| {
            object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("local/app:v2");
        })
        .map_err(|failure| anyhow::anyhow!(failure.message))?;
    let weight = |cluster: &TestCluster| {
        let canary =
            cluster.store.get(&ResourceId::new("flagger.app", "canaries"), "bench", "app-0");
        canary.and_then(|c| c.pointer("/status/canaryWeight")?.as_i64()).unwrap_or(0)
    };
    let mut changed = cluster.store.changed();
    while weight(&cluster) == 0 {
        tokio::time::timeout(PATIENCE, changed.changed()).await.context("no weight in time")??;
    }
    let first = began.elapsed().as_secs_f64();
    until(&cluster, |phases| phases.contains_key("Succeeded")).await?;
    let steps = 6.0;
    println(format_args!(""));
    println(format_args!("seconds from the new image to the first 5 %: {first:.2}"));
    println(format_args!(
        "API requests per step of a release: {:.1}",
        total(&cluster.requests) as f64 / steps
    ));
    println(format_args!(
        "metric queries per step of a release: {:.1}",
        total(&cluster.queries) as f64 / steps
    ));
    for (what, count) in cluster.requests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        println(format_args!("  {count:4} {what}"));
    }
    Ok(())
}

/// Workloads that are ready the moment they are asked for, and their endpoints: all that the operator looks at, for any
/// number of them.
async fn instant_cluster(store: Store) {
    let deployments = ResourceId::new("apps", "deployments");
    let services = ResourceId::core("services");
    let mut changed = store.changed();
    let (mut seen, mut ready) = (store.version(), BTreeMap::<String, i64>::new());
    let mut followers = BTreeMap::<String, Vec<String>>::new();
    loop {
        let mut news = Vec::new();
        for id in [&deployments, &services] {
            let Ok((changes, version)) = store.changes_since(id, seen) else { return };
            news.extend(changes.into_iter().map(|change| (change.version.min(version), change)));
        }
        news.sort_by_key(|(version, _)| *version);
        for (version, change) in news {
            seen = seen.max(version);
            let object = &change.new;
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            if object["kind"] == "Deployment" {
                let replicas = object["spec"]["replicas"].as_i64().unwrap_or(0);
                let label =
                    object["spec"]["selector"]["matchLabels"]["app"].as_str().unwrap_or_default();
                if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
                    get_ready(
                        &store,
                        &deployments,
                        name,
                        replicas,
                        &object["metadata"]["generation"],
                    );
                }
                ready.insert(label.to_owned(), replicas);
                for service in followers.get(label).cloned().unwrap_or_default() {
                    slice(&store, &service, replicas);
                }
            } else {
                let label =
                    object["spec"]["selector"]["app"].as_str().unwrap_or_default().to_owned();
                for services in followers.values_mut() {
                    services.retain(|service| service != name);
                }
                slice(&store, name, ready.get(&label).copied().unwrap_or(0));
                followers.entry(label).or_default().push(name.to_owned());
            }
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

fn get_ready(store: &Store, id: &ResourceId, name: &str, replicas: i64, generation: &Value) {
    let status = json!({
        "observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": replicas, "availableReplicas": replicas,
        "conditions": [
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
        ],
    });
    // A Deployment that is gone by now needs no status.
    drop(store.modify(id, "bench", name, Sub::Status, &WriteOptions::by("cluster"), |object| {
        object["status"] = status
    }));
}

fn slice(store: &Store, service: &str, replicas: i64) {
    let id = ResourceId::new("discovery.k8s.io", "endpointslices");
    let endpoints: Vec<Value> = (0..replicas)
        .map(|index| json!({"addresses": [format!("127.1.0.{}", index + 1)], "conditions": {"ready": true, "serving": true}}))
        .collect();
    let options = WriteOptions::by("cluster");
    let written = store.modify(&id, "bench", service, Sub::Main, &options, |object| {
        object["endpoints"] = json!(endpoints)
    });
    if written.is_err() {
        let object = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
            "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints,
        });
        drop(store.create(&id, "bench", object, &options));
    }
}

fn clear(cluster: &TestCluster) {
    cluster.requests.lock().unwrap_or_else(PoisonError::into_inner).clear();
    cluster.queries.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

fn total(counts: &Counts) -> u64 {
    counts.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
}

async fn until(
    cluster: &TestCluster,
    done: impl Fn(&BTreeMap<String, usize>) -> bool,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut changed = cluster.store.changed();
    loop {
        let mut phases = BTreeMap::new();
        for canary in cluster.store.list(&ResourceId::new("flagger.app", "canaries"), None) {
            let phase = canary.pointer("/status/phase").and_then(Value::as_str).unwrap_or("none");
            *phases.entry(phase.to_owned()).or_default() += 1;
        }
        if done(&phases) {
            return Ok(());
        }
        if tokio::time::timeout_at(deadline, changed.changed()).await.is_err() {
            bail!("the canaries did not get there in time: {phases:?}");
        }
    }
}

fn add(store: &Store, index: usize) -> anyhow::Result<()> {
    let name = format!("app-{index}");
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": "local/app:v1", "ports": [{"containerPort": 8080}]}]},
            },
        },
    });
    create(store, &ResourceId::new("apps", "deployments"), "bench", deployment)?;
    let canary = json!({
        "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
        "metadata": {"name": name},
        "spec": {
            "provider": "traefik",
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "service": {"port": 80, "targetPort": 8080},
            "analysis": {
                "interval": "2s", "threshold": 2, "stepWeights": [5, 10, 20, 30, 40, 50],
                "metrics": [
                    {"name": "errors", "query": "errors", "thresholdRange": {"max": 1}},
                    {"name": "p99", "query": "p99", "thresholdRange": {"max": 500}},
                ],
            },
        },
    });
    create(store, &ResourceId::new("flagger.app", "canaries"), "bench", canary)
}

fn create(store: &Store, id: &ResourceId, namespace: &str, object: Value) -> anyhow::Result<()> {
    match store.create(id, namespace, object, &WriteOptions::by("bench")) {
        Ok(_) => Ok(()),
        Err(failure) => bail!("{}", failure.message),
    }
}

fn traefik_service_crd() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "traefikservices.traefik.io"},
        "spec": {
            "group": "traefik.io", "scope": "Namespaced",
            "names": {"kind": "TraefikService", "plural": "traefikservices"},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

/// Serves the API and counts requests by method and kind; watches count once, when they begin.
async fn serve(api: Api, counts: Counts) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (api, counts) = (api.clone(), Arc::clone(&counts));
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let watch =
                        request.uri().query().is_some_and(|query| query.contains("watch=true"));
                    let kind = request
                        .uri()
                        .path()
                        .split('/')
                        .filter(|p| !p.starts_with("app-"))
                        .collect::<Vec<_>>();
                    let verb = if watch { "WATCH" } else { request.method().as_str() };
                    let what = format!("{verb} {}", kind.join("/"));
                    *counts
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .entry(what)
                        .or_default() += 1;
                    let api = api.clone();
                    async move { Ok::<_, Infallible>(api.handle(request).await) }
                });
                drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    Ok(address)
}

/// A metric server to which everything is fine.
async fn metrics(counts: Counts) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counts = Arc::clone(&counts);
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let path = request.uri().path().to_owned();
                    *counts
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .entry(path)
                        .or_default() += 1;
                    let body = json!({
                        "status": "success",
                        "data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, "0.1"]}]},
                    });
                    async move {
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body.to_string()))))
                    }
                });
                drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    Ok(address)
}

fn memory_kib(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    line.split_whitespace().nth(1).context("no VmRSS")?.parse().context("VmRSS is no number")
}
