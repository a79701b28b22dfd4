//! Says once what is known of a spec and of its queries before a release shows it.

use super::Draft;
use super::conditions;
use crate::model::sentence;
use crate::reason::Reason;

/// After the conditions are written: an Event where they say what they did not say before.
pub(super) fn tell(draft: &mut Draft<'_>) {
    if draft.canary.deleting {
        return;
    }
    let spec = &draft.spec.findings;
    if !spec.is_empty() && conditions::is_news_of_spec(&draft.canary.status, spec) {
        let message = format!("Spec of {}: {}", draft.name(), sentence(spec));
        draft.warn(Reason::SpecWarning, message);
    }
    let unmeasurable = &draft.seen.unmeasurable;
    let (generation, now) = (draft.canary.generation, draft.now);
    if conditions::unmeasurable(&mut draft.status, unmeasurable, generation, now) {
        let message = format!("Metrics of {}: {}", draft.name(), sentence(unmeasurable));
        draft.warn(Reason::MetricsNotReady, message);
    }
}
