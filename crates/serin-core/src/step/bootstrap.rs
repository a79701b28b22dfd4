//! From a plain workload to a primary that serves and a target at rest, without a request lost on the way.

use super::{Draft, Step};
use crate::model::{Exposure, Phase, Running, Severity};
use crate::observed::{Readiness, Seen, Selects, Workload};
use crate::plan::Action;
use crate::reason::Reason;

/// Reasons for which an initialisation has not begun.
const IN_THE_WAY: [Reason; 5] = [
    Reason::NotOurs,
    Reason::NoSelectorLabel,
    Reason::PortNotServed,
    Reason::ForeignEndpoints,
    Reason::TargetMissing,
];

/// Services, primary, endpoints, autoscaler, apex, route, a drain, and only then the target goes to zero.
pub(super) fn step(mut draft: Draft<'_>) -> Step {
    let first = draft.status.phase.is_none();
    draft.enter(Phase::Initializing);
    draft.status.expose(Exposure::NONE);
    if first {
        let message =
            format!("New {} detected, starting initialization of {}", draft.kind(), draft.name());
        draft.note(Reason::Initializing, message);
    }
    let target = match &draft.seen.target {
        Seen::Present(target) => target,
        Seen::Absent => {
            let message = format!("{} {} does not exist.", draft.kind(), draft.target_name());
            let secs = draft.settings.idle_secs;
            return draft.stall(Reason::TargetMissing, message, secs);
        }
        Seen::Unreadable(why) => {
            return draft.hold(Reason::CannotSee, format!("cannot read the target: {why}"));
        }
    };
    if let Some((reason, message)) = draft.obstacle() {
        let secs = draft.settings.idle_secs;
        return draft.stall(reason, message, secs);
    }
    let last = draft.canary.status.last_reason.as_ref();
    if last.is_some_and(|last| last.reason().is_some_and(|reason| IN_THE_WAY.contains(&reason))) {
        // Nobody could begin before: the deadline is for what comes by itself.
        draft.status.phase_time = Some(draft.now);
    }
    let services = &draft.seen.services;
    if !made(&services.primary) || !made(&services.canary) {
        draft.actions.push(Action::Services);
    }
    match &draft.seen.primary {
        Seen::Unreadable(why) => {
            draft.hold(Reason::CannotSee, format!("cannot read the primary: {why}"))
        }
        Seen::Absent => create(draft, target),
        Seen::Present(primary) => match &primary.readiness {
            Readiness::Ready => switch(draft, target, primary),
            Readiness::Progressing(why) if !fixed(primary, target) => {
                wait(draft, format!("The primary is not ready: {why}"))
            }
            Readiness::Stuck(why) if !fixed(primary, target) => {
                // The live target is left alone; a fix of it heals the primary.
                let message = format!("The primary cannot start: {why}. Fix the target.");
                let secs = draft.settings.idle_secs;
                draft.stall(Reason::PrimaryStuck, message, secs)
            }
            Readiness::Progressing(_) | Readiness::Stuck(_) => heal(draft, target),
        },
    }
}

/// For something that comes by itself, within the deadline. After it a person has to look.
fn wait(draft: Draft<'_>, message: impl Into<String>) -> Step {
    let message = message.into();
    let deadline = draft.spec.progress_deadline_secs;
    let since = draft.status.phase_time.unwrap_or(draft.now);
    if draft.now.duration_since(since).as_secs() < deadline {
        return draft.hold(Reason::Initializing, message);
    }
    let message = format!("progressDeadlineSeconds ({deadline} s) are over: {message}");
    let secs = draft.settings.retry_secs;
    draft.stall(Reason::InitializationOverdue, message, secs)
}

fn made(service: &Seen<crate::observed::ServiceSeen>) -> bool {
    match service {
        Seen::Present(service) => service.in_order,
        Seen::Absent => false,
        // Written or not, it is not known: the next look decides.
        Seen::Unreadable(_) => true,
    }
}

fn create(mut draft: Draft<'_>, target: &Workload) -> Step {
    if let Seen::Unreadable(why) = &draft.seen.configs {
        return draft.hold(Reason::CannotSee, format!("cannot read the target's configs: {why}"));
    }
    take_up(&mut draft);
    draft.tell_passed_over();
    let revision = target.revision.clone();
    draft.actions.push(Action::CreatePrimary { revision, replicas: target.replicas.max(1) });
    draft.hold(Reason::Initializing, "The primary is made from the target.")
}

/// The primary does not serve and the target moved on: copying the target endangers nobody.
fn fixed(primary: &Workload, target: &Workload) -> bool {
    if primary.revision.is_empty() {
        // Flagger made it, and what from can only be compared.
        return primary.owned && !primary.matches_target && primary.available_replicas == 0;
    }
    primary.revision != target.revision
}

fn heal(mut draft: Draft<'_>, target: &Workload) -> Step {
    if let Seen::Unreadable(why) = &draft.seen.configs {
        return draft.hold(Reason::CannotSee, format!("cannot read the target's configs: {why}"));
    }
    take_up(&mut draft);
    draft.actions.push(Action::PromotePrimary { revision: target.revision.clone() });
    draft.hold(Reason::PrimaryRepaired, "The primary takes up the target's fix.")
}

/// The configs that the primary is being made with: a later change of them is a release.
fn take_up(draft: &mut Draft<'_>) {
    draft.take_up();
    draft.mark_promoted();
}

/// The primary is ready: move the traffic to it, see that it moved, let the target drain, and scale it away.
fn switch(mut draft: Draft<'_>, target: &Workload, primary: &Workload) -> Step {
    let endpoints = draft.seen.services.primary.present().map_or(0, |seen| seen.ready_endpoints);
    if endpoints == 0 {
        return wait(draft, "The primary's Service has no ready endpoint yet.");
    }
    if draft.spec.scaler.is_some() {
        match &draft.seen.scaler {
            Seen::Present(scaler) if scaler.primary_exists => {}
            Seen::Present(_) => draft.actions.push(Action::PrimaryScaler),
            Seen::Absent => {
                let message = draft.missing_scaler();
                let secs = draft.settings.idle_secs;
                return draft.stall(Reason::ScalerMissing, message, secs);
            }
            Seen::Unreadable(why) => {
                let message = format!("cannot read the autoscaler: {why}");
                return draft.hold(Reason::CannotSee, message);
            }
        }
    }
    let apex_switched = match &draft.seen.services.apex {
        Seen::Present(apex) => apex.selects == Selects::Primary && apex.in_order,
        Seen::Absent => false,
        Seen::Unreadable(why) => {
            let message = format!("cannot read the apex Service: {why}");
            return draft.hold(Reason::CannotSee, message);
        }
    };
    if !apex_switched {
        draft.actions.push(Action::ApexToPrimary);
    }
    let routed = match draft.route() {
        Seen::Present(exposure) if exposure.is_none() => {
            draft.ensure_route();
            true
        }
        Seen::Present(_) => {
            draft.actions.push(Action::Route(Exposure::NONE));
            false
        }
        Seen::Absent => {
            draft.ensure_route();
            false
        }
        Seen::Unreadable(why) => {
            return draft.hold(Reason::CannotSee, format!("cannot read the route: {why}"));
        }
    };
    if !apex_switched || !routed {
        draft.status.drain_time = None;
        return draft.hold(Reason::Initializing, "The traffic moves to the primary.");
    }
    match draft.drain_end() {
        None => {
            draft.status.drain_time = Some(draft.now);
            let secs = draft.settings.drain_secs;
            draft.act(Reason::Initializing, "The target finishes what it began.", secs)
        }
        Some(end) if end > draft.now => {
            let secs = draft.drain_left();
            draft.quiet(Reason::Initializing, "The target finishes what it began.", secs)
        }
        Some(_) => initialized(draft, target, primary),
    }
}

fn initialized(mut draft: Draft<'_>, target: &Workload, primary: &Workload) -> Step {
    draft.actions.push(Action::ScaleTarget(Running::Off));
    // What is recorded as promoted is what the primary was made from; if the target moved since, that is a release.
    let same = primary.revision == target.revision
        || (primary.revision.is_empty() && primary.matches_target);
    let made_from = match (same, primary.revision.is_empty()) {
        (true, _) => target.revision.clone(),
        (false, false) => primary.revision.clone(),
        (false, true) => draft.status.last_applied_spec.clone(),
    };
    draft.status.last_applied_spec.clone_from(&made_from);
    draft.status.last_promoted_spec = made_from;
    draft.status.target_generation = None;
    if same {
        draft.status.saw(&target.uid, target.generation);
    }
    if draft.status.tracked_configs.is_none() {
        draft.status.tracked_configs = draft.seen.configs.present().cloned();
    }
    draft.status.promoted_configs.clone_from(&draft.status.tracked_configs);
    draft.status.sent.clear();
    // What the target served before is no canary's traffic: the first release need not wait for it to leave a check's window.
    draft.status.drain_time = None;
    draft.enter(Phase::Initialized);
    let message = format!("Initialization done! {}", draft.name());
    draft.note(Reason::Initialized, message);
    let alert = format!("New {} detected, initialization completed.", draft.kind());
    draft.alert(Severity::Info, alert, true);
    draft.hold(Reason::Initialized, "The primary serves everything and the target rests.")
}
