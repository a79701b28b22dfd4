//! Validation of containers: ports, variables, mounts, probes, resources.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::field::{Errors, Field};
use super::service::{PROTOCOLS, number_or_name};
use super::{names, volume};
use crate::schema::quantity;

/// The pod fields that an environment variable can refer to.
const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// The checks for containers of every kind.
pub(super) fn check(container: &Field<'_>, volumes: &BTreeMap<&str, &Value>, errors: &mut Errors) {
    let (name, image) = (container.child("name"), container.child("image"));
    if name.is_empty() {
        errors.required(&name, "");
    } else {
        errors.invalid_each(&name, names::label(name.text()));
    }
    if image.is_empty() {
        errors.required(&image, "");
    }
    let policy = container.child("terminationMessagePolicy");
    errors.one_of(&policy, &["File", "FallbackToLogsOnError"]);
    ports(&container.child("ports"), errors);
    for variable in container.child("env").items() {
        self::variable(&variable, errors);
    }
    variables_from(&container.child("envFrom"), errors);
    mounts(&container.child("volumeMounts"), volumes, errors);
    errors.one_of(&container.child("imagePullPolicy"), &["Always", "IfNotPresent", "Never"]);
    resources(&container.child("resources"), errors);
    security(&container.child("securityContext"), errors);
}

fn ports(list: &Field<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for port in list.items() {
        let name = port.child("name");
        if !name.is_empty() {
            let wrong = names::port_name(name.text());
            if wrong.is_empty() && !seen.insert(name.text()) {
                errors.duplicate(&name);
            }
            errors.invalid_each(&name, wrong);
        }
        let number = port.child("containerPort");
        if number.number() == 0 {
            errors.required(&number, "");
        } else {
            errors.invalid_each(&number, names::port_number(number.number()));
        }
        let host = port.child("hostPort");
        if host.number() != 0 {
            errors.invalid_each(&host, names::port_number(host.number()));
        }
        errors.one_of(&port.child("protocol"), PROTOCOLS);
    }
}

fn variable(variable: &Field<'_>, errors: &mut Errors) {
    let name = variable.child("name");
    if name.is_empty() {
        errors.required(&name, "");
    } else {
        errors.invalid_each(&name, names::variable(name.text()));
    }
    let from = variable.child("valueFrom");
    if !from.is_set() {
        return;
    }
    let mut sources = 0;
    for source in ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"]
    {
        let at = from.child(source);
        if !at.is_set() {
            continue;
        }
        sources += 1;
        match source {
            "fieldRef" => own_field(&at, errors),
            "resourceFieldRef" => own_resource(&at, errors),
            "configMapKeyRef" | "secretKeyRef" => key_of(&at, errors),
            _ => {}
        }
    }
    let why = if sources == 0 {
        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
    } else if !variable.child("value").is_empty() {
        "may not be specified when `value` is not empty"
    } else if sources > 1 {
        "may not have more than one field specified at a time"
    } else {
        return;
    };
    errors.invalid_as(&from, &json!(""), why);
}

fn own_field(field: &Field<'_>, errors: &mut Errors) {
    let path = field.child("fieldPath");
    let known = |text: &str| {
        FIELDS.contains(&text)
            || text.starts_with("metadata.labels['")
            || text.starts_with("metadata.annotations['")
    };
    if path.is_empty() {
        errors.required(&path, "");
    } else if !known(path.text()) {
        let why = format!("error converting fieldPath: field label not supported: {}", path.text());
        errors.invalid(&path, &why);
    }
}

fn own_resource(field: &Field<'_>, errors: &mut Errors) {
    let resource = field.child("resource");
    if resource.is_empty() {
        errors.required(&resource, "");
    } else if !resource.text().contains("hugepages-") {
        errors.one_of(&resource, RESOURCES);
    }
}

fn key_of(source: &Field<'_>, errors: &mut Errors) {
    let (name, key) = (source.child("name"), source.child("key"));
    let shown = json!(name.text());
    for why in names::subdomain(name.text()) {
        errors.invalid_as(&name, &shown, &why);
    }
    if key.is_empty() {
        errors.required(&key, "");
    } else {
        errors.invalid_each(&key, names::config_key(key.text()));
    }
}

fn variables_from(list: &Field<'_>, errors: &mut Errors) {
    for one in list.items() {
        let prefix = one.child("prefix");
        if !prefix.is_empty() {
            errors.invalid_each(&prefix, names::variable(prefix.text()));
        }
        let mut sources = 0;
        for source in ["configMapRef", "secretRef"] {
            let source = one.child(source);
            if !source.is_set() {
                continue;
            }
            sources += 1;
            let name = source.child("name");
            if name.is_empty() {
                errors.required(&name, "");
            } else {
                errors.invalid_each(&name, names::subdomain(name.text()));
            }
        }
        let why = match sources {
            0 => "must specify one of: `configMapRef` or `secretRef`",
            1 => continue,
            _ => "may not have more than one field specified at a time",
        };
        errors.invalid_as(list, &json!(""), why);
    }
}

fn mounts(list: &Field<'_>, volumes: &BTreeMap<&str, &Value>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for mount in list.items() {
        let (name, path) = (mount.child("name"), mount.child("mountPath"));
        if name.is_empty() {
            errors.required(&name, "");
        }
        if !volumes.contains_key(name.text()) {
            errors.not_found(&name);
        }
        if path.is_empty() {
            errors.required(&path, "");
        }
        if !seen.insert(path.text()) {
            errors.invalid(&path, "must be unique");
        }
        let below = mount.child("subPath");
        if !below.is_empty() {
            // kube-apiserver leaves the index out of this path.
            let at = Field { path: format!("{}.subPath", list.path), value: below.value };
            volume::descends(&at, errors);
        }
    }
}

fn resources(resources: &Field<'_>, errors: &mut Errors) {
    for part in ["limits", "requests"] {
        let part = resources.child(part);
        for name in part.value.as_object().into_iter().flatten().map(|(name, _)| name) {
            let at = part.key(name);
            standard_resource(&at, name, errors);
            if quantity::nanos(at.value).is_some_and(|amount| amount < 0) {
                let shown = json!(quantity_text(at.value));
                errors.invalid_as(&at, &shown, "must be greater than or equal to 0");
            }
            let limit = resources.child("limits").key(name);
            if part.path.ends_with("requests")
                && let (Some(wanted), Some(most)) =
                    (quantity::nanos(at.value), quantity::nanos(limit.value))
                && wanted > most
            {
                let shown = json!(quantity_text(at.value));
                let why = format!(
                    "must be less than or equal to {name} limit of {}",
                    quantity_text(limit.value)
                );
                let at = Field { path: part.path.clone(), value: at.value };
                errors.invalid_as(&at, &shown, &why);
            }
        }
    }
}

fn standard_resource(at: &Field<'_>, name: &str, errors: &mut Errors) {
    let known = ["cpu", "memory", "ephemeral-storage"].contains(&name)
        || name.starts_with("hugepages-")
        || name.contains('/');
    if known {
        return;
    }
    for why in [
        "must be a standard resource type or fully qualified",
        "must be a standard resource for containers",
    ] {
        errors.invalid_as(at, &json!(name), why);
    }
}

fn quantity_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Checks a user or group id.
pub(super) fn id(id: &Field<'_>, errors: &mut Errors) {
    if let Some(number) = id.optional() {
        errors.invalid_each(id, names::in_range(number, 0, i64::from(i32::MAX)));
    }
}

fn security(context: &Field<'_>, errors: &mut Errors) {
    id(&context.child("runAsUser"), errors);
    id(&context.child("runAsGroup"), errors);
    let escalation = context.child("allowPrivilegeEscalation");
    if context.child("privileged").flag() && escalation.is_set() && !escalation.flag() {
        let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.invalid(context, why);
    }
}

/// Checks hooks and probes.
pub(super) fn handlers(container: &Field<'_>, grace: Option<i64>, errors: &mut Errors) {
    for hook in ["postStart", "preStop"] {
        let hook = container.child("lifecycle").child(hook);
        if hook.is_set() {
            handler(&hook, grace, errors);
        }
    }
    for which in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.child(which);
        if probe.is_set() {
            self::probe(&probe, which == "readinessProbe", grace, errors);
        }
    }
}

fn probe(probe: &Field<'_>, readiness: bool, grace: Option<i64>, errors: &mut Errors) {
    handler(probe, grace, errors);
    for part in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        errors.not_negative(&probe.child(part));
    }
    let own = probe.child("terminationGracePeriodSeconds");
    if own.optional().is_some_and(|seconds| seconds <= 0) {
        errors.invalid(&own, "must be greater than 0");
    }
    let successes = probe.child("successThreshold");
    if readiness && own.is_set() {
        errors.invalid(&own, "must not be set for readinessProbes");
    } else if !readiness && successes.number() != 1 {
        errors.invalid(&successes, "must be 1");
    }
}

fn handler(at: &Field<'_>, grace: Option<i64>, errors: &mut Errors) {
    let mut found = 0;
    for which in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let action = at.child(which);
        if !action.is_set() {
            continue;
        }
        found += 1;
        if found > 1 {
            errors.forbidden(&action, "may not specify more than 1 handler type");
            continue;
        }
        match which {
            "exec" if action.child("command").is_empty() => {
                errors.required(&action.child("command"), "");
            }
            "httpGet" => http_get(&action, errors),
            "tcpSocket" => number_or_name(&action.child("port"), errors),
            "grpc" => {
                let port = action.child("port");
                errors.invalid_each(&port, names::port_number(port.number()));
            }
            "sleep" => sleep(&action, grace, errors),
            _ => {}
        }
    }
    if found == 0 {
        errors.required(at, "must specify a handler type");
    }
}

fn sleep(action: &Field<'_>, grace: Option<i64>, errors: &mut Errors) {
    let seconds = action.child("seconds").number();
    if let Some(grace) = grace
        && !(0..=grace).contains(&seconds)
    {
        let why =
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid_as(action, &json!(seconds), &why);
    }
}

fn http_get(action: &Field<'_>, errors: &mut Errors) {
    if action.child("path").is_empty() {
        errors.required(&action.child("path"), "");
    }
    number_or_name(&action.child("port"), errors);
    errors.one_of(&action.child("scheme"), &["HTTP", "HTTPS"]);
    let headers = action.child("httpHeaders");
    for header in headers.items() {
        let name = header.child("name").text();
        for why in names::header(name) {
            errors.invalid_as(&headers, &json!(name), &why);
        }
    }
}
