//! What no plan may do, checked by code that is written apart from the code that decides.

use std::fmt;

use jiff::Timestamp;

use crate::control::{Command, Outcome, Request};
use crate::law::Law::{
    self, AnalysedIsPromoted, EverythingEnds, NoRequestLost, NoSurpriseRelease, OnlyOurFields,
    RaisingIsFenced, SaysWhy,
};
use crate::model::{Canary, Exposure, HookKind, Phase, Running, Status, Weight};
use crate::observed::{Guard, Observed, Readiness, Seen, Selects};
use crate::plan::{Action, Plan};
use crate::reason::Reason;
use crate::status::LEDGER_MAX;

/// More is never given to a canary of which nothing is known.
const FIRST_SHARE_MAX: Weight = Weight::TENTH;

/// A law that a plan would break. Such a plan is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    pub law: Law,
    /// How the plan would break it.
    pub message: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.law, self.message)
    }
}

/// What is looked at, and what was found.
struct Lint<'a> {
    canary: &'a Canary,
    seen: &'a Observed,
    plan: &'a Plan,
    breaches: Vec<Breach>,
}

/// Every law that `plan` would break; a good plan has none.
pub fn lint(canary: &Canary, seen: &Observed, plan: &Plan, now: Timestamp) -> Vec<Breach> {
    let mut lint = Lint { canary, seen, plan, breaches: Vec::new() };
    lint.lowering_lowers();
    lint.route_follows_status();
    lint.raises_are_earned();
    lint.shares_have_pods();
    lint.workloads();
    lint.revisions();
    lint.undo();
    lint.hands_off();
    lint.form(now);
    lint.breaches
}

impl Lint<'_> {
    fn broken(&mut self, law: Law, message: impl Into<String>) {
        self.breaches.push(Breach { law, message: message.into() });
    }

    fn forbid(&mut self, law: Law, bad: bool, message: &str) {
        if bad {
            self.broken(law, message);
        }
    }

    fn endpoints(seen: &Seen<crate::observed::ServiceSeen>) -> Option<u32> {
        seen.present().map(|service| service.ready_endpoints)
    }

    /// Whether a person asks for it, means this very release, and is told that it is done.
    fn asked(&self, wanted: impl Fn(&Command) -> bool) -> bool {
        let done = |request: &&Request| {
            let said = self.plan.handled.iter().find(|handled| handled.uid == request.uid);
            said.is_some_and(|handled| matches!(handled.outcome, Outcome::Done(_)))
        };
        let release = &self.canary.status.release;
        let meant = |request: &&Request| request.release == *release && !release.is_empty();
        self.seen.requests.iter().filter(done).filter(meant).any(|request| wanted(&request.command))
    }

    /// What the canary gets at most right now.
    fn routed(&self) -> Exposure {
        match &self.seen.route {
            Seen::Present(live) if self.canary.spec.provider.has_router() => *live,
            Seen::Present(_) | Seen::Absent | Seen::Unreadable(_) => Exposure::NONE,
        }
    }

    fn lowering_lowers(&mut self) {
        let Some(exposure) = self.plan.lower else { return };
        let bad = !exposure.is_within(self.routed());
        self.forbid(RaisingIsFenced, bad, "what is to lower the canary's share raises it");
        let bad = !exposure.is_within(self.plan.status.exposure());
        self.forbid(RaisingIsFenced, bad, "the route is lowered to more than the status says");
    }

    fn route_follows_status(&mut self) {
        let decided = self.plan.status.exposure();
        for action in &self.plan.actions {
            match action {
                Action::Route(exposure) => {
                    let bad = *exposure != decided;
                    self.forbid(
                        RaisingIsFenced,
                        bad,
                        "a route is set to other than the status says",
                    );
                }
                Action::EnsureRoute(exposure) => {
                    let bad = !exposure.is_within(self.routed()) || !exposure.is_within(decided);
                    self.forbid(RaisingIsFenced, bad, "ensuring a route raises the canary's share");
                }
                Action::Services
                | Action::ApexToPrimary
                | Action::ApexToTarget
                | Action::CreatePrimary { .. }
                | Action::PromotePrimary { .. }
                | Action::KeepPrimary { .. }
                | Action::UndoPrimary { .. }
                | Action::PrimaryScaler
                | Action::RepairCopies
                | Action::HoldPrimary(_)
                | Action::ScaleTarget(_)
                | Action::RestoreRoute
                | Action::Finalizer(_) => {}
            }
        }
    }

    /// Whether a write of the plan gives the canary more than it has.
    fn raises_the_route(&self) -> bool {
        let raises = |action: &Action| match action {
            Action::Route(exposure) | Action::EnsureRoute(exposure) => {
                !exposure.is_within(self.routed())
            }
            Action::Services
            | Action::ApexToPrimary
            | Action::ApexToTarget
            | Action::CreatePrimary { .. }
            | Action::PromotePrimary { .. }
            | Action::KeepPrimary { .. }
            | Action::UndoPrimary { .. }
            | Action::PrimaryScaler
            | Action::RepairCopies
            | Action::HoldPrimary(_)
            | Action::ScaleTarget(_)
            | Action::RestoreRoute
            | Action::Finalizer(_) => false,
        };
        self.plan.actions.iter().any(raises)
    }

    fn keeps_users(&self) -> bool {
        self.plan.status.phase == Some(Phase::Failed)
            && self.plan.status.exposure() == Exposure::FULL
            && self.plan.explanation.reason == Reason::PromotionFailed
    }

    fn raises_are_earned(&mut self) {
        let (old, new) = (self.canary.status.exposure(), self.plan.status.exposure());
        let decided = !new.is_within(old);
        if !decided && !self.raises_the_route() {
            return;
        }
        let ready =
            self.seen.target.present().is_some_and(|target| target.readiness == Readiness::Ready);
        let endpoints = Self::endpoints(&self.seen.services.canary).unwrap_or(0);
        self.forbid(
            NoRequestLost,
            !ready || endpoints == 0,
            "a canary that is not ready gets more traffic",
        );
        let against = match &self.seen.guard {
            Guard::Quiet => false,
            // There is no other who could serve.
            Guard::Hold(_) => !self.keeps_users(),
            Guard::RollBack(_) => true,
        };
        self.forbid(RaisingIsFenced, against, "the canary rises against the guard");
        let same = self
            .seen
            .target
            .present()
            .is_some_and(|target| target.revision == self.plan.status.last_applied_spec);
        self.forbid(
            AnalysedIsPromoted,
            !same,
            "a revision that is not the analysed one gets more traffic",
        );
        let terminal = self.canary.deleting || self.canary.spec.suspend;
        self.forbid(RaisingIsFenced, terminal, "the canary of a suspended or deleted object rises");
        if self.keeps_users() {
            return;
        }
        let primary = Self::endpoints(&self.seen.services.primary).unwrap_or(0);
        let stuck = match &self.seen.primary {
            Seen::Present(primary) => matches!(primary.readiness, Readiness::Stuck(_)),
            Seen::Absent => true,
            Seen::Unreadable(_) => false,
        };
        let bad = primary == 0 && !stuck;
        self.forbid(NoRequestLost, bad, "the canary rises while the primary has no ready endpoint");
        let paused = |status: &Status| {
            status.control.as_ref().is_some_and(|control| control.paused.is_some())
        };
        let set = self.asked(|command| matches!(command, Command::SetWeight(_)));
        let paused = paused(&self.canary.status) && paused(&self.plan.status) && !set;
        self.forbid(RaisingIsFenced, paused, "the canary of a paused release rises");
        let progressing = self.plan.status.phase == Some(Phase::Progressing);
        self.forbid(RaisingIsFenced, !progressing, "the canary rises outside an analysis");
        if decided {
            let wanted = Command::SetWeight(new.share);
            let bad = !self.may_follow(old, new) && !self.asked(|command| *command == wanted);
            self.forbid(RaisingIsFenced, bad, "the canary rises beyond its next step");
        }
    }

    /// Whether the schedule of the spec lets a canary go from one exposure to the other: to the stage after its own or, before
    /// it has users and where evidence sets the pace, to a share of up to a tenth.
    fn may_follow(&self, old: Exposure, new: Exposure) -> bool {
        let schedule = &self.canary.spec.analysis.schedule;
        let stages: Vec<Exposure> = schedule.stages.iter().map(|stage| stage.exposure).collect();
        let next = match stages.iter().position(|stage| *stage == old) {
            Some(place) => stages.get(place + 1).copied(),
            None => stages.iter().copied().find(|stage| match old.has_users() {
                true => stage.share > old.share,
                false => !stage.is_within(old),
            }),
        };
        let evidence = self.canary.spec.analysis.evidence_pace().is_some();
        let first = evidence && !old.has_users() && new.share <= FIRST_SHARE_MAX;
        next == Some(new) || (first && stages.contains(&new))
    }

    fn shares_have_pods(&mut self) {
        let exposed = !self.plan.status.exposure().is_none();
        let analysing =
            matches!(self.plan.status.phase, Some(Phase::Progressing | Phase::WaitingPromotion));
        let empty = Self::endpoints(&self.seen.services.canary) == Some(0);
        let untouched =
            self.canary.spec.suspend || self.seen.duplicate_of.is_some() || self.canary.deleting;
        let bad = exposed && analysing && empty && !untouched;
        self.forbid(NoRequestLost, bad, "a canary without a ready endpoint keeps its share");
        let resting = matches!(
            self.plan.status.phase,
            Some(Phase::Initialized | Phase::Succeeded | Phase::Finalising)
        );
        let entered = self.plan.status.phase != self.canary.status.phase;
        self.forbid(EverythingEnds, resting && exposed && entered, "a canary has traffic at rest");

        let giving_back = self.plan.status.phase == Some(Phase::Finalising)
            && self.canary.status.phase != Some(Phase::Finalising);
        let dead = Self::endpoints(&self.seen.services.primary) == Some(0);
        self.forbid(
            NoRequestLost,
            giving_back && dead,
            "a primary without a ready endpoint gets everything",
        );
    }

    /// By the endpoints of its Service; without one that picks its pods, by the pods.
    fn target_serves(&self) -> bool {
        let Some(target) = self.seen.target.present() else { return false };
        if target.readiness != Readiness::Ready {
            return false;
        }
        let service = match &self.seen.services.canary {
            Seen::Present(service) => Some(service).filter(|of| of.selects == Selects::Target),
            Seen::Absent => None,
            Seen::Unreadable(_) => return false,
        };
        service.map_or(target.available_replicas, |service| service.ready_endpoints) > 0
    }

    /// Before the target is scaled away.
    fn target_is_idle(&mut self, apex: Option<Selects>) {
        let routed = match &self.seen.route {
            _ if !self.canary.spec.provider.has_router() => false,
            Seen::Absent => false,
            Seen::Present(live) => !live.is_none(),
            Seen::Unreadable(_) => true,
        } || !self.plan.status.exposure().is_none();
        self.forbid(NoRequestLost, routed, "the target is scaled away while it is routed");
        let selected = apex != Some(Selects::Primary);
        let message = "the target is scaled away while the apex may select it";
        self.forbid(NoRequestLost, selected, message);
    }

    fn workloads(&mut self) {
        let apex = self.seen.services.apex.present().map(|apex| apex.selects);
        let primary = Self::endpoints(&self.seen.services.primary).unwrap_or(0);
        let phase = self.plan.status.phase;
        for action in &self.plan.actions {
            match action {
                Action::ScaleTarget(Running::Off) => self.target_is_idle(apex),
                Action::ApexToPrimary => {
                    self.forbid(
                        NoRequestLost,
                        primary == 0,
                        "the apex goes to a primary without endpoints",
                    );
                }
                Action::ApexToTarget => {
                    let served = self.target_serves();
                    self.forbid(
                        NoRequestLost,
                        !served,
                        "the apex goes to a target without endpoints",
                    );
                    let bad = phase != Some(Phase::Terminating);
                    self.forbid(
                        NoRequestLost,
                        bad,
                        "the apex goes to the target though the Canary is not being deleted",
                    );
                }
                Action::Finalizer(false) => {
                    let held = self.canary.deleting
                        && self.canary.spec.revert_on_deletion
                        && self.seen.target.present().is_some()
                        && apex != Some(Selects::Target);
                    self.forbid(
                        NoRequestLost,
                        held,
                        "the Canary goes before the target has its traffic",
                    );
                }
                Action::Services
                | Action::CreatePrimary { .. }
                | Action::PromotePrimary { .. }
                | Action::KeepPrimary { .. }
                | Action::UndoPrimary { .. }
                | Action::PrimaryScaler
                | Action::RepairCopies
                | Action::HoldPrimary(_)
                | Action::ScaleTarget(_)
                | Action::Route(_)
                | Action::EnsureRoute(_)
                | Action::RestoreRoute
                | Action::Finalizer(true) => {}
            }
        }
    }

    fn revisions(&mut self) {
        let (old, new) = (&self.canary.status, &self.plan.status);
        let target = self.seen.target.present();
        // The same object under another hash is no other revision.
        let renamed = target.is_some_and(|target| old.saw_last(&target.uid, target.generation));
        for action in &self.plan.actions {
            let Action::PromotePrimary { revision } = action else { continue };
            let bad = *revision != new.last_applied_spec;
            self.forbid(
                AnalysedIsPromoted,
                bad,
                "the primary gets a revision that was not taken up",
            );
            let analysed = match old.phase {
                Some(Phase::Progressing | Phase::WaitingPromotion | Phase::Promoting) => {
                    *revision == old.last_applied_spec || renamed
                }
                // The primary never served: there is nothing to protect.
                None | Some(Phase::Initializing) => true,
                // Nothing but the target serves any more.
                Some(Phase::Failed) => {
                    old.exposure() == Exposure::FULL
                        && Self::endpoints(&self.seen.services.primary) == Some(0)
                }
                // An object that was restored from a backup begins anew.
                Some(Phase::Terminating | Phase::Terminated) => !self.canary.deleting,
                Some(
                    Phase::Initialized | Phase::Waiting | Phase::Finalising | Phase::Succeeded,
                ) => false,
            };
            self.forbid(
                AnalysedIsPromoted,
                !analysed,
                "the primary gets a revision that was not analysed",
            );
        }
        let restarted = old.phase == Some(Phase::Failed)
            && matches!(new.phase, Some(Phase::Progressing | Phase::Waiting))
            && target.is_some_and(|target| target.revision == old.last_applied_spec)
            && self
                .seen
                .configs
                .present()
                .is_none_or(|now| Some(now) == old.tracked_configs.as_ref());
        let restarted = restarted && !self.asked(|command| *command == Command::Retry);
        self.forbid(NoSurpriseRelease, restarted, "a rejected revision is taken up again");
        let began = matches!(old.phase, Some(Phase::Initialized | Phase::Succeeded))
            && matches!(new.phase, Some(Phase::Progressing | Phase::Waiting))
            && renamed
            && self
                .seen
                .configs
                .present()
                .is_none_or(|now| Some(now) == old.tracked_configs.as_ref());
        self.forbid(NoSurpriseRelease, began, "a release begins though the target did not change");
        let past = target.is_some_and(|target| {
            let same = Some(&target.uid) == old.target_uid.as_ref();
            same && !target.confirmed && Some(target.generation) < old.target_generation
        });
        let decided = (&old.last_applied_spec, &old.last_promoted_spec, old.target_generation)
            != (&new.last_applied_spec, &new.last_promoted_spec, new.target_generation);
        self.forbid(
            NoSurpriseRelease,
            past && decided,
            "a target of the past is taken for a change",
        );
        let ended =
            new.phase == Some(Phase::Succeeded) && new.last_applied_spec != new.last_promoted_spec;
        self.forbid(
            AnalysedIsPromoted,
            ended && old.phase != new.phase,
            "success is claimed for another revision",
        );
    }

    /// A primary is taken back only to what the status says it goes back to, and only on evidence.
    fn undo(&mut self) {
        let (old, new) = (&self.canary.status, &self.plan.status);
        let begun =
            |status: &Status| status.soak.as_ref().is_some_and(|soak| !soak.undo.is_empty());
        let condemned = matches!(self.seen.guard, Guard::RollBack(_));
        for action in &self.plan.actions {
            let Action::UndoPrimary { token } = action else { continue };
            let said = new.soak.as_ref().is_some_and(|soak| {
                !soak.undo.is_empty()
                    && !soak.previous.is_empty()
                    && token.starts_with(&soak.previous)
                    && soak.previous == new.last_promoted_spec
            });
            self.forbid(
                AnalysedIsPromoted,
                !said,
                "the primary goes back to something the status does not say",
            );
            let asked = self.asked(|command| *command == Command::Undo);
            let earned = begun(old) || (condemned && old.soak.is_some()) || asked;
            self.forbid(
                AnalysedIsPromoted,
                !earned,
                "the primary goes back without evidence against it",
            );
        }
    }

    fn hands_off(&mut self) {
        let acts = !self.plan.actions.is_empty();
        let rolls_back = matches!(self.seen.guard, Guard::RollBack(_));
        let lowers = self.plan.lower.is_some();
        let deleting = self.canary.deleting;
        let other = self.seen.duplicate_of.is_some() && !deleting;
        self.forbid(
            OnlyOurFields,
            other && (acts || lowers),
            "the target of another Canary is touched",
        );
        let suspended = self.canary.spec.suspend && !deleting && !other;
        self.forbid(OnlyOurFields, suspended && acts, "a suspended canary is touched");
        let rolls_back = rolls_back || self.asked(|command| *command == Command::Abort);
        self.forbid(
            OnlyOurFields,
            suspended && lowers && !rolls_back,
            "a suspended canary is lowered",
        );
    }

    fn form(&mut self, now: Timestamp) {
        let status = &self.plan.status;
        self.forbid(EverythingEnds, self.plan.next <= now, "the next look is not in the future");
        self.forbid(
            EverythingEnds,
            status.checks.len() > LEDGER_MAX,
            "the ledger of checks is not bounded",
        );
        self.forbid(
            EverythingEnds,
            status.canary_weight > 100,
            "the canary has more than everything",
        );
        self.forbid(SaysWhy, self.plan.explanation.message.is_empty(), "the reason says nothing");
        let hooks = &self.canary.spec.analysis.webhooks;
        let bad =
            self.plan.calls.iter().any(|index| {
                hooks.get(*index).is_none_or(|hook| hook.kind != HookKind::PostRollout)
            });
        self.forbid(EverythingEnds, bad, "a hook is called whose answer would count");
    }
}
