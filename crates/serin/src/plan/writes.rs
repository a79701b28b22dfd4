//! Which objects a Canary would create or change, by asking those who would write them.

use std::sync::Arc;

use serde_json::{Value, json};
use serin_core::model::{Canary, Exposure};
use serin_core::observed::Seen;
use serin_core::plan::Action;
use serin_providers::workload::{config_references, revision};
use serin_providers::{Change, Objects, Settings, references, render};

use super::differ::{differences, overlay};
use super::look::Look;
use super::report::{Write, Writes};
/// From a route to its Gateway, to the class of that, and to what stands beside the route then.
const LED_ON_MAX: usize = 4;

/// Everything the Canary is about, as it would be found.
async fn objects(canary: &Canary, look: &Look<'_>) -> anyhow::Result<Objects> {
    let mut objects = Objects::new();
    let wanted = references(canary);
    for target in wanted.objects {
        let seen = look.find(&target).await?;
        objects.put(target, seen);
    }
    for _ in 0..LED_ON_MAX {
        for target in references::further(canary, &objects) {
            if objects.get(&target).present().is_none() {
                let seen = look.find(&target).await?;
                objects.put(target, seen);
            }
        }
    }
    for (namespace, service) in wanted.slices {
        objects.put_slices(namespace, service, Seen::Present(Vec::new()));
    }
    let target = objects.present(&references::target(canary)).cloned();
    for config in target.iter().flat_map(config_references) {
        for object in config.copies(canary).into_iter().chain([config.object.clone()]) {
            let seen = look.find(&object).await?;
            objects.put(object, seen);
        }
    }
    Ok(objects)
}

pub(super) async fn of(canary: &Canary, live: bool, look: &Look<'_>) -> anyhow::Result<Writes> {
    let mut objects = objects(canary, look).await?;
    let mut notes = Vec::new();
    let target = references::target(canary);
    let Some(found) = objects.present(&target).cloned() else {
        notes.push(format!(
            "{target} is not there yet; nothing happens before it is, and this is what would be written then"
        ));
        return Ok(Writes { notes, objects: usual(canary) });
    };
    if live {
        let changes = look.changes(&target).await?;
        if let Some(field) = changes.iter().find(|field| field.starts_with("spec.template")) {
            notes.push(format!("applying the files starts a release of {target}: {field}"));
        }
    }
    // In the words in which the condition and the Event would say it.
    let in_the_way = serin_providers::obstacles::find(canary, &objects, &Settings::default());
    if !in_the_way.is_empty() {
        notes.extend(in_the_way.into_iter().map(|one| format!("in the way: {}", one.message)));
        notes.push("nothing is written before this is put right".to_owned());
        return Ok(Writes { notes, objects: Vec::new() });
    }
    let mut writes = Vec::new();
    let primary = references::primary(canary);
    let mut actions = vec![Action::Services];
    match objects.get(&primary) {
        Seen::Absent => {
            actions.push(Action::CreatePrimary { revision: revision(&found), replicas: 0 });
        }
        Seen::Present(_) => notes.push(format!("{primary} is there and stays as it is")),
        Seen::Unreadable(why) => notes.push(format!("{primary}: {why}")),
    }
    if canary.spec.scaler.is_some() {
        actions.push(Action::PrimaryScaler);
    }
    actions.extend([Action::EnsureRoute(Exposure::NONE), Action::ApexToPrimary]);
    if canary.spec.revert_on_deletion && live {
        actions.push(Action::Finalizer(true));
    }
    for action in actions {
        match render(canary, &action, &objects, &Settings::default()) {
            Ok(changes) => {
                for change in changes {
                    writes.push(write(&change, &objects));
                    put(&mut objects, &change);
                }
            }
            Err(error) => notes.push(format!("this would fail: {error}")),
        }
    }
    let asked = canary.spec.analysis.guard.as_ref().is_some_and(|guard| guard.soak_secs.is_some());
    if asked {
        notes.push(format!(
            "{} keeps what the primary ran, from the first promotion on",
            references::kept(canary)
        ));
    }
    notes.push(format!(
        "{target} is scaled to zero once the primary serves, and runs during releases"
    ));
    Ok(Writes { notes, objects: together(writes) })
}

/// What is written for a target that nobody has shown.
fn usual(canary: &Canary) -> Vec<Write> {
    let target = references::target(canary);
    let mut writes = Vec::new();
    for object in references(canary).objects {
        let source = object == target
            || object == references::canary_object(canary)
            || object == references::kept(canary)
            || canary.spec.scaler.as_ref().is_some_and(|scaler| {
                object.kind.kind == "HorizontalPodAutoscaler" && object.name == scaler.name
            })
            || object.kind.kind == "Secret";
        if !source {
            writes.push(Write::create(&object));
        }
    }
    writes
}

/// Several writes to one object are one to the reader.
fn together(writes: Vec<Write>) -> Vec<Write> {
    let mut all: Vec<Write> = Vec::new();
    for write in writes {
        match all
            .iter_mut()
            .find(|known| known.kind == write.kind && known.object() == write.object())
        {
            Some(known) if known.verb == "create" => {}
            Some(known) => known.fields.extend(write.fields),
            None => all.push(write),
        }
    }
    all
}

fn write(change: &Change, objects: &Objects) -> Write {
    let target = change.target();
    let after = after(change, objects);
    match objects.present(target) {
        None => Write::create(target),
        Some(before) => {
            Write { verb: "change", fields: differences(before, &after), ..Write::create(target) }
        }
    }
}

/// The object as the change leaves it.
fn after(change: &Change, objects: &Objects) -> Value {
    let mut live = objects.present(change.target()).cloned().unwrap_or_else(|| json!({}));
    match change {
        Change::Apply { target: _, object } | Change::MergePatch { target: _, patch: object } => {
            overlay(&mut live, object);
            live
        }
        Change::Create { target: _, object } | Change::Replace { target: _, object } => {
            object.clone()
        }
        Change::Scale { target: _, replicas, version: _ } => {
            overlay(&mut live, &json!({"spec": {"replicas": replicas}}));
            live
        }
    }
}

fn put(objects: &mut Objects, change: &Change) {
    let object = after(change, objects);
    objects.put(change.target().clone(), Seen::Present(Arc::new(object)));
}
