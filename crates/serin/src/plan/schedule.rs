//! How a release goes when nothing is found against it, and how soon it can be over.

use serin_core::model::{Canary, HookKind, Ladder, Strategy};

use super::report::{Schedule, Step};
use super::simulate::{Fault, Luck, play};

pub(super) fn of(canary: &Canary, rps: f64) -> Schedule {
    let analysis = &canary.spec.analysis;
    let mut schedule = if canary.spec.skip_analysis {
        Schedule {
            pace: "skipAnalysis: promoted as soon as it is ready",
            promotion_secs: Some(0.0),
            ..Schedule::default()
        }
    } else {
        match &analysis.strategy {
            Strategy::Weighted(_) if analysis.evidence_pace().is_some() => by_evidence(canary, rps),
            Strategy::Weighted(ladder) => fixed(canary, ladder),
            Strategy::BlueGreen { iterations } => blue_green(canary, *iterations),
        }
    };
    let waits = [
        (HookKind::ConfirmRollout, "before it begins"),
        (HookKind::PreRollout, "before the first traffic"),
        (HookKind::ConfirmTrafficIncrease, "before each share"),
        (HookKind::ConfirmPromotion, "before the promotion"),
    ];
    for (kind, when) in waits {
        for hook in analysis.webhooks.iter().filter(|hook| hook.kind == kind) {
            schedule.notes.push(format!("the hook {} may hold it {when}", hook.name));
        }
    }
    schedule.notes.push(format!(
        "the canary has {} s to become ready before the first traffic, the primary as long after the promotion",
        canary.spec.progress_deadline_secs
    ));
    if let Some(secs) = analysis.guard.as_ref().and_then(|guard| guard.soak_secs) {
        schedule.notes.push(format!("the primary is watched for {secs} s after the promotion"));
    }
    schedule
}

fn bake(canary: &Canary) -> i64 {
    canary.spec.analysis.guard.as_ref().map_or(0, |guard| guard.min_bake_secs)
}

/// Rounds of checks are an interval apart: what is due between two of them waits for the second.
fn rounds(secs: i64, interval: i64) -> i64 {
    let interval = interval.max(1);
    (secs + interval - 1) / interval * interval
}

fn fixed(canary: &Canary, ladder: &Ladder) -> Schedule {
    let interval = canary.spec.analysis.interval_secs;
    let mut at = 0;
    let mut steps = Vec::new();
    for rung in &ladder.rungs {
        steps.push(Step { at_secs: at as f64, weight: rung.percent() });
        at += interval;
    }
    let promotion = at.max(rounds(bake(canary), interval));
    let mut notes = Vec::new();
    if let (Some(step), Some(last)) = (ladder.promotion_step, ladder.rungs.last()) {
        let count = last.percent().div_ceil(step.percent().max(1));
        notes.push(format!(
            "all traffic is back on the primary in {count} steps of {step} %, one per {interval} s"
        ));
    }
    Schedule {
        pace: "fixed: one step per interval while the checks pass",
        steps,
        promotion_secs: Some(promotion as f64),
        notes,
    }
}

fn blue_green(canary: &Canary, iterations: u32) -> Schedule {
    use serin_core::model::Provider;
    let interval = canary.spec.analysis.interval_secs;
    let done = interval.saturating_mul(i64::from(iterations));
    let (steps, promotion) = match canary.spec.provider {
        Provider::Kubernetes => (Vec::new(), done),
        Provider::Traefik => {
            let switched = Step { at_secs: done as f64, weight: 100 };
            (vec![switched], done + interval.max(rounds(bake(canary), interval)))
        }
    };
    Schedule {
        pace: "Blue/Green: the checks pass once per iteration, then everybody moves",
        steps,
        promotion_secs: Some(promotion as f64),
        notes: Vec::new(),
    }
}

fn by_evidence(canary: &Canary, rps: f64) -> Schedule {
    let best = play(canary, rps, 0.0, Fault::Never, Luck::Best).unwrap_or_default();
    let mut notes = Vec::new();
    if best.promoted.is_none() {
        notes.push(
            "at this traffic the evidence does not suffice for a promotion within an hour"
                .to_owned(),
        );
    }
    if let Some(pace) = canary.spec.analysis.evidence_pace() {
        let limit = pace.max_duration_secs;
        notes.push(format!(
            "after {limit} s with traffic somebody is called if the evidence is not there"
        ));
        if best.promoted.is_some_and(|secs| secs > limit as f64) {
            notes.push("that is before the evidence can suffice at this traffic".to_owned());
        }
    }
    Schedule {
        pace: "evidence: the soonest, if no request fails",
        steps: best.shares.into_iter().map(|(at_secs, weight)| Step { at_secs, weight }).collect(),
        promotion_secs: best.promoted,
        notes,
    }
}
