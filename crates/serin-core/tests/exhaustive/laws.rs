//! What must hold in the small world, told by code that shares nothing with what decides.

use std::collections::{BTreeMap, BTreeSet};

use crate::moves::{Verdict, apex_leads_to_target};
use crate::world::{BEAT, Flight, Objects, Revision, World};
use serin_core::apply_order::Next;
use serin_core::model::{Phase, Status};
use serin_core::observed::Guard;

/// A broken law: its number and what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) law: u8,
    pub(super) what: String,
}

pub(super) fn broken(law: u8, what: impl Into<String>) -> Result<(), Broken> {
    Err(Broken { law, what: what.into() })
}

/// Failed checks of the only policy here.
const THRESHOLD: u32 = 2;
/// The steps of the only policy here.
const RUNGS: [u8; 3] = [10, 30, 50];

/// What the watcher remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ghost {
    /// The user brought something, ever.
    pub(super) pushed: bool,
    /// The user brought something that has not come to its end.
    pub(super) brought: bool,
    /// Revisions that were rolled back, with the version of the status that said so.
    pub(super) rejected: BTreeMap<Revision, u32>,
    /// Rounds that a revision passed, by the share it had.
    pub(super) passed: BTreeSet<(Revision, u8)>,
    /// Since when nothing is routed to the target; none while something is.
    pub(super) unrouted: Option<i64>,
    /// The share was set by another client, and nobody has written the route since.
    pub(super) foreign: bool,
    /// What was brought before anybody looked, and was taken over as it is beside a primary that runs something else.
    pub(super) found: Option<Revision>,
}

impl Ghost {
    pub(super) fn new(world: &World) -> Self {
        let mut ghost = Self {
            pushed: false,
            brought: false,
            rejected: BTreeMap::new(),
            passed: BTreeSet::new(),
            unrouted: Some(-1_000),
            foreign: false,
            found: None,
        };
        ghost.follow(world);
        ghost
    }

    pub(super) fn forgive_drain(&mut self, now: i64) {
        self.unrouted = self.unrouted.map(|since| since.min(now - BEAT));
    }

    /// Only the last version is remembered: one that is brought back after another is analysed anew, and anew rejected.
    fn take_up(&mut self, old: &Status, new: &Status, truth: &Objects) {
        let taken = known(&new.last_applied_spec);
        if new.last_applied_spec != old.last_applied_spec {
            self.rejected.retain(|revision, _| *revision == taken);
            self.passed.retain(|(revision, _)| *revision != taken);
        }
        let ended = matches!(new.phase, Some(Phase::Succeeded | Phase::Failed));
        // What counts as promoted and does not run is still to come, whatever the status says.
        let runs = truth.primary.as_ref().is_some_and(|primary| primary.revision == taken);
        let ended = ended && (runs || self.rejected.contains_key(taken));
        // What the user brought and took back may be heard of late, as long as nobody has looked at what there is now.
        let ended = ended && new.target_generation == Some(truth.target.generation);
        if ended && truth.target.revision == taken {
            self.brought = false;
        }
    }

    /// Keeps the time since when the target has nothing to do.
    pub(super) fn follow(&mut self, world: &World) {
        let routed = share(&world.truth) > 0 || apex_leads_to_target(world);
        if routed {
            self.unrouted = None;
        } else if self.unrouted.is_none() {
            self.unrouted = Some(world.now);
            // Where the status knew before the route did, the drain counts from the status.
            let status = &world.truth.status;
            if matches!(status.phase, Some(Phase::Failed | Phase::Finalising)) {
                self.forgive_drain(world.now);
                self.unrouted = status.drain_time.map(seconds).or(self.unrouted);
            }
        }
    }
}

fn seconds(time: jiff::Timestamp) -> i64 {
    time.duration_since(crate::world::at(0)).as_secs()
}

fn share(objects: &Objects) -> u8 {
    objects.route.map_or(0, |(share, _)| share)
}

pub(super) fn known(revision: &str) -> Revision {
    ["s1:v1", "s1:v2", "s1:v3"].into_iter().find(|known| *known == revision).unwrap_or("?")
}

/// A plan was made.
pub(super) fn decided(
    world: &World,
    ghost: &mut Ghost,
    flight: &Flight,
    answer: Verdict,
) -> Result<(), Broken> {
    let passes = answer == Verdict::Pass;
    let view = world.view();
    let before = &flight.before;
    if world.asked && passes && share(&view) == before.canary_weight {
        ghost.passed.insert((known(&before.last_applied_spec), before.canary_weight));
    }
    let condemned = matches!(world.observe(&view).guard, Guard::RollBack(_));
    let releasing = before.phase.is_some_and(Phase::is_releasing);
    if condemned && releasing && share(&view) > 0 {
        let first = match flight.order.next() {
            Next::Lower => flight.plan.lower,
            Next::Record | Next::Tell | Next::Act(_) | Next::Done | Next::GivenUp => None,
        };
        let lowers = first.is_some_and(|exposure| exposure.is_none());
        if !lowers {
            return broken(1, "the guard condemns, and the first write is not the route");
        }
        if world.asked_anything {
            return broken(1, "the guard condemns, and somebody is asked first");
        }
    }
    let after = &flight.plan.status;
    let rises = after.canary_weight > before.canary_weight;
    if rises && !world.looked {
        return broken(2, "the canary rises before the guard has looked");
    }
    if rises && view.primary.as_ref().is_some_and(|primary| !primary.serving) {
        return broken(5, "the canary rises while the primary has no ready pod");
    }
    let analysed = matches!(after.phase, Some(Phase::Progressing | Phase::WaitingPromotion));
    if analysed && before.canary_weight > 0 && after.canary_weight > 0 && !view.target.serving {
        return broken(5, "a canary without a ready pod keeps its share");
    }
    let another = after.last_applied_spec != before.last_applied_spec;
    if analysed && another && after.canary_weight > 0 {
        return broken(4, "a new revision inherits the share of the one before");
    }
    let fails = world.asked && !passes;
    if fails && analysed && after.failed_checks >= THRESHOLD {
        return broken(9, "as many checks failed as may, and the release goes on");
    }
    Ok(())
}

/// People were told.
pub(super) fn told(flight: &Flight) -> Result<(), Broken> {
    if flight.told {
        return broken(10, "people are told twice");
    }
    if !flight.plan.calls.is_empty() && flight.plan.status.phase == flight.before.phase {
        return broken(9, "a post-rollout hook is called though nothing ended");
    }
    Ok(())
}

/// Something was written, or was not.
pub(super) fn written(
    world: &World,
    ghost: &mut Ghost,
    before: &Objects,
    flight: &Flight,
    zombie: bool,
) -> Result<(), Broken> {
    let looks = Look { world, before, flight, zombie };
    looks.route(ghost)?;
    // A write that leaves the share alone leaves it to whoever set it.
    ghost.foreign &= share(before) == share(&world.truth);
    looks.primary(ghost)?;
    looks.apex()?;
    looks.target(ghost)?;
    looks.status(ghost)?;
    ghost.follow(world);
    if zombie || flight.view.canary_version != before.canary_version {
        // The drain counts from a decision that may be as old as a lease, or is not noted at all.
        ghost.forgive_drain(world.now);
    }
    Ok(())
}

struct Look<'a> {
    world: &'a World,
    before: &'a Objects,
    flight: &'a Flight,
    zombie: bool,
}

impl Look<'_> {
    /// Nobody interfered since the decision, and everything was known: nothing excuses what was done.
    fn knowing(&self) -> bool {
        !self.zombie && !self.flight.disturbed && self.world.silent.is_none()
    }

    fn route(&self, ghost: &Ghost) -> Result<(), Broken> {
        let truth = &self.world.truth;
        let (old, new) = (share(self.before), share(truth));
        let status = &truth.status;
        if new > old {
            if new > status.canary_weight {
                let says = status.canary_weight;
                return broken(
                    2,
                    format!("the route rises from {old} to {new}, the status says {says}"),
                );
            }
            if self.knowing() && !truth.target.serving {
                return broken(5, format!("{new} % go to a canary without a ready pod"));
            }
            if self.knowing() && ghost.rejected.contains_key(truth.target.revision) {
                return broken(2, "a rejected revision gets traffic again");
            }
            if old == 0 && new > RUNGS[0] && new < 100 && self.knowing() {
                return broken(2, format!("from nothing to {new} %"));
            }
            let rung = RUNGS.iter().position(|rung| *rung == new).unwrap_or(0);
            let revision = known(&status.last_applied_spec);
            let needs = rung.checked_sub(1).map(|rung| RUNGS[rung]);
            let analysing = status.phase == Some(Phase::Progressing);
            if let Some(needs) = needs
                && analysing
                && !ghost.passed.contains(&(revision, needs))
            {
                return broken(2, format!("{new} % without a passed round at {needs} %"));
            }
        }
        // What is urgent waits for nobody, not even for the primary.
        let gives_back = matches!(self.flight.order.next(), Next::Act(_))
            && matches!(status.phase, Some(Phase::Finalising | Phase::Promoting));
        let dead = truth.primary.as_ref().is_none_or(|primary| !primary.serving);
        if new < old && gives_back && self.knowing() && dead && truth.target.serving {
            return broken(5, "the traffic goes back to a primary without a ready pod");
        }
        let unrolled = truth.primary.as_ref().is_none_or(|primary| !primary.rolled);
        if new < old && gives_back && self.knowing() && unrolled && truth.target.serving {
            return broken(5, "the traffic goes back to a primary that is not ready");
        }
        Ok(())
    }

    fn primary(&self, ghost: &Ghost) -> Result<(), Broken> {
        let of = |objects: &Objects| objects.primary.as_ref().map(|primary| primary.revision);
        let (old, new) = (of(self.before), of(&self.world.truth));
        let Some(revision) = new else { return Ok(()) };
        let phase = self.before.status.phase;
        // Before anything is served by it, the primary may be healed by what the target has become.
        let heals = |phase| matches!(phase, None | Some(Phase::Initializing));
        let bootstrap = heals(phase) || (self.zombie && heals(self.flight.before.phase));
        if old == new || bootstrap {
            return Ok(());
        }
        let last = RUNGS[RUNGS.len() - 1];
        if !ghost.passed.contains(&(revision, last)) {
            return broken(4, format!("{revision} goes to the primary and was never analysed"));
        }
        // A copy that was decided before the rejection was noted is as good as one that had arrived.
        let knew = |noted: &u32| *noted <= self.flight.base;
        if ghost.rejected.get(revision).is_some_and(knew) {
            return broken(4, format!("{revision} goes to the primary and was rejected"));
        }
        Ok(())
    }

    fn apex(&self) -> Result<(), Broken> {
        let moved = self.before.apex != self.world.truth.apex;
        let dead = self.world.truth.primary.as_ref().is_none_or(|primary| !primary.serving);
        if moved && dead && self.knowing() {
            return broken(5, "the apex goes to a primary without a ready pod");
        }
        Ok(())
    }

    fn target(&self, ghost: &Ghost) -> Result<(), Broken> {
        let gone = self.world.truth.target.replicas == 0 && self.before.target.replicas > 0;
        if !gone {
            return Ok(());
        }
        // Whoever decided before another client set the share cannot know of it.
        let answers = self.knowing() || !ghost.foreign;
        if share(&self.world.truth) > 0 && answers {
            return broken(5, "the target is scaled away while it has traffic");
        }
        if apex_leads_to_target(self.world) && self.knowing() {
            return broken(5, "the target is scaled away while the apex selects it");
        }
        let drained = ghost.unrouted.is_some_and(|since| self.world.now - since >= BEAT);
        if !drained && self.knowing() {
            return broken(5, "the target is scaled away before it has drained");
        }
        Ok(())
    }

    fn status(&self, ghost: &mut Ghost) -> Result<(), Broken> {
        let (old, new) = (&self.before.status, &self.world.truth.status);
        if self.before.canary_version == self.world.truth.canary_version {
            return Ok(());
        }
        if new.adopted && !old.adopted {
            // It waits, with a warning, for whoever brings the next one.
            let primary = self.world.truth.primary.as_ref().map(|primary| primary.revision);
            let adopted = known(&new.last_applied_spec);
            ghost.found = (primary != Some(adopted)).then_some(adopted);
        } else if ghost.found.is_some_and(|found| found != known(&new.last_applied_spec)) {
            ghost.found = None;
        }
        let begins = old.phase != new.phase
            && matches!(new.phase, Some(Phase::Progressing | Phase::Waiting))
            && !old.phase.is_some_and(Phase::is_releasing);
        if begins && !ghost.brought {
            return broken(3, "a release begins and nobody brought anything");
        }
        let revision = known(&new.last_applied_spec);
        if begins && ghost.rejected.contains_key(revision) {
            return broken(3, format!("{revision} was rejected and is released again"));
        }
        ghost.take_up(old, new, &self.world.truth);
        if new.canary_weight > old.canary_weight && new.canary_weight < 100 {
            let next = RUNGS.into_iter().find(|rung| *rung > old.canary_weight);
            if next != Some(new.canary_weight) {
                return broken(2, format!("from {} to {}", old.canary_weight, new.canary_weight));
            }
        }
        let code = new.last_reason.as_ref().map_or("", |reason| reason.code.as_str());
        let said = new.last_reason.as_ref().is_some_and(|reason| !reason.message.is_empty());
        let decided = old.phase != new.phase || old.canary_weight != new.canary_weight;
        if decided && (code.is_empty() || !said) {
            return broken(10, "something is decided, and nobody says why");
        }
        let same = old.last_applied_spec == new.last_applied_spec;
        let analysing = old.phase == Some(Phase::Progressing) && new.phase == old.phase;
        let excused = ["CanaryLost", "RouteRepaired"].contains(&code);
        if analysing && same && new.canary_weight < old.canary_weight && !excused {
            return broken(9, "an analysis loses what it had reached, without a cause");
        }
        if new.phase == Some(Phase::Failed) && old.phase != new.phase {
            if new.canary_weight == 0 {
                // What the status calls it afterwards changes nothing.
                ghost
                    .rejected
                    .insert(known(&old.last_applied_spec), self.world.truth.canary_version);
            }
            let routed = share(&self.world.truth);
            if routed > new.canary_weight && self.knowing() {
                return broken(1, format!("the status says Failed and {routed} % are routed"));
            }
        }
        Ok(())
    }
}

/// Where the world comes to rest when nobody disturbs it any more.
pub(super) fn at_rest(world: &World, ghost: &Ghost) -> Result<(), Broken> {
    let truth = &world.truth;
    let phase = truth.status.phase;
    let rests = matches!(phase, Some(Phase::Initialized | Phase::Succeeded | Phase::Failed));
    if !rests {
        return broken(9, format!("it rests in {phase:?}"));
    }
    if share(truth) > 0 || truth.status.canary_weight > 0 {
        return broken(9, format!("at rest {} % are routed to the canary", share(truth)));
    }
    if truth.route.is_none() || truth.apex != serin_core::observed::Selects::Primary {
        return broken(9, "at rest the route or the apex is not in order");
    }
    let primary = truth.primary.as_ref().map_or("", |primary| primary.revision);
    let as_found = ghost.found == Some(truth.target.revision);
    // What Flagger promoted has no name of ours, until something else is promoted.
    let named = known(&truth.status.last_promoted_spec) != "?";
    let of_flagger = truth.primary.as_ref().is_some_and(|primary| primary.generation == 1);
    if truth.status.last_promoted_spec != primary && (named || !of_flagger) {
        return broken(4, "at rest the primary runs something else than the status says");
    }
    if truth.target.replicas > 0 {
        return broken(9, "at rest the target still runs");
    }
    let good = !ghost.rejected.contains_key(truth.target.revision);
    if good && primary != truth.target.revision && !as_found {
        return broken(9, "a healthy revision was never released");
    }
    Ok(())
}
