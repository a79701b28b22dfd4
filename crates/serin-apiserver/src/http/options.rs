//! Checks of a request beside its object: names, versions and list options.

use serde_json::Value;

use super::Call;
use super::target::Target;
use crate::failure::Failure;
use crate::schema::FieldError;

/// Refuses an object without a name.
pub(super) fn named(object: &Value, name: &str) -> Result<(), Failure> {
    match object.pointer("/metadata/name").and_then(Value::as_str) {
        Some(sent) if !sent.is_empty() => Ok(()),
        _ => Err(Failure::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        ))),
    }
}

/// Refuses to replace an object without a resourceVersion, for the kinds that require one.
pub(super) fn versioned(target: &Target, object: &Value, name: &str) -> Result<(), Failure> {
    let strict = target.resource.custom
        || matches!(target.resource.kind.as_str(), "Lease" | "CustomResourceDefinition");
    let sent = object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    if !strict || sent.is_some_and(|sent| !sent.is_empty()) {
        return Ok(());
    }
    let error = FieldError::new(
        "metadata.resourceVersion",
        "FieldValueInvalid",
        "Invalid value: 0: must be specified for an update",
    );
    let id = &target.place.id;
    Err(Failure::invalid(&id.group, &id.plural, name, &[error]))
}

/// Refuses list options that are not supported.
pub(super) fn list_options(call: &Call) -> Result<(), Failure> {
    let matching = call.query("resourceVersionMatch");
    let odd = !matches!(matching, "" | "Exact" | "NotOlderThan");
    let (field, reason, message) = if call.flag("sendInitialEvents") && !call.flag("watch") {
        let why = "Forbidden: sendInitialEvents is forbidden for list";
        ("sendInitialEvents", "FieldValueForbidden", why.to_owned())
    } else if !matching.is_empty()
        && call.query("resourceVersion").is_empty()
        && !call.flag("watch")
    {
        let why = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided";
        ("resourceVersionMatch", "FieldValueForbidden", why.to_owned())
    } else if odd {
        let why = format!(
            "Unsupported value: {matching:?}: supported values: \"Exact\", \"NotOlderThan\", \"\""
        );
        ("resourceVersionMatch", "FieldValueNotSupported", why)
    } else {
        return Ok(());
    };
    Err(Failure::bad_option("ListOptions", FieldError::new(field, reason, message)))
}
