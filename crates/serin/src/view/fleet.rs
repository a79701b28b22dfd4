//! One row for each Canary, small enough that a thousand of them are sent and drawn at once.

use jiff::Timestamp;
use serde::Serialize;
use serin_core::model::{Phase, Weight};
use serin_core::words::line;

use super::headline::state;
use super::series::Look;
use super::track::Track;
use super::{Mark, State, mark};

/// Points of a small picture.
const POINTS_MAX: usize = 24;
/// The longest sentence of a row, in bytes.
const TEXT_MAX: usize = 240;

/// A canary among many.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub ns: String,
    pub name: String,
    pub state: State,
    pub mark: Mark,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    pub weight: u8,
    pub failed_checks: u32,
    /// Since when it stands like this, in milliseconds of the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    pub old: String,
    pub new: String,
    pub code: String,
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub under_way: Option<UnderWay>,
}

/// What is shown of a release that is under way, or was rolled back.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnderWay {
    pub steps: Vec<u8>,
    /// Weights that were seen, one after another.
    pub weights: Vec<u8>,
    /// Shares of bad requests of the first objective.
    pub canary: Vec<f64>,
    pub primary: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_evidence: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_limit: Option<f64>,
}

/// The row of a track.
pub fn row(track: &Track) -> Row {
    let Track { namespace, name, status, spec, images, created, .. } = track;
    let suspended = spec.as_ref().is_some_and(|spec| spec.suspend);
    let state = state(status, suspended);
    let reason = status.last_reason.clone().unwrap_or_default();
    let cause = match state {
        State::Failed => track.decisions.iter().rev().find(|seen| mark(&seen.code) == Mark::Down),
        State::Trouble
        | State::Held
        | State::Gate
        | State::Running
        | State::Starting
        | State::Suspended
        | State::Rest => None,
    };
    let (code, text) =
        cause.map_or((&reason.code, &reason.message), |seen| (&seen.code, &seen.text));
    let since: Option<Timestamp> = match state {
        State::Held | State::Gate | State::Trouble => reason.time.or(status.phase_time),
        State::Failed | State::Running | State::Starting | State::Suspended | State::Rest => {
            status.phase_time
        }
    };
    let moves = !matches!(state, State::Rest | State::Suspended);
    Row {
        ns: namespace.clone(),
        name: name.clone(),
        state,
        mark: mark(code),
        phase: status.phase,
        weight: status.canary_weight,
        failed_checks: status.failed_checks,
        since: since.or(*created).map(Timestamp::as_millisecond),
        old: images.old.clone(),
        new: if moves { images.new.clone() } else { String::new() },
        code: code.clone(),
        text: line(text, TEXT_MAX),
        under_way: moves.then(|| under_way(track)),
    }
}

fn under_way(track: &Track) -> UnderWay {
    let spec = track.spec.as_ref();
    let looks = track.looks.looks();
    let every = looks.len().div_ceil(POINTS_MAX).max(1);
    // The newest is always one of them.
    let some: Vec<&Look> = looks.iter().rev().step_by(every).collect();
    let share = |of: fn(&super::Measured) -> serin_core::status::Counts| {
        let counts = some.iter().rev().filter_map(|look| look.objectives.first()?.as_ref()).map(of);
        let counted = counts.filter(|counts| counts.requests > 0);
        counted.map(|counts| round(counts.bad as f64 / counts.requests as f64)).collect()
    };
    let weights: Vec<u8> = track.weights.iter().map(|(_, weight)| *weight).collect();
    let surplus = weights.len().saturating_sub(POINTS_MAX);
    let guard = spec.and_then(|spec| spec.analysis.guard.as_ref());
    let steps = spec.map(|spec| spec.analysis.schedule.shares().map(Weight::percent).collect());
    UnderWay {
        steps: steps.unwrap_or_default(),
        weights: weights.into_iter().skip(surplus).collect(),
        canary: share(|measured| measured.canary),
        primary: share(|measured| measured.primary),
        slo: guard.and_then(|guard| guard.objectives.first()).map(|objective| objective.slo),
        log_evidence: track.evidence.as_ref().map(|known| round(known.log_evidence)),
        log_limit: track.evidence.as_ref().map(|known| round(known.log_limit)),
    }
}

/// Four digits are more than a small picture shows.
fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
