//! One picture of a release for whoever looks at it, terminal, browser or file: typed, versioned, from what the cluster says.
//!
//! Nothing is known here that the status, the guard's memory, the Events and the pods do not say; where a picture needs time,
//! a [`Track`] remembers what it saw.

mod advice;
mod build;
pub mod fleet;
mod headline;
mod objects;
mod series;
#[cfg(test)]
pub(crate) mod tests;
mod track;

use serde::Serialize;
use serin_core::model::{Condition, Phase};
use serin_core::status::{CheckRecord, ReasonRecord};

use crate::guard::evidence::Evidence;

pub use advice::{Mark, mark};
pub use build::{Surroundings, view};
pub use headline::state;
pub use objects::{Images, Pod, Side, events, images, pods};
pub use series::{LOOKS_MAX, Look, Measured, Series};
pub use track::{DECISIONS_MAX, Track};

/// Of the documents below; another meaning of a field is another number.
pub const VERSION: u32 = 1;

/// Everything that a page, or a screen, shows of one release. Times are seconds after `t0`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseView {
    pub version: u32,
    /// Namespace and name.
    pub canary: String,
    pub namespace: String,
    pub name: String,
    /// Milliseconds of the epoch.
    pub t0: i64,
    pub now: f64,
    /// When the release was over; none while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<f64>,
    pub running: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    pub state: State,
    /// Percent of the traffic that the canary gets.
    pub weight: u8,
    /// Requests that match go to the canary, whatever its weight.
    pub matched: bool,
    /// Percent of the requests that are copied to it.
    pub mirrored: u8,
    pub failed_checks: u32,
    pub headline: Headline,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonRecord>,
    pub release: Release,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Every change of the weight that was seen.
    pub staircase: Vec<Step>,
    pub looks: Looks,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardView>,
    /// Oldest first.
    pub decisions: Vec<Decision>,
    pub conditions: Vec<Condition>,
    /// What there is to say of the spec.
    pub findings: Vec<String>,
    pub checks: Vec<CheckRecord>,
    pub gates: Vec<Gate>,
    pub pods: Vec<Pod>,
    /// What could not be read, and why.
    pub unseen: Vec<String>,
}

/// Where a canary stands, for people who look at many: what needs somebody comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Rolled back, and nothing released since.
    Failed,
    /// Something must be put right by somebody.
    Trouble,
    /// Nothing advances until more is known.
    Held,
    /// A person, or a hook, has to approve.
    Gate,
    Running,
    /// Pods are not ready yet.
    Starting,
    /// `spec.suspend` is set.
    Suspended,
    /// Nothing to release.
    Rest,
}

impl State {
    pub const ALL: [State; 8] = [
        State::Failed,
        State::Trouble,
        State::Held,
        State::Gate,
        State::Running,
        State::Starting,
        State::Suspended,
        State::Rest,
    ];

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            State::Failed => "rolled back",
            State::Trouble => "needs attention",
            State::Held => "held",
            State::Gate => "waits for approval",
            State::Running => "releasing",
            State::Starting => "starting",
            State::Suspended => "suspended",
            State::Rest => "at rest",
        }
    }
}

/// What happened, what to do, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Headline {
    pub state: State,
    /// Shape of the state: a decision's mark.
    pub mark: Mark,
    pub what: String,
    /// The numbers behind it, where there are any.
    pub more: String,
    pub todo: String,
    pub command: String,
    pub docs: Docs,
}

/// A page of the documentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Docs {
    pub title: String,
    pub url: String,
}

/// What is released.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Revision that was taken up last.
    pub revision: String,
    /// Revision that the primary runs.
    pub promoted: String,
    /// Images of the primary before this release, and of the target.
    pub old: String,
    pub new: String,
    /// What the primary runs now.
    pub primary: String,
    /// Who changed the target last.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub by: String,
    pub provider: String,
    /// `weighted`, `blueGreen` or `matched`.
    pub strategy: &'static str,
}

/// How the release is to go.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Shares that it visits; empty with A/B testing.
    pub steps: Vec<u8>,
    /// Seconds between two rounds of checks.
    pub interval: i64,
    /// Failed checks that roll back.
    pub threshold: u32,
    /// Rounds of checks, where these are counted and not shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<u32>,
    /// Those that are done.
    pub done: u32,
    pub ahead: Vec<Ahead>,
}

/// A step that is still to come.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ahead {
    pub weight: u8,
    /// It is the promotion.
    pub promotes: bool,
    /// When, as far as the step clock says so; none where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<f64>,
    /// What it waits for.
    pub why: String,
}

/// The weight from here on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Step {
    pub t: f64,
    pub weight: u8,
}

/// What the guard saw over time, as columns; counts are cumulative.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Looks {
    pub t: Vec<f64>,
    pub weight: Vec<u8>,
    pub log_evidence: Vec<f64>,
    pub objectives: Vec<Columns>,
}

/// One objective at these times.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Columns {
    /// The share that the comparison with the primary allows.
    pub limit: Vec<f64>,
    pub canary: SideColumns,
    pub primary: SideColumns,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SideColumns {
    pub requests: Vec<u64>,
    pub bad: Vec<u64>,
    /// Bounds of the share of bad requests, at all times at once.
    pub low: Vec<f64>,
    pub high: Vec<f64>,
}

/// The guard of the release.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GuardView {
    pub mode: &'static str,
    pub interval_millis: u64,
    pub alpha: f64,
    /// `ln(1/alpha)`: it rolls back here.
    pub log_limit: f64,
    /// From here on it holds.
    pub log_hold: f64,
    pub pace: String,
    /// As [`Looks::objectives`] has them.
    pub objectives: Vec<ObjectiveView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Why what was kept of it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

/// A share of bad requests that the canary must not pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectiveView {
    pub name: String,
    pub title: String,
    /// What is counted.
    pub unit: String,
    pub slo: f64,
    pub absolute: f64,
    pub relative: f64,
}

/// A moment that matters, with its sentence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    pub t: f64,
    pub code: String,
    pub mark: Mark,
    pub text: String,
}

/// A hook that approves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gate {
    pub name: String,
    /// As the spec says it, such as `confirm-promotion`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub state: GateState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum GateState {
    /// The release waits for it.
    Open,
    Passed,
    /// It is asked later.
    Later,
}

impl GateState {
    pub fn words(self) -> &'static str {
        match self {
            GateState::Open => "waits",
            GateState::Passed => "passed",
            GateState::Later => "later",
        }
    }
}
