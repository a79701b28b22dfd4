//! Statuses that Flagger 1.36.1 left on a real control plane, one of each of its phases (`make conformance` records them).

use serde_json::{Value, json};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{Sub, WriteOptions};

use crate::cluster::{CANARIES, DEPLOYMENTS, TestCluster};

/// The status of a phase, and what comes of it: a release that was under way begins once more, what rests goes on resting.
const OUTCOMES: [(&str, &str); 8] = [
    ("Initialized", "Initialized"),
    ("Waiting", "Succeeded"),
    ("Progressing", "Succeeded"),
    ("WaitingPromotion", "Succeeded"),
    ("Promoting", "Succeeded"),
    ("Finalising", "Succeeded"),
    ("Succeeded", "Succeeded"),
    ("Failed", "Failed"),
];

fn left() -> Value {
    serde_json::from_str(include_str!("left_by_flagger.json")).unwrap()
}

async fn taken_over(phase: &str) -> TestCluster {
    let mut cluster = TestCluster::start();
    cluster.apply("app:v1", json!({}));
    cluster.until_phase("Initialized").await;
    cluster.kill_operator();
    // What was analysed is not what the primary runs, but where Flagger has copied it or nothing was released.
    if !["Initialized", "Succeeded", "Finalising", "Failed"].contains(&phase) {
        cluster.set_image("app:v2");
    }
    let mut status = left()[phase].clone();
    // Of the objects of that cluster.
    status["trackedConfigs"] = json!({});
    let id = ResourceId::new(CANARIES.0, CANARIES.1);
    let by = WriteOptions::by("flagger");
    cluster
        .store
        .modify(&id, "develop", "backend", Sub::Status, &by, |canary| canary["status"] = status)
        .unwrap();
    cluster.start_operator();
    cluster
}

#[tokio::test(start_paused = true)]
async fn canaries_that_flagger_left_in_any_phase_are_found_by_their_event() {
    for (phase, outcome) in OUTCOMES {
        let cluster = taken_over(phase).await;
        cluster
            .until(phase, |cluster| {
                cluster.phase() == outcome && cluster.status()["adopted"] == true
            })
            .await;
        cluster.pass(60).await;
        let told: Vec<String> =
            cluster.events().into_iter().filter(|event| event.contains("Adopted")).collect();
        assert_eq!(told.len(), 1, "left at {phase}: {:#?}", cluster.events());
        assert_eq!(cluster.phase(), outcome, "left at {phase}");
        let rests = ["Initialized", "Succeeded", "Failed"].contains(&phase);
        let released =
            cluster.events().iter().any(|event| event.contains("Starting canary analysis"));
        assert!(!(rests && released), "left at {phase}: {:#?}", cluster.events());
    }
}

#[tokio::test(start_paused = true)]
async fn a_primary_of_flaggers_that_never_started_takes_up_the_fix_of_the_target() {
    let mut cluster = TestCluster::start();
    cluster.apply("app:never", json!({}));
    cluster
        .until("a primary", |cluster| cluster.get(DEPLOYMENTS, "backend-primary").is_some())
        .await;
    cluster.pass(700).await;
    cluster.kill_operator();
    cluster.modify(DEPLOYMENTS, "backend-primary", |primary| {
        let annotations = primary["metadata"]["annotations"].as_object_mut().unwrap();
        assert!(annotations.remove("serin.dev/revision").is_some(), "{primary}");
    });
    let status = left()["Initializing"].clone();
    let id = ResourceId::new(CANARIES.0, CANARIES.1);
    let by = WriteOptions::by("flagger");
    cluster
        .store
        .modify(&id, "develop", "backend", Sub::Status, &by, |canary| canary["status"] = status)
        .unwrap();
    cluster.start_operator();
    cluster.until("told", |cluster| cluster.status()["lastReason"]["code"] == "PrimaryStuck").await;
    cluster.set_image("app:v1");
    cluster.until_phase("Initialized").await;
    assert_eq!(cluster.primary_image(), "app:v1");
}
