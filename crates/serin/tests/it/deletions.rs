//! Canaries that leave while something is in the way: a deletion ends, and nobody loses a request by it.

use std::sync::Arc;

use serde_json::json;
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{DeleteOptions, Propagation};

use crate::cluster::{CANARIES, DEPLOYMENTS, TestCluster};

const SERVICES: (&str, &str) = ("", "services");
const SLICES: (&str, &str) = ("discovery.k8s.io", "endpointslices");

async fn at_rest() -> TestCluster {
    let cluster = TestCluster::start();
    cluster.apply("app:v1", json!({}));
    cluster.until_phase("Initialized").await;
    cluster.pass(30).await;
    cluster
}

fn delete(cluster: &TestCluster, id: (&str, &str), name: &str) {
    let id = ResourceId::new(id.0, id.1);
    cluster.store.delete(&id, "develop", name, &DeleteOptions::default()).unwrap();
}

/// Ready endpoints of a Service.
fn endpoints(cluster: &TestCluster, service: &str) -> usize {
    let slices = cluster.store.list(&ResourceId::new(SLICES.0, SLICES.1), Some("develop"));
    let of = |slice: &&Arc<serde_json::Value>| {
        slice["metadata"]["labels"]["kubernetes.io/service-name"] == service
    };
    let ready = |slice: &Arc<serde_json::Value>| {
        let endpoints = slice["endpoints"].as_array().cloned().unwrap_or_default();
        endpoints.iter().filter(|one| one["conditions"]["ready"] == true).count()
    };
    slices.iter().filter(of).map(ready).sum()
}

/// Waits for the end of the Canary; the apex has endpoints at every moment.
async fn until_gone(cluster: &TestCluster) {
    cluster
        .until("gone", |cluster| {
            assert!(endpoints(cluster, "backend") > 0, "status: {:#}", cluster.status());
            cluster.get(CANARIES, "backend").is_none()
        })
        .await;
    cluster.pass(30).await;
    assert_eq!(endpoints(cluster, "backend"), 2);
    let apex = cluster.get(SERVICES, "backend").unwrap();
    assert_eq!(apex["spec"]["selector"], json!({"app": "backend"}));
    assert!(cluster.get(DEPLOYMENTS, "backend-primary").is_none());
}

/// Life 478 of the simulation.
#[tokio::test(start_paused = true)]
async fn a_canary_whose_service_went_while_nobody_looked_can_leave() {
    let mut cluster = at_rest().await;
    cluster.kill_operator();
    for service in ["backend-canary", "backend-primary"] {
        delete(&cluster, SERVICES, service);
    }
    delete(&cluster, CANARIES, "backend");
    cluster.start_operator();
    cluster
        .until("the way of the users is whole again", |cluster| {
            endpoints(cluster, "backend-primary") == 2
        })
        .await;
    until_gone(&cluster).await;
}

#[tokio::test(start_paused = true)]
async fn a_canary_whose_service_picks_other_pods_can_leave() {
    let mut cluster = at_rest().await;
    cluster.kill_operator();
    cluster.modify(SERVICES, "backend-canary", |service| {
        service["spec"]["selector"] = json!({"app": "nobody"});
    });
    delete(&cluster, CANARIES, "backend");
    cluster.start_operator();
    until_gone(&cluster).await;
}

/// Somebody has put an object of his own in the place of ours: it is not touched, and holds nobody.
#[tokio::test(start_paused = true)]
async fn a_canary_whose_service_is_somebody_elses_by_now_can_leave() {
    let mut cluster = at_rest().await;
    cluster.kill_operator();
    delete(&cluster, SERVICES, "backend-canary");
    let owner = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "name": "other", "uid": "other", "controller": true,
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "backend-canary", "ownerReferences": [owner]},
        "spec": {"selector": {"app": "other"}, "ports": [{"port": 80}]},
    });
    cluster.create(SERVICES, service);
    delete(&cluster, CANARIES, "backend");
    cluster.start_operator();
    until_gone(&cluster).await;
}

/// Kubernetes takes the primary and the Services at once: what is left is to be quick, and to end.
#[tokio::test(start_paused = true)]
async fn a_canary_that_is_deleted_in_the_foreground_leaves_without_a_fight() {
    let cluster = at_rest().await;
    let id = ResourceId::new(CANARIES.0, CANARIES.1);
    let options =
        DeleteOptions { propagation: Propagation::Foreground, ..DeleteOptions::default() };
    cluster.store.delete(&id, "develop", "backend", &options).unwrap();
    let before = cluster.store.version();
    cluster.until("gone", |cluster| cluster.get(CANARIES, "backend").is_none()).await;
    cluster.pass(30).await;
    // How many pods the primary had is known to nobody any more.
    assert_eq!(endpoints(&cluster, "backend"), 1);
    let writes = cluster.store.version() - before;
    assert!(writes < 150, "{writes} changes");
}
