//! The closed catalogue of reasons: why a tick advanced, waited or refused, one code each, shown alike everywhere.

macro_rules! catalogue {
    ($($name:ident = $code:literal: $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $name: &str = $code;)*

        /// Every code with its meaning, in the order of a release.
        pub const ALL: &[(&str, &str)] = &[$(($code, $meaning)),*];
    };
}

catalogue! {
    INITIALIZING = "Initializing": "The primary is being made, or the traffic is being moved to it.";
    NOT_OURS = "NotOurs": "An object of somebody else stands under a name that this Canary needs; it is left alone.";
    NO_SELECTOR_LABEL = "NoSelectorLabel": "The target's selector has no label that could tell its pods from the primary's.";
    TARGET_UNUSABLE = "TargetUnusable": "The target as it is cannot run beside a primary: its update strategy or the ports of its nodes forbid it.";
    PORT_NOT_SERVED = "PortNotServed": "A Service would lead to a port that nobody listens on, or lose a name that others use.";
    FOREIGN_ENDPOINTS = "ForeignEndpoints": "A Service picks pods of other workloads, so no traffic is moved to it.";
    ROUTE_UNUSABLE = "RouteUnusable": "The route that spec.routeRef names is not there, or splits its requests with other applications.";
    LEFT_ALONE = "LeftAlone": "An object of somebody else stands where a copy would; it is left alone and the copy stands beside it.";
    WRITE_REFUSED = "WriteRefused": "The API server refuses something that must be written; it is tried again, and the message has its words.";
    INITIALIZATION_OVERDUE = "InitializationOverdue": "The primary was not made within progressDeadlineSeconds; the target keeps the traffic.";
    PRIMARY_STUCK = "PrimaryStuck": "The new primary cannot start; the live target is left alone until it gets a fix.";
    PRIMARY_REPAIRED = "PrimaryRepaired": "The primary could not start and takes up the fix that the target got.";
    INITIALIZED = "Initialized": "The primary serves everything and the target rests.";
    ADOPTED = "Adopted": "What Flagger left behind was taken over without an analysis.";
    REVISION_RECORDED = "RevisionRecorded": "The same target has another hash, as after an upgrade; it is recorded and nothing is released.";
    AT_REST = "AtRest": "Nothing has changed since the last release.";
    REPAIRED = "Repaired": "A Service, autoscaler or route of ours was missing or had been changed by others, and is put right.";
    PRIMARY_EDITED = "PrimaryEdited": "The primary or its autoscaler was changed by hand and is not what was promoted; it is left as it is until the next promotion.";
    COPY_REPAIRED = "CopyRepaired": "A copy of a config was changed by hand and has the promoted contents again; pods read it as they read any change.";
    TARGET_SCALED_DOWN = "TargetScaledDown": "The target gets no traffic and was scaled to zero again.";
    NEW_REVISION = "NewRevision": "The target changed and its analysis begins.";
    WAITING_FOR_ROLLOUT_APPROVAL = "WaitingForRolloutApproval": "A confirm-rollout hook has not approved the new revision.";
    RESTARTED = "Restarted": "The target changed during its analysis, which begins again at no traffic.";
    REVERTED = "Reverted": "The target went back to the revision that the primary runs; there is nothing to analyse.";
    COPY_ARRIVED = "CopyArrived": "The primary runs a revision whose promotion was given up before it was known to have arrived; the target is released over it.";
    CANARY_NOT_READY = "CanaryNotReady": "The canary's pods are not ready yet.";
    PODS_REPLACED = "PodsReplaced": "A config changed after the canary's pods were started; they are started again, so that what is analysed runs with what would be promoted.";
    CANARY_LOST = "CanaryLost": "The canary had traffic and no ready endpoint is left; the primary has it back.";
    PRIMARY_NOT_READY = "PrimaryNotReady": "The primary is not ready, so nothing advances.";
    CAPACITY_SHORT = "CapacityShort": "A side has fewer ready pods than carried the traffic that it is to get; it is waited for, within progressDeadlineSeconds, but not by a rollback.";
    PRE_ROLLOUT_FAILED = "PreRolloutFailed": "A pre-rollout hook failed; counted as a failed check.";
    NOT_DUE = "NotDue": "The next step of the analysis is not due yet.";
    ADVANCED = "Advanced": "The checks passed and the canary gets the next share of the traffic.";
    ITERATION_PASSED = "IterationPassed": "The checks passed and one more iteration is done.";
    ROUTE_REPAIRED = "RouteRepaired": "The canary had less traffic than the status says; the checks passed and it has it again.";
    ROUTE_LOWERED = "RouteLowered": "The canary had more traffic than the status says; it was lowered at once.";
    CHECK_FAILED = "CheckFailed": "A check failed and was counted.";
    NO_DATA = "NoData": "A metric has nothing to judge; counted as a failed check, as Flagger does, or waited for, as its noData asks.";
    CANNOT_MEASURE = "CannotMeasure": "A metric or hook could not be asked; counted as a failed check, as Flagger does, or waited for, as its cannotMeasure asks.";
    WINDOW_REACHES_BACK = "WindowReachesBack": "The window of a metric begins before this revision was measured, so that its value is not of this revision alone; it is waited for, and nothing is counted.";
    GUARD_HOLDS = "GuardHolds": "The guard has not seen enough to let the canary advance.";
    GUARD_BLIND = "GuardBlind": "The guard could not measure for the time of blindDeadline: the canary's share was taken back, nothing is rejected, and the analysis begins again at its first step once the guard can see.";
    GATHERING_EVIDENCE = "GatheringEvidence": "With pace evidence: the evidence at this share does not allow the next one yet.";
    EVIDENCE_MISSING = "EvidenceMissing": "With pace evidence: maxDuration is over and the evidence does not suffice; the release keeps its share until it does.";
    BAKING = "Baking": "All steps were passed before minBake is over; the canary keeps its share.";
    WAITING_FOR_TRAFFIC_APPROVAL = "WaitingForTrafficApproval": "A confirm-traffic-increase hook has not approved the next share.";
    WAITING_FOR_PROMOTION_APPROVAL = "WaitingForPromotionApproval": "A confirm-promotion hook has not approved the promotion; the analysis goes on.";
    PROMOTING = "Promoting": "The analysed revision is being copied to the primary.";
    PROMOTION_STEP = "PromotionStep": "One more step of the traffic went back to the promoted primary.";
    FINALISING = "Finalising": "The promoted primary has all traffic and the canary drains.";
    PROMOTED = "Promoted": "The analysed revision is what the primary runs, with all traffic.";
    PROMOTED_UNANALYSED = "PromotedUnanalysed": "The primary runs the new revision, whose analysis was skipped (skipAnalysis), or cut short by a person.";
    SOAKING = "Soaking": "The promoted primary is watched for the time of guard.soak, and taken back if it breaks an objective.";
    SOAK_PASSED = "SoakPassed": "The promoted primary was watched for the time of guard.soak, and nothing spoke against it.";
    SOAK_ENDED = "SoakEnded": "The promoted primary is no longer watched: a new release begins, or the spec asks for no soak.";
    SOAK_ALARM = "SoakAlarm": "The promoted primary breaks an objective, and nothing is kept that it could be taken back to.";
    UNDOING = "Undoing": "The promoted primary broke an objective and is taken back to the revision before.";
    UNDONE = "Undone": "The primary runs the revision before its last promotion again; the one it was taken back from stays rejected.";
    UNDO_LOST = "UndoLost": "The primary, or what was kept of it, was deleted before it was taken back.";
    THRESHOLD_REACHED = "ThresholdReached": "As many checks failed as the threshold allows; rolled back.";
    METRICS_NOT_READY = "MetricsNotReady": "The guard or a check cannot measure; the condition MetricsReady says what to put right first.";
    GUARD_ROLLED_BACK = "GuardRolledBack": "The guard's evidence says that the canary is worse than it may be; rolled back.";
    GUARD_WOULD_ROLL_BACK = "GuardWouldRollBack": "The guard only observes; its evidence says that the canary is worse than it may be.";
    ABORTED = "Aborted": "A person aborted the release with a ReleaseAction; rolled back.";
    PAUSED = "Paused": "A person paused the release: nothing is raised until it is resumed; checks and the guard go on.";
    ACTION_TAKEN = "ActionTaken": "A ReleaseAction was carried out; the message says which, by whom and why.";
    ACTION_REFUSED = "ActionRefused": "A ReleaseAction could not be carried out; the message says why, and nothing has changed.";
    ROLLBACK_ASKED = "RollbackAsked": "A rollback hook asked for it; rolled back.";
    CANARY_STUCK = "CanaryStuck": "The canary's pods did not become ready in time; rolled back.";
    TARGET_GONE = "TargetGone": "The target was deleted during its analysis; rolled back.";
    PROMOTION_FAILED = "PromotionFailed": "The primary did not become ready with the promoted revision.";
    DRAINING = "Draining": "All traffic left some pods, which get a moment to finish what they began.";
    ROLLED_BACK = "RolledBack": "The rejected revision has no traffic and no pods.";
    SUSPENDED = "Suspended": "spec.suspend is set; nothing is touched but by a rollback of the guard. The condition Suspended says the rest, and the last reason stays.";
    DUPLICATE_TARGET = "DuplicateTarget": "An older Canary has the same target, or writes an object that this one would write; this one stays out of its way.";
    TARGET_MISSING = "TargetMissing": "The target does not exist.";
    PRIMARY_MISSING = "PrimaryMissing": "The primary was deleted.";
    SCALER_MISSING = "ScalerMissing": "The autoscaler that the spec names does not exist.";
    CANNOT_SEE = "CannotSee": "Something could not be read, so nothing advances; rollbacks go on.";
    UNSUPPORTED = "Unsupported": "The spec asks for what is not supported yet; nothing is touched, and every such field is named.";
    SPEC_WARNING = "SpecWarning": "The spec is acted on, and something in it has no effect or another one than it seems.";
    SPEC_INVALID = "SpecInvalid": "The spec makes no sense; the running version keeps all traffic.";
    TERMINATING = "Terminating": "The Canary is being deleted and the target takes the traffic back.";
    TARGET_NOT_READY = "TargetNotReady": "The Canary is being deleted, and its target did not become ready in time to take the traffic back.";
    TERMINATED = "Terminated": "The target has the traffic again and the Canary may go.";
    LINT_BROKEN = "LintBroken": "A plan would have broken a law and was not carried out; the traffic stays where it is.";
}

/// What is wrong with the world for the time being: once it is over, a status at rest must not speak of it any more.
pub fn is_trouble(code: &str) -> bool {
    [
        NOT_OURS,
        NO_SELECTOR_LABEL,
        TARGET_UNUSABLE,
        PORT_NOT_SERVED,
        FOREIGN_ENDPOINTS,
        ROUTE_UNUSABLE,
        WRITE_REFUSED,
        CANNOT_SEE,
        TARGET_MISSING,
        PRIMARY_MISSING,
        SCALER_MISSING,
        DUPLICATE_TARGET,
        SPEC_INVALID,
        SUSPENDED,
        ROUTE_LOWERED,
        PRIMARY_EDITED,
        COPY_REPAIRED,
        REPAIRED,
    ]
    .contains(&code)
}

/// Whether an Event says so when this becomes the reason: all do but for the steps of a wait that has been told.
pub fn is_told(code: &str) -> bool {
    ![NOT_DUE, AT_REST, REPAIRED, DRAINING, GATHERING_EVIDENCE, BAKING].contains(&code)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ALL;

    #[test]
    fn every_code_is_camel_case_and_stands_once() {
        let codes: BTreeSet<_> = ALL.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes.len(), ALL.len());
        for (code, meaning) in ALL {
            assert!(code.starts_with(|c: char| c.is_ascii_uppercase()), "{code}");
            assert!(code.chars().all(|c| c.is_ascii_alphanumeric()), "{code}");
            assert!(meaning.ends_with('.'), "{meaning}");
        }
    }
}
