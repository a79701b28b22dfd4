//! A DaemonSet on the real Traefik, with users.

use std::time::Duration;

use serin::lab::local::{Cluster, Options, Part};
use serin_local::load;

use crate::alone;
use crate::local::{options, part, serves};
use crate::routes::{apply, set_image, status, until_phase};

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_set_is_released_without_a_lost_request() {
    let _alone = alone().await;
    let Some(traefik) = part("SERIN_TRAEFIK") else { return };
    let cluster =
        Cluster::start(Options { router: Part::Real(traefik), ..options() }).await.unwrap();
    for file in ["00-namespace", "10-backend", "40-canary"] {
        apply(&cluster, &format!("daemon-set/{file}"));
    }
    until_phase(&cluster, "Initialized").await;
    serves(&cluster).await;
    let traffic =
        load::run(load::Options::new(cluster.gateway_url().parse().unwrap(), 50.0)).unwrap();
    set_image(&cluster, "daemonsets", "v2");
    until_phase(&cluster, "Progressing").await;
    until_phase(&cluster, "Succeeded").await;
    let promoted = traffic.snapshot();
    assert_eq!((promoted.total.bad, promoted.failed), (0, 0), "{promoted:?}");

    set_image(&cluster, "daemonsets", "v3-bad");
    until_phase(&cluster, "Progressing").await;
    until_phase(&cluster, "Failed").await;
    let reason = status(&cluster)["lastReason"].clone();
    assert_eq!(reason["code"], "GuardRolledBack", "{reason}");
    let figures = tokio::time::timeout(Duration::from_secs(60), traffic.stop()).await.unwrap();
    assert_eq!(figures.failed, 0, "lost: {figures:?}");
    cluster.stop().await;
}
