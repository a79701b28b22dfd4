//! What one tick looks at, and the plan while it is being written.

use jiff::{SignedDuration, Timestamp};

use super::Settings;
use super::pace::{UNTROUBLED, judged};
use crate::control::Handled;
use crate::model::{Canary, Exposure, Phase, Running, Severity, Spec, Status, Weight};
use crate::observed::{
    Guard, Known, Observed, ObstacleKind, Readiness, ScalerCopy, Seen, Selects, Workload,
};
use crate::plan::{Action, Alert, Notice};
use crate::reason::Reason;
use serin_judge::pace::Pace as Judged;

/// The plan so far. It starts as "change nothing" and ends in [`Draft::act`], [`Draft::quiet`] or [`Draft::ask`].
pub(super) struct Draft<'a> {
    pub canary: &'a Canary,
    pub spec: &'a Spec,
    pub seen: &'a Observed,
    pub settings: &'a Settings,
    pub now: Timestamp,
    pub lower: Option<Exposure>,
    pub status: Status,
    pub actions: Vec<Action>,
    pub calls: Vec<usize>,
    pub notices: Vec<Notice>,
    pub handled: Vec<Handled>,
    pub stalled: bool,
    /// Another rollout begins: what the guard knows is about the last one.
    pub forgets: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        canary: &'a Canary,
        seen: &'a Observed,
        now: Timestamp,
        settings: &'a Settings,
    ) -> Self {
        Self {
            canary,
            spec: &canary.spec,
            seen,
            settings,
            now,
            lower: None,
            status: canary.status.clone(),
            actions: Vec::new(),
            calls: Vec::new(),
            notices: Vec::new(),
            handled: Vec::new(),
            stalled: false,
            forgets: false,
        }
    }

    /// `<canary>.<namespace>`, as Flagger's events call it.
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.canary.key.name, self.canary.key.namespace)
    }

    /// `<target>.<namespace>`.
    pub(super) fn target_name(&self) -> String {
        format!("{}.{}", self.spec.target.name, self.canary.key.namespace)
    }

    /// What is said of an autoscaler that is not there.
    pub(super) fn missing_scaler(&self) -> String {
        let name = self.spec.scaler.as_ref().map_or("", |scaler| scaler.name.as_str());
        format!("The autoscaler {name} of spec.autoscalerRef does not exist.")
    }

    pub(super) fn kind(&self) -> &'static str {
        self.spec.target.kind.name()
    }

    pub(super) fn weight(&self) -> Weight {
        self.status.exposure().share
    }

    /// What the route says; without a router the primary has everything.
    pub(super) fn route(&self) -> Seen<Exposure> {
        if self.has_router() { self.seen.route.clone() } else { Seen::Present(Exposure::NONE) }
    }

    pub(super) fn has_router(&self) -> bool {
        self.spec.provider.has_router()
    }

    /// The primary as it is when it can serve: present, with ready endpoints.
    pub(super) fn serving_primary(&self) -> Option<&'a Workload> {
        let endpoints = self.seen.services.primary.present().map_or(0, |seen| seen.ready_endpoints);
        self.seen.primary.present().filter(|_| endpoints > 0)
    }

    /// Present, ready, and with ready endpoints.
    pub(super) fn primary_ready(&self) -> bool {
        self.serving_primary().is_some_and(|primary| primary.readiness == Readiness::Ready)
    }

    pub(super) fn canary_endpoints(&self) -> Option<u32> {
        self.seen.services.canary.present().map(|seen| seen.ready_endpoints)
    }

    /// Another owner's object stands where the canary's Service was: it is not known which pods the canary's share reaches.
    pub(super) fn canary_taken(&self) -> bool {
        let theirs = |one: &crate::observed::Obstacle| one.kind == ObstacleKind::NotOurs;
        self.seen.services.canary.present().is_none() && self.seen.obstacles.iter().any(theirs)
    }

    /// The target is ready and its endpoints are verified.
    pub(super) fn canary_ready(&self) -> bool {
        self.canary_endpoints().is_some_and(|endpoints| endpoints > 0)
            && self.seen.target.present().is_some_and(|target| target.readiness == Readiness::Ready)
    }

    pub(super) fn apex_selects(&self) -> Option<Selects> {
        self.seen.services.apex.present().map(|seen| seen.selects)
    }

    pub(super) fn after(&self, secs: i64) -> Timestamp {
        later(self.now, secs)
    }

    /// The step clock: one interval after the last step, at once when there was none.
    pub(super) fn due(&self) -> Timestamp {
        let interval = self.spec.analysis.interval_secs;
        self.status.last_step_time.map_or(self.now, |last| {
            // The hooks before the first share take their time, and the first check is of a whole interval after them.
            let since = self.status.measured_since.map_or(last, |since| since.max(last));
            let regular = later(since, interval);
            self.early(last).map_or(regular, |early| early.min(regular))
        })
    }

    /// When the next round of checks is due before the interval is over: as soon as the evidence allows more.
    fn early(&self, last: Timestamp) -> Option<Timestamp> {
        let pace = self.spec.analysis.evidence_pace()?;
        let known = self.seen.watched.known.as_ref()?;
        let before = self.canary.status.last_reason.as_ref()?;
        if !before.reason().is_some_and(|reason| UNTROUBLED.contains(&reason)) {
            return None;
        }
        match self.judged_pace(known)? {
            Judged::Raise { .. } | Judged::Promote => Some(later(last, pace.min_dwell_secs.max(1))),
            Judged::Wait(_) => None,
        }
    }

    /// What the evidence allows now; none when the canary has no share or something else sets the pace.
    pub(super) fn judged_pace(&self, known: &Known) -> Option<Judged> {
        let held = !matches!(self.seen.guard, Guard::Quiet);
        judged(&self.spec.analysis, &self.status, known, held, self.now)
    }

    pub(super) fn is_due(&self) -> bool {
        self.due() <= self.now
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        if self.status.phase != Some(phase) {
            self.status.phase = Some(phase);
            self.status.phase_time = Some(self.now);
        }
    }

    /// No traffic for the canary, before anything else happens; its pods drain from here.
    pub(super) fn take_off(&mut self) {
        self.actions.retain(|action| !is_route(action));
        if self.has_router() {
            self.lower = Some(Exposure::NONE);
        }
        self.status.expose(Exposure::NONE);
        self.status.drain_time = Some(self.now);
    }

    /// The target's pods go, once a write of the route has shown that it is as it was seen: a raise whose answer was lost may
    /// have arrived after all, and the watch may be silent about it.
    pub(super) fn scale_away(&mut self) {
        if self.has_router() && self.route() == Seen::Present(Exposure::NONE) {
            self.actions.push(Action::Route(Exposure::NONE));
        }
        self.actions.push(Action::ScaleTarget(Running::Off));
    }

    /// Whether it is seen that no request comes to the target's pods.
    pub(super) fn is_unreached(&self) -> bool {
        let unrouted = match self.route() {
            Seen::Present(exposure) => exposure.is_none(),
            Seen::Absent => true,
            Seen::Unreadable(_) => false,
        };
        unrouted && self.apex_selects() == Some(Selects::Primary)
    }

    /// Whether the canary's pods had the time to finish what they began.
    pub(super) fn drained(&self) -> bool {
        self.drain_end().is_none_or(|end| end <= self.now)
    }

    /// Seconds until the drain is over, at least one.
    pub(super) fn drain_left(&self) -> i64 {
        self.drain_end().map_or(1, |end| end.duration_since(self.now).as_secs().max(1))
    }

    pub(super) fn drain_end(&self) -> Option<Timestamp> {
        self.status.drain_time.map(|time| later(time, self.settings.drain_secs))
    }

    /// A fresh analysis of what the target is now.
    pub(super) fn reset_analysis(&mut self) {
        self.status.failed_checks = 0;
        self.status.expose(Exposure::NONE);
        self.status.iterations = 0;
        self.status.last_step_time = None;
        self.status.analysis_start_time = Some(self.now);
        self.status.outdated_pods = false;
        self.status.passed_tests.clear();
        self.status.checks.clear();
        self.status.guard = None;
        self.status.blind_since = None;
        self.forgets = true;
    }

    /// The target's revision, generation and configs become what was last taken up.
    pub(super) fn take_up(&mut self) {
        if let Seen::Present(target) = &self.seen.target {
            self.status.last_applied_spec.clone_from(&target.revision);
            self.status.saw(&target.uid, target.generation);
        }
        if let Seen::Present(configs) = &self.seen.configs {
            self.status.tracked_configs = Some(configs.clone());
        }
    }

    /// The primary runs what was last taken up.
    pub(super) fn mark_promoted(&mut self) {
        self.status.last_promoted_spec.clone_from(&self.status.last_applied_spec);
        self.status.promoted_configs.clone_from(&self.status.tracked_configs);
    }

    /// The same, and it was seen there: no copy that was sent before can arrive any more.
    pub(super) fn saw_promoted(&mut self) {
        self.mark_promoted();
        self.status.sent.clear();
    }

    /// How many pods a canary starts with (Flagger's rules): what runs stays; with an autoscaler its minimum; else as many as the primary.
    pub(super) fn canary_replicas(&self) -> u32 {
        let target = self.seen.target.present().filter(|target| target.running != Running::Off);
        if let Some(target) = target {
            return target.replicas.max(1);
        }
        match (&self.spec.scaler, &self.seen.scaler) {
            (Some(_), Seen::Present(scaler)) => scaler.min_replicas.unwrap_or(1).max(1),
            (Some(_), Seen::Absent | Seen::Unreadable(_)) => 1,
            (None, _) => self.seen.primary.present().map_or(1, |primary| primary.replicas.max(1)),
        }
    }

    /// The target is told to run, where it does not.
    pub(super) fn start_target(&mut self) {
        if self.seen.target.present().is_some_and(|target| target.running == Running::Off) {
            let running = self.spec.target.kind.running(self.canary_replicas());
            self.actions.push(Action::ScaleTarget(running));
        }
    }

    /// What is in the way, all of it in one sentence after another, under the reason of the first.
    pub(super) fn obstacle(&self) -> Option<(Reason, String)> {
        let all = &self.seen.obstacles;
        let messages: Vec<&str> = all.iter().map(|one| one.message.as_str()).collect();
        Some((all.first()?.kind.reason(), messages.join(" ")))
    }

    /// Copies that stand beside another owner's objects, said when they are made.
    pub(super) fn tell_passed_over(&mut self) {
        for message in &self.seen.passed_over {
            self.warn(Reason::LeftAlone, format!("{message}."));
        }
    }

    /// The Services that tell the primary's pods from the target's.
    pub(super) fn repair_services(&mut self) {
        let services = &self.seen.services;
        let in_order = |seen: &Seen<_>| match seen {
            Seen::Present(service) => service_in_order(service),
            Seen::Absent => false,
            // Nothing is known, so nothing is written.
            Seen::Unreadable(_) => true,
        };
        if !in_order(&services.primary) || !in_order(&services.canary) {
            self.actions.push(Action::Services);
        }
    }

    /// Puts right what is ours and drifted, without touching a weight.
    pub(super) fn repair(&mut self) {
        if !self.seen.obstacles.is_empty() {
            return;
        }
        self.repair_services();
        let services = &self.seen.services;
        let apex_wrong = match &services.apex {
            Seen::Present(apex) => apex.selects != Selects::Primary || !apex.in_order,
            Seen::Absent => true,
            Seen::Unreadable(_) => false,
        };
        if apex_wrong && self.serving_primary().is_some() {
            self.actions.push(Action::ApexToPrimary);
        }
        if self.spec.scaler.is_some()
            && self
                .seen
                .scaler
                .present()
                .is_some_and(|scaler| !scaler.primary_exists || scaler.copy == ScalerCopy::Behind)
            && self.seen.primary.present().is_some()
        {
            self.actions.push(Action::PrimaryScaler);
        }
        super::capacity::hold(self);
        self.ensure_route();
    }

    /// The route object with the split it has, or at the primary when it is missing.
    pub(super) fn ensure_route(&mut self) {
        if !self.has_router() || self.lower.is_some() {
            return;
        }
        match &self.seen.route {
            Seen::Present(exposure) if exposure.is_within(self.status.exposure()) => {
                self.actions.push(Action::EnsureRoute(*exposure));
            }
            Seen::Absent => self.actions.push(Action::EnsureRoute(Exposure::NONE)),
            // Too high is lowered elsewhere, at once; unreadable is left alone.
            Seen::Present(_) | Seen::Unreadable(_) => {}
        }
    }

    pub(super) fn note(&mut self, reason: Reason, message: impl Into<String>) {
        self.notices.push(Notice { warning: false, reason, message: message.into(), alert: None });
    }

    pub(super) fn warn(&mut self, reason: Reason, message: impl Into<String>) {
        self.notices.push(Notice { warning: true, reason, message: message.into(), alert: None });
    }

    /// Gives the last notice an alert.
    pub(super) fn alert(&mut self, severity: Severity, message: impl Into<String>, fields: bool) {
        if let Some(notice) = self.notices.last_mut() {
            notice.alert = Some(Alert { severity, message: message.into(), with_fields: fields });
        }
    }

    /// Says something once per wait: only when the last decision was another one.
    pub(super) fn is_news(&self, reason: Reason) -> bool {
        self.canary.status.last_reason.as_ref().is_none_or(|last| !last.is(reason))
    }
}

fn service_in_order(service: &crate::observed::ServiceSeen) -> bool {
    service.in_order
}

fn is_route(action: &Action) -> bool {
    matches!(action, Action::Route(_) | Action::EnsureRoute(_) | Action::RestoreRoute)
}

pub(super) fn later(time: Timestamp, secs: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(secs)).unwrap_or(Timestamp::MAX)
}
