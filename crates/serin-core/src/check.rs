//! The questions of an analysis to hooks and metric servers, and what came back.

use serde::{Deserialize, Serialize};

/// A question to the world outside the cluster, by its index in the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Check {
    /// `analysis.webhooks[i]`.
    Hook(usize),
    /// `analysis.metrics[i].sources[j]`.
    Metric(usize, usize),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// A hook said yes.
    Approved,
    /// A hook said no, in its own words (bounded).
    Refused(String),
    /// A number came back.
    Value(f64),
    /// The query worked and there is nothing to judge (empty, NaN).
    NoData(String),
    /// Could not ask, or the answer was invalid.
    Unreachable(String),
}
