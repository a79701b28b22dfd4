//! JSON patch (RFC 6902) and JSON merge patch (RFC 7386), bounded.

use json_patch::{PatchErrorKind, PatchOperation};
use serde_json::Value;

use super::{DEPTH_MAX, PatchError, check_depth, too_deep};

/// Kubernetes' bound of the number of operations.
const OPERATIONS_MAX: usize = 10_000;
/// Bound of the bytes copied: `copy` can double an object each time. Kubernetes uses its body limit, and so do we.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Applies an RFC 6902 patch: all operations or none.
pub fn json_patch(obj: &Value, patch: &Value) -> Result<Value, PatchError> {
    let Value::Array(operations) = patch else {
        return Err(PatchError::Malformed("a JSON patch must be a list of operations".into()));
    };
    if operations.len() > OPERATIONS_MAX {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
            operations.len()
        )));
    }
    let mut result = obj.clone();
    let mut copied = 0;
    for (index, operation) in operations.iter().enumerate() {
        let operation: PatchOperation =
            serde_json::from_value(operation.clone()).map_err(|error| {
                PatchError::Malformed(format!("operation {index} of the JSON patch: {error}"))
            })?;
        check_growth(&result, &operation, &mut copied)?;
        json_patch::patch(&mut result, std::slice::from_ref(&operation))
            .map_err(|error| PatchError::Inapplicable(explain(&operation, &error.kind)))?;
    }
    if !result.is_object() {
        return Err(PatchError::Inapplicable("the patched document is not an object".into()));
    }
    Ok(result)
}

/// Refuses an operation that would make the document too deep or too large, before it is applied.
fn check_growth(
    doc: &Value,
    operation: &PatchOperation,
    copied: &mut usize,
) -> Result<(), PatchError> {
    let value = match operation {
        PatchOperation::Add(add) => Some(&add.value),
        PatchOperation::Replace(replace) => Some(&replace.value),
        PatchOperation::Move(moved) => doc.pointer(moved.from.as_str()),
        PatchOperation::Copy(copy) => {
            let value = doc.pointer(copy.from.as_str());
            *copied += value.map_or(0, |value| value.to_string().len());
            if *copied > COPIED_BYTES_MAX {
                return Err(PatchError::TooLarge(format!(
                    "the JSON patch copies more than {COPIED_BYTES_MAX} bytes"
                )));
            }
            value
        }
        PatchOperation::Remove(_) | PatchOperation::Test(_) => None,
    };
    let above = operation.path().tokens().count();
    match value {
        Some(value) if above > DEPTH_MAX || too_deep(value, DEPTH_MAX - above) => {
            Err(PatchError::TooLarge(format!(
                "the patched document is nested deeper than {DEPTH_MAX} levels"
            )))
        }
        Some(_) | None => Ok(()),
    }
}

fn explain(operation: &PatchOperation, error: &PatchErrorKind) -> String {
    let name = match operation {
        PatchOperation::Add(_) => "add",
        PatchOperation::Remove(_) => "remove",
        PatchOperation::Replace(_) => "replace",
        PatchOperation::Move(_) => "move",
        PatchOperation::Copy(_) => "copy",
        PatchOperation::Test(_) => "test",
    };
    format!(
        "the server rejected our request due to an error in our request: {name} {}: {error}",
        operation.path()
    )
}

/// Applies an RFC 7386 merge patch.
pub fn merge_patch(obj: &Value, patch: &Value) -> Result<Value, PatchError> {
    if !patch.is_object() {
        return Err(PatchError::Malformed("a merge patch must be an object".into()));
    }
    check_depth(patch, "the merge patch")?;
    let mut result = obj.clone();
    json_patch::merge(&mut result, patch);
    Ok(result)
}
