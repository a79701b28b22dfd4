//! The shape of latencies beside the primary's: what no objective sees is found, and what is alike is left alone.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::Bed as Recorded;
use crate::guard::{Bed, id};
use crate::sources::{guarded, recorded};

/// Bounds in seconds and the shares that are slower at both sides: a lognormal around 80 ms, and one half as slow again. At half
/// a second neither comes near to one percent.
const SLOWER: [(&str, f64, f64); 6] = [
    ("0.05", 0.783, 0.931),
    ("0.1", 0.355, 0.619),
    ("0.2", 0.063, 0.196),
    ("0.3", 0.0138, 0.058),
    ("0.5", 0.0011, 0.0087),
    ("1.2", 0.0, 0.0001),
];

/// The same on either side.
fn alike() -> Vec<(&'static str, f64, f64)> {
    SLOWER.map(|(bound, primary, _)| (bound, primary, primary)).to_vec()
}

fn analysis(more: Value) -> Value {
    let mut guard = json!({
        "errorRate": {"slo": 1}, "latency": [{"threshold": 500, "slo": 1}], "latencyShape": {},
    });
    crate::bed::merge(&mut guard, more);
    json!({"interval": "30s", "stepWeights": [5, 10, 20, 30, 40, 50], "guard": guard})
}

#[tokio::test(start_paused = true)]
async fn a_slower_release_is_found_that_breaks_no_objective() {
    let bed = Bed::new(analysis(json!({}))).await;
    bed.traffic.lock().unwrap().shape = SLOWER.to_vec();
    bed.release("local/app:v2");
    bed.until(|status| status["phase"] == "Failed").await;
    let why = bed.status()["checks"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&why["name"], &why["verdict"]), (&json!("latency-shape"), &json!("fail")));
    let said = why["message"].as_str().unwrap();
    assert!(
        said.contains("latency-shape slower than") && said.contains("against the primary"),
        "{said}"
    );
    let canary = bed.store.get(&id("flagger.app", "canaries"), "develop", "backend").unwrap();
    let report = serin::cli::explain::report(&canary).to_string();
    assert!(report.contains("latency-shape: slower than each bound of the histogram at most 1.25 x primary + 0.500 points"), "{report}");
    assert!(bed.status()["guard"].to_string().len() < 2000);
}

#[tokio::test(start_paused = true)]
async fn the_objectives_alone_let_the_slower_release_through() {
    let bed = Bed::new(analysis(json!({"latencyShape": null}))).await;
    bed.traffic.lock().unwrap().shape = SLOWER.to_vec();
    bed.release("local/app:v2");
    bed.until(|status| status["phase"] == "Succeeded").await;
}

#[tokio::test(start_paused = true)]
async fn a_release_like_the_one_before_is_left_alone() {
    for round in 1..6 {
        let bed =
            Bed::new(analysis(json!({"pace": if round % 2 == 0 { "fixed" } else { "evidence" }})))
                .await;
        bed.traffic.lock().unwrap().shape = alike();
        bed.release("local/app:v2");
        bed.until(|status| status["phase"] == "Succeeded").await;
        let checks = bed.status()["checks"].clone();
        let judged = |check: &Value| {
            check["name"] == "latency-shape" && check["canary"]["requests"].as_u64() > Some(100)
        };
        assert!(checks.as_array().unwrap().iter().any(judged), "{checks:#}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_evidence_on_the_shape_outlives_the_operator() {
    let mut bed = Bed::new(analysis(json!({}))).await;
    bed.traffic.lock().unwrap().shape = alike();
    bed.release("local/app:v2");
    bed.until(|status| status["canaryWeight"] == 10).await;
    bed.stop().await;
    bed.start();
    bed.until(|status| status["canaryWeight"] == 30).await;
    assert_ne!(bed.reason(), "GuardHolds");
    bed.until(|status| status["phase"] == "Succeeded").await;
}

#[tokio::test(start_paused = true)]
async fn without_a_histogram_the_shape_holds_or_is_passed_over() {
    for (policy, end) in [("hold", "GuardHolds"), ("pass", "Promoted")] {
        let bed = Bed::new(analysis(json!({
            "latency": null, "latencyShape": {"cannotMeasure": policy},
        })))
        .await;
        bed.traffic.lock().unwrap().timed = false;
        tokio::time::sleep(Duration::from_secs(10)).await;
        bed.release("local/app:v2");
        bed.until(|status| status["lastReason"]["code"] == end).await;
    }
}

#[tokio::test(start_paused = true)]
async fn recorded_histograms_tell_of_the_shape_as_well() {
    for (shape, end) in [(SLOWER.to_vec(), "Failed"), (alike(), "Succeeded")] {
        let bed = Recorded::start();
        let recorder = recorded(&bed, Duration::from_secs(5));
        recorder.lock().unwrap().shape =
            shape.into_iter().filter(|(bound, ..)| *bound != "0.5").collect();
        let guard = json!({"errorRate": {"slo": 1}, "latencyShape": {}, "source": "prometheus"});
        bed.apply("local/app:v1", guarded(guard));
        bed.until_phase("Initialized").await;
        bed.set_image("local/app:v2");
        bed.until_phase(end).await;
        let checks = bed.status()["checks"].clone();
        assert!(checks.to_string().contains("latency-shape"), "{checks:#}");
    }
}
