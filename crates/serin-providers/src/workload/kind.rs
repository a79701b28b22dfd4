//! What differs between the kinds of workload that can be released.

use jiff::Timestamp;
use serde_json::Value;
use serin_core::model::Running;
use serin_core::observed::Readiness;

use crate::change::{Change, Kind, ObjectRef};

/// Pods of a workload by its controller's last account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pods {
    /// How many there are to be.
    pub(crate) wanted: u32,
    /// Ready or not, of whatever revision.
    pub(crate) present: u32,
    pub(crate) ready: u32,
    pub(crate) available: u32,
}

pub(crate) trait WorkloadKind: Sync {
    fn kind(&self) -> Kind;

    fn running(&self, live: &Value) -> Running;

    fn pods(&self, live: &Value) -> Pods;

    /// Whether every pod is made from the template as it is.
    fn is_rolled_out(&self, live: &Value) -> bool;

    /// Whether the pods of the spec are there, by the workload's own account.
    fn readiness(
        &self,
        live: &Value,
        threshold_percent: u8,
        deadline_secs: i64,
        now: Timestamp,
    ) -> Readiness;

    /// The one write that makes it run so, fenced by a version if there is one.
    fn run(&self, workload: ObjectRef, running: Running, version: Option<String>) -> Change;

    /// Fields of the spec, beside the pod template, that a primary has from its target.
    fn copied(&self) -> &'static [&'static str];

    /// What the primary gets where the target has `value` in a field of these: it serves while it is replaced.
    fn for_primary(&self, field: &str, value: &Value, pods: u64) -> Value;

    /// What of this target stands in the way of any release, in words with a way out.
    fn obstacles(&self, target: &ObjectRef, live: &Value) -> Vec<String>;
}
