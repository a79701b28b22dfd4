//! A tiny world in memory that carries plans out, so that whole releases can be told as tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

use crate::control::{Command, Request};
use crate::lint::lint;
use crate::model::provider::KUBERNETES;
use crate::model::*;
use crate::observed::*;
use crate::plan::{Action, Plan, Step};
use crate::step::{Settings, step};

/// Seconds a workload needs to roll out.
const ROLLOUT_SECS: i64 = 3;
/// Where a DaemonSet's pods run.
const NODES: u32 = 2;

fn pods(running: Running) -> u32 {
    match running {
        Running::Off => 0,
        Running::On(replicas) => replicas.unwrap_or(NODES),
    }
}

#[derive(Clone, Debug)]
pub(super) struct Side {
    pub uid: String,
    pub revision: String,
    pub generation: i64,
    pub replicas: u32,
    pub ready_at: Timestamp,
    /// On the primary: what it was made with.
    pub configs: BTreeMap<String, String>,
}

impl Side {
    fn primary(revision: &str, replicas: u32, generation: i64, ready_at: Timestamp) -> Self {
        let (uid, revision) = ("primary".to_owned(), revision.to_owned());
        Self { uid, revision, generation, replicas, ready_at, configs: BTreeMap::new() }
    }
}

/// A cluster with one canary, its hooks and its metrics.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub canary: Canary,
    pub settings: Settings,
    pub now: Timestamp,
    pub target: Option<Side>,
    pub primary: Option<Side>,
    pub apex: Selects,
    pub services: bool,
    pub route: Option<Exposure>,
    /// Name and revision of what the primary ran before.
    pub kept: Option<(String, String)>,
    pub scaler_copied: bool,
    pub scaler_copy: ScalerCopy,
    /// What was changed by hand.
    pub edited: Drift,
    /// What the primary's autoscaler is held to.
    pub held: Option<u32>,
    pub configs: BTreeMap<String, String>,
    /// Revisions whose pods never get ready.
    pub broken: BTreeSet<String>,
    /// The same, but only in the primary.
    pub broken_primary: BTreeSet<String>,
    /// Revisions whose metrics fail.
    pub failing: BTreeSet<String>,
    /// What hooks say; they approve unless told otherwise, `rollback` refuses.
    pub hooks: BTreeMap<HookKind, Answer>,
    pub metric: Option<Answer>,
    /// How far back metrics look, and when they last saw a failing revision with traffic.
    pub window_secs: i64,
    pub failed_at: Option<Timestamp>,
    /// How far back queries say that they look.
    pub reach: Option<i64>,
    pub guard: Guard,
    pub known: Option<Known>,
    pub unknown: Vec<Unknown>,
    pub visibility: Visibility,
    pub dispersion: BTreeMap<String, f64>,
    /// Faults: what cannot be read.
    pub blind: BTreeSet<&'static str>,
    pub log: String,
    pub gone: bool,
    /// The target was asked for once more.
    pub confirmed: bool,
    /// The plan is cut off after this many writes, once.
    pub crash_after: Option<usize>,
    pub asked: Vec<Check>,
    /// What people ask, and what came of it.
    pub requests: Vec<Request>,
    pub outcomes: Vec<String>,
    asked_for: usize,
}

pub(super) fn canary() -> World {
    World::new()
}

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

impl World {
    fn new() -> Self {
        let json = serde_json::json!({
            "apiVersion": "flagger.app/v1beta1",
            "kind": "Canary",
            "metadata": {"name": "backend", "namespace": "develop", "uid": "u", "generation": 1, "resourceVersion": "1"},
            "spec": {
                "provider": "traefik",
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"},
                "service": {"port": 80},
                "progressDeadlineSeconds": 60,
                "analysis": {
                    "interval": "10s", "threshold": 2, "stepWeights": [10, 50],
                    "metrics": [{"name": "errors", "interval": "10s", "query": "up", "thresholdRange": {"max": 1}}],
                },
            },
        });
        let canary = crate::parse::canary(&json, &crate::parse::Limits::default()).unwrap();
        Self {
            canary,
            settings: Settings::default(),
            now: start(),
            target: Some(Side {
                uid: "target".into(),
                revision: "s1:v1".into(),
                generation: 1,
                replicas: 2,
                ready_at: start(),
                configs: BTreeMap::new(),
            }),
            primary: None,
            apex: Selects::Target,
            services: false,
            route: None,
            kept: None,
            scaler_copied: false,
            scaler_copy: ScalerCopy::AsMade,
            edited: Drift::default(),
            held: None,
            configs: BTreeMap::new(),
            broken: BTreeSet::new(),
            broken_primary: BTreeSet::new(),
            failing: BTreeSet::new(),
            hooks: BTreeMap::new(),
            metric: None,
            window_secs: 0,
            failed_at: None,
            reach: None,
            guard: Guard::Quiet,
            known: None,
            unknown: Vec::new(),
            visibility: Visibility::Unknown,
            dispersion: BTreeMap::new(),
            blind: BTreeSet::new(),
            log: String::new(),
            gone: false,
            confirmed: false,
            crash_after: None,
            requests: Vec::new(),
            outcomes: Vec::new(),
            asked_for: 0,
            asked: Vec::new(),
        }
    }

    pub(super) fn spec(mut self, change: impl FnOnce(&mut Spec)) -> Self {
        change(&mut self.canary.spec);
        self
    }

    pub(super) fn weighted(self, rungs: &[u32]) -> Self {
        let shares = rungs.iter().map(|share| Weight::saturating(*share));
        let schedule = Schedule::weighted(shares, None);
        self.spec(|spec| spec.analysis.schedule = schedule)
    }

    /// With a guard that sets the pace, and what comes before and after the promotion.
    pub(super) fn guarded(self, pace: Pace, min_bake_secs: i64, soak_secs: Option<i64>) -> Self {
        let margin = Margin { absolute: 0.005, relative: 1.0 };
        let objective = Objective {
            name: "error-rate".into(),
            bad: Bad::Failed,
            slo: 0.01,
            margin,
            asked: true,
            no_data: Policy::Hold,
            cannot_measure: None,
        };
        self.spec(|spec| {
            spec.analysis.guard = Some(GuardSpec {
                mode: GuardMode::Enforce,
                asked: true,
                source: None,
                interval_millis: 1000,
                alpha: 0.01,
                attributed: true,
                objectives: vec![objective],
                pace,
                warm_up_secs: 5,
                min_bake_secs,
                soak_secs,
                blind: BlindDeadline::AboveFirst(60),
            });
        })
    }

    pub(super) fn blue_green(self, iterations: u32) -> Self {
        self.spec(|spec| {
            spec.provider = &KUBERNETES;
            spec.analysis.schedule = Schedule::blue_green(iterations, false);
        })
    }

    /// A/B testing.
    pub(super) fn testing(self, iterations: u32) -> Self {
        self.spec(|spec| spec.analysis.schedule = Schedule::matched(iterations))
    }

    /// Blue/Green with a router, which sends everybody to the canary at the end.
    pub(super) fn switching(self, iterations: u32) -> Self {
        self.spec(|spec| spec.analysis.schedule = Schedule::blue_green(iterations, true))
    }

    /// Copies of so many requests before the canary has users.
    pub(super) fn mirrored(self, copies: u32) -> Self {
        self.spec(|spec| {
            let schedule = spec.analysis.schedule.clone();
            spec.analysis.schedule = schedule.mirrored(Weight::saturating(copies));
        })
    }

    pub(super) fn hook(self, kind: HookKind) -> Self {
        self.spec(|spec| {
            spec.analysis.webhooks.push(Webhook {
                name: kind.name().into(),
                kind,
                url: "http://hook.test/".into(),
                timeout_secs: 10,
                retries: 0,
                disable_tls: false,
                mute_alert: false,
                metadata: BTreeMap::new(),
            });
        })
    }

    /// Bootstrapped and at rest.
    pub(super) fn resting(mut self) -> Self {
        self.until(Phase::Initialized);
        self.run(20);
        self.log.clear();
        self
    }

    /// Under analysis with this share.
    pub(super) fn at(mut self, weight: u8) -> Self {
        self = self.resting();
        self.push("s1:v2");
        for _ in 0..200 {
            if self.canary.status.canary_weight == weight
                && self.canary.status.phase == Some(Phase::Progressing)
            {
                break;
            }
            self.tick();
        }
        assert_eq!(self.canary.status.canary_weight, weight, "{}", self.log);
        self.log.clear();
        self
    }

    /// The user changes the pod template.
    pub(super) fn push(&mut self, revision: &str) {
        let now = self.now;
        let target = self.target.as_mut().unwrap();
        target.revision = revision.to_owned();
        target.generation += 1;
        target.ready_at = later(now, ROLLOUT_SECS);
    }

    fn readiness(&self, side: &Side, primary: bool) -> Readiness {
        let broken = self.broken.contains(&side.revision)
            || (primary && self.broken_primary.contains(&side.revision));
        if broken && side.replicas > 0 {
            Readiness::Stuck("ImagePullBackOff".into())
        } else if side.ready_at > self.now {
            Readiness::Progressing("pods start".into())
        } else {
            Readiness::Ready
        }
    }

    fn workload(&self, side: &Side, primary: bool) -> Workload {
        let readiness = self.readiness(side, primary);
        let available = if readiness == Readiness::Ready { side.replicas } else { 0 };
        let matches = match (&self.target, &self.primary) {
            (Some(target), Some(primary)) => target.revision == primary.revision,
            (None, _) | (_, None) => false,
        };
        Workload {
            revision: side.revision.clone(),
            matches_target: primary && matches,
            configs: Some(side.configs.clone()).filter(|_| primary),
            uid: side.uid.clone(),
            generation: side.generation,
            confirmed: self.confirmed,
            running: match side.replicas {
                0 => Running::Off,
                replicas => self.canary.spec.target.kind.running(replicas),
            },
            replicas: side.replicas,
            readiness,
            available_replicas: available,
            pods: side.replicas,
            owned: primary,
        }
    }

    fn seen_or<T>(&self, what: &'static str, value: Option<T>) -> Seen<T> {
        if self.blind.contains(what) {
            return Seen::Unreadable("timed out".into());
        }
        value.map_or(Seen::Absent, Seen::Present)
    }

    pub(super) fn observe(&self) -> Observed {
        let target = self.target.as_ref().map(|side| self.workload(side, false));
        let primary = self.primary.as_ref().map(|side| self.workload(side, true));
        let ready =
            |side: &Option<Workload>| side.as_ref().map_or(0, |side| side.available_replicas);
        let service = |selects, endpoints| ServiceSeen {
            selects,
            ready_endpoints: endpoints,
            in_order: true,
        };
        let (of_target, of_primary) = (ready(&target), ready(&primary));
        let apex_endpoints = match self.apex {
            Selects::Primary => of_primary,
            Selects::Target => of_target,
            Selects::Other => 0,
        };
        let some = |service| self.services.then_some(service);
        Observed {
            target: self.seen_or("target", target),
            primary: self.seen_or("primary", primary),
            configs: self.seen_or("configs", Some(self.configs.clone())),
            kept: self.seen_or(
                "kept",
                self.kept.as_ref().map(|(token, revision)| Kept {
                    token: token.clone(),
                    in_force: self.primary.as_ref().is_some_and(|p| p.revision == *revision),
                }),
            ),
            scaler: self.seen_or(
                "scaler",
                self.canary.spec.scaler.is_some().then_some(Scaler {
                    min_replicas: None,
                    primary_exists: self.scaler_copied,
                    copy: self.scaler_copy.clone(),
                    held: self.held,
                }),
            ),
            services: Services {
                apex: self.seen_or("apex", Some(service(self.apex, apex_endpoints))),
                primary: self.seen_or("services", some(service(Selects::Primary, of_primary))),
                canary: self.seen_or("services", some(service(Selects::Target, of_target))),
            },
            route: self.seen_or("route", self.route),
            unmeasurable: Vec::new(),
            duplicate_of: None,
            obstacles: Vec::new(),
            refused: None,
            passed_over: Vec::new(),
            requests: self.requests.clone(),
            drift: self.edited.clone(),
            answered: None,
            reach: BTreeMap::new(),
            guard: self.guard.clone(),
            watched: Watched {
                known: self.known,
                unknown: self.unknown.clone(),
                dispersion: self.dispersion.clone(),
                visibility: self.visibility,
                ..Watched::default()
            },
            answers: BTreeMap::new(),
        }
    }

    fn fails(&self) -> bool {
        self.target.as_ref().is_some_and(|target| self.failing.contains(&target.revision))
    }

    /// Metrics look back over this time, and say so where they do not get it from the spec.
    pub(super) fn window(mut self, secs: i64) -> Self {
        self.window_secs = secs;
        self.spec(|spec| {
            for metric in &mut spec.analysis.metrics {
                metric.interval = format!("{secs}s");
            }
        })
    }

    fn reply(&self, check: Check) -> Answer {
        match check {
            Check::Hook(index) => {
                let kind = self.canary.spec.analysis.webhooks[index].kind;
                let usual = if kind == HookKind::Rollback {
                    Answer::Refused("no".into())
                } else {
                    Answer::Approved
                };
                self.hooks.get(&kind).cloned().unwrap_or(usual)
            }
            Check::Metric(..) => {
                if let Some(answer) = &self.metric {
                    return answer.clone();
                }
                let seen = |at| later(at, self.window_secs) > self.now;
                let bad = self.fails() || self.failed_at.is_some_and(seen);
                Answer::Value(if bad { 7.0 } else { 0.5 })
            }
        }
    }

    /// What the pure function makes of the world now; answers what it asks.
    pub(super) fn decide(&mut self) -> Plan {
        let mut seen = self.observe();
        for _ in 0..4 {
            match step(&self.canary, &seen, self.now, &self.settings) {
                Step::Ask(checks) => {
                    assert!(!checks.is_empty());
                    for check in checks {
                        self.asked.push(check);
                        seen.answers.insert(check, self.reply(check));
                        seen.reach.extend(self.reach.map(|secs| (check, secs)));
                    }
                }
                Step::Act(plan) => {
                    let breaches = lint(&self.canary, &seen, &plan, self.now);
                    assert!(breaches.is_empty(), "{breaches:?}\n{plan:#?}\n{}", self.log);
                    return *plan;
                }
            }
        }
        panic!("asks in circles");
    }

    /// One tick, and time goes on to the next look or the next event.
    pub(super) fn tick(&mut self) -> Plan {
        let plan = self.decide();
        self.write_log(&plan);
        // The operator dies after so many writes, the status being one of them.
        let budget = self.crash_after.take().unwrap_or(usize::MAX);
        let lowering = plan.lower.map(Action::Route);
        let writes = lowering.iter().map(Some).chain([None]).chain(plan.actions.iter().map(Some));
        let all = writes.clone().count();
        for write in writes.take(budget) {
            match write {
                Some(action) => self.apply(action),
                None => self.canary.status = plan.status.clone(),
            }
        }
        if budget > all {
            self.hear(&plan);
        }
        let measured = self.canary.status.canary_weight > 0 || self.canary.status.iterations > 0;
        if measured && self.fails() {
            self.failed_at = Some(plan.next);
        }
        let event = [&self.target, &self.primary]
            .into_iter()
            .flatten()
            .map(|side| side.ready_at)
            .filter(|at| *at > self.now)
            .min();
        self.now = event.map_or(plan.next, |event| event.min(plan.next));
        plan
    }

    /// The objects that ask are told last of all.
    fn hear(&mut self, plan: &Plan) {
        for handled in &plan.handled {
            self.requests.retain(|request| request.uid != handled.uid);
            let (state, message) = (handled.outcome.state(), handled.outcome.message());
            self.outcomes.push(format!("{} {state}: {message}", handled.name));
        }
    }

    /// A person asks for this, and means the release as it is now.
    pub(super) fn ask_for(&mut self, command: Command) {
        self.asked_for += 1;
        let number = self.asked_for;
        self.requests.push(Request {
            name: command.name().to_owned(),
            uid: format!("r{number}"),
            command,
            release: self.canary.status.release.clone(),
            reason: "incident 7".to_owned(),
            user: "kim".to_owned(),
            expires: later(self.now, 600),
        });
    }

    fn take_back(&mut self, token: &str) {
        let (kept, revision) = self.kept.clone().unwrap();
        assert_eq!(kept, token, "{}", self.log);
        if let Some(primary) = &mut self.primary {
            primary.revision = revision;
            primary.generation += 1;
        }
    }

    /// What is the primary's beside its pods.
    fn tend(&mut self, action: &Action) {
        if let Action::HoldPrimary(held) = action {
            self.held = *held;
            if self.canary.spec.scaler.is_none()
                && let (Some(primary), Some(held)) = (&mut self.primary, held)
            {
                primary.replicas = *held;
            }
        } else if *action == Action::RepairCopies {
            self.edited = Drift::default();
        } else {
            self.scaler_copy = ScalerCopy::AsMade;
            self.scaler_copied = true;
        }
    }

    fn apply(&mut self, action: &Action) {
        let ready_at = later(self.now, ROLLOUT_SECS);
        let made = |revision: &str, replicas, generation| {
            Side::primary(revision, replicas, generation, ready_at)
        };
        match action {
            Action::Services => self.services = true,
            Action::ApexToPrimary => self.apex = Selects::Primary,
            Action::ApexToTarget => self.apex = Selects::Target,
            Action::CreatePrimary { revision, replicas } => {
                if self.primary.is_none() {
                    let configs = self.configs.clone();
                    self.primary = Some(Side { configs, ..made(revision, *replicas, 1) });
                }
            }
            Action::PromotePrimary { revision } => {
                let target = self.target.as_ref().map(|target| target.revision.clone());
                if target.as_ref() == Some(revision)
                    && let Some(primary) = &self.primary
                    && (primary.revision != *revision || primary.configs != self.configs)
                {
                    let (replicas, generation) = (primary.replicas, primary.generation + 1);
                    let configs = self.configs.clone();
                    let mut next = Side { configs, ..made(revision, replicas, generation) };
                    // Old pods serve until new ones are ready.
                    if !self.broken.contains(revision) && !self.broken_primary.contains(revision) {
                        next.ready_at = self.now;
                    }
                    self.primary = Some(next);
                }
            }
            Action::KeepPrimary { token } => {
                let runs = self.primary.as_ref().map(|primary| primary.revision.clone());
                if let Some(revision) = runs.filter(|revision| token.starts_with(revision)) {
                    self.kept = Some((token.clone(), revision));
                }
            }
            Action::UndoPrimary { token } => self.take_back(token),
            Action::PrimaryScaler | Action::HoldPrimary(_) | Action::RepairCopies => {
                self.tend(action)
            }
            Action::ScaleTarget(running) => {
                let replicas = pods(*running);
                if let Some(target) = &mut self.target
                    && target.replicas != replicas
                {
                    target.replicas = replicas;
                    target.generation += 1;
                    target.ready_at = ready_at;
                }
            }
            Action::Route(split) => {
                let status = &self.canary.status;
                let raises = !split.is_within(self.route.unwrap_or(Exposure::NONE));
                assert!(
                    !raises || split.is_within(status.exposure()),
                    "raised before the status said so\n{}",
                    self.log
                );
                self.route = Some(*split);
            }
            Action::EnsureRoute(split) => {
                self.route.get_or_insert(*split);
            }
            Action::RestoreRoute => self.route = None,
            Action::Finalizer(on) => {
                self.canary.has_finalizer = *on;
                self.gone = self.canary.deleting && !on;
            }
        }
    }

    fn write_log(&mut self, plan: &Plan) {
        let status = &plan.status;
        let at = self.now.duration_since(start()).as_secs();
        let routed = self.route.map_or("-".to_owned(), shown);
        let _ = write!(
            self.log,
            "{at:>3}s {} {} (route {routed}) {}",
            status.phase.map_or("-", Phase::name),
            status.canary_weight,
            plan.explanation.reason.code()
        );
        for action in
            plan.lower.iter().map(|exposure| format!("!{}", word(&Action::Route(*exposure)))).chain(
                plan.actions
                    .iter()
                    .filter(|action| !matches!(action, Action::EnsureRoute(_)))
                    .map(word),
            )
        {
            let _ = write!(self.log, " [{action}]");
        }
        self.log.push('\n');
        for notice in &plan.notices {
            let sign = if notice.warning { '!' } else { '-' };
            let alert = notice.alert.as_ref().map_or(String::new(), |alert| {
                format!(" <{:?}: {}>", alert.severity, alert.message)
            });
            let _ = writeln!(self.log, "       {sign} {}{alert}", notice.message);
        }
        if !plan.calls.is_empty() {
            let _ = writeln!(self.log, "       calls {:?}", plan.calls);
        }
    }

    pub(super) fn run(&mut self, ticks: usize) {
        for _ in 0..ticks {
            if self.gone {
                return;
            }
            self.tick();
        }
    }

    /// Ticks until the phase, within a bound.
    pub(super) fn until(&mut self, phase: Phase) -> &mut Self {
        for _ in 0..300 {
            if self.canary.status.phase == Some(phase) {
                return self;
            }
            self.tick();
        }
        panic!("never {}:\n{}", phase.name(), self.log);
    }

    pub(super) fn take_log(&mut self) -> String {
        std::mem::take(&mut self.log)
    }
}

fn word(action: &Action) -> String {
    match action {
        Action::Services => "services".into(),
        Action::ApexToPrimary => "apex to primary".into(),
        Action::ApexToTarget => "apex to target".into(),
        Action::CreatePrimary { revision, replicas } => format!("create {revision} x{replicas}"),
        Action::PromotePrimary { revision } => format!("promote {revision}"),
        Action::KeepPrimary { token } => format!("keep {token}"),
        Action::UndoPrimary { token } => format!("undo {token}"),
        Action::PrimaryScaler => "scaler".into(),
        Action::HoldPrimary(Some(replicas)) => format!("hold {replicas}"),
        Action::HoldPrimary(None) => "hold no more".into(),
        Action::RepairCopies => "copies".into(),
        Action::ScaleTarget(running) => format!("scale {running}"),
        Action::Route(split) => format!("route {}", shown(*split)),
        Action::EnsureRoute(split) => format!("ensure {}", split.share),
        Action::RestoreRoute => "restore route".into(),
        Action::Finalizer(on) => format!("finalizer {on}"),
    }
}

pub(super) fn later(time: Timestamp, secs: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(secs)).unwrap()
}

/// The share and, where there are any, the copies.
fn shown(exposure: Exposure) -> String {
    match exposure.mirrored {
        Weight::ZERO => exposure.share.to_string(),
        copies => format!("{}, copies {copies}", exposure.share),
    }
}
