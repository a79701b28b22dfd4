//! The plan as a value, as machines get it. Every field that has a unit says it in its name.

use serde::Serialize;
use serde_json::Value;
use serin_core::model::Finding;
use serin_providers::ObjectRef;

/// Everything that was found out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Plan {
    /// What everything was compared with: `cluster` or `files`.
    pub(super) compared_with: &'static str,
    pub(super) requests_per_second: f64,
    pub(super) files: Files,
    pub(super) canaries: Vec<CanaryPlan>,
}

/// What applying the files would do, before Serin does anything.
#[derive(Debug, Serialize)]
pub(super) struct Files {
    pub(super) objects: Vec<Write>,
    /// What is wrong with objects that canaries use.
    pub(super) errors: Vec<Flaw>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CanaryPlan {
    pub(super) canary: String,
    /// What it does now, in the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) now: Option<String>,
    /// What would become of it; unless it is taken up, or a strict client alone is in the way, there is no plan.
    pub(super) outcome: Outcome,
    /// What there is to say of it before anything happens, as its conditions and `serin explain` say it.
    pub(super) findings: Vec<Finding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) writes: Option<Writes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) schedule: Option<Schedule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rollback: Option<Rollback>,
}

/// What becomes of a Canary that is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Outcome {
    TakenUp,
    /// It has unknown fields: kubectl refuses it, and for clients that do not validate strictly they are dropped.
    RefusedWhenStrict,
    /// It asks for what is not supported, and waits.
    Unsupported,
    Refused,
}

/// What is wrong with an object that canaries use.
#[derive(Debug, Serialize)]
pub(super) struct Flaw {
    pub(super) object: String,
    #[serde(flatten)]
    pub(super) finding: Finding,
}

#[derive(Debug, Serialize)]
pub(super) struct Writes {
    pub(super) objects: Vec<Write>,
    pub(super) notes: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Write {
    /// `create`, `change`, or `cannot read`.
    pub(super) verb: &'static str,
    pub(super) kind: String,
    /// Empty for what lies in none.
    pub(super) namespace: String,
    pub(super) name: String,
    /// What changes: `path: before -> after`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) fields: Vec<String>,
}

impl Write {
    pub(super) fn create(object: &ObjectRef) -> Self {
        let ObjectRef { kind, namespace, name } = object;
        Self {
            verb: "create",
            kind: kind.kind.to_owned(),
            namespace: namespace.clone(),
            name: name.clone(),
            fields: Vec::new(),
        }
    }

    /// A document whose fate is still to be found out.
    pub(super) fn unknown(document: &Value) -> Self {
        let text = |pointer: &str| {
            document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        Self {
            verb: "create",
            kind: text("/kind"),
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
            fields: Vec::new(),
        }
    }

    pub(super) fn object(&self) -> String {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }
}

/// Times are seconds after the first traffic, and the earliest.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Schedule {
    /// What the spec asks for: `fixed`, `evidence`, `blueGreen` or `skipped`.
    pub(super) pace: &'static str,
    /// The same in words.
    #[serde(skip)]
    pub(super) words: String,
    pub(super) interval_secs: i64,
    pub(super) steps: Vec<Step>,
    pub(super) promotion: Earliest,
    /// None without a guard: nothing reacts within seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) blast_radius: Option<BlastRadius>,
    pub(super) notes: Vec<String>,
}

/// Under either pace; none when it does not come, or there is no such pace for this spec.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Earliest {
    pub(super) fixed_secs: Option<f64>,
    pub(super) evidence_secs: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    pub(super) weight_percent: u8,
    pub(super) canary_requests_per_second: f64,
    /// Requests that fail in one reaction time if all of the canary's do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) at_stake_requests: Option<f64>,
    #[serde(flatten)]
    pub(super) earliest: Earliest,
    /// With pace evidence: what the share of bad requests must surely stay under before this weight, in points above the
    /// objective. None for the first weight, and where nothing more is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bad_points_above_limit_max: Option<f64>,
}

/// What bounds the weights of pace evidence.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlastRadius {
    pub(super) requests: f64,
    /// From the first bad response to the last after a decision.
    pub(super) reaction_secs: f64,
    /// The spec says so; else it is what pace evidence would take.
    pub(super) in_force: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rollback {
    /// The objective whose failures were imagined; none without a guard.
    pub(super) guard_watches: Option<String>,
    /// Imagined releases behind each of the guard's figures.
    pub(super) runs: u64,
    pub(super) worst_case: Worst,
    pub(super) rows: Vec<Row>,
    pub(super) notes: Vec<String>,
}

/// Over all rows, by whichever of checks and guard is in force and sooner.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Worst {
    /// None: some release is not rolled back at all.
    pub(super) rollback_secs: Option<f64>,
    /// None: nobody can say.
    pub(super) requests_at_risk: Option<f64>,
    /// Places of the rows that nothing in force rolls back.
    pub(super) unseen_rows: Vec<usize>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    /// Percent of the canary's requests that fail.
    pub(super) failing_percent: f64,
    pub(super) begins: &'static str,
    /// Percent of the traffic that the canary has then.
    pub(super) share_percent: f64,
    /// None: never.
    pub(super) flagger: Option<Cell>,
    pub(super) checks: Option<Cell>,
    pub(super) guard: Option<Cell>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cell {
    /// From the first failing request to the last.
    pub(super) secs: f64,
    /// How many of them.
    pub(super) requests: f64,
    /// Imagined releases that were not rolled back.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) missed: u64,
    /// How many were imagined; one is a calculation.
    #[serde(skip_serializing_if = "is_one")]
    pub(super) imagined: u64,
}

impl Cell {
    /// More than one in twenty gets away.
    pub(super) fn misses(&self) -> bool {
        self.missed * 20 > self.imagined
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_one(count: &u64) -> bool {
    *count == 1
}
