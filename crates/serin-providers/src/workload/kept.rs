//! What a primary ran before its last promotion, kept beside it so that it can be taken back.
//!
//! A ConfigMap holds the pod template and the copies of ConfigMaps, a Secret the values of the copies of Secrets, key by
//! key under a number. Both are the Canary's and go with it. A ControllerRevision cannot hold them: it is immutable, so
//! there would be one per promotion for somebody to delete.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use serin_core::model::Canary;
use serin_core::names::{OBJECT_MAX, derived};
use serin_core::observed::{Kept, Seen};

use super::config::{CONTENTS, config_references, is_ours_alone, same_contents};
use super::revision::REVISION_ANNOTATION;
use crate::change::{CANARY, CONFIG_MAP, Change, ObjectRef, Objects, SECRET};
use crate::error::RenderError;
use crate::json::{canonical, child, items, remove, sha256_hex, strings, text};
use crate::ownership::owner;
use crate::ownership::{self, Owner};
use crate::workload::names;
use crate::workload::primary::require;

/// On the ConfigMap: what the primary that it was made from ran.
const TOKEN_ANNOTATION: &str = "serin.dev/kept";
/// On both: a checksum of what was kept, so that what somebody has edited is not taken for what the primary ran.
const SUM_ANNOTATION: &str = "serin.dev/kept-sum";
/// An object of Kubernetes holds a megabyte; what is larger is not kept, and its promotion cannot be undone.
const BYTES_MAX: usize = 900_000;

fn name(canary: &Canary) -> String {
    derived(&canary.spec.target.primary_name(), "-kept", OBJECT_MAX)
}

/// Where the template and the ConfigMaps are kept.
pub(crate) fn object(canary: &Canary) -> ObjectRef {
    CONFIG_MAP.named(&canary.key.namespace, name(canary))
}

/// Where the values of Secrets are kept.
fn secret_object(canary: &Canary) -> ObjectRef {
    SECRET.named(&canary.key.namespace, name(canary))
}

/// Both, for a canary whose promotions can be undone.
pub(crate) fn objects(canary: &Canary) -> Vec<ObjectRef> {
    let asked = canary.spec.analysis.guard.as_ref().is_some_and(|guard| guard.soak_secs.is_some());
    if asked || canary.status.soak.is_some() {
        vec![object(canary), secret_object(canary)]
    } else {
        Vec::new()
    }
}

/// Everything else that keeping and undoing read and write: the configs of the primary as it is and as it was.
pub fn kept_configs(canary: &Canary, objects_now: &Objects) -> Vec<ObjectRef> {
    if objects(canary).is_empty() {
        return Vec::new();
    }
    let live = objects_now.present(&names::primary(canary));
    let kept = objects_now.present(&object(canary)).and_then(template);
    let kept = kept.map(|template| {
        json!({"metadata": {"namespace": canary.key.namespace}, "spec": {"template": template}})
    });
    let all = live.into_iter().chain(kept.as_ref()).flat_map(config_references);
    all.map(|reference| reference.object).collect()
}

pub(crate) fn observe(canary: &Canary, objects_now: &Objects) -> Seen<Kept> {
    if objects(canary).is_empty() {
        return Seen::Absent;
    }
    let kept = match objects_now.get(&object(canary)) {
        Seen::Present(kept) => kept,
        Seen::Absent => return Seen::Absent,
        Seen::Unreadable(why) => return Seen::Unreadable(why),
    };
    let Some(token) = token(kept) else { return Seen::Absent };
    let live = objects_now.present(&names::primary(canary));
    let running = live.and_then(|live| live.pointer("/spec/template")).map(canonical);
    let in_force = template(kept).is_some_and(|kept| running == Some(canonical(&kept)));
    Seen::Present(Kept { token, in_force })
}

/// None as well where the contents are no longer those that were kept.
fn token(kept: &Value) -> Option<String> {
    is_untouched(kept).then(|| strings(kept, "/metadata/annotations").remove(TOKEN_ANNOTATION))?
}

fn is_untouched(kept: &Value) -> bool {
    let noted = strings(kept, "/metadata/annotations").remove(SUM_ANNOTATION);
    noted.is_none_or(|noted| noted == sum(kept.get("data").unwrap_or(&Value::Null)))
}

fn sum(data: &Value) -> String {
    sha256_hex(&canonical(data), 8)
}

fn part(kept: &Value, key: &str) -> Option<Value> {
    serde_json::from_str(text(kept, &format!("/data/{key}"))?).ok()
}

fn template(kept: &Value) -> Option<Value> {
    part(kept, "spec")?.get("template").cloned()
}

/// Copies that were made for a primary, and not what others share with it.
fn is_copy(config: &Value) -> bool {
    let owners = items(config, "/metadata/ownerReferences");
    owners.iter().any(|owner| text(owner, "/kind") == Some(CANARY.kind))
}

/// Writes that keep what the primary runs; none when it is kept already, or when it runs something else by now.
pub(crate) fn keep(
    canary: &Canary,
    wanted: &str,
    objects_now: &Objects,
) -> Result<Vec<Change>, RenderError> {
    let target = object(canary);
    match objects_now.get(&target) {
        Seen::Present(known) if token(known).as_deref() == Some(wanted) => return Ok(Vec::new()),
        Seen::Unreadable(why) => return Err(RenderError::Unreadable { object: target, why }),
        Seen::Present(_) | Seen::Absent => {}
    }
    let primary = require(objects_now, &names::primary(canary))?;
    let runs = strings(primary, "/metadata/annotations").remove(REVISION_ANNOTATION);
    // Made by Flagger it does not say; the status does.
    if runs.is_some_and(|runs| wanted.split(' ').next() != Some(&*runs)) {
        return Ok(Vec::new());
    }
    let Some((data, values)) = packed(canary, primary, objects_now)? else { return Ok(Vec::new()) };
    let mut changes = Vec::new();
    // The ConfigMap comes last: it says that all of it is there.
    if values.as_object().is_some_and(|values| !values.is_empty()) {
        let secret = secret_object(canary);
        changes.push(write(canary, secret, values, wanted, objects_now)?);
    }
    changes.push(write(canary, target, data, wanted, objects_now)?);
    Ok(changes)
}

/// The data of the ConfigMap and of the Secret; none when they are too large.
fn packed(
    canary: &Canary,
    primary: &Value,
    objects_now: &Objects,
) -> Result<Option<(Value, Value)>, RenderError> {
    let (mut configs, mut keys, mut values) = (Map::new(), Map::new(), Map::new());
    for reference in config_references(primary) {
        let copy = match objects_now.get(&reference.object) {
            Seen::Present(copy) if is_copy(copy) => copy,
            Seen::Present(_) | Seen::Absent => continue,
            Seen::Unreadable(why) => {
                return Err(RenderError::Unreadable { object: reference.object, why });
            }
        };
        let name = reference.object.name.clone();
        if reference.object.kind == SECRET {
            keys.insert(name, numbered(copy, &mut values));
        } else {
            configs.insert(name, contents(copy));
        }
    }
    let mut spec = Map::new();
    for field in super::of(canary).copied().iter().copied().chain(["template"]) {
        if let Some(value) = primary.pointer(&format!("/spec/{field}")) {
            spec.insert(field.to_owned(), value.clone());
        }
    }
    let data = json!({
        "spec": Value::Object(spec).to_string(),
        "configs": Value::Object(configs).to_string(),
        "secrets": Value::Object(keys).to_string(),
    });
    let values = Value::Object(values);
    if data.to_string().len() > BYTES_MAX || values.to_string().len() > BYTES_MAX {
        return Ok(None);
    }
    Ok(Some((data, values)))
}

fn contents(config: &Value) -> Value {
    let mut kept = Map::new();
    for field in CONTENTS {
        if let Some(value) = config.get(field) {
            kept.insert(field.to_owned(), value.clone());
        }
    }
    Value::Object(kept)
}

/// The type of a Secret and the numbers under which its values are kept.
fn numbered(secret: &Value, values: &mut Map<String, Value>) -> Value {
    let mut numbers = Map::new();
    let data = secret.get("data").and_then(Value::as_object);
    for (key, value) in data.into_iter().flatten() {
        let number = values.len().to_string();
        values.insert(number.clone(), value.clone());
        numbers.insert(key.clone(), number.into());
    }
    json!({"type": secret.get("type"), "keys": numbers})
}

fn write(
    canary: &Canary,
    target: ObjectRef,
    data: Value,
    token: &str,
    objects_now: &Objects,
) -> Result<Change, RenderError> {
    let mut object = json!({
        "apiVersion": target.kind.api_version(),
        "kind": target.kind.kind,
        "metadata": {
            "name": target.name,
            "namespace": target.namespace,
            "annotations": {TOKEN_ANNOTATION: token, SUM_ANNOTATION: sum(&data)},
            "ownerReferences": [owner(canary)],
        },
        "data": data,
    });
    match objects_now.get(&target) {
        Seen::Absent => Ok(Change::Create { target, object }),
        Seen::Present(live) if ownership::of(live, canary) == Owner::Ours => {
            let version = live.pointer("/metadata/resourceVersion").cloned();
            if let (Some(metadata), Some(version)) = (child(&mut object, "metadata"), version) {
                metadata.insert("resourceVersion".into(), version);
            }
            Ok(Change::Replace { target, object })
        }
        Seen::Present(live) => Err(foreign(target, live, canary)),
        Seen::Unreadable(why) => Err(RenderError::Unreadable { object: target, why }),
    }
}

fn foreign(object: ObjectRef, live: &Value, canary: &Canary) -> RenderError {
    let owner = match ownership::of(live, canary) {
        Owner::Other(owner) => owner,
        Owner::Ours => "other Canaries as well".to_owned(),
    };
    RenderError::NotOurs { object, owner }
}

/// Writes that give the primary back what was kept: configs first, as pods read them.
pub(crate) fn undo(
    canary: &Canary,
    wanted: &str,
    objects_now: &Objects,
) -> Result<Vec<Change>, RenderError> {
    let source = object(canary);
    let kept = require(objects_now, &source)?;
    if token(kept).as_deref() != Some(wanted) {
        return Err(RenderError::NotKept { wanted: wanted.to_owned() });
    }
    let parts = (part(kept, "spec"), part(kept, "configs"), part(kept, "secrets"));
    let (Some(spec), Some(configs), Some(secrets)) = parts else {
        return Err(RenderError::NotKept { wanted: wanted.to_owned() });
    };
    let mut changes = Vec::new();
    for (name, contents) in configs.as_object().into_iter().flatten() {
        let target = CONFIG_MAP.named(&canary.key.namespace, name.as_str());
        changes.extend(restored(canary, target, contents, objects_now)?);
    }
    for (name, kept) in secrets.as_object().into_iter().flatten() {
        let target = SECRET.named(&canary.key.namespace, name.as_str());
        let contents = unnumbered(canary, kept, objects_now)?;
        changes.extend(restored(canary, target, &contents, objects_now)?);
    }
    let primary_ref = names::primary(canary);
    let live = require(objects_now, &primary_ref)?;
    let object = taken_back(canary, live, &spec, wanted);
    if canonical(&object) != canonical(&without_status(live)) {
        changes.push(Change::Replace { target: primary_ref, object });
    }
    Ok(changes)
}

fn unnumbered(canary: &Canary, kept: &Value, objects: &Objects) -> Result<Value, RenderError> {
    let mut data = Map::new();
    let numbers: BTreeMap<String, String> = strings(kept, "/keys");
    if !numbers.is_empty() {
        let secret = require(objects, &secret_object(canary))?;
        if !is_untouched(secret) {
            return Err(RenderError::Edited(secret_object(canary)));
        }
        let values = strings(secret, "/data");
        for (key, number) in numbers {
            let Some(value) = values.get(&number) else {
                return Err(RenderError::Missing(secret_object(canary)));
            };
            data.insert(key, value.clone().into());
        }
    }
    Ok(json!({"type": kept.get("type"), "data": data}))
}

/// A copy with the contents that it had; none when it has them.
fn restored(
    canary: &Canary,
    target: ObjectRef,
    contents: &Value,
    objects: &Objects,
) -> Result<Option<Change>, RenderError> {
    let live = match objects.get(&target) {
        // One that several Canaries share, as Flagger has it, is never written: it is as it was.
        Seen::Present(live) if same_contents(live, contents) => return Ok(None),
        Seen::Present(live) if is_ours_alone(live, canary) => Some(live),
        Seen::Present(live) => return Err(foreign(target, live, canary)),
        Seen::Absent => None,
        Seen::Unreadable(why) => return Err(RenderError::Unreadable { object: target, why }),
    };
    let mut object = match live {
        Some(live) => live.clone(),
        None => json!({
            "apiVersion": target.kind.api_version(),
            "kind": target.kind.kind,
            "metadata": {
                "name": target.name,
                "namespace": target.namespace,
                "ownerReferences": [owner(canary)],
            },
        }),
    };
    let Some(root) = object.as_object_mut() else { return Ok(None) };
    for field in CONTENTS.into_iter().chain(["type"]) {
        match contents.get(field).filter(|value| !value.is_null()) {
            Some(value) => {
                root.insert(field.into(), value.clone());
            }
            None if field == "type" => {}
            None => {
                root.remove(field);
            }
        }
    }
    Ok(match live {
        Some(live) if canonical(live) == canonical(&object) => None,
        Some(_) => Some(Change::Replace { target, object }),
        None => Some(Change::Create { target, object }),
    })
}

fn without_status(live: &Value) -> Value {
    let mut object = live.clone();
    remove(&mut object, "status");
    if let Some(metadata) = object.get_mut("metadata") {
        remove(metadata, "managedFields");
    }
    object
}

/// The live primary with the fields that it had; how many pods it has is its own.
fn taken_back(canary: &Canary, live: &Value, spec: &Value, token: &str) -> Value {
    let mut object = without_status(live);
    let revision = token.split(' ').next().unwrap_or_default();
    let mut annotations = strings(live, "/metadata/annotations");
    annotations.insert(REVISION_ANNOTATION.to_owned(), revision.to_owned());
    if let Some(metadata) = child(&mut object, "metadata") {
        metadata.insert("annotations".into(), json!(annotations));
    }
    if let Some(fields) = child(&mut object, "spec") {
        for field in super::of(canary).copied().iter().copied().chain(["template"]) {
            match spec.get(field) {
                Some(value) => fields.insert(field.to_owned(), value.clone()),
                None => fields.remove(field),
            };
        }
    }
    object
}

#[cfg(test)]
mod tests;
