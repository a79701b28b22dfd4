//! Flagger's rule over history: the operator's own `step`, on a virtual clock, with answers from the past.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serin_core::model::{
    Canary, Exposure, HookKind, Metric, MetricSource, Phase, Running, Status, Weight,
};
use serin_core::observed::{
    Answer, Check, Drift, Guard, Observed, Readiness, Scaler, ScalerCopy, Seen, Selects,
    ServiceSeen, Services, Watched, Workload,
};
use serin_core::step::{Settings, Step, step};

use super::Outcome;

/// What the primary runs, and what is released.
const BEFORE: &str = "s1:before";
const RELEASED: &str = "s1:released";
/// More decisions than any analysis takes; more would be one that never ends.
const DECISIONS_MAX: u32 = 50_000;
/// Gates, hooks, metrics, one to spare, as in the operator.
const ROUNDS_MAX: u32 = 4;

/// How an analysis went.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ApplyOrder {
    pub(super) outcome: Outcome,
    pub(super) at: Timestamp,
    pub(super) why: String,
    /// When the canary's weight changed, in milliseconds.
    pub(super) steps: Vec<i64>,
    pub(super) checks: u32,
    pub(super) failed: u32,
}

/// What metrics said, by check and time in milliseconds.
pub(super) type Answers = BTreeMap<Check, BTreeMap<i64, Answer>>;

/// What was going on before a release, and how far back its metrics look.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Past {
    /// Seconds, by check, where the query says so.
    pub(super) reach: BTreeMap<Check, i64>,
    /// When the canary before it had its last request.
    pub(super) traffic_end: Option<Timestamp>,
}

/// Every source of every metric, as checks.
pub(super) fn sources(canary: &Canary) -> Vec<(Check, &Metric, &MetricSource)> {
    let metrics = canary.spec.analysis.metrics.iter().enumerate();
    metrics
        .flat_map(|(i, metric)| {
            let sources = metric.sources.iter().enumerate();
            sources.map(move |(j, source)| (Check::Metric(i, j), metric, source))
        })
        .collect()
}

/// Plays the analysis from `start`, when the canary gets its first share, until it ends or there is no traffic after `end`.
pub(super) fn play(
    canary: &Canary,
    answers: &Answers,
    past: &Past,
    start: Timestamp,
    end: Timestamp,
) -> ApplyOrder {
    let mut canary = Canary { status: beginning(start), ..canary.clone() };
    canary.status.drain_time = past.traffic_end;
    canary.spec.suspend = false;
    // Flagger's rule has none, nor a pace that it sets.
    canary.spec.analysis.guard = None;
    let mut order = ApplyOrder {
        outcome: Outcome::Undecided,
        at: start,
        why: "the canary's traffic ended before the analysis did".to_owned(),
        steps: Vec::new(),
        checks: 0,
        failed: 0,
    };
    let mut now = start;
    for _ in 0..DECISIONS_MAX {
        if now > end {
            order.at = end;
            return order;
        }
        let Some((status, reason, next)) = decide(&canary, answers, past, now) else {
            order.why = "the analysis asks in circles".to_owned();
            return order;
        };
        if status.canary_weight > canary.status.canary_weight {
            order.steps.push(now.as_millisecond());
        }
        // Flagger's counter is reset when the analysis ends.
        order.failed = order.failed.max(status.failed_checks);
        if status.last_step_time != canary.status.last_step_time && now > start {
            order.checks += 1;
        }
        order.at = now;
        canary.status = status;
        let outcome = match canary.status.phase {
            Some(Phase::Failed) => Some(Outcome::RolledBack),
            Some(Phase::Promoting | Phase::Finalising | Phase::Succeeded) => Some(Outcome::Passed),
            Some(
                Phase::Initializing
                | Phase::Initialized
                | Phase::Waiting
                | Phase::Progressing
                | Phase::WaitingPromotion
                | Phase::Terminating
                | Phase::Terminated,
            )
            | None => None,
        };
        if let Some(outcome) = outcome {
            order.outcome = outcome;
            order.why = reason;
            return order;
        }
        let least = Timestamp::from_second(now.as_second() + 1).unwrap_or(now);
        now = next.max(least);
    }
    order.why = "the analysis does not come to an end".to_owned();
    order
}

/// An analysis that begins now, everything else being in order.
fn beginning(start: Timestamp) -> Status {
    Status {
        phase: Some(Phase::Progressing),
        last_applied_spec: RELEASED.to_owned(),
        last_promoted_spec: BEFORE.to_owned(),
        target_generation: Some(2),
        analysis_start_time: Some(start),
        phase_time: Some(start),
        ..Status::default()
    }
}

fn decide(
    canary: &Canary,
    answers: &Answers,
    past: &Past,
    now: Timestamp,
) -> Option<(Status, String, Timestamp)> {
    let settings = Settings::default();
    let mut seen = world(canary);
    seen.reach.clone_from(&past.reach);
    for _ in 0..ROUNDS_MAX {
        match step(canary, &seen, now, &settings) {
            Step::Ask(checks) => {
                for check in checks {
                    seen.answers.insert(check, answer(canary, answers, check, now));
                }
            }
            Step::Act(plan) => return Some((plan.status, plan.explanation.message, plan.next)),
        }
    }
    None
}

/// Hooks are taken to say yes: what they said back then is not recorded.
fn answer(canary: &Canary, answers: &Answers, check: Check, now: Timestamp) -> Answer {
    match check {
        Check::Hook(index) => {
            let hook = canary.spec.analysis.webhooks.get(index);
            match hook.map(|hook| hook.kind) {
                Some(HookKind::Rollback) => Answer::Refused("not asked".to_owned()),
                Some(
                    HookKind::ConfirmRollout
                    | HookKind::PreRollout
                    | HookKind::Rollout
                    | HookKind::ConfirmTrafficIncrease
                    | HookKind::ConfirmPromotion
                    | HookKind::PostRollout
                    | HookKind::Event,
                )
                | None => Answer::Approved,
            }
        }
        Check::Metric(..) => {
            let at = answers.get(&check).and_then(|times| times.get(&now.as_millisecond()));
            let missing = || Answer::NoData("the query returned nothing".to_owned());
            at.cloned().unwrap_or_else(missing)
        }
    }
}

/// A cluster in which everything is ready, and the route is what the status says.
fn world(canary: &Canary) -> Observed {
    let workload = |revision: &str| {
        Seen::Present(Workload {
            revision: revision.to_owned(),
            matches_target: false,
            configs: None,
            uid: String::new(),
            generation: 2,
            confirmed: false,
            running: Running::On(Some(1)),
            replicas: 1,
            readiness: Readiness::Ready,
            available_replicas: 1,
            pods: 1,
            owned: true,
        })
    };
    let service =
        |selects| Seen::Present(ServiceSeen { selects, ready_endpoints: 1, in_order: true });
    let scaler = match &canary.spec.scaler {
        Some(_) => Seen::Present(Scaler {
            min_replicas: None,
            primary_exists: true,
            held: None,
            copy: ScalerCopy::AsMade,
        }),
        None => Seen::Absent,
    };
    let weight = Weight::saturating(u32::from(canary.status.canary_weight));
    Observed {
        target: workload(RELEASED),
        primary: workload(BEFORE),
        configs: Seen::Absent,
        kept: Seen::Absent,
        scaler,
        services: Services {
            apex: service(Selects::Primary),
            primary: service(Selects::Primary),
            canary: service(Selects::Target),
        },
        route: Seen::Present(Exposure::share(weight)),
        unmeasurable: Vec::new(),
        duplicate_of: None,
        obstacles: Vec::new(),
        refused: None,
        passed_over: Vec::new(),
        requests: Vec::new(),
        drift: Drift::default(),
        answered: None,
        reach: BTreeMap::new(),
        guard: Guard::Quiet,
        watched: Watched::default(),
        answers: BTreeMap::new(),
    }
}
