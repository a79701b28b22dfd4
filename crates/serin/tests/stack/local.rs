//! The local cluster, driven as users drive it: by kubectl, with traffic, embedded and with the real parts.

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use serin::lab::local::get::get;
use serin::lab::local::{Cluster, Options, Part, manifest};
use serin_apiserver::registry::ResourceId;
use serin_local::load::{self, Snapshot};

use crate::alone;

/// Far more than any wait needs; a test that comes here has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const STEPS: [u8; 6] = [5, 10, 20, 30, 40, 50];

/// A real program, from the environment; without it the test says that it is skipped.
pub(crate) fn part(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    if path.is_none() {
        drop(writeln!(std::io::stderr(), "skipped: {variable} is not set"));
    }
    path
}

pub(crate) fn options() -> Options {
    Options::new(env!("CARGO_BIN_EXE_serin").into())
}

pub(crate) fn example(file: &str) -> String {
    format!("{}/../../examples/sre/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// Looks until it is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, look: impl Fn() -> F) {
    let found = async {
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        while !look().await {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// kubectl with a cache of its own, so that clusters on reused ports do not mix.
pub(crate) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Kubectl {
    pub(crate) fn new(program: PathBuf, cluster: &Cluster) -> Self {
        let home = cluster.dir().join("home");
        std::fs::create_dir_all(&home).unwrap();
        Self { program, kubeconfig: cluster.kubeconfig(), home }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.home);
        command
    }

    pub(crate) async fn output(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
    }

    /// Runs it to its end and gives what it printed.
    pub(crate) async fn run(&self, args: &[&str]) -> String {
        let output = self.output(args).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) async fn wait_for_phase(&self, phase: &str) {
        let wanted = format!("--for=jsonpath={{.status.phase}}={phase}");
        let wait = ["wait", &wanted, "canary/backend", "-n", "develop", "--timeout=300s"];
        let waited = self.output(&wait).await;
        if !waited.status.success() {
            let told = self.output(&["describe", "canary/backend", "-n", "develop"]).await;
            panic!("never {phase}:\n{}", String::from_utf8_lossy(&told.stdout));
        }
    }
}

/// Sum of the samples of a metric whose labels contain all of `labels`.
async fn counter(cluster: &Cluster, metric: &str, labels: &[&str]) -> f64 {
    let (_, page) = get(&format!("{}/metrics", cluster.gateway_admin_url())).await.unwrap();
    let page = String::from_utf8(page.to_vec()).unwrap();
    let lines = page.lines().filter(|line| line.starts_with(&format!("{metric}{{")));
    lines
        .filter(|line| labels.iter().all(|label| line.contains(label)))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum()
}

/// The only value that a query has, if it has one.
async fn query(cluster: &Cluster, query: &str) -> Option<f64> {
    let mut url = String::new();
    for byte in query.bytes() {
        url.push_str(&format!("%{byte:02X}"));
    }
    let url = format!("{}/api/v1/query?query={url}", cluster.prometheus_url());
    let (_, answer) = get(&url).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    answer.pointer("/data/result/0/value/1")?.as_str()?.parse().ok()
}

/// The versions that answer through the gateway, all of them well.
async fn versions(cluster: &Cluster, requests: u32) -> Vec<String> {
    let answers = sample(cluster, requests).await;
    assert_eq!(answers.total.bad, 0, "{answers:?}");
    answers.by_version.into_keys().collect()
}

async fn sample(cluster: &Cluster, requests: u32) -> Snapshot {
    let mut options = load::Options::new(cluster.gateway_url().parse().unwrap(), 200.0);
    options.duration = Some(Duration::from_millis(u64::from(requests) * 5));
    load::run(options).unwrap().finish().await
}

pub(crate) async fn serves(cluster: &Cluster) {
    until("the gateway serves the application", || async {
        matches!(get(&cluster.gateway_url()).await, Ok((status, _)) if status.is_success())
    })
    .await;
}

/// The example's policy, but three seconds a step. With so short a window on a busy machine, a check that finds no
/// request or one slow one is to be expected: the good release may have some, and the bad one is the guard's.
const HASTE: &str = r#"[
    {"op": "replace", "path": "/spec/analysis/threshold", "value": 10},
    {"op": "replace", "path": "/spec/analysis/interval", "value": "3s"},
    {"op": "replace", "path": "/spec/analysis/metrics/0/interval", "value": "5s"},
    {"op": "replace", "path": "/spec/analysis/metrics/1/interval", "value": "5s"}
]"#;

/// A good release and a bad one, by kubectl.
async fn story(options: Options, kubectl: PathBuf) {
    let cluster = Cluster::start(options).await.unwrap();
    let kubectl = Kubectl::new(kubectl, &cluster);
    let applied = kubectl.run(&["apply", "-f", &example("")]).await;
    assert!(applied.contains("canary.flagger.app/backend created"), "{applied}");
    kubectl.run(&["patch", "canary", "backend", "-n", "develop", "--type=json", "-p", HASTE]).await;
    kubectl.wait_for_phase("Initialized").await;
    serves(&cluster).await;
    assert_eq!(versions(&cluster, 50).await, ["v1"]);

    let watched = cluster.dir().join("watched");
    let mut watch = kubectl
        .command(&["get", "canaries", "-n", "develop", "-w"])
        .stdout(std::fs::File::create(&watched).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let before = bad_gateway(&cluster).await;
    let traffic =
        load::run(load::Options::new(cluster.gateway_url().parse().unwrap(), 100.0)).unwrap();

    set_image(&kubectl, "v2").await;
    kubectl.wait_for_phase("Progressing").await;
    kubectl.wait_for_phase("Succeeded").await;
    healthy_release_hurt_nobody(&cluster, &traffic, before).await;
    assert_eq!(versions(&cluster, 100).await, ["v2"]);

    set_image(&kubectl, "v3-bad").await;
    kubectl.wait_for_phase("Progressing").await;
    kubectl.wait_for_phase("Failed").await;
    let weight =
        ["get", "canary", "backend", "-n", "develop", "-o", "jsonpath={.status.canaryWeight}"];
    assert_eq!(kubectl.run(&weight).await, "0");
    until("the gateway has left the bad version", || async {
        sample(&cluster, 20).await.by_version.into_keys().eq(["v2"])
    })
    .await;
    bad_release_was_counted(&cluster).await;
    let figures = traffic.stop().await;
    assert!(figures.by_version["v3-bad"].bad > 0, "{figures:?}");
    // It never had more than its first step.
    assert!(figures.by_version["v3-bad"].requests < figures.total.requests / 10, "{figures:?}");

    watch.kill().unwrap();
    watch.wait().unwrap();
    check_watched(&std::fs::read_to_string(&watched).unwrap());
    ends(cluster).await;
}

async fn set_image(kubectl: &Kubectl, version: &str) {
    let image = format!("backend=local/backend:{version}");
    kubectl.run(&["set", "image", "-n", "develop", "deployment/backend", &image]).await;
}

/// Answers with a code that says that the gateway or the application failed, as the gateway counted them.
async fn bad_gateway(cluster: &Cluster) -> f64 {
    let mut sum = 0.0;
    for code in ["code=\"500\"", "code=\"502\"", "code=\"503\"", "code=\"504\""] {
        let labels = ["entrypoint=\"web\"", code];
        sum += counter(cluster, "traefik_entrypoint_requests_total", &labels).await;
    }
    sum
}

async fn healthy_release_hurt_nobody(cluster: &Cluster, traffic: &load::Load, before: f64) {
    let good = traffic.snapshot().completed() as f64;
    let labels = ["entrypoint=\"web\"", "code=\"200\""];
    assert!(counter(cluster, "traefik_entrypoint_requests_total", &labels).await >= good);
    assert_eq!(bad_gateway(cluster).await, before);
    let figures = traffic.snapshot();
    assert_eq!((figures.total.bad, figures.failed), (0, 0), "{figures:?}");
    let canary = query(cluster, r#"sum(max_over_time(traefik_service_requests_total{service=~"develop-backend-canary-.*",code="200"}[5m]))"#).await;
    assert!(canary.unwrap_or(0.0) > 100.0, "the canary served {canary:?}");
    let primary = counter(
        cluster,
        "traefik_service_requests_total",
        &["develop-backend-primary-80@kubernetescrd"],
    )
    .await;
    assert!(primary > 0.0);
}

async fn bad_release_was_counted(cluster: &Cluster) {
    until("the failures of the bad version are in the metrics", || async {
        let failed = query(cluster, r#"sum(max_over_time(traefik_service_requests_total{service=~"develop-backend-canary-.*",code="500"}[5m]))"#).await;
        failed.unwrap_or(0.0) > 0.0
    })
    .await;
}

/// kubectl printed each step as it came, and how both releases ended.
fn check_watched(printed: &str) {
    let rows: Vec<Vec<&str>> =
        printed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "STATUS", "WEIGHT", "LASTTRANSITIONTIME"], "{printed}");
    let mut weights = Vec::new();
    for row in rows.iter().filter(|row| row[1] == "Progressing" && row[2] != "0") {
        let weight: u8 = row[2].parse().unwrap();
        if weights.last() != Some(&weight) {
            weights.push(weight);
        }
    }
    let expected: Vec<u8> = STEPS.into_iter().chain([5]).collect();
    assert_eq!(weights, expected, "{printed}");
    let phases: Vec<&str> = rows.iter().map(|row| row[1]).collect();
    for phase in ["Promoting", "Finalising", "Succeeded", "Failed"] {
        assert!(phases.contains(&phase), "{phase}: {printed}");
    }
}

/// Stops it and finds nothing of it.
async fn ends(cluster: Cluster) {
    let urls = [
        cluster.api_url(),
        cluster.gateway_url(),
        cluster.gateway_admin_url(),
        cluster.prometheus_url(),
    ];
    let dir = cluster.dir().to_owned();
    let mut addresses: Vec<String> = urls.iter().map(|url| url.replace("http://", "")).collect();
    for pod in cluster.store().list(&ResourceId::core("pods"), None) {
        addresses.push(format!("{}:8080", pod["status"]["podIP"].as_str().unwrap()));
    }
    cluster.stop().await;
    for address in addresses {
        assert!(TcpStream::connect(&address).is_err(), "{address} still listens");
    }
    assert!(!dir.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_by_kubectl() {
    let _alone = alone().await;
    let Some(kubectl) = part("SERIN_KUBECTL") else { return };
    story(options(), kubectl).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_with_the_real_traefik_and_prometheus() {
    let _alone = alone().await;
    let (Some(kubectl), Some(traefik), Some(prometheus)) =
        (part("SERIN_KUBECTL"), part("SERIN_TRAEFIK"), part("SERIN_PROMETHEUS"))
    else {
        return;
    };
    let options =
        Options { router: Part::Real(traefik), metrics: Part::Real(prometheus), ..options() };
    story(options, kubectl).await;
}

/// The example, applied without kubectl.
fn apply(cluster: &Cluster) {
    for file in ["00-namespace", "10-backend", "20-route", "30-metrics", "40-canary"] {
        let text = std::fs::read_to_string(example(&format!("{file}.yaml"))).unwrap();
        for document in manifest::documents(&text).unwrap() {
            manifest::apply(cluster.store(), &document).unwrap();
        }
    }
}

fn canary(cluster: &Cluster) -> Value {
    let id = ResourceId::new("flagger.app", "canaries");
    cluster.store().get(&id, "develop", "backend").unwrap().as_ref().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_serves_without_any_other_program() {
    let _alone = alone().await;
    let cluster = Cluster::start(options()).await.unwrap();
    apply(&cluster);
    serves(&cluster).await;
    assert_eq!(versions(&cluster, 20).await, ["v1"]);
    ends(cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_loses_nothing_and_starts_no_release() {
    let _alone = alone().await;
    let data = std::env::temp_dir().join(format!("serin-data-{}.json", std::process::id()));
    let start = || Cluster::start(Options { data: Some(data.clone()), ..options() });
    let cluster = start().await.unwrap();
    apply(&cluster);
    until("the canary rests", || async { canary(&cluster)["status"]["phase"] == "Initialized" })
        .await;
    let before = canary(&cluster);
    cluster.stop().await;

    let cluster = start().await.unwrap();
    let served = || async { sample(&cluster, 20).await };
    until("all is served again", || async {
        let answers = served().await;
        answers.total.bad == 0 && answers.by_version.into_keys().eq(["v1"])
    })
    .await;
    let after = canary(&cluster);
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    for field in ["phase", "canaryWeight", "lastAppliedSpec", "lastPromotedSpec"] {
        assert_eq!(after["status"][field], before["status"][field], "{field}");
    }
    ends(cluster).await;
    std::fs::remove_file(data).unwrap();
}

#[tokio::test]
async fn an_api_for_everyone_is_refused() {
    let options = Options { api: "0.0.0.0:0".parse().unwrap(), ..options() };
    let error = Cluster::start(options).await.err().unwrap();
    assert!(error.to_string().contains("not a loopback address"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_keeps_its_promise() {
    let _alone = alone().await;
    let demo = tokio::task::spawn_blocking(|| {
        Command::new(env!("CARGO_BIN_EXE_serin")).arg("demo").output()
    });
    let output = demo.await.unwrap().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    for line in [
        "v2 was promoted after",
        "v3-bad was rolled back after",
        "0 of them before the bad release",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(!told.contains('\x1b'), "a pipe gets plain lines: {told}");
}
