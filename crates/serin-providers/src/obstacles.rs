//! What is in the way of a Canary: everything that would be written wrongly or refused, found before anything is written.

use serde_json::Value;
use serin_core::model::Canary;
use serin_core::observed::{Obstacle, ObstacleKind, Seen};

use crate::change::{HORIZONTAL_POD_AUTOSCALER, ObjectRef, Objects, SERVICE};
use crate::error::RenderError;
use crate::json::items;
use crate::ownership::{self, Owner};
use crate::router::{RouterError, router};
use crate::service::{self, pods};
use crate::settings::Settings;
use crate::workload;
use crate::workload::names;
use crate::workload::{config, kept};

/// Kubernetes takes these away by itself.
const OF_KUBERNETES: [&str; 2] = ["foregroundDeletion", "orphan"];

/// All of it at once, so that nobody mends one thing to be told of the next.
pub fn find(canary: &Canary, objects: &Objects, settings: &Settings) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let add = |found: &mut Vec<Obstacle>, kind, message: String| {
        found.push(Obstacle { kind, message: format!("{message}.") });
    };
    if let Some(error) = service::no_selector_label(canary, objects, settings) {
        add(&mut found, ObstacleKind::NoSelectorLabel, error.to_string());
    }
    let target = names::target(canary);
    let live = objects.present(&target).filter(|_| !canary.deleting);
    for message in live.map_or_else(Vec::new, |live| workload::of(canary).obstacles(&target, live))
    {
        add(&mut found, ObstacleKind::Target, message);
    }
    for (object, way_out) in derived(canary) {
        if let Some(message) = held_back(&object, canary, objects) {
            add(&mut found, ObstacleKind::NotOurs, message);
        } else if let Some(owner) = stranger(&object, canary, objects) {
            let message = format!("{object} belongs to {owner} and is left alone: {way_out}");
            add(&mut found, ObstacleKind::NotOurs, message);
        }
    }
    if let Some(message) = service::apex_of_others(canary, objects, settings) {
        add(&mut found, ObstacleKind::NotOurs, message);
    }
    for error in router(canary.spec.provider).obstacles(canary, objects) {
        let kind = match error {
            RouterError::Missing(_)
            | RouterError::Shared { .. }
            | RouterError::OldSyntax { .. }
            | RouterError::NotDone { .. }
            | RouterError::Tie { .. } => ObstacleKind::Route,
            RouterError::NotOurs { .. }
            | RouterError::NotWeighted { .. }
            | RouterError::LeadsElsewhere { .. }
            | RouterError::NotAccepted { .. }
            | RouterError::Unreadable { .. }
            | RouterError::Unsupported { .. } => ObstacleKind::NotOurs,
        };
        add(&mut found, kind, error.to_string());
    }
    for error in config_copies(canary, objects, settings) {
        add(&mut found, ObstacleKind::NotOurs, error.to_string());
    }
    for message in service::port_obstacles(canary, objects, settings) {
        add(&mut found, ObstacleKind::Port, message);
    }
    for message in pods::deaf(canary, objects, settings) {
        add(&mut found, ObstacleKind::Port, message);
    }
    for message in pods::foreign(canary, objects) {
        add(&mut found, ObstacleKind::ForeignEndpoints, message);
    }
    found
}

/// Objects under names that come from the Canary's, with what a user can do about one that is in the way.
fn derived(canary: &Canary) -> Vec<(ObjectRef, &'static str)> {
    let namespace = canary.key.namespace.as_str();
    let service = &canary.spec.service;
    let other_service = "delete or rename it, or have other names derived with spec.service.name";
    let rename = "delete or rename it";
    let mut derived = vec![
        (names::primary(canary), "delete or rename it, or rename the target"),
        (SERVICE.named(namespace, service.primary_name()), other_service),
        (SERVICE.named(namespace, service.canary_name()), other_service),
    ];
    if let Some(scaler) = &canary.spec.scaler {
        derived.push((HORIZONTAL_POD_AUTOSCALER.named(namespace, scaler.primary_name()), rename));
    }
    derived.extend(kept::objects(canary).into_iter().map(|object| (object, rename)));
    derived
}

/// One that is being deleted and that another owner's finalizers keep: no controller works for it any more.
fn held_back(object: &ObjectRef, canary: &Canary, objects: &Objects) -> Option<String> {
    let live = objects.present(object).filter(|_| !canary.deleting)?;
    live.pointer("/metadata/deletionTimestamp").filter(|time| !time.is_null())?;
    let finalizers = items(live, "/metadata/finalizers").iter().filter_map(Value::as_str);
    let held: Vec<&str> = finalizers.filter(|name| !OF_KUBERNETES.contains(name)).take(3).collect();
    (!held.is_empty()).then(|| {
        let held = held.join(", ");
        format!("{object} is being deleted and kept by the finalizer {held}: its controller has to finish, or it has to be removed")
    })
}

fn stranger(object: &ObjectRef, canary: &Canary, objects: &Objects) -> Option<String> {
    match ownership::of(objects.present(object)?, canary) {
        Owner::Ours => None,
        Owner::Other(owner) => Some(owner),
    }
}

fn config_copies(canary: &Canary, objects: &Objects, settings: &Settings) -> Vec<RenderError> {
    let Seen::Present(target) = objects.get(&names::target(canary)) else {
        return Vec::new();
    };
    let target: &Value = target;
    let tracked = config::tracked(target, objects, settings).unwrap_or_default();
    tracked
        .keys()
        .filter_map(|source| config::place(canary, source, objects).err())
        // What cannot be read is told where it is read.
        .filter(|error| matches!(error, RenderError::NotOurs { .. }))
        .collect()
}
