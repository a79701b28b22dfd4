//! How a draft becomes the plan of a tick: with one reason, the conditions that follow from it, and when to look again.

use jiff::Timestamp;

use super::conditions::{self, Stance};
use super::draft::Draft;
use super::{Step, blind, control, findings, guard, seldom, suspended};
use crate::model::{Severity, Status};
use crate::observed::{Check, ObstacleKind, Refusal};
use crate::plan::{Action, Explanation, Notice, Plan};
use crate::reason::Reason;
use crate::status::ReasonRecord;

impl<'a> Draft<'a> {
    /// A wait that a person must end: conditions say `Stalled`, and an Event says why, once.
    pub(super) fn stall(mut self, reason: Reason, message: impl Into<String>, secs: i64) -> Step {
        let message = message.into();
        self.stalled = true;
        if self.is_news(reason) {
            self.warn(reason, message.clone());
        }
        self.act(reason, message, secs)
    }

    /// A wait that ends by itself.
    pub(super) fn hold(self, reason: Reason, message: impl Into<String>) -> Step {
        let secs = self.settings.retry_secs;
        self.act(reason, message, secs)
    }

    pub(super) fn ask(self, checks: Vec<Check>) -> Step {
        Step::Ask(checks)
    }

    /// Ends the tick with a decision that the status remembers; looks again after `secs`.
    pub(super) fn act(mut self, reason: Reason, message: impl Into<String>, secs: i64) -> Step {
        let (reason, message) = self.unless_refused(reason, message.into());
        self.remember(reason, &message);
        self.tell_news(reason, &message);
        self.finish(reason, message, secs)
    }

    /// The status says this from now on, with the time at which it became so.
    pub(super) fn remember(&mut self, reason: Reason, message: &str) {
        let last = self.status.last_reason.as_ref();
        if last.is_none_or(|last| !last.is(reason) || last.message != message) {
            self.status.last_reason = Some(ReasonRecord {
                code: reason.code().to_owned(),
                message: message.to_owned(),
                time: Some(self.now),
            });
        }
    }

    /// Ends the tick with nothing worth remembering: the status keeps its last reason.
    pub(super) fn quiet(self, reason: Reason, message: impl Into<String>, secs: i64) -> Step {
        if self.refused_again().is_some() || self.is_out_of_the_way() {
            return self.act(reason, message, secs);
        }
        self.finish(reason, message.into(), secs)
    }

    /// Whether the status still speaks of an obstacle that is gone.
    fn is_out_of_the_way(&self) -> bool {
        let last = self.status.last_reason.as_ref().and_then(ReasonRecord::reason);
        let of_obstacle = ObstacleKind::ALL.iter().any(|kind| last == Some(kind.reason()));
        of_obstacle && self.seen.obstacles.is_empty() && !self.spec.suspend
    }

    /// What was refused, where it is tried again and nothing more important was decided.
    fn refused_again(&self) -> Option<&'a Refusal> {
        let refused = self.seen.refused.as_ref()?;
        let kind = std::mem::discriminant(&refused.action);
        let lowering = self.lower.map(Action::Route);
        let mut writes = lowering.iter().chain(&self.actions);
        let again = writes.any(|action| std::mem::discriminant(action) == kind);
        (again && self.status.phase == self.canary.status.phase).then_some(refused)
    }

    /// As long as the API server refuses what the plan writes, that is what the user is told: once as an Event and an alert.
    fn unless_refused(&mut self, reason: Reason, message: String) -> (Reason, String) {
        let Some(refused) = self.refused_again() else { return (reason, message) };
        let message = format!("{} cannot be written: {}", refused.object, refused.message);
        self.stalled = true;
        let last = self.canary.status.last_reason.as_ref();
        if last.is_none_or(|last| !last.is(Reason::WriteRefused) || last.message != message) {
            self.warn(Reason::WriteRefused, message.clone());
            self.alert(Severity::Error, message.clone(), false);
        }
        (Reason::WriteRefused, message)
    }

    /// A decision that is another than the last one is told to people, if nothing more exact was.
    fn tell_news(&mut self, reason: Reason, message: &str) {
        let told = self.notices.iter().any(|notice| notice.reason == reason);
        if !told && self.is_news(reason) && reason.is_told() {
            let notice =
                Notice { warning: self.stalled, reason, message: message.into(), alert: None };
            self.notices.push(notice);
        }
    }

    fn finish(self, reason: Reason, message: String, secs: i64) -> Step {
        Step::Act(Box::new(self.plan(reason, message, secs)))
    }

    /// What was drafted, as one plan.
    pub(super) fn plan(mut self, reason: Reason, message: String, secs: i64) -> Plan {
        // Setting a route ensures it as well.
        let sets = |action: &Action| matches!(action, Action::Route(_));
        if self.lower.is_some() || self.actions.iter().any(sets) {
            self.actions.retain(|action| !matches!(action, Action::EnsureRoute(_)));
        }
        self.status.observed_generation = Some(self.canary.generation);
        self.spec.provider.name.clone_into(&mut self.status.provider);
        if let Some(release) = control::release(&self) {
            self.status.release = release;
        }
        control::forget(&mut self);
        // Conditions speak of the decision that the status remembers.
        let remembered = self.status.last_reason.as_ref().map(|last| last.message.clone());
        // What is in the way goes away by a person, in whatever phase it is found.
        let last = self.status.last_reason.as_ref().and_then(ReasonRecord::reason);
        self.stalled |= self.obstacle().is_some_and(|(found, _)| last == Some(found));
        let stance = Stance {
            generation: self.canary.generation,
            kind: self.spec.target.kind.name(),
            reason,
            message: remembered.as_deref().unwrap_or(&message),
            stalled: self.stalled,
            serves: self.primary_ready(),
            left_running: suspended::left_running(&self),
            findings: &self.spec.findings,
        };
        conditions::write(&mut self.status, &stance, self.now);
        suspended::tell(&mut self);
        guard::keep(&mut self);
        blind::note(&mut self);
        findings::tell(&mut self);
        let now = self.seen.answered.map_or(self.now, |answered| answered.max(self.now));
        timed(&self.canary.status, &mut self.status, now);
        let (old, new) = (&self.canary.status, &self.status);
        if (old.phase, old.exposure(), old.iterations, old.failed_checks)
            != (new.phase, new.exposure(), new.iterations, new.failed_checks)
            || new.last_transition_time.is_none()
        {
            self.status.last_transition_time = Some(self.now);
        }
        let regular = self.after(secs.max(1));
        let blind = blind::deadline(&self).map(|deadline| deadline.max(self.after(1)));
        let words = seldom::put_off(&mut self);
        let next = [blind, words].into_iter().flatten().fold(regular, Timestamp::min);
        Plan {
            lower: self.lower,
            status: self.status,
            actions: self.actions,
            calls: self.calls,
            notices: self.notices,
            handled: self.handled,
            explanation: Explanation { reason, message },
            next,
        }
    }
}

/// When the canary got the share that it has, when it got its first, and since when it is measured.
fn timed(old: &Status, new: &mut Status, now: Timestamp) {
    let exposed = !new.exposure().is_none();
    if !exposed && new.iterations <= 0 {
        new.measured_since = None;
    } else {
        let known = new.traffic_start_time.filter(|_| new.iterations <= 0);
        new.measured_since = new.measured_since.or(known).or(Some(now));
    }
    if !exposed {
        new.weight_time = None;
        new.traffic_start_time = None;
        return;
    }
    if old.exposure() != new.exposure() {
        new.weight_time = Some(now);
    }
    new.weight_time.get_or_insert(now);
    new.traffic_start_time.get_or_insert(now);
}
