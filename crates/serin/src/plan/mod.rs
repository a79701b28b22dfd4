//! `serin plan`: what a Canary would create and change, how its releases would go, and what they risk, without a write.

mod differ;
mod files;
pub(crate) mod look;
pub(crate) mod measure;
mod report;
mod rollback;
mod schedule;
mod show;
mod simulate;
#[cfg(test)]
mod tests;
mod writes;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use kube::Client;
use serde_json::{Value, json};
use serin_apiserver::schema::Structural;
use serin_core::model::{Canary, Finding, FindingCode, FindingSeverity, Phase};
use serin_core::observed::Seen;
use serin_core::parse::{self, Limits};
use serin_providers::{ObjectRef, references};

use look::Look;
use report::{CanaryPlan, Outcome, Plan};
use schedule::Paces;
use simulate::Traffic;

use crate::document;

/// What is planned, and under which traffic.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// A file of YAML documents with the Canary, and better also its Deployment, or a directory of such; `-` is stdin.
    /// May be repeated.
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Requests per second that the service gets, both versions together.
    #[arg(long, default_value_t = 100.0, value_name = "REQUESTS", value_parser = positive)]
    rps: f64,
    /// Percent of its requests that a bad release fails. May be repeated.
    #[arg(long, default_values_t = [100.0, 20.0, 5.0, 2.0], value_name = "PERCENT", value_parser = percent)]
    error_rate: Vec<f64>,
    /// Percent of requests that fail at a healthy version; by default a tenth of what the guard's objective allows.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    base_error_rate: Option<f64>,
    /// Namespace of objects that name none.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// For people or for machines.
    #[arg(short, long, default_value = "human")]
    output: Output,
    /// Compare with this cluster, by reading only. Without it nothing is asked but the files.
    #[arg(long, env = "SERIN_KUBECONFIG")]
    kubeconfig: Option<String>,
    /// Router of canaries that name none, as the controller is told; without it what the status of a live one says, or else
    /// traefik.
    #[arg(long)]
    mesh_provider: Option<String>,
    /// Shortest analysis interval that is accepted as written, in seconds, as the controller is told.
    #[arg(long, default_value_t = 10)]
    min_interval: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Human,
    Json,
}

impl PlanArgs {
    pub fn kubeconfig(&self) -> Option<&str> {
        self.kubeconfig.as_deref().filter(|path| !path.is_empty())
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e7 => Ok(rate),
        Ok(_) | Err(_) => Err("must be more than 0 and at most 10000000".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 100.0 => Ok(rate),
        Ok(_) | Err(_) => Err("must be more than 0 and at most 100 percent".to_owned()),
    }
}

/// Reads, thinks, and returns what to print. Fails the process when a Canary is invalid.
pub async fn run(client: Option<&Client>, args: &PlanArgs) -> anyhow::Result<(String, ExitCode)> {
    let documents = files::documents(&args.files, &args.namespace)?;
    let canaries: Vec<&Value> =
        documents.iter().filter(|document| document["kind"] == "Canary").collect();
    anyhow::ensure!(!canaries.is_empty(), "no Canary in {}", args.files.join(", "));
    let look = Look { client, documents: &documents };
    let mut plans = Vec::new();
    for canary in canaries {
        plans.push(one(canary, &look, args).await?);
    }
    let plan = Plan {
        compared_with: if client.is_some() { "cluster" } else { "files" },
        requests_per_second: args.rps,
        files: files::of(&look).await?,
        canaries: plans,
    };
    let sound = plan.files.errors.is_empty()
        && plan.canaries.iter().all(|canary| canary.outcome == Outcome::TakenUp);
    let code = if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let text = match args.output {
        Output::Human => plan.to_string(),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&plan)?),
    };
    Ok((text, code))
}

async fn one(object: &Value, look: &Look<'_>, args: &PlanArgs) -> anyhow::Result<CanaryPlan> {
    let name = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    let key = format!("{}/{}", name("/metadata/namespace"), name("/metadata/name"));
    // A live object has a history that the file has not: whether Flagger made it, and what runs.
    let live = look.live(object).await?;
    let mut merged = object.clone();
    let status = live.as_ref().and_then(|live| live.get("status"));
    if let (Some(root), Some(status)) = (merged.as_object_mut(), status) {
        root.insert("status".to_owned(), status.clone());
    }
    let told = document::limits(&merged, args.mesh_provider.as_deref());
    let limits = Limits { min_interval_secs: args.min_interval, ..told };
    let (canary, mut findings) = match parse::canary(&merged, &limits) {
        Ok(canary) => {
            let findings = canary.spec.findings.clone();
            (Some(canary), findings)
        }
        Err(failure) => (None, failure.findings),
    };
    for found in schema_flaws(object)? {
        // A rule of the schema stands at the object whose field is named better already.
        let parent = format!("{}.", found.field);
        let known = |known: &Finding| {
            let named = known.field == found.field || known.field.starts_with(&parent);
            named && known.severity.is_obstacle()
        };
        if !findings.iter().any(known) {
            findings.push(found);
        }
    }
    let outcome = outcome(&findings);
    let takes = matches!(outcome, Outcome::TakenUp | Outcome::RefusedWhenStrict);
    let Some(canary) = canary.filter(|_| takes) else {
        findings.sort_by_key(|finding| finding.severity);
        let (now, writes, schedule, rollback) = (None, None, None, None);
        return Ok(CanaryPlan { canary: key, now, outcome, findings, writes, schedule, rollback });
    };
    let traffic = Traffic {
        rps: args.rps,
        healthy: args.base_error_rate.map(|percent| percent / 100.0),
        failing: args.error_rate.iter().map(|percent| percent / 100.0).collect(),
    };
    findings.extend(measure::findings(&canary, look).await?);
    findings.extend(missing(&canary, look).await?);
    let paced = |evidence| parse::canary(&with_pace(&merged, evidence), &limits).ok();
    let (fixed, evidence) = (paced(false), paced(true));
    let (fixed, evidence) = match canary.spec.analysis.evidence_pace() {
        Some(_) => (fixed.as_ref(), Some(&canary)),
        None => (Some(&canary), evidence.as_ref()),
    };
    let paces = Paces { canary: &canary, fixed, evidence };
    Ok(CanaryPlan {
        canary: key,
        now: live.as_ref().map(|_| now(&canary)),
        outcome,
        findings,
        writes: Some(writes::of(&canary, live.is_some(), look).await?),
        schedule: Some(schedule::of(&paces, &traffic)),
        rollback: Some(rollback::of(&canary, &traffic)),
    })
}

/// The same Canary with the other pace, for comparison.
fn with_pace(object: &Value, evidence: bool) -> Value {
    let mut object = object.clone();
    let path = match object.pointer("/spec/analysis") {
        Some(_) => "/spec/analysis",
        // Flagger's older name.
        None => "/spec/canaryAnalysis",
    };
    let Some(analysis) = object.pointer_mut(path).and_then(Value::as_object_mut) else {
        return object;
    };
    let guard = analysis.entry("guard").or_insert_with(|| json!({}));
    let Some(guard) = guard.as_object_mut() else { return object };
    if evidence {
        guard.insert("pace".to_owned(), "evidence".into());
    } else {
        for field in ["pace", "blastRadius", "minDwell", "maxDuration"] {
            guard.remove(field);
        }
    }
    object
}

fn now(canary: &Canary) -> String {
    let phase = canary.status.phase.map_or("not taken up yet", Phase::name);
    format!("now {phase}, canary at {} %", canary.status.canary_weight)
}

fn outcome(findings: &[Finding]) -> Outcome {
    match findings.iter().map(|finding| finding.severity).min() {
        Some(FindingSeverity::Error) => Outcome::Refused,
        Some(FindingSeverity::Unsupported) => Outcome::Unsupported,
        Some(FindingSeverity::Warning) | None => {
            match findings.iter().any(|finding| finding.code == FindingCode::UnknownField) {
                true => Outcome::RefusedWhenStrict,
                false => Outcome::TakenUp,
            }
        }
    }
}

/// What the Canary uses besides its metrics and alerts and nobody has: a release would wait for it.
async fn missing(canary: &Canary, look: &Look<'_>) -> anyhow::Result<Vec<Finding>> {
    let mut used: Vec<(String, ObjectRef)> = Vec::new();
    if let Some(scaler) = references::scaler(canary) {
        used.push(("spec.autoscalerRef".to_owned(), scaler));
    }
    let mut findings = Vec::new();
    for (field, object) in used {
        let (code, message) = match look.find(&object).await? {
            Seen::Present(_) => continue,
            Seen::Absent => {
                (FindingCode::NoSuchObject, format!("{object} is not in {}", look.whom()))
            }
            Seen::Unreadable(why) => {
                (FindingCode::ObjectUnusable, format!("{object} cannot be read: {why}"))
            }
        };
        findings.push(Finding::warning(code, field, message));
    }
    Ok(findings)
}

/// What the API server would refuse, and what it would drop.
fn schema_flaws(object: &Value) -> anyhow::Result<Vec<Finding>> {
    let crds = serin_core::crd::crds();
    let schema = crds.iter().find(|crd| crd.pointer("/spec/names/kind") == Some(&"Canary".into()));
    let schema = schema
        .and_then(|crd| crd.pointer("/spec/versions/0/schema/openAPIV3Schema"))
        .context("there is no schema")?;
    let schema = Structural::parse(schema)
        .map_err(|errors| anyhow::anyhow!("the schema is broken: {}", errors.len()))?;
    let mut flaws = Vec::new();
    let mut known = object.clone();
    for field in schema.prune(&mut known) {
        let ours = ["spec.", "status."].iter().any(|part| field.starts_with(part));
        if ours {
            let finding =
                Finding::warning(FindingCode::UnknownField, field, "there is no such field");
            flaws.push(finding.way_out("correct its name, or remove it"));
        }
    }
    let broken = schema.validate(&known, None).into_iter();
    flaws.extend(broken.map(|error| Finding::error(error.field, error.message)));
    Ok(flaws)
}
