//! What a guard knows at one moment, in numbers and in words, as commands and pages show it.

use serde::Serialize;
use serde_json::Value;
use serin_core::judge::design::{Design, Memory};
use serin_core::model::{EvidencePace, GuardSpec, Pace};
use serin_core::status::Counts;
use serin_judge::monitor::Monitor;
use serin_judge::{CheckKind, CheckReason, Decision, Explanation, Odds};

/// What a guard knows at one moment, in numbers and in words.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// When it was like this.
    pub time: jiff::Timestamp,
    /// `continue`, `hold` or `rollBack`.
    pub decision: String,
    /// How rare it is if the canary is healthy.
    pub odds: String,
    /// `ln E`.
    pub log_evidence: f64,
    /// It rolls back here: `ln(1/alpha)`.
    pub log_limit: f64,
    /// Why it rolled back, or would have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided: Option<String>,
    /// Good requests that are missing to call every rate tolerable.
    pub requests_to_go: u64,
    pub checks: Vec<Check>,
    #[serde(skip)]
    pub(crate) text: String,
}

/// One comparison of the guard and its part of the evidence.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    pub metric: String,
    /// What the canary is held against, in words.
    pub against: String,
    /// It is held against the primary, at the same time.
    #[serde(skip)]
    pub beside_primary: bool,
    pub limit: f64,
    pub canary: Counts,
    pub primary: Counts,
    pub odds: String,
    pub log_evidence: f64,
    /// Part of all evidence.
    pub share: f64,
    /// Good requests that are missing to call the rate tolerable, and in how many seconds they come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_secs: Option<f64>,
}

impl From<&CheckReason> for Check {
    fn from(reason: &CheckReason) -> Self {
        let CheckReason { metric, kind, share, log_e, canary, primary, limit, missing } = reason;
        Self {
            metric: metric.clone(),
            against: kind.to_string(),
            beside_primary: *kind == CheckKind::Primary,
            limit: *limit,
            canary: (*canary).into(),
            primary: (*primary).into(),
            odds: Odds(*log_e).to_string(),
            log_evidence: *log_e,
            share: *share,
            missing: missing.map(|missing| missing.requests),
            missing_secs: missing.and_then(|missing| missing.secs).filter(|secs| secs.is_finite()),
        }
    }
}

/// What sets the pace of a release, in words.
pub(crate) fn pace(spec: &GuardSpec) -> String {
    let mut text = match &spec.pace {
        Pace::Fixed => "the steps of the analysis set the pace".to_owned(),
        Pace::Evidence(EvidencePace { blast_radius, min_dwell_secs, max_duration_secs }) => {
            format!(
                "the evidence sets the pace: at most {blast_radius} requests at stake, {min_dwell_secs} s at each weight, calls for help after {max_duration_secs} s"
            )
        }
    };
    if spec.min_bake_secs > 0 {
        text.push_str(&format!("; {} s with traffic before the promotion", spec.min_bake_secs));
    }
    if let Some(secs) = spec.soak_secs {
        text.push_str(&format!("; the primary is watched for {secs} s after it"));
    }
    text
}

/// What a status has kept of the guard.
pub(crate) fn evidence(spec: &GuardSpec, kept: &Value) -> Result<Evidence, String> {
    let Memory { time, weight: _, steps, measured, decided, watch } =
        Memory::read(kept).map_err(|error| error.to_string())?;
    let Design { config, sources, bounds } = Design::new(spec, &measured, steps);
    let watch =
        Monitor::restore(config, bounds.len(), sources, &watch).map_err(|e| e.to_string())?;
    Ok(Evidence::of(time, watch.explain(), decided))
}

impl Evidence {
    pub(crate) fn of(
        time: jiff::Timestamp,
        explanation: Explanation,
        decided: Option<String>,
    ) -> Self {
        let text = explanation.to_string();
        let Explanation { log_e, odds, threshold, decision, checks, requests_to_go } = explanation;
        Self {
            time,
            decision: match decision {
                Decision::Continue => "continue",
                Decision::Hold(_) => "hold",
                Decision::RollBack => "rollBack",
            }
            .to_owned(),
            odds: odds.to_string(),
            log_evidence: log_e,
            log_limit: threshold,
            decided,
            requests_to_go,
            checks: checks.iter().map(Check::from).collect(),
            text,
        }
    }
}
