//! What a tick decided: actions that set values, the whole next status, notices for people, the reason, and when to look again.

use jiff::Timestamp;

use crate::check::Check;
use crate::control::Handled;
use crate::model::{Exposure, Running, Severity, Status};
use crate::reason::Reason;

/// What `step` wants: to know more, or to act.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Ask(Vec<Check>),
    Act(Box<Plan>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The route is lowered to this before the status is written, fenced by nothing.
    pub lower: Option<Exposure>,
    /// The whole next status, in one versioned write.
    pub status: Status,
    /// Carried out after the status write, in order; the first error ends the tick.
    pub actions: Vec<Action>,
    /// Hooks to call once all is done, whose answers change nothing (`post-rollout`): index in the spec.
    pub calls: Vec<usize>,
    pub notices: Vec<Notice>,
    /// What came of requests of people, to be said on the objects that asked once the status is written.
    pub handled: Vec<Handled>,
    /// Why this, and why not more.
    pub explanation: Explanation,
    /// When to look again if nothing wakes us before.
    pub next: Timestamp,
}

/// Sets a value: twice is once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `<apex>-primary` and `<apex>-canary` exist and are in order.
    Services,
    /// The apex Service selects the primary's pods.
    ApexToPrimary,
    /// The apex Service selects the target's pods again, as before adoption.
    ApexToTarget,
    /// The primary workload exists, made from the target's template of this revision, with its configs and this many replicas.
    /// Where the kind of the workload has none, the nodes decide how many there are.
    CreatePrimary { revision: String, replicas: u32 },
    /// The primary runs exactly this revision of the target, with its configs. Refused if the target has moved on.
    PromotePrimary { revision: String },
    /// The primary's copies of its configs have the contents that were promoted. Refused if their sources have moved on.
    RepairCopies,
    /// What the primary runs, by this name, is kept beside it with its configs, so that it can be taken back. Nothing when
    /// the primary runs something else by now.
    KeepPrimary { token: String },
    /// The primary runs again what was kept by this name.
    UndoPrimary { token: String },
    /// The primary's autoscaler exists and equals the target's.
    PrimaryScaler,
    /// The primary's autoscaler keeps at least so many pods; none: as many as it would by itself.
    HoldPrimary(Option<u32>),
    /// The target runs so.
    ScaleTarget(Running),
    /// The route gives the canary this much of the traffic. What raises it is fenced by the route's own version.
    Route(Exposure),
    /// The router's object exists with this exposure, if it is missing; drift in what is ours is repaired, nothing is raised.
    EnsureRoute(Exposure),
    /// The router's object no longer needs us: all traffic to the apex Service's pods, what we added removed.
    RestoreRoute,
    /// Our finalizer is on the object, or not.
    Finalizer(bool),
}

/// For people: an Event, and maybe an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub warning: bool,
    /// Reason of the Event.
    pub reason: Reason,
    pub message: String,
    pub alert: Option<Alert>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub severity: Severity,
    pub message: String,
    /// Attach target, threshold, deadline and traffic routing.
    pub with_fields: bool,
}

/// Why it advanced, waits or refused. One per tick; rendered once, shown alike by log, Event, status, CLI and console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub reason: Reason,
    /// One sentence with the numbers.
    pub message: String,
}
