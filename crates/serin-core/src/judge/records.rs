//! What the next step and the status are told of a monitor: an verdict, and one record for each thing that it watches.

use serin_judge::monitor::Monitor;
use serin_judge::words::Percent;
use serin_judge::{CheckKind, CheckReason, Decision, Explanation, Hold, Interval, Odds, Rate};

use crate::model::{Bad, Builtin, GuardSpec, MetricSource};
use crate::observed::Guard;
use crate::status::{CheckRecord, Counts};

/// What the next step is told.
pub fn verdict(monitor: &Monitor) -> Guard {
    match monitor.guard().decision() {
        Decision::Continue => Guard::Quiet,
        Decision::Hold(why) => {
            let main = match why {
                Hold::Suspicion => main_reason(monitor),
                Hold::ObjectiveBurning => burning(monitor),
            };
            Guard::Hold(format!("{why}: {main}"))
        }
        Decision::RollBack => Guard::RollBack(main_reason(monitor)),
    }
}

/// The check with the largest part of the evidence, in words.
fn main_reason(monitor: &Monitor) -> String {
    monitor.explain().checks.first().map(ToString::to_string).unwrap_or_default()
}

/// The objective that is furthest from being kept, in words: where both versions suffer, the evidence speaks of others.
fn burning(monitor: &Monitor) -> String {
    let checks = monitor.explain().checks;
    let missing =
        |check: &&CheckReason| check.missing.as_ref().map_or(0, |missing| missing.requests);
    checks.iter().max_by_key(missing).map(ToString::to_string).unwrap_or_default()
}

/// What the status is told; nothing before the first request.
pub fn of(monitor: &Monitor, source: &str) -> Vec<CheckRecord> {
    if monitor.guard().is_silent() {
        return Vec::new();
    }
    records(&monitor.explain(), source)
}

impl From<Rate> for Counts {
    fn from(rate: Rate) -> Self {
        let Rate { bad, requests, interval: Interval { low, high } } = rate;
        // Seven digits are more than the counts know.
        let short = |share: f64| (share * 1e7).round() / 1e7;
        Self { requests, bad, low: short(low), high: short(high) }
    }
}

/// One record per metric, in the order of their part in the evidence. The caller knows weight, time and window.
fn records(explanation: &Explanation, source: &str) -> Vec<CheckRecord> {
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
        odds: Odds(*log_e).to_string(),
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

#[cfg(test)]
mod tests {
    use serin_judge::counters::{Born, Reading, Side};
    use serin_judge::monitor::Source;
    use serin_judge::{GuardConfig, Verdict};

    use super::*;

    fn monitor() -> Monitor {
        let config = GuardConfig::share("error-rate", 0.01);
        Monitor::new(config, 0, vec![Source::Errors]).unwrap()
    }

    fn scrape(monitor: &mut Monitor, k: u64, bad: u64, bad_of_primary: u64) -> Verdict {
        let reading = |side, requests, errors| Reading {
            side,
            series: "gateway-1",
            born: Born::Before,
            started: None,
            warm: true,
            requests,
            errors,
            timed: 0,
            within: &[],
        };
        let both =
            [reading(Side::Canary, 10 * k, bad), reading(Side::Primary, 190 * k, bad_of_primary)];
        monitor.observe(1000 * k, both).unwrap()
    }

    #[test]
    fn what_both_suffer_holds_for_the_objective_that_burns() {
        let mut monitor = monitor();
        assert_eq!((verdict(&monitor), of(&monitor, "here")), (Guard::Quiet, Vec::new()));
        for k in 1..40 {
            scrape(&mut monitor, k, 3 * k, 57 * k);
        }
        let Guard::Hold(why) = verdict(&monitor) else { panic!("{:?}", verdict(&monitor)) };
        let said = "the canary breaks its objective now: error-rate against its objective of 1 %";
        assert!(why.starts_with(said), "{why}");
        let records = of(&monitor, "here");
        assert_eq!(records.iter().map(|r| r.verdict.as_str()).collect::<Vec<_>>(), ["hold"]);
    }

    #[test]
    fn a_fault_of_the_canary_alone_is_rolled_back_for_the_check_that_says_most() {
        let mut monitor = monitor();
        for k in 1..60 {
            scrape(&mut monitor, k, 0, k / 10);
        }
        assert_eq!(verdict(&monitor), Guard::Quiet);
        for k in 60..64 {
            scrape(&mut monitor, k, 10 * (k - 59), k / 10);
        }
        let Guard::RollBack(why) = verdict(&monitor) else { panic!("{:?}", verdict(&monitor)) };
        assert!(why.starts_with("error-rate against "), "{why}");
        let records = of(&monitor, "here");
        assert_eq!(records[0].verdict, "fail");
        assert_eq!(records[0].canary.map(|counts| counts.bad), Some(40));
    }
}
