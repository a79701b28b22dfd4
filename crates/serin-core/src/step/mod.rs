//! One decision about one canary: what comes before every phase (deletion, duplicates, the guard, requests of people), and then
//! the table that says which module decides in which phase.

mod analysis;
mod answers;
mod blind;
mod bootstrap;
mod capacity;
pub mod check;
mod conditions;
mod control;
mod copied;
mod deletion;
mod draft;
mod findings;
mod finish;
mod guard;
mod invalid;
mod pace;
mod promotion;
mod replace;
mod rest;
mod revision;
mod rollback;
mod schedule;
mod seldom;
mod soak;
mod suspended;
#[cfg(test)]
mod tests;
mod unlawful;
mod window;

use jiff::Timestamp;

use crate::model::{Canary, Phase, Weight};
use crate::observed::{Duplicate, Guard, Observed, Seen};
pub use crate::plan::Step;
use crate::reason::Reason;

pub use conditions::{METRICS_READY, SPEC_VALID};
use draft::Draft;
pub use guard::KEEP_EVERY_SECS;
pub use invalid::invalid;
pub use pace::{ACTUATION_SECS, allows_more, first_weight, reaction_secs};
use promotion::promote;
use rest::gate;
use rollback::{Cause, restart, revert, roll_back};
pub use soak::token;
pub use unlawful::unlawful;

/// What the operator, not the user, decides about every canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long pods that lost their traffic get to finish what they began.
    pub drain_secs: i64,
    /// When to look again while waiting for something that a watch should tell.
    pub retry_secs: i64,
    /// When to look again at rest.
    pub idle_secs: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { drain_secs: 5, retry_secs: 2, idle_secs: 300 }
    }
}

/// Hashes of ours begin so; Flagger's cannot be recomputed and are adopted.
pub const REVISION_PREFIX: &str = "s1:";

/// Decides what to do about `canary`, given what was seen of the world.
pub fn step(canary: &Canary, seen: &Observed, now: Timestamp, settings: &Settings) -> Step {
    match revision::past(&canary.status, &seen.target) {
        Some(why) => {
            let seen = Observed { target: Seen::Unreadable(why), ..seen.clone() };
            decide(canary, &seen, now, settings)
        }
        None => decide(canary, seen, now, settings),
    }
}

fn decide(canary: &Canary, seen: &Observed, now: Timestamp, settings: &Settings) -> Step {
    let draft = Draft::new(canary, seen, now, settings);
    if canary.deleting {
        return deletion::step(draft);
    }
    if let Some(Duplicate { older, object }) = &seen.duplicate_of {
        let message = format!(
            "Canary {older} already has {object}: name another target or Service, or delete one of the two."
        );
        return draft.stall(Reason::DuplicateTarget, message, settings.idle_secs);
    }
    // Before everything that could wait, `suspend` included: it pauses progress, not safety.
    if let Guard::RollBack(why) = &seen.guard
        && exposed(&draft)
    {
        return roll_back(draft, &Cause::Guard(why.clone()));
    }
    if blind::is_over(&draft) {
        return blind::take_back(draft);
    }
    let mut draft = match control::take(draft) {
        control::Next::Go(draft) => *draft,
        control::Next::Done(step) => return step,
    };
    if canary.spec.suspend {
        return suspended::step(draft);
    }
    if canary.spec.revert_on_deletion != canary.has_finalizer || canary.other_finalizer {
        draft.actions.push(crate::plan::Action::Finalizer(canary.spec.revert_on_deletion));
    }
    match revision::adopt(draft) {
        revision::Adoption::Ours(draft) => table(*draft),
        revision::Adoption::Done(step) => step,
    }
}

fn table(draft: Draft<'_>) -> Step {
    match draft.status.phase {
        None | Some(Phase::Initializing) => bootstrap::step(draft),
        Some(Phase::Initialized | Phase::Succeeded) => rest::step(draft),
        Some(Phase::Failed) if draft.weight() == Weight::FULL => promotion::stranded(draft),
        Some(Phase::Failed) => rest::step(draft),
        Some(Phase::Waiting) => rest::waiting(draft),
        Some(Phase::Progressing | Phase::WaitingPromotion) => analysis::step(draft),
        Some(Phase::Promoting) => promotion::promoting(draft),
        Some(Phase::Finalising) => promotion::finalising(draft),
        // Not being deleted, so the status is of an earlier object that was restored: it begins anew.
        Some(Phase::Terminating | Phase::Terminated) => bootstrap::step(draft),
    }
}

/// Whether the canary has or may have traffic that a rollback takes away, or may get some again.
fn exposed(draft: &Draft<'_>) -> bool {
    let phase = draft.status.phase;
    // What the guard condemned stays so, even where something else took its traffic before: it has nothing to wait for.
    let analysed = matches!(phase, Some(Phase::Progressing | Phase::WaitingPromotion));
    let routed = match draft.route() {
        Seen::Present(exposure) => !exposure.is_none(),
        Seen::Absent => false,
        Seen::Unreadable(_) => true,
    };
    let running = phase.is_some_and(Phase::is_releasing);
    running && (analysed || !draft.status.exposure().is_none() || routed)
}
