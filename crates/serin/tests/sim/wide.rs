//! What lives have beyond the first kinds of things that were simulated: paces, soaks, policies for not knowing, modes of the
//! guard, versions that go bad after their promotion, targets at zero, and Canaries that were Flagger's.
//!
//! It is drawn by random of its own, so that a life keeps its first kinds of things whatever is added here.

use std::time::Duration;

use serde_json::{Value, json};
use serin_core::model::Policy;

use tokio::time::Instant;

use crate::external::Lack;
use crate::invariants::{Broken, Moment};
use crate::manifests::strategies;
use crate::other_owners::Beside;
use crate::plan::{Act, Plan, Quality, Shape, Trouble, What};
use crate::random::{self, Random};

/// The stream of these random.
const STREAM: u64 = 0x71de;

/// What follows from finding nothing, and from not being able to ask; none leaves the default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policies {
    pub(crate) no_data: Option<Policy>,
    pub(crate) cannot_measure: Option<Policy>,
}

/// More of a [`Shape`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    /// Of each metric.
    pub(crate) metrics: [Policies; 2],
    /// Of all objectives of the guard.
    pub(crate) guard: Policies,
    /// Errors that the objective allows, one in a hundred instead of one in ten thousand: after an incident that both
    /// versions suffered it is kept again within the hour.
    pub(crate) tolerant: bool,
    /// The guard says only what it would have done.
    pub(crate) observes: bool,
    pub(crate) latency: bool,
    pub(crate) latency_shape: bool,
    /// The share rises with the evidence.
    pub(crate) evidence: bool,
    pub(crate) min_bake_secs: u64,
    pub(crate) soak_secs: u64,
    /// The timeout of hooks, where it is not five seconds.
    pub(crate) hook_secs: Option<u64>,
    /// Others in the same namespace.
    pub(crate) beside: Beside,
}

impl Policies {
    fn draw(random: &mut Random) -> Self {
        let one = |random: &mut Random| random.chance(40).then(|| *random.pick(&Policy::ALL));
        Self { no_data: one(random), cannot_measure: one(random) }
    }

    fn write(self, into: &mut Value) {
        for (field, policy) in [("noData", self.no_data), ("cannotMeasure", self.cannot_measure)] {
            if let Some(policy) = policy {
                into[field] = json!(policy.name());
            }
        }
    }

    fn is_lenient(self) -> bool {
        [self.no_data, self.cannot_measure].contains(&Some(Policy::Pass))
    }
}

impl Extra {
    /// Writes the policies into the metrics of an analysis.
    pub(crate) fn put_policies(&self, metrics: &mut Value) {
        let all = metrics.as_array_mut().into_iter().flatten();
        for (metric, policies) in all.zip(self.metrics) {
            policies.write(metric);
        }
    }

    /// The guard of an analysis.
    pub(crate) fn guard_spec(&self) -> Value {
        let slo = if self.tolerant { 1.0 } else { 0.01 };
        let mut errors = json!({"slo": slo});
        self.guard.write(&mut errors);
        let mut guard = json!({"errorRate": errors});
        if self.latency {
            let mut latency = json!({"threshold": 500, "slo": 1});
            self.guard.write(&mut latency);
            guard["latency"] = json!([latency]);
        }
        if self.latency_shape {
            let mut shape = json!({});
            self.guard.write(&mut shape);
            guard["latencyShape"] = shape;
        }
        if self.observes {
            guard["mode"] = json!("observe");
        }
        if self.evidence {
            guard["pace"] = json!("evidence");
            // Who was Flagger's only observes unless told otherwise, and then nobody would raise the share.
            guard["mode"] = json!("enforce");
        }
        if self.min_bake_secs > 0 {
            guard["minBake"] = json!(format!("{}s", self.min_bake_secs));
        }
        if self.soak_secs > 0 {
            guard["soak"] = json!({"duration": format!("{}s", self.soak_secs)});
        }
        guard
    }

    /// Whether the spec says that an answer like this is as good as a pass.
    pub(crate) fn excuses(&self, query: &str, lack: Option<Lack>) -> bool {
        // The second metric, where there are two, is the one about durations.
        let policies = self.metrics[usize::from(query.contains("histogram_quantile"))];
        let policy = match lack {
            Some(Lack::NoData) => policies.no_data,
            Some(Lack::CannotMeasure) => policies.cannot_measure,
            None => None,
        };
        policy == Some(Policy::Pass)
    }

    /// Not knowing may end in a promotion, whatever is promoted.
    pub(crate) fn is_lenient(&self) -> bool {
        self.metrics.iter().any(|policies| policies.is_lenient())
    }
}

/// Adds to a life what is not among its first kinds of things.
pub(crate) fn widen(plan: &mut Plan) {
    let mut random = random::of(plan.seed, STREAM);
    let jumps = |plan: &Plan| {
        plan.moves.iter().any(|made| matches!(made.what, What::Trouble(Trouble::ClockJump { .. })))
    };
    let steady = !jumps(plan);
    for shape in &mut plan.canaries {
        shape.guard |= shape.provider.capabilities.counts && random.chance(25);
        shape.extra = extra(&mut random, shape, steady);
    }
    for made in &mut plan.moves {
        match &mut made.what {
            What::User(_, Act::Release(quality)) if random.chance(10) => *quality = Quality::Sours,
            What::User(_, Act::Scale(replicas)) if random.chance(30) => *replicas = 0,
            What::User(_, act @ Act::Revert) if random.chance(15) => *act = Act::WasFlagger,
            What::User(..) | What::Foe(..) | What::Trouble(_) | What::Await(..) => {}
        }
    }
}

fn extra(random: &mut Random, shape: &Shape, steady: bool) -> Extra {
    let metrics = [Policies::draw(random), Policies::draw(random)];
    let guard = Policies::draw(random);
    let observes = random.chance(20);
    let all = strategies();
    let iterates = all[shape.strategy % all.len()].get("iterations").is_some();
    let weighted = !iterates && !shape.tests;
    let (latency, latency_shape) = (random.chance(40), random.chance(30));
    let evidence = random.chance(40) && weighted && !observes;
    // Time with traffic is told by the operator's own clock.
    let baked = random.chance(30) && steady;
    let min_bake_secs = if baked { *random.pick(&[30, 90]) } else { 0 };
    let soak_secs = if random.chance(50) { *random.pick(&[60, 180, 300]) } else { 0 };
    let extra = Extra { metrics, tolerant: true, ..Extra::default() };
    if !shape.guard {
        return extra;
    }
    Extra { guard, observes, latency, latency_shape, evidence, min_bake_secs, soak_secs, ..extra }
}

/// What is known of a canary's time with traffic, and of its primary's time after a promotion.
#[derive(Default)]
pub(crate) struct Later {
    /// When the canary got its first share of this release.
    traffic_since: Option<Instant>,
    /// By how much earlier the operator may think that it was.
    slack: Duration,
    /// What the primary ran before.
    before: String,
    /// A promotion is being taken back.
    pub(crate) undoing: bool,
}

impl Later {
    pub(crate) fn routed(&mut self, share: i64, moment: Moment) {
        if share > 0 && self.traffic_since.is_none() {
            self.traffic_since = Some(moment.now);
            // The operator counts whole seconds, from the decision on; a write may take until it is given up.
            self.slack = Duration::from_secs(if moment.clear { 2 } else { 32 });
        }
    }

    /// Judges a write of the status. `runs` are the images of the primary and of the target.
    pub(crate) fn status(
        &mut self,
        status: &Value,
        entered: Option<&str>,
        runs: [&str; 2],
        bake_secs: u64,
        now: Instant,
    ) -> Vec<Broken> {
        let mut found = Vec::new();
        let bake = Duration::from_secs(bake_secs);
        let had = self.traffic_since.map_or(Duration::ZERO, |since| now.duration_since(since));
        if entered == Some("Promoting") && had + self.slack < bake {
            found.push(Broken {
                law: "no promotion before the shortest time with traffic",
                what: format!("promoted after {had:?} of {bake:?}"),
            });
        }
        if matches!(entered, Some("Initialized" | "Succeeded" | "Failed")) {
            self.traffic_since = None;
        }
        let undoing = status["soak"]["undo"].as_str().is_some_and(|why| !why.is_empty());
        let guilty = runs.iter().any(|image| match Quality::of(image) {
            Quality::Healthy | Quality::Mute => false,
            // Of what everything suffers from, nobody can be told apart.
            Quality::Sours | Quality::Shared => true,
            Quality::Bad | Quality::Late | Quality::Slow | Quality::Crash | Quality::Never => true,
        });
        if undoing && !self.undoing && !guilty {
            found.push(Broken {
                law: "a soak takes back only what fails",
                what: format!("{} is taken back", runs[0]),
            });
        }
        self.undoing = undoing;
        found
    }

    /// The primary gets another image.
    pub(crate) fn promoted(&mut self, image: &str, before: &str) -> Option<Broken> {
        let wrong = self.undoing && image != self.before;
        let broken = wrong.then(|| Broken {
            law: "an undo gives back what the primary ran",
            what: format!("{image} goes to the primary, which ran {}", self.before),
        });
        before.clone_into(&mut self.before);
        broken
    }
}

#[test]
fn whatever_exists_is_drawn() {
    use std::collections::BTreeSet;

    use serin_core::model::{Form, HookKind, Schedule, TargetKind};
    use serin_providers::router::ROUTERS;

    let plans: Vec<Plan> = (0..400).map(|seed| crate::chance::wide(seed, 12)).collect();
    let shapes: Vec<&Shape> = plans.iter().flat_map(|plan| &plan.canaries).collect();
    for router in ROUTERS {
        assert!(shapes.iter().any(|shape| shape.provider == router.provider()));
    }
    for kind in TargetKind::ALL {
        assert!(shapes.iter().any(|shape| shape.target == kind), "{}", kind.name());
    }
    for kind in HookKind::ALL {
        assert!(shapes.iter().any(|shape| shape.hooks.contains(&kind)), "{}", kind.name());
    }
    for quality in Quality::ALL {
        let drawn =
            |act: &What| matches!(act, What::User(_, Act::Release(drawn)) if *drawn == quality);
        assert!(
            plans.iter().flat_map(|plan| &plan.moves).any(|made| drawn(&made.what)),
            "{quality:?}"
        );
    }
    for policy in Policy::ALL {
        let of = |policies: &Policies| {
            policies.no_data == Some(policy) && policies.cannot_measure.is_some()
        };
        assert!(shapes.iter().any(|shape| shape.extra.metrics.iter().any(of)), "{}", policy.name());
        assert!(shapes.iter().any(|shape| of(&shape.extra.guard)), "{}", policy.name());
    }
    // A new strategy does not compile here, and wants a line in `strategies`.
    let name = |schedule: &Schedule| match schedule.form() {
        Form::Weighted if schedule.promotion_step.is_some() => "weights, back in steps",
        Form::Weighted if schedule.copies().is_some() => "copies, then weights",
        Form::Weighted => "weights",
        Form::BlueGreen => "blue/green",
        Form::Matched => "A/B",
    };
    let limits =
        serin_core::parse::Limits { min_interval_secs: 1, ..serin_core::parse::Limits::default() };
    let mut known = BTreeSet::new();
    for shape in &shapes {
        let object = crate::manifests::canary(0, shape);
        let canary = serin_core::parse::canary(&object, &limits)
            .unwrap_or_else(|error| panic!("{error:?}\n{object}"));
        known.insert(name(&canary.spec.analysis.schedule));
    }
    assert_eq!(known.len(), 5, "{known:?}");
    for drawn in [
        |shape: &Shape| shape.extra.evidence,
        |shape: &Shape| shape.extra.observes && shape.guard,
        |shape: &Shape| !shape.guard,
        |shape: &Shape| shape.extra.soak_secs > 0,
        |shape: &Shape| shape.extra.min_bake_secs > 0,
        |shape: &Shape| shape.extra.latency,
        |shape: &Shape| shape.extra.latency_shape,
    ] {
        assert!(shapes.iter().any(|shape| drawn(shape)));
    }
}
