//! Sources that neither answer nor refuse: what nobody sees is known before they give up.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::TestCluster as Recorded;
use crate::guard::TestCluster;
use crate::sources::{guarded, metrics_ready, recorded};

fn reason_of(status: &Value) -> String {
    let all = status["conditions"].as_array().cloned().unwrap_or_default();
    let ready = all.into_iter().find(|c| c["type"] == "MetricsReady").unwrap_or_default();
    ready["reason"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_hangs_is_known_within_seconds_and_holds() {
    let guard = json!({"errorRate": {"slo": 1}});
    let cluster =
        TestCluster::new(json!({"interval": "10s", "stepWeights": [5, 50], "guard": guard})).await;
    cluster.release("local/app:v2");
    cluster.until(|status| status["canaryWeight"] == 5).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster.traffic.lock().unwrap().hangs = true;
    let took = cluster.until(|status| reason_of(status) == "GatewayUnreachable").await;
    assert!(took <= Duration::from_secs(8), "{took:?}");
    let why = cluster.status()["conditions"].to_string();
    assert!(why.contains("no answer for"), "{why}");
    tokio::time::sleep(Duration::from_secs(300)).await;
    // Checks fail that nobody answers: with them against it, the canary does not keep a share that nobody sees.
    let status = cluster.status();
    assert_eq!((&status["canaryWeight"], &status["phase"]), (&json!(0), &json!("Progressing")));
    assert_eq!(status["lastReason"]["code"], "GuardBlind");
    cluster.traffic.lock().unwrap().hangs = false;
    cluster.until(|status| status["phase"] == "Succeeded").await;
    assert_eq!(reason_of(&cluster.status()), "Measured");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_known_before_it_gives_up_twice() {
    let cluster = Recorded::start();
    recorded(&cluster, Duration::from_secs(5));
    cluster
        .apply("local/app:v1", guarded(json!({"errorRate": {"slo": 1}, "source": "prometheus"})));
    cluster.until_phase("Initialized").await;
    cluster.set_image("local/app:v2");
    cluster.until("traffic", |cluster| cluster.canary_share() > 0).await;
    cluster.pass(8).await;
    cluster.answer(|_, _| Err(serin::http_client::HttpError::Timeout(Duration::ZERO)));
    let began = Instant::now();
    cluster.until("hold", |cluster| metrics_ready(cluster).0 == "PrometheusUnreachable").await;
    // The next look is due after five seconds, and then has five.
    assert!(began.elapsed() <= Duration::from_secs(12), "{:?}", began.elapsed());
}
