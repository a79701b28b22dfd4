//! The election: clocks that disagree, a leader that dies, what it costs while nothing happens, and Flagger's own lease.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use serin::clock::{Clock, SharedClock};
use serin::operator::Operator;
use serin_apiserver::http::{Api, Body};
use serin_apiserver::store::{Sub, WriteOptions};
use tokio::time::Instant;
use tower::Service;

use crate::guard::{TestCluster, counted, id};

/// A replica's line to the API: it counts what is asked of leases, and can be cut.
#[derive(Clone)]
struct Line {
    api: Api,
    cut: Arc<AtomicBool>,
    leases: Arc<AtomicU64>,
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
            if request.uri().path().contains("/leases") {
                line.leases.fetch_add(1, Ordering::SeqCst);
            }
            Ok(line.api.handle(request).await)
        })
    }
}

/// A clock that is ahead of the others.
struct Ahead {
    clock: SharedClock,
    secs: i64,
}

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        self.clock.now() + SignedDuration::from_secs(self.secs)
    }
}

const LEASE: &str = "serin-leader-election";

fn lease(cluster: &TestCluster, field: &str) -> String {
    let lease = cluster.store.get(&id("coordination.k8s.io", "leases"), "develop", LEASE);
    let value = lease.as_ref().and_then(|lease| lease.pointer(&format!("/spec/{field}")));
    value.map(|value| value.as_str().map_or(value.to_string(), str::to_owned)).unwrap_or_default()
}

fn holder(cluster: &TestCluster) -> String {
    lease(cluster, "holderIdentity")
}

fn replica(cluster: &TestCluster, name: &str, ahead: i64) -> (Line, Operator) {
    let api = Api::new(cluster.store.clone());
    let line = Line { api, cut: Arc::default(), leases: Arc::default() };
    let mut options = cluster.options();
    options.election = Some("develop".to_owned());
    options.clock = Arc::new(Ahead { clock: options.clock, secs: ahead });
    name.clone_into(&mut options.settings.instance);
    let client = kube::Client::new(line.clone(), "default");
    (line, Operator::start(client, options))
}

/// A cluster whose operator is two replicas, `first` leading; the clock of the other is ahead.
async fn two(ahead: i64) -> (TestCluster, [(Line, Operator); 2]) {
    let mut cluster = TestCluster::new(json!({"interval": "300s", "stepWeights": [10, 50]})).await;
    cluster.stop().await;
    let first = replica(&cluster, "first", 0);
    cluster.until(|_| holder(&cluster) == "first").await;
    let second = replica(&cluster, "second", ahead);
    tokio::time::sleep(Duration::from_secs(30)).await;
    (cluster, [first, second])
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_clock_is_ahead_does_not_take_the_lease() {
    for ahead in [15, 3600, -3600] {
        let (cluster, _replicas) = two(ahead).await;
        let before = lease(&cluster, "leaseTransitions");
        cluster.release("local/app:v2");
        cluster.until(|_| counted(&cluster) > 500).await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(holder(&cluster), "first", "{ahead} s ahead");
        assert_eq!(lease(&cluster, "leaseTransitions"), before, "{ahead} s ahead");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_followed_within_its_lease() {
    let (cluster, [first, _second]) = two(0).await;
    cluster.release("local/app:v2");
    cluster.until(|_| counted(&cluster) > 500).await;
    assert_eq!(lease(&cluster, "leaseDurationSeconds"), "8", "something is being released");
    let began = Instant::now();
    first.0.cut.store(true, Ordering::SeqCst);
    first.1.kill();
    cluster.until(|_| holder(&cluster) == "second").await;
    let took = began.elapsed();
    println(&format!("a new leader {:.1} s after the old one was killed", took.as_secs_f64()));
    assert!(took <= Duration::from_secs(9), "{took:?}");
    let before = counted(&cluster);
    cluster.until(|_| counted(&cluster) > before).await;
    // The status is written every fifteen seconds.
    assert!(began.elapsed() <= Duration::from_secs(30), "it counts after {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_is_followed_at_once() {
    let (cluster, [first, _second]) = two(0).await;
    let began = Instant::now();
    first.1.stop().await;
    cluster.until(|_| holder(&cluster) == "second").await;
    assert!(began.elapsed() <= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_lease_costs_little_while_nothing_is_released() {
    let (cluster, replicas) = two(0).await;
    let asked = || replicas.iter().map(|(line, _)| line.leases.load(Ordering::SeqCst)).sum::<u64>();
    assert_eq!(lease(&cluster, "leaseDurationSeconds"), "15");
    let before = asked();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let each_minute = (asked() - before) as f64 / 10.0;
    println(&format!("{each_minute:.1} Lease requests in an idle minute of two replicas"));
    assert!(each_minute <= 13.0, "{each_minute}");
}

#[tokio::test(start_paused = true)]
async fn who_holds_flaggers_lease_is_waited_for_whatever_its_clock_says() {
    let mut cluster = TestCluster::new(json!({"interval": "300s", "stepWeights": [10, 50]})).await;
    cluster.stop().await;
    let (leases, options) = (id("coordination.k8s.io", "leases"), WriteOptions::by("flagger"));
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}});
    drop(cluster.store.create(&id("", "namespaces"), "", namespace, &options));
    let flagger = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "flagger-leader-election"},
        "spec": {"holderIdentity": "flagger", "leaseDurationSeconds": 60, "renewTime": "2001-01-01T00:00:00.000000Z"},
    });
    cluster.store.create(&leases, "kube-system", flagger, &options).unwrap();
    let alive = Arc::new(Mutex::new(true));
    let (store, renewing) = (cluster.store.clone(), Arc::clone(&alive));
    tokio::spawn(async move {
        let mut number = 0;
        while *renewing.lock().unwrap() {
            number += 1;
            let name = "flagger-leader-election";
            let leases = id("coordination.k8s.io", "leases");
            let renewed = store.modify(
                &leases,
                "kube-system",
                name,
                Sub::Main,
                &WriteOptions::by("flagger"),
                |lease| {
                    let time =
                        format!("2001-01-01T00:{:02}:{:02}.000000Z", number / 60, number % 60);
                    lease["spec"]["renewTime"] = json!(time);
                },
            );
            renewed.unwrap();
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    });
    let (_line, _operator) = replica(&cluster, "first", 0);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(holder(&cluster), "", "two controllers drive one canary");
    *alive.lock().unwrap() = false;
    cluster.until(|_| holder(&cluster) == "first").await;
}

fn println(text: &str) {
    use std::io::Write;
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}
