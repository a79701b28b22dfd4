//! What a session leads to: hold, roll back, or what the status and the pace are told.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serin_core::judge::records::{self, verdict};
use serin_core::model::{Bad, GuardMode, Objective, Policy};
use serin_core::observed::{Fitness, Guard, Known, Unknown, Visibility, Watched};
use serin_core::step::allows_more;

use super::choice::Lack;
use super::{Session, State, cannot_see};
use crate::guard::evidence::Evidence;
use crate::guard::fitness;

impl Session {
    /// What the next step is told.
    pub(in crate::guard) fn verdict(&self) -> Guard {
        match self.spec.mode {
            GuardMode::Observe => return Guard::Quiet,
            GuardMode::Enforce => {}
        }
        if let Some(why) = &self.decided {
            return Guard::RollBack(why.clone());
        }
        if let (true, Some(Fitness::Unfit { message, .. })) = (self.blind, &self.fitness) {
            let holds = self.spec.asked && self.blind_policy() == Policy::Hold;
            return if holds { Guard::Hold(message.clone()) } else { Guard::Quiet };
        }
        if let State::Lost(why) = &self.state {
            return Guard::Hold(why.clone());
        }
        if let Some(why) = self.blindness().filter(|_| !self.trust.optional) {
            return Guard::Hold(why);
        }
        if let Some((Objective { name, .. }, lack)) =
            self.unmeasured().find(|(objective, _)| holds(objective))
        {
            return Guard::Hold(format!(
                "{name} cannot be measured, {}; see the condition MetricsReady",
                lack.why()
            ));
        }
        let verdict = match &self.state {
            State::Watching { watch, .. } => verdict(watch),
            State::New(_) | State::Lost(_) => Guard::Quiet,
        };
        match verdict {
            // Only requests can end it, and none come before the canary has its first share again.
            Guard::Hold(_) if self.opens() => Guard::Quiet,
            Guard::Hold(_) | Guard::RollBack(_) | Guard::Quiet => verdict,
        }
    }

    /// Nobody gets to the canary; it is watched for how much traffic there is, or for whether it can be measured.
    fn opens(&self) -> bool {
        let canary = &self.canary;
        let paced = canary.spec.analysis.evidence_pace().is_some();
        canary.status.exposure().is_none() && (paced || canary.status.blind_since.is_some())
    }

    /// Why nothing is known of the present.
    fn blindness(&self) -> Option<String> {
        // Law 2: after a restart nothing rises before somebody has looked.
        if self.seen.is_none() && self.failure.is_none() {
            return Some("the guard has not looked yet".to_owned());
        }
        if let Some((_, why)) = &self.failure
            && (self.seen.is_none() || self.cannot_see)
        {
            // What is passed over, or counted as a failed check, does not hold as well.
            if self.cannot_see && self.blind_policy() != Policy::Hold {
                return None;
            }
            return Some(cannot_see(why));
        }
        let stale = self.trust.recorded && self.stale;
        stale.then(|| {
            "the metric server has not read the gateway since the weight changed".to_owned()
        })
    }

    /// What the status is to say.
    pub(in crate::guard) fn watched(&self) -> Watched {
        let would = match self.spec.mode {
            GuardMode::Enforce => None,
            GuardMode::Observe => self.decided.clone(),
        };
        let checks = match &self.state {
            State::Watching { watch, .. } => records::of(watch, self.trust.source()),
            State::New(_) | State::Lost(_) => Vec::new(),
        };
        let (known, memory, metrics) = (self.known(), self.memory(), self.fitness.clone());
        let (dispersion, unknown, visibility) =
            (self.dispersion(), self.unknown(), self.visibility());
        Watched { known, memory, metrics, would, checks, dispersion, unknown, visibility }
    }

    /// Whether it holds because it cannot measure.
    fn visibility(&self) -> Visibility {
        match self.spec.mode {
            GuardMode::Observe => return Visibility::Clear,
            GuardMode::Enforce => {}
        }
        let waits = self.blind_policy() == Policy::Hold;
        if self.blind {
            return if self.spec.asked && waits { Visibility::Blind } else { Visibility::Clear };
        }
        if matches!(self.state, State::Lost(_)) {
            return Visibility::Blind;
        }
        if self.cannot_see {
            return if waits && !self.trust.optional {
                Visibility::Blind
            } else {
                Visibility::Clear
            };
        }
        if self.failure.is_some() || self.seen.is_none() {
            return Visibility::Unknown;
        }
        match self.unmeasured().find(|(objective, _)| holds(objective)) {
            Some((_, Lack::Fallen | Lack::Ahead | Lack::Missing)) => Visibility::Contradicted,
            Some((_, Lack::Histogram | Lack::Bucket | Lack::Late)) => Visibility::Blind,
            None => Visibility::Clear,
        }
    }

    /// What this release shows of the primary, for the next one.
    fn dispersion(&self) -> BTreeMap<String, f64> {
        match &self.state {
            State::Watching { watch, .. } if !self.soaks() => {
                watch.dispersion().map(|(name, seen)| (name.to_owned(), seen)).collect()
            }
            State::Watching { .. } | State::New(_) | State::Lost(_) => BTreeMap::new(),
        }
    }

    /// What follows when nobody counts at all: a failed check where an objective asks for that, nothing where all do.
    fn blind_policy(&self) -> Policy {
        let mut policies = self.spec.objectives.iter().map(|o| o.cannot_measure);
        if policies.clone().any(|policy| policy == Some(Policy::Fail)) {
            Policy::Fail
        } else if policies.all(|policy| policy == Some(Policy::Pass)) {
            Policy::Pass
        } else {
            Policy::Hold
        }
    }

    /// The objectives that nothing is known of, and that do not just let the release go on.
    fn unknown(&self) -> Vec<Unknown> {
        match self.spec.mode {
            GuardMode::Observe => return Vec::new(),
            GuardMode::Enforce => {}
        }
        let nobody = match (&self.fitness, &self.failure) {
            (Some(Fitness::Unfit { message, .. }), _) if self.blind => Some(message.clone()),
            (_, Some((_, why))) if self.cannot_see => Some(cannot_see(why)),
            (_, _) => None,
        };
        let mut unknown = Vec::new();
        for (place, objective) in self.spec.objectives.iter().enumerate() {
            let Objective { name, no_data, cannot_measure, .. } = objective;
            let counted = match &self.state {
                State::Watching { watch, measured, .. } => {
                    // Only the last one may have more than one sample.
                    let sample = measured.objectives.iter().position(|known| *known == place);
                    sample.map_or(0, |s| watch.guard().step_requests_of(s))
                }
                State::New(_) | State::Lost(_) => 0,
            };
            let lack = self.lacks.get(&place);
            let unmeasured = nobody.clone().or_else(|| lack.map(|lack| lack.why().to_owned()));
            let policy = match &unmeasured {
                // Holding is an verdict, which needs no round of checks.
                Some(_) => cannot_measure.filter(|policy| *policy == Policy::Fail),
                None if self.seen.is_some() && counted == 0 => Some(*no_data),
                None => None,
            };
            let cold = objective.bad != Bad::Failed && !self.warmth.was_warm();
            let policy = match policy {
                // Nobody has looked for any.
                Some(Policy::Fail) if cold && unmeasured.is_none() => Some(Policy::Hold),
                Some(Policy::Pass) | None => None,
                Some(policy @ (Policy::Hold | Policy::Fail)) => Some(policy),
            };
            unknown.extend(policy.map(|policy| Unknown { name: name.clone(), unmeasured, policy }));
        }
        unknown
    }

    /// What a pace may go by; nothing of counters that are not what they should be.
    fn known(&self) -> Option<Known> {
        self.canary.spec.analysis.evidence_pace()?;
        let State::Watching { watch, .. } = &self.state else { return None };
        // An objective that is not measured holds or is passed over, as the spec says; the other counters are what they
        // should be.
        let lacking = !self.lacks.is_empty();
        let unfit = match &self.fitness {
            Some(Fitness::Unfit { reason, .. }) => {
                let passable = lacking && fitness::is_about_histogram(reason);
                !(passable || fitness::is_about_replicas(reason))
            }
            Some(Fitness::Fit | Fitness::Partial { .. } | Fitness::Unknown { .. }) | None => false,
        };
        if self.cannot_see || unfit {
            return None;
        }
        let guard = watch.guard();
        Some(Known {
            rate: self.traffic.rate()?,
            look_secs: self.traffic.look_secs(),
            excess: guard.excess(),
            step_requests: guard.step_requests(),
            requests_to_go: guard.requests_to_go(),
        })
    }

    /// Whether the evidence allows the canary more than it has.
    pub(super) fn allows_more(&self, now: Timestamp) -> bool {
        self.known().is_some_and(|known| allows_more(&self.canary, &known, now))
    }

    /// The evidence as it is now, in one line; none before the first request.
    pub(in crate::guard) fn line(&self) -> Option<String> {
        let State::Watching { watch, .. } = &self.state else { return None };
        let checks = records::of(watch, self.trust.source());
        let first = checks.first()?;
        let odds = watch.explain().odds;
        Some(format!("{odds}; {}: {}", first.name, first.evidence()?))
    }

    /// The evidence as it is now, with its numbers; none before the first request.
    pub(in crate::guard) fn evidence(&self) -> Option<Evidence> {
        let State::Watching { watch, .. } = &self.state else { return None };
        let time = self.seen.filter(|_| !watch.guard().is_silent())?;
        Some(Evidence::of(time, watch.explain(), self.decided.clone()))
    }
}

/// Whether a release waits for this one to be measured.
fn holds(objective: &Objective) -> bool {
    objective.asked && objective.cannot_measure.is_none_or(|policy| policy == Policy::Hold)
}
