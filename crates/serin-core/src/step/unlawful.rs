//! What becomes of a plan that the lint refused: nothing is touched, and the object says so.

use jiff::Timestamp;

use super::Settings;
use super::draft::Draft;
use crate::lint::Breach;
use crate::model::{Canary, Severity};
use crate::observed::Observed;
use crate::plan::Plan;
use crate::reason::Reason;

/// The defect may depend on what was seen; it is decided anew.
const RETRY_SECS: i64 = 10;

/// Writes nothing but the status, which keeps phase and share and says which laws the refused plan would have broken.
pub fn unlawful(
    canary: &Canary,
    seen: &Observed,
    breaches: &[Breach],
    now: Timestamp,
    settings: &Settings,
) -> Plan {
    let list = breaches.iter().map(Breach::to_string).collect::<Vec<_>>().join("; ");
    let message = format!(
        "A plan of Serin was refused and nothing was changed: {list}. This is a defect of Serin; please report it."
    );
    let mut draft = Draft::new(canary, seen, now, settings);
    draft.stalled = true;
    if draft.is_news(Reason::LintBroken) {
        draft.warn(Reason::LintBroken, message.clone());
        draft.alert(Severity::Error, message.clone(), false);
    }
    draft.remember(Reason::LintBroken, &message);
    draft.plan(Reason::LintBroken, message, RETRY_SECS)
}
