//! The guard's verdicts as records of the ledger: one for each thing it watches, by the check that says most.

use super::sequential::{CheckKind, CheckReason, Decision, Explanation, Percent};
use crate::model::{Bad, Builtin, GuardSpec, MetricSource};
use crate::status::CheckRecord;

/// One record per metric, in the order of their part in the evidence. The caller knows weight, time and window.
pub fn records(explanation: &Explanation, source: &str) -> Vec<CheckRecord> {
    let mut records: Vec<CheckRecord> = Vec::new();
    for (place, check) in explanation.checks.iter().enumerate() {
        if records.iter().any(|record| record.name == check.metric) {
            continue;
        }
        let verdict = match explanation.decision {
            // The rollback stands on the check that says most; the others only add to it.
            Decision::RollBack if place == 0 => "fail",
            Decision::Hold(_) if place == 0 => "hold",
            Decision::RollBack | Decision::Hold(_) | Decision::Continue => "pass",
        };
        records.push(record(check, explanation, verdict, source));
    }
    records
}

fn record(
    check: &CheckReason,
    explanation: &Explanation,
    verdict: &str,
    source: &str,
) -> CheckRecord {
    let CheckReason { metric, kind, share: _, log_e, canary, primary, limit, missing } = check;
    // The objective knows what is missing, whichever check says most.
    let of_metric = explanation.checks.iter().filter(|other| other.metric == *metric);
    let missing = missing.or_else(|| of_metric.filter_map(|other| other.missing).next());
    let rate = canary.bad as f64 / canary.requests as f64;
    let limit = match kind {
        CheckKind::Objective => format!("<= {}", Percent(*limit)),
        CheckKind::Primary | CheckKind::Bound(_) => {
            format!("<= {} beside the {kind}", Percent(*limit))
        }
    };
    CheckRecord {
        name: metric.clone(),
        verdict: verdict.to_owned(),
        source: source.to_owned(),
        window: String::new(),
        value: (canary.requests > 0).then_some((rate * 1e7).round() / 1e5),
        limit,
        canary: Some((*canary).into()),
        primary: Some((*primary).into()),
        odds: super::sequential::Odds(*log_e).to_string(),
        missing: missing.map(|missing| missing.to_string()).unwrap_or_default(),
        message: String::new(),
        weight: 0,
        time: None,
    }
}

/// The name of what the guard counts for a builtin check, if it does.
pub fn counted<'a>(spec: &'a GuardSpec, source: &MetricSource) -> Option<&'a str> {
    let wanted = |bad: &Bad| match source {
        MetricSource::Builtin(Builtin::RequestSuccessRate) => *bad == Bad::Failed,
        MetricSource::Builtin(Builtin::RequestDuration) => matches!(bad, Bad::SlowerThan(_)),
        MetricSource::Query(_) | MetricSource::Template { .. } => false,
    };
    spec.objectives.iter().find(|o| wanted(&o.bad)).map(|o| o.name.as_str())
}
