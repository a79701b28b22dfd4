//! Bad input, one case after the other: each says what is wrong with which field or query, the running version keeps
//! all traffic, and the neighbour's release goes on.

use std::ops::Deref;
use std::sync::Arc;

use serde_json::{Value, json};
use serin::http_client::HttpError;
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::DeleteOptions;

use crate::cluster::{CANARIES, DEPLOYMENTS, ROUTES, TestCluster, value};
use crate::log_capture::LogCapture;

const TEMPLATES: (&str, &str) = ("flagger.app", "metrictemplates");

type Said = Result<(u16, String), HttpError>;

/// What must be said, and where.
struct Told {
    /// Type and reason of a condition.
    condition: (&'static str, &'static str),
    /// Reason of an Event.
    event: &'static str,
    /// What the log and the status give as the reason in the end.
    reason: &'static str,
    /// What the condition, the Event and the reason all name.
    names: &'static [&'static str],
}

const SPEC: (&str, &str) = ("SpecValid", "Invalid");

fn spec(names: &'static [&'static str]) -> Told {
    Told { condition: SPEC, event: "SpecInvalid", reason: "SpecInvalid", names }
}

/// Right for Flagger, and not supported yet: nobody calls it wrong.
fn unsupported(names: &'static [&'static str]) -> Told {
    let condition = ("SpecValid", "Unsupported");
    Told { condition, event: "Unsupported", reason: "Unsupported", names }
}

/// Known before anything is asked, and still known when a check has failed for it.
fn known(reason: &'static str, names: &'static [&'static str]) -> Told {
    Told { condition: ("MetricsReady", reason), ..unmeasured(names) }
}

fn no_data(names: &'static [&'static str]) -> Told {
    Told {
        condition: ("MetricsReady", "NoData"),
        event: "NoData",
        reason: "ThresholdReached",
        names,
    }
}

fn unmeasured(names: &'static [&'static str]) -> Told {
    Told {
        condition: ("MetricsReady", "CannotMeasure"),
        event: "CannotMeasure",
        reason: "ThresholdReached",
        names,
    }
}

/// The other canary of the cluster, in the same namespace, with a healthy query of its own.
fn neighbour(cluster: &TestCluster) {
    cluster.create(DEPLOYMENTS, deployment("neighbour", "app:v1"));
    cluster.create(
        CANARIES,
        json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
            "metadata": {"name": "neighbour"},
            "spec": {
                "provider": "traefik",
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "neighbour"},
                "service": {"port": 80, "targetPort": 8080},
                "analysis": {
                    "interval": "10s", "threshold": 1, "stepWeights": [10, 50],
                    "metrics": [{"name": "health", "query": "health", "thresholdRange": {"max": 1}}],
                },
            },
        }),
    );
}

fn deployment(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": name, "image": image, "ports": [{"containerPort": 8080}]}]},
            },
        },
    })
}

fn image(cluster: &TestCluster, workload: &str) -> String {
    let object = cluster.get(DEPLOYMENTS, workload).unwrap();
    object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
}

async fn neighbour_is_promoted(cluster: &TestCluster, case: &str) {
    cluster.modify(DEPLOYMENTS, "neighbour", |object| {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:v2");
    });
    cluster
        .until(&format!("the neighbour is promoted beside: {case}"), |cluster| {
            let phase = cluster.get(CANARIES, "neighbour").unwrap()["status"]["phase"].clone();
            phase == "Succeeded" && image(cluster, "neighbour-primary") == "app:v2"
        })
        .await;
}

/// Everywhere that people look, in the same words.
fn said(cluster: &Town, canary: &str, case: &str, told: &Told) {
    let object = cluster.get(CANARIES, canary).unwrap();
    let status = &object["status"];
    let conditions = status["conditions"].as_array().unwrap();
    let (kind, reason) = told.condition;
    let condition = conditions.iter().find(|condition| condition["type"] == kind);
    let condition = condition.unwrap_or_else(|| panic!("{case}: no {kind} in {conditions:#?}"));
    assert_eq!(condition["reason"], reason, "{case}: {condition:#}");
    let last = &status["lastReason"];
    assert_eq!(last["code"], told.reason, "{case}: {last:#}");
    let event = cluster
        .store
        .list(&ResourceId::core("events"), Some("develop"))
        .into_iter()
        .find(|event| {
            event["involvedObject"]["name"] == canary
                && event["reason"] == told.event
                && event["type"] == "Warning"
        })
        .unwrap_or_else(|| panic!("{case}: no Event {}: {:#?}", told.event, cluster.events()));
    for name in told.names {
        for (place, text) in [
            ("condition", &condition["message"]),
            ("reason", &last["message"]),
            ("Event", &event["message"]),
        ] {
            let text = text.as_str().unwrap();
            assert!(text.contains(name), "{case}: the {place} does not name {name}: {text}");
        }
    }
    let log = cluster.log_capture.heard();
    let whose = format!("canary=develop/{canary}");
    let mut lines = log.lines().filter(|line| line.contains(" WARN ") && line.contains(&whose));
    let complete = |line: &str| {
        line.contains(told.reason) && told.names.iter().all(|name| line.contains(name))
    };
    assert!(lines.any(complete), "{case}: no line of the log has it all: {log}");
}

/// A cluster with an log_capture for its log.
struct Town {
    cluster: TestCluster,
    log_capture: LogCapture,
}

impl Deref for Town {
    type Target = TestCluster;

    fn deref(&self) -> &TestCluster {
        &self.cluster
    }
}

async fn cluster() -> Town {
    let log_capture = LogCapture::open();
    let cluster = Town { cluster: TestCluster::start(), log_capture };
    neighbour(&cluster);
    cluster
        .until("the neighbour rests", |cluster| {
            cluster.get(CANARIES, "neighbour").unwrap()["status"]["phase"] == "Initialized"
        })
        .await;
    cluster
}

/// Specs that an API server takes and that are invalid.
fn specs() -> Vec<(&'static str, Value, Told)> {
    let metrics = |metric: Value| json!({"analysis": {"metrics": [metric]}});
    let range = json!({"max": 1});
    vec![
        (
            "a provider that is not supported yet",
            json!({"provider": "istio"}),
            unsupported(&["spec.provider", "istio"]),
        ),
        (
            "a kind that is not supported yet",
            json!({"targetRef": {"kind": "Service"}}),
            unsupported(&["spec.targetRef.kind", "Service"]),
        ),
        (
            "a kind of autoscaler that is not supported yet",
            json!({"autoscalerRef": {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "x"}}),
            unsupported(&["spec.autoscalerRef.kind", "ScaledObject"]),
        ),
        (
            "a name that is none",
            json!({"targetRef": {"name": "Back_End"}}),
            spec(&["spec.targetRef.name", "Back_End"]),
        ),
        (
            "a metric without a query",
            metrics(json!({"name": "errors", "thresholdRange": range})),
            spec(&["spec.analysis.metrics[0].templateRef"]),
        ),
        (
            "a metric's range that is none",
            metrics(
                json!({"name": "errors", "query": "x", "interval": "0s", "thresholdRange": range}),
            ),
            spec(&["spec.analysis.metrics[0].interval", "0s"]),
        ),
        (
            "a hook that leads nowhere",
            json!({"analysis": {"webhooks": [{"name": "gate", "url": "gate:8080"}]}}),
            spec(&["spec.analysis.webhooks[0].url", "gate:8080"]),
        ),
        (
            "a server that leads nowhere",
            json!({"metricsServer": "prometheus"}),
            spec(&["spec.metricsServer", "prometheus"]),
        ),
        (
            "a field that is not honoured",
            json!({"autoscalerRef": {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "x"}}),
            unsupported(&["spec.autoscalerRef.kind"]),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_spec_that_makes_no_sense_from_the_start_touches_nothing() {
    for (case, change, told) in specs() {
        let cluster = cluster().await;
        cluster.apply("app:v1", change);
        cluster.until(case, |cluster| cluster.status()["lastReason"]["code"] == told.reason).await;
        neighbour_is_promoted(&cluster, case).await;
        said(&cluster, "backend", case, &told);
        let target = cluster.get(DEPLOYMENTS, "backend").unwrap();
        assert_eq!(target["status"]["readyReplicas"], 2, "{case}: the running version serves");
        assert!(cluster.get(ROUTES, "backend").is_none(), "{case}");
        assert!(cluster.get(DEPLOYMENTS, "backend-primary").is_none(), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_makes_no_sense_gives_the_primary_everything() {
    for (case, change, told) in specs() {
        let cluster = cluster().await;
        cluster.apply("app:v1", json!({}));
        cluster.until_phase("Initialized").await;
        cluster.set_image("app:v2");
        cluster.until("10 %", |cluster| cluster.canary_share() == 10).await;
        cluster.modify(CANARIES, "backend", |canary| {
            crate::cluster::merge(&mut canary["spec"], change.clone());
        });
        cluster.until(case, |cluster| cluster.canary_share() == 0).await;
        neighbour_is_promoted(&cluster, case).await;
        said(&cluster, "backend", case, &told);
        assert_eq!(cluster.route(), [("backend-primary".to_owned(), 100)].into(), "{case}");
        assert_eq!(cluster.primary_image(), "app:v1", "{case}");
    }
}

/// An invalid spec must not keep an object from being deleted.
#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_can_be_deleted() {
    let id = ResourceId::new(CANARIES.0, CANARIES.1);
    for restart in [false, true] {
        let mut cluster = cluster().await;
        cluster.apply("app:v1", json!({}));
        cluster.until_phase("Initialized").await;
        cluster.modify(CANARIES, "backend", |canary| canary["spec"]["provider"] = json!("istio"));
        cluster
            .until("told", |cluster| cluster.status()["lastReason"]["code"] == "Unsupported")
            .await;
        if restart {
            cluster.cluster.kill_operator();
            cluster.cluster.start_operator();
        }
        cluster.store.delete(&id, "develop", "backend", &Default::default()).unwrap();
        cluster.until("gone", |cluster| cluster.get(CANARIES, "backend").is_none()).await;
        if !restart {
            // What was known of it suffices to give the traffic back.
            cluster.pass(30).await;
            assert_eq!(cluster.get(DEPLOYMENTS, "backend").unwrap()["status"]["readyReplicas"], 2);
        }
    }
}

fn body(result: Value) -> Said {
    let data = json!({"resultType": "vector", "result": result});
    Ok((200, json!({"status": "success", "data": data}).to_string()))
}

fn series(name: &str, value: &str) -> Value {
    json!({"metric": {"pod": name}, "value": [0, value]})
}

type Answers = fn() -> Said;

/// What a Prometheus, or something in its place, may answer to the query `suspect`.
fn answers() -> Vec<(&'static str, Answers, Told)> {
    vec![
        (
            "nobody answers",
            || Err(HttpError::Connect { host: "prometheus".into(), why: "refused".into() }),
            unmeasured(&["metric suspect", "cannot reach prometheus"]),
        ),
        (
            "too late",
            || Err(HttpError::Timeout(std::time::Duration::from_secs(5))),
            unmeasured(&["metric suspect", "no answer within 5s"]),
        ),
        (
            "not JSON",
            || Ok((200, "<html>Sign in</html>".to_owned())),
            unmeasured(&["metric suspect", "not JSON"]),
        ),
        (
            "huge",
            || Ok((200, "1".repeat((1 << 20) + 1))),
            unmeasured(&["metric suspect", "1048577 bytes"]),
        ),
        ("cut off", || Err(HttpError::TooLong), unmeasured(&["metric suspect", "too long"])),
        (
            "an error of the server",
            || Ok((503, "try later".to_owned())),
            unmeasured(&["metric suspect", "503"]),
        ),
        (
            "PromQL that does not parse",
            || {
                let error = json!({"status": "error", "errorType": "bad_data", "error": "parse error: unexpected )"});
                Ok((400, error.to_string()))
            },
            unmeasured(&["metric suspect", "parse error: unexpected )"]),
        ),
        (
            "JSON of something else",
            || Ok((200, "{\"ok\": true}".to_owned())),
            unmeasured(&["metric suspect", "not that of a Prometheus"]),
        ),
        (
            "several series",
            || body(json!([series("a", "0"), series("b", "0")])),
            unmeasured(&["metric suspect", "2 series"]),
        ),
        (
            "no number",
            || body(json!([series("a", "zero")])),
            unmeasured(&["metric suspect", "no number"]),
        ),
        ("nothing", || body(json!([])), no_data(&["suspect", "returned nothing"])),
        ("NaN", || body(json!([series("a", "NaN")])), no_data(&["suspect", "NaN"])),
    ]
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_none_never_advances_and_names_its_query() {
    for (case, answer, told) in answers() {
        let cluster = cluster().await;
        cluster.answer(move |url, _| if url.contains("suspect") { answer() } else { value(0.0) });
        let metrics =
            json!([{"name": "suspect", "query": "suspect", "thresholdRange": {"max": 1}}]);
        cluster.apply("app:v1", json!({"analysis": {"metrics": metrics}}));
        cluster.until_phase("Initialized").await;
        rejected(&cluster, case, &told).await;
    }
}

/// The release is rolled back from its first step, all is said, and the neighbour's is promoted meanwhile.
async fn rejected(cluster: &Town, case: &str, told: &Told) {
    cluster.set_image("app:v2");
    cluster.until_phase("Failed").await;
    neighbour_is_promoted(cluster, case).await;
    said(cluster, "backend", case, told);
    assert_eq!(cluster.route(), [("backend-primary".to_owned(), 100)].into(), "{case}");
    assert_eq!(cluster.primary_image(), "app:v1", "{case}");
    let events = cluster.events();
    assert!(!events.iter().any(|event| event.contains("backend.develop canary weight 10")));
}

/// MetricTemplates that lead nowhere: the object, its Secret, its query.
fn templates() -> Vec<(&'static str, Option<Value>, Told)> {
    let template = |query: &str, provider: Value| {
        Some(json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "MetricTemplate",
            "metadata": {"name": "suspect"}, "spec": {"provider": provider, "query": query},
        }))
    };
    let server = json!({"type": "prometheus", "address": "http://prometheus:9090"});
    let locked = json!({"type": "prometheus", "address": "http://prometheus:9090", "secretRef": {"name": "keys"}});
    vec![
        (
            "no template",
            None,
            known("NoSuchObject", &["suspect", "develop/suspect", "does not exist"]),
        ),
        (
            "a provider of metrics that is not supported yet",
            template("up", json!({"type": "splunk"})),
            known("ObjectUnusable", &["suspect", "spec.provider.type", "splunk"]),
        ),
        (
            "no Secret",
            template("up", locked),
            known("NoSuchObject", &["suspect", "keys", "does not exist"]),
        ),
        (
            "a variable that is missing",
            template("{{ variables.limit }}", server.clone()),
            known("QueryInvalid", &["suspect", "templateVariables", "limit"]),
        ),
        (
            "an action that is not supported",
            template("{{ range . }}", server.clone()),
            known("QueryInvalid", &["suspect", "range"]),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_template_that_leads_nowhere_never_advances_and_is_named() {
    for (case, template, told) in templates() {
        let cluster = cluster().await;
        if let Some(template) = template {
            cluster.create(TEMPLATES, template);
        }
        let metrics = json!([
            {"name": "suspect", "templateRef": {"name": "suspect"}, "thresholdRange": {"max": 1}},
        ]);
        cluster.apply("app:v1", json!({"analysis": {"metrics": metrics}}));
        cluster.until_phase("Initialized").await;
        rejected(&cluster, case, &told).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_measured_again_is_said_to_be() {
    let cluster = cluster().await;
    cluster.apply("app:v1", json!({"analysis": {"threshold": 5}}));
    cluster.until_phase("Initialized").await;
    cluster.answer(|url, _| if url.contains("errors") { body(json!([])) } else { value(0.0) });
    cluster.set_image("app:v2");
    let ready = |cluster: &TestCluster| {
        let conditions = cluster.status()["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|condition| condition["type"] == "MetricsReady");
        found.map(|found| (found["status"].clone(), found["reason"].clone()))
    };
    let blamed = Some((json!("False"), json!("NoData")));
    cluster.until("blamed", |cluster| ready(cluster) == blamed).await;
    cluster.answer(|_, _| value(0.0));
    cluster.until_phase("Succeeded").await;
    assert_eq!(ready(&cluster), Some((json!("True"), json!("Measured"))));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_missing_is_waited_for_by_name() {
    let cluster = cluster().await;
    let change = json!({"targetRef": {"name": "absent"}});
    cluster.apply("app:v1", change);
    cluster
        .until("told", |cluster| cluster.status()["lastReason"]["code"] == "TargetMissing")
        .await;
    neighbour_is_promoted(&cluster, "a missing target").await;
    let names: &[&str] = &["Deployment absent.develop"];
    let condition = ("Stalled", "TargetMissing");
    let told = Told { condition, event: "TargetMissing", reason: "TargetMissing", names };
    said(&cluster, "backend", "a missing target", &told);
    let before = cluster.get(DEPLOYMENTS, "backend").unwrap();
    assert_eq!(before["status"]["readyReplicas"], 2);
    cluster.create(DEPLOYMENTS, deployment("absent", "app:v1"));
    cluster.until_phase("Initialized").await;
}

#[tokio::test(start_paused = true)]
async fn an_autoscaler_that_is_missing_is_waited_for_by_name() {
    let cluster = cluster().await;
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "nobody"});
    cluster.apply("app:v1", json!({"autoscalerRef": scaler}));
    cluster
        .until("told", |cluster| cluster.status()["lastReason"]["code"] == "ScalerMissing")
        .await;
    neighbour_is_promoted(&cluster, "a missing autoscaler").await;
    let names: &[&str] = &["spec.autoscalerRef", "nobody"];
    let condition = ("Stalled", "ScalerMissing");
    let told = Told { condition, event: "ScalerMissing", reason: "ScalerMissing", names };
    said(&cluster, "backend", "a missing autoscaler", &told);
    assert_eq!(cluster.get(DEPLOYMENTS, "backend").unwrap()["status"]["readyReplicas"], 2);
}

#[tokio::test(start_paused = true)]
async fn the_younger_of_two_canaries_is_told_whose_the_target_is() {
    let cluster = cluster().await;
    cluster.apply("app:v1", json!({}));
    cluster.until_phase("Initialized").await;
    cluster.pass(5).await;
    let mut second = Arc::unwrap_or_clone(cluster.get(CANARIES, "backend").unwrap());
    second["metadata"] = json!({"name": "intruder", "namespace": "develop"});
    second.as_object_mut().unwrap().remove("status");
    cluster.create(CANARIES, second);
    cluster
        .until("told", |cluster| {
            cluster.get(CANARIES, "intruder").unwrap()["status"]["lastReason"]["code"]
                == "DuplicateTarget"
        })
        .await;
    neighbour_is_promoted(&cluster, "two canaries").await;
    let names: &[&str] = &["develop/backend", "Deployment backend"];
    let condition = ("Stalled", "DuplicateTarget");
    let told = Told { condition, event: "DuplicateTarget", reason: "DuplicateTarget", names };
    said(&cluster, "intruder", "two canaries", &told);
    assert_eq!(cluster.route(), [("backend-primary".to_owned(), 100)].into());
    cluster.set_image("app:v2");
    cluster.until_phase("Succeeded").await;
}

fn ready_of(cluster: &TestCluster, canary: &str) -> (String, String, String) {
    let object = cluster.get(CANARIES, canary).unwrap();
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition["type"] == "MetricsReady");
    let text = |field: &str| found.as_ref().map_or("", |c| c[field].as_str().unwrap()).to_owned();
    (text("status"), text("reason"), text("message"))
}

#[tokio::test(start_paused = true)]
async fn a_template_that_leads_nowhere_is_told_before_the_first_release_and_taken_back() {
    let cluster = cluster().await;
    let metrics =
        json!([{"name": "m", "templateRef": {"name": "suspect"}, "thresholdRange": {"max": 1}}]);
    cluster.apply("app:v1", json!({"analysis": {"metrics": metrics}}));
    cluster.until_phase("Initialized").await;
    cluster.until("told", |cluster| ready_of(cluster, "backend").0 == "False").await;
    let (_, reason, message) = ready_of(&cluster, "backend");
    assert_eq!(reason, "NoSuchObject");
    assert!(message.contains("spec.analysis.metrics[0].templateRef"), "{message}");
    cluster.pass(900).await;
    let told = cluster.events().iter().filter(|event| event.contains("MetricsNotReady")).count();
    assert_eq!(told, 1, "{:#?}", cluster.events());
    let server = json!({"type": "prometheus", "address": "http://prometheus:9090"});
    cluster.create(
        TEMPLATES,
        json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "MetricTemplate",
            "metadata": {"name": "suspect"}, "spec": {"provider": server, "query": "up"},
        }),
    );
    cluster.until("taken back", |cluster| ready_of(cluster, "backend").0 == "Unknown").await;
}

#[tokio::test(start_paused = true)]
async fn a_field_without_effect_is_in_the_condition_and_in_one_event() {
    let cluster = cluster().await;
    cluster.apply("app:v1", json!({"service": {"timeout": "15s", "retries": {"attempts": 3}}}));
    cluster.until_phase("Initialized").await;
    cluster.pass(900).await;
    let status = cluster.status();
    let conditions = status["conditions"].as_array().unwrap();
    let valid = conditions.iter().find(|condition| condition["type"] == "SpecValid").unwrap();
    assert_eq!((&valid["status"], &valid["reason"]), (&json!("True"), &json!("Warnings")));
    let events = cluster.events();
    let told: Vec<_> = events.iter().filter(|event| event.contains("SpecWarning")).collect();
    assert_eq!(told.len(), 1, "{events:#?}");
    for field in ["spec.service.timeout", "spec.service.retries"] {
        assert!(valid["message"].as_str().unwrap().contains(field), "{valid:#}");
        assert!(told[0].contains(field), "{told:?}");
    }
}

/// A Canary may have any name that an object may have; its target and its Service have names of their own.
#[tokio::test(start_paused = true)]
async fn a_long_name_is_told_of_and_can_be_deleted() {
    let cluster = cluster().await;
    let name = "release-of-the-checkout-payment-authorization-service-in-eu-west.".repeat(3);
    let name = name.trim_end_matches('.');
    let canary = |provider: &str| {
        json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
            "metadata": {"name": name, "finalizers": ["finalizer.flagger.app"]},
            "spec": {
                "provider": provider,
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
                "service": {"port": 80},
                "analysis": {"interval": "10s", "threshold": 1, "stepWeights": [50]},
            },
        })
    };
    cluster.create(CANARIES, canary("istio"));
    cluster
        .until("an Event", |cluster| {
            cluster.events().iter().any(|event| event.contains("Unsupported: spec.provider: istio"))
        })
        .await;
    let id = ResourceId::new(CANARIES.0, CANARIES.1);
    cluster.store.delete(&id, "develop", name, &DeleteOptions::default()).unwrap();
    cluster.until("it goes", |cluster| cluster.get(CANARIES, name).is_none()).await;
}
