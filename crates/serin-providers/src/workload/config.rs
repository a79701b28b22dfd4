//! ConfigMaps and Secrets of a target: which it refers to, their checksums, and the copies for the primary.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use serin_core::model::Canary;
use serin_core::observed::Seen;

use crate::change::{CONFIG_MAP, Change, Kind, ObjectRef, Objects, SECRET};
use crate::error::RenderError;
use crate::json::{by_prefix, sha256_hex, strings, text};
use crate::ownership::{self, Owner};
use crate::ownership::{owned_by, owner};
use crate::settings::Settings;
use crate::workload::names::{self, ConfigRef, config_key, copy_of, own_copy_of};

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

/// What a status keeps of them, read again; none when it is invalid.
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

/// What pods read of a ConfigMap or Secret: what is copied, and what is compared.
pub(crate) const CONTENTS: [&str; 2] = ["data", "binaryData"];

/// Flagger's checksum, digit for digit, of `data`; what Flagger does not look at has one of its own behind it.
fn checksum(config: &Value) -> String {
    let [data, binary] = CONTENTS.map(|field| config.get(field).and_then(Value::as_object));
    let sum = |map| sha256_hex(&go_json(map), 8);
    match binary.filter(|binary| !binary.is_empty()) {
        None => sum(data),
        Some(binary) => serin_core::configs::with_binary(&sum(data), &sum(Some(binary))),
    }
}

/// A map as Go's encoding/json writes it: the first 8 bytes of the SHA-256 of it are Flagger's checksum.
fn go_json(map: Option<&Map<String, Value>>) -> String {
    let Some(map) = map else { return "null".to_owned() };
    let sorted: BTreeMap<&String, &Value> = map.iter().collect();
    let members: Vec<String> = sorted
        .into_iter()
        .map(|(key, value)| format!("{}:{value}", Value::String(key.clone())))
        .collect();
    go_escaped(&format!("{{{}}}", members.join(",")))
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

/// Where the primary's copy of each config is, or is to be made.
pub(crate) type Copies = BTreeMap<ObjectRef, ObjectRef>;

/// Under Flagger's name (`<config>-primary`) where that is free or this Canary's alone; else under a name of the Canary's
/// own: what one Canary rejected must not run in another's primary, and nothing of anybody else's is written.
pub(crate) fn places<'a>(
    canary: &Canary,
    sources: impl Iterator<Item = &'a ObjectRef>,
    objects: &Objects,
) -> Result<Copies, RenderError> {
    sources.map(|source| Ok((source.clone(), place(canary, source, objects)?))).collect()
}

/// Where one of them is.
pub(crate) fn place(
    canary: &Canary,
    source: &ObjectRef,
    objects: &Objects,
) -> Result<ObjectRef, RenderError> {
    let (shared, own) = (copy_of(source), own_copy_of(canary, source));
    match objects.get(&own) {
        Seen::Present(live) => {
            return match ownership::of(live, canary) {
                Owner::Ours => Ok(own),
                Owner::Other(owner) => Err(RenderError::NotOurs { object: own, owner }),
            };
        }
        Seen::Absent => {}
        Seen::Unreadable(why) => return Err(RenderError::Unreadable { object: own, why }),
    }
    match objects.get(&shared) {
        Seen::Absent => Ok(shared),
        Seen::Present(live) if is_ours_alone(live, canary) => Ok(shared),
        Seen::Present(_) => Ok(own),
        Seen::Unreadable(why) => Err(RenderError::Unreadable { object: shared, why }),
    }
}

/// Flagger lets several Canaries share one copy.
pub(crate) fn is_ours_alone(copy: &Value, canary: &Canary) -> bool {
    ownership::of(copy, canary) == Owner::Ours
        && ownership::canaries(copy).iter().all(|uid| *uid == canary.uid)
}

/// Objects of others that stand where Flagger's copies would, so that copies of our own stand beside them.
pub(crate) fn observe_passed_over(
    canary: &Canary,
    objects: &Objects,
    settings: &Settings,
) -> Vec<String> {
    let Some(target) = objects.present(&names::target(canary)) else { return Vec::new() };
    let tracked = tracked(target, objects, settings).unwrap_or_default();
    let strangers = tracked.keys().filter_map(|source| {
        let shared = copy_of(source);
        let live = objects.present(&shared)?;
        match ownership::of(live, canary) {
            Owner::Other(owner) if ownership::canaries(live).is_empty() => {
                let own = own_copy_of(canary, source).name;
                Some(format!(
                    "{shared} belongs to {owner} and is left alone; the primary reads its copy of {} from {own}",
                    source.name
                ))
            }
            Owner::Other(_) | Owner::Ours => None,
        }
    });
    strangers.collect()
}

/// Where a primary as it is reads each of these from.
pub(crate) fn places_in<'a>(
    canary: &Canary,
    sources: impl Iterator<Item = &'a ObjectRef>,
    primary: &Value,
) -> Copies {
    let read: BTreeSet<ObjectRef> =
        config_references(primary).into_iter().map(|reference| reference.object).collect();
    let place = |source: &ObjectRef| {
        let own = own_copy_of(canary, source);
        (source.clone(), if read.contains(&own) { own } else { copy_of(source) })
    };
    sources.map(place).collect()
}

/// Makes the primary's pod spec read the copies.
pub(crate) fn rename(pod_spec: &mut Value, namespace: &str, copies: &Copies) {
    visit(pod_spec, &mut |kind, mention, field| {
        let Some(name) = mention.get(field).and_then(Value::as_str) else { return };
        if let Some(copy) = copies.get(&kind.named(namespace, name)) {
            mention.insert(field.to_owned(), Value::String(copy.name.clone()));
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
    places: &Copies,
    objects: &Objects,
    settings: &Settings,
) -> Result<Vec<Change>, RenderError> {
    let mut changes = Vec::new();
    for (object, target) in places {
        let Some(source) = objects.present(object) else {
            return Err(RenderError::Missing(object.clone()));
        };
        let target = target.clone();
        match objects.get(&target) {
            Seen::Absent => {
                let object = copy(canary, source, None, &target, settings);
                changes.push(Change::Create { target, object });
            }
            Seen::Present(live) => {
                let object = copy(canary, source, Some(live), &target, settings);
                if canonical_copy(live) != canonical_copy(&object) || !owned_by(live, canary) {
                    changes.push(Change::Replace { target, object });
                }
            }
            Seen::Unreadable(why) => return Err(RenderError::Unreadable { object: target, why }),
        }
    }
    Ok(changes)
}

/// Whether pods read the same of both.
pub(crate) fn same_contents(one: &Value, other: &Value) -> bool {
    let of = |config: &Value| {
        CONTENTS.map(|field| {
            config.get(field).map(crate::json::canonical).filter(|text| text != "null")
        })
    };
    of(one) == of(other)
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
    let labels = by_prefix(&strings(source, "/metadata/labels"), &settings.include_label_prefixes);
    let Some(root) = object.as_object_mut() else { return object };
    root.insert("apiVersion".into(), target.kind.api_version().into());
    root.insert("kind".into(), target.kind.kind.into());
    for field in CONTENTS.into_iter().chain(["type"]) {
        match source.get(field) {
            Some(value) => root.insert(field.into(), value.clone()),
            None => root.remove(field),
        };
    }
    if let Some(metadata) = crate::json::child(&mut object, "metadata") {
        metadata.insert("name".into(), target.name.clone().into());
        metadata.insert("namespace".into(), target.namespace.clone().into());
        metadata.insert("labels".into(), json!(labels));
        metadata.insert("ownerReferences".into(), json!([owner(canary)]));
    }
    object
}

#[cfg(test)]
mod tests;
