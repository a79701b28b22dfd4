//! The primary: the copy of a target that serves between releases, exactly as Flagger makes it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use serin_core::model::{Canary, PRIMARY};
use serin_core::names::{LABEL_MAX, derived};
use serin_core::observed::Seen;

use super::config::{self, Copies, Tracked};
use super::revision::{self, REVISION_ANNOTATION, revision};
use crate::change::{Change, ObjectRef, Objects};
use crate::error::RenderError;
use crate::json::{
    by_prefix, canonical, child, int, is_toolkit, items, remove, set, sha256_hex, strings, text,
};
use crate::ownership::owner;
use crate::ownership::{self, Owner};
use crate::settings::Settings;
use crate::workload::names;

/// Pod template annotation whose change rolls the primary out even when only its configs changed.
const ID_ANNOTATION: &str = "flagger-id";

/// Of no use on a copy: they speak of the original.
const ANNOTATIONS_NOT_COPIED: [&str; 2] =
    ["deployment.kubernetes.io/revision", "kubectl.kubernetes.io/last-applied-configuration"];

/// What tells the target's pods from the primary's, and both from those of other workloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    /// The label that both sides have with different values.
    pub(crate) label: String,
    /// Its value on the target's pods.
    pub(crate) value: String,
    /// All of the target's `matchLabels`.
    pub(crate) target: BTreeMap<String, String>,
    /// `matchLabels` of the primary: the target's with `-primary` behind the label's value, or what a primary made before
    /// has, for they cannot be changed.
    pub(crate) primary: BTreeMap<String, String>,
    /// What Services select the primary's pods by: its `matchLabels`, and those of the target that its pods have too. A
    /// primary of Flagger's selects by one label, which pods of other workloads may share.
    pub(crate) serving: BTreeMap<String, String>,
}

/// None when the target's selector has none of the labels that may serve. `selected` is what the primary's Service selects
/// by now.
pub(crate) fn selector(
    canary: &Canary,
    target: &Value,
    primary: Option<&Value>,
    selected: &BTreeMap<String, String>,
    settings: &Settings,
) -> Option<Selector> {
    let labels = strings(target, "/spec/selector/matchLabels");
    let (label, value) = settings
        .selector_labels
        .iter()
        .find_map(|label| Some((label.clone(), labels.get(label)?.clone())))?;
    let live = primary.map(|primary| strings(primary, "/spec/selector/matchLabels"));
    let of_primary = live.filter(|live| !live.is_empty()).unwrap_or_else(|| {
        let mut wanted = labels.clone();
        wanted.insert(label.clone(), derived(&value, PRIMARY, LABEL_MAX));
        wanted
    });
    let mut serving = of_primary.clone();
    if let Some(primary) = primary {
        let on_pods = strings(primary, "/spec/template/metadata/labels");
        let rolled_out = super::of(canary).is_rolled_out(primary);
        for (key, value) in labels.iter().filter(|(key, _)| **key != label) {
            // Until all pods have the template's labels, only what is selected by already is known to be on all of them.
            let on_all = rolled_out || selected.get(key) == Some(value);
            if on_all && on_pods.get(key) == Some(value) {
                serving.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
    Some(Selector { label, value, target: labels, primary: of_primary, serving })
}

/// What the target's selector asks of labels beside those that must match: expressions about the label in which both sides
/// differ are left out.
fn expressions(target: &Value, selector: &Selector) -> Vec<Value> {
    items(target, "/spec/selector/matchExpressions")
        .iter()
        .filter(|expression| text(expression, "/key") != Some(&selector.label))
        .cloned()
        .collect()
}

/// The primary's pod template without the annotation that forces a rollout.
pub(crate) fn template(
    canary: &Canary,
    target: &Value,
    selector: &Selector,
    copies: &Copies,
    settings: &Settings,
) -> Value {
    let mut template = without_id(revision::template(target));
    let drop_toolkit = |mut map: BTreeMap<String, String>| {
        map.retain(|key, _| !is_toolkit(key));
        map
    };
    let mut labels = drop_toolkit(strings(&template, "/metadata/labels"));
    labels.extend(selector.primary.clone());
    let annotations = drop_toolkit(strings(&template, "/metadata/annotations"));
    if let Some(metadata) = child(&mut template, "metadata") {
        metadata.insert("labels".into(), json!(labels));
        metadata.insert("annotations".into(), json!(annotations));
    }
    if let Some(spec) = template.get_mut("spec") {
        config::rename(spec, &canary.key.namespace, copies);
        spread(canary, spec, selector, settings);
    }
    template
}

pub(crate) fn without_id(mut template: Value) -> Value {
    if let Some(annotations) = template.pointer_mut("/metadata/annotations") {
        remove(annotations, ID_ANNOTATION);
    }
    template
}

/// Rules that keep the target's pods apart are to keep the primary's pods apart.
fn spread(canary: &Canary, spec: &mut Value, selector: &Selector, settings: &Settings) {
    let anti = "/affinity/podAntiAffinity";
    let lists = [
        (format!("{anti}/requiredDuringSchedulingIgnoredDuringExecution"), "/labelSelector"),
        (
            format!("{anti}/preferredDuringSchedulingIgnoredDuringExecution"),
            "/podAffinityTerm/labelSelector",
        ),
        ("/topologySpreadConstraints".to_owned(), "/labelSelector"),
    ];
    for (list, label_selector) in lists {
        let terms = spec.pointer_mut(&list).and_then(Value::as_array_mut);
        for term in terms.into_iter().flatten() {
            if let Some(found) = term.pointer_mut(label_selector) {
                retarget(canary, found, selector, settings);
            }
        }
    }
}

fn retarget(canary: &Canary, found: &mut Value, selector: &Selector, settings: &Settings) {
    let renamed = |key: &str, value: &str| -> Option<Value> {
        if key == selector.label && value == selector.value {
            return selector.primary.get(key).map(|value| value.clone().into());
        }
        let ours = settings.selector_labels.iter().any(|label| label == key)
            && value == canary.spec.target.name;
        ours.then(|| derived(value, PRIMARY, LABEL_MAX).into())
    };
    let labels = found.pointer_mut("/matchLabels").and_then(Value::as_object_mut);
    for (key, value) in labels.into_iter().flatten() {
        if let Some(renamed) = value.as_str().and_then(|value| renamed(key, value)) {
            *value = renamed;
        }
    }
    let expressions = found.pointer_mut("/matchExpressions").and_then(Value::as_array_mut);
    for expression in expressions.into_iter().flatten() {
        let Some(key) = expression.get("key").and_then(Value::as_str).map(str::to_owned) else {
            continue;
        };
        let values = expression.pointer_mut("/values").and_then(Value::as_array_mut);
        for value in values.into_iter().flatten() {
            if let Some(renamed) = value.as_str().and_then(|value| renamed(&key, value)) {
                *value = renamed;
                break;
            }
        }
    }
}

/// The primary made, or brought to this revision of the target with its configs. Configs come first, as pods read them.
pub(crate) fn render(
    canary: &Canary,
    wanted_revision: &str,
    replicas: Option<u32>,
    objects: &Objects,
    settings: &Settings,
) -> Result<Vec<Change>, RenderError> {
    let target_ref = names::target(canary);
    let target = require(objects, &target_ref)?;
    let now = revision(target);
    if now != wanted_revision {
        return Err(RenderError::TargetMoved { wanted: wanted_revision.to_owned(), now });
    }
    let primary_ref = names::primary(canary);
    let live = match objects.get(&primary_ref) {
        Seen::Present(live) => Some(live),
        Seen::Absent => None,
        Seen::Unreadable(why) => {
            return Err(RenderError::Unreadable { object: primary_ref, why });
        }
    };
    if let Some(Owner::Other(owner)) = live.map(|live| ownership::of(live, canary)) {
        return Err(RenderError::NotOurs { object: primary_ref, owner });
    }
    let Some(selector) = selector(canary, target, live, &BTreeMap::new(), settings) else {
        return Err(RenderError::no_selector_label(target_ref, settings));
    };
    let tracked = config::tracked(target, objects, settings).map_err(RenderError::Config)?;

    let analysed =
        canary.status.tracked_configs.as_ref().and_then(|kept| config::of_status(canary, kept));
    if analysed.is_some_and(|analysed| analysed != tracked) {
        return Err(RenderError::ConfigsMoved(target_ref));
    }
    let copies = config::places(canary, tracked.keys(), objects)?;
    let mut changes = config::copies(canary, &copies, objects, settings)?;
    let mut template = template(canary, target, &selector, &copies, settings);
    let id = match live.filter(|live| changes.is_empty() && is_adopted(live, &template)) {
        Some(live) => live_id(live),
        None => fresh_id(canary, &now, &tracked),
    };
    if let Some(annotations) = template.pointer_mut("/metadata/annotations") {
        set(annotations, ID_ANNOTATION, id.into());
    }
    let made = Made { canary, target, selector: &selector, template, revision: &now, settings };
    match live {
        None => {
            let object = made.create(&primary_ref, replicas);
            changes.push(Change::Create { target: primary_ref, object });
        }
        Some(live) => {
            let object = made.update(live, replicas);
            if canonical(&object) != canonical(&without_status(live)) {
                changes.push(Change::Replace { target: primary_ref, object });
            }
        }
    }
    Ok(changes)
}

/// What a plain update may carry.
fn without_status(live: &Value) -> Value {
    let mut object = live.clone();
    remove(&mut object, "status");
    if let Some(metadata) = object.get_mut("metadata") {
        remove(metadata, "managedFields");
    }
    object
}

/// A primary of Flagger's that runs this template already is taken over without a rollout.
fn is_adopted(live: &Value, template: &Value) -> bool {
    let recorded = strings(live, "/metadata/annotations").contains_key(REVISION_ANNOTATION);
    let running = live.pointer("/spec/template").cloned().unwrap_or(Value::Null);
    !recorded && canonical(&without_id(running)) == canonical(template)
}

/// The configs that a primary of this revision was made with, where they are some that the status speaks of: its id says.
pub(crate) fn made_with(
    canary: &Canary,
    live: &Value,
    revision: &str,
) -> Option<BTreeMap<String, String>> {
    let status = &canary.status;
    let sent = status.sent.iter().map(|sent| &sent.configs);
    let spoken_of = [&status.tracked_configs, &status.promoted_configs].into_iter().chain(sent);
    let id = live_id(live);
    let made = |configs: &BTreeMap<String, String>| {
        let tracked = config::of_status(canary, configs);
        tracked.is_some_and(|tracked| fresh_id(canary, revision, &tracked) == id)
    };
    spoken_of.map(|configs| configs.clone().unwrap_or_default()).find(made)
}

fn live_id(live: &Value) -> String {
    strings(live, "/spec/template/metadata/annotations").remove(ID_ANNOTATION).unwrap_or_default()
}

/// Shaped like the random id that Flagger gives, but the same for the same content: promoting twice rolls out once.
fn fresh_id(canary: &Canary, revision: &str, tracked: &Tracked) -> String {
    let configs: Vec<String> =
        tracked.iter().map(|(object, sum)| format!("{object}={sum}")).collect();
    let hex = sha256_hex(&format!("{}\n{revision}\n{}", canary.uid, configs.join("\n")), 16);
    let parts = [hex.get(..8), hex.get(8..12), hex.get(13..16), hex.get(17..20), hex.get(20..32)];
    let [a, b, c, d, e] = parts.map(Option::unwrap_or_default);
    format!("{a}-{b}-4{c}-8{d}-{e}")
}

/// Everything a primary is made of.
struct Made<'a> {
    canary: &'a Canary,
    target: &'a Value,
    selector: &'a Selector,
    template: Value,
    revision: &'a str,
    settings: &'a Settings,
}

impl Made<'_> {
    fn has_replicas(&self) -> bool {
        self.canary.spec.target.kind.has_replicas()
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = by_prefix(
            &strings(self.target, "/metadata/labels"),
            &self.settings.include_label_prefixes,
        );
        let Selector { label, primary, .. } = self.selector;
        labels.extend(primary.get(label).map(|value| (label.clone(), value.clone())));
        labels
    }

    fn create(&self, target: &ObjectRef, replicas: Option<u32>) -> Value {
        let mut annotations = strings(self.target, "/metadata/annotations");
        annotations
            .retain(|key, _| !is_toolkit(key) && !ANNOTATIONS_NOT_COPIED.contains(&key.as_str()));
        annotations.insert(REVISION_ANNOTATION.to_owned(), self.revision.to_owned());
        let of_target = int(self.target, "/spec/replicas").and_then(|count| count.try_into().ok());
        let replicas = replicas.or(of_target).filter(|count| *count > 0).unwrap_or(1);
        let mut selector = json!({"matchLabels": self.selector.primary});
        let expressions = expressions(self.target, self.selector);
        if !expressions.is_empty() {
            set(&mut selector, "matchExpressions", Value::Array(expressions));
        }
        let mut object = json!({
            "apiVersion": target.kind.api_version(),
            "kind": target.kind.kind,
            "metadata": {
                "name": target.name,
                "namespace": target.namespace,
                "labels": self.labels(),
                "annotations": annotations,
                "ownerReferences": [owner(self.canary)],
            },
            "spec": {"selector": selector, "template": self.template},
        });
        if let Some(spec) = child(&mut object, "spec").filter(|_| self.has_replicas()) {
            spec.insert("replicas".into(), replicas.into());
        }
        self.copy_fields(&mut object);
        object
    }

    /// The whole object as it is to be: fields that the new revision no longer has go, whoever set them.
    fn update(&self, live: &Value, replicas: Option<u32>) -> Value {
        let mut object = without_status(live);
        let mut labels = strings(live, "/metadata/labels");
        labels.extend(self.labels());
        let mut annotations = strings(live, "/metadata/annotations");
        annotations.extend(by_prefix(
            &strings(self.target, "/metadata/annotations"),
            &self.settings.include_label_prefixes,
        ));
        annotations.insert(REVISION_ANNOTATION.to_owned(), self.revision.to_owned());
        if let Some(metadata) = child(&mut object, "metadata") {
            metadata.insert("labels".into(), json!(labels));
            metadata.insert("annotations".into(), json!(annotations));
        }
        let replicas = replicas
            .or_else(|| int(self.target, "/spec/replicas").and_then(|count| count.try_into().ok()))
            .filter(|count| *count > 0 && self.canary.spec.scaler.is_none());
        if let Some(spec) = child(&mut object, "spec") {
            spec.insert("template".into(), self.template.clone());
            if let Some(replicas) = replicas.filter(|_| self.has_replicas()) {
                spec.insert("replicas".into(), replicas.into());
            }
        }
        self.copy_fields(&mut object);
        object
    }

    fn copy_fields(&self, object: &mut Value) {
        let Some(spec) = child(object, "spec") else { return };
        let kind = super::of(self.canary);
        let replicas = spec.get("replicas").and_then(Value::as_u64).unwrap_or(1);
        for field in kind.copied() {
            match self.target.pointer(&format!("/spec/{field}")) {
                Some(value) => {
                    spec.insert((*field).into(), kind.for_primary(field, value, replicas))
                }
                None => spec.remove(*field),
            };
        }
    }
}

pub(crate) fn require<'a>(
    objects: &'a Objects,
    object: &ObjectRef,
) -> Result<&'a Value, RenderError> {
    match objects.get(object) {
        Seen::Present(live) => Ok(live),
        Seen::Absent => Err(RenderError::Missing(object.clone())),
        Seen::Unreadable(why) => Err(RenderError::Unreadable { object: object.clone(), why }),
    }
}

#[cfg(test)]
mod tests;
