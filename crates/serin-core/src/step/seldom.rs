//! Other words about the same wait are written with what is written anyway, or when the last ones have stood for a while.

use jiff::Timestamp;

use super::Draft;
use super::draft::later;
use crate::model::Status;

/// How old the words of a wait may become. Pods of a rollout become ready one after the other, and each of them would be a
/// write of the whole status.
const WORDS_EVERY_SECS: i64 = 10;

/// Leaves the status as it is where it would only say the same wait in other words. Returns when these are due.
pub(super) fn put_off(draft: &mut Draft<'_>) -> Option<Timestamp> {
    let old = &draft.canary.status;
    let written = old.last_reason.as_ref()?.time?;
    let due = later(written, WORDS_EVERY_SECS);
    // A clock that was set back must not keep them for longer.
    let waits = written <= draft.now && draft.now < due;
    if !waits || !draft.notices.is_empty() || draft.stalled || !is_reworded(old, &draft.status) {
        return None;
    }
    draft.status.clone_from(old);
    Some(due)
}

/// Whether these are different, and in nothing but the words for one wait.
fn is_reworded(old: &Status, new: &Status) -> bool {
    let mut as_before = new.clone();
    let (Some(then), Some(now)) = (&old.last_reason, &mut as_before.last_reason) else {
        return false;
    };
    if then.code != now.code || then.message == now.message {
        return false;
    }
    now.clone_from(then);
    for condition in &mut as_before.conditions {
        let known = old.conditions.iter().find(|known| known.kind == condition.kind);
        if let Some(known) = known.filter(|known| {
            (&known.status, &known.reason) == (&condition.status, &condition.reason)
        }) {
            condition.clone_from(known);
        }
    }
    // The guard's memory goes along with any write.
    as_before.guard.clone_from(&old.guard);
    as_before == *old
}
