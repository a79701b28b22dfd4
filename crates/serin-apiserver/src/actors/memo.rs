//! What the last look at an object came to: nothing to do, until something that was looked at changes or a time comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::change::Outcome;
use super::object;

/// Looks that came to nothing. Holds no more than the objects of the last pass.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    rests: BTreeMap<String, Rest>,
    pass: u64,
}

#[derive(Debug)]
struct Rest {
    /// What was looked at; kept, so that no other object can be taken for one of these.
    seen: Vec<Arc<Value>>,
    wake: Option<Timestamp>,
    pass: u64,
}

impl Memo {
    /// Looks at the first of `seen`, unless the same look has come to nothing before and it is not yet time for another.
    pub(crate) fn look(
        &mut self,
        seen: Vec<Arc<Value>>,
        now: Timestamp,
        look: impl FnOnce() -> Outcome,
    ) -> Outcome {
        let Some(uid) = seen.first().map(|object| object::uid(object).to_owned()) else {
            return look();
        };
        if let Some(rest) = self.rests.get_mut(&uid)
            && rest.wake.is_none_or(|wake| wake > now)
            && same(&rest.seen, &seen)
        {
            rest.pass = self.pass;
            return Outcome { changes: Vec::new(), wake: rest.wake };
        }
        let outcome = look();
        if outcome.changes.is_empty() {
            self.rests.insert(uid, Rest { seen, wake: outcome.wake, pass: self.pass });
        } else {
            self.rests.remove(&uid);
        }
        outcome
    }

    /// What was not looked at since the last time is gone.
    pub(crate) fn end_pass(&mut self) {
        let pass = self.pass;
        self.rests.retain(|_, rest| rest.pass == pass);
        self.pass += 1;
    }
}

/// Every write makes a new object, so that the same one is an unchanged one.
fn same(before: &[Arc<Value>], now: &[Arc<Value>]) -> bool {
    before.len() == now.len()
        && before.iter().zip(now).all(|(before, now)| Arc::ptr_eq(before, now))
}
