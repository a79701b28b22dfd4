//! ConfigMaps and Secrets of a target: which it refers to, their checksums, and the copies for the primary.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use serin_core::model::Canary;
use serin_core::observed::Seen;

use crate::change::{CONFIG_MAP, Change, Kind, ObjectRef, Objects, SECRET};
use crate::json::{by_prefix, items, owned_by, owner, sha256_hex, strings, text};
use crate::references::{ConfigRef, config_key, copy_of};
use crate::render::RenderError;
use crate::settings::Settings;

/// On a ConfigMap or Secret, with a value that starts with `disable`: shared by both sides, not copied.
const OPT_OUT: &str = "flagger.app/config-tracking";

/// Other types are made by controllers for themselves (service account tokens, pull secrets, Helm releases).
const SECRET_TYPES: [&str; 4] =
    ["Opaque", "kubernetes.io/basic-auth", "kubernetes.io/ssh-auth", "kubernetes.io/tls"];

/// Every ConfigMap and Secret that the pods of this workload read, in order, each once.
pub fn config_references(target: &Value) -> Vec<ConfigRef> {
    let namespace = text(target, "/metadata/namespace").unwrap_or_default();
    let Some(mut spec) = target.pointer("/spec/template/spec").cloned() else { return Vec::new() };
    let mut found: BTreeMap<ObjectRef, bool> = BTreeMap::new();
    visit(&mut spec, &mut |kind, mention, field| {
        let Some(name) = mention.get(field).and_then(Value::as_str) else { return };
        let optional = mention.get("optional") == Some(&Value::Bool(true));
        let slot = found.entry(kind.named(namespace, name)).or_insert(true);
        *slot = *slot && optional;
    });
    found.into_iter().map(|(object, optional)| ConfigRef { object, optional }).collect()
}

/// The configs that are copied for the primary, with their checksums.
pub(crate) type Tracked = BTreeMap<ObjectRef, String>;

/// Says why if a config that counts cannot be read; an optional one that is not there is left out.
pub(crate) fn tracked(
    target: &Value,
    objects: &Objects,
    settings: &Settings,
) -> Result<Tracked, String> {
    let mut tracked = Tracked::new();
    if !settings.track_configs {
        return Ok(tracked);
    }
    for reference in config_references(target) {
        match objects.get(&reference.object) {
            Seen::Present(config) if is_tracked(config, &reference.object) => {
                tracked.insert(reference.object, checksum(config));
            }
            Seen::Present(_) => {}
            Seen::Absent if reference.optional => {}
            Seen::Absent => {
                return Err(format!(
                    "{}, which the target reads, does not exist",
                    reference.object
                ));
            }
            // Not even of an optional one: taking it for absent would look like a change and start a release.
            Seen::Unreadable(why) => {
                return Err(format!("{} cannot be read: {why}", reference.object));
            }
        }
    }
    Ok(tracked)
}

/// What a status keeps of them, read again; none when it makes no sense.
pub(crate) fn of_status(canary: &Canary, kept: &BTreeMap<String, String>) -> Option<Tracked> {
    let object = |key: &str| {
        let (kind, name) = key.split_once('/')?;
        let kinds = [CONFIG_MAP, SECRET];
        let kind = kinds.into_iter().find(|known| known.kind.eq_ignore_ascii_case(kind))?;
        Some(kind.named(canary.key.namespace.clone(), name))
    };
    kept.iter().map(|(key, sum)| Some((object(key)?, sum.clone()))).collect()
}

pub(crate) fn observe(
    target: &Seen<&Value>,
    objects: &Objects,
    settings: &Settings,
) -> Seen<BTreeMap<String, String>> {
    match target {
        Seen::Present(target) => match tracked(target, objects, settings) {
            Ok(tracked) => Seen::Present(
                tracked.into_iter().map(|(object, sum)| (config_key(&object), sum)).collect(),
            ),
            Err(why) => Seen::Unreadable(why),
        },
        Seen::Absent => Seen::Absent,
        Seen::Unreadable(why) => Seen::Unreadable(why.clone()),
    }
}

fn is_tracked(config: &Value, object: &ObjectRef) -> bool {
    let annotations = strings(config, "/metadata/annotations");
    if annotations.get(OPT_OUT).is_some_and(|value| value.starts_with("disable")) {
        return false;
    }
    object.kind == CONFIG_MAP
        || SECRET_TYPES.contains(&text(config, "/type").unwrap_or(SECRET_TYPES[0]))
}

/// Flagger's checksum, digit for digit: the first 8 bytes of the SHA-256 of `data` as Go's encoding/json writes it.
fn checksum(config: &Value) -> String {
    let data = match config.get("data") {
        Some(Value::Object(data)) => {
            let sorted: BTreeMap<&String, &Value> = data.iter().collect();
            let members: Vec<String> = sorted
                .into_iter()
                .map(|(key, value)| format!("{}:{value}", Value::String(key.clone())))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Some(_) | None => "null".to_owned(),
    };
    sha256_hex(&go_escaped(&data), 8)
}

/// Go escapes what could break out of HTML or JavaScript.
fn go_escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}

/// Makes the primary's pod spec read the copies.
pub(crate) fn rename(pod_spec: &mut Value, namespace: &str, tracked: &Tracked) {
    visit(pod_spec, &mut |kind, mention, field| {
        let Some(name) = mention.get(field).and_then(Value::as_str) else { return };
        let object = kind.named(namespace, name);
        if tracked.contains_key(&object) {
            mention.insert(field.to_owned(), Value::String(copy_of(&object).name));
        }
    });
}

type See<'a> = dyn FnMut(Kind, &mut Map<String, Value>, &str) + 'a;

/// Calls `see(kind, mention, field of the name)` for each mention of a ConfigMap or Secret in a pod spec.
fn visit(spec: &mut Value, see: &mut See<'_>) {
    let mut at = |value: &mut Value, path: &str, kind: Kind, field: &str| {
        if let Some(mention) = value.pointer_mut(path).and_then(Value::as_object_mut) {
            see(kind, mention, field);
        }
    };
    for volume in list_mut(spec, "/volumes") {
        at(volume, "/configMap", CONFIG_MAP, "name");
        at(volume, "/secret", SECRET, "secretName");
        for source in list_mut(volume, "/projected/sources") {
            at(source, "/configMap", CONFIG_MAP, "name");
            at(source, "/secret", SECRET, "name");
        }
    }
    for containers in ["/initContainers", "/containers"] {
        for container in list_mut(spec, containers) {
            for variable in list_mut(container, "/env") {
                at(variable, "/valueFrom/configMapKeyRef", CONFIG_MAP, "name");
                at(variable, "/valueFrom/secretKeyRef", SECRET, "name");
            }
            for source in list_mut(container, "/envFrom") {
                at(source, "/configMapRef", CONFIG_MAP, "name");
                at(source, "/secretRef", SECRET, "name");
            }
        }
    }
}

fn list_mut<'a>(value: &'a mut Value, pointer: &str) -> &'a mut [Value] {
    value.pointer_mut(pointer).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

/// Writes of the primary's copies that are missing or differ.
pub(crate) fn copies(
    canary: &Canary,
    tracked: &Tracked,
    objects: &Objects,
    settings: &Settings,
) -> Result<Vec<Change>, RenderError> {
    let mut changes = Vec::new();
    for object in tracked.keys() {
        let Some(source) = objects.present(object) else {
            return Err(RenderError::Missing(object.clone()));
        };
        let target = copy_of(object);
        match objects.get(&target) {
            Seen::Absent => {
                let object = copy(canary, source, None, &target, settings);
                changes.push(Change::Create { target, object });
            }
            Seen::Present(live) if is_generated(live) => {
                let object = copy(canary, source, Some(live), &target, settings);
                if canonical_copy(live) != canonical_copy(&object) || !owned_by(live, canary) {
                    changes.push(Change::Replace { target, object });
                }
            }
            Seen::Present(_) => return Err(RenderError::not_ours(target)),
            Seen::Unreadable(why) => return Err(RenderError::Unreadable { object: target, why }),
        }
    }
    Ok(changes)
}

/// Copies always name the Canaries they serve as owners.
fn is_generated(copy: &Value) -> bool {
    items(copy, "/metadata/ownerReferences")
        .iter()
        .any(|owner| text(owner, "/kind") == Some(crate::change::CANARY.kind))
}

fn canonical_copy(copy: &Value) -> [String; 4] {
    ["/data", "/binaryData", "/type", "/metadata/labels"].map(|pointer| {
        copy.pointer(pointer).map(crate::json::canonical).unwrap_or_else(|| "null".to_owned())
    })
}

fn copy(
    canary: &Canary,
    source: &Value,
    live: Option<&Value>,
    target: &ObjectRef,
    settings: &Settings,
) -> Value {
    let mut object = live.cloned().unwrap_or_else(|| json!({"metadata": {}}));
    // Several canaries may read one config: they share its copy, the last writer is its controller.
    let mut owners = vec![owner(canary)];
    for other in items(&object, "/metadata/ownerReferences") {
        if text(other, "/uid") != Some(&canary.uid) {
            let mut other = other.clone();
            crate::json::set(&mut other, "controller", Value::Bool(false));
            owners.push(other);
        }
    }
    let labels = by_prefix(&strings(source, "/metadata/labels"), &settings.include_label_prefixes);
    let Some(root) = object.as_object_mut() else { return object };
    root.insert("apiVersion".into(), target.kind.api_version().into());
    root.insert("kind".into(), target.kind.kind.into());
    for field in ["data", "binaryData", "type"] {
        match source.get(field) {
            Some(value) => root.insert(field.into(), value.clone()),
            None => root.remove(field),
        };
    }
    if let Some(metadata) = crate::json::child(&mut object, "metadata") {
        metadata.insert("name".into(), target.name.clone().into());
        metadata.insert("namespace".into(), target.namespace.clone().into());
        metadata.insert("labels".into(), json!(labels));
        metadata.insert("ownerReferences".into(), Value::Array(owners));
    }
    object
}

#[cfg(test)]
mod tests;
