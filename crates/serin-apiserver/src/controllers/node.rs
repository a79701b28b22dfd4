//! The one virtual node, and which pods may run on it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::change::{Change, Kind};
use super::object::{self, list, stamp};
use super::view::ClusterView;

/// The name of the node.
pub const NODE: &str = "serin-local";
/// The internal IP address of the node.
pub const NODE_ADDRESS: &str = "127.0.0.1";

/// Creates the node if it does not exist, and sets its Ready condition.
pub(crate) fn reconcile(view: &ClusterView, now: Timestamp) -> Vec<Change> {
    match view.all(Kind::Node).iter().find(|node| object::name(node) == NODE) {
        None => vec![Change::Create(Kind::Node, node(now))],
        Some(there) if object::condition(there, "Ready").is_none() => {
            let mut ready = there.as_ref().clone();
            ready["status"] = node(now)["status"].clone();
            vec![Change::Status(Kind::Node, ready)]
        }
        Some(_) => Vec::new(),
    }
}

fn node(now: Timestamp) -> Value {
    let room = json!({"cpu": "8", "memory": "16Gi", "pods": "10000"});
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE, "labels": {
            "kubernetes.io/hostname": NODE,
            "kubernetes.io/os": std::env::consts::OS,
            "kubernetes.io/arch": arch(),
            "node-role.kubernetes.io/control-plane": "",
        }},
        "spec": {},
        "status": {
            "addresses": [{"type": "InternalIP", "address": NODE_ADDRESS}, {"type": "Hostname", "address": NODE}],
            "nodeInfo": {
                "architecture": arch(),
                "operatingSystem": std::env::consts::OS,
                "osImage": "this machine",
                "containerRuntimeVersion": concat!("processes://", env!("CARGO_PKG_VERSION")),
                "kubeletVersion": concat!("serin-", env!("CARGO_PKG_VERSION")),
                "kernelVersion": "", "machineID": "", "systemUUID": "", "bootID": "", "kubeProxyVersion": "",
            },
            "allocatable": room,
            "capacity": room,
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "pods run as processes of this machine",
                "lastHeartbeatTime": stamp(now), "lastTransitionTime": stamp(now),
            }],
        },
    })
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The node's labels, empty while there is no node.
pub(crate) fn labels(view: &ClusterView) -> Value {
    let node = view.all(Kind::Node).iter().find(|node| object::name(node) == NODE);
    node.map_or(Value::Null, |node| node["metadata"]["labels"].clone())
}

/// Whether a pod spec's `nodeSelector` and required node affinity allow the node.
pub(crate) fn fits(spec: &Value, labels: &Value) -> bool {
    let selector = spec.get("nodeSelector").and_then(Value::as_object);
    let selected =
        selector.into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let terms = list(
        spec,
        "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms",
    );
    selected && (terms.is_empty() || terms.iter().any(|term| term_holds(term, labels)))
}

fn term_holds(term: &Value, labels: &Value) -> bool {
    let name = json!({"metadata.name": NODE});
    list(term, "/matchExpressions")
        .iter()
        .all(|expression| object::expression_holds(expression, labels))
        && list(term, "/matchFields")
            .iter()
            .all(|expression| object::expression_holds(expression, &name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_and_affinity() {
        let labels = json!({"kubernetes.io/os": "linux", "size": "5"});
        let term = |key: &str, operator: &str, values: &[&str]| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": key, "operator": operator, "values": values}]},
            ]}}}})
        };
        let table = [
            (json!({}), true),
            (json!({"nodeSelector": {"kubernetes.io/os": "linux"}}), true),
            (json!({"nodeSelector": {"flagger.app/scale-to-zero": "true"}}), false),
            (term("kubernetes.io/os", "In", &["linux", "windows"]), true),
            (term("kubernetes.io/os", "NotIn", &["linux"]), false),
            (term("size", "Gt", &["4"]), true),
            (term("gpu", "Exists", &[]), false),
        ];
        for (spec, expected) in table {
            assert_eq!(fits(&spec, &labels), expected, "{spec}");
        }
    }
}
