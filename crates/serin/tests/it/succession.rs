//! Two replicas and one release under guard: whoever leads goes on with the evidence of whoever led before.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use serde_json::{Value, json};
use serin::operator::Operator;
use serin_apiserver::http::{Api, Body};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{Sub, WriteOptions};
use tokio::time::Instant;
use tower::Service;

use crate::guard::{TestCluster, counted, id, share};

/// A replica's line to the API server, which can be cut: then nothing is answered any more.
#[derive(Clone)]
struct Line {
    api: Api,
    cut: Arc<AtomicBool>,
    /// Cut as soon as a route was written.
    after_route: Arc<AtomicBool>,
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
            if line.cut.load(Ordering::SeqCst) {
                return std::future::pending().await;
            }
            let routes = request.uri().path().contains("traefikservices");
            let writes = request.method() != http::Method::GET;
            let answer = line.api.handle(request).await;
            if routes && writes && line.after_route.load(Ordering::SeqCst) {
                line.cut.store(true, Ordering::SeqCst);
            }
            Ok(answer)
        })
    }
}

/// Two replicas of the operator, the first of which leads.
struct Two {
    cluster: TestCluster,
    first: Line,
    second: Line,
    _both: [Operator; 2],
}

fn holder(cluster: &TestCluster) -> String {
    let lease =
        cluster.store.get(&id("coordination.k8s.io", "leases"), "develop", "serin-leader-election");
    let holder = lease.as_ref().and_then(|lease| lease.pointer("/spec/holderIdentity")?.as_str());
    holder.unwrap_or_default().to_owned()
}

fn replica(cluster: &TestCluster, name: &str) -> (Line, Operator) {
    let line = Line {
        api: Api::new(cluster.store.clone()),
        cut: Arc::default(),
        after_route: Arc::default(),
    };
    let mut options = cluster.options();
    options.election = Some("develop".to_owned());
    name.clone_into(&mut options.settings.instance);
    let client = kube::Client::new(line.clone(), "default");
    (line, Operator::start(client, options))
}

impl Two {
    async fn start() -> Self {
        let alerts =
            json!([{"name": "chat", "severity": "error", "providerRef": {"name": "chat"}}]);
        let hook = json!([{"name": "after", "type": "post-rollout", "url": "http://hook/"}]);
        let mut cluster = TestCluster::new(json!({
            "interval": "300s", "stepWeights": [10, 50], "alerts": alerts, "webhooks": hook,
        }))
        .await;
        cluster.stop().await;
        let (first, one) = replica(&cluster, "first");
        cluster.until(|_| holder(&cluster) == "first").await;
        let (second, other) = replica(&cluster, "second");
        Self { cluster, first, second, _both: [one, other] }
    }

    /// A release is under way, and healthy so far.
    async fn released() -> Self {
        let two = Self::start().await;
        two.cluster.release("local/app:v2");
        two.cluster.until(|_| counted(&two.cluster) > 500).await;
        two
    }

    async fn until_succeeded_by_second(&self) {
        let cluster = &self.cluster;
        cluster.until(|_| holder(cluster) == "second").await;
    }

    /// What everybody was told, once.
    async fn is_told_once(&self) {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let traffic = self.cluster.traffic.lock().unwrap();
        let failed = |text: &&String| text.contains("\"phase\":\"Failed\"");
        assert_eq!(traffic.hooks.iter().filter(failed).count(), 1, "{:?}", traffic.hooks);
        assert_eq!(traffic.chat.len(), 1, "{:?}", traffic.chat);
        let events = self.cluster.store.list(&ResourceId::core("events"), Some("develop"));
        let told: Vec<_> =
            events.iter().filter(|e| e["message"].to_string().contains("Rolling back")).collect();
        assert_eq!(told.len(), 1, "{told:#?}");
    }
}

fn last_check(cluster: &TestCluster) -> Value {
    cluster.status()["checks"].as_array().unwrap().last().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn evidence_is_continued_by_the_next_leader() {
    let two = Two::released().await;
    let cluster = &two.cluster;
    // Nothing that is decided at once.
    cluster.fail(0.03, 0.0);
    tokio::time::sleep(Duration::from_secs(16)).await;
    two.first.cut.store(true, Ordering::SeqCst);
    assert_eq!(cluster.status()["phase"], "Progressing");
    let (before, since) = (counted(cluster), Instant::now());
    two.until_succeeded_by_second().await;
    cluster.until(|_| counted(cluster) > before).await;
    // Twenty requests each second, also while nobody led.
    let missed = since.elapsed().as_secs() * 20;
    assert!(
        counted(cluster) >= before + missed - 40,
        "{before}, {missed} later {}",
        counted(cluster)
    );
    cluster.until(|status| status["phase"] == "Failed").await;
    assert_eq!(share(&cluster.store), 0.0);
    let check = last_check(cluster);
    assert!(check["canary"]["requests"].as_u64().unwrap() > before, "{check}");
    two.is_told_once().await;
}

#[tokio::test(start_paused = true)]
async fn a_healthy_release_outlives_many_leaders() {
    let two = Two::start().await;
    let cluster = &two.cluster;
    cluster.fail(0.008, 0.008);
    cluster.release("local/app:v2");
    let (mut lines, mut replicas) = (vec![two.first.clone(), two.second.clone()], Vec::new());
    for round in 0..6 {
        let before = counted(cluster);
        cluster.until(|_| counted(cluster) > before + 200).await;
        let leader = holder(cluster);
        lines[round].cut.store(true, Ordering::SeqCst);
        cluster.until(|_| holder(cluster) != leader).await;
        assert!(counted(cluster) > before, "the evidence began anew");
        let (line, operator) = replica(cluster, &format!("round-{round}"));
        lines.push(line);
        replicas.push(operator);
    }
    cluster.until(|status| status["phase"] == "Succeeded").await;
    assert_eq!(cluster.events("GuardRolledBack"), 0);
}

/// The same as a leader's rollback leaves behind, but nothing speaks against the version.
#[tokio::test(start_paused = true)]
async fn a_good_version_that_was_taken_off_gets_its_traffic_again() {
    let two = Two::released().await;
    let cluster = &two.cluster;
    two.first.cut.store(true, Ordering::SeqCst);
    let options = WriteOptions::by("somebody");
    let route = id("traefik.io", "traefikservices");
    cluster
        .store
        .modify(&route, "develop", "backend", Sub::Main, &options, |route| {
            for service in route["spec"]["weighted"]["services"].as_array_mut().unwrap() {
                let all = service["name"] == "backend-primary";
                service["weight"] = json!(if all { 100 } else { 0 });
            }
        })
        .unwrap();
    two.until_succeeded_by_second().await;
    cluster.until_routed(|share| share > 0.0).await;
    cluster.until(|status| status["phase"] == "Succeeded").await;
}

#[tokio::test(start_paused = true)]
async fn what_one_leader_has_found_the_next_one_carries_out() {
    let two = Two::released().await;
    let cluster = &two.cluster;
    two.first.after_route.store(true, Ordering::SeqCst);
    cluster.fail(1.0, 0.0);
    let took = cluster.until_routed(|share| share == 0.0).await;
    assert!(took <= Duration::from_secs(4), "{took:?}");
    assert_eq!(cluster.status()["phase"], "Progressing", "the status was not written");
    two.until_succeeded_by_second().await;
    let hurt = cluster.traffic.lock().unwrap().counts["canary"].1;
    cluster.until(|status| status["phase"] == "Failed").await;
    let more = cluster.traffic.lock().unwrap().counts["canary"].1 - hurt;
    assert!(more < 1.0, "{more} more requests were hurt by a version that was found bad");
    let why = last_check(cluster)["message"].to_string();
    assert!(why.contains("the replica that led before has taken its traffic away"), "{why}");
    two.is_told_once().await;
}
