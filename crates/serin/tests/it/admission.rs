//! What can never work is refused when it is applied, with the field's name, by the rules of the definitions alone.

use serde_json::{Value, json};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::WriteOptions;

use crate::bed::{Bed, CANARIES, merge};

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

fn create(bed: &Bed, change: &Value) -> Result<(), String> {
    let id = ResourceId::new(CANARIES.0, CANARIES.1);
    let options = WriteOptions { dry_run: true, ..WriteOptions::by("test") };
    let made = bed.store.create(&id, "develop", canary(change), &options);
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
    [numbers(), strategies(), names(), missing(), contradictions()].concat()
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
            "spec.analysis.metrics[0].thresholdRange: Invalid value: \"object\": min must not be more than max",
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
    let bed = Bed::start();
    for (change, said) in refused() {
        let Err(message) = create(&bed, &change) else { panic!("taken: {change}") };
        assert!(message.contains(said), "{change}: {message}");
    }
    create(&bed, &json!({"analysis": {"stepWeights": [5, 50, 100]}})).unwrap();
    create(&bed, &json!({"analysis": {"stepWeight": 100, "maxWeight": 100}})).unwrap();
}

/// A definition that got stricter must not lock what is there: the status is written, and the step is capped.
#[tokio::test(start_paused = true)]
async fn what_is_stored_already_goes_on() {
    let crds = ResourceId::new("apiextensions.k8s.io", "customresourcedefinitions");
    let mut bed = Bed::start();
    let strict = bed.store.get(&crds, "", "canaries.flagger.app").unwrap();
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    bed.modify_in("", &crds, "canaries.flagger.app", |crd| {
        let items = format!("{spec}/properties/analysis/properties/stepWeights/items");
        *crd.pointer_mut(&items).unwrap() = json!({"type": "integer"});
    });
    bed.apply("app:v1", json!({"analysis": {"stepWeights": [50, 120]}}));
    bed.until_phase("Initialized").await;
    bed.modify_in("", &crds, "canaries.flagger.app", |crd| crd["spec"] = strict["spec"].clone());
    bed.kill_operator();
    bed.start_operator();
    bed.set_image("app:v2");
    bed.until("100 %", |bed| bed.canary_share() == 100).await;
    bed.until_phase("Succeeded").await;
    assert_eq!(bed.primary_image(), "app:v2");
}
