//! The figures that count, at the end of the story.

use std::fmt;
use std::time::Duration;

use serin_core::status::{Phase, ReasonRecord};
use serin_local::load::{Snapshot, UNVERSIONED};

use super::view::{p99, rate};

pub(super) const GOOD: &str = "v2";
/// The tag makes the sample application fail and slow down three of ten requests.
pub(super) const BAD: &str = "v3-bad";

/// How a release ended.
pub(super) struct Release {
    pub(super) version: &'static str,
    pub(super) phase: Option<Phase>,
    pub(super) reason: ReasonRecord,
    pub(super) took: Duration,
}

pub(super) struct Summary {
    pub(super) releases: Vec<Release>,
    /// Figures at the end of the good release.
    pub(super) after_good: Snapshot,
    pub(super) load: Snapshot,
    pub(super) took: Duration,
}

impl Summary {
    /// Whether the good release was promoted and the bad one rolled back.
    pub(super) fn as_promised(&self) -> bool {
        let ended = |version, phase| {
            self.releases.iter().any(|r| r.version == version && r.phase == Some(phase))
        };
        ended(GOOD, Phase::Succeeded) && ended(BAD, Phase::Failed)
    }

    /// Seconds from the first bad answer of the bad release to its last answer of all.
    fn exposure(&self) -> Option<f64> {
        let bad = self.load.by_version.get(BAD)?;
        Some(bad.last?.duration_since(bad.first_bad?).as_secs_f64())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Summary")?;
        for Release { version, phase, reason, took } in &self.releases {
            let outcome = match phase {
                Some(Phase::Succeeded) => "was promoted",
                Some(Phase::Failed) => "was rolled back",
                Some(_) | None => "came to no end",
            };
            writeln!(
                f,
                "  {version} {outcome} after {:.1} s: {}",
                took.as_secs_f64(),
                reason.message
            )?;
        }
        let total = &self.load.total;
        let share = 100.0 * total.bad as f64 / (total.requests.max(1)) as f64;
        writeln!(f, "\n  requests served  {}", total.requests - total.bad)?;
        writeln!(
            f,
            "  requests failed  {} ({share:.2} %), {} of them before the bad release",
            total.bad, self.after_good.total.bad
        )?;
        for (version, tally) in &self.load.by_version {
            let name = if version == UNVERSIONED { "gateway" } else { version };
            writeln!(
                f,
                "    {name:<10} {:>7} requests, {:>5} failed, {} succeeded, p99 {}",
                tally.requests,
                tally.bad,
                rate(tally),
                p99(tally)
            )?;
        }
        match self.exposure() {
            Some(seconds) => {
                writeln!(f, "  from the first bad answer to no traffic for {BAD}: {seconds:.1} s")?
            }
            None => writeln!(f, "  {BAD} gave no bad answer")?,
        }
        writeln!(f, "  the story took {:.0} s", self.took.as_secs_f64())
    }
}
