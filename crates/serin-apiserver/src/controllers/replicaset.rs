//! ReplicaSets: creates and deletes pods until their number is `spec.replicas`.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::change::{Change, Deletion, Kind, NewEvent, Outcome};
use super::hash::suffix;
use super::object::{self, int, text};
use super::view::ClusterView;
use crate::generated;
use crate::json_pointer::At;

const COMPONENT: &str = "replicaset-controller";
/// Pods created or deleted for one ReplicaSet in one pass, so that a typo in `replicas` does not block the other controllers.
const BURST: usize = 500;

/// A counter for pod names, so that no name is used twice.
#[derive(Debug, Default)]
pub(crate) struct Names(u64);

impl Names {
    pub(crate) fn next(&mut self, owner: &Value) -> String {
        self.0 += 1;
        let prefix = format!("{}-", object::name(owner));
        format!(
            "{}{}",
            generated::head(&prefix),
            suffix(&[object::uid(owner), &self.0.to_string()])
        )
    }
}

/// The objects that reconciling a ReplicaSet reads, the ReplicaSet first.
pub(crate) fn inputs(set: &Arc<Value>, view: &ClusterView) -> Vec<Arc<Value>> {
    let owned = view.owned(Kind::Pod, object::uid(set));
    let orphans = view.orphans(Kind::Pod, object::namespace(set));
    [set].into_iter().chain(owned).chain(orphans).cloned().collect()
}

/// The next writes for this ReplicaSet.
pub(crate) fn reconcile(
    set: &Value,
    view: &ClusterView,
    names: &mut Names,
    now: Timestamp,
) -> Outcome {
    let mut outcome = Outcome::default();
    let pods = view.owned(Kind::Pod, object::uid(set));
    let active: Vec<&Value> =
        pods.iter().map(AsRef::as_ref).filter(|pod| object::is_active(pod)).collect();
    if !object::deleting(set) {
        let selector = &set["spec"]["selector"];
        let stray = view.orphans(Kind::Pod, object::namespace(set)).iter().filter(|pod| {
            object::is_active(pod) && object::selects(selector, &pod["metadata"]["labels"])
        });
        outcome.changes.extend(stray.map(|pod| {
            Change::Update(
                Kind::Pod,
                object::adopted(pod, object::controlled_by(set, "apps/v1", "ReplicaSet")),
            )
        }));
        if !outcome.changes.is_empty() {
            return outcome;
        }
        let wanted = usize::try_from(int(set, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
        grow(set, wanted.saturating_sub(active.len()), names, &mut outcome.changes);
        shrink(set, &active, active.len().saturating_sub(wanted), &mut outcome.changes);
    }
    let status = status(set, &active, &mut outcome, now);
    if set.get("status") != Some(&status) {
        let mut changed = set.clone();
        changed["status"] = status;
        outcome.changes.push(Change::Status(Kind::ReplicaSet, changed));
    }
    outcome
}

fn grow(set: &Value, missing: usize, names: &mut Names, changes: &mut Vec<Change>) {
    for _ in 0..missing.min(BURST) {
        let pod = pod_of(set, "ReplicaSet", names.next(set));
        let message = format!("Created pod: {}", object::name(&pod));
        changes.push(Change::Create(Kind::Pod, pod));
        changes.push(Change::Event(NewEvent::of(
            Kind::ReplicaSet,
            set,
            COMPONENT,
            "SuccessfulCreate",
            message,
        )));
    }
}

/// A pod from the owner's template.
pub(crate) fn pod_of(owner: &Value, kind: &str, name: String) -> Value {
    let template = &owner["spec"]["template"];
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(name));
    metadata.insert("generateName".to_owned(), json!(format!("{}-", object::name(owner))));
    metadata.insert("namespace".to_owned(), json!(object::namespace(owner)));
    for key in ["labels", "annotations", "finalizers"] {
        if let Some(value) =
            template.at(&format!("/metadata/{key}")).filter(|value| !value.is_null())
        {
            metadata.insert(key.to_owned(), value.clone());
        }
    }
    metadata.insert(
        "ownerReferences".to_owned(),
        json!([object::controlled_by(owner, "apps/v1", kind)]),
    );
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}})
}

/// Deletes surplus pods in the order of Kubernetes: not scheduled, not running, not ready, lower deletion cost, younger.
fn shrink(set: &Value, active: &[&Value], surplus: usize, changes: &mut Vec<Change>) {
    let rank = |pod: &Value| {
        let cost: i64 = object::annotation(pod, "controller.kubernetes.io/pod-deletion-cost")
            .parse()
            .unwrap_or(0);
        let scheduled = !text(pod, "/spec/nodeName").is_empty();
        let running = text(pod, "/status/phase") == "Running";
        let since = object::condition(pod, "Ready")
            .and_then(|ready| object::time(ready, "/lastTransitionTime"));
        (
            scheduled,
            running,
            object::is_ready(pod),
            cost,
            std::cmp::Reverse(since),
            object::name(pod).to_owned(),
        )
    };
    let mut victims = active.to_vec();
    victims.sort_by_cached_key(|pod| rank(pod));
    for pod in victims.into_iter().take(surplus.min(BURST)) {
        changes.push(Change::Delete(Deletion::of(Kind::Pod, pod, None)));
        let message = format!("Deleted pod: {}", object::name(pod));
        changes.push(Change::Event(NewEvent::of(
            Kind::ReplicaSet,
            set,
            COMPONENT,
            "SuccessfulDelete",
            message,
        )));
    }
}

fn status(set: &Value, active: &[&Value], outcome: &mut Outcome, now: Timestamp) -> Value {
    let min_ready = int(set, "/spec/minReadySeconds").unwrap_or(0);
    let labels = set.at("/spec/template/metadata/labels").and_then(Value::as_object);
    let labelled = |pod: &Value| {
        labels
            .into_iter()
            .flatten()
            .all(|(key, value)| pod["metadata"]["labels"].get(key) == Some(value))
    };
    let mut available = 0;
    for pod in active {
        match object::available_at(pod, min_ready) {
            Some(at) if at <= now => available += 1,
            later @ (Some(_) | None) => outcome.requeue_at(later),
        }
    }
    let count = |keep: &dyn Fn(&Value) -> bool| active.iter().filter(|pod| keep(pod)).count();
    let mut status = Map::new();
    status.insert("replicas".to_owned(), json!(active.len()));
    let counts = [
        ("availableReplicas", available),
        ("fullyLabeledReplicas", count(&labelled)),
        ("readyReplicas", count(&object::is_ready)),
    ];
    for (key, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        status.insert(key.to_owned(), json!(count));
    }
    status.insert("observedGeneration".to_owned(), set["metadata"]["generation"].clone());
    Value::Object(status)
}
