//! Validation of ConfigMaps, Secrets, Leases, Events and roles.

use base64::Engine;
use serde_json::{Value, json};

use super::field::{Errors, Field};
use super::names;
use crate::schema::quantity;

const SIZE_MAX: usize = 1 << 20;
/// The resources that a quota can limit.
const QUOTAS: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "pods",
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
];
const FIXED: &str = "field is immutable when `immutable` is set";

pub(super) fn map(root: &Field<'_>, old: Option<&Value>, errors: &mut Errors) {
    fixed(root, old, &["data", "binaryData"], errors);
    let (data, binary) = (root.child("data"), root.child("binaryData"));
    let mut size = 0;
    for (part, bytes) in [(&data, false), (&binary, true)] {
        for (key, value) in part.entries() {
            let at = part.key(key);
            for why in names::config_key(key) {
                errors.invalid_as(&at, &json!(key), &why);
            }
            if !bytes && binary.value.get(key).is_some() {
                errors.invalid_as(&at, &json!(key), "duplicate of key present in binaryData");
            }
            size += if bytes { value.len() / 4 * 3 } else { value.len() };
        }
    }
    if size > SIZE_MAX {
        errors.too_long(&Field { path: "[]".to_owned(), value: root.value }, SIZE_MAX);
    }
}

/// Refuses changes of an immutable ConfigMap or Secret.
fn fixed(root: &Field<'_>, old: Option<&Value>, parts: &[&str], errors: &mut Errors) {
    let Some(old) = old.filter(|old| old["immutable"] == json!(true)) else { return };
    let mark = root.child("immutable");
    if !mark.flag() {
        errors.forbidden(&mark, FIXED);
    }
    for part in parts {
        let part = root.child(part);
        if old.get(&part.path).unwrap_or(&Value::Null) != part.value {
            errors.forbidden(&part, FIXED);
        }
    }
}

pub(super) fn secret(root: &Field<'_>, old: Option<&Value>, errors: &mut Errors) {
    let (kind, data) = (root.child("type"), root.child("data"));
    if let Some(old) = old
        && old["type"] != *kind.value
    {
        errors.invalid(&kind, "field is immutable");
    }
    fixed(root, old, &["data"], errors);
    let mut size = 0;
    for (key, value) in data.entries() {
        for why in names::config_key(key) {
            errors.invalid_as(&data.key(key), &json!(key), &why);
        }
        size += value.len() / 4 * 3;
    }
    if size > SIZE_MAX {
        errors.too_long(&data, SIZE_MAX);
    }
    let mut require = |keys: &[&str]| {
        for key in keys {
            let at = data.key(key);
            if !at.is_set() {
                errors.required(&at, "");
            }
        }
    };
    match kind.text() {
        "kubernetes.io/tls" => require(&["tls.crt", "tls.key"]),
        "kubernetes.io/ssh-auth" => require(&["ssh-privatekey"]),
        "kubernetes.io/basic-auth"
            if !data.key("username").is_set() && !data.key("password").is_set() =>
        {
            require(&["username", "password"]);
        }
        "kubernetes.io/dockerconfigjson" => registry(&data.key(".dockerconfigjson"), errors),
        "kubernetes.io/dockercfg" => registry(&data.key(".dockercfg"), errors),
        "kubernetes.io/service-account-token" => {
            let notes = root.child("metadata").child("annotations");
            let at = notes.key("kubernetes.io/service-account.name");
            if at.is_empty() {
                errors.required(&at, "");
            }
        }
        _ => {}
    }
}

/// A `.dockerconfigjson` must be JSON.
fn registry(at: &Field<'_>, errors: &mut Errors) {
    if !at.is_set() {
        errors.required(at, "");
        return;
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(at.text()).unwrap_or_default();
    if let Err(error) = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
        let first = bytes.first().map(|byte| char::from(*byte)).unwrap_or_default();
        let why = if error.is_eof() {
            "unexpected end of JSON input".to_owned()
        } else {
            format!("invalid character '{first}' looking for beginning of value")
        };
        errors.invalid_as(at, &json!("<secret contents redacted>"), &why);
    }
}

pub(super) fn lease(spec: &Field<'_>, errors: &mut Errors) {
    let duration = spec.child("leaseDurationSeconds");
    if duration.optional().is_some_and(|seconds| seconds <= 0) {
        errors.invalid(&duration, "must be greater than 0");
    }
    errors.not_negative(&spec.child("leaseTransitions"));
}

pub(super) fn event(root: &Field<'_>, errors: &mut Errors) {
    let (own, about) = (
        root.child("metadata").child("namespace"),
        root.child("involvedObject").child("namespace"),
    );
    let shown = json!(about.text());
    if about.is_empty() {
        if own.text() != "default" && own.text() != "kube-system" {
            errors.invalid_as(&about, &shown, "does not match event.namespace");
        }
    } else if about.text() != own.text() {
        errors.invalid_as(&about, &shown, "does not match event.namespace");
    }
}

pub(super) fn role(root: &Field<'_>, errors: &mut Errors) {
    for rule in root.child("rules").items() {
        let verbs = rule.child("verbs");
        if verbs.is_empty() {
            errors.required(&verbs, "");
        }
        if !rule.child("nonResourceURLs").is_empty() {
            continue;
        }
        let (groups, resources) = (rule.child("apiGroups"), rule.child("resources"));
        if groups.is_empty() {
            errors.required(&groups, "resource rules must supply at least one api group");
        }
        if resources.is_empty() {
            errors.required(&resources, "resource rules must supply at least one resource");
        }
    }
}

pub(super) fn quota(spec: &Field<'_>, errors: &mut Errors) {
    let hard = spec.child("hard");
    for (name, value) in hard.value.as_object().into_iter().flatten() {
        let at = hard.key(name);
        for why in names::qualified(name) {
            errors.invalid_as(&at, &json!(name), &why);
        }
        if !name.contains(['.', '/']) && !QUOTAS.contains(&name.as_str()) {
            errors.invalid_as(&at, &json!(name), "must be a standard resource for quota");
        }
        if quantity::nanos(value).is_some_and(|amount| amount < 0) {
            errors.invalid(&at, "must be greater than or equal to 0");
        }
    }
}
