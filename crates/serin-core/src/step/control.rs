//! What people ask of a release: each request once, only for the release that it is meant for, and lowering at once.
//!
//! That a request was carried out is recorded with its effect, in one write of the status, and said on the object that asked
//! only afterwards: a crash in between says it again and does nothing twice.

use super::{Cause, Draft, Step, roll_back};
use crate::control::{ByHand, Command, Control, Handled, Outcome, Request, release_of};
use crate::model::{Exposure, Phase, Status, Weight};
use crate::observed::{Guard, Seen};
use crate::plan::Action;
use crate::reason::Reason;

/// The release that a request may be about now: the one at a gate, which is whatever the target is, else the one last taken
/// up. None where it cannot be seen.
pub(super) fn release(draft: &Draft<'_>) -> Option<String> {
    if draft.status.phase != Some(Phase::Waiting) {
        let configs = draft.status.tracked_configs.as_ref();
        return Some(release_of(&draft.status.last_applied_spec, configs));
    }
    match (&draft.seen.target, &draft.seen.configs) {
        (Seen::Present(target), Seen::Present(configs)) => {
            Some(release_of(&target.revision, Some(configs)))
        }
        _ => None,
    }
}

/// What people have decided about the release that is under way.
fn control(draft: &Draft<'_>) -> Option<Control> {
    let under_way = draft.status.phase.is_some_and(Phase::is_releasing)
        || draft.status.phase == Some(Phase::Waiting);
    under_way.then(|| release(draft))?.map(|release| draft.status.control_of(&release))
}

/// What was decided about a release ends with it.
pub(super) fn forget(draft: &mut Draft<'_>) {
    if control(draft).is_none_or(|control| draft.status.control.as_ref() != Some(&control)) {
        draft.status.control = None;
    }
}

/// What a request leads to.
enum Effect {
    /// Something is noted in the status, and the tick goes on.
    Noted(String),
    /// The tick ends with this; what is told of the request.
    Ends(End, String),
    Refused(String),
    /// It cannot be carried out yet: it is looked at again until its time is over.
    NotYet,
}

enum End {
    Abort,
    Restart,
    Undo,
    Weight(Weight),
    Advance,
}

/// What is left to do when all requests were looked at.
pub(super) enum Next<'a> {
    Go(Box<Draft<'a>>),
    Done(Step),
}

/// Looks at every request, oldest first; the first that ends the tick leaves the others to the next one.
pub(super) fn take(mut draft: Draft<'_>) -> Next<'_> {
    let requests = &draft.seen.requests;
    for request in requests {
        if draft.status.handled_actions.contains(&request.uid) {
            say(&mut draft, request, Outcome::Done("It was carried out.".to_owned()));
            continue;
        }
        match effect(&mut draft, request) {
            Effect::NotYet if request.expires <= draft.now => expire(&mut draft, request),
            Effect::NotYet => {}
            Effect::Refused(why) => {
                draft.warn(Reason::ActionRefused, format!("{} is refused: {why}", request.command));
                say(&mut draft, request, Outcome::Refused(why));
            }
            Effect::Noted(what) => carry_out(&mut draft, request, what),
            Effect::Ends(end, what) => {
                carry_out(&mut draft, request, what);
                return Next::Done(ended(draft, request, end));
            }
        }
    }
    Next::Go(Box::new(draft))
}

fn expire(draft: &mut Draft<'_>, request: &Request) {
    let message = "It could not be carried out before its time was over.".to_owned();
    say(draft, request, Outcome::Expired(message));
}

fn say(draft: &mut Draft<'_>, request: &Request, outcome: Outcome) {
    let (name, uid) = (request.name.clone(), request.uid.clone());
    draft.handled.push(Handled { name, uid, outcome });
}

fn carry_out(draft: &mut Draft<'_>, request: &Request, what: String) {
    draft.status.remember_request(&request.uid);
    let by = by_hand(draft, request);
    draft.note(Reason::ActionTaken, format!("{} {by}: {what}", request.command));
    say(draft, request, Outcome::Done(what));
}

fn by_hand(draft: &Draft<'_>, request: &Request) -> ByHand {
    ByHand { reason: request.reason.clone(), user: request.user.clone(), time: Some(draft.now) }
}

/// Whether a request may do anything, and what.
fn effect(draft: &mut Draft<'_>, request: &Request) -> Effect {
    let Some(release) = release(draft) else { return Effect::NotYet };
    if request.release != release {
        return Effect::Refused(format!(
            "it is meant for {}, and the release now is {release}",
            named(&request.release)
        ));
    }
    if request.expires <= draft.now {
        return Effect::NotYet;
    }
    if draft.spec.suspend && request.command.is_stopped_by_suspend() {
        return Effect::Refused("spec.suspend is set".to_owned());
    }
    let phase = draft.status.phase;
    let under_way =
        matches!(phase, Some(Phase::Waiting | Phase::Progressing | Phase::WaitingPromotion));
    match &request.command {
        Command::Abort => abort(phase),
        Command::Undo => undo(draft),
        Command::Retry => retry(draft),
        Command::Resume => resume(draft),
        _ if !under_way => Effect::Refused(match phase {
            Some(Phase::Promoting | Phase::Finalising) => {
                "the promotion is under way; abort takes the traffic back".to_owned()
            }
            _ => "no release is under way".to_owned(),
        }),
        Command::Pause => {
            let by = by_hand(draft, request);
            note(draft, |control| control.paused = Some(by));
            Effect::Noted("nothing is raised until it is resumed; checks go on".to_owned())
        }
        Command::Promote => {
            let by = by_hand(draft, request);
            note(draft, |control| {
                control.paused = None;
                control.promoted = Some(by);
            });
            let what =
                "it is promoted as soon as the canary is ready, without the rest of its analysis";
            Effect::Noted(what.to_owned())
        }
        Command::Restart => Effect::Ends(End::Restart, "its analysis begins again".to_owned()),
        Command::Approve { gate } => decide(draft, gate, true),
        Command::Reject { gate } => decide(draft, gate, false),
        Command::Advance => advance(draft),
        Command::SetWeight(weight) => set_weight(draft, *weight),
    }
}

fn named(release: &str) -> &str {
    if release.is_empty() { "no release" } else { release }
}

fn note(draft: &mut Draft<'_>, change: impl FnOnce(&mut Control)) {
    if let Some(mut control) = control(draft) {
        change(&mut control);
        draft.status.set_control(control);
    }
}

fn abort(phase: Option<Phase>) -> Effect {
    match phase {
        Some(Phase::Waiting | Phase::Progressing | Phase::WaitingPromotion | Phase::Promoting) => {
            Effect::Ends(End::Abort, "the primary has the traffic".to_owned())
        }
        Some(Phase::Finalising) => {
            Effect::Refused("the primary runs it already; undo takes it back".to_owned())
        }
        Some(Phase::Succeeded) => Effect::Refused("it was promoted; undo takes it back".to_owned()),
        Some(Phase::Failed) => Effect::Refused("it was rolled back already".to_owned()),
        None
        | Some(Phase::Initializing | Phase::Initialized | Phase::Terminating | Phase::Terminated) => {
            Effect::Refused("no release is under way".to_owned())
        }
    }
}

fn undo(draft: &Draft<'_>) -> Effect {
    if draft.status.phase != Some(Phase::Succeeded) {
        return Effect::Refused("only what was promoted last can be undone".to_owned());
    }
    match super::soak::previous(draft) {
        Some(previous) => Effect::Ends(End::Undo, format!("the primary goes back to {previous}")),
        None => Effect::Refused(
            "nothing is kept that the primary could go back to; analysis.guard.soak keeps it from the next promotion on"
                .to_owned(),
        ),
    }
}

fn retry(draft: &mut Draft<'_>) -> Effect {
    let there = draft
        .seen
        .target
        .present()
        .is_some_and(|target| target.revision == draft.status.last_applied_spec);
    match draft.status.phase {
        Some(Phase::Failed) if draft.weight() == Weight::FULL => {
            Effect::Refused("its promotion has not ended yet".to_owned())
        }
        Some(Phase::Failed) if there => {
            // As if it had never been taken up: what leads to an analysis leads to one again, gates included.
            draft.status.last_applied_spec.clone_from(&draft.status.last_promoted_spec);
            draft.status.tracked_configs.clone_from(&draft.status.promoted_configs);
            draft.status.target_generation = None;
            draft.status.last_step_time = None;
            Effect::Noted("it is analysed again".to_owned())
        }
        Some(Phase::Failed) => Effect::NotYet,
        _ => Effect::Refused("it was not rejected".to_owned()),
    }
}

fn resume(draft: &mut Draft<'_>) -> Effect {
    if control(draft).is_none_or(|control| control.paused.is_none()) {
        return Effect::Refused("it is not paused".to_owned());
    }
    note(draft, |control| control.paused = None);
    Effect::Noted("it goes on".to_owned())
}

fn decide(draft: &mut Draft<'_>, gate: &str, approved: bool) -> Effect {
    let hooks = draft.spec.analysis.webhooks.iter().filter(|hook| hook.kind.confirms());
    let gates: Vec<&str> = hooks.map(|hook| hook.name.as_str()).collect();
    if !gates.contains(&gate) {
        return Effect::Refused(match gates.is_empty() {
            true => "spec.analysis.webhooks has no hook that confirms".to_owned(),
            false => format!("no hook that confirms has this name; there are {}", gates.join(", ")),
        });
    }
    note(draft, |control| {
        control.gates.insert(gate.to_owned(), approved);
    });
    // The gate is not asked before its interval is over, and the answer is known.
    draft.status.last_step_time = None;
    Effect::Noted(match approved {
        true => "the hook is taken to approve, for this release".to_owned(),
        false => "the hook is taken to refuse, for this release".to_owned(),
    })
}

/// Whether the canary may have more than it has, by everything but its evidence.
fn may_rise(draft: &Draft<'_>) -> bool {
    draft.canary_ready()
        && draft.obstacle().is_none()
        && draft.primary_ready()
        && !matches!(draft.seen.guard, Guard::RollBack(_))
        && matches!(draft.route(), Seen::Present(live) if live.is_within(draft.status.exposure()))
        && !draft.status.outdated_pods
}

fn advance(draft: &Draft<'_>) -> Effect {
    if draft.spec.analysis.evidence_pace().is_some() {
        return Effect::Refused(
            "its pace follows the evidence; set-weight sets a share".to_owned(),
        );
    }
    let begun = !draft.status.exposure().is_none() || draft.status.iterations > 0;
    match draft.status.phase {
        Some(Phase::Progressing) if begun && may_rise(draft) => {
            Effect::Ends(End::Advance, "the next stage begins".to_owned())
        }
        Some(Phase::WaitingPromotion) => Effect::Refused(
            "it waits for the approval of its promotion; approve the gate".to_owned(),
        ),
        Some(Phase::Waiting) => {
            Effect::Refused("it waits for the approval of its start; approve the gate".to_owned())
        }
        _ => Effect::NotYet,
    }
}

fn set_weight(draft: &mut Draft<'_>, weight: Weight) -> Effect {
    if !draft.has_router() || !draft.spec.provider.capabilities.shares {
        return Effect::Refused(format!(
            "provider {} cannot split traffic by weights",
            draft.spec.provider.name
        ));
    }
    if draft.status.phase == Some(Phase::Waiting) {
        return Effect::Refused("it waits for the approval of its start".to_owned());
    }
    let wanted = Exposure { share: weight, ..draft.status.exposure() };
    let lowers = wanted.is_within(draft.status.exposure());
    if lowers || (may_rise(draft) && !super::schedule::grows_for(draft, weight)) {
        let what = format!("the canary gets {weight} %, and the release is paused");
        return Effect::Ends(End::Weight(weight), what);
    }
    Effect::NotYet
}

/// The tick that a request ends.
fn ended(mut draft: Draft<'_>, request: &Request, end: End) -> Step {
    let by = by_hand(&draft, request);
    match end {
        End::Abort => {
            if draft.status.phase == Some(Phase::Waiting) {
                // It is rejected as it is: the gate is not asked about it again.
                draft.take_up();
            }
            roll_back(draft, &Cause::Aborted(by.to_string()))
        }
        End::Restart => super::rollback::asked_again(draft, &by),
        End::Undo => super::soak::undo(draft, by.to_string()),
        End::Advance => unless_in_vain(draft, request),
        End::Weight(weight) => share(draft, weight, by),
    }
}

/// The next stage; where something else holds it, the request is left to a later tick.
fn unless_in_vain(draft: Draft<'_>, request: &Request) -> Step {
    let stands = |status: &Status| (status.phase, status.exposure());
    let before = stands(&draft.status);
    match super::schedule::next_stage(draft) {
        Step::Act(mut plan) if stands(&plan.status) == before => {
            plan.status.handled_actions.retain(|uid| *uid != request.uid);
            plan.handled.retain(|handled| handled.uid != request.uid);
            plan.notices.retain(|notice| notice.reason != Reason::ActionTaken);
            Step::Act(plan)
        }
        step @ (Step::Act(_) | Step::Ask(_)) => step,
    }
}

fn share(mut draft: Draft<'_>, weight: Weight, by: ByHand) -> Step {
    let wanted = Exposure { share: weight, ..draft.status.exposure() };
    let lowers = wanted.is_within(draft.status.exposure());
    note(&mut draft, |control| control.paused = Some(by.clone()));
    draft.status.expose(wanted);
    draft.status.last_step_time = Some(draft.now);
    match lowers {
        true => draft.lower = Some(wanted),
        false => draft.actions.push(Action::Route(wanted)),
    }
    if wanted.is_none() {
        draft.status.drain_time = Some(draft.now);
        draft.status.iterations = 0;
    }
    let secs = draft.spec.analysis.interval_secs;
    let message = format!("The canary gets {weight} %, {by}; the release is paused.");
    draft.act(Reason::Paused, message, secs)
}

/// Why nothing is raised, where a person has paused the release.
pub(super) fn paused(draft: &Draft<'_>) -> Option<(Reason, String)> {
    let by = control(draft)?.paused?;
    Some((Reason::Paused, format!("The release is paused {by}.")))
}

/// Promoted by a person before its analysis was over, and by whom.
pub(super) fn promoted(draft: &Draft<'_>) -> Option<ByHand> {
    control(draft)?.promoted
}

/// What a person decided in the place of a hook.
pub(super) fn decided(draft: &Draft<'_>, gate: &str) -> Option<bool> {
    control(draft)?.gates.get(gate).copied()
}
