//! `serin explain`: where a release stands and why, in the words of its status.

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use kube::Client;
use kube::api::{Api, DynamicObject};
use serde::Serialize;
use serde_json::Value;
use serin_core::model::{Bad, Canary, Condition, Finding, GuardSpec, Phase, Soak, Status};
use serin_core::parse::{self, Limits};
use serin_core::status::{CheckRecord, ReasonRecord};
use serin_providers::change::CANARY;

use crate::cache;
use crate::document::{legible, limits};
use crate::guard::evidence::{Evidence, evidence, pace};
#[cfg(feature = "laboratory")]
use crate::plan::look::Look;
#[cfg(feature = "laboratory")]
use crate::plan::measure;

/// What is to be explained, and how.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// The canary: NAMESPACE/NAME, or NAME in the namespace `default`.
    canary: String,
    /// For people or for machines.
    #[arg(short, long, default_value = "human")]
    output: Output,
    /// Kubeconfig file; without it KUBECONFIG, ~/.kube/config or the Pod's service account.
    #[arg(long, env = "SERIN_KUBECONFIG")]
    kubeconfig: Option<String>,
    /// Router of canaries that name none, as the controller is told; without it what the status says, or else traefik.
    #[arg(long)]
    mesh_provider: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Human,
    Json,
}

impl ExplainArgs {
    pub fn kubeconfig(&self) -> Option<&str> {
        self.kubeconfig.as_deref()
    }
}

/// Everything there is to say about one canary.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    canary: String,
    phase: Option<Phase>,
    weight: u8,
    failed_checks: u32,
    reason: Option<ReasonRecord>,
    /// What there is to say of the spec and its queries, as the conditions and `serin plan` say it.
    findings: Vec<Finding>,
    conditions: Vec<Condition>,
    checks: Vec<CheckRecord>,
    guard: Option<GuardReport>,
    /// The watch over the promoted primary.
    #[serde(skip_serializing_if = "Option::is_none")]
    soak: Option<Soak>,
}

/// The guard of the release, as its status has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GuardReport {
    mode: &'static str,
    interval_millis: u64,
    alpha: f64,
    /// What lets the canary's share rise, and what comes before and after the promotion.
    pace: String,
    /// What it watches.
    objectives: Vec<String>,
    /// What it knows; none before it has seen a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
    /// Why the kept evidence cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
}

/// Reads the canary and renders what there is to say.
pub async fn run(client: &Client, args: &ExplainArgs) -> anyhow::Result<String> {
    let (namespace, name) = args.canary.split_once('/').unwrap_or(("default", &args.canary));
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &cache::resource(&CANARY));
    let object = match api.get_opt(name).await {
        Ok(Some(object)) => object,
        Ok(None) => anyhow::bail!("there is no Canary {name} in the namespace {namespace}"),
        Err(kube::Error::Api(status)) => {
            anyhow::bail!("cannot read the Canary {namespace}/{name}: {}", status.message)
        }
        Err(error) => {
            let what = || format!("cannot read the Canary {namespace}/{name}");
            return Err(error).with_context(what);
        }
    };
    let mut value = cache::to_value(&object).context("the canary is no JSON")?;
    if let Some(status) = value.get_mut("status") {
        legible(status);
    }
    let limits = limits(&value, args.mesh_provider.as_deref());
    let mut report = report_under(&value, &limits);
    report.findings.extend(measured(client, &value, &limits).await?);
    Ok(match args.output {
        Output::Human => report.to_string(),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&report)?),
    })
}

/// What is wrong with the queries of the checks, asked anew.
#[cfg(feature = "laboratory")]
async fn measured(client: &Client, value: &Value, limits: &Limits) -> anyhow::Result<Vec<Finding>> {
    match parse::canary(value, limits) {
        Ok(canary) => {
            let look = Look { client: Some(client), documents: &[] };
            measure::findings(&canary, &look).await
        }
        Err(_) => Ok(Vec::new()),
    }
}

/// The image is without `plan`, which asks; the status says what the operator has found.
#[cfg(not(feature = "laboratory"))]
async fn measured(
    _client: &Client,
    _value: &Value,
    _limits: &Limits,
) -> anyhow::Result<Vec<Finding>> {
    Ok(Vec::new())
}

/// What the object says of itself.
pub fn report(object: &Value) -> Report {
    report_under(object, &limits(object, None))
}

fn report_under(object: &Value, limits: &Limits) -> Report {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let canary = format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"));
    let (status, spec, findings) = match parse::canary(object, limits) {
        Ok(Canary { status, spec, .. }) => {
            let findings = spec.findings.clone();
            (status, Some(spec), findings)
        }
        Err(failure) => (*failure.status, None, failure.findings),
    };
    let guard = spec.as_ref().and_then(|spec| spec.analysis.guard.as_ref());
    let guard = guard.map(|guard| match &status.soak {
        Some(_) => guard_report(&guard.of_soak(), &status),
        None => guard_report(guard, &status),
    });
    let Status {
        phase, canary_weight, failed_checks, last_reason, conditions, checks, soak, ..
    } = status;
    Report {
        canary,
        phase,
        weight: canary_weight,
        failed_checks,
        reason: last_reason,
        findings,
        conditions,
        checks,
        guard,
        soak,
    }
}

fn guard_report(spec: &GuardSpec, status: &Status) -> GuardReport {
    let percent = |share: f64| share * 100.0;
    let objectives = spec.objectives.iter().map(|objective| {
        let margin = objective.margin;
        let groups = status.dispersion.get(&objective.name);
        let groups = groups.map_or(String::new(), |size| {
            format!("; bad requests come in groups of about {size:.0} and count for less")
        });
        let beside = format!(
            "at most {} x primary + {:.3} points",
            margin.relative,
            percent(margin.absolute)
        );
        let limit = match objective.bad {
            Bad::Failed | Bad::SlowerThan(_) => {
                format!("at most {:.3} %, and {beside}", percent(objective.slo))
            }
            Bad::Shape => format!("slower than each bound of the histogram {beside}"),
        };
        format!("{}: {limit}{groups}", objective.name)
    });
    let (evidence, unreadable) = match status.guard.as_ref().map(|kept| evidence(spec, kept)) {
        None => (None, None),
        Some(Ok(evidence)) => (Some(evidence), None),
        Some(Err(why)) => (None, Some(why)),
    };
    GuardReport {
        mode: spec.mode.name(),
        interval_millis: spec.interval_millis,
        alpha: spec.alpha,
        pace: pace(spec),
        objectives: objectives.collect(),
        evidence,
        unreadable,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = self.phase.map_or("not taken up yet", Phase::name);
        writeln!(f, "{}: {phase}, canary at {} %", self.canary, self.weight)?;
        if let Some(ReasonRecord { code, message, time }) = &self.reason {
            writeln!(f, "  {code}: {message}{}", at(time.as_ref()))?;
        }
        for finding in &self.findings {
            writeln!(f, "  {}: {finding}", finding.severity.name())?;
        }
        if !self.conditions.is_empty() {
            writeln!(f, "\nconditions")?;
        }
        for Condition { kind, status, reason, message, .. } in &self.conditions {
            // What was said above is not said again for each of them.
            let known = self.reason.as_ref().is_some_and(|said| said.message == *message);
            let message = if known { "as above" } else { message };
            writeln!(f, "  {kind} {status} ({reason}): {message}")?;
        }
        if !self.checks.is_empty() {
            // A release that is over has no count any more; the guard's checks never counted.
            let counted = match self.phase {
                Some(Phase::Progressing | Phase::WaitingPromotion) => {
                    format!(" (counted as failed in this analysis: {})", self.failed_checks)
                }
                Some(_) | None => String::new(),
            };
            writeln!(f, "\nlast checks{counted}")?;
        }
        for check in &self.checks {
            writeln!(f, "  {check}")?;
        }
        if let Some(Soak { start_time, previous, previous_configs: _, undo }) = &self.soak {
            match (undo.as_str(), previous.as_str()) {
                ("", "") => writeln!(
                    f,
                    "\nthe promoted primary is watched{}, nothing is kept to go back to",
                    at(start_time.as_ref())
                )?,
                ("", previous) => writeln!(
                    f,
                    "\nthe promoted primary is watched{}, and goes back to {previous} if it breaks an objective",
                    at(start_time.as_ref())
                )?,
                (why, previous) => writeln!(f, "\nthe primary goes back to {previous}: {why}")?,
            }
        }
        match &self.guard {
            None => writeln!(
                f,
                "\nno guard: the spec has none, and no builtin check to derive one from"
            ),
            Some(guard) => write!(f, "\n{guard}"),
        }
    }
}

impl fmt::Display for GuardReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, interval_millis, alpha, pace, objectives, evidence, unreadable } = self;
        let every = Duration::from_millis(*interval_millis);
        writeln!(f, "guard: {mode}, looks every {every:?}, alpha {alpha}")?;
        writeln!(f, "  {pace}")?;
        for objective in objectives {
            writeln!(f, "  {objective}")?;
        }
        if let Some(why) = unreadable {
            writeln!(f, "  its evidence cannot be read: {why}")?;
        }
        let Some(evidence) = evidence else {
            return writeln!(f, "  nothing seen of this release");
        };
        if let Some(decided) = &evidence.decided {
            let would = if *mode == "observe" { "would have rolled back" } else { "rolled back" };
            writeln!(f, "  {would}: {decided}")?;
        }
        writeln!(f, "  evidence{}: {}", at(Some(&evidence.time)), evidence.text)
    }
}

fn at(time: Option<&jiff::Timestamp>) -> String {
    time.map_or(String::new(), |time| format!(" ({time:.0})"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serin_core::judge::design::Measured;

    use serin_core::judge::design::{Design, Memory};
    use serin_judge::monitor::Monitor;

    use super::*;

    fn object(guard: &Value, status: &Value) -> Value {
        json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
            "metadata": {"name": "backend", "namespace": "develop"},
            "spec": {
                "provider": "traefik",
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "backend"},
                "service": {"port": 80},
                "analysis": {"interval": "10s", "stepWeights": [5, 10], "guard": guard},
            },
            "status": status,
        })
    }

    #[test]
    fn says_what_is_wrong_with_a_spec() {
        let text = report(&object(&json!({"mode": "on"}), &Value::Null)).to_string();
        assert!(text.starts_with("develop/backend: not taken up yet, canary at 0 %\n"), "{text}");
        assert!(text.contains("error: spec.analysis.guard.mode"), "{text}");
    }

    #[test]
    fn a_canary_that_names_no_router_is_that_of_the_operator() {
        let mut canary = object(&Value::Null, &json!({"provider": "kubernetes"}));
        canary["spec"].as_object_mut().unwrap().remove("provider");
        let said = |canary: &Value, flag| report_under(canary, &limits(canary, flag)).to_string();
        assert!(said(&canary, None).contains("kubernetes"), "{}", said(&canary, None));
        assert!(said(&canary, Some("istio")).contains("istio is not supported yet"));
        canary["status"] = Value::Null;
        assert!(!said(&canary, None).contains("kubernetes"));
    }

    #[test]
    fn tells_evidence_as_odds_with_counts_and_what_is_missing() {
        let guard = json!({"errorRate": {"slo": 1}});
        let spec = parse::canary(&object(&guard, &Value::Null), &Limits::default()).unwrap().spec;
        let spec = spec.analysis.guard.unwrap();
        let Design { config, sources, bounds } =
            Design::new(&spec, &Measured { objectives: vec![0], ..Measured::default() }, 2);
        let mut watch = Monitor::new(config, bounds.len(), sources).unwrap();
        for k in 1..20 {
            use serin_judge::counters::{Born, Reading, Side};
            let reading = |side, requests, errors| Reading {
                side,
                series: "gateway",
                born: Born::Before,
                started: None,
                warm: true,
                requests,
                errors,
                timed: requests,
                within: &[],
            };
            watch
                .observe(
                    k * 1000,
                    [reading(Side::Canary, 10 * k, k), reading(Side::Primary, 190 * k, 0)],
                )
                .unwrap();
        }
        let time = jiff::Timestamp::from_second(1_800_000_000).unwrap();
        let memory = Memory {
            time,
            weight: 5,
            steps: 2,
            measured: Measured { objectives: vec![0], ..Measured::default() },
            decided: Some("10 % failed".to_owned()),
            watch: watch.save(),
        };
        let status = json!({"phase": "Failed", "guard": memory.to_value()});
        let report = report(&object(&guard, &status));
        let text = report.to_string();
        assert!(text.contains("rolled back: 10 % failed"), "{text}");
        assert!(text.contains("canary 18 of 180"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json.pointer("/guard/evidence/decision"), Some(&json!("rollBack")));
        assert_eq!(json.pointer("/guard/evidence/checks/0/canary/requests"), Some(&json!(180)));
    }
}
