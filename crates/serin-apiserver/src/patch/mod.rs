//! Patches of every content type the API takes: JSON patch, merge patch, strategic merge patch and server-side apply.

mod apply;
mod fields;
mod json;
mod keys;
mod strategic;

use serde_json::Value;

pub(crate) use apply::untyped;
pub use apply::{ApplyConflict, ApplyError, ConflictCause, apply, record_update};
pub(crate) use fields::item_key;
pub use json::{json_patch, merge_patch};
pub use keys::ListKeys;
pub(crate) use keys::{ListType, Shape};
pub use strategic::strategic_merge;

/// The greatest depth of a document. serde_json parses at most 128 levels, so deeper ones can only come from patches.
const DEPTH_MAX: usize = 128;

/// Why a patch was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch is malformed: 400 BadRequest.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit this object: 422 Invalid.
    #[error("{0}")]
    Inapplicable(String),
    /// The patch or its result exceeds a bound: 413 RequestEntityTooLarge.
    #[error("{0}")]
    TooLarge(String),
}

impl PatchError {
    /// The HTTP code and the `Status` reason that Kubernetes gives.
    pub fn status(&self) -> (u16, &'static str) {
        match self {
            PatchError::Malformed(_) => (400, "BadRequest"),
            PatchError::Inapplicable(_) => (422, "Invalid"),
            PatchError::TooLarge(_) => (413, "RequestEntityTooLarge"),
        }
    }
}

/// Whether `value` has more levels than `allowed`, counted without recursion.
fn too_deep(value: &Value, allowed: usize) -> bool {
    let mut level: Vec<&Value> = vec![value];
    for _ in 0..=allowed {
        let mut next = Vec::new();
        for value in level {
            match value {
                Value::Object(map) => next.extend(map.values()),
                Value::Array(list) => next.extend(list.iter()),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        if next.is_empty() {
            return false;
        }
        level = next;
    }
    true
}

fn check_depth(value: &Value, what: &str) -> Result<(), PatchError> {
    if too_deep(value, DEPTH_MAX) {
        return Err(PatchError::TooLarge(format!(
            "{what} is nested deeper than {DEPTH_MAX} levels"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
