//! Traefik beside a user's IngressRoute: A/B tests, and shares of a plain Service without an edit by the user.

use serde_json::{Value, json};

use crate::bed::{Bed, CANARIES, value};
use serin_apiserver::registry::ResourceId;

const INGRESS_ROUTES: (&str, &str) = ("traefik.io", "ingressroutes");
const TRAEFIK_SERVICES: (&str, &str) = ("traefik.io", "traefikservices");

fn users_route(kind: &str) -> Value {
    json!({
        "apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute", "metadata": {"name": "shop"},
        "spec": {
            "entryPoints": ["web"],
            "routes": [{
                "kind": "Rule", "match": "Host(`a`)", "middlewares": [{"name": "auth"}],
                "services": [{"kind": kind, "name": "backend", "port": 80}],
            }],
        },
    })
}

fn tested() -> Value {
    json!({
        "routeRef": {"apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute", "name": "shop"},
        "analysis": {
            "stepWeights": null, "iterations": 3,
            "match": [{"headers": {"x-canary": {"exact": "insider"}}}],
        },
    })
}

/// Where the requests that match go.
fn matching(bed: &Bed) -> Option<String> {
    let service = bed.get(TRAEFIK_SERVICES, "backend-matched")?;
    Some(service["spec"]["weighted"]["services"][0]["name"].as_str()?.to_owned())
}

#[tokio::test(start_paused = true)]
async fn matching_requests_meet_the_canary_and_go_back() {
    let bed = Bed::start();
    bed.create(INGRESS_ROUTES, users_route("TraefikService"));
    let before = bed.get(INGRESS_ROUTES, "shop").unwrap();
    bed.apply("app:v1", tested());
    bed.until_phase("Initialized").await;
    assert_eq!(matching(&bed).as_deref(), Some("backend-primary"));
    bed.set_image("app:v2");
    bed.until("the test", |bed| matching(bed).as_deref() == Some("backend-canary")).await;
    assert_eq!(bed.status()["matched"], true);
    assert_eq!(bed.route(), [("backend-primary".to_owned(), 100)].into());

    // A change of the user's is followed while the test goes on.
    bed.modify(INGRESS_ROUTES, "shop", |route| {
        route["spec"]["tls"] = json!({"options": {"name": "strict"}});
    });
    bed.until("the same TLS options", |bed| {
        let derived = bed.get(INGRESS_ROUTES, "backend-derived").unwrap();
        derived["spec"]["tls"]["options"]["name"] == "strict"
    })
    .await;
    bed.until_phase("Succeeded").await;
    assert_eq!(matching(&bed).as_deref(), Some("backend-primary"));

    bed.set_image("app:v3");
    bed.until("the test again", |bed| matching(bed).as_deref() == Some("backend-canary")).await;
    bed.answer(|_, _| value(7.0));
    bed.until_phase("Failed").await;
    assert_eq!(matching(&bed).as_deref(), Some("backend-primary"));
    assert_eq!(bed.primary_image(), "app:v2");
    let after = bed.get(INGRESS_ROUTES, "shop").unwrap();
    assert_eq!(before["spec"]["routes"], after["spec"]["routes"]);
}

#[tokio::test(start_paused = true)]
async fn a_test_that_is_edited_away_leaves_nobody_on_the_canary() {
    let bed = Bed::start();
    bed.create(INGRESS_ROUTES, users_route("TraefikService"));
    bed.apply("app:v1", tested());
    bed.until_phase("Initialized").await;
    bed.set_image("app:v2");
    bed.until("the test", |bed| matching(bed).as_deref() == Some("backend-canary")).await;
    bed.modify(CANARIES, "backend", |canary| {
        let spec = canary["spec"].as_object_mut().unwrap();
        spec.remove("routeRef");
        let analysis = spec["analysis"].as_object_mut().unwrap();
        analysis.remove("match");
        analysis.remove("iterations");
        analysis.insert("stepWeights".to_owned(), json!([10, 50]));
    });
    bed.until("the first share", |bed| bed.route().get("backend-canary") == Some(&10)).await;
    assert_eq!(matching(&bed).as_deref(), Some("backend-primary"));
    bed.until_phase("Succeeded").await;
}

#[tokio::test(start_paused = true)]
async fn a_route_to_the_plain_service_gets_shares() {
    let bed = Bed::start();
    bed.create(INGRESS_ROUTES, users_route("Service"));
    bed.apply("app:v1", json!({"routeRef": tested()["routeRef"]}));
    bed.until_phase("Initialized").await;
    let derived = bed.get(INGRESS_ROUTES, "backend-derived").unwrap();
    let route = &derived["spec"]["routes"][0];
    assert_eq!((&route["priority"], &route["match"]), (&json!(10), &json!("Host(`a`)")));
    assert_eq!(route["services"][0]["kind"], "TraefikService");
    bed.set_image("app:v2");
    bed.until_phase("Succeeded").await;
    let id = ResourceId::new(CANARIES.0, CANARIES.1);
    bed.store.delete(&id, "develop", "backend", &Default::default()).unwrap();
    bed.until("gone", |bed| bed.get(CANARIES, "backend").is_none()).await;
    bed.pass(60).await;
    assert!(bed.get(INGRESS_ROUTES, "backend-derived").is_none());
    assert!(bed.get(INGRESS_ROUTES, "shop").is_some());
}
