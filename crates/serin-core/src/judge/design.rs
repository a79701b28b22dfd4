//! From what a spec asks to the guard's questions, and what of a rollout's guard is kept in its status.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::sequential::{Attribution, GuardConfig, Question, Tolerance};
use super::watch::Source;
use crate::model::{Analysis, Bad, GuardSpec, Margin, Objective, Strategy};

/// The guard of one rollout, before its first request.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    pub config: GuardConfig,
    pub sources: Vec<Source>,
    /// The bucket bounds to be read, in milliseconds, as [`Source::Slower`] numbers them.
    pub bounds: Vec<f64>,
}

impl Design {
    /// The guard of those of the objectives that can be measured, by their places in the spec.
    pub fn new(spec: &GuardSpec, measured: &[usize], weight_steps: u32) -> Self {
        let attribution = if spec.attributed { Attribution::Primary } else { Attribution::None };
        let (mut questions, mut sources, mut bounds) = (Vec::new(), Vec::new(), Vec::new());
        for place in measured {
            let Some(Objective { name, bad, slo, margin, asked: _ }) = spec.objectives.get(*place)
            else {
                continue;
            };
            let Margin { absolute, relative } = *margin;
            let tolerance = Tolerance { rho: relative, delta: absolute };
            questions.push((name.clone(), Question::Share { slo: *slo, attribution, tolerance }));
            sources.push(match bad {
                Bad::Failed => Source::Errors,
                Bad::SlowerThan(millis) => {
                    bounds.push(*millis);
                    Source::Slower(bounds.len() - 1)
                }
            });
        }
        let config =
            GuardConfig { alpha: spec.alpha, ..GuardConfig::new(questions, weight_steps.max(1)) };
        Self { config, sources, bounds }
    }
}

/// How often the canary's share is expected to change before the promotion.
pub fn weight_steps(analysis: &Analysis) -> u32 {
    match &analysis.strategy {
        Strategy::Weighted(ladder) => u32::try_from(ladder.rungs.len()).unwrap_or(1).max(1),
        Strategy::BlueGreen { .. } => 1,
    }
}

/// What is kept in `status.guard`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// When it was like this.
    pub time: Timestamp,
    /// The canary's share back then: another one now is a change that the guard was not told of.
    pub weight: u8,
    /// Weight changes that were expected when the rollout began.
    pub steps: u32,
    /// Places of the objectives that can be measured.
    pub objectives: Vec<usize>,
    /// Why it rolled back, or would have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<String>,
    /// See [`super::watch::Watch::kept`].
    pub watch: Value,
}

impl Memory {
    pub fn read(kept: &Value) -> Result<Self, String> {
        Self::deserialize(kept).map_err(|error| error.to_string())
    }

    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("a memory is plain data")
    }

    /// When a kept memory was taken, and whether it had decided.
    pub fn glance(kept: &Value) -> (Option<Timestamp>, bool) {
        let time = kept.get("time").and_then(Value::as_str).and_then(|time| time.parse().ok());
        (time, kept.get("decided").is_some())
    }
}
