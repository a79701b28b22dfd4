//! A crowd: hundreds of canaries whose servers hang, and a few whose releases must go on as if no other were there.

use std::time::Duration;

use serin_core::model::HookKind;
use serin_mutants::{FoundBy, Switched};
use tokio::time::Instant;

use crate::plan::{Act, Plan, Quality, Shape};
use crate::world::World;

/// Canaries with a hook that never answers.
const HANGING: usize = 200;
/// Well ones; the last releases something that fails.
const WELL: usize = 4;
const PATIENCE: Duration = Duration::from_secs(3600);
/// Three steps of ten seconds, and what comes before and after them.
const RELEASE_MAX: Duration = Duration::from_secs(120);
/// One interval until the first share, a minute until a check's window is the canary's own, and one more failed check.
const ROLLBACK_MAX: Duration = Duration::from_secs(90);

fn plan(hanging: usize) -> Plan {
    let hooked = Shape { hooks: vec![HookKind::Rollout], threshold: 1000, ..Shape::small() };
    let mut canaries = vec![Shape::small(); WELL];
    canaries.resize(WELL + hanging, hooked);
    Plan { seed: 7, replicas: 1, canaries, moves: Vec::new() }
}

/// How long the slowest of the well releases took, and how long the rollback of the bad one.
async fn life(hanging: usize) -> (Duration, Duration) {
    let (mut world, _crashes) = World::new(&plan(hanging));
    let all = WELL + hanging;
    until(&world, |world| (0..all).all(|canary| world.phase(canary) == "Initialized")).await;
    for canary in WELL..all {
        world.external.change(canary, |receiver| receiver.hooks_hang = true);
        world.act(canary, &Act::Release(Quality::Healthy));
    }
    // The crowd is at work, and its hooks hang.
    let progresses = |world: &World| (WELL..all).all(|canary| world.phase(canary) == "Progressing");
    until(&world, progresses).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let began = Instant::now();
    for canary in 0..WELL {
        let bad = canary == WELL - 1;
        let quality = if bad { Quality::Bad } else { Quality::Healthy };
        world.act(canary, &Act::Release(quality));
    }
    until(&world, |world| world.phase(WELL - 1) == "Failed").await;
    let rolled_back = began.elapsed();
    until(&world, |world| (0..WELL - 1).all(|canary| world.phase(canary) == "Succeeded")).await;
    (began.elapsed(), rolled_back)
}

async fn until(world: &World, done: impl Fn(&World) -> bool) {
    let mut changed = world.store.changed();
    let waited = tokio::time::timeout(PATIENCE, async {
        while !done(world) {
            changed.changed().await.unwrap();
        }
    });
    // Whoever waits longer has waited too long: the time that it took says so.
    drop(waited.await);
}

fn run(hanging: usize) -> (Duration, Duration) {
    fastrand::seed(7);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(life(hanging))
}

#[test]
fn hundreds_of_dead_hooks_delay_nobody_else() {
    let (alone, alone_back) = run(0);
    let (crowded, crowded_back) = run(HANGING);
    println!(
        "a release takes {alone:.1?} alone and {crowded:.1?} beside {HANGING} with hooks that hang; \
         a rollback {alone_back:.1?} and {crowded_back:.1?}"
    );
    assert!(alone <= RELEASE_MAX && alone_back <= ROLLBACK_MAX, "{alone:?} {alone_back:?}");
    assert!(crowded <= RELEASE_MAX, "{crowded:?}");
    assert!(crowded_back <= ROLLBACK_MAX, "{crowded_back:?}");
}

#[test]
#[ignore = "needs the copy of the source with the bugs in it: make mutants"]
fn every_deliberate_bug_in_a_crowd_is_found() {
    for bug in serin_mutants::found_by(FoundBy::Crowds).unwrap() {
        let switched = Switched::on(&bug);
        let (release, back) = run(HANGING);
        drop(switched);
        let name = bug.name;
        println!("with {name} a release takes {release:.1?}, a rollback {back:.1?}");
        assert!(release > RELEASE_MAX && back > ROLLBACK_MAX, "{name}: {release:?} {back:?}");
    }
}
