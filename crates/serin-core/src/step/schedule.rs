//! What a passed round of checks leads to: another round, the next stage of the schedule, or the promotion.

use jiff::Timestamp;

use super::pace::{self, expected, first_share_of, share, so_far};
use super::{Draft, Step, capacity, promote};
use crate::model::{
    EvidencePace, Exposure, Gate, HookKind, Phase, Running, Schedule, Severity, Stage, Weight,
};
use crate::observed::Guard;
use crate::plan::Action;
use crate::reason::Reason;
use serin_judge::pace::{Pace as Judged, Wait, expected_hurt};

pub(super) fn advance(draft: Draft<'_>) -> Step {
    let spec = draft.spec;
    if let Some(pace) = spec.analysis.evidence_pace() {
        return follow_evidence(draft, pace);
    }
    let schedule = &spec.analysis.schedule;
    let at = draft.status.exposure();
    let wanted = rounds_at(schedule, at);
    if u32::try_from(draft.status.iterations).unwrap_or(0) < wanted {
        return another_round(draft, wanted);
    }
    match schedule.after(at) {
        Some(next) => enter(draft, next),
        None => promotion_gate(draft),
    }
}

/// The next stage without the rest of this one's rounds.
pub(super) fn next_stage(mut draft: Draft<'_>) -> Step {
    let rounds = rounds_at(&draft.spec.analysis.schedule, draft.status.exposure());
    let rounds = i32::try_from(rounds).unwrap_or(i32::MAX);
    draft.status.iterations = draft.status.iterations.max(rounds);
    advance(draft)
}

/// Rounds of checks that a canary has at this exposure, the one that comes with its beginning among them. Where shares
/// rise there is one for each, which Flagger does not count. A canary that has users from before the spec changed has as
/// many with them as it would have without.
fn rounds_at(schedule: &Schedule, at: Exposure) -> u32 {
    let Some(iterations) = schedule.iterations() else { return 0 };
    match schedule.stage(at) {
        Some(stage) => stage.rounds,
        None if at.has_users() => iterations,
        None => 0,
    }
}

/// Whoever must approve a stage is asked before it begins.
fn enter(draft: Draft<'_>, stage: &Stage) -> Step {
    match stage.gate {
        Gate::TrafficIncrease => raise(draft, stage.exposure, ""),
        Gate::Promotion => promotion_gate(draft),
        Gate::Open => expose(draft, stage),
    }
}

/// A stage that is counted in iterations begins.
fn expose(mut draft: Draft<'_>, stage: &Stage) -> Step {
    let since = draft.status.weight_time.or(draft.status.analysis_start_time);
    if let Some(shortage) = capacity::of_canary(&draft, stage.exposure.load(), since) {
        return grow(draft, &shortage);
    }
    capacity::warn_of_short_canary(&mut draft, stage.exposure.load());
    draft.status.expose(stage.exposure);
    draft.status.iterations = 0;
    draft.actions.push(Action::Route(stage.exposure));
    another_round(draft, stage.rounds)
}

/// One share up, or copies before the first. The status says so first, the route follows.
fn raise(mut draft: Draft<'_>, to: Exposure, because: &str) -> Step {
    let weight = to.share;
    let checks: Vec<_> = draft.hooks(HookKind::ConfirmTrafficIncrease).collect();
    let unanswered = draft.unanswered(&checks);
    if !unanswered.is_empty() {
        return draft.ask(unanswered);
    }
    let since = draft.status.weight_time.or(draft.status.analysis_start_time);
    if let Some(shortage) = capacity::of_canary(&draft, to.load(), since) {
        return grow(draft, &shortage);
    }
    draft.status.last_step_time = Some(draft.now);
    let secs = draft.spec.analysis.interval_secs;
    if let Some(check) = draft.refused(&checks) {
        let hook = draft.hook_name(check);
        let reason = Reason::WaitingForTrafficApproval;
        if draft.is_news(reason) {
            let message =
                format!("Halt {} waiting for traffic increase approval {hook}", draft.name());
            draft.warn(reason, message);
            if !draft.hook_muted(check) {
                let alert = "Canary traffic increase is waiting for approval.";
                draft.alert(Severity::Warn, alert, false);
            }
        }
        return draft.act(reason, format!("The hook {hook} has not approved {to}."), secs);
    }
    for check in checks {
        let message = format!("Confirm-traffic-increase check {} passed", draft.hook_name(check));
        draft.note(Reason::Advanced, message);
    }
    capacity::warn_of_short_canary(&mut draft, to.load());
    draft.enter(Phase::Progressing);
    draft.status.expose(to);
    draft.actions.push(Action::Route(to));
    let message = format!("Advance {} canary weight {weight}", draft.name());
    draft.note(Reason::Advanced, message);
    draft.act(Reason::Advanced, format!("The canary gets {to}{because}."), secs)
}

/// Whether this share needs pods first, which the canary then gets.
pub(super) fn grows_for(draft: &mut Draft<'_>, weight: Weight) -> bool {
    let since = draft.status.weight_time.or(draft.status.analysis_start_time);
    let shortage = capacity::of_canary(draft, weight, since);
    if let Some(shortage) = &shortage {
        enlarge(draft, shortage);
    }
    shortage.is_some()
}

fn enlarge(draft: &mut Draft<'_>, shortage: &capacity::Shortage) {
    let running = draft.seen.target.present().map_or(Running::Off, |target| target.running);
    if running.is_below(shortage.wanted) {
        draft.actions.push(Action::ScaleTarget(draft.spec.target.kind.running(shortage.wanted)));
    }
}

/// The canary gets as many pods as its next share needs, before it gets that.
fn grow(mut draft: Draft<'_>, shortage: &capacity::Shortage) -> Step {
    enlarge(&mut draft, shortage);
    // The checks were answered for this step; they are asked again with the next one.
    draft.status.last_step_time = Some(draft.now);
    let secs = draft.spec.analysis.interval_secs;
    draft.act(Reason::CapacityShort, shortage.message.clone(), secs)
}

fn another_round(mut draft: Draft<'_>, total: u32) -> Step {
    let secs = draft.spec.analysis.interval_secs;
    let round = draft.status.iterations.max(0) + 1;
    draft.status.iterations = round;
    draft.status.last_step_time = Some(draft.now);
    draft.enter(Phase::Progressing);
    let message = format!("Advance {} canary iteration {round}/{total}", draft.name());
    draft.note(Reason::IterationPassed, message);
    let to = match draft.status.exposure() {
        Exposure::NONE => String::new(),
        exposure => format!("; the canary gets {exposure}"),
    };
    draft.act(Reason::IterationPassed, format!("Iteration {round} of {total}{to}."), secs)
}

/// Everything was passed; whoever must approve the promotion is asked once per interval while the checks go on.
fn promotion_gate(mut draft: Draft<'_>) -> Step {
    if let Some(left) = bake_left(&draft) {
        return bake(draft, left);
    }
    let checks: Vec<_> = draft.hooks(HookKind::ConfirmPromotion).collect();
    let unanswered = draft.unanswered(&checks);
    if !unanswered.is_empty() {
        return draft.ask(unanswered);
    }
    if let Some(check) = draft.refused(&checks) {
        let hook = draft.hook_name(check);
        let reason = Reason::WaitingForPromotionApproval;
        if draft.status.phase != Some(Phase::WaitingPromotion) {
            let message =
                format!("Halt {} advancement waiting for promotion approval {hook}", draft.name());
            draft.warn(reason, message);
            if !draft.hook_muted(check) {
                let alert = "Canary promotion is waiting for approval.";
                draft.alert(Severity::Warn, alert, false);
            }
            draft.enter(Phase::WaitingPromotion);
        }
        draft.status.last_step_time = Some(draft.now);
        let secs = draft.spec.analysis.interval_secs;
        return draft.act(reason, format!("The hook {hook} has not approved the promotion."), secs);
    }
    for check in checks {
        let message = format!("Confirm-promotion check {} passed", draft.hook_name(check));
        draft.note(Reason::Promoting, message);
    }
    let next = draft.spec.analysis.schedule.after(draft.status.exposure());
    match next.filter(|next| next.gate == Gate::Promotion) {
        Some(next) => switch_all(draft, next.exposure),
        None => promote(draft),
    }
}

/// Blue/Green with a router: everybody goes to green, which is checked once more before it is promoted.
fn switch_all(mut draft: Draft<'_>, to: Exposure) -> Step {
    let since = draft.status.weight_time.or(draft.status.analysis_start_time);
    if let Some(shortage) = capacity::of_canary(&draft, to.share, since) {
        return grow(draft, &shortage);
    }
    let message = match draft.status.exposure().mirrored {
        Weight::ZERO => "Routing all traffic to canary",
        _ => "Stop traffic mirroring and route all traffic to canary",
    };
    draft.note(Reason::Advanced, message);
    capacity::warn_of_short_canary(&mut draft, to.share);
    draft.enter(Phase::Progressing);
    draft.status.iterations += 1;
    draft.status.expose(to);
    draft.status.last_step_time = Some(draft.now);
    draft.actions.push(Action::Route(to));
    let secs = draft.spec.analysis.interval_secs;
    draft.act(Reason::Advanced, "The canary gets all traffic.", secs)
}

/// Before the first traffic: what must be known of it to say how little of it is little enough.
pub(super) fn blind(draft: &Draft<'_>) -> Option<(Reason, String)> {
    draft.spec.analysis.evidence_pace()?;
    match (&draft.seen.guard, &draft.seen.watched.known) {
        (Guard::Hold(why) | Guard::RollBack(why), _) => Some((Reason::GuardHolds, why.clone())),
        (Guard::Quiet, None) => {
            let message = "The guard has not measured yet how much traffic there is.";
            Some((Reason::GatheringEvidence, message.to_owned()))
        }
        (Guard::Quiet, Some(_)) => None,
    }
}

/// A round of checks was passed: the share rises if the evidence allows it.
fn follow_evidence(draft: Draft<'_>, pace: &EvidencePace) -> Step {
    let Some(known) = draft.seen.watched.known else {
        let message = "The guard has not measured yet how much traffic there is.".to_owned();
        return wait(draft, pace, Reason::GatheringEvidence, message);
    };
    let analysis = &draft.spec.analysis;
    if let Some(copies) = draft.spec.analysis.schedule.first_copies()
        && draft.status.exposure().is_none()
    {
        return enter(draft, copies);
    }
    if draft.weight() == Weight::ZERO {
        let first = first_share_of(analysis, pace, &known);
        let tau = pace::reaction(analysis, known.look_secs);
        let hurt = expected_hurt(known.rate, share(first), tau, 1.0);
        let why = format!(
            ": at {:.0} requests per second it hurts about {hurt:.0} before it is undone if all of them fail",
            known.rate
        );
        return raise(draft, Exposure::share(first), &why);
    }
    match draft.judged_pace(&known) {
        Some(Judged::Raise { .. }) => match analysis.schedule.next_share(draft.weight()) {
            Some(next) => {
                let hurt = expected(analysis, &known, next);
                let why = format!(
                    ": at most about {hurt:.0} requests beyond what may be bad are at stake; {}",
                    so_far(&known)
                );
                raise(draft, Exposure::share(next), &why)
            }
            None => promotion_gate(draft),
        },
        Some(Judged::Promote) => promotion_gate(draft),
        Some(Judged::Wait(why)) => {
            let message = format!("At {} %: {why}; {}.", draft.weight(), so_far(&known));
            let reason = match why {
                Wait::Held => Reason::GuardHolds,
                Wait::Dwell { .. }
                | Wait::Bake { .. }
                | Wait::Requests { .. }
                | Wait::BlastRadius { .. }
                | Wait::GoEvidence { .. } => Reason::GatheringEvidence,
            };
            wait(draft, pace, reason, message)
        }
        None => promotion_gate(draft),
    }
}

/// Past its longest time a release does not get worse by waiting, but somebody should know that it waits.
pub(super) fn wait(
    mut draft: Draft<'_>,
    pace: &EvidencePace,
    reason: Reason,
    message: String,
) -> Step {
    draft.status.last_step_time = Some(draft.now);
    let secs = draft.spec.analysis.interval_secs;
    let took = pace::secs_since(draft.status.traffic_start_time, draft.now);
    if took < pace.max_duration_secs as f64 {
        if reason == Reason::GuardHolds && draft.is_news(reason) {
            let event = format!("Halt {} advancement {message}", draft.name());
            draft.warn(reason, event);
        }
        return draft.act(reason, message, secs);
    }
    let reason = Reason::EvidenceMissing;
    let limit = pace.max_duration_secs;
    let message = format!("The evidence does not suffice after {limit} s. {message}");
    draft.stalled = true;
    if draft.is_news(reason) {
        let event = format!("Halt {} advancement {message}", draft.name());
        draft.warn(reason, event);
        let alert = format!("The evidence for a promotion does not suffice after {limit} s.");
        draft.alert(Severity::Warn, alert, false);
    }
    draft.act(reason, message, secs)
}

/// Seconds of traffic that are missing before a promotion.
fn bake_left(draft: &Draft<'_>) -> Option<i64> {
    let bake = draft.spec.analysis.guard.as_ref()?.min_bake_secs;
    let start: Timestamp = draft.status.traffic_start_time?;
    let left = bake - draft.now.duration_since(start).as_secs();
    (left > 0).then_some(left)
}

/// All steps were passed, sooner than the release may end.
fn bake(mut draft: Draft<'_>, left: i64) -> Step {
    draft.status.last_step_time = Some(draft.now);
    let secs = draft.spec.analysis.interval_secs;
    let exposure = draft.status.exposure();
    let message = format!("All checks passed; the canary keeps {exposure} for another {left} s.");
    draft.act(Reason::Baking, message, secs)
}
