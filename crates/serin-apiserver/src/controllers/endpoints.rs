//! EndpointSlices and Endpoints: the addresses of the pods behind a Service.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::change::{Change, Deletion, Kind};
use super::hash::suffix;
use super::node::NODE;
use super::object::{self, list, text};
use super::view::ClusterView;
use crate::json_pointer::At;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// The number of endpoints that Kubernetes puts into one slice.
const ENDPOINTS_MAX: usize = 100;

/// Endpoints with the same resolved ports, grouped by these ports; each group gets slices of its own.
type Groups = BTreeMap<String, (Value, Vec<Value>)>;

/// The objects that reconciling a Service reads, the Service first.
pub(crate) fn inputs(service: &Arc<Value>, view: &ClusterView) -> Vec<Arc<Value>> {
    let (namespace, name) = (object::namespace(service), object::name(service));
    let selector = service.at("/spec/selector").and_then(Value::as_object);
    let pods = view.inside(Kind::Pod, namespace).iter().filter(|pod| {
        let labels = &pod["metadata"]["labels"];
        selector.into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
    });
    let slices = view.inside(Kind::EndpointSlice, namespace).iter();
    let slices = slices.filter(|slice| object::label(slice, SERVICE_NAME) == name);
    let endpoints = view.inside(Kind::Endpoints, namespace).iter();
    let endpoints = endpoints.filter(|endpoints| object::name(endpoints) == name);
    [service].into_iter().chain(pods).chain(slices).chain(endpoints).cloned().collect()
}

/// The writes that bring the EndpointSlices and Endpoints of one Service up to date.
pub(crate) fn reconcile(service: &Value, view: &ClusterView) -> Vec<Change> {
    let selector = service.at("/spec/selector").and_then(Value::as_object);
    let selector = selector
        .filter(|selector| !selector.is_empty() && text(service, "/spec/type") != "ExternalName");
    let Some(selector) = selector.filter(|_| !object::deleting(service)) else {
        return Vec::new();
    };
    let namespace = object::namespace(service);
    let matching = |pod: &&Value| {
        selector.iter().all(|(key, value)| pod["metadata"]["labels"].get(key) == Some(value))
    };
    let serving =
        |pod: &&Value| !object::is_finished(pod) && !text(pod, "/status/podIP").is_empty();
    let mut pods: Vec<&Value> = view
        .inside(Kind::Pod, namespace)
        .iter()
        .map(AsRef::as_ref)
        .filter(matching)
        .filter(serving)
        .collect();
    pods.sort_by_key(|pod| object::name(pod));
    let mut changes = slices(service, &pods, view);
    changes.extend(endpoints(service, &pods, view));
    changes
}

fn slices(service: &Value, pods: &[&Value], view: &ClusterView) -> Vec<Change> {
    let mut groups = Groups::new();
    for pod in pods {
        let ports = ports(service, Some(pod));
        let group = groups.entry(ports.to_string()).or_insert_with(|| (ports, Vec::new()));
        group.1.push(endpoint(service, pod));
    }
    if groups.is_empty() {
        groups.insert(String::new(), (json!([]), Vec::new()));
    }
    let ours = |slice: &&Value| {
        object::label(slice, SERVICE_NAME) == object::name(service)
            && object::label(slice, MANAGED_BY) == CONTROLLER
    };
    let existing: Vec<&Value> = view
        .inside(Kind::EndpointSlice, object::namespace(service))
        .iter()
        .map(AsRef::as_ref)
        .filter(ours)
        .collect();
    let chunks = groups.values().flat_map(|(ports, all)| {
        let count = all.len().div_ceil(ENDPOINTS_MAX).max(1);
        (0..count).map(move |at| {
            (
                ports,
                all.iter()
                    .skip(at * ENDPOINTS_MAX)
                    .take(ENDPOINTS_MAX)
                    .cloned()
                    .collect::<Vec<_>>(),
            )
        })
    });
    let mut changes = Vec::new();
    let mut kept = Vec::new();
    for (at, (ports, endpoints)) in chunks.enumerate() {
        let name = format!(
            "{}-{}",
            object::name(service),
            suffix(&[object::uid(service), &at.to_string()])
        );
        let old = existing.iter().find(|slice| object::name(slice) == name);
        changes.extend(slice(service, &name, ports, endpoints, old.copied()));
        kept.push(name);
    }
    let stale =
        existing.into_iter().filter(|slice| !kept.iter().any(|name| name == object::name(slice)));
    changes
        .extend(stale.map(|slice| Change::Delete(Deletion::of(Kind::EndpointSlice, slice, None))));
    changes
}

fn slice(
    service: &Value,
    name: &str,
    ports: &Value,
    endpoints: Vec<Value>,
    old: Option<&Value>,
) -> Option<Change> {
    let mut labels =
        service.at("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), json!(object::name(service)));
    labels.insert(MANAGED_BY.to_owned(), json!(CONTROLLER));
    if text(service, "/spec/clusterIP") == "None" {
        labels.insert("service.kubernetes.io/headless".to_owned(), json!(""));
    }
    let Some(old) = old else {
        return Some(Change::Create(
            Kind::EndpointSlice,
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": name,
                    "generateName": format!("{}-", object::name(service)),
                    "namespace": object::namespace(service),
                    "labels": labels,
                    "ownerReferences": [object::controlled_by(service, "v1", "Service")],
                },
                "addressType": "IPv4",
                "endpoints": endpoints,
                "ports": ports,
            }),
        ));
    };
    let mut fresh = old.clone();
    fresh["metadata"]["labels"] = Value::Object(labels);
    fresh["endpoints"] = Value::Array(endpoints);
    fresh["ports"] = ports.clone();
    (fresh != *old).then_some(Change::Update(Kind::EndpointSlice, fresh))
}

/// The Service's ports as the pod has them. A port is named like the Service's, the empty name included: clients that look one up by name must find it.
fn ports(service: &Value, pod: Option<&Value>) -> Value {
    let ports = list(service, "/spec/ports").iter().filter_map(|port| {
        let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
        let target = port.get("targetPort").unwrap_or(&Value::Null);
        let number = match target.as_str() {
            Some(name) => named_port(pod?, name, protocol)?,
            None => target.as_i64().filter(|number| *number > 0).or_else(|| port["port"].as_i64())?,
        };
        let mut resolved = json!({"name": port.get("name").and_then(Value::as_str).unwrap_or(""), "port": number, "protocol": protocol});
        if let Some(app) = port.get("appProtocol").filter(|app| app.is_string()) {
            resolved["appProtocol"] = app.clone();
        }
        Some(resolved)
    });
    Value::Array(ports.collect())
}

fn named_port(pod: &Value, name: &str, protocol: &str) -> Option<i64> {
    let ports =
        list(pod, "/spec/containers").iter().flat_map(|container| list(container, "/ports"));
    let mut same = ports.filter(|port| {
        text(port, "/name") == name
            && port.get("protocol").and_then(Value::as_str).unwrap_or("TCP") == protocol
    });
    same.find_map(|port| port["containerPort"].as_i64())
}

fn endpoint(service: &Value, pod: &Value) -> Value {
    let leaving = object::deleting(pod);
    let serving = object::is_ready(pod) && !leaving;
    let ready = serving || (object::flag(service, "/spec/publishNotReadyAddresses") && !leaving);
    json!({
        "addresses": [text(pod, "/status/podIP")],
        "conditions": {"ready": ready, "serving": serving, "terminating": leaving},
        "nodeName": NODE,
        "targetRef": target(pod),
    })
}

fn target(pod: &Value) -> Value {
    json!({"kind": "Pod", "name": object::name(pod), "namespace": object::namespace(pod), "uid": object::uid(pod)})
}

/// The `Endpoints` object, for clients that do not read EndpointSlices.
fn endpoints(service: &Value, pods: &[&Value], view: &ClusterView) -> Option<Change> {
    let mut groups: BTreeMap<String, (Value, Vec<Value>, Vec<Value>)> = BTreeMap::new();
    let publish = object::flag(service, "/spec/publishNotReadyAddresses");
    for pod in pods.iter().filter(|pod| !object::deleting(pod)) {
        let ports = ports(service, Some(pod));
        let group =
            groups.entry(ports.to_string()).or_insert_with(|| (ports, Vec::new(), Vec::new()));
        let address =
            json!({"ip": text(pod, "/status/podIP"), "nodeName": NODE, "targetRef": target(pod)});
        if object::is_ready(pod) || publish { group.1.push(address) } else { group.2.push(address) }
    }
    let subsets: Vec<Value> = groups
        .into_values()
        .map(|(ports, ready, waiting)| {
            let mut subset = json!({"ports": ports});
            if !ready.is_empty() {
                subset["addresses"] = Value::Array(ready);
            }
            if !waiting.is_empty() {
                subset["notReadyAddresses"] = Value::Array(waiting);
            }
            subset
        })
        .collect();
    let old = view
        .inside(Kind::Endpoints, object::namespace(service))
        .iter()
        .find(|old| object::name(old) == object::name(service));
    let Some(old) = old else {
        let mut labels =
            service.at("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default();
        labels
            .insert("endpoints.kubernetes.io/managed-by".to_owned(), json!("endpoint-controller"));
        return Some(Change::Create(
            Kind::Endpoints,
            json!({
                "apiVersion": "v1",
                "kind": "Endpoints",
                "metadata": {
                    "name": object::name(service), "namespace": object::namespace(service), "labels": labels,
                    "ownerReferences": [object::controlled_by(service, "v1", "Service")],
                },
                "subsets": subsets,
            }),
        ));
    };
    // Endpoints without an owner reference to the Service are managed by a user and left alone.
    let ours = object::owner(old) == Some(object::uid(service));
    if !ours || list(old, "/subsets") == subsets.as_slice() {
        return None;
    }
    let mut fresh = old.as_ref().clone();
    fresh["subsets"] = Value::Array(subsets);
    Some(Change::Update(Kind::Endpoints, fresh))
}
