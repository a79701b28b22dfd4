//! What the guard wants the status to say: its memory at a bounded rate, whether it can measure, what it would have done.

use jiff::SignedDuration;

use super::Draft;
use super::check::{Effect, Judgement, Verdict};
use super::conditions;
use crate::judge::design::{Memory, learn};
use crate::judge::records;
use crate::model::{Phase, Policy};
use crate::observed::{Fitness, Guard, Unknown, Watched};
use crate::reason::Reason;
use crate::status::{CheckRecord, GUARD_SOURCE, LEDGER_MAX};

/// A memory is written along with any other change, and by itself at most this often: a gap is one longer block.
pub const KEEP_EVERY_SECS: i64 = 15;

/// Name of the guard's records that are about none of its objectives.
const NAME: &str = "guard";
/// Where the guard's numbers come from, as the ledger says it.
/// Their verdict while it lets nothing advance.
const HOLD: &str = "hold";

/// The last thing that happens to a status before it is handed over.
pub(super) fn keep(draft: &mut Draft<'_>) {
    let Watched {
        known: _,
        memory,
        metrics,
        would,
        checks: _,
        dispersion,
        unknown: _,
        visibility: _,
    } = &draft.seen.watched;
    if passes(draft) {
        learn(&mut draft.status.dispersion, dispersion);
    }
    if let Some(fitness) = metrics {
        let generation = draft.canary.generation;
        let news = conditions::metrics(&mut draft.status, fitness, generation, draft.now);
        if let (true, Fitness::Unfit { reason: _, message }) = (news, fitness) {
            let name = draft.name();
            draft.warn(Reason::MetricsNotReady, format!("Metrics of {name}: {message}"));
        }
    }
    let kept = draft.canary.status.guard.as_ref();
    let (time, decided) = kept.map(Memory::glance).unwrap_or_default();
    let news = would.as_ref().filter(|_| !decided);
    if let Some(why) = news {
        let name = draft.name();
        draft.note(Reason::GuardWouldRollBack, format!("Guard of {name} would roll back: {why}"));
        record(draft, &format!("would have rolled back: {why}"));
    }
    let due = time.is_none_or(|time| {
        draft.now.duration_since(time) >= SignedDuration::from_secs(KEEP_EVERY_SECS)
    });
    if let Some(memory) = memory
        && !draft.forgets
        && (due || news.is_some() || draft.status != draft.canary.status)
    {
        draft.status.guard = Some(memory.clone());
    }
}

/// The analysis is over, and the canary was good.
fn passes(draft: &Draft<'_>) -> bool {
    let was = draft.canary.status.phase;
    let is = draft.status.phase;
    matches!(was, Some(Phase::Progressing | Phase::WaitingPromotion))
        && matches!(is, Some(Phase::Promoting | Phase::Finalising))
}

/// What the guard rolled back for, or would have: the sentence that everybody is told, with its numbers.
pub(super) fn record(draft: &mut Draft<'_>, message: &str) {
    let first = draft.seen.watched.checks.first().cloned().unwrap_or_default();
    let record = CheckRecord {
        name: if first.name.is_empty() { NAME.to_owned() } else { first.name.clone() },
        verdict: "fail".to_owned(),
        message: message.to_owned(),
        ..dated(draft, first)
    };
    note(draft, vec![record]);
}

/// What the guard thinks of each of its objectives, and why it holds where that is for another reason.
pub(super) fn record_all(draft: &mut Draft<'_>) {
    let Watched { checks, unknown, .. } = &draft.seen.watched;
    // They have a record of their own.
    let known = |check: &&CheckRecord| unknown.iter().all(|unknown| unknown.name != check.name);
    let checks = checks.iter().filter(known).cloned();
    let mut records: Vec<CheckRecord> = checks.map(|check| dated(draft, check)).collect();
    if let Guard::Hold(why) = &draft.seen.guard {
        match records.iter_mut().find(|record| record.verdict == HOLD) {
            Some(record) => record.message.clone_from(why),
            None => {
                let (name, verdict) = (NAME.to_owned(), HOLD.to_owned());
                let hold =
                    CheckRecord { name, verdict, message: why.clone(), ..CheckRecord::default() };
                records.push(dated(draft, hold));
            }
        }
    }
    note(draft, records);
}

/// What is not known of the guard's objectives, and what follows from that. Where no canary has traffic nothing is missed.
pub(super) fn unknown(draft: &Draft<'_>) -> Vec<Judgement> {
    if draft.status.exposure().is_none() {
        return Vec::new();
    }
    let finding = |unknown: &Unknown| {
        let Unknown { name, unmeasured, policy } = unknown;
        let (canary, exposure) = (draft.name(), draft.status.exposure());
        let (verdict, message) = match unmeasured {
            Some(why) => (
                Verdict::CannotMeasure,
                format!("Halt {canary} advancement {name} cannot be measured: {why}"),
            ),
            None => (
                Verdict::NoData,
                format!("Halt {canary} advancement no requests counted for {name} at {exposure}"),
            ),
        };
        Judgement {
            name: name.clone(),
            verdict,
            effect: Effect::from(*policy),
            source: GUARD_SOURCE.to_owned(),
            window: String::new(),
            value: None,
            limit: String::new(),
            message,
            expected: false,
        }
    };
    // A pace that follows the evidence waits for requests by itself.
    let paced = draft.spec.analysis.evidence_pace().is_some();
    let counts = |unknown: &&Unknown| {
        !paced || unknown.unmeasured.is_some() || unknown.policy == Policy::Fail
    };
    draft.seen.watched.unknown.iter().filter(counts).map(finding).collect()
}

fn dated(draft: &Draft<'_>, record: CheckRecord) -> CheckRecord {
    let began = draft.canary.status.analysis_start_time.unwrap_or(draft.now);
    let secs = draft.now.duration_since(began).as_secs().max(0);
    CheckRecord {
        window: if record.canary.is_some() { format!("{secs}s") } else { String::new() },
        weight: draft.canary.status.canary_weight,
        time: Some(draft.now),
        ..record
    }
}

/// The numbers of the guard's objective that a builtin check asks for as well; nothing for other checks.
pub(super) fn counted(draft: &Draft<'_>, finding: &Judgement) -> CheckRecord {
    let analysis = &draft.spec.analysis;
    let metric = analysis.metrics.iter().find(|metric| metric.name == finding.name);
    let name = analysis.guard.as_ref().zip(metric).and_then(|(guard, metric)| {
        metric.sources.iter().find_map(|source| records::counted(guard, source))
    });
    let seen = draft.seen.watched.checks.iter().find(|check| Some(check.name.as_str()) == name);
    let Some(seen) = seen else { return CheckRecord::default() };
    let (canary, primary) = (seen.canary, seen.primary);
    let (odds, missing) = (seen.odds.clone(), seen.missing.clone());
    CheckRecord { canary, primary, odds, missing, ..CheckRecord::default() }
}

/// Into the ledger, the oldest falling out.
pub(super) fn note(draft: &mut Draft<'_>, records: Vec<CheckRecord>) {
    draft.status.checks.extend(records);
    let surplus = draft.status.checks.len().saturating_sub(LEDGER_MAX);
    draft.status.checks.drain(..surplus);
}
