//! Whole releases through the whole operator, in virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use expect_test::expect;
use serde_json::{Value, json};
use serin::http_client::OutsideError;

use crate::bed::{Bed, CANARIES, DEPLOYMENTS, ROUTES, value};
use crate::ear::Ear;

async fn at_rest(spec: Value) -> Bed {
    let bed = Bed::start();
    bed.apply("app:v1", spec);
    bed.until_phase("Initialized").await;
    bed
}

fn lines(events: &[String]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_good_release_is_promoted_step_by_step() {
    let bed = at_rest(json!({})).await;
    bed.set_image("app:v2");
    let mut weights = Vec::new();
    for weight in [5, 10, 20, 30, 40, 50] {
        bed.until("the next weight", |bed| bed.canary_share() == weight).await;
        weights.push(bed.status()["canaryWeight"].as_i64().unwrap());
    }
    assert_eq!(weights, [5, 10, 20, 30, 40, 50], "the status says it before the route does");
    bed.until_phase("Succeeded").await;
    bed.pass(30).await;
    assert_eq!(bed.primary_image(), "app:v2");
    assert_eq!(bed.route(), [("backend-primary".to_owned(), 100)].into());
    assert_eq!(bed.get(DEPLOYMENTS, "backend").unwrap()["spec"]["replicas"], 0);
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
    .assert_eq(&lines(&bed.events()));
}

#[tokio::test(start_paused = true)]
async fn a_bad_release_is_off_the_road_on_the_tick_that_found_it() {
    let checks = json!([{"name": "errors", "query": "errors", "interval": "10s", "thresholdRange": {"max": 1}}]);
    let bed = at_rest(json!({"analysis": {"metrics": checks}})).await;
    bed.answer(|_, _| value(7.0));
    bed.set_image("app:v2");
    bed.until("traffic", |bed| bed.canary_share() == 5).await;
    let begun = tokio::time::Instant::now();
    bed.until_phase("Failed").await;
    assert!(begun.elapsed().as_secs() <= 11, "one interval, not two: {:?}", begun.elapsed());
    assert_eq!(bed.canary_share(), 0);
    bed.pass(60).await;
    assert_eq!(bed.primary_image(), "app:v1");
    assert_eq!(bed.get(DEPLOYMENTS, "backend").unwrap()["spec"]["replicas"], 0);
    assert_eq!(bed.status()["lastReason"]["code"], "ThresholdReached");
    bed.pass(3600).await;
    assert_eq!(bed.phase(), "Failed", "a rejected revision does not start again");
}

#[tokio::test(start_paused = true)]
async fn a_metric_server_that_is_away_is_not_a_good_canary() {
    let bed = at_rest(json!({"analysis": {"threshold": 3}})).await;
    bed.answer(|_, _| {
        Err(OutsideError::Connect { host: "prometheus".into(), why: "refused".into() })
    });
    bed.set_image("app:v2");
    bed.until_phase("Failed").await;
    assert!(!bed.events().iter().any(|event| event.contains("weight 10")), "{:#?}", bed.events());
    let checks = bed.status()["checks"].clone();
    assert_eq!(checks[0]["verdict"], "cannotMeasure", "{checks:#}");
}

#[tokio::test(start_paused = true)]
async fn a_gate_holds_until_it_opens() {
    let hooks = json!([
        {"name": "gate", "type": "confirm-rollout", "url": "http://gate/rollout"},
        {"name": "promote", "type": "confirm-promotion", "url": "http://gate/promote"},
    ]);
    let bed = at_rest(json!({"analysis": {"webhooks": hooks}})).await;
    let (rollout, promote) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let gates = (Arc::clone(&rollout), Arc::clone(&promote));
    bed.answer(move |url, _| {
        let open = match url {
            "http://gate/rollout" => gates.0.load(Ordering::Relaxed),
            "http://gate/promote" => gates.1.load(Ordering::Relaxed),
            _ => return value(0.0),
        };
        Ok(if open { (200, "OK".to_owned()) } else { (403, "not yet".to_owned()) })
    });
    bed.set_image("app:v2");
    bed.until_phase("Waiting").await;
    bed.pass(600).await;
    assert_eq!(bed.get(DEPLOYMENTS, "backend").unwrap()["spec"]["replicas"], 0);
    rollout.store(true, Ordering::Relaxed);
    bed.until_phase("WaitingPromotion").await;
    bed.pass(600).await;
    assert_eq!(bed.primary_image(), "app:v1");
    promote.store(true, Ordering::Relaxed);
    bed.until_phase("Succeeded").await;
    assert_eq!(bed.primary_image(), "app:v2");
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_never_gets_ready_never_gets_a_request() {
    let bed = at_rest(json!({"progressDeadlineSeconds": 60})).await;
    bed.set_image("app:crash");
    bed.until_phase("Failed").await;
    assert_eq!(bed.primary_image(), "app:v1");
    assert!(
        !bed.events().iter().any(|event| event.contains("canary weight")),
        "{:#?}",
        bed.events()
    );
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_moment_changes_nothing_but_the_time() {
    for crash_after_ms in (0..90_000).step_by(3_700) {
        let mut bed = at_rest(json!({})).await;
        bed.set_image("app:v2");
        tokio::time::sleep(std::time::Duration::from_millis(crash_after_ms)).await;
        bed.kill_operator();
        bed.pass(45).await;
        bed.start_operator();
        bed.until_phase("Succeeded").await;
        bed.pass(30).await;
        assert_eq!(bed.primary_image(), "app:v2", "crash after {crash_after_ms} ms");
        assert_eq!(bed.route(), [("backend-primary".to_owned(), 100)].into());
        let promotions =
            bed.events().iter().filter(|event| event.contains("Promotion completed")).count();
        assert!(promotions <= 1, "crash after {crash_after_ms} ms: {:#?}", bed.events());
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_revision_starts_over_from_nothing() {
    let bed = at_rest(json!({})).await;
    bed.set_image("app:v2");
    bed.until("30 %", |bed| bed.canary_share() == 30).await;
    bed.set_image("app:v3");
    bed.until("the old one is off the road", |bed| bed.canary_share() == 0).await;
    bed.until("the new one begins", |bed| bed.canary_share() == 5).await;
    bed.until_phase("Succeeded").await;
    assert_eq!(bed.primary_image(), "app:v3");
}

#[tokio::test(start_paused = true)]
async fn an_invalid_edit_takes_the_canary_off_the_road_and_says_why() {
    let bed = at_rest(json!({})).await;
    bed.set_image("app:v2");
    bed.until("10 %", |bed| bed.canary_share() == 10).await;
    bed.modify(CANARIES, "backend", |canary| {
        canary["spec"]["analysis"]["sessionAffinity"] = json!({"cookieName": "x"});
    });
    bed.until("off the road", |bed| bed.canary_share() == 0).await;
    let conditions = bed.status()["conditions"].as_array().unwrap().clone();
    let valid = conditions.iter().find(|c| c["type"] == "SpecValid").unwrap();
    // It is right for Flagger, so nobody calls it wrong.
    assert_eq!((&valid["status"], &valid["reason"]), (&json!("Unknown"), &json!("Unsupported")));
    assert!(valid["message"].as_str().unwrap().contains("sessionAffinity"), "{valid:#}");
    bed.modify(CANARIES, "backend", |canary| {
        canary["spec"]["analysis"].as_object_mut().unwrap().remove("sessionAffinity");
    });
    bed.until_phase("Succeeded").await;
    assert_eq!(bed.primary_image(), "app:v2");
}

#[tokio::test(start_paused = true)]
async fn a_route_set_by_hand_is_brought_back_and_never_raised() {
    let bed = at_rest(json!({})).await;
    bed.modify(ROUTES, "backend", |route| {
        route["spec"]["weighted"]["services"] = json!([
            {"name": "backend-primary", "port": 80, "weight": 40},
            {"name": "backend-canary", "port": 80, "weight": 60},
        ]);
    });
    bed.until("back", |bed| bed.canary_share() == 0).await;
    assert_eq!(bed.phase(), "Initialized");
}

#[tokio::test(start_paused = true)]
async fn deleting_gives_the_traffic_back_before_the_primary_goes() {
    let ear = Ear::open();
    let bed = at_rest(json!({})).await;
    let id = serin_apiserver::registry::ResourceId::new(CANARIES.0, CANARIES.1);
    bed.store.delete(&id, "develop", "backend", &Default::default()).unwrap();
    bed.until("gone", |bed| bed.get(CANARIES, "backend").is_none()).await;
    bed.pass(30).await;
    assert_eq!(bed.get(DEPLOYMENTS, "backend").unwrap()["status"]["readyReplicas"], 2);
    assert_eq!(bed.route(), [("backend".to_owned(), 100)].into());
    assert!(bed.get(DEPLOYMENTS, "backend-primary").is_none());
    assert!(!ear.heard().contains(" WARN "), "{}", ear.heard());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_of_anyone_while_nothing_happens() {
    let bed = at_rest(json!({})).await;
    bed.pass(120).await;
    let (version, asked) = (bed.store.version(), bed.script.asked.lock().unwrap().len());
    bed.pass(24 * 3600).await;
    assert_eq!(bed.store.version(), version, "no writes in a day");
    assert_eq!(bed.script.asked.lock().unwrap().len(), asked, "no queries in a day");
}

#[tokio::test(start_paused = true)]
async fn what_flagger_left_is_adopted_without_a_release() {
    let mut bed = at_rest(json!({})).await;
    bed.kill_operator();
    let id = serin_apiserver::registry::ResourceId::new(CANARIES.0, CANARIES.1);
    let status = json!({
        "phase": "Succeeded", "canaryWeight": 0, "failedChecks": 0, "iterations": 0,
        "lastAppliedSpec": "5f56684589", "lastPromotedSpec": "5f56684589", "trackedConfigs": {},
        "lastTransitionTime": "2025-01-01T00:00:00Z",
    });
    bed.store
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
    bed.start_operator();
    bed.until("adopted", |bed| {
        bed.status()["lastPromotedSpec"].as_str().is_some_and(|s| s.starts_with("s1:"))
    })
    .await;
    bed.pass(600).await;
    assert_eq!(bed.phase(), "Succeeded");
    assert!(
        !bed.events().iter().any(|event| event.contains("New revision detected")),
        "{:#?}",
        bed.events()
    );
}

#[tokio::test(start_paused = true)]
async fn without_an_analysis_it_is_promoted_at_once_and_nothing_is_asked() {
    let bed = at_rest(json!({"skipAnalysis": true})).await;
    let asked = bed.script.asked.lock().unwrap().len();
    bed.set_image("app:v2");
    bed.until("promoted", |bed| bed.phase() == "Succeeded" && bed.primary_image() == "app:v2")
        .await;
    bed.pass(60).await;
    assert_eq!(bed.script.asked.lock().unwrap().len(), asked);
    assert!(
        !bed.events().iter().any(|event| event.contains("canary weight")),
        "{:#?}",
        bed.events()
    );
    assert_eq!(bed.get(DEPLOYMENTS, "backend").unwrap()["spec"]["replicas"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_canary_is_left_alone() {
    let bed = at_rest(json!({})).await;
    bed.modify(CANARIES, "backend", |canary| canary["spec"]["suspend"] = json!(true));
    bed.pass(5).await;
    bed.set_image("app:v2");
    bed.pass(3600).await;
    assert_eq!(bed.canary_share(), 0);
    bed.modify(CANARIES, "backend", |canary| canary["spec"]["suspend"] = json!(false));
    bed.until_phase("Succeeded").await;
    assert_eq!(bed.primary_image(), "app:v2");
}

#[tokio::test(start_paused = true)]
async fn the_older_of_two_canaries_has_the_target() {
    let bed = at_rest(json!({})).await;
    bed.pass(5).await;
    let mut second = (*bed.get(CANARIES, "backend").unwrap()).clone();
    second["metadata"] = json!({"name": "intruder", "namespace": "develop"});
    second.as_object_mut().unwrap().remove("status");
    bed.create(CANARIES, second);
    bed.until("the second is told", |bed| {
        let intruder = bed.get(CANARIES, "intruder").unwrap();
        intruder["status"]["lastReason"]["code"] == "DuplicateTarget"
    })
    .await;
    bed.set_image("app:v2");
    bed.until_phase("Succeeded").await;
    assert_eq!(bed.primary_image(), "app:v2");
}

#[tokio::test(start_paused = true)]
async fn a_changed_config_is_a_release_and_a_copy_is_the_primarys() {
    let bed = Bed::start();
    let config = |level: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "develop"},
            "data": {"level": level},
        })
    };
    bed.create(("", "configmaps"), config("one"));
    bed.apply("app:v1", json!({}));
    bed.modify(DEPLOYMENTS, "backend", |target| {
        target["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
            json!([{"configMapRef": {"name": "settings"}}]);
    });
    bed.until_phase("Initialized").await;
    let level = |bed: &Bed| {
        bed.get(("", "configmaps"), "settings-primary").map(|copy| copy["data"]["level"].clone())
    };
    assert_eq!(level(&bed), Some(json!("one")));
    bed.modify(("", "configmaps"), "settings", |object| object["data"]["level"] = json!("two"));
    bed.until("5 %", |bed| bed.canary_share() == 5).await;
    assert_eq!(level(&bed), Some(json!("one")), "the primary keeps what it was analysed with");
    bed.until_phase("Succeeded").await;
    assert_eq!(level(&bed), Some(json!("two")));
}

#[tokio::test(start_paused = true)]
async fn a_metric_may_wait_for_its_server_instead_of_failing_without_it() {
    let metric = |policy: &str| {
        let range = json!({"max": 1});
        json!([{"name": "errors", "query": "up", "thresholdRange": range, "cannotMeasure": policy, "noData": policy}])
    };
    for policy in ["hold", "pass", "fail"] {
        let bed = at_rest(json!({"analysis": {"metrics": metric(policy)}})).await;
        bed.answer(|_, _| Err(OutsideError::Timeout(std::time::Duration::from_secs(1))));
        bed.set_image("app:v2");
        match policy {
            "hold" => {
                let held = |bed: &Bed| bed.status()["lastReason"]["code"] == "CannotMeasure";
                bed.until("the hold", held).await;
                bed.pass(300).await;
                let status = bed.status();
                assert_eq!(
                    (&status["canaryWeight"], &status["failedChecks"]),
                    (&json!(5), &json!(0))
                );
                bed.answer(|_, _| value(0.0));
                bed.until_phase("Succeeded").await;
            }
            "pass" => bed.until_phase("Succeeded").await,
            _ => bed.until_phase("Failed").await,
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
    let bed = Bed::start();
    bed.create(SCALERS, scaler());
    let reference = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "backend"});
    bed.apply("app:v1", json!({"autoscalerRef": reference}));
    bed.until_phase("Initialized").await;
    let copy = bed.get(SCALERS, "backend-primary").unwrap();
    assert_eq!(copy["spec"]["scaleTargetRef"]["name"], "backend-primary");
    for field in ["minReplicas", "maxReplicas", "metrics"] {
        assert_eq!(copy["spec"][field], scaler()["spec"][field], "{field}");
    }
    assert_eq!(copy["metadata"]["ownerReferences"][0]["kind"], "Canary");
    bed.pass(600).await;
    let replicas =
        |bed: &Bed, name: &str| bed.get(DEPLOYMENTS, name).unwrap()["spec"]["replicas"].clone();
    assert_eq!(replicas(&bed, "backend"), 0, "the target's autoscaler leaves it at zero");
    assert_eq!(replicas(&bed, "backend-primary"), 2);

    bed.modify(SCALERS, "backend", |scaler| {
        scaler["spec"]["minReplicas"] = json!(3);
        scaler["spec"]["maxReplicas"] = json!(6);
    });
    bed.pass(60).await;
    let bounds = |bed: &Bed| {
        let copy = bed.get(SCALERS, "backend-primary").unwrap();
        (copy["spec"]["minReplicas"].clone(), copy["spec"]["maxReplicas"].clone())
    };
    assert_eq!(bounds(&bed), (json!(3), json!(6)), "the primary's follows the target's at once");
    bed.set_image("app:v2");
    bed.until("traffic", |bed| bed.canary_share() == 5).await;
    assert_eq!(replicas(&bed, "backend"), 3, "a canary begins with its autoscaler's minimum");
    bed.until_phase("Succeeded").await;
    bed.pass(60).await;
    assert_eq!(bounds(&bed), (json!(3), json!(6)));
    assert_eq!(
        (replicas(&bed, "backend"), replicas(&bed, "backend-primary")),
        (json!(0), json!(3))
    );
    assert_eq!(
        *bed.get(SCALERS, "backend").unwrap().pointer("/spec/scaleTargetRef/name").unwrap(),
        json!("backend")
    );
}
