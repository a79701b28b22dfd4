//! Releases of DaemonSets: off by a node selector that no node has, on again for a release, never without pods for users.

use serde_json::{Value, json};
use serin_apiserver::registry::ResourceId;

use crate::bed::{Bed, CANARIES, DAEMON_SETS, DEPLOYMENTS, value, workload};

fn image(bed: &Bed, name: &str) -> String {
    let set = bed.get(DAEMON_SETS, name).unwrap();
    set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
}

fn set_image(bed: &Bed, image: &str) {
    bed.modify(DAEMON_SETS, "backend", |set| {
        set["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    });
}

fn pods(bed: &Bed, name: &str) -> i64 {
    let set = bed.get(DAEMON_SETS, name).unwrap();
    set["status"]["numberAvailable"].as_i64().unwrap_or(0)
}

/// Wakes at every change of the store, and fails when the primary has no pod that serves.
async fn until_phase_with_users(bed: &Bed, phase: &str) {
    bed.until(phase, |bed| {
        assert!(pods(bed, "backend-primary") > 0, "users without pods");
        bed.phase() == phase
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_daemon_set_is_promoted_rolled_back_and_given_back() {
    let bed = Bed::start();
    bed.apply_with(workload("DaemonSet", "app:v1"), json!({}));
    bed.until_phase("Initialized").await;
    bed.until("the target rests", |bed| pods(bed, "backend") == 0).await;
    let target = bed.get(DAEMON_SETS, "backend").unwrap();
    let off = &target["spec"]["template"]["spec"]["nodeSelector"]["flagger.app/scale-to-zero"];
    assert_eq!(off, "true");
    let primary = bed.get(DAEMON_SETS, "backend-primary").unwrap();
    assert_eq!(primary["spec"]["template"]["spec"].get("nodeSelector"), None);

    set_image(&bed, "app:v2");
    until_phase_with_users(&bed, "Succeeded").await;
    assert_eq!(image(&bed, "backend-primary"), "app:v2");
    bed.until("the target rests", |bed| pods(bed, "backend") == 0).await;

    set_image(&bed, "app:v3");
    bed.until("the first share", |bed| bed.canary_share() == 5).await;
    bed.answer(|_, _| value(7.0));
    until_phase_with_users(&bed, "Failed").await;
    assert_eq!(bed.canary_share(), 0);
    assert_eq!(image(&bed, "backend-primary"), "app:v2");
    bed.until("the target rests", |bed| pods(bed, "backend") == 0).await;

    bed.answer(|_, _| value(0.0));
    set_image(&bed, "app:v2");
    bed.pass(120).await;
    let id = ResourceId::new(CANARIES.0, CANARIES.1);
    bed.store.delete(&id, "develop", "backend", &Default::default()).unwrap();
    bed.until("gone", |bed| bed.get(CANARIES, "backend").is_none()).await;
    bed.until("the target serves", |bed| pods(bed, "backend") == 1).await;
}

#[tokio::test(start_paused = true)]
async fn blue_green_without_a_router() {
    let bed = Bed::start();
    let spec =
        json!({"provider": "kubernetes", "analysis": {"stepWeights": null, "iterations": 2}});
    bed.apply_with(workload("DaemonSet", "app:v1"), spec);
    bed.until_phase("Initialized").await;
    set_image(&bed, "app:v2");
    until_phase_with_users(&bed, "Succeeded").await;
    assert_eq!(image(&bed, "backend-primary"), "app:v2");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_never_starts_is_rolled_back_after_the_deadline() {
    let bed = Bed::start();
    bed.apply_with(workload("DaemonSet", "app:v1"), json!({"progressDeadlineSeconds": 60}));
    bed.until_phase("Initialized").await;
    set_image(&bed, "app:never");
    until_phase_with_users(&bed, "Failed").await;
    let reason = bed.status()["lastReason"].clone();
    assert_eq!(reason["code"], "CanaryStuck", "{reason}");
    assert!(reason["message"].as_str().unwrap().contains("pods are available"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_a_port_of_its_node_is_left_alone() {
    let bed = Bed::start();
    let mut exporter = workload("DaemonSet", "app:v1");
    exporter["spec"]["template"]["spec"]["containers"][0]["ports"][0]["hostPort"] = json!(9100);
    exporter["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    bed.apply_with(exporter, json!({}));
    bed.until("a word", |bed| bed.status()["lastReason"]["code"] == "TargetUnusable").await;
    let message = bed.status()["lastReason"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("OnDelete") && message.contains("port 9100"), "{message}");
    assert!(bed.events().iter().any(|event| event.starts_with("Warning TargetUnusable")));
    bed.pass(600).await;
    assert!(bed.get(DAEMON_SETS, "backend-primary").is_none());
    bed.modify(DAEMON_SETS, "backend", |set| {
        set["spec"]["template"]["spec"]["containers"][0]["ports"][0]["hostPort"] = Value::Null;
        set["spec"]["updateStrategy"] = json!({"type": "RollingUpdate"});
    });
    bed.until_phase("Initialized").await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_of_the_same_name_is_another_workload() {
    let bed = Bed::start();
    bed.apply_with(workload("DaemonSet", "app:v1"), json!({}));
    bed.until_phase("Initialized").await;
    bed.create(
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
    set_image(&bed, "app:v2");
    until_phase_with_users(&bed, "Succeeded").await;
    let other = bed.get(DEPLOYMENTS, "backend-primary").unwrap();
    assert_eq!(other["spec"]["template"]["spec"]["containers"][0]["image"], "other:v1");
}
