//! Cells of less common built-in kinds.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::text;
use super::{age, at, count, selector_text, since};

/// `a,b,c + 2 more...`
pub(super) fn listed(all: &[String], most: usize) -> String {
    if all.is_empty() {
        return "<none>".to_owned();
    }
    let shown = all.get(..most.min(all.len())).unwrap_or_default().join(",");
    if all.len() > most { format!("{shown} + {} more...", all.len() - most) } else { shown }
}

fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn or(object: &Value, pointer: &str, otherwise: &str) -> Value {
    object.pointer(pointer).filter(|v| !v.is_null()).map_or(json!(otherwise), |v| json!(text(v)))
}

fn name(object: &Value) -> Value {
    at(object, "/metadata/name")
}

/// The external address of a Service, if it has one.
pub(super) fn external_ip(service: &Value) -> String {
    match service.pointer("/spec/type").and_then(Value::as_str) {
        Some("ExternalName") => or(service, "/spec/externalName", "<none>"),
        Some("LoadBalancer") => or(service, "/status/loadBalancer/ingress/0/ip", "<pending>"),
        _ => or(service, "/spec/externalIPs/0", "<none>"),
    }
    .as_str()
    .unwrap_or_default()
    .to_owned()
}

/// The targets of an autoscaler: `cpu: <unknown>/50%`.
pub(super) fn targets(scaler: &Value) -> String {
    let one = |metric: &Value| {
        let source = metric.get("resource").or_else(|| metric.get("external"));
        let source = source.or_else(|| metric.get("pods")).unwrap_or(&Value::Null);
        let named = source.get("name").or_else(|| source.pointer("/metric/name"));
        let target = match source.pointer("/target/averageUtilization") {
            Some(percent) => format!("{percent}%"),
            None => source
                .pointer("/target/averageValue")
                .or_else(|| source.pointer("/target/value"))
                .map_or_else(|| "<unknown>".to_owned(), text),
        };
        let current = "<unknown>";
        match named {
            Some(name) => format!("{}: {current}/{target}", text(name)),
            None => format!("{current}/{target}"),
        }
    };
    let all: Vec<String> = items(scaler, "/spec/metrics").map(one).collect();
    if all.is_empty() { "<unset>".to_owned() } else { all.join(", ") }
}

pub(super) fn ingress(object: &Value, now: Timestamp) -> Vec<Value> {
    let hosts: Vec<String> =
        items(object, "/spec/rules").filter_map(|rule| rule.get("host")).map(text).collect();
    let address: Vec<String> = items(object, "/status/loadBalancer/ingress")
        .filter_map(|i| i.get("ip").or_else(|| i.get("hostname")))
        .map(text)
        .collect();
    let tls = items(object, "/spec/tls").next().is_some();
    vec![
        name(object),
        or(object, "/spec/ingressClassName", "<none>"),
        json!(if hosts.is_empty() { "*".to_owned() } else { listed(&hosts, 3) }),
        json!(address.join(",")),
        json!(if tls { "80, 443" } else { "80" }),
        age(object, now),
    ]
}

pub(super) fn ingress_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let parameters = match object.pointer("/spec/parameters") {
        Some(p) => format!(
            "{}/{}",
            p.get("kind").map(text).unwrap_or_default(),
            p.get("name").map(text).unwrap_or_default()
        ),
        None => "<none>".to_owned(),
    };
    vec![name(object), or(object, "/spec/controller", ""), json!(parameters), age(object, now)]
}

pub(super) fn network_policy(object: &Value, now: Timestamp) -> Vec<Value> {
    let selector = selector_text(object.pointer("/spec/podSelector/matchLabels"));
    let selector = if selector.is_empty() { "<none>".to_owned() } else { selector };
    vec![name(object), json!(selector), age(object, now)]
}

pub(super) fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let holds = |wanted: &str| {
        items(object, "/status/conditions").any(|c| {
            c.get("type").and_then(Value::as_str) == Some(wanted)
                && c.get("status").and_then(Value::as_str) == Some("True")
        })
    };
    let status = ["Complete", "Failed", "Suspended"].into_iter().find(|state| holds(state));
    let time = |pointer: &str| -> Option<Timestamp> {
        object.pointer(pointer).and_then(Value::as_str)?.parse().ok()
    };
    let duration = time("/status/startTime")
        .map(|start| since(start, time("/status/completionTime").unwrap_or(now)));
    let wanted = object.pointer("/spec/completions").and_then(Value::as_i64).unwrap_or(1);
    vec![
        name(object),
        json!(status.unwrap_or("Running")),
        json!(format!("{}/{wanted}", count(object, "/status/succeeded"))),
        json!(duration.unwrap_or_default()),
        age(object, now),
    ]
}

pub(super) fn cron_job(object: &Value, now: Timestamp) -> Vec<Value> {
    let last = object.pointer("/status/lastScheduleTime").and_then(Value::as_str);
    let last = last.and_then(|t| t.parse().ok()).map(|t| since(t, now));
    let suspended = object.pointer("/spec/suspend").and_then(Value::as_bool) == Some(true);
    vec![
        name(object),
        or(object, "/spec/schedule", ""),
        or(object, "/spec/timeZone", "<none>"),
        json!(if suspended { "True" } else { "False" }),
        json!(items(object, "/status/active").count()),
        json!(last.unwrap_or_else(|| "<none>".to_owned())),
        age(object, now),
    ]
}

pub(super) fn budget(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        or(object, "/spec/minAvailable", "N/A"),
        or(object, "/spec/maxUnavailable", "N/A"),
        json!(count(object, "/status/disruptionsAllowed")),
        age(object, now),
    ]
}

pub(super) fn binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let part = |pointer: &str| object.pointer(pointer).map(text).unwrap_or_default();
    let role = format!("{}/{}", part("/roleRef/kind"), part("/roleRef/name"));
    vec![name(object), json!(role), age(object, now)]
}

pub(super) fn priority_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let default = object.get("globalDefault").and_then(Value::as_bool) == Some(true);
    vec![
        name(object),
        json!(count(object, "/value")),
        json!(default),
        age(object, now),
        or(object, "/preemptionPolicy", "PreemptLowerPriority"),
    ]
}

pub(super) fn storage_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let expands = object.get("allowVolumeExpansion").and_then(Value::as_bool) == Some(true);
    vec![
        name(object),
        or(object, "/provisioner", ""),
        or(object, "/reclaimPolicy", "Delete"),
        or(object, "/volumeBindingMode", "Immediate"),
        json!(expands.to_string()),
        age(object, now),
    ]
}

pub(super) fn claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let modes: Vec<String> = items(object, "/spec/accessModes").map(text).collect();
    vec![
        name(object),
        or(object, "/status/phase", "Pending"),
        or(object, "/spec/volumeName", ""),
        or(object, "/status/capacity/storage", ""),
        json!(modes.join(",")),
        or(object, "/spec/storageClassName", ""),
        age(object, now),
    ]
}

pub(super) fn quota(object: &Value, now: Timestamp) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    let hard = object.pointer("/spec/hard").and_then(Value::as_object);
    for (what, most) in hard.into_iter().flatten() {
        let used = object.pointer("/status/used").and_then(|used| used.get(what));
        let line = format!("{what}: {}/{}", used.map_or_else(|| "0".to_owned(), text), text(most));
        if what.starts_with("limits.") { limits.push(line) } else { requests.push(line) }
    }
    vec![name(object), json!(requests.join(", ")), json!(limits.join(", ")), age(object, now)]
}
