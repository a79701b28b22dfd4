//! What was seen of the world when a tick began: a failed read is a value, not an early return.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use crate::check::{Answer, Check};
use crate::control::Request;
use crate::model::{Exposure, Finding, Key, Policy, Running};
use crate::plan::Action;
use crate::reason::Reason;

/// The result of looking at one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Seen<T> {
    Present(T),
    Absent,
    /// Why it could not be read.
    Unreadable(String),
}

impl ObstacleKind {
    pub const ALL: [ObstacleKind; 6] = [
        ObstacleKind::NotOurs,
        ObstacleKind::NoSelectorLabel,
        ObstacleKind::Target,
        ObstacleKind::Port,
        ObstacleKind::ForeignEndpoints,
        ObstacleKind::Route,
    ];

    /// The reason that a wait for it has.
    pub fn reason(self) -> Reason {
        match self {
            ObstacleKind::NotOurs => Reason::NotOurs,
            ObstacleKind::NoSelectorLabel => Reason::NoSelectorLabel,
            ObstacleKind::Target => Reason::TargetUnusable,
            ObstacleKind::Port => Reason::PortNotServed,
            ObstacleKind::ForeignEndpoints => Reason::ForeignEndpoints,
            ObstacleKind::Route => Reason::RouteUnusable,
        }
    }
}

impl<T> Seen<T> {
    pub fn present(&self) -> Option<&T> {
        match self {
            Seen::Present(value) => Some(value),
            Seen::Absent | Seen::Unreadable(_) => None,
        }
    }
}

/// Everything `step` may look at besides the Canary and the time.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The user's workload; doubles as the canary.
    pub target: Seen<Workload>,
    pub primary: Seen<Workload>,
    /// Checksums of the ConfigMaps and Secrets that the target refers to, now (`configmap/<name>` to 16 hex digits).
    pub configs: Seen<BTreeMap<String, String>>,
    /// What the primary ran before, when the spec asks for a soak.
    pub kept: Seen<Kept>,
    /// The target's autoscaler, when the spec names one.
    pub scaler: Seen<Scaler>,
    pub services: Services,
    /// What the router's object says now; `Absent` before it is made.
    pub route: Seen<Exposure>,
    /// What is wrong with the queries of the checks and with what they refer to, as it is now.
    pub unmeasurable: Vec<Finding>,
    /// An older Canary that has the same target, or writes what this one would write: this one stays out of its way.
    pub duplicate_of: Option<Duplicate>,
    /// What is in the way, all of it.
    pub obstacles: Vec<Obstacle>,
    /// The last write for this Canary that the API server refused, until one tick has carried everything out.
    pub refused: Option<Refusal>,
    /// What was changed by hand of what was promoted.
    pub drift: Drift,
    /// What people ask, oldest first.
    pub requests: Vec<Request>,
    /// Objects of others that are left alone where ours would have stood: worth a word, and nothing waits for it.
    pub passed_over: Vec<String>,
    /// What the guard thinks of the evidence so far.
    pub guard: Guard,
    /// What else the guard has to say.
    pub watched: Watched,
    /// Answers to the checks that `step` asked for in this tick.
    pub answers: BTreeMap<Check, Answer>,
    /// How many seconds the answer of a metric looks back, where its query says so; its `interval` where it does not.
    pub reach: BTreeMap<Check, i64>,
    /// When the last of them came, where any was waited for: what follows from them begins no earlier.
    pub answered: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Hash of the pod template as stored (`s1:` and 16 hex digits); for the primary: of the target's template it was
    /// made from (recorded in an annotation), empty when unknown (made by Flagger).
    pub revision: String,
    /// Whether the pod template equals the other side's but for what copying changes (suffixes, `flagger-id`, selector
    /// label). On the primary only: compared with the target as it is now.
    pub matches_target: bool,
    /// On the primary only: checksums of the configs that it was made with, where they are some that the status speaks of.
    pub configs: Option<BTreeMap<String, String>>,
    /// Empty when unknown.
    pub uid: String,
    pub generation: i64,
    /// Asked of the API server itself for this look: however old it seems, this is what there is.
    pub confirmed: bool,
    pub running: Running,
    /// Pods that there are to be: `spec.replicas`, or the nodes that fit by the controller's last account.
    pub replicas: u32,
    pub readiness: Readiness,
    pub available_replicas: u32,
    /// Pods that there are, ready or not, by the controller's last account.
    pub pods: u32,
    /// Made by us (or by Flagger) for this Canary.
    pub owned: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// Not yet; why.
    Progressing(String),
    /// Will not get there by itself (deadline exceeded); why.
    Stuck(String),
}

/// What a primary ran before its last promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// See [`crate::step::token`].
    pub token: String,
    /// The primary runs exactly this.
    pub in_force: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaler {
    pub min_replicas: Option<u32>,
    /// The primary's copy exists.
    pub primary_exists: bool,
    /// The least size that a release holds the primary's copy to.
    pub held: Option<u32>,
    pub copy: ScalerCopy,
}

/// How the primary's autoscaler stands to what it was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScalerCopy {
    /// As it was made, or not there.
    AsMade,
    /// The target's autoscaler, or what the spec says of it, has changed since.
    Behind,
    /// Somebody has changed the copy itself, and this is the first field.
    Edited { object: String, field: String },
}

/// Where the primary is not what was promoted, though nothing says that it should be otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// The first field of the primary's pod template that differs.
    pub template: Option<String>,
    /// Copies of configs with other contents: `ConfigMap develop/flags-primary`.
    pub copies: Vec<String>,
}

/// An object that another Canary had first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    pub older: Key,
    /// `Deployment backend`.
    pub object: String,
}

/// A write that could not be carried out, and will not by trying again alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it was to carry out.
    pub action: Action,
    /// `Service develop/backend-primary`.
    pub object: String,
    /// What the API server said, and what to do.
    pub message: String,
}

/// Something in the way of what this Canary would write, found by looking at what is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Obstacle {
    pub kind: ObstacleKind,
    /// Which object, what is wrong, and what to do.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObstacleKind {
    /// Another owner's object stands under a name that is needed.
    NotOurs,
    /// The target's selector has no label that could tell its pods from the primary's.
    NoSelectorLabel,
    /// The target is such that no other revision of it could run beside the primary.
    Target,
    /// The Service would lead to a port that the pods do not have, or lose a name that others use.
    Port,
    /// A Service picks pods of other workloads.
    ForeignEndpoints,
    /// The user's own route is not there, or no share of it can be set.
    Route,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Services {
    pub apex: Seen<ServiceSeen>,
    pub primary: Seen<ServiceSeen>,
    pub canary: Seen<ServiceSeen>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSeen {
    /// Whose pods the selector picks.
    pub selects: Selects,
    /// Endpoints that are ready now.
    pub ready_endpoints: u32,
    /// Equals what we would write.
    pub in_order: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selects {
    Primary,
    Target,
    Other,
}

/// What the guard says. It can hold and roll back, never advance.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Guard {
    /// No guard for this canary, or nothing seen yet.
    #[default]
    Quiet,
    /// Do not advance, and why.
    Hold(String),
    /// The evidence crossed `1/alpha`: take the canary's traffic away, and why.
    RollBack(String),
}

/// What the guard knows of the traffic, for a pace that follows the evidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// Requests per second of both versions together.
    pub rate: f64,
    /// Time between two looks, as it is; a server that another client scrapes has its own.
    pub look_secs: f64,
    /// The highest rate of bad requests above an objective that cannot be excluded; 1 before the first request.
    pub excess: f64,
    /// Canary requests at this weight.
    pub step_requests: u64,
    /// Good requests still needed at this weight to call every rate tolerable.
    pub requests_to_go: u64,
}

/// What the guard tells besides its verdict: what it wants the status to say, and what the pace may go by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watched {
    /// None before it has seen enough of the traffic.
    pub known: Option<Known>,
    /// To be kept in `status.guard`, see [`crate::judge::design::Memory`].
    pub memory: Option<serde_json::Value>,
    /// Whether it can measure; none when it has not looked.
    pub metrics: Option<Fitness>,
    /// It only observes and would have rolled back, and why.
    pub would: Option<String>,
    /// What it has counted and concluded, for the ledger.
    pub checks: Vec<crate::status::CheckRecord>,
    /// How many of the primary's requests share one fate, by objective.
    pub dispersion: BTreeMap<String, f64>,
    /// Objectives that nothing is known of, where that is not just passed over.
    pub unknown: Vec<Unknown>,
    pub visibility: Visibility,
}

/// Whether it is known what the canary does to its users, where the guard holds when it is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// Nobody has looked, or it is too early to tell.
    #[default]
    Unknown,
    /// It is, or nothing waits for it.
    Clear,
    /// It is not.
    Blind,
    /// What is counted cannot have happened.
    Contradicted,
}

/// An objective of the guard that nothing is known of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    pub name: String,
    /// Why nothing is counted; none where requests are counted and there were none.
    pub unmeasured: Option<String>,
    /// What follows.
    pub policy: Policy,
}

/// Whether the guard can measure what it is asked to.
#[derive(Clone, Debug, PartialEq)]
pub enum Fitness {
    Fit,
    /// What is counted is right, and there is something that nobody counts, in words.
    Partial {
        reason: &'static str,
        message: String,
    },
    /// The first thing to put right, in words.
    Unfit {
        reason: &'static str,
        message: String,
    },
    /// Nothing can be said before something happens.
    Unknown {
        reason: &'static str,
        message: String,
    },
}
