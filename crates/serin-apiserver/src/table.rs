//! Tables: what `kubectl get` prints.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::jsonpath;
use crate::registry::{Column, Resource, Version};

/// What the rows carry besides their cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    None,
    Metadata,
    Object,
}

type Cells = fn(&Value, Timestamp) -> Vec<Value>;

struct Layout {
    columns: Vec<(String, &'static str, String, i64)>,
    cells: Option<Cells>,
    custom: Vec<Column>,
}

/// A `Table` of these objects.
pub(crate) fn table(
    resource: &Resource,
    version: &Version,
    objects: &[Value],
    include: Include,
    with_columns: bool,
    now: Timestamp,
) -> Value {
    let layout = layout(resource, version);
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut row = json!({"cells": cells(&layout, object, now)});
            match include {
                Include::None => {}
                Include::Metadata => row["object"] = metadata_only(object),
                Include::Object => row["object"] = object.clone(),
            }
            row
        })
        .collect();
    let columns: Vec<Value> = layout
        .columns
        .iter()
        .map(|(name, kind, description, priority)| {
            let format = if name == "Name" { "name" } else { "" };
            json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority})
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": if with_columns { json!(columns) } else { Value::Null },
        "rows": rows,
    })
}

/// `PartialObjectMetadata` of an object.
pub(crate) fn metadata_only(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata").cloned().unwrap_or(Value::Null),
    })
}

fn layout(resource: &Resource, version: &Version) -> Layout {
    let column = |name: &str, kind: &'static str, priority: i64| {
        (name.to_owned(), kind, name.to_owned(), priority)
    };
    if resource.custom {
        let mut columns = vec![column("Name", "string", 0)];
        for c in &version.columns {
            let kind = match c.kind.as_str() {
                "integer" => "integer",
                "number" => "number",
                "boolean" => "boolean",
                "date" => "date",
                _ => "string",
            };
            columns.push((c.name.clone(), kind, c.description.clone(), c.priority));
        }
        if version.columns.is_empty() {
            columns.push(column("Age", "date", 0));
        }
        return Layout { columns, cells: None, custom: version.columns.clone() };
    }
    let (names, cells): (&[(&str, &'static str, i64)], Cells) = match resource.kind.as_str() {
        "Pod" => (POD, pod),
        "Deployment" => (DEPLOYMENT, deployment),
        "ReplicaSet" => (REPLICA_SET, replica_set),
        "DaemonSet" => (DAEMON_SET, daemon_set),
        "Service" => (SERVICE, service),
        "Namespace" => {
            (&[("Name", "string", 0), ("Status", "string", 0), ("Age", "string", 0)], namespace)
        }
        "Node" => (&[("Name", "string", 0), ("Status", "string", 0), ("Age", "string", 0)], node),
        "Event" => (EVENT, event),
        "ConfigMap" => {
            (&[("Name", "string", 0), ("Data", "integer", 0), ("Age", "string", 0)], config_map)
        }
        "Secret" => (
            &[
                ("Name", "string", 0),
                ("Type", "string", 0),
                ("Data", "integer", 0),
                ("Age", "string", 0),
            ],
            secret,
        ),
        "CustomResourceDefinition" => (&[("Name", "string", 0), ("Created At", "date", 0)], crd),
        "HorizontalPodAutoscaler" => (HPA, hpa),
        "EndpointSlice" => (ENDPOINT_SLICE, endpoint_slice),
        "Lease" => (&[("Name", "string", 0), ("Holder", "string", 0), ("Age", "string", 0)], lease),
        _ => (&[("Name", "string", 0), ("Age", "string", 0)], plain),
    };
    let columns =
        names.iter().map(|(name, kind, priority)| column(name, kind, *priority)).collect();
    Layout { columns, cells: Some(cells), custom: Vec::new() }
}

fn cells(layout: &Layout, object: &Value, now: Timestamp) -> Vec<Value> {
    if let Some(cells) = layout.cells {
        return cells(object, now);
    }
    let mut row = vec![at(object, "/metadata/name")];
    for column in &layout.custom {
        row.push(custom_cell(column, object, now));
    }
    if layout.custom.is_empty() {
        row.push(age(object, now));
    }
    row
}

fn custom_cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    let found = jsonpath::find(object, &column.path);
    let wildcard = column.path.contains("[*]");
    let value = match found.as_slice() {
        [] => return Value::Null,
        [one] if !wildcard => (*one).clone(),
        many => {
            let texts: Vec<String> = many.iter().map(|v| text(v)).collect();
            return json!(format!("[{}]", texts.join(" ")));
        }
    };
    match column.kind.as_str() {
        "date" => value
            .as_str()
            .and_then(|t| t.parse().ok())
            .map_or(Value::Null, |t| json!(since(t, now))),
        "integer" | "number" if value.is_number() => value,
        "boolean" if value.is_boolean() => value,
        _ => json!(text(&value)),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(text).collect::<Vec<_>>().join(" ")),
        other => other.to_string(),
    }
}

const POD: &[(&str, &str, i64)] = &[
    ("Name", "string", 0),
    ("Ready", "string", 0),
    ("Status", "string", 0),
    ("Restarts", "string", 0),
    ("Age", "string", 0),
    ("IP", "string", 1),
    ("Node", "string", 1),
    ("Nominated Node", "string", 1),
    ("Readiness Gates", "string", 1),
];
const DEPLOYMENT: &[(&str, &str, i64)] = &[
    ("Name", "string", 0),
    ("Ready", "string", 0),
    ("Up-to-date", "string", 0),
    ("Available", "string", 0),
    ("Age", "string", 0),
    ("Containers", "string", 1),
    ("Images", "string", 1),
    ("Selector", "string", 1),
];
const REPLICA_SET: &[(&str, &str, i64)] = &[
    ("Name", "string", 0),
    ("Desired", "integer", 0),
    ("Current", "integer", 0),
    ("Ready", "integer", 0),
    ("Age", "string", 0),
    ("Containers", "string", 1),
    ("Images", "string", 1),
    ("Selector", "string", 1),
];
const DAEMON_SET: &[(&str, &str, i64)] = &[
    ("Name", "string", 0),
    ("Desired", "integer", 0),
    ("Current", "integer", 0),
    ("Ready", "integer", 0),
    ("Up-to-date", "integer", 0),
    ("Available", "integer", 0),
    ("Node Selector", "string", 0),
    ("Age", "string", 0),
];
const SERVICE: &[(&str, &str, i64)] = &[
    ("Name", "string", 0),
    ("Type", "string", 0),
    ("Cluster-IP", "string", 0),
    ("External-IP", "string", 0),
    ("Port(s)", "string", 0),
    ("Age", "string", 0),
    ("Selector", "string", 1),
];
const EVENT: &[(&str, &str, i64)] = &[
    ("Last Seen", "string", 0),
    ("Type", "string", 0),
    ("Reason", "string", 0),
    ("Object", "string", 0),
    ("Subobject", "string", 1),
    ("Source", "string", 1),
    ("Message", "string", 0),
    ("First Seen", "string", 1),
    ("Count", "string", 1),
    ("Name", "string", 1),
];
const HPA: &[(&str, &str, i64)] = &[
    ("Name", "string", 0),
    ("Reference", "string", 0),
    ("MinPods", "string", 0),
    ("MaxPods", "string", 0),
    ("Replicas", "string", 0),
    ("Age", "string", 0),
];
const ENDPOINT_SLICE: &[(&str, &str, i64)] = &[
    ("Name", "string", 0),
    ("AddressType", "string", 0),
    ("Ports", "string", 0),
    ("Endpoints", "string", 0),
    ("Age", "string", 0),
];

fn at(object: &Value, pointer: &str) -> Value {
    object.pointer(pointer).cloned().unwrap_or(Value::Null)
}

fn count(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn age(object: &Value, now: Timestamp) -> Value {
    let created = object.pointer("/metadata/creationTimestamp").and_then(Value::as_str);
    created
        .and_then(|text| text.parse().ok())
        .map_or(json!("<unknown>"), |time| json!(since(time, now)))
}

/// kubectl's way to say how long ago.
pub(crate) fn since(time: Timestamp, now: Timestamp) -> String {
    let secs = (now.as_second() - time.as_second()).max(0);
    let (minutes, hours, days) = (secs / 60, secs / 3600, secs / 86_400);
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    match secs {
        0..120 => format!("{secs}s"),
        120..600 => two(minutes, "m", secs % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        _ => two(days / 365, "y", days % 365, "d"),
    }
}

fn plain(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![at(object, "/metadata/name"), age(object, now)]
}

fn namespace(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![at(object, "/metadata/name"), at(object, "/status/phase"), age(object, now)]
}

fn node(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![at(object, "/metadata/name"), json!("Ready"), age(object, now)]
}

fn crd(object: &Value, _: Timestamp) -> Vec<Value> {
    vec![at(object, "/metadata/name"), at(object, "/metadata/creationTimestamp")]
}

fn lease(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![at(object, "/metadata/name"), at(object, "/spec/holderIdentity"), age(object, now)]
}

fn config_map(object: &Value, now: Timestamp) -> Vec<Value> {
    let size =
        |field: &str| object.get(field).and_then(Value::as_object).map_or(0, |map| map.len());
    vec![at(object, "/metadata/name"), json!(size("data") + size("binaryData")), age(object, now)]
}

fn secret(object: &Value, now: Timestamp) -> Vec<Value> {
    let size = object.get("data").and_then(Value::as_object).map_or(0, |map| map.len());
    vec![at(object, "/metadata/name"), at(object, "/type"), json!(size), age(object, now)]
}

fn containers(object: &Value, field: &str) -> Value {
    let list = object.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    let texts: Vec<&str> =
        list.into_iter().flatten().filter_map(|c| c.get(field)?.as_str()).collect();
    json!(texts.join(","))
}

/// A selector as text: `app=x,tier=web`.
pub(crate) fn selector_text(labels: Option<&Value>) -> String {
    let Some(map) = labels.and_then(Value::as_object) else { return String::new() };
    let pairs: Vec<String> =
        map.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
    pairs.join(",")
}

fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let ready =
        format!("{}/{}", count(object, "/status/readyReplicas"), count(object, "/spec/replicas"));
    vec![
        at(object, "/metadata/name"),
        json!(ready),
        json!(count(object, "/status/updatedReplicas")),
        json!(count(object, "/status/availableReplicas")),
        age(object, now),
        containers(object, "name"),
        containers(object, "image"),
        json!(selector_text(object.pointer("/spec/selector/matchLabels"))),
    ]
}

fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        at(object, "/metadata/name"),
        json!(count(object, "/spec/replicas")),
        json!(count(object, "/status/replicas")),
        json!(count(object, "/status/readyReplicas")),
        age(object, now),
        containers(object, "name"),
        containers(object, "image"),
        json!(selector_text(object.pointer("/spec/selector/matchLabels"))),
    ]
}

fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let selector = selector_text(object.pointer("/spec/template/spec/nodeSelector"));
    vec![
        at(object, "/metadata/name"),
        json!(count(object, "/status/desiredNumberScheduled")),
        json!(count(object, "/status/currentNumberScheduled")),
        json!(count(object, "/status/numberReady")),
        json!(count(object, "/status/updatedNumberScheduled")),
        json!(count(object, "/status/numberAvailable")),
        json!(if selector.is_empty() { "<none>".to_owned() } else { selector }),
        age(object, now),
    ]
}

fn pod(object: &Value, now: Timestamp) -> Vec<Value> {
    let statuses = object.pointer("/status/containerStatuses").and_then(Value::as_array);
    let statuses: Vec<&Value> = statuses.into_iter().flatten().collect();
    let total = object.pointer("/spec/containers").and_then(Value::as_array).map_or(0, Vec::len);
    let ready =
        statuses.iter().filter(|s| s.get("ready").and_then(Value::as_bool) == Some(true)).count();
    let restarts: i64 = statuses.iter().filter_map(|s| s.get("restartCount")?.as_i64()).sum();
    let waiting =
        statuses.iter().find_map(|s| s.pointer("/state/waiting/reason").and_then(Value::as_str));
    let phase = object.pointer("/status/phase").and_then(Value::as_str).unwrap_or("Pending");
    let status = if object.pointer("/metadata/deletionTimestamp").is_some() {
        "Terminating"
    } else {
        waiting.unwrap_or(phase)
    };
    let or_none =
        |pointer: &str| object.pointer(pointer).cloned().unwrap_or_else(|| json!("<none>"));
    vec![
        at(object, "/metadata/name"),
        json!(format!("{ready}/{total}")),
        json!(status),
        json!(restarts.to_string()),
        age(object, now),
        or_none("/status/podIP"),
        or_none("/spec/nodeName"),
        json!("<none>"),
        json!("<none>"),
    ]
}

fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    let ports = object.pointer("/spec/ports").and_then(Value::as_array);
    let ports: Vec<String> = ports
        .into_iter()
        .flatten()
        .map(|port| {
            let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
            let number = port.get("port").and_then(Value::as_i64).unwrap_or(0);
            match port.get("nodePort").and_then(Value::as_i64) {
                Some(node) => format!("{number}:{node}/{protocol}"),
                None => format!("{number}/{protocol}"),
            }
        })
        .collect();
    vec![
        at(object, "/metadata/name"),
        at(object, "/spec/type"),
        object.pointer("/spec/clusterIP").cloned().unwrap_or_else(|| json!("<none>")),
        json!("<none>"),
        json!(if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }),
        age(object, now),
        json!(selector_text(object.pointer("/spec/selector"))),
    ]
}

fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let ago = |pointer: &str| {
        let time = object.pointer(pointer).and_then(Value::as_str).and_then(|t| t.parse().ok());
        time.map_or_else(|| "<unknown>".to_owned(), |time| since(time, now))
    };
    let kind = object
        .pointer("/involvedObject/kind")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_lowercase();
    let name = object.pointer("/involvedObject/name").and_then(Value::as_str).unwrap_or_default();
    vec![
        json!(ago("/lastTimestamp")),
        at(object, "/type"),
        at(object, "/reason"),
        json!(format!("{kind}/{name}")),
        object.pointer("/involvedObject/fieldPath").cloned().unwrap_or_else(|| json!("")),
        object.pointer("/source/component").cloned().unwrap_or_else(|| json!("")),
        at(object, "/message"),
        json!(ago("/firstTimestamp")),
        json!(count(object, "/count").max(1)),
        at(object, "/metadata/name"),
    ]
}

fn hpa(object: &Value, now: Timestamp) -> Vec<Value> {
    let part = |name: &str| {
        object
            .pointer("/spec/scaleTargetRef")
            .and_then(|r| r.get(name)?.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    vec![
        at(object, "/metadata/name"),
        json!(format!("{}/{}", part("kind"), part("name"))),
        json!(count(object, "/spec/minReplicas")),
        json!(count(object, "/spec/maxReplicas")),
        json!(count(object, "/status/currentReplicas")),
        age(object, now),
    ]
}

fn endpoint_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let list = |pointer: &str| {
        object.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let ports: Vec<String> =
        list("/ports").iter().filter_map(|p| p.get("port")).map(text).collect();
    let endpoints: Vec<String> =
        list("/endpoints").iter().filter_map(|e| e.pointer("/addresses/0")).map(text).collect();
    vec![
        at(object, "/metadata/name"),
        at(object, "/addressType"),
        json!(if ports.is_empty() { "<unset>".to_owned() } else { ports.join(",") }),
        json!(if endpoints.is_empty() { "<unset>".to_owned() } else { endpoints.join(",") }),
        age(object, now),
    ]
}
