//! The rights of `deploy/20-rbac.yaml`: every request of the operator is allowed by them, and none of them is idle.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use serin::lab::local::manifest;
use serin_apiserver::http::{Api, Body};
use serin_apiserver::registry::ResourceId;
use tower::Service;

use crate::cluster::{CANARIES, DAEMON_SETS, DEPLOYMENTS, TestCluster, value, workload};

/// Where the manifests put the operator.
const HOME: &str = "serin-system";

/// One request, as an authorizer sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    verb: String,
    group: String,
    /// With its subresource, as in `deployments/scale`.
    resource: String,
    /// None for all of them.
    namespace: Option<String>,
    name: Option<String>,
}

impl Asked {
    fn of(method: &Method, path: &str, query: &str) -> Self {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (group, rest) = match parts.as_slice() {
            ["api", "v1", rest @ ..] => ("", rest),
            ["apis", group, _version, rest @ ..] => (*group, rest),
            other => panic!("the operator asked for {other:?}"),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            rest => (None, rest),
        };
        let (plural, name, sub) = match rest {
            [plural] => (*plural, None, None),
            [plural, name] => (*plural, Some(*name), None),
            [plural, name, sub] => (*plural, Some(*name), Some(*sub)),
            other => panic!("the operator asked for {other:?}"),
        };
        let watch = query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1");
        let verb = match (method.as_str(), name) {
            ("GET", _) if watch => "watch",
            ("GET", Some(_)) => "get",
            ("GET", None) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", Some(_)) => "delete",
            ("DELETE", None) => "deletecollection",
            (other, _) => panic!("the operator sent {other}"),
        };
        Self {
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: sub.map_or(plural.to_owned(), |sub| format!("{plural}/{sub}")),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
        }
    }
}

/// The API, and who asked it for what.
#[derive(Clone)]
struct Recorded {
    api: Api,
    asked: Arc<Mutex<BTreeSet<Asked>>>,
    /// Of ConfigMaps and Secrets: what was asked for whole, and which were read.
    read: Arc<Mutex<BTreeSet<String>>>,
}

impl Recorded {
    fn note(&self, request: &Request<kube::client::Body>, asked: &Asked) {
        let accepted = request.headers().get(http::header::ACCEPT).and_then(|a| a.to_str().ok());
        let metadata =
            accepted.is_some_and(|accepted| accepted.contains("as=PartialObjectMetadata"));
        let data = ["configmaps", "secrets"].contains(&asked.resource.as_str());
        let mut read = self.read.lock().unwrap();
        match (asked.verb.as_str(), &asked.name) {
            ("list" | "watch", _) if data && !metadata => read.insert(asked.resource.clone()),
            ("get", Some(name)) if data => read.insert(name.clone()),
            _ => false,
        };
    }
}

impl Service<Request<kube::client::Body>> for Recorded {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let uri = request.uri();
        let asked = Asked::of(request.method(), uri.path(), uri.query().unwrap_or_default());
        self.asked.lock().unwrap().insert(asked.clone());
        self.note(&request, &asked);
        let (api, all) = (self.api.clone(), Arc::clone(&self.asked));
        Box::pin(async move {
            let answer = api.handle(request).await;
            if asked.verb == "patch" && answer.status() == StatusCode::CREATED {
                // An API server lets nobody create by an apply who may not create.
                all.lock().unwrap().insert(Asked {
                    verb: "create".to_owned(),
                    name: None,
                    ..asked
                });
            }
            Ok(answer)
        })
    }
}

/// One right of the manifests: a verb on a resource, in a namespace or in all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    group: String,
    resource: String,
    verb: String,
    namespace: Option<String>,
    /// Empty for all names.
    names: Vec<String>,
}

impl Right {
    fn allows(&self, asked: &Asked) -> bool {
        let named = |name: &String| self.names.contains(name);
        self.group == asked.group
            && self.resource == asked.resource
            && self.verb == asked.verb
            && (self.namespace.is_none() || self.namespace == asked.namespace)
            && (self.names.is_empty() || asked.name.as_ref().is_some_and(named))
    }

    fn text(&self) -> String {
        format!("{} {}/{}", self.verb, self.group, self.resource)
    }
}

fn texts(value: &Value, field: &str) -> Vec<String> {
    let list = value[field].as_array().cloned().unwrap_or_default();
    list.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// What the operator's ServiceAccount may do: every rule of every role that is bound to it.
fn rights() -> Vec<Right> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/20-rbac.yaml");
    let all = manifest::documents(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut rights = Vec::new();
    for binding in all.iter().filter(|object| object["kind"].as_str().unwrap().ends_with("Binding"))
    {
        assert_eq!(
            binding["subjects"],
            json!([{"kind": "ServiceAccount", "name": "serin", "namespace": HOME}])
        );
        let namespace = binding["metadata"]["namespace"].as_str().map(str::to_owned);
        let role = all
            .iter()
            .find(|object| {
                object["kind"] == binding["roleRef"]["kind"]
                    && object["metadata"]["name"] == binding["roleRef"]["name"]
                    && object["metadata"]["namespace"] == binding["metadata"]["namespace"]
            })
            .unwrap_or_else(|| panic!("no role for {binding}"));
        for rule in role["rules"].as_array().unwrap() {
            for group in texts(rule, "apiGroups") {
                for resource in texts(rule, "resources") {
                    rights.extend(texts(rule, "verbs").into_iter().map(|verb| Right {
                        group: group.clone(),
                        resource: resource.clone(),
                        verb,
                        namespace: namespace.clone(),
                        names: texts(rule, "resourceNames"),
                    }));
                }
            }
        }
    }
    rights
}

/// Rights that no request shows, each with its reason.
const UNSEEN: &[(&str, &str)] = &[
    (
        "update flagger.app/canaries/finalizers",
        "asked for by the admission of OwnerReferencesPermissionEnforcement, not by a request: what we make is owned by its Canary",
    ),
    (
        "delete /services",
        "asked for by the same admission, of whoever changes the owners of a Service: it is given back to its user",
    ),
    ("delete traefik.io/traefikservices", "the same, of a route"),
    ("delete gateway.networking.k8s.io/httproutes", "the same, of a route"),
    (
        "get gateway.networking.k8s.io/httproutes",
        "asked for when its kind is watched already, as TraefikServices are in this life",
    ),
    ("get traefik.io/ingressroutes", "the same"),
    (
        "get gateway.networking.k8s.io/gateways",
        "asked for, like the next five, where a route of the Gateway API needs what not every implementation does, as in `gateway_api`",
    ),
    ("list gateway.networking.k8s.io/gateways", "the same"),
    ("watch gateway.networking.k8s.io/gateways", "the same"),
    ("get gateway.networking.k8s.io/gatewayclasses", "the same"),
    ("list gateway.networking.k8s.io/gatewayclasses", "the same"),
    ("watch gateway.networking.k8s.io/gatewayclasses", "the same"),
    ("get flagger.app/canaries", "asked for when a list is older than what was written"),
    ("list coordination.k8s.io/leases", "asked for by a replica that waits, as in `election`"),
    ("watch coordination.k8s.io/leases", "asked for by a replica that waits, as in `election`"),
    (
        "get metrics.keptn.sh/keptnmetrics",
        "asked for where a MetricTemplate is of type keptn, as in `backends`",
    ),
];

fn spec() -> Value {
    json!({
        "autoscalerRef": {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "backend"},
        "analysis": {
            "metrics": [
                {"name": "template", "templateRef": {"name": "errors"}, "thresholdRange": {"max": 1}},
            ],
            "alerts": [{"name": "chat", "severity": "info", "providerRef": {"name": "chat"}}],
        },
    })
}

/// Everything that a canary can refer to.
fn surroundings(cluster: &TestCluster) {
    cluster.create(("", "configmaps"), json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"level": "one"}}));
    cluster.create(("", "configmaps"), json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "foreign"}, "data": {"level": "one"}}));
    for name in ["password", "keys", "chat", "foreign"] {
        let data = json!({"token": "dG9rZW4=", "address": "aHR0cDovL2NoYXQ="});
        cluster.create(
            ("", "secrets"),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}),
        );
    }
    cluster.create(("autoscaling", "horizontalpodautoscalers"), crate::stories::scaler());
    cluster.create(
        ("flagger.app", "metrictemplates"),
        json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "MetricTemplate", "metadata": {"name": "errors"},
            "spec": {
                "provider": {"type": "prometheus", "address": "http://prometheus:9090", "secretRef": {"name": "keys"}},
                "query": "errors",
            },
        }),
    );
    cluster.create(
        ("flagger.app", "alertproviders"),
        json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "AlertProvider", "metadata": {"name": "chat"},
            "spec": {"type": "slack", "channel": "releases", "secretRef": {"name": "chat"}},
        }),
    );
}

async fn begun(cluster: &TestCluster) {
    cluster.apply("app:v1", spec());
    cluster.modify(DEPLOYMENTS, "backend", |target| {
        target["spec"]["template"]["spec"]["containers"][0]["envFrom"] = json!([
            {"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "password"}},
        ]);
    });
    cluster.until_phase("Initialized").await;
}

/// One of everything: adoption, a promotion with configs and an autoscaler, a rollback, a repair and a deletion.
async fn lived(cluster: &TestCluster) {
    surroundings(cluster);
    begun(cluster).await;
    cluster.modify(("", "configmaps"), "settings", |object| object["data"]["level"] = json!("two"));
    cluster.modify(("", "secrets"), "password", |object| object["data"]["token"] = json!("bmV3"));
    cluster.modify(("autoscaling", "horizontalpodautoscalers"), "backend", |scaler| {
        scaler["spec"]["maxReplicas"] = json!(9);
    });
    cluster.set_image("app:v2");
    cluster
        .until("promoted", |cluster| {
            cluster.phase() == "Succeeded" && cluster.primary_image() == "app:v2"
        })
        .await;
    cluster.answer(|url, _| if url.contains("errors") { value(7.0) } else { value(0.0) });
    cluster.set_image("app:v3");
    cluster.until_phase("Failed").await;
    cluster.pass(60).await;
    // A cluster that is restored from a backup lists what is older than what was written: each canary is read alone.
    let backup = cluster.store.backup();
    cluster.set_image("app:v4");
    cluster.until_phase("Failed").await;
    cluster.pass(60).await;
    cluster.store.restore(&backup);
    cluster.pass(120).await;
    let id = ResourceId::new(CANARIES.0, CANARIES.1);
    cluster.store.delete(&id, "develop", "backend", &Default::default()).unwrap();
    cluster.until("gone", |cluster| cluster.get(CANARIES, "backend").is_none()).await;
    cluster.pass(60).await;
    // What it refers to is read by its name when the watches are there already.
    let target = ResourceId::new(DEPLOYMENTS.0, DEPLOYMENTS.1);
    cluster.store.delete(&target, "develop", "backend", &Default::default()).unwrap();
    begun(cluster).await;
    cluster.pass(60).await;
    cluster.answer(|_, _| value(0.0));
    gone(cluster).await;
    let route = json!({
        "apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute", "metadata": {"name": "shop"},
        "spec": {"routes": [{"kind": "Rule", "match": "Host(`a`)", "services": [{"name": "backend", "port": 80}]}]},
    });
    cluster.create(("traefik.io", "ingressroutes"), route);
    let beside =
        json!({"apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute", "name": "shop"});
    cluster.apply("app:v5", json!({"routeRef": beside}));
    cluster.until_phase("Initialized").await;
    cluster.modify(("traefik.io", "ingressroutes"), "shop", |route| {
        route["spec"]["entryPoints"] = json!(["web"]);
    });
    cluster.pass(60).await;
    gone(cluster).await;
    let edge = json!({"provider": "gatewayapi:v1", "service": {"gatewayRefs": [{"name": "edge"}]}});
    cluster.apply("app:v5", edge);
    cluster.until_phase("Initialized").await;
    cluster.set_image("app:v6");
    cluster.until_phase("Succeeded").await;
    gone(cluster).await;
    lived_on_every_node(cluster).await;
}

/// The same as a DaemonSet, with somebody who asks for something.
async fn lived_on_every_node(cluster: &TestCluster) {
    cluster.apply_with(workload("DaemonSet", "app:v1"), json!({}));
    cluster.until_phase("Initialized").await;
    cluster.modify(DAEMON_SETS, "backend", |set| {
        set["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:v2");
    });
    cluster.until_phase("Succeeded").await;
    // This one too is read by its name when its watch is there already.
    for id in [CANARIES, DAEMON_SETS] {
        let id = ResourceId::new(id.0, id.1);
        cluster.store.delete(&id, "develop", "backend", &Default::default()).unwrap();
        cluster.until("gone", |cluster| cluster.get(CANARIES, "backend").is_none()).await;
        cluster.pass(60).await;
    }
    cluster.apply_with(workload("DaemonSet", "app:v1"), json!({}));
    cluster.until_phase("Initialized").await;
    let actions = ("serin.dev", "releaseactions");
    let action = json!({
        "apiVersion": "serin.dev/v1alpha1", "kind": "ReleaseAction", "metadata": {"name": "stop"},
        "spec": {"canary": "backend", "action": "abort", "release": cluster.status()["release"]},
    });
    cluster.create(actions, action);
    cluster
        .until("an answer", |cluster| {
            cluster
                .get(actions, "stop")
                .is_some_and(|action| action["status"]["state"] == "Refused")
        })
        .await;
    cluster.pass(25 * 3600).await;
    cluster.until("it is taken away", |cluster| cluster.get(actions, "stop").is_none()).await;
}

/// Both the Canary and its target.
async fn gone(cluster: &TestCluster) {
    for id in [CANARIES, DEPLOYMENTS] {
        let id = ResourceId::new(id.0, id.1);
        cluster.store.delete(&id, "develop", "backend", &Default::default()).unwrap();
        cluster.until("gone", |cluster| cluster.get(CANARIES, "backend").is_none()).await;
        cluster.pass(60).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_manifests_grant_what_is_asked_and_no_more() {
    let asked = Arc::new(Mutex::new(BTreeSet::new()));
    let read = Arc::new(Mutex::new(BTreeSet::new()));
    let (shared, of_data) = (Arc::clone(&asked), Arc::clone(&read));
    let mut cluster = TestCluster::start_with(move |api| {
        kube::Client::new(Recorded { api, asked: shared, read: of_data }, "default")
    });
    cluster.kill_operator();
    cluster.create_namespace(HOME);
    cluster.election = Some(HOME.to_owned());
    cluster.gateways = ["service=develop/gateway:metrics", "selector=develop/app=gateway:metrics"]
        .map(str::to_owned)
        .to_vec();
    cluster.start_operator();
    lived(&cluster).await;
    let asked = asked.lock().unwrap().clone();
    let read = std::mem::take(&mut *read.lock().unwrap());
    let names = ["settings", "password", "keys", "chat"];
    let foreign: Vec<_> = read
        .iter()
        .filter(|name| {
            let copied = name.split_once("-backend-primary-").map(|(source, _)| source);
            let copied = copied.or_else(|| name.strip_suffix("-primary"));
            !names.contains(&copied.unwrap_or(name))
        })
        .collect();
    assert!(foreign.is_empty(), "read though no canary refers to it: {foreign:?}");
    assert!(read.contains("settings") && read.contains("password"), "{read:?}");
    let rights = rights();
    let refused: Vec<_> =
        asked.iter().filter(|asked| !rights.iter().any(|right| right.allows(asked))).collect();
    assert!(refused.is_empty(), "not granted: {refused:#?}");
    let unseen: BTreeMap<_, _> = UNSEEN.iter().copied().collect();
    let idle: Vec<_> = rights
        .iter()
        .filter(|right| !asked.iter().any(|asked| right.allows(asked)))
        .map(Right::text)
        .filter(|right| !unseen.contains_key(right.as_str()))
        .collect();
    assert!(idle.is_empty(), "granted and never asked for: {idle:#?}");
}

/// What a call of the API in the source can ask for: in which file, what is looked for, how often it stands there, and the
/// rights that it may take.
type Call = (&'static str, &'static str, usize, &'static [&'static str]);

/// Kinds that canaries refer to and that are read by name when a list has missed them.
const NAMED: &[&str] = &[
    "get apps/deployments",
    "get apps/daemonsets",
    "get autoscaling/horizontalpodautoscalers",
    "get /services",
    "get /configmaps",
    "get /secrets",
    "get traefik.io/traefikservices",
    "get gateway.networking.k8s.io/httproutes",
    "get gateway.networking.k8s.io/gateways",
    "get gateway.networking.k8s.io/gatewayclasses",
    "get traefik.io/ingressroutes",
    "get flagger.app/metrictemplates",
];

/// The same kinds, and those that are found by labels.
const WATCHED: &[&str] = &[
    "list apps/deployments",
    "watch apps/deployments",
    "list apps/daemonsets",
    "watch apps/daemonsets",
    "list autoscaling/horizontalpodautoscalers",
    "watch autoscaling/horizontalpodautoscalers",
    "list /services",
    "watch /services",
    "list /configmaps",
    "watch /configmaps",
    "list /secrets",
    "watch /secrets",
    "list traefik.io/traefikservices",
    "watch traefik.io/traefikservices",
    "list gateway.networking.k8s.io/httproutes",
    "watch gateway.networking.k8s.io/httproutes",
    "list gateway.networking.k8s.io/gateways",
    "watch gateway.networking.k8s.io/gateways",
    "list gateway.networking.k8s.io/gatewayclasses",
    "watch gateway.networking.k8s.io/gatewayclasses",
    "list traefik.io/ingressroutes",
    "watch traefik.io/ingressroutes",
    "list flagger.app/metrictemplates",
    "watch flagger.app/metrictemplates",
    "list serin.dev/releaseactions",
    "watch serin.dev/releaseactions",
    "list flagger.app/alertproviders",
    "watch flagger.app/alertproviders",
    "list discovery.k8s.io/endpointslices",
    "watch discovery.k8s.io/endpointslices",
];

const CONFIGS_CREATED: &[&str] = &["create /configmaps", "create /secrets"];
const CONFIGS_REPLACED: &[&str] = &["update /configmaps", "update /secrets"];

/// Every call in the source of the operator, and every change that the providers make.
const CALLS: &[Call] = &[
    ("serin/src/operator/apply.rs", "api.create(", 1, &[]),
    ("serin/src/operator/apply.rs", "api.patch(", 2, &[]),
    ("serin/src/operator/apply.rs", "api.patch_scale(", 1, &[]),
    ("serin/src/operator/apply.rs", "api.replace(", 1, &[]),
    ("serin/src/operator/ask.rs", "api.get_opt(", 1, &["get metrics.keptn.sh/keptnmetrics"]),
    ("serin/src/operator/controller.rs", "api.get_metadata_opt(", 1, &["get flagger.app/canaries"]),
    (
        "serin/src/operator/controller.rs",
        "watcher(",
        1,
        &["list flagger.app/canaries", "watch flagger.app/canaries"],
    ),
    ("serin/src/operator/events.rs", "api.create(", 1, &["create /events"]),
    ("serin/src/operator/events.rs", "api.patch(", 1, &["patch /events"]),
    (
        "serin/src/guard/source/discovery.rs",
        "watcher(",
        1,
        &[
            "list /pods",
            "watch /pods",
            "list discovery.k8s.io/endpointslices",
            "watch discovery.k8s.io/endpointslices",
        ],
    ),
    ("serin/src/operator/actions.rs", "api.delete(", 1, &["delete serin.dev/releaseactions"]),
    (
        "serin/src/operator/actions.rs",
        "api.patch_status(",
        1,
        &["patch serin.dev/releaseactions/status"],
    ),
    ("serin/src/operator/leader.rs", "leases.create(", 1, &["create coordination.k8s.io/leases"]),
    ("serin/src/operator/leader.rs", "leases.get_opt(", 2, &["get coordination.k8s.io/leases"]),
    ("serin/src/operator/leader.rs", "leases.replace(", 3, &["update coordination.k8s.io/leases"]),
    (
        "serin/src/operator/leader.rs",
        "watcher(",
        1,
        &["list coordination.k8s.io/leases", "watch coordination.k8s.io/leases"],
    ),
    ("serin/src/operator/mod.rs", "leases.get_opt(", 1, &["get coordination.k8s.io/leases"]),
    (
        "serin/src/operator/pods.rs",
        "api.get_metadata_opt(",
        1,
        &["get /pods", "get apps/replicasets"],
    ),
    (
        "serin/src/operator/record.rs",
        "api.patch_status(",
        1,
        &["patch flagger.app/canaries/status"],
    ),
    (
        "serin/src/operator/notifier.rs",
        "api.get(",
        1,
        &["get flagger.app/alertproviders", "get /secrets"],
    ),
    ("serin/src/cache/mod.rs", "api.get_opt(", 1, NAMED),
    (
        "serin/src/cache/mod.rs",
        "api.list(",
        2,
        &["list discovery.k8s.io/endpointslices", "list serin.dev/releaseactions"],
    ),
    ("serin/src/cache/watching.rs", "watcher(", 1, WATCHED),
    ("serin-providers/src/render.rs", "Change::MergePatch {", 2, &["patch flagger.app/canaries"]),
    (
        "serin-providers/src/router/gateway_api.rs",
        "Change::Apply {",
        1,
        &[
            "patch gateway.networking.k8s.io/httproutes",
            "create gateway.networking.k8s.io/httproutes",
        ],
    ),
    (
        "serin-providers/src/router/gateway_api.rs",
        "Change::MergePatch {",
        1,
        &["patch gateway.networking.k8s.io/httproutes"],
    ),
    (
        "serin-providers/src/router/traefik.rs",
        "Change::Apply {",
        1,
        &["patch traefik.io/traefikservices", "create traefik.io/traefikservices"],
    ),
    (
        "serin-providers/src/router/traefik.rs",
        "Change::MergePatch {",
        1,
        &["patch traefik.io/traefikservices"],
    ),
    (
        "serin-providers/src/router/own.rs",
        "Change::Apply {",
        1,
        &[
            "patch traefik.io/traefikservices",
            "create traefik.io/traefikservices",
            "patch traefik.io/ingressroutes",
            "create traefik.io/ingressroutes",
        ],
    ),
    (
        "serin-providers/src/router/mirrored.rs",
        "Change::MergePatch {",
        1,
        &["patch traefik.io/traefikservices"],
    ),
    (
        "serin-providers/src/router/traefik/derived.rs",
        "Change::Apply {",
        1,
        &["patch traefik.io/ingressroutes", "create traefik.io/ingressroutes"],
    ),
    (
        "serin-providers/src/router/traefik/derived.rs",
        "Change::MergePatch {",
        1,
        &["patch traefik.io/traefikservices"],
    ),
    (
        "serin-providers/src/service.rs",
        "Change::Apply {",
        2,
        &["patch /services", "create /services"],
    ),
    ("serin-providers/src/service.rs", "Change::MergePatch {", 1, &["patch /services"]),
    ("serin-providers/src/workload/config.rs", "Change::Create {", 1, CONFIGS_CREATED),
    ("serin-providers/src/workload/config.rs", "Change::Replace {", 1, CONFIGS_REPLACED),
    (
        "serin-providers/src/workload/kept.rs",
        "Change::Create {",
        2,
        &["create /configmaps", "create /secrets"],
    ),
    (
        "serin-providers/src/workload/kept.rs",
        "Change::Replace {",
        3,
        &[
            "update /configmaps",
            "update /secrets",
            "update apps/deployments",
            "update apps/daemonsets",
        ],
    ),
    (
        "serin-providers/src/workload/primary.rs",
        "Change::Create {",
        1,
        &["create apps/deployments", "create apps/daemonsets"],
    ),
    (
        "serin-providers/src/workload/primary.rs",
        "Change::Replace {",
        1,
        &["update apps/deployments", "update apps/daemonsets"],
    ),
    (
        "serin-providers/src/workload/scaler.rs",
        "Change::Create {",
        1,
        &["create autoscaling/horizontalpodautoscalers"],
    ),
    (
        "serin-providers/src/workload/scaler.rs",
        "Change::MergePatch {",
        1,
        &["patch autoscaling/horizontalpodautoscalers"],
    ),
    (
        "serin-providers/src/workload/scaler.rs",
        "Change::Replace {",
        1,
        &["update autoscaling/horizontalpodautoscalers"],
    ),
    (
        "serin-providers/src/workload/daemon_set.rs",
        "Change::MergePatch {",
        1,
        &["patch apps/daemonsets"],
    ),
    (
        "serin-providers/src/workload/deployment.rs",
        "Change::Scale {",
        1,
        &["patch apps/deployments/scale"],
    ),
];

/// What runs as the person who calls it, or in a cluster of its own.
const NOT_THE_OPERATOR: &[&str] = &[
    "serin/src/local",
    "serin/src/demo",
    "serin/src/plan",
    "serin/src/explain",
    "serin/src/backtest",
    "serin/src/migrate",
    "serin/src/cli",
    "serin/src/console",
    "serin/src/cli/control.rs",
    "serin/src/term",
];

/// Places in the source at which something is asked of an API server.
fn found() -> BTreeMap<(String, &'static str), usize> {
    const METHODS: &[&str] = &[
        "get(",
        "get_opt(",
        "get_metadata(",
        "get_metadata_opt(",
        "get_status(",
        "get_scale(",
        "list(",
        "list_metadata(",
        "watch(",
        "watch_metadata(",
        "create(",
        "replace(",
        "replace_status(",
        "replace_scale(",
        "patch(",
        "patch_status(",
        "patch_scale(",
        "patch_metadata(",
        "delete(",
        "delete_collection(",
        "entry(",
        "evict(",
    ];
    const CHANGES: &[&str] = &[
        "Change::Apply {",
        "Change::Create {",
        "Change::Replace {",
        "Change::MergePatch {",
        "Change::Scale {",
    ];
    let calls: Vec<&'static str> = ["api.", "leases."]
        .into_iter()
        .flat_map(|object| METHODS.iter().map(move |method| format!("{object}{method}")))
        .chain(["watcher(", "client.request", "watch_object("].map(str::to_owned))
        .map(|text| &*text.leak())
        .collect();
    let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut found = BTreeMap::new();
    for (folder, patterns) in [("serin/src", calls.as_slice()), ("serin-providers/src", CHANGES)] {
        for file in sources(&root.join(folder)) {
            let name = file.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let others = name.ends_with("tests.rs")
                || name.ends_with("testing.rs")
                || name.ends_with("src/change.rs");
            if others || NOT_THE_OPERATOR.iter().any(|not| name.starts_with(not)) {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for pattern in patterns {
                let begins =
                    |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                // A pattern of a match has its fields named away, and makes nothing.
                let makes = |at: usize| !code[at..].lines().next().unwrap().contains(": _");
                let count =
                    code.match_indices(pattern).filter(|(at, _)| begins(*at) && makes(*at)).count();
                if count > 0 {
                    found.insert((name.clone(), *pattern), count);
                }
            }
        }
    }
    found
}

fn sources(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
    all
}

/// A life shows what was asked in it; this shows what the code can ask. A new call has to say here what rights it takes.
#[test]
fn what_the_code_can_ask_is_granted_and_nothing_else_is() {
    let known: BTreeMap<(String, &str), usize> =
        CALLS.iter().map(|(file, call, count, _)| (((*file).to_owned(), *call), *count)).collect();
    let found = found();
    let found: BTreeMap<(String, &str), usize> =
        found.iter().map(|((file, call), count)| ((file.clone(), *call), *count)).collect();
    assert_eq!(found, known, "calls of the API in the source, and those whose rights are known");
    let granted: BTreeSet<String> = rights().iter().map(Right::text).collect();
    // The first of them are no calls.
    let unseen = UNSEEN.iter().take(4).map(|(right, _)| *right);
    let asked: BTreeSet<String> =
        CALLS.iter().flat_map(|call| call.3).copied().chain(unseen).map(str::to_owned).collect();
    assert_eq!(asked, granted);
}
