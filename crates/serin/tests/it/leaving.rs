//! The way back: nothing of ours is left on a Canary that somebody else would have to take away.

use clap::Parser;
use serde_json::{Value, json};
use serin::cli::migrate::{self, MigrateArgs};
use serin_apiserver::http::Api;

use crate::bed::{Bed, CANARIES};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: MigrateArgs,
}

fn finalizers(bed: &Bed) -> Value {
    bed.get(CANARIES, "backend").unwrap()["metadata"]["finalizers"].clone()
}

async fn leave(bed: &Bed, more: &[&str]) -> String {
    let line = ["migrate", "--leave"].into_iter().chain(more.iter().copied());
    let client = kube::Client::new(Api::new(bed.store.clone()), "default");
    migrate::run(&client, &Line::parse_from(line).args).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_next_can_delete_what_we_leave() {
    let mut bed = Bed::start();
    bed.apply("app:v1", json!({}));
    bed.until_phase("Initialized").await;
    bed.pass(30).await;
    assert_eq!(finalizers(&bed), json!(["serin.dev/finalizer"]));
    bed.kill_operator();
    bed.modify(CANARIES, "backend", |canary| {
        canary["metadata"]["finalizers"].as_array_mut().unwrap().push(json!("somebody/else"));
    });
    assert_eq!(leave(&bed, &["--namespace", "other"]).await, "there are no canaries\n");
    let said = leave(&bed, &[]).await;
    assert_eq!(said, "canary develop/backend has no finalizer of Serin any more\n");
    assert_eq!(finalizers(&bed), json!(["somebody/else"]));
    assert_eq!(leave(&bed, &[]).await, "canary develop/backend had none\n");
}

#[tokio::test(start_paused = true)]
async fn flaggers_finalizer_is_flaggers_to_take_away() {
    let mut bed = Bed::start();
    bed.apply("app:v1", json!({"revertOnDeletion": true}));
    bed.until_phase("Initialized").await;
    bed.pass(30).await;
    assert_eq!(finalizers(&bed), json!(["finalizer.flagger.app"]));
    // An edit moves the finalizer along.
    bed.modify(CANARIES, "backend", |canary| {
        canary["spec"].as_object_mut().unwrap().remove("revertOnDeletion");
    });
    bed.until("ours", |bed| finalizers(bed) == json!(["serin.dev/finalizer"])).await;
    bed.modify(CANARIES, "backend", |canary| canary["spec"]["revertOnDeletion"] = json!(true));
    bed.until("Flagger's", |bed| finalizers(bed) == json!(["finalizer.flagger.app"])).await;
    bed.kill_operator();
    leave(&bed, &[]).await;
    assert_eq!(finalizers(&bed), json!(["finalizer.flagger.app"]));
}
