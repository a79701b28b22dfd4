//! Conditions: Flagger's `Promoted` to the letter, and what kstatus and people look for beside it.

use jiff::Timestamp;

use crate::model::{Condition, Phase, Status};
use crate::observed::Fitness;
use crate::reason;
use crate::step::check::{Finding, Verdict};

/// Whether the guard can measure.
pub const METRICS_READY: &str = "MetricsReady";

/// `spec.suspend` is set.
pub(super) const SUSPENDED: &str = "Suspended";

/// What the other conditions are made from.
pub(super) struct Stance<'a> {
    pub generation: i64,
    pub kind: &'a str,
    /// The decision's code and sentence.
    pub code: &'a str,
    pub message: &'a str,
    /// It will not go on without a person.
    pub stalled: bool,
    /// The primary serves.
    pub serves: bool,
    /// Fields that make no sense, one sentence; none when the spec is fine.
    pub invalid: Option<&'a str>,
    /// Pods of a rejected revision that run, as the Canary is suspended.
    pub left_running: u32,
}

pub(super) fn is_true(status: &Status, kind: &str) -> bool {
    status.conditions.iter().any(|found| found.kind == kind && found.status == "True")
}

/// What it means now that the Canary is suspended. One that never was has no such condition.
pub(super) fn suspended(
    status: &mut Status,
    message: Option<&str>,
    generation: i64,
    now: Timestamp,
) {
    match message {
        Some(message) => put(status, SUSPENDED, "True", "Suspended", message, generation, now),
        None if is_true(status, SUSPENDED) => {
            let message = "spec.suspend is not set.";
            put(status, SUSPENDED, "False", "Active", message, generation, now);
        }
        None => {}
    }
}

/// Rewrites what changed and leaves the rest to the letter, so that a tick without news writes no status.
pub(super) fn write(status: &mut Status, stance: &Stance<'_>, now: Timestamp) {
    if let Some(phase) = status.phase {
        promoted(status, phase, stance, now);
    }
    // The user has taken back what failed, or it failed when the primary ran it already: nothing is wrong any more. The
    // phase stays, for Flagger's tools.
    let settled = stance.serves && !is_rejected(status);
    let (ready, reconciling) = match status.phase {
        Some(Phase::Initialized | Phase::Succeeded) => ("True", "False"),
        Some(Phase::Failed) if settled => ("True", "False"),
        Some(Phase::Failed) => ("False", "False"),
        Some(Phase::Terminating | Phase::Terminated) => ("Unknown", "True"),
        None
        | Some(
            Phase::Initializing
            | Phase::Waiting
            | Phase::Progressing
            | Phase::WaitingPromotion
            | Phase::Promoting
            | Phase::Finalising,
        ) => ("Unknown", "True"),
    };
    let stalled = stance.stalled || (status.phase == Some(Phase::Failed) && !settled);
    let ready = if stance.invalid.is_some() || stance.stalled { "False" } else { ready };
    let reconciling = if stalled { "False" } else { reconciling };
    let phase = status.phase.map_or("Pending", Phase::name);
    let why = if stance.stalled { stance.code } else { phase };
    set(status, "Ready", ready, why, stance, now);
    set(status, "Reconciling", reconciling, phase, stance, now);
    let (value, why) = if stalled { ("True", why) } else { ("False", "Working") };
    set(status, "Stalled", value, why, stance, now);
    let (valid, reason, message) = match stance.invalid {
        None => ("True", "Valid", "The spec makes sense."),
        Some(errors) => ("False", "Invalid", errors),
    };
    put(status, "SpecValid", valid, reason, message, stance.generation, now);
}

/// Whether the target is something else than the primary runs, or still has traffic.
fn is_rejected(status: &Status) -> bool {
    status.last_applied_spec != status.last_promoted_spec
        || status.tracked_configs != status.promoted_configs
        || status.canary_weight > 0
}

/// What a round of checks says of its metrics; only another round takes it back.
const FROM_CHECKS: [&str; 2] = [reason::CANNOT_MEASURE, reason::NO_DATA];

fn of_metrics(status: &Status) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.kind == METRICS_READY)
}

fn blamed_by_checks(status: &Status) -> bool {
    of_metrics(status).is_some_and(|found| FROM_CHECKS.contains(&found.reason.as_str()))
}

/// Whether it is known already why there is nothing to measure: that is put right first.
fn is_explained(status: &Status, generation: i64) -> bool {
    !blamed_by_checks(status)
        && of_metrics(status).is_some_and(|found| {
            found.status == "False" && found.observed_generation == Some(generation)
        })
}

/// Whether the round could measure, with the first metric that it could not.
pub(super) fn checked(status: &mut Status, findings: &[Finding], generation: i64, now: Timestamp) {
    let first = |verdict| findings.iter().find(|f| f.is_metric() && f.verdict == verdict);
    let unfit = first(Verdict::CannotMeasure)
        .map(|finding| (reason::CANNOT_MEASURE, finding))
        .or_else(|| first(Verdict::NoData).map(|finding| (reason::NO_DATA, finding)));
    if let Some((why, finding)) = unfit {
        if is_explained(status, generation) {
            return;
        }
        put(status, METRICS_READY, "False", why, &finding.message, generation, now);
    } else if blamed_by_checks(status) && findings.iter().any(Finding::is_metric) {
        let message = "Every metric of the last checks had a value.";
        put(status, METRICS_READY, "True", "Measured", message, generation, now);
    }
}

/// Whether the guard can measure, with the first thing to put right. Says whether that is news.
pub(super) fn metrics(
    status: &mut Status,
    fitness: &Fitness,
    generation: i64,
    now: Timestamp,
) -> bool {
    if blamed_by_checks(status) {
        return false;
    }
    let (value, reason, message) = match fitness {
        Fitness::Fit => (
            "True",
            "Measured",
            "Requests are counted as they must be, with the labels and buckets that are asked for.",
        ),
        Fitness::Unfit { reason, message } => ("False", *reason, message.as_str()),
        Fitness::Unknown { reason, message } => ("Unknown", *reason, message.as_str()),
    };
    let known = of_metrics(status);
    let news = known.is_none_or(|known| {
        let changed = known.observed_generation != Some(generation) && known.message != message;
        known.status != value || known.reason != reason || changed
    });
    put(status, METRICS_READY, value, reason, message, generation, now);
    news
}

fn set(
    status: &mut Status,
    kind: &str,
    value: &str,
    reason: &str,
    stance: &Stance<'_>,
    now: Timestamp,
) {
    put(status, kind, value, reason, stance.message, stance.generation, now);
}

/// The message is of the present, as the status and the reason are. What is wrong with the metrics has figures in it that
/// move: it is written anew for another reason or another spec.
fn put(
    status: &mut Status,
    kind: &str,
    value: &str,
    reason: &str,
    message: &str,
    generation: i64,
    now: Timestamp,
) {
    let old = status.conditions.iter_mut().find(|condition| condition.kind == kind);
    match old {
        Some(old) => {
            let respecified = old.observed_generation != Some(generation);
            old.observed_generation = Some(generation);
            let moves = kind == METRICS_READY && !FROM_CHECKS.contains(&reason) && !respecified;
            if old.status == value && old.reason == reason && moves {
                return;
            }
            if old.status == value && old.reason == reason && old.message == message {
                return;
            }
            if old.status != value {
                old.last_transition_time = Some(now);
            }
            old.status = value.to_owned();
            old.reason = reason.to_owned();
            old.message = message.to_owned();
            old.last_update_time = Some(now);
        }
        None => status.conditions.push(Condition {
            kind: kind.to_owned(),
            status: value.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_generation: Some(generation),
            last_update_time: Some(now),
            last_transition_time: Some(now),
        }),
    }
}

/// Flagger's condition: first in the list, rewritten only when status or reason differ, or when what it says of pods is no
/// longer so.
fn promoted(status: &mut Status, phase: Phase, stance: &Stance<'_>, now: Timestamp) {
    let kind = stance.kind;
    let (value, message) = match phase {
        Phase::Initializing | Phase::Terminating | Phase::Terminated => {
            ("Unknown", format!("New {kind} detected, starting initialization."))
        }
        Phase::Initialized => ("True", format!("{kind} initialization completed.")),
        Phase::Waiting | Phase::WaitingPromotion => ("Unknown", "Waiting for approval.".to_owned()),
        Phase::Progressing => {
            ("Unknown", "New revision detected, progressing canary analysis.".to_owned())
        }
        Phase::Promoting => {
            ("Unknown", "Canary analysis completed, starting primary rolling update.".to_owned())
        }
        Phase::Finalising => {
            ("Unknown", "Canary analysis completed, routing all traffic to primary.".to_owned())
        }
        Phase::Succeeded => {
            ("True", "Canary analysis completed successfully, promotion finished.".to_owned())
        }
        Phase::Failed if stance.left_running > 0 => {
            ("False", format!("Canary analysis failed, {kind} runs until spec.suspend is not set."))
        }
        Phase::Failed => ("False", format!("Canary analysis failed, {kind} scaled to zero.")),
    };
    let position = status.conditions.iter().position(|condition| condition.kind == "Promoted");
    let old = position.map(|position| status.conditions.remove(position));
    let next = match old {
        Some(old)
            if old.status == value
                && old.reason == phase.name()
                && (phase != Phase::Failed || old.message == message) =>
        {
            old
        }
        old => Condition {
            kind: "Promoted".to_owned(),
            status: value.to_owned(),
            reason: phase.name().to_owned(),
            message,
            observed_generation: None,
            last_update_time: Some(now),
            last_transition_time: old
                .filter(|old| old.status == value)
                .map_or(Some(now), |old| old.last_transition_time),
        },
    };
    status.conditions.insert(0, next);
}
