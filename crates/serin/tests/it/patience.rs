//! Writes on a connection that is half open: nothing comes back, ever, and nobody may wait for it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response};
use serde_json::json;
use serin::operator::Operator;
use serin_apiserver::http::{Api, Body};
use tokio::time::Instant;
use tower::Service;

use crate::guard::TestCluster;

/// An API of which one write of the status gets no answer.
#[derive(Clone)]
struct HalfOpen {
    api: Api,
    /// The next one is lost.
    loses: Arc<AtomicBool>,
}

impl Service<Request<kube::client::Body>> for HalfOpen {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let status = request.uri().path().ends_with("/canaries/backend/status");
        let lost =
            request.method() != Method::GET && status && self.loses.swap(false, Ordering::SeqCst);
        let api = self.api.clone();
        Box::pin(async move {
            if lost {
                std::future::pending::<()>().await;
            }
            Ok(api.handle(request).await)
        })
    }
}

/// A canary with 5 %, and an operator whose next write of the status has just gone nowhere.
async fn waiting() -> (TestCluster, Operator) {
    let analysis = json!({"interval": "20s", "stepWeights": [5, 50]});
    let mut cluster = TestCluster::new(analysis).await;
    cluster.stop().await;
    let loses = Arc::new(AtomicBool::new(false));
    let api = HalfOpen { api: Api::new(cluster.store.clone()), loses: Arc::clone(&loses) };
    let operator = Operator::start(kube::Client::new(api, "default"), cluster.options());
    cluster.release("local/app:v2");
    cluster.until_routed(|share| share > 0.0).await;
    // Until whatever else there is to note is noted.
    tokio::time::sleep(Duration::from_secs(5)).await;
    loses.store(true, Ordering::SeqCst);
    while loses.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (cluster, operator)
}

#[tokio::test(start_paused = true)]
async fn a_write_that_gets_no_answer_is_given_up_and_the_release_goes_on() {
    let (cluster, _operator) = waiting().await;
    let lost = Instant::now();
    cluster.until(|status| status["canaryWeight"] == 50).await;
    let took = lost.elapsed();
    assert!(took >= Duration::from_secs(29), "given up as late as an admission may take: {took:?}");
    // The checks look at the time since the last step, and an interval goes by.
    assert!(took <= Duration::from_secs(60), "{took:?}");
    cluster.until(|status| status["phase"] == "Succeeded").await;
}

/// Law 1: what waits for nothing does not wait for a write that was begun before, either.
#[tokio::test(start_paused = true)]
async fn a_write_that_gets_no_answer_holds_no_rollback() {
    let (cluster, _operator) = waiting().await;
    cluster.fail(1.0, 0.0);
    let took = cluster.until_routed(|share| share == 0.0).await;
    // Three seconds for the verdict, as where nothing hangs, and five for the write.
    assert!(took <= Duration::from_secs(10), "{took:?}");
    cluster.until(|status| status["phase"] == "Failed").await;
}
