//! Statuses that Flagger 1.36.1 left on a real control plane, one of each of its phases (`make conformance` records them).

use serde_json::{Value, json};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{Sub, WriteOptions};

use crate::bed::{Bed, CANARIES, DEPLOYMENTS};

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

async fn taken_over(phase: &str) -> Bed {
    let mut bed = Bed::start();
    bed.apply("app:v1", json!({}));
    bed.until_phase("Initialized").await;
    bed.kill_operator();
    // What was analysed is not what the primary runs, but where Flagger has copied it or nothing was released.
    if !["Initialized", "Succeeded", "Finalising", "Failed"].contains(&phase) {
        bed.set_image("app:v2");
    }
    let mut status = left()[phase].clone();
    // Of the objects of that cluster.
    status["trackedConfigs"] = json!({});
    let id = ResourceId::new(CANARIES.0, CANARIES.1);
    let by = WriteOptions::by("flagger");
    bed.store
        .modify(&id, "develop", "backend", Sub::Status, &by, |canary| canary["status"] = status)
        .unwrap();
    bed.start_operator();
    bed
}

#[tokio::test(start_paused = true)]
async fn canaries_that_flagger_left_in_any_phase_are_found_by_their_event() {
    for (phase, outcome) in OUTCOMES {
        let bed = taken_over(phase).await;
        bed.until(phase, |bed| bed.phase() == outcome && bed.status()["adopted"] == true).await;
        bed.pass(60).await;
        let told: Vec<String> =
            bed.events().into_iter().filter(|event| event.contains("Adopted")).collect();
        assert_eq!(told.len(), 1, "left at {phase}: {:#?}", bed.events());
        assert_eq!(bed.phase(), outcome, "left at {phase}");
        let rests = ["Initialized", "Succeeded", "Failed"].contains(&phase);
        let released = bed.events().iter().any(|event| event.contains("Starting canary analysis"));
        assert!(!(rests && released), "left at {phase}: {:#?}", bed.events());
    }
}

#[tokio::test(start_paused = true)]
async fn a_primary_of_flaggers_that_never_started_takes_up_the_fix_of_the_target() {
    let mut bed = Bed::start();
    bed.apply("app:never", json!({}));
    bed.until("a primary", |bed| bed.get(DEPLOYMENTS, "backend-primary").is_some()).await;
    bed.pass(700).await;
    bed.kill_operator();
    bed.modify(DEPLOYMENTS, "backend-primary", |primary| {
        let annotations = primary["metadata"]["annotations"].as_object_mut().unwrap();
        assert!(annotations.remove("serin.dev/revision").is_some(), "{primary}");
    });
    let status = left()["Initializing"].clone();
    let id = ResourceId::new(CANARIES.0, CANARIES.1);
    let by = WriteOptions::by("flagger");
    bed.store
        .modify(&id, "develop", "backend", Sub::Status, &by, |canary| canary["status"] = status)
        .unwrap();
    bed.start_operator();
    bed.until("told", |bed| bed.status()["lastReason"]["code"] == "PrimaryStuck").await;
    bed.set_image("app:v1");
    bed.until_phase("Initialized").await;
    assert_eq!(bed.primary_image(), "app:v1");
}
