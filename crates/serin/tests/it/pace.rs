//! The pace of a release in the whole operator: shares that follow the evidence, shortest and longest times, restarts.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::guard::{TestCluster, id, share};

fn analysis(guard: Value) -> Value {
    json!({"interval": "60s", "stepWeights": [5, 10, 20, 30, 40, 50], "guard": guard})
}

fn paced() -> Value {
    analysis(json!({"pace": "evidence"}))
}

/// The analysis is over, one way or the other.
fn is_through(status: &Value) -> bool {
    let over = ["Promoting", "Finalising", "Succeeded", "Failed"];
    over.contains(&status["phase"].as_str().unwrap_or_default()) && status["lastReason"].is_object()
}

/// The shares that the canary got, in percent, and the seconds from the first to the promotion.
async fn shares(cluster: &TestCluster) -> (Vec<i64>, f64) {
    cluster.until_routed(|share| share > 0.0).await;
    let mut seen = Vec::new();
    let mut first = None;
    let mut changed = cluster.store.changed();
    loop {
        let percent = (share(&cluster.store) * 100.0).round() as i64;
        if percent > 0 && seen.last() != Some(&percent) {
            first.get_or_insert_with(Instant::now);
            seen.push(percent);
        }
        if is_through(&cluster.status()) {
            return (seen, first.map_or(0.0, |first| first.elapsed().as_secs_f64()));
        }
        drop(tokio::time::timeout(Duration::from_secs(600), changed.changed()).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn evidence_climbs_in_a_tenth_of_the_steps_time() {
    let cluster = TestCluster::new(paced()).await;
    cluster.fail(0.001, 0.001);
    cluster.release("local/app:v2");
    let (seen, secs) = shares(&cluster).await;
    // 25 requests in three seconds at 200 per second: 4 % at most.
    assert_eq!(seen, [2, 5, 10, 20, 30, 40, 50]);
    assert!((70.0..100.0).contains(&secs), "{secs}");
    cluster.until(|status| status["phase"] == "Succeeded").await;
    assert_eq!(cluster.events("GuardRolledBack"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_busy_service_begins_with_less_and_a_quiet_one_with_more() {
    for (rate, first) in [(2000.0, 1), (20.0, 10)] {
        let cluster = TestCluster::new(paced()).await;
        cluster.traffic.lock().unwrap().rate = rate;
        cluster.release("local/app:v2");
        cluster.until_routed(|share| share > 0.0).await;
        assert_eq!((share(&cluster.store) * 100.0).round() as i64, first, "{rate}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_release_hurts_no_more_than_the_blast_radius() {
    let guard = json!({"pace": "evidence", "blastRadius": 25});
    let cluster = TestCluster::new(analysis(guard)).await;
    cluster.traffic.lock().unwrap().rate = 1000.0;
    cluster.fail(1.0, 0.0);
    cluster.release("local/app:v2");
    cluster.until(|status| status["phase"] == "Failed").await;
    let hurt = cluster.traffic.lock().unwrap().counts["canary"].1;
    assert!(hurt <= 40.0, "{hurt} requests were hurt");
}

/// What `blastRadius` promises, at many rates: as long as one percent of the traffic, the least share, is not more than that.
#[tokio::test(start_paused = true)]
async fn what_is_at_stake_at_first_is_the_blast_radius() {
    for (rate, blast) in
        [(40.0, 25), (100.0, 5), (200.0, 10), (400.0, 25), (800.0, 25), (800.0, 100)]
    {
        let cluster =
            TestCluster::new(analysis(json!({"pace": "evidence", "blastRadius": blast}))).await;
        cluster.traffic.lock().unwrap().rate = rate;
        cluster.fail(1.0, 0.0);
        cluster.release("local/app:v2");
        cluster.until_routed(|share| share > 0.0).await;
        let first = share(&cluster.store);
        // Two looks and a second for the route.
        assert!(
            first * rate * 3.0 <= f64::from(blast) + 1e-9 || first <= 0.01,
            "{rate} {blast}: {first}"
        );
        cluster.until(|status| status["phase"] == "Failed").await;
        let hurt = cluster.traffic.lock().unwrap().counts["canary"].1;
        assert!(hurt <= f64::from(blast) + 1.0, "{rate} per second, {blast}: {hurt} were hurt");
    }
}

#[tokio::test(start_paused = true)]
async fn too_little_traffic_waits_and_says_for_what_until_somebody_is_called() {
    let guard = json!({"pace": "evidence", "minDwell": "10s", "maxDuration": "10m"});
    let cluster = TestCluster::new(analysis(guard)).await;
    cluster.traffic.lock().unwrap().rate = 0.05;
    cluster.release("local/app:v2");
    cluster.until(|status| status["lastReason"]["code"] == "GatheringEvidence").await;
    cluster.until_routed(|share| share > 0.0).await;
    cluster
        .until(|status| status["lastReason"]["message"].as_str().unwrap().contains("more"))
        .await;
    let message = cluster.status()["lastReason"]["message"].clone();
    let message = message.as_str().unwrap();
    assert!(message.contains("more canary requests are needed at this weight"), "{message}");
    cluster.until(|status| status["lastReason"]["code"] == "EvidenceMissing").await;
    let status = cluster.status();
    assert_eq!((&status["phase"], &status["canaryWeight"]), (&json!("Progressing"), &json!(10)));
    let stalled = status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Stalled");
    assert_eq!(stalled.unwrap()["status"], "True");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(
        (cluster.events("EvidenceMissing"), share(&cluster.store)),
        (1, 0.1),
        "{}",
        cluster.reason()
    );
    // The morning comes.
    cluster.traffic.lock().unwrap().rate = 100.0;
    cluster.until(|status| status["phase"] == "Succeeded").await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_the_dwell_and_what_was_seen_in_it() {
    let guard = json!({"pace": "evidence", "minDwell": "60s"});
    let mut cluster = TestCluster::new(analysis(guard)).await;
    cluster.release("local/app:v2");
    cluster.until_routed(|share| share > 0.0).await;
    let began = Instant::now();
    let weight = cluster.status()["canaryWeight"].clone();
    tokio::time::sleep(Duration::from_secs(40)).await;
    cluster.stop().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.status()["canaryWeight"], weight);
    cluster.start();
    cluster.until(|status| status["canaryWeight"] != weight).await;
    let took = began.elapsed().as_secs();
    assert!((60..=65).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn no_promotion_before_the_shortest_time() {
    let analysis = json!({"interval": "10s", "stepWeights": [50], "guard": {"minBake": "95s"}});
    let mut cluster = TestCluster::new(analysis).await;
    cluster.release("local/app:v2");
    cluster.until_routed(|share| share > 0.0).await;
    let began = Instant::now();
    cluster.until(|status| status["lastReason"]["code"] == "Baking").await;
    cluster.stop().await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    cluster.start();
    cluster.until(is_through).await;
    let took = began.elapsed().as_secs();
    assert!((95..=110).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn failing_checks_roll_back_at_any_pace() {
    let mut analysis = paced();
    analysis["threshold"] = json!(2);
    analysis["interval"] = json!("10s");
    analysis["metrics"] = json!([
        {"name": "request-success-rate", "thresholdRange": {"min": 99}},
        {"name": "mine", "query": "mine", "thresholdRange": {"max": 5}},
    ]);
    let cluster = TestCluster::new(analysis).await;
    cluster.release("local/app:v2");
    cluster.until(|status| status["phase"] == "Failed").await;
    assert_eq!(cluster.status()["lastReason"]["code"], "ThresholdReached");
}

fn soaking() -> Value {
    let guard = json!({"soak": {"duration": "5m"}});
    json!({"interval": "10s", "stepWeights": [50], "guard": guard})
}

fn deployment(cluster: &TestCluster, name: &str) -> Value {
    cluster.store.get(&id("apps", "deployments"), "develop", name).unwrap().as_ref().clone()
}

fn image(cluster: &TestCluster) -> String {
    let primary = deployment(cluster, "backend-primary");
    let image = &primary["spec"]["template"]["spec"]["containers"][0]["image"];
    image.as_str().unwrap().to_owned()
}

/// A release that was promoted and is watched.
async fn soaked() -> TestCluster {
    let cluster = TestCluster::new(soaking()).await;
    cluster.release("local/app:v2");
    cluster.until(|status| status["lastReason"]["code"] == "Soaking").await;
    assert_eq!(
        (image(&cluster).as_str(), &cluster.status()["phase"]),
        ("local/app:v2", &json!("Succeeded"))
    );
    cluster
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_stays_good_is_watched_and_left_alone() {
    let cluster = soaked().await;
    cluster.fail(0.0, 0.005);
    let took = cluster.until(|status| status["lastReason"]["code"] == "SoakPassed").await;
    assert!((290..=301).contains(&took.as_secs()), "{took:?}");
    assert_eq!(
        (cluster.status()["soak"].clone(), cluster.status()["guard"].clone()),
        (Value::Null, Value::Null)
    );
    assert_eq!((image(&cluster).as_str(), cluster.events("Undoing")), ("local/app:v2", 0));
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_turns_bad_goes_back_and_is_not_released_again() {
    let cluster = soaked().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    cluster.fail(0.0, 0.2);
    let took = cluster.until(|status| status["phase"] == "Failed").await;
    assert!(took <= Duration::from_secs(5), "{took:?}");
    let checks = cluster.status()["checks"].clone();
    let said = |check: &&Value| {
        check["message"].as_str().unwrap_or_default().contains("of the promoted primary, limit 1 %")
    };
    assert!(checks.as_array().unwrap().iter().any(|check| said(&check)), "{checks:#}");
    cluster.until(|status| status["lastReason"]["code"] == "Undone").await;
    cluster.fail(0.0, 0.0);
    assert_eq!(
        (image(&cluster).as_str(), cluster.status()["phase"].clone()),
        ("local/app:v1", json!("Failed"))
    );
    tokio::time::sleep(Duration::from_secs(600)).await;
    let target = deployment(&cluster, "backend");
    assert_eq!(target["spec"]["template"]["spec"]["containers"][0]["image"], "local/app:v2");
    assert_eq!(target["spec"]["replicas"], 0);
    assert_eq!(
        (image(&cluster).as_str(), cluster.status()["phase"].clone()),
        ("local/app:v1", json!("Failed"))
    );
    cluster.release("local/app:v3");
    cluster.until(|status| status["phase"] == "Succeeded").await;
    assert_eq!(image(&cluster), "local/app:v3");
}

#[tokio::test(start_paused = true)]
async fn a_watch_outlives_the_operator() {
    let mut cluster = soaked().await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    cluster.stop().await;
    cluster.fail(0.0, 0.1);
    tokio::time::sleep(Duration::from_secs(20)).await;
    cluster.start();
    // What happened meanwhile is in the counters.
    let took = cluster.until(|status| status["phase"] == "Failed").await;
    assert!(took <= Duration::from_secs(10), "{took:?}");
    assert_eq!(cluster.events("Undoing"), 1);
    // Said, and maybe not done.
    cluster.stop().await;
    cluster.fail(0.0, 0.0);
    tokio::time::sleep(Duration::from_secs(20)).await;
    cluster.start();
    cluster.until(|status| status["lastReason"]["code"] == "Undone").await;
    assert_eq!(image(&cluster), "local/app:v1");
}

#[tokio::test(start_paused = true)]
async fn a_new_image_while_the_primary_is_watched_is_a_release_from_there() {
    let cluster = soaked().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    cluster.release("local/app:v3");
    cluster.until(|status| status["phase"] == "Progressing").await;
    assert_eq!((cluster.status()["soak"].clone(), cluster.events("SoakEnded")), (Value::Null, 1));
    cluster.until(|status| status["lastReason"]["code"] == "Soaking").await;
    assert_eq!(image(&cluster), "local/app:v3");
    cluster.fail(0.0, 0.5);
    cluster.until(|status| status["lastReason"]["code"] == "Undone").await;
    assert_eq!(image(&cluster), "local/app:v2");
}

#[tokio::test(start_paused = true)]
async fn an_observer_of_the_primary_says_what_it_would_have_done() {
    let mut analysis = soaking();
    analysis["guard"]["mode"] = json!("observe");
    let cluster = TestCluster::new(analysis).await;
    cluster.release("local/app:v2");
    cluster.until(|status| status["lastReason"]["code"] == "Soaking").await;
    cluster.fail(0.0, 0.5);
    cluster.until(|status| status["lastReason"]["code"] == "SoakPassed").await;
    assert_eq!((cluster.events("GuardWouldRollBack"), cluster.events("Undoing")), (1, 0));
    assert_eq!(image(&cluster), "local/app:v2");
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: serin::plan::PlanArgs,
}

/// Everything in the cluster.
fn everything(cluster: &TestCluster) -> Vec<Value> {
    let kinds = [
        ("apps", "deployments"),
        ("", "services"),
        ("", "configmaps"),
        ("flagger.app", "canaries"),
        ("traefik.io", "traefikservices"),
    ];
    kinds
        .into_iter()
        .flat_map(|(group, plural)| cluster.store.list(&id(group, plural), None))
        .map(|object| object.as_ref().clone())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_plan_against_a_cluster_reads_and_says_what_differs() {
    let mut cluster = TestCluster::new(paced()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    cluster.stop().await;
    let client =
        kube::Client::new(serin_apiserver::http::Api::new(cluster.store.clone()), "default");
    let mut canary = cluster
        .store
        .get(&id("flagger.app", "canaries"), "develop", "backend")
        .unwrap()
        .as_ref()
        .clone();
    let before = everything(&cluster);
    let file = std::env::temp_dir().join(format!("serin-plan-cluster-{}.yaml", std::process::id()));
    let line = ["plan", "-f", file.to_str().unwrap()];
    let planned = async |canary: &Value| {
        std::fs::write(&file, canary.to_string()).unwrap();
        let args = <Line as clap::Parser>::parse_from(line).args;
        serin::plan::run(Some(&client), &args).await.unwrap().0
    };
    let same = planned(&canary).await;
    assert!(same.contains("applying the files, compared with the cluster\n  nothing\n"), "{same}");
    assert!(same.contains("develop/backend: now Initialized, canary at 0 %\n"), "{same}");
    assert!(same.contains("then Serin writes\n  nothing\n"), "{same}");
    canary["spec"]["service"]["port"] = json!(8080);
    let other = planned(&canary).await;
    for line in [
        "  change  Canary  develop/backend\n      spec.service.port: 80 -> 8080\n",
        "  change  Service         develop/backend\n      spec.ports[0].port: 80 -> 8080\n",
    ] {
        assert!(other.contains(line), "{line:?} in\n{other}");
    }
    let mut target = deployment(&cluster, "backend");
    target["spec"]["template"]["spec"]["containers"][0]["image"] = json!("local/app:v2");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}});
    let gadget = json!({"apiVersion": "no.such/v1", "kind": "Gadget", "metadata": {"name": "x"}});
    let list = json!({"kind": "List", "items": [canary, target, namespace, gadget]});
    let release = planned(&list).await;
    for line in [
        "  change  Deployment  develop/backend\n      spec.template.spec.containers[0].image: local/app:v1 -> local/app:v2\n",
        "  create  Namespace   other\n  create  Gadget      default/x\n",
        "starts a release of Deployment develop/backend: spec.template.spec.containers[0].image",
    ] {
        assert!(release.contains(line), "{line:?} in\n{release}");
    }
    assert_eq!(before, everything(&cluster), "a plan writes nothing");
    drop(std::fs::remove_file(&file));
}
