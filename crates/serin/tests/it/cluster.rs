//! The whole operator in a test: the API in memory, virtual pods, scripted metrics and hooks, one thread, a paused clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use serin::clock::{Clock, SharedClock};
use serin::http_client::{CallOptions, HttpClient, HttpError};
use serin::operator::{Operator, Options};
use serin_apiserver::controllers::Controllers;
use serin_apiserver::http::Api;
use serin_apiserver::kubelet::{Behaviour, PodFault, VirtualRuntime};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{Store, Sub, WriteOptions};
use tokio::time::Instant;

/// Where the virtual time begins.
const BEGIN: &str = "2026-01-01T00:00:00Z";

/// Virtual time: tokio's, counted from [`BEGIN`].
pub(crate) struct VirtualClock {
    begin: Timestamp,
    started: Instant,
}

impl VirtualClock {
    fn start() -> Arc<Self> {
        Arc::new(Self { begin: BEGIN.parse().unwrap(), started: Instant::now() })
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let gone = i64::try_from(self.started.elapsed().as_nanos()).unwrap();
        self.begin + SignedDuration::from_nanos(gone)
    }
}

type Answers = dyn Fn(&str, &str) -> Result<(u16, String), HttpError> + Send + Sync;

/// Answers what the operator asks: by URL and body.
pub(crate) struct Script {
    answers: Mutex<Arc<Answers>>,
    pub(crate) asked: Mutex<Vec<String>>,
    /// The headers of the same requests.
    pub(crate) heads: Mutex<Vec<HeaderMap>>,
    /// How long the pages of gateways take, whoever asks for them.
    pub(crate) gateways_take: Mutex<Duration>,
}

impl HttpClient for Script {
    fn send(
        &self,
        request: Request<Bytes>,
        options: CallOptions,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpError>> {
        let url = request.uri().to_string();
        let body = String::from_utf8_lossy(request.body()).into_owned();
        self.asked.lock().unwrap().push(url.clone());
        self.heads.lock().unwrap().push(request.headers().clone());
        let answers = Arc::clone(&self.answers.lock().unwrap());
        let takes = if url.starts_with("http://10.9.") {
            *self.gateways_take.lock().unwrap()
        } else {
            Duration::ZERO
        };
        Box::pin(async move {
            tokio::time::sleep(takes.min(options.timeout)).await;
            if takes > options.timeout {
                return Err(HttpError::Timeout(options.timeout));
            }
            let answer = answers(&url, &body);
            if let Err(HttpError::Timeout(_)) = answer {
                tokio::time::sleep(options.timeout).await;
                return Err(HttpError::Timeout(options.timeout));
            }
            let (status, body) = answer?;
            Ok(Response::builder().status(status).body(Bytes::from(body)).unwrap())
        })
    }
}

/// A Prometheus answer with one value.
pub(crate) fn value(value: f64) -> Result<(u16, String), HttpError> {
    let body = json!({
        "status": "success",
        "data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, value.to_string()]}]},
    });
    Ok((200, body.to_string()))
}

/// The cluster: change the world, let time pass, look at what came of it.
pub(crate) struct TestCluster {
    pub(crate) store: Store,
    pub(crate) script: Arc<Script>,
    clock: SharedClock,
    client: kube::Client,
    operator: Option<Operator>,
    /// What `--gateway-metrics` says; the operator that is started next hears of it.
    pub(crate) gateways: Vec<String>,
    /// Namespace of the Lease; without one the operator leads at once.
    pub(crate) election: Option<String>,
    /// Of canaries that name no provider; the operator that is started next hears of it.
    pub(crate) mesh_provider: String,
    /// Who the operator is at Amazon, and the file of its token.
    pub(crate) aws: (serin_providers::Aws, Option<std::path::PathBuf>),
}

pub(crate) const CANARIES: (&str, &str) = ("flagger.app", "canaries");
pub(crate) const DAEMON_SETS: (&str, &str) = ("apps", "daemonsets");
pub(crate) const DEPLOYMENTS: (&str, &str) = ("apps", "deployments");
pub(crate) const ROUTES: (&str, &str) = ("traefik.io", "traefikservices");

impl TestCluster {
    /// Images with `crash` never start, those with `never` never get ready.
    pub(crate) fn start() -> Self {
        Self::start_with(|api| kube::Client::new(api, "default"))
    }

    /// The same, with something between the operator and the API.
    pub(crate) fn start_with(client: impl FnOnce(Api) -> kube::Client) -> Self {
        let clock = VirtualClock::start();
        let ticking = Arc::clone(&clock);
        let now: serin_apiserver::store::Clock = Arc::new(move || ticking.now());
        let store = Store::new(Arc::clone(&now), 7);
        let foreign =
            [serin_apiserver::crds::traefik_crds(), serin_apiserver::crds::gateway_api_crds()];
        for crd in serin_core::crd::crds().into_iter().chain(foreign.into_iter().flatten()) {
            put(&store, ("apiextensions.k8s.io", "customresourcedefinitions"), "", crd);
        }
        put(
            &store,
            ("", "namespaces"),
            "",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "develop"}}),
        );
        let runtime = VirtualRuntime::new(|image, _| Behaviour {
            ready_after: Duration::from_secs(2),
            trouble: if image.contains("crash") {
                Some(PodFault::CrashLoop)
            } else if image.contains("never") {
                Some(PodFault::NeverReady)
            } else {
                None
            },
            ..Behaviour::default()
        });
        tokio::spawn(
            Controllers::new(Arc::new(store.clone()), Arc::new(runtime), now)
                .run(std::future::pending()),
        );
        let script = Arc::new(Script {
            answers: Mutex::new(Arc::new(|_, _| value(0.0))),
            asked: Mutex::default(),
            heads: Mutex::default(),
            gateways_take: Mutex::default(),
        });
        let client = client(Api::new(store.clone()));
        let (gateways, election) = (Vec::new(), None);
        let mesh_provider = "traefik".to_owned();
        let aws = (serin_providers::Aws::NoCredentials, None);
        let operator = None;
        let mut cluster =
            Self { store, script, clock, client, operator, gateways, election, mesh_provider, aws };
        cluster.start_operator();
        cluster
    }

    pub(crate) fn start_operator(&mut self) {
        let mut options = Options::local("http://prometheus:9090".to_owned(), 10).unwrap();
        options.clock = Arc::clone(&self.clock);
        options.http_client = Arc::clone(&self.script) as Arc<dyn HttpClient>;
        options.settings.gateways.clone_from(&self.gateways);
        options.election.clone_from(&self.election);
        options.mesh_provider.clone_from(&self.mesh_provider);
        options.settings.parse.provider.clone_from(&self.mesh_provider);
        (options.settings.providers.aws, options.settings.identity_token) = self.aws.clone();
        self.operator = Some(Operator::start(self.client.clone(), options));
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What `/metrics` would show.
    pub(crate) fn metrics(&self) -> String {
        self.operator.as_ref().unwrap().context().metrics.render()
    }

    /// As a crash would: nothing is finished, nothing is given back.
    pub(crate) fn kill_operator(&mut self) {
        if let Some(operator) = self.operator.take() {
            operator.kill();
        }
    }

    pub(crate) fn answer(
        &self,
        answers: impl Fn(&str, &str) -> Result<(u16, String), HttpError> + Send + Sync + 'static,
    ) {
        *self.script.answers.lock().unwrap() = Arc::new(answers);
    }

    /// A Deployment `backend` with this image, and its Canary.
    pub(crate) fn apply(&self, image: &str, spec: Value) {
        let mut deployment = workload("Deployment", image);
        deployment["spec"]["replicas"] = json!(2);
        self.apply_with(deployment, spec);
    }

    /// This workload, and its Canary.
    pub(crate) fn apply_with(&self, workload: Value, spec: Value) {
        let kind = workload["kind"].as_str().unwrap().to_owned();
        let plural = format!("{}s", kind.to_lowercase());
        put(&self.store, ("apps", &plural), "develop", workload);
        let mut canary = json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
            "metadata": {"name": "backend"},
            "spec": {
                "provider": "traefik",
                "targetRef": {"apiVersion": "apps/v1", "kind": kind, "name": "backend"},
                "service": {"port": 80, "targetPort": 8080},
                "analysis": {
                    "interval": "10s", "threshold": 1, "stepWeights": [5, 10, 20, 30, 40, 50],
                    "metrics": [{"name": "errors", "query": "errors", "thresholdRange": {"max": 1}}],
                },
            },
        });
        merge(&mut canary["spec"], spec);
        put(&self.store, CANARIES, "develop", canary);
    }

    pub(crate) fn create(&self, id: (&str, &str), object: Value) {
        put(&self.store, id, "develop", object);
    }

    pub(crate) fn set_image(&self, image: &str) {
        self.modify(DEPLOYMENTS, "backend", |object| {
            object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        });
    }

    pub(crate) fn modify(&self, id: (&str, &str), name: &str, change: impl FnOnce(&mut Value)) {
        let id = ResourceId::new(id.0, id.1);
        self.store
            .modify(&id, "develop", name, Sub::Main, &WriteOptions::by("test"), change)
            .unwrap();
    }

    /// The same in another namespace, or of a kind that has none.
    pub(crate) fn modify_in(
        &self,
        namespace: &str,
        id: &ResourceId,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) {
        let options = WriteOptions::by("test");
        self.store.modify(id, namespace, name, Sub::Main, &options, change).unwrap();
    }

    /// An object of a kind that has no namespaces.
    pub(crate) fn create_cluster(&self, id: (&str, &str), object: Value) {
        put(&self.store, id, "", object);
    }

    pub(crate) fn create_namespace(&self, name: &str) {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        put(&self.store, ("", "namespaces"), "", namespace);
    }

    pub(crate) fn get(&self, id: (&str, &str), name: &str) -> Option<Arc<Value>> {
        self.store.get(&ResourceId::new(id.0, id.1), "develop", name)
    }

    pub(crate) fn status(&self) -> Value {
        let canary = self.get(CANARIES, "backend");
        canary.and_then(|canary| canary.get("status").cloned()).unwrap_or(Value::Null)
    }

    pub(crate) fn phase(&self) -> String {
        self.status()["phase"].as_str().unwrap_or_default().to_owned()
    }

    /// Weights in the route, by Service.
    pub(crate) fn route(&self) -> BTreeMap<String, i64> {
        let Some(route) = self.get(ROUTES, "backend") else { return BTreeMap::new() };
        let services =
            route["spec"]["weighted"]["services"].as_array().cloned().unwrap_or_default();
        services
            .iter()
            .map(|s| (s["name"].as_str().unwrap().to_owned(), s["weight"].as_i64().unwrap_or(1)))
            .collect()
    }

    pub(crate) fn canary_share(&self) -> i64 {
        self.route().get("backend-canary").copied().unwrap_or(0)
    }

    pub(crate) fn primary_image(&self) -> String {
        let primary = self.get(DEPLOYMENTS, "backend-primary").unwrap();
        primary["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn pass(&self, secs: u64) {
        tokio::time::sleep(Duration::from_secs(secs)).await;
    }

    /// Lets virtual time pass until it is so; an hour of it is enough for anything.
    pub(crate) async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(3600);
        let mut changed = self.store.changed();
        while !so(self) {
            let waited = tokio::time::timeout_at(deadline, changed.changed()).await;
            assert!(
                waited.is_ok(),
                "never: {what}; status: {:#}, route: {:?}",
                self.status(),
                self.route()
            );
        }
    }

    pub(crate) async fn until_phase(&self, phase: &str) {
        self.until(phase, |cluster| cluster.phase() == phase).await;
    }

    /// Events on the canary: reason and message, in order.
    pub(crate) fn events(&self) -> Vec<String> {
        let mut events: Vec<(String, String)> = self
            .store
            .list(&ResourceId::core("events"), Some("develop"))
            .iter()
            .filter(|event| event["involvedObject"]["kind"] == "Canary")
            .map(|event| {
                let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
                let name = event["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                (name, format!("{} {}: {}", text("type"), text("reason"), text("message")))
            })
            .collect();
        events.sort();
        events.into_iter().map(|(_, text)| text).collect()
    }
}

/// One of the application, of a kind in the group `apps`.
pub(crate) fn workload(kind: &str, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": "backend", "labels": {"app": "backend"}},
        "spec": {
            "selector": {"matchLabels": {"app": "backend"}},
            "template": {
                "metadata": {"labels": {"app": "backend"}},
                "spec": {"containers": [{"name": "backend", "image": image, "ports": [{"containerPort": 8080}]}]},
            },
        },
    })
}

fn put(store: &Store, id: (&str, &str), namespace: &str, object: Value) {
    let id = ResourceId::new(id.0, id.1);
    store.create(&id, namespace, object, &WriteOptions::by("test")).unwrap();
}

/// Objects are merged, everything else is replaced.
pub(crate) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                if value.is_null() {
                    into.remove(&name);
                    continue;
                }
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
