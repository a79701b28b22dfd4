//! Services: the apex that users call, and the two that tell the primary's pods from the target's.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use serin_core::model::{Canary, Meta, TargetPort};
use serin_core::observed::{Seen, Selects, ServiceSeen, Services};

use crate::change::{Change, FIELD_MANAGER, ObjectRef, Objects, SERVICE};
use crate::json::{
    TOOLKIT_ANNOTATIONS, child, covers, items, other_controller, owned_by, owner, remove, strings,
    text,
};
use crate::references;
use crate::render::RenderError;
use crate::settings::Settings;
use crate::workload::primary::{Selector, require, selector};

/// On an apex Service that we did not make: the selector it had, in JSON, to give back.
const ORIGINAL_SELECTOR: &str = "serin.dev/original-selector";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Containers whose ports are the mesh's: Istio, App Mesh and Open Service Mesh, Linkerd, Kuma, Consul, NGINX Service Mesh, Dapr.
/// Sidecars that are init containers are never looked at.
const SIDECARS: [&str; 10] = [
    "istio-proxy",
    "envoy",
    "xray-daemon",
    "linkerd-proxy",
    "kuma-sidecar",
    "consul-dataplane",
    "consul-connect-envoy-sidecar",
    "envoy-sidecar",
    "nginx-mesh-sidecar",
    "daprd",
];

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
            Role::Apex | Role::Primary => selector.primary.clone(),
            Role::Canary => selector.target(),
        }
    }
}

/// What is needed to know how a Service should be.
struct Context<'a> {
    canary: &'a Canary,
    target: &'a Value,
    primary: Option<&'a Value>,
    selector: Selector,
}

impl<'a> Context<'a> {
    fn new(
        canary: &'a Canary,
        objects: &'a Objects,
        settings: &Settings,
    ) -> Result<Self, RenderError> {
        let target_ref = references::target(canary);
        let target = require(objects, &target_ref)?;
        let primary = objects.present(&references::primary(canary));
        let Some(selector) = selector(target, primary, settings) else {
            return Err(RenderError::no_selector_label(target_ref, settings));
        };
        Ok(Self { canary, target, primary, selector })
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
    let ready_endpoints = match objects.slices(&object.namespace, &object.name) {
        Seen::Present(slices) => ready_endpoints(slices.iter().map(AsRef::as_ref)),
        Seen::Absent => 0,
        Seen::Unreadable(why) => return Seen::Unreadable(why),
    };
    Seen::Present(ServiceSeen {
        selects: context.map_or(Selects::Other, |context| selects(live, context)),
        ready_endpoints,
        in_order: context.is_some_and(|context| in_order(context, role, live)),
    })
}

/// Distinct addresses that take new connections.
fn ready_endpoints<'a>(slices: impl Iterator<Item = &'a Value>) -> u32 {
    let is = |endpoint: &Value, condition: &str, unset: bool| {
        endpoint.pointer(condition).and_then(Value::as_bool).unwrap_or(unset)
    };
    let addresses: BTreeSet<&str> = slices
        .flat_map(|slice| items(slice, "/endpoints"))
        .filter(|endpoint| {
            is(endpoint, "/conditions/ready", true)
                && !is(endpoint, "/conditions/terminating", false)
        })
        .filter_map(|endpoint| items(endpoint, "/addresses").first()?.as_str())
        .collect();
    u32::try_from(addresses.len()).unwrap_or(u32::MAX)
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
            labels.extend(context.selector.primary.clone());
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
    let selector = context.selector.primary.clone();
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
            let mut object = wanted(&context, Role::Apex, context.selector.target(), None);
            if let Some(metadata) = object.get_mut("metadata") {
                remove(metadata, "ownerReferences");
            }
            return Ok(vec![Change::Apply { target, object }]);
        }
        Seen::Unreadable(why) => return Err(RenderError::Unreadable { object: target, why }),
    };
    if let Some(owner) = other_controller(live, canary) {
        return Err(RenderError::NotOurs { object: target, owner });
    }
    let patch = released(live, &context);
    Ok(patch.map_or_else(Vec::new, |patch| vec![Change::MergePatch { target, patch }]))
}

/// What makes the apex the user's: its selector, no owner with which it would be collected, no marks of ours.
fn released(live: &Value, context: &Context<'_>) -> Option<Value> {
    let wanted = original_selector(live, context).unwrap_or_else(|| context.selector.target());
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
        .filter(|map| !map.is_empty() && *map != context.selector.primary)
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
    if let Some(owner) = live.and_then(|live| other_controller(live, context.canary)) {
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

    let mut labels = meta.labels.clone();
    labels.insert(context.selector.label.clone(), target.name.clone());
    labels.retain(|key, _| !service.unmanaged_labels.contains(key));
    let mut annotations = meta.annotations.clone();
    annotations.extend(TOOLKIT_ANNOTATIONS.map(|(key, value)| (key.to_owned(), value.to_owned())));
    annotations.retain(|key, _| !service.unmanaged_annotations.contains(key));
    if role == Role::Apex && selector == context.selector.primary {
        annotations.extend(remembered(live, context));
    }

    let mut spec = json!({"selector": selector, "ports": ports(context)});
    if let Some(spec) = spec.as_object_mut() {
        at_creation(spec, canary, live);
    }
    let mut object = json!({
        "apiVersion": target.kind.api_version(),
        "kind": target.kind.kind,
        "metadata": {
            "name": target.name,
            "namespace": target.namespace,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": spec,
    });
    // A Service that was there before stays the user's: it must outlive the Canary.
    if live.is_none_or(|live| owned_by(live, canary))
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
        (!selector.is_empty() && selector != context.selector.primary)
            .then(|| json!(selector).to_string())
    };
    Some((ORIGINAL_SELECTOR.to_owned(), noted.or_else(now)?))
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

fn ports(context: &Context<'_>) -> Vec<Value> {
    let service = &context.canary.spec.service;
    let target_port = match &service.target_port {
        TargetPort::Number(number) => json!(number),
        TargetPort::Name(name) => json!(name),
    };
    let mut first = json!({
        "name": service.port_name,
        "port": service.port,
        "protocol": "TCP",
        "targetPort": target_port,
    });
    if let (Some(protocol), Some(map)) = (&service.app_protocol, first.as_object_mut()) {
        map.insert("appProtocol".into(), protocol.clone().into());
    }
    let mut ports = vec![first];
    if service.port_discovery {
        ports.extend(discovered(context));
    }
    ports
}

/// Every other port of the target's containers, under its own number.
fn discovered(context: &Context<'_>) -> Vec<Value> {
    let service = &context.canary.spec.service;
    let mut seen = BTreeSet::from([i64::from(service.port)]);
    let mut ports = Vec::new();
    for container in items(context.target, "/spec/template/spec/containers") {
        let container_name = text(container, "/name").unwrap_or_default();
        if SIDECARS.contains(&container_name) {
            continue;
        }
        for (index, port) in items(container, "/ports").iter().enumerate() {
            let Some(number) = crate::json::int(port, "/containerPort") else { continue };
            let name = text(port, "/name").filter(|name| !name.is_empty());
            let is_first = match &service.target_port {
                TargetPort::Number(first) => number == i64::from(*first),
                TargetPort::Name(first) => name == Some(first),
            };
            if is_first || !seen.insert(number) {
                continue;
            }
            let name = name.map_or_else(|| format!("tcp-{container_name}-{index}"), str::to_owned);
            ports.push(json!({
                "name": name, "port": number, "protocol": "TCP", "targetPort": number,
            }));
        }
    }
    ports
}

#[cfg(test)]
mod tests;
