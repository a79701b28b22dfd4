//! The pace of a release that follows the evidence: what it allows at a share, and what is at stake.

use jiff::Timestamp;

use crate::model::{Analysis, Canary, EvidencePace, Status, Weight};
use crate::observed::Known;
use crate::reason::Reason;
use crate::words::Percent;
use serin_judge::pace::{
    self, Pace as Judged, PaceFacts, PaceLimits, decide, expected_hurt, first_share,
};

/// From the decision to lower a route to the last request that still takes the old one.
pub const ACTUATION_SECS: f64 = 1.0;

/// Decisions after which the next round need not wait for the interval: nothing was found wrong.
pub(super) const UNTROUBLED: [Reason; 4] =
    [Reason::Advanced, Reason::GatheringEvidence, Reason::EvidenceMissing, Reason::GuardHolds];

fn limits(pace: &EvidencePace) -> PaceLimits {
    PaceLimits {
        blast_radius: pace.blast_radius,
        min_dwell_secs: pace.min_dwell_secs as f64,
        // Asked for at the promotion, whatever sets the pace.
        min_bake_secs: 0.0,
        ..PaceLimits::default()
    }
}

pub(super) fn share(weight: Weight) -> f64 {
    f64::from(weight.percent()) / 100.0
}

pub(super) fn secs_since(time: Option<Timestamp>, now: Timestamp) -> f64 {
    time.map_or(0.0, |time| now.duration_since(time).as_secs_f64().max(0.0))
}

pub(super) fn reaction(analysis: &Analysis, look_secs: f64) -> f64 {
    let millis = analysis.guard.as_ref().map_or(1000, |guard| guard.interval_millis);
    pace::reaction_secs(look_secs.max(millis as f64 / 1000.0), ACTUATION_SECS)
}

/// From the first bad response to the last, where the source keeps up with the guard: two looks and the route.
pub fn reaction_secs(analysis: &Analysis) -> f64 {
    reaction(analysis, 0.0)
}

/// What the evidence allows at the canary's weight; none when it has no traffic or something else sets the pace.
pub(super) fn judged(
    analysis: &Analysis,
    status: &Status,
    known: &Known,
    held: bool,
    now: Timestamp,
) -> Option<Judged> {
    let pace = analysis.evidence_pace()?;
    let weight = status.exposure().share;
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
    Some(decide(&limits(pace), &facts, analysis.schedule.next_share(weight).map(share)))
}

/// Whether the evidence allows more than the canary has: worth a tick before the next is due.
pub fn allows_more(canary: &Canary, known: &Known, now: Timestamp) -> bool {
    match judged(&canary.spec.analysis, &canary.status, known, false, now) {
        Some(Judged::Raise { .. } | Judged::Promote) => true,
        Some(Judged::Wait(_)) | None => false,
    }
}

/// Requests hurt beyond what may be bad, if the next share turns out to be as bad as cannot be excluded.
pub(super) fn expected(analysis: &Analysis, known: &Known, next: Weight) -> f64 {
    let tau = reaction(analysis, known.look_secs);
    expected_hurt(known.rate, share(next), tau, known.excess)
}

pub(super) fn first_share_of(analysis: &Analysis, pace: &EvidencePace, known: &Known) -> Weight {
    let shares: Vec<f64> = analysis.schedule.shares().map(share).collect();
    let tau = reaction(analysis, known.look_secs);
    let first = first_share(&shares, known.rate, tau, &limits(pace));
    analysis.schedule.shares().find(|weight| share(*weight) >= first).unwrap_or(Weight::FULL)
}

/// The share that a release begins with; none where shares do not rise.
pub fn first_weight(analysis: &Analysis, known: &Known) -> Option<Weight> {
    let ladder = analysis.schedule.ladder()?;
    match analysis.evidence_pace() {
        Some(pace) => Some(first_share_of(analysis, pace, known)),
        None => ladder.first().copied(),
    }
}

pub(super) fn so_far(known: &Known) -> String {
    let Known { rate, look_secs: _, excess, step_requests, requests_to_go: _ } = *known;
    if step_requests == 0 {
        return format!("nothing is known at {rate:.0} requests per second");
    }
    let excess = Percent(excess.max(0.0));
    format!(
        "after {step_requests} requests here the rate of bad ones is at most {excess} above what it may be"
    )
}
