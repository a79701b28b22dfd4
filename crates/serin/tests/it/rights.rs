//! The rights of `deploy/20-rbac.yaml`: every request of the operator is allowed by them, and none of them is idle.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use serin::local::manifest;
use serin_apiserver::http::{Api, Body};
use serin_apiserver::registry::ResourceId;
use tower::Service;

use crate::bed::{Bed, CANARIES, DEPLOYMENTS, value};

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
const UNSEEN: &[(&str, &str)] = &[(
    "update flagger.app/canaries/finalizers",
    "asked for by the admission of OwnerReferencesPermissionEnforcement, not by a request: what we make is owned by its Canary",
)];

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
fn surroundings(bed: &Bed) {
    bed.create(("", "configmaps"), json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"level": "one"}}));
    for name in ["password", "keys", "chat"] {
        let data = json!({"token": "dG9rZW4=", "address": "aHR0cDovL2NoYXQ="});
        bed.create(
            ("", "secrets"),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}),
        );
    }
    bed.create(("autoscaling", "horizontalpodautoscalers"), crate::stories::scaler());
    bed.create(
        ("flagger.app", "metrictemplates"),
        json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "MetricTemplate", "metadata": {"name": "errors"},
            "spec": {
                "provider": {"type": "prometheus", "address": "http://prometheus:9090", "secretRef": {"name": "keys"}},
                "query": "errors",
            },
        }),
    );
    bed.create(
        ("flagger.app", "alertproviders"),
        json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "AlertProvider", "metadata": {"name": "chat"},
            "spec": {"type": "slack", "channel": "releases", "secretRef": {"name": "chat"}},
        }),
    );
}

async fn begun(bed: &Bed) {
    bed.apply("app:v1", spec());
    bed.modify(DEPLOYMENTS, "backend", |target| {
        target["spec"]["template"]["spec"]["containers"][0]["envFrom"] = json!([
            {"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "password"}},
        ]);
    });
    bed.until_phase("Initialized").await;
}

/// One of everything: adoption, a promotion with configs and an autoscaler, a rollback, a repair and a deletion.
async fn lived(bed: &Bed) {
    surroundings(bed);
    begun(bed).await;
    bed.modify(("", "configmaps"), "settings", |object| object["data"]["level"] = json!("two"));
    bed.modify(("", "secrets"), "password", |object| object["data"]["token"] = json!("bmV3"));
    bed.modify(("autoscaling", "horizontalpodautoscalers"), "backend", |scaler| {
        scaler["spec"]["maxReplicas"] = json!(9);
    });
    bed.set_image("app:v2");
    bed.until("promoted", |bed| bed.phase() == "Succeeded" && bed.primary_image() == "app:v2")
        .await;
    bed.answer(|url, _| if url.contains("errors") { value(7.0) } else { value(0.0) });
    bed.set_image("app:v3");
    bed.until_phase("Failed").await;
    bed.pass(60).await;
    // A cluster that is restored from a backup lists what is older than what was written: each canary is read alone.
    let backup = bed.store.backup();
    bed.set_image("app:v4");
    bed.until_phase("Failed").await;
    bed.pass(60).await;
    bed.store.restore(&backup);
    bed.pass(120).await;
    let id = ResourceId::new(CANARIES.0, CANARIES.1);
    bed.store.delete(&id, "develop", "backend", &Default::default()).unwrap();
    bed.until("gone", |bed| bed.get(CANARIES, "backend").is_none()).await;
    bed.pass(60).await;
    // What it refers to is read by its name when the watches are there already.
    let target = ResourceId::new(DEPLOYMENTS.0, DEPLOYMENTS.1);
    bed.store.delete(&target, "develop", "backend", &Default::default()).unwrap();
    begun(bed).await;
    bed.pass(60).await;
}

#[tokio::test(start_paused = true)]
async fn the_manifests_grant_what_is_asked_and_no_more() {
    let asked = Arc::new(Mutex::new(BTreeSet::new()));
    let shared = Arc::clone(&asked);
    let mut bed =
        Bed::start_with(move |api| kube::Client::new(Recorded { api, asked: shared }, "default"));
    bed.kill_operator();
    bed.create_namespace(HOME);
    bed.election = Some(HOME.to_owned());
    bed.gateways = ["service=develop/gateway:metrics", "selector=develop/app=gateway:metrics"]
        .map(str::to_owned)
        .to_vec();
    bed.start_operator();
    lived(&bed).await;
    let asked = asked.lock().unwrap().clone();
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
