//! What the guard is asked: objectives, who counts, what sets the pace, and what follows from not knowing.

use super::Policy;

/// What the guard watches, and what it does about it.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardSpec {
    pub mode: GuardMode,
    /// The spec has a guard of its own; else it follows from the builtin checks and must not stand in the way where it
    /// cannot measure.
    pub asked: bool,
    /// Where the counters come from; none leaves it to what the operator was told.
    pub source: Option<GuardSource>,
    /// Time between two looks.
    pub interval_millis: u64,
    /// Bound on the chance that a healthy release is rolled back, over the whole release.
    pub alpha: f64,
    /// The canary is not blamed for what the primary suffers too.
    pub attributed: bool,
    /// Never empty.
    pub objectives: Vec<Objective>,
    pub pace: Pace,
    /// Latencies of the first seconds with traffic, and with more pods, are not judged.
    pub warm_up_secs: i64,
    /// Time with traffic before the promotion, at least.
    pub min_bake_secs: i64,
    /// How long the primary is watched after a promotion; none does not.
    pub soak_secs: Option<i64>,
    pub blind: BlindDeadline,
}

impl GuardSpec {
    /// The same objectives for a primary without a canary beside it: there is nothing to blame or to compare with.
    pub fn of_soak(&self) -> Self {
        let alone = self.objectives.iter().filter(|objective| objective.bad != Bad::Shape);
        Self { attributed: false, objectives: alone.cloned().collect(), ..self.clone() }
    }
}

/// How long a share is kept while it is not known what becomes of its requests and the guard holds for that reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlindDeadline {
    /// As long as it is not known.
    Never,
    /// So many seconds, whatever the share.
    Always(i64),
    /// So many seconds above the first step, and at the first one where something else speaks against the canary.
    AboveFirst(i64),
}

/// What lets the canary's share rise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// The step clock; the guard only brakes.
    Fixed,
    Evidence(EvidencePace),
}

/// Bounds of a pace that follows the evidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvidencePace {
    /// Requests beyond an objective that may be hurt in one reaction time.
    pub blast_radius: f64,
    pub min_dwell_secs: i64,
    pub max_duration_secs: i64,
}

/// Who counts the requests that the guard judges by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GuardSource {
    /// The gateway itself.
    Gateway,
    /// A server that reads the gateway now and then.
    Prometheus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardMode {
    /// Holds and rolls back.
    Enforce,
    /// Says what it would have done.
    Observe,
}

impl GuardMode {
    pub fn name(self) -> &'static str {
        match self {
            GuardMode::Enforce => "enforce",
            GuardMode::Observe => "observe",
        }
    }
}

/// A share of bad requests that the canary must not pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    pub name: String,
    pub bad: Bad,
    /// Greatest share that may be bad, between 0 and 1; for the shape of latencies, what is rare among them.
    pub slo: f64,
    pub margin: Margin,
    /// The guard names it; else it follows from a builtin check.
    pub asked: bool,
    /// What follows when nothing of the canary was counted.
    pub no_data: Policy,
    /// What follows when nothing is counted, where the spec says so.
    pub cannot_measure: Option<Policy>,
}

/// What makes a request a bad one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bad {
    Failed,
    /// Milliseconds.
    SlowerThan(f64),
    /// Slower than a bound of the histogram, at each of them: the whole distribution beside the primary's.
    Shape,
}

/// How much worse than the primary the canary may be, as shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margin {
    pub absolute: f64,
    pub relative: f64,
}
