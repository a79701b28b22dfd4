//! Hands in what is ours, at rest: each is noticed and told, and put right where that takes nothing from anybody.

use serde_json::{Value, json};
use serin_apiserver::registry::ResourceId;

use crate::cluster::{CANARIES, DEPLOYMENTS, ROUTES, TestCluster};

const SERVICES: (&str, &str) = ("", "services");
const CONFIG_MAPS: (&str, &str) = ("", "configmaps");
const SCALERS: (&str, &str) = ("autoscaling", "horizontalpodautoscalers");
const ALERT_PROVIDERS: (&str, &str) = ("flagger.app", "alertproviders");

fn code(cluster: &TestCluster) -> String {
    cluster.status()["lastReason"]["code"].as_str().unwrap_or_default().to_owned()
}

fn message(cluster: &TestCluster) -> String {
    cluster.status()["lastReason"]["message"].as_str().unwrap_or_default().to_owned()
}

fn has_event(cluster: &TestCluster, start: &str, word: &str) -> bool {
    cluster.events().iter().any(|event| event.starts_with(start) && event.contains(word))
}

fn condition(cluster: &TestCluster, kind: &str) -> Value {
    let conditions = cluster.status()["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
}

fn delete(cluster: &TestCluster, id: (&str, &str), name: &str) {
    let id = ResourceId::new(id.0, id.1);
    cluster.store.delete(&id, "develop", name, &Default::default()).unwrap();
}

fn scaler(min: u64, max: u64) -> Value {
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "backend"}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "backend"}, "minReplicas": min, "maxReplicas": max,
    }})
}

async fn resting(spec: Value) -> TestCluster {
    let cluster = TestCluster::start();
    cluster.create(CONFIG_MAPS, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"level": "one"}}));
    cluster.create(SCALERS, scaler(2, 4));
    cluster.apply("app:v1", spec);
    cluster.modify(DEPLOYMENTS, "backend", |target| {
        target["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
            json!([{"configMapRef": {"name": "settings"}}]);
    });
    cluster.until_phase("Initialized").await;
    cluster.pass(10).await;
    cluster
}

#[tokio::test(start_paused = true)]
async fn services_and_routes_that_somebody_changed_or_deleted_are_put_right_and_told() {
    let cluster = resting(json!({})).await;
    let selector = |cluster: &TestCluster, name: &str| {
        cluster.get(SERVICES, name).map(|service| service["spec"]["selector"].clone())
    };
    for name in ["backend", "backend-primary", "backend-canary"] {
        let before = selector(&cluster, name);
        cluster.modify(SERVICES, name, |service| service["spec"]["selector"] = json!({"app": "x"}));
        cluster.until("put right", |cluster| selector(cluster, name) == before).await;
        cluster.pass(10).await;
        assert!(
            has_event(&cluster, "Normal Repaired: ", &format!("Service {name}")),
            "{:#?}",
            cluster.events()
        );
        assert_eq!(
            (code(&cluster).as_str(), &condition(&cluster, "Ready")["status"]),
            ("AtRest", &json!("True"))
        );
    }
    delete(&cluster, SERVICES, "backend-canary");
    cluster.until("made anew", |cluster| cluster.get(SERVICES, "backend-canary").is_some()).await;
    delete(&cluster, ROUTES, "backend");
    cluster.until("made anew", |cluster| cluster.get(ROUTES, "backend").is_some()).await;
    cluster.pass(10).await;
    assert!(has_event(&cluster, "Normal Repaired: ", "the route"), "{:#?}", cluster.events());
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_the_canary_itself_is_no_drift() {
    let cluster = resting(json!({})).await;
    cluster.modify(CANARIES, "backend", |canary| {
        canary["spec"]["service"]["apex"] = json!({"labels": {"team": "a"}});
    });
    cluster
        .until("labelled", |cluster| {
            cluster.get(SERVICES, "backend").unwrap()["metadata"]["labels"]["team"] == "a"
        })
        .await;
    cluster.pass(30).await;
    assert!(!has_event(&cluster, "Normal Repaired: ", ""), "{:#?}", cluster.events());
}

#[tokio::test(start_paused = true)]
async fn the_primarys_autoscaler_follows_the_targets_and_an_edit_of_its_own_is_told() {
    let reference = json!({"autoscalerRef": {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "backend"}});
    let cluster = resting(reference).await;
    let max = |cluster: &TestCluster| {
        cluster.get(SCALERS, "backend-primary").unwrap()["spec"]["maxReplicas"].clone()
    };
    // Where the message about capacity sends people.
    cluster.modify(SCALERS, "backend", |scaler| scaler["spec"]["maxReplicas"] = json!(9));
    cluster.until("it follows", |cluster| max(cluster) == 9).await;
    cluster.pass(10).await;
    assert!(has_event(&cluster, "Normal Repaired: ", "HorizontalPodAutoscaler backend-primary"));
    cluster.modify(SCALERS, "backend-primary", |scaler| scaler["spec"]["maxReplicas"] = json!(20));
    cluster.until("told", |cluster| code(cluster) == "PrimaryEdited").await;
    assert!(
        message(&cluster).contains("HorizontalPodAutoscaler develop/backend-primary"),
        "{}",
        message(&cluster)
    );
    assert!(message(&cluster).contains("spec.maxReplicas"), "{}", message(&cluster));
    cluster.pass(600).await;
    assert_eq!(max(&cluster), 20, "nobody's capacity is taken away by itself");
    assert!(has_event(&cluster, "Warning PrimaryEdited: ", "spec.maxReplicas"));
    // The next release gives it what the target's has.
    cluster.set_image("app:v2");
    cluster.until_phase("Succeeded").await;
    cluster.pass(30).await;
    assert_eq!(max(&cluster), 9);
    assert_eq!(code(&cluster), "Promoted");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_was_deleted_is_made_anew_before_a_pod_misses_it() {
    let cluster = resting(json!({})).await;
    delete(&cluster, CONFIG_MAPS, "settings-primary");
    cluster
        .until("made anew", |cluster| cluster.get(CONFIG_MAPS, "settings-primary").is_some())
        .await;
    cluster.pass(5).await;
    assert!(
        has_event(&cluster, "Warning CopyRepaired: ", "settings-primary"),
        "{:#?}",
        cluster.events()
    );
    cluster
        .modify(DEPLOYMENTS, "backend-primary", |primary| primary["spec"]["paused"] = json!(true));
    cluster.until("told", |cluster| code(cluster) == "PrimaryEdited").await;
    assert!(message(&cluster).contains("spec.paused"), "{}", message(&cluster));
}

#[tokio::test(start_paused = true)]
async fn what_is_being_deleted_and_kept_by_a_finalizer_of_others_is_named() {
    let cluster = resting(json!({})).await;
    cluster.modify(DEPLOYMENTS, "backend-primary", |primary| {
        primary["metadata"]["finalizers"] = json!(["example.com/hold"]);
    });
    delete(&cluster, DEPLOYMENTS, "backend-primary");
    cluster.until("told", |cluster| code(cluster) == "NotOurs").await;
    assert!(
        message(&cluster).contains("kept by the finalizer example.com/hold"),
        "{}",
        message(&cluster)
    );
    cluster.modify(DEPLOYMENTS, "backend-primary", |primary| {
        primary["metadata"].as_object_mut().unwrap().remove("finalizers");
    });
    cluster
        .until("made anew", |cluster| {
            cluster
                .get(DEPLOYMENTS, "backend-primary")
                .is_some_and(|primary| primary["metadata"]["deletionTimestamp"].is_null())
        })
        .await;
    cluster.until("at rest", |cluster| code(cluster) == "AtRest").await;
}

#[tokio::test(start_paused = true)]
async fn a_primary_serves_while_it_is_replaced_whatever_the_targets_strategy_is() {
    let cluster = resting(json!({})).await;
    cluster.modify(DEPLOYMENTS, "backend", |target| {
        target["spec"]["strategy"] = json!({"type": "Recreate"});
    });
    cluster.set_image("app:v2");
    let strategy = |cluster: &TestCluster| {
        cluster.get(DEPLOYMENTS, "backend-primary").unwrap()["spec"]["strategy"].clone()
    };
    cluster.until("promoted", |cluster| cluster.primary_image() == "app:v2").await;
    assert_eq!(
        strategy(&cluster),
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}})
    );
    cluster.until_phase("Succeeded").await;
    cluster.pass(30).await;
    assert_eq!(code(&cluster), "Promoted");
}

#[tokio::test(start_paused = true)]
async fn alerts_that_nobody_would_hear_are_told_when_the_canary_is_read() {
    let alerts = json!({"analysis": {"alerts": [{"name": "on-call", "severity": "error", "providerRef": {"name": "chat"}}]}});
    let cluster = resting(alerts).await;
    let told = condition(&cluster, "SpecValid");
    assert_eq!((&told["status"], &told["reason"]), (&json!("True"), &json!("Warnings")));
    assert!(
        told["message"].as_str().unwrap().contains("AlertProvider develop/chat does not exist")
    );
    let warned = |cluster: &TestCluster| {
        let of = |event: &&String| event.starts_with("Warning SpecWarning: ");
        cluster.events().iter().filter(of).count()
    };
    assert_eq!(warned(&cluster), 1, "{:#?}", cluster.events());
    cluster.create(ALERT_PROVIDERS, json!({
        "apiVersion": "flagger.app/v1beta1", "kind": "AlertProvider", "metadata": {"name": "chat"},
        "spec": {"type": "slack", "secretRef": {"name": "url"}},
    }));
    cluster
        .until("the Secret is missed", |cluster| {
            condition(cluster, "SpecValid")["message"]
                .as_str()
                .unwrap()
                .contains("Secret develop/url does not exist")
        })
        .await;
    cluster.create(("", "secrets"), json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "url"}, "data": {"address": "aHR0cDovL2NoYXQvaG9vaw=="},
    }));
    cluster
        .until("nothing to say", |cluster| condition(cluster, "SpecValid")["reason"] == "Valid")
        .await;
    assert_eq!(cluster.status()["provider"], "traefik");
}
