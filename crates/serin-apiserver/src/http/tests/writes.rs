//! Versions, generations, subresources, dry runs and field ownership.

use serde_json::json;

use super::*;

#[tokio::test]
async fn versions_move_with_changes_and_only_with_them() {
    let server = TestServer::new();
    let made = server.post(CONFIG_MAPS, config_map("a", "1")).await;
    assert_eq!((made.code, made.text("/metadata/namespace")), (201, "default"));
    let path = format!("{CONFIG_MAPS}/a");
    let same = server.put(&path, made.body.clone()).await;
    assert_eq!((same.code, same.version()), (200, made.version()));
    let same = server.patch(&path, MERGE, json!({"data": {"value": "1"}})).await;
    assert_eq!(same.version(), made.version());
    assert_eq!(server.api.store().version(), made.version());
    let other = server.patch(&path, MERGE, json!({"data": {"value": "2"}})).await;
    assert!(other.version() > made.version());
    let late = server.put(&path, made.body.clone()).await;
    assert_eq!(
        late.refusal(),
        (
            409,
            "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; \
             please apply your changes to the latest version and try again"
        )
    );
    assert_eq!(late.text("/reason"), "Conflict");
    let unconditional = server.put(&path, config_map("a", "3")).await;
    assert_eq!((unconditional.code, unconditional.text("/data/value")), (200, "3"));
}

#[tokio::test]
async fn a_json_patch_sees_and_may_fence_the_version() {
    let server = TestServer::new();
    let made = server.post(CONFIG_MAPS, config_map("a", "1")).await;
    let path = format!("{CONFIG_MAPS}/a");
    let patch = |version: &str| {
        json!([
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
            {"op": "replace", "path": "/data/value", "value": "2"},
        ])
    };
    assert_eq!(server.patch(&path, JSON_PATCH, patch("1")).await.code, 409);
    let now = made.text("/metadata/resourceVersion").to_owned();
    assert_eq!(server.patch(&path, JSON_PATCH, patch(&now)).await.text("/data/value"), "2");
}

#[tokio::test]
async fn what_the_server_sets_is_its_own() {
    let server = TestServer::new();
    let made = server.post(CONFIG_MAPS, config_map("a", "1")).await;
    let path = format!("{CONFIG_MAPS}/a");
    let foreign = json!({"metadata": {"uid": "x"}});
    assert_eq!(server.patch(&path, MERGE, foreign).await.code, 409);
    let wish = json!({"metadata": {
        "creationTimestamp": "2000-01-01T00:00:00Z", "generation": 9, "deletionTimestamp": "2000-01-01T00:00:00Z",
    }});
    let after = server.patch(&path, MERGE, wish).await;
    assert_eq!(after.body, made.body);
    let renamed = json!({"metadata": {"name": "b"}});
    assert_eq!(server.patch(&path, MERGE, renamed).await.code, 400);
}

#[tokio::test]
async fn the_generation_counts_the_specs_and_the_status_is_apart() {
    let server = TestServer::with_widgets().await;
    let mut wish = widget("a", json!({"size": 1}));
    wish["status"] = json!({"ready": 9});
    let made = server.post(WIDGETS, wish).await;
    assert_eq!((made.body.get("status"), &made.body["metadata"]["generation"]), (None, &json!(1)));
    let path = format!("{WIDGETS}/a");
    let both =
        json!({"spec": {"size": 2}, "status": {"ready": 2}, "metadata": {"labels": {"a": "b"}}});
    let main = server.patch(&path, MERGE, both.clone()).await;
    assert_eq!((main.body.get("status"), &main.body["spec"]["size"]), (None, &json!(2)));
    assert_eq!(main.body["metadata"]["generation"], 2);
    let other =
        json!({"spec": {"size": 5}, "status": {"ready": 2}, "metadata": {"labels": {"a": "c"}}});
    let status = server.patch(&format!("{path}/status"), MERGE, other).await;
    assert_eq!(
        (&status.body["status"]["ready"], &status.body["spec"]["size"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(status.text("/metadata/labels/a"), "b");
    assert_eq!(status.body["metadata"]["generation"], 2);
    let labelled = server.patch(&path, MERGE, json!({"metadata": {"labels": {"x": "y"}}})).await;
    assert_eq!(labelled.body["metadata"]["generation"], 2);
}

#[tokio::test]
async fn the_scale_subresource_reads_and_writes_replicas() {
    let server = TestServer::with_widgets().await;
    server.post(WIDGETS, widget("a", json!({"size": 1}))).await;
    let path = format!("{WIDGETS}/a/scale");
    let scale = server.get(&path).await;
    assert_eq!((scale.text("/kind"), &scale.body["spec"]["replicas"]), ("Scale", &json!(1)));
    let scaled = server.patch(&path, MERGE, json!({"spec": {"replicas": 4}})).await;
    assert_eq!(scaled.body["spec"]["replicas"], 4);
    let now = server.get(&format!("{WIDGETS}/a")).await;
    assert_eq!(now.body["spec"]["size"], 4);
    let managed = now.body["metadata"]["managedFields"].as_array().unwrap();
    assert!(managed.iter().any(|entry| entry["subresource"] == "scale"));
    assert_eq!(server.put(&path, scale.body).await.code, 409);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let server = TestServer::with_widgets().await;
    server.post(WIDGETS, widget("a", json!({"size": 1}))).await;
    let before = server.api.store().version();
    let path = format!("{WIDGETS}/a?dryRun=All");
    let would = server.post(&format!("{WIDGETS}?dryRun=All"), widget("b", json!({}))).await;
    assert_eq!((would.code, &would.body["spec"]["size"]), (201, &json!(3)));
    let would = server.patch(&path, MERGE, json!({"spec": {"size": 2}})).await;
    assert_eq!((would.code, &would.body["spec"]["size"]), (200, &json!(2)));
    assert_eq!(server.patch(&path, MERGE, json!({"spec": {"size": 11}})).await.code, 422);
    assert_eq!(server.delete(&path, json!({})).await.code, 200);
    assert_eq!(
        server
            .patch(
                &format!("{path}&fieldManager=x&force=true"),
                APPLY,
                widget("a", json!({"size": 7}))
            )
            .await
            .code,
        200
    );
    assert_eq!(
        server.post(&format!("{WIDGETS}?dryRun=Some"), widget("b", json!({}))).await.code,
        422
    );
    assert_eq!(server.api.store().version(), before);
}

#[tokio::test]
async fn appliers_meet_conflicts_and_may_force_them() {
    let server = TestServer::with_widgets().await;
    let path = |manager: &str| format!("{WIDGETS}/a?fieldManager={manager}");
    let made = server.patch(&path("one"), APPLY, widget("a", json!({"size": 1}))).await;
    assert_eq!(made.code, 201);
    let refused = server.patch(&path("two"), APPLY, widget("a", json!({"size": 2}))).await;
    assert_eq!(
        refused.refusal(),
        (409, "Apply failed with 1 conflict: conflict with \"one\": .spec.size")
    );
    let cause = &refused.body["details"]["causes"][0];
    assert_eq!(
        (&cause["reason"], &cause["field"]),
        (&json!("FieldManagerConflict"), &json!(".spec.size"))
    );
    let forced = format!("{}&force=true", path("two"));
    assert_eq!(server.patch(&forced, APPLY, widget("a", json!({"size": 2}))).await.code, 200);
    let gone = server.patch(&path("two"), APPLY, widget("a", json!({}))).await;
    assert_eq!(gone.body["spec"]["size"], 3, "back to the default");
    let unnamed = server.patch(&path(""), APPLY, widget("a", json!({}))).await;
    let why = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
    assert_eq!(unnamed.refusal(), (422, why));
}

#[tokio::test]
async fn yaml_is_applied_too() {
    let server = TestServer::with_widgets().await;
    let yaml = b"apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: a}\nspec:\n  size: 4\n";
    let headers = [("content-type", APPLY)];
    let response = server
        .raw(Method::PATCH, &format!("{WIDGETS}/a?fieldManager=me"), &headers, yaml.to_vec())
        .await;
    assert_eq!(server.answer(response).await.body["spec"]["size"], 4);
}

#[tokio::test]
async fn names_are_made_and_checked() {
    let server = TestServer::new();
    let made = server.post(CONFIG_MAPS, json!({"metadata": {"generateName": "x-"}})).await;
    assert!(made.text("/metadata/name").starts_with("x-"));
    for (body, code) in [
        (json!({"metadata": {"name": "A"}}), 422),
        (json!({"metadata": {}}), 422),
        (json!({"metadata": {"name": "a", "namespace": "other"}}), 400),
        (json!({"metadata": {"name": "a"}, "kind": "Secret"}), 400),
        (json!([]), 400),
    ] {
        assert_eq!(server.post(CONFIG_MAPS, body.clone()).await.code, code, "{body}");
    }
    let nowhere = server.post("/api/v1/namespaces/nope/configmaps", config_map("a", "1")).await;
    assert_eq!(nowhere.refusal(), (404, "namespaces \"nope\" not found"));
    server.post(CONFIG_MAPS, config_map("a", "1")).await;
    let twice = server.post(CONFIG_MAPS, config_map("a", "1")).await;
    assert_eq!(twice.refusal(), (409, "configmaps \"a\" already exists"));
    assert_eq!(twice.text("/reason"), "AlreadyExists");
}
