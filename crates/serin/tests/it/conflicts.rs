//! Whoever answers hooks may write to the Canary at the same time, or take long: nobody is asked twice, and nothing is cut short.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use serin::http_client::HttpError;
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{Sub, WriteOptions};
use tokio::time::Instant;

use super::cluster::{CANARIES, TestCluster, value};

async fn at_rest(analysis: serde_json::Value) -> TestCluster {
    let cluster = TestCluster::start();
    cluster.apply("app:v1", json!({"analysis": analysis}));
    cluster.until_phase("Initialized").await;
    cluster
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_was_answered_is_not_asked_again_because_somebody_else_wrote_first() {
    let hooks = json!([{"name": "gate", "type": "confirm-rollout", "url": "http://gate/"}]);
    let cluster = at_rest(json!({"webhooks": hooks})).await;
    let (store, asked) = (cluster.store.clone(), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&asked);
    cluster.answer(move |url, _| {
        if url != "http://gate/" {
            return value(0.0);
        }
        let times = count.fetch_add(1, Ordering::Relaxed);
        // Between the answer and what follows from it somebody labels the Canary.
        let id = ResourceId::new(CANARIES.0, CANARIES.1);
        let label = |object: &mut serde_json::Value| {
            object["metadata"]["labels"]["asked"] = json!(format!("{times}"));
        };
        if times > 5 {
            return Ok((200, "OK".to_owned()));
        }
        store
            .modify(&id, "develop", "backend", Sub::Main, &WriteOptions::by("gate"), label)
            .unwrap();
        Ok((200, "OK".to_owned()))
    });
    cluster.set_image("app:v2");
    cluster.until_phase("Succeeded").await;
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    cluster.set_image("app:v3");
    cluster.until_phase("Progressing").await;
    assert_eq!(asked.load(Ordering::Relaxed), 2, "another release is another question");
}

#[tokio::test(start_paused = true)]
async fn the_shortest_time_with_traffic_begins_with_the_traffic() {
    let hook = json!({"name": "smoke", "type": "pre-rollout", "url": "http://smoke/", "timeout": "25s", "retries": 1});
    let errors = json!({"slo": 1, "noData": "pass", "cannotMeasure": "pass"});
    let guard = json!({"minBake": "60s", "errorRate": errors});
    let analysis =
        json!({"interval": "10s", "stepWeights": [50], "webhooks": [hook], "guard": guard});
    let cluster = at_rest(analysis).await;
    let asked = AtomicU64::new(0);
    cluster.answer(move |url, _| match url {
        "http://smoke/" if asked.fetch_add(1, Ordering::Relaxed) == 0 => {
            Err(HttpError::Timeout(std::time::Duration::ZERO))
        }
        "http://smoke/" => Ok((200, "OK".to_owned())),
        _ => value(0.0),
    });
    cluster.set_image("app:v2");
    cluster.until("traffic", |cluster| cluster.canary_share() == 50).await;
    let begun = Instant::now();
    cluster.until_phase("Promoting").await;
    assert!(begun.elapsed().as_secs() >= 58, "{:?}", begun.elapsed());
}
