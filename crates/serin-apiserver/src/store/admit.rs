//! What every write is held against: names, types, unknown fields, defaults, schemas.

use serde_json::{Map, Value, json};

use super::Name;
use super::write::{Unknown, WriteOptions};
use crate::at::At;
use crate::defaults;
use crate::failure::Failure;
use crate::registry::{Resource, Version};
use crate::schema::{FieldError, prune_builtin};

pub(super) fn served<'a>(resource: &'a Resource, version: &str) -> Result<&'a Version, Failure> {
    let found = if version.is_empty() { resource.preferred() } else { resource.version(version) };
    found.ok_or_else(|| {
        Failure::new(404, "NotFound", "the server could not find the requested resource")
    })
}

pub(super) fn metadata(object: &mut Value) -> Result<&mut Map<String, Value>, Failure> {
    let Some(map) = object.as_object_mut() else {
        return Err(Failure::bad_request("the body is no object"));
    };
    let meta = map.entry("metadata").or_insert_with(|| json!({}));
    if meta.is_null() {
        *meta = json!({});
    }
    meta.as_object_mut().ok_or_else(|| Failure::bad_request("metadata is no object"))
}

pub(super) fn text<'a>(meta: &'a Map<String, Value>, name: &str) -> &'a str {
    meta.get(name).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn set(object: &mut Value, name: &str, value: Option<Value>) {
    let Some(map) = object.as_object_mut() else { return };
    match value {
        Some(value) => drop(map.insert(name.to_owned(), value)),
        None => drop(map.remove(name)),
    }
}

/// Metadata has the same types in every kind; the code behind this relies on them.
pub(super) fn check_metadata(
    resource: &Resource,
    meta: &Map<String, Value>,
) -> Result<(), Failure> {
    let wrong = |field: &str, wanted: &str| {
        Failure::bad_request(format!(
            "{} cannot be handled: json: cannot unmarshal into Go struct field ObjectMeta.metadata.{field} of type {wanted}",
            resource.kind
        ))
    };
    for field in ["name", "generateName", "namespace", "uid", "resourceVersion"] {
        if meta.get(field).is_some_and(|value| !value.is_null() && !value.is_string()) {
            return Err(wrong(field, "string"));
        }
    }
    for field in ["labels", "annotations"] {
        let fits = |value: &Value| match value {
            Value::Null => true,
            Value::Object(map) => map.values().all(Value::is_string),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
        };
        if !meta.get(field).is_none_or(fits) {
            return Err(wrong(field, "map[string]string"));
        }
    }
    for (field, wanted, fits) in [
        ("finalizers", "[]string", Value::is_string as fn(&Value) -> bool),
        ("ownerReferences", "[]v1.OwnerReference", Value::is_object),
        ("managedFields", "[]v1.ManagedFieldsEntry", Value::is_object),
    ] {
        let list = meta.get(field).filter(|value| !value.is_null());
        if !list.is_none_or(|list| list.as_array().is_some_and(|list| list.iter().all(fits))) {
            return Err(wrong(field, wanted));
        }
    }
    Ok(())
}

/// Objects are kept in one version, so that a write in another one that says the same is no change.
pub(super) fn store_as(resource: &Resource, object: &mut Value) {
    if let Some(version) = resource.preferred() {
        object["apiVersion"] = json!(resource.api_version(&version.name));
    }
}

pub(super) fn required(resource: &Resource, name: &str, field: &str, what: &str) -> Failure {
    let error = FieldError {
        field: field.to_owned(),
        reason: "FieldValueRequired",
        message: format!("Required value: {what}"),
    };
    Failure::invalid(&resource.id.group, &resource.kind, name, &[error])
}

/// A DNS subdomain, or for RBAC and CRDs what they allow besides.
pub(super) fn check_name(
    resource: &Resource,
    meta: &Map<String, Value>,
    name: &Name,
) -> Result<(), Failure> {
    let namespace = text(meta, "namespace");
    if resource.namespaced && !namespace.is_empty() && namespace != name.0 {
        return Err(Failure::bad_request(format!(
            "the namespace of the provided object does not match the namespace sent on the request ({namespace} and {})",
            name.0
        )));
    }
    let loose = resource.id.group == "rbac.authorization.k8s.io";
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let fine = name.1.len() <= 253
        && (loose
            || (name.1.chars().all(allowed)
                && edge(name.1.chars().next())
                && edge(name.1.chars().last())));
    if fine && !name.1.contains('/') {
        return Ok(());
    }
    let error = FieldError {
        field: "metadata.name".to_owned(),
        reason: "FieldValueInvalid",
        message: format!(
            "Invalid value: \"{}\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
             '-' or '.', and must start and end with an alphanumeric character",
            name.1
        ),
    };
    Err(Failure::invalid(&resource.id.group, &resource.kind, &name.1, &[error]))
}

/// Types, pruning, defaults and validation. Returns warnings.
pub(super) fn admit(
    resource: &Resource,
    version: &Version,
    object: &mut Value,
    old: Option<&Value>,
    options: &WriteOptions,
) -> Result<Vec<String>, Failure> {
    let name = object.at("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let api_version = resource.api_version(&version.name);
    for (field, wanted) in [("kind", &resource.kind), ("apiVersion", &api_version)] {
        match object.get(field).and_then(Value::as_str) {
            Some(sent) if !sent.is_empty() && sent != wanted && field == "kind" => {
                return Err(Failure::bad_request(format!(
                    "{sent} in version \"{}\" cannot be handled as a {}: expected kind {wanted}",
                    version.name, resource.kind
                )));
            }
            Some(_) | None => object[field] = json!(wanted),
        }
    }
    let mut warnings = Vec::new();
    let Some(schema) = &version.schema else {
        if !resource.custom {
            let unknown = prune_builtin(object).map_err(Failure::bad_request)?;
            warnings.extend(report_unknown(resource, version, unknown, options)?);
        }
        defaults::fill(&resource.kind, object);
        let errors = defaults::check(&resource.kind, object);
        if errors.is_empty() {
            return Ok(warnings);
        }
        return Err(Failure::invalid(&resource.id.group, &resource.kind, &name, &errors));
    };
    let unknown = schema.prune(object);
    warnings.extend(report_unknown(resource, version, unknown, options)?);
    schema.default(object);
    let errors = schema.validate(object, old);
    if errors.is_empty() {
        Ok(warnings)
    } else {
        Err(Failure::invalid(&resource.id.group, &resource.kind, &name, &errors))
    }
}

/// What is said about fields that were dropped.
fn report_unknown(
    resource: &Resource,
    version: &Version,
    unknown: Vec<String>,
    options: &WriteOptions,
) -> Result<Vec<String>, Failure> {
    let list: Vec<String> =
        unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
    match options.unknown {
        Unknown::Warn => Ok(list),
        Unknown::Strict if !list.is_empty() => Err(Failure::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}",
            resource.kind,
            version.name,
            resource.kind,
            list.join(", ")
        ))),
        Unknown::Ignore | Unknown::Strict => Ok(Vec::new()),
    }
}

pub(super) fn immutable(resource: &Resource, old: &Value, new: &Value) -> Result<(), Failure> {
    let guarded =
        matches!(resource.kind.as_str(), "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet")
            && !resource.custom;
    let (before, after) = (old.at("/spec/selector"), new.at("/spec/selector"));
    if !guarded || before == after {
        return Ok(());
    }
    let error = FieldError {
        field: "spec.selector".to_owned(),
        reason: "FieldValueInvalid",
        message: format!("Invalid value: {}: field is immutable", after.unwrap_or(&Value::Null)),
    };
    let name = new.at("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    Err(Failure::invalid(&resource.id.group, &resource.kind, name, &[error]))
}

pub(super) fn has_generation(resource: &Resource) -> bool {
    resource.custom
        || matches!(
            resource.id.group.as_str(),
            "apps"
                | "batch"
                | "networking.k8s.io"
                | "policy"
                | "apiextensions.k8s.io"
                | "discovery.k8s.io"
        )
}

/// Whether everything but metadata and status is the same.
pub(super) fn same_spec(one: &Value, other: &Value) -> bool {
    same_but(one, other, &["metadata", "status", "apiVersion", "kind"])
}

/// Whether two states differ in nothing but what the server itself keeps.
pub(super) fn same_but_books(one: &Value, other: &Value) -> bool {
    let kept = ["managedFields", "resourceVersion"];
    let same = match (one.get("metadata"), other.get("metadata")) {
        (Some(one), Some(other)) => same_but(one, other, &kept),
        (one, other) => one == other,
    };
    same && same_but(one, other, &["apiVersion", "metadata"])
}

/// Compares two maps without these keys; what is no map is compared as it is.
fn same_but(one: &Value, other: &Value, without: &[&str]) -> bool {
    let (Some(a), Some(b)) = (one.as_object(), other.as_object()) else { return one == other };
    let rest = |(key, _): &(&String, &Value)| !without.contains(&key.as_str());
    a.iter().filter(rest).eq(b.iter().filter(rest))
}
