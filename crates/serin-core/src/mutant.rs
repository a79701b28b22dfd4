//! Deliberate bugs, to prove that the checks would find them. Without the feature `mutants` none of them is in the program.

/// Where a deliberate bug is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// In every order of events of one canary: `serin-core`'s exhaustive search.
    InTheSmallWorld,
    /// In the shell, in a router, in gates, reads or deletions, which the small world has not: lives of the whole operator.
    InLives,
    /// Only where hundreds share what there is: lives of a crowd.
    InCrowds,
    /// Only beside objects of others: lives among strangers.
    AmongStrangers,
}

macro_rules! mutants {
    ($($name:ident, $shows:ident, $what:literal;)*) => {
        /// One deliberate bug. Each is a line or two of product code behind [`mutant!`](crate::mutant!).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mutant {
            $(#[doc = $what] $name,)*
        }

        impl Mutant {
            pub const ALL: &[Mutant] = &[$(Mutant::$name,)*];

            /// What goes wrong.
            pub fn what(self) -> &'static str {
                match self {
                    $(Mutant::$name => $what,)*
                }
            }

            pub fn shows(self) -> Shows {
                match self {
                    $(Mutant::$name => Shows::$shows,)*
                }
            }
        }
    };
}

mutants! {
    ActBeforeRecord, InTheSmallWorld, "The route is written before the status that says so.";
    LowerAfterRecord, InTheSmallWorld, "A rollback lowers the route only after the status write.";
    ActUnrecorded, InTheSmallWorld, "The rest of a plan is carried out although its status was not written.";
    TellTwice, InLives, "People and hooks are told of a decision twice.";
    UnfencedRaise, InTheSmallWorld, "A raise of the route carries no version.";
    ForgetSeal, InTheSmallWorld, "A rollback leaves a route alone that has no share of the canary yet.";
    UnfencedScale, InLives, "The target is scaled away without a version.";
    UnfencedRecord, InTheSmallWorld, "The status is written without a version.";
    RetryConflict, InLives, "A conflicting status write is repeated with the same plan and the newer version.";
    LeadWithoutLease, InLives, "A replica acts without the lease.";
    RepairWithShare, InTheSmallWorld, "A missing route is made with the share that the status speaks of.";
    RepairToHundred, InLives, "A side without traffic stays in the route with weight 100.";
    NoDataPasses, InTheSmallWorld, "No data counts as a passed check.";
    UnreachablePasses, InTheSmallWorld, "A metric server that cannot be reached counts as a passed check.";
    BlindChecks, InTheSmallWorld, "Every check passes.";
    ForgetRejected, InTheSmallWorld, "A rolled back revision counts as new.";
    AdvanceWhileHeld, InTheSmallWorld, "The analysis advances though something forbids it.";
    IgnoreGuardHold, InTheSmallWorld, "The guard's hold does not keep the canary from rising.";
    IgnoreGuardInPromotion, InTheSmallWorld, "The guard is not heeded once the promotion has begun.";
    IgnoreGuard, InTheSmallWorld, "The guard is not heeded at all.";
    GiveBackEarly, InTheSmallWorld, "All traffic goes to the primary before its new pods are ready.";
    ForgetDrain, InTheSmallWorld, "Pods that lost their traffic go at once.";
    ScaleDownWhileRouted, InTheSmallWorld, "The canary is scaled away in the same plan that takes its traffic.";
    KeepLostCanary, InTheSmallWorld, "A canary without ready pods keeps its share.";
    KeepShareOnRestart, InTheSmallWorld, "A new revision in the middle of an analysis keeps the share of the one before.";
    PromoteWhateverIsThere, InLives, "The promotion copies whatever the target is by then.";
    DoubleStep, InTheSmallWorld, "Two steps are taken at once.";
    SkipLastStep, InTheSmallWorld, "The promotion comes before the last step was passed.";
    ReleaseOnGeneration, InTheSmallWorld, "A moved generation counts as a new revision.";
    ReleaseOnAdoption, InTheSmallWorld, "What Flagger left is released instead of adopted.";
    ResetOnSpecEdit, InTheSmallWorld, "An edit of the Canary starts the analysis anew at no traffic.";
    NeverRollBack, InTheSmallWorld, "Failed checks never reach the threshold.";
    ForgetPromoted, InTheSmallWorld, "A promotion forgets to note what it promoted.";
    RollBackAfterHook, InLives, "A rollback asks its hooks first.";
    DropFinalizerEarly, InLives, "The finalizer goes before the target has its traffic.";
    RestoreRouteFirst, InLives, "Whoever leaves gets the traffic before its pods are ready.";
    SwitchEarly, InTheSmallWorld, "The apex goes to the primary before it has ready endpoints.";
    ActOnStaleCache, InLives, "A replica decides on what the watch brought last, and writes with the version of its own newer write.";
    SpendAlphaAgain, InLives, "A guard that starts again forgets what it has counted, and spends its alpha once more.";
    ReadErrorIsChange, InLives, "Configs that cannot be read count as changed ones.";
    GatesOpen, InLives, "A gate that refuses is taken for open.";
    TouchTarget, InLives, "Who scales the target writes something of the user as well.";
    BlameForOthers, InLives, "A revision answers for what the one before it did in the window of a check.";
    WatchWhole, InLives, "ConfigMaps and Secrets are listed whole, those of others as well.";
    KeepTurn, InCrowds, "A tick keeps its turn while it waits for a hook or a query.";
    RaiseLate, InLives, "A raise goes out however long its status write has taken.";
    BlindForEver, InLives, "A canary keeps its share for as long as its guard cannot measure.";
    AdoptByName, AmongStrangers, "Whatever stands under a derived name is taken for ours.";
    OneLabel, AmongStrangers, "Services select by one label of the target's.";
    TrustEndpoints, AmongStrangers, "Pods behind a Service count as those of its workload, whosever they are.";
    OverwritePorts, AmongStrangers, "A live Service gets the Canary's target port, whatever it had.";
    ShareCopies, AmongStrangers, "The copy of a config is everybody's who reads the config.";
    TakeTwice, AmongStrangers, "A Canary acts although an older one has the same target.";
    KeepSentence, AmongStrangers, "A condition keeps its sentence as long as its value is the same.";
    StayRed, AmongStrangers, "A release that was rejected stays a failure when it was taken back.";
    KeepTrouble, AmongStrangers, "What is over stays the reason at rest.";
    ForgetReason, InTheSmallWorld, "Nobody says why.";
}

/// Whether this deliberate bug is to happen here.
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutant::on($crate::mutant::Mutant::$name)
    };
}

#[cfg(any(test, feature = "mutants"))]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static CURRENT: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Switched on for this thread until dropped: a simulated world lives on one thread.
    pub struct Switched(());

    impl Switched {
        pub fn on(mutant: Mutant) -> Self {
            CURRENT.set(Some(mutant));
            Self(())
        }
    }

    impl Drop for Switched {
        fn drop(&mut self) {
            CURRENT.set(None);
        }
    }

    pub fn on(mutant: Mutant) -> bool {
        CURRENT.get() == Some(mutant)
    }

    pub fn any() -> bool {
        CURRENT.get().is_some()
    }
}

#[cfg(any(test, feature = "mutants"))]
pub use switch::{Switched, any, on};

/// Never, in a program without them.
#[cfg(not(any(test, feature = "mutants")))]
#[inline(always)]
pub const fn on(_: Mutant) -> bool {
    false
}

/// Never, in a program without them.
#[cfg(not(any(test, feature = "mutants")))]
#[inline(always)]
pub const fn any() -> bool {
    false
}
