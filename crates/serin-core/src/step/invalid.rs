//! An invalid spec, or asks for what is not supported: the running version keeps all traffic, and the user is told which fields.

use jiff::{SignedDuration, Timestamp};

use super::conditions::{self, Stance};
use crate::model::{Exposure, Finding, FindingSeverity, Phase, Status, sentence};
use crate::observed::Seen;
use crate::plan::{Explanation, Notice, Plan};
use crate::reason::Reason;
use crate::status::ReasonRecord;

/// When to look again: only an edit can help, and an edit wakes us.
const IDLE_SECS: i64 = 300;

/// At rest nothing is touched. An analysis under way cannot go on, for since its rules are not known: its canary loses its
/// traffic at once and waits at zero; with a spec that is valid again it starts from the first step.
pub fn invalid(
    status: &Status,
    generation: i64,
    findings: &[Finding],
    seen_route: &Seen<Exposure>,
    now: Timestamp,
) -> Plan {
    let mut next = status.clone();
    let analysing = analysing(status.phase);
    let exposed = !status.exposure().is_none();
    let routed = match seen_route {
        Seen::Present(exposure) => !exposure.is_none(),
        Seen::Absent => false,
        Seen::Unreadable(_) => exposed,
    };
    let lower = (analysing && routed).then_some(Exposure::NONE);
    if analysing && (routed || exposed || status.iterations > 0) {
        next.expose(Exposure::NONE);
        next.iterations = 0;
        next.drain_time = Some(now);
        next.last_step_time = None;
        next.weight_time = None;
        next.traffic_start_time = None;
        next.measured_since = None;
        next.passed_tests.clear();
        next.analysis_start_time = Some(now);
        next.phase = Some(Phase::Progressing);
    }
    let (reason, message) = why(findings);
    let news =
        status.last_reason.as_ref().is_none_or(|last| !last.is(reason) || last.message != message);
    if news {
        next.last_reason = Some(ReasonRecord {
            code: reason.code().to_owned(),
            message: message.clone(),
            time: Some(now),
        });
    }
    next.observed_generation = Some(generation);
    let stance = Stance {
        generation,
        kind: "Deployment",
        reason,
        message: &message,
        stalled: true,
        serves: false,
        left_running: 0,
        findings,
    };
    conditions::write(&mut next, &stance, now);
    if next.exposure() != status.exposure() || next.last_transition_time.is_none() {
        next.last_transition_time = Some(now);
    }
    let event = Notice { warning: true, reason, message: message.clone(), alert: None };
    Plan {
        lower,
        status: next,
        actions: Vec::new(),
        calls: Vec::new(),
        handled: Vec::new(),
        notices: if news { vec![event] } else { Vec::new() },
        explanation: Explanation { reason, message },
        next: now.checked_add(SignedDuration::from_secs(IDLE_SECS)).unwrap_or(Timestamp::MAX),
    }
}

/// What keeps the object from being acted on, all of it. Who asks for what is not supported has made no mistake.
fn why(findings: &[Finding]) -> (Reason, String) {
    let obstacles: Vec<Finding> =
        findings.iter().filter(|finding| finding.severity.is_obstacle()).cloned().collect();
    let list = sentence(&obstacles);
    match obstacles.iter().map(|finding| finding.severity).min() {
        Some(FindingSeverity::Unsupported) => (Reason::Unsupported, list),
        Some(FindingSeverity::Error | FindingSeverity::Warning) | None => {
            (Reason::SpecInvalid, format!("The spec is invalid: {list}"))
        }
    }
}

/// While promoting and after, who serves is decided; nothing here makes it better.
fn analysing(phase: Option<Phase>) -> bool {
    match phase {
        Some(Phase::Waiting | Phase::Progressing | Phase::WaitingPromotion) => true,
        None
        | Some(
            Phase::Initializing
            | Phase::Initialized
            | Phase::Promoting
            | Phase::Finalising
            | Phase::Succeeded
            | Phase::Failed
            | Phase::Terminating
            | Phase::Terminated,
        ) => false,
    }
}
