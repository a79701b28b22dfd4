//! Releases on the Gateway API: shares and A/B tests on a generated HTTPRoute and on one of the user's.

use std::sync::Arc;

use serde_json::{Value, json};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{Sub, WriteOptions};

use crate::cluster::{CANARIES, TestCluster, value};

const HTTP_ROUTES: (&str, &str) = ("gateway.networking.k8s.io", "httproutes");

fn generated() -> Value {
    json!({"provider": "gatewayapi:v1", "service": {"gatewayRefs": [{"name": "edge"}], "hosts": ["app.example.com"]}})
}

fn tested() -> Value {
    json!({
        "provider": "gatewayapi:v1",
        "service": {"gatewayRefs": [{"name": "edge"}]},
        "analysis": {
            "stepWeights": null, "iterations": 3,
            "match": [{"headers": {"x-canary": {"exact": "insider"}}}],
        },
    })
}

fn route(cluster: &TestCluster, name: &str) -> Arc<Value> {
    cluster.get(HTTP_ROUTES, name).unwrap_or_else(|| panic!("no HTTPRoute {name}"))
}

/// The backends of each rule with their weights, and what the rule asks of headers.
fn rules(route: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let rule = |rule: &Value| {
        let backends: Vec<String> = list(&rule["backendRefs"])
            .iter()
            .map(|one| format!("{} {}", one["name"].as_str().unwrap(), one["weight"]))
            .collect();
        let headers = list(&rule["matches"]).iter().flat_map(|one| list(&one["headers"])).count();
        let asks = if headers > 0 { " where headers match" } else { "" };
        format!("{}{asks}", backends.join(", "))
    };
    list(&route["spec"]["rules"]).iter().map(rule).collect()
}

#[tokio::test(start_paused = true)]
async fn shares_rise_on_a_route_that_is_made_from_the_spec() {
    let cluster = TestCluster::start();
    cluster.apply("app:v1", generated());
    cluster.until_phase("Initialized").await;
    let made = route(&cluster, "backend");
    assert_eq!(made["spec"]["hostnames"], json!(["app.example.com"]));
    assert_eq!(rules(&made), ["backend-primary 100"]);
    cluster.set_image("app:v2");
    cluster
        .until("a fifth", |cluster| {
            rules(&route(cluster, "backend")) == ["backend-primary 80, backend-canary 20"]
        })
        .await;
    cluster.until_phase("Succeeded").await;
    assert_eq!(rules(&route(&cluster, "backend")), ["backend-primary 100"]);
    assert_eq!(cluster.primary_image(), "app:v2");
}

#[tokio::test(start_paused = true)]
async fn in_an_ab_test_the_matching_requests_meet_the_canary_and_no_others() {
    let cluster = TestCluster::start();
    cluster.apply("app:v1", tested());
    cluster.until_phase("Initialized").await;
    cluster.set_image("app:v2");
    let tested = ["backend-primary 100", "backend-canary 100 where headers match"];
    cluster.until("the test", |cluster| rules(&route(cluster, "backend")) == tested).await;
    let status = cluster.status();
    assert_eq!((&status["matched"], &status["canaryWeight"]), (&json!(true), &json!(0)));
    cluster.until("the second round", |cluster| cluster.status()["iterations"] == 2).await;
    assert_eq!(rules(&route(&cluster, "backend")), tested);
    cluster.until_phase("Succeeded").await;
    assert_eq!(rules(&route(&cluster, "backend")), ["backend-primary 100"]);
    assert!(cluster.status().get("matched").is_none());

    cluster.set_image("app:v3");
    cluster.until("the test again", |cluster| rules(&route(cluster, "backend")) == tested).await;
    cluster.answer(|_, _| value(7.0));
    cluster.until_phase("Failed").await;
    assert_eq!(rules(&route(&cluster, "backend")), ["backend-primary 100"]);
    assert_eq!(cluster.primary_image(), "app:v2");
}

#[tokio::test(start_paused = true)]
async fn of_a_users_route_only_the_backends_change_and_they_come_back() {
    let cluster = TestCluster::start();
    let users = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "shop"},
        "spec": {
            "parentRefs": [{"name": "edge"}],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/api"}}],
                    "filters": [{"type": "CORS", "cors": {"allowOrigins": ["*"]}}],
                    "backendRefs": [{"name": "backend", "port": 80}],
                },
                {"matches": [{"path": {"type": "PathPrefix", "value": "/docs"}}], "backendRefs": [{"name": "docs", "port": 80}]},
            ],
        },
    });
    let mut spec = tested();
    spec["service"] = json!({"port": 80, "targetPort": 8080});
    spec["routeRef"] =
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "shop"});
    cluster.apply("app:v1", spec);
    cluster
        .until("what is in the way", |cluster| {
            let message = cluster.status()["lastReason"]["message"].clone();
            message
                .as_str()
                .is_some_and(|text| text.contains("HTTPRoute develop/shop does not exist"))
        })
        .await;
    cluster.create(HTTP_ROUTES, users);
    cluster.until_phase("Initialized").await;
    assert_eq!(rules(&route(&cluster, "shop")), ["backend-primary 100", "docs 1"]);
    cluster.set_image("app:v2");
    let tested = ["backend-primary 100", "docs 1", "backend-canary 100 where headers match"];
    cluster.until("the test", |cluster| rules(&route(cluster, "shop")) == tested).await;
    let rules_now = route(&cluster, "shop")["spec"]["rules"].clone();
    assert_eq!(rules_now[0]["filters"], rules_now[2]["filters"]);
    cluster.until_phase("Succeeded").await;

    let id = ResourceId::new(CANARIES.0, CANARIES.1);
    cluster.store.delete(&id, "develop", "backend", &Default::default()).unwrap();
    cluster.until("gone", |cluster| cluster.get(CANARIES, "backend").is_none()).await;
    let given_back = route(&cluster, "shop");
    assert_eq!(rules(&given_back), ["backend 100", "docs 1"]);
    assert_eq!(given_back["metadata"].get("ownerReferences"), None);
    assert!(!given_back["metadata"].to_string().contains("serin.dev/"));
}

#[tokio::test(start_paused = true)]
async fn a_canary_without_a_gateway_says_so() {
    let cluster = TestCluster::start();
    cluster.apply("app:v1", json!({"provider": "gatewayapi:v1"}));
    cluster
        .until("the reason", |cluster| {
            let reason = &cluster.status()["lastReason"];
            reason["code"] == "SpecInvalid"
                && reason["message"].as_str().is_some_and(|text| {
                    text.contains("spec.service.gatewayRefs") && text.contains("spec.routeRef")
                })
        })
        .await;
}

/// What the class of the Gateway lists.
fn list(cluster: &TestCluster, features: &[&str]) {
    let id = ResourceId::new("gateway.networking.k8s.io", "gatewayclasses");
    let names: Vec<Value> = features.iter().map(|name| json!({"name": name})).collect();
    let tell = |object: &mut Value| object["status"] = json!({"supportedFeatures": names});
    let options = WriteOptions::by("gateway");
    cluster.store.modify(&id, "", "public", Sub::Status, &options, tell).unwrap();
}

/// Copies and a time limit: what is asked of the gateway beside shares.
fn demanding() -> Value {
    json!({
        "provider": "gatewayapi:v1",
        "service": {"gatewayRefs": [{"name": "edge"}], "timeout": "5s"},
        "analysis": {"mirror": true},
    })
}

fn said(cluster: &TestCluster, text: &str) -> bool {
    cluster.status()["lastReason"]["message"].as_str().is_some_and(|message| message.contains(text))
}

#[tokio::test(start_paused = true)]
async fn what_a_gateway_is_not_known_to_do_is_refused_until_its_class_lists_it() {
    let cluster = TestCluster::start();
    cluster.apply("app:v1", demanding());
    cluster
        .until("no Gateway", |cluster| said(cluster, "Gateway develop/edge does not exist"))
        .await;
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "edge"}, "spec": {"gatewayClassName": "public"},
    });
    cluster.create(("gateway.networking.k8s.io", "gateways"), gateway);
    cluster.until("no class", |cluster| said(cluster, "GatewayClass public does not exist")).await;
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": {"name": "public"}, "spec": {"controllerName": "gateway.test/controller"},
    });
    cluster.create_cluster(("gateway.networking.k8s.io", "gatewayclasses"), class);
    cluster.until("no list", |cluster| said(cluster, "lists no supportedFeatures")).await;
    let warned = |cluster: &TestCluster| {
        let conditions = cluster.status()["conditions"].clone();
        conditions.as_array().into_iter().flatten().any(|one| {
            one["type"] == "SpecValid"
                && one["message"].as_str().unwrap().contains("HTTPRouteRequestTimeout")
        })
    };
    cluster.until("the doubt", warned).await;
    list(&cluster, &["HTTPRouteRequestMirror"]);
    cluster
        .until("a short list", |cluster| {
            said(cluster, "spec.service.timeout needs HTTPRouteRequestTimeout of the gateway")
        })
        .await;
    assert!(cluster.get(HTTP_ROUTES, "backend").is_none(), "something was written");

    list(&cluster, &["HTTPRouteRequestMirror", "HTTPRouteRequestTimeout"]);
    cluster.until_phase("Initialized").await;
    assert!(!warned(&cluster));
    cluster.set_image("app:v2");
    cluster
        .until("copies", |cluster| {
            let filters = route(cluster, "backend")["spec"]["rules"][0]["filters"].clone();
            cluster.status()["mirrorWeight"] == 100
                && filters[0]["requestMirror"]["backendRef"]["name"] == "backend-canary"
        })
        .await;
    assert_eq!(rules(&route(&cluster, "backend")), ["backend-primary 100"]);
    cluster.until_phase("Succeeded").await;
    assert!(route(&cluster, "backend")["spec"]["rules"][0].get("filters").is_none());
}
