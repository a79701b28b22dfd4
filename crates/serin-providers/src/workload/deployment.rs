//! Deployments: the revision of a pod template, and whether its pods are there.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use serin_core::model::Canary;
use serin_core::observed::{Readiness, Seen, Workload};
use serin_core::words::line;

use super::{config, primary};
use crate::change::Objects;
use crate::json::{canonical, count, int, items, owned_by, sha256_hex, text};
use crate::references;
use crate::settings::Settings;

/// On the primary: the revision of the target that it was made from.
pub const REVISION_ANNOTATION: &str = "serin.dev/revision";

/// Of our own making, so that it is never taken for one of Flagger's.
const REVISION_PREFIX: &str = "s1:";

/// Admission webhooks may say as much as they like.
const REFUSAL_MAX: usize = 300;

/// The revision of a workload's pod template as it is stored. Upgrades of the API server that add empty fields leave it alone.
pub fn revision(workload: &Value) -> String {
    let template = workload.pointer("/spec/template").map(canonical).unwrap_or_default();
    format!("{REVISION_PREFIX}{}", sha256_hex(&template, 8))
}

pub(crate) fn observe_target(canary: &Canary, objects: &Objects, now: Timestamp) -> Seen<Workload> {
    let threshold = canary.spec.analysis.canary_ready_threshold;
    map(objects.get(&references::target(canary)), |live| {
        let mut seen = workload(canary, live, threshold, now);
        seen.revision = revision(live);
        seen
    })
}

pub(crate) fn observe_primary(
    canary: &Canary,
    objects: &Objects,
    settings: &Settings,
    now: Timestamp,
) -> Seen<Workload> {
    let threshold = canary.spec.analysis.primary_ready_threshold;
    map(objects.get(&references::primary(canary)), |live| {
        let mut seen = workload(canary, live, threshold, now);
        seen.revision = strings_annotation(live);
        seen.configs = primary::made_with(canary, live, &seen.revision);
        seen.matches_target = objects
            .present(&references::target(canary))
            .is_some_and(|target| matches(canary, target, live, objects, settings));
        seen
    })
}

fn map<T>(seen: Seen<&Value>, make: impl FnOnce(&Value) -> T) -> Seen<T> {
    match seen {
        Seen::Present(live) => Seen::Present(make(live)),
        Seen::Absent => Seen::Absent,
        Seen::Unreadable(why) => Seen::Unreadable(why),
    }
}

fn strings_annotation(live: &Value) -> String {
    let annotations = live.pointer("/metadata/annotations");
    let revision = annotations.and_then(|map| map.get(REVISION_ANNOTATION));
    revision.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn workload(canary: &Canary, live: &Value, threshold: u8, now: Timestamp) -> Workload {
    let unsigned = |value: i64| u32::try_from(value).unwrap_or(0);
    Workload {
        revision: String::new(),
        matches_target: false,
        configs: None,
        uid: text(live, "/metadata/uid").unwrap_or_default().to_owned(),
        generation: count(live, "/metadata/generation"),
        confirmed: false,
        replicas: unsigned(int(live, "/spec/replicas").unwrap_or(1)),
        readiness: readiness(live, threshold, canary.spec.progress_deadline_secs, now),
        available_replicas: unsigned(count(live, "/status/availableReplicas")),
        pods: unsigned(count(live, "/status/replicas")),
        owned: owned_by(live, canary),
    }
}

/// Whether the status knows a later generation of this target.
pub fn saw_later(canary: &Canary, live: &Value) -> bool {
    let uid = text(live, "/metadata/uid").unwrap_or_default();
    canary.status.saw_later(uid, count(live, "/metadata/generation")).is_some()
}

fn matches(
    canary: &Canary,
    target: &Value,
    live: &Value,
    objects: &Objects,
    settings: &Settings,
) -> bool {
    let none = std::collections::BTreeMap::new();
    let Some(selector) = primary::selector(target, Some(live), &none, settings) else {
        return false;
    };
    // When a config cannot be read every mention counts as tracked, which is what the last copy did most likely.
    let tracked = config::tracked(target, objects, settings).unwrap_or_else(|_| {
        let all = config::config_references(target).into_iter();
        all.map(|reference| (reference.object, String::new())).collect()
    });
    let copies = config::places_in(canary, tracked.keys(), live);
    let wanted = primary::template(canary, target, &selector, &copies, settings);
    let live = live.pointer("/spec/template").cloned().unwrap_or(Value::Null);
    canonical(&wanted) == canonical(&primary::without_id(live))
}

/// Whether the pods of the spec are there, by the Deployment's own account.
pub(crate) fn readiness(
    deployment: &Value,
    threshold_percent: u8,
    deadline_secs: i64,
    now: Timestamp,
) -> Readiness {
    let generation = count(deployment, "/metadata/generation");
    let observed = count(deployment, "/status/observedGeneration");
    if generation > observed {
        return Readiness::Progressing(format!(
            "the controller has seen generation {observed} of {generation}"
        ));
    }
    let progressing = condition(deployment, "Progressing");
    if progressing.and_then(|condition| text(condition, "/reason"))
        == Some("ProgressDeadlineExceeded")
    {
        return Readiness::Stuck(and_refused(
            deployment,
            "its own progress deadline is exceeded".to_owned(),
        ));
    }
    let Some(waiting) = waiting_for(deployment, threshold_percent) else { return Readiness::Ready };
    let waiting = and_refused(deployment, waiting);
    let paused = deployment.pointer("/spec/paused").and_then(Value::as_bool) == Some(true);
    let waiting = match paused {
        true => format!("it is paused, set spec.paused to false; {waiting}"),
        false => waiting,
    };
    let deadline_past = progressing.is_some()
        && condition(deployment, "Available").is_some_and(|available| {
            text(available, "/status") == Some("False")
                && text(available, "/reason") == Some("MinimumReplicasUnavailable")
                && text(available, "/lastUpdateTime")
                    .and_then(|time| time.parse::<Timestamp>().ok())
                    .and_then(|time| {
                        time.checked_add(SignedDuration::from_secs(deadline_secs)).ok()
                    })
                    .is_some_and(|deadline| deadline < now)
        });
    if deadline_past {
        return Readiness::Stuck(format!("{waiting} after {deadline_secs} s"));
    }
    Readiness::Progressing(waiting)
}

/// What the API server says to its pods, where it refuses them: a quota, Pod Security, an admission webhook.
fn and_refused(deployment: &Value, waiting: String) -> String {
    let failure = condition(deployment, "ReplicaFailure")
        .filter(|condition| text(condition, "/status") == Some("True"));
    let Some(message) = failure.and_then(|condition| text(condition, "/message")) else {
        return waiting;
    };
    // What stands before is the pod's name, which is another one at each try.
    let why = message.split_once("is forbidden: ").map_or(message, |(_, why)| why);
    format!("{waiting}, its pods are refused: {}", line(why, REFUSAL_MAX))
}

fn waiting_for(deployment: &Value, threshold_percent: u8) -> Option<String> {
    let wanted = int(deployment, "/spec/replicas").unwrap_or(1);
    let replicas = count(deployment, "/status/replicas");
    let updated = count(deployment, "/status/updatedReplicas");
    let available = count(deployment, "/status/availableReplicas");
    if updated < wanted {
        return Some(format!("{updated} out of {wanted} new replicas have been updated"));
    }
    if replicas > updated {
        let old = replicas - updated;
        return Some(format!("{old} old replicas are pending termination"));
    }
    if available < updated * i64::from(threshold_percent) / 100 {
        return Some(format!(
            "{available} of {updated} (readyThreshold {threshold_percent}%) updated replicas are available"
        ));
    }
    None
}

fn condition<'a>(deployment: &'a Value, kind: &str) -> Option<&'a Value> {
    items(deployment, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == Some(kind))
}

#[cfg(test)]
mod tests;
