//! Watches: nothing twice, nothing left out, and an end that says why.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;

const STREAM: &str = "?&watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";

#[tokio::test(start_paused = true)]
async fn what_is_there_comes_first_unless_the_client_knows_it() {
    let bed = Bed::new();
    let a = bed.post(CONFIG_MAPS, config_map("a", "1")).await;
    for query in ["?watch=true", "?watch=true&resourceVersion=0", "?watch=1&resourceVersion="] {
        let mut lines = bed.watch(&format!("{CONFIG_MAPS}{query}")).await;
        assert_eq!(lines.line().await, "ADDED a", "{query}");
    }
    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={}", a.version());
    let mut lines = bed.watch(&path).await;
    bed.post(CONFIG_MAPS, config_map("b", "1")).await;
    assert_eq!(lines.line().await, "ADDED b");
    bed.patch(&format!("{CONFIG_MAPS}/a"), MERGE, json!({"data": {"value": "1"}})).await;
    bed.patch(&format!("{CONFIG_MAPS}/a"), MERGE, json!({"data": {"value": "2"}})).await;
    let changed = lines.next().await.unwrap();
    assert_eq!(
        (&changed["type"], &changed["object"]["data"]["value"]),
        (&json!("MODIFIED"), &json!("2"))
    );
    bed.delete(&format!("{CONFIG_MAPS}/a"), json!({})).await;
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
    let bed = Bed::new();
    bed.post(CONFIG_MAPS, config_map("a", "1")).await;
    let mut lines = bed.watch(&format!("{CONFIG_MAPS}{STREAM}")).await;
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
        json!(bed.api.store().version().to_string())
    );
    let refused = bed.get(&format!("{CONFIG_MAPS}?watch=true&sendInitialEvents=true")).await;
    assert_eq!(refused.code, 422);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_and_timeouts_come_when_asked_for() {
    let bed = Bed::new();
    let now = bed.api.store().version();
    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={now}&timeoutSeconds=90");
    assert_eq!(bed.watch(&path).await.line().await, "over");
    let mut lines = bed.watch(&format!("{path}&allowWatchBookmarks=true")).await;
    assert_eq!(lines.line().await, "BOOKMARK null");
    assert_eq!(lines.line().await, "over");
}

#[tokio::test(start_paused = true)]
async fn a_history_that_is_gone_is_said_to_be() {
    let bed = Bed::new();
    for version in ["1", "9999999999999999999"] {
        let mut lines =
            bed.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={version}")).await;
        let event = lines.next().await.unwrap();
        assert_eq!(
            (&event["type"], &event["object"]["reason"]),
            (&json!("ERROR"), &json!("Expired"))
        );
        assert_eq!(event["object"]["code"], 410);
        assert_eq!(lines.line().await, "over");
    }
    assert_eq!(bed.get(&format!("{CONFIG_MAPS}?watch=true&resourceVersion=x")).await.code, 400);
    let start = bed.post(CONFIG_MAPS, config_map("a", "0")).await.version();
    for value in 1..=2100 {
        bed.patch(
            &format!("{CONFIG_MAPS}/a"),
            MERGE,
            json!({"data": {"value": value.to_string()}}),
        )
        .await;
    }
    let mut lines = bed.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={start}")).await;
    assert_eq!(lines.line().await, "ERROR 410");
}

#[tokio::test(start_paused = true)]
async fn what_starts_to_match_is_added_and_what_stops_is_deleted() {
    let bed = Bed::new();
    let path = format!("{CONFIG_MAPS}?watch=true&labelSelector=app%3Dx");
    let mut lines = bed.watch(&path).await;
    bed.post(CONFIG_MAPS, config_map("a", "1")).await;
    for label in [json!("x"), json!("x"), json!("y"), json!("x"), json!(null)] {
        bed.patch(
            &format!("{CONFIG_MAPS}/a"),
            MERGE,
            json!({"metadata": {"labels": {"app": label}}}),
        )
        .await;
    }
    let kinds: Vec<_> = lines.ready().await.iter().map(|e| e["type"].clone()).collect();
    assert_eq!(kinds, ["ADDED", "DELETED", "ADDED", "DELETED"]);
    let mut one =
        bed.watch(&format!("{CONFIG_MAPS}?watch=true&fieldSelector=metadata.name%3Db")).await;
    bed.post(CONFIG_MAPS, config_map("b", "1")).await;
    assert_eq!(one.line().await, "ADDED b");
    assert_eq!(one.ready().await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_goes_takes_its_watches_along() {
    let bed = Bed::with_widgets().await;
    bed.post(WIDGETS, widget("a", json!({}))).await;
    let mut lines = bed.watch(&format!("{WIDGETS}?watch=true")).await;
    assert_eq!(lines.line().await, "ADDED a");
    bed.delete(&format!("{CRDS}/widgets.example.com"), json!({})).await;
    assert_eq!(lines.line().await, "DELETED a");
    assert_eq!(lines.line().await, "over");
    assert_eq!(bed.get(WIDGETS).await.code, 404);
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

async fn perform(bed: &Bed, op: &Op) {
    match op {
        Op::Put(name, value) => {
            let (name, value) = (format!("c{name}"), value.to_string());
            if bed.post(CONFIG_MAPS, config_map(&name, &value)).await.code == 409 {
                bed.put(&format!("{CONFIG_MAPS}/{name}"), config_map(&name, &value)).await;
            }
        }
        Op::Delete(name) => drop(bed.delete(&format!("{CONFIG_MAPS}/c{name}"), json!({})).await),
        Op::Look => {}
    }
}

type State = BTreeMap<String, Value>;

/// What a client knows after these lines; versions must rise.
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

async fn listed(bed: &Bed) -> (State, u64) {
    let list = bed.get(CONFIG_MAPS).await;
    let items = list.body["items"].as_array().unwrap().iter();
    let whole = |item: &Value| {
        // Items of a list do not say what they are.
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
            let bed = Bed::new();
            let mut watchers = Vec::new();
            let mut streams = vec![bed.watch(&format!("{CONFIG_MAPS}{STREAM}")).await];
            for op in &ops {
                if let Op::Look = op {
                    let (state, version) = listed(&bed).await;
                    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={version}");
                    watchers.push((state, version, bed.watch(&path).await));
                    streams.push(bed.watch(&format!("{CONFIG_MAPS}{STREAM}")).await);
                }
                perform(&bed, op).await;
            }
            let (expected, _) = listed(&bed).await;
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
    let bed = Bed::new();
    bed.post(CONFIG_MAPS, config_map("a", "0")).await;
    let mut lines = bed.watch(&format!("{CONFIG_MAPS}?watch=true")).await;
    assert_eq!(lines.line().await, "ADDED a");
    for value in 1..=2100 {
        bed.patch(
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
