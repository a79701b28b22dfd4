//! A small world for tests: Canaries through the real parser, objects from YAML, and what a change makes of them.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use serin_core::model::{Canary, TargetKind};
use serin_core::observed::Seen;
use serin_core::parse::{self, Limits};

use crate::change::{Change, KINDS, ObjectRef, Objects};
use crate::references::{further, references};
use crate::workload::config_references;

pub(crate) fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// The smallest Canary with `patch` (YAML below `spec`) put over it.
pub(crate) fn canary(patch: &str) -> Canary {
    let mut object = yaml(
        "
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: backend, namespace: develop, uid: u1, resourceVersion: '7', generation: 3}
spec:
  provider: traefik
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: backend}
  service: {port: 80, targetPort: 8080}
  analysis: {interval: 10s, threshold: 1, stepWeight: 10, maxWeight: 50}
",
    );
    if !patch.trim().is_empty() {
        merge(&mut object["spec"], &yaml(patch));
    }
    parse::canary(&object, &Limits::default()).unwrap()
}

/// The target as the API server would have it.
pub(crate) fn target() -> Value {
    yaml(
        "
apiVersion: apps/v1
kind: Deployment
metadata:
  name: backend
  namespace: develop
  generation: 1
  resourceVersion: '11'
  labels: {app: backend, team: sre}
  annotations: {kustomize.toolkit.fluxcd.io/checksum: x, owner: sre, deployment.kubernetes.io/revision: '1'}
spec:
  replicas: 2
  minReadySeconds: 3
  strategy: {type: RollingUpdate}
  selector: {matchLabels: {app: backend, tier: web}}
  template:
    metadata:
      creationTimestamp: null
      labels: {app: backend, tier: web}
    spec:
      containers:
      - name: app
        image: backend:1
        ports: [{name: http, containerPort: 8080}, {name: admin, containerPort: 9000}, {containerPort: 9001}]
        resources: {}
",
    )
}

pub(crate) fn with(mut value: Value, patch: &str) -> Value {
    merge(&mut value, &yaml(patch));
    value
}

/// These objects, and nothing else of what the Canary is about.
pub(crate) fn world(canary: &Canary, present: &[Value]) -> Objects {
    let mut objects = Objects::new();
    let references = references(canary);
    for object in references.objects {
        objects.put(object, Seen::Absent);
    }
    for (namespace, name) in references.slices {
        objects.put_slices(namespace, name, Seen::Present(Vec::new()));
    }
    for value in present.iter().filter(|value| is_workload(value)) {
        for reference in config_references(value) {
            for copy in reference.copies(canary) {
                objects.put(copy, Seen::Absent);
            }
            objects.put(reference.object, Seen::Absent);
        }
    }
    for value in present {
        objects.put(reference(value), Seen::Present(Arc::new(value.clone())));
    }
    for object in further(canary, &objects) {
        if !present.iter().any(|value| reference(value) == object) {
            objects.put(object, Seen::Absent);
        }
    }
    objects
}

fn is_workload(value: &Value) -> bool {
    TargetKind::ALL.into_iter().any(|kind| value["kind"] == kind.name())
}

fn reference(value: &Value) -> ObjectRef {
    let kind = KINDS.into_iter().find(|kind| value["kind"] == kind.kind).unwrap();
    let part = |key: &str| value["metadata"][key].as_str().unwrap_or_default().to_owned();
    kind.named(part("namespace"), part("name"))
}

/// JSON merge patch.
pub(crate) fn merge(into: &mut Value, from: &Value) {
    let Value::Object(from) = from else {
        *into = from.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    for (key, value) in from {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}

/// What the API server makes of the changes, as far as these tests need it: lists are atomic, versions move.
pub(crate) fn apply_all(objects: &Objects, changes: &[Change]) -> Objects {
    let mut objects = objects.clone();
    for change in changes {
        let target = change.target().clone();
        let live = objects.present(&target).cloned();
        if let Some(fence) = change.fence() {
            let version = live.as_ref().map(|live| &live["metadata"]["resourceVersion"]);
            assert_eq!(version, Some(&json!(fence)), "a fence that cannot hold");
        }
        let mut next = live.clone().unwrap_or_else(|| json!({}));
        match change {
            Change::Apply { target: _, object } => merge(&mut next, object),
            Change::Create { target: _, object } => {
                assert!(live.is_none(), "{target} exists");
                next = object.clone();
            }
            Change::Replace { target: _, object } => {
                assert!(change.fence().is_some(), "an update without a version");
                next = object.clone();
            }
            Change::MergePatch { target: _, patch } => merge(&mut next, patch),
            Change::Scale { target: _, replicas, version: _ } => {
                next["spec"]["replicas"] = json!(replicas);
            }
        }
        let version = live
            .and_then(|live| live["metadata"]["resourceVersion"].as_str()?.parse::<u64>().ok())
            .unwrap_or(0);
        next["metadata"]["resourceVersion"] = json!((version + 1).to_string());
        objects.put(target, Seen::Present(Arc::new(next)));
    }
    objects
}

/// Changes, short enough to read in a table.
pub(crate) fn shown(changes: &[Change]) -> String {
    let lines: Vec<String> = changes
        .iter()
        .map(|change| {
            let target = change.target();
            let fence = change.fence().map(|fence| format!(" at {fence}")).unwrap_or_default();
            let verb = match change {
                Change::Apply { .. } => "apply",
                Change::Create { .. } => "create",
                Change::Replace { .. } => "replace",
                Change::MergePatch { .. } => "patch",
                Change::Scale { target: _, replicas, version: _ } => {
                    return format!("scale {target} to {replicas}{fence}");
                }
            };
            format!("{verb} {target}{fence}")
        })
        .collect();
    lines.join("\n")
}
