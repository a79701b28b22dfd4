//! Lives that are told and not thrown: what must cross each other does, at a moment that the random choose. For bugs whose
//! moment is too rare to be met by chance.

use std::time::Duration;

use serin_core::model::provider::TRAEFIK;
use serin_core::model::{HookKind, Policy, TargetKind};

use crate::plan::{
    Act, Call, Checks, Fault, Move, Outage, Plan, Quality, Shape, Sight, Trouble, What,
};
use crate::random::Random;
use crate::wide::{Extra, Policies};
use crate::world::strategies;

const STORIES: [fn(&mut Random, &mut Shape) -> Vec<Move>; 6] = [
    a_late_scaling_meets_a_release,
    an_edit_nobody_has_seen_yet,
    a_release_into_a_promotion,
    hooks_that_hang_while_requests_fail,
    a_crash_under_a_guard,
    a_guard_that_goes_blind,
];

/// The life that this seed stands for.
pub(crate) fn plan(seed: u64) -> Plan {
    let mut random = Random::new(seed ^ 0x6372_6f73_7369_6e67);
    let weighted: Vec<usize> = (0..strategies().len())
        .filter(|place| strategies()[*place].get("iterations").is_none())
        .collect();
    let mut shape = Shape {
        provider: &TRAEFIK,
        target: TargetKind::Deployment,
        tests: false,
        strategy: *random.pick(&weighted),
        checks: Checks::Inline,
        threshold: 3,
        interval_secs: 10,
        hooks: Vec::new(),
        autoscaler: false,
        configs: random.chance(30),
        skip_analysis: false,
        revert_on_deletion: true,
        guard: false,
        extra: Extra::default(),
    };
    let story = usize::try_from(seed / 4).unwrap() % STORIES.len();
    let mut moves = vec![wait(30_000, What::Trouble(Trouble::Tear))];
    moves.extend(STORIES[story](&mut random, &mut shape));
    Plan { seed, replicas: 1, canaries: vec![shape], moves }
}

fn wait(millis: u64, what: What) -> Move {
    Move { after: Duration::from_millis(millis), what }
}

fn user(millis: u64, act: Act) -> Move {
    wait(millis, What::User(0, act))
}

fn meets(call: Call, skip: u64, fault: Fault) -> Move {
    wait(0, What::Trouble(Trouble::Next { call, skip, fault }))
}

fn until(sight: Sight) -> Move {
    wait(0, What::Await(0, sight))
}

/// The target is scaled up, and its scaling down comes when the next version has its traffic.
fn a_late_scaling_meets_a_release(random: &mut Random, _: &mut Shape) -> Vec<Move> {
    let late = Fault::Late { secs: 6 + random.roll(20) };
    vec![
        meets(Call::Target, 1, late),
        meets(Call::Target, 1, Fault::Refused(500)),
        meets(Call::Target, 1, Fault::Refused(500)),
        user(0, Act::Release(*random.pick(&[Quality::Healthy, Quality::Bad]))),
        until(Sight::Rest),
        user(2_000 + random.roll(4_000), Act::Release(Quality::Healthy)),
    ]
}

/// Somebody suspends the release, and the watch that tells it lags.
fn an_edit_nobody_has_seen_yet(random: &mut Random, _: &mut Shape) -> Vec<Move> {
    vec![
        user(0, Act::Release(Quality::Healthy)),
        until(Sight::Traffic),
        wait(0, What::Trouble(Trouble::Lag { secs: 60, millis: 15_000 })),
        user(random.roll(10_000), Act::Suspend(true)),
        user(60_000, Act::Suspend(false)),
    ]
}

/// The copy fails at first, and the next version is there when it is tried again.
fn a_release_into_a_promotion(random: &mut Random, _: &mut Shape) -> Vec<Move> {
    vec![
        meets(Call::Primary, 0, Fault::Refused(500)),
        meets(Call::Primary, 0, Fault::Refused(503)),
        user(0, Act::Release(Quality::Healthy)),
        until(Sight::Promotion),
        user(random.roll(1_500), Act::Release(*random.pick(&[Quality::Healthy, Quality::Bad]))),
    ]
}

/// The hook that may ask for a rollback does not answer, and the guard has seen enough.
fn hooks_that_hang_while_requests_fail(random: &mut Random, shape: &mut Shape) -> Vec<Move> {
    shape.guard = true;
    shape.hooks = vec![HookKind::Rollback];
    shape.extra.hook_secs = Some(60);
    vec![
        user(0, Act::Release(Quality::Bad)),
        until(Sight::Traffic),
        wait(random.roll(500), What::Trouble(Trouble::Hooks { secs: 200, how: Outage::Hangs })),
        wait(200_000, What::Trouble(Trouble::Tear)),
    ]
}

/// Much has been counted while a gate was shut; the operator starts again, and then it opens.
fn a_crash_under_a_guard(random: &mut Random, shape: &mut Shape) -> Vec<Move> {
    shape.guard = true;
    shape.hooks = vec![HookKind::ConfirmPromotion];
    vec![
        user(0, Act::Gates(false)),
        user(0, Act::Release(Quality::Healthy)),
        until(Sight::Traffic),
        wait(60_000 + random.roll(60_000), What::Trouble(Trouble::Crash { replica: 0, down: 1 })),
        user(2_000 + random.roll(8_000), Act::Gates(true)),
    ]
}

/// Nobody can measure anything any more when the canary has its share, and everybody who asks is to wait for it.
fn a_guard_that_goes_blind(random: &mut Random, shape: &mut Shape) -> Vec<Move> {
    shape.guard = true;
    let hold = Policies { no_data: None, cannot_measure: Some(Policy::Hold) };
    shape.extra.metrics = [hold, hold];
    let how = *random.pick(&[Outage::Refuses, Outage::Hangs, Outage::Fails, Outage::Garbage]);
    vec![
        user(0, Act::Release(Quality::Healthy)),
        until(Sight::Traffic),
        wait(15_000 + random.roll(30_000), What::Trouble(Trouble::Metrics { secs: 400, how })),
        wait(420_000, What::Trouble(Trouble::Tear)),
    ]
}
