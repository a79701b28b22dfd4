//! The pace of a release: what the evidence allows next, how long there was traffic, and when someone must be called.

use jiff::Timestamp;

use super::draft::later;
use super::{Draft, Step, strategy};
use crate::judge::sequential::Percent;
use crate::judge::sequential::pace::{
    self, Pace as Judged, PaceFacts, PaceLimits, Wait, decide, expected_hurt, first_share,
};
use crate::model::{Analysis, Canary, EvidencePace, Ladder, Severity, Status, Strategy, Weight};
use crate::observed::{Guard, Known};
use crate::reason;

/// From the decision to lower a route to the last request that still takes the old one.
pub const ACTUATION_SECS: f64 = 1.0;

/// Decisions after which the next round need not wait for the interval: nothing was found wrong.
const UNTROUBLED: [&str; 4] =
    [reason::ADVANCED, reason::GATHERING_EVIDENCE, reason::EVIDENCE_MISSING, reason::GUARD_HOLDS];

fn ladder(analysis: &Analysis) -> Option<&Ladder> {
    match &analysis.strategy {
        Strategy::Weighted(ladder) => Some(ladder),
        Strategy::BlueGreen { .. } => None,
    }
}

fn limits(pace: &EvidencePace) -> PaceLimits {
    PaceLimits {
        blast_radius: pace.blast_radius,
        min_dwell_secs: pace.min_dwell_secs as f64,
        // Asked for at the promotion, whatever sets the pace.
        min_bake_secs: 0.0,
        ..PaceLimits::default()
    }
}

fn share(weight: Weight) -> f64 {
    f64::from(weight.percent()) / 100.0
}

fn secs_since(time: Option<Timestamp>, now: Timestamp) -> f64 {
    time.map_or(0.0, |time| now.duration_since(time).as_secs_f64().max(0.0))
}

fn reaction(analysis: &Analysis, look_secs: f64) -> f64 {
    let millis = analysis.guard.as_ref().map_or(1000, |guard| guard.interval_millis);
    pace::reaction_secs(look_secs.max(millis as f64 / 1000.0), ACTUATION_SECS)
}

/// From the first bad response to the last, where the source keeps up with the guard: two looks and the route.
pub fn reaction_secs(analysis: &Analysis) -> f64 {
    reaction(analysis, 0.0)
}

/// What the evidence allows at the canary's weight; none when it has no traffic or something else sets the pace.
fn judged(
    analysis: &Analysis,
    status: &Status,
    known: &Known,
    held: bool,
    now: Timestamp,
) -> Option<Judged> {
    let pace = analysis.evidence_pace()?;
    let weight = Weight::saturating(u32::from(status.canary_weight));
    if weight == Weight::ZERO {
        return None;
    }
    let Known { rate, look_secs, excess, step_requests, requests_to_go } = *known;
    let facts = PaceFacts {
        rate,
        reaction_secs: reaction(analysis, look_secs),
        excess,
        step_secs: secs_since(status.weight_time, now),
        rollout_secs: secs_since(status.traffic_start_time, now),
        step_requests,
        held,
        requests_to_go,
    };
    Some(decide(&limits(pace), &facts, ladder(analysis)?.next(weight).map(share)))
}

/// Whether the evidence allows more than the canary has: worth a tick before the next is due.
pub fn allows_more(canary: &Canary, known: &Known, now: Timestamp) -> bool {
    match judged(&canary.spec.analysis, &canary.status, known, false, now) {
        Some(Judged::Raise { .. } | Judged::Promote) => true,
        Some(Judged::Wait(_)) | None => false,
    }
}

fn now_judged(draft: &Draft<'_>, known: &Known) -> Option<Judged> {
    let held = !matches!(draft.seen.guard, Guard::Quiet);
    judged(&draft.spec.analysis, &draft.status, known, held, draft.now)
}

/// When the next round of checks is due, if that is before the interval is over: as soon as the evidence allows more.
pub(super) fn due(draft: &Draft<'_>, last: Timestamp) -> Option<Timestamp> {
    let pace = draft.spec.analysis.evidence_pace()?;
    let known = draft.seen.watched.known.as_ref()?;
    let before = draft.canary.status.last_reason.as_ref()?;
    if !UNTROUBLED.contains(&before.code.as_str()) {
        return None;
    }
    match now_judged(draft, known)? {
        Judged::Raise { .. } | Judged::Promote => Some(later(last, pace.min_dwell_secs.max(1))),
        Judged::Wait(_) => None,
    }
}

/// Before the first traffic: what must be known of it to say how little of it is little enough.
pub(super) fn blind(draft: &Draft<'_>) -> Option<(&'static str, String)> {
    draft.spec.analysis.evidence_pace()?;
    match (&draft.seen.guard, &draft.seen.watched.known) {
        (Guard::Hold(why) | Guard::RollBack(why), _) => Some((reason::GUARD_HOLDS, why.clone())),
        (Guard::Quiet, None) => {
            let message = "The guard has not measured yet how much traffic there is.";
            Some((reason::GATHERING_EVIDENCE, message.to_owned()))
        }
        (Guard::Quiet, Some(_)) => None,
    }
}

/// A round of checks was passed: the share rises if the evidence allows it.
pub(super) fn advance(draft: Draft<'_>, ladder: &Ladder, pace: &EvidencePace) -> Step {
    let Some(known) = draft.seen.watched.known else {
        let message = "The guard has not measured yet how much traffic there is.".to_owned();
        return wait(draft, pace, reason::GATHERING_EVIDENCE, message);
    };
    if draft.weight() == Weight::ZERO {
        let rung = first_rung(&draft.spec.analysis, ladder, pace, &known);
        let tau = reaction(&draft.spec.analysis, known.look_secs);
        let hurt = expected_hurt(known.rate, share(rung), tau, 1.0);
        let why = format!(
            ": at {:.0} requests per second it hurts about {hurt:.0} before it is undone if all of them fail",
            known.rate
        );
        return strategy::raise(draft, rung, &why);
    }
    match now_judged(&draft, &known) {
        Some(Judged::Raise { .. }) => match ladder.next(draft.weight()) {
            Some(rung) => {
                let tau = reaction(&draft.spec.analysis, known.look_secs);
                let hurt = expected_hurt(known.rate, share(rung), tau, known.excess);
                let why = format!(
                    ": at most about {hurt:.0} requests beyond what may be bad are at stake; {}",
                    so_far(&known)
                );
                strategy::raise(draft, rung, &why)
            }
            None => strategy::promotion_gate(draft),
        },
        Some(Judged::Promote) => strategy::promotion_gate(draft),
        Some(Judged::Wait(why)) => {
            let message = format!("At {} %: {why}; {}.", draft.weight(), so_far(&known));
            let code = match why {
                Wait::Held => reason::GUARD_HOLDS,
                Wait::Dwell { .. }
                | Wait::Bake { .. }
                | Wait::Requests { .. }
                | Wait::BlastRadius { .. }
                | Wait::GoEvidence { .. } => reason::GATHERING_EVIDENCE,
            };
            wait(draft, pace, code, message)
        }
        None => strategy::promotion_gate(draft),
    }
}

fn first_rung(analysis: &Analysis, ladder: &Ladder, pace: &EvidencePace, known: &Known) -> Weight {
    let shares: Vec<f64> = ladder.rungs.iter().copied().map(share).collect();
    let tau = reaction(analysis, known.look_secs);
    let first = first_share(&shares, known.rate, tau, &limits(pace));
    let mut rungs = ladder.rungs.iter().copied();
    rungs.find(|rung| share(*rung) >= first).unwrap_or(Weight::FULL)
}

/// The share that a release begins with; none where it has no weights.
pub fn first_weight(analysis: &Analysis, known: &Known) -> Option<Weight> {
    let ladder = ladder(analysis)?;
    match analysis.evidence_pace() {
        Some(pace) => Some(first_rung(analysis, ladder, pace, known)),
        None => ladder.rungs.first().copied(),
    }
}

fn so_far(known: &Known) -> String {
    let Known { rate, look_secs: _, excess, step_requests, requests_to_go: _ } = *known;
    if step_requests == 0 {
        return format!("nothing is known at {rate:.0} requests per second");
    }
    let excess = Percent(excess.max(0.0));
    format!(
        "after {step_requests} requests here the rate of bad ones is at most {excess} above what it may be"
    )
}

/// Past its longest time a release does not get worse by waiting, but somebody should know that it waits.
pub(super) fn wait(
    mut draft: Draft<'_>,
    pace: &EvidencePace,
    code: &'static str,
    message: String,
) -> Step {
    draft.status.last_step_time = Some(draft.now);
    let secs = draft.spec.analysis.interval_secs;
    let took = secs_since(draft.status.traffic_start_time, draft.now);
    if took < pace.max_duration_secs as f64 {
        if code == reason::GUARD_HOLDS && draft.is_news(code) {
            let event = format!("Halt {} advancement {message}", draft.name());
            draft.warn(code, event);
        }
        return draft.act(code, message, secs);
    }
    let code = reason::EVIDENCE_MISSING;
    let limit = pace.max_duration_secs;
    let message = format!("The evidence does not suffice after {limit} s. {message}");
    draft.stalled = true;
    if draft.is_news(code) {
        let event = format!("Halt {} advancement {message}", draft.name());
        draft.warn(code, event);
        let alert = format!("The evidence for a promotion does not suffice after {limit} s.");
        draft.alert(Severity::Warn, alert, false);
    }
    draft.act(code, message, secs)
}

/// Seconds of traffic that are missing before a promotion.
pub(super) fn bake_left(draft: &Draft<'_>) -> Option<i64> {
    let bake = draft.spec.analysis.guard.as_ref()?.min_bake_secs;
    let start = draft.status.traffic_start_time?;
    let left = bake - draft.now.duration_since(start).as_secs();
    (left > 0).then_some(left)
}

/// All steps were passed, sooner than the release may end.
pub(super) fn bake(mut draft: Draft<'_>, left: i64) -> Step {
    draft.status.last_step_time = Some(draft.now);
    let secs = draft.spec.analysis.interval_secs;
    let message =
        format!("All checks passed; the canary keeps {} % for another {left} s.", draft.weight());
    draft.act(reason::BAKING, message, secs)
}
