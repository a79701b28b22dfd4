//! Law 4: a check counts against a revision only if its whole window lies in that revision's own traffic.

use jiff::{SignedDuration, Timestamp};

use super::Draft;
use super::check::{Effect, Judgement, Verdict};
use super::draft::later;
use crate::model::Metric;
use crate::observed::Check;

/// What a finding is worth, by whose requests its window holds.
///
/// A value that is broken counts once the window holds nothing but this revision's. One that is kept says little of a revision
/// whose window holds another one's requests, too; where nobody was measured before, it stands, as in Flagger.
pub(super) fn owned(draft: &Draft<'_>, check: Check, finding: Judgement) -> Judgement {
    let Some(window) = Window::of(draft, check) else { return finding };
    match finding.verdict {
        Verdict::NoData if finding.effect != Effect::GoesOn && !window.had_traffic(draft) => {
            let message =
                format!("{}; its window begins before the canary's first request", finding.message);
            Judgement { effect: Effect::Waits, message, expected: true, ..finding }
        }
        Verdict::Fail if !window.is_own(draft) => {
            let message = format!("{} does not count yet: {}", finding.message, window.why(draft));
            Judgement { verdict: Verdict::Early, effect: Effect::Waits, message, ..finding }
        }
        Verdict::Pass if window.is_mixed(draft) => {
            let halt = format!("Halt {} advancement", draft.name());
            let Judgement { name, .. } = &finding;
            let message = format!("{halt} {name} says little yet: {}", window.why(draft));
            Judgement { verdict: Verdict::Early, effect: Effect::Waits, message, ..finding }
        }
        Verdict::Pass
        | Verdict::Fail
        | Verdict::NoData
        | Verdict::CannotMeasure
        | Verdict::Early => finding,
    }
}

/// The time that a value stands for, up to now.
#[derive(Clone, Copy)]
struct Window {
    secs: i64,
    begins: Timestamp,
}

impl Window {
    /// Of the query if it says so itself, else of the metric; none for a hook.
    fn of(draft: &Draft<'_>, check: Check) -> Option<Self> {
        let Check::Metric(index, _) = check else { return None };
        let Metric { interval, .. } = draft.spec.analysis.metrics.get(index)?;
        let said = draft.seen.reach.get(&check).copied();
        let secs = said.or_else(|| crate::parse::seconds(interval))?;
        let begins = draft.now.checked_sub(SignedDuration::from_secs(secs));
        Some(Self { secs, begins: begins.unwrap_or(Timestamp::MIN) })
    }

    /// All of it is this revision's.
    fn is_own(self, draft: &Draft<'_>) -> bool {
        draft.status.measured_since.is_some_and(|since| since <= self.begins)
    }

    /// Some of it is this revision's, and some of the one that had traffic before it.
    fn is_mixed(self, draft: &Draft<'_>) -> bool {
        !self.is_own(draft) && draft.drain_end().is_some_and(|end| end > self.begins)
    }

    /// The canary has had traffic for all of it: that it is empty says something.
    fn had_traffic(self, draft: &Draft<'_>) -> bool {
        let routed = draft.status.traffic_start_time.filter(|_| !draft.status.exposure().is_none());
        self.is_own(draft) && routed.is_none_or(|since| since <= self.begins)
    }

    fn why(self, draft: &Draft<'_>) -> String {
        let since = draft.status.measured_since.unwrap_or(draft.now);
        format!(
            "its window of {} s reaches back before this revision was measured; it counts from {:.0}",
            self.secs,
            later(since, self.secs)
        )
    }
}
