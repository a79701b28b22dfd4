//! What each reason means for whoever looks: its mark, what to do now, the command that helps, the page that explains it.

use serde::Serialize;
use serin_core::reason::Reason;

/// The shape of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Mark {
    /// The canary gets more, or one more round is done.
    Up,
    /// It lost its traffic.
    Down,
    /// Nothing advances until more is known.
    Hold,
    /// Somebody has to approve.
    Gate,
    /// Pods are being started.
    Start,
    /// Somebody has to put something right.
    Trouble,
    /// The new version is what runs.
    Good,
    /// The end of a release.
    End,
    /// A note.
    Info,
}

impl Mark {
    pub const ALL: [Mark; 9] = [
        Mark::Up,
        Mark::Down,
        Mark::Hold,
        Mark::Gate,
        Mark::Start,
        Mark::Trouble,
        Mark::Good,
        Mark::End,
        Mark::Info,
    ];
}

/// The command that helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Help {
    Explain,
    Watch,
    Describe,
    Pods,
    /// End what `spec.suspend` began.
    Unsuspend,
    /// What a person may ask of the release, by the name of the command.
    Ask(&'static str),
}

/// Where it is explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// Its own section of the guide.
    Trouble,
    /// The list of all reasons.
    Reasons,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Advice {
    pub(super) mark: Mark,
    pub(super) todo: &'static str,
    pub(super) help: Help,
    pub(super) page: Page,
}

const fn advice(mark: Mark, help: Help, page: Page, todo: &'static str) -> Advice {
    Advice { mark, todo, help, page }
}

const NOTHING: &str = "Nothing has to be done.";
const GOES_ON: &str = "Nothing has to be done: it goes on by itself.";
const EITHER: &str = "Nothing has to be done: it goes on or back by itself.";
const WAIT_FOR_PODS: &str =
    "Look at the canary's pods if it takes long; after progressDeadlineSeconds it is rolled back.";
const APPROVE: &str =
    "Approve where the hook's answer is given, or with `serin approve` and its name.";
const FIX: &str = "Look at the errors of the new version, then release a fix. This revision stays rejected until the target changes.";
const PUT_RIGHT: &str = "Put right what the sentence names; it goes on by itself then.";
const MEASURE: &str =
    "See to it that the metrics can be read; nothing is counted against the canary meanwhile.";
const RIGHTED: &str = "Nothing has to be done; find out who changes it if it comes again.";

/// What a person is told beside each reason.
#[rustfmt::skip]
#[expect(clippy::too_many_lines, reason = "one line for each reason")]
pub(super) const fn advice_for(reason: Reason) -> Advice {
    match reason {
        Reason::Initializing => advice(Mark::Start, Help::Pods, Page::Reasons, GOES_ON),
        Reason::NotOurs => advice(Mark::Trouble, Help::Describe, Page::Trouble, "Rename or remove the object that the sentence names, or give this Canary another name."),
        Reason::NoSelectorLabel => advice(Mark::Trouble, Help::Describe, Page::Trouble, PUT_RIGHT),
        Reason::TargetUnusable => advice(Mark::Trouble, Help::Describe, Page::Trouble, PUT_RIGHT),
        Reason::PortNotServed => advice(Mark::Trouble, Help::Describe, Page::Trouble, PUT_RIGHT),
        Reason::ForeignEndpoints => advice(Mark::Trouble, Help::Describe, Page::Trouble, PUT_RIGHT),
        Reason::RouteUnusable => advice(Mark::Trouble, Help::Describe, Page::Trouble, PUT_RIGHT),
        Reason::LeftAlone => advice(Mark::Info, Help::Describe, Page::Trouble, NOTHING),
        Reason::WriteRefused => advice(Mark::Trouble, Help::Describe, Page::Trouble, PUT_RIGHT),
        Reason::InitializationOverdue => advice(Mark::Trouble, Help::Pods, Page::Trouble, "Look at the primary's pods: they do not become ready. The target keeps the traffic."),
        Reason::PrimaryStuck => advice(Mark::Trouble, Help::Pods, Page::Trouble, "Release a version that can start; the live one is left alone."),
        Reason::PrimaryRepaired => advice(Mark::Info, Help::Watch, Page::Reasons, GOES_ON),
        Reason::Initialized => advice(Mark::Good, Help::Watch, Page::Reasons, "Change the image of the target to release a new version."),
        Reason::Adopted => advice(Mark::Good, Help::Explain, Page::Trouble, NOTHING),
        Reason::RevisionRecorded => advice(Mark::Info, Help::Explain, Page::Reasons, NOTHING),
        Reason::AtRest => advice(Mark::End, Help::Explain, Page::Trouble, NOTHING),
        Reason::Repaired => advice(Mark::Info, Help::Describe, Page::Trouble, RIGHTED),
        Reason::PrimaryEdited => advice(Mark::Info, Help::Describe, Page::Trouble, "Nothing is lost: the next promotion replaces it. Make the change in the target to keep it."),
        Reason::CopyRepaired => advice(Mark::Info, Help::Describe, Page::Trouble, RIGHTED),
        Reason::TargetScaledDown => advice(Mark::Info, Help::Describe, Page::Trouble, RIGHTED),
        Reason::NewRevision => advice(Mark::Info, Help::Watch, Page::Reasons, GOES_ON),
        Reason::WaitingForRolloutApproval => advice(Mark::Gate, Help::Describe, Page::Trouble, APPROVE),
        Reason::Restarted => advice(Mark::Info, Help::Watch, Page::Reasons, GOES_ON),
        Reason::Reverted => advice(Mark::End, Help::Explain, Page::Reasons, NOTHING),
        Reason::CopyArrived => advice(Mark::Info, Help::Explain, Page::Reasons, GOES_ON),
        Reason::CanaryNotReady => advice(Mark::Start, Help::Pods, Page::Trouble, WAIT_FOR_PODS),
        Reason::PodsReplaced => advice(Mark::Start, Help::Pods, Page::Trouble, GOES_ON),
        Reason::CanaryLost => advice(Mark::Down, Help::Pods, Page::Reasons, "Look at why the canary's pods went away; the primary has the traffic."),
        Reason::PrimaryNotReady => advice(Mark::Hold, Help::Pods, Page::Trouble, "Look at the primary's pods: nothing advances while they are not ready."),
        Reason::CapacityShort => advice(Mark::Start, Help::Pods, Page::Trouble, WAIT_FOR_PODS),
        Reason::PreRolloutFailed => advice(Mark::Hold, Help::Explain, Page::Reasons, "Look at what the pre-rollout hook found; it is asked again until the threshold."),
        Reason::NotDue => advice(Mark::Info, Help::Watch, Page::Reasons, GOES_ON),
        Reason::Advanced => advice(Mark::Up, Help::Watch, Page::Reasons, EITHER),
        Reason::IterationPassed => advice(Mark::Up, Help::Watch, Page::Reasons, EITHER),
        Reason::RouteRepaired => advice(Mark::Info, Help::Watch, Page::Reasons, RIGHTED),
        Reason::RouteLowered => advice(Mark::Info, Help::Describe, Page::Trouble, RIGHTED),
        Reason::CheckFailed => advice(Mark::Hold, Help::Explain, Page::Reasons, "Nothing has to be done: at the threshold it is rolled back. Look at the check if you know better."),
        Reason::NoData => advice(Mark::Hold, Help::Explain, Page::Trouble, "See whether the canary gets requests, and whether the query finds them."),
        Reason::CannotMeasure => advice(Mark::Hold, Help::Explain, Page::Trouble, MEASURE),
        Reason::WindowReachesBack => advice(Mark::Hold, Help::Watch, Page::Reasons, GOES_ON),
        Reason::GuardHolds => advice(Mark::Hold, Help::Explain, Page::Trouble, EITHER),
        Reason::GuardBlind => advice(Mark::Hold, Help::Explain, Page::Trouble, MEASURE),
        Reason::GatheringEvidence => advice(Mark::Hold, Help::Watch, Page::Trouble, EITHER),
        Reason::EvidenceMissing => advice(Mark::Hold, Help::Explain, Page::Trouble, "Send more traffic, or release without waiting: this many requests do not suffice for this share."),
        Reason::Baking => advice(Mark::Hold, Help::Watch, Page::Trouble, GOES_ON),
        Reason::WaitingForTrafficApproval => advice(Mark::Gate, Help::Describe, Page::Trouble, APPROVE),
        Reason::WaitingForPromotionApproval => advice(Mark::Gate, Help::Describe, Page::Trouble, APPROVE),
        Reason::Promoting => advice(Mark::Up, Help::Watch, Page::Reasons, GOES_ON),
        Reason::PromotionStep => advice(Mark::Up, Help::Watch, Page::Reasons, GOES_ON),
        Reason::Finalising => advice(Mark::Up, Help::Watch, Page::Reasons, GOES_ON),
        Reason::Promoted => advice(Mark::Good, Help::Explain, Page::Reasons, NOTHING),
        Reason::PromotedUnanalysed => advice(Mark::Good, Help::Explain, Page::Reasons, NOTHING),
        Reason::Soaking => advice(Mark::Good, Help::Watch, Page::Reasons, "Nothing has to be done: it is taken back by itself if it breaks an objective."),
        Reason::SoakPassed => advice(Mark::Good, Help::Explain, Page::Reasons, NOTHING),
        Reason::SoakEnded => advice(Mark::Info, Help::Explain, Page::Reasons, NOTHING),
        Reason::SoakAlarm => advice(Mark::Trouble, Help::Explain, Page::Trouble, "Release a fix: nothing is kept that the primary could be taken back to."),
        Reason::Undoing => advice(Mark::Down, Help::Watch, Page::Reasons, GOES_ON),
        Reason::Undone => advice(Mark::Down, Help::Explain, Page::Reasons, FIX),
        Reason::UndoLost => advice(Mark::Trouble, Help::Explain, Page::Reasons, "Release the version that is to run: what was kept of the one before is gone."),
        Reason::ThresholdReached => advice(Mark::Down, Help::Explain, Page::Trouble, FIX),
        Reason::MetricsNotReady => advice(Mark::Hold, Help::Explain, Page::Trouble, MEASURE),
        Reason::GuardRolledBack => advice(Mark::Down, Help::Explain, Page::Trouble, FIX),
        Reason::GuardWouldRollBack => advice(Mark::Hold, Help::Explain, Page::Trouble, "Look at the errors of the new version: the guard only observes and does not act."),
        Reason::Aborted => advice(Mark::Down, Help::Ask("retry"), Page::Reasons, "Release a fix, or have the same revision analysed again."),
        Reason::Paused => advice(Mark::Hold, Help::Ask("resume"), Page::Reasons, "Resume the release when it may go on, or abort it; checks and the guard go on."),
        Reason::ActionTaken => advice(Mark::Info, Help::Explain, Page::Reasons, NOTHING),
        Reason::ActionRefused => advice(Mark::Info, Help::Explain, Page::Reasons, "Read why, and ask again for the release as it is now."),
        Reason::HookPassed => advice(Mark::Info, Help::Explain, Page::Reasons, NOTHING),
        Reason::HookFailed => advice(Mark::Info, Help::Explain, Page::Reasons, "Look at what the hook found; the promotion stands."),
        Reason::RollbackAsked => advice(Mark::Down, Help::Explain, Page::Trouble, FIX),
        Reason::CanaryStuck => advice(Mark::Down, Help::Pods, Page::Trouble, "Look at why the new version's pods do not become ready, then release a fix."),
        Reason::TargetGone => advice(Mark::Down, Help::Describe, Page::Trouble, "Apply the target again, or delete the Canary."),
        Reason::PromotionFailed => advice(Mark::Down, Help::Pods, Page::Trouble, FIX),
        Reason::Draining => advice(Mark::Info, Help::Watch, Page::Reasons, GOES_ON),
        Reason::RolledBack => advice(Mark::End, Help::Explain, Page::Reasons, FIX),
        Reason::Suspended => advice(Mark::Info, Help::Unsuspend, Page::Trouble, "Set spec.suspend to false when it may go on."),
        Reason::DuplicateTarget => advice(Mark::Trouble, Help::Describe, Page::Trouble, "Delete one of the two Canaries, or give this one another target."),
        Reason::TargetMissing => advice(Mark::Trouble, Help::Describe, Page::Trouble, "Apply the target, or delete the Canary."),
        Reason::PrimaryMissing => advice(Mark::Trouble, Help::Pods, Page::Reasons, "Nothing has to be done but to find out who deleted the primary; it is made again."),
        Reason::ScalerMissing => advice(Mark::Trouble, Help::Describe, Page::Trouble, "Apply the autoscaler that the spec names, or take autoscalerRef out."),
        Reason::CannotSee => advice(Mark::Hold, Help::Describe, Page::Trouble, "See to it that the operator can read what the sentence names; rollbacks go on."),
        Reason::Unsupported => advice(Mark::Trouble, Help::Explain, Page::Trouble, "Take out of the spec what is named, or stay with the controller that has it."),
        Reason::SpecWarning => advice(Mark::Info, Help::Explain, Page::Trouble, NOTHING),
        Reason::SpecInvalid => advice(Mark::Trouble, Help::Explain, Page::Trouble, "Correct the fields that are named; the running version keeps all traffic."),
        Reason::Terminating => advice(Mark::Info, Help::Describe, Page::Reasons, GOES_ON),
        Reason::TargetNotReady => advice(Mark::Trouble, Help::Pods, Page::Trouble, "Look at the target's pods: they have to take the traffic back."),
        Reason::Terminated => advice(Mark::End, Help::Describe, Page::Reasons, NOTHING),
        Reason::LintBroken => advice(Mark::Trouble, Help::Describe, Page::Trouble, "Please report it; the traffic stays where it is."),
    }
}

/// None for a code that this program does not know, as of a later operator.
pub(super) fn of(code: &str) -> Option<Advice> {
    Reason::of_code(code).map(advice_for)
}

/// The mark of a reason; what is not known is a note.
pub fn mark(code: &str) -> Mark {
    of(code).map_or(Mark::Info, |advice| advice.mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_advice_is_a_sentence() {
        for reason in Reason::ALL {
            let todo = advice_for(*reason).todo;
            assert!(todo.ends_with('.'), "{reason}: {todo}");
        }
    }

    #[test]
    fn pages_that_are_named_are_there() {
        let guide = include_str!("../../../../docs/guides/troubleshooting.md");
        for reason in Reason::ALL {
            let told = guide.lines().any(|line| line == format!("### `{reason}`"));
            assert_eq!(told, advice_for(*reason).page == Page::Trouble, "{reason}");
        }
    }
}
