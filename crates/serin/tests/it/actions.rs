//! What people ask with ReleaseActions, as kubectl would send them.

use serde_json::{Value, json};
use serin::http_client::OutsideError;

use crate::bed::{Bed, value};

const ACTIONS: (&str, &str) = ("serin.dev", "releaseactions");

/// For the release as it is now.
fn ask(bed: &Bed, name: &str, action: &str, more: Value) {
    let mut spec = json!({
        "canary": "backend", "action": action, "release": bed.status()["release"],
        "reason": "incident 7", "user": "kim",
    });
    crate::bed::merge(&mut spec, more);
    bed.create(
        ACTIONS,
        json!({
            "apiVersion": "serin.dev/v1alpha1", "kind": "ReleaseAction",
            "metadata": {"name": name}, "spec": spec,
        }),
    );
}

async fn settled(bed: &Bed, name: &str, state: &str) -> String {
    bed.until(name, |bed| bed.get(ACTIONS, name).unwrap()["status"]["state"].is_string()).await;
    let object = bed.get(ACTIONS, name).unwrap();
    assert_eq!(object["status"]["state"], state, "{object}");
    object["status"]["message"].as_str().unwrap().to_owned()
}

async fn at(share: i64) -> Bed {
    let bed = Bed::start();
    bed.apply("app:v1", json!({}));
    bed.until_phase("Initialized").await;
    bed.set_image("app:v2");
    bed.until("the share", |bed| bed.canary_share() == share).await;
    bed
}

#[tokio::test(start_paused = true)]
async fn a_release_is_paused_moved_and_aborted() {
    let bed = at(5).await;
    ask(&bed, "wait", "pause", json!({}));
    settled(&bed, "wait", "Done").await;
    bed.pass(120).await;
    assert_eq!(bed.canary_share(), 5);
    assert_eq!(bed.status()["lastReason"]["code"], "Paused");
    ask(&bed, "more", "set-weight", json!({"weight": 30}));
    settled(&bed, "more", "Done").await;
    bed.until("30", |bed| bed.canary_share() == 30).await;
    ask(&bed, "on", "resume", json!({}));
    bed.until("40", |bed| bed.canary_share() == 40).await;
    ask(&bed, "stop", "abort", json!({}));
    settled(&bed, "stop", "Done").await;
    bed.until_phase("Failed").await;
    assert_eq!(bed.canary_share(), 0);
    assert_eq!(bed.primary_image(), "app:v1");
    let reason = bed.status()["lastReason"]["message"].as_str().unwrap().to_owned();
    assert_eq!(reason, "The release was aborted by kim: incident 7, at 40 %.");
    let told = bed.events();
    assert!(told.iter().any(|event| event.contains("abort by kim: incident 7")), "{told:#?}");
    ask(&bed, "again", "retry", json!({}));
    settled(&bed, "again", "Done").await;
    bed.until_phase("Succeeded").await;
    assert_eq!(bed.primary_image(), "app:v2");
}

#[tokio::test(start_paused = true)]
async fn what_was_meant_for_the_last_release_does_nothing_to_the_next() {
    let bed = at(5).await;
    let release = bed.status()["release"].clone();
    bed.set_image("app:v3");
    bed.until("another release", |bed| bed.status()["release"] != release).await;
    ask(&bed, "late", "promote", json!({"release": release}));
    let why = settled(&bed, "late", "Refused").await;
    assert!(why.starts_with("it is meant for"), "{why}");
    assert_eq!(bed.primary_image(), "app:v1");
}

#[tokio::test(start_paused = true)]
async fn an_abort_does_not_wait_for_a_hook_that_hangs() {
    let bed = Bed::start();
    let hook =
        json!([{"name": "load", "type": "rollout", "url": "http://hook.test/", "timeout": "2m"}]);
    bed.apply("app:v1", json!({"analysis": {"webhooks": hook}}));
    bed.until_phase("Initialized").await;
    bed.set_image("app:v2");
    bed.until("the share", |bed| bed.canary_share() == 5).await;
    bed.answer(|url, _| match url.contains("hook.test") {
        true => Err(OutsideError::Timeout(std::time::Duration::from_secs(120))),
        false => value(0.0),
    });
    let asked =
        || bed.script.asked.lock().unwrap().iter().filter(|url| url.contains("hook.test")).count();
    let before = asked();
    bed.pass(11).await;
    assert!(asked() > before, "the hook is asked");
    let began = bed.now();
    ask(&bed, "stop", "abort", json!({}));
    bed.until("no traffic", |bed| bed.canary_share() == 0).await;
    assert!(bed.now().duration_since(began).as_secs() < 2, "it waited");
    settled(&bed, "stop", "Done").await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_between_does_nothing_twice() {
    let mut bed = at(5).await;
    ask(&bed, "step", "advance", json!({}));
    bed.until("the next share", |bed| bed.status()["canaryWeight"] == 10).await;
    bed.kill_operator();
    let unsaid = bed.get(ACTIONS, "step").unwrap()["status"]["state"].is_null();
    bed.start_operator();
    settled(&bed, "step", "Done").await;
    assert!(bed.canary_share() <= 10, "{unsaid}");
}

#[tokio::test(start_paused = true)]
async fn old_actions_are_taken_away() {
    let bed = at(5).await;
    for number in 0..30 {
        let name = format!("late-{number:02}");
        ask(&bed, &name, "promote", json!({"release": "s1:other"}));
        settled(&bed, &name, "Refused").await;
    }
    bed.until("the first are gone", |bed| bed.get(ACTIONS, "late-05").is_none()).await;
    assert!(bed.get(ACTIONS, "late-29").is_some());
    bed.pass(2 * 24 * 3600).await;
    bed.until("all are gone", |bed| bed.get(ACTIONS, "late-29").is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn without_the_kind_everything_else_works() {
    let bed = Bed::start();
    let id = serin_apiserver::registry::ResourceId::new(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
    );
    bed.store.delete(&id, "", "releaseactions.serin.dev", &Default::default()).unwrap();
    bed.apply("app:v1", json!({}));
    bed.until_phase("Initialized").await;
    bed.set_image("app:v2");
    bed.until_phase("Succeeded").await;
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_where_it_is_asked() {
    let bed = at(5).await;
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
        assert!(bed.store.create(&id, "develop", object, &options).is_err(), "{name}");
    }
    ask(&bed, "gate", "approve", json!({"gate": "other"}));
    let why = settled(&bed, "gate", "Refused").await;
    assert_eq!(why, "spec.analysis.webhooks has no hook that confirms");
}
