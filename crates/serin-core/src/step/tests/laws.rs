//! The laws as properties: over random lives of a canary, and over states that no life would reach.

use std::collections::BTreeMap;

use proptest::prelude::{Just, ProptestConfig, TestCaseError, any, prop};
use proptest::strategy::Strategy as Gen;
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::world::{World, canary, later};
use crate::control::{ByHand, Command, Control, Request, release_of};
use crate::lint::lint;
use crate::model::*;
use crate::observed::*;
use crate::plan::{Action, Step};
use crate::step::step;

/// What users, clusters and bad luck do.
#[derive(Clone, Debug)]
enum Turn {
    Push(u8),
    Fail(u8),
    Break(u8),
    BreakPrimary(u8),
    Config(u8),
    Hooks(u8),
    Blind(u8),
    Guard(u8),
    Route(u8),
    Scale(u32),
    Unready,
    Suspend(bool),
    Skip(bool),
    Crash(usize),
    DropRoute,
    DropPrimary,
    NoData,
    Ticks(usize),
    Hurry(i64),
}

fn turns() -> impl Gen<Value = Vec<Turn>> {
    let turn = prop_oneof![
        3 => (1u8..5).prop_map(Turn::Push),
        2 => (1u8..5).prop_map(Turn::Fail),
        1 => (2u8..5).prop_map(Turn::Break),
        1 => (2u8..5).prop_map(Turn::BreakPrimary),
        1 => (0u8..3).prop_map(Turn::Config),
        1 => any::<u8>().prop_map(Turn::Hooks),
        2 => any::<u8>().prop_map(Turn::Blind),
        1 => (0u8..3).prop_map(Turn::Guard),
        1 => (0u8..=100).prop_map(Turn::Route),
        1 => (0u32..4).prop_map(Turn::Scale),
        1 => Just(Turn::Unready),
        1 => any::<bool>().prop_map(Turn::Suspend),
        1 => any::<bool>().prop_map(Turn::Skip),
        2 => (0usize..4).prop_map(Turn::Crash),
        1 => Just(Turn::DropRoute),
        1 => Just(Turn::DropPrimary),
        1 => Just(Turn::NoData),
        8 => (1usize..8).prop_map(Turn::Ticks),
        2 => (1i64..40).prop_map(Turn::Hurry),
    ];
    prop::collection::vec(turn, 1..40)
}

const BLINDABLE: [&str; 8] =
    ["target", "primary", "configs", "scaler", "apex", "services", "route", "kept"];

fn play(world: &mut World, turn: &Turn) {
    match turn {
        Turn::Push(n) => world.push(&format!("s1:v{n}")),
        Turn::Fail(n) => drop(world.failing.insert(format!("s1:v{n}"))),
        Turn::Break(n) => drop(world.broken.insert(format!("s1:v{n}"))),
        Turn::BreakPrimary(n) => drop(world.broken_primary.insert(format!("s1:v{n}"))),
        Turn::Config(n) => drop(world.configs.insert("configmap/a".into(), n.to_string())),
        Turn::Hooks(bits) => {
            let kinds = [
                HookKind::ConfirmRollout,
                HookKind::PreRollout,
                HookKind::Rollout,
                HookKind::ConfirmTrafficIncrease,
                HookKind::ConfirmPromotion,
            ];
            world.hooks.clear();
            for (bit, kind) in kinds.into_iter().enumerate() {
                if bits & (1 << bit) != 0 {
                    world.hooks.insert(kind, Answer::Refused("no".into()));
                }
            }
            if bits & 128 != 0 {
                world.hooks.insert(HookKind::Rollback, Answer::Approved);
            }
        }
        Turn::Blind(bits) => {
            world.blind.clear();
            for (bit, what) in BLINDABLE.into_iter().enumerate() {
                if bits & (1 << bit) != 0 {
                    world.blind.insert(what);
                }
            }
        }
        Turn::Guard(0) => world.guard = Guard::Quiet,
        Turn::Guard(1) => world.guard = Guard::Hold("too little".into()),
        Turn::Guard(_) => world.guard = Guard::RollBack("errors".into()),
        Turn::Route(weight) => {
            if world.route.is_some() {
                world.route = Some(Exposure::share(Weight::saturating(u32::from(*weight))));
            }
        }
        Turn::Scale(replicas) => {
            let now = world.now;
            if let Some(target) = &mut world.target {
                target.replicas = *replicas;
                target.generation += 1;
                target.ready_at = later(now, 3);
            }
        }
        Turn::Unready => {
            let now = world.now;
            if let Some(target) = &mut world.target {
                target.ready_at = later(now, 8);
            }
        }
        Turn::Suspend(on) => world.canary.spec.suspend = *on,
        Turn::Skip(on) => world.canary.spec.skip_analysis = *on,
        Turn::Crash(after) => world.crash_after = Some(*after),
        Turn::DropRoute => world.route = None,
        Turn::DropPrimary => world.primary = None,
        Turn::NoData => world.metric = Some(Answer::NoData("empty".into())),
        Turn::Ticks(ticks) => world.run(*ticks),
        // Something woke us before the time.
        Turn::Hurry(secs) => {
            world.now = later(world.now, -secs.min(&1));
            world.tick();
        }
    }
}

/// All faults end; what the user deployed stays as it is.
fn calm(world: &mut World) {
    world.blind.clear();
    world.hooks.clear();
    world.guard = Guard::Quiet;
    world.metric = None;
    world.broken_primary.clear();
    world.crash_after = None;
    world.canary.spec.suspend = false;
    world.canary.spec.skip_analysis = false;
}

fn hooked(world: World) -> World {
    world
        .hook(HookKind::ConfirmRollout)
        .hook(HookKind::PreRollout)
        .hook(HookKind::Rollout)
        .hook(HookKind::ConfirmTrafficIncrease)
        .hook(HookKind::ConfirmPromotion)
        .hook(HookKind::PostRollout)
        .hook(HookKind::Rollback)
}

fn worlds() -> impl Gen<Value = World> {
    (0u8..9, any::<bool>()).prop_map(|(kind, hooks)| {
        let world = match kind {
            0 => canary().weighted(&[5, 10, 20, 30, 40, 50]),
            1 => canary().weighted(&[100]).spec(|spec| {
                let shares = [40, 80].map(Weight::saturating);
                spec.analysis.schedule = Schedule::weighted(shares, Some(Weight::saturating(30)));
            }),
            2 => canary().blue_green(3),
            3 => canary().testing(2),
            4 => canary().weighted(&[50]).guarded(Pace::Fixed, 25, Some(40)),
            5 => canary().switching(2),
            6 => canary().weighted(&[5, 50]).mirrored(100),
            7 => canary().weighted(&[5, 50]).guarded(Pace::Fixed, 25, None).mirrored(20),
            _ => canary().switching(2).mirrored(40),
        };
        if hooks { hooked(world) } else { world }
    })
}

fn at_rest(world: &World) -> bool {
    matches!(world.canary.status.phase, Some(Phase::Initialized | Phase::Succeeded | Phase::Failed))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every plan passes the lint (in the world's tick), and once the faults end everything ends.
    #[test]
    fn every_life_ends_at_rest((mut world, turns) in (worlds(), turns())) {
        for turn in &turns {
            play(&mut world, turn);
        }
        calm(&mut world);
        let mut settled = 0;
        for _ in 0..600 {
            let before = world.canary.status.clone();
            let plan = world.tick();
            let still = plan.status == before
                && plan.lower.is_none()
                && plan.notices.is_empty()
                && plan.actions.iter().all(|action| matches!(action, Action::EnsureRoute(_)));
            settled = if still && plan.status == world.canary.status { settled + 1 } else { 0 };
            if settled >= 3 && (at_rest(&world) || hopeless(&world)) {
                break;
            }
        }
        prop_assert!(settled >= 3, "no fixed point:\n{}", world.log);
        if hopeless(&world) {
            return Ok(());
        }
        prop_assert!(at_rest(&world), "{}", world.log);
        let split = world.route.unwrap_or(Exposure::NONE);
        prop_assert_eq!(split, Exposure::NONE, "{}", world.log);
        prop_assert_eq!(world.canary.status.canary_weight, 0);
        let target = world.target.as_ref().map_or("", |target| target.revision.as_str());
        let promoted = world.canary.status.last_promoted_spec.as_str();
        let primary = world.primary.as_ref().map_or("", |primary| primary.revision.as_str());
        prop_assert_eq!(promoted, primary, "{}", world.log);
        if world.canary.status.phase != Some(Phase::Failed) {
            prop_assert_eq!(target, promoted, "{}", world.log);
        }
    }

    /// States that no life reaches make no panic, and no plan that breaks a law.
    #[test]
    fn any_state_makes_a_lawful_plan((canary, seen, later_secs) in states()) {
        let world = super::world::canary();
        let now = later(world.now, later_secs);
        let mut seen = seen;
        for _ in 0..4 {
            match step(&canary, &seen, now, &world.settings) {
                Step::Ask(checks) => {
                    prop_assert!(!checks.is_empty());
                    for check in checks {
                        seen.answers.insert(check, Answer::Approved);
                    }
                }
                Step::Act(plan) => {
                    let breaches = lint(&canary, &seen, &plan, now);
                    prop_assert!(breaches.is_empty(), "{:?}\n{:#?}", breaches, plan);
                    return Ok(());
                }
            }
        }
        prop_assert!(false, "asks in circles");
    }

    /// What is meant for another release changes nothing but what is said of it, and neither does what was carried out before.
    #[test]
    fn requests_that_are_not_for_now_do_nothing((mut canary, mut seen, later_secs) in states()) {
        let world = super::world::canary();
        let now = later(world.now, later_secs);
        for (number, request) in seen.requests.iter_mut().enumerate() {
            if number % 2 == 0 {
                request.release = "s1:other".to_owned();
            } else {
                canary.status.handled_actions.push(request.uid.clone());
            }
        }
        let with = step(&canary, &seen, now, &world.settings);
        seen.requests.clear();
        let without = step(&canary, &seen, now, &world.settings);
        match (with, without) {
            (Step::Ask(with), Step::Ask(without)) => prop_assert_eq!(with, without),
            (Step::Act(with), Step::Act(without)) => {
                prop_assert_eq!(with.lower, without.lower);
                prop_assert_eq!(with.actions, without.actions);
                prop_assert_eq!(with.status, without.status);
            }
            (with, without) => prop_assert!(false, "{:?}\n{:?}", with, without),
        }
    }

    /// Law 1: an abort of a release that is under way takes the canary's traffic in the same tick, whatever else is known.
    #[test]
    fn an_abort_never_waits(
        (mut canary, mut seen, later_secs) in states(),
        phase in prop::sample::select(vec![
            Phase::Progressing,
            Phase::WaitingPromotion,
            Phase::Promoting,
        ]),
    ) {
        let world = super::world::canary();
        let now = later(world.now, later_secs);
        seen.duplicate_of = None;
        canary.deleting = false;
        canary.status.phase = Some(phase);
        canary.status.canary_weight = canary.status.canary_weight.max(1);
        canary.status.handled_actions.clear();
        seen.requests.clear();
        asked_of(&mut canary, &mut seen, (vec![(Command::Abort, true, false)], false, false));
        seen.requests[0].expires = later(now, 1);
        let Step::Act(plan) = step(&canary, &seen, now, &world.settings) else {
            return Err(TestCaseError::fail("asked instead of acting"));
        };
        prop_assert!(plan.status.exposure().is_none());
        let wanted = canary.spec.provider.has_router().then_some(Exposure::NONE);
        prop_assert_eq!(plan.lower, wanted);
    }

    /// The guard's verdict lowers whatever else is known, in the same tick.
    #[test]
    fn a_rollback_never_waits(
        (mut canary, mut seen, later_secs) in states(),
        phase in prop::sample::select(vec![
            Phase::Progressing,
            Phase::WaitingPromotion,
            Phase::Promoting,
            Phase::Finalising,
        ]),
    ) {
        let world = super::world::canary();
        seen.guard = Guard::RollBack("errors".into());
        seen.duplicate_of = None;
        canary.deleting = false;
        canary.status.phase = Some(phase);
        canary.status.canary_weight = canary.status.canary_weight.max(1);
        let now = later(world.now, later_secs);
        let Step::Act(plan) = step(&canary, &seen, now, &world.settings) else {
            return Err(TestCaseError::fail("asked instead of acting"));
        };
        prop_assert_eq!(plan.status.phase, Some(Phase::Failed));
        let wanted = canary.spec.provider.has_router().then_some(Exposure::NONE);
        prop_assert_eq!(plan.lower, wanted);
    }
}

/// Nothing can be done: the primary is gone and the target is not what it ran, or nothing ever started.
fn hopeless(world: &World) -> bool {
    let target = world.target.as_ref().map_or("", |target| target.revision.as_str());
    let broken = world.broken.contains(target);
    let code = world.canary.status.last_reason.as_ref().map_or("", |last| last.code.as_str());
    (world.primary.is_none() && code == "PrimaryMissing")
        || broken
        || world.primary.as_ref().is_some_and(|primary| world.broken.contains(&primary.revision))
}

fn seen<T: Clone + std::fmt::Debug>(of: impl Gen<Value = T>) -> impl Gen<Value = Seen<T>> {
    prop_oneof![
        6 => of.prop_map(Seen::Present),
        1 => Just(Seen::Absent),
        1 => Just(Seen::Unreadable("timed out".into())),
    ]
}

fn revisions() -> impl Gen<Value = String> {
    prop_oneof![
        Just("s1:a".to_owned()),
        Just("s1:b".to_owned()),
        Just("s1:c".to_owned()),
        Just("5f56684589".to_owned()),
        Just(String::new()),
    ]
}

fn workloads() -> impl Gen<Value = Workload> {
    let readiness = prop_oneof![
        3 => Just(Readiness::Ready),
        1 => Just(Readiness::Progressing("starting".into())),
        1 => Just(Readiness::Stuck("deadline".into())),
    ];
    let identity = (prop_oneof![Just("u"), Just("v"), Just("")], 1i64..4, any::<bool>());
    (revisions(), any::<bool>(), identity, 0u32..3, readiness, 0u32..3).prop_map(
        |(revision, matches_target, identity, replicas, readiness, available_replicas)| Workload {
            revision,
            matches_target,
            configs: None,
            uid: identity.0.to_owned(),
            generation: identity.1,
            confirmed: identity.2,
            running: TargetKind::Deployment.running(replicas),
            replicas,
            readiness,
            available_replicas,
            pods: replicas,
            owned: true,
        },
    )
}

fn services() -> impl Gen<Value = ServiceSeen> {
    let selects = prop_oneof![Just(Selects::Primary), Just(Selects::Target), Just(Selects::Other)];
    (selects, 0u32..3, any::<bool>()).prop_map(|(selects, ready_endpoints, in_order)| ServiceSeen {
        selects,
        ready_endpoints,
        in_order,
    })
}

fn splits() -> impl Gen<Value = Exposure> {
    let mirrored = prop_oneof![9 => Just(0u32), 1 => 1u32..=100];
    (0u32..=100, prop::bool::weighted(0.1), mirrored).prop_map(|(share, matched, mirrored)| {
        Exposure {
            share: Weight::saturating(share),
            matched,
            mirrored: Weight::saturating(mirrored),
        }
    })
}

fn observations() -> impl Gen<Value = Observed> {
    let guard = prop_oneof![
        4 => Just(Guard::Quiet),
        1 => Just(Guard::Hold("little".into())),
        1 => Just(Guard::RollBack("errors".into())),
    ];
    let scaler = (prop::option::of(0u32..3), any::<bool>(), prop::option::of(1u32..3)).prop_map(
        |(min_replicas, primary_exists, held)| Scaler {
            min_replicas,
            primary_exists,
            held,
            copy: ScalerCopy::AsMade,
        },
    );
    let configs = prop::collection::btree_map("[ab]", "[12]", 0..2);
    (
        (seen(workloads()), seen(workloads()), seen(configs), seen(scaler)),
        (seen(services()), seen(services()), seen(services())),
        (
            seen(splits()),
            prop::bool::weighted(0.05),
            guard,
            seen(kept()),
            obstacles(),
            prop::option::weighted(0.1, refusals()),
        ),
    )
        .prop_map(
            |((target, primary, configs, scaler), (apex, of_primary, of_canary), rest)| Observed {
                target,
                primary,
                configs,
                kept: rest.3,
                scaler,
                services: Services { apex, primary: of_primary, canary: of_canary },
                route: rest.0,
                unmeasurable: Vec::new(),
                duplicate_of: rest.1.then(|| Duplicate {
                    older: Key::new("develop", "older"),
                    object: "Deployment api".into(),
                }),
                obstacles: rest.4,
                refused: rest.5,
                passed_over: Vec::new(),
                requests: Vec::new(),
                drift: Drift::default(),
                guard: rest.2,
                watched: Watched::default(),
                answers: BTreeMap::new(),
                answered: None,
                reach: BTreeMap::new(),
            },
        )
}

fn obstacles() -> impl Gen<Value = Vec<Obstacle>> {
    let kinds = prop_oneof![
        Just(ObstacleKind::NotOurs),
        Just(ObstacleKind::NoSelectorLabel),
        Just(ObstacleKind::Port),
        Just(ObstacleKind::ForeignEndpoints),
    ];
    let obstacle = kinds.prop_map(|kind| Obstacle { kind, message: format!("{kind:?}.") });
    prop_oneof![6 => Just(Vec::new()), 1 => prop::collection::vec(obstacle, 1..3)]
}

fn refusals() -> impl Gen<Value = Refusal> {
    let actions = prop_oneof![
        Just(Action::Services),
        Just(Action::PromotePrimary { revision: "s1:v2".into() }),
        Just(Action::Route(Exposure::NONE)),
        Just(Action::ScaleTarget(Running::Off)),
    ];
    actions.prop_map(|action| Refusal {
        action,
        object: "Service develop/backend".into(),
        message: "denied".into(),
    })
}

fn kept() -> impl Gen<Value = Kept> {
    (revisions(), any::<bool>()).prop_map(|(token, in_force)| Kept { token, in_force })
}

fn soaks() -> impl Gen<Value = Option<Soak>> {
    let soak =
        (revisions(), any::<bool>(), any::<bool>()).prop_map(|(previous, known, undo)| Soak {
            start_time: Some(super::world::canary().now),
            previous: if known || undo { previous } else { String::new() },
            previous_configs: None,
            undo: if undo { "errors".into() } else { String::new() },
        });
    prop::option::of(soak)
}

fn sent() -> impl Gen<Value = Vec<Sent>> {
    let one = (revisions(), 0i64..4).prop_map(|(revision, generation)| Sent {
        revision,
        configs: None,
        generation,
    });
    prop::collection::vec(one, 0..3)
}

fn statuses() -> impl Gen<Value = Status> {
    let time = || {
        prop::option::of((-100i64..100).prop_map(|secs| later(super::world::canary().now, secs)))
    };
    let configs = || prop::option::of(prop::collection::btree_map("[ab]", "[12]", 0..2));
    (
        (prop::option::of(prop::sample::select(Phase::ALL.to_vec())), 0u32..4, 0u8..=100, -1i32..5),
        (
            revisions(),
            revisions(),
            configs(),
            configs(),
            (prop::option::of(1i64..4), prop::option::of(prop_oneof![Just("u"), Just("v")])),
        ),
        (time(), time(), time(), time(), soaks(), sent()),
    )
        .prop_map(|(a, b, c)| Status {
            phase: a.0,
            failed_checks: a.1,
            canary_weight: a.2,
            iterations: a.3,
            last_applied_spec: b.0,
            last_promoted_spec: b.1,
            tracked_configs: b.2,
            promoted_configs: b.3,
            target_generation: b.4.0,
            target_uid: b.4.1.map(str::to_owned),
            last_step_time: c.0,
            phase_time: c.1,
            drain_time: c.2,
            analysis_start_time: c.3,
            soak: c.4,
            sent: c.5,
            ..Status::default()
        })
}

/// What people may ask, whether they mean this release, and whether the status knows it already.
type Order = (Command, bool, bool);

fn orders() -> impl Gen<Value = (Vec<Order>, bool, bool)> {
    let gate = || "confirm-promotion".to_owned();
    let command = prop_oneof![
        Just(Command::Abort),
        Just(Command::Promote),
        Just(Command::Advance),
        Just(Command::Pause),
        Just(Command::Resume),
        Just(Command::Retry),
        Just(Command::Restart),
        Just(Command::Undo),
        (0u32..=100).prop_map(|share| Command::SetWeight(Weight::saturating(share))),
        Just(Command::Approve { gate: gate() }),
        Just(Command::Reject { gate: gate() }),
    ];
    let order = (command, prop::bool::weighted(0.8), prop::bool::weighted(0.1));
    let all = prop_oneof![1 => Just(Vec::new()), 1 => prop::collection::vec(order, 1..3)];
    (all, prop::bool::weighted(0.2), prop::bool::weighted(0.1))
}

/// The status as a tick before has left it, and the orders that came since.
fn asked_of(
    canary: &mut Canary,
    seen: &mut Observed,
    (orders, paused, promoted): (Vec<Order>, bool, bool),
) {
    let status = &mut canary.status;
    status.release = match (status.phase, &seen.target, &seen.configs) {
        (Some(Phase::Waiting), Seen::Present(target), Seen::Present(configs)) => {
            release_of(&target.revision, Some(configs))
        }
        _ => release_of(&status.last_applied_spec, status.tracked_configs.as_ref()),
    };
    status.control = (paused || promoted).then(|| Control {
        release: status.release.clone(),
        paused: paused.then(ByHand::default),
        promoted: promoted.then(ByHand::default),
        gates: BTreeMap::new(),
    });
    for (number, (command, meant, known)) in orders.into_iter().enumerate() {
        let uid = format!("r{number}");
        if known {
            status.handled_actions.push(uid.clone());
        }
        seen.requests.push(Request {
            name: uid.clone(),
            uid,
            command,
            release: if meant { status.release.clone() } else { "s1:other".to_owned() },
            reason: String::new(),
            user: String::new(),
            expires: later(super::world::canary().now, 100),
        });
    }
}

fn states() -> impl Gen<Value = (Canary, Observed, i64)> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (worlds(), statuses(), observations(), flags, 0i64..200, orders()).prop_map(
        |(world, status, mut seen, flags, secs, orders)| {
            let mut canary = world.canary;
            canary.status = status;
            asked_of(&mut canary, &mut seen, orders);
            canary.deleting = flags.0 && flags.1;
            canary.spec.suspend = flags.1 && flags.2;
            canary.spec.skip_analysis = flags.2 && flags.3;
            canary.spec.revert_on_deletion = flags.3;
            canary.has_finalizer = flags.4;
            if flags.0 {
                canary.spec.scaler =
                    Some(ScalerRef { name: "hpa".into(), min_replicas: None, max_replicas: None });
            }
            (canary, seen, secs)
        },
    )
}
