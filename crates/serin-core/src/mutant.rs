//! Deliberate bugs, to prove that the checks would find them. Without the feature `mutants` none of them is in the program.

/// One deliberate bug. Each is one line of product code behind [`mutant!`](crate::mutant!).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// The route is written before the status that says so.
    ActBeforeRecord,
    /// A rollback lowers the route only after the status write.
    LowerAfterRecord,
    /// The rest of a plan is carried out although its status was not written.
    ActUnrecorded,
    /// People and hooks are told of a decision twice.
    TellTwice,
    /// A raise of the route carries no version.
    UnfencedRaise,
    /// A rollback leaves a route alone that has no share of the canary yet.
    ForgetSeal,
    /// The target is scaled away without a version.
    UnfencedScale,
    /// The status is written without a version.
    UnfencedRecord,
    /// A conflicting status write is repeated with the same plan and the newer version.
    RetryConflict,
    /// A replica acts without the lease.
    LeadWithoutLease,
    /// A missing route is made with the share that the status speaks of.
    RepairWithShare,
    /// A side without traffic stays in the route with weight 100.
    RepairToHundred,
    /// No data counts as a passed check.
    NoDataPasses,
    /// A metric server that cannot be reached counts as a passed check.
    UnreachablePasses,
    /// Every check passes.
    BlindChecks,
    /// A rolled back revision counts as new.
    ForgetRejected,
    /// The analysis advances though something forbids it.
    AdvanceWhileHeld,
    /// The guard's hold does not keep the canary from rising.
    IgnoreGuardHold,
    /// The guard is not heeded once the promotion has begun.
    IgnoreGuardInPromotion,
    /// The guard is not heeded at all.
    IgnoreGuard,
    /// All traffic goes to the primary before its new pods are ready.
    GiveBackEarly,
    /// Pods that lost their traffic go at once.
    ForgetDrain,
    /// The canary is scaled away in the same plan that takes its traffic.
    ScaleDownWhileRouted,
    /// A canary without ready pods keeps its share.
    KeepLostCanary,
    /// A new revision in the middle of an analysis keeps the share of the one before.
    KeepShareOnRestart,
    /// The promotion copies whatever the target is by then.
    PromoteWhateverIsThere,
    /// Two steps are taken at once.
    DoubleStep,
    /// The promotion comes before the last step was passed.
    SkipLastStep,
    /// A moved generation counts as a new revision.
    ReleaseOnGeneration,
    /// What Flagger left is released instead of adopted.
    ReleaseOnAdoption,
    /// An edit of the Canary starts the analysis anew at no traffic.
    ResetOnSpecEdit,
    /// Failed checks never reach the threshold.
    NeverRollBack,
    /// A promotion forgets to note what it promoted.
    ForgetPromoted,
    /// A rollback asks its hooks first.
    RollBackAfterHook,
    /// The finalizer goes before the target has its traffic.
    DropFinalizerEarly,
    /// Whoever leaves gets the traffic before its pods are ready.
    RestoreRouteFirst,
    /// The apex goes to the primary before it has ready endpoints.
    SwitchEarly,
}

impl Mutant {
    pub const ALL: [Mutant; 37] = [
        Mutant::ActBeforeRecord,
        Mutant::LowerAfterRecord,
        Mutant::ActUnrecorded,
        Mutant::TellTwice,
        Mutant::UnfencedRaise,
        Mutant::ForgetSeal,
        Mutant::UnfencedScale,
        Mutant::UnfencedRecord,
        Mutant::RetryConflict,
        Mutant::LeadWithoutLease,
        Mutant::RepairWithShare,
        Mutant::RepairToHundred,
        Mutant::NoDataPasses,
        Mutant::UnreachablePasses,
        Mutant::BlindChecks,
        Mutant::ForgetRejected,
        Mutant::AdvanceWhileHeld,
        Mutant::IgnoreGuardHold,
        Mutant::IgnoreGuardInPromotion,
        Mutant::IgnoreGuard,
        Mutant::GiveBackEarly,
        Mutant::ForgetDrain,
        Mutant::ScaleDownWhileRouted,
        Mutant::KeepLostCanary,
        Mutant::KeepShareOnRestart,
        Mutant::PromoteWhateverIsThere,
        Mutant::DoubleStep,
        Mutant::SkipLastStep,
        Mutant::ReleaseOnGeneration,
        Mutant::ReleaseOnAdoption,
        Mutant::ResetOnSpecEdit,
        Mutant::NeverRollBack,
        Mutant::ForgetPromoted,
        Mutant::RollBackAfterHook,
        Mutant::DropFinalizerEarly,
        Mutant::RestoreRouteFirst,
        Mutant::SwitchEarly,
    ];
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
