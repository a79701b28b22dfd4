//! The Canary goes: the target takes the traffic back before anything is taken away, if the finalizer lets us.
//!
//! With `revertOnDeletion: false` there is no finalizer, and Kubernetes collects the primary at once, as with Flagger.

use super::{Draft, Step, capacity};
use crate::model::{Exposure, Phase, Running};
use crate::observed::{ObstacleKind, Readiness, Seen, Selects};
use crate::plan::Action;
use crate::reason::Reason;

pub(super) fn step(mut draft: Draft<'_>) -> Step {
    if !draft.canary.has_finalizer {
        let idle = draft.settings.idle_secs;
        return draft.quiet(Reason::Terminated, "Nothing holds the Canary back.", idle);
    }
    if !draft.spec.revert_on_deletion {
        draft.actions.push(Action::Finalizer(false));
        let idle = draft.settings.idle_secs;
        return draft.quiet(Reason::Terminated, "revertOnDeletion is off.", idle);
    }
    let first = draft.status.phase != Some(Phase::Terminating);
    if first {
        draft.enter(Phase::Terminating);
        draft.status.drain_time = None;
        draft.status.iterations = 0;
        announce(&mut draft);
    }
    match &draft.seen.target {
        Seen::Unreadable(why) => {
            let message = format!("cannot read the target: {why}");
            return draft.hold(Reason::CannotSee, message);
        }
        Seen::Absent => return let_go(draft, "There is no target to give the traffic back to."),
        Seen::Present(_) => {}
    }
    let theirs = |one: &crate::observed::Obstacle| one.kind == ObstacleKind::NotOurs;
    let apex_taken =
        draft.seen.services.apex == Seen::Absent && draft.seen.obstacles.iter().any(theirs);
    if draft.apex_selects() == Some(Selects::Target) || apex_taken {
        return restored(draft);
    }
    // The primary has everything while the target gets ready.
    let exposed = match draft.route() {
        Seen::Present(exposure) => !exposure.is_none(),
        Seen::Absent => false,
        Seen::Unreadable(_) => true,
    };
    if exposed && draft.serving_primary().is_some() {
        draft.take_off();
        draft.status.drain_time = None;
    }
    draft.status.expose(Exposure::NONE);
    scale_and_switch(draft)
}

fn scale_and_switch(mut draft: Draft<'_>) -> Step {
    let primary = draft.seen.primary.present().map_or(1, |primary| primary.replicas.max(1));
    let (running, readiness) = match draft.seen.target.present() {
        Some(target) => (target.running, target.readiness.clone()),
        None => (Running::Off, Readiness::Progressing("the target is gone".to_owned())),
    };
    // As large as what it replaces. An autoscaler, or whoever else sizes it, may not let it: after the deadline what there is
    // has to do.
    let since = draft.status.phase_time.unwrap_or(draft.now);
    let over = draft.now.duration_since(since).as_secs() >= draft.spec.progress_deadline_secs;
    let enough = if over { 1 } else { primary };
    if running.is_below(enough) {
        draft.actions.push(Action::ScaleTarget(draft.spec.target.kind.running(enough)));
        keep_services(&mut draft);
        return draft.hold(Reason::Terminating, "The target is scaled up to take over.");
    }
    let waits = match (readiness, reach(&draft)) {
        (Readiness::Stuck(why), _) => {
            keep_services(&mut draft);
            let secs = draft.settings.retry_secs;
            let message = format!(
                "The target cannot take the traffic back: {why}. Repair it, or let go of the traffic with revertOnDeletion: false."
            );
            return draft.stall(Reason::TargetNotReady, message, secs);
        }
        (_, Reach::Unknown(why)) => {
            let message = format!("cannot read the Service of the target: {why}");
            return draft.hold(Reason::CannotSee, message);
        }
        (Readiness::Ready, Reach::Shown) => None,
        (Readiness::Ready, Reach::NotYet) => Some("no ready endpoint yet".to_owned()),
        (Readiness::Progressing(why), _) => Some(why),
    };
    if let Some(why) = waits {
        keep_services(&mut draft);
        let message = format!("The target is not ready to take over: {why}.");
        return draft.hold(Reason::Terminating, message);
    }
    if let Some(shortage) = capacity::of_target(&draft, primary) {
        keep_services(&mut draft);
        return draft.hold(Reason::CapacityShort, shortage.message);
    }
    let available = draft.seen.target.present().map_or(0, |target| target.available_replicas);
    if available < primary {
        let message = format!(
            "The target gets all traffic with {available} of the {primary} ready pods of the primary: progressDeadlineSeconds are over"
        );
        draft.warn(Reason::CapacityShort, message);
    }
    draft.actions.push(Action::ApexToTarget);
    draft.hold(Reason::Terminating, "The apex Service goes back to the target.")
}

/// Users come in over these until the target takes them. A Service that cannot be written must not hold the rest, so this
/// is the last thing of a plan.
fn keep_services(draft: &mut Draft<'_>) {
    // Kubernetes would take each one away again.
    if !draft.canary.collected {
        draft.repair_services();
    }
}

/// Whether the target's pods are seen to take requests.
enum Reach {
    Shown,
    NotYet,
    Unknown(String),
}

/// Endpoints where a Service shows them. One that is gone or picks other pods shows nothing, and nobody brings it back for a
/// Canary that leaves: `kubectl delete --cascade=foreground` takes it before anything else. Then the pods have to do.
fn reach(draft: &Draft<'_>) -> Reach {
    let pods = draft.seen.target.present().map_or(0, |target| target.available_replicas);
    let shown = match &draft.seen.services.canary {
        Seen::Present(service) if service.selects == Selects::Target => service.ready_endpoints > 0,
        Seen::Present(_) | Seen::Absent => pods > 0,
        Seen::Unreadable(why) => return Reach::Unknown(why.clone()),
    };
    if shown { Reach::Shown } else { Reach::NotYet }
}

/// What takes the traffic is what the user left there, and not always what was promoted.
fn announce(draft: &mut Draft<'_>) {
    let name = draft.name();
    match (draft.seen.target.present(), draft.serving_primary()) {
        (Some(target), Some(primary)) if !primary.matches_target => {
            let message = format!(
                "Terminating canary {name}: its target takes the traffic with revision {}, which was not promoted",
                target.revision
            );
            draft.warn(Reason::Terminating, message);
        }
        (Some(_) | None, _) => {
            draft.note(Reason::Terminating, format!("Terminating canary {name}"));
        }
    }
}

/// The apex selects the target: the route goes back to it, and the primary drains.
fn restored(mut draft: Draft<'_>) -> Step {
    draft.status.expose(Exposure::NONE);
    if draft.has_router() {
        draft.actions.push(Action::RestoreRoute);
    }
    if draft.status.drain_time.is_none() {
        draft.status.drain_time = Some(draft.now);
        let secs = draft.settings.drain_secs;
        return draft.act(Reason::Terminating, "The primary finishes what it began.", secs);
    }
    if !draft.drained() {
        let secs = draft.drain_left();
        return draft.quiet(Reason::Terminating, "The primary finishes what it began.", secs);
    }
    let_go(draft, "The target has the traffic again.")
}

fn let_go(mut draft: Draft<'_>, why: &str) -> Step {
    draft.actions.push(Action::Finalizer(false));
    let message = format!("Terminated canary {}", draft.name());
    draft.note(Reason::Terminated, message);
    draft.hold(Reason::Terminated, why)
}
