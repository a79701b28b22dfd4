//! Flagger's own rule over history, told from what Flagger does and not with our `step`.
//!
//! A round of checks per interval, the first one interval after the first share. The first metric that is out of its
//! limits, has no data or cannot be asked makes the whole round one failed check, and successes take none back. Enough
//! of them are seen by the round after, which rolls back before it checks anything.

use jiff::{SignedDuration, Timestamp};
use serin_core::model::{Canary, MetricSource};
use serin_core::observed::Answer;
use serin_core::step::check::{self, Subject, Verdict};

use super::Outcome;
use super::checks::{self, Answers};

/// How Flagger would have ended a release.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ApplyOrder {
    pub(super) outcome: Outcome,
    pub(super) at: Timestamp,
    pub(super) why: String,
}

/// Plays the analysis from `start`, when the canary gets its first share, until it ends or there is no traffic after `end`.
pub(super) fn play(
    canary: &Canary,
    answers: &Answers,
    start: Timestamp,
    end: Timestamp,
) -> ApplyOrder {
    let analysis = &canary.spec.analysis;
    let interval = SignedDuration::from_secs(analysis.interval_secs.max(1));
    let rounds = analysis.schedule.iterations().unwrap_or_else(|| analysis.schedule.rounds());
    let rounds = usize::try_from(rounds).unwrap_or(usize::MAX);
    let (mut failed, mut passed) = (0, 0);
    let mut why = "the canary's traffic ended before the analysis did".to_owned();
    let mut at = start;
    loop {
        at = at.saturating_add(interval).unwrap_or(Timestamp::MAX);
        if failed >= analysis.threshold {
            let why =
                format!("{failed} of {} allowed checks had failed: {why}", analysis.threshold);
            return ApplyOrder { outcome: Outcome::RolledBack, at, why };
        }
        if at > end {
            return ApplyOrder { outcome: Outcome::Undecided, at: end, why };
        }
        match failure(canary, answers, at) {
            Some(message) => (failed, why) = (failed + 1, message),
            None => passed += 1,
        }
        if passed >= rounds {
            return ApplyOrder { outcome: Outcome::Passed, at, why: String::new() };
        }
    }
}

/// The first metric that fails: builtin ones and queries before templates.
fn failure(canary: &Canary, answers: &Answers, at: Timestamp) -> Option<String> {
    let (name, target) = (
        format!("{}.{}", canary.key.name, canary.key.namespace),
        format!("{}.{}", canary.spec.target.name, canary.key.namespace),
    );
    let subject = Subject { canary: &name, target: &target, provider: canary.spec.provider.name };
    let none = Answer::NoData("the query returned nothing".to_owned());
    let of_template = |source: &MetricSource| match source {
        MetricSource::Builtin(_) | MetricSource::Query(_) => false,
        MetricSource::Template { .. } => true,
    };
    let mut sources = checks::sources(canary);
    sources.sort_by_key(|(.., source)| of_template(source));
    sources.into_iter().find_map(|(check, metric, source)| {
        let said = answers.get(&check).and_then(|times| times.get(&at.as_millisecond()));
        let finding = check::metric(metric, source, said.unwrap_or(&none), subject);
        (finding.verdict != Verdict::Pass).then_some(finding.message)
    })
}
