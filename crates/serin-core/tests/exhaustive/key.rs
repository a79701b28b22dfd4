//! Which states are the same: ages instead of times, and whether versions agree instead of which they are.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::moves::State;
use crate::world::{AGE_MAX, Flight, Kind, Objects, Side, World, at};
use serin_core::apply_order::Next;
use serin_core::model::Status;

/// Both halves of the hash of a state; with so many bits no two states fall together by chance.
pub(super) fn key(state: &State) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        hash(state, &mut hasher);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

fn hash(state: &State, into: &mut DefaultHasher) {
    let State { world, ghost, faults_left, pushes_left, condemnations_left, stale } = state;
    (faults_left, pushes_left, condemnations_left).hash(into);
    let crate::laws::Ghost { pushed, brought, rejected, passed, unrouted, foreign, found } = ghost;
    (pushed, brought, passed, foreign, found).hash(into);
    // Who decided before a rejection was noted may not know of it.
    let decided = [&world.flight, &world.zombie].map(|flight| flight.as_ref().map(|of| of.base));
    for (revision, noted) in rejected {
        (revision, decided.map(|base| base.map(|base| *noted <= base))).hash(into);
    }
    unrouted.map(|since| (world.now - since).min(AGE_MAX)).hash(into);
    let World {
        now,
        truth,
        silent,
        flight,
        zombie,
        looked,
        condemned,
        woken,
        next,
        generation,
        asked: _,
        asked_anything: _,
        routes: _,
        past,
    } = world;
    objects(truth, truth, *now, into);
    match silent {
        Some((kind, old)) => {
            kind.hash(into);
            objects(&world.view(), truth, *now, into);
            // What the watch said last of the others is not seen.
            let _seen_through_the_view = old;
        }
        None => 0_u8.hash(into),
    }
    match flight {
        Some(flight) => self::flight(flight, truth, *now, into),
        None => 0_u8.hash(into),
    }
    match zombie {
        Some(flight) => self::flight(flight, truth, *now, into),
        None => 0_u8.hash(into),
    }
    if *stale && *faults_left > 0 && silent.is_none() {
        Kind::ALL.map(|kind| past.knows(kind)).hash(into);
        objects(&past.of(truth), truth, *now, into);
    }
    (looked, condemned, woken).hash(into);
    (truth.status.observed_generation == Some(*generation)).hash(into);
    (next - now).clamp(0, AGE_MAX).hash(into);
}

fn objects(of: &Objects, truth: &Objects, now: i64, into: &mut DefaultHasher) {
    let Objects { status, canary_version, target, primary, services, apex, route } = of;
    self::status(status, Known::of(of, truth), now, into);
    (canary_version == &truth.canary_version, services, *apex as u8).hash(into);
    side(target, &truth.target, into);
    match (primary, &truth.primary) {
        (Some(primary), Some(live)) => side(primary, live, into),
        (primary, live) => (primary.is_some(), live.is_some()).hash(into),
    }
    route.map(|(share, version)| (share, Some(version) == truth.route.map(|(_, v)| v))).hash(into);
}

/// All that a write of somebody who sees nothing new depends on.
fn rendered(view: &Objects, truth: &Objects, into: &mut DefaultHasher) {
    let Side { revision, generation: _, version, replicas, rolled: _, serving: _ } = &view.target;
    (revision, replicas, version == &truth.target.version).hash(into);
    let primary = |objects: &Objects| objects.primary.as_ref().map(|primary| primary.version);
    (view.primary.as_ref().map(|primary| primary.revision)).hash(into);
    (primary(view) == primary(truth)).hash(into);
    view.route.map(|(share, _)| share).hash(into);
    (view.route == truth.route).hash(into);
}

fn side(of: &Side, truth: &Side, into: &mut DefaultHasher) {
    let Side { revision, generation, version, replicas, rolled, serving } = of;
    (revision, replicas, rolled, serving).hash(into);
    (generation == &truth.generation, version == &truth.version).hash(into);
}

/// The generations that a status can be held against: of the target and of the primary, as seen and as they are.
#[derive(Clone, Copy)]
struct Known {
    target: [i64; 2],
    primary: [Option<i64>; 2],
}

impl Known {
    fn of(view: &Objects, truth: &Objects) -> Self {
        let primary = |of: &Objects| of.primary.as_ref().map(|primary| primary.generation);
        Self {
            target: [view.target.generation, truth.target.generation],
            primary: [primary(view), primary(truth)],
        }
    }
}

fn status(of: &Status, known: Known, now: i64, into: &mut DefaultHasher) {
    let age = |time: Option<jiff::Timestamp>| {
        time.map(|time| at(now).duration_since(time).as_secs().clamp(-AGE_MAX, AGE_MAX))
    };
    (of.phase, of.failed_checks, of.canary_weight, of.iterations).hash(into);
    (&of.last_applied_spec, &of.last_promoted_spec).hash(into);
    (age(of.last_step_time), age(of.drain_time)).hash(into);
    of.target_generation.is_none().hash(into);
    for generation in known.target {
        of.target_generation.map(|seen| seen.cmp(&generation)).hash(into);
    }
    for sent in &of.sent {
        sent.revision.hash(into);
        known.primary.map(|now| now.map(|now| now > sent.generation)).hash(into);
    }
}

fn flight(of: &Flight, truth: &Objects, now: i64, into: &mut DefaultHasher) {
    let Flight { plan, order, before, base, view, disturbed, told } = of;
    rendered(view, truth, into);
    (*base == truth.canary_version, disturbed, told).hash(into);
    // What is done needs no telling apart any more.
    let (lowers, recorded, acted) = match order.next() {
        Next::Lower => (plan.lower, false, 0),
        Next::Record => (None, false, 0),
        Next::Tell => (None, true, 0),
        Next::Act(index) => (None, true, index),
        Next::Done | Next::GivenUp => (None, true, usize::MAX),
    };
    (format!("{lowers:?}"), recorded, acted).hash(into);
    for action in plan.actions.iter().skip(acted) {
        format!("{action:?}").hash(into);
    }
    format!("{order:?}").hash(into);
    if !recorded {
        status(&plan.status, Known::of(view, truth), now, into);
        before.phase.hash(into);
        plan.calls.hash(into);
    }
    at(now).duration_since(plan.next).as_secs().clamp(-AGE_MAX, AGE_MAX).hash(into);
}
