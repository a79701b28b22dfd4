//! Defaults of built-in kinds as a real server stores them, and the few checks that keep nonsense out.

use serde_json::{Value, json};

use crate::at::At;
use crate::schema::FieldError;

/// Fills in what the user left out.
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
            rolling(spec, "updateStrategy", json!({"partition": 0}));
            template(spec);
        }
        "Job" => template(spec(object)),
        "Pod" => pod(spec(object)),
        "Service" => service(spec(object)),
        "HorizontalPodAutoscaler" => default(spec(object), "minReplicas", json!(1)),
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

/// What an update that leaves it out does not change.
pub(crate) fn keep(kind: &str, new: &mut Value, old: &Value) {
    if kind == "Service" {
        for field in ["clusterIP", "clusterIPs"] {
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

/// The checks without which the actors would meet nonsense.
pub(crate) fn check(kind: &str, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut require = |pointer: &str, field: &str| {
        let found = object.at(pointer);
        let empty = match found {
            None | Some(Value::Null) => true,
            Some(Value::Array(list)) => list.is_empty(),
            Some(_) => false,
        };
        if empty {
            errors.push(FieldError {
                field: field.to_owned(),
                reason: "FieldValueRequired",
                message: "Required value".to_owned(),
            });
        }
    };
    match kind {
        "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet" => {
            require("/spec/selector", "spec.selector");
            require("/spec/template/spec/containers", "spec.template.spec.containers");
        }
        "Pod" => require("/spec/containers", "spec.containers"),
        "Event" => require("/involvedObject", "involvedObject"),
        _ => {}
    }
    if matches!(kind, "Deployment" | "ReplicaSet") {
        selector_matches(object, &mut errors);
        if let Some(replicas) = object.at("/spec/replicas")
            && replicas.as_i64().is_none_or(|n| n < 0)
        {
            errors.push(FieldError {
                field: "spec.replicas".to_owned(),
                reason: "FieldValueInvalid",
                message: format!("Invalid value: {replicas}: must be greater than or equal to 0"),
            });
        }
    }
    if kind == "Service" {
        service_ports(object, &mut errors);
    }
    errors
}

fn selector_matches(object: &Value, errors: &mut Vec<FieldError>) {
    let Some(wanted) = object.at("/spec/selector/matchLabels").and_then(Value::as_object) else {
        return;
    };
    let labels = object.at("/spec/template/metadata/labels");
    if wanted.iter().any(|(name, value)| labels.and_then(|l| l.get(name)) != Some(value)) {
        errors.push(FieldError {
            field: "spec.template.metadata.labels".to_owned(),
            reason: "FieldValueInvalid",
            message: format!(
                "Invalid value: {}: `selector` does not match template `labels`",
                labels.unwrap_or(&Value::Null)
            ),
        });
    }
}

fn service_ports(object: &Value, errors: &mut Vec<FieldError>) {
    let Some(ports) = object.at("/spec/ports").and_then(Value::as_array) else { return };
    for (index, port) in ports.iter().enumerate() {
        let number = port.get("port").and_then(Value::as_i64).unwrap_or(0);
        if !(1..=65_535).contains(&number) {
            errors.push(FieldError {
                field: format!("spec.ports[{index}].port"),
                reason: "FieldValueInvalid",
                message: format!("Invalid value: {number}: must be between 1 and 65535, inclusive"),
            });
        }
        if ports.len() > 1 && port.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
            errors.push(FieldError {
                field: format!("spec.ports[{index}].name"),
                reason: "FieldValueRequired",
                message: "Required value".to_owned(),
            });
        }
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
        for source in ["configMap", "secret", "projected", "downwardAPI"] {
            if let Some(source) = volume.get_mut(source) {
                default(source, "defaultMode", json!(420));
            }
        }
    }
}

fn container(container: &mut Value) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let tag =
        image.rsplit_once('/').map_or(image, |(_, name)| name).split_once(':').map(|(_, tag)| tag);
    let policy = if matches!(tag, None | Some("latest")) { "Always" } else { "IfNotPresent" };
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
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(probe) else { continue };
        default(probe, "timeoutSeconds", json!(1));
        default(probe, "periodSeconds", json!(10));
        default(probe, "successThreshold", json!(1));
        default(probe, "failureThreshold", json!(3));
        if let Some(get) = probe.get_mut("httpGet") {
            default(get, "scheme", json!("HTTP"));
            default(get, "path", json!("/"));
        }
    }
}

fn service(spec: &mut Value) {
    default(spec, "type", json!("ClusterIP"));
    default(spec, "sessionAffinity", json!("None"));
    if spec.get("type").and_then(Value::as_str) != Some("ExternalName") {
        default(spec, "internalTrafficPolicy", json!("Cluster"));
        default(spec, "ipFamilies", json!(["IPv4"]));
        default(spec, "ipFamilyPolicy", json!("SingleStack"));
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        default(port, "protocol", json!("TCP"));
        let target = port.get("port").cloned().unwrap_or(Value::Null);
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
