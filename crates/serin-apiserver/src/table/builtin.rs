//! Columns and cells of the built-in kinds.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Cells, Columns, text};

mod more;

/// Columns and cells of a built-in kind, as `kubectl get` shows them.
pub(super) fn layout(kind: &str) -> (Columns, Cells) {
    match kind {
        "Pod" => (POD, pod),
        "Deployment" => (DEPLOYMENT, deployment),
        "ReplicaSet" => (REPLICA_SET, replica_set),
        "DaemonSet" => (DAEMON_SET, daemon_set),
        "StatefulSet" => (STATEFUL_SET, stateful_set),
        "Service" => (SERVICE, service),
        "Namespace" => (NAMESPACE, namespace),
        "Node" => (NODE, node),
        "Event" => (EVENT, event),
        "ConfigMap" => (CONFIG_MAP, config_map),
        "Secret" => (SECRET, secret),
        "CustomResourceDefinition" => (CRD, crd),
        "HorizontalPodAutoscaler" => (HPA, hpa),
        "Endpoints" => (ENDPOINTS, endpoints),
        "EndpointSlice" => (ENDPOINT_SLICE, endpoint_slice),
        "Ingress" => (INGRESS, more::ingress),
        "IngressClass" => (INGRESS_CLASS, more::ingress_class),
        "NetworkPolicy" => (NETWORK_POLICY, more::network_policy),
        "Lease" => (LEASE, lease),
        "Job" => (JOB, more::job),
        "CronJob" => (CRON_JOB, more::cron_job),
        "PodDisruptionBudget" => (BUDGET, more::budget),
        "Role" | "ClusterRole" => (CRD, crd),
        "RoleBinding" | "ClusterRoleBinding" => (BINDING, more::binding),
        "PriorityClass" => (PRIORITY_CLASS, more::priority_class),
        "StorageClass" => (STORAGE_CLASS, more::storage_class),
        "PersistentVolumeClaim" => (CLAIM, more::claim),
        "LimitRange" => (CRD, crd),
        "ResourceQuota" => (QUOTA, more::quota),
        _ => (PLAIN, plain),
    }
}

const PLAIN: Columns = &[("Name", "string", 0), ("Age", "string", 0)];
const NAMESPACE: Columns = &[("Name", "string", 0), ("Status", "string", 0), ("Age", "string", 0)];
const CONFIG_MAP: Columns = &[("Name", "string", 0), ("Data", "string", 0), ("Age", "string", 0)];
const SECRET: Columns =
    &[("Name", "string", 0), ("Type", "string", 0), ("Data", "string", 0), ("Age", "string", 0)];
const CRD: Columns = &[("Name", "string", 0), ("Created At", "date", 0)];
const LEASE: Columns = &[("Name", "string", 0), ("Holder", "string", 0), ("Age", "string", 0)];
const STATEFUL_SET: Columns = &[
    ("Name", "string", 0),
    ("Ready", "string", 0),
    ("Age", "string", 0),
    ("Containers", "string", 1),
    ("Images", "string", 1),
];
const NODE: Columns = &[
    ("Name", "string", 0),
    ("Status", "string", 0),
    ("Roles", "string", 0),
    ("Age", "string", 0),
    ("Version", "string", 0),
    ("Internal-IP", "string", 1),
    ("External-IP", "string", 1),
    ("OS-Image", "string", 1),
    ("Kernel-Version", "string", 1),
    ("Container-Runtime", "string", 1),
];
const ENDPOINTS: Columns =
    &[("Name", "string", 0), ("Endpoints", "string", 0), ("Age", "string", 0)];
const INGRESS: Columns = &[
    ("Name", "string", 0),
    ("Class", "string", 0),
    ("Hosts", "string", 0),
    ("Address", "string", 0),
    ("Ports", "string", 0),
    ("Age", "string", 0),
];
const INGRESS_CLASS: Columns = &[
    ("Name", "string", 0),
    ("Controller", "string", 0),
    ("Parameters", "string", 0),
    ("Age", "string", 0),
];
const NETWORK_POLICY: Columns =
    &[("Name", "string", 0), ("Pod-Selector", "string", 0), ("Age", "string", 0)];
const JOB: Columns = &[
    ("Name", "string", 0),
    ("Status", "string", 0),
    ("Completions", "string", 0),
    ("Duration", "string", 0),
    ("Age", "string", 0),
];
const CRON_JOB: Columns = &[
    ("Name", "string", 0),
    ("Schedule", "string", 0),
    ("Timezone", "string", 0),
    ("Suspend", "string", 0),
    ("Active", "integer", 0),
    ("Last Schedule", "string", 0),
    ("Age", "string", 0),
];
const BUDGET: Columns = &[
    ("Name", "string", 0),
    ("Min Available", "string", 0),
    ("Max Unavailable", "string", 0),
    ("Allowed Disruptions", "integer", 0),
    ("Age", "string", 0),
];
const BINDING: Columns = &[("Name", "string", 0), ("Role", "string", 0), ("Age", "string", 0)];
const PRIORITY_CLASS: Columns = &[
    ("Name", "string", 0),
    ("Value", "integer", 0),
    ("Global-Default", "boolean", 0),
    ("Age", "string", 0),
    ("PreemptionPolicy", "string", 0),
];
const STORAGE_CLASS: Columns = &[
    ("Name", "string", 0),
    ("Provisioner", "string", 0),
    ("ReclaimPolicy", "string", 0),
    ("VolumeBindingMode", "string", 0),
    ("AllowVolumeExpansion", "string", 0),
    ("Age", "string", 0),
];
const CLAIM: Columns = &[
    ("Name", "string", 0),
    ("Status", "string", 0),
    ("Volume", "string", 0),
    ("Capacity", "string", 0),
    ("Access Modes", "string", 0),
    ("StorageClass", "string", 0),
    ("Age", "string", 0),
];
const QUOTA: Columns = &[
    ("Name", "string", 0),
    ("Request", "string", 0),
    ("Limit", "string", 0),
    ("Age", "string", 0),
];
const POD: Columns = &[
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
const DEPLOYMENT: Columns = &[
    ("Name", "string", 0),
    ("Ready", "string", 0),
    ("Up-to-date", "string", 0),
    ("Available", "string", 0),
    ("Age", "string", 0),
    ("Containers", "string", 1),
    ("Images", "string", 1),
    ("Selector", "string", 1),
];
const REPLICA_SET: Columns = &[
    ("Name", "string", 0),
    ("Desired", "integer", 0),
    ("Current", "integer", 0),
    ("Ready", "integer", 0),
    ("Age", "string", 0),
    ("Containers", "string", 1),
    ("Images", "string", 1),
    ("Selector", "string", 1),
];
const DAEMON_SET: Columns = &[
    ("Name", "string", 0),
    ("Desired", "integer", 0),
    ("Current", "integer", 0),
    ("Ready", "integer", 0),
    ("Up-to-date", "integer", 0),
    ("Available", "integer", 0),
    ("Node Selector", "string", 0),
    ("Age", "string", 0),
];
const SERVICE: Columns = &[
    ("Name", "string", 0),
    ("Type", "string", 0),
    ("Cluster-IP", "string", 0),
    ("External-IP", "string", 0),
    ("Port(s)", "string", 0),
    ("Age", "string", 0),
    ("Selector", "string", 1),
];
const EVENT: Columns = &[
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
const HPA: Columns = &[
    ("Name", "string", 0),
    ("Reference", "string", 0),
    ("Targets", "string", 0),
    ("MinPods", "string", 0),
    ("MaxPods", "string", 0),
    ("Replicas", "string", 0),
    ("Age", "string", 0),
];
const ENDPOINT_SLICE: Columns = &[
    ("Name", "string", 0),
    ("AddressType", "string", 0),
    ("Ports", "string", 0),
    ("Endpoints", "string", 0),
    ("Age", "string", 0),
];

pub(super) fn at(object: &Value, pointer: &str) -> Value {
    object.pointer(pointer).cloned().unwrap_or(Value::Null)
}

fn count(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    let created = object.pointer("/metadata/creationTimestamp").and_then(Value::as_str);
    created
        .and_then(|text| text.parse().ok())
        .map_or(json!("<unknown>"), |time| json!(since(time, now)))
}

/// The age as kubectl prints it, such as `5m12s`.
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
    let ready = object.pointer("/status/conditions").and_then(Value::as_array).is_some_and(|all| {
        all.iter().any(|c| {
            c.get("type").and_then(Value::as_str) == Some("Ready")
                && c.get("status").and_then(Value::as_str) == Some("True")
        })
    });
    let roles: Vec<&str> = object
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, _)| name.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    let info = |name: &str| {
        let found = object.pointer("/status/nodeInfo").and_then(|info| info.get(name)?.as_str());
        json!(found.filter(|text| !text.is_empty()).unwrap_or("<unknown>"))
    };
    let addresses = object.pointer("/status/addresses").and_then(Value::as_array);
    let internal = addresses.into_iter().flatten().find_map(|address| {
        (address.get("type")?.as_str()? == "InternalIP").then(|| address.get("address").cloned())?
    });
    vec![
        at(object, "/metadata/name"),
        json!(if ready { "Ready" } else { "NotReady" }),
        json!(if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }),
        age(object, now),
        info("kubeletVersion"),
        internal.unwrap_or_else(|| json!("<none>")),
        json!("<none>"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn stateful_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let ready =
        format!("{}/{}", count(object, "/status/readyReplicas"), count(object, "/spec/replicas"));
    vec![
        at(object, "/metadata/name"),
        json!(ready),
        age(object, now),
        containers(object, "name"),
        containers(object, "image"),
    ]
}

fn endpoints(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in object.get("subsets").and_then(Value::as_array).into_iter().flatten() {
        let list = |name: &str| subset.get(name).and_then(Value::as_array).into_iter().flatten();
        for address in list("addresses").filter_map(|a| a.get("ip")?.as_str()) {
            all.extend(
                list("ports").filter_map(|p| p.get("port")).map(|p| format!("{address}:{p}")),
            );
        }
    }
    vec![at(object, "/metadata/name"), json!(more::listed(&all, 3)), age(object, now)]
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
        json!(more::external_ip(object)),
        json!(if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }),
        age(object, now),
        json!(
            Some(selector_text(object.pointer("/spec/selector")))
                .filter(|text| !text.is_empty())
                .unwrap_or_else(|| "<none>".to_owned())
        ),
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
        json!(more::targets(object)),
        json!(count(object, "/spec/minReplicas").to_string()),
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
        json!(if endpoints.is_empty() {
            "<unset>".to_owned()
        } else {
            more::listed(&endpoints, 3)
        }),
        age(object, now),
    ]
}
