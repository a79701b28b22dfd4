//! Releases of DaemonSets: off by a node selector that no node has, on again for a release, never without pods for users.

use serde_json::{Value, json};
use serin_apiserver::registry::ResourceId;

use crate::cluster::{CANARIES, DAEMON_SETS, DEPLOYMENTS, TestCluster, value, workload};

fn image(cluster: &TestCluster, name: &str) -> String {
    let set = cluster.get(DAEMON_SETS, name).unwrap();
    set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
}

fn set_image(cluster: &TestCluster, image: &str) {
    cluster.modify(DAEMON_SETS, "backend", |set| {
        set["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    });
}

fn pods(cluster: &TestCluster, name: &str) -> i64 {
    let set = cluster.get(DAEMON_SETS, name).unwrap();
    set["status"]["numberAvailable"].as_i64().unwrap_or(0)
}

/// Wakes at every change of the store, and fails when the primary has no pod that serves.
async fn until_phase_with_users(cluster: &TestCluster, phase: &str) {
    cluster
        .until(phase, |cluster| {
            assert!(pods(cluster, "backend-primary") > 0, "users without pods");
            cluster.phase() == phase
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_daemon_set_is_promoted_rolled_back_and_given_back() {
    let cluster = TestCluster::start();
    cluster.apply_with(workload("DaemonSet", "app:v1"), json!({}));
    cluster.until_phase("Initialized").await;
    cluster.until("the target rests", |cluster| pods(cluster, "backend") == 0).await;
    let target = cluster.get(DAEMON_SETS, "backend").unwrap();
    let off = &target["spec"]["template"]["spec"]["nodeSelector"]["flagger.app/scale-to-zero"];
    assert_eq!(off, "true");
    let primary = cluster.get(DAEMON_SETS, "backend-primary").unwrap();
    assert_eq!(primary["spec"]["template"]["spec"].get("nodeSelector"), None);

    set_image(&cluster, "app:v2");
    until_phase_with_users(&cluster, "Succeeded").await;
    assert_eq!(image(&cluster, "backend-primary"), "app:v2");
    cluster.until("the target rests", |cluster| pods(cluster, "backend") == 0).await;

    set_image(&cluster, "app:v3");
    cluster.until("the first share", |cluster| cluster.canary_share() == 5).await;
    cluster.answer(|_, _| value(7.0));
    until_phase_with_users(&cluster, "Failed").await;
    assert_eq!(cluster.canary_share(), 0);
    assert_eq!(image(&cluster, "backend-primary"), "app:v2");
    cluster.until("the target rests", |cluster| pods(cluster, "backend") == 0).await;

    cluster.answer(|_, _| value(0.0));
    set_image(&cluster, "app:v2");
    cluster.pass(120).await;
    let id = ResourceId::new(CANARIES.0, CANARIES.1);
    cluster.store.delete(&id, "develop", "backend", &Default::default()).unwrap();
    cluster.until("gone", |cluster| cluster.get(CANARIES, "backend").is_none()).await;
    cluster.until("the target serves", |cluster| pods(cluster, "backend") == 1).await;
}

#[tokio::test(start_paused = true)]
async fn blue_green_without_a_router() {
    let cluster = TestCluster::start();
    let spec =
        json!({"provider": "kubernetes", "analysis": {"stepWeights": null, "iterations": 2}});
    cluster.apply_with(workload("DaemonSet", "app:v1"), spec);
    cluster.until_phase("Initialized").await;
    set_image(&cluster, "app:v2");
    until_phase_with_users(&cluster, "Succeeded").await;
    assert_eq!(image(&cluster, "backend-primary"), "app:v2");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_never_starts_is_rolled_back_after_the_deadline() {
    let cluster = TestCluster::start();
    cluster.apply_with(workload("DaemonSet", "app:v1"), json!({"progressDeadlineSeconds": 60}));
    cluster.until_phase("Initialized").await;
    set_image(&cluster, "app:never");
    until_phase_with_users(&cluster, "Failed").await;
    let reason = cluster.status()["lastReason"].clone();
    assert_eq!(reason["code"], "CanaryStuck", "{reason}");
    assert!(reason["message"].as_str().unwrap().contains("pods are available"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_a_port_of_its_node_is_left_alone() {
    let cluster = TestCluster::start();
    let mut exporter = workload("DaemonSet", "app:v1");
    exporter["spec"]["template"]["spec"]["containers"][0]["ports"][0]["hostPort"] = json!(9100);
    exporter["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    cluster.apply_with(exporter, json!({}));
    cluster
        .until("a word", |cluster| cluster.status()["lastReason"]["code"] == "TargetUnusable")
        .await;
    let message = cluster.status()["lastReason"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("OnDelete") && message.contains("port 9100"), "{message}");
    assert!(cluster.events().iter().any(|event| event.starts_with("Warning TargetUnusable")));
    cluster.pass(600).await;
    assert!(cluster.get(DAEMON_SETS, "backend-primary").is_none());
    cluster.modify(DAEMON_SETS, "backend", |set| {
        set["spec"]["template"]["spec"]["containers"][0]["ports"][0]["hostPort"] = Value::Null;
        set["spec"]["updateStrategy"] = json!({"type": "RollingUpdate"});
    });
    cluster.until_phase("Initialized").await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_of_the_same_name_is_another_workload() {
    let cluster = TestCluster::start();
    cluster.apply_with(workload("DaemonSet", "app:v1"), json!({}));
    cluster.until_phase("Initialized").await;
    cluster.create(
        DEPLOYMENTS,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "backend-primary"},
            "spec": {
                "selector": {"matchLabels": {"app": "other"}},
                "template": {
                    "metadata": {"labels": {"app": "other"}},
                    "spec": {"containers": [{"name": "other", "image": "other:v1"}]},
                },
            },
        }),
    );
    set_image(&cluster, "app:v2");
    until_phase_with_users(&cluster, "Succeeded").await;
    let other = cluster.get(DEPLOYMENTS, "backend-primary").unwrap();
    assert_eq!(other["spec"]["template"]["spec"]["containers"][0]["image"], "other:v1");
}
