//! Objects and hands of others: what stands under our names, what is in the way, and what the API server refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use serin_apiserver::admission::{Admission, AdmissionRequest, Refusal, Verb};
use serin_apiserver::registry::ResourceId;

use crate::cluster::{CANARIES, DEPLOYMENTS, TestCluster};

const SERVICES: (&str, &str) = ("", "services");
const CONFIG_MAPS: (&str, &str) = ("", "configmaps");
const PODS: (&str, &str) = ("", "pods");
const SCALERS: (&str, &str) = ("autoscaling", "horizontalpodautoscalers");

fn condition(cluster: &TestCluster, kind: &str) -> Value {
    let conditions = cluster.status()["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
}

fn reason(cluster: &TestCluster) -> (String, String) {
    let last = &cluster.status()["lastReason"];
    let text = |field: &str| last[field].as_str().unwrap_or_default().to_owned();
    (text("code"), text("message"))
}

/// The wait is over only by a person, and everybody is told the same.
fn told(cluster: &TestCluster, code: &str, words: &[&str]) {
    let (found, message) = reason(cluster);
    assert_eq!(found, code, "{message}");
    for word in words {
        assert!(message.contains(word), "{word} in {message}");
    }
    let stalled = condition(cluster, "Stalled");
    assert_eq!((&stalled["status"], &stalled["message"]), (&json!("True"), &json!(message)));
    let warned =
        cluster.events().iter().any(|event| event.starts_with(&format!("Warning {code}: ")));
    assert!(warned, "{code} in {:#?}", cluster.events());
}

async fn until_reason(cluster: &TestCluster, code: &str) {
    cluster.until(code, |cluster| reason(cluster).0 == code).await;
    cluster.pass(2).await;
}

fn remove(cluster: &TestCluster, id: (&str, &str), name: &str) {
    let id = ResourceId::new(id.0, id.1);
    cluster.store.delete(&id, "develop", name, &Default::default()).unwrap();
}

fn service(name: &str, selector: Value, ports: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"selector": selector, "ports": ports}})
}

fn ports() -> Value {
    json!([{"name": "grpc", "port": 8443, "targetPort": 8443}])
}

#[tokio::test(start_paused = true)]
async fn whatever_stands_under_a_derived_name_is_left_alone_and_named() {
    let deployment = |name: &str| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": "theirs"}},
            "template": {"metadata": {"labels": {"app": "theirs"}}, "spec": {"containers": [{"name": "a", "image": "theirs:v1"}]}},
        }})
    };
    let scaler = |name: &str, target: &str| {
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name}, "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}, "minReplicas": 1, "maxReplicas": 3,
        }})
    };
    let theirs = json!({"app": "theirs"});
    let cases = [
        (SERVICES, "backend-canary", service("backend-canary", theirs.clone(), ports())),
        (SERVICES, "backend-primary", service("backend-primary", theirs.clone(), ports())),
        (SERVICES, "backend", service("backend", theirs, ports())),
        (DEPLOYMENTS, "backend-primary", deployment("backend-primary")),
        (SCALERS, "scaler-primary", scaler("scaler-primary", "theirs")),
    ];
    for (id, name, object) in cases {
        let cluster = TestCluster::start();
        cluster.create(SCALERS, scaler("scaler", "backend"));
        cluster.create(id, object);
        let before = cluster.get(id, name).unwrap()["spec"].clone();
        let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "scaler"});
        cluster.apply("app:v1", json!({"autoscalerRef": scaler}));
        until_reason(&cluster, "NotOurs").await;
        told(&cluster, "NotOurs", &[name]);
        cluster.pass(120).await;
        assert_eq!(cluster.get(id, name).unwrap()["spec"], before, "{name} is another's");
        assert_eq!(cluster.get(DEPLOYMENTS, "backend").unwrap()["spec"]["replicas"], 2);
        remove(&cluster, id, name);
        cluster.until_phase("Initialized").await;
        assert_eq!(condition(&cluster, "Stalled")["status"], "False");
        assert_eq!(condition(&cluster, "Ready")["status"], "True");
    }
}

#[tokio::test(start_paused = true)]
async fn a_config_of_others_where_the_copy_would_stand_is_passed_over() {
    let cluster = TestCluster::start();
    for (name, value) in [("settings", "ours"), ("settings-primary", "theirs")] {
        cluster.create(CONFIG_MAPS, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"of": value}}));
    }
    cluster.apply("app:v1", json!({}));
    cluster.modify(DEPLOYMENTS, "backend", |target| {
        target["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
            json!([{"configMapRef": {"name": "settings"}}]);
    });
    cluster.until_phase("Initialized").await;
    assert_eq!(cluster.get(CONFIG_MAPS, "settings-primary").unwrap()["data"]["of"], "theirs");
    let primary = cluster.get(DEPLOYMENTS, "backend-primary").unwrap();
    let container = &primary["spec"]["template"]["spec"]["containers"][0];
    let copy = container["envFrom"][0]["configMapRef"]["name"].as_str().unwrap().to_owned();
    assert_eq!(cluster.get(CONFIG_MAPS, &copy).unwrap()["data"]["of"], "ours");
    let named =
        |event: &String| event.starts_with("Warning LeftAlone: ConfigMap develop/settings-primary");
    assert!(cluster.events().iter().any(named), "{:#?}", cluster.events());
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_another_workload_behind_a_service_is_named_and_no_traffic_moves() {
    let cluster = TestCluster::start();
    cluster.apply("app:v1", json!({}));
    cluster.until_phase("Initialized").await;
    let labels = json!({"app": "backend-primary"});
    let stray = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "import", "labels": labels}, "spec": {
        "containers": [{"name": "a", "image": "job:v1", "ports": [{"containerPort": 8080}]}],
    }});
    cluster.create(PODS, stray);
    until_reason(&cluster, "ForeignEndpoints").await;
    told(&cluster, "ForeignEndpoints", &["backend-primary", "Pod import", "app=backend-primary"]);
    cluster.set_image("app:v2");
    cluster.pass(300).await;
    assert_eq!((cluster.phase().as_str(), cluster.canary_share()), ("Initialized", 0));
    remove(&cluster, PODS, "import");
    cluster
        .until("promoted", |cluster| {
            cluster.phase() == "Succeeded" && cluster.primary_image() == "app:v2"
        })
        .await;
    assert_eq!(condition(&cluster, "Stalled")["status"], "False");
}

#[tokio::test(start_paused = true)]
async fn what_the_canary_leaves_out_comes_from_the_live_service() {
    let cluster = TestCluster::start();
    let live = json!([
        {"name": "web", "port": 80, "targetPort": 8080, "appProtocol": "http"},
        {"name": "http", "port": 9000, "targetPort": 8080},
    ]);
    cluster.create(SERVICES, service("backend", json!({"app": "backend"}), live.clone()));
    cluster.apply("app:v1", json!({}));
    cluster.modify(CANARIES, "backend", |canary| {
        canary["spec"]["service"].as_object_mut().unwrap().remove("targetPort");
    });
    cluster.until_phase("Initialized").await;
    let mut ports = cluster.get(SERVICES, "backend").unwrap()["spec"]["ports"].clone();
    for port in ports.as_array_mut().unwrap() {
        port.as_object_mut().unwrap().remove("protocol");
    }
    assert_eq!(ports, live, "whoever calls them by name or number still reaches them");
    let primary = cluster.get(SERVICES, "backend-primary").unwrap();
    assert_eq!(primary["spec"]["ports"][0]["targetPort"], 8080);
}

#[tokio::test(start_paused = true)]
async fn a_port_name_that_another_number_has_is_left_to_it() {
    let cluster = TestCluster::start();
    let live = json!([{"name": "http", "port": 80, "targetPort": 8080}]);
    cluster.create(SERVICES, service("backend", json!({"app": "backend"}), live));
    cluster.apply("app:v1", json!({"service": {"port": 8080}}));
    cluster.until_phase("Initialized").await;
    let apex = cluster.get(SERVICES, "backend").unwrap();
    let named = |port: &Value| format!("{} {}", port["name"], port["port"]);
    let ports: Vec<String> = apex["spec"]["ports"].as_array().unwrap().iter().map(named).collect();
    assert_eq!(ports, ["\"http\" 80", "\"http-8080\" 8080"]);
}

#[tokio::test(start_paused = true)]
async fn a_port_that_the_pods_do_not_have_is_found_before_anything_switches() {
    let cluster = TestCluster::start();
    let live = json!([{"name": "http", "port": 80, "targetPort": 8080}]);
    cluster.create(SERVICES, service("backend", json!({"app": "backend"}), live));
    cluster.apply("app:v1", json!({"service": {"targetPort": "web"}}));
    until_reason(&cluster, "PortNotServed").await;
    told(&cluster, "PortNotServed", &["spec.service.targetPort", "named web"]);
    assert_eq!(
        cluster.get(SERVICES, "backend").unwrap()["spec"]["selector"],
        json!({"app": "backend"})
    );
}

/// Refuses what it is told to, while it is told to.
struct Refusing {
    on: AtomicBool,
    plural: &'static str,
    name: &'static str,
    refusal: Refusal,
}

impl Admission for Refusing {
    fn refusal(&self, attempt: &AdmissionRequest<'_>) -> Option<Refusal> {
        let meant = attempt.resource.plural == self.plural && attempt.name == self.name;
        let writes = attempt.verb != Verb::Delete && attempt.subresource.is_none();
        (self.on.load(Ordering::Relaxed) && meant && writes).then(|| self.refusal.clone())
    }
}

fn refusing(plural: &'static str, name: &'static str, refusal: Refusal) -> Arc<Refusing> {
    Arc::new(Refusing { on: AtomicBool::new(true), plural, name, refusal })
}

fn bed_with(refusing: &Arc<Refusing>) -> TestCluster {
    let admission = Arc::clone(refusing) as Arc<dyn Admission>;
    TestCluster::start_with(|api| kube::Client::new(api.with_admission(admission), "default"))
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_is_told_in_the_api_servers_words_until_it_goes_through() {
    let quota = Refusal::Quota { quota: "few".to_owned(), limit: 1 };
    let refusing = refusing("services", "backend-primary", quota);
    let cluster = bed_with(&refusing);
    cluster.apply("app:v1", json!({}));
    until_reason(&cluster, "WriteRefused").await;
    told(
        &cluster,
        "WriteRefused",
        &["Service develop/backend-primary", "exceeded quota: few", "Raise the ResourceQuota"],
    );
    cluster.pass(600).await;
    let warned =
        cluster.events().iter().filter(|event| event.starts_with("Warning WriteRefused")).count();
    assert_eq!(warned, 1, "said once");
    refusing.on.store(false, Ordering::Relaxed);
    cluster.until_phase("Initialized").await;
    assert_eq!(condition(&cluster, "Stalled")["status"], "False");
}

#[tokio::test(start_paused = true)]
async fn a_promotion_that_is_refused_ends_with_all_traffic_on_what_the_status_names() {
    let policy = Refusal::Policy {
        policy: "frozen".to_owned(),
        binding: "all".to_owned(),
        message: "no change of primaries".to_owned(),
    };
    let refusing = refusing("deployments", "backend-primary", policy);
    refusing.on.store(false, Ordering::Relaxed);
    let cluster = bed_with(&refusing);
    cluster.apply("app:v1", json!({"progressDeadlineSeconds": 60}));
    cluster.until_phase("Initialized").await;
    refusing.on.store(true, Ordering::Relaxed);
    cluster.set_image("app:v2");
    cluster.until_phase("Promoting").await;
    until_reason(&cluster, "WriteRefused").await;
    told(
        &cluster,
        "WriteRefused",
        &["Deployment develop/backend-primary", "ValidatingAdmissionPolicy 'frozen'"],
    );
    cluster.until_phase("Failed").await;
    let (code, message) = reason(&cluster);
    assert_eq!(code, "PromotionFailed", "{message}");
    assert!(message.contains("frozen"), "{message}");
    assert_eq!((cluster.canary_share(), cluster.primary_image().as_str()), (0, "app:v1"));
    // The policy goes, and nothing is copied after the fact.
    refusing.on.store(false, Ordering::Relaxed);
    cluster.pass(600).await;
    assert_eq!((cluster.phase().as_str(), cluster.primary_image().as_str()), ("Failed", "app:v1"));
}

#[tokio::test(start_paused = true)]
async fn edits_of_the_primary_by_hand_are_told_and_its_configs_are_put_right() {
    let cluster = TestCluster::start();
    cluster.create(CONFIG_MAPS, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"level": "one"}}));
    cluster.apply("app:v1", json!({}));
    cluster.modify(DEPLOYMENTS, "backend", |target| {
        target["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
            json!([{"configMapRef": {"name": "settings"}}]);
    });
    cluster.until_phase("Initialized").await;
    cluster.modify(CONFIG_MAPS, "settings-primary", |copy| copy["data"]["level"] = json!("edited"));
    cluster
        .until("the copy is put right", |cluster| {
            cluster.get(CONFIG_MAPS, "settings-primary").unwrap()["data"]["level"] == "one"
        })
        .await;
    cluster.pass(5).await;
    assert!(cluster.events().iter().any(|event| event.starts_with("Warning CopyRepaired")));
    cluster.modify(DEPLOYMENTS, "backend-primary", |primary| {
        primary["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:hotfix");
    });
    until_reason(&cluster, "PrimaryEdited").await;
    let (_, message) = reason(&cluster);
    assert!(message.contains("spec.template.spec.containers[0].image"), "{message}");
    assert_eq!(cluster.primary_image(), "app:hotfix", "never a restart without a word");
    cluster.modify(DEPLOYMENTS, "backend-primary", |primary| {
        primary["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:v1");
    });
    cluster.until("nothing to tell", |cluster| reason(cluster).0 == "AtRest").await;
}

#[tokio::test(start_paused = true)]
async fn the_pods_that_are_analysed_were_started_with_the_configs_that_are_promoted() {
    let cluster = TestCluster::start();
    cluster.create(CONFIG_MAPS, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"level": "one"}}));
    cluster.apply("app:v1", json!({}));
    cluster.modify(DEPLOYMENTS, "backend", |target| {
        target["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
            json!([{"configMapRef": {"name": "settings"}}]);
    });
    cluster.until_phase("Initialized").await;
    cluster.set_image("app:v2");
    cluster.until("traffic", |cluster| cluster.canary_share() > 0).await;
    let uids = |cluster: &TestCluster| -> Vec<String> {
        let pods = cluster.store.list(&ResourceId::core("pods"), Some("develop"));
        let of_target = pods.iter().filter(|pod| pod["metadata"]["labels"]["app"] == "backend");
        of_target.map(|pod| pod["metadata"]["uid"].as_str().unwrap().to_owned()).collect()
    };
    let before = uids(&cluster);
    cluster.modify(CONFIG_MAPS, "settings", |config| config["data"]["level"] = json!("two"));
    cluster
        .until("traffic again", |cluster| {
            cluster.canary_share() > 0 && uids(cluster).iter().all(|uid| !before.contains(uid))
        })
        .await;
    cluster.until_phase("Succeeded").await;
    assert_eq!(cluster.get(CONFIG_MAPS, "settings-primary").unwrap()["data"]["level"], "two");
    assert!(cluster.get(CANARIES, "backend").is_some());
}
