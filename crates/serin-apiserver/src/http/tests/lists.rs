//! Lists: pages, response forms, snapshots.

use serde_json::json;

use super::*;
use crate::snapshot;

#[tokio::test]
async fn pages_are_of_one_moment() {
    let server = TestServer::new();
    for name in ["a", "b", "c", "d", "e"] {
        server.post(CONFIG_MAPS, config_map(name, "1")).await;
    }
    let first = server.get(&format!("{CONFIG_MAPS}?limit=2")).await;
    assert_eq!(first.names(), ["a", "b"]);
    assert_eq!(first.body["metadata"]["remainingItemCount"], 3);
    server.delete(&format!("{CONFIG_MAPS}/c"), json!({})).await;
    let token = first.text("/metadata/continue");
    let second = server.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await;
    assert_eq!((second.names(), second.version()), (vec!["d", "e"], first.version()));
    assert!(second.body["metadata"].get("continue").is_none());
    let mut lines = server
        .watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={}", second.version()))
        .await;
    assert_eq!(lines.line().await, "DELETED c");
    assert_eq!(server.get(&format!("{CONFIG_MAPS}?continue=nonsense")).await.code, 400);
}

#[tokio::test]
async fn a_page_that_is_too_old_is_refused() {
    let server = TestServer::new();
    for name in ["a", "b"] {
        server.post(CONFIG_MAPS, config_map(name, "0")).await;
    }
    let token =
        server.get(&format!("{CONFIG_MAPS}?limit=1")).await.text("/metadata/continue").to_owned();
    for value in 1..=2100 {
        server
            .patch(
                &format!("{CONFIG_MAPS}/a"),
                MERGE,
                json!({"data": {"value": value.to_string()}}),
            )
            .await;
    }
    let late = server.get(&format!("{CONFIG_MAPS}?limit=1&continue={token}")).await;
    assert_eq!((late.code, late.text("/reason")), (410, "Expired"));
}

#[tokio::test]
async fn a_version_from_the_future_is_refused() {
    let server = TestServer::new();
    let refused = server.get(&format!("{CONFIG_MAPS}?resourceVersion=9999999999999999999")).await;
    assert_eq!(refused.code, 504);
    assert_eq!(refused.text("/details/causes/0/reason"), "ResourceVersionTooLarge");
    assert_eq!(server.get(&format!("{CONFIG_MAPS}?resourceVersion=0")).await.code, 200);
}

#[tokio::test]
async fn tables_have_the_columns_of_the_kind() {
    let server = TestServer::with_widgets().await;
    server.post(WIDGETS, widget("a", json!({}))).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let list = server.get_as(WIDGETS, table).await;
    assert_eq!(list.text("/kind"), "Table");
    assert_eq!(list.body["rows"][0]["cells"], json!(["a", 3, null]));
    assert_eq!(list.body["columnDefinitions"][2]["priority"], 1);
    assert_eq!(list.text("/rows/0/object/kind"), "PartialObjectMetadata");
    assert!(list.version() > 0);
    let whole = server.get_as(&format!("{WIDGETS}?includeObject=Object"), table).await;
    assert_eq!(whole.body["rows"][0]["object"]["spec"]["size"], 3);
    let metadata = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = server.get_as(WIDGETS, metadata).await;
    assert_eq!(list.text("/kind"), "PartialObjectMetadataList");
    assert!(list.body["items"][0].get("spec").is_none());
}

#[tokio::test]
async fn a_snapshot_brings_everything_back() {
    let server = TestServer::with_widgets().await;
    server
        .post("/api/v1/namespaces", json!({"metadata": {"name": "t", "labels": {"a": "b"}}}))
        .await;
    let owner = server.post(WIDGETS, widget("a", json!({"size": 2}))).await;
    let mut child = config_map("child", "1");
    child["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "example.com/v1", "kind": "Widget", "name": "a", "uid": owner.text("/metadata/uid"),
    }]);
    server.post(CONFIG_MAPS, child).await;
    let path = std::env::temp_dir().join(format!("serin-snapshot-{}.json", std::process::id()));
    snapshot::save(server.api.store(), &path).await.unwrap();
    let back = TestServer::at(1_700_000_000);
    snapshot::load(back.api.store(), &path).await.unwrap();
    tokio::fs::remove_file(&path).await.unwrap();
    for kind in [WIDGETS, CONFIG_MAPS, CRDS, "/api/v1/namespaces"] {
        assert_eq!(
            back.get(kind).await.body["items"],
            server.get(kind).await.body["items"],
            "{kind}"
        );
    }
    back.delete(&format!("{WIDGETS}/a"), json!({})).await;
    assert!(back.get(CONFIG_MAPS).await.names().is_empty());
    let made = back.post(WIDGETS, widget("b", json!({"size": 11}))).await;
    assert_eq!(made.code, 422);
    let made = back.post(WIDGETS, widget("b", json!({}))).await;
    assert!(made.version() > owner.version(), "versions never go back, though the clock did");
}
