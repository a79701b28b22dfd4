//! Skips objects whose last reconcile made no writes, until an input changes or their requeue time comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::change::Outcome;
use super::object;

/// Objects that need no write, by uid. Bounded by the number of objects of the last pass.
#[derive(Debug, Default)]
pub(crate) struct ReconcileCache {
    idle: BTreeMap<String, Idle>,
    pass: u64,
}

#[derive(Debug)]
struct Idle {
    /// The objects that were read. Holding the `Arc`s keeps their addresses from being reused, which `same` relies on.
    inputs: Vec<Arc<Value>>,
    requeue_at: Option<Timestamp>,
    pass: u64,
}

impl ReconcileCache {
    /// Reconciles the first of `inputs`. Skipped while all inputs are unchanged since a reconcile without writes and its requeue time is not reached.
    pub(crate) fn reconcile_if_changed(
        &mut self,
        inputs: Vec<Arc<Value>>,
        now: Timestamp,
        reconcile: impl FnOnce() -> Outcome,
    ) -> Outcome {
        let Some(uid) = inputs.first().map(|object| object::uid(object).to_owned()) else {
            return reconcile();
        };
        if let Some(entry) = self.idle.get_mut(&uid)
            && entry.requeue_at.is_none_or(|wake| wake > now)
            && same(&entry.inputs, &inputs)
        {
            entry.pass = self.pass;
            return Outcome { changes: Vec::new(), requeue_at: entry.requeue_at };
        }
        let outcome = reconcile();
        if outcome.changes.is_empty() {
            self.idle.insert(uid, Idle { inputs, requeue_at: outcome.requeue_at, pass: self.pass });
        } else {
            self.idle.remove(&uid);
        }
        outcome
    }

    /// Ends a pass: drops the entries of objects that it did not see.
    pub(crate) fn end_pass(&mut self) {
        let pass = self.pass;
        self.idle.retain(|_, entry| entry.pass == pass);
        self.pass += 1;
    }
}

/// Every write allocates a new object, so that equal addresses mean unchanged objects.
fn same(before: &[Arc<Value>], now: &[Arc<Value>]) -> bool {
    before.len() == now.len()
        && before.iter().zip(now).all(|(before, now)| Arc::ptr_eq(before, now))
}
