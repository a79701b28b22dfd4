//! What the guard wants the status to say: its memory at a bounded rate, whether it can measure, what it would have done.

use jiff::SignedDuration;

use super::Draft;
use super::conditions;
use crate::judge::design::Memory;
use crate::observed::Watched;
use crate::reason;
use crate::status::{CheckRecord, LEDGER_MAX};

/// A memory is written along with any other change, and by itself at most this often: a gap is one longer block.
pub const KEEP_EVERY_SECS: i64 = 15;

/// Name of the guard's records in the ledger.
const NAME: &str = "guard";

/// The last thing that happens to a status before it is handed over.
pub(super) fn keep(draft: &mut Draft<'_>) {
    let Watched { known: _, memory, metrics, would } = &draft.seen.watched;
    if let Some(fitness) = metrics {
        conditions::metrics(&mut draft.status, fitness, draft.canary.generation, draft.now);
    }
    let kept = draft.canary.status.guard.as_ref();
    let (time, decided) = kept.map(Memory::glance).unwrap_or_default();
    let news = would.as_ref().filter(|_| !decided);
    if let Some(why) = news {
        let name = draft.name();
        draft
            .note(reason::GUARD_WOULD_ROLL_BACK, format!("Guard of {name} would roll back: {why}"));
        record(draft, &format!("would have rolled back: {why}"));
    }
    let due = time.is_none_or(|time| {
        draft.now.duration_since(time) >= SignedDuration::from_secs(KEEP_EVERY_SECS)
    });
    if let Some(memory) = memory
        && !draft.forgets
        && (due || news.is_some() || draft.status != draft.canary.status)
    {
        draft.status.guard = Some(memory.clone());
    }
}

/// A line for the ledger.
pub(super) fn record(draft: &mut Draft<'_>, message: &str) {
    draft.status.checks.push(CheckRecord {
        name: NAME.to_owned(),
        verdict: "fail".to_owned(),
        value: None,
        limit: String::new(),
        message: message.to_owned(),
        weight: draft.canary.status.canary_weight,
        time: Some(draft.now),
    });
    let surplus = draft.status.checks.len().saturating_sub(LEDGER_MAX);
    draft.status.checks.drain(..surplus);
}
