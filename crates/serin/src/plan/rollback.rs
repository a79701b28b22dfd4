//! How long a bad release stays on the road, and whom it hurts: by Flagger's rule, by the checks as they run here, by the guard.

use serin_core::model::{Builtin, Canary, Form, GuardMode, HookKind, Limit, Metric, MetricSource};
use serin_core::step::ACTUATION_SECS;

use super::report::{Cell, Rollback, Row, Worst};
use super::simulate::{
    Fault, HORIZON_SECS, Luck, Outcome, Run, Traffic, at_the_highest, first_share, play,
};

/// Imagined releases per severity; the second worst of twenty is what nineteen of them stay below.
const RUNS: u64 = 40;

/// Looks of the guard that one row may cost, so that a plan takes seconds whatever its steps are; where releases are long,
/// fewer are imagined.
const LOOKS_MAX: u32 = 40_000;
/// Of one of them.
const LOOKS_OF_ONE_MAX: u32 = 20_000;

/// Who rolls back, of the rules that know nothing but the step clock.
#[derive(Clone, Copy)]
enum Clock {
    /// On the tick after the one that reached the threshold.
    Flagger,
    /// On the tick that reaches it.
    Serin,
}

pub(super) fn of(canary: &Canary, traffic: &Traffic) -> Rollback {
    let mut notes = Vec::new();
    let analysis = &canary.spec.analysis;
    if analysis.metrics.iter().any(|metric| limit_of(metric).is_none()) {
        notes.push("metrics with a query of their own are taken to fail at the first check after the fault".to_owned());
    }
    if canary.spec.skip_analysis {
        notes.push(
            "skipAnalysis: nothing is checked, and nothing but pods that do not start rolls back"
                .to_owned(),
        );
    }
    let watched = match &analysis.guard {
        None => {
            notes.push(
                "there is no guard: the spec has none, and no builtin check to derive one from"
                    .to_owned(),
            );
            None
        }
        Some(guard) => {
            if guard.mode == GuardMode::Observe {
                notes.push("the guard only observes: what it would have done".to_owned());
            }
            guard.objectives.first().map(|objective| objective.name.clone())
        }
    };
    if analysis.webhooks.iter().any(|hook| hook.kind == HookKind::Rollback) {
        notes.push("a rollback hook can end a release sooner".to_owned());
    }
    let unimagined = match analysis.schedule.form() {
        Form::Weighted => None,
        Form::BlueGreen if !canary.spec.provider.has_router() => Some(
            "no user's request reaches the canary before its promotion, and nothing is rolled back after it",
        ),
        Form::BlueGreen => Some(
            "the guard is not imagined for Blue/Green; where it has counters it is sooner than the checks",
        ),
        Form::Matched => Some(
            "how many requests match is not known, so nothing is imagined; the guard watches them as it watches a share, and only they are at risk",
        ),
    };
    notes.extend(unimagined.map(str::to_owned));
    let highest = if canary.spec.skip_analysis { None } else { at_the_highest(canary, traffic) };
    let severities = traffic.failing.iter();
    let rows: Vec<Row> = severities
        .flat_map(|severity| rows(canary, traffic, *severity, highest.as_ref()))
        .collect();
    let enforced = analysis.guard.as_ref().is_some_and(|guard| guard.mode == GuardMode::Enforce);
    let worst_case = worst(&rows, enforced);
    Rollback { guard_watches: watched, runs: RUNS, worst_case, rows, notes }
}

/// The longest and the dearest way to the end, by whichever of those in force is sooner.
fn worst(rows: &[Row], enforced: bool) -> Worst {
    let mut worst = Worst { rollback_secs: Some(0.0), ..Worst::default() };
    for (place, row) in rows.iter().enumerate() {
        let guard = row.guard.filter(|guard| enforced && !guard.misses());
        let ends = row.checks.into_iter().chain(guard);
        match ends.min_by(|a, b| a.secs.total_cmp(&b.secs)) {
            None => worst.unseen_rows.push(place),
            Some(end) => {
                worst.rollback_secs = worst.rollback_secs.map(|secs| secs.max(end.secs));
                let hurt = worst.requests_at_risk.unwrap_or(0.0);
                worst.requests_at_risk = Some(hurt.max(end.requests));
            }
        }
    }
    if rows.is_empty() || !worst.unseen_rows.is_empty() {
        worst.rollback_secs = None;
        worst.requests_at_risk = None;
    }
    worst
}

/// From the first request, and from the highest share on.
fn rows(
    canary: &Canary,
    traffic: &Traffic,
    severity: f64,
    at_highest: Option<&Run<'_>>,
) -> Vec<Row> {
    let (first, highest) = shares(canary, traffic);
    let row = |begins, share: f64, fault| Row {
        failing_percent: severity * 100.0,
        begins,
        share_percent: share * 100.0,
        flagger: clocked(canary, traffic, severity, share, fault, Clock::Flagger),
        checks: clocked(canary, traffic, severity, share, fault, Clock::Serin),
        guard: guarded(canary, traffic, severity, fault, at_highest),
    };
    match canary.spec.analysis.schedule.form() {
        Form::Weighted => vec![
            row("with its first request", first, Fault::First),
            row("at the highest share", highest, Fault::Highest),
        ],
        // Nobody sees it before everybody does.
        Form::BlueGreen if canary.spec.provider.has_router() => {
            vec![row("when everybody moves", highest, Fault::First)]
        }
        Form::BlueGreen | Form::Matched => Vec::new(),
    }
}

/// The canary's first and highest share.
fn shares(canary: &Canary, traffic: &Traffic) -> (f64, f64) {
    let analysis = &canary.spec.analysis;
    let Some(ladder) = analysis.schedule.ladder() else { return (1.0, 1.0) };
    let first = first_share(canary, traffic.rps).map_or(0, |w| w.percent());
    let last = ladder.last().map_or(0, |w| w.percent());
    (f64::from(first) / 100.0, f64::from(last) / 100.0)
}

/// Rounds of checks that pass before one fails, the worst moment for the fault to begin; none when none ever fails.
fn blind_rounds(metric: &Metric, interval: i64, severity: f64, fault: Fault) -> Option<i64> {
    let Some((limit, window)) = limit_of(metric) else { return Some(0) };
    if severity <= limit {
        return None;
    }
    match fault {
        // The window has nothing but the fault in it.
        Fault::First | Fault::Never => Some(0),
        Fault::Highest => {
            // After k rounds the fault fills `k interval / window` of what the query looks at.
            let needed = limit / severity * window;
            Some((needed / interval.max(1) as f64).ceil().max(1.0) as i64 - 1)
        }
    }
}

/// Failed share that a builtin check allows, and the seconds that it looks back.
fn limit_of(metric: &Metric) -> Option<(f64, f64)> {
    let rate = metric.sources.contains(&MetricSource::Builtin(Builtin::RequestSuccessRate));
    let min = match metric.limit {
        Limit::Range { min, max: _ } => min,
        Limit::AtLeast(min) => Some(min),
        Limit::AtMost(_) => None,
    };
    let latency = metric.sources.contains(&MetricSource::Builtin(Builtin::RequestDuration));
    if latency {
        // Requests that fail need not be slow.
        return Some((1.0, 0.0));
    }
    rate.then(|| (1.0 - min.unwrap_or(0.0) / 100.0, window(&metric.interval)))
}

fn window(text: &str) -> f64 {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    let number: f64 = digits.parse().unwrap_or(60.0);
    match text.get(digits.len()..) {
        Some(unit) if unit.starts_with("ms") => number / 1000.0,
        Some(unit) if unit.starts_with('s') => number,
        Some(unit) if unit.starts_with('h') => number * 3600.0,
        Some(_) | None => number * 60.0,
    }
}

fn clocked(
    canary: &Canary,
    traffic: &Traffic,
    severity: f64,
    share: f64,
    fault: Fault,
    clock: Clock,
) -> Option<Cell> {
    let analysis = &canary.spec.analysis;
    if canary.spec.skip_analysis {
        return None;
    }
    let blind = analysis.metrics.iter();
    let blind =
        blind.filter_map(|metric| blind_rounds(metric, analysis.interval_secs, severity, fault));
    let extra = match clock {
        Clock::Flagger => 1,
        Clock::Serin => 0,
    };
    let rounds = blind.min()? + i64::from(analysis.threshold) + extra;
    let secs = rounds.saturating_mul(analysis.interval_secs) as f64 + ACTUATION_SECS;
    Some(Cell { secs, requests: traffic.rps * share * severity * secs, missed: 0, imagined: 1 })
}

/// What nineteen of twenty releases stay below.
fn guarded(
    canary: &Canary,
    traffic: &Traffic,
    severity: f64,
    fault: Fault,
    at_highest: Option<&Run<'_>>,
) -> Option<Cell> {
    if canary.spec.skip_analysis {
        return None;
    }
    let (mut runs, mut looks): (Vec<Outcome>, u32) = (Vec::new(), 0);
    for seed in 0..RUNS {
        let luck = Luck::Seed(20_240_601 + seed);
        let run = match fault {
            Fault::Never | Fault::First => play(canary, traffic, severity, fault, luck)?,
            Fault::Highest => {
                at_highest?.clone().with(luck).play(severity, fault, LOOKS_OF_ONE_MAX)
            }
        };
        looks = looks.saturating_add(run.looks);
        runs.push(run);
        if looks >= LOOKS_MAX {
            break;
        }
    }
    let missed = runs.iter().filter(|run| run.rolled_back.is_none()).count() as u64;
    let mut secs: Vec<f64> =
        runs.iter().map(|run| run.rolled_back.unwrap_or(HORIZON_SECS + ACTUATION_SECS)).collect();
    let mut hurt: Vec<f64> = runs.iter().map(|run| run.hurt).collect();
    secs.sort_by(f64::total_cmp);
    hurt.sort_by(f64::total_cmp);
    let place = (runs.len() * 19).div_ceil(20).checked_sub(1)?;
    let imagined = runs.len() as u64;
    Some(Cell { secs: *secs.get(place)?, requests: *hurt.get(place)?, missed, imagined })
}
