//! What a passed round of checks leads to: the next share, the next iteration, or the promotion.

use super::{Draft, Step, promote};
use crate::model::{HookKind, Phase, Severity, Split, Strategy, Weight};
use crate::plan::Action;
use crate::reason;

pub(super) fn advance(draft: Draft<'_>) -> Step {
    let spec = draft.spec;
    match &spec.analysis.strategy {
        Strategy::Weighted(ladder) => match spec.analysis.evidence_pace() {
            Some(pace) => super::pace::advance(draft, ladder, pace),
            None => match ladder.next(draft.weight()) {
                Some(last) if crate::mutant!(SkipLastStep) && ladder.next(last).is_none() => {
                    promotion_gate(draft)
                }
                Some(rung) if crate::mutant!(DoubleStep) => {
                    let next = ladder.next(rung).unwrap_or(rung);
                    raise(draft, next, "")
                }
                Some(rung) => raise(draft, rung, ""),
                None => promotion_gate(draft),
            },
        },
        Strategy::BlueGreen { iterations } => {
            let total = i32::try_from(*iterations).unwrap_or(i32::MAX);
            iterate(draft, total)
        }
    }
}

/// One rung up. The status says so first, the route follows.
pub(super) fn raise(mut draft: Draft<'_>, rung: Weight, because: &str) -> Step {
    let checks: Vec<_> = draft.hooks(HookKind::ConfirmTrafficIncrease).collect();
    let unanswered = draft.unanswered(&checks);
    if !unanswered.is_empty() {
        return draft.ask(unanswered);
    }
    let since = draft.status.weight_time.or(draft.status.analysis_start_time);
    if let Some(shortage) = super::capacity::of_canary(&draft, rung, since) {
        return grow(draft, &shortage);
    }
    draft.status.last_step_time = Some(draft.now);
    let secs = draft.spec.analysis.interval_secs;
    if let Some(check) = draft.refused(&checks) {
        let hook = draft.hook_name(check);
        let code = reason::WAITING_FOR_TRAFFIC_APPROVAL;
        if draft.is_news(code) {
            let message =
                format!("Halt {} waiting for traffic increase approval {hook}", draft.name());
            draft.warn(code, message);
            if !draft.hook_muted(check) {
                let alert = "Canary traffic increase is waiting for approval.";
                draft.alert(Severity::Warn, alert, false);
            }
        }
        return draft.act(code, format!("The hook {hook} has not approved {rung} %."), secs);
    }
    for check in checks {
        let message = format!("Confirm-traffic-increase check {} passed", draft.hook_name(check));
        draft.note(reason::ADVANCED, message);
    }
    draft.enter(Phase::Progressing);
    draft.status.canary_weight = rung.percent();
    draft.actions.push(Action::Route(Split::canary(rung)));
    let message = format!("Advance {} canary weight {rung}", draft.name());
    draft.note(reason::ADVANCED, message);
    draft.act(reason::ADVANCED, format!("The canary gets {rung} %{because}."), secs)
}

/// The canary gets as many pods as its next share needs, before it gets that.
fn grow(mut draft: Draft<'_>, shortage: &super::capacity::Shortage) -> Step {
    let replicas = draft.seen.target.present().map_or(0, |target| target.replicas);
    if replicas < shortage.wanted {
        draft.actions.push(Action::ScaleTarget(shortage.wanted));
    }
    // The checks were answered for this step; they are asked again with the next one.
    draft.status.last_step_time = Some(draft.now);
    let secs = draft.spec.analysis.interval_secs;
    draft.act(reason::CAPACITY_SHORT, shortage.message.clone(), secs)
}

fn iterate(mut draft: Draft<'_>, total: i32) -> Step {
    let secs = draft.spec.analysis.interval_secs;
    let done = draft.status.iterations.max(0);
    if done >= total {
        return promotion_gate(draft);
    }
    draft.status.iterations = done + 1;
    draft.status.last_step_time = Some(draft.now);
    draft.enter(Phase::Progressing);
    let message = format!("Advance {} canary iteration {}/{total}", draft.name(), done + 1);
    draft.note(reason::ITERATION_PASSED, message);
    draft.act(reason::ITERATION_PASSED, format!("Iteration {} of {total}.", done + 1), secs)
}

/// Everything was passed; whoever must approve the promotion is asked once per interval while the checks go on.
pub(super) fn promotion_gate(mut draft: Draft<'_>) -> Step {
    if let Some(left) = super::pace::bake_left(&draft) {
        return super::pace::bake(draft, left);
    }
    let checks: Vec<_> = draft.hooks(HookKind::ConfirmPromotion).collect();
    let unanswered = draft.unanswered(&checks);
    if !unanswered.is_empty() {
        return draft.ask(unanswered);
    }
    if let Some(check) = draft.refused(&checks) {
        let hook = draft.hook_name(check);
        let code = reason::WAITING_FOR_PROMOTION_APPROVAL;
        if draft.status.phase != Some(Phase::WaitingPromotion) {
            let message =
                format!("Halt {} advancement waiting for promotion approval {hook}", draft.name());
            draft.warn(code, message);
            if !draft.hook_muted(check) {
                let alert = "Canary promotion is waiting for approval.";
                draft.alert(Severity::Warn, alert, false);
            }
            draft.enter(Phase::WaitingPromotion);
        }
        draft.status.last_step_time = Some(draft.now);
        let secs = draft.spec.analysis.interval_secs;
        return draft.act(code, format!("The hook {hook} has not approved the promotion."), secs);
    }
    for check in checks {
        let message = format!("Confirm-promotion check {} passed", draft.hook_name(check));
        draft.note(reason::PROMOTING, message);
    }
    if draft.has_router() && blue_green(&draft) && draft.weight() < Weight::FULL {
        return switch_all(draft);
    }
    promote(draft)
}

fn blue_green(draft: &Draft<'_>) -> bool {
    match &draft.spec.analysis.strategy {
        Strategy::Weighted(_) => false,
        Strategy::BlueGreen { .. } => true,
    }
}

/// Blue/Green with a router: everybody goes to green, which is checked once more before it is promoted.
fn switch_all(mut draft: Draft<'_>) -> Step {
    let since = draft.status.weight_time.or(draft.status.analysis_start_time);
    if let Some(shortage) = super::capacity::of_canary(&draft, Weight::FULL, since) {
        return grow(draft, &shortage);
    }
    let message = "Routing all traffic to canary";
    draft.note(reason::ADVANCED, message);
    draft.enter(Phase::Progressing);
    draft.status.iterations += 1;
    draft.status.canary_weight = Weight::FULL.percent();
    draft.status.last_step_time = Some(draft.now);
    draft.actions.push(Action::Route(Split::canary(Weight::FULL)));
    let secs = draft.spec.analysis.interval_secs;
    draft.act(reason::ADVANCED, "The canary gets all traffic.", secs)
}
