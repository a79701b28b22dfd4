//! The access to the API that controllers need.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use super::change::{Deletion, Kind};

/// Why a write was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The object was written meanwhile, does not exist, or exists already. The next pass reads it again.
    #[error("the object changed: {0}")]
    Stale(String),
    /// The object is invalid; trying again does not help.
    #[error("{0}")]
    Invalid(String),
}

/// Reads of whole kinds, and writes that can fail with a conflict.
pub trait Cluster: Send + Sync + 'static {
    /// All objects of a kind, in all namespaces.
    fn list(&self, kind: Kind) -> Vec<Arc<Value>>;
    /// One object; `namespace` is empty for cluster-scoped kinds.
    fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Value>>;
    /// Creates an object; a conflict if one of its name exists.
    fn create(&self, kind: Kind, object: Value) -> Result<(), Refused>;
    /// Replaces metadata and spec. A conflict when the object's resourceVersion is not the latest.
    fn update(&self, kind: Kind, object: Value) -> Result<(), Refused>;
    /// Replaces the status alone. A conflict when the object's resourceVersion is not the latest.
    fn update_status(&self, kind: Kind, object: Value) -> Result<(), Refused>;
    /// Deletes an object; a conflict if its uid is another.
    fn delete(&self, deletion: &Deletion) -> Result<(), Refused>;
    /// Whether any object of these kinds changed after version `since`; true as well if the history does not reach back that far.
    fn touched(&self, kinds: &[Kind], since: u64) -> bool;
    /// A channel with the resourceVersion of the last write to any of these kinds; it can be that of a later write to another kind.
    fn changes(&self, kinds: &[Kind]) -> watch::Receiver<u64>;
}
