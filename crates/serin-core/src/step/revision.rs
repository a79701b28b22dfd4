//! Law 3: what counts as a change of what the user deploys, and what Flagger left behind.

use super::{Draft, REVISION_PREFIX, Step};
use crate::model::{Phase, Status};
use crate::observed::{Seen, Workload};
use crate::reason::Reason;

/// How the target compares with what was last taken up.
pub(super) enum Change {
    None,
    /// Something to analyse.
    Revised,
    /// The target is again what the primary runs.
    Reverted,
    /// Cannot be told now, which is never a change.
    Unknown(String),
}

/// Why the target must not be believed: it is older than what was decided on, and nobody has asked for the newest yet. What
/// was rejected since would look like a way back, and then like another release.
pub(super) fn past(status: &Status, target: &Seen<Workload>) -> Option<String> {
    let target = target.present().filter(|target| !target.confirmed)?;
    let seen = status.saw_later(&target.uid, target.generation)?;
    let generation = target.generation;
    Some(format!("what was read is of the past (generation {generation}, and {seen} was seen)"))
}

/// Compares, and records quietly what is no change: a moved generation, another hash of the same object.
pub(super) fn change(draft: &mut Draft<'_>) -> Change {
    let target = match &draft.seen.target {
        Seen::Present(target) => target,
        Seen::Absent => return Change::Unknown("the target does not exist".to_owned()),
        Seen::Unreadable(why) => return Change::Unknown(format!("cannot read the target: {why}")),
    };
    let configs = match &draft.seen.configs {
        Seen::Present(configs) => Some(configs),
        // Tracking is off.
        Seen::Absent => None,
        Seen::Unreadable(why) => {
            return Change::Unknown(format!("cannot read the target's configs: {why}"));
        }
    };
    let status = &mut draft.status;
    if status.tracked_configs.is_none() {
        status.tracked_configs = configs.cloned();
    }
    let configs_same = configs.is_none_or(|now| status.tracked_configs.as_ref() == Some(now));
    let moved = !status.saw_last(&target.uid, target.generation);
    if !moved && target.revision != status.last_applied_spec {
        if status.last_promoted_spec == status.last_applied_spec {
            status.last_promoted_spec.clone_from(&target.revision);
        }
        status.last_applied_spec.clone_from(&target.revision);
    }
    if target.revision == status.last_applied_spec && configs_same {
        status.saw(&target.uid, target.generation);
        return Change::None;
    }
    let promoted_configs_same = match (configs, &status.promoted_configs) {
        (Some(now), Some(promoted)) => now == promoted,
        (Some(_), None) => configs_same,
        (None, _) => true,
    };
    if target.revision == status.last_promoted_spec && promoted_configs_same {
        return Change::Reverted;
    }
    Change::Revised
}

pub(super) enum Adoption<'a> {
    /// The status speaks of our own hashes.
    Ours(Box<Draft<'a>>),
    Done(Step),
}

/// Takes over a status that Flagger wrote: its hashes cannot be recomputed, so what rests is recorded as it is, without an
/// analysis, and a release that was under way begins once more at no traffic.
pub(super) fn adopt(mut draft: Draft<'_>) -> Adoption<'_> {
    let foreign = !draft.status.last_applied_spec.starts_with(REVISION_PREFIX);
    let phase = match draft.status.phase {
        Some(phase) if foreign => phase,
        Some(_) | None => return Adoption::Ours(Box::new(draft)),
    };
    if matches!(phase, Phase::Initializing | Phase::Terminating | Phase::Terminated) {
        return Adoption::Ours(Box::new(draft));
    }
    if let Some(why) = blind(&draft) {
        let message = format!("Adopting: {why}");
        pause(&mut draft, phase);
        return Adoption::Done(draft.hold(Reason::CannotSee, message));
    }
    let Some(target) = draft.seen.target.present() else {
        return Adoption::Ours(Box::new(draft));
    };
    let same = draft.seen.primary.present().is_some_and(|primary| primary.matches_target);
    tell_release(&mut draft, phase);
    draft.status.adopted = true;
    match phase {
        Phase::Initialized | Phase::Succeeded => {
            if !same {
                let message = format!(
                    "Adopted {} as it is, though it differs from its primary; change its pod template to release it",
                    draft.target_name()
                );
                draft.warn(Reason::Adopted, message);
            }
            record(&mut draft, target);
            let promoted = &mut draft.status.last_promoted_spec;
            if same {
                promoted.clone_from(&target.revision);
            } else {
                // Nothing of ours, and nothing that the target can go back to.
                *promoted = format!("{FOUND}{promoted}");
            }
            let idle = draft.settings.retry_secs;
            let message = format!("Adopted without an analysis.{}", guarded(&draft));
            Adoption::Done(draft.act(Reason::Adopted, message, idle))
        }
        Phase::Failed => {
            record(&mut draft, target);
            if same {
                draft.status.last_promoted_spec.clone_from(&target.revision);
            }
            let message = "Adopted a failed release; its revision stays rejected.";
            Adoption::Done(draft.hold(Reason::Adopted, message))
        }
        Phase::Promoting | Phase::Finalising if same => {
            record(&mut draft, target);
            Adoption::Done(draft.hold(Reason::Adopted, "Adopted a promotion under way."))
        }
        Phase::Waiting if !same => Adoption::Ours(Box::new(draft)),
        Phase::Waiting
        | Phase::Progressing
        | Phase::WaitingPromotion
        | Phase::Promoting
        | Phase::Finalising => {
            Adoption::Done(if same { super::revert(draft) } else { super::restart(draft) })
        }
        // Returned above.
        Phase::Initializing | Phase::Terminating | Phase::Terminated => {
            Adoption::Ours(Box::new(draft))
        }
    }
}

/// An adoption at rest is a decision, and told as such; one in the middle of a release goes on with it.
fn tell_release(draft: &mut Draft<'_>, phase: Phase) {
    let at_rest = matches!(phase, Phase::Initialized | Phase::Succeeded | Phase::Failed);
    if !draft.canary.status.adopted && !at_rest {
        let message =
            format!("Adopted {} in the middle of a release ({})", draft.name(), phase.name());
        draft.note(Reason::Adopted, message);
    }
}

/// What Flagger promoted, where the target was found to be something else.
const FOUND: &str = "s1:flagger-";

/// The primary runs what Flagger promoted, and the target was taken over as it is beside it.
pub(super) fn beside_what_was_found(status: &Status) -> bool {
    status.adopted && status.last_promoted_spec.starts_with(FOUND)
}

/// What becomes of the guard, which is on by default everywhere else.
fn guarded(draft: &Draft<'_>) -> &'static str {
    match &draft.spec.analysis.guard {
        Some(_) => " Its guard observes only, unless spec.analysis.guard.mode is enforce.",
        None => "",
    }
}

/// What must be read before anything is taken over.
fn blind(draft: &Draft<'_>) -> Option<String> {
    if let Seen::Unreadable(why) = &draft.seen.primary {
        return Some(format!("cannot read the primary: {why}"));
    }
    match &draft.seen.target {
        Seen::Unreadable(why) => Some(format!("cannot read the target: {why}")),
        Seen::Present(_) | Seen::Absent => None,
    }
}

/// An analysis that will begin once more has no traffic meanwhile.
fn pause(draft: &mut Draft<'_>, phase: Phase) {
    let analysing = matches!(phase, Phase::Progressing | Phase::WaitingPromotion);
    if analysing && draft.status.canary_weight > 0 {
        draft.take_off();
    }
}

/// Checksums of configs are Flagger's own and stay, so that a change of them is seen across the takeover.
fn record(draft: &mut Draft<'_>, target: &Workload) {
    draft.status.last_applied_spec.clone_from(&target.revision);
    draft.status.saw(&target.uid, target.generation);
    if draft.status.promoted_configs.is_none() && draft.status.phase != Some(Phase::Failed) {
        draft.status.promoted_configs.clone_from(&draft.status.tracked_configs);
    }
}
