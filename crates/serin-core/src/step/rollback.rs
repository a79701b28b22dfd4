//! The ways out of an analysis that are no promotion: rolled back, begun again, taken back by the user.

use super::{Draft, Step};
use crate::control::ByHand;
use crate::model::{Exposure, HookKind, Phase, Severity};
use crate::observed::Seen;
use crate::reason::Reason;

/// What is said of a canary without pods.
pub(super) const LOST: &str = "The canary had traffic and has no ready endpoint.";

/// Why a release is rolled back.
pub(super) enum Cause {
    Threshold(String),
    /// The last of the failed checks was that nobody served the canary's share.
    Lost,
    Guard(String),
    Hook(String),
    /// A person asked for it: who, and why.
    Aborted(String),
    CanaryStuck(String),
    TargetGone,
    PromotionFailed(String),
}

impl Cause {
    fn reason(&self) -> Reason {
        match self {
            Cause::Threshold(_) | Cause::Lost => Reason::ThresholdReached,
            Cause::Guard(_) => Reason::GuardRolledBack,
            Cause::Hook(_) => Reason::RollbackAsked,
            Cause::Aborted(_) => Reason::Aborted,
            Cause::CanaryStuck(_) => Reason::CanaryStuck,
            Cause::TargetGone => Reason::TargetGone,
            Cause::PromotionFailed(_) => Reason::PromotionFailed,
        }
    }
}

/// First the traffic, then everything else: nothing here asks how anything but the status and the route is.
/// The pods are scaled away later, from the Failed phase, once they have drained.
pub(super) fn roll_back(mut draft: Draft<'_>, cause: &Cause) -> Step {
    let exposure = draft.status.exposure();
    super::capacity::warn_of_rollback(&mut draft);
    draft.take_off();
    let reason = cause.reason();
    let mut message = announce(&mut draft, cause, exposure);
    if let Cause::Guard(why) = cause {
        super::guard::record(&mut draft, why);
    }
    let scaling_down = format!("Canary failed! Scaling down {}", draft.name());
    draft.warn(reason, scaling_down);
    // The primary may have taken up what is being rejected: then this is what it runs.
    if super::copied::primary_runs_applied(&draft) && promoting(&draft) {
        draft.saw_promoted();
        message = format!("The primary had taken it up already and keeps it. {message}");
    }
    if matches!(cause, Cause::TargetGone) {
        // It was not found to be bad: should it come back, it is analysed.
        draft.status.last_applied_spec.clone_from(&draft.status.last_promoted_spec);
        draft.status.tracked_configs.clone_from(&draft.status.promoted_configs);
        // The generation belongs to a revision that is no longer recorded.
        draft.status.target_generation = None;
    }
    draft.status.failed_checks = 0;
    draft.status.iterations = 0;
    draft.enter(Phase::Failed);
    draft.call_post_rollout();
    let secs = draft.settings.drain_secs;
    draft.act(reason, message, secs)
}

fn promoting(draft: &Draft<'_>) -> bool {
    matches!(draft.status.phase, Some(Phase::Promoting | Phase::Finalising))
}

/// The Event and the alert of the cause, in Flagger's words; returns the sentence for the status.
fn announce(draft: &mut Draft<'_>, cause: &Cause, exposure: Exposure) -> String {
    let name = draft.name();
    let reason = cause.reason();
    match cause {
        Cause::Threshold(last) => too_many(draft, "", last, exposure),
        // Flagger's words, and what the last of them was.
        Cause::Lost => too_many(draft, "canary has no ready endpoint, ", LOST, exposure),
        Cause::Guard(why) => {
            draft.warn(reason, format!("Rolling back {name} guard: {why}"));
            draft.alert(Severity::Error, format!("Guard rolled back: {why}"), false);
            format!("The guard rolled back at {exposure}: {why}")
        }
        Cause::Hook(hook) => {
            draft.warn(reason, format!("Rollback check {hook} passed"));
            draft.warn(reason, format!("Rolling back {name} manual webhook invoked"));
            draft.alert(Severity::Warn, "Rolling back manual webhook invoked", false);
            format!("The rollback hook {hook} asked for it at {exposure}.")
        }
        Cause::Aborted(by) => {
            draft.warn(reason, format!("Rolling back {name} aborted {by}"));
            draft.alert(Severity::Warn, format!("Aborted {by}"), false);
            format!("The release was aborted {by}, at {exposure}.")
        }
        Cause::CanaryStuck(why) => {
            draft.warn(reason, format!("Rolling back {name} progress deadline exceeded {why}"));
            draft.alert(Severity::Error, format!("Progress deadline exceeded {why}"), false);
            format!("The canary did not become ready: {why}")
        }
        Cause::TargetGone => {
            let target = draft.target_name();
            draft.warn(reason, format!("Rolling back {name} target {target} was deleted"));
            draft.alert(Severity::Error, format!("Target {target} was deleted"), false);
            "The target was deleted during its analysis.".to_owned()
        }
        Cause::PromotionFailed(why) => {
            draft.warn(reason, format!("Promotion failed, primary not ready: {why}"));
            let alert = format!("Promotion failed, primary not ready: {why}");
            draft.alert(Severity::Error, alert, false);
            format!("The primary did not become ready: {why}")
        }
    }
}

fn too_many(draft: &mut Draft<'_>, which: &str, last: &str, exposure: Exposure) -> String {
    let (name, failed) = (draft.name(), draft.status.failed_checks);
    let event = format!("Rolling back {name} {which}failed checks threshold reached {failed}");
    draft.warn(Reason::ThresholdReached, event);
    let alert = format!("Failed checks threshold reached {failed}: {last}");
    draft.alert(Severity::Error, alert, false);
    let threshold = draft.spec.analysis.threshold;
    format!("{failed} of {threshold} allowed checks failed at {exposure}: {last}")
}

/// Another revision came mid-analysis: nobody approved it and nothing is known of it, so it starts from the beginning.
pub(super) fn restart(draft: Draft<'_>) -> Step {
    let event = format!("New revision detected! Restarting analysis for {}", draft.name());
    let message = "The target changed during its analysis, which begins again.";
    begin_again(draft, event, message.to_owned())
}

/// A person wants the same revision to be analysed from the beginning.
pub(super) fn asked_again(draft: Draft<'_>, by: &ByHand) -> Step {
    let event = format!("Restarting analysis for {} {by}", draft.name());
    begin_again(draft, event, format!("The analysis begins again, {by}."))
}

fn begin_again(mut draft: Draft<'_>, event: String, message: String) -> Step {
    draft.take_off();
    draft.reset_analysis();
    draft.note(Reason::Restarted, event);
    draft.alert(Severity::Info, "New revision detected, progressing canary analysis.", true);
    if draft.has_hooks(HookKind::ConfirmRollout) {
        // Neither the abandoned nor the new revision was taken up; the gate decides about whatever is there then.
        draft.status.last_applied_spec.clone_from(&draft.status.last_promoted_spec);
        draft.status.tracked_configs.clone_from(&draft.status.promoted_configs);
        // The generation belongs to a revision that is no longer recorded.
        draft.status.target_generation = None;
        draft.enter(Phase::Waiting);
    } else {
        super::replace::note(&mut draft);
        draft.take_up();
        draft.enter(Phase::Progressing);
        draft.status.phase_time = Some(draft.now);
    }
    draft.hold(Reason::Restarted, message)
}

/// The user took the change back: the primary already runs this, so there is nothing to analyse or promote.
pub(super) fn revert(mut draft: Draft<'_>) -> Step {
    draft.take_off();
    draft.reset_analysis();
    draft.status.analysis_start_time = None;
    draft.take_up();
    draft.mark_promoted();
    draft.enter(Phase::Succeeded);
    let revision = match &draft.seen.target {
        Seen::Present(target) => target.revision.as_str(),
        Seen::Absent | Seen::Unreadable(_) => "",
    };
    let message = format!(
        "{} went back to the promoted revision {revision}; the analysis ends without a promotion",
        draft.target_name()
    );
    draft.note(Reason::Reverted, message.clone());
    draft.alert(Severity::Info, "Target was reverted, analysis ended.", false);
    draft.hold(Reason::Reverted, message)
}
