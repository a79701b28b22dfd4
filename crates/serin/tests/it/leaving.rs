//! The way back: nothing of ours is left on a Canary that another client would have to take away.

use clap::Parser;
use serde_json::{Value, json};
use serin::cli::migrate::{self, MigrateArgs};
use serin_apiserver::http::Api;

use crate::cluster::{CANARIES, TestCluster};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: MigrateArgs,
}

fn finalizers(cluster: &TestCluster) -> Value {
    cluster.get(CANARIES, "backend").unwrap()["metadata"]["finalizers"].clone()
}

async fn leave(cluster: &TestCluster, more: &[&str]) -> String {
    let line = ["migrate", "--leave"].into_iter().chain(more.iter().copied());
    let client = kube::Client::new(Api::new(cluster.store.clone()), "default");
    migrate::run(&client, &Line::parse_from(line).args).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_next_can_delete_what_we_leave() {
    let mut cluster = TestCluster::start();
    cluster.apply("app:v1", json!({}));
    cluster.until_phase("Initialized").await;
    cluster.pass(30).await;
    assert_eq!(finalizers(&cluster), json!(["serin.dev/finalizer"]));
    cluster.kill_operator();
    cluster.modify(CANARIES, "backend", |canary| {
        canary["metadata"]["finalizers"].as_array_mut().unwrap().push(json!("somebody/else"));
    });
    assert_eq!(leave(&cluster, &["--namespace", "other"]).await, "there are no canaries\n");
    let said = leave(&cluster, &[]).await;
    assert_eq!(said, "canary develop/backend has no finalizer of Serin any more\n");
    assert_eq!(finalizers(&cluster), json!(["somebody/else"]));
    assert_eq!(leave(&cluster, &[]).await, "canary develop/backend had none\n");
}

#[tokio::test(start_paused = true)]
async fn flaggers_finalizer_is_flaggers_to_take_away() {
    let mut cluster = TestCluster::start();
    cluster.apply("app:v1", json!({"revertOnDeletion": true}));
    cluster.until_phase("Initialized").await;
    cluster.pass(30).await;
    assert_eq!(finalizers(&cluster), json!(["finalizer.flagger.app"]));
    // An edit moves the finalizer along.
    cluster.modify(CANARIES, "backend", |canary| {
        canary["spec"].as_object_mut().unwrap().remove("revertOnDeletion");
    });
    cluster.until("ours", |cluster| finalizers(cluster) == json!(["serin.dev/finalizer"])).await;
    cluster.modify(CANARIES, "backend", |canary| canary["spec"]["revertOnDeletion"] = json!(true));
    cluster
        .until("Flagger's", |cluster| finalizers(cluster) == json!(["finalizer.flagger.app"]))
        .await;
    cluster.kill_operator();
    leave(&cluster, &[]).await;
    assert_eq!(finalizers(&cluster), json!(["finalizer.flagger.app"]));
}
