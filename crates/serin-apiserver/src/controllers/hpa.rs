//! HorizontalPodAutoscalers without metrics: they only keep the target between minReplicas and maxReplicas, and their status says so.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::change::{Change, Kind, NewEvent};
use super::object::{self, int, text};
use super::view::ClusterView;

const COMPONENT: &str = "horizontal-pod-autoscaler";

/// The next writes for this autoscaler.
pub(crate) fn reconcile(scaler: &Value, view: &ClusterView, now: Timestamp) -> Vec<Change> {
    if object::deleting(scaler) {
        return Vec::new();
    }
    let mut changes = Vec::new();
    let target = target(scaler, view);
    let (current, desired) = match target {
        Some((kind, target)) => {
            let wanted = int(target, "/spec/replicas").unwrap_or(1);
            let floor = int(scaler, "/spec/minReplicas").unwrap_or(1);
            let ceiling = int(scaler, "/spec/maxReplicas").unwrap_or(i64::from(i32::MAX));
            // With zero replicas the target is switched off, and the autoscaler does nothing.
            let desired = if wanted == 0 { 0 } else { wanted.max(floor).min(ceiling) };
            if desired != wanted {
                let mut scaled = target.clone();
                scaled["spec"]["replicas"] = json!(desired);
                changes.push(Change::Update(kind, scaled));
                let message = format!(
                    "New size: {desired}; reason: Current number of replicas out of Spec.MinReplicas and Spec.MaxReplicas"
                );
                changes.push(Change::Event(NewEvent::of(
                    Kind::HorizontalPodAutoscaler,
                    scaler,
                    COMPONENT,
                    "SuccessfulRescale",
                    message,
                )));
            }
            (int(target, "/status/replicas").unwrap_or(0), desired)
        }
        None => (0, 0),
    };
    let mut conditions = object::list(scaler, "/status/conditions").to_vec();
    for (kind, status, reason, message) in verdicts(target.is_some(), desired) {
        object::put_condition(
            &mut conditions,
            json!({"type": kind, "status": status, "reason": reason, "message": message}),
            now,
        );
    }
    let mut status = json!({"currentReplicas": current, "desiredReplicas": desired, "conditions": conditions, "currentMetrics": null});
    if let Some(generation) = int(scaler, "/metadata/generation") {
        status["observedGeneration"] = json!(generation);
    }
    if let Some(map) = status.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    if scaler.get("status") != Some(&status) {
        let mut changed = scaler.clone();
        changed["status"] = status;
        changes.push(Change::Status(Kind::HorizontalPodAutoscaler, changed));
    }
    changes
}

type Verdict = (&'static str, &'static str, &'static str, &'static str);

fn verdicts(found: bool, desired: i64) -> [Verdict; 2] {
    let able = if found {
        (
            "AbleToScale",
            "True",
            "SucceededGetScale",
            "the target's size is kept within minReplicas and maxReplicas",
        )
    } else {
        (
            "AbleToScale",
            "False",
            "FailedGetScale",
            "the target is not a Deployment or ReplicaSet that exists",
        )
    };
    let active = if found && desired == 0 {
        (
            "ScalingActive",
            "False",
            "ScalingDisabled",
            "scaling is disabled since the replica count of the target is zero",
        )
    } else {
        (
            "ScalingActive",
            "False",
            "FailedGetResourceMetric",
            "there are no resource metrics here: only minReplicas and maxReplicas are kept",
        )
    };
    [able, active]
}

fn target<'a>(scaler: &Value, view: &'a ClusterView) -> Option<(Kind, &'a Value)> {
    let kind = match text(scaler, "/spec/scaleTargetRef/kind") {
        "Deployment" => Kind::Deployment,
        "ReplicaSet" => Kind::ReplicaSet,
        _ => return None,
    };
    let name = text(scaler, "/spec/scaleTargetRef/name");
    let mut all = view.inside(kind, object::namespace(scaler)).iter();
    all.find(|target| object::name(target) == name && !object::deleting(target))
        .map(|target| (kind, target.as_ref()))
}
