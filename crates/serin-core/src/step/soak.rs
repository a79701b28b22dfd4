//! After a promotion: the primary is watched for a while, and taken back to the revision before when it breaks an objective.
//!
//! What the primary ran is kept before it is overwritten, and the status says "take it back" before anything is. A primary
//! that was taken back is a release that failed: the target's revision stays rejected until the user brings another one.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::draft::later;
use super::revision::{Change, change};
use super::{Draft, Step, capacity, guard};
use crate::model::{Phase, Severity, Soak};
use crate::observed::{Guard, Kept, Readiness, Seen};
use crate::plan::Action;
use crate::reason::Reason;

/// Names what a primary ran: a revision with its configs.
pub fn token(revision: &str, configs: Option<&BTreeMap<String, String>>) -> String {
    let configs = configs.into_iter().flatten().map(|(name, sum)| format!(" {name}={sum}"));
    format!("{revision}{}", configs.collect::<String>())
}

fn promoted(draft: &Draft<'_>) -> String {
    token(&draft.status.last_promoted_spec, draft.status.promoted_configs.as_ref())
}

fn applied(draft: &Draft<'_>) -> String {
    token(&draft.status.last_applied_spec, draft.status.tracked_configs.as_ref())
}

fn asked(draft: &Draft<'_>) -> Option<i64> {
    draft.spec.analysis.guard.as_ref()?.soak_secs
}

/// Before the primary takes up something else: what it runs is kept, once.
pub(super) fn keep(draft: &mut Draft<'_>) {
    let runs = promoted(draft);
    let kept = draft.seen.kept.present().is_some_and(|kept| kept.token == runs);
    let known = !draft.status.last_promoted_spec.is_empty() && runs != applied(draft);
    if asked(draft).is_some() && known && !kept {
        draft.actions.push(Action::KeepPrimary { token: runs });
    }
}

/// The promotion is done, and the primary's own time begins. Called before the status forgets what was promoted before.
pub(super) fn begin(draft: &mut Draft<'_>) {
    draft.status.soak = None;
    if asked(draft).is_none() {
        return;
    }
    let before = promoted(draft);
    let kept = draft.seen.kept.present().is_some_and(|kept| kept.token == before);
    let back = kept && before != applied(draft);
    draft.status.guard = None;
    draft.forgets = true;
    draft.status.soak = Some(Soak {
        start_time: Some(draft.now),
        previous: if back { draft.status.last_promoted_spec.clone() } else { String::new() },
        previous_configs: draft.status.promoted_configs.clone().filter(|_| back),
        undo: String::new(),
    });
}

/// What becomes of a watch at rest.
pub(super) enum Watch<'a> {
    /// Nothing stands in the way of what else there is to do.
    Rest(Box<Draft<'a>>),
    Done(Step),
}

fn rest(draft: Draft<'_>) -> Watch<'_> {
    Watch::Rest(Box::new(draft))
}

/// The evidence on the primary is of no more use.
fn end(draft: &mut Draft<'_>) {
    draft.status.soak = None;
    draft.status.guard = None;
    draft.forgets = true;
}

/// At rest and while a gate waits.
pub(super) fn watch(mut draft: Draft<'_>) -> Watch<'_> {
    let Some(soak) = draft.status.soak.clone() else { return rest(draft) };
    if !soak.undo.is_empty() {
        return undoing(draft, &soak);
    }
    let Some(until) = until(&draft) else {
        end(&mut draft);
        draft
            .note(Reason::SoakEnded, "The primary is no longer watched: the spec asks for no soak");
        return rest(draft);
    };
    if let Guard::RollBack(why) = &draft.seen.guard {
        let why = why.clone();
        return Watch::Done(alarm(draft, &soak, why));
    }
    if until > draft.now {
        return rest(draft);
    }
    end(&mut draft);
    let message = format!("{} was watched after its promotion and stays", draft.target_name());
    draft.note(Reason::SoakPassed, message);
    let message = "The primary was watched after its promotion, and nothing spoke against it.";
    Watch::Done(draft.hold(Reason::SoakPassed, message))
}

/// When the watch over the primary ends; none when there is none.
pub(super) fn until(draft: &Draft<'_>) -> Option<Timestamp> {
    let soak = draft.status.soak.as_ref().filter(|soak| soak.undo.is_empty())?;
    Some(later(soak.start_time.unwrap_or(draft.now), asked(draft)?))
}

/// A new release makes the primary's watch pointless: it becomes what the new revision is compared with.
pub(super) fn overtaken(draft: &mut Draft<'_>) {
    if draft.status.soak.is_some() {
        draft.status.soak = None;
        draft.note(Reason::SoakEnded, "The primary is no longer watched: a new release begins");
    }
}

/// Enough evidence against the primary.
fn alarm(mut draft: Draft<'_>, soak: &Soak, why: String) -> Step {
    let name = draft.name();
    let revision = draft.status.last_promoted_spec.clone();
    guard::record(&mut draft, &why);
    if soak.previous.is_empty() {
        end(&mut draft);
        let message = format!(
            "Promoted {name} breaks its objectives and nothing is kept to go back to: {why}"
        );
        draft.warn(Reason::SoakAlarm, message.clone());
        draft.alert(Severity::Error, message, true);
        let message =
            format!("Revision {revision} breaks its objectives after its promotion: {why}");
        return draft.hold(Reason::SoakAlarm, message);
    }
    draft.warn(Reason::Undoing, format!("Undoing {name} guard: {why}"));
    draft.alert(Severity::Error, format!("Promotion is undone: {why}"), true);
    take_back(draft, soak, why)
}

/// A person wants the promotion undone: who, and why.
pub(super) fn undo(mut draft: Draft<'_>, by: String) -> Step {
    let Some(soak) = kept(&draft) else {
        let message = "Nothing is kept that the primary could go back to.";
        return draft.hold(Reason::ActionRefused, message);
    };
    let name = draft.name();
    draft.warn(Reason::Undoing, format!("Undoing {name} {by}"));
    draft.alert(Severity::Warn, format!("Promotion is undone {by}"), true);
    take_back(draft, &soak, by)
}

/// The revision that the primary ran before, where it is kept.
pub(super) fn previous(draft: &Draft<'_>) -> Option<String> {
    kept(draft).map(|soak| soak.previous)
}

/// What the primary could be taken back to: of the watch over it, or of one that is over.
fn kept(draft: &Draft<'_>) -> Option<Soak> {
    let kept = draft.seen.kept.present().filter(|kept| kept.token != promoted(draft))?;
    let watched = draft.status.soak.clone().filter(|soak| !soak.previous.is_empty());
    watched.or_else(|| {
        let (previous, previous_configs) = parts(&kept.token);
        Some(Soak { previous, previous_configs, ..Soak::default() })
    })
}

/// The revision and the configs that a [`token`] names.
fn parts(token: &str) -> (String, Option<BTreeMap<String, String>>) {
    let mut words = token.split(' ');
    let revision = words.next().unwrap_or_default().to_owned();
    let configs: BTreeMap<String, String> = words
        .filter_map(|word| word.split_once('='))
        .map(|(name, sum)| (name.to_owned(), sum.to_owned()))
        .collect();
    (revision, (!configs.is_empty()).then_some(configs))
}

fn take_back(mut draft: Draft<'_>, soak: &Soak, why: String) -> Step {
    let revision = draft.status.last_promoted_spec.clone();
    let back = token(&soak.previous, soak.previous_configs.as_ref());
    capacity::begin(&mut draft);
    draft.status.last_promoted_spec.clone_from(&soak.previous);
    draft.status.promoted_configs.clone_from(&soak.previous_configs);
    draft.status.soak = Some(Soak { undo: why.clone(), ..soak.clone() });
    draft.status.guard = None;
    draft.forgets = true;
    draft.status.failed_checks = 0;
    draft.status.iterations = 0;
    draft.enter(Phase::Failed);
    draft.actions.push(Action::UndoPrimary { token: back });
    draft.call_post_rollout();
    let previous = &soak.previous;
    let message =
        format!("Revision {revision} is taken back to {previous} after its promotion: {why}");
    draft.hold(Reason::Undoing, message)
}

/// The status says that the primary goes back: it is made so, until it is.
fn undoing<'a>(mut draft: Draft<'a>, soak: &Soak) -> Watch<'a> {
    let back = token(&soak.previous, soak.previous_configs.as_ref());
    let kept = match &draft.seen.kept {
        Seen::Unreadable(why) => {
            let message = format!("cannot read what the primary ran before: {why}");
            return Watch::Done(draft.hold(Reason::CannotSee, message));
        }
        Seen::Present(kept) => Some(kept.clone()),
        Seen::Absent => None,
    };
    let readiness = match &draft.seen.primary {
        Seen::Unreadable(why) => {
            let message = format!("cannot read the primary: {why}");
            return Watch::Done(draft.hold(Reason::CannotSee, message));
        }
        Seen::Present(primary) => Some(primary.readiness.clone()),
        Seen::Absent => None,
    };
    let (Some(Kept { token: _, in_force }), Some(readiness)) =
        (kept.filter(|kept| kept.token == back), readiness)
    else {
        end(&mut draft);
        let message =
            "The revision before, or the primary itself, was deleted before it was taken back";
        draft.warn(Reason::UndoLost, message);
        return Watch::Done(draft.hold(Reason::UndoLost, message));
    };
    draft.repair();
    if !in_force {
        draft.actions.push(Action::UndoPrimary { token: back });
        let message = format!("The primary goes back to {}: {}", soak.previous, soak.undo);
        return Watch::Done(draft.hold(Reason::Undoing, message));
    }
    match readiness {
        Readiness::Ready => {
            if let Some(shortage) = capacity::of_undone(&draft) {
                return Watch::Done(draft.hold(Reason::CapacityShort, shortage.message));
            }
            end(&mut draft);
            draft.status.primary_replicas = None;
            draft.note(Reason::Undone, format!("{} runs what it ran before", draft.target_name()));
            let message = format!("The primary runs {} again.", soak.previous);
            Watch::Done(draft.hold(Reason::Undone, message))
        }
        Readiness::Progressing(why) => {
            let message = format!("The primary goes back to {}: {why}", soak.previous);
            Watch::Done(draft.hold(Reason::Undoing, message))
        }
        // A new revision is a way out of it.
        Readiness::Stuck(why) => match change(&mut draft) {
            Change::Revised => {
                end(&mut draft);
                rest(draft)
            }
            Change::None | Change::Reverted | Change::Unknown(_) => {
                let message = format!("The primary cannot go back to {}: {why}", soak.previous);
                let idle = draft.settings.idle_secs;
                Watch::Done(draft.stall(Reason::Undoing, message, idle))
            }
        },
    }
}
