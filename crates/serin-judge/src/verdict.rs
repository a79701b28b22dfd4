//! What the guard says, in numbers and in words.

use std::fmt;

use crate::bound::{self, Interval};
use crate::config::Question;
use crate::guard::{Guard, Slot};
use crate::stream::Stream;
use crate::words::{About, Percent};

/// Why the guard does not let a rollout advance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The evidence leans towards a fault: `E >= 1`.
    Suspicion,
    /// The canary breaks its objective now, whoever's fault it is.
    ObjectiveBurning,
}

/// What follows from the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing speaks against the canary.
    Continue,
    /// It may stay as it is, but get no more.
    Hold(Hold),
    /// There is evidence enough that it is worse than it may be.
    RollBack,
}

/// Evidence as odds: at least this rare in a healthy canary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Odds(pub f64);

/// The answer to one scrape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// `ln E`.
    pub log_e: f64,
    /// The same as odds.
    pub odds: Odds,
    /// What follows.
    pub decision: Decision,
    /// Canary requests in this scrape; none means no evidence, no advance and no rollback.
    pub requests: u64,
    /// Whether a scrape ahead of time is worth it: evidence grew and is suspicious. Any schedule that looks only at the
    /// past keeps the guarantee.
    pub look_again: bool,
}

/// One side's requests over the rollout, with the rates they are compatible with at all times at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Bad requests.
    pub bad: u64,
    /// All requests.
    pub requests: u64,
    /// The rates that these counts allow.
    pub interval: Interval,
}

/// What a check compares the canary with.
#[derive(Debug, Clone, PartialEq)]
pub enum CheckKind {
    /// The objective.
    Objective,
    /// The primary at the same time.
    Primary,
    /// The primary at this bucket bound, the one with the largest share.
    Bound(String),
}

/// One check's part in a verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckReason {
    /// The metric's name.
    pub metric: String,
    /// What the canary is compared with.
    pub kind: CheckKind,
    /// `v_m E_m / E`: the check's part of all evidence.
    pub share: f64,
    /// The check's own `ln E`.
    pub log_e: f64,
    /// The canary's counts.
    pub canary: Rate,
    /// The primary's counts.
    pub primary: Rate,
    /// The rate the canary is held to: the objective, or the tolerance at the primary's rate.
    pub limit: f64,
    /// What is still needed to call the rate tolerable; only objectives ask for it.
    pub missing: Option<Missing>,
}

/// Clean requests that are still needed, and how long they take to come at the rate of late.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Missing {
    /// How many.
    pub requests: u64,
    /// None as long as nobody knows how many come; infinite when none do.
    pub secs: Option<f64>,
}

/// A verdict with all its reasons, largest part first.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// `ln E` of all checks together.
    pub log_e: f64,
    /// The same as odds.
    pub odds: Odds,
    /// `ln(1/alpha)`.
    pub threshold: f64,
    /// What follows.
    pub decision: Decision,
    /// Every check's part, the largest first.
    pub checks: Vec<CheckReason>,
    /// See [`Guard::requests_to_go`].
    pub requests_to_go: u64,
}

impl Guard {
    /// Every check's numbers, for people. Allocates; call it when someone asks or something changed.
    pub fn explain(&self) -> Explanation {
        let log_e = self.log_evidence();
        let mut checks: Vec<CheckReason> = Vec::new();
        for (metric, asked) in self.config.metrics.iter().enumerate() {
            let mine =
                || self.slots.iter().zip(&self.streams).filter(move |(s, _)| s.metric == metric);
            match &asked.question {
                Question::Share { .. } => {
                    for (slot, stream) in mine() {
                        checks.extend(self.objective(&asked.name, slot, stream, log_e));
                        checks.extend(self.relative(
                            &asked.name,
                            CheckKind::Primary,
                            slot,
                            stream,
                            log_e,
                        ));
                    }
                }
                Question::Dominance { bounds, .. } => {
                    let (mut worst, mut parts) = (None::<CheckReason>, 0.0);
                    for (slot, stream) in mine() {
                        let bound = slot.bound.and_then(|b| bounds.get(b)).cloned();
                        let kind = CheckKind::Bound(bound.unwrap_or_default());
                        let Some(reason) = self.relative(&asked.name, kind, slot, stream, log_e)
                        else {
                            continue;
                        };
                        parts += reason.share;
                        if worst.as_ref().is_none_or(|w| reason.log_e > w.log_e) {
                            worst = Some(reason);
                        }
                    }
                    checks.extend(worst.map(|w| CheckReason { share: parts, ..w }));
                }
            }
        }
        checks.sort_by(|a, b| b.share.total_cmp(&a.share));
        Explanation {
            log_e,
            odds: Odds(log_e),
            threshold: self.threshold(),
            decision: self.decision(),
            checks,
            requests_to_go: self.requests_to_go(),
        }
    }

    fn rates(&self, slot: &Slot, stream: &Stream) -> (Rate, Rate) {
        let d = slot.rules.dispersion;
        let rate = |bad: u64, requests: u64| Rate {
            bad,
            requests,
            interval: bound::interval(
                bad as f64 / d,
                requests as f64 / d,
                slot.rules.p0,
                self.config.beta,
            ),
        };
        let total = stream.total;
        (rate(total.x, total.n), rate(total.y, total.m))
    }

    fn objective(
        &self,
        metric: &str,
        slot: &Slot,
        stream: &Stream,
        all: f64,
    ) -> Option<CheckReason> {
        let weight = slot.rules.slo?;
        let (canary, primary) = self.rates(slot, stream);
        let undecided = self.decision() != Decision::RollBack;
        Some(CheckReason {
            metric: metric.to_owned(),
            kind: CheckKind::Objective,
            share: (weight + stream.log_slo - all).exp(),
            log_e: stream.log_slo,
            canary,
            primary,
            limit: slot.rules.p0,
            // No request makes up for what was rolled back.
            missing: Some(self.missing(slot, stream)).filter(|m| *m > 0 && undecided).map(
                |requests| Missing {
                    requests,
                    secs: self
                        .sees_time()
                        .then(|| self.rate().map_or(f64::INFINITY, |rate| requests as f64 / rate)),
                },
            ),
        })
    }

    fn relative(
        &self,
        metric: &str,
        kind: CheckKind,
        slot: &Slot,
        stream: &Stream,
        all: f64,
    ) -> Option<CheckReason> {
        let (weight, tolerance) = slot.rules.relative?;
        let (canary, primary) = self.rates(slot, stream);
        let base = primary.bad as f64 / primary.requests.max(1) as f64;
        Some(CheckReason {
            metric: metric.to_owned(),
            kind,
            share: (weight + stream.log_relative - all).exp(),
            log_e: stream.log_relative,
            canary,
            primary,
            limit: tolerance.limit(base).min(1.0),
            missing: None,
        })
    }
}

impl fmt::Display for Odds {
    /// `1 in 340 if healthy`, or that nothing speaks against the canary.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = self.0.exp();
        if self.0 <= 0.0 {
            write!(f, "nothing against it")
        } else if e < 10.0 {
            write!(f, "1 in {e:.1} if healthy")
        } else if e < 1e6 {
            write!(f, "1 in {e:.0} if healthy")
        } else {
            write!(f, "less than 1 in a million if healthy")
        }
    }
}

impl fmt::Display for Rate {
    /// `24 of 336 (7.14 %, between 2.77 % and 14.3 %)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bad, requests, interval: Interval { low, high } } = *self;
        if requests == 0 {
            return write!(f, "no requests");
        }
        let rate = Percent(bad as f64 / requests as f64);
        let (low, high) = (Percent(short(low)), Percent(short(high)));
        write!(f, "{bad} of {requests} ({rate}, between {low} and {high})")
    }
}

/// Seven digits are more than the counts know.
fn short(share: f64) -> f64 {
    (share * 1e7).round() / 1e7
}

impl fmt::Display for Missing {
    /// `about 400 more good requests to go on, 3 min at this rate`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "about {} more good requests to go on", self.requests)?;
        match self.secs {
            Some(secs) if secs.is_finite() => write!(f, ", {} at this rate", About(secs)),
            Some(_) => write!(f, ", and none come"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for CheckKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Objective => f.write_str("objective"),
            Self::Primary => f.write_str("primary"),
            Self::Bound(bound) => write!(f, "primary at {bound}"),
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Suspicion => "the evidence leans towards a fault",
            Self::ObjectiveBurning => "the canary breaks its objective now",
        })
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Continue => f.write_str("continue"),
            Self::Hold(why) => write!(f, "hold: {why}"),
            Self::RollBack => f.write_str("roll back"),
        }
    }
}

impl Rate {
    /// Bad requests of all; 0 where there were none.
    pub fn share(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.bad as f64 / self.requests as f64 }
    }
}

impl CheckReason {
    /// What people want to know first: both rates, or the rate and its objective, in a few words.
    pub fn headline(&self) -> String {
        let canary = Percent(self.canary.share());
        let primary = Percent(self.primary.share());
        let metric = &self.metric;
        match &self.kind {
            CheckKind::Objective => {
                format!("{metric} {canary} against an objective of {}", Percent(self.limit))
            }
            CheckKind::Primary => format!("{metric} {canary} against {primary} of the primary"),
            CheckKind::Bound(bound) => {
                format!("{metric} slower than {bound}: {canary} against {primary} of the primary")
            }
        }
    }
}

impl fmt::Display for CheckReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metric, kind, share, log_e, canary, primary, limit, missing } = self;
        write!(f, "{metric} ")?;
        match kind {
            CheckKind::Objective => write!(f, "against its objective of {}", Percent(*limit))?,
            CheckKind::Primary => write!(f, "against the primary, limit {}", Percent(*limit))?,
            CheckKind::Bound(bound) => {
                write!(f, "slower than {bound} against the primary, limit {}", Percent(*limit))?;
            }
        }
        write!(f, ": canary {canary}, primary {primary}; {}", Odds(*log_e))?;
        write!(f, ", {:.0} % of all evidence", share * 100.0)?;
        match missing {
            Some(missing) => write!(f, "; {missing}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needed = self.threshold.exp();
        write!(f, "{} ({}; rolls back at 1 in {needed:.0})", self.decision, self.odds)?;
        for check in &self.checks {
            write!(f, "\n  {check}")?;
        }
        Ok(())
    }
}
