//! The installation as its guide has it: `kubectl apply -f deploy/`, two replicas as processes of their own behind
//! their probes, one of them leading, and a release that they carry out.

use std::path::PathBuf;

use serin::lab::local::get::get;
use serin::lab::local::{Cluster, Options};
use serin_apiserver::registry::ResourceId;
use serin_local::load;

use crate::alone;
use crate::local::{Kubectl, example, options, part, serves, until};

/// Steps that are seconds apart, as nobody would have them in production.
pub(crate) const HASTE: &str = r#"[
    {"op": "replace", "path": "/spec/analysis/threshold", "value": 10},
    {"op": "replace", "path": "/spec/analysis/interval", "value": "3s"},
    {"op": "replace", "path": "/spec/analysis/stepWeights", "value": [20, 50]},
    {"op": "replace", "path": "/spec/analysis/metrics/0/interval", "value": "5s"},
    {"op": "replace", "path": "/spec/analysis/metrics/1/interval", "value": "5s"}
]"#;

/// A private directory that goes with the test.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("serin-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// What runs for the image of the manifests: this program, with what differs from a real cluster in its environment.
pub(crate) fn entrypoint(scratch: &Scratch) -> (String, Vec<String>) {
    let settings = scratch.0.join("settings");
    let script = format!(
        "set -a; . {}; SERIN_ADDRESS=$POD_IP; set +a; exec {} \"$@\"",
        settings.display(),
        env!("CARGO_BIN_EXE_serin")
    );
    let words = ["/bin/sh", "-c", &script, "serin"];
    ("ghcr.io/serin-rs/serin:*".to_owned(), words.map(str::to_owned).to_vec())
}

/// What a cluster's DNS and service accounts would give.
pub(crate) fn settle(scratch: &Scratch, cluster: &Cluster) {
    let settings = format!(
        "SERIN_KUBECONFIG={}\nSERIN_GATEWAY_METRICS={}/metrics\nSERIN_MIN_INTERVAL=1\n",
        cluster.kubeconfig().display(),
        cluster.gateway_admin_url(),
    );
    std::fs::write(scratch.0.join("settings"), settings).unwrap();
}

/// Addresses of the operator's pods.
pub(crate) fn replicas(cluster: &Cluster) -> Vec<String> {
    let pods = cluster.store().list(&ResourceId::core("pods"), Some("serin-system"));
    pods.iter().filter_map(|pod| Some(pod["status"]["podIP"].as_str()?.to_owned())).collect()
}

pub(crate) async fn leads(address: &str) -> bool {
    let Ok((status, page)) = get(&format!("http://{address}:8080/metrics")).await else {
        return false;
    };
    let page = String::from_utf8_lossy(&page).into_owned();
    status.is_success()
        && page.lines().any(|line| line.starts_with("serin_leader") && line.ends_with(" 1"))
}

pub(crate) async fn install(kubectl: &Kubectl) {
    let deploy = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/");
    let applied = kubectl.run(&["apply", "-f", deploy]).await;
    for made in [
        "namespace/serin-system created",
        "serviceaccount/serin created",
        "clusterrole.rbac.authorization.k8s.io/serin created",
        "clusterrolebinding.rbac.authorization.k8s.io/serin created",
        "role.rbac.authorization.k8s.io/serin-leader created",
        "deployment.apps/serin created",
    ] {
        assert!(applied.contains(made), "{made}: {applied}");
    }
    let rollout = ["rollout", "status", "-n", "serin-system", "deployment/serin", "--timeout=300s"];
    kubectl.run(&rollout).await;
    let again = kubectl.run(&["apply", "-f", deploy]).await;
    assert!(!again.contains("created"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_install_an_operator_that_releases() {
    let _alone = alone().await;
    let Some(kubectl) = part("SERIN_KUBECTL") else { return };
    let scratch = Scratch::new("install");
    let cluster = Cluster::start(Options {
        operator: false,
        images: vec![entrypoint(&scratch)],
        ..options()
    })
    .await
    .unwrap();
    settle(&scratch, &cluster);
    let kubectl = Kubectl::new(kubectl, &cluster);
    install(&kubectl).await;

    let pods = replicas(&cluster);
    assert_eq!(pods.len(), 2);
    until("one of the two leads", || async {
        let (first, second) = (leads(&pods[0]).await, leads(&pods[1]).await);
        first != second
    })
    .await;

    kubectl.run(&["apply", "-f", &example("")]).await;
    let server = format!(r#"{{"spec": {{"metricsServer": "{}"}}}}"#, cluster.prometheus_url());
    kubectl.run(&["patch", "canary", "backend", "-n", "develop", "--type=json", "-p", HASTE]).await;
    kubectl
        .run(&["patch", "canary", "backend", "-n", "develop", "--type=merge", "-p", &server])
        .await;
    kubectl.wait_for_phase("Initialized").await;
    serves(&cluster).await;
    let traffic =
        load::run(load::Options::new(cluster.gateway_url().parse().unwrap(), 100.0)).unwrap();
    let image = "backend=local/backend:v2";
    kubectl.run(&["set", "image", "-n", "develop", "deployment/backend", image]).await;
    kubectl.wait_for_phase("Progressing").await;
    kubectl.wait_for_phase("Succeeded").await;
    let figures = traffic.stop().await;
    assert_eq!((figures.total.bad, figures.failed), (0, 0), "{figures:?}");
    assert!(figures.by_version["v2"].requests > 0, "{figures:?}");
    cluster.stop().await;
}
