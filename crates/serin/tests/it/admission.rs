//! What can never work is refused when it is applied, with the field's name, by the rules of the definitions alone.

use serde_json::{Value, json};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::WriteOptions;

use crate::cluster::{CANARIES, TestCluster, merge};

fn canary(change: &Value) -> Value {
    let mut canary = json!({
        "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
        "metadata": {"name": "backend"},
        "spec": {
            "provider": "traefik",
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "backend"},
            "service": {"port": 80},
            "analysis": {"interval": "1m", "threshold": 5},
        },
    });
    merge(&mut canary["spec"], change.clone());
    canary
}

fn create(cluster: &TestCluster, change: &Value) -> Result<(), String> {
    let id = ResourceId::new(CANARIES.0, CANARIES.1);
    let options = WriteOptions { dry_run: true, ..WriteOptions::by("test") };
    let made = cluster.store.create(&id, "develop", canary(change), &options);
    made.map(drop).map_err(|failure| failure.to_string())
}

/// A change of a spec that is fine, and what is said of it.
type Refused = (Value, &'static str);

fn steps(steps: Value) -> Value {
    json!({"analysis": {"stepWeights": steps}})
}

fn analysis(field: &str, value: Value) -> Value {
    json!({"analysis": {"stepWeight": 10, field: value}})
}

fn refused() -> Vec<Refused> {
    [numbers(), strategies(), names(), missing(), contradictions(), guards(), paces()].concat()
}

fn guard(guard: Value) -> Value {
    analysis("guard", guard)
}

/// What the guard asks of versions, with what it must not be.
fn guards() -> Vec<Refused> {
    let errors = |errors: Value| guard(json!({"errorRate": errors}));
    let latency = |latency: Value| guard(json!({"latency": [latency]}));
    let shape = |tolerance: Value| guard(json!({"latencyShape": {"tolerance": tolerance}}));
    let nine: Vec<Value> = (1..=9).map(|ms| json!({"threshold": ms, "slo": 1})).collect();
    vec![
        (guard(json!({"mode": "on"})), "guard.mode: Unsupported value"),
        (guard(json!({"source": "statsd"})), "guard.source: Unsupported value"),
        (guard(json!({"interval": "soon"})), "guard.interval: Invalid value"),
        (guard(json!({"interval": "100ms"})), "interval must be between 250ms and 1m"),
        (guard(json!({"interval": "2m"})), "interval must be between 250ms and 1m"),
        (guard(json!({"alpha": 0})), "alpha must be more than 0 and at most 0.5"),
        (guard(json!({"alpha": 0.6})), "alpha must be more than 0 and at most 0.5"),
        (guard(json!({"alpha": "1%"})), "guard.alpha in body must be of type number"),
        (errors(json!({})), "guard.errorRate.slo: Required value"),
        (errors(json!({"slo": 0})), "guard.errorRate.slo: Invalid value: 0"),
        (errors(json!({"slo": 100})), "slo must be less than 100 percent"),
        (errors(json!({"slo": 1, "tolerance": {"absolute": -1}})), "tolerance.absolute: Invalid"),
        (errors(json!({"slo": 1, "tolerance": {"absolute": 101}})), "tolerance.absolute: Invalid"),
        (errors(json!({"slo": 1, "tolerance": {"relative": 0}})), "tolerance.relative: Invalid"),
        (errors(json!({"slo": 1, "tolerance": {"relative": 101}})), "tolerance.relative: Invalid"),
        (errors(json!({"slo": 1, "noData": "wait"})), "errorRate.noData: Unsupported value"),
        (errors(json!({"slo": 1, "cannotMeasure": 1})), "errorRate.cannotMeasure in body must be"),
        (latency(json!({"slo": 1})), "guard.latency[0].threshold: Required value"),
        (latency(json!({"threshold": 500})), "guard.latency[0].slo: Required value"),
        (latency(json!({"threshold": 0, "slo": 1})), "threshold must be more than 0 ms"),
        (latency(json!({"threshold": 500, "slo": 0.001})), "latency[0].slo: Invalid value"),
        (latency(json!({"threshold": 500, "slo": 100})), "slo must be less than 100 percent"),
        (
            latency(json!({"threshold": 500, "slo": 1, "tolerance": {"relative": 0.01}})),
            "latency[0].tolerance.relative: Invalid value",
        ),
        (
            latency(json!({"threshold": 5, "slo": 1, "noData": "no"})),
            "[0].noData: Unsupported value",
        ),
        (guard(json!({"latency": nine})), "guard.latency: Too many"),
        (shape(json!({"absolute": 0})), "latencyShape.tolerance.absolute: Invalid value"),
        (shape(json!({"relative": 1000})), "latencyShape.tolerance.relative: Invalid value"),
        (
            guard(json!({"latencyShape": {"noData": "wait"}})),
            "latencyShape.noData: Unsupported value",
        ),
        (
            guard(json!({"latencyShape": {"cannotMeasure": "wait"}})),
            "latencyShape.cannotMeasure: Unsupported value",
        ),
    ]
}

/// The guard's other fields, with what they must not be.
fn paces() -> Vec<Refused> {
    let paced = |field: &str, value: Value| guard(json!({"pace": "evidence", field: value}));
    vec![
        (guard(json!({"attribution": "both"})), "guard.attribution: Unsupported value"),
        (guard(json!({"pace": "quick"})), "guard.pace: Unsupported value"),
        (paced("mode", json!("observe")), "pace evidence lets the guard decide"),
        (paced("blastRadius", json!(0)), "guard.blastRadius: Invalid value: 0"),
        (paced("blastRadius", json!(2_000_000)), "guard.blastRadius: Invalid value: 2000000"),
        (paced("blastRadius", json!(2.5)), "blastRadius in body must be of type integer"),
        (guard(json!({"blastRadius": 5})), "blastRadius, minDwell and maxDuration belong to"),
        (paced("minDwell", json!("long")), "guard.minDwell: Invalid value"),
        (paced("maxDuration", json!("long")), "guard.maxDuration: Invalid value"),
        (
            guard(json!({"pace": "evidence", "minDwell": "2h", "maxDuration": "1h"})),
            "minDwell must not be more than maxDuration",
        ),
        (guard(json!({"warmUp": "soon"})), "guard.warmUp: Invalid value"),
        (guard(json!({"warmUp": "11m"})), "warmUp must be at most 10m"),
        (guard(json!({"minBake": "soon"})), "guard.minBake: Invalid value"),
        (guard(json!({"mode": "off", "minBake": "1m"})), "no effect with mode off"),
        (guard(json!({"soak": {}})), "guard.soak.duration: Required value"),
        (guard(json!({"soak": {"duration": "5s"}})), "duration must be between 10s and 24h"),
        (guard(json!({"soak": {"duration": "25h"}})), "duration must be between 10s and 24h"),
        (
            json!({"analysis": {"iterations": 3, "guard": {"pace": "evidence"}}}),
            "guard.pace evidence raises weights",
        ),
    ]
}

/// Weights are percent, and what counts is whole.
fn numbers() -> Vec<Refused> {
    vec![
        (steps(json!([5, 120])), "spec.analysis.stepWeights[1]: Invalid value: 120"),
        (steps(json!([-5, 10])), "spec.analysis.stepWeights[0]: Invalid value: -5"),
        (json!({"analysis": {"stepWeight": 101}}), "spec.analysis.stepWeight: Invalid value: 101"),
        (analysis("maxWeight", json!(101)), "spec.analysis.maxWeight: Invalid value: 101"),
        (analysis("maxWeight", json!(-1)), "spec.analysis.maxWeight: Invalid value: -1"),
        (
            analysis("stepWeightPromotion", json!(101)),
            "spec.analysis.stepWeightPromotion: Invalid value: 101",
        ),
        (analysis("mirrorWeight", json!(101)), "spec.analysis.mirrorWeight: Invalid value: 101"),
        (
            analysis("primaryReadyThreshold", json!(101)),
            "spec.analysis.primaryReadyThreshold: Invalid value: 101",
        ),
        (
            analysis("canaryReadyThreshold", json!(101)),
            "spec.analysis.canaryReadyThreshold: Invalid value: 101",
        ),
        (
            json!({"analysis": {"stepWeight": 2.5}}),
            "spec.analysis.stepWeight in body must be of type integer",
        ),
        (steps(json!([5, 7.5])), "spec.analysis.stepWeights[1] in body must be of type integer"),
        (
            analysis("threshold", json!(1.5)),
            "spec.analysis.threshold in body must be of type integer",
        ),
    ]
}

/// One strategy, with steps that go somewhere.
fn strategies() -> Vec<Refused> {
    vec![
        (steps(json!([5, 20, 10])), "analysis.stepWeights must rise"),
        (steps(json!([5, 20, 20])), "analysis.stepWeights must rise"),
        (steps(json!([])), "analysis.stepWeights must not be empty and each at least 1"),
        (steps(json!([0, 10])), "analysis.stepWeights must not be empty and each at least 1"),
        (json!({"analysis": {"stepWeight": 0}}), "analysis.stepWeight must be at least 1"),
        (json!({"analysis": {"iterations": 0}}), "analysis.iterations must be at least 1"),
        (json!({}), "exactly one of iterations, stepWeight and stepWeights must be set"),
        (
            analysis("iterations", json!(3)),
            "exactly one of iterations, stepWeight and stepWeights must be set",
        ),
        (
            analysis("stepWeights", json!([5])),
            "exactly one of iterations, stepWeight and stepWeights must be set",
        ),
    ]
}

/// Times that are times, and names that are known.
fn names() -> Vec<Refused> {
    vec![
        (analysis("interval", json!("often")), "spec.analysis.interval: Invalid value: \"often\""),
        (analysis("interval", json!(60)), "spec.analysis.interval in body must be of type string"),
        (
            json!({"provider": "consul", "analysis": {"stepWeight": 10}}),
            "spec.provider: Unsupported value: \"consul\"",
        ),
        (
            json!({"targetRef": {"kind": "CronJob"}, "analysis": {"stepWeight": 10}}),
            "spec.targetRef.kind: Unsupported value: \"CronJob\"",
        ),
        (
            json!({"autoscalerRef": {"apiVersion": "autoscaling/v2", "kind": "Scaler", "name": "x"}, "analysis": {"stepWeight": 10}}),
            "spec.autoscalerRef.kind: Unsupported value: \"Scaler\"",
        ),
        (
            analysis("webhooks", json!([{"name": "gate", "url": "http://gate", "type": "knock"}])),
            "spec.analysis.webhooks[0].type: Unsupported value: \"knock\"",
        ),
        (
            analysis(
                "alerts",
                json!([{"name": "a", "severity": "loud", "providerRef": {"name": "p"}}]),
            ),
            "spec.analysis.alerts[0].severity: Unsupported value: \"loud\"",
        ),
    ]
}

/// What is needed.
fn missing() -> Vec<Refused> {
    vec![
        (json!({"targetRef": null, "analysis": {"stepWeight": 10}}), "spec.targetRef"),
        (
            analysis("webhooks", json!([{"name": "gate"}])),
            "spec.analysis.webhooks[0].url: Required value",
        ),
        (
            analysis("metrics", json!([{"query": "up"}])),
            "spec.analysis.metrics[0].name: Required value",
        ),
        (
            analysis("sessionAffinity", json!({"httpOnly": true})),
            "spec.analysis.sessionAffinity.cookieName: Required value",
        ),
    ]
}

/// What contradicts itself.
fn contradictions() -> Vec<Refused> {
    vec![
        (
            analysis("sessionAffinity", json!({"cookieName": "a", "primaryCookieName": "a"})),
            "cookieName and primaryCookieName must differ",
        ),
        (
            analysis(
                "metrics",
                json!([{"name": "e", "query": "e", "thresholdRange": {"min": 2, "max": 1}}]),
            ),
            "spec.analysis.metrics[0].thresholdRange: Invalid value: min must not be more than max",
        ),
        (
            json!({
                "autoscalerRef": {
                    "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "x",
                    "primaryScalerReplicas": {"minReplicas": 3, "maxReplicas": 2},
                },
                "analysis": {"stepWeight": 10},
            }),
            "minReplicas must not be more than maxReplicas",
        ),
        (
            json!({"service": {"port": 70000}, "analysis": {"stepWeight": 10}}),
            "spec.service.port: Invalid value: 70000",
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn what_can_never_work_is_refused_by_name() {
    let cluster = TestCluster::start();
    for (change, said) in refused() {
        let Err(message) = create(&cluster, &change) else { panic!("taken: {change}") };
        assert!(message.contains(said), "{change}: {message}");
    }
    create(&cluster, &json!({"analysis": {"stepWeights": [5, 50, 100]}})).unwrap();
    create(&cluster, &json!({"analysis": {"stepWeight": 100, "maxWeight": 100}})).unwrap();
    let fine = json!({
        "mode": "enforce", "source": "prometheus", "interval": "250ms", "alpha": 0.5,
        "errorRate": {"slo": 0.01, "tolerance": {"absolute": 0, "relative": 100}},
        "latency": [{"threshold": 0.5, "slo": 99.9, "noData": "fail", "cannotMeasure": "pass"}],
        "latencyShape": {"tolerance": {"absolute": 0.01, "relative": 1}},
        "attribution": "none", "pace": "evidence", "blastRadius": 1, "minDwell": "1m",
        "maxDuration": "1m", "warmUp": "10m", "minBake": "1h30m", "soak": {"duration": "24h"},
    });
    create(&cluster, &guard(fine)).unwrap();
}

/// A definition that got stricter must not lock what is there: the status is written, and the step is capped.
#[tokio::test(start_paused = true)]
async fn what_is_stored_already_goes_on() {
    let crds = ResourceId::new("apiextensions.k8s.io", "customresourcedefinitions");
    let mut cluster = TestCluster::start();
    let strict = cluster.store.get(&crds, "", "canaries.flagger.app").unwrap();
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    cluster.modify_in("", &crds, "canaries.flagger.app", |crd| {
        let items = format!("{spec}/properties/analysis/properties/stepWeights/items");
        *crd.pointer_mut(&items).unwrap() = json!({"type": "integer"});
    });
    cluster.apply("app:v1", json!({"analysis": {"stepWeights": [50, 120]}}));
    cluster.until_phase("Initialized").await;
    cluster
        .modify_in("", &crds, "canaries.flagger.app", |crd| crd["spec"] = strict["spec"].clone());
    cluster.kill_operator();
    cluster.start_operator();
    cluster.set_image("app:v2");
    cluster.until("100 %", |cluster| cluster.canary_share() == 100).await;
    cluster.until_phase("Succeeded").await;
    assert_eq!(cluster.primary_image(), "app:v2");
}
