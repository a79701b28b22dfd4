//! Discovery, OpenAPI, reviews and other requests that clients make before they read objects.

use serde_json::json;

use super::*;

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

fn without_null(value: &Value, at: &str) {
    match value {
        Value::Null => assert!(at.ends_with("creationTimestamp"), "{at} is null"),
        Value::Array(list) => {
            for (index, item) in list.iter().enumerate() {
                without_null(item, &format!("{at}/{index}"));
            }
        }
        Value::Object(map) => {
            for (name, item) in map {
                without_null(item, &format!("{at}/{name}"));
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn discovery_has_both_forms_and_no_nulls() {
    let server = TestServer::with_widgets().await;
    for path in ["/api", "/apis"] {
        let answer = server.get_as(path, AGGREGATED).await;
        assert_eq!(
            answer.kind,
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        );
        without_null(&answer.body, path);
    }
    let groups = server.get("/apis").await;
    for group in groups.body["groups"].as_array().unwrap() {
        for version in group["versions"].as_array().unwrap() {
            let list =
                server.get(&format!("/apis/{}", version["groupVersion"].as_str().unwrap())).await;
            assert_eq!(list.text("/kind"), "APIResourceList");
            without_null(&list.body, "");
        }
    }
    let widgets = server.get("/apis/example.com/v1").await;
    let names: Vec<_> =
        widgets.body["resources"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
    assert_eq!(names, ["widgets", "widgets/status", "widgets/scale"]);
    assert_eq!(server.get("/apis/nothing.example/v1").await.code, 404);
    for health in ["/readyz", "/livez", "/healthz"] {
        assert_eq!(server.get(health).await.code, 200);
    }
}

#[tokio::test]
async fn every_kind_can_be_validated_by_the_server() {
    let server = TestServer::with_widgets().await;
    let index = server.get("/openapi/v3").await;
    for (path, entry) in index.body["paths"].as_object().unwrap() {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        let document = server.get(url).await;
        let paths = document.body["paths"].as_object().unwrap();
        assert!(!paths.is_empty(), "{path}");
        for (name, operations) in paths {
            let Some(patch) = operations.get("patch") else { continue };
            assert!(patch["x-kubernetes-group-version-kind"]["kind"].is_string(), "{name}");
            let parameters = patch["parameters"].as_array().unwrap();
            assert!(parameters.iter().any(|p| p["name"] == "fieldValidation"), "{name}");
        }
    }
}

#[tokio::test]
async fn events_of_both_groups_are_stored_once() {
    let server = TestServer::new();
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
        "regarding": {"kind": "Canary", "name": "x", "namespace": "default"},
        "note": "advanced", "reason": "Synced", "type": "Normal", "action": "Step",
        "eventTime": "2027-01-15T08:00:00.000000Z", "reportingController": "serin", "reportingInstance": "serin-0",
    });
    let made = server.post("/apis/events.k8s.io/v1/namespaces/default/events", event).await;
    assert_eq!((made.code, made.text("/note")), (201, "advanced"), "{}", made.body);
    let path = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dx,involvedObject.kind%3DCanary";
    let list = server.get(path).await;
    let core = &list.body["items"][0];
    assert_eq!(
        (&core["message"], &core["source"]["component"]),
        (&json!("advanced"), &json!("serin"))
    );
    assert_eq!((&core["involvedObject"]["name"], &core["count"]), (&json!("x"), &json!(1)));
    assert_eq!(core["apiVersion"], Value::Null, "list items have no kind");
}

#[tokio::test]
async fn reviews_are_answered_and_not_stored() {
    let server = TestServer::new();
    let before = server.api.store().version();
    for (kind, pointer) in [
        ("authorization.k8s.io/v1/selfsubjectaccessreviews", "/status/allowed"),
        ("authorization.k8s.io/v1/subjectaccessreviews", "/status/allowed"),
        ("authorization.k8s.io/v1/selfsubjectrulesreviews", "/status/resourceRules"),
        ("authentication.k8s.io/v1/tokenreviews", "/status/authenticated"),
        ("authentication.k8s.io/v1/selfsubjectreviews", "/status/userInfo"),
    ] {
        let answer = server.post(&format!("/apis/{kind}"), json!({})).await;
        assert!(answer.code == 201 && answer.body.pointer(pointer).is_some(), "{kind}");
        assert_eq!(server.get(&format!("/apis/{kind}")).await.code, 405);
    }
    assert_eq!(server.api.store().version(), before);
    let account = "/api/v1/namespaces/default/serviceaccounts";
    server.post(account, json!({"metadata": {"name": "a"}})).await;
    let token = server
        .post(&format!("{account}/a/token"), json!({"spec": {"expirationSeconds": 600}}))
        .await;
    assert_eq!(token.text("/status/expirationTimestamp"), "2027-01-15T08:10:00Z");
}

#[tokio::test]
async fn what_is_not_understood_is_refused_with_a_status() {
    let server = TestServer::new();
    for (method, path, kind, code) in [
        (Method::POST, CONFIG_MAPS, "application/vnd.kubernetes.protobuf", 415),
        (Method::POST, CONFIG_MAPS, "application/json", 400),
        (Method::PATCH, "/api/v1/namespaces/default", "text/plain", 415),
        (Method::POST, "/api/v1/configmaps", "application/json", 405),
        (Method::POST, "/api/v1/namespaces/default", "application/json", 405),
        (Method::GET, "/api/v1/nothing", "", 404),
        (Method::GET, "/nothing/at/all", "", 404),
        (Method::GET, "/api/v2/configmaps", "", 404),
    ] {
        let answer = server.send(method.clone(), path, kind, b"nonsense".to_vec()).await;
        assert_eq!((answer.code, answer.text("/kind")), (code, "Status"), "{method} {path}");
        assert_eq!(answer.body["code"], code);
    }
    let long = vec![b' '; 4 << 20];
    assert_eq!(server.send(Method::POST, CONFIG_MAPS, "application/json", long).await.code, 413);
}

#[tokio::test]
async fn autoscalers_are_served_as_v1_too() {
    let server = TestServer::new();
    let path = |version: &str| {
        format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers")
    };
    let old = json!({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"},
            "maxReplicas": 3, "targetCPUUtilizationPercentage": 50,
        },
    });
    let made = server.post(&format!("{}?fieldValidation=Strict", path("v1")), old).await;
    assert_eq!((made.code, made.text("/apiVersion")), (201, "autoscaling/v1"), "{}", made.body);
    assert_eq!(made.body["spec"]["targetCPUUtilizationPercentage"], 50);
    let new = server.get(&format!("{}/a", path("v2"))).await;
    let target = &new.body["spec"]["metrics"][0]["resource"]["target"];
    assert_eq!(
        (&target["averageUtilization"], new.text("/apiVersion")),
        (&json!(50), "autoscaling/v2")
    );
    let patch = json!({"spec": {"targetCPUUtilizationPercentage": 70}});
    let patched = server.patch(&format!("{}/a", path("v1")), MERGE, patch).await;
    assert_eq!(patched.body["spec"]["targetCPUUtilizationPercentage"], 70);
}

#[tokio::test]
async fn unsupported_subresources_are_refused() {
    let server = TestServer::new();
    let answer = server.post("/api/v1/namespaces/default/pods/a/exec", json!({})).await;
    assert_eq!(answer.code, 501);
    assert!(answer.text("/message").starts_with("exec is not offered"));
}

#[tokio::test]
async fn a_selector_names_fields_that_can_be_selected_by() {
    let server = TestServer::new();
    for (path, field, code) in [
        ("/api/v1/pods", "status.phase%3DRunning,spec.nodeName!%3Da", 200),
        ("/api/v1/events", "source%3Dserin", 200),
        ("/apis/events.k8s.io/v1/events", "regarding.kind%3DCanary", 200),
        ("/api/v1/configmaps", "data.x%3D1", 400),
        ("/api/v1/pods", "spec.image%3Dx", 400),
        ("/apis/apps/v1/deployments", "metadata.name%3Dx", 200),
    ] {
        for verb in ["", "&watch=true&timeoutSeconds=1"] {
            let answer = server.get(&format!("{path}?fieldSelector={field}{verb}")).await;
            assert_eq!(answer.code, code, "{path} {field}: {:?}", answer.body);
            if code == 400 {
                let message = answer.text("/message");
                let general = message.contains("is not a known field selector: only");
                assert!(general || message.starts_with("field label not supported: "));
            }
        }
    }
}
