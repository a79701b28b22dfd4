//! Whole releases through the whole operator, in virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use expect_test::expect;
use serde_json::{Value, json};
use serin::http_client::HttpError;

use crate::cluster::{CANARIES, DEPLOYMENTS, ROUTES, TestCluster, value};
use crate::log_capture::LogCapture;

async fn at_rest(spec: Value) -> TestCluster {
    let cluster = TestCluster::start();
    cluster.apply("app:v1", spec);
    cluster.until_phase("Initialized").await;
    cluster
}

fn lines(events: &[String]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_good_release_is_promoted_step_by_step() {
    let cluster = at_rest(json!({})).await;
    cluster.set_image("app:v2");
    let mut weights = Vec::new();
    for weight in [5, 10, 20, 30, 40, 50] {
        cluster.until("the next weight", |cluster| cluster.canary_share() == weight).await;
        weights.push(cluster.status()["canaryWeight"].as_i64().unwrap());
    }
    assert_eq!(weights, [5, 10, 20, 30, 40, 50], "the status says it before the route does");
    cluster.until_phase("Succeeded").await;
    cluster.pass(30).await;
    assert_eq!(cluster.primary_image(), "app:v2");
    assert_eq!(cluster.route(), [("backend-primary".to_owned(), 100)].into());
    assert_eq!(cluster.get(DEPLOYMENTS, "backend").unwrap()["spec"]["replicas"], 0);
    expect![[r#"
        Normal Initializing: New Deployment detected, starting initialization of backend.develop
        Normal Initialized: Initialization done! backend.develop
        Normal NewRevision: New revision detected! Scaling up backend.develop
        Normal CanaryNotReady: The canary is not ready: 0 out of 2 new replicas have been updated
        Normal NewRevision: Starting canary analysis for backend.develop
        Normal Advanced: Advance backend.develop canary weight 5
        Normal Advanced: Advance backend.develop canary weight 10
        Normal Advanced: Advance backend.develop canary weight 20
        Normal Advanced: Advance backend.develop canary weight 30
        Normal Advanced: Advance backend.develop canary weight 40
        Normal Advanced: Advance backend.develop canary weight 50
        Normal Promoting: Copying backend.develop template spec to backend-primary.develop
        Normal PrimaryNotReady: The primary is not ready: the controller has seen generation 1 of 2
        Normal Finalising: Routing all traffic to primary
        Normal Promoted: Promotion completed! Scaling down backend.develop
    "#]]
    .assert_eq(&lines(&cluster.events()));
}

#[tokio::test(start_paused = true)]
async fn a_bad_release_is_off_the_road_on_the_tick_that_found_it() {
    let checks = json!([{"name": "errors", "query": "errors", "interval": "10s", "thresholdRange": {"max": 1}}]);
    let cluster = at_rest(json!({"analysis": {"metrics": checks}})).await;
    cluster.answer(|_, _| value(7.0));
    cluster.set_image("app:v2");
    cluster.until("traffic", |cluster| cluster.canary_share() == 5).await;
    let begun = tokio::time::Instant::now();
    cluster.until_phase("Failed").await;
    assert!(begun.elapsed().as_secs() <= 11, "one interval, not two: {:?}", begun.elapsed());
    assert_eq!(cluster.canary_share(), 0);
    cluster.pass(60).await;
    assert_eq!(cluster.primary_image(), "app:v1");
    assert_eq!(cluster.get(DEPLOYMENTS, "backend").unwrap()["spec"]["replicas"], 0);
    assert_eq!(cluster.status()["lastReason"]["code"], "ThresholdReached");
    cluster.pass(3600).await;
    assert_eq!(cluster.phase(), "Failed", "a rejected revision does not start again");
}

#[tokio::test(start_paused = true)]
async fn a_metric_server_that_is_away_is_not_a_good_canary() {
    let cluster = at_rest(json!({"analysis": {"threshold": 3}})).await;
    cluster.answer(|_, _| {
        Err(HttpError::Connect { host: "prometheus".into(), why: "refused".into() })
    });
    cluster.set_image("app:v2");
    cluster.until_phase("Failed").await;
    assert!(
        !cluster.events().iter().any(|event| event.contains("weight 10")),
        "{:#?}",
        cluster.events()
    );
    let checks = cluster.status()["checks"].clone();
    assert_eq!(checks[0]["verdict"], "cannotMeasure", "{checks:#}");
}

#[tokio::test(start_paused = true)]
async fn a_gate_holds_until_it_opens() {
    let hooks = json!([
        {"name": "gate", "type": "confirm-rollout", "url": "http://gate/rollout"},
        {"name": "promote", "type": "confirm-promotion", "url": "http://gate/promote"},
    ]);
    let cluster = at_rest(json!({"analysis": {"webhooks": hooks}})).await;
    let (rollout, promote) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let gates = (Arc::clone(&rollout), Arc::clone(&promote));
    cluster.answer(move |url, _| {
        let open = match url {
            "http://gate/rollout" => gates.0.load(Ordering::Relaxed),
            "http://gate/promote" => gates.1.load(Ordering::Relaxed),
            _ => return value(0.0),
        };
        Ok(if open { (200, "OK".to_owned()) } else { (403, "not yet".to_owned()) })
    });
    cluster.set_image("app:v2");
    cluster.until_phase("Waiting").await;
    cluster.pass(600).await;
    assert_eq!(cluster.get(DEPLOYMENTS, "backend").unwrap()["spec"]["replicas"], 0);
    rollout.store(true, Ordering::Relaxed);
    cluster.until_phase("WaitingPromotion").await;
    cluster.pass(600).await;
    assert_eq!(cluster.primary_image(), "app:v1");
    promote.store(true, Ordering::Relaxed);
    cluster.until_phase("Succeeded").await;
    assert_eq!(cluster.primary_image(), "app:v2");
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_never_gets_ready_never_gets_a_request() {
    let cluster = at_rest(json!({"progressDeadlineSeconds": 60})).await;
    cluster.set_image("app:crash");
    cluster.until_phase("Failed").await;
    assert_eq!(cluster.primary_image(), "app:v1");
    assert!(
        !cluster.events().iter().any(|event| event.contains("canary weight")),
        "{:#?}",
        cluster.events()
    );
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_moment_changes_nothing_but_the_time() {
    for crash_after_ms in (0..90_000).step_by(3_700) {
        let mut cluster = at_rest(json!({})).await;
        cluster.set_image("app:v2");
        tokio::time::sleep(std::time::Duration::from_millis(crash_after_ms)).await;
        cluster.kill_operator();
        cluster.pass(45).await;
        cluster.start_operator();
        cluster.until_phase("Succeeded").await;
        cluster.pass(30).await;
        assert_eq!(cluster.primary_image(), "app:v2", "crash after {crash_after_ms} ms");
        assert_eq!(cluster.route(), [("backend-primary".to_owned(), 100)].into());
        let promotions =
            cluster.events().iter().filter(|event| event.contains("Promotion completed")).count();
        assert!(promotions <= 1, "crash after {crash_after_ms} ms: {:#?}", cluster.events());
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_revision_starts_over_from_nothing() {
    let cluster = at_rest(json!({})).await;
    cluster.set_image("app:v2");
    cluster.until("30 %", |cluster| cluster.canary_share() == 30).await;
    cluster.set_image("app:v3");
    cluster.until("the old one is off the road", |cluster| cluster.canary_share() == 0).await;
    cluster.until("the new one begins", |cluster| cluster.canary_share() == 5).await;
    cluster.until_phase("Succeeded").await;
    assert_eq!(cluster.primary_image(), "app:v3");
}

#[tokio::test(start_paused = true)]
async fn an_invalid_edit_takes_the_canary_off_the_road_and_says_why() {
    let cluster = at_rest(json!({})).await;
    cluster.set_image("app:v2");
    cluster.until("10 %", |cluster| cluster.canary_share() == 10).await;
    cluster.modify(CANARIES, "backend", |canary| {
        canary["spec"]["analysis"]["sessionAffinity"] = json!({"cookieName": "x"});
    });
    cluster.until("off the road", |cluster| cluster.canary_share() == 0).await;
    let conditions = cluster.status()["conditions"].as_array().unwrap().clone();
    let valid = conditions.iter().find(|c| c["type"] == "SpecValid").unwrap();
    // It is right for Flagger, so nobody calls it wrong.
    assert_eq!((&valid["status"], &valid["reason"]), (&json!("Unknown"), &json!("Unsupported")));
    assert!(valid["message"].as_str().unwrap().contains("sessionAffinity"), "{valid:#}");
    cluster.modify(CANARIES, "backend", |canary| {
        canary["spec"]["analysis"].as_object_mut().unwrap().remove("sessionAffinity");
    });
    cluster.until_phase("Succeeded").await;
    assert_eq!(cluster.primary_image(), "app:v2");
}

#[tokio::test(start_paused = true)]
async fn a_route_set_by_hand_is_brought_back_and_never_raised() {
    let cluster = at_rest(json!({})).await;
    cluster.modify(ROUTES, "backend", |route| {
        route["spec"]["weighted"]["services"] = json!([
            {"name": "backend-primary", "port": 80, "weight": 40},
            {"name": "backend-canary", "port": 80, "weight": 60},
        ]);
    });
    cluster.until("back", |cluster| cluster.canary_share() == 0).await;
    assert_eq!(cluster.phase(), "Initialized");
}

#[tokio::test(start_paused = true)]
async fn deleting_gives_the_traffic_back_before_the_primary_goes() {
    let log_capture = LogCapture::open();
    let cluster = at_rest(json!({})).await;
    let id = serin_apiserver::registry::ResourceId::new(CANARIES.0, CANARIES.1);
    cluster.store.delete(&id, "develop", "backend", &Default::default()).unwrap();
    cluster.until("gone", |cluster| cluster.get(CANARIES, "backend").is_none()).await;
    cluster.pass(30).await;
    assert_eq!(cluster.get(DEPLOYMENTS, "backend").unwrap()["status"]["readyReplicas"], 2);
    assert_eq!(cluster.route(), [("backend".to_owned(), 100)].into());
    assert!(cluster.get(DEPLOYMENTS, "backend-primary").is_none());
    assert!(!log_capture.heard().contains(" WARN "), "{}", log_capture.heard());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_of_anyone_while_nothing_happens() {
    let cluster = at_rest(json!({})).await;
    cluster.pass(120).await;
    let (version, asked) = (cluster.store.version(), cluster.script.asked.lock().unwrap().len());
    cluster.pass(24 * 3600).await;
    assert_eq!(cluster.store.version(), version, "no writes in a day");
    assert_eq!(cluster.script.asked.lock().unwrap().len(), asked, "no queries in a day");
}

#[tokio::test(start_paused = true)]
async fn what_flagger_left_is_adopted_without_a_release() {
    let mut cluster = at_rest(json!({})).await;
    cluster.kill_operator();
    let id = serin_apiserver::registry::ResourceId::new(CANARIES.0, CANARIES.1);
    let status = json!({
        "phase": "Succeeded", "canaryWeight": 0, "failedChecks": 0, "iterations": 0,
        "lastAppliedSpec": "5f56684589", "lastPromotedSpec": "5f56684589", "trackedConfigs": {},
        "lastTransitionTime": "2025-01-01T00:00:00Z",
    });
    cluster
        .store
        .modify(
            &id,
            "develop",
            "backend",
            serin_apiserver::store::Sub::Status,
            &serin_apiserver::store::WriteOptions::by("flagger"),
            |canary| {
                canary["status"] = status;
            },
        )
        .unwrap();
    cluster.start_operator();
    cluster
        .until("adopted", |cluster| {
            cluster.status()["lastPromotedSpec"].as_str().is_some_and(|s| s.starts_with("s1:"))
        })
        .await;
    cluster.pass(600).await;
    assert_eq!(cluster.phase(), "Succeeded");
    assert!(
        !cluster.events().iter().any(|event| event.contains("New revision detected")),
        "{:#?}",
        cluster.events()
    );
}

#[tokio::test(start_paused = true)]
async fn without_an_analysis_it_is_promoted_at_once_and_nothing_is_asked() {
    let cluster = at_rest(json!({"skipAnalysis": true})).await;
    let asked = cluster.script.asked.lock().unwrap().len();
    cluster.set_image("app:v2");
    cluster
        .until("promoted", |cluster| {
            cluster.phase() == "Succeeded" && cluster.primary_image() == "app:v2"
        })
        .await;
    cluster.pass(60).await;
    assert_eq!(cluster.script.asked.lock().unwrap().len(), asked);
    assert!(
        !cluster.events().iter().any(|event| event.contains("canary weight")),
        "{:#?}",
        cluster.events()
    );
    assert_eq!(cluster.get(DEPLOYMENTS, "backend").unwrap()["spec"]["replicas"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_canary_is_left_alone() {
    let cluster = at_rest(json!({})).await;
    cluster.modify(CANARIES, "backend", |canary| canary["spec"]["suspend"] = json!(true));
    cluster.pass(5).await;
    cluster.set_image("app:v2");
    cluster.pass(3600).await;
    assert_eq!(cluster.canary_share(), 0);
    cluster.modify(CANARIES, "backend", |canary| canary["spec"]["suspend"] = json!(false));
    cluster.until_phase("Succeeded").await;
    assert_eq!(cluster.primary_image(), "app:v2");
}

#[tokio::test(start_paused = true)]
async fn the_older_of_two_canaries_has_the_target() {
    let cluster = at_rest(json!({})).await;
    cluster.pass(5).await;
    let mut second = (*cluster.get(CANARIES, "backend").unwrap()).clone();
    second["metadata"] = json!({"name": "intruder", "namespace": "develop"});
    second.as_object_mut().unwrap().remove("status");
    cluster.create(CANARIES, second);
    cluster
        .until("the second is told", |cluster| {
            let intruder = cluster.get(CANARIES, "intruder").unwrap();
            intruder["status"]["lastReason"]["code"] == "DuplicateTarget"
        })
        .await;
    cluster.set_image("app:v2");
    cluster.until_phase("Succeeded").await;
    assert_eq!(cluster.primary_image(), "app:v2");
}

#[tokio::test(start_paused = true)]
async fn a_changed_config_is_a_release_and_a_copy_is_the_primarys() {
    let cluster = TestCluster::start();
    let config = |level: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "develop"},
            "data": {"level": level},
        })
    };
    cluster.create(("", "configmaps"), config("one"));
    cluster.apply("app:v1", json!({}));
    cluster.modify(DEPLOYMENTS, "backend", |target| {
        target["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
            json!([{"configMapRef": {"name": "settings"}}]);
    });
    cluster.until_phase("Initialized").await;
    let level = |cluster: &TestCluster| {
        cluster
            .get(("", "configmaps"), "settings-primary")
            .map(|copy| copy["data"]["level"].clone())
    };
    assert_eq!(level(&cluster), Some(json!("one")));
    cluster.modify(("", "configmaps"), "settings", |object| object["data"]["level"] = json!("two"));
    cluster.until("5 %", |cluster| cluster.canary_share() == 5).await;
    assert_eq!(level(&cluster), Some(json!("one")), "the primary keeps what it was analysed with");
    cluster.until_phase("Succeeded").await;
    assert_eq!(level(&cluster), Some(json!("two")));
}

#[tokio::test(start_paused = true)]
async fn a_metric_may_wait_for_its_server_instead_of_failing_without_it() {
    let metric = |policy: &str| {
        let range = json!({"max": 1});
        json!([{"name": "errors", "query": "up", "thresholdRange": range, "cannotMeasure": policy, "noData": policy}])
    };
    for policy in ["hold", "pass", "fail"] {
        let cluster = at_rest(json!({"analysis": {"metrics": metric(policy)}})).await;
        cluster.answer(|_, _| Err(HttpError::Timeout(std::time::Duration::from_secs(1))));
        cluster.set_image("app:v2");
        match policy {
            "hold" => {
                let held = |cluster: &TestCluster| {
                    cluster.status()["lastReason"]["code"] == "CannotMeasure"
                };
                cluster.until("the hold", held).await;
                cluster.pass(300).await;
                let status = cluster.status();
                assert_eq!(
                    (&status["canaryWeight"], &status["failedChecks"]),
                    (&json!(5), &json!(0))
                );
                cluster.answer(|_, _| value(0.0));
                cluster.until_phase("Succeeded").await;
            }
            "pass" => cluster.until_phase("Succeeded").await,
            _ => cluster.until_phase("Failed").await,
        }
    }
}

/// The autoscaler of the target.
pub(crate) fn scaler() -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "backend", "labels": {"team": "sre"}},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "backend"},
            "minReplicas": 2, "maxReplicas": 4,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
        },
    })
}

/// Zero replicas are what pauses an autoscaler of Kubernetes: the target's rests with its target.
#[tokio::test(start_paused = true)]
async fn the_primary_gets_a_copy_of_the_autoscaler_and_the_targets_rests() {
    const SCALERS: (&str, &str) = ("autoscaling", "horizontalpodautoscalers");
    let cluster = TestCluster::start();
    cluster.create(SCALERS, scaler());
    let reference = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "backend"});
    cluster.apply("app:v1", json!({"autoscalerRef": reference}));
    cluster.until_phase("Initialized").await;
    let copy = cluster.get(SCALERS, "backend-primary").unwrap();
    assert_eq!(copy["spec"]["scaleTargetRef"]["name"], "backend-primary");
    for field in ["minReplicas", "maxReplicas", "metrics"] {
        assert_eq!(copy["spec"][field], scaler()["spec"][field], "{field}");
    }
    assert_eq!(copy["metadata"]["ownerReferences"][0]["kind"], "Canary");
    cluster.pass(600).await;
    let replicas = |cluster: &TestCluster, name: &str| {
        cluster.get(DEPLOYMENTS, name).unwrap()["spec"]["replicas"].clone()
    };
    assert_eq!(replicas(&cluster, "backend"), 0, "the target's autoscaler leaves it at zero");
    assert_eq!(replicas(&cluster, "backend-primary"), 2);

    cluster.modify(SCALERS, "backend", |scaler| {
        scaler["spec"]["minReplicas"] = json!(3);
        scaler["spec"]["maxReplicas"] = json!(6);
    });
    cluster.pass(60).await;
    let bounds = |cluster: &TestCluster| {
        let copy = cluster.get(SCALERS, "backend-primary").unwrap();
        (copy["spec"]["minReplicas"].clone(), copy["spec"]["maxReplicas"].clone())
    };
    assert_eq!(
        bounds(&cluster),
        (json!(3), json!(6)),
        "the primary's follows the target's at once"
    );
    cluster.set_image("app:v2");
    cluster.until("traffic", |cluster| cluster.canary_share() == 5).await;
    assert_eq!(replicas(&cluster, "backend"), 3, "a canary begins with its autoscaler's minimum");
    cluster.until_phase("Succeeded").await;
    cluster.pass(60).await;
    assert_eq!(bounds(&cluster), (json!(3), json!(6)));
    assert_eq!(
        (replicas(&cluster, "backend"), replicas(&cluster, "backend-primary")),
        (json!(0), json!(3))
    );
    assert_eq!(
        *cluster.get(SCALERS, "backend").unwrap().pointer("/spec/scaleTargetRef/name").unwrap(),
        json!("backend")
    );
}
