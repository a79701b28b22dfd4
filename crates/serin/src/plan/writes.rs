//! Which objects a Canary would create or change, by asking those who would write them.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use kube::Client;
use kube::api::{Api, DynamicObject};
use serde_json::{Value, json};
use serin_core::model::{Canary, Split};
use serin_core::observed::Seen;
use serin_core::plan::Action;
use serin_providers::change::{CANARY, ObjectRef};
use serin_providers::workload::{config_references, revision};
use serin_providers::{Change, Objects, Settings, references, render};

use super::report::{Write, Writes};
use crate::world;

/// Differences of one object that are shown.
const FIELDS_MAX: usize = 12;

/// Where objects are looked up: a cluster, and behind it the files.
pub(super) struct Look<'a> {
    pub(super) client: Option<&'a Client>,
    pub(super) documents: &'a [Value],
}

impl Look<'_> {
    /// The Canary as the cluster has it.
    pub(super) async fn live(&self, object: &Value) -> anyhow::Result<Option<Value>> {
        let text = |pointer: &str| {
            object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let target = CANARY.named(text("/metadata/namespace"), text("/metadata/name"));
        if target.name.is_empty() {
            return Ok(None);
        }
        self.cluster(&target).await
    }

    async fn cluster(&self, target: &ObjectRef) -> anyhow::Result<Option<Value>> {
        let Some(client) = self.client else { return Ok(None) };
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &target.namespace, &world::resource(&target.kind));
        match api.get_opt(&target.name).await {
            Ok(found) => Ok(found.as_ref().and_then(world::to_value)),
            // The kind itself is not installed.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {target}")),
        }
    }

    fn file(&self, target: &ObjectRef) -> Option<&Value> {
        let is = |pointer: &str, document: &Value, wanted: &str| {
            document.pointer(pointer).and_then(Value::as_str) == Some(wanted)
        };
        self.documents.iter().find(|document| {
            is("/kind", document, target.kind.kind)
                && is("/metadata/name", document, &target.name)
                && is("/metadata/namespace", document, &target.namespace)
        })
    }

    /// What would be there once the files are applied.
    async fn find(&self, target: &ObjectRef) -> anyhow::Result<Seen<Arc<Value>>> {
        let live = self.cluster(target).await?;
        Ok(match (live, self.file(target)) {
            (Some(mut live), Some(file)) => {
                merge(&mut live, file);
                Seen::Present(Arc::new(live))
            }
            (Some(live), None) => Seen::Present(Arc::new(live)),
            (None, Some(file)) => Seen::Present(Arc::new(file.clone())),
            (None, None) => Seen::Absent,
        })
    }
}

/// Everything the Canary is about, as it would be found.
async fn objects(canary: &Canary, look: &Look<'_>) -> anyhow::Result<Objects> {
    let mut objects = Objects::new();
    let wanted = references(canary);
    for target in wanted.objects {
        let seen = look.find(&target).await?;
        objects.put(target, seen);
    }
    for (namespace, service) in wanted.slices {
        objects.put_slices(namespace, service, Seen::Present(Vec::new()));
    }
    let target = objects.present(&references::target(canary)).cloned();
    for config in target.iter().flat_map(config_references) {
        for object in [config.copy(), config.object] {
            let seen = look.find(&object).await?;
            objects.put(object, seen);
        }
    }
    Ok(objects)
}

pub(super) async fn of(canary: &Canary, live: bool, look: &Look<'_>) -> anyhow::Result<Writes> {
    let compared = if look.client.is_some() { "the cluster" } else { "the files alone" };
    let mut objects = objects(canary, look).await?;
    let mut notes = Vec::new();
    let target = references::target(canary);
    let Some(found) = objects.present(&target).cloned() else {
        notes.push(format!(
            "{target} is not there yet; nothing happens before it is, and this is what would be written then"
        ));
        let writes = usual(canary);
        return Ok(Writes { compared_with: compared, notes, objects: writes });
    };
    let mut writes = Vec::new();
    if !live {
        writes.push(Write::create(&references::canary_object(canary)));
    }
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
    actions.extend([Action::EnsureRoute(Split::PRIMARY), Action::ApexToPrimary]);
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
    Ok(Writes { compared_with: compared, notes, objects: together(writes) })
}

/// What is written for a target that nobody has shown.
fn usual(canary: &Canary) -> Vec<Write> {
    let target = references::target(canary);
    let mut writes = vec![Write::create(&references::canary_object(canary))];
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
        match all.iter_mut().find(|known| known.object == write.object) {
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
            let mut fields = Vec::new();
            differences("", before, &after, &mut fields);
            let more = fields.len().saturating_sub(FIELDS_MAX);
            fields.truncate(FIELDS_MAX);
            if more > 0 {
                fields.push(format!("and {more} more"));
            }
            Write { verb: "change", object: target.to_string(), fields }
        }
    }
}

/// The object as the change leaves it.
fn after(change: &Change, objects: &Objects) -> Value {
    let mut live = objects.present(change.target()).cloned().unwrap_or_else(|| json!({}));
    match change {
        Change::Apply { target: _, object } | Change::MergePatch { target: _, patch: object } => {
            merge(&mut live, object);
            live
        }
        Change::Create { target: _, object } | Change::Replace { target: _, object } => {
            object.clone()
        }
        Change::Scale { target: _, replicas, version: _ } => {
            merge(&mut live, &json!({"spec": {"replicas": replicas}}));
            live
        }
    }
}

fn put(objects: &mut Objects, change: &Change) {
    let object = after(change, objects);
    objects.put(change.target().clone(), Seen::Present(Arc::new(object)));
}

/// JSON merge patch; lists are taken whole.
fn merge(into: &mut Value, from: &Value) {
    let Value::Object(from) = from else {
        *into = from.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let Some(map) = into.as_object_mut() else { return };
    for (key, value) in from {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// `path: before -> after` for every leaf that differs.
fn differences(path: &str, before: &Value, after: &Value, out: &mut Vec<String>) {
    if before == after
        || ["/status", "/metadata/managedFields", "/metadata/resourceVersion"].contains(&path)
    {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        let path = path.trim_start_matches('/').replace('/', ".");
        out.push(format!("{path}: {} -> {}", short(before), short(after)));
        return;
    };
    let keys: BTreeMap<&String, ()> = old.keys().chain(new.keys()).map(|key| (key, ())).collect();
    for key in keys.into_keys() {
        let (old, new) = (old.get(key), new.get(key));
        let none = Value::Null;
        differences(&format!("{path}/{key}"), old.unwrap_or(&none), new.unwrap_or(&none), out);
    }
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    let most = 60;
    if text.chars().count() <= most {
        text
    } else {
        format!("{}…", text.chars().take(most).collect::<String>())
    }
}
