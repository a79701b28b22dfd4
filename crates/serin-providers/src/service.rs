//! Services: the apex that users call, and the two that tell the primary's pods from the target's.

mod endpoints;
pub(crate) mod pods;
mod ports;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use serin_core::model::{Canary, Meta, TargetPort};
use serin_core::observed::{Seen, Selects, ServiceSeen, Services};

use crate::change::{Change, FIELD_MANAGER, ObjectRef, Objects, SERVICE};
use crate::error::RenderError;
use crate::json::{TOOLKIT_ANNOTATIONS, child, covers, items, remove, strings, text};
use crate::ownership::{self, Owner, other_controller};
use crate::ownership::{owned_by, owner};
use crate::router::router;
use crate::settings::Settings;
use crate::workload::names;
use crate::workload::primary::{Selector, require, selector};

/// On an apex Service that we did not make: the selector it had, in JSON, to give back.
const ORIGINAL_SELECTOR: &str = "serin.dev/original-selector";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Apex,
    Primary,
    Canary,
}

impl Role {
    fn object(self, canary: &Canary) -> ObjectRef {
        let service = &canary.spec.service;
        let name = match self {
            Role::Apex => service.name.clone(),
            Role::Primary => service.primary_name(),
            Role::Canary => service.canary_name(),
        };
        SERVICE.named(&canary.key.namespace, name)
    }

    fn meta(self, canary: &Canary) -> &Meta {
        match self {
            Role::Apex => &canary.spec.service.apex,
            Role::Primary => &canary.spec.service.primary,
            Role::Canary => &canary.spec.service.canary,
        }
    }

    fn selector(self, selector: &Selector) -> BTreeMap<String, String> {
        match self {
            Role::Apex | Role::Primary => selector.serving.clone(),
            Role::Canary => selector.target.clone(),
        }
    }
}

/// What is needed to know how a Service should be.
struct Context<'a> {
    canary: &'a Canary,
    target: &'a Value,
    primary: Option<&'a Value>,
    /// The apex as it is.
    apex: Option<&'a Value>,
    selector: Selector,
    port: ports::Port,
    /// Ports that the route leads to, by number or name.
    mentioned: BTreeSet<String>,
}

impl<'a> Context<'a> {
    fn new(
        canary: &'a Canary,
        objects: &'a Objects,
        settings: &Settings,
    ) -> Result<Self, RenderError> {
        let target_ref = names::target(canary);
        let target = require(objects, &target_ref)?;
        let primary = objects.present(&names::primary(canary));
        let live = |role: Role| objects.present(&role.object(canary));
        let selected = live(Role::Primary).map(|live| strings(live, "/spec/selector"));
        let selected = selected.unwrap_or_default();
        let Some(selector) = selector(canary, target, primary, &selected, settings) else {
            return Err(RenderError::no_selector_label(target_ref, settings));
        };
        let port = ports::resolve(canary, live(Role::Apex), live(Role::Primary));
        let mentioned = router(canary.spec.provider).ports(canary, objects);
        let apex = live(Role::Apex);
        Ok(Self { canary, target, primary, apex, selector, port, mentioned })
    }
}

pub(crate) fn observe(canary: &Canary, objects: &Objects, settings: &Settings) -> Services {
    let context = Context::new(canary, objects, settings).ok();
    let look = |role| observe_one(canary, role, context.as_ref(), objects);
    Services { apex: look(Role::Apex), primary: look(Role::Primary), canary: look(Role::Canary) }
}

fn observe_one(
    canary: &Canary,
    role: Role,
    context: Option<&Context<'_>>,
    objects: &Objects,
) -> Seen<ServiceSeen> {
    let object = role.object(canary);
    let live = match objects.get(&object) {
        Seen::Present(live) => live,
        Seen::Absent => return Seen::Absent,
        Seen::Unreadable(why) => return Seen::Unreadable(why),
    };
    let theirs = match role {
        Role::Apex => other_controller(live, canary).is_some(),
        Role::Primary | Role::Canary => ownership::of(live, canary) != Owner::Ours,
    };
    if theirs {
        // What another client made does not count. A Canary that leaves must not wait for it.
        let why = || format!("{object} is not ours");
        return if canary.deleting { Seen::Absent } else { Seen::Unreadable(why()) };
    }
    let ready_endpoints = match objects.slices(&object.namespace, &object.name) {
        Seen::Present(slices) => {
            endpoints::ready(slices.iter().map(AsRef::as_ref), port_name(canary, live)).len()
        }
        Seen::Absent => 0,
        Seen::Unreadable(why) => return Seen::Unreadable(why),
    };
    Seen::Present(ServiceSeen {
        selects: context.map_or(Selects::Other, |context| selects(live, context)),
        ready_endpoints: u32::try_from(ready_endpoints).unwrap_or(u32::MAX),
        in_order: context.is_some_and(|context| in_order(context, role, live)),
    })
}

/// What a live Service calls the Canary's port; none where it has no such port yet.
fn port_name<'a>(canary: &Canary, live: &'a Value) -> Option<&'a str> {
    let port = ports::entry(live, canary.spec.service.port)?;
    Some(text(port, "/name").unwrap_or(""))
}

/// Whose pods a Service picks: those whose labels have all that its selector asks for.
fn selects(service: &Value, context: &Context<'_>) -> Selects {
    let wanted = strings(service, "/spec/selector");
    let picks = |labels: &BTreeMap<String, String>| {
        wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    let target = strings(context.target, "/spec/template/metadata/labels");
    let primary = match context.primary {
        Some(primary) => strings(primary, "/spec/template/metadata/labels"),
        None => {
            let mut labels = target.clone();
            labels.extend(context.selector.serving.clone());
            labels
        }
    };
    match (wanted.is_empty(), picks(&primary), picks(&target)) {
        (false, true, false) => Selects::Primary,
        (false, false, true) => Selects::Target,
        (true, _, _) | (false, true, true) | (false, false, false) => Selects::Other,
    }
}

/// The apex's selector is a decision of its own and left out of the comparison.
fn in_order(context: &Context<'_>, role: Role, live: &Value) -> bool {
    let mut wanted = wanted(context, role, role.selector(&context.selector), Some(live));
    if role == Role::Apex
        && let Some(spec) = wanted.get_mut("spec")
    {
        remove(spec, "selector");
    }
    covers(live, &wanted) && !has_leftovers(live, &wanted)
}

/// Whether a label or annotation is ours by the API server's account that we no longer ask for.
fn has_leftovers(live: &Value, wanted: &Value) -> bool {
    items(live, "/metadata/managedFields")
        .iter()
        .filter(|entry| {
            text(entry, "/manager") == Some(FIELD_MANAGER)
                && text(entry, "/operation") == Some("Apply")
        })
        .any(|entry| {
            ["labels", "annotations"].into_iter().any(|map| {
                let owned = entry.pointer(&format!("/fieldsV1/f:metadata/f:{map}"));
                let asked = strings(wanted, &format!("/metadata/{map}"));
                owned.and_then(Value::as_object).into_iter().flatten().any(|(key, _)| {
                    key.strip_prefix("f:").is_some_and(|key| !asked.contains_key(key))
                })
            })
        })
}

/// The target's selector has no label that may tell the sides apart.
pub(crate) fn no_selector_label(
    canary: &Canary,
    objects: &Objects,
    settings: &Settings,
) -> Option<RenderError> {
    match Context::new(canary, objects, settings) {
        Err(error @ RenderError::NoSelectorLabel { .. }) => Some(error),
        Ok(_) | Err(_) => None,
    }
}

/// A Service under the apex's name that is controlled by something else, or serves other pods than the target's: its
/// users would be sent to the primary.
pub(crate) fn apex_of_others(
    canary: &Canary,
    objects: &Objects,
    settings: &Settings,
) -> Option<String> {
    let object = Role::Apex.object(canary);
    let live = objects.present(&object)?;
    let way_out = "delete it, or name another Service with spec.service.name";
    if let Some(owner) = other_controller(live, canary) {
        return Some(format!("{object} belongs to {owner} and is left alone: {way_out}"));
    }
    let known = strings(live, "/metadata/annotations").contains_key(ORIGINAL_SELECTOR);
    let context = Context::new(canary, objects, settings).ok()?;
    let selector = strings(live, "/spec/selector");
    if owned_by(live, canary) || known || leads_to_primary(&selector, &context) {
        return None;
    }
    let target = &canary.spec.target;
    let pods = format!("the pods of {} {}", target.kind.name(), target.name);
    if selector.is_empty() {
        return Some(format!("{object} has no selector, so it does not serve {pods}: {way_out}"));
    }
    let labels = strings(context.target, "/spec/template/metadata/labels");
    let picks = selector.iter().all(|(key, value)| labels.get(key) == Some(value));
    let selector: Vec<String> =
        selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    (!picks).then(|| {
        format!("{object} selects {}, which are not {pods}: {way_out}", selector.join(","))
    })
}

/// Ports that nobody would listen on, and names that others would lose.
pub(crate) fn port_obstacles(
    canary: &Canary,
    objects: &Objects,
    settings: &Settings,
) -> Vec<String> {
    let Ok(context) = Context::new(canary, objects, settings) else { return Vec::new() };
    let mut found = Vec::new();
    if let TargetPort::Name(name) = &context.port.target {
        let own = |primary: &&Value| ownership::of(primary, canary) == Owner::Ours;
        let sides = [
            (names::target(canary), Some(context.target)),
            (names::primary(canary), context.primary.filter(own)),
        ];
        for (object, workload) in sides {
            if workload.is_some_and(|workload| !ports::has_port(workload, name)) {
                found.push(format!(
                    "spec.service.targetPort: no container of {object} has a port named {name}; name one that it has, or give its number"
                ));
            }
        }
    }
    found.extend(ports::renamed(canary, context.apex.filter(|apex| !owned_by(apex, canary))));
    found
}

/// `<apex>-primary` and `<apex>-canary`.
pub(crate) fn render_generated(
    canary: &Canary,
    objects: &Objects,
    settings: &Settings,
) -> Result<Vec<Change>, RenderError> {
    let context = Context::new(canary, objects, settings)?;
    let mut changes = Vec::new();
    for role in [Role::Primary, Role::Canary] {
        let selector = role.selector(&context.selector);
        let live = objects.present(&role.object(canary));
        let theirs = live.is_some_and(|live| ownership::of(live, canary) != Owner::Ours);
        if theirs && canary.deleting {
            continue;
        }
        changes.extend(apply(&context, role, selector, objects)?);
    }
    Ok(changes)
}

pub(crate) fn render_apex_to_primary(
    canary: &Canary,
    objects: &Objects,
    settings: &Settings,
) -> Result<Vec<Change>, RenderError> {
    let context = Context::new(canary, objects, settings)?;
    let selector = Role::Apex.selector(&context.selector);
    apply(&context, Role::Apex, selector, objects)
}

pub(crate) fn render_apex_to_target(
    canary: &Canary,
    objects: &Objects,
    settings: &Settings,
) -> Result<Vec<Change>, RenderError> {
    let context = Context::new(canary, objects, settings)?;
    let target = Role::Apex.object(canary);
    let live = match objects.get(&target) {
        Seen::Present(live) => live,
        Seen::Absent => {
            let selector = context.selector.target.clone();
            let mut object = wanted(&context, Role::Apex, selector, None);
            if let Some(metadata) = object.get_mut("metadata") {
                remove(metadata, "ownerReferences");
            }
            return Ok(vec![Change::Apply { target, object }]);
        }
        Seen::Unreadable(why) => return Err(RenderError::Unreadable { object: target, why }),
    };
    // It was never ours, or is not any more: there is nothing to give back.
    if other_controller(live, canary).is_some() {
        return Ok(Vec::new());
    }
    let patch = released(live, &context);
    Ok(patch.map_or_else(Vec::new, |patch| vec![Change::MergePatch { target, patch }]))
}

/// What makes the apex the user's: its selector, no owner with which it would be collected, no marks of ours.
fn released(live: &Value, context: &Context<'_>) -> Option<Value> {
    let wanted =
        original_selector(live, context).unwrap_or_else(|| context.selector.target.clone());
    let current = strings(live, "/spec/selector");
    let annotations = strings(live, "/metadata/annotations");
    let owned = owned_by(live, context.canary);
    // Once the note is gone nothing tells what exactly it was, only that it is the user's.
    let is_there = current == wanted || selects(live, context) == Selects::Target;
    if is_there && !owned && !annotations.contains_key(ORIGINAL_SELECTOR) {
        return None;
    }
    let mut selector: Map<String, Value> =
        current.into_keys().map(|key| (key, Value::Null)).collect();
    selector.extend(wanted.into_iter().map(|(key, value)| (key, Value::String(value))));
    let mut marks = Map::from_iter([(ORIGINAL_SELECTOR.to_owned(), Value::Null)]);
    for (key, value) in TOOLKIT_ANNOTATIONS {
        if annotations.get(key).is_some_and(|live| live == value) {
            marks.insert(key.to_owned(), Value::Null);
        }
    }
    let mut metadata = json!({"annotations": marks});
    if owned {
        let others: Vec<Value> = items(live, "/metadata/ownerReferences")
            .iter()
            .filter(|owner| text(owner, "/uid") != Some(&context.canary.uid))
            .cloned()
            .collect();
        crate::json::set(&mut metadata, "ownerReferences", Value::Array(others));
    }
    Some(json!({"metadata": metadata, "spec": {"selector": selector}}))
}

/// What the Service selected before it was adopted, by our record or kubectl's. A Service of ours has none.
fn original_selector(live: &Value, context: &Context<'_>) -> Option<BTreeMap<String, String>> {
    if owned_by(live, context.canary) {
        return None;
    }
    let annotations = strings(live, "/metadata/annotations");
    let parse = |text: &String| serde_json::from_str::<Value>(text).ok();
    let ours = annotations.get(ORIGINAL_SELECTOR).and_then(parse).map(|map| strings(&map, ""));
    let kubectl =
        || annotations.get(LAST_APPLIED).and_then(parse).map(|s| strings(&s, "/spec/selector"));
    ours.filter(|map| !map.is_empty())
        .or_else(kubectl)
        .filter(|map| !map.is_empty() && !leads_to_primary(map, context))
}

fn apply(
    context: &Context<'_>,
    role: Role,
    selector: BTreeMap<String, String>,
    objects: &Objects,
) -> Result<Vec<Change>, RenderError> {
    let target = role.object(context.canary);
    let live = match objects.get(&target) {
        Seen::Present(live) => Some(live),
        Seen::Absent => None,
        Seen::Unreadable(why) => return Err(RenderError::Unreadable { object: target, why }),
    };
    let owner = live.and_then(|live| match role {
        Role::Apex => other_controller(live, context.canary),
        Role::Primary | Role::Canary => match ownership::of(live, context.canary) {
            Owner::Ours => None,
            Owner::Other(owner) => Some(owner),
        },
    });
    if let Some(owner) = owner {
        return Err(RenderError::NotOurs { object: target, owner });
    }
    let object = wanted(context, role, selector.clone(), live);
    let same_selector = |live: &Value| strings(live, "/spec/selector") == selector;
    if live.is_some_and(|live| {
        covers(live, &object) && same_selector(live) && !has_leftovers(live, &object)
    }) {
        return Ok(Vec::new());
    }
    Ok(vec![Change::Apply { target, object }])
}

/// Exactly our fields. Node ports, addresses, the type and foreign metadata are not among them and stay as they are.
fn wanted(
    context: &Context<'_>,
    role: Role,
    selector: BTreeMap<String, String>,
    live: Option<&Value>,
) -> Value {
    let canary = context.canary;
    let service = &canary.spec.service;
    let target = role.object(canary);
    let meta = role.meta(canary);

    let users = live.is_some_and(|live| !owned_by(live, canary));
    let mut labels = meta.labels.clone();
    if role != Role::Apex || !users {
        labels.insert(context.selector.label.clone(), target.name.clone());
    }
    labels.retain(|key, _| !service.unmanaged_labels.contains(key));
    let mut annotations = meta.annotations.clone();
    annotations.extend(TOOLKIT_ANNOTATIONS.map(|(key, value)| (key.to_owned(), value.to_owned())));
    annotations.retain(|key, _| !service.unmanaged_annotations.contains(key));
    if role == Role::Apex && selector == context.selector.serving {
        annotations.extend(remembered(live, context));
    }

    let ports =
        ports::wanted(canary, role, &context.port, context.target, live, &context.mentioned);
    let mut spec = json!({"selector": selector, "ports": ports});
    if let Some(spec) = spec.as_object_mut() {
        at_creation(spec, canary, live);
        if role != Role::Apex {
            spec.extend(like_apex(context));
        }
    }
    let mut object = json!({
        "apiVersion": target.kind.api_version(),
        "kind": target.kind.kind,
        "metadata": {
            "name": target.name,
            "namespace": target.namespace,
            "annotations": annotations,
        },
        "spec": spec,
    });
    if !labels.is_empty()
        && let Some(metadata) = child(&mut object, "metadata")
    {
        metadata.insert("labels".into(), json!(labels));
    }
    // A Service that was there before stays the user's: it must outlive the Canary.
    if !(users && role == Role::Apex)
        && let Some(metadata) = child(&mut object, "metadata")
    {
        metadata.insert("ownerReferences".into(), json!([owner(canary)]));
    }
    object
}

/// The note of the selector that an adopted apex had.
fn remembered(live: Option<&Value>, context: &Context<'_>) -> Option<(String, String)> {
    let live = live.filter(|live| !owned_by(live, context.canary))?;
    let noted = strings(live, "/metadata/annotations").remove(ORIGINAL_SELECTOR);
    let selector = strings(live, "/spec/selector");
    let now = || {
        (!selector.is_empty() && !leads_to_primary(&selector, context))
            .then(|| json!(selector).to_string())
    };
    Some((ORIGINAL_SELECTOR.to_owned(), noted.or_else(now)?))
}

/// Whether a selector is one that an apex gets, by this version of ours, an earlier one or Flagger.
fn leads_to_primary(selector: &BTreeMap<String, String>, context: &Context<'_>) -> bool {
    *selector == context.selector.serving || *selector == context.selector.primary
}

/// How the apex of the user's treats connections, for gateways that go through the generated Services.
fn like_apex(context: &Context<'_>) -> Map<String, Value> {
    let fields = ["sessionAffinity", "sessionAffinityConfig", "internalTrafficPolicy"];
    let spec = context.apex.and_then(|apex| apex.get("spec"));
    let of = |field: &str| {
        let value = spec?.get(field).filter(|value| !value.is_null())?;
        // What the API server says of every Service is no wish of the user's.
        let default = *value == json!("None") || *value == json!("Cluster");
        (!default).then(|| (field.to_owned(), value.clone()))
    };
    fields.into_iter().filter_map(of).collect()
}

/// Cannot be changed afterwards, or only by making the Service anew.
fn at_creation(spec: &mut Map<String, Value>, canary: &Canary, live: Option<&Value>) {
    let service = &canary.spec.service;
    let headless = live.is_none_or(|live| text(live, "/spec/clusterIP") == Some("None"));
    if service.headless && headless {
        spec.insert("clusterIP".into(), "None".into());
    }
    if let Some(distribution) = &service.traffic_distribution {
        spec.insert("trafficDistribution".into(), distribution.clone().into());
    }
}

#[cfg(test)]
mod tests;
