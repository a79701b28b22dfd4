//! What the documents mean: types that cannot be wrong, made by `parse` and used by everything behind it.

mod finding;
mod guard;
mod matching;
pub mod metric_kind;
pub mod provider;
pub mod routing;
mod schedule;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::{self, derived};

pub use finding::{Finding, FindingCode, FindingSeverity, sentence};
pub use guard::{
    Bad, BlindDeadline, EvidencePace, GuardMode, GuardSource, GuardSpec, Margin, Objective, Pace,
};
pub use matching::{RequestMatch, TextMatch};
pub use metric_kind::MetricKind;
pub use provider::{Capabilities, Provider};
pub use schedule::{Form, Gate, Schedule, Stage};

pub use crate::exposure::{Exposure, Weight};
pub use crate::status::{Condition, Phase, Sent, Soak, Status};

/// Namespace and name of a Canary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A Canary whose spec is valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Canary {
    pub key: Key,
    pub uid: String,
    pub generation: i64,
    pub resource_version: String,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// A finalizer of Flagger's or of our own is on the object.
    pub has_finalizer: bool,
    /// The one of the two that does not belong there.
    pub other_finalizer: bool,
    /// It is deleted with `--cascade=foreground`: Kubernetes takes away what it owns while its finalizer is still there.
    pub collected: bool,
    pub spec: Spec,
    pub status: Status,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    pub provider: &'static Provider,
    /// Prometheus of this canary alone, for builtin and inline queries.
    pub metrics_server: Option<String>,
    pub target: TargetRef,
    pub scaler: Option<ScalerRef>,
    pub service: Service,
    pub analysis: Analysis,
    pub progress_deadline_secs: i64,
    pub skip_analysis: bool,
    pub revert_on_deletion: bool,
    pub suspend: bool,
    /// `ingressRef.name` and `routeRef.name`, which query templates may ask for; routers that are complete need neither.
    pub ingress: Option<String>,
    pub route: Option<String>,
    /// `routeRef.name` where it is of the kind that the provider's own routes are: the user's, which is kept.
    pub users_route: Option<String>,
    /// What was understood but has no effect, or another effect than it seems: told to the user, never a reason to stop.
    pub findings: Vec<Finding>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRef {
    pub api_version: String,
    pub kind: TargetKind,
    pub name: String,
}

impl TargetRef {
    pub fn primary_name(&self) -> String {
        self.kind.primary_name(&self.name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TargetKind {
    DaemonSet,
    Deployment,
}

impl TargetKind {
    pub const ALL: [TargetKind; 2] = [TargetKind::DaemonSet, TargetKind::Deployment];

    pub fn name(self) -> &'static str {
        match self {
            TargetKind::DaemonSet => "DaemonSet",
            TargetKind::Deployment => "Deployment",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What the primary of a target of this name is called.
    pub fn primary_name(self, target: &str) -> String {
        match self {
            TargetKind::DaemonSet => derived(target, PRIMARY, names::OBJECT_MAX),
            TargetKind::Deployment => derived(target, PRIMARY, names::DEPLOYMENT_MAX),
        }
    }

    /// Whether the spec says how many pods there are, so that they can be made more or fewer; else the nodes decide.
    pub fn has_replicas(self) -> bool {
        match self {
            TargetKind::DaemonSet => false,
            TargetKind::Deployment => true,
        }
    }

    /// How a workload of this kind runs that is to have so many pods.
    pub fn running(self, replicas: u32) -> Running {
        match self {
            TargetKind::DaemonSet => Running::On(None),
            TargetKind::Deployment if replicas == 0 => Running::Off,
            TargetKind::Deployment => Running::On(Some(replicas)),
        }
    }
}

/// How a workload is told to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Running {
    /// No pods: scaled to zero.
    Off,
    /// So many pods, or none named where the nodes decide.
    On(Option<u32>),
}

impl Running {
    /// Whether it can be told to have more, to get to so many pods.
    pub fn is_below(self, pods: u32) -> bool {
        match self {
            Running::Off => pods > 0,
            Running::On(Some(replicas)) => replicas < pods,
            Running::On(None) => false,
        }
    }
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Running::Off => f.write_str("0"),
            Running::On(Some(replicas)) => write!(f, "{replicas}"),
            Running::On(None) => f.write_str("every node"),
        }
    }
}

/// Behind the names of what serves between releases.
pub const PRIMARY: &str = "-primary";
/// Behind the name of the Service of a target's pods.
pub const CANARY: &str = "-canary";

/// A HorizontalPodAutoscaler of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalerRef {
    pub name: String,
    pub min_replicas: Option<u32>,
    pub max_replicas: Option<u32>,
}

impl ScalerRef {
    pub fn primary_name(&self) -> String {
        derived(&self.name, PRIMARY, names::OBJECT_MAX)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Apex name: `spec.service.name`, or else the target's name.
    pub name: String,
    pub port: u16,
    /// None: what the live Service calls this port, or else [`PORT_NAME`].
    pub port_name: Option<String>,
    /// A number or a port's name. None: where the live Service leads, or else `port`.
    pub target_port: Option<TargetPort>,
    /// None: what the live Service says.
    pub app_protocol: Option<String>,
    pub port_discovery: bool,
    pub headless: bool,
    pub traffic_distribution: Option<String>,
    pub apex: Meta,
    pub primary: Meta,
    pub canary: Meta,
    /// For routers that make the whole route.
    pub routing: routing::Routing,
    /// Metadata keys on our Services that others own.
    pub unmanaged_annotations: Vec<String>,
    pub unmanaged_labels: Vec<String>,
}

/// Flagger's name of the port of a Service that it makes.
pub const PORT_NAME: &str = "http";

impl Service {
    /// What routers call the port where they go by names.
    pub fn port_name(&self) -> &str {
        self.port_name.as_deref().unwrap_or(PORT_NAME)
    }

    pub fn primary_name(&self) -> String {
        derived(&self.name, PRIMARY, names::LABEL_MAX)
    }

    pub fn canary_name(&self) -> String {
        derived(&self.name, CANARY, names::LABEL_MAX)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    Number(u16),
    Name(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// Step clock, in seconds; at least 10 for Flagger's intervals.
    pub interval_secs: i64,
    /// Failed checks that make a rollback; at least 1.
    pub threshold: u32,
    pub schedule: Schedule,
    /// Which requests are the canary's where the schedule says so (A/B testing); any one of these is enough.
    pub matches: Vec<RequestMatch>,
    /// Percent of updated pods that must be available.
    pub primary_ready_threshold: u8,
    /// The primary's autoscaler may not shrink it while a release runs.
    pub hold_primary_replicas: bool,
    pub canary_ready_threshold: u8,
    pub metrics: Vec<Metric>,
    pub webhooks: Vec<Webhook>,
    pub alerts: Vec<AlertRef>,
    /// The fast clock beside the steps; none when it is off or has nothing to hold the canary to.
    pub guard: Option<GuardSpec>,
}

impl Analysis {
    /// The bounds of a release whose share follows the evidence.
    pub fn evidence_pace(&self) -> Option<&EvidencePace> {
        match &self.guard.as_ref()?.pace {
            Pace::Fixed => None,
            Pace::Evidence(pace) => Some(pace),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    pub name: String,
    /// As written, for the query (`1m`); Flagger's default is `1m`.
    pub interval: String,
    pub sources: Vec<MetricSource>,
    pub limit: Limit,
    /// What follows when the query works and finds nothing.
    pub no_data: Policy,
    /// What follows when it is not known, because it could not be asked.
    pub cannot_measure: Policy,
}

/// What follows from not knowing. Flagger knows only the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// Nothing advances and nothing is counted.
    Hold,
    /// As if the check had passed.
    Pass,
    /// A failed check.
    #[default]
    Fail,
}

impl Policy {
    pub const ALL: [Policy; 3] = [Policy::Hold, Policy::Pass, Policy::Fail];

    /// As the spec says it.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Hold => "hold",
            Policy::Pass => "pass",
            Policy::Fail => "fail",
        }
    }
}

/// Where a metric's value comes from. Flagger asks a metric that has both a builtin name and a template twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricSource {
    Builtin(Builtin),
    Query(String),
    Template { namespace: String, name: String, variables: BTreeMap<String, String> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Builtin {
    /// Percent.
    RequestSuccessRate,
    /// Milliseconds.
    RequestDuration,
}

/// Inclusive bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    Range {
        min: Option<f64>,
        max: Option<f64>,
    },
    /// The deprecated `threshold` of the success rate: fail below.
    AtLeast(f64),
    /// The deprecated `threshold` of everything else: fail above.
    AtMost(f64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub name: String,
    pub kind: HookKind,
    pub url: String,
    pub timeout_secs: u32,
    /// Extra attempts.
    pub retries: u32,
    pub disable_tls: bool,
    pub mute_alert: bool,
    pub metadata: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookKind {
    ConfirmRollout,
    PreRollout,
    Rollout,
    ConfirmTrafficIncrease,
    ConfirmPromotion,
    PostRollout,
    Rollback,
    Event,
}

impl HookKind {
    pub const ALL: [HookKind; 8] = [
        HookKind::ConfirmRollout,
        HookKind::PreRollout,
        HookKind::Rollout,
        HookKind::ConfirmTrafficIncrease,
        HookKind::ConfirmPromotion,
        HookKind::PostRollout,
        HookKind::Rollback,
        HookKind::Event,
    ];

    /// Whether a person may decide in its place.
    pub fn confirms(self) -> bool {
        match self {
            HookKind::ConfirmRollout
            | HookKind::ConfirmTrafficIncrease
            | HookKind::ConfirmPromotion => true,
            HookKind::PreRollout
            | HookKind::Rollout
            | HookKind::PostRollout
            | HookKind::Rollback
            | HookKind::Event => false,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            HookKind::ConfirmRollout => "confirm-rollout",
            HookKind::PreRollout => "pre-rollout",
            HookKind::Rollout => "rollout",
            HookKind::ConfirmTrafficIncrease => "confirm-traffic-increase",
            HookKind::ConfirmPromotion => "confirm-promotion",
            HookKind::PostRollout => "post-rollout",
            HookKind::Rollback => "rollback",
            HookKind::Event => "event",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRef {
    pub name: String,
    pub severity: Severity,
    pub provider_namespace: String,
    pub provider_name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Info,
    Warn,
    Error,
}

/// A MetricTemplate that is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricTemplate {
    pub key: Key,
    pub generation: i64,
    pub provider: MetricBackend,
    /// The query before its variables are filled in.
    pub query: String,
}

/// Where a MetricTemplate's query goes. The Secret lies in the template's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricBackend {
    pub kind: &'static MetricKind,
    /// None: where the kind is at home.
    pub address: Option<String>,
    pub region: Option<String>,
    pub headers: BTreeMap<String, Vec<String>>,
    pub secret: Option<String>,
    pub insecure_skip_verify: bool,
}

/// An AlertProvider that is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertProvider {
    pub key: Key,
    pub generation: i64,
    pub kind: ChatKind,
    pub channel: String,
    pub username: String,
    /// Of the webhook; a Secret's `address` takes its place.
    pub address: Option<String>,
    /// URL of an HTTP proxy to go through.
    pub proxy: Option<String>,
    /// Name of a Secret in the AlertProvider's namespace.
    pub secret: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChatKind {
    Slack,
    MsTeams,
    Discord,
    Rocket,
    GoogleChat,
}

impl ChatKind {
    pub const ALL: [ChatKind; 5] = [
        ChatKind::Slack,
        ChatKind::MsTeams,
        ChatKind::Discord,
        ChatKind::Rocket,
        ChatKind::GoogleChat,
    ];

    /// As `spec.type` says it.
    pub fn name(self) -> &'static str {
        match self {
            ChatKind::Slack => "slack",
            ChatKind::MsTeams => "msteams",
            ChatKind::Discord => "discord",
            ChatKind::Rocket => "rocket",
            ChatKind::GoogleChat => "gchat",
        }
    }
}
