//! From a track and what surrounds it to the picture; pure.

use jiff::Timestamp;
use serin_core::model::{
    Analysis, Bad, Form, GuardSpec, HookKind, Objective, Phase, Soak, Spec, Status, Webhook, Weight,
};
use serin_core::reason::Reason;
use serin_core::status::ReasonRecord;

use super::headline::{headline, state};
use super::objects::Pod;
use super::series::{Look, Measured};
use super::track::{Track, at_rest};
use super::{
    Ahead, Columns, Decision, Gate, GateState, GuardView, Looks, ObjectiveView, Plan, Release,
    ReleaseView, SideColumns, State, Step, VERSION, mark,
};
use crate::guard::evidence;

/// What is read beside the Canary while somebody looks at it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Surroundings {
    pub pods: Vec<Pod>,
    /// What could not be read, and why.
    pub unseen: Vec<String>,
}

/// Seconds after `begun`, to the millisecond.
fn after(begun: Timestamp, time: Timestamp) -> f64 {
    time.duration_since(begun).as_millis() as f64 / 1000.0
}

/// The picture of this moment.
pub fn view(track: &Track, around: &Surroundings, now: Timestamp) -> ReleaseView {
    let Track { namespace, name, status, spec, begun, .. } = track;
    let at = |time: Timestamp| after(*begun, time);
    let running = !at_rest(status.phase);
    let guard = spec.as_ref().and_then(|spec| guard_view(spec, track));
    let decisions: Vec<Decision> = track
        .decisions
        .iter()
        .map(|seen| Decision {
            t: at(seen.time),
            code: seen.code.clone(),
            mark: mark(&seen.code),
            text: seen.text.clone(),
        })
        .collect();
    let suspended = spec.as_ref().is_some_and(|spec| spec.suspend);
    let state = state(status, suspended);
    let evidence = track.evidence.as_ref();
    let weights = track.weights.iter();
    ReleaseView {
        version: VERSION,
        canary: format!("{namespace}/{name}"),
        namespace: namespace.clone(),
        name: name.clone(),
        t0: begun.as_millisecond(),
        now: at(now).max(0.0),
        end: if running { None } else { end(track).map(at) },
        running,
        phase: status.phase,
        state,
        weight: status.canary_weight,
        matched: status.matched,
        mirrored: status.mirror_weight,
        failed_checks: status.failed_checks,
        headline: headline((namespace, name), status, state, &decisions, evidence),
        reason: status.last_reason.clone(),
        release: release(track),
        plan: spec.as_ref().map(|spec| plan(spec, status, state, *begun)),
        staircase: weights.map(|(time, weight)| Step { t: at(*time), weight: *weight }).collect(),
        looks: looks(track),
        guard,
        decisions,
        conditions: status.conditions.clone(),
        findings: track.findings.clone(),
        checks: status.checks.clone(),
        gates: spec.as_ref().map(|spec| gates(spec, status)).unwrap_or_default(),
        pods: around.pods.clone(),
        unseen: around.unseen.clone(),
    }
}

/// When the last share was taken away, or the last phase entered; never before the last look.
fn end(track: &Track) -> Option<Timestamp> {
    let rested = track.status.phase_time.filter(|time| *time >= track.begun);
    let lowered = track.weights.last().map(|(time, _)| *time);
    let looked = track.looks.looks().last().map(|look| look.time);
    let decided = track.decisions.last().map(|seen| seen.time);
    rested.or(decided).max(lowered).max(looked)
}

fn release(track: &Track) -> Release {
    let Track { status, spec, images, .. } = track;
    let strategy = spec.as_ref().map(|spec| match spec.analysis.schedule.form() {
        Form::Weighted => "weighted",
        Form::BlueGreen => "blueGreen",
        Form::Matched => "matched",
    });
    let provider = spec.as_ref().map(|spec| spec.provider.name.to_owned());
    Release {
        revision: status.last_applied_spec.clone(),
        promoted: status.last_promoted_spec.clone(),
        old: images.old.clone(),
        new: images.new.clone(),
        primary: images.primary.clone(),
        by: images.by.clone(),
        provider: provider.unwrap_or_else(|| status.provider.clone()),
        strategy: strategy.unwrap_or("weighted"),
    }
}

/// Those objectives that are shares of requests, which can be drawn.
fn shares(guard: &GuardSpec) -> impl Iterator<Item = &Objective> {
    guard.objectives.iter().filter(|objective| objective.bad != Bad::Shape)
}

fn guard_view(spec: &Spec, track: &Track) -> Option<GuardView> {
    let asked = spec.analysis.guard.as_ref()?;
    let guard = match &track.status.soak {
        Some(Soak { .. }) => asked.of_soak(),
        None => asked.clone(),
    };
    let objectives = shares(&guard).map(|objective| {
        let (title, unit) = match objective.bad {
            Bad::SlowerThan(millis) => {
                (format!("Slower than {millis} ms"), format!("requests slower than {millis} ms"))
            }
            Bad::Failed | Bad::Shape => ("Error rate".to_owned(), "failed requests".to_owned()),
        };
        ObjectiveView {
            name: objective.name.clone(),
            title,
            unit,
            slo: objective.slo,
            absolute: objective.margin.absolute,
            relative: objective.margin.relative,
        }
    });
    Some(GuardView {
        mode: guard.mode.name(),
        interval_millis: guard.interval_millis,
        alpha: guard.alpha,
        log_limit: track.evidence.as_ref().map_or(-guard.alpha.ln(), |known| known.log_limit),
        log_hold: 0.0,
        pace: evidence::pace(&guard),
        objectives: objectives.collect(),
        evidence: track.evidence.clone(),
        unreadable: track.unreadable.clone(),
    })
}

fn looks(track: &Track) -> Looks {
    let seen = track.looks.looks();
    let guard = track.spec.as_ref().and_then(|spec| spec.analysis.guard.as_ref());
    let objectives = guard.map(|guard| {
        let columns = shares(guard).enumerate().map(|(place, objective)| {
            let mut columns = Columns::default();
            for look in seen {
                column(&mut columns, look, place, objective);
            }
            columns
        });
        columns.collect()
    });
    Looks {
        t: seen.iter().map(|look| after(track.begun, look.time)).collect(),
        weight: seen.iter().map(|look| look.weight).collect(),
        log_evidence: seen.iter().map(|look| look.log_evidence).collect(),
        objectives: objectives.unwrap_or_default(),
    }
}

fn column(columns: &mut Columns, look: &Look, place: usize, objective: &Objective) {
    let measured = look.objectives.get(place).copied().flatten();
    let side = |columns: &mut SideColumns, counts: Option<serin_core::status::Counts>| {
        // What nobody counted may be anything.
        let (requests, bad, low, high) =
            counts.map_or((0, 0, 0.0, 1.0), |c| (c.requests, c.bad, c.low, c.high));
        columns.requests.push(requests);
        columns.bad.push(bad);
        columns.low.push(low);
        columns.high.push(high);
    };
    columns.limit.push(measured.map_or(objective.slo, |Measured { limit, .. }| limit));
    side(&mut columns.canary, measured.map(|measured| measured.canary));
    side(&mut columns.primary, measured.map(|measured| measured.primary));
}

fn plan(spec: &Spec, status: &Status, state: State, begun: Timestamp) -> Plan {
    let Analysis { interval_secs, threshold, schedule, .. } = &spec.analysis;
    Plan {
        steps: schedule.shares().map(Weight::percent).collect(),
        interval: *interval_secs,
        threshold: *threshold,
        iterations: schedule.iterations(),
        done: u32::try_from(status.iterations).unwrap_or_default(),
        ahead: ahead(spec, status, state, begun),
    }
}

/// The hook of this kind that a spec has first.
fn hook(spec: &Spec, kind: HookKind) -> Option<&Webhook> {
    spec.analysis.webhooks.iter().find(|hook| hook.kind == kind)
}

/// Whether the steps of a release are still to come.
fn has_steps_ahead(status: &Status) -> bool {
    match status.phase {
        Some(Phase::Waiting | Phase::Progressing | Phase::WaitingPromotion) => true,
        Some(
            Phase::Initializing
            | Phase::Initialized
            | Phase::Promoting
            | Phase::Finalising
            | Phase::Succeeded
            | Phase::Failed
            | Phase::Terminating
            | Phase::Terminated,
        )
        | None => false,
    }
}

/// The shares that are still to come, and the promotion; with their times where the step clock sets them.
fn ahead(spec: &Spec, status: &Status, state: State, begun: Timestamp) -> Vec<Ahead> {
    if !has_steps_ahead(status) {
        return Vec::new();
    }
    let interval = spec.analysis.interval_secs as f64;
    let paced = spec.analysis.evidence_pace().is_some();
    let waits = match state {
        State::Running => None,
        State::Held => Some("until more is known"),
        State::Gate => Some("for approval"),
        State::Starting => Some("for pods"),
        State::Suspended => Some("until it is no longer suspended"),
        State::Failed | State::Trouble | State::Rest => Some("until that is put right"),
    };
    let share = spec.analysis.schedule.shares().map(Weight::percent);
    let left = share.filter(|share| *share > status.canary_weight && *share < 100);
    let steps = left.map(|share| (share, HookKind::ConfirmTrafficIncrease));
    // After a step whose time is not known, no time is known.
    let mut last = status.last_step_time.map(|time| after(begun, time));
    let mut all = Vec::new();
    for (weight, kind) in steps.chain([(100, HookKind::ConfirmPromotion)]) {
        let gate = hook(spec, kind).map(|hook| format!("gate {}", hook.name));
        let blocked = waits.filter(|_| all.is_empty()).map(str::to_owned);
        let why = blocked.or(gate).or_else(|| paced.then(|| "the evidence".to_owned()));
        last = last.map(|last| last + interval).filter(|_| why.is_none());
        let promotes = kind == HookKind::ConfirmPromotion;
        all.push(Ahead { weight, promotes, at: last, why: why.unwrap_or_default() });
    }
    all
}

fn gates(spec: &Spec, status: &Status) -> Vec<Gate> {
    let reason = status.last_reason.as_ref().and_then(ReasonRecord::reason);
    let gates = spec.analysis.webhooks.iter().filter_map(|hook| {
        let (waiting, passed) = match hook.kind {
            HookKind::ConfirmRollout => (
                Reason::WaitingForRolloutApproval,
                status.phase != Some(Phase::Waiting) && status.analysis_start_time.is_some(),
            ),
            HookKind::ConfirmTrafficIncrease => {
                (Reason::WaitingForTrafficApproval, status.canary_weight > 0)
            }
            HookKind::ConfirmPromotion => (
                Reason::WaitingForPromotionApproval,
                matches!(
                    status.phase,
                    Some(Phase::Promoting | Phase::Finalising | Phase::Succeeded)
                ),
            ),
            HookKind::PreRollout
            | HookKind::Rollout
            | HookKind::PostRollout
            | HookKind::Rollback
            | HookKind::Event => return None,
        };
        let state = match (reason == Some(waiting), passed) {
            (true, _) => GateState::Open,
            (false, true) => GateState::Passed,
            (false, false) => GateState::Later,
        };
        Some(Gate { name: hook.name.clone(), kind: hook.kind.name(), state })
    });
    gates.collect()
}
