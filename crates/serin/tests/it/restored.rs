//! A cluster that is restored from a backup: versions fall, and what was written since never happened.

use serde_json::json;

use crate::cluster::{DEPLOYMENTS, ROUTES, TestCluster};

/// In the middle of an analysis, at 20 %.
async fn releasing() -> TestCluster {
    let cluster = TestCluster::start();
    cluster.apply("app:v1", json!({}));
    cluster.until_phase("Initialized").await;
    cluster.set_image("app:v2");
    cluster.until("20 %", |cluster| cluster.canary_share() == 20).await;
    cluster
}

#[tokio::test(start_paused = true)]
async fn a_release_goes_on_from_where_the_backup_has_it() {
    let cluster = releasing().await;
    let backup = cluster.store.backup();
    cluster.until("40 %", |cluster| cluster.canary_share() == 40).await;
    cluster.store.restore(&backup);
    assert_eq!(cluster.canary_share(), 20);
    cluster.until("the next weight", |cluster| cluster.canary_share() == 30).await;
    cluster.until_phase("Succeeded").await;
    assert_eq!(cluster.primary_image(), "app:v2");
    assert_eq!(cluster.route(), [("backend-primary".to_owned(), 100)].into());
}

#[tokio::test(start_paused = true)]
async fn a_promotion_that_the_backup_does_not_know_never_happened() {
    let cluster = releasing().await;
    let backup = cluster.store.backup();
    cluster.until_phase("Succeeded").await;
    cluster.pass(30).await;
    cluster.store.restore(&backup);
    assert_eq!(
        (cluster.phase().as_str(), cluster.primary_image().as_str()),
        ("Progressing", "app:v1")
    );
    // The canary's pods, which the backup has with traffic, have ended since.
    cluster.until_phase("Failed").await;
    cluster.pass(30).await;
    assert_eq!((cluster.canary_share(), cluster.primary_image().as_str()), (0, "app:v1"));
    assert_eq!(cluster.get(DEPLOYMENTS, "backend").unwrap()["spec"]["replicas"], 0);
    cluster.set_image("app:v3");
    cluster.until("v3 is promoted", |cluster| cluster.primary_image() == "app:v3").await;
    cluster.until_phase("Succeeded").await;
}

#[tokio::test(start_paused = true)]
async fn a_backup_from_before_the_release_is_no_release() {
    let cluster = TestCluster::start();
    cluster.apply("app:v1", json!({}));
    cluster.until_phase("Initialized").await;
    cluster.pass(30).await;
    let backup = cluster.store.backup();
    cluster.set_image("app:v2");
    cluster.until("20 %", |cluster| cluster.canary_share() == 20).await;
    cluster.store.restore(&backup);
    cluster.pass(600).await;
    // Each kind has a watch of its own. If the Canary's is back first, the release begins once more, and is over when the
    // others are.
    let rests = ["Initialized", "Succeeded", "Failed"];
    assert!(rests.contains(&cluster.phase().as_str()), "{:#?}", cluster.events());
    assert_eq!((cluster.canary_share(), cluster.primary_image().as_str()), (0, "app:v1"));
    assert!(cluster.get(ROUTES, "backend").is_some());
    // And the next one is.
    cluster.set_image("app:v3");
    cluster.until("v3 is promoted", |cluster| cluster.primary_image() == "app:v3").await;
    cluster.until_phase("Succeeded").await;
}
