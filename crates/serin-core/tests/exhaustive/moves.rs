//! What can happen in the small world, by whom, and how often.

use std::rc::Rc;

use crate::laws::{self, Broken, Ghost};
use crate::world::{BEAT, Fate, Flight, Kind, Objects, Revision, World};
use serin_core::apply_order::Next;
use serin_core::model::Canary;
use serin_core::observed::{Answer, Selects};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Fail,
    NoData,
    Away,
}

impl Verdict {
    fn answer(self) -> Answer {
        match self {
            Verdict::Pass => Answer::Value(0.5),
            Verdict::Fail => Answer::Value(7.0),
            Verdict::NoData => Answer::NoData("empty".to_owned()),
            Verdict::Away => Answer::Unreachable("refused".to_owned()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// The operator looks: now, because something woke it, or when it is due.
    Tick {
        due: bool,
        answer: Verdict,
    },
    /// The next write of the plan under way.
    Write(Fate),
    /// The operator is killed and starts again.
    Crash,
    /// The same, and its list of this kind is answered with what there was before the last change.
    StaleList(Kind),
    /// The operator loses its lease in the middle of a plan and does not know; another one starts.
    Takeover,
    ZombieWrites,
    ZombieEnds,
    /// The watch of one kind brings something again.
    CatchUp,
    TargetRolls,
    PrimaryRolls,
    TargetDies,
    PrimaryDies,
    GuardLooks,
    GuardCondemns,
    Push(Revision),
    /// Somebody changes something of the Canary that means nothing.
    EditSpec,
    EditRoute,
    DeleteRoute,
    ScaleAway,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) what: Move,
    /// The watch of this kind falls silent before it could tell.
    pub(super) unseen: Option<Kind>,
}

impl Event {
    pub(super) fn tells(self) -> String {
        let unseen = self.unseen.map_or(String::new(), |kind| format!(", {kind:?} unseen"));
        format!("{:?}{unseen}", self.what)
    }
}

/// A state of the search.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) world: World,
    pub(super) ghost: Ghost,
    pub(super) faults_left: u8,
    pub(super) pushes_left: u8,
    pub(super) condemnations_left: u8,
    /// Whether lists may be answered from the past; what that is belongs to the state then.
    pub(super) stale: bool,
}

impl State {
    pub(super) fn new(world: World, faults: u8, pushes: u8) -> Self {
        let ghost = Ghost::new(&world);
        Self {
            world,
            ghost,
            faults_left: faults,
            pushes_left: pushes,
            condemnations_left: 1,
            stale: false,
        }
    }

    /// The same, where lists may be answered from the past.
    pub(super) fn with_stale_lists(self) -> Self {
        Self { stale: true, ..self }
    }

    /// Adopted and at rest.
    pub(super) fn rested(mut self, canary: &Canary) -> Self {
        while self.world.truth.target.replicas > 0 {
            let event = Event { what: self.calm(), unseen: None };
            self = self.play(canary, event).unwrap();
        }
        self
    }

    /// What happens if nobody disturbs: everything catches up, and the operator goes on with metrics that pass.
    pub(super) fn calm(&self) -> Move {
        let world = &self.world;
        if world.zombie.is_some() {
            return Move::ZombieEnds;
        }
        if world.silent.is_some() {
            return Move::CatchUp;
        }
        if world.flight.is_some() {
            return Move::Write(Fate::Done);
        }
        if !world.looked {
            return Move::GuardLooks;
        }
        if !world.truth.target.rolled {
            return Move::TargetRolls;
        }
        if world.truth.primary.as_ref().is_some_and(|primary| !primary.rolled) {
            return Move::PrimaryRolls;
        }
        Move::Tick { due: !world.woken, answer: Verdict::Pass }
    }

    /// Everything that can happen now.
    pub(super) fn moves(&self) -> Vec<Event> {
        let moves = self.plain_moves();
        let mut events: Vec<Event> =
            moves.iter().map(|what| Event { what: *what, unseen: None }).collect();
        for what in moves {
            let left = self.faults_left.saturating_sub(u8::from(self.is_fault(what)));
            if left == 0 || self.world.silent.is_some() {
                continue;
            }
            events.extend(hides(what).iter().map(|kind| Event { what, unseen: Some(*kind) }));
        }
        events
    }

    fn plain_moves(&self) -> Vec<Move> {
        let world = &self.world;
        let mut moves = vec![self.calm()];
        let mut may = |so: bool, step: Move| {
            if so && !moves.contains(&step) {
                moves.push(step);
            }
        };
        let flies = world.flight.is_some();
        for due in [false, true] {
            for answer in [Verdict::Pass, Verdict::Fail, Verdict::NoData, Verdict::Away] {
                may(!flies && due != world.woken, Move::Tick { due, answer });
            }
        }
        may(flies, Move::Write(Fate::Done));
        may(world.zombie.is_some(), Move::ZombieWrites);
        may(world.zombie.is_some(), Move::ZombieEnds);
        may(world.silent.is_some(), Move::CatchUp);
        may(!world.truth.target.rolled, Move::TargetRolls);
        let primary = world.truth.primary.as_ref();
        may(primary.is_some_and(|primary| !primary.rolled), Move::PrimaryRolls);
        may(!world.looked, Move::GuardLooks);
        let routed = world.truth.route.is_some_and(|(share, _)| share > 0);
        let condemns = self.condemnations_left > 0 && routed && world.looked;
        may(condemns && world.condemned.is_none(), Move::GuardCondemns);
        for revision in ["s1:v1", "s1:v2", "s1:v3"] {
            let new = world.truth.target.revision != revision;
            // First something new; what is next may as well be the way back.
            let sensible = revision == "s1:v2" || self.ghost.pushed;
            may(self.pushes_left > 0 && new && sensible, Move::Push(revision));
        }
        if self.faults_left > 0 {
            may(flies, Move::Write(Fate::Refused));
            may(flies, Move::Write(Fate::AnswerLost));
            may(flies || (routed && world.looked), Move::Crash);
            may(flies && world.zombie.is_none() && self.faults_left > 1, Move::Takeover);
            for kind in Kind::ALL {
                may(self.stale && world.past.knows(kind), Move::StaleList(kind));
            }
            may(world.truth.target.serving, Move::TargetDies);
            may(primary.is_some_and(|primary| primary.serving), Move::PrimaryDies);
            may(true, Move::EditSpec);
            may(world.truth.route.is_some_and(|(share, _)| share < 100), Move::EditRoute);
            may(world.truth.route.is_some(), Move::DeleteRoute);
            may(world.truth.target.replicas > 0, Move::ScaleAway);
        }
        moves
    }

    /// What comes of it, or the law that it breaks.
    pub(super) fn play(&self, canary: &Canary, event: Event) -> Result<State, Broken> {
        let mut next = self.clone();
        let Event { what: step, unseen } = event;
        if next.is_fault(step) {
            next.faults_left -= 1;
        }
        if let Some(kind) = unseen {
            next.faults_left -= 1;
            next.world.silent = Some((kind, next.world.truth.clone()));
        }
        match step {
            Move::Tick { due, answer } => next.tick(canary, due, answer)?,
            Move::Write(fate) => next.write(fate)?,
            Move::ZombieWrites => next.zombie_writes()?,
            Move::ZombieEnds => next.world.zombie = None,
            Move::Crash => next.restart(),
            Move::StaleList(kind) => {
                next.restart();
                next.world.silent = Some((kind, next.world.past.of(&next.world.truth)));
            }
            Move::Takeover => {
                // The lease is one fault and the write that comes late the other.
                next.faults_left -= 1;
                next.unnoted();
                next.world.zombie = next.world.flight.take();
                next.restart();
            }
            Move::CatchUp => {
                next.world.silent = None;
                next.world.woken = true;
            }
            Move::GuardLooks => {
                next.world.looked = true;
                next.world.woken = true;
            }
            Move::GuardCondemns => {
                next.condemnations_left -= 1;
                // It condemns what it watches: the revision that the status speaks of.
                next.world.condemned =
                    Some(laws::known(&self.world.truth.status.last_applied_spec));
                next.world.woken = true;
            }
            Move::TargetRolls
            | Move::PrimaryRolls
            | Move::TargetDies
            | Move::PrimaryDies
            | Move::Push(_)
            | Move::EditSpec
            | Move::EditRoute
            | Move::DeleteRoute
            | Move::ScaleAway => next.outside(step),
        }
        if !matches!(step, Move::Write(_) | Move::Tick { .. })
            && let Some(flight) = &mut next.world.flight
        {
            flight.disturbed = true;
        }
        next.bury_zombie();
        next.world.past.follow(&self.world.truth, &next.world.truth);
        Ok(next)
    }

    /// A zombie whose next write is refused for ever does nothing any more: versions do not come back.
    fn bury_zombie(&mut self) {
        let truth = self.world.truth.clone();
        while let Some(flight) = &mut self.world.zombie {
            if World::of(truth.clone()).write(flight).is_ok() {
                return;
            }
            flight.order.failed();
            if matches!(flight.order.next(), Next::Done | Next::GivenUp) {
                self.world.zombie = None;
            }
        }
    }

    fn is_fault(&self, step: Move) -> bool {
        match step {
            Move::Write(fate) => fate != Fate::Done,
            Move::Crash
            | Move::StaleList(_)
            | Move::Takeover
            | Move::TargetDies
            | Move::PrimaryDies
            | Move::EditSpec
            | Move::EditRoute
            | Move::DeleteRoute
            | Move::ScaleAway => true,
            Move::Tick { .. }
            | Move::ZombieWrites
            | Move::ZombieEnds
            | Move::CatchUp
            | Move::TargetRolls
            | Move::PrimaryRolls
            | Move::GuardLooks
            | Move::GuardCondemns
            | Move::Push(_) => false,
        }
    }

    /// What others do to the cluster.
    fn outside(&mut self, step: Move) {
        self.world.woken = true;
        let mut forgives = false;
        let truth = &mut self.world.truth;
        match step {
            Move::TargetRolls => roll(&mut truth.target),
            Move::PrimaryRolls => truth.primary.iter_mut().for_each(roll),
            Move::TargetDies => die(&mut truth.target),
            Move::PrimaryDies => truth.primary.iter_mut().for_each(die),
            Move::Push(revision) => {
                self.pushes_left -= 1;
                (self.ghost.pushed, self.ghost.brought) = (true, true);
                truth.target.revision = revision;
                truth.target.generation += 1;
                truth.target.version += 1;
                truth.target.rolled = truth.target.replicas == 0;
            }
            Move::EditSpec => {
                truth.canary_version += 1;
                self.world.generation += 1;
            }
            Move::EditRoute => {
                self.world.set_route(Some(100));
                self.ghost.foreign = true;
            }
            Move::DeleteRoute => {
                self.world.set_route(None);
                forgives = std::mem::take(&mut self.ghost.foreign);
            }
            Move::ScaleAway => self.world.scale_target(0),
            Move::Tick { .. }
            | Move::Write(_)
            | Move::Crash
            | Move::StaleList(_)
            | Move::Takeover
            | Move::ZombieWrites
            | Move::ZombieEnds
            | Move::CatchUp
            | Move::GuardLooks
            | Move::GuardCondemns => {}
        }
        self.ghost.follow(&self.world);
        if forgives {
            // Whoever put traffic there has taken it away again, and the operator need not have seen either.
            self.ghost.forgive_drain(self.world.now);
        }
    }

    fn restart(&mut self) {
        self.unnoted();
        let world = &mut self.world;
        world.flight = None;
        world.silent = None;
        world.looked = false;
        world.woken = true;
        world.next = world.now;
    }

    /// What the plan under way has lowered is lowered, and nobody will note when: the drain counts from the decision before.
    fn unnoted(&mut self) {
        let lowered = self.world.flight.as_ref().is_some_and(|flight| {
            flight.order.next() == Next::Record && flight.plan.lower.is_some()
        });
        if lowered {
            self.ghost.forgive_drain(self.world.now);
        }
    }

    fn tick(&mut self, canary: &Canary, due: bool, answer: Verdict) -> Result<(), Broken> {
        let world = &mut self.world;
        if due {
            world.now = world.now.max(world.next);
        }
        world.woken = false;
        let flight = world.decide(canary, &answer.answer());
        laws::decided(world, &mut self.ghost, &flight, answer)?;
        world.flight = Some(flight);
        self.skip_idle()
    }

    fn write(&mut self, fate: Fate) -> Result<(), Broken> {
        let Some(mut flight) = self.world.flight.take() else { return Ok(()) };
        let before = self.world.truth.clone();
        let carried_out = match fate {
            Fate::Refused => false,
            Fate::Done | Fate::AnswerLost => self.world.write(&flight).is_ok(),
        };
        laws::written(&self.world, &mut self.ghost, &before, &flight, false)?;
        if carried_out && fate == Fate::Done {
            flight.order.done();
            self.learn(&mut flight, &before);
        } else {
            if !carried_out {
                self.world.flight = Some(flight.clone());
                self.unnoted();
            }
            flight.disturbed = true;
            flight.order.failed();
        }
        if let Some(zombie) = &mut self.world.zombie {
            zombie.disturbed = true;
        }
        self.world.flight = Some(flight);
        self.skip_idle()
    }

    /// What a write of ours returned is known, even while the watch is silent.
    fn learn(&mut self, flight: &mut Flight, before: &Objects) {
        take_changes(&mut flight.view, before, &self.world.truth);
        if let Some((_, known)) = &mut self.world.silent {
            take_changes(known, before, &self.world.truth);
        }
    }

    /// Goes over what sends no request, so that no crash and no fault can fall there.
    fn skip_idle(&mut self) -> Result<(), Broken> {
        while let Some(flight) = &self.world.flight {
            match flight.order.next() {
                Next::Done => {
                    self.world.next = self.world.now + wait(flight, self.world.now);
                    self.world.flight = None;
                }
                Next::GivenUp => {
                    self.world.next = self.world.now + BEAT;
                    self.world.flight = None;
                }
                Next::Tell => {
                    laws::told(flight)?;
                    if let Some(flight) = &mut self.world.flight {
                        flight.told = true;
                        flight.order.done();
                    }
                }
                Next::Record | Next::Lower | Next::Act(_) => {
                    if self.asks_the_api() {
                        return Ok(());
                    }
                    if let Some(flight) = &mut self.world.flight {
                        flight.order.done();
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the next write of the flight is a request at all.
    fn asks_the_api(&self) -> bool {
        let Some(flight) = &self.world.flight else { return false };
        let mut probe = self.world.clone();
        let before = probe.truth.clone();
        // What the renderer refuses is no request either, but it ends the plan: that is a step of its own.
        probe.write(flight).is_err() || changes(&before, &probe.truth)
    }

    fn zombie_writes(&mut self) -> Result<(), Broken> {
        let Some(mut flight) = self.world.zombie.take() else { return Ok(()) };
        let before = self.world.truth.clone();
        let carried_out = self.world.write(&flight).is_ok();
        laws::written(&self.world, &mut self.ghost, &before, &flight, true)?;
        if carried_out {
            take_changes(&mut flight.view, &before, &self.world.truth);
            flight.order.done();
        } else {
            flight.order.failed();
        }
        if changes(&before, &self.world.truth) {
            self.world.woken = true;
        }
        if !matches!(flight.order.next(), Next::Done | Next::GivenUp) {
            self.world.zombie = Some(flight);
        }
        Ok(())
    }
}

/// The kinds that a move changes, of which the operator may not hear.
fn hides(what: Move) -> &'static [Kind] {
    match what {
        Move::Push(_) => &[Kind::Target],
        Move::TargetRolls | Move::TargetDies | Move::ScaleAway => &[Kind::Target, Kind::Endpoints],
        Move::PrimaryRolls | Move::PrimaryDies => &[Kind::Primary, Kind::Endpoints],
        Move::EditSpec => &[Kind::Canary],
        Move::EditRoute | Move::DeleteRoute => &[Kind::Route],
        Move::Write(Fate::AnswerLost) | Move::ZombieWrites => {
            &[Kind::Canary, Kind::Target, Kind::Primary, Kind::Route]
        }
        Move::Tick { .. }
        | Move::Write(Fate::Done | Fate::Refused)
        | Move::Crash
        | Move::StaleList(_)
        | Move::Takeover
        | Move::ZombieEnds
        | Move::CatchUp
        | Move::GuardLooks
        | Move::GuardCondemns => &[],
    }
}

fn wait(flight: &Flight, now: i64) -> i64 {
    let next = flight.plan.next.duration_since(crate::world::at(now)).as_secs();
    next.clamp(1, 2 * BEAT)
}

fn roll(side: &mut crate::world::Side) {
    side.rolled = true;
    side.serving = side.replicas > 0;
    side.version += 1;
}

fn die(side: &mut crate::world::Side) {
    side.serving = false;
    side.rolled = side.replicas == 0;
    side.version += 1;
}

fn changes(a: &Objects, b: &Objects) -> bool {
    !Rc::ptr_eq(&a.status, &b.status)
        || a.canary_version != b.canary_version
        || a.target != b.target
        || a.primary != b.primary
        || a.services != b.services
        || a.apex != b.apex
        || a.route != b.route
}

/// What changed between `before` and `after` becomes known.
fn take_changes(known: &mut Objects, before: &Objects, after: &Objects) {
    if before.canary_version != after.canary_version {
        known.status = Rc::clone(&after.status);
        known.canary_version = after.canary_version;
    }
    if before.target != after.target {
        known.target = after.target.clone();
    }
    if before.primary != after.primary {
        known.primary.clone_from(&after.primary);
    }
    if before.route != after.route {
        known.route = after.route;
    }
    known.services = after.services;
    known.apex = after.apex;
}

/// Whether the apex may lead to the target's pods.
pub(super) fn apex_leads_to_target(world: &World) -> bool {
    world.truth.apex != Selects::Primary
}
