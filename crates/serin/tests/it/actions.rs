//! What people ask with ReleaseActions, as kubectl would send them.

use serde_json::{Value, json};
use serin::http_client::HttpError;

use crate::cluster::{TestCluster, value};

const ACTIONS: (&str, &str) = ("serin.dev", "releaseactions");

/// For the release as it is now.
fn ask(cluster: &TestCluster, name: &str, action: &str, more: Value) {
    let mut spec = json!({
        "canary": "backend", "action": action, "release": cluster.status()["release"],
        "reason": "incident 7", "user": "kim",
    });
    crate::cluster::merge(&mut spec, more);
    cluster.create(
        ACTIONS,
        json!({
            "apiVersion": "serin.dev/v1alpha1", "kind": "ReleaseAction",
            "metadata": {"name": name}, "spec": spec,
        }),
    );
}

async fn settled(cluster: &TestCluster, name: &str, state: &str) -> String {
    cluster
        .until(name, |cluster| cluster.get(ACTIONS, name).unwrap()["status"]["state"].is_string())
        .await;
    let object = cluster.get(ACTIONS, name).unwrap();
    assert_eq!(object["status"]["state"], state, "{object}");
    object["status"]["message"].as_str().unwrap().to_owned()
}

async fn at(share: i64) -> TestCluster {
    let cluster = TestCluster::start();
    cluster.apply("app:v1", json!({}));
    cluster.until_phase("Initialized").await;
    cluster.set_image("app:v2");
    cluster.until("the share", |cluster| cluster.canary_share() == share).await;
    cluster
}

#[tokio::test(start_paused = true)]
async fn a_release_is_paused_moved_and_aborted() {
    let cluster = at(5).await;
    ask(&cluster, "wait", "pause", json!({}));
    settled(&cluster, "wait", "Done").await;
    cluster.pass(120).await;
    assert_eq!(cluster.canary_share(), 5);
    assert_eq!(cluster.status()["lastReason"]["code"], "Paused");
    ask(&cluster, "more", "set-weight", json!({"weight": 30}));
    settled(&cluster, "more", "Done").await;
    cluster.until("30", |cluster| cluster.canary_share() == 30).await;
    ask(&cluster, "on", "resume", json!({}));
    cluster.until("40", |cluster| cluster.canary_share() == 40).await;
    ask(&cluster, "stop", "abort", json!({}));
    settled(&cluster, "stop", "Done").await;
    cluster.until_phase("Failed").await;
    assert_eq!(cluster.canary_share(), 0);
    assert_eq!(cluster.primary_image(), "app:v1");
    let reason = cluster.status()["lastReason"]["message"].as_str().unwrap().to_owned();
    assert_eq!(reason, "The release was aborted by kim: incident 7, at 40 %.");
    let told = cluster.events();
    assert!(told.iter().any(|event| event.contains("abort by kim: incident 7")), "{told:#?}");
    ask(&cluster, "again", "retry", json!({}));
    settled(&cluster, "again", "Done").await;
    cluster.until_phase("Succeeded").await;
    assert_eq!(cluster.primary_image(), "app:v2");
}

#[tokio::test(start_paused = true)]
async fn what_was_meant_for_the_last_release_does_nothing_to_the_next() {
    let cluster = at(5).await;
    let release = cluster.status()["release"].clone();
    cluster.set_image("app:v3");
    cluster.until("another release", |cluster| cluster.status()["release"] != release).await;
    ask(&cluster, "late", "promote", json!({"release": release}));
    let why = settled(&cluster, "late", "Refused").await;
    assert!(why.starts_with("it is meant for"), "{why}");
    assert_eq!(cluster.primary_image(), "app:v1");
}

#[tokio::test(start_paused = true)]
async fn an_abort_does_not_wait_for_a_hook_that_hangs() {
    let cluster = TestCluster::start();
    let hook =
        json!([{"name": "load", "type": "rollout", "url": "http://hook.test/", "timeout": "2m"}]);
    cluster.apply("app:v1", json!({"analysis": {"webhooks": hook}}));
    cluster.until_phase("Initialized").await;
    cluster.set_image("app:v2");
    cluster.until("the share", |cluster| cluster.canary_share() == 5).await;
    cluster.answer(|url, _| match url.contains("hook.test") {
        true => Err(HttpError::Timeout(std::time::Duration::from_secs(120))),
        false => value(0.0),
    });
    let asked = || {
        cluster.script.asked.lock().unwrap().iter().filter(|url| url.contains("hook.test")).count()
    };
    let before = asked();
    cluster.pass(11).await;
    assert!(asked() > before, "the hook is asked");
    let began = cluster.now();
    ask(&cluster, "stop", "abort", json!({}));
    cluster.until("no traffic", |cluster| cluster.canary_share() == 0).await;
    assert!(cluster.now().duration_since(began).as_secs() < 2, "it waited");
    settled(&cluster, "stop", "Done").await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_between_does_nothing_twice() {
    let mut cluster = at(5).await;
    ask(&cluster, "step", "advance", json!({}));
    cluster.until("the next share", |cluster| cluster.status()["canaryWeight"] == 10).await;
    cluster.kill_operator();
    let unsaid = cluster.get(ACTIONS, "step").unwrap()["status"]["state"].is_null();
    cluster.start_operator();
    settled(&cluster, "step", "Done").await;
    assert!(cluster.canary_share() <= 10, "{unsaid}");
}

#[tokio::test(start_paused = true)]
async fn old_actions_are_taken_away() {
    let cluster = at(5).await;
    for number in 0..30 {
        let name = format!("late-{number:02}");
        ask(&cluster, &name, "promote", json!({"release": "s1:other"}));
        settled(&cluster, &name, "Refused").await;
    }
    cluster.until("the first are gone", |cluster| cluster.get(ACTIONS, "late-05").is_none()).await;
    assert!(cluster.get(ACTIONS, "late-29").is_some());
    cluster.pass(2 * 24 * 3600).await;
    cluster.until("all are gone", |cluster| cluster.get(ACTIONS, "late-29").is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn without_the_kind_everything_else_works() {
    let cluster = TestCluster::start();
    let id = serin_apiserver::registry::ResourceId::new(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
    );
    cluster.store.delete(&id, "", "releaseactions.serin.dev", &Default::default()).unwrap();
    cluster.apply("app:v1", json!({}));
    cluster.until_phase("Initialized").await;
    cluster.set_image("app:v2");
    cluster.until_phase("Succeeded").await;
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_where_it_is_asked() {
    let cluster = at(5).await;
    let id = serin_apiserver::registry::ResourceId::new(ACTIONS.0, ACTIONS.1);
    let options = serin_apiserver::store::WriteOptions::by("test");
    for (name, spec) in [
        ("gate", json!({"canary": "backend", "action": "approve", "release": "a"})),
        ("weight", json!({"canary": "backend", "action": "abort", "release": "a", "weight": 3})),
        ("action", json!({"canary": "backend", "action": "explode", "release": "a"})),
    ] {
        let object = json!({
            "apiVersion": "serin.dev/v1alpha1", "kind": "ReleaseAction",
            "metadata": {"name": name}, "spec": spec,
        });
        assert!(cluster.store.create(&id, "develop", object, &options).is_err(), "{name}");
    }
    ask(&cluster, "gate", "approve", json!({"gate": "other"}));
    let why = settled(&cluster, "gate", "Refused").await;
    assert_eq!(why, "spec.analysis.webhooks has no hook that confirms");
}
