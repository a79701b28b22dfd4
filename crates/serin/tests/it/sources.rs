//! The guard by what others count: a Prometheus that scrapes now and then, and replicas that come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use serin_apiserver::store::Store;
use tokio::time::Instant;

use super::cluster::{DEPLOYMENTS, ROUTES, TestCluster, value};

/// Requests per second at the gateway.
const RATE: f64 = 200.0;
const BEAT: Duration = Duration::from_millis(50);
/// The server's clock is not the operator's.
const BEGIN: f64 = 1_900_000_000.0;
const NAME: &str = "traefik_service_request";

/// Requests, failures and slow ones by side.
pub(crate) type Counts = BTreeMap<&'static str, [f64; 3]>;

/// Users, a gateway that counts them, and a server that scrapes it.
pub(crate) struct Recorder {
    began: Instant,
    pub(crate) counts: Counts,
    scrapes: Vec<(f64, Counts)>,
    /// Shares that fail and that are slow, of the canary's requests.
    pub(crate) fails: f64,
    pub(crate) slow: f64,
    /// Requests per second.
    pub(crate) rate: f64,
    pub(crate) scraping: bool,
    /// Whoever answers lags behind by this many seconds.
    pub(crate) behind: f64,
    /// The histogram's only bound, in seconds.
    pub(crate) bound: &'static str,
    /// More bounds, and the shares of the primary's and of the canary's requests that are slower.
    pub(crate) shape: Vec<(&'static str, f64, f64)>,
    /// The server has a label `service` of its own, and Traefik's is `exported_service`.
    pub(crate) renamed: bool,
    /// Routers and entry points are recorded as well.
    pub(crate) routers: bool,
    /// Looks at the counters.
    pub(crate) asked: usize,
}

pub(crate) type Shared = Arc<Mutex<Recorder>>;

impl Recorder {
    fn start(store: Store, every: Duration) -> Shared {
        let recorder = Arc::new(Mutex::new(Self {
            began: Instant::now(),
            counts: Counts::new(),
            scrapes: Vec::new(),
            fails: 0.0,
            slow: 0.0,
            rate: RATE,
            scraping: true,
            behind: 0.0,
            bound: "0.5",
            shape: Vec::new(),
            renamed: false,
            routers: false,
            asked: 0,
        }));
        tokio::spawn(serve(store, every, Arc::clone(&recorder)));
        recorder
    }

    fn now(&self) -> f64 {
        BEGIN + self.began.elapsed().as_secs_f64()
    }

    /// What a range selector brings.
    fn matrix(&self, window: f64) -> String {
        let mut series: BTreeMap<String, (Value, Vec<Value>)> = BTreeMap::new();
        let now = self.now();
        let known = |at: f64| at >= now - window && at <= now - self.behind;
        for (at, counts) in self.scrapes.iter().filter(|(at, _)| known(*at)) {
            for (name, labels, count) in samples(counts, self.bound, &self.shape) {
                let mut metric =
                    json!({"__name__": name, "instance": "10.9.0.1:9100", "job": "traefik"});
                for (label, value) in labels {
                    metric[label] = json!(value);
                }
                let entry = series.entry(metric.to_string()).or_insert((metric, Vec::new()));
                entry.1.push(json!([at, count.to_string()]));
            }
        }
        let result: Vec<Value> = series
            .into_values()
            .map(|(metric, values)| json!({"metric": metric, "values": values}))
            .collect();
        matrix(result)
    }

    fn bounds(&self) -> String {
        let bounds = self.shape.iter().map(|(bound, ..)| *bound);
        let result: Vec<Value> = bounds
            .chain([self.bound, "+Inf"])
            .map(|le| json!({"metric": {"le": le}, "value": [0, "1"]}))
            .collect();
        vector(&result)
    }

    /// Everything that is asked with a body; nothing but requests of services is recorded, unless `around` says so.
    fn answer(&mut self, body: &str) -> String {
        if body.contains("count%20by") {
            return self.bounds();
        }
        if body.contains("count%28") {
            let some = if body.contains("exported_service") {
                self.renamed
            } else {
                self.renamed || !self.scrapes.is_empty()
            };
            let one = json!({"metric": {}, "value": [0, "1"]});
            return vector(if some { std::slice::from_ref(&one) } else { &[] });
        }
        // `[67s]`, as a form has it.
        let window = body.rsplit_once("%5B").unwrap().1.trim_end_matches("s%5D");
        let window = window.parse().unwrap();
        for name in ["traefik_entrypoint_requests_total", "traefik_router_requests_total"] {
            if body.contains(name) {
                return self.around(window, name);
            }
        }
        if body.contains("%5B0-9a-f%5D") {
            return matrix(Vec::new());
        }
        self.asked += 1;
        if self.renamed { matrix(Vec::new()) } else { self.matrix(window) }
    }

    /// All requests, as entry points and routers count them.
    fn around(&self, window: f64, name: &str) -> String {
        if !self.routers {
            return matrix(Vec::new());
        }
        let now = self.now();
        let scrapes = self.scrapes.iter().filter(|(at, _)| *at >= now - window);
        let values: Vec<Value> =
            scrapes.map(|(at, _)| json!([at, (at - BEGIN).floor().to_string()])).collect();
        let metric = json!({
            "__name__": name, "instance": "10.9.0.1:9100", "job": "traefik", "code": "200",
            "service": "develop-backend@kubernetescrd",
        });
        matrix(vec![json!({"metric": metric, "values": values})])
    }
}

fn vector(result: &[Value]) -> String {
    json!({"status": "success", "data": {"resultType": "vector", "result": result}}).to_string()
}

fn matrix(result: Vec<Value>) -> String {
    json!({"status": "success", "data": {"resultType": "matrix", "result": result}}).to_string()
}

/// Name, labels, value.
type Sample = (String, Vec<(&'static str, String)>, f64);

/// Every series of a page.
fn samples(counts: &Counts, bound: &str, shape: &[(&str, f64, f64)]) -> Vec<Sample> {
    let mut all = Vec::new();
    for (side, [requests, failed, slow]) in counts {
        let service = format!("develop-backend-{side}-80@kubernetescrd");
        let (requests, failed, slow) = (requests.floor(), failed.floor(), slow.floor());
        for (code, count, slow) in [("200", requests - failed, slow), ("500", failed, 0.0)] {
            let labels = vec![("code", code.to_owned()), ("service", service.clone())];
            let bucket = |le: &str, within: f64| {
                let with_le = [labels.clone(), vec![("le", le.to_owned())]].concat();
                (format!("{NAME}_duration_seconds_bucket"), with_le, within)
            };
            all.push(bucket(bound, count - slow));
            for (le, primary, canary) in shape {
                let share = if *side == "canary" { canary } else { primary };
                all.push(bucket(le, (count * (1.0 - share)).floor()));
            }
            all.push((format!("{NAME}s_total"), labels.clone(), count));
            all.push((format!("{NAME}_duration_seconds_count"), labels, count));
        }
    }
    all
}

/// The same as a gateway's own page.
pub(crate) fn page(counts: &Counts, started: f64) -> String {
    let mut page = format!("process_start_time_seconds {started}\n");
    for (name, labels, count) in samples(counts, "0.5", &[]) {
        let labels: Vec<String> = labels.iter().map(|(l, v)| format!("{l}=\"{v}\"")).collect();
        let _ = writeln!(page, "{name}{{{}}} {count}", labels.join(","));
    }
    page
}

/// The part of the traffic that the router gives to the canary; none before there is a route.
pub(crate) fn share(store: &Store) -> Option<f64> {
    let id = serin_apiserver::registry::ResourceId::new(ROUTES.0, ROUTES.1);
    let route = store.get(&id, "develop", "backend")?;
    let services = route.pointer("/spec/weighted/services")?.as_array()?.clone();
    let weight = |name: &str| -> f64 {
        let of = services.iter().filter(|service| service["name"] == name);
        of.map(|service| service["weight"].as_f64().unwrap_or(1.0)).sum()
    };
    let (canary, primary) = (weight("backend-canary"), weight("backend-primary"));
    (canary + primary > 0.0).then(|| canary / (canary + primary))
}

/// Users, at a steady rate, and scrapes of what they did.
async fn serve(store: Store, every: Duration, recorder: Shared) {
    let mut due = Instant::now();
    loop {
        tokio::time::sleep(BEAT).await;
        let mut recorder = recorder.lock().unwrap();
        let canary = share(&store);
        let (fails, slow) = (recorder.fails, recorder.slow);
        let all = recorder.rate * BEAT.as_secs_f64();
        if let Some(canary) = canary {
            let sides = [("canary", canary, fails, slow), ("primary", 1.0 - canary, 0.0, 0.0)];
            for (side, share, fails, slow) in sides.into_iter().filter(|side| side.1 > 0.0) {
                let counts = recorder.counts.entry(side).or_default();
                for (count, part) in counts.iter_mut().zip([1.0, fails, slow]) {
                    *count += all * share * part;
                }
            }
        }
        if Instant::now() >= due {
            due += every;
            if recorder.scraping {
                let scrape = (recorder.now(), recorder.counts.clone());
                recorder.scrapes.push(scrape);
            }
        }
    }
}

type Answer = Result<(u16, String), serin::http_client::HttpError>;

/// A cluster whose metric server is a recorder; what the builtin checks ask for is fine.
pub(crate) fn recorded(cluster: &TestCluster, every: Duration) -> Shared {
    recorded_beside(cluster, every, |_, _| value(99.9))
}

/// The same, with somebody who answers everything else.
pub(crate) fn recorded_beside(
    cluster: &TestCluster,
    every: Duration,
    others: impl Fn(&str, &Counts) -> Answer + Send + Sync + 'static,
) -> Shared {
    let recorder = Recorder::start(cluster.store.clone(), every);
    let answering = Arc::clone(&recorder);
    cluster.answer(move |url, body| {
        if body.is_empty() {
            return others(url, &answering.lock().unwrap().counts);
        }
        Ok((200, answering.lock().unwrap().answer(body)))
    });
    recorder
}

pub(crate) fn guarded(guard: Value) -> Value {
    let metrics = json!([
        {"name": "request-success-rate", "interval": "1m", "thresholdRange": {"min": 99}},
    ]);
    let mut analysis =
        json!({"interval": "20s", "threshold": 5, "stepWeights": [5, 50], "metrics": metrics});
    if !guard.is_null() {
        analysis["guard"] = guard;
    }
    json!({"analysis": analysis})
}

pub(crate) fn metrics_ready(cluster: &TestCluster) -> (String, String) {
    let conditions = cluster.status()["conditions"].clone();
    let all = conditions.as_array().cloned().unwrap_or_default();
    let ready = all.iter().find(|c| c["type"] == "MetricsReady").cloned().unwrap_or_default();
    let text = |field: &str| ready[field].as_str().unwrap_or_default().to_owned();
    (text("reason"), text("message"))
}

fn code(cluster: &TestCluster) -> String {
    cluster.status()["lastReason"]["code"].as_str().unwrap_or_default().to_owned()
}

pub(crate) async fn release(cluster: &TestCluster, spec: Value) {
    cluster.apply("local/app:v1", spec);
    cluster.until_phase("Initialized").await;
    cluster.pass(30).await;
    cluster.set_image("local/app:v2");
    cluster.until("traffic", |cluster| cluster.canary_share() > 0).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_prometheus_has_recorded_is_enough() {
    let cluster = TestCluster::start();
    let recorder = recorded(&cluster, Duration::from_secs(5));
    recorder.lock().unwrap().fails = 1.0;
    release(&cluster, guarded(json!({"source": "prometheus"}))).await;
    let began = Instant::now();
    cluster.until("no traffic", |cluster| cluster.canary_share() == 0).await;
    assert!(began.elapsed() <= Duration::from_secs(16), "{:?}", began.elapsed());
    cluster.until_phase("Failed").await;
    assert!(
        cluster.events().iter().any(|event| event.contains("GuardRolledBack")),
        "{:?}",
        cluster.events()
    );
}

#[tokio::test(start_paused = true)]
async fn a_good_release_waits_for_scrapes_and_asks_no_more_than_it_must() {
    let cluster = TestCluster::start();
    let recorder = recorded(&cluster, Duration::from_secs(30));
    recorder.lock().unwrap().fails = 0.001;
    release(&cluster, guarded(json!({"source": "prometheus"}))).await;
    let (began, before) = (Instant::now(), recorder.lock().unwrap().asked);
    cluster.until_phase("Succeeded").await;
    let asked = recorder.lock().unwrap().asked - before;
    let scrapes = began.elapsed().as_secs() / 30 + 1;
    // The first one or two, and then those in the last fifth before the next scrape.
    assert!(u64::try_from(asked).unwrap() <= 9 * scrapes + 40, "{asked} in {scrapes} scrapes");
    assert_eq!(metrics_ready(&cluster).0, "ShareNotTested");
    assert!(
        !cluster.events().iter().any(|event| event.contains("RolledBack")),
        "{:?}",
        cluster.events()
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_scrapes_no_more_holds_and_one_that_does_again_lets_go() {
    let cluster = TestCluster::start();
    let recorder = recorded(&cluster, Duration::from_secs(5));
    release(&cluster, guarded(json!({"source": "prometheus"}))).await;
    recorder.lock().unwrap().scraping = false;
    cluster.until("a hold", |cluster| code(cluster) == "GuardHolds").await;
    cluster
        .until("the reason", |cluster| metrics_ready(cluster).0 == "PrometheusUnreachable")
        .await;
    let (_, message) = metrics_ready(&cluster);
    assert!(message.contains("the times of its samples have not gone on"), "{message}");
    cluster.pass(900).await;
    assert_eq!(cluster.canary_share(), 5);
    recorder.lock().unwrap().scraping = true;
    cluster.until_phase("Succeeded").await;
    assert_eq!(metrics_ready(&cluster).0, "ShareNotTested");
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_nobody_asked_for_stays_out_of_the_way() {
    let cluster = TestCluster::start();
    let recorder = recorded(&cluster, Duration::from_secs(5));
    recorder.lock().unwrap().scraping = false;
    release(&cluster, guarded(Value::Null)).await;
    cluster.until_phase("Succeeded").await;
    let (reason, message) = metrics_ready(&cluster);
    assert!(reason == "PrometheusUnreachable" && message.contains("does it scrape"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_bound_that_no_server_has_recorded_is_refused_with_those_that_are() {
    let cluster = TestCluster::start();
    let recorder = recorded(&cluster, Duration::from_secs(5));
    recorder.lock().unwrap().bound = "0.3";
    let guard = json!({"source": "prometheus", "latency": [{"threshold": 500, "slo": 1}]});
    release(&cluster, guarded(guard)).await;
    cluster.until("a hold", |cluster| code(cluster) == "GuardHolds").await;
    let (reason, message) = metrics_ready(&cluster);
    assert!(reason == "NoSuchBucket" && message.contains("the bounds 300 ms"), "{message}");
    cluster.pass(300).await;
    assert_eq!(cluster.canary_share(), 5);
    recorder.lock().unwrap().fails = 1.0;
    cluster.until("no traffic", |cluster| cluster.canary_share() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn slowness_shows_in_recorded_histograms() {
    let cluster = TestCluster::start();
    let recorder = recorded(&cluster, Duration::from_secs(5));
    recorder.lock().unwrap().slow = 0.5;
    let guard = json!({"source": "prometheus", "latency": [{"threshold": 500, "slo": 1}]});
    release(&cluster, guarded(guard)).await;
    cluster.until_phase("Failed").await;
    let events = cluster.events();
    assert!(events.iter().any(|event| event.contains("slower than 500 ms")), "{events:?}");
}

pub(crate) const SLICES: (&str, &str) = ("discovery.k8s.io", "endpointslices");

pub(crate) fn slice(addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|ip| json!({"addresses": [ip], "conditions": {"ready": true, "serving": true}}))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "gateway-1", "labels": {"kubernetes.io/service-name": "gateway"}},
        "ports": [{"name": "metrics", "port": 9100}], "endpoints": endpoints,
    })
}

/// A cluster whose gateways are told to the operator in this way.
pub(crate) fn with_gateways(gateways: &str) -> TestCluster {
    let mut cluster = TestCluster::start();
    cluster.kill_operator();
    cluster.gateways = gateways.split(',').map(str::to_owned).collect();
    cluster.start_operator();
    cluster
}

#[tokio::test(start_paused = true)]
async fn replicas_behind_a_service_are_found_as_they_come() {
    let cluster = with_gateways("service=develop/gateway:metrics");
    let recorder = Recorder::start(cluster.store.clone(), Duration::from_secs(5));
    cluster.create(SLICES, slice(&["10.9.0.1"]));
    let answering = Arc::clone(&recorder);
    cluster.answer(move |url, _| {
        let mut counts = answering.lock().unwrap().counts.clone();
        match url {
            "http://10.9.0.1:9100/metrics" => {
                // All is well on the one that was there.
                counts.values_mut().for_each(|counts| counts[1] = 0.0);
                Ok((200, page(&counts, 1.7e9)))
            }
            "http://10.9.0.2:9100/metrics" => Ok((200, page(&counts, 1.8e9))),
            _ => value(99.9),
        }
    });
    recorder.lock().unwrap().fails = 1.0;
    release(&cluster, guarded(json!({"errorRate": {"slo": 1}}))).await;
    cluster.pass(15).await;
    assert_eq!(cluster.canary_share(), 5);
    assert_eq!(metrics_ready(&cluster).0, "Measured");
    cluster.modify(SLICES, "gateway-1", |object| {
        *object = {
            let mut more = slice(&["10.9.0.1", "10.9.0.2"]);
            more["metadata"] = object["metadata"].clone();
            more
        }
    });
    let began = Instant::now();
    cluster.until("no traffic", |cluster| cluster.canary_share() == 0).await;
    assert!(began.elapsed() <= Duration::from_secs(4), "{:?}", began.elapsed());
}

/// Hosts that were asked for their metrics since `from`.
fn scraped(cluster: &TestCluster, from: usize) -> BTreeSet<String> {
    let asked = cluster.script.asked.lock().unwrap();
    let hosts = asked.iter().skip(from).filter_map(|url| url.strip_suffix(":9100/metrics"));
    hosts.map(|host| host.trim_start_matches("http://").to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn replicas_with_labels_are_found_and_those_that_are_gone_left_alone() {
    let cluster = with_gateways("selector=develop/app=gateway,tier=edge:metrics");
    let recorder = Recorder::start(cluster.store.clone(), Duration::from_secs(5));
    let labels = json!({"app": "gateway", "tier": "edge"});
    let ports = json!([{"name": "metrics", "containerPort": 9100}]);
    let gateway = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "gateway"},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "gateway", "image": "local/gateway:v1", "ports": ports}]}},
        },
    });
    cluster.create(DEPLOYMENTS, gateway);
    let answering = Arc::clone(&recorder);
    cluster.answer(move |url, _| {
        if url.ends_with(":9100/metrics") {
            return Ok((200, page(&answering.lock().unwrap().counts, 1.7e9)));
        }
        value(99.9)
    });
    release(&cluster, guarded(json!({"errorRate": {"slo": 1}}))).await;
    cluster.pass(5).await;
    let pods = |cluster: &TestCluster| -> BTreeSet<String> {
        let pods = cluster
            .store
            .list(&serin_apiserver::registry::ResourceId::core("pods"), Some("develop"));
        let its = pods.iter().filter(|pod| pod["metadata"]["labels"]["app"] == "gateway");
        its.filter_map(|pod| Some(pod["status"]["podIP"].as_str()?.to_owned())).collect()
    };
    assert_eq!(pods(&cluster).len(), 3);
    assert_eq!(scraped(&cluster, 0), pods(&cluster));
    cluster.modify(DEPLOYMENTS, "gateway", |object| object["spec"]["replicas"] = json!(1));
    cluster.until("one pod", |cluster| pods(cluster).len() == 1).await;
    cluster.pass(2).await;
    let before = cluster.script.asked.lock().unwrap().len();
    cluster.pass(5).await;
    assert_eq!(scraped(&cluster, before), pods(&cluster));
    cluster.until_phase("Succeeded").await;
}

#[tokio::test(start_paused = true)]
async fn a_service_without_pods_holds_a_guard_that_was_asked_for() {
    let cluster = with_gateways("service=develop/gateway:metrics");
    cluster.answer(|_, _| value(99.9));
    release(&cluster, guarded(json!({"errorRate": {"slo": 1}}))).await;
    cluster.until("a hold", |cluster| code(cluster) == "GuardHolds").await;
    let (reason, message) = metrics_ready(&cluster);
    assert_eq!(reason, "GatewayUnreachable");
    assert!(message.contains("develop/gateway: no pod with that port is running"), "{message}");
}

/// Requests and failures in the words of Envoy, or of the NGINX ingress controller.
fn foreign_page(counts: &Counts, nginx: bool) -> String {
    let mut page = String::from("# TYPE up gauge\n");
    for (side, [requests, failed, _]) in counts {
        for (class, count) in [("2", requests - failed), ("5", *failed)] {
            let count = count.floor();
            let line = if nginx {
                let canary = if *side == "canary" { "develop-backend-canary-80" } else { "" };
                format!(
                    "nginx_ingress_controller_requests{{namespace=\"develop\",service=\"backend\",status=\"{class}00\",canary=\"{canary}\"}}"
                )
            } else {
                format!(
                    "envoy_cluster_upstream_rq_xx{{envoy_response_code_class=\"{class}\",envoy_cluster_name=\"develop_backend-{side}_80\"}}"
                )
            };
            let _ = writeln!(page, "{line} {count}");
        }
    }
    page
}

#[tokio::test(start_paused = true)]
async fn gateways_of_other_makes_are_read_as_well() {
    for nginx in [false, true] {
        let cluster = with_gateways("http://10.9.0.1:9901/stats/prometheus");
        let recorder = recorded_beside(&cluster, Duration::from_secs(5), move |url, counts| {
            if url == "http://10.9.0.1:9901/stats/prometheus" {
                return Ok((200, foreign_page(counts, nginx)));
            }
            value(99.9)
        });
        release(&cluster, guarded(json!({"errorRate": {"slo": 1}}))).await;
        cluster.pass(10).await;
        assert_eq!(metrics_ready(&cluster).0, "Measured");
        recorder.lock().unwrap().fails = 1.0;
        let began = Instant::now();
        cluster.until("no traffic", |cluster| cluster.canary_share() == 0).await;
        assert!(began.elapsed() <= Duration::from_secs(3), "{:?}", began.elapsed());
    }
}
