//! The shape of latencies beside the primary's: what no objective sees is found, and what is alike is left alone.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::TestCluster as Recorded;
use crate::guard::{TestCluster, id};
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
    crate::cluster::merge(&mut guard, more);
    json!({"interval": "30s", "stepWeights": [5, 10, 20, 30, 40, 50], "guard": guard})
}

#[tokio::test(start_paused = true)]
async fn a_slower_release_is_found_that_breaks_no_objective() {
    let cluster = TestCluster::new(analysis(json!({}))).await;
    cluster.traffic.lock().unwrap().shape = SLOWER.to_vec();
    cluster.release("local/app:v2");
    cluster.until(|status| status["phase"] == "Failed").await;
    let why = cluster.status()["checks"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&why["name"], &why["verdict"]), (&json!("latency-shape"), &json!("fail")));
    let said = why["message"].as_str().unwrap();
    assert!(
        said.contains("latency-shape slower than") && said.contains("against the primary"),
        "{said}"
    );
    let canary = cluster.store.get(&id("flagger.app", "canaries"), "develop", "backend").unwrap();
    let report = serin::cli::explain::report(&canary).to_string();
    assert!(report.contains("latency-shape: slower than each bound of the histogram at most 1.25 x primary + 0.500 points"), "{report}");
    assert!(cluster.status()["guard"].to_string().len() < 2000);
}

#[tokio::test(start_paused = true)]
async fn the_objectives_alone_let_the_slower_release_through() {
    let cluster = TestCluster::new(analysis(json!({"latencyShape": null}))).await;
    cluster.traffic.lock().unwrap().shape = SLOWER.to_vec();
    cluster.release("local/app:v2");
    cluster.until(|status| status["phase"] == "Succeeded").await;
}

#[tokio::test(start_paused = true)]
async fn a_release_like_the_one_before_is_left_alone() {
    for round in 1..6 {
        let cluster = TestCluster::new(analysis(
            json!({"pace": if round % 2 == 0 { "fixed" } else { "evidence" }}),
        ))
        .await;
        cluster.traffic.lock().unwrap().shape = alike();
        cluster.release("local/app:v2");
        cluster.until(|status| status["phase"] == "Succeeded").await;
        let checks = cluster.status()["checks"].clone();
        let judged = |check: &Value| {
            check["name"] == "latency-shape" && check["canary"]["requests"].as_u64() > Some(100)
        };
        assert!(checks.as_array().unwrap().iter().any(judged), "{checks:#}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_evidence_on_the_shape_outlives_the_operator() {
    let mut cluster = TestCluster::new(analysis(json!({}))).await;
    cluster.traffic.lock().unwrap().shape = alike();
    cluster.release("local/app:v2");
    cluster.until(|status| status["canaryWeight"] == 10).await;
    cluster.stop().await;
    cluster.start();
    cluster.until(|status| status["canaryWeight"] == 30).await;
    assert_ne!(cluster.reason(), "GuardHolds");
    cluster.until(|status| status["phase"] == "Succeeded").await;
}

#[tokio::test(start_paused = true)]
async fn without_a_histogram_the_shape_holds_or_is_passed_over() {
    for (policy, end) in [("hold", "GuardHolds"), ("pass", "Promoted")] {
        let cluster = TestCluster::new(analysis(json!({
            "latency": null, "latencyShape": {"cannotMeasure": policy},
        })))
        .await;
        cluster.traffic.lock().unwrap().timed = false;
        tokio::time::sleep(Duration::from_secs(10)).await;
        cluster.release("local/app:v2");
        cluster.until(|status| status["lastReason"]["code"] == end).await;
    }
}

#[tokio::test(start_paused = true)]
async fn recorded_histograms_tell_of_the_shape_as_well() {
    for (shape, end) in [(SLOWER.to_vec(), "Failed"), (alike(), "Succeeded")] {
        let cluster = Recorded::start();
        let recorder = recorded(&cluster, Duration::from_secs(5));
        recorder.lock().unwrap().shape =
            shape.into_iter().filter(|(bound, ..)| *bound != "0.5").collect();
        let guard = json!({"errorRate": {"slo": 1}, "latencyShape": {}, "source": "prometheus"});
        cluster.apply("local/app:v1", guarded(guard));
        cluster.until_phase("Initialized").await;
        cluster.set_image("local/app:v2");
        cluster.until_phase(end).await;
        let checks = cluster.status()["checks"].clone();
        assert!(checks.to_string().contains("latency-shape"), "{checks:#}");
    }
}
