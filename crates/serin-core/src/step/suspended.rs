//! `spec.suspend`: progress is paused and safety is not. Why the release stands as it does stays said; that it is suspended is a
//! condition of its own.

use super::conditions::{self, SUSPENDED};
use super::{Draft, Step};
use crate::model::{Exposure, Phase, Running};
use crate::observed::Seen;
use crate::reason::Reason;

/// Nothing is touched.
pub(super) fn step(mut draft: Draft<'_>) -> Step {
    if !conditions::is_true(&draft.canary.status, SUSPENDED) {
        let message = format!("{} is suspended, skipping canary run", draft.name());
        draft.note(Reason::Suspended, message);
    }
    let (message, secs) = (message(&draft), draft.settings.idle_secs);
    draft.quiet(Reason::Suspended, message, secs)
}

/// The condition speaks of the present, whatever was decided while it is set: the guard may have rolled back.
pub(super) fn tell(draft: &mut Draft<'_>) {
    let ours = draft.seen.duplicate_of.is_none() && !draft.canary.deleting;
    let (generation, now) = (draft.canary.generation, draft.now);
    let message = (draft.spec.suspend && ours).then(|| message(draft));
    conditions::suspended(&mut draft.status, message.as_deref(), generation, now);
}

/// Pods of a rejected revision that nobody scales away while it is suspended.
pub(super) fn left_running(draft: &Draft<'_>) -> u32 {
    let rejected = draft.status.phase == Some(Phase::Failed) && draft.status.exposure().is_none();
    match &draft.seen.target {
        Seen::Present(target) if rejected && draft.spec.suspend => match target.running {
            Running::Off => 0,
            Running::On(_) => target.replicas.max(1),
        },
        Seen::Present(_) | Seen::Absent | Seen::Unreadable(_) => 0,
    }
}

fn message(draft: &Draft<'_>) -> String {
    let releasing = draft.status.phase.is_some_and(Phase::is_releasing);
    match (left_running(draft), draft.status.exposure()) {
        (0, Exposure::NONE) if releasing => {
            "spec.suspend is set: nothing is touched; the canary has no traffic.".to_owned()
        }
        (0, Exposure::NONE) => "spec.suspend is set: nothing is touched.".to_owned(),
        (0, exposure) => format!(
            "spec.suspend is set: nothing is touched, and the canary keeps {exposure} of the traffic unless the guard rolls it back."
        ),
        (pods, _) => format!(
            "spec.suspend is set: the canary was rolled back and has no traffic; its {pods} pods run until spec.suspend is no longer set."
        ),
    }
}
