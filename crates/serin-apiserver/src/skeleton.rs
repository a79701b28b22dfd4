//! The fields that objects of built-in kinds always have, even when they are empty.

use serde_json::{Value, json};

/// The empty object of a kind; its fields have no owner.
pub(crate) fn of(kind: &str) -> Value {
    let template = || json!({"metadata": {}, "spec": {"containers": []}});
    match kind {
        "Deployment" => json!({
            "spec": {"selector": null, "strategy": {}, "template": template()},
            "status": {},
        }),
        "ReplicaSet" => json!({
            "spec": {"selector": null, "template": template()},
            "status": {"replicas": 0},
        }),
        "StatefulSet" => json!({
            "spec": {"selector": null, "serviceName": "", "updateStrategy": {}, "template": template()},
            "status": {"replicas": 0, "availableReplicas": 0},
        }),
        "DaemonSet" => json!({
            "spec": {"selector": null, "updateStrategy": {}, "template": template()},
            "status": {
                "currentNumberScheduled": 0,
                "numberMisscheduled": 0,
                "desiredNumberScheduled": 0,
                "numberReady": 0,
            },
        }),
        "Job" => json!({"spec": {"template": template()}, "status": {}}),
        "Pod" => json!({"spec": {"containers": []}, "status": {}}),
        "Service" => json!({"spec": {}, "status": {"loadBalancer": {}}}),
        "Ingress" => json!({"spec": {}, "status": {"loadBalancer": {}}}),
        "HorizontalPodAutoscaler" => json!({
            "spec": {"scaleTargetRef": {"kind": "", "name": ""}, "maxReplicas": 0},
            "status": {"desiredReplicas": 0, "currentMetrics": null},
        }),
        "PodDisruptionBudget" => json!({
            "spec": {},
            "status": {
                "currentHealthy": 0,
                "desiredHealthy": 0,
                "disruptionsAllowed": 0,
                "expectedPods": 0,
            },
        }),
        "Event" => json!({
            "involvedObject": {},
            "source": {},
            "firstTimestamp": null,
            "lastTimestamp": null,
            "eventTime": null,
            "reportingComponent": "",
            "reportingInstance": "",
        }),
        "EndpointSlice" => json!({"addressType": "", "endpoints": null, "ports": null}),
        "Namespace" | "ResourceQuota" => json!({"spec": {}, "status": {}}),
        "Lease" | "LimitRange" | "NetworkPolicy" => json!({"spec": {}}),
        "Role" | "ClusterRole" => json!({"rules": null}),
        "RoleBinding" | "ClusterRoleBinding" => {
            json!({"roleRef": {"apiGroup": "", "kind": "", "name": ""}})
        }
        _ => json!({}),
    }
}

/// Adds the missing fields, except in the spec, which has defaults of its own.
pub(crate) fn fill(kind: &str, object: &mut Value) {
    let (Value::Object(empty), Some(map)) = (of(kind), object.as_object_mut()) else { return };
    for (name, value) in empty.into_iter().filter(|(name, _)| name != "spec") {
        if name == "status" && kind == "Pod" {
            continue;
        }
        map.entry(name).or_insert(value);
    }
}
