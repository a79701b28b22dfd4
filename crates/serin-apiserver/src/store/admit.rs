//! The checks of every write: names, types, unknown fields, defaults, schemas.

use serde_json::{Map, Value, json};

use super::Name;
use super::write::{Sub, Unknown, WriteOptions};
use crate::defaults;
use crate::failure::Failure;
use crate::json_pointer::At;
use crate::registry::{Resource, Version};
use crate::schema::{FieldError, number, prune_builtin};
use crate::skeleton;
use crate::validate;

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

/// Checks the types of metadata, which are the same in every kind; the code behind this relies on them.
pub(super) fn check_metadata(
    resource: &Resource,
    version: &Version,
    meta: &Map<String, Value>,
) -> Result<(), Failure> {
    let wrong = |field: &str, value: Option<&Value>, wanted: &str| {
        let is = match value {
            None | Some(Value::Null) => "null",
            Some(Value::Bool(_)) => "bool",
            Some(Value::Number(_)) => "number",
            Some(Value::String(_)) => "string",
            Some(Value::Array(_)) => "array",
            Some(Value::Object(_)) => "object",
        };
        let kind = &resource.kind;
        Failure::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: json: cannot unmarshal {is} into Go struct field ObjectMeta.metadata.{field} of type {wanted}",
            version.name
        ))
    };
    for field in ["name", "generateName", "namespace", "uid", "resourceVersion"] {
        if meta.get(field).is_some_and(|value| !value.is_null() && !value.is_string()) {
            return Err(wrong(field, meta.get(field), "string"));
        }
    }
    for field in ["labels", "annotations"] {
        let value = meta.get(field).filter(|value| !value.is_null());
        let Some(value) = value else { continue };
        let Some(map) = value.as_object() else {
            return Err(wrong(field, Some(value), "map[string]string"));
        };
        if let Some(odd) = map.values().find(|value| !value.is_string() && !value.is_null()) {
            return Err(wrong(field, Some(odd), "string"));
        }
    }
    for (field, wanted, fits) in [
        ("finalizers", "[]string", Value::is_string as fn(&Value) -> bool),
        ("ownerReferences", "[]v1.OwnerReference", Value::is_object),
        ("managedFields", "[]v1.ManagedFieldsEntry", Value::is_object),
    ] {
        let list = meta.get(field).filter(|value| !value.is_null());
        if !list.is_none_or(|list| list.as_array().is_some_and(|list| list.iter().all(fits))) {
            return Err(wrong(field, list, wanted));
        }
    }
    Ok(())
}

/// Refuses an applied object without `apiVersion` and `kind`.
pub(super) fn applied_kind(
    resource: &Resource,
    version: &Version,
    applied: &Value,
) -> Result<(), Failure> {
    let text = |name: &str| applied.get(name).and_then(Value::as_str).unwrap_or_default();
    let (sent, kind) = (text("apiVersion"), text("kind"));
    if sent == resource.api_version(&version.name) && kind == resource.kind {
        return Ok(());
    }
    let sent = if sent.contains('/') { sent.to_owned() } else { format!("/{sent}") };
    Err(Failure::bad_request(format!("invalid object type: {sent}, Kind={kind}")))
}

/// Refuses an applied object with fields that its kind does not have: they cannot be owned.
pub(super) fn declared(
    resource: &Resource,
    version: &Version,
    applied: &Value,
) -> Result<(), Failure> {
    let mut copy = applied.clone();
    let unknown = match &version.schema {
        Some(schema) => schema.prune(&mut copy),
        None if resource.custom => Vec::new(),
        // A wrong type is reported when the result is checked.
        None => prune_builtin(&mut copy).unwrap_or_default(),
    };
    match unknown.first() {
        None => Ok(()),
        Some(path) => {
            let why = format!(".{path}: field not declared in schema");
            Err(crate::patch::untyped(applied, &why).into())
        }
    }
}

/// Sets the stored version, so that the same object written in another version is no change.
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

/// Refuses a body whose namespace is not that of the path.
pub(super) fn check_place(
    resource: &Resource,
    meta: &Map<String, Value>,
    name: &Name,
) -> Result<(), Failure> {
    let namespace = text(meta, "namespace");
    if resource.namespaced && !namespace.is_empty() && namespace != name.0 {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// Applies types, pruning, defaults and validation. Returns warnings.
pub(super) fn admit(
    resource: &Resource,
    version: &Version,
    object: &mut Value,
    old: Option<&Value>,
    sub: Sub,
    options: &WriteOptions,
) -> Result<Vec<String>, Failure> {
    let name = object.at("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let api_version = resource.api_version(&version.name);
    for (field, wanted) in [("kind", &resource.kind), ("apiVersion", &api_version)] {
        match object.get(field).and_then(Value::as_str) {
            Some(sent) if !sent.is_empty() && sent != wanted && field == "kind" => {
                return Err(Failure::bad_request(format!(
                    "{sent} in version \"{}\" cannot be handled as a {}: converting (v1.{sent}) to (core.{wanted}): unknown conversion",
                    version.name, resource.kind
                )));
            }
            Some(_) | None => object[field] = json!(wanted),
        }
    }
    let mut warnings = Vec::new();
    let Some(schema) = &version.schema else {
        if resource.custom {
            number::drop_zero_fractions(object);
        } else {
            let unknown = prune_builtin(object).map_err(Failure::bad_request)?;
            warnings.extend(report_unknown(resource, version, unknown, options)?);
            defaults::fill(&resource.kind, object);
            skeleton::fill(&resource.kind, object);
        }
        let errors = match sub {
            _ if resource.custom => validate::check_metadata(object, old),
            Sub::Status => validate::check_status(&resource.kind, object),
            Sub::Main | Sub::Scale => validate::check(&resource.kind, object, old),
        };
        if errors.is_empty() {
            return Ok(warnings);
        }
        return Err(Failure::invalid(&resource.id.group, &resource.kind, &name, &errors));
    };
    let unknown = schema.prune(object);
    warnings.extend(report_unknown(resource, version, unknown, options)?);
    schema.default(object);
    let mut errors = validate::check_metadata(object, old);
    errors.extend(schema.validate(object, old));
    number::drop_zero_fractions(object);
    if errors.is_empty() {
        Ok(warnings)
    } else {
        Err(Failure::invalid(&resource.id.group, &resource.kind, &name, &errors))
    }
}

/// Reports dropped fields, by the client's `fieldValidation`: as an error, a warning, or not at all.
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
                | "autoscaling"
        )
        || resource.kind == "Pod"
}

/// Whether two objects are equal apart from metadata and status.
pub(super) fn same_spec(one: &Value, other: &Value) -> bool {
    same_but(one, other, &["metadata", "status", "apiVersion", "kind"])
}

/// Whether two objects are equal apart from what the server itself maintains.
pub(super) fn same_but_server_fields(one: &Value, other: &Value) -> bool {
    let kept = ["managedFields", "resourceVersion"];
    let same = match (one.get("metadata"), other.get("metadata")) {
        (Some(one), Some(other)) => same_but(one, other, &kept),
        (one, other) => one == other,
    };
    same && same_but(one, other, &["apiVersion", "metadata"])
}

/// Compares two maps without these keys; other values as they are.
fn same_but(one: &Value, other: &Value, without: &[&str]) -> bool {
    let (Some(a), Some(b)) = (one.as_object(), other.as_object()) else { return one == other };
    let rest = |(key, _): &(&String, &Value)| !without.contains(&key.as_str());
    a.iter().filter(rest).eq(b.iter().filter(rest))
}
