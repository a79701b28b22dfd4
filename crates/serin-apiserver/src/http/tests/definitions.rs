//! Custom kinds: installation, schema checks, removal.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_definition_adds_and_removes_a_kind() {
    let server = TestServer::new();
    assert_eq!(server.get(WIDGETS).await.code, 404);
    let made = server.post(CRDS, widgets()).await;
    let established = &made.body["status"]["conditions"][1];
    assert_eq!(
        (&established["type"], &established["status"]),
        (&json!("Established"), &json!("True"))
    );
    assert_eq!(made.text("/spec/names/singular"), "widget");
    let before = server.get("/openapi/v3").await.body;
    assert_eq!(server.post(WIDGETS, widget("a", json!({}))).await.code, 201);
    server.delete(&format!("{CRDS}/widgets.example.com"), json!({})).await;
    assert_eq!(server.get(WIDGETS).await.code, 404);
    assert_eq!(server.get("/apis/example.com/v1").await.code, 404);
    assert_ne!(server.get("/openapi/v3").await.body, before);
    server.post(CRDS, widgets()).await;
    assert!(server.get(WIDGETS).await.names().is_empty());
}

#[tokio::test]
async fn a_definition_waits_for_objects_that_are_held() {
    let server = TestServer::with_widgets().await;
    let mut held = widget("a", json!({}));
    held["metadata"]["finalizers"] = json!(["x/hold"]);
    server.post(WIDGETS, held).await;
    let crd = format!("{CRDS}/widgets.example.com");
    let answer = server.delete(&crd, json!({})).await;
    assert!(answer.text("/metadata/finalizers/0").starts_with("customresourcecleanup"));
    assert_eq!(server.post(WIDGETS, widget("b", json!({}))).await.code, 405);
    let freed =
        server.patch(&format!("{WIDGETS}/a"), MERGE, json!({"metadata": {"finalizers": []}})).await;
    assert_eq!(freed.code, 200);
    assert_eq!(server.get(&crd).await.code, 404);
}

#[tokio::test]
async fn objects_are_pruned_filled_and_held_to_rules() {
    let server = TestServer::with_widgets().await;
    let made = server.post(WIDGETS, widget("a", json!({"sise": 1, "keep": {"x": {"y": 1}}}))).await;
    assert_eq!(made.body["spec"], json!({"size": 3, "keep": {"x": {"y": 1}}}));
    assert_eq!(made.warnings, ["299 - \"unknown field \\\"spec.sise\\\"\""]);
    let strict = server
        .post(&format!("{WIDGETS}?fieldValidation=Strict"), widget("b", json!({"sise": 1})))
        .await;
    assert_eq!(
        strict.refusal(),
        (
            400,
            "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"spec.sise\""
        )
    );
    let quiet = server
        .post(&format!("{WIDGETS}?fieldValidation=Ignore"), widget("b", json!({"sise": 1})))
        .await;
    assert!(quiet.warnings.is_empty());
    for (spec, field) in [
        (json!({"size": "x"}), "spec.size"),
        (json!({"size": 11}), "spec.size"),
        (json!({"size": 5, "most": 4}), "spec"),
    ] {
        let refused = server.post(WIDGETS, widget("c", spec)).await;
        assert_eq!((refused.code, refused.text("/reason")), (422, "Invalid"));
        assert_eq!(refused.text("/details/causes/0/field"), field);
    }
}

#[tokio::test]
async fn built_in_kinds_know_their_fields_too() {
    let server = TestServer::new();
    let path = "/apis/apps/v1/namespaces/default/deployments?fieldValidation=Strict";
    let deployment = |replicas: Value| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": "a"}},
                "template": {
                    "metadata": {"labels": {"app": "a"}},
                    "spec": {"containers": [{"name": "c", "image": "nginx:1"}]},
                },
            },
        })
    };
    let mut typo = deployment(json!(1));
    typo["spec"]["replcas"] = json!(2);
    assert_eq!(
        server.post(path, typo).await.refusal(),
        (
            400,
            "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.replcas\""
        )
    );
    assert_eq!(server.post(path, deployment(json!("two"))).await.code, 400);
    assert_eq!(server.post(path, deployment(json!(-1))).await.code, 422);
    let made = server.post(path, deployment(json!(null))).await;
    assert_eq!((made.code, &made.body["spec"]["replicas"]), (201, &json!(1)));
    let other = json!({"spec": {"selector": {"matchLabels": {"app": "b"}}}});
    let plain = path.split('?').next().unwrap();
    assert_eq!(server.patch(&format!("{plain}/a"), MERGE, other).await.code, 422);
}

#[tokio::test]
async fn an_object_is_served_in_every_version() {
    let server = TestServer::new();
    let mut crd = widgets();
    let mut old = crd["spec"]["versions"][0].clone();
    old["name"] = json!("v1beta1");
    old["storage"] = json!(false);
    crd["spec"]["versions"].as_array_mut().unwrap().push(old);
    server.post(CRDS, crd).await;
    server.post(WIDGETS, widget("a", json!({}))).await;
    let old = server.get("/apis/example.com/v1beta1/namespaces/default/widgets/a").await;
    assert_eq!(old.text("/apiVersion"), "example.com/v1beta1");
    let group = server.get("/apis/example.com").await;
    assert_eq!(group.text("/preferredVersion/version"), "v1");
}

#[tokio::test]
async fn a_strategic_patch_is_not_for_custom_kinds() {
    let server = TestServer::with_widgets().await;
    server.post(WIDGETS, widget("a", json!({}))).await;
    let kind = "application/strategic-merge-patch+json";
    let refused = server.patch(&format!("{WIDGETS}/a"), kind, json!({"spec": {"size": 1}})).await;
    assert_eq!((refused.code, refused.text("/reason")), (415, "UnsupportedMediaType"));
}
