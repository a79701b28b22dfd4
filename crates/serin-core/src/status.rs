//! The status document of a Canary: the truth about weight and progress, as Kubernetes stores it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::control::{Control, REMEMBERED_MAX};
use crate::exposure::{Exposure, Weight};
use crate::reason::Reason;
use crate::words::Percent;

/// Where a release stands. The names are Flagger's; every consumer of its objects knows them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Phase {
    /// First seen; the primary is being made.
    Initializing,
    /// At rest: the primary serves everything, the target is scaled to zero.
    Initialized,
    /// A `confirm-rollout` hook has not approved a new revision yet.
    Waiting,
    /// A new revision is under analysis.
    Progressing,
    /// A `confirm-promotion` hook has not approved yet; the analysis goes on.
    WaitingPromotion,
    /// The analysed revision is being copied to the primary.
    Promoting,
    /// The primary runs the new revision; traffic is back on it and the canary drains.
    Finalising,
    /// At rest after a promotion.
    Succeeded,
    /// At rest after a rollback.
    Failed,
    /// The Canary is being deleted and the target is being restored.
    Terminating,
    /// The target is restored.
    Terminated,
}

impl Phase {
    pub const ALL: [Phase; 11] = [
        Phase::Initializing,
        Phase::Initialized,
        Phase::Waiting,
        Phase::Progressing,
        Phase::WaitingPromotion,
        Phase::Promoting,
        Phase::Finalising,
        Phase::Succeeded,
        Phase::Failed,
        Phase::Terminating,
        Phase::Terminated,
    ];

    /// Whether a release is under way that a rollback can take without traffic.
    pub fn is_releasing(self) -> bool {
        match self {
            Phase::Progressing | Phase::WaitingPromotion | Phase::Promoting | Phase::Finalising => {
                true
            }
            Phase::Initializing
            | Phase::Initialized
            | Phase::Waiting
            | Phase::Succeeded
            | Phase::Failed
            | Phase::Terminating
            | Phase::Terminated => false,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Phase::Initializing => "Initializing",
            Phase::Initialized => "Initialized",
            Phase::Waiting => "Waiting",
            Phase::Progressing => "Progressing",
            Phase::WaitingPromotion => "WaitingPromotion",
            Phase::Promoting => "Promoting",
            Phase::Finalising => "Finalising",
            Phase::Succeeded => "Succeeded",
            Phase::Failed => "Failed",
            Phase::Terminating => "Terminating",
            Phase::Terminated => "Terminated",
        }
    }
}

/// A Kubernetes condition. `Promoted` is Flagger's; `Ready`, `Reconciling`, `Stalled`, `SpecValid` and `MetricsReady` are for kstatus and people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// What the condition speaks of, such as `Promoted`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// CamelCase, for machines.
    pub reason: String,
    /// A sentence, for people.
    pub message: String,
    /// Generation of the Canary that the condition speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When status, reason or message last changed.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole_seconds")]
    pub last_update_time: Option<Timestamp>,
    /// When status last changed.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole_seconds")]
    pub last_transition_time: Option<Timestamp>,
}

/// As Kubernetes writes times, and as scripts made for Flagger's objects read them.
fn whole_seconds<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let whole = time.map(|time| Timestamp::from_second(time.as_second()).unwrap_or(time));
    whole.serialize(serializer)
}

/// Why the controller last advanced, held or rolled back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReasonRecord {
    /// CamelCase code; the same word as the Event's reason and the metric's label.
    pub code: String,
    /// One sentence with the numbers the decision stood on.
    pub message: String,
    /// When it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
}

impl ReasonRecord {
    /// None where another version of Serin has written a code that this one does not know.
    pub fn reason(&self) -> Option<Reason> {
        Reason::of_code(&self.code)
    }

    pub fn is(&self, reason: Reason) -> bool {
        self.code == reason.code()
    }
}

/// The source of a check that the guard has made.
pub(crate) const GUARD_SOURCE: &str = "guard";

/// One check, of the analysis or of the guard: what was asked, what came back, what it was held against, what follows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckRecord {
    /// Name of the metric or webhook, or of the guard's objective.
    pub name: String,
    /// `pass`, `fail`, `hold`, `noData` or `cannotMeasure`.
    pub verdict: String,
    /// Where the value came from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The time that the value stands for, up to when it was asked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub window: String,
    /// What came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What the value was held against.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub limit: String,
    /// The canary's requests that the guard has counted in this release, where it counts what the check asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Counts>,
    /// The primary's requests in the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<Counts>,
    /// What these counts say against the canary: how rare they are if it is healthy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub odds: String,
    /// What is missing to call the rate tolerable.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub missing: String,
    /// What there is to say beyond the numbers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Canary weight in percent when it was asked.
    pub weight: u8,
    /// When it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
}

/// A promoted primary that is being watched, or taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Soak {
    /// When the watch began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// Revision that the primary ran before, and is taken back to; empty when it is not kept.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub previous: String,
    /// Config checksums of that revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_configs: Option<BTreeMap<String, String>>,
    /// Why the primary is being taken back; empty while it is watched.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub undo: String,
}

/// What was sent to the primary in a release that has not succeeded: it may arrive later than anybody thinks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Sent {
    /// Revision that was sent.
    pub revision: String,
    /// Config checksums that it was sent with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configs: Option<BTreeMap<String, String>>,
    /// `metadata.generation` of the primary that it was to replace; 0 when there was none.
    pub generation: i64,
}

/// One side's requests, and the shares of bad ones that they allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Bad ones among them.
    pub bad: u64,
    /// Least share of bad requests that these counts allow, at all times at once.
    pub low: f64,
    /// Greatest share of bad requests that these counts allow, at all times at once.
    pub high: f64,
}

impl fmt::Display for CheckRecord {
    /// One line, and one more with the counts where the sentence does not have them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verdict, self.name)?;
        if let Some(value) = self.value {
            write!(f, " {value:.3}")?;
        }
        if !self.limit.is_empty() {
            write!(f, " (limit {})", self.limit)?;
        }
        write!(f, " at {} %", self.weight)?;
        if !self.window.is_empty() {
            write!(f, ", last {}", self.window)?;
        }
        if !self.source.is_empty() {
            write!(f, ", {}", self.source)?;
        }
        if let Some(time) = self.time {
            write!(f, " ({time:.0})")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        match self.evidence() {
            Some(evidence) if !self.says_its_counts() => write!(f, "\n    {evidence}"),
            Some(_) | None => Ok(()),
        }
    }
}

impl CheckRecord {
    /// The sentences of the guard are made of the counts.
    fn says_its_counts(&self) -> bool {
        self.source == GUARD_SOURCE && !self.message.is_empty()
    }

    /// The counts and what they say, in one line; none when nobody counted.
    pub fn evidence(&self) -> Option<String> {
        let (canary, primary) = (self.canary?, self.primary?);
        let mut text = format!("canary {canary}, primary {primary}");
        for more in [&self.odds, &self.missing].into_iter().filter(|more| !more.is_empty()) {
            text = format!("{text}; {more}");
        }
        Some(text)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, bad, low, high } = *self;
        if requests == 0 {
            return write!(f, "no requests");
        }
        let rate = Percent(bad as f64 / requests as f64);
        write!(f, "{bad} of {requests} ({rate}, between {} and {})", Percent(low), Percent(high))
    }
}

/// How many check records the status keeps; enough for the last few ticks, at most some ten kilobytes.
pub const LEDGER_MAX: usize = 16;

/// `Canary.status`. The first block is Flagger's, field for field; the second is ours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Where the release stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Failed checks of this analysis; cumulative.
    pub failed_checks: u32,
    /// Percent of the traffic that the canary gets.
    pub canary_weight: u8,
    /// Iterations done, for A/B testing and Blue/Green.
    pub iterations: i32,
    /// Revision last taken up (analysed, promoted or rejected).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_applied_spec: String,
    /// Revision that the primary runs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_promoted_spec: String,
    /// `configmap/<name>` or `secret/<name>` to a checksum, as of the revision last taken up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracked_configs: Option<BTreeMap<String, String>>,
    /// When the status was last written.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole_seconds")]
    pub last_transition_time: Option<Timestamp>,
    /// Cookie of users who see the canary of this release.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session_affinity_cookie: String,
    /// Cookie of users who see the primary.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub primary_session_affinity_cookie: String,
    /// Cookie of the release before, which clients are told to drop.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub previous_session_affinity_cookie: String,
    /// What is true of this Canary now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,

    /// Generation of the Canary that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `metadata.generation` of the target when its revision was last compared. While it stands, a different hash is a
    /// change of the API server's or of ours, never a release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_generation: Option<i64>,
    /// `metadata.uid` of the target that had this generation. A lower generation of the same object is a read of the past,
    /// of which nothing follows; another object begins anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_uid: Option<String>,
    /// Config checksums that the primary runs with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promoted_configs: Option<BTreeMap<String, String>>,
    /// What was sent to the primary since its last promotion, at most 4: a copy whose answer was lost may have arrived.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<Sent>,
    /// When the step clock last ticked; the next checks are due one interval later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_step_time: Option<Timestamp>,
    /// When the phase was entered; deadlines and drains count from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase_time: Option<Timestamp>,
    /// The canary's pods were started before a config of theirs changed: they are replaced before they are analysed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub outdated_pods: bool,
    /// Pods that the primary had when this release began: as many as all of the traffic needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_replicas: Option<u32>,
    /// Router that the Canary is released by: spec.provider, or else what the operator was told.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub provider: String,
    /// When the promoted revision was seen on the primary: its pods have their deadline from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied_time: Option<Timestamp>,
    /// When the canary's traffic was last lowered to nothing; its pods drain from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_time: Option<Timestamp>,
    /// When this analysis began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis_start_time: Option<Timestamp>,
    /// Names of the pre-rollout hooks that have passed in this analysis; they are not asked again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed_tests: Vec<String>,
    /// When the canary got its first share of the traffic; none while it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_start_time: Option<Timestamp>,
    /// Since when all that is counted as the canary's is of this revision; none while it has neither traffic nor iterations.
    /// A check of its metrics counts once its whole window lies behind this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_since: Option<Timestamp>,
    /// The requests that match `analysis.match` go to the canary (A/B testing), whatever its weight.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub matched: bool,
    /// Percent of the requests that are copied to the canary; no user sees its answers.
    #[serde(skip_serializing_if = "is_zero")]
    pub mirror_weight: u8,
    /// When the canary's share was last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_time: Option<Timestamp>,
    /// Since when the guard holds because it cannot measure; it stays when the canary's share was taken back for that, until
    /// the guard can see again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blind_since: Option<Timestamp>,
    /// The release that actions of people may be meant for now: the revision that is analysed or waits for it, else the one
    /// last taken up, with its configs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub release: String,
    /// What people have decided about this release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<Control>,
    /// Identities of the last ReleaseActions that were carried out, at most 16: none acts twice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub handled_actions: Vec<String>,
    /// The watch over the primary after its promotion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<Soak>,
    /// Flagger made this release's predecessor: its canary has never been judged by the guard, which only observes until
    /// the spec says otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// The last decision and its numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reason: Option<ReasonRecord>,
    /// The last checks, oldest first, at most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckRecord>,
    /// How many bad requests come together, by objective of the guard, as seen on the primary during the last promoted
    /// release; where it is not named they come one by one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dispersion: BTreeMap<String, f64>,
    /// Evidence of the guard, opaque to people; written at weight changes and at a bounded rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<serde_json::Value>,
}

fn is_zero(percent: &u8) -> bool {
    *percent == 0
}

impl Status {
    /// What the canary is exposed to by decision; the route follows.
    pub fn exposure(&self) -> Exposure {
        Exposure {
            share: Weight::saturating(u32::from(self.canary_weight)),
            matched: self.matched,
            mirrored: Weight::saturating(u32::from(self.mirror_weight)),
        }
    }

    pub fn expose(&mut self, to: Exposure) {
        self.canary_weight = to.share.percent();
        self.matched = to.matched;
        self.mirror_weight = to.mirrored.percent();
    }

    /// This generation of the target has been compared.
    pub fn saw(&mut self, uid: &str, generation: i64) {
        self.target_generation = Some(generation);
        self.target_uid = Some(uid.to_owned()).filter(|uid| !uid.is_empty());
    }

    /// Whether this is the very generation of the target that was compared last.
    pub fn saw_last(&self, uid: &str, generation: i64) -> bool {
        let other = self.target_uid.as_deref().is_some_and(|seen| !uid.is_empty() && seen != uid);
        !other && self.target_generation == Some(generation)
    }

    /// The generation that was compared last, where this one of the same object is older.
    pub fn saw_later(&self, uid: &str, generation: i64) -> Option<i64> {
        let seen = self.target_generation?;
        let same = self.target_uid.as_deref() == Some(uid);
        (same && generation < seen).then_some(seen)
    }
}

impl Status {
    /// What people decided about this release; nothing of one before.
    pub(crate) fn control_of(&self, release: &str) -> Control {
        let known = self.control.clone().filter(|control| control.release == release);
        known.unwrap_or_else(|| Control { release: release.to_owned(), ..Control::default() })
    }

    pub(crate) fn set_control(&mut self, control: Control) {
        self.control = (!control.is_empty()).then_some(control);
    }

    /// Requests come again until the object that asks says what came of them.
    pub(crate) fn remember_request(&mut self, uid: &str) {
        self.handled_actions.push(uid.to_owned());
        let beyond = self.handled_actions.len().saturating_sub(REMEMBERED_MAX);
        self.handled_actions.drain(..beyond);
    }
}
