//! From an analysed revision to a primary that runs it, with all traffic back on it.

use super::revision::{Change, change};
use super::{Cause, Draft, Step, roll_back};
use crate::model::{Exposure, HookKind, Phase, Running, Severity, Weight};
use crate::observed::{Guard, Readiness, Seen, Workload};
use crate::plan::Action;
use crate::reason::Reason;

/// The analysed revision, and no other, goes to the primary.
pub(super) fn promote(mut draft: Draft<'_>) -> Step {
    let message = format!(
        "Copying {} template spec to {}.{}",
        draft.target_name(),
        draft.spec.target.primary_name(),
        draft.canary.key.namespace
    );
    draft.note(Reason::Promoting, message);
    draft.tell_passed_over();
    draft.enter(Phase::Promoting);
    draft.status.copied_time = None;
    draft.status.last_step_time = Some(draft.now);
    copy(&mut draft);
    let message = format!("Revision {} goes to the primary.", draft.status.last_applied_spec);
    draft.hold(Reason::Promoting, message)
}

fn copy(draft: &mut Draft<'_>) {
    super::copied::send(draft);
    let revision = draft.status.last_applied_spec.clone();
    if draft.seen.primary == Seen::Absent {
        let replicas = draft.canary_replicas();
        draft.actions.push(Action::CreatePrimary { revision, replicas });
    } else {
        super::soak::keep(draft);
        draft.actions.push(Action::PromotePrimary { revision });
    }
    copy_scaler(draft);
}

/// While promoting, the primary's autoscaler follows the target's.
fn copy_scaler(draft: &mut Draft<'_>) {
    if draft.spec.scaler.is_some()
        && draft.seen.scaler.present().is_some()
        && !draft.actions.contains(&Action::PrimaryScaler)
    {
        draft.actions.push(Action::PrimaryScaler);
    }
}

pub(super) fn promoting(mut draft: Draft<'_>) -> Step {
    let decided = draft.status.exposure();
    if let Seen::Present(live) = draft.route()
        && !live.is_within(decided)
    {
        draft.lower = Some(live.meet(decided));
        let message = format!("The route gave the canary {live}, more than {decided}.");
        return draft.hold(Reason::RouteLowered, message);
    }
    let copied = super::copied::primary_runs_applied(&draft);
    let moved_on = match change(&mut draft) {
        Change::None => false,
        Change::Unknown(_) => {
            if draft.seen.target == Seen::Absent && !copied {
                return roll_back(draft, &Cause::TargetGone);
            }
            false
        }
        Change::Revised if !copied => return super::restart(draft),
        Change::Reverted if !copied => return super::revert(draft),
        Change::Revised | Change::Reverted => true,
    };
    let gone = moved_on || draft.canary_endpoints() == Some(0);
    if gone && !draft.status.exposure().is_none() && draft.serving_primary().is_some() {
        // What runs in the canary now was not analysed, or nothing runs: the primary has what was.
        draft.take_off();
        return draft.hold(Reason::CanaryLost, "The canary is no longer what was analysed.");
    }
    if let Some(step) = ask_rollback(&mut draft) {
        return match step {
            Asked::Step(step) => step,
            Asked::RollBack(hook) => roll_back(draft, &Cause::Hook(hook)),
        };
    }
    draft.repair();
    if !copied {
        return recopy(draft);
    }
    draft.status.copied_time.get_or_insert(draft.now);
    // Again, because the first write may have met one of the autoscaler's own.
    copy_scaler(&mut draft);
    wait_for_primary(draft)
}

enum Asked {
    Step(Step),
    RollBack(String),
}

/// Manual rollback is possible as long as the canary has traffic; asked once per interval.
fn ask_rollback(draft: &mut Draft<'_>) -> Option<Asked> {
    let checks: Vec<_> = draft.hooks(HookKind::Rollback).collect();
    if checks.is_empty() || draft.status.exposure().is_none() || !draft.is_due() {
        return None;
    }
    let unanswered = draft.unanswered(&checks);
    if !unanswered.is_empty() {
        return Some(Asked::Step(Step::Ask(unanswered)));
    }
    let yes = |check: &&crate::observed::Check| {
        draft.answer(**check) == Some(&crate::observed::Answer::Approved)
    };
    if let Some(check) = checks.iter().find(yes) {
        return Some(Asked::RollBack(draft.hook_name(*check).to_owned()));
    }
    if !ramps(draft) {
        draft.status.last_step_time = Some(draft.now);
    }
    None
}

fn ramps(draft: &Draft<'_>) -> bool {
    promotion_step(draft).is_some() && draft.primary_ready()
}

fn promotion_step(draft: &Draft<'_>) -> Option<Weight> {
    draft.spec.analysis.schedule.promotion_step
}

/// The copy did not happen yet, or somebody undid it.
fn recopy(mut draft: Draft<'_>) -> Step {
    if let Some(why) = uncopied(&draft).filter(|_| is_over(&draft, draft.status.phase_time)) {
        return roll_back(draft, &Cause::PromotionFailed(why));
    }
    if let Seen::Unreadable(why) = &draft.seen.primary {
        return draft.hold(Reason::CannotSee, format!("cannot read the primary: {why}"));
    }
    if let Some((reason, message)) = draft.obstacle() {
        let secs = draft.settings.retry_secs;
        return draft.stall(reason, message, secs);
    }
    draft.status.copied_time = None;
    copy(&mut draft);
    let message = format!("Revision {} goes to the primary.", draft.status.last_applied_spec);
    draft.hold(Reason::Promoting, message)
}

/// Why the copy is not there, where somebody keeps it from being made. A copy whose answer was lost is another matter.
fn uncopied(draft: &Draft<'_>) -> Option<String> {
    let refused = draft.seen.refused.as_ref();
    let refused = refused.map(|one| format!("{} cannot be written: {}", one.object, one.message));
    refused.or_else(|| draft.obstacle().map(|(_, message)| message))
}

fn wait_for_primary(mut draft: Draft<'_>) -> Step {
    let readiness = draft.seen.primary.present().map(|primary| &primary.readiness);
    match readiness {
        Some(Readiness::Stuck(why)) => {
            let why = why.clone();
            failed_promotion(draft, why)
        }
        Some(Readiness::Progressing(why)) => {
            let why = why.clone();
            // The time in which the copy could not be made is not the primary's.
            let since = draft.status.copied_time.or(draft.status.phase_time);
            if !ramped(&draft) && is_over(&draft, since) {
                return failed_promotion(draft, why);
            }
            draft.hold(Reason::PrimaryNotReady, format!("The primary is not ready: {why}"))
        }
        Some(Readiness::Ready) if draft.serving_primary().is_some() => {
            let since = draft.status.copied_time.or(draft.status.phase_time);
            if let Some(shortage) = super::capacity::of_primary(&draft, since) {
                return draft.hold(Reason::CapacityShort, shortage.message);
            }
            super::capacity::warn_of_short_primary(&mut draft);
            give_back(draft)
        }
        Some(Readiness::Ready) | None => {
            draft.hold(Reason::PrimaryNotReady, "The primary has no ready endpoint yet.")
        }
    }
}

/// Part of the traffic went back already, so the deadline of the copy is met.
fn ramped(draft: &Draft<'_>) -> bool {
    let last = draft.spec.analysis.schedule.shares().last();
    promotion_step(draft).is_some() && last.is_some_and(|last| draft.weight() < last)
}

/// Whether a deadline that began then is over.
fn is_over(draft: &Draft<'_>, since: Option<jiff::Timestamp>) -> bool {
    let since = since.unwrap_or(draft.now);
    draft.now.duration_since(since).as_secs() >= draft.spec.progress_deadline_secs
}

/// All traffic, at once or in steps, goes to the primary, which runs what was analysed.
fn give_back(mut draft: Draft<'_>) -> Step {
    // What somebody took from the canary is not given to it again.
    let weight = match draft.route() {
        Seen::Present(live) => draft.weight().min(live.share),
        Seen::Absent => Weight::ZERO,
        Seen::Unreadable(why) => {
            return draft.hold(Reason::CannotSee, format!("cannot read the route: {why}"));
        }
    };
    if let Some(step) = promotion_step(&draft)
        && weight > step
    {
        if !draft.is_due() {
            let secs = draft.due().duration_since(draft.now).as_secs();
            return draft.quiet(Reason::NotDue, "The next step back is not due yet.", secs);
        }
        let weight = weight.minus(step);
        draft.status.expose(Exposure::share(weight));
        draft.status.last_step_time = Some(draft.now);
        draft.actions.push(Action::Route(Exposure::share(weight)));
        let message = format!("Advance {} primary weight {}", draft.name(), weight.rest());
        draft.note(Reason::PromotionStep, message);
        let secs = draft.spec.analysis.interval_secs;
        let message = format!("The primary has {} % again.", weight.rest());
        return draft.act(Reason::PromotionStep, message, secs);
    }
    if promotion_step(&draft).is_some() && weight > Weight::ZERO && !draft.is_due() {
        let secs = draft.due().duration_since(draft.now).as_secs();
        return draft.quiet(Reason::NotDue, "The next step back is not due yet.", secs);
    }
    finalise(draft)
}

fn finalise(mut draft: Draft<'_>) -> Step {
    if draft.has_router() {
        draft.note(Reason::Finalising, "Routing all traffic to primary");
        draft.actions.push(Action::Route(Exposure::NONE));
    }
    draft.status.expose(Exposure::NONE);
    draft.status.drain_time = Some(draft.now);
    draft.enter(Phase::Finalising);
    draft.hold(Reason::Finalising, "All traffic goes to the promoted primary.")
}

/// The primary has everything, which is looked at before the canary's pods go.
pub(super) fn finalising(mut draft: Draft<'_>) -> Step {
    draft.status.expose(Exposure::NONE);
    if draft.seen.primary == Seen::Absent {
        draft.enter(Phase::Promoting);
        return draft.hold(Reason::PrimaryMissing, "The primary was deleted and is made anew.");
    }
    let stuck = match draft.seen.primary.present().map(|primary| &primary.readiness) {
        Some(Readiness::Stuck(why)) => Some(why.clone()),
        Some(Readiness::Ready | Readiness::Progressing(_)) | None => None,
    };
    if let Some(why) = stuck {
        return failed_promotion(draft, why);
    }
    match draft.route() {
        Seen::Unreadable(why) => {
            return draft.hold(Reason::CannotSee, format!("cannot read the route: {why}"));
        }
        Seen::Present(live) if !live.is_none() => {
            if draft.serving_primary().is_some() {
                draft.take_off();
            }
            return draft.hold(Reason::Finalising, "All traffic goes to the promoted primary.");
        }
        Seen::Present(_) | Seen::Absent => {}
    }
    draft.repair();
    if !draft.primary_ready() {
        return draft.hold(Reason::PrimaryNotReady, "The promoted primary is not ready.");
    }
    if draft.apex_selects() != Some(crate::observed::Selects::Primary) {
        return draft.hold(Reason::Finalising, "The apex Service does not select the primary yet.");
    }
    if !draft.drained() {
        let secs = draft.drain_left();
        return draft.quiet(Reason::Draining, "The canary finishes what it began.", secs);
    }
    succeed(draft)
}

fn succeed(mut draft: Draft<'_>) -> Step {
    let by_hand = super::control::promoted(&draft);
    if draft.seen.target.present().is_some_and(|target| target.running != Running::Off) {
        draft.scale_away();
    }
    draft.enter(Phase::Succeeded);
    super::soak::begin(&mut draft);
    draft.saw_promoted();
    draft.status.iterations = 0;
    draft.call_post_rollout();
    let target = draft.target_name();
    let revision = draft.status.last_applied_spec.clone();
    if draft.spec.skip_analysis {
        let message = format!("Promotion completed! Canary analysis was skipped for {target}");
        draft.note(Reason::PromotedUnanalysed, message);
        let alert = "Canary analysis was skipped, promotion finished.";
        draft.alert(Severity::Info, alert, false);
        let message = format!("Revision {revision} was promoted, its analysis was skipped.");
        return draft.hold(Reason::PromotedUnanalysed, message);
    }
    if let Some(by) = by_hand {
        let message = format!("Promotion completed {by}! Scaling down {target}");
        draft.note(Reason::PromotedUnanalysed, message);
        draft.alert(Severity::Info, format!("Promoted {by}, promotion finished."), false);
        let message =
            format!("Revision {revision} was promoted {by}, without the rest of its analysis.");
        return draft.hold(Reason::PromotedUnanalysed, message);
    }
    draft.note(Reason::Promoted, format!("Promotion completed! Scaling down {target}"));
    let alert = "Canary analysis completed successfully, promotion finished.";
    draft.alert(Severity::Info, alert, false);
    draft.hold(Reason::Promoted, format!("Revision {revision} was promoted."))
}

/// Half of its pods and more serve: enough to give everything to.
fn fit(primary: &Workload) -> bool {
    primary.available_replicas > 0
        && u64::from(primary.available_replicas) * 2 >= u64::from(primary.replicas)
}

/// The primary cannot run what passed its analysis. Where it can no longer serve and the canary can, the canary keeps
/// the users, as Flagger does; where it still serves, they go back to it.
fn failed_promotion(mut draft: Draft<'_>, why: String) -> Step {
    let serves = draft.serving_primary().is_some_and(fit);
    let analysed = draft
        .seen
        .target
        .present()
        .is_some_and(|target| target.revision == draft.status.last_applied_spec);
    let condemned = matches!(draft.seen.guard, Guard::RollBack(_));
    if serves || condemned || !draft.has_router() || !draft.canary_ready() || !analysed {
        return roll_back(draft, &Cause::PromotionFailed(why));
    }
    if super::copied::primary_runs_applied(&draft) {
        draft.saw_promoted();
    }
    draft.actions.clear();
    draft.actions.push(Action::Route(Exposure::FULL));
    draft.status.expose(Exposure::FULL);
    draft.status.failed_checks = 0;
    draft.status.iterations = 0;
    draft.enter(Phase::Failed);
    draft.call_post_rollout();
    let message = format!("Promotion failed, primary not ready: {why}");
    draft.warn(Reason::PromotionFailed, message.clone());
    draft.alert(Severity::Error, message, false);
    let message = format!("The primary cannot serve ({why}); the analysed canary keeps the users.");
    draft.hold(Reason::PromotionFailed, message)
}

/// Failed with the canary serving: it ends when the primary can serve again, or when the user brings something new.
pub(super) fn stranded(mut draft: Draft<'_>) -> Step {
    let moved = match change(&mut draft) {
        Change::None => false,
        Change::Revised | Change::Reverted => true,
        Change::Unknown(why) => return draft.hold(Reason::CannotSee, why),
    };
    let serving = draft.serving_primary();
    if serving.is_some() && (moved || draft.canary_endpoints() == Some(0)) {
        // Nobody analysed what the target turns into; whatever the primary has left is better.
        draft.take_off();
        let message = "The target is no longer what was analysed; the primary has the traffic.";
        return draft.hold(Reason::RouteLowered, message);
    }
    if draft.primary_ready() && super::copied::primary_runs_applied(&draft) {
        if let Some(shortage) = super::capacity::of_primary(&draft, draft.status.phase_time) {
            return draft.hold(Reason::CapacityShort, shortage.message);
        }
        super::capacity::warn_of_short_primary(&mut draft);
        return finalise(draft);
    }
    let stuck = draft
        .seen
        .primary
        .present()
        .is_some_and(|primary| matches!(primary.readiness, Readiness::Stuck(_)));
    let missing = draft.seen.primary == Seen::Absent;
    if missing && !moved {
        copy(&mut draft);
        return draft.hold(Reason::PrimaryMissing, "The primary was deleted and is made anew.");
    }
    if moved && (stuck || missing) && draft.canary_ready() {
        // The target already serves everybody and no other version is left: copying it endangers nobody.
        draft.take_up();
        draft.enter(Phase::Promoting);
        copy(&mut draft);
        let message = "Nothing else can serve: the primary takes up the target's fix.";
        return draft.hold(Reason::PrimaryRepaired, message);
    }
    if let Seen::Present(live) = draft.route()
        && !draft.status.exposure().is_within(live)
        && serving.is_none()
        && !moved
        && draft.canary_ready()
        && !matches!(draft.seen.guard, Guard::RollBack(_))
    {
        draft.actions.push(Action::Route(draft.status.exposure()));
    }
    let retry = draft.settings.idle_secs;
    let message = "The primary cannot serve; the analysed canary keeps the users.";
    draft.stalled = true;
    draft.quiet(Reason::PromotionFailed, message, retry)
}
