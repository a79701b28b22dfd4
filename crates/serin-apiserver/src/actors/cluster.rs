//! What actors need of a store.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use super::change::{Doomed, Kind};

/// Why a write was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Someone else wrote first, or the object is gone or there already. Looking again is enough.
    #[error("the object changed: {0}")]
    Stale(String),
    /// The store will not have it.
    #[error("{0}")]
    Invalid(String),
}

/// Whole lists, and writes that may lose a race.
pub trait Cluster: Send + Sync + 'static {
    fn list(&self, kind: Kind) -> Vec<Arc<Value>>;
    fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Value>>;
    fn create(&self, kind: Kind, object: Value) -> Result<(), Refused>;
    /// Metadata and spec; refused when the resourceVersion is not the latest.
    fn update(&self, kind: Kind, object: Value) -> Result<(), Refused>;
    /// The status alone; refused when the resourceVersion is not the latest.
    fn update_status(&self, kind: Kind, object: Value) -> Result<(), Refused>;
    fn delete(&self, doomed: &Doomed) -> Result<(), Refused>;
    /// Whether any object of these kinds changed after a version; a version too old to tell counts as a change.
    fn touched(&self, kinds: &[Kind], since: u64) -> bool;
    /// The version of the last write to any of these kinds, or of a later one.
    fn changes(&self, kinds: &[Kind]) -> watch::Receiver<u64>;
}
