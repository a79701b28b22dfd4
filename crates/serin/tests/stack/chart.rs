//! The chart and the kustomizations, as helm and kubectl of their authors render them: every combination is accepted by the
//! API, every flag is there, and an installed chart releases, is seen by its dashboards, and leaves what is the user's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args as _;
use serde_json::Value;
use serin::cli::config::ControllerArgs;
use serin::lab::local::{Cluster, Options, manifest};
use serin_local::load;

use crate::alone;
use crate::install::{HASTE, Scratch, entrypoint, leads, replicas, settle};
use crate::local::{Kubectl, example, options, part, serves, until};
use crate::monitoring::Monitoring;

/// The oldest and the newest Kubernetes that the chart is for.
const VERSIONS: [&str; 2] = ["1.31.0", "1.37.0"];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// helm with a home of its own.
struct Helm {
    program: PathBuf,
    home: PathBuf,
    kubeconfig: PathBuf,
}

impl Helm {
    fn new(program: PathBuf, cluster: &Cluster) -> Self {
        let home = cluster.dir().join("helm");
        std::fs::create_dir_all(&home).unwrap();
        Self { program, home, kubeconfig: cluster.kubeconfig() }
    }

    async fn run(&self, args: &[&str]) -> String {
        let mut command = Command::new(&self.program);
        command.args(args).env("HOME", &self.home).env("KUBECONFIG", &self.kubeconfig);
        for place in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(place, self.home.join(place));
        }
        command.current_dir(root());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "helm {args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The values that the chart brings for its tests.
fn values() -> Vec<PathBuf> {
    let folder = root().join("charts/serin/ci");
    let mut found: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert!(found.len() >= 5, "{found:?}");
    found
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().trim_end_matches("-values").to_owned()
}

async fn bare() -> Cluster {
    Cluster::start(Options { operator: false, ..options() }).await.unwrap()
}

/// Everything was applied, and was checked by the server field by field.
async fn accepted(kubectl: &Kubectl, args: &[&str]) -> usize {
    let flags = ["apply", "--server-side", "--force-conflicts", "--validate=strict"];
    let applied = kubectl.run(&[flags.as_slice(), args].concat()).await;
    let strange: Vec<_> =
        applied.lines().filter(|line| !line.ends_with(" serverside-applied")).collect();
    assert!(strange.is_empty(), "{strange:?}");
    applied.lines().count()
}

async fn prepared(kubectl: &Kubectl) {
    let fixtures =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stack/fixtures/monitoring-crds.yaml");
    kubectl.run(&["apply", "-f", fixtures]).await;
    for namespace in ["serin-system", "monitoring", "develop"] {
        kubectl.run(&["create", "namespace", namespace]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_combination_of_the_chart_is_accepted() {
    let _alone = alone().await;
    let (Some(helm), Some(kubectl)) = (part("SERIN_HELM"), part("SERIN_KUBECTL")) else { return };
    let cluster = bare().await;
    let (helm, kubectl) = (Helm::new(helm, &cluster), Kubectl::new(kubectl, &cluster));
    prepared(&kubectl).await;
    for path in values() {
        let (file, name) = (path.to_str().unwrap(), name(&path));
        for version in VERSIONS {
            helm.run(&["lint", "--strict", "--kube-version", version, "charts/serin", "-f", file])
                .await;
            let release = format!("{name}-{}", version.replace('.', "-"));
            let args = ["template", &release, "charts/serin", "-n", "serin-system"];
            let more = ["--kube-version", version, "-f", file];
            let text = helm.run(&[args.as_slice(), &more].concat()).await;
            let rendered = cluster.dir().join(format!("{release}.yaml"));
            std::fs::write(&rendered, &text).unwrap();
            let objects = manifest::documents(&text).unwrap().len();
            assert!(objects >= 3, "{release}: {objects}");
            let applied = accepted(&kubectl, &["-f", rendered.to_str().unwrap()]).await;
            assert_eq!(applied, objects, "{release}");
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kustomization_is_accepted() {
    let _alone = alone().await;
    let Some(kubectl) = part("SERIN_KUBECTL") else { return };
    let cluster = bare().await;
    let kubectl = Kubectl::new(kubectl, &cluster);
    prepared(&kubectl).await;
    for folder in [
        "deploy",
        "kustomize/traefik",
        "kustomize/gatewayapi",
        "kustomize/kubernetes",
        "deploy/monitoring",
    ] {
        let path = root().join(folder);
        let path = path.to_str().unwrap();
        let text = kubectl.run(&["kustomize", path]).await;
        let objects = manifest::documents(&text).unwrap();
        assert_eq!(accepted(&kubectl, &["-k", path]).await, objects.len(), "{folder}");
        let traefik = objects.iter().any(|object| object["metadata"]["name"] == "serin-traefik");
        assert_eq!(traefik, matches!(folder, "deploy" | "kustomize/traefik"), "{folder}");
    }
    cluster.stop().await;
}

/// The arguments of the only Deployment in a stream of objects.
fn arguments(text: &str) -> Vec<String> {
    let objects = manifest::documents(text).unwrap();
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let args = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    serde_json::from_value(args.clone()).unwrap()
}

fn flag(argument: &str) -> Option<&str> {
    Some(argument.strip_prefix("--")?.split('=').next().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_has_every_flag_of_the_controller() {
    let _alone = alone().await;
    let Some(helm) = part("SERIN_HELM") else { return };
    let cluster = bare().await;
    let helm = Helm::new(helm, &cluster);
    let program = ControllerArgs::augment_args(clap::Command::new("controller"));
    for path in values() {
        let args = ["template", "serin", "charts/serin", "--kube-version", "1.37.0", "-f"];
        let text = helm.run(&[args.as_slice(), &[path.to_str().unwrap()]].concat()).await;
        let given = arguments(&text);
        if let Err(error) = program.clone().try_get_matches_from(&given) {
            panic!("{}: {error}", path.display());
        }
        if name(&path) == "everything" {
            let given: BTreeSet<&str> =
                given.iter().filter_map(|argument| flag(argument)).collect();
            let known: BTreeSet<&str> =
                program.get_arguments().filter_map(clap::Arg::get_long).collect();
            assert_eq!(given, known, "charts/serin/templates/_args.tpl and `serin controller`");
        }
    }
    cluster.stop().await;
}

/// The example's canary, and a release of each of these versions up to where it ends.
pub(crate) async fn released(
    kubectl: &Kubectl,
    cluster: &Cluster,
    prometheus: &str,
    versions: &[(&str, &str)],
) {
    kubectl.run(&["apply", "-f", &example("")]).await;
    let server = format!(r#"{{"spec": {{"metricsServer": "{prometheus}"}}}}"#);
    let patch = ["patch", "canary", "backend", "-n", "develop"];
    kubectl.run(&[patch.as_slice(), &["--type=json", "-p", HASTE]].concat()).await;
    kubectl.run(&[patch.as_slice(), &["--type=merge", "-p", &server]].concat()).await;
    kubectl.wait_for_phase("Initialized").await;
    serves(cluster).await;
    let traffic =
        load::run(load::Options::new(cluster.gateway_url().parse().unwrap(), 100.0)).unwrap();
    for (version, end) in versions {
        let image = format!("backend=local/backend:{version}");
        kubectl.run(&["set", "image", "-n", "develop", "deployment/backend", &image]).await;
        kubectl.wait_for_phase("Progressing").await;
        kubectl.wait_for_phase(end).await;
    }
    traffic.stop().await;
}

async fn installed(helm: &Helm, kubectl: &Kubectl, cluster: &Cluster) {
    let chart = ["install", "serin", "charts/serin", "-n", "serin-system", "--create-namespace"];
    let more = ["--wait", "--timeout=5m", "--set", "watch.namespaces={develop},minInterval=1"];
    let said = helm.run(&[chart.as_slice(), &more].concat()).await;
    assert!(said.contains("cannot be pulled"), "an image that is not published: {said}");
    until("one of the two leads", || async {
        let pods = replicas(cluster);
        pods.len() == 2 && leads(&pods[0]).await != leads(&pods[1]).await
    })
    .await;
    // The same rights as the test of rights has them, but as a Role and in one namespace.
    let granted = kubectl.run(&["get", "role", "serin", "-n", "develop", "-o", "json"]).await;
    let granted: Value = serde_json::from_str(&granted).unwrap();
    assert!(granted["rules"].as_array().unwrap().len() >= 10, "{granted}");
    let wide = kubectl.output(&["get", "clusterrole", "serin"]).await;
    assert!(!wide.status.success(), "a ClusterRole though namespaces are listed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installed_chart_releases_and_its_dashboards_show_it() {
    let _alone = alone().await;
    let (Some(helm), Some(kubectl)) = (part("SERIN_HELM"), part("SERIN_KUBECTL")) else { return };
    let Some(prometheus) = part("SERIN_PROMETHEUS") else { return };
    let scratch = Scratch::new("chart");
    let images = vec![entrypoint(&scratch)];
    let cluster = Cluster::start(Options { operator: false, images, ..options() }).await.unwrap();
    settle(&scratch, &cluster);
    let (helm, kubectl) = (Helm::new(helm, &cluster), Kubectl::new(kubectl, &cluster));
    kubectl.run(&["create", "namespace", "develop"]).await;
    installed(&helm, &kubectl, &cluster).await;
    let monitoring = Monitoring::start(&prometheus, cluster.dir(), &replicas(&cluster)).await;
    let versions = [("v2", "Succeeded"), ("v3-bad", "Failed")];
    released(&kubectl, &cluster, &cluster.prometheus_url(), &versions).await;
    // It fires once the end of the release is scraped, and so recorded.
    monitoring.fires("CanaryFailed").await;
    monitoring.every_query_has_an_answer().await;

    let upgrade = ["upgrade", "serin", "charts/serin", "-n", "serin-system", "--reuse-values"];
    helm.run(&[upgrade.as_slice(), &["--set", "clusterName=one", "--wait"]].concat()).await;
    let args =
        kubectl.run(&["get", "deployment", "serin", "-n", "serin-system", "-o", "json"]).await;
    assert!(args.contains("--cluster-name=one"), "{args}");
    helm.run(&["uninstall", "serin", "-n", "serin-system", "--wait"]).await;
    let kept = kubectl.run(&["get", "canary", "backend", "-n", "develop", "-o", "name"]).await;
    assert_eq!(kept.trim(), "canary.flagger.app/backend");
    cluster.stop().await;
}
