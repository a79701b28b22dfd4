//! A cluster that is restored from a backup: versions fall, and what was written since never happened.

use serde_json::json;

use crate::bed::{Bed, DEPLOYMENTS, ROUTES};

/// In the middle of an analysis, at 20 %.
async fn releasing() -> Bed {
    let bed = Bed::start();
    bed.apply("app:v1", json!({}));
    bed.until_phase("Initialized").await;
    bed.set_image("app:v2");
    bed.until("20 %", |bed| bed.canary_share() == 20).await;
    bed
}

#[tokio::test(start_paused = true)]
async fn a_release_goes_on_from_where_the_backup_has_it() {
    let bed = releasing().await;
    let backup = bed.store.backup();
    bed.until("40 %", |bed| bed.canary_share() == 40).await;
    bed.store.restore(&backup);
    assert_eq!(bed.canary_share(), 20);
    bed.until("the next weight", |bed| bed.canary_share() == 30).await;
    bed.until_phase("Succeeded").await;
    assert_eq!(bed.primary_image(), "app:v2");
    assert_eq!(bed.route(), [("backend-primary".to_owned(), 100)].into());
}

#[tokio::test(start_paused = true)]
async fn a_promotion_that_the_backup_does_not_know_never_happened() {
    let bed = releasing().await;
    let backup = bed.store.backup();
    bed.until_phase("Succeeded").await;
    bed.pass(30).await;
    bed.store.restore(&backup);
    assert_eq!((bed.phase().as_str(), bed.primary_image().as_str()), ("Progressing", "app:v1"));
    // The canary's pods, which the backup has with traffic, have ended since.
    bed.until_phase("Failed").await;
    bed.pass(30).await;
    assert_eq!((bed.canary_share(), bed.primary_image().as_str()), (0, "app:v1"));
    assert_eq!(bed.get(DEPLOYMENTS, "backend").unwrap()["spec"]["replicas"], 0);
    bed.set_image("app:v3");
    bed.until("v3 is promoted", |bed| bed.primary_image() == "app:v3").await;
    bed.until_phase("Succeeded").await;
}

#[tokio::test(start_paused = true)]
async fn a_backup_from_before_the_release_is_no_release() {
    let bed = Bed::start();
    bed.apply("app:v1", json!({}));
    bed.until_phase("Initialized").await;
    bed.pass(30).await;
    let backup = bed.store.backup();
    bed.set_image("app:v2");
    bed.until("20 %", |bed| bed.canary_share() == 20).await;
    bed.store.restore(&backup);
    bed.pass(600).await;
    // Each kind has a watch of its own. If the Canary's is back first, the release begins once more, and is over when the
    // others are.
    let rests = ["Initialized", "Succeeded", "Failed"];
    assert!(rests.contains(&bed.phase().as_str()), "{:#?}", bed.events());
    assert_eq!((bed.canary_share(), bed.primary_image().as_str()), (0, "app:v1"));
    assert!(bed.get(ROUTES, "backend").is_some());
    // And the next one is.
    bed.set_image("app:v3");
    bed.until("v3 is promoted", |bed| bed.primary_image() == "app:v3").await;
    bed.until_phase("Succeeded").await;
}
