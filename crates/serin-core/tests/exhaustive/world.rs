//! The small world: an API server with one canary's objects, an operator that carries plans out, and one that lost its lease.

use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use serin_core::apply_order::{ApplyOrder, Next};
use serin_core::fence::{self, Touch};
use serin_core::model::{Canary, Exposure, Running, Status, TargetKind, Weight};
use serin_core::observed::{
    Answer, Check, Drift, Guard, Observed, Readiness, Seen, Selects, ServiceSeen, Services,
    Watched, Workload,
};
use serin_core::plan::{Action, Plan, Step};
use serin_core::step::{Settings, step};

/// Every wait of this world is as long, so that few ages have to be told apart.
pub(super) const BEAT: i64 = 2;
/// Ages beyond this differ in nothing.
pub(super) const AGE_MAX: i64 = 2 * BEAT;

pub(super) type Revision = &'static str;

fn pods(running: Running) -> u32 {
    match running {
        Running::Off | Running::On(None) => 0,
        Running::On(Some(replicas)) => replicas,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) revision: Revision,
    pub(super) generation: i64,
    pub(super) version: u32,
    pub(super) replicas: u32,
    /// All pods are of this revision and ready.
    pub(super) rolled: bool,
    /// Some pod is ready, of whatever revision.
    pub(super) serving: bool,
}

/// What the API server has, or what somebody believes that it has.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    pub(super) status: Rc<Status>,
    pub(super) canary_version: u32,
    pub(super) target: Side,
    pub(super) primary: Option<Side>,
    pub(super) services: bool,
    pub(super) apex: Selects,
    /// Share and version.
    pub(super) route: Option<(u8, u32)>,
}

/// A kind whose watch may fall silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Canary,
    Target,
    Primary,
    Endpoints,
    Route,
}

impl Kind {
    pub(super) const ALL: [Kind; 5] =
        [Kind::Canary, Kind::Target, Kind::Primary, Kind::Endpoints, Kind::Route];
}

/// What each kind was before its last change.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    canary: Option<(Rc<Status>, u32)>,
    target: Option<Side>,
    primary: Option<Option<Side>>,
    /// Of the target and of the primary.
    endpoints: Option<(bool, bool)>,
    route: Option<Option<(u8, u32)>>,
}

fn endpoints(of: &Objects) -> (bool, bool) {
    (of.target.serving, of.primary.as_ref().is_some_and(|primary| primary.serving))
}

impl Past {
    pub(super) fn knows(&self, kind: Kind) -> bool {
        match kind {
            Kind::Canary => self.canary.is_some(),
            Kind::Target => self.target.is_some(),
            Kind::Primary => self.primary.is_some(),
            Kind::Endpoints => self.endpoints.is_some(),
            Kind::Route => self.route.is_some(),
        }
    }

    pub(super) fn follow(&mut self, before: &Objects, after: &Objects) {
        if before.canary_version != after.canary_version {
            self.canary = Some((Rc::clone(&before.status), before.canary_version));
        }
        if before.target.version != after.target.version {
            self.target = Some(before.target.clone());
        }
        let version = |of: &Objects| of.primary.as_ref().map(|primary| primary.version);
        if version(before) != version(after) {
            self.primary = Some(before.primary.clone());
        }
        if endpoints(before) != endpoints(after) {
            self.endpoints = Some(endpoints(before));
        }
        if before.route != after.route {
            self.route = Some(before.route);
        }
    }

    /// What there is, and the past where there is one.
    pub(super) fn of(&self, truth: &Objects) -> Objects {
        let mut of = truth.clone();
        if let Some((status, version)) = &self.canary {
            (of.status, of.canary_version) = (Rc::clone(status), *version);
        }
        of.target = self.target.clone().unwrap_or(of.target);
        of.primary = self.primary.clone().unwrap_or(of.primary);
        of.route = self.route.unwrap_or(of.route);
        let (target, primary) = self.endpoints.unwrap_or_else(|| endpoints(truth));
        of.target.serving = target;
        if let Some(side) = &mut of.primary {
            side.serving = primary;
        }
        of
    }
}

/// How a write ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    /// Not carried out, and an error comes back.
    Refused,
    /// Carried out, and an error comes back.
    AnswerLost,
}

/// A plan that is being carried out.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) plan: Rc<Plan>,
    pub(super) order: ApplyOrder,
    /// What the plan was decided about.
    pub(super) before: Rc<Status>,
    pub(super) base: u32,
    /// The world that it was decided about, and what its own writes made of it.
    pub(super) view: Objects,
    /// Another client changed the world since the decision, or a write of it failed.
    pub(super) disturbed: bool,
    pub(super) told: bool,
}

/// A rule of the search: what a state is made of.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) now: i64,
    pub(super) truth: Objects,
    /// A kind whose watch is silent, and what it said last.
    pub(super) silent: Option<(Kind, Objects)>,
    pub(super) flight: Option<Flight>,
    /// An operator that lost the lease in the middle of a plan and does not know.
    pub(super) zombie: Option<Flight>,
    /// The guard has looked since the operator started.
    pub(super) looked: bool,
    /// The revision that the guard condemns.
    pub(super) condemned: Option<Revision>,
    pub(super) woken: bool,
    pub(super) next: i64,
    /// Metadata of the Canary that a user edits.
    pub(super) generation: i64,
    /// Whether the last decision asked for a metric, and whether it asked for anything.
    pub(super) asked: bool,
    pub(super) asked_anything: bool,
    /// Versions that routes have had: none is used twice, not even by a route that is made anew.
    pub(super) routes: u32,
    pub(super) past: Past,
}

/// The world cannot do what was asked of it: the write fails as the API server or the renderer would fail it.
pub(super) struct Refusal;

pub(super) fn template(more: serde_json::Value) -> Canary {
    let mut json = json!({
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": "app", "namespace": "n", "uid": "u", "generation": 1, "resourceVersion": "1"},
        "spec": {
            "provider": "traefik",
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"},
            "service": {"port": 80},
            "progressDeadlineSeconds": 100_000,
            "analysis": {
                "interval": "10s", "threshold": 2, "stepWeights": [10, 30, 50],
                "metrics": [{"name": "errors", "interval": "2s", "query": "up", "thresholdRange": {"max": 1}}],
                "webhooks": [{"name": "after", "type": "post-rollout", "url": "http://hook.test/"}],
            },
        },
    });
    if let (Some(analysis), Some(more)) =
        (json["spec"]["analysis"].as_object_mut(), more.as_object())
    {
        analysis.extend(more.clone());
    }
    let mut canary =
        serin_core::parse::canary(&json, &serin_core::parse::Limits::default()).unwrap();
    canary.spec.analysis.interval_secs = BEAT;
    canary
}

pub(super) fn settings() -> Settings {
    Settings { drain_secs: BEAT, retry_secs: BEAT, idle_secs: 2 * BEAT }
}

pub(super) fn at(secs: i64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    start.checked_add(SignedDuration::from_secs(secs)).unwrap()
}

impl World {
    /// A workload that nobody looks after yet.
    pub(super) fn plain() -> Self {
        let target = Side {
            revision: "s1:v1",
            generation: 1,
            version: 1,
            replicas: 2,
            rolled: true,
            serving: true,
        };
        Self::of(Objects {
            status: Rc::new(Status::default()),
            canary_version: 1,
            target,
            primary: None,
            services: false,
            apex: Selects::Target,
            route: None,
        })
    }

    /// These objects, and an operator that has just started.
    pub(super) fn of(truth: Objects) -> Self {
        Self {
            now: 0,
            truth,
            silent: None,
            flight: None,
            zombie: None,
            looked: true,
            condemned: None,
            woken: true,
            next: 0,
            generation: 1,
            asked: false,
            asked_anything: false,
            routes: 1,
            past: Past::default(),
        }
    }

    /// As Flagger left it, at rest, with hashes that no other can compute.
    pub(super) fn of_flagger() -> Self {
        let mut world = Self::plain();
        let side = world.truth.target.clone();
        world.truth.primary = Some(side);
        world.truth.target = Side { replicas: 0, serving: false, ..world.truth.target };
        (world.truth.services, world.truth.apex) = (true, Selects::Primary);
        world.truth.route = Some((0, 1));
        world.truth.status = Rc::new(Status {
            phase: Some(serin_core::model::Phase::Succeeded),
            last_applied_spec: "5f56684589".to_owned(),
            last_promoted_spec: "5f56684589".to_owned(),
            ..Status::default()
        });
        world
    }

    /// What the operator sees.
    pub(super) fn view(&self) -> Objects {
        let mut view = self.truth.clone();
        if let Some((kind, old)) = &self.silent {
            match kind {
                Kind::Canary => {
                    view.status = Rc::clone(&old.status);
                    view.canary_version = old.canary_version;
                }
                Kind::Target => {
                    let serving = view.target.serving;
                    view.target = Side { serving, ..old.target.clone() };
                }
                Kind::Primary => {
                    let serving = view.primary.as_ref().is_some_and(|primary| primary.serving);
                    view.primary = old.primary.clone().map(|primary| Side { serving, ..primary });
                }
                Kind::Endpoints => {
                    view.target.serving = old.target.serving;
                    if let (Some(primary), Some(old)) = (&mut view.primary, &old.primary) {
                        primary.serving = old.serving;
                    }
                }
                Kind::Route => view.route = old.route,
            }
        }
        view
    }

    fn guard(&self, status: &Status) -> Guard {
        match self.condemned {
            _ if !self.looked => Guard::Hold("not looked yet".to_owned()),
            Some(bad) if bad == status.last_applied_spec => Guard::RollBack("errors".to_owned()),
            Some(_) | None => Guard::Quiet,
        }
    }

    pub(super) fn observe(&self, view: &Objects) -> Observed {
        let workload = |side: &Side, primary: bool| Workload {
            revision: side.revision.to_owned(),
            matches_target: primary && side.revision == view.target.revision,
            configs: None,
            uid: if primary { "primary" } else { "target" }.to_owned(),
            generation: side.generation,
            confirmed: false,
            running: TargetKind::Deployment.running(side.replicas),
            replicas: side.replicas,
            readiness: if side.rolled {
                Readiness::Ready
            } else {
                Readiness::Progressing("pods start".to_owned())
            },
            available_replicas: if side.serving { side.replicas } else { 0 },
            pods: side.replicas,
            owned: primary,
        };
        let service = |selects, serving: bool| ServiceSeen {
            selects,
            ready_endpoints: if serving { 2 } else { 0 },
            in_order: true,
        };
        let made = |service| if view.services { Seen::Present(service) } else { Seen::Absent };
        let (of_target, of_primary) =
            (view.target.serving, view.primary.as_ref().is_some_and(|primary| primary.serving));
        let of_apex = if view.apex == Selects::Primary { of_primary } else { of_target };
        Observed {
            target: Seen::Present(workload(&view.target, false)),
            primary: view
                .primary
                .as_ref()
                .map_or(Seen::Absent, |side| Seen::Present(workload(side, true))),
            configs: Seen::Absent,
            kept: Seen::Absent,
            scaler: Seen::Absent,
            services: Services {
                apex: Seen::Present(service(view.apex, of_apex)),
                primary: made(service(Selects::Primary, of_primary)),
                canary: made(service(Selects::Target, of_target)),
            },
            route: view.route.map_or(Seen::Absent, |(share, _)| {
                Seen::Present(Exposure::share(Weight::saturating(u32::from(share))))
            }),
            unmeasurable: Vec::new(),
            duplicate_of: None,
            obstacles: Vec::new(),
            refused: None,
            passed_over: Vec::new(),
            requests: Vec::new(),
            drift: Drift::default(),
            answered: None,
            reach: std::collections::BTreeMap::new(),
            guard: self.guard(&view.status),
            watched: Watched::default(),
            answers: std::collections::BTreeMap::new(),
        }
    }

    /// One decision. Hooks approve, except that nobody asks for a rollback; metrics say `answer`.
    pub(super) fn decide(&mut self, canary: &Canary, answer: &Answer) -> Flight {
        let view = self.view();
        let mut seen = self.observe(&view);
        let canary = Canary {
            status: (*view.status).clone(),
            generation: self.generation,
            ..canary.clone()
        };
        (self.asked, self.asked_anything) = (false, false);
        for _ in 0..4 {
            match step(&canary, &seen, at(self.now), &settings()) {
                Step::Ask(checks) => {
                    self.asked_anything = true;
                    for check in checks {
                        let answer = match check {
                            Check::Metric(..) => {
                                self.asked = true;
                                answer.clone()
                            }
                            Check::Hook(index) => hook(&canary, index),
                        };
                        seen.answers.insert(check, answer);
                    }
                }
                Step::Act(plan) => {
                    let order = ApplyOrder::of(&plan);
                    return Flight {
                        order,
                        plan: Rc::new(*plan),
                        before: Rc::clone(&view.status),
                        base: view.canary_version,
                        view,
                        disturbed: false,
                        told: false,
                    };
                }
            }
        }
        panic!("asks in circles");
    }

    /// Carries the next write of a flight out.
    pub(super) fn write(&mut self, flight: &Flight) -> Result<(), Refusal> {
        let view = &flight.view;
        match flight.order.next() {
            Next::Record => {
                if flight.plan.status == *flight.before {
                    return Ok(());
                }
                if self.truth.canary_version != flight.base && !serin_mutants::on("UnfencedRecord")
                {
                    return Err(Refusal);
                }
                self.truth.canary_version += 1;
                self.truth.status = Rc::new(flight.plan.status.clone());
                Ok(())
            }
            Next::Tell | Next::Done | Next::GivenUp => Ok(()),
            Next::Lower => flight
                .plan
                .lower
                .map_or(Ok(()), |exposure| self.act(&Action::Route(exposure), view)),
            Next::Act(index) => {
                flight.plan.actions.get(index).map_or(Ok(()), |action| self.act(action, view))
            }
        }
    }

    fn act(&mut self, action: &Action, view: &Objects) -> Result<(), Refusal> {
        match action {
            Action::Services => self.truth.services = true,
            Action::ApexToPrimary => self.truth.apex = Selects::Primary,
            Action::ApexToTarget => self.truth.apex = Selects::Target,
            Action::CreatePrimary { revision, replicas } => {
                return self.copy(revision, Some(*replicas), view);
            }
            Action::PromotePrimary { revision } => return self.copy(revision, None, view),
            // Nobody asks for a soak here.
            Action::KeepPrimary { .. } | Action::UndoPrimary { .. } => {}
            Action::PrimaryScaler
            | Action::RepairCopies
            | Action::HoldPrimary(_)
            | Action::Finalizer(_) => {}
            Action::ScaleTarget(running) => return self.scale(pods(*running), view),
            Action::Route(split) => {
                let before = self.truth.route;
                self.route(split.share, view)?;
                let idle = self.truth.route == before && view.route.is_some();
                if idle && *split == Exposure::NONE && !serin_mutants::on("ForgetTouch") {
                    let moved = before.map(|(_, version)| version) != view.route.map(|(_, v)| v);
                    match fence::touch(&view.status) {
                        Touch::Fenced if moved => return Err(Refusal),
                        Touch::Fenced | Touch::Free => {
                            self.set_route(before.map(|(share, _)| share));
                        }
                        Touch::None => {}
                    }
                }
            }
            Action::EnsureRoute(split) => {
                let share = view.route.map(|(share, _)| Weight::saturating(u32::from(share)));
                return self.route(share.map_or(split.share, |now| now.min(split.share)), view);
            }
            Action::RestoreRoute => self.truth.route = None,
        }
        Ok(())
    }

    /// As the renderer does: refused when the target is another by now, versioned when there is something to replace.
    fn copy(
        &mut self,
        revision: &str,
        replicas: Option<u32>,
        view: &Objects,
    ) -> Result<(), Refusal> {
        if view.target.revision != revision {
            return Err(Refusal);
        }
        let revision = view.target.revision;
        match (&view.primary, &mut self.truth.primary) {
            (None, Some(_)) => Err(Refusal),
            (None, empty @ None) => {
                let replicas = replicas.unwrap_or(view.target.replicas).max(1);
                *empty = Some(Side {
                    revision,
                    generation: 1,
                    version: 1,
                    replicas,
                    rolled: false,
                    serving: false,
                });
                Ok(())
            }
            (Some(_), None) => Err(Refusal),
            (Some(seen), Some(_)) if seen.revision == revision => Ok(()),
            (Some(seen), Some(live)) => {
                if seen.version != live.version {
                    return Err(Refusal);
                }
                live.revision = revision;
                live.version += 1;
                live.generation += 1;
                live.rolled = false;
                Ok(())
            }
        }
    }

    fn scale(&mut self, replicas: u32, view: &Objects) -> Result<(), Refusal> {
        if view.target.replicas == replicas {
            return Ok(());
        }
        if fence::scale_is_fenced(TargetKind::Deployment.running(replicas))
            && view.target.version != self.truth.target.version
        {
            return Err(Refusal);
        }
        self.scale_target(replicas);
        Ok(())
    }

    pub(super) fn scale_target(&mut self, replicas: u32) {
        let target = &mut self.truth.target;
        if target.replicas == replicas {
            return;
        }
        target.serving &= replicas > 0;
        target.rolled = replicas == 0 || (target.rolled && target.replicas > 0);
        target.replicas = replicas;
        target.generation += 1;
        target.version += 1;
    }

    fn route(&mut self, wanted: Weight, view: &Objects) -> Result<(), Refusal> {
        let seen =
            view.route.map(|(share, version)| (Weight::saturating(u32::from(share)), version));
        if seen.is_some_and(|(share, _)| share == wanted) {
            return Ok(());
        }
        if let Some((_, version)) = seen
            && fence::route_is_fenced(Exposure::share(wanted))
            && self.truth.route.map(|(_, version)| version) != Some(version)
        {
            return Err(Refusal);
        }
        self.set_route(Some(wanted.percent()));
        Ok(())
    }

    pub(super) fn set_route(&mut self, share: Option<u8>) {
        self.routes += 1;
        let version = self.routes;
        self.truth.route = share.map(|share| (share, version));
    }
}

fn hook(canary: &Canary, index: usize) -> Answer {
    match canary.spec.analysis.webhooks.get(index).map(|hook| hook.kind) {
        Some(serin_core::model::HookKind::Rollback) => Answer::Refused("no".to_owned()),
        Some(_) | None => Answer::Approved,
    }
}
