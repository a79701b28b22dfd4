//! Garbage collection: dependents, finalizers, namespaces.

use serde_json::json;

use super::*;

const FOREGROUND: &str = "Foreground";

async fn owned(
    server: &TestServer,
    name: &str,
    owners: &[(&str, bool)],
    finalizers: Value,
) -> String {
    let mut references = Vec::new();
    for (owner, blocks) in owners {
        let owner = server.get(&format!("{CONFIG_MAPS}/{owner}")).await;
        references.push(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "name": owner.text("/metadata/name"),
            "uid": owner.text("/metadata/uid"), "blockOwnerDeletion": blocks,
        }));
    }
    let mut object = config_map(name, "1");
    object["metadata"]["ownerReferences"] = json!(references);
    object["metadata"]["finalizers"] = finalizers;
    let made = server.post(CONFIG_MAPS, object).await;
    assert_eq!(made.code, 201, "{}", made.body);
    made.text("/metadata/uid").to_owned()
}

async fn left(server: &TestServer) -> Vec<String> {
    server.get(CONFIG_MAPS).await.names().into_iter().map(str::to_owned).collect()
}

async fn gone(server: &TestServer, name: &str, propagation: &str) -> Answer {
    server.delete(&format!("{CONFIG_MAPS}/{name}"), json!({"propagationPolicy": propagation})).await
}

async fn remove_finalizers(server: &TestServer, name: &str) {
    let patch = json!({"metadata": {"finalizers": null}});
    assert_eq!(server.patch(&format!("{CONFIG_MAPS}/{name}"), MERGE, patch).await.code, 200);
}

#[tokio::test]
async fn dependents_go_with_their_last_owner() {
    let server = TestServer::new();
    owned(&server, "a", &[], json!([])).await;
    owned(&server, "b", &[], json!([])).await;
    owned(&server, "both", &[("a", true), ("b", false)], json!([])).await;
    owned(&server, "child", &[("a", true)], json!([])).await;
    owned(&server, "grandchild", &[("child", true)], json!([])).await;
    let answer = gone(&server, "a", "Background").await;
    assert_eq!(
        (answer.code, answer.text("/status"), answer.text("/details/kind")),
        (200, "Success", "configmaps")
    );
    assert_eq!(left(&server).await, ["b", "both"]);
    gone(&server, "b", "").await;
    assert!(left(&server).await.is_empty());
}

#[tokio::test]
async fn orphans_stay_and_forget() {
    let server = TestServer::new();
    owned(&server, "a", &[], json!([])).await;
    owned(&server, "child", &[("a", true)], json!([])).await;
    gone(&server, "a", "Orphan").await;
    assert_eq!(left(&server).await, ["child"]);
    assert_eq!(
        server.get(&format!("{CONFIG_MAPS}/child")).await.body["metadata"]["ownerReferences"],
        json!([])
    );
}

#[tokio::test]
async fn in_the_foreground_the_owner_waits_for_what_blocks_it() {
    let server = TestServer::new();
    owned(&server, "a", &[], json!([])).await;
    owned(&server, "blocks", &[("a", true)], json!(["x/hold"])).await;
    owned(&server, "free", &[("a", false)], json!(["x/hold"])).await;
    let answer = gone(&server, "a", FOREGROUND).await;
    assert_eq!(answer.text("/metadata/finalizers/0"), "foregroundDeletion");
    assert_eq!(left(&server).await, ["a", "blocks", "free"]);
    let again = gone(&server, "a", FOREGROUND).await;
    assert_eq!(again.version(), answer.version());
    remove_finalizers(&server, "blocks").await;
    assert_eq!(left(&server).await, ["free"]);
    remove_finalizers(&server, "free").await;
    assert!(left(&server).await.is_empty());
}

#[tokio::test]
async fn owners_of_each_other_end_too() {
    for propagation in ["Background", FOREGROUND] {
        let server = TestServer::new();
        let uid = owned(&server, "a", &[], json!([])).await;
        let other = owned(&server, "b", &[("a", true)], json!([])).await;
        let patch = json!({"metadata": {"ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "b", "uid": other, "blockOwnerDeletion": false},
        ]}});
        let patched = server.patch(&format!("{CONFIG_MAPS}/a"), MERGE, patch).await;
        assert_eq!(patched.text("/metadata/uid"), uid);
        gone(&server, "a", propagation).await;
        assert!(left(&server).await.is_empty(), "{propagation}");
    }
}

#[tokio::test]
async fn finalizers_hold_what_is_deleted() {
    let server = TestServer::new();
    let uid = owned(&server, "a", &[], json!(["x/one", "x/two"])).await;
    let answer = gone(&server, "a", "").await;
    assert_eq!((answer.code, answer.text("/kind")), (200, "ConfigMap"));
    assert_eq!(answer.text("/metadata/deletionTimestamp"), "2027-01-15T08:00:00Z");
    assert_eq!(gone(&server, "a", "").await.version(), answer.version());
    let patch = json!({"metadata": {"finalizers": ["x/two"]}});
    server.patch(&format!("{CONFIG_MAPS}/a"), MERGE, patch).await;
    assert_eq!(left(&server).await, ["a"]);
    remove_finalizers(&server, "a").await;
    assert!(left(&server).await.is_empty());
    let wrong = json!({"preconditions": {"uid": uid}});
    owned(&server, "a", &[], json!([])).await;
    assert_eq!(server.delete(&format!("{CONFIG_MAPS}/a"), wrong).await.code, 409);
}

#[tokio::test]
async fn a_namespace_ends_after_everything_in_it() {
    let server = TestServer::new();
    let namespace =
        |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    assert_eq!(server.post("/api/v1/namespaces", namespace("t")).await.code, 201);
    let maps = "/api/v1/namespaces/t/configmaps";
    let mut held = config_map("held", "1");
    held["metadata"]["finalizers"] = json!(["x/hold"]);
    server.post(maps, held).await;
    server.post(maps, config_map("free", "1")).await;
    let ending = server.delete("/api/v1/namespaces/t", json!({})).await;
    assert_eq!(ending.text("/status/phase"), "Terminating");
    assert_eq!(server.get(maps).await.names(), ["held"]);
    let refused = server.post(maps, config_map("new", "1")).await;
    assert_eq!(
        refused.refusal(),
        (
            403,
            "configmaps \"new\" is forbidden: unable to create new content in namespace t because it is being terminated"
        )
    );
    assert_eq!(refused.text("/details/causes/0/reason"), "NamespaceTerminating");
    server.patch(&format!("{maps}/held"), MERGE, json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(server.get("/api/v1/namespaces/t").await.code, 404);
    assert_eq!(server.post("/api/v1/namespaces", namespace("t")).await.code, 201);
}

#[tokio::test]
async fn many_go_at_once_by_label() {
    let server = TestServer::new();
    for (name, app) in [("a", "x"), ("b", "y"), ("c", "x")] {
        let mut object = config_map(name, "1");
        object["metadata"]["labels"] = json!({"app": app});
        server.post(CONFIG_MAPS, object).await;
    }
    let answer = server.delete(&format!("{CONFIG_MAPS}?labelSelector=app%3Dx"), json!({})).await;
    assert_eq!(answer.names(), ["a", "c"]);
    assert_eq!(left(&server).await, ["b"]);
}
