//! Traefik beside a user's IngressRoute: A/B tests, and shares of a plain Service without an edit by the user.

use serde_json::{Value, json};

use crate::cluster::{CANARIES, TestCluster, value};
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
fn matching(cluster: &TestCluster) -> Option<String> {
    let service = cluster.get(TRAEFIK_SERVICES, "backend-matched")?;
    Some(service["spec"]["weighted"]["services"][0]["name"].as_str()?.to_owned())
}

#[tokio::test(start_paused = true)]
async fn matching_requests_meet_the_canary_and_go_back() {
    let cluster = TestCluster::start();
    cluster.create(INGRESS_ROUTES, users_route("TraefikService"));
    let before = cluster.get(INGRESS_ROUTES, "shop").unwrap();
    cluster.apply("app:v1", tested());
    cluster.until_phase("Initialized").await;
    assert_eq!(matching(&cluster).as_deref(), Some("backend-primary"));
    cluster.set_image("app:v2");
    cluster
        .until("the test", |cluster| matching(cluster).as_deref() == Some("backend-canary"))
        .await;
    assert_eq!(cluster.status()["matched"], true);
    assert_eq!(cluster.route(), [("backend-primary".to_owned(), 100)].into());

    // A change of the user's is followed while the test goes on.
    cluster.modify(INGRESS_ROUTES, "shop", |route| {
        route["spec"]["tls"] = json!({"options": {"name": "strict"}});
    });
    cluster
        .until("the same TLS options", |cluster| {
            let derived = cluster.get(INGRESS_ROUTES, "backend-derived").unwrap();
            derived["spec"]["tls"]["options"]["name"] == "strict"
        })
        .await;
    cluster.until_phase("Succeeded").await;
    assert_eq!(matching(&cluster).as_deref(), Some("backend-primary"));

    cluster.set_image("app:v3");
    cluster
        .until("the test again", |cluster| matching(cluster).as_deref() == Some("backend-canary"))
        .await;
    cluster.answer(|_, _| value(7.0));
    cluster.until_phase("Failed").await;
    assert_eq!(matching(&cluster).as_deref(), Some("backend-primary"));
    assert_eq!(cluster.primary_image(), "app:v2");
    let after = cluster.get(INGRESS_ROUTES, "shop").unwrap();
    assert_eq!(before["spec"]["routes"], after["spec"]["routes"]);
}

#[tokio::test(start_paused = true)]
async fn a_test_that_is_edited_away_leaves_nobody_on_the_canary() {
    let cluster = TestCluster::start();
    cluster.create(INGRESS_ROUTES, users_route("TraefikService"));
    cluster.apply("app:v1", tested());
    cluster.until_phase("Initialized").await;
    cluster.set_image("app:v2");
    cluster
        .until("the test", |cluster| matching(cluster).as_deref() == Some("backend-canary"))
        .await;
    cluster.modify(CANARIES, "backend", |canary| {
        let spec = canary["spec"].as_object_mut().unwrap();
        spec.remove("routeRef");
        let analysis = spec["analysis"].as_object_mut().unwrap();
        analysis.remove("match");
        analysis.remove("iterations");
        analysis.insert("stepWeights".to_owned(), json!([10, 50]));
    });
    cluster
        .until("the first share", |cluster| cluster.route().get("backend-canary") == Some(&10))
        .await;
    assert_eq!(matching(&cluster).as_deref(), Some("backend-primary"));
    cluster.until_phase("Succeeded").await;
}

#[tokio::test(start_paused = true)]
async fn a_route_to_the_plain_service_gets_shares() {
    let cluster = TestCluster::start();
    cluster.create(INGRESS_ROUTES, users_route("Service"));
    cluster.apply("app:v1", json!({"routeRef": tested()["routeRef"]}));
    cluster.until_phase("Initialized").await;
    let derived = cluster.get(INGRESS_ROUTES, "backend-derived").unwrap();
    let route = &derived["spec"]["routes"][0];
    assert_eq!((&route["priority"], &route["match"]), (&json!(10), &json!("Host(`a`)")));
    assert_eq!(route["services"][0]["kind"], "TraefikService");
    cluster.set_image("app:v2");
    cluster.until_phase("Succeeded").await;
    let id = ResourceId::new(CANARIES.0, CANARIES.1);
    cluster.store.delete(&id, "develop", "backend", &Default::default()).unwrap();
    cluster.until("gone", |cluster| cluster.get(CANARIES, "backend").is_none()).await;
    cluster.pass(60).await;
    assert!(cluster.get(INGRESS_ROUTES, "backend-derived").is_none());
    assert!(cluster.get(INGRESS_ROUTES, "shop").is_some());
}
