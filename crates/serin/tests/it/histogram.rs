//! Gateways that count requests and time none of them: failures are judged all the same, and latencies once they are timed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::guard::{Bed, id};

/// Both are asked for; what cannot be measured is `cannot`.
fn asked(cannot: &str) -> Value {
    let latency = json!({"threshold": 500, "slo": 1, "cannotMeasure": cannot});
    json!({"errorRate": {"slo": 1}, "latency": [latency]})
}

async fn timeless(analysis: Value) -> Bed {
    let bed = Bed::new(analysis).await;
    bed.traffic.lock().unwrap().timed = false;
    // Every gateway has counted before.
    tokio::time::sleep(Duration::from_secs(10)).await;
    bed
}

fn metrics_ready(bed: &Bed) -> Value {
    let conditions = bed.status()["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|c| c["type"] == "MetricsReady").unwrap_or_default()
}

fn judged(bed: &Bed, name: &str) -> bool {
    let checks = bed.status()["checks"].as_array().cloned().unwrap_or_default();
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
        crate::bed::merge(&mut all, more);
        all
    };
    let mut paced = asked("pass");
    paced["pace"] = json!("evidence");
    for analysis in [
        steps(json!({"metrics": builtin})),
        steps(json!({"guard": asked("pass")})),
        steps(json!({"guard": paced})),
    ] {
        let bed = timeless(analysis.clone()).await;
        bed.release("local/app:v2");
        bed.until(|status| status["canaryWeight"].as_u64() > Some(0)).await;
        bed.until(|_| metrics_ready(&bed)["reason"] == "NoHistogram").await;
        let why = metrics_ready(&bed)["message"].to_string();
        assert!(why.contains("slower than 500 ms") && why.contains("no histogram"), "{why}");
        bed.until(|status| status["phase"] == "Succeeded").await;
        assert!(judged(&bed, "error-rate") && !judged(&bed, "slower than 500 ms"), "{analysis}");
        bed.release("local/app:v3");
        bed.until(|status| status["canaryWeight"].as_u64() > Some(0)).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        bed.fail(1.0, 0.0);
        let took = bed.until_routed(|share| share == 0.0).await;
        assert!(took <= Duration::from_secs(4), "{took:?}");
        bed.until(|status| status["phase"] == "Failed").await;
    }
}

#[tokio::test(start_paused = true)]
async fn failures_that_came_before_anything_was_chosen_count() {
    let bed =
        timeless(json!({"interval": "60s", "stepWeights": [5, 50], "guard": asked("pass")})).await;
    bed.fail(1.0, 0.0);
    bed.release("local/app:v2");
    bed.until_routed(|share| share > 0.0).await;
    let took = bed.until_routed(|share| share == 0.0).await;
    assert!(took <= Duration::from_secs(6), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_latency_that_was_asked_for_holds_until_it_is_timed() {
    let bed =
        timeless(json!({"interval": "10s", "stepWeights": [5, 50], "guard": asked("hold")})).await;
    bed.release("local/app:v2");
    bed.until(|status| status["lastReason"]["code"] == "GuardHolds").await;
    let why = bed.status()["lastReason"]["message"].to_string();
    assert!(
        why.contains("slower than 500 ms cannot be measured") && why.contains("no histogram"),
        "{why}"
    );
    let canary = bed.store.get(&id("flagger.app", "canaries"), "develop", "backend").unwrap();
    let report = serin::cli::explain::report(&canary).to_string();
    assert!(report.contains("NoHistogram") && report.contains("slower than 500 ms"), "{report}");
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(bed.status()["canaryWeight"], 5);
    bed.traffic.lock().unwrap().timed = true;
    bed.until(|_| metrics_ready(&bed)["reason"] == "HistogramIsNew").await;
    assert_eq!(bed.status()["canaryWeight"], 5, "the questions of a release stay what they were");
    bed.release("local/app:v3");
    bed.until(|status| status["phase"] == "Succeeded").await;
    assert!(judged(&bed, "error-rate") && judged(&bed, "slower than 500 ms"), "{:#}", bed.status());
    assert_eq!(metrics_ready(&bed)["status"], "True");
}

#[tokio::test(start_paused = true)]
async fn the_want_of_a_histogram_is_told_before_the_first_release() {
    let bed =
        timeless(json!({"interval": "10s", "stepWeights": [5, 50], "guard": asked("hold")})).await;
    bed.until(|_| metrics_ready(&bed)["reason"] == "NoHistogram").await;
    assert_eq!(
        (bed.status()["phase"].as_str(), bed.events("MetricsNotReady")),
        (Some("Initialized"), 1)
    );
    bed.traffic.lock().unwrap().timed = true;
    bed.until(|_| metrics_ready(&bed)["reason"] != "NoHistogram").await;
}
