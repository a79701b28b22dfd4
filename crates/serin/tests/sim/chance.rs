//! From a seed to a plan. Whatever exists is taken from the operator's own catalogues.

use std::time::Duration;

use serin_core::model::provider::{GATEWAY_API, TRAEFIK};
use serin_core::model::{HookKind, Provider, TargetKind};
use serin_providers::router::ROUTERS;

use crate::plan::{
    Act, Call, Checks, Edit, Fault, Foe, Move, Outage, Plan, Quality, Shape, Trouble, What,
};
use crate::random::Random;
use crate::wide::{Extra, widen};
use crate::world::strategies;

/// Of the random that draw routers.
const ROUTES: u64 = 0x6a7e;

const OUTAGES: [Outage; 5] =
    [Outage::Refuses, Outage::Hangs, Outage::Fails, Outage::Garbage, Outage::Slow];

/// Qualities among the first kinds of things.
const QUALITIES: usize = 8;

/// The life that this seed stands for.
pub(crate) fn plan(seed: u64, length: u64) -> Plan {
    if is_wide() { wide(seed, length) } else { first_kinds(seed, length) }
}

/// Whether lives have what was added later.
pub(crate) fn is_wide() -> bool {
    std::env::var_os("SERIN_WIDE").is_some()
}

/// The same life with everything that was added later.
pub(crate) fn wide(seed: u64, length: u64) -> Plan {
    let mut plan = first_kinds(seed, length);
    widen(&mut plan);
    plan
}

/// A life without what was added later: it never changes, and what was found in it can be looked for again.
pub(crate) fn first_kinds(seed: u64, length: u64) -> Plan {
    let mut random = Random::new(seed);
    let count = if random.chance(25) { 2 } else { 1 };
    let canaries: Vec<Shape> = (0..count).map(|_| shape(&mut random)).collect();
    let replicas = if random.chance(40) { 2 } else { 1 };
    let mut moves = vec![Move {
        // Half of the lives begin with faults, the others let the canaries be made in peace.
        after: Duration::from_secs(if random.chance(50) { 30 } else { random.roll(8) }),
        what: What::User(0, Act::Release(*random.pick(&Quality::ALL[..QUALITIES]))),
    }];
    let wild = random.roll(4);
    for _ in 0..3 + random.roll(length) {
        let after = if random.chance(30) { random.roll(3_000) } else { random.roll(45_000) };
        let canary = random.index(canaries.len());
        let what = match random.roll(10) {
            0..=3 => What::User(canary, act(&mut random)),
            4 if wild == 0 => What::Foe(canary, foe(&mut random)),
            _ if wild == 1 => What::User(canary, act(&mut random)),
            _ => What::Trouble(trouble(&mut random, replicas)),
        };
        moves.push(Move { after: Duration::from_millis(after), what });
    }
    let mut plan = Plan { seed, replicas, canaries, moves };
    reroute(&mut plan);
    plan
}

/// Some canaries have another router, which changes nothing else of the life.
fn reroute(plan: &mut Plan) {
    let mut random = crate::random::of(plan.seed, ROUTES);
    for shape in plan.canaries.iter_mut().filter(|shape| *shape.provider == TRAEFIK) {
        if random.chance(20) {
            shape.provider = &GATEWAY_API;
            shape.tests =
                strategies()[shape.strategy].get("iterations").is_some() || random.chance(20);
        }
    }
}

/// One in eight is a DaemonSet.
pub(crate) const TARGETS: [TargetKind; 8] = {
    let mut targets = [TargetKind::Deployment; 8];
    targets[7] = TargetKind::DaemonSet;
    targets
};

fn shape(random: &mut Random) -> Shape {
    let routers: Vec<&'static Provider> = ROUTERS.iter().map(|router| router.provider()).collect();
    let provider = if random.chance(75) { &TRAEFIK } else { *random.pick(&routers[..2]) };
    let hooks = HookKind::ALL.into_iter().filter(|_| random.chance(20)).collect();
    let checks = *random.pick(&[Checks::Inline, Checks::Builtin, Checks::Template]);
    Shape {
        provider,
        target: *random.pick(&TARGETS),
        tests: false,
        strategy: random.index(strategies().len()),
        checks,
        threshold: 1 + u32::try_from(random.roll(3)).unwrap(),
        interval_secs: *random.pick(&[10, 10, 15, 30]),
        hooks,
        autoscaler: random.chance(20),
        configs: random.chance(30),
        skip_analysis: random.chance(6),
        revert_on_deletion: random.chance(80),
        guard: random.chance(20) && provider.capabilities.counts,
        extra: Extra::default(),
    }
}

fn act(random: &mut Random) -> Act {
    match random.roll(20) {
        0..=6 => Act::Release(*random.pick(&Quality::ALL[..QUALITIES])),
        7 => Act::Revert,
        8 => Act::Edit(edit(random)),
        9 => Act::RotateConfig,
        10 => Act::RotateSecret,
        11 => Act::Suspend(random.chance(60)),
        12 => Act::Suspend(false),
        13 => Act::Delete,
        14 => Act::Recreate,
        15 | 16 => Act::Gates(random.chance(50)),
        17 => Act::AskRollback(random.chance(70)),
        // Not to zero: a write that is under way cannot know of it. See docs/reliability.md.
        18 => Act::Scale(1 + random.roll(4)),
        _ => Act::Autoscaler { min: 1 + random.roll(3), max: 4 + random.roll(3) },
    }
}

fn edit(random: &mut Random) -> Edit {
    match random.roll(5) {
        0 => Edit::Strategy(random.index(strategies().len())),
        1 => Edit::Threshold(1 + u32::try_from(random.roll(4)).unwrap()),
        2 => Edit::Interval(10 + random.roll(20)),
        3 => Edit::SkipAnalysis(random.chance(50)),
        _ => Edit::Nonsense,
    }
}

fn foe(random: &mut Random) -> Foe {
    match random.roll(5) {
        0 => Foe::DeletePrimary,
        1 => Foe::DeleteServices,
        2 => Foe::DeleteRoute,
        3 => Foe::EditPrimary,
        _ => Foe::Fight {
            share: i64::try_from(random.roll(101)).unwrap(),
            times: 1 + u32::try_from(random.roll(20)).unwrap(),
            every: Duration::from_millis(200 + random.roll(5_000)),
        },
    }
}

fn trouble(random: &mut Random, replicas: usize) -> Trouble {
    let replica = random.index(replicas);
    let secs = 1 + random.roll(60);
    match random.roll(16) {
        0..=3 => Trouble::Storm { secs, percent: 5 + random.roll(40) },
        4 | 5 => {
            Trouble::Next { call: Call::Write, skip: random.roll(12), fault: on_write(random) }
        }
        6 => Trouble::Next {
            call: *random.pick(&[Call::Get, Call::List, Call::Watch, Call::Lease]),
            skip: random.roll(4),
            fault: on_read(random),
        },
        7 => Trouble::ApiRestart { secs: 1 + random.roll(30) },
        8 => Trouble::Tear,
        9 if secs.is_multiple_of(2) => Trouble::Compact,
        9 => Trouble::Deaf { secs },
        10 => Trouble::Lag { secs, millis: 500 + random.roll(20_000) },
        11 => Trouble::StaleLists { secs },
        12 => Trouble::SecretsUnreadable { secs },
        13 => Trouble::Metrics { secs, how: *random.pick(&OUTAGES) },
        14 => Trouble::Hooks { secs, how: *random.pick(&OUTAGES) },
        _ if random.chance(30) => {
            let secs = i64::try_from(random.roll(180)).unwrap() - 90;
            Trouble::ClockJump { replica, secs }
        }
        _ => Trouble::Crash { replica, down: random.roll(60) },
    }
}

fn on_write(random: &mut Random) -> Fault {
    match random.roll(7) {
        0 => Fault::Refused(409),
        1 => Fault::Refused(500),
        2 => Fault::Torn { carried_out: random.chance(70) },
        3 => Fault::Late { secs: 1 + random.roll(30) },
        4 => Fault::Slow { millis: random.roll(25_000) },
        _ => Fault::Crash { carried_out: random.chance(50), down: random.roll(60) },
    }
}

fn on_read(random: &mut Random) -> Fault {
    match random.roll(5) {
        0 => Fault::Refused(429),
        1 => Fault::Refused(403),
        2 => Fault::Torn { carried_out: false },
        3 => Fault::Slow { millis: random.roll(25_000) },
        _ => Fault::Hang,
    }
}
