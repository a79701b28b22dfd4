//! What the users of a world have written.

use serde_json::{Value, json};
use serin_core::model::{HookKind, TargetKind};

/// In the node selector of a DaemonSet without pods.
const NOWHERE: &str = "flagger.app/scale-to-zero";

use crate::other_owners::{self, Taken};
use crate::plan::{Checks, Edit, Shape};

pub(crate) const NAMESPACE: &str = "develop";
/// What only ConfigMaps and Secrets hold that no canary refers to: the operator is never to read it.
pub(crate) const FOREIGN: &str = "bm9ib2R5IHdhbnRzIHRoaXM=";

/// The ways to introduce a version; a test holds the list against the operator's own strategies.
pub(crate) fn strategies() -> Vec<Value> {
    vec![
        json!({"stepWeights": [5, 20, 50]}),
        json!({"stepWeight": 25, "maxWeight": 50}),
        json!({"stepWeight": 20, "maxWeight": 60, "stepWeightPromotion": 30}),
        json!({"iterations": 3}),
    ]
}

/// Which of them begins with copies of requests.
const COPIED_FIRST: usize = 1;

pub(crate) fn name(canary: usize) -> String {
    format!("app{canary}")
}

/// Everything of one canary, in the order in which it is applied.
pub(crate) fn objects(canary: usize, shape: &Shape, image: &str) -> Vec<Value> {
    let beside = &shape.extra.beside;
    let mut objects = vec![target(canary, shape, image)];
    if shape.configs {
        for kind in ["ConfigMap", "Secret"] {
            objects.push(config(canary, shape, kind, 0));
        }
    }
    objects.extend(other_owners::objects(canary, beside).into_iter().map(|(_, object)| object));
    if beside.odd_ports && !beside.taken.contains(&Taken::Apex) {
        objects.push(other_owners::odd_service(canary, beside));
    }
    if shape.autoscaler {
        objects.push(autoscaler(canary, 2, 4));
    }
    objects.push(self::canary(canary, shape));
    objects
}

/// What all canaries share.
pub(crate) fn shared() -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "foreign", "namespace": NAMESPACE}, "data": {"text": FOREIGN},
        }),
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "foreign", "namespace": NAMESPACE}, "data": {"text": FOREIGN},
        }),
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "prometheus", "namespace": NAMESPACE},
            "data": {"username": "dXNlcg==", "password": "cGFzcw=="},
        }),
        json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "MetricTemplate",
            "metadata": {"name": "errors", "namespace": NAMESPACE},
            "spec": {
                "provider": {"type": "prometheus", "address": "http://prometheus:9090", "secretRef": {"name": "prometheus"}},
                "query": "errors{app=\"{{ target }}\"}",
            },
        }),
        json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "AlertProvider",
            "metadata": {"name": "chat", "namespace": NAMESPACE},
            "spec": {"type": "slack", "channel": "releases", "address": "http://chat/hook"},
        }),
    ]
}

/// A kind of the group `apps`, as the API's URLs have it.
pub(crate) fn workloads(kind: TargetKind) -> (&'static str, &'static str) {
    match kind {
        TargetKind::DaemonSet => ("apps", "daemonsets"),
        TargetKind::Deployment => ("apps", "deployments"),
    }
}

/// How many pods a workload of either kind is to have, on the one node that there is.
pub(crate) fn wanted(workload: &Value) -> i64 {
    match workload.pointer("/spec/replicas") {
        Some(replicas) => replicas.as_i64().unwrap_or(1),
        None => i64::from(workload["spec"]["template"]["spec"]["nodeSelector"][NOWHERE].is_null()),
    }
}

/// What a user does to have so many pods.
pub(crate) fn set_wanted(workload: &mut Value, pods: u64) {
    if workload["spec"].get("replicas").is_some() {
        workload["spec"]["replicas"] = json!(pods);
        return;
    }
    let spec = &mut workload["spec"]["template"]["spec"];
    match pods {
        0 => spec["nodeSelector"] = json!({NOWHERE: "true"}),
        _ => drop(spec.as_object_mut().map(|spec| spec.remove("nodeSelector"))),
    }
}

fn target(canary: usize, shape: &Shape, image: &str) -> Value {
    let mut target = deployment(canary, shape, image);
    match shape.target {
        TargetKind::DaemonSet => {
            target["kind"] = json!("DaemonSet");
            if let Some(spec) = target["spec"].as_object_mut() {
                spec.remove("replicas");
                spec.remove("progressDeadlineSeconds");
            }
        }
        TargetKind::Deployment => {}
    }
    target
}

fn deployment(canary: usize, shape: &Shape, image: &str) -> Value {
    let name = name(canary);
    let mut container = json!({
        "name": "app", "image": image, "ports": [{"containerPort": 8080}],
    });
    if shape.extra.beside.odd_ports {
        container["ports"][0]["name"] = json!("http");
    }
    if shape.configs {
        let config = other_owners::config_name(canary, &shape.extra.beside);
        container["envFrom"] = json!([
            {"configMapRef": {"name": config}}, {"secretRef": {"name": config}},
        ]);
    }
    let labels = other_owners::labels(canary, &shape.extra.beside);
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
        "spec": {
            "replicas": 2,
            "progressDeadlineSeconds": 60,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container]},
            },
        },
    })
}

pub(crate) fn config(canary: usize, shape: &Shape, kind: &str, turn: u64) -> Value {
    let name = other_owners::config_name(canary, &shape.extra.beside);
    let mut object = json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
    });
    // Base64 that is a string as well.
    object["data"] = json!({"turn": format!("turn{turn:04}")});
    object
}

pub(crate) fn autoscaler(canary: usize, min: u64, max: u64) -> Value {
    let name = name(canary);
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": min, "maxReplicas": max,
        },
    })
}

fn metrics(canary: usize, shape: &Shape) -> Value {
    let range = json!({"max": 1});
    let mut metrics = match shape.checks {
        Checks::Inline => json!([
            {"name": "errors", "query": format!("errors{{app=\"{}\"}}", name(canary)), "thresholdRange": range},
        ]),
        Checks::Builtin => json!([
            {"name": "request-success-rate", "thresholdRange": {"min": 99}},
            {"name": "request-duration", "thresholdRange": {"max": 500}},
        ]),
        Checks::Template => json!([
            {"name": "errors", "templateRef": {"name": "errors"}, "thresholdRange": range},
        ]),
    };
    shape.extra.put_policies(&mut metrics);
    metrics
}

/// The Canary as its shape has it.
pub(crate) fn canary(canary: usize, shape: &Shape) -> Value {
    let name = name(canary);
    let webhooks: Vec<Value> = shape
        .hooks
        .iter()
        .map(|kind: &HookKind| {
            json!({
                "name": kind.name(), "type": kind.name(),
                "timeout": format!("{}s", shape.extra.hook_secs.unwrap_or(5)),
                "url": format!("http://hooks/{name}/{}", kind.name()),
            })
        })
        .collect();
    let mut analysis = json!({
        "interval": format!("{}s", shape.interval_secs),
        "threshold": shape.threshold,
        "metrics": metrics(canary, shape),
        "webhooks": webhooks,
        "alerts": [{"name": "chat", "severity": "info", "providerRef": {"name": "chat"}}],
    });
    if shape.guard {
        analysis["guard"] = shape.extra.guard_spec();
    } else {
        analysis["guard"] = json!({"mode": "off"});
    }
    let service = match shape.extra.beside.odd_ports {
        // Where it leads comes from the live one.
        true => json!({"port": 80}),
        false => json!({"port": 80, "targetPort": 8080}),
    };
    let mut object = json!({
        "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "provider": shape.provider.name,
            "targetRef": {"apiVersion": "apps/v1", "kind": shape.target.name(), "name": name},
            "service": service,
            "progressDeadlineSeconds": 60,
            "skipAnalysis": shape.skip_analysis,
            "revertOnDeletion": shape.revert_on_deletion,
            "analysis": analysis,
        },
    });
    if shape.autoscaler {
        object["spec"]["autoscalerRef"] = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": name,
        });
    }
    if shape.provider.honours("spec.service.gatewayRefs") {
        object["spec"]["service"]["gatewayRefs"] = json!([{"name": "edge"}]);
    }
    if shape.tests {
        replace_strategy(&mut object, &crate::routes::test_of_three_rounds());
    } else {
        set_strategy(&mut object, shape.strategy);
    }
    object
}

fn set_strategy(object: &mut Value, number: usize) {
    let all = strategies();
    replace_strategy(object, &all[number % all.len()]);
    // Copies come first where the router makes them by itself: no Gateway of this world says what it does.
    if number % all.len() == COPIED_FIRST && object["spec"]["provider"] == "traefik" {
        object["spec"]["analysis"]["mirror"] = json!(true);
    }
}

fn replace_strategy(object: &mut Value, strategy: &Value) {
    let analysis = object["spec"]["analysis"].as_object_mut().unwrap();
    let fields = [
        "stepWeight",
        "stepWeights",
        "maxWeight",
        "stepWeightPromotion",
        "iterations",
        "match",
        "mirror",
    ];
    for field in fields {
        analysis.remove(field);
    }
    for (field, value) in strategy.as_object().unwrap() {
        analysis.insert(field.clone(), value.clone());
    }
}

/// What an edit makes of the object.
pub(crate) fn edit(object: &mut Value, edit: Edit) {
    match edit {
        Edit::Strategy(number) => set_strategy(object, number),
        Edit::Threshold(threshold) => object["spec"]["analysis"]["threshold"] = json!(threshold),
        Edit::Interval(secs) => object["spec"]["analysis"]["interval"] = json!(format!("{secs}s")),
        Edit::SkipAnalysis(skip) => object["spec"]["skipAnalysis"] = json!(skip),
        Edit::Nonsense => {
            let analysis = object["spec"]["analysis"].as_object_mut().unwrap();
            analysis.remove("stepWeights");
            analysis.insert("stepWeight".to_owned(), json!(10));
            analysis.insert("iterations".to_owned(), json!(10));
        }
    }
}

/// The fields of a status that Flagger has as well, with hashes as it makes them.
pub(crate) fn as_flagger_left_it(status: &mut Value) {
    let Some(status) = status.as_object_mut() else { return };
    let theirs = [
        "phase",
        "failedChecks",
        "canaryWeight",
        "iterations",
        "lastAppliedSpec",
        "lastPromotedSpec",
        "trackedConfigs",
        "lastTransitionTime",
        "conditions",
    ];
    status.retain(|field, _| theirs.contains(&field.as_str()));
    for field in ["lastAppliedSpec", "lastPromotedSpec"] {
        if let Some(hash) = status.get_mut(field) {
            let text = hash.as_str().unwrap_or_default();
            *hash = json!((crate::random::digest(0, text.as_bytes()) >> 32).to_string());
        }
    }
    if let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) {
        conditions.retain(|condition| condition["type"] == "Promoted");
    }
}

/// The object without what is ours to change and what the API server keeps.
pub(crate) fn without_ours(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.remove("replicas");
    }
    let selector = object.pointer_mut("/spec/template/spec/nodeSelector");
    if let Some(selector) = selector.and_then(Value::as_object_mut) {
        selector.remove(NOWHERE);
    }
    let spec = object.pointer_mut("/spec/template/spec").and_then(Value::as_object_mut);
    if let Some(spec) = spec.filter(|spec| spec.get("nodeSelector") == Some(&json!({}))) {
        spec.remove("nodeSelector");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["managedFields", "resourceVersion", "generation"] {
            metadata.remove(field);
        }
    }
    object.as_object_mut().map(|object| object.remove("status"));
    object
}
