//! The revision of a workload: a digest of what its pods are made from.

use serde_json::{Value, json};
use serin_core::step::REVISION_PREFIX;

use super::daemon_set::NOWHERE;
use crate::json::{canonical, remove, sha256_hex};

/// On the primary: the revision of the target that it was made from.
pub const REVISION_ANNOTATION: &str = "serin.dev/revision";

/// The pod template as the user has it.
pub(crate) fn template(workload: &Value) -> Value {
    let mut template = workload.pointer("/spec/template").cloned().unwrap_or_else(|| json!({}));
    if let Some(selector) = template.pointer_mut("/spec/nodeSelector") {
        remove(selector, NOWHERE);
    }
    template
}

/// The revision of a workload's pod template as it is stored. Upgrades of the API server that add empty fields leave it alone,
/// and so does whether it runs.
pub fn revision(workload: &Value) -> String {
    let template = canonical(&template(workload));
    format!("{REVISION_PREFIX}{}", sha256_hex(&template, 8))
}
