//! Watches: every change once, none skipped, and an end with a reason.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;

const STREAM: &str = "?&watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";

#[tokio::test(start_paused = true)]
async fn what_is_there_comes_first_unless_the_client_knows_it() {
    let server = TestServer::new();
    let a = server.post(CONFIG_MAPS, config_map("a", "1")).await;
    for query in ["?watch=true", "?watch=true&resourceVersion=0", "?watch=1&resourceVersion="] {
        let mut lines = server.watch(&format!("{CONFIG_MAPS}{query}")).await;
        assert_eq!(lines.line().await, "ADDED a", "{query}");
    }
    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={}", a.version());
    let mut lines = server.watch(&path).await;
    server.post(CONFIG_MAPS, config_map("b", "1")).await;
    assert_eq!(lines.line().await, "ADDED b");
    server.patch(&format!("{CONFIG_MAPS}/a"), MERGE, json!({"data": {"value": "1"}})).await;
    server.patch(&format!("{CONFIG_MAPS}/a"), MERGE, json!({"data": {"value": "2"}})).await;
    let changed = lines.next().await.unwrap();
    assert_eq!(
        (&changed["type"], &changed["object"]["data"]["value"]),
        (&json!("MODIFIED"), &json!("2"))
    );
    server.delete(&format!("{CONFIG_MAPS}/a"), json!({})).await;
    let gone = lines.next().await.unwrap();
    assert_eq!((&gone["type"], &gone["object"]["data"]["value"]), (&json!("DELETED"), &json!("2")));
    let version = |event: &Value| -> u64 {
        event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
    };
    assert!(version(&gone) > version(&changed));
    assert!(lines.ready().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_ends_with_a_bookmark() {
    let server = TestServer::new();
    server.post(CONFIG_MAPS, config_map("a", "1")).await;
    let mut lines = server.watch(&format!("{CONFIG_MAPS}{STREAM}")).await;
    assert_eq!(lines.line().await, "ADDED a");
    let end = lines.next().await.unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(
        (&end["object"]["kind"], &end["object"]["apiVersion"]),
        (&json!("ConfigMap"), &json!("v1"))
    );
    assert_eq!(
        end["object"]["metadata"]["annotations"],
        json!({"k8s.io/initial-events-end": "true"})
    );
    assert_eq!(
        end["object"]["metadata"]["resourceVersion"],
        json!(server.api.store().version().to_string())
    );
    let refused = server.get(&format!("{CONFIG_MAPS}?watch=true&sendInitialEvents=true")).await;
    assert_eq!(refused.code, 422);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_and_timeouts_come_when_asked_for() {
    let server = TestServer::new();
    let now = server.api.store().version();
    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={now}&timeoutSeconds=90");
    assert_eq!(server.watch(&path).await.line().await, "over");
    let mut lines = server.watch(&format!("{path}&allowWatchBookmarks=true")).await;
    assert_eq!(lines.line().await, "BOOKMARK null");
    assert_eq!(lines.line().await, "over");
}

#[tokio::test(start_paused = true)]
async fn expired_history_is_an_error() {
    let server = TestServer::new();
    for version in ["1", "9999999999999999999"] {
        let mut lines =
            server.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={version}")).await;
        let event = lines.next().await.unwrap();
        assert_eq!(
            (&event["type"], &event["object"]["reason"]),
            (&json!("ERROR"), &json!("Expired"))
        );
        assert_eq!(event["object"]["code"], 410);
        assert_eq!(lines.line().await, "over");
    }
    assert_eq!(server.get(&format!("{CONFIG_MAPS}?watch=true&resourceVersion=x")).await.code, 400);
    let start = server.post(CONFIG_MAPS, config_map("a", "0")).await.version();
    for value in 1..=2100 {
        server
            .patch(
                &format!("{CONFIG_MAPS}/a"),
                MERGE,
                json!({"data": {"value": value.to_string()}}),
            )
            .await;
    }
    let mut lines =
        server.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={start}")).await;
    assert_eq!(lines.line().await, "ERROR 410");
}

#[tokio::test(start_paused = true)]
async fn what_starts_to_match_is_added_and_what_stops_is_deleted() {
    let server = TestServer::new();
    let path = format!("{CONFIG_MAPS}?watch=true&labelSelector=app%3Dx");
    let mut lines = server.watch(&path).await;
    server.post(CONFIG_MAPS, config_map("a", "1")).await;
    for label in [json!("x"), json!("x"), json!("y"), json!("x"), json!(null)] {
        server
            .patch(
                &format!("{CONFIG_MAPS}/a"),
                MERGE,
                json!({"metadata": {"labels": {"app": label}}}),
            )
            .await;
    }
    let kinds: Vec<_> = lines.ready().await.iter().map(|e| e["type"].clone()).collect();
    assert_eq!(kinds, ["ADDED", "DELETED", "ADDED", "DELETED"]);
    let mut one =
        server.watch(&format!("{CONFIG_MAPS}?watch=true&fieldSelector=metadata.name%3Db")).await;
    server.post(CONFIG_MAPS, config_map("b", "1")).await;
    assert_eq!(one.line().await, "ADDED b");
    assert_eq!(one.ready().await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_goes_takes_its_watches_along() {
    let server = TestServer::with_widgets().await;
    server.post(WIDGETS, widget("a", json!({}))).await;
    let mut lines = server.watch(&format!("{WIDGETS}?watch=true")).await;
    assert_eq!(lines.line().await, "ADDED a");
    server.delete(&format!("{CRDS}/widgets.example.com"), json!({})).await;
    assert_eq!(lines.line().await, "DELETED a");
    assert_eq!(lines.line().await, "over");
    assert_eq!(server.get(WIDGETS).await.code, 404);
}

#[derive(Clone, Debug)]
enum Op {
    Put(u8, u8),
    Delete(u8),
    Look,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0..4_u8, 0..3_u8).prop_map(|(name, value)| Op::Put(name, value)),
        2 => (0..4_u8).prop_map(Op::Delete),
        1 => Just(Op::Look),
    ];
    proptest::collection::vec(op, 1..40)
}

async fn perform(server: &TestServer, op: &Op) {
    match op {
        Op::Put(name, value) => {
            let (name, value) = (format!("c{name}"), value.to_string());
            if server.post(CONFIG_MAPS, config_map(&name, &value)).await.code == 409 {
                server.put(&format!("{CONFIG_MAPS}/{name}"), config_map(&name, &value)).await;
            }
        }
        Op::Delete(name) => drop(server.delete(&format!("{CONFIG_MAPS}/c{name}"), json!({})).await),
        Op::Look => {}
    }
}

type State = BTreeMap<String, Value>;

/// The client's state after these events; versions must rise.
fn follow(mut state: State, mut version: u64, events: &[Value]) -> State {
    for event in events {
        let object = &event["object"];
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let next = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        assert!(next > version, "{next} after {version}");
        version = next;
        let known = state.contains_key(&name);
        match event["type"].as_str().unwrap() {
            "ADDED" => assert!(!known, "{name} added twice"),
            "MODIFIED" => assert!(known && state.get(&name) != Some(object), "{name}"),
            "DELETED" => assert!(known, "{name}"),
            other => panic!("{other}"),
        }
        if event["type"] == "DELETED" {
            state.remove(&name);
        } else {
            state.insert(name, object.clone());
        }
    }
    state
}

async fn listed(server: &TestServer) -> (State, u64) {
    let list = server.get(CONFIG_MAPS).await;
    let items = list.body["items"].as_array().unwrap().iter();
    let whole = |item: &Value| {
        // List items have no `kind` and `apiVersion`.
        let mut object = item.clone();
        object["apiVersion"] = json!("v1");
        object["kind"] = json!("ConfigMap");
        (item["metadata"]["name"].as_str().unwrap().to_owned(), object)
    };
    let state = items.map(whole).collect();
    (state, list.version())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_list_and_its_watch_lead_to_what_is_there(ops in ops()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let server = TestServer::new();
            let mut watchers = Vec::new();
            let mut streams = vec![server.watch(&format!("{CONFIG_MAPS}{STREAM}")).await];
            for op in &ops {
                if let Op::Look = op {
                    let (state, version) = listed(&server).await;
                    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={version}");
                    watchers.push((state, version, server.watch(&path).await));
                    streams.push(server.watch(&format!("{CONFIG_MAPS}{STREAM}")).await);
                }
                perform(&server, op).await;
            }
            let (expected, _) = listed(&server).await;
            for (state, version, mut lines) in watchers {
                assert_eq!(follow(state, version, &lines.ready().await), expected);
            }
            for mut lines in streams {
                let events = lines.ready().await;
                let end = events.iter().position(|e| e["type"] == "BOOKMARK").unwrap();
                let mut state = State::new();
                for event in &events[..end] {
                    state.insert(event["object"]["metadata"]["name"].as_str().unwrap().to_owned(), event["object"].clone());
                }
                let version = events[end]["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
                assert_eq!(follow(state, version, &events[end + 1..]), expected);
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_sleeps_long_is_told_to_list_again() {
    let server = TestServer::new();
    server.post(CONFIG_MAPS, config_map("a", "0")).await;
    let mut lines = server.watch(&format!("{CONFIG_MAPS}?watch=true")).await;
    assert_eq!(lines.line().await, "ADDED a");
    for value in 1..=2100 {
        server
            .patch(
                &format!("{CONFIG_MAPS}/a"),
                MERGE,
                json!({"data": {"value": value.to_string()}}),
            )
            .await;
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(lines.line().await, "ERROR 410");
    assert_eq!(lines.line().await, "over");
}
