//! Laws: nothing panics, nothing is ignored, everything is bounded.

use proptest::prelude::*;
use proptest::strategy::Strategy as Generator;

use super::*;
use crate::model::Weight;
use crate::model::provider::PROVIDERS;

#[test]
fn the_catalogue_as_markdown() {
    let table = refused_markdown();
    for entry in REFUSED {
        for provider in PROVIDERS.iter().filter(|provider| (entry.concerns)(provider)) {
            let row = |line: &str| line.contains(entry.path) && line.contains(provider.name);
            assert!(table.lines().any(row), "{} with {provider}", entry.path);
        }
    }
    assert!(table.lines().all(|line| line.matches('|').count() == 7), "{table}");
}

/// Every field that some row of this file uses, so that mutations reach all of `parse`.
fn rich() -> Value {
    object(
        "
metricsServer: http://p
autoscalerRef: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: b, primaryScalerReplicas: {minReplicas: 1}}
ingressRef: {name: i}
progressDeadlineSeconds: 60
service: {name: a, portName: web, targetPort: web, apex: {labels: {a: b}}, unmanagedMetadata: {labels: [a]}, timeout: 5s}
analysis:
  stepWeight: null
  stepWeights: [5, 10]
  maxWeight: 10
  stepWeightPromotion: 5
  metrics: [{name: request-duration, interval: 30s, thresholdRange: {max: 500, min: 0}}, {name: m, templateRef: {name: t}, templateVariables: {a: b}, threshold: 1}]
  webhooks: [{name: h, url: 'http://h', type: rollout, timeout: 5s, retries: 1, metadata: {a: b}}]
  alerts: [{name: a, severity: warn, providerRef: {name: p}}]
",
    )
}

fn any_json() -> impl Generator<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        "[0-9]{1,20}(ms|s|m|h)".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Puts `value` in place of the node that `pick` leads to.
fn mutate(node: &mut Value, pick: &mut impl Iterator<Item = usize>, value: &Value) {
    let step = pick.next().unwrap_or(0);
    let stop = step.is_multiple_of(7);
    if let Some(map) = node.as_object_mut().filter(|map| !map.is_empty() && !stop) {
        let n = step % map.len();
        mutate(map.values_mut().nth(n).unwrap(), pick, value);
        return;
    }
    if let Some(list) = node.as_array_mut().filter(|list| !list.is_empty() && !stop) {
        let n = step % list.len();
        mutate(&mut list[n], pick, value);
        return;
    }
    *node = value.clone();
}

proptest! {
    #[test]
    fn nothing_panics(picks in prop::collection::vec(prop::collection::vec(any::<usize>(), 1..8), 1..4), value in any_json()) {
        let mut object = rich();
        object["status"] = json!({"phase": "Failed", "conditions": [{"type": "Promoted"}], "trackedConfigs": {"a": "b"}, "guard": {}});
        for pick in picks {
            mutate(&mut object, &mut pick.into_iter(), &value);
        }
        match canary(&object) {
            Ok(canary) => {
                prop_assert!(canary.spec.analysis.interval_secs >= INTERVAL_FLOOR_SECS);
                prop_assert!(canary.status.canary_weight <= 100);
                prop_assert!(canary.spec.service.port > 0);
                let schedule = &canary.spec.analysis.schedule;
                prop_assert!(!schedule.stages.is_empty());
                prop_assert!(schedule.stages.iter().all(|stage| stage.rounds > 0));
                let shares: Vec<Weight> = schedule.shares().collect();
                prop_assert!(shares.is_sorted_by(|a, b| a < b));
            }
            Err(failure) => prop_assert!(failure.obstacles().next().is_some()),
        }
        let _ = metric_template(&object);
        let _ = alert_provider(&object);
    }

    #[test]
    fn anything_at_all(value in any_json()) {
        prop_assert!(canary(&value).is_err());
    }
}

/// Places where a value of a wrong type goes unseen, and why that is right.
const UNREAD: [&str; 6] = [
    // Only the name is of use, in query templates; the kind says nothing that the field does not.
    "spec.ingressRef.apiVersion",
    "spec.ingressRef.kind",
    "spec.routeRef.apiVersion",
    "spec.routeRef.kind",
    // Only ever together with the catalogue's word on the whole of it.
    "spec.targetRef.kind",
    "spec.autoscalerRef.kind",
];

/// The law of this module: of what the schema has, nothing is ignored silently.
#[test]
fn every_field_of_the_schema_is_read_or_in_the_catalogue() {
    let crds = crate::crd::crds();
    let schema = &crds[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut fields = Vec::new();
    leaves("spec", schema, &mut fields);
    assert!(fields.len() > 100, "{}", fields.len());
    for provider in ["traefik", "kubernetes"] {
        for (path, wrong) in &fields {
            if UNREAD.contains(&path.as_str()) || path == "spec.provider" {
                continue;
            }
            let mut object = rich();
            object["spec"]["provider"] = json!(provider);
            put(&mut object, path, wrong.clone());
            let said = match canary(&object) {
                Ok(canary) => canary.spec.findings,
                Err(failure) => failure.findings,
            };
            let about = |field: &str| {
                let field = field.replace("[0]", "");
                path.replace("[]", "").starts_with(&field)
            };
            assert!(said.iter().any(|s| about(&s.field)), "{provider}: {path}: {said:?}");
        }
    }
}

/// Each field without fields of its own, and a value that it cannot have.
fn leaves(path: &str, schema: &Value, out: &mut Vec<(String, Value)>) {
    let Some(properties) = schema["properties"].as_object() else {
        let wrong = if schema["type"] == "object" { json!(7) } else { json!({"wrong": 1}) };
        out.push((path.to_owned(), wrong));
        return;
    };
    for (name, inner) in properties {
        let path = format!("{path}.{name}");
        if inner["items"]["properties"].is_object() {
            leaves(&format!("{path}[]"), &inner["items"], out);
        } else {
            leaves(&path, inner, out);
        }
    }
}

fn put(object: &mut Value, path: &str, value: Value) {
    let mut node = object;
    for key in path.split('.') {
        node = match key.strip_suffix("[]") {
            None => &mut node[key],
            Some(list) => {
                if !node[list].is_array() {
                    node[list] = json!([{}]);
                }
                &mut node[list][0]
            }
        };
    }
    *node = value;
}
