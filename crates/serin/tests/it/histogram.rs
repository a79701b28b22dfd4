//! Gateways that count requests and time none of them: failures are judged all the same, and latencies once they are timed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::guard::{TestCluster, id};

/// Both are asked for; what cannot be measured is `cannot`.
fn asked(cannot: &str) -> Value {
    let latency = json!({"threshold": 500, "slo": 1, "cannotMeasure": cannot});
    json!({"errorRate": {"slo": 1}, "latency": [latency]})
}

async fn timeless(analysis: Value) -> TestCluster {
    let cluster = TestCluster::new(analysis).await;
    cluster.traffic.lock().unwrap().timed = false;
    // Every gateway has counted before.
    tokio::time::sleep(Duration::from_secs(10)).await;
    cluster
}

fn metrics_ready(cluster: &TestCluster) -> Value {
    let conditions = cluster.status()["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|c| c["type"] == "MetricsReady").unwrap_or_default()
}

fn judged(cluster: &TestCluster, name: &str) -> bool {
    let checks = cluster.status()["checks"].as_array().cloned().unwrap_or_default();
    checks.iter().any(|check| check["name"] == name && check["canary"]["requests"].is_u64())
}

#[tokio::test(start_paused = true)]
async fn a_release_goes_on_without_latencies_that_nobody_times() {
    let builtin = json!([
        {"name": "request-success-rate", "interval": "1m", "thresholdRange": {"min": 99}},
        {"name": "request-duration", "interval": "1m", "thresholdRange": {"max": 500}},
    ]);
    let steps = |more: Value| {
        let mut all = json!({"interval": "10s", "stepWeights": [5, 50]});
        crate::cluster::merge(&mut all, more);
        all
    };
    let mut paced = asked("pass");
    paced["pace"] = json!("evidence");
    for analysis in [
        steps(json!({"metrics": builtin})),
        steps(json!({"guard": asked("pass")})),
        steps(json!({"guard": paced})),
    ] {
        let cluster = timeless(analysis.clone()).await;
        cluster.release("local/app:v2");
        cluster.until(|status| status["canaryWeight"].as_u64() > Some(0)).await;
        cluster.until(|_| metrics_ready(&cluster)["reason"] == "NoHistogram").await;
        let why = metrics_ready(&cluster)["message"].to_string();
        assert!(why.contains("slower than 500 ms") && why.contains("no histogram"), "{why}");
        cluster.until(|status| status["phase"] == "Succeeded").await;
        assert!(
            judged(&cluster, "error-rate") && !judged(&cluster, "slower than 500 ms"),
            "{analysis}"
        );
        cluster.release("local/app:v3");
        cluster.until(|status| status["canaryWeight"].as_u64() > Some(0)).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        cluster.fail(1.0, 0.0);
        let took = cluster.until_routed(|share| share == 0.0).await;
        assert!(took <= Duration::from_secs(4), "{took:?}");
        cluster.until(|status| status["phase"] == "Failed").await;
    }
}

#[tokio::test(start_paused = true)]
async fn failures_that_came_before_anything_was_chosen_count() {
    let cluster =
        timeless(json!({"interval": "60s", "stepWeights": [5, 50], "guard": asked("pass")})).await;
    cluster.fail(1.0, 0.0);
    cluster.release("local/app:v2");
    cluster.until_routed(|share| share > 0.0).await;
    let took = cluster.until_routed(|share| share == 0.0).await;
    assert!(took <= Duration::from_secs(6), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_latency_that_was_asked_for_holds_until_it_is_timed() {
    let cluster =
        timeless(json!({"interval": "10s", "stepWeights": [5, 50], "guard": asked("hold")})).await;
    cluster.release("local/app:v2");
    cluster.until(|status| status["lastReason"]["code"] == "GuardHolds").await;
    let why = cluster.status()["lastReason"]["message"].to_string();
    assert!(
        why.contains("slower than 500 ms cannot be measured") && why.contains("no histogram"),
        "{why}"
    );
    let canary = cluster.store.get(&id("flagger.app", "canaries"), "develop", "backend").unwrap();
    let report = serin::cli::explain::report(&canary).to_string();
    assert!(report.contains("NoHistogram") && report.contains("slower than 500 ms"), "{report}");
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(cluster.status()["canaryWeight"], 5);
    cluster.traffic.lock().unwrap().timed = true;
    cluster.until(|_| metrics_ready(&cluster)["reason"] == "HistogramIsNew").await;
    assert_eq!(
        cluster.status()["canaryWeight"],
        5,
        "the questions of a release stay what they were"
    );
    cluster.release("local/app:v3");
    cluster.until(|status| status["phase"] == "Succeeded").await;
    assert!(
        judged(&cluster, "error-rate") && judged(&cluster, "slower than 500 ms"),
        "{:#}",
        cluster.status()
    );
    assert_eq!(metrics_ready(&cluster)["status"], "True");
}

#[tokio::test(start_paused = true)]
async fn the_want_of_a_histogram_is_told_before_the_first_release() {
    let cluster =
        timeless(json!({"interval": "10s", "stepWeights": [5, 50], "guard": asked("hold")})).await;
    cluster.until(|_| metrics_ready(&cluster)["reason"] == "NoHistogram").await;
    assert_eq!(
        (cluster.status()["phase"].as_str(), cluster.events("MetricsNotReady")),
        (Some("Initialized"), 1)
    );
    cluster.traffic.lock().unwrap().timed = true;
    cluster.until(|_| metrics_ready(&cluster)["reason"] != "NoHistogram").await;
}
