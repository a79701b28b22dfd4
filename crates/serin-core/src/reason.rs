//! The closed catalogue of reasons: why a tick advanced, waited or refused, one code each, shown alike everywhere.

use std::fmt;

macro_rules! catalogue {
    ($($name:ident: $meaning:literal;)*) => {
        /// Why a tick advanced, waited or refused. Rendered by its code, shown alike by log, Event, status, CLI and console.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        impl Reason {
            /// All of them, in the order of a release.
            pub const ALL: &[Reason] = &[$(Reason::$name),*];

            /// As status, Events, logs and metrics write it.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Reason::$name => stringify!($name),)*
                }
            }

            /// What it means, in one sentence.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Reason::$name => $meaning,)*
                }
            }
        }
    };
}

catalogue! {
    Initializing: "The primary is being made, or the traffic is being moved to it.";
    NotOurs: "An object of another owner has a name that this Canary needs; it is left alone.";
    NoSelectorLabel: "The target's selector has no label that could tell its pods from the primary's.";
    TargetUnusable: "The target as it is cannot run beside a primary: its update strategy or the ports of its nodes forbid it.";
    PortNotServed: "A Service would lead to a port that is not served, or lose a name that others use.";
    ForeignEndpoints: "A Service picks pods of other workloads, so no traffic is moved to it.";
    RouteUnusable: "The route that spec.routeRef names is not there, or splits its requests with other applications.";
    LeftAlone: "An object of another owner has the name of a copy; it is left alone, and the copy gets another name.";
    WriteRefused: "The API server refuses something that must be written; it is tried again, and the message has its words.";
    InitializationOverdue: "The primary was not made within progressDeadlineSeconds; the target keeps the traffic.";
    PrimaryStuck: "The new primary cannot start; the live target is left alone until it gets a fix.";
    PrimaryRepaired: "The primary could not start and takes up the fix that the target got.";
    Initialized: "The primary serves everything and the target rests.";
    Adopted: "What Flagger left behind was taken over without an analysis.";
    RevisionRecorded: "The same target has another hash, as after an upgrade; it is recorded and nothing is released.";
    AtRest: "Nothing has changed since the last release.";
    Repaired: "A Service, autoscaler or route of ours was missing or had been changed by others, and is put right.";
    PrimaryEdited: "The primary or its autoscaler was changed by hand and is not what was promoted; it is left as it is until the next promotion.";
    CopyRepaired: "A copy of a config was changed by hand and has the promoted contents again; pods read it as they read any change.";
    TargetScaledDown: "The target gets no traffic and was scaled to zero again.";
    NewRevision: "The target changed and its analysis begins.";
    WaitingForRolloutApproval: "A confirm-rollout hook has not approved the new revision.";
    Restarted: "The target changed during its analysis, which begins again at no traffic.";
    Reverted: "The target went back to the revision that the primary runs; there is nothing to analyse.";
    CopyArrived: "The primary runs a revision whose promotion was given up before it was known to have arrived; the target is released over it.";
    CanaryNotReady: "The canary's pods are not ready yet.";
    PodsReplaced: "A config changed after the canary's pods were started; they are started again, so that what is analysed runs with what would be promoted.";
    CanaryLost: "The canary had traffic and no ready endpoint is left; the primary has it back.";
    PrimaryNotReady: "The primary is not ready, so nothing advances.";
    CapacityShort: "A side has fewer ready pods than carried the traffic that it is to get; it is waited for, within progressDeadlineSeconds, but not by a rollback.";
    PreRolloutFailed: "A pre-rollout hook failed; counted as a failed check.";
    NotDue: "The next step of the analysis is not due yet.";
    Advanced: "The checks passed and the canary gets the next share of the traffic.";
    IterationPassed: "The checks passed and one more iteration is done.";
    RouteRepaired: "The canary had less traffic than the status says; the checks passed and it has it again.";
    RouteLowered: "The canary had more traffic than the status says; it was lowered at once.";
    CheckFailed: "A check failed and was counted.";
    NoData: "A metric has nothing to judge; counted as a failed check, as Flagger does, or waited for, as its noData asks.";
    CannotMeasure: "A metric or hook could not be asked; counted as a failed check, as Flagger does, or waited for, as its cannotMeasure asks.";
    WindowReachesBack: "The window of a metric begins before this revision was measured, so that its value is not of this revision alone; it is waited for, and nothing is counted.";
    GuardHolds: "The guard has not seen enough to let the canary advance.";
    GuardBlind: "The guard could not measure for the time of blindDeadline: the canary's share was taken back, nothing is rejected, and the analysis begins again at its first step once the guard can see.";
    GatheringEvidence: "With pace evidence: the evidence at this share does not allow the next one yet.";
    EvidenceMissing: "With pace evidence: maxDuration is over and the evidence does not suffice; the release keeps its share until it does.";
    Baking: "All steps were passed before minBake is over; the canary keeps its share.";
    WaitingForTrafficApproval: "A confirm-traffic-increase hook has not approved the next share.";
    WaitingForPromotionApproval: "A confirm-promotion hook has not approved the promotion; the analysis goes on.";
    Promoting: "The analysed revision is being copied to the primary.";
    PromotionStep: "One more step of the traffic went back to the promoted primary.";
    Finalising: "The promoted primary has all traffic and the canary drains.";
    Promoted: "The analysed revision is what the primary runs, with all traffic.";
    PromotedUnanalysed: "The primary runs the new revision, whose analysis was skipped (skipAnalysis), or cut short by a person.";
    Soaking: "The promoted primary is watched for the time of guard.soak, and taken back if it breaks an objective.";
    SoakPassed: "The promoted primary was watched for the time of guard.soak, and nothing spoke against it.";
    SoakEnded: "The promoted primary is no longer watched: a new release begins, or the spec asks for no soak.";
    SoakAlarm: "The promoted primary breaks an objective, and nothing is kept that it could be taken back to.";
    Undoing: "The promoted primary broke an objective and is taken back to the revision before.";
    Undone: "The primary runs the revision before its last promotion again; the one it was taken back from stays rejected.";
    UndoLost: "The primary, or what was kept of it, was deleted before it was taken back.";
    ThresholdReached: "As many checks failed as the threshold allows; rolled back.";
    MetricsNotReady: "The guard or a check cannot measure; the condition MetricsReady says what to put right first.";
    GuardRolledBack: "The guard's evidence says that the canary is worse than it may be; rolled back.";
    GuardWouldRollBack: "The guard only observes; its evidence says that the canary is worse than it may be.";
    Aborted: "A person aborted the release with a ReleaseAction; rolled back.";
    Paused: "A person paused the release: nothing is raised until it is resumed; checks and the guard go on.";
    ActionTaken: "A ReleaseAction was carried out; the message says which, by whom and why.";
    ActionRefused: "A ReleaseAction could not be carried out; the message says why, and nothing has changed.";
    HookPassed: "A post-rollout hook answered that all is well; an Event only.";
    HookFailed: "A post-rollout hook refused or could not be asked; an Event only, the promotion stands.";
    RollbackAsked: "A rollback hook asked for it; rolled back.";
    CanaryStuck: "The canary's pods did not become ready in time; rolled back.";
    TargetGone: "The target was deleted during its analysis; rolled back.";
    PromotionFailed: "The primary did not become ready with the promoted revision.";
    Draining: "All traffic left some pods, which get a moment to finish what they began.";
    RolledBack: "The rejected revision has no traffic and no pods.";
    Suspended: "spec.suspend is set; nothing is touched but by a rollback of the guard. The condition Suspended says the rest, and the last reason stays.";
    DuplicateTarget: "An older Canary has the same target, or writes an object that this one would write; this one stays out of its way.";
    TargetMissing: "The target does not exist.";
    PrimaryMissing: "The primary was deleted.";
    ScalerMissing: "The autoscaler that the spec names does not exist.";
    CannotSee: "Something could not be read, so nothing advances; rollbacks go on.";
    Unsupported: "The spec asks for what is not supported yet; nothing is touched, and every such field is named.";
    SpecWarning: "The spec is acted on, and something in it has no effect or another one than it seems.";
    SpecInvalid: "The spec is invalid; the running version keeps all traffic.";
    Terminating: "The Canary is being deleted and the target takes the traffic back.";
    TargetNotReady: "The Canary is being deleted, and its target did not become ready in time to take the traffic back.";
    Terminated: "The target has the traffic again and the Canary may go.";
    LintBroken: "A plan would have broken a law and was not carried out; the traffic stays where it is.";
}

impl Reason {
    /// The reason that has this code. None for what another version of Serin, or Flagger, has written.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.code() == code)
    }

    /// What is wrong with the world for the time being: once it is over, a status at rest must not speak of it any more.
    pub fn is_trouble(self) -> bool {
        [
            Self::NotOurs,
            Self::NoSelectorLabel,
            Self::TargetUnusable,
            Self::PortNotServed,
            Self::ForeignEndpoints,
            Self::RouteUnusable,
            Self::WriteRefused,
            Self::CannotSee,
            Self::TargetMissing,
            Self::PrimaryMissing,
            Self::ScalerMissing,
            Self::DuplicateTarget,
            Self::SpecInvalid,
            Self::Suspended,
            Self::RouteLowered,
            Self::PrimaryEdited,
            Self::CopyRepaired,
            Self::Repaired,
            Self::LintBroken,
        ]
        .contains(&self)
    }

    /// Whether an Event says so when this becomes the reason: all do but for the steps of a wait that has been told.
    pub fn is_told(self) -> bool {
        ![
            Self::NotDue,
            Self::AtRest,
            Self::Repaired,
            Self::Draining,
            Self::GatheringEvidence,
            Self::Baking,
        ]
        .contains(&self)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_code_leads_back_to_its_reason_and_every_meaning_is_a_sentence() {
        for reason in Reason::ALL {
            assert_eq!(Reason::of_code(reason.code()), Some(*reason));
            assert!(reason.meaning().ends_with('.'), "{}", reason.meaning());
        }
        assert_eq!(Reason::of_code("MadeUp"), None);
    }
}
