//! Conditions: Flagger's `Promoted` to the letter, and what kstatus and people look for beside it.

use jiff::Timestamp;

use crate::model::{Condition, Finding, FindingCode, FindingSeverity, Phase, Status, sentence};
use crate::observed::Fitness;
use crate::reason::Reason;
use crate::step::check::{self, Verdict};

/// Whether everything can be measured that is to be.
pub const METRICS_READY: &str = "MetricsReady";
/// What there is to say about the spec.
pub const SPEC_VALID: &str = "SpecValid";

/// `spec.suspend` is set.
pub(super) const SUSPENDED: &str = "Suspended";

/// What the other conditions are made from.
pub(super) struct Stance<'a> {
    pub generation: i64,
    pub kind: &'a str,
    /// The decision's reason and sentence.
    pub reason: Reason,
    pub message: &'a str,
    /// It will not go on without a person.
    pub stalled: bool,
    /// The primary serves.
    pub serves: bool,
    /// What there is to say about the spec.
    pub findings: &'a [Finding],
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
    let ready = if stance.stalled { "False" } else { ready };
    let reconciling = if stalled { "False" } else { reconciling };
    let phase = status.phase.map_or("Pending", Phase::name);
    let why = if stance.stalled { stance.reason.code() } else { phase };
    set(status, "Ready", ready, why, stance, now);
    set(status, "Reconciling", reconciling, phase, stance, now);
    let (value, why) = if stalled { ("True", why) } else { ("False", "Working") };
    set(status, "Stalled", value, why, stance, now);
    let (value, reason, message) = of_spec(stance.findings);
    put(status, SPEC_VALID, value, reason, &message, stance.generation, now);
}

/// What the findings make of the spec: what is not supported is not wrong, and what has no effect is no reason to stop.
fn of_spec(findings: &[Finding]) -> (&'static str, &'static str, String) {
    let gravest = findings.iter().map(|finding| finding.severity).min();
    let list = sentence(findings);
    match gravest {
        None => ("True", "Valid", "The spec is valid.".to_owned()),
        Some(FindingSeverity::Warning) => {
            ("True", "Warnings", format!("The spec is valid, with warnings: {list}"))
        }
        Some(FindingSeverity::Unsupported) => ("Unknown", Reason::Unsupported.code(), list),
        Some(FindingSeverity::Error) => ("False", "Invalid", list),
    }
}

/// Whether the spec's findings are others than the status has told, so that they are told once.
pub(super) fn is_news_of_spec(status: &Status, findings: &[Finding]) -> bool {
    let (_, reason, message) = of_spec(findings);
    let told = status.conditions.iter().find(|condition| condition.kind == SPEC_VALID);
    told.is_none_or(|told| told.reason != reason || told.message != message)
}

/// Whether the target is something else than the primary runs, or still has traffic.
fn is_rejected(status: &Status) -> bool {
    status.last_applied_spec != status.last_promoted_spec
        || status.tracked_configs != status.promoted_configs
        || !status.exposure().is_none()
}

/// What a round of checks says of its metrics; only another round takes it back.
const FROM_CHECKS: [Reason; 2] = [Reason::CannotMeasure, Reason::NoData];

fn of_metrics(status: &Status) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.kind == METRICS_READY)
}

fn blamed_by_checks(status: &Status) -> bool {
    of_metrics(status)
        .and_then(|found| Reason::of_code(&found.reason))
        .is_some_and(|reason| FROM_CHECKS.contains(&reason))
}

/// Reasons that come from looking at the queries themselves; only another look takes them back.
const FROM_QUERIES: [FindingCode; 3] =
    [FindingCode::QueryInvalid, FindingCode::NoSuchObject, FindingCode::ObjectUnusable];
/// What was in the way of the queries is gone, and nothing has been asked since.
const NOT_MEASURED: &str = "NotMeasured";

fn is_of_queries(reason: &str) -> bool {
    FROM_QUERIES.iter().any(|code| code.name() == reason)
}

fn not_measured(status: &Status) -> bool {
    of_metrics(status).is_some_and(|found| found.reason == NOT_MEASURED)
}

fn blamed_on_queries(status: &Status) -> bool {
    of_metrics(status).is_some_and(|found| is_of_queries(&found.reason))
}

/// What is wrong with the queries before anything is asked. Says whether that is news.
pub(super) fn unmeasurable(
    status: &mut Status,
    findings: &[Finding],
    generation: i64,
    now: Timestamp,
) -> bool {
    let Some(first) = findings.first() else {
        if blamed_on_queries(status) {
            let message = "The queries can be made; nothing has been asked since.";
            put(status, METRICS_READY, "Unknown", NOT_MEASURED, message, generation, now);
        }
        return false;
    };
    let message = sentence(findings);
    let told = of_metrics(status);
    let news = told.is_none_or(|told| told.status != "False" || told.message != message);
    put(status, METRICS_READY, "False", first.code.name(), &message, generation, now);
    news
}

/// Whether it is known already why there is nothing to measure: that is put right first.
fn is_explained(status: &Status, generation: i64) -> bool {
    !blamed_by_checks(status)
        && of_metrics(status).is_some_and(|found| {
            found.status == "False" && found.observed_generation == Some(generation)
        })
}

/// Whether the round could measure, with the first metric that it could not.
pub(super) fn checked(
    status: &mut Status,
    findings: &[check::Judgement],
    generation: i64,
    now: Timestamp,
) {
    let first = |verdict| findings.iter().find(|f| f.is_metric() && f.verdict == verdict);
    let unfit = first(Verdict::CannotMeasure)
        .map(|finding| (Reason::CannotMeasure, finding))
        .or_else(|| first(Verdict::NoData).map(|finding| (Reason::NoData, finding)));
    if let Some((why, finding)) = unfit {
        if is_explained(status, generation) {
            return;
        }
        put(status, METRICS_READY, "False", why.code(), &finding.message, generation, now);
    } else if (blamed_by_checks(status) || not_measured(status))
        && findings.iter().any(check::Judgement::is_metric)
    {
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
    if blamed_by_checks(status) || blamed_on_queries(status) {
        return false;
    }
    let (value, reason, message) = match fitness {
        Fitness::Fit => (
            "True",
            "Measured",
            "Requests are counted as they must be, with the labels and buckets that are asked for.",
        ),
        Fitness::Partial { reason, message } => ("True", *reason, message.as_str()),
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
            let moves = kind == METRICS_READY
                && !Reason::of_code(reason).is_some_and(|reason| FROM_CHECKS.contains(&reason))
                && !is_of_queries(reason)
                && !respecified;
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
