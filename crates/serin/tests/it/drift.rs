//! Hands in what is ours, at rest: each is noticed and told, and put right where that takes nothing from anybody.

use serde_json::{Value, json};
use serin_apiserver::registry::ResourceId;

use crate::bed::{Bed, CANARIES, DEPLOYMENTS, ROUTES};

const SERVICES: (&str, &str) = ("", "services");
const CONFIG_MAPS: (&str, &str) = ("", "configmaps");
const SCALERS: (&str, &str) = ("autoscaling", "horizontalpodautoscalers");
const ALERT_PROVIDERS: (&str, &str) = ("flagger.app", "alertproviders");

fn code(bed: &Bed) -> String {
    bed.status()["lastReason"]["code"].as_str().unwrap_or_default().to_owned()
}

fn message(bed: &Bed) -> String {
    bed.status()["lastReason"]["message"].as_str().unwrap_or_default().to_owned()
}

fn has_event(bed: &Bed, start: &str, word: &str) -> bool {
    bed.events().iter().any(|event| event.starts_with(start) && event.contains(word))
}

fn condition(bed: &Bed, kind: &str) -> Value {
    let conditions = bed.status()["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
}

fn delete(bed: &Bed, id: (&str, &str), name: &str) {
    let id = ResourceId::new(id.0, id.1);
    bed.store.delete(&id, "develop", name, &Default::default()).unwrap();
}

fn scaler(min: u64, max: u64) -> Value {
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "backend"}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "backend"}, "minReplicas": min, "maxReplicas": max,
    }})
}

async fn resting(spec: Value) -> Bed {
    let bed = Bed::start();
    bed.create(CONFIG_MAPS, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"level": "one"}}));
    bed.create(SCALERS, scaler(2, 4));
    bed.apply("app:v1", spec);
    bed.modify(DEPLOYMENTS, "backend", |target| {
        target["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
            json!([{"configMapRef": {"name": "settings"}}]);
    });
    bed.until_phase("Initialized").await;
    bed.pass(10).await;
    bed
}

#[tokio::test(start_paused = true)]
async fn services_and_routes_that_somebody_changed_or_deleted_are_put_right_and_told() {
    let bed = resting(json!({})).await;
    let selector = |bed: &Bed, name: &str| {
        bed.get(SERVICES, name).map(|service| service["spec"]["selector"].clone())
    };
    for name in ["backend", "backend-primary", "backend-canary"] {
        let before = selector(&bed, name);
        bed.modify(SERVICES, name, |service| service["spec"]["selector"] = json!({"app": "x"}));
        bed.until("put right", |bed| selector(bed, name) == before).await;
        bed.pass(10).await;
        assert!(
            has_event(&bed, "Normal Repaired: ", &format!("Service {name}")),
            "{:#?}",
            bed.events()
        );
        assert_eq!(
            (code(&bed).as_str(), &condition(&bed, "Ready")["status"]),
            ("AtRest", &json!("True"))
        );
    }
    delete(&bed, SERVICES, "backend-canary");
    bed.until("made anew", |bed| bed.get(SERVICES, "backend-canary").is_some()).await;
    delete(&bed, ROUTES, "backend");
    bed.until("made anew", |bed| bed.get(ROUTES, "backend").is_some()).await;
    bed.pass(10).await;
    assert!(has_event(&bed, "Normal Repaired: ", "the route"), "{:#?}", bed.events());
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_the_canary_itself_is_no_drift() {
    let bed = resting(json!({})).await;
    bed.modify(CANARIES, "backend", |canary| {
        canary["spec"]["service"]["apex"] = json!({"labels": {"team": "a"}});
    });
    bed.until("labelled", |bed| {
        bed.get(SERVICES, "backend").unwrap()["metadata"]["labels"]["team"] == "a"
    })
    .await;
    bed.pass(30).await;
    assert!(!has_event(&bed, "Normal Repaired: ", ""), "{:#?}", bed.events());
}

#[tokio::test(start_paused = true)]
async fn the_primarys_autoscaler_follows_the_targets_and_an_edit_of_its_own_is_told() {
    let reference = json!({"autoscalerRef": {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "backend"}});
    let bed = resting(reference).await;
    let max =
        |bed: &Bed| bed.get(SCALERS, "backend-primary").unwrap()["spec"]["maxReplicas"].clone();
    // Where the message about capacity sends people.
    bed.modify(SCALERS, "backend", |scaler| scaler["spec"]["maxReplicas"] = json!(9));
    bed.until("it follows", |bed| max(bed) == 9).await;
    bed.pass(10).await;
    assert!(has_event(&bed, "Normal Repaired: ", "HorizontalPodAutoscaler backend-primary"));
    bed.modify(SCALERS, "backend-primary", |scaler| scaler["spec"]["maxReplicas"] = json!(20));
    bed.until("told", |bed| code(bed) == "PrimaryEdited").await;
    assert!(
        message(&bed).contains("HorizontalPodAutoscaler develop/backend-primary"),
        "{}",
        message(&bed)
    );
    assert!(message(&bed).contains("spec.maxReplicas"), "{}", message(&bed));
    bed.pass(600).await;
    assert_eq!(max(&bed), 20, "nobody's capacity is taken away by itself");
    assert!(has_event(&bed, "Warning PrimaryEdited: ", "spec.maxReplicas"));
    // The next release gives it what the target's has.
    bed.set_image("app:v2");
    bed.until_phase("Succeeded").await;
    bed.pass(30).await;
    assert_eq!(max(&bed), 9);
    assert_eq!(code(&bed), "Promoted");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_was_deleted_is_made_anew_before_a_pod_misses_it() {
    let bed = resting(json!({})).await;
    delete(&bed, CONFIG_MAPS, "settings-primary");
    bed.until("made anew", |bed| bed.get(CONFIG_MAPS, "settings-primary").is_some()).await;
    bed.pass(5).await;
    assert!(has_event(&bed, "Warning CopyRepaired: ", "settings-primary"), "{:#?}", bed.events());
    bed.modify(DEPLOYMENTS, "backend-primary", |primary| primary["spec"]["paused"] = json!(true));
    bed.until("told", |bed| code(bed) == "PrimaryEdited").await;
    assert!(message(&bed).contains("spec.paused"), "{}", message(&bed));
}

#[tokio::test(start_paused = true)]
async fn what_is_being_deleted_and_kept_by_a_finalizer_of_others_is_named() {
    let bed = resting(json!({})).await;
    bed.modify(DEPLOYMENTS, "backend-primary", |primary| {
        primary["metadata"]["finalizers"] = json!(["example.com/hold"]);
    });
    delete(&bed, DEPLOYMENTS, "backend-primary");
    bed.until("told", |bed| code(bed) == "NotOurs").await;
    assert!(message(&bed).contains("kept by the finalizer example.com/hold"), "{}", message(&bed));
    bed.modify(DEPLOYMENTS, "backend-primary", |primary| {
        primary["metadata"].as_object_mut().unwrap().remove("finalizers");
    });
    bed.until("made anew", |bed| {
        bed.get(DEPLOYMENTS, "backend-primary")
            .is_some_and(|primary| primary["metadata"]["deletionTimestamp"].is_null())
    })
    .await;
    bed.until("at rest", |bed| code(bed) == "AtRest").await;
}

#[tokio::test(start_paused = true)]
async fn a_primary_serves_while_it_is_replaced_whatever_the_targets_strategy_is() {
    let bed = resting(json!({})).await;
    bed.modify(DEPLOYMENTS, "backend", |target| {
        target["spec"]["strategy"] = json!({"type": "Recreate"});
    });
    bed.set_image("app:v2");
    let strategy =
        |bed: &Bed| bed.get(DEPLOYMENTS, "backend-primary").unwrap()["spec"]["strategy"].clone();
    bed.until("promoted", |bed| bed.primary_image() == "app:v2").await;
    assert_eq!(
        strategy(&bed),
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}})
    );
    bed.until_phase("Succeeded").await;
    bed.pass(30).await;
    assert_eq!(code(&bed), "Promoted");
}

#[tokio::test(start_paused = true)]
async fn alerts_that_nobody_would_hear_are_told_when_the_canary_is_read() {
    let alerts = json!({"analysis": {"alerts": [{"name": "on-call", "severity": "error", "providerRef": {"name": "chat"}}]}});
    let bed = resting(alerts).await;
    let told = condition(&bed, "SpecValid");
    assert_eq!((&told["status"], &told["reason"]), (&json!("True"), &json!("Warnings")));
    assert!(
        told["message"].as_str().unwrap().contains("AlertProvider develop/chat does not exist")
    );
    let warned = |bed: &Bed| {
        let of = |event: &&String| event.starts_with("Warning SpecWarning: ");
        bed.events().iter().filter(of).count()
    };
    assert_eq!(warned(&bed), 1, "{:#?}", bed.events());
    bed.create(ALERT_PROVIDERS, json!({
        "apiVersion": "flagger.app/v1beta1", "kind": "AlertProvider", "metadata": {"name": "chat"},
        "spec": {"type": "slack", "secretRef": {"name": "url"}},
    }));
    bed.until("the Secret is missed", |bed| {
        condition(bed, "SpecValid")["message"]
            .as_str()
            .unwrap()
            .contains("Secret develop/url does not exist")
    })
    .await;
    bed.create(("", "secrets"), json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "url"}, "data": {"address": "aHR0cDovL2NoYXQvaG9vaw=="},
    }));
    bed.until("nothing to say", |bed| condition(bed, "SpecValid")["reason"] == "Valid").await;
    assert_eq!(bed.status()["provider"], "traefik");
}
