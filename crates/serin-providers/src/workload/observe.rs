//! The target and the primary as they are: their revisions, and whether their pods are there.

use jiff::Timestamp;
use serde_json::Value;
use serin_core::model::Canary;
use serin_core::observed::{Seen, Workload};

use super::revision::{REVISION_ANNOTATION, revision};
use super::{config, primary};
use crate::change::Objects;
use crate::json::{canonical, count, text};
use crate::ownership::owned_by;
use crate::settings::Settings;
use crate::workload::names;

pub(crate) fn observe_target(canary: &Canary, objects: &Objects, now: Timestamp) -> Seen<Workload> {
    let threshold = canary.spec.analysis.canary_ready_threshold;
    map(objects.get(&names::target(canary)), |live| {
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
    map(objects.get(&names::primary(canary)), |live| {
        let mut seen = workload(canary, live, threshold, now);
        seen.revision = strings_annotation(live);
        seen.configs = primary::made_with(canary, live, &seen.revision);
        seen.matches_target = objects
            .present(&names::target(canary))
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
    let kind = super::of(canary);
    let pods = kind.pods(live);
    Workload {
        revision: String::new(),
        matches_target: false,
        configs: None,
        uid: text(live, "/metadata/uid").unwrap_or_default().to_owned(),
        generation: count(live, "/metadata/generation"),
        confirmed: false,
        running: kind.running(live),
        replicas: pods.wanted,
        readiness: kind.readiness(live, threshold, canary.spec.progress_deadline_secs, now),
        available_replicas: pods.available,
        pods: pods.present,
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
    let Some(selector) = primary::selector(canary, target, Some(live), &none, settings) else {
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
