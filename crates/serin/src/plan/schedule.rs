//! How a release goes when nothing is found against it, under either pace, and what its weights put at stake.

use std::collections::BTreeMap;

use serin_core::model::{self, Analysis, Canary, Form, HookKind};
use serin_core::step;
use serin_judge::pace::expected_hurt;

use super::report::{BlastRadius, Earliest, Schedule, Step};
use super::show::span;
use super::simulate::{Fault, Luck, Outcome, Traffic, play};

/// The Canary as it is, and as it would be with the other pace; none where that is invalid.
pub(super) struct Paces<'a> {
    pub(super) canary: &'a Canary,
    pub(super) fixed: Option<&'a Canary>,
    pub(super) evidence: Option<&'a Canary>,
}

pub(super) fn of(paces: &Paces<'_>, traffic: &Traffic) -> Schedule {
    let Paces { canary, fixed, evidence } = paces;
    let analysis = &canary.spec.analysis;
    let interval = span(analysis.interval_secs as f64);
    let mut schedule = Schedule { interval_secs: analysis.interval_secs, ..Schedule::default() };
    if canary.spec.skip_analysis {
        schedule.pace = "skipped";
        schedule.words = "skipAnalysis: promoted as soon as it is ready".to_owned();
        schedule.promotion.fixed_secs = Some(0.0);
    } else {
        match analysis.schedule.form() {
            Form::Weighted => {
                schedule.pace = "fixed";
                schedule.words = format!(
                    "pace fixed: one step per interval of {interval} while the checks pass"
                );
                if analysis.evidence_pace().is_some() {
                    schedule.pace = "evidence";
                    schedule.words =
                        "pace evidence: as soon as the evidence allows, if no request fails"
                            .to_owned();
                }
                weighted(&mut schedule, *fixed, *evidence, traffic);
                copies(&mut schedule, &analysis.schedule, &interval);
                back(&mut schedule, &analysis.schedule, &interval);
            }
            Form::Matched => {
                let rounds = analysis.schedule.rounds();
                schedule.pace = "matched";
                schedule.words = format!(
                    "A/B testing: the requests that match go to the canary, and the checks pass {rounds} times, once per {interval}"
                );
                let secs = analysis.interval_secs.saturating_mul(i64::from(rounds));
                schedule.promotion.fixed_secs =
                    Some(secs.max(rounds_up(bake(analysis), analysis.interval_secs)) as f64);
            }
            Form::BlueGreen => {
                let iterations = analysis.schedule.iterations().unwrap_or_default();
                schedule.pace = "blueGreen";
                let copies = analysis.schedule.copies();
                let on = copies.map_or_else(String::new, |copies| {
                    format!(" on copies of {copies} % of the requests")
                });
                schedule.words = format!(
                    "Blue/Green: the checks pass {iterations} times{on}, once per {interval}, then everybody moves"
                );
                blue_green(&mut schedule, canary, iterations, traffic);
            }
        }
    }
    around(&mut schedule, canary);
    schedule
}

/// What may hold a release before, in and after its steps.
fn around(schedule: &mut Schedule, canary: &Canary) {
    let analysis = &canary.spec.analysis;
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
        "the canary has {} to become ready before the first traffic, the primary as long after the promotion",
        span(canary.spec.progress_deadline_secs as f64)
    ));
    if let Some(secs) = analysis.guard.as_ref().and_then(|guard| guard.soak_secs) {
        schedule.notes.push(format!(
            "the primary is watched for {} after the promotion, and taken back if it breaks an objective",
            span(secs as f64)
        ));
    }
}

fn bake(analysis: &Analysis) -> i64 {
    analysis.guard.as_ref().map_or(0, |guard| guard.min_bake_secs)
}

/// Rounds of checks are an interval apart: what is due between two of them waits for the second.
fn rounds_up(secs: i64, interval: i64) -> i64 {
    let interval = interval.max(1);
    (secs + interval - 1) / interval * interval
}

fn weighted(
    schedule: &mut Schedule,
    fixed: Option<&Canary>,
    evidence: Option<&Canary>,
    traffic: &Traffic,
) {
    let mut times: BTreeMap<u8, Earliest> = BTreeMap::new();
    if let Some(analysis) = fixed.map(|canary| &canary.spec.analysis)
        && let Some(ladder) = analysis.schedule.ladder()
    {
        let interval = analysis.interval_secs;
        let before = analysis.schedule.first_copies().map_or(0, |stage| stage.rounds);
        let mut at = interval.saturating_mul(i64::from(before));
        for share in ladder {
            times.entry(share.percent()).or_default().fixed_secs = Some(at as f64);
            at += interval;
        }
        let promotion = at.max(rounds_up(bake(analysis), interval));
        schedule.promotion.fixed_secs = Some(promotion as f64);
    }
    if let Some(canary) = evidence
        && let Some(best) = play(canary, traffic, 0.0, Fault::Never, Luck::Best)
    {
        for (at_secs, weight) in &best.shares {
            times.entry(*weight).or_default().evidence_secs = Some(*at_secs);
        }
        schedule.promotion.evidence_secs = best.promoted;
        slow(schedule, canary, &best);
    }
    schedule.blast_radius =
        evidence.and_then(|canary| radius(&canary.spec.analysis, schedule.pace));
    let radius = schedule.blast_radius;
    schedule.steps = times
        .into_iter()
        .map(|(weight, earliest)| weight_step(weight, earliest, radius.as_ref(), traffic))
        .collect();
    let first = schedule.steps.iter().find(|step| step.earliest.evidence_secs.is_some());
    if let (Some(radius), Some(stake)) = (radius, first.and_then(|step| step.at_stake_requests))
        && stake > radius.requests
        && radius.in_force
    {
        schedule.notes.push(format!(
            "at this traffic even the lowest weight puts {stake:.0} requests at stake, more than blastRadius {}",
            radius.requests
        ));
    }
}

fn radius(analysis: &Analysis, pace: &str) -> Option<BlastRadius> {
    let blast_radius = analysis.evidence_pace()?.blast_radius;
    let reaction_secs = step::reaction_secs(analysis);
    Some(BlastRadius { requests: blast_radius, reaction_secs, in_force: pace == "evidence" })
}

fn weight_step(
    weight_percent: u8,
    earliest: Earliest,
    radius: Option<&BlastRadius>,
    traffic: &Traffic,
) -> Step {
    let share = f64::from(weight_percent) / 100.0;
    let rps = traffic.rps;
    let at_stake = radius.map(|radius| expected_hurt(rps, share, radius.reaction_secs, 1.0));
    let most = radius.zip(at_stake).map(|(radius, stake)| radius.requests / stake);
    Step {
        weight_percent,
        canary_requests_per_second: rps * share,
        at_stake_requests: at_stake,
        earliest,
        bad_points_above_limit_max: most.filter(|most| *most < 1.0).map(|most| most * 100.0),
    }
}

/// What comes before the first share.
fn copies(schedule: &mut Schedule, stages: &model::Schedule, interval: &str) {
    if let Some(stage) = stages.first_copies() {
        schedule.notes.push(format!(
            "before its first share the canary gets copies of {} % of the requests for {} x {interval}, which no user sees",
            stage.exposure.mirrored, stage.rounds
        ));
    }
}

/// What the evidence cannot do in time.
fn slow(schedule: &mut Schedule, canary: &Canary, best: &Outcome) {
    let set = schedule.pace == "evidence";
    if best.promoted.is_none() {
        let what = if set { "" } else { "with pace evidence " };
        schedule.notes.push(format!(
            "{what}the evidence does not suffice for a promotion within an hour at this traffic"
        ));
    }
    let Some(pace) = canary.spec.analysis.evidence_pace().filter(|_| set) else { return };
    let limit = pace.max_duration_secs as f64;
    schedule.notes.push(format!(
        "after {} with traffic a warning is sent if the evidence does not suffice (maxDuration)",
        span(limit)
    ));
    if best.promoted.is_some_and(|secs| secs > limit) {
        schedule.notes.push("that is before the evidence can suffice at this traffic".to_owned());
    }
}

fn back(schedule: &mut Schedule, stages: &model::Schedule, interval: &str) {
    if let (Some(step), Some(last)) = (stages.promotion_step, stages.shares().last()) {
        let count = last.percent().div_ceil(step.percent().max(1));
        schedule.notes.push(format!(
            "all traffic is back on the primary in {count} steps of {step} %, one per {interval}"
        ));
    }
}

fn blue_green(schedule: &mut Schedule, canary: &Canary, iterations: u32, traffic: &Traffic) {
    let analysis = &canary.spec.analysis;
    let interval = analysis.interval_secs;
    let done = interval.saturating_mul(i64::from(iterations));
    schedule.promotion.fixed_secs = Some(match canary.spec.provider.has_router() {
        false => done as f64,
        true => {
            let earliest = Earliest { fixed_secs: Some(done as f64), evidence_secs: None };
            schedule.steps = vec![weight_step(100, earliest, None, traffic)];
            (done + interval.max(rounds_up(bake(analysis), interval))) as f64
        }
    });
}
