//! The guard in the whole operator: a cluster in memory, a gateway that counts, and a clock that jumps.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use serin::clock::Clock;
use serin::http_client::{CallOptions, HttpClient, HttpError};
use serin::lab::local::manifest;
use serin::operator::{Operator, Options};
use serin_apiserver::controllers::Controllers;
use serin_apiserver::crds::traefik_crds;
use serin_apiserver::http::Api;
use serin_apiserver::kubelet::{Behaviour, VirtualRuntime};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{Store, Sub, WriteOptions};
use serin_core::status::CheckRecord;
use tokio::time::Instant;

use crate::log_capture::LogCapture;

/// Requests per second at the gateway, unless a story says otherwise.
const RATE: f64 = 200.0;
const BEAT: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(3600);

/// A clock that moves with tokio's.
struct Virtual {
    began: Instant,
}

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        start + SignedDuration::try_from(self.began.elapsed()).unwrap()
    }
}

/// Requests so far, and how many of the next ones fail.
pub(crate) struct Traffic {
    pub(crate) rate: f64,
    /// Requests and failures by service.
    pub(crate) counts: BTreeMap<&'static str, (f64, f64)>,
    canary_fails: f64,
    primary_fails: f64,
    /// Nobody outside answers, or ends an answer.
    pub(crate) hangs: bool,
    /// The gateway has a histogram of durations.
    pub(crate) timed: bool,
    /// Its bounds, rising, and the shares of the primary's and of the canary's requests that are slower; half a second, and
    /// none, unless there are some.
    pub(crate) shape: Vec<(&'static str, f64, f64)>,
    /// Requests that were slower than each of the bounds, by service.
    slower: BTreeMap<&'static str, Vec<f64>>,
    dice: u64,
    /// What came to the chat.
    pub(crate) chat: Vec<String>,
    /// What came to the hook.
    pub(crate) hooks: Vec<String>,
}

/// A cluster, its users and the operator.
pub(crate) struct TestCluster {
    pub(crate) store: Store,
    clock: Arc<Virtual>,
    pub(crate) traffic: Arc<Mutex<Traffic>>,
    operator: Option<Operator>,
}

/// The world outside: the gateway's replicas, a metric server to which all is fine, and a hook that never answers.
struct World {
    traffic: Arc<Mutex<Traffic>>,
}

impl World {
    /// Longer than anybody should wait.
    async fn patience(&self) {
        while self.traffic.lock().unwrap().hangs {
            tokio::time::sleep(BEAT).await;
        }
    }
}

impl HttpClient for World {
    fn send(
        &self,
        request: Request<Bytes>,
        options: CallOptions,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpError>> {
        Box::pin(async move {
            self.patience().await;
            let body = match request.uri().host() {
                Some("10.9.0.1") => page(&self.traffic.lock().unwrap()),
                // Nobody comes in here.
                Some("10.9.0.2") => "process_start_time_seconds 1.6e+09\n".to_owned(),
                Some("chat") => {
                    let said = String::from_utf8_lossy(request.body()).into_owned();
                    self.traffic.lock().unwrap().chat.push(said);
                    String::new()
                }
                Some("hook") => {
                    let said = String::from_utf8_lossy(request.body()).into_owned();
                    self.traffic.lock().unwrap().hooks.push(said);
                    String::new()
                }
                Some("metrics") => {
                    let result = json!([{"metric": {}, "value": [0, "99.9"]}]);
                    json!({"status": "success", "data": {"resultType": "vector", "result": result}})
                        .to_string()
                }
                _ => {
                    tokio::time::sleep(options.timeout).await;
                    return Err(HttpError::Timeout(options.timeout));
                }
            };
            Ok(Response::new(body.into()))
        })
    }

    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Option<Vec<SocketAddr>>, HttpError>> {
        assert_eq!((host, port), ("gateway", 9100));
        let replicas = [[10, 9, 0, 1], [10, 9, 0, 2]].map(|ip| SocketAddr::from((ip, port)));
        Box::pin(async move {
            self.patience().await;
            Ok(Some(replicas.to_vec()))
        })
    }
}

impl Traffic {
    /// So many requests take their time.
    fn time(&mut self, side: &'static str, requests: f64) {
        let mut slower = self.slower.remove(side).unwrap_or_default();
        slower.resize(self.shape.len(), 0.0);
        let whole = self.uniform() < requests.fract();
        for _ in 0..requests as u64 + u64::from(whole) {
            let u = self.uniform();
            for (slower, (_, primary, canary)) in slower.iter_mut().zip(&self.shape) {
                let share = if side == "canary" { canary } else { primary };
                *slower += if u < *share { 1.0 } else { 0.0 };
            }
        }
        self.slower.insert(side, slower);
    }

    fn uniform(&mut self) -> f64 {
        let step = self.dice.wrapping_mul(6_364_136_223_846_793_005);
        self.dice = step.wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// By bound; never more than have succeeded.
    fn slower(&self, side: &str) -> Vec<(&'static str, f64)> {
        if self.shape.is_empty() {
            return vec![("0.5", 0.0)];
        }
        let (requests, failed) = self.counts[side];
        let slower = self.slower.get(side).into_iter().flatten();
        let most = requests.floor() - failed.floor();
        self.shape
            .iter()
            .zip(slower)
            .map(|((bound, ..), slower)| (*bound, slower.min(most)))
            .collect()
    }
}

fn page(traffic: &Traffic) -> String {
    let mut page = "process_start_time_seconds 1.7e+09\n".to_owned();
    for (side, (requests, failed)) in &traffic.counts {
        let service = format!("develop-backend-{side}-80@kubernetescrd");
        let failed = failed.floor();
        for (code, count) in [("200", requests.floor() - failed), ("500", failed)] {
            let labels = format!("code=\"{code}\",service=\"{service}\"");
            let name = "traefik_service_request";
            let _ = writeln!(page, "{name}s_total{{{labels}}} {count}");
            if !traffic.timed {
                continue;
            }
            for (bound, slower) in traffic.slower(side) {
                let within = if code == "200" { count - slower } else { count };
                let le = format!("le=\"{bound}\"");
                let _ = writeln!(page, "{name}_duration_seconds_bucket{{{labels},{le}}} {within}");
            }
            let _ = writeln!(page, "{name}_duration_seconds_count{{{labels}}} {count}");
        }
    }
    page
}

pub(crate) fn id(group: &str, plural: &str) -> ResourceId {
    ResourceId::new(group, plural)
}

impl TestCluster {
    pub(crate) async fn new(analysis: Value) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let clock = Arc::new(Virtual { began: Instant::now() });
        let now = Arc::clone(&clock);
        let time: serin_apiserver::store::Clock = Arc::new(move || now.now());
        let store = Store::new(Arc::clone(&time), 1);
        for crd in serin_core::crd::crds().into_iter().chain(traefik_crds()) {
            manifest::apply(&store, &crd).unwrap();
        }
        let pods = VirtualRuntime::new(|_, _| Behaviour::default());
        let controllers = Controllers::new(Arc::new(store.clone()), Arc::new(pods), time);
        tokio::spawn(controllers.run(std::future::pending()));
        for object in objects(&analysis) {
            manifest::apply(&store, &object).unwrap();
        }
        let traffic = Arc::new(Mutex::new(Traffic {
            rate: RATE,
            counts: BTreeMap::new(),
            canary_fails: 0.0,
            primary_fails: 0.0,
            hangs: false,
            timed: true,
            shape: Vec::new(),
            slower: BTreeMap::new(),
            dice: 1,
            chat: Vec::new(),
            hooks: Vec::new(),
        }));
        tokio::spawn(serve(store.clone(), Arc::clone(&traffic)));
        let mut cluster = Self { store, clock, traffic, operator: None };
        cluster.start();
        cluster.until(|status| status["phase"] == "Initialized").await;
        cluster
    }

    pub(crate) fn start(&mut self) {
        let client = kube::Client::new(Api::new(self.store.clone()), "default");
        self.operator = Some(Operator::start(client, self.options()));
    }

    pub(crate) fn options(&self) -> Options {
        let mut options = Options::local("http://metrics".to_owned(), 1).unwrap();
        options.clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        options.http_client = Arc::new(World { traffic: Arc::clone(&self.traffic) });
        // The fewest, so that whoever holds the only slot is in everybody's way.
        options.settings.concurrency = 1;
        options.settings.gateways = vec!["http://gateway:9100/metrics".to_owned()];
        options
    }

    pub(crate) async fn stop(&mut self) {
        self.operator.take().unwrap().stop().await;
    }

    pub(crate) fn release(&self, image: &str) {
        self.release_of("backend", image);
    }

    fn release_of(&self, name: &str, image: &str) {
        let options = WriteOptions::by("user");
        self.store
            .modify(&id("apps", "deployments"), "develop", name, Sub::Main, &options, |o| {
                o["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
            })
            .unwrap();
    }

    pub(crate) fn fail(&self, canary: f64, primary: f64) {
        let mut traffic = self.traffic.lock().unwrap();
        (traffic.canary_fails, traffic.primary_fails) = (canary, primary);
    }

    pub(crate) fn status(&self) -> Value {
        self.status_of("backend")
    }

    fn status_of(&self, name: &str) -> Value {
        let canary = self.store.get(&id("flagger.app", "canaries"), "develop", name).unwrap();
        canary["status"].clone()
    }

    pub(crate) fn reason(&self) -> String {
        self.status()["lastReason"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn events(&self, reason: &str) -> usize {
        let events = self.store.list(&ResourceId::core("events"), Some("develop"));
        events.iter().filter(|event| event["reason"] == reason).count()
    }

    /// Waits for a status, and says how long that took.
    pub(crate) async fn until(&self, done: impl Fn(&Value) -> bool) -> Duration {
        let began = Instant::now();
        let mut changed = self.store.changed();
        while !done(&self.status()) {
            assert!(began.elapsed() < PATIENCE, "still {:#}", self.status());
            drop(tokio::time::timeout(PATIENCE, changed.changed()).await);
        }
        began.elapsed()
    }

    /// Waits for the canary's share at the router.
    pub(crate) async fn until_routed(&self, done: impl Fn(f64) -> bool) -> Duration {
        let began = Instant::now();
        let mut changed = self.store.changed();
        while !done(share(&self.store)) {
            assert!(began.elapsed() < PATIENCE, "still {:#}", self.status());
            drop(tokio::time::timeout(PATIENCE, changed.changed()).await);
        }
        began.elapsed()
    }
}

/// The part of the traffic that the router gives to the canary.
pub(crate) fn share(store: &Store) -> f64 {
    let route = store.get(&id("traefik.io", "traefikservices"), "develop", "backend");
    let services = route.as_ref().and_then(|r| r.pointer("/spec/weighted/services")?.as_array());
    let weight = |name: &str| -> f64 {
        let of = services.into_iter().flatten().filter(|service| service["name"] == name);
        of.map(|service| service["weight"].as_f64().unwrap_or(1.0)).sum()
    };
    let canary = weight("backend-canary");
    let all = canary + weight("backend-primary") + weight("backend");
    if all > 0.0 { canary / all } else { 0.0 }
}

/// Users, at a steady rate.
async fn serve(store: Store, traffic: Arc<Mutex<Traffic>>) {
    loop {
        tokio::time::sleep(BEAT).await;
        let canary = share(&store);
        let mut traffic = traffic.lock().unwrap();
        let all = traffic.rate * BEAT.as_secs_f64();
        let (canary_fails, primary_fails) = (traffic.canary_fails, traffic.primary_fails);
        let sides = [("canary", canary, canary_fails), ("primary", 1.0 - canary, primary_fails)];
        for (side, share, fails) in sides {
            if share > 0.0 {
                let count = traffic.counts.entry(side).or_default();
                count.0 += all * share;
                count.1 += all * share * fails;
                traffic.time(side, all * share);
            }
        }
    }
}

fn objects(analysis: &Value) -> Vec<Value> {
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "develop"}});
    let chat = json!({
        "apiVersion": "flagger.app/v1beta1", "kind": "AlertProvider",
        "metadata": {"name": "chat", "namespace": "develop"},
        "spec": {"type": "slack", "channel": "releases", "address": "http://chat/"},
    });
    [vec![namespace, chat], application("backend", analysis)].concat()
}

/// A Deployment and its Canary.
fn application(name: &str, analysis: &Value) -> Vec<Value> {
    let labels = json!({"app": name});
    let container =
        json!({"name": "app", "image": "local/app:v1", "ports": [{"containerPort": 8080}]});
    let mut all = json!({"threshold": 5, "metrics": [
        {"name": "request-success-rate", "interval": "1m", "thresholdRange": {"min": 99}},
    ]});
    for (field, value) in analysis.as_object().unwrap() {
        all[field] = value.clone();
    }
    vec![
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": "develop"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }),
        json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
            "metadata": {"name": name, "namespace": "develop"},
            "spec": {
                "provider": "traefik",
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "service": {"port": 80, "targetPort": 8080},
                "analysis": all,
            },
        }),
    ]
}

fn weighted(status: &Value) -> bool {
    status["canaryWeight"].as_u64().unwrap_or(0) > 0
}

#[tokio::test(start_paused = true)]
async fn a_bad_release_is_off_the_road_within_seconds() {
    let cluster = TestCluster::new(json!({"interval": "60s", "stepWeights": [5, 50]})).await;
    cluster.fail(1.0, 0.0);
    cluster.release("local/app:v2");
    cluster.until_routed(|share| share > 0.0).await;
    let took = cluster.until_routed(|share| share == 0.0).await;
    assert!(took <= Duration::from_secs(3), "{took:?}");
    cluster.until(|status| status["phase"] == "Failed").await;
    let status = cluster.status();
    let checks = status["checks"].as_array().unwrap();
    let record = checks.iter().rfind(|check| check["name"] == "error-rate").unwrap();
    let why = record["message"].as_str().unwrap();
    assert!(why.contains("limit 1 in 100") && why.contains("canary"), "{why}");
    assert!(status["guard"].to_string().len() < 2000, "{}", status["guard"]);
    let hurt = cluster.traffic.lock().unwrap().counts["canary"].1;
    assert!(hurt < 40.0, "{hurt} requests were hurt");
}

#[tokio::test(start_paused = true)]
async fn a_good_release_is_let_through() {
    let cluster = TestCluster::new(json!({"interval": "10s", "stepWeights": [5, 50]})).await;
    cluster.fail(0.001, 0.001);
    cluster.release("local/app:v2");
    cluster.until(|status| status["phase"] == "Succeeded").await;
    assert_eq!(cluster.events("GuardRolledBack"), 0);
    let conditions = cluster.status()["conditions"].clone();
    let ready =
        conditions.as_array().unwrap().iter().find(|c| c["type"] == "MetricsReady").cloned();
    assert_eq!(ready.unwrap()["status"], "True");
}

#[tokio::test(start_paused = true)]
async fn an_incident_of_both_holds_and_then_goes_on() {
    let cluster = TestCluster::new(json!({"interval": "10s", "stepWeights": [10, 50]})).await;
    cluster.release("local/app:v2");
    cluster.until(weighted).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.fail(0.5, 0.5);
    cluster.until(|status| status["lastReason"]["code"] == "GuardHolds").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(cluster.status()["canaryWeight"], 10, "{}", cluster.reason());
    cluster.fail(0.0, 0.0);
    cluster.until(|status| status["phase"] == "Succeeded").await;
    assert_eq!(cluster.events("GuardRolledBack"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_never_answers_delays_no_rollback() {
    let hook = json!([{"name": "load", "url": "http://hangs/", "timeout": "5m"}]);
    let cluster =
        TestCluster::new(json!({"interval": "10s", "stepWeights": [5, 50], "webhooks": hook}))
            .await;
    cluster.release("local/app:v2");
    cluster.until_routed(|share| share > 0.0).await;
    // The step clock has ticked and waits for the hook.
    tokio::time::sleep(Duration::from_secs(20)).await;
    cluster.fail(1.0, 0.0);
    let took = cluster.until_routed(|share| share == 0.0).await;
    assert!(took <= Duration::from_secs(4), "{took:?}");
    cluster.until(|status| status["phase"] == "Failed").await;
}

#[tokio::test(start_paused = true)]
async fn slow_hooks_of_others_delay_no_rollback() {
    let cluster = TestCluster::new(json!({"interval": "60s", "stepWeights": [5, 50]})).await;
    let hook = json!([{"name": "gate", "type": "confirm-rollout", "url": "http://hangs/", "timeout": "10m"}]);
    let slow = json!({"interval": "60s", "stepWeights": [5, 50], "webhooks": hook});
    for object in application("slow", &slow) {
        manifest::apply(&cluster.store, &object).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(cluster.status_of("slow")["phase"], "Initialized");
    cluster.release("local/app:v2");
    cluster.until_routed(|share| share > 0.0).await;
    cluster.release_of("slow", "local/app:v2");
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.fail(1.0, 0.0);
    let took = cluster.until_routed(|share| share == 0.0).await;
    assert!(took <= Duration::from_secs(4), "{took:?}");
    cluster.until(|status| status["phase"] == "Failed").await;
    assert_eq!(cluster.status_of("slow")["phase"], "Initialized", "the gate still hangs");
}

/// Canary requests that the kept evidence stands on.
pub(crate) fn counted(cluster: &TestCluster) -> u64 {
    let canary = cluster.store.get(&id("flagger.app", "canaries"), "develop", "backend").unwrap();
    let report = serde_json::to_value(serin::cli::explain::report(&canary)).unwrap();
    let requests = report.pointer("/guard/evidence/checks/0/canary/requests");
    requests.and_then(Value::as_u64).unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn evidence_outlives_the_operator() {
    let mut cluster = TestCluster::new(json!({"interval": "300s", "stepWeights": [10, 50]})).await;
    cluster.release("local/app:v2");
    cluster.until(|_| counted(&cluster) > 1000).await;
    cluster.stop().await;
    let before = counted(&cluster);
    tokio::time::sleep(Duration::from_secs(30)).await;
    cluster.start();
    cluster.until(|_| counted(&cluster) > before).await;
    // The gap is in it: twenty requests each second.
    assert!(counted(&cluster) >= before + 600, "{} then {}", before, counted(&cluster));
    cluster.fail(1.0, 0.0);
    assert!(cluster.until_routed(|share| share == 0.0).await <= Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn evidence_that_cannot_be_continued_holds() {
    let mut cluster = TestCluster::new(json!({"interval": "20s", "stepWeights": [10, 50]})).await;
    cluster.release("local/app:v2");
    cluster.until(|_| counted(&cluster) > 0).await;
    cluster.stop().await;
    let options = WriteOptions::by("somebody");
    cluster
        .store
        .modify(&id("flagger.app", "canaries"), "develop", "backend", Sub::Status, &options, |o| {
            o["status"]["guard"] = json!({"watch": 7});
        })
        .unwrap();
    cluster.start();
    cluster.until(|status| status["lastReason"]["code"] == "GuardHolds").await;
    assert_eq!(cluster.status()["canaryWeight"], 10);
}

#[tokio::test(start_paused = true)]
async fn an_observer_says_what_it_would_have_done_and_does_nothing() {
    let guard = json!({"mode": "observe"});
    let cluster =
        TestCluster::new(json!({"interval": "30s", "stepWeights": [5, 50], "guard": guard})).await;
    cluster.fail(1.0, 0.0);
    cluster.release("local/app:v2");
    cluster.until(|status| status["phase"] == "Succeeded").await;
    assert_eq!((cluster.events("GuardWouldRollBack"), cluster.events("GuardRolledBack")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn everybody_is_told_the_same_sentence() {
    let log_capture = LogCapture::open();
    let alerts = json!([{"name": "chat", "severity": "error", "providerRef": {"name": "chat"}}]);
    let cluster =
        TestCluster::new(json!({"interval": "10s", "stepWeights": [5, 50], "alerts": alerts}))
            .await;
    cluster.release("local/app:v2");
    cluster.until(|status| status["canaryWeight"] == 50).await;
    let ledger = cluster.status()["checks"].clone();
    let passed = |name: &str| {
        let checks = ledger.as_array().unwrap().iter();
        checks.clone().rfind(|check| check["name"] == name).unwrap().clone()
    };
    let (counted, asked) = (passed("error-rate"), passed("request-success-rate"));
    assert_eq!((&counted["verdict"], &asked["verdict"]), (&json!("pass"), &json!("pass")));
    assert_eq!((&counted["canary"], &counted["odds"]), (&asked["canary"], &asked["odds"]));
    assert!(counted["canary"]["requests"].as_u64().unwrap() > 50, "{counted}");
    assert!(counted["missing"].as_str().unwrap().contains("at this rate"), "{counted}");
    assert_eq!(asked["window"], "1m");
    cluster.fail(1.0, 0.0);
    cluster.until(|status| status["phase"] == "Failed").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let status = cluster.status();
    let record = status["checks"].as_array().unwrap().last().unwrap().clone();
    let why = record["message"].as_str().unwrap().to_owned();
    assert_eq!((&record["verdict"], &record["name"]), (&json!("fail"), &json!("error-rate")));
    let said = status["lastReason"]["message"].as_str().unwrap().to_owned();
    assert!(said.contains(&why), "{said}");
    let canary = cluster.store.get(&id("flagger.app", "canaries"), "develop", "backend").unwrap();
    let text = serin::cli::explain::report(&canary).to_string();
    assert!(text.contains(&why) && text.contains(&said), "{text}");
    let json = serde_json::to_value(serin::cli::explain::report(&canary)).unwrap();
    // The server keeps 0.0 as 0.
    let read = |record: &Value| serde_json::from_value::<CheckRecord>(record.clone()).unwrap();
    assert_eq!(json["checks"].as_array().unwrap().last().map(read), Some(read(&record)));
    let events = cluster.store.list(&ResourceId::core("events"), Some("develop"));
    let told = events.iter().any(|event| event["message"].as_str().unwrap().contains(&why));
    assert!(told, "no Event has: {why}");
    let chat = cluster.traffic.lock().unwrap().chat.clone();
    assert!(chat.iter().any(|alert| alert.contains(&why)), "{why} is in none of {chat:?}");
    let log = log_capture.heard();
    assert!(log.contains(&said), "{log}");
    let metrics = cluster.operator.as_ref().unwrap().context().metrics.render();
    for series in ["serin_check_verdicts_total{", "serin_check_bad_share_high{"] {
        let mut lines = metrics.lines().filter(|line| line.starts_with(series));
        assert!(lines.any(|line| line.contains("check=\"error-rate\"")), "{metrics}");
    }
}
