//! Requests that a gateway does not count, with the embedded one and with the real Traefik.

use serin::lab::local::{Cluster, Options, Part};
use serin_local::load;

use crate::alone;
use crate::local::{Kubectl, example, options, part, serves, until};

/// One long step, in which nothing but the guard can notice anything.
const GUARDED: &str = r#"[
    {"op": "replace", "path": "/spec/analysis/interval", "value": "10m"},
    {"op": "replace", "path": "/spec/analysis/stepWeights", "value": [20, 50]},
    {"op": "add", "path": "/spec/analysis/guard", "value": {"errorRate": {"slo": 1}, "blindDeadline": "10s"}}
]"#;

/// A version of whose answers every second one breaks off: what is counted of it is without a fault.
async fn breaks_off(options: Options, kubectl: std::path::PathBuf) {
    let cluster = Cluster::start(options).await.unwrap();
    let kubectl = Kubectl::new(kubectl, &cluster);
    kubectl.run(&["apply", "-f", &example("")]).await;
    kubectl
        .run(&["patch", "canary", "backend", "-n", "develop", "--type=json", "-p", GUARDED])
        .await;
    kubectl.wait_for_phase("Initialized").await;
    serves(&cluster).await;
    let traffic =
        load::run(load::Options::new(cluster.gateway_url().parse().unwrap(), 100.0)).unwrap();
    kubectl.run(&["set", "env", "-n", "develop", "deployment/backend", "CUT_RATE=0.5"]).await;
    kubectl.wait_for_phase("Progressing").await;

    let field = |path: &'static str| {
        let kubectl = &kubectl;
        async move { kubectl.run(&["get", "canary", "backend", "-n", "develop", "-o", path]).await }
    };
    let reason = "jsonpath={.status.conditions[?(@.type==\"MetricsReady\")].reason}";
    until("the condition tells", || async { field(reason).await == "RequestsMissing" }).await;
    until("the share is taken back", || async {
        field("jsonpath={.status.canaryWeight} {.status.lastReason.code}").await == "0 GuardBlind"
    })
    .await;
    assert_eq!(field("jsonpath={.status.phase}").await, "Progressing", "nothing is rejected");
    let figures = traffic.stop().await;
    assert!(figures.failed > 0, "the clients have seen it: {figures:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_break_off_are_noticed() {
    let _alone = alone().await;
    let Some(kubectl) = part("SERIN_KUBECTL") else { return };
    breaks_off(options(), kubectl).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_break_off_are_noticed_behind_the_real_traefik() {
    let _alone = alone().await;
    let (Some(kubectl), Some(traefik)) = (part("SERIN_KUBECTL"), part("SERIN_TRAEFIK")) else {
        return;
    };
    breaks_off(Options { router: Part::Real(traefik), ..options() }, kubectl).await;
}
