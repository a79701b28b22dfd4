//! What `/metrics` shows: Flagger's names, unchanged, and our own beside them.

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serin_core::model::{Canary, Form, Key, Phase};
use serin_core::reason::Reason;
use serin_core::status::{CheckRecord, Counts};

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct InfoLabels {
    version: String,
    mesh_provider: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct NamespaceLabels {
    namespace: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct CanaryLabels {
    name: String,
    namespace: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct WeightLabels {
    workload: String,
    namespace: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct AnalysisLabels {
    name: String,
    namespace: String,
    metric: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct VerdictLabels {
    name: String,
    namespace: String,
    check: String,
    verdict: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct SideLabels {
    name: String,
    namespace: String,
    check: String,
    side: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct OutcomeLabels {
    name: String,
    namespace: String,
    deployment_strategy: String,
    analysis_status: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct GatewayLabels {
    gateway: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

type Floats = Gauge<f64, AtomicU64>;

/// Every series, and which of them belong to which canary so that they leave with it.
pub struct Metrics {
    registry: Registry,
    flagger: FlaggerMetrics,
    rollout: Family<CanaryLabels, Histogram>,
    decisions: Family<ReasonLabels, Counter>,
    guard: GuardMetrics,
    ledger: LedgerMetrics,
    ticks: Histogram,
    leader: Gauge,
    owned: Mutex<BTreeMap<Key, Owned>>,
}

/// What the guard clock sees, and what it does not.
struct GuardMetrics {
    evidence: Family<CanaryLabels, Floats>,
    failures: Family<GatewayLabels, Counter>,
}

impl GuardMetrics {
    fn new(registry: &mut Registry) -> Self {
        let (evidence, failures) = (Family::default(), Family::default());
        registry.register(
            "serin_guard_log_evidence",
            "Logarithm of the guard's evidence against the canary; it rolls back at ln(1/alpha)",
            Family::clone(&evidence),
        );
        registry.register(
            "serin_guard_scrape_failures",
            "Looks of the guard that a gateway did not answer",
            Family::clone(&failures),
        );
        Self { evidence, failures }
    }
}

/// The records of the ledger: verdicts counted, and the last counts on both sides.
#[derive(Default)]
struct LedgerMetrics {
    verdicts: Family<VerdictLabels, Counter>,
    requests: Family<SideLabels, Gauge>,
    bad: Family<SideLabels, Gauge>,
    low: Family<SideLabels, Floats>,
    high: Family<SideLabels, Floats>,
}

impl LedgerMetrics {
    fn new(r: &mut Registry) -> Self {
        let this = Self::default();
        let Self { verdicts, requests, bad, low, high } = &this;
        let help = "Verdicts of checks and of the guard, as in status.checks";
        r.register("serin_check_verdicts", help, verdicts.clone());
        let help = "Requests of this release that the guard has counted for a check";
        r.register("serin_check_requests", help, requests.clone());
        let help = "Bad requests among serin_check_requests";
        r.register("serin_check_bad_requests", help, bad.clone());
        let help = "Least share of bad requests that the counts allow, at all times at once";
        r.register("serin_check_bad_share_low", help, low.clone());
        let help = "Greatest share of bad requests that the counts allow, at all times at once";
        r.register("serin_check_bad_share_high", help, high.clone());
        this
    }

    fn show(&self, labels: &SideLabels, counts: Counts) {
        let Counts { requests, bad, low, high } = counts;
        let gauge = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.requests.get_or_create(labels).set(gauge(requests));
        self.bad.get_or_create(labels).set(gauge(bad));
        self.low.get_or_create(labels).set(low);
        self.high.get_or_create(labels).set(high);
    }

    fn forget(&self, labels: &SideLabels) {
        self.requests.remove(labels);
        self.bad.remove(labels);
        self.low.remove(labels);
        self.high.remove(labels);
    }
}

#[derive(Default)]
struct Owned {
    verdicts: BTreeSet<VerdictLabels>,
    sides: BTreeSet<SideLabels>,
    names: BTreeSet<String>,
    workloads: BTreeSet<String>,
    analyses: BTreeSet<AnalysisLabels>,
    outcomes: BTreeSet<OutcomeLabels>,
}

const TICK_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// From a minute to a day: how long releases take.
const ROLLOUT_BUCKETS: [f64; 10] =
    [15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14_400.0, 86_400.0];

fn tick_histogram() -> Histogram {
    Histogram::new(TICK_BUCKETS)
}

fn rollout_histogram() -> Histogram {
    Histogram::new(ROLLOUT_BUCKETS)
}

/// Flagger's series, under its names.
struct FlaggerMetrics {
    total: Family<NamespaceLabels, Gauge>,
    status: Family<CanaryLabels, Gauge>,
    weight: Family<WeightLabels, Gauge>,
    duration: Family<CanaryLabels, Histogram>,
    analysis: Family<AnalysisLabels, Floats>,
    successes: Family<OutcomeLabels, Counter>,
    failures: Family<OutcomeLabels, Counter>,
}

impl FlaggerMetrics {
    fn new(r: &mut Registry, mesh_provider: &str) -> Self {
        let info = Family::<InfoLabels, Gauge>::default();
        let labels = InfoLabels {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mesh_provider: mesh_provider.to_owned(),
        };
        info.get_or_create(&labels).set(1);
        let ticks = tick_histogram as fn() -> Histogram;
        let this = Self {
            total: Family::default(),
            status: Family::default(),
            weight: Family::default(),
            duration: Family::<CanaryLabels, Histogram>::new_with_constructor(ticks),
            analysis: Family::default(),
            successes: Family::default(),
            failures: Family::default(),
        };
        let Self { total, status, weight, duration, analysis, successes, failures } = &this;
        r.register("flagger_info", "Version and default mesh provider", info);
        r.register("flagger_canary_total", "Canaries by namespace", total.clone());
        r.register("flagger_canary_status", "0 running, 1 successful, 2 failed", status.clone());
        r.register("flagger_canary_weight", "Percent of the traffic, by workload", weight.clone());
        let help = "Seconds spent on one analysis tick";
        r.register("flagger_canary_duration_seconds", help, duration.clone());
        r.register(
            "flagger_canary_metric_analysis",
            "Last value of a metric check",
            analysis.clone(),
        );
        r.register("flagger_canary_successes", "Promotions", successes.clone());
        r.register("flagger_canary_failures", "Rollbacks", failures.clone());
        this
    }
}

impl Metrics {
    pub fn new(mesh_provider: &str) -> Self {
        let mut registry = Registry::default();
        let r = &mut registry;
        let flagger = FlaggerMetrics::new(r, mesh_provider);
        let guard = GuardMetrics::new(r);
        let ledger = LedgerMetrics::new(r);
        let rollouts = rollout_histogram as fn() -> Histogram;
        let rollout = Family::<CanaryLabels, Histogram>::new_with_constructor(rollouts);
        let decisions = Family::default();
        let ticks = tick_histogram();
        let leader = Gauge::default();
        let help = "Seconds from start to end of a release";
        r.register("serin_rollout_duration_seconds", help, rollout.clone());
        r.register("serin_decisions", "Changed decisions by reason", Family::clone(&decisions));
        r.register("serin_tick_duration_seconds", "Seconds spent on one tick", ticks.clone());
        r.register("serin_leader", "1 on the replica that acts", leader.clone());
        Self {
            registry,
            flagger,
            rollout,
            decisions,
            guard,
            ledger,
            ticks,
            leader,
            owned: Mutex::default(),
        }
    }

    /// The text format of Prometheus.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }

    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    pub fn observe_tick(&self, secs: f64) {
        self.ticks.observe(secs);
    }

    pub fn show_guard(&self, canary: &Canary, log_e: f64) {
        let labels = self.named(canary);
        let name = labels.name.clone();
        self.guard.evidence.get_or_create(&labels).set(log_e);
        self.own(&canary.key, |owned| {
            owned.names.insert(name);
        });
    }

    pub fn count_scrape_failure(&self, gateway: &str) {
        let labels = GatewayLabels { gateway: gateway.to_owned() };
        self.guard.failures.get_or_create(&labels).inc();
    }

    pub fn count_decision(&self, reason: Reason) {
        let labels = ReasonLabels { reason: reason.code().to_owned() };
        self.decisions.get_or_create(&labels).inc();
    }

    /// Gauges of one canary as its status has it.
    pub fn show(&self, canary: &Canary) {
        let namespace = canary.key.namespace.clone();
        let target = canary.spec.target.name.clone();
        let value = match canary.status.phase {
            Some(Phase::Progressing) => 0,
            Some(Phase::Failed) => 2,
            None
            | Some(
                Phase::Initializing
                | Phase::Initialized
                | Phase::Waiting
                | Phase::WaitingPromotion
                | Phase::Promoting
                | Phase::Finalising
                | Phase::Succeeded
                | Phase::Terminating
                | Phase::Terminated,
            ) => 1,
        };
        self.flagger
            .status
            .get_or_create(&CanaryLabels { name: target.clone(), namespace: namespace.clone() })
            .set(value);
        let weight = i64::from(canary.status.canary_weight);
        let primary = canary.spec.target.primary_name();
        self.flagger
            .weight
            .get_or_create(&WeightLabels { workload: target.clone(), namespace: namespace.clone() })
            .set(weight);
        self.flagger
            .weight
            .get_or_create(&WeightLabels { workload: primary.clone(), namespace })
            .set(100 - weight);
        self.own(&canary.key, |owned| {
            owned.workloads.extend([target.clone(), primary]);
            owned.names.insert(target);
        });
    }

    pub fn observe_analysis_tick(&self, canary: &Canary, secs: f64) {
        self.flagger.duration.get_or_create(&self.named(canary)).observe(secs);
    }

    pub fn observe_rollout(&self, canary: &Canary, secs: f64) {
        self.rollout.get_or_create(&self.named(canary)).observe(secs);
    }

    /// The last value of a metric check; durations in seconds, as Flagger has them.
    pub fn show_analysis(&self, canary: &Canary, metric: &str, value: f64) {
        let CanaryLabels { name, namespace } = self.named(canary);
        let labels = AnalysisLabels { name, namespace, metric: metric.to_owned() };
        self.flagger.analysis.get_or_create(&labels).set(value);
        self.own(&canary.key, |owned| {
            owned.analyses.insert(labels);
        });
    }

    /// A new record of the ledger.
    pub fn show_check(&self, canary: &Canary, record: &CheckRecord) {
        let CanaryLabels { name, namespace } = self.named(canary);
        let check = record.name.clone();
        let sides =
            [("canary", record.canary), ("primary", record.primary)].map(|(side, counts)| {
                let (name, namespace, check) = (name.clone(), namespace.clone(), check.clone());
                (SideLabels { name, namespace, check, side: side.to_owned() }, counts)
            });
        let verdict = VerdictLabels { name, namespace, check, verdict: record.verdict.clone() };
        self.ledger.verdicts.get_or_create(&verdict).inc();
        self.own(&canary.key, |owned| {
            owned.verdicts.insert(verdict);
        });
        for (labels, counts) in sides {
            let Some(counts) = counts else { continue };
            self.ledger.show(&labels, counts);
            self.own(&canary.key, |owned| {
                owned.sides.insert(labels);
            });
        }
    }

    pub fn count_outcome(&self, canary: &Canary, promoted: bool, skipped: bool) {
        let CanaryLabels { name, namespace } = self.named(canary);
        let strategy = match canary.spec.analysis.schedule.form() {
            Form::Weighted => "canary",
            Form::BlueGreen => "blue-green",
            Form::Matched => "ab-testing",
        };
        let status = if skipped { "skipped" } else { "completed" };
        let labels = OutcomeLabels {
            name,
            namespace,
            deployment_strategy: strategy.to_owned(),
            analysis_status: status.to_owned(),
        };
        let family = if promoted { &self.flagger.successes } else { &self.flagger.failures };
        family.get_or_create(&labels).inc();
        self.own(&canary.key, |owned| {
            owned.outcomes.insert(labels);
        });
    }

    /// How many canaries each namespace has; namespaces that have none left lose their series.
    pub fn show_totals(&self, keys: &BTreeSet<Key>) {
        let mut totals = BTreeMap::<&str, i64>::new();
        for key in keys {
            *totals.entry(&key.namespace).or_default() += 1;
        }
        self.flagger.total.clear();
        for (namespace, count) in totals {
            self.flagger
                .total
                .get_or_create(&NamespaceLabels { namespace: namespace.to_owned() })
                .set(count);
        }
    }

    /// The series of a canary that is gone go with it.
    pub fn forget(&self, key: &Key) {
        let mut all = self.owned.lock();
        let Some(owned) = all.remove(key) else { return };
        let Owned { verdicts, sides, names, workloads, analyses, outcomes } = owned;
        for labels in verdicts {
            self.ledger.verdicts.remove(&labels);
        }
        for labels in sides {
            self.ledger.forget(&labels);
        }
        for name in names {
            let labels = CanaryLabels { name, namespace: key.namespace.clone() };
            self.flagger.status.remove(&labels);
            self.flagger.duration.remove(&labels);
            self.guard.evidence.remove(&labels);
            self.rollout.remove(&labels);
        }
        for workload in workloads {
            self.flagger
                .weight
                .remove(&WeightLabels { workload, namespace: key.namespace.clone() });
        }
        for labels in analyses {
            self.flagger.analysis.remove(&labels);
        }
        for labels in outcomes {
            self.flagger.successes.remove(&labels);
            self.flagger.failures.remove(&labels);
        }
    }

    fn named(&self, canary: &Canary) -> CanaryLabels {
        CanaryLabels {
            name: canary.spec.target.name.clone(),
            namespace: canary.key.namespace.clone(),
        }
    }

    fn own(&self, key: &Key, note: impl FnOnce(&mut Owned)) {
        let mut all = self.owned.lock();
        note(all.entry(key.clone()).or_default());
    }
}
