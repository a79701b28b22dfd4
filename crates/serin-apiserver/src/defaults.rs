//! Defaults of built-in kinds as a real server stores them.

use serde_json::{Value, json};

use crate::json_pointer::At;

/// Sets the defaults of fields that are not set.
pub(crate) fn fill(kind: &str, object: &mut Value) {
    match kind {
        "Deployment" => {
            let spec = spec(object);
            default(spec, "replicas", json!(1));
            default(spec, "revisionHistoryLimit", json!(10));
            default(spec, "progressDeadlineSeconds", json!(600));
            rolling(spec, "strategy", json!({"maxUnavailable": "25%", "maxSurge": "25%"}));
            template(spec);
        }
        "ReplicaSet" => {
            let spec = spec(object);
            default(spec, "replicas", json!(1));
            template(spec);
        }
        "DaemonSet" => {
            let spec = spec(object);
            default(spec, "revisionHistoryLimit", json!(10));
            rolling(spec, "updateStrategy", json!({"maxUnavailable": 1, "maxSurge": 0}));
            template(spec);
        }
        "StatefulSet" => {
            let spec = spec(object);
            default(spec, "replicas", json!(1));
            default(spec, "revisionHistoryLimit", json!(10));
            default(spec, "podManagementPolicy", json!("OrderedReady"));
            default(spec, "serviceName", json!(""));
            let keep = json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
            default(spec, "persistentVolumeClaimRetentionPolicy", keep);
            rolling(spec, "updateStrategy", json!({"partition": 0, "maxUnavailable": 1}));
            template(spec);
        }
        "Job" => template(spec(object)),
        "Pod" => {
            let spec = spec(object);
            default(spec, "enableServiceLinks", json!(true));
            pod(spec);
            if spec.get("hostNetwork") == Some(&json!(true)) {
                for list in ["containers", "initContainers"] {
                    host_ports(spec.get_mut(list));
                }
            }
        }
        "Namespace" => {
            let name = object.at("/metadata/name").cloned().unwrap_or_default();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
        }
        "Service" => service(spec(object)),
        "HorizontalPodAutoscaler" => autoscaler(spec(object)),
        "Secret" => {
            default(object, "type", json!("Opaque"));
            secret_data(object);
        }
        "EndpointSlice" => {
            if let Some(ports) = object.get_mut("ports").and_then(Value::as_array_mut) {
                for port in ports {
                    default(port, "name", json!(""));
                    default(port, "protocol", json!("TCP"));
                }
            }
            let endpoints = object.get_mut("endpoints").and_then(Value::as_array_mut);
            for endpoint in endpoints.into_iter().flatten() {
                default(endpoint, "conditions", json!({}));
            }
        }
        "CustomResourceDefinition" => crd(object),
        _ => {}
    }
}

fn crd(object: &mut Value) {
    let Some(names) = object.pointer_mut("/spec/names") else { return };
    let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    default(names, "singular", json!(kind.to_lowercase()));
    default(names, "listKind", json!(format!("{kind}List")));
    if let Some(spec) = object.get_mut("spec") {
        default(spec, "conversion", json!({"strategy": "None"}));
    }
}

/// Keeps fields of the old object that an update leaves out and that the server or its admission sets.
pub(crate) fn keep(kind: &str, new: &mut Value, old: &Value) {
    let external =
        |object: &Value| object.at("/spec/type").and_then(Value::as_str) == Some("ExternalName");
    if kind == "Service" && external(new) && !external(old) {
        // Addresses that the server assigned are dropped with the type; those that a user asks for are refused.
        let given =
            ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"];
        if let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) {
            spec.retain(|name, value| {
                !given.contains(&name.as_str()) || old["spec"].get(name) != Some(&*value)
            });
        }
        return;
    }
    if kind == "Pod" {
        // The fields that the admission of the pod set.
        for field in ["priority", "preemptionPolicy", "tolerations", "nodeName"] {
            let missing = new.get("spec").is_none_or(|s| s.get(field).is_none());
            if missing && let Some(value) = old.get("spec").and_then(|s| s.get(field)) {
                new["spec"][field] = value.clone();
            }
        }
    }
    if kind == "Service" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let missing =
                new.get("spec").and_then(|s| s.get(field)).is_none_or(|v| v.as_str() == Some(""));
            if missing && let Some(value) = old.get("spec").and_then(|s| s.get(field)) {
                new["spec"][field] = value.clone();
            }
        }
    }
    if kind == "CustomResourceDefinition"
        && new.get("status").is_none()
        && let Some(status) = old.get("status")
    {
        new["status"] = status.clone();
    }
}

fn spec(object: &mut Value) -> &mut Value {
    if !object.get("spec").is_some_and(Value::is_object) {
        object["spec"] = json!({});
    }
    &mut object["spec"]
}

fn default(object: &mut Value, field: &str, value: Value) {
    let Some(map) = object.as_object_mut() else { return };
    let slot = map.entry(field).or_insert(Value::Null);
    if slot.is_null() {
        *slot = value;
    }
}

fn rolling(spec: &mut Value, field: &str, values: Value) {
    default(spec, field, json!({}));
    let Some(strategy) = spec.get_mut(field) else { return };
    default(strategy, "type", json!("RollingUpdate"));
    if strategy.get("type").and_then(Value::as_str) != Some("RollingUpdate") {
        return;
    }
    default(strategy, "rollingUpdate", json!({}));
    let Some(rolling) = strategy.get_mut("rollingUpdate") else { return };
    for (name, value) in values.as_object().into_iter().flatten() {
        default(rolling, name, value.clone());
    }
}

fn template(spec: &mut Value) {
    default(spec, "template", json!({}));
    let Some(template) = spec.get_mut("template") else { return };
    default(template, "metadata", json!({}));
    if let Some(metadata) = template.get_mut("metadata") {
        default(metadata, "creationTimestamp", Value::Null);
        if let Some(map) = metadata.as_object_mut() {
            map.remove("creationTimestamp");
        }
    }
    default(template, "spec", json!({}));
    if let Some(spec) = template.get_mut("spec") {
        pod(spec);
    }
}

fn pod(spec: &mut Value) {
    if let Some(map) = spec.as_object_mut()
        && let Some(account) =
            map.get("serviceAccountName").or_else(|| map.get("serviceAccount")).cloned()
    {
        map.entry("serviceAccount").or_insert_with(|| account.clone());
        map.entry("serviceAccountName").or_insert(account);
    }
    default(spec, "restartPolicy", json!("Always"));
    default(spec, "terminationGracePeriodSeconds", json!(30));
    default(spec, "dnsPolicy", json!("ClusterFirst"));
    default(spec, "securityContext", json!({}));
    default(spec, "schedulerName", json!("default-scheduler"));
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            self::container(container);
        }
    }
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        self::volume(volume);
    }
}

/// With `hostNetwork`, a container's port is also its host port.
fn host_ports(containers: Option<&mut Value>) {
    for container in containers.and_then(Value::as_array_mut).into_iter().flatten() {
        for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            let number = port.get("containerPort").cloned().unwrap_or(Value::Null);
            default(port, "hostPort", number);
        }
    }
}

fn volume(volume: &mut Value) {
    for source in ["configMap", "secret", "projected", "downwardAPI"] {
        if let Some(source) = volume.get_mut(source) {
            default(source, "defaultMode", json!(420));
        }
    }
    if let Some(path) = volume.get_mut("hostPath") {
        default(path, "type", json!(""));
    }
    if volume.as_object().is_some_and(|map| map.keys().all(|key| key == "name")) {
        default(volume, "emptyDir", json!({}));
    }
    let items = |source: &mut Value| {
        let list = source.get_mut("items").and_then(Value::as_array_mut);
        for item in list.into_iter().flatten() {
            if let Some(field) = item.get_mut("fieldRef") {
                default(field, "apiVersion", json!("v1"));
            }
        }
    };
    if let Some(source) = volume.get_mut("downwardAPI") {
        items(source);
    }
    let sources = volume.pointer_mut("/projected/sources").and_then(Value::as_array_mut);
    for source in sources.into_iter().flatten() {
        if let Some(token) = source.get_mut("serviceAccountToken") {
            default(token, "expirationSeconds", json!(3600));
        }
        if let Some(source) = source.get_mut("downwardAPI") {
            items(source);
        }
    }
}

fn container(container: &mut Value) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let tag =
        image.rsplit_once('/').map_or(image, |(_, name)| name).split_once(':').map(|(_, tag)| tag);
    // An invalid image name has no tag, so that `latest` does not apply.
    let readable = !image.contains(char::is_whitespace);
    let latest = readable && matches!(tag, None | Some("latest"));
    let policy = if latest { "Always" } else { "IfNotPresent" };
    default(container, "imagePullPolicy", json!(policy));
    default(container, "terminationMessagePath", json!("/dev/termination-log"));
    default(container, "terminationMessagePolicy", json!("File"));
    default(container, "resources", json!({}));
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        default(port, "protocol", json!("TCP"));
    }
    for env in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(field) = env.pointer_mut("/valueFrom/fieldRef") {
            default(field, "apiVersion", json!("v1"));
        }
        if let Some(resource) = env.pointer_mut("/valueFrom/resourceFieldRef") {
            default(resource, "divisor", json!("0"));
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(probe) else { continue };
        for (name, value) in [
            ("timeoutSeconds", 1),
            ("periodSeconds", 10),
            ("successThreshold", 1),
            ("failureThreshold", 3),
        ] {
            // Clients send zero for a field that is not set.
            if probe.get(name).and_then(Value::as_i64) == Some(0) {
                probe[name] = Value::Null;
            }
            default(probe, name, json!(value));
        }
        if let Some(grpc) = probe.get_mut("grpc") {
            default(grpc, "service", json!(""));
        }
        if let Some(get) = probe.get_mut("httpGet") {
            default(get, "scheme", json!("HTTP"));
            default(get, "path", json!("/"));
        }
    }
}

fn autoscaler(spec: &mut Value) {
    default(spec, "minReplicas", json!(1));
    if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        let resource = json!({"name": "cpu", "target": target});
        spec["metrics"] = json!([{"type": "Resource", "resource": resource}]);
    }
    let Some(behaviour) = spec.get_mut("behavior").filter(|behaviour| !behaviour.is_null()) else {
        return;
    };
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    default(behaviour, "scaleUp", json!({}));
    default(&mut behaviour["scaleUp"], "stabilizationWindowSeconds", json!(0));
    default(behaviour, "scaleDown", json!({}));
    for (rules, policies) in [("scaleUp", json!([pods, percent])), ("scaleDown", json!([percent]))]
    {
        default(&mut behaviour[rules], "selectPolicy", json!("Max"));
        default(&mut behaviour[rules], "policies", policies);
    }
}

fn service(spec: &mut Value) {
    default(spec, "type", json!("ClusterIP"));
    default(spec, "sessionAffinity", json!("None"));
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let addressed =
        spec.get("externalIPs").and_then(Value::as_array).is_some_and(|l| !l.is_empty());
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || kind == "ClusterIP" && addressed {
        default(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        default(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    if spec.get("sessionAffinity").and_then(Value::as_str) == Some("ClientIP") {
        default(spec, "sessionAffinityConfig", json!({}));
        default(&mut spec["sessionAffinityConfig"], "clientIP", json!({}));
        let client = &mut spec["sessionAffinityConfig"]["clientIP"];
        default(client, "timeoutSeconds", json!(10_800));
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        default(port, "protocol", json!("TCP"));
        let target = port.get("port").cloned().unwrap_or(json!(0));
        // Clients send zero or the empty name for a port that is not set.
        if port.get("targetPort").is_some_and(|port| *port == json!(0) || *port == json!("")) {
            port["targetPort"] = Value::Null;
        }
        default(port, "targetPort", target);
    }
}

/// `stringData` is written into `data` and never stored.
fn secret_data(object: &mut Value) {
    use base64::Engine;
    let Some(map) = object.as_object_mut() else { return };
    let Some(Value::Object(plain)) = map.remove("stringData") else { return };
    let data = map.entry("data").or_insert_with(|| json!({}));
    for (name, value) in plain {
        let text = value.as_str().unwrap_or_default();
        data[name] = json!(base64::engine::general_purpose::STANDARD.encode(text));
    }
}
