//! A guard that holds because it cannot measure has a deadline: then the canary's share is taken back.
//!
//! Law 7: not knowing is not a bad canary, so nothing is rejected; and it is never a good one, so nothing keeps its share for
//! ever.

use jiff::Timestamp;

use super::Draft;
use super::draft::later;
use crate::model::{BlindDeadline, Exposure, GuardMode, GuardSpec, Phase, Severity};
use crate::observed::{Guard, Visibility};
use crate::plan::Step;
use crate::reason::Reason;

fn guard<'a>(draft: &Draft<'a>) -> Option<&'a GuardSpec> {
    let guard = draft.spec.analysis.guard.as_ref()?;
    match guard.mode {
        GuardMode::Enforce => Some(guard),
        GuardMode::Observe => None,
    }
}

/// Since when the guard is blind, for whoever looks next.
pub(super) fn note(draft: &mut Draft<'_>) {
    let analysed = matches!(
        draft.status.phase,
        Some(Phase::Progressing | Phase::WaitingPromotion) if guard(draft).is_some()
    );
    if !analysed {
        draft.status.blind_since = None;
        return;
    }
    match draft.seen.watched.visibility {
        Visibility::Unknown => {}
        Visibility::Clear => draft.status.blind_since = None,
        Visibility::Blind | Visibility::Contradicted if !draft.status.exposure().is_none() => {
            let now = draft.now;
            draft.status.blind_since.get_or_insert(now);
        }
        Visibility::Blind | Visibility::Contradicted => {}
    }
}

/// When the share is taken back; none while it may be kept for as long as it takes.
pub(super) fn deadline(draft: &Draft<'_>) -> Option<Timestamp> {
    let since = draft.status.blind_since.filter(|_| !draft.status.exposure().is_none())?;
    let first = draft.spec.analysis.schedule.first_with_users();
    // Blue/Green has one share, and it is all. Copies hurt no user, however many.
    let exposure = draft.status.exposure();
    let above = exposure.has_users() && (!exposure.is_within(first) || first == Exposure::FULL);
    let doubted =
        draft.status.failed_checks > 0 || draft.seen.watched.visibility == Visibility::Contradicted;
    match guard(draft)?.blind {
        BlindDeadline::AboveFirst(secs) => (above || doubted).then(|| later(since, secs)),
        BlindDeadline::Always(secs) => Some(later(since, secs)),
        BlindDeadline::Never => None,
    }
}

/// Whether the share is to be taken back now. That may pause, but not be kept by, `suspend`: it is about safety.
pub(super) fn is_over(draft: &Draft<'_>) -> bool {
    let analysed = matches!(draft.status.phase, Some(Phase::Progressing | Phase::WaitingPromotion));
    let blind =
        matches!(draft.seen.watched.visibility, Visibility::Blind | Visibility::Contradicted);
    analysed && blind && deadline(draft).is_some_and(|deadline| deadline <= draft.now)
}

/// The primary has all traffic; the pods stay, and the analysis begins at its first step once the guard can see.
pub(super) fn take_back(mut draft: Draft<'_>) -> Step {
    let exposure = draft.status.exposure();
    let since = draft.status.blind_since.unwrap_or(draft.now);
    let secs = draft.now.duration_since(since).as_secs();
    draft.take_off();
    draft.status.iterations = 0;
    draft.status.analysis_start_time = Some(draft.now);
    draft.status.last_step_time = Some(draft.now);
    draft.enter(Phase::Progressing);
    let message = format!(
        "The guard has seen nothing for {secs} s and {exposure} were taken back: {}",
        why(&draft)
    );
    let event = format!("Halt {} advancement {message}", draft.name());
    draft.warn(Reason::GuardBlind, event);
    draft.alert(Severity::Warn, message.clone(), false);
    draft.stalled = true;
    draft.hold(Reason::GuardBlind, message)
}

/// Why the canary gets no share again yet.
pub(super) fn waits(draft: &Draft<'_>) -> Option<String> {
    guard(draft)?;
    draft.status.blind_since?;
    match draft.seen.watched.visibility {
        Visibility::Clear => None,
        Visibility::Unknown | Visibility::Blind | Visibility::Contradicted => {
            Some(format!("The canary gets no traffic before the guard can see: {}", why(draft)))
        }
    }
}

fn why(draft: &Draft<'_>) -> String {
    match &draft.seen.guard {
        Guard::Hold(why) | Guard::RollBack(why) => why.clone(),
        Guard::Quiet => "it has not looked yet".to_owned(),
    }
}
