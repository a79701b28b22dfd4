//! What each reason means for whoever looks: its mark, what to do now, the command that helps, the page that explains it.

use serde::Serialize;
use serin_core::reason;

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
    pub(super) code: &'static str,
    pub(super) mark: Mark,
    pub(super) todo: &'static str,
    pub(super) help: Help,
    pub(super) page: Page,
}

const fn advice(
    code: &'static str,
    mark: Mark,
    help: Help,
    page: Page,
    todo: &'static str,
) -> Advice {
    Advice { code, mark, todo, help, page }
}

const NOTHING: &str = "Nothing has to be done.";
const GOES_ON: &str = "Nothing has to be done: it goes on by itself.";
const EITHER: &str = "Nothing has to be done: it goes on or back by itself.";
const WAIT_FOR_PODS: &str =
    "Look at the canary's pods if it takes long; after progressDeadlineSeconds it is rolled back.";
const APPROVE: &str =
    "Whoever answers that hook approves, or `serin approve` with its name does so in its place.";
const FIX: &str = "Look at the errors of the new version, then release a fix. This revision stays rejected until the target changes.";
const PUT_RIGHT: &str = "Put right what the sentence names; it goes on by itself then.";
const MEASURE: &str =
    "See to it that the metrics can be read; nothing is counted against the canary meanwhile.";
const RIGHTED: &str = "Nothing has to be done; find out who changes it if it comes again.";

/// For every code of the catalogue.
#[rustfmt::skip]
pub(super) const ADVICE: &[Advice] = &[
    advice(reason::INITIALIZING, Mark::Start, Help::Pods, Page::Reasons, GOES_ON),
    advice(reason::NOT_OURS, Mark::Trouble, Help::Describe, Page::Trouble, "Rename or remove the object that the sentence names, or give this Canary another name."),
    advice(reason::NO_SELECTOR_LABEL, Mark::Trouble, Help::Describe, Page::Trouble, PUT_RIGHT),
    advice(reason::TARGET_UNUSABLE, Mark::Trouble, Help::Describe, Page::Trouble, PUT_RIGHT),
    advice(reason::PORT_NOT_SERVED, Mark::Trouble, Help::Describe, Page::Trouble, PUT_RIGHT),
    advice(reason::FOREIGN_ENDPOINTS, Mark::Trouble, Help::Describe, Page::Trouble, PUT_RIGHT),
    advice(reason::ROUTE_UNUSABLE, Mark::Trouble, Help::Describe, Page::Trouble, PUT_RIGHT),
    advice(reason::LEFT_ALONE, Mark::Info, Help::Describe, Page::Trouble, NOTHING),
    advice(reason::WRITE_REFUSED, Mark::Trouble, Help::Describe, Page::Trouble, PUT_RIGHT),
    advice(reason::INITIALIZATION_OVERDUE, Mark::Trouble, Help::Pods, Page::Trouble, "Look at the primary's pods: they do not become ready. The target keeps the traffic."),
    advice(reason::PRIMARY_STUCK, Mark::Trouble, Help::Pods, Page::Trouble, "Release a version that can start; the live one is left alone."),
    advice(reason::PRIMARY_REPAIRED, Mark::Info, Help::Watch, Page::Reasons, GOES_ON),
    advice(reason::INITIALIZED, Mark::Good, Help::Watch, Page::Reasons, "Change the image of the target to release a new version."),
    advice(reason::ADOPTED, Mark::Good, Help::Explain, Page::Trouble, NOTHING),
    advice(reason::REVISION_RECORDED, Mark::Info, Help::Explain, Page::Reasons, NOTHING),
    advice(reason::AT_REST, Mark::End, Help::Explain, Page::Trouble, NOTHING),
    advice(reason::REPAIRED, Mark::Info, Help::Describe, Page::Trouble, RIGHTED),
    advice(reason::PRIMARY_EDITED, Mark::Info, Help::Describe, Page::Trouble, "Nothing is lost: the next promotion replaces it. Make the change in the target to keep it."),
    advice(reason::COPY_REPAIRED, Mark::Info, Help::Describe, Page::Trouble, RIGHTED),
    advice(reason::TARGET_SCALED_DOWN, Mark::Info, Help::Describe, Page::Trouble, RIGHTED),
    advice(reason::NEW_REVISION, Mark::Info, Help::Watch, Page::Reasons, GOES_ON),
    advice(reason::WAITING_FOR_ROLLOUT_APPROVAL, Mark::Gate, Help::Describe, Page::Trouble, APPROVE),
    advice(reason::RESTARTED, Mark::Info, Help::Watch, Page::Reasons, GOES_ON),
    advice(reason::REVERTED, Mark::End, Help::Explain, Page::Reasons, NOTHING),
    advice(reason::COPY_ARRIVED, Mark::Info, Help::Explain, Page::Reasons, GOES_ON),
    advice(reason::CANARY_NOT_READY, Mark::Start, Help::Pods, Page::Trouble, WAIT_FOR_PODS),
    advice(reason::PODS_REPLACED, Mark::Start, Help::Pods, Page::Trouble, GOES_ON),
    advice(reason::CANARY_LOST, Mark::Down, Help::Pods, Page::Reasons, "Look at why the canary's pods went away; the primary has the traffic."),
    advice(reason::PRIMARY_NOT_READY, Mark::Hold, Help::Pods, Page::Trouble, "Look at the primary's pods: nothing advances while they are not ready."),
    advice(reason::CAPACITY_SHORT, Mark::Start, Help::Pods, Page::Trouble, WAIT_FOR_PODS),
    advice(reason::PRE_ROLLOUT_FAILED, Mark::Hold, Help::Explain, Page::Reasons, "Look at what the pre-rollout hook found; it is asked again until the threshold."),
    advice(reason::NOT_DUE, Mark::Info, Help::Watch, Page::Reasons, GOES_ON),
    advice(reason::ADVANCED, Mark::Up, Help::Watch, Page::Reasons, EITHER),
    advice(reason::ITERATION_PASSED, Mark::Up, Help::Watch, Page::Reasons, EITHER),
    advice(reason::ROUTE_REPAIRED, Mark::Info, Help::Watch, Page::Reasons, RIGHTED),
    advice(reason::ROUTE_LOWERED, Mark::Info, Help::Describe, Page::Trouble, RIGHTED),
    advice(reason::CHECK_FAILED, Mark::Hold, Help::Explain, Page::Reasons, "Nothing has to be done: at the threshold it is rolled back. Look at the check if you know better."),
    advice(reason::NO_DATA, Mark::Hold, Help::Explain, Page::Trouble, "See whether the canary gets requests, and whether the query finds them."),
    advice(reason::CANNOT_MEASURE, Mark::Hold, Help::Explain, Page::Trouble, MEASURE),
    advice(reason::WINDOW_REACHES_BACK, Mark::Hold, Help::Watch, Page::Reasons, GOES_ON),
    advice(reason::GUARD_HOLDS, Mark::Hold, Help::Explain, Page::Trouble, EITHER),
    advice(reason::GUARD_BLIND, Mark::Hold, Help::Explain, Page::Trouble, MEASURE),
    advice(reason::GATHERING_EVIDENCE, Mark::Hold, Help::Watch, Page::Trouble, EITHER),
    advice(reason::EVIDENCE_MISSING, Mark::Hold, Help::Explain, Page::Trouble, "Send more traffic, or release without waiting: this many requests do not suffice for this share."),
    advice(reason::BAKING, Mark::Hold, Help::Watch, Page::Trouble, GOES_ON),
    advice(reason::WAITING_FOR_TRAFFIC_APPROVAL, Mark::Gate, Help::Describe, Page::Trouble, APPROVE),
    advice(reason::WAITING_FOR_PROMOTION_APPROVAL, Mark::Gate, Help::Describe, Page::Trouble, APPROVE),
    advice(reason::PROMOTING, Mark::Up, Help::Watch, Page::Reasons, GOES_ON),
    advice(reason::PROMOTION_STEP, Mark::Up, Help::Watch, Page::Reasons, GOES_ON),
    advice(reason::FINALISING, Mark::Up, Help::Watch, Page::Reasons, GOES_ON),
    advice(reason::PROMOTED, Mark::Good, Help::Explain, Page::Reasons, NOTHING),
    advice(reason::PROMOTED_UNANALYSED, Mark::Good, Help::Explain, Page::Reasons, NOTHING),
    advice(reason::SOAKING, Mark::Good, Help::Watch, Page::Reasons, "Nothing has to be done: it is taken back by itself if it breaks an objective."),
    advice(reason::SOAK_PASSED, Mark::Good, Help::Explain, Page::Reasons, NOTHING),
    advice(reason::SOAK_ENDED, Mark::Info, Help::Explain, Page::Reasons, NOTHING),
    advice(reason::SOAK_ALARM, Mark::Trouble, Help::Explain, Page::Trouble, "Release a fix: nothing is kept that the primary could be taken back to."),
    advice(reason::UNDOING, Mark::Down, Help::Watch, Page::Reasons, GOES_ON),
    advice(reason::UNDONE, Mark::Down, Help::Explain, Page::Reasons, FIX),
    advice(reason::UNDO_LOST, Mark::Trouble, Help::Explain, Page::Reasons, "Release the version that is to run: what was kept of the one before is gone."),
    advice(reason::THRESHOLD_REACHED, Mark::Down, Help::Explain, Page::Trouble, FIX),
    advice(reason::METRICS_NOT_READY, Mark::Hold, Help::Explain, Page::Trouble, MEASURE),
    advice(reason::GUARD_ROLLED_BACK, Mark::Down, Help::Explain, Page::Trouble, FIX),
    advice(reason::GUARD_WOULD_ROLL_BACK, Mark::Hold, Help::Explain, Page::Trouble, "Look at the errors of the new version: the guard only observes and does not act."),
    advice(reason::ABORTED, Mark::Down, Help::Ask("retry"), Page::Reasons, "Release a fix, or have the same revision analysed again."),
    advice(reason::PAUSED, Mark::Hold, Help::Ask("resume"), Page::Reasons, "Resume the release when it may go on, or abort it; checks and the guard go on."),
    advice(reason::ACTION_TAKEN, Mark::Info, Help::Explain, Page::Reasons, NOTHING),
    advice(reason::ACTION_REFUSED, Mark::Info, Help::Explain, Page::Reasons, "Read why, and ask again for the release as it is now."),
    advice(reason::ROLLBACK_ASKED, Mark::Down, Help::Explain, Page::Trouble, FIX),
    advice(reason::CANARY_STUCK, Mark::Down, Help::Pods, Page::Trouble, "Look at why the new version's pods do not become ready, then release a fix."),
    advice(reason::TARGET_GONE, Mark::Down, Help::Describe, Page::Trouble, "Apply the target again, or delete the Canary."),
    advice(reason::PROMOTION_FAILED, Mark::Down, Help::Pods, Page::Trouble, FIX),
    advice(reason::DRAINING, Mark::Info, Help::Watch, Page::Reasons, GOES_ON),
    advice(reason::ROLLED_BACK, Mark::End, Help::Explain, Page::Reasons, FIX),
    advice(reason::SUSPENDED, Mark::Info, Help::Unsuspend, Page::Trouble, "Set spec.suspend to false when it may go on."),
    advice(reason::DUPLICATE_TARGET, Mark::Trouble, Help::Describe, Page::Trouble, "Delete one of the two Canaries, or give this one another target."),
    advice(reason::TARGET_MISSING, Mark::Trouble, Help::Describe, Page::Trouble, "Apply the target, or delete the Canary."),
    advice(reason::PRIMARY_MISSING, Mark::Trouble, Help::Pods, Page::Reasons, "Nothing has to be done but to find out who deleted the primary; it is made again."),
    advice(reason::SCALER_MISSING, Mark::Trouble, Help::Describe, Page::Trouble, "Apply the autoscaler that the spec names, or take autoscalerRef out."),
    advice(reason::CANNOT_SEE, Mark::Hold, Help::Describe, Page::Trouble, "See to it that the operator can read what the sentence names; rollbacks go on."),
    advice(reason::UNSUPPORTED, Mark::Trouble, Help::Explain, Page::Trouble, "Take out of the spec what is named, or stay with the controller that has it."),
    advice(reason::SPEC_WARNING, Mark::Info, Help::Explain, Page::Trouble, NOTHING),
    advice(reason::SPEC_INVALID, Mark::Trouble, Help::Explain, Page::Trouble, "Correct the fields that are named; the running version keeps all traffic."),
    advice(reason::TERMINATING, Mark::Info, Help::Describe, Page::Reasons, GOES_ON),
    advice(reason::TARGET_NOT_READY, Mark::Trouble, Help::Pods, Page::Trouble, "Look at the target's pods: they have to take the traffic back."),
    advice(reason::TERMINATED, Mark::End, Help::Describe, Page::Reasons, NOTHING),
    advice(reason::LINT_BROKEN, Mark::Trouble, Help::Describe, Page::Trouble, "Please report it; the traffic stays where it is."),
];

/// None for a code that this program does not know, as of a later operator.
pub(super) fn of(code: &str) -> Option<&'static Advice> {
    ADVICE.iter().find(|advice| advice.code == code)
}

/// The mark of a reason; what is not known is a note.
pub fn mark(code: &str) -> Mark {
    of(code).map_or(Mark::Info, |advice| advice.mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_advice_once() {
        let codes: Vec<&str> = ADVICE.iter().map(|advice| advice.code).collect();
        let all: Vec<&str> = reason::ALL.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, all, "one entry for each reason, in the same order");
        for Advice { code, todo, .. } in ADVICE {
            assert!(todo.ends_with('.'), "{code}: {todo}");
        }
    }

    #[test]
    fn pages_that_are_named_are_there() {
        let guide = include_str!("../../../../docs/guides/troubleshooting.md");
        for Advice { code, page, .. } in ADVICE {
            let told = guide.lines().any(|line| line == format!("### `{code}`"));
            assert_eq!(told, *page == Page::Trouble, "{code}");
        }
    }
}
