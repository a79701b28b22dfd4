//! Lives in which what bugs need is frequent: all that can be asked is asked, and users, late writes and lost leases cross
//! each other. Every other life of the search for deliberate bugs is one of these.

use std::time::Duration;

use serin_core::model::HookKind;
use serin_core::model::provider::TRAEFIK;

use crate::chance::TARGETS;
use crate::plan::{Act, Call, Checks, Fault, Move, Plan, Quality, Shape, Trouble, What};
use crate::random::Random;
use crate::wide::Extra;
use crate::world::strategies;

/// The life that this seed stands for.
pub(crate) fn plan(seed: u64, length: u64) -> Plan {
    let mut random = Random::new(seed ^ 0x7072_6f76_6f6b_6521);
    let shape = Shape {
        provider: &TRAEFIK,
        target: *random.pick(&TARGETS),
        tests: false,
        strategy: random.index(strategies().len()),
        checks: *random.pick(&[Checks::Inline, Checks::Builtin, Checks::Template]),
        threshold: 1 + u32::try_from(random.roll(2)).unwrap(),
        interval_secs: 10,
        hooks: HookKind::ALL.into_iter().filter(|_| random.chance(50)).collect(),
        autoscaler: random.chance(20),
        configs: random.chance(50),
        skip_analysis: false,
        revert_on_deletion: true,
        guard: random.chance(50),
        extra: Extra::default(),
    };
    let replicas = if random.chance(50) { 2 } else { 1 };
    // Some laws are only sure of themselves where no fault excuses anything.
    let calm = random.chance(40);
    let first = Act::Release(*random.pick(&Quality::ALL));
    let mut moves = vec![Move { after: Duration::from_secs(30), what: What::User(0, first) }];
    for _ in 0..6 + random.roll(length) {
        let within = *random.pick(&[1_500, 6_000, 15_000, 45_000]);
        let after = Duration::from_millis(random.roll(within));
        let what = if calm || random.chance(50) {
            What::User(0, act(&mut random))
        } else {
            What::Trouble(trouble(&mut random, replicas))
        };
        moves.push(Move { after, what });
    }
    Plan { seed, replicas, canaries: vec![shape], moves }
}

fn act(random: &mut Random) -> Act {
    match random.roll(16) {
        0..=6 => Act::Release(*random.pick(&Quality::ALL)),
        7 | 8 => Act::Revert,
        9 => Act::RotateConfig,
        10 | 11 => Act::Gates(random.chance(40)),
        12 => Act::Delete,
        13 | 14 => Act::Recreate,
        _ => Act::Scale(1 + random.roll(3)),
    }
}

fn trouble(random: &mut Random, replicas: usize) -> Trouble {
    let on_write = |random: &mut Random, fault| Trouble::Next {
        call: Call::Write,
        skip: random.roll(5),
        fault,
    };
    match random.roll(10) {
        0 | 1 => {
            let secs = 1 + random.roll(40);
            on_write(random, Fault::Late { secs })
        }
        2 | 3 => {
            let millis = 8_000 + random.roll(20_000);
            on_write(random, Fault::Slow { millis })
        }
        4 => on_write(random, Fault::Torn { carried_out: true }),
        5 => Trouble::Next { call: Call::Lease, skip: 0, fault: Fault::Hang },
        6 | 7 => Trouble::Lag { secs: 10 + random.roll(50), millis: 5_000 + random.roll(20_000) },
        8 => Trouble::SecretsUnreadable { secs: 5 + random.roll(30) },
        _ => Trouble::Crash { replica: random.index(replicas), down: random.roll(8) },
    }
}
