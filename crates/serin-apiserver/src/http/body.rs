//! Request bodies (JSON, YAML, protobuf) and the options of writes.

use http::header;
use serde_json::Value;

use super::Call;
use crate::failure::Failure;
use crate::protobuf;
use crate::schema::FieldError;
use crate::store::{DeleteOptions, PatchKind, Propagation, Unknown, WriteOptions};

const APPLY: &str = "application/apply-patch+yaml";

/// The object in a body.
pub(super) fn object(call: &Call) -> Result<Value, Failure> {
    let kind = call.header(header::CONTENT_TYPE);
    if kind.contains("protobuf") {
        return protobuf::decode(&call.body)
            .map_err(|error| Failure::new(415, "UnsupportedMediaType", error.to_string()));
    }
    if kind.contains("yaml") {
        return yaml(&call.body);
    }
    let bare = kind.split(';').next().unwrap_or_default().trim();
    if !matches!(bare, "" | "application/json" | "*/*") && !bare.ends_with("+json") {
        let why = "the body of the request was in an unknown format - accepted media types include: \
                   application/json, application/yaml, application/vnd.kubernetes.protobuf";
        return Err(Failure::new(415, "UnsupportedMediaType", why));
    }
    serde_json::from_slice(&call.body)
        .map_err(|error| Failure::bad_request(format!("the body is no JSON object: {error}")))
}

/// Refuses a body whose `apiVersion` is not `wanted`; it may be missing.
pub(super) fn check_version(object: &Value, wanted: &str) -> Result<(), Failure> {
    match object.get("apiVersion") {
        None | Some(Value::Null) => Ok(()),
        Some(sent) if sent == wanted || sent == "" => Ok(()),
        Some(sent) => Err(Failure::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({wanted})",
            sent.as_str().unwrap_or("no text")
        ))),
    }
}

/// JSON is valid YAML, and its parser is faster and stricter, so it is tried first.
fn yaml(body: &[u8]) -> Result<Value, Failure> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text =
        std::str::from_utf8(body).map_err(|_| Failure::bad_request("the body is no UTF-8 text"))?;
    serde_saphyr::from_str(text)
        .map_err(|error| Failure::bad_request(format!("the body is no YAML: {error}")))
}

/// The patch in a body, and its type.
pub(super) fn patch(call: &Call) -> Result<(PatchKind, Value), Failure> {
    let kind = call.header(header::CONTENT_TYPE);
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let (kind, value) = match kind {
        "application/json-patch+json" => (PatchKind::Json, json(call)?),
        "application/merge-patch+json" => (PatchKind::Merge, json(call)?),
        "application/strategic-merge-patch+json" => (PatchKind::Strategic, json(call)?),
        APPLY => (PatchKind::Apply, yaml(&call.body)?),
        other => {
            return Err(Failure::new(
                415,
                "UnsupportedMediaType",
                format!(
                    "the body of the request was in an unknown format ({other}) - accepted media types include: \
                     application/json-patch+json, application/merge-patch+json, \
                     application/strategic-merge-patch+json, application/apply-patch+yaml"
                ),
            ));
        }
    };
    Ok((kind, value))
}

fn json(call: &Call) -> Result<Value, Failure> {
    serde_json::from_slice(&call.body)
        .map_err(|error| Failure::bad_request(format!("the patch is no JSON: {error}")))
}

pub(super) fn write_options(call: &Call, version: &str) -> Result<WriteOptions, Failure> {
    let agent = call.header(header::USER_AGENT).split('/').next().unwrap_or_default();
    let applies = call.header(header::CONTENT_TYPE).starts_with(APPLY);
    let manager = match call.query("fieldManager") {
        // An apply without a field manager is refused by the store.
        "" if applies => "",
        "" if agent.is_empty() => "unknown",
        "" => agent,
        named => named,
    };
    if manager.len() > 128 {
        return Err(Failure::bad_request("fieldManager: may not be longer than 128 bytes"));
    }
    Ok(WriteOptions {
        manager: manager.to_owned(),
        version: version.to_owned(),
        dry_run: dry_run(call)?,
        unknown: match call.query("fieldValidation") {
            "Strict" => Unknown::Strict,
            "Ignore" => Unknown::Ignore,
            "" | "Warn" => Unknown::Warn,
            other => return Err(odd_validation(call, other)),
        },
        force: call.flag("force"),
    })
}

fn dry_run(call: &Call) -> Result<bool, Failure> {
    match call.query("dryRun") {
        "" => Ok(false),
        "All" => Ok(true),
        other => {
            let message = format!("Unsupported value: [{other:?}]: supported values: \"All\"");
            let error = FieldError::new("dryRun", "FieldValueNotSupported", message);
            Err(Failure::bad_option(options_of(call), error))
        }
    }
}

/// The kind of the options of this request, such as `CreateOptions`.
fn options_of(call: &Call) -> &'static str {
    match call.method {
        http::Method::POST => "CreateOptions",
        http::Method::PUT => "UpdateOptions",
        http::Method::DELETE => "DeleteOptions",
        _ => "PatchOptions",
    }
}

fn odd_validation(call: &Call, value: &str) -> Failure {
    let message = format!(
        "Unsupported value: {value:?}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
    );
    let error = FieldError::new("fieldValidation", "FieldValueNotSupported", message);
    Failure::bad_option(options_of(call), error)
}

/// The options of a DELETE, from its body and its query.
pub(super) fn delete_options(call: &Call) -> Result<DeleteOptions, Failure> {
    let body = if call.body.is_empty() { Value::Null } else { object(call)? };
    if !body.is_null() && !body.is_object() {
        return Err(Failure::bad_request("the delete options are no object"));
    }
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let propagation =
        text("/propagationPolicy").unwrap_or_else(|| call.query("propagationPolicy").to_owned());
    let orphans = body.get("orphanDependents").and_then(Value::as_bool) == Some(true);
    let grace = body
        .get("gracePeriodSeconds")
        .and_then(Value::as_i64)
        .or_else(|| call.query("gracePeriodSeconds").parse().ok());
    let dry = body.get("dryRun").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    Ok(DeleteOptions {
        propagation: match propagation.as_str() {
            "Orphan" => Propagation::Orphan,
            "Foreground" => Propagation::Foreground,
            "" if orphans => Propagation::Orphan,
            "" | "Background" => Propagation::Background,
            other => {
                let message = format!(
                    "Unsupported value: {other:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
                );
                let error = FieldError::new("propagationPolicy", "FieldValueNotSupported", message);
                return Err(Failure::bad_option("DeleteOptions", error));
            }
        },
        dry_run: dry || dry_run(call)?,
        uid: text("/preconditions/uid"),
        resource_version: text("/preconditions/resourceVersion"),
        grace_secs: grace,
    })
}
