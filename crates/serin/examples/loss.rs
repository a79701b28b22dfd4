//! Requests lost while a workload is adopted, promoted, rolled back and left, under load; and how fast the guard acts.
//!
//! `make bench` runs it in release: `loss PATH_OF_SERIN [PATH_OF_TRAEFIK]`. Lost are requests that failed although a healthy
//! version was there: whatever the gateway answered itself, and failures of good versions.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use serin::lab::local::{Cluster, Options, Part, manifest};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{DeleteOptions, Sub, WriteOptions};
use serin_local::load::{self, Load, Snapshot};

const RATE: f64 = 500.0;
const PATIENCE: Duration = Duration::from_secs(180);
const MANIFESTS: [&str; 5] = [
    include_str!("../../../examples/sre/00-namespace.yaml"),
    include_str!("../../../examples/sre/10-backend.yaml"),
    include_str!("../../../examples/sre/20-route.yaml"),
    include_str!("../../../examples/sre/30-metrics.yaml"),
    include_str!("../../../examples/sre/40-canary.yaml"),
];

fn main() -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run())
}

fn say(text: &str) {
    use std::io::Write;
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

async fn run() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1).map(PathBuf::from);
    let program = args.next().context("usage: loss PATH_OF_SERIN [PATH_OF_TRAEFIK]")?;
    let mut options = Options::new(program);
    options.min_interval_secs = 1;
    if let Some(traefik) = args.next() {
        options.router = Part::Real(traefik);
    }
    let cluster = Cluster::start(options).await?;
    for file in &MANIFESTS[..4] {
        for object in manifest::documents(file)? {
            let object = if object["kind"] == "IngressRoute" { to_service(object) } else { object };
            manifest::apply(cluster.store(), &object)?;
        }
    }
    let url = format!("{}/", cluster.gateway_url()).parse().context("the gateway's URL")?;
    serving(&cluster).await?;
    let load = load::run(load::Options::new(url, RATE))?;
    say(&format!("{RATE} requests per second"));
    say("| what | requests | lost | bad answers of a bad version |");
    say("|---|---:|---:|---:|");
    let mut before = load.snapshot();

    let mut canary = manifest::documents(MANIFESTS[4])?.remove(0);
    canary["spec"]["analysis"]["interval"] = json!("3s");
    for metric in canary["spec"]["analysis"]["metrics"].as_array_mut().into_iter().flatten() {
        metric["interval"] = json!("5s");
    }
    manifest::apply(cluster.store(), &canary)?;
    phase(&cluster, "Initialized").await?;
    for object in manifest::documents(MANIFESTS[2])? {
        manifest::apply(cluster.store(), &object)?;
    }
    report(&load, "adopt", &mut before).await;
    set_image(&cluster, "local/backend:v2")?;
    phase(&cluster, "Succeeded").await?;
    report(&load, "promote", &mut before).await;
    set_image(&cluster, "local/backend:v3-bad")?;
    phase(&cluster, "Failed").await?;
    report(&load, "roll back", &mut before).await;
    set_image(&cluster, "local/backend:v2")?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let canaries = ResourceId::new("flagger.app", "canaries");
    let deleted =
        cluster.store().delete(&canaries, "develop", "backend", &DeleteOptions::default());
    deleted.map_err(|failure| anyhow::anyhow!(failure.message))?;
    until(&cluster, "the canary is gone", |cluster| {
        cluster.store().get(&canaries, "develop", "backend").is_none()
    })
    .await?;
    report(&load, "delete", &mut before).await;
    let end = load.stop().await;
    if let Some(bad) = end.by_version.get("v3-bad")
        && let (Some(first), Some(last)) = (bad.first_bad, bad.last)
    {
        let secs = last.duration_since(first).as_secs_f64();
        say(&format!(
            "\nfrom the first bad answer of v3-bad to its last answer: {secs:.1} s, {} bad answers",
            bad.bad
        ));
    }
    cluster.stop().await;
    Ok(())
}

/// Before Serin: the route goes straight to the Service.
fn to_service(mut route: Value) -> Value {
    for rule in route["spec"]["routes"].as_array_mut().into_iter().flatten() {
        rule["services"] = json!([{"name": "backend", "port": 80}]);
    }
    route
}

/// What happened since the last time, a moment after the last change so that its effects are counted.
async fn report(load: &Load, what: &str, before: &mut Snapshot) {
    tokio::time::sleep(Duration::from_secs(4)).await;
    let now = load.snapshot();
    let bad_version =
        |snapshot: &Snapshot| snapshot.by_version.get("v3-bad").map_or(0, |tally| tally.bad);
    let lost = |snapshot: &Snapshot| snapshot.total.bad - bad_version(snapshot);
    let requests = now.total.requests - before.total.requests;
    let (lost, bad) = (lost(&now) - lost(before), bad_version(&now) - bad_version(before));
    say(&format!("| {what} | {requests} | {lost} | {bad} |"));
    *before = now;
}

fn set_image(cluster: &Cluster, image: &str) -> anyhow::Result<()> {
    let deployments = ResourceId::new("apps", "deployments");
    let options = WriteOptions::by("bench");
    let written =
        cluster.store().modify(&deployments, "develop", "backend", Sub::Main, &options, |object| {
            object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        });
    written.map(drop).map_err(|failure| anyhow::anyhow!(failure.message))
}

async fn phase(cluster: &Cluster, wanted: &str) -> anyhow::Result<()> {
    let canaries = ResourceId::new("flagger.app", "canaries");
    until(cluster, wanted, |cluster| {
        let canary = cluster.store().get(&canaries, "develop", "backend");
        canary.is_some_and(|canary| canary["status"]["phase"] == wanted)
    })
    .await
}

async fn until(cluster: &Cluster, what: &str, so: impl Fn(&Cluster) -> bool) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut changed = cluster.store().changed();
    while !so(cluster) {
        if tokio::time::timeout_at(deadline, changed.changed()).await.is_err() {
            bail!("not in time: {what}");
        }
    }
    Ok(())
}

/// The gateway answers for v1.
async fn serving(cluster: &Cluster) -> anyhow::Result<()> {
    for _ in 0..600 {
        let url = format!("{}/", cluster.gateway_url()).parse()?;
        let mut options = load::Options::new(url, 10.0);
        options.duration = Some(Duration::from_millis(200));
        let seen = load::run(options)?.finish().await;
        if seen.total.requests > 0 && seen.total.bad == 0 && seen.by_version.contains_key("v1") {
            return Ok(());
        }
    }
    bail!("the gateway does not serve v1")
}
