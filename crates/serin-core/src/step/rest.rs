//! At rest the primary has everything: repair what drifted, scale away what has no traffic, and look for a new revision.

use super::revision::{Change, change};
use super::{Draft, Step, soak};
use crate::model::{Exposure, HookKind, Phase, Running, Severity};
use crate::observed::{Readiness, Scaler, ScalerCopy, Seen, Selects, ServiceSeen};
use crate::plan::Action;
use crate::reason::Reason;
use crate::status::ReasonRecord;

/// Initialized, Succeeded and Failed.
pub(super) fn step(mut draft: Draft<'_>) -> Step {
    if let Some(why) = lower(&mut draft) {
        return draft.hold(Reason::RouteLowered, why);
    }
    let mut draft = match soak::watch(draft) {
        soak::Watch::Rest(draft) => *draft,
        soak::Watch::Done(step) => return step,
    };
    // A promotion that failed half-way left its revision on the primary.
    if draft.status.phase == Some(Phase::Failed) && super::copied::runs_rejected(&draft) {
        draft.saw_promoted();
    }
    if draft.seen.target == Seen::Absent {
        draft.repair();
        let message = format!("{} {} does not exist.", draft.kind(), draft.target_name());
        let secs = draft.settings.idle_secs;
        return draft.stall(Reason::TargetMissing, message, secs);
    }
    if let Some(message) = super::copied::arrived(&mut draft) {
        return draft.hold(Reason::CopyArrived, message);
    }
    match change(&mut draft) {
        Change::Unknown(why) => {
            draft.repair();
            draft.hold(Reason::CannotSee, why)
        }
        Change::Revised if draft.seen.primary == Seen::Absent => {
            draft.enter(Phase::Initializing);
            let message = "The primary is gone and the target changed: it is made anew.";
            draft.hold(Reason::Initializing, message)
        }
        Change::Revised => super::gate(draft),
        Change::Reverted => {
            draft.take_up();
            // What was asked of the rejected revision says nothing of this one.
            draft.status.checks.clear();
            let message = format!("{} went back to the promoted revision.", draft.target_name());
            draft.note(Reason::Reverted, message.clone());
            draft.hold(Reason::Reverted, message)
        }
        Change::None => settle(draft),
    }
}

/// At rest nothing goes to the target, whoever changed the route. Says so if there was something to lower.
fn lower(draft: &mut Draft<'_>) -> Option<String> {
    match draft.route() {
        Seen::Present(exposure) if !exposure.is_none() => {
            draft.take_off();
            Some(format!("The route gave the target {exposure} at rest."))
        }
        Seen::Present(_) | Seen::Absent if !draft.status.exposure().is_none() => {
            draft.take_off();
            Some("The status gave the target traffic at rest.".to_owned())
        }
        // The rollback must not wait for a read.
        Seen::Unreadable(_) => {
            let running =
                draft.seen.target.present().is_none_or(|target| target.running != Running::Off);
            let failed = draft.status.phase == Some(Phase::Failed) && running;
            if failed || !draft.status.exposure().is_none() {
                draft.lower = Some(Exposure::NONE);
                draft.status.expose(Exposure::NONE);
            }
            None
        }
        Seen::Present(_) | Seen::Absent => None,
    }
}

fn settle(mut draft: Draft<'_>) -> Step {
    draft.repair();
    super::capacity::settle(&mut draft);
    if let Some((reason, message)) = draft.obstacle() {
        let secs = draft.settings.idle_secs;
        return draft.stall(reason, message, secs);
    }
    if draft.seen.primary == Seen::Absent {
        return remake_primary(draft);
    }
    if let Some(target) =
        draft.seen.target.present().filter(|target| target.running != Running::Off)
    {
        return scale_down(draft, target.replicas);
    }
    if !draft.seen.drift.copies.is_empty() && draft.seen.drift.template.is_none() {
        let copies = draft.seen.drift.copies.join(", ");
        let message = format!("{copies} was changed by hand and has the promoted contents again.");
        draft.actions.push(Action::RepairCopies);
        draft.warn(Reason::CopyRepaired, message.clone());
        return draft.hold(Reason::CopyRepaired, message);
    }
    if let Some(message) = repaired(&draft) {
        draft.note(Reason::Repaired, message.clone());
        return draft.hold(Reason::Repaired, message);
    }
    let repairing = draft.actions.iter().any(|action| !matches!(action, Action::EnsureRoute(_)));
    if repairing {
        let retry = draft.settings.retry_secs;
        return draft.quiet(Reason::Repaired, "What had drifted is put right.", retry);
    }
    let idle = draft.settings.idle_secs;
    if let Some(until) = soak::until(&draft) {
        let left = until.duration_since(draft.now).as_secs();
        let message = format!("The promoted primary is watched until {until:.0}.");
        return draft.act(Reason::Soaking, message, left.min(idle));
    }
    if let Some(message) = edited(&draft) {
        let last = draft.canary.status.last_reason.as_ref();
        if last.is_none_or(|last| last.message != message) {
            draft.warn(Reason::PrimaryEdited, message.clone());
        }
        return draft.act(Reason::PrimaryEdited, message, idle);
    }
    at_rest(draft, idle)
}

/// What is put right of what nobody but us should have changed; none where the Canary itself asks for something else now.
fn repaired(draft: &Draft<'_>) -> Option<String> {
    if draft.canary.status.observed_generation != Some(draft.canary.generation) {
        return None;
    }
    let service = &draft.spec.service;
    let services = &draft.seen.services;
    let drifted = |seen: &Seen<ServiceSeen>| match seen {
        Seen::Present(service) => !service.in_order,
        Seen::Absent => true,
        Seen::Unreadable(_) => false,
    };
    let mut objects = Vec::new();
    if draft.actions.contains(&Action::Services) {
        let sides = [
            (service.primary_name(), &services.primary),
            (service.canary_name(), &services.canary),
        ];
        let drifted = sides.into_iter().filter(|(_, seen)| drifted(seen));
        objects.extend(drifted.map(|(name, _)| format!("Service {name}")));
    }
    if draft.actions.contains(&Action::ApexToPrimary) {
        objects.push(format!("Service {}", service.name));
    }
    if draft.actions.contains(&Action::PrimaryScaler)
        && let Some(scaler) = &draft.spec.scaler
    {
        objects.push(format!("HorizontalPodAutoscaler {}", scaler.primary_name()));
    }
    if draft.has_router() && draft.seen.route == Seen::Absent {
        objects.push("the route".to_owned());
    }
    (!objects.is_empty())
        .then(|| format!("{}: missing or not as it should be, and put right.", objects.join(", ")))
}

/// What was changed by hand and is left to whoever did it: putting it right would start pods again, or take pods away.
fn edited(draft: &Draft<'_>) -> Option<String> {
    let way_out = "undo the change, or release again: the next promotion replaces it.";
    let mut edits = Vec::new();
    if let Some(field) = &draft.seen.drift.template {
        let primary = draft.spec.target.primary_name();
        edits.push(format!(
            "{} {primary} was changed by hand ({field}) and does not run what was promoted; {way_out}",
            draft.kind()
        ));
    }
    if let Seen::Present(Scaler { copy: ScalerCopy::Edited { object, field }, .. }) =
        &draft.seen.scaler
    {
        edits.push(format!(
            "{object} was changed by hand ({field}) and is not what its target's autoscaler says; {way_out}"
        ));
    }
    (!edits.is_empty()).then(|| edits.join(" "))
}

/// A wait that is over is no longer what the status speaks of.
fn at_rest(draft: Draft<'_>, idle: i64) -> Step {
    let last = draft.status.last_reason.as_ref().and_then(ReasonRecord::reason);
    if !last.is_some_and(Reason::is_trouble) {
        return draft.quiet(Reason::AtRest, "Nothing has changed.", idle);
    }
    if draft.status.phase == Some(Phase::Failed)
        && draft.status.last_applied_spec != draft.status.last_promoted_spec
    {
        let message = format!(
            "The primary serves everything; revision {} stays rejected.",
            draft.status.last_applied_spec
        );
        return draft.act(Reason::RolledBack, message, idle);
    }
    draft.act(Reason::AtRest, "The primary serves everything and nothing is in the way.", idle)
}

/// Only what the primary ran may be copied to it without an analysis.
fn remake_primary(mut draft: Draft<'_>) -> Step {
    let revision = draft.status.last_promoted_spec.clone();
    let target = draft.seen.target.present();
    let configs = draft.status.promoted_configs.is_none()
        || draft.status.promoted_configs == draft.status.tracked_configs;
    if configs && target.is_some_and(|target| target.revision == revision) {
        let replicas = draft.canary_replicas().max(1);
        draft.actions.push(Action::CreatePrimary { revision, replicas });
        return draft.hold(Reason::PrimaryMissing, "The primary was deleted and is made anew.");
    }
    let message = "The primary was deleted and the target has another revision than it ran.";
    let secs = draft.settings.idle_secs;
    draft.stall(Reason::PrimaryMissing, message, secs)
}

/// The target runs and nothing needs it: GitOps scaled it up, or a rollback is to be finished.
fn scale_down(mut draft: Draft<'_>, replicas: u32) -> Step {
    if !draft.is_unreached() {
        let message = "The target runs and it cannot be seen that nothing reaches it.";
        let retry = draft.settings.retry_secs;
        return draft.quiet(Reason::CannotSee, message, retry);
    }
    if !draft.drained() {
        let secs = draft.drain_left();
        return draft.quiet(Reason::Draining, "The canary finishes what it began.", secs);
    }
    draft.scale_away();
    let retry = draft.settings.retry_secs;
    if draft.status.phase == Some(Phase::Failed) {
        return draft.quiet(Reason::RolledBack, "The canary is scaled to zero.", retry);
    }
    // Whoever scaled it up wants more pods to serve.
    let primary = format!("{} {}", draft.kind(), draft.spec.target.primary_name());
    let place = match &draft.spec.scaler {
        Some(scaler) => format!("set replicas in the autoscaler {}", scaler.name),
        None if !draft.spec.target.kind.has_replicas() => {
            "add nodes, or let its pods run on more of them".to_owned()
        }
        None => {
            format!("scale {primary} for now, and set replicas in the target for the next release")
        }
    };
    let message = format!(
        "Scaling down {}: {replicas} replicas run at rest, where {primary} serves; for more capacity {place}",
        draft.target_name()
    );
    draft.note(Reason::TargetScaledDown, message.clone());
    draft.quiet(Reason::TargetScaledDown, message, retry)
}

/// A `confirm-rollout` hook has not approved yet, whatever the target is by now.
pub(super) fn waiting(mut draft: Draft<'_>) -> Step {
    if let Some(why) = lower(&mut draft) {
        return draft.hold(Reason::RouteLowered, why);
    }
    let mut draft = match soak::watch(draft) {
        soak::Watch::Rest(draft) => *draft,
        soak::Watch::Done(step) => return step,
    };
    if draft.seen.target == Seen::Absent {
        draft.repair();
        let message = format!("{} {} does not exist.", draft.kind(), draft.target_name());
        let secs = draft.settings.idle_secs;
        return draft.stall(Reason::TargetMissing, message, secs);
    }
    if let Some(message) = super::copied::arrived(&mut draft) {
        return draft.hold(Reason::CopyArrived, message);
    }
    match change(&mut draft) {
        Change::Unknown(why) => draft.hold(Reason::CannotSee, why),
        Change::Revised => super::gate(draft),
        Change::Reverted => super::revert(draft),
        // Back to what was there before the wait: promoted, or rejected.
        Change::None => {
            let phase = if draft.status.last_applied_spec == draft.status.last_promoted_spec {
                Phase::Succeeded
            } else if super::revision::beside_what_was_found(&draft.status) {
                // Nothing was promoted, and nothing was rejected.
                Phase::Initialized
            } else {
                Phase::Failed
            };
            draft.enter(phase);
            let message = format!("{} went back to the revision before.", draft.target_name());
            draft.note(Reason::Reverted, message.clone());
            draft.hold(Reason::Reverted, message)
        }
    }
}

/// From a new revision to its analysis: the world must be fit to start, and whoever must approve has approved.
pub(super) fn gate(mut draft: Draft<'_>) -> Step {
    draft.repair();
    let blocked = blocked(&draft);
    if let Some((reason, message)) = blocked {
        if reason == Reason::ScalerMissing || !draft.seen.obstacles.is_empty() {
            let secs = draft.settings.idle_secs;
            return draft.stall(reason, message, secs);
        }
        return draft.hold(reason, message);
    }
    let mut checks: Vec<_> = draft.hooks(HookKind::ConfirmRollout).collect();
    if super::control::promoted(&draft).is_some() {
        checks.clear();
    }
    let waiting = draft.status.phase == Some(Phase::Waiting);
    let unanswered = draft.unanswered(&checks);
    if !unanswered.is_empty() {
        let retry = draft.settings.retry_secs;
        if waiting && !draft.is_due() {
            return draft.quiet(Reason::NotDue, "The gate is asked once per interval.", retry);
        }
        return draft.ask(unanswered);
    }
    let Some(check) = draft.refused(&checks) else {
        for check in checks {
            let message = format!("Confirm-rollout check {} passed", draft.hook_name(check));
            draft.note(Reason::NewRevision, message);
        }
        return start(draft);
    };
    let hook = draft.hook_name(check);
    let reason = Reason::WaitingForRolloutApproval;
    if !waiting {
        let halt = format!("Halt {} advancement waiting for approval {hook}", draft.name());
        draft.warn(reason, halt);
        if !draft.hook_muted(check) {
            draft.alert(Severity::Warn, "Canary is waiting for approval.", false);
        }
        draft.enter(Phase::Waiting);
    }
    draft.status.last_step_time = Some(draft.now);
    let secs = draft.spec.analysis.interval_secs;
    draft.act(reason, format!("The hook {hook} has not approved the new revision."), secs)
}

/// What keeps an analysis from starting; the revision is not taken up, so it is not lost.
fn blocked(draft: &Draft<'_>) -> Option<(Reason, String)> {
    if let Some(obstacle) = draft.obstacle().or_else(|| super::control::paused(draft)) {
        return Some(obstacle);
    }
    if draft.spec.scaler.is_some() {
        match &draft.seen.scaler {
            Seen::Present(_) => {}
            Seen::Absent => {
                return Some((Reason::ScalerMissing, draft.missing_scaler()));
            }
            Seen::Unreadable(why) => {
                return Some((Reason::CannotSee, format!("cannot read the autoscaler: {why}")));
            }
        }
    }
    if let Seen::Unreadable(why) = draft.route() {
        return Some((Reason::CannotSee, format!("cannot read the route: {why}")));
    }
    if let Seen::Unreadable(why) = &draft.seen.primary {
        return Some((Reason::CannotSee, format!("cannot read the primary: {why}")));
    }
    if draft.seen.services.canary.present().is_none() || draft.apex_selects().is_none() {
        return Some((Reason::CannotSee, "the Services are not there yet".to_owned()));
    }
    // A target that the apex still selects would serve everybody.
    if draft.apex_selects() != Some(Selects::Primary) {
        let message = "the apex Service does not select the primary yet".to_owned();
        return Some((Reason::PrimaryNotReady, message));
    }
    if draft.spec.skip_analysis {
        return None;
    }
    match draft.seen.primary.present().map(|primary| &primary.readiness) {
        Some(Readiness::Ready) if draft.serving_primary().is_some() => None,
        Some(Readiness::Ready) => {
            let message = "the primary's Service has no ready endpoint".to_owned();
            Some((Reason::PrimaryNotReady, message))
        }
        // A stuck primary may need exactly this release, and a deleted one is made anew by it.
        Some(Readiness::Stuck(_)) | None => None,
        Some(Readiness::Progressing(why)) => {
            Some((Reason::PrimaryNotReady, format!("the primary is not ready: {why}")))
        }
    }
}

fn start(mut draft: Draft<'_>) -> Step {
    soak::overtaken(&mut draft);
    draft.reset_analysis();
    super::capacity::begin(&mut draft);
    super::replace::note(&mut draft);
    draft.take_up();
    draft.enter(Phase::Progressing);
    draft.status.phase_time = Some(draft.now);
    if !draft.status.outdated_pods {
        draft.start_target();
    }
    let message = format!("New revision detected! Scaling up {}", draft.target_name());
    draft.note(Reason::NewRevision, message);
    draft.alert(Severity::Info, "New revision detected, progressing canary analysis.", true);
    let message = format!("Revision {} is analysed.", draft.status.last_applied_spec);
    draft.hold(Reason::NewRevision, message)
}
