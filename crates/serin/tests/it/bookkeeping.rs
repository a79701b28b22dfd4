//! What a release costs in writes of the Canary's status, and that none of them is in vain.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use serde_json::{Value, json};
use serin::operator::Operator;
use serin_apiserver::http::{Api, Body};
use serin_apiserver::store::Store;
use tower::Service;

use crate::guard::{TestCluster, id};

/// A write of the status: the version before and after, and what was different.
#[derive(Clone)]
struct Write {
    before: String,
    after: String,
    changed: Vec<String>,
}

/// The operator's line to the API, which keeps the writes of the status.
#[derive(Clone)]
struct Line {
    api: Api,
    store: Store,
    writes: Arc<Mutex<Vec<Write>>>,
}

fn canary(store: &Store) -> Value {
    store
        .get(&id("flagger.app", "canaries"), "develop", "backend")
        .map_or(Value::Null, |canary| (*canary).clone())
}

impl Service<Request<kube::client::Body>> for Line {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let line = self.clone();
        Box::pin(async move {
            let status = request.method() == Method::PATCH
                && request.uri().path().ends_with("/canaries/backend/status");
            let before = canary(&line.store);
            let response = line.api.handle(request).await;
            if status && response.status().is_success() {
                let after = canary(&line.store);
                let version = |canary: &Value| canary["metadata"]["resourceVersion"].to_string();
                let fields = after["status"].as_object().cloned().unwrap_or_default();
                let changed =
                    fields.iter().filter(|(name, value)| before["status"][*name] != **value);
                line.writes.lock().unwrap().push(Write {
                    before: version(&before),
                    after: version(&after),
                    changed: changed.map(|(name, _)| name.clone()).collect(),
                });
            }
            Ok(response)
        })
    }
}

/// A release of two versions, and the writes of the status that it took.
async fn writes_of_a_release(analysis: Value) -> Vec<Write> {
    let mut cluster = TestCluster::new(analysis).await;
    cluster.stop().await;
    let (api, writes) = (Api::new(cluster.store.clone()), Arc::<Mutex<Vec<Write>>>::default());
    let line = Line { api, store: cluster.store.clone(), writes: Arc::clone(&writes) };
    let operator = Operator::start(kube::Client::new(line, "default"), cluster.options());
    cluster.release("local/app:v2");
    cluster.until(|status| status["phase"] == "Succeeded").await;
    operator.stop().await;
    let writes = writes.lock().unwrap().clone();
    for write in &writes {
        assert_ne!(write.before, write.after, "a write that changes nothing: {:?}", write.changed);
    }
    writes
}

fn told(writes: &[Write]) -> String {
    writes.iter().map(|write| write.changed.join(" ") + "\n").collect()
}

#[tokio::test(start_paused = true)]
async fn a_release_writes_its_status_seldom_and_never_in_vain() {
    let metrics =
        json!([{"name": "request-success-rate", "interval": "30s", "thresholdRange": {"min": 99}}]);
    let analysis =
        json!({"interval": "10s", "threshold": 2, "stepWeights": [10, 30, 50], "metrics": metrics});
    let writes = writes_of_a_release(analysis).await;
    assert!(!writes.is_empty() && writes.len() < 20, "{}: {}", writes.len(), told(&writes));
}
