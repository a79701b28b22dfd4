//! `serin plan`: what a Canary would create and change, how its releases would go, and what they risk, without a write.

mod report;
mod rollback;
mod schedule;
mod simulate;
#[cfg(test)]
mod tests;
mod writes;

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use kube::Client;
use serde_json::Value;
use serin_apiserver::schema::Structural;
use serin_core::model::SpecError;
use serin_core::parse::{self, Limits};

use report::{CanaryPlan, Flaw, Plan};
use writes::Look;

/// A file is a file of manifests, not a disk image.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// More than anyone plans at once.
const DOCUMENTS_MAX: usize = 1000;

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
    /// Namespace of objects that name none.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// For people or for machines.
    #[arg(short, long, default_value = "human")]
    output: Output,
    /// Compare with this cluster, by reading only. Without it nothing is asked but the files.
    #[arg(long, env = "SERIN_KUBECONFIG")]
    kubeconfig: Option<String>,
    /// Router of canaries that name none, as the controller is told.
    #[arg(long, default_value = "traefik")]
    mesh_provider: String,
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

/// Reads, thinks, and returns what to print. Fails the process when a Canary makes no sense.
pub async fn run(client: Option<&Client>, args: &PlanArgs) -> anyhow::Result<(String, ExitCode)> {
    let mut documents = Vec::new();
    for file in &args.files {
        for file in within(file)? {
            documents.extend(read(&file, &args.namespace)?);
        }
    }
    anyhow::ensure!(documents.len() <= DOCUMENTS_MAX, "more than {DOCUMENTS_MAX} documents");
    let canaries: Vec<&Value> =
        documents.iter().filter(|document| document["kind"] == "Canary").collect();
    anyhow::ensure!(!canaries.is_empty(), "no Canary in {}", args.files.join(", "));
    let look = Look { client, documents: &documents };
    let mut plan = Plan { requests_per_second: args.rps, canaries: Vec::new() };
    for canary in canaries {
        plan.canaries.push(one(canary, &look, args).await?);
    }
    let code = if plan.canaries.iter().all(|canary| canary.errors.is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    let text = match args.output {
        Output::Human => plan.to_string(),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&plan)?),
    };
    Ok((text, code))
}

/// A file itself, or the manifests in a directory by their names, as kubectl takes them.
fn within(file: &str) -> anyhow::Result<Vec<String>> {
    if file == "-" || !std::path::Path::new(file).is_dir() {
        return Ok(vec![file.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(file).with_context(|| format!("cannot list {file}"))? {
        let path = entry.with_context(|| format!("cannot list {file}"))?.path();
        let kind = path.extension().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
        if path.is_file() && ["yaml", "yml", "json"].contains(&kind) {
            files.push(path.to_string_lossy().into_owned());
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &str, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let mut text = String::new();
    if file == "-" {
        std::io::stdin()
            .take(FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .context("cannot read stdin")?;
    } else {
        let open = std::fs::File::open(file).with_context(|| format!("cannot open {file}"))?;
        open.take(FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .with_context(|| format!("cannot read {file}"))?;
    }
    let mut documents =
        crate::local::manifest::documents(&text).with_context(|| format!("{file} is no YAML"))?;
    for document in &mut documents {
        anyhow::ensure!(document.is_object(), "{file} has a document that is no object");
        let named = document.pointer("/metadata/namespace").is_some();
        let metadata = document.get_mut("metadata").and_then(Value::as_object_mut);
        if let Some(metadata) = metadata.filter(|_| !named) {
            metadata.insert("namespace".into(), namespace.into());
        }
    }
    Ok(documents)
}

async fn one(object: &Value, look: &Look<'_>, args: &PlanArgs) -> anyhow::Result<CanaryPlan> {
    let limits = Limits {
        min_interval_secs: args.min_interval,
        provider: args.mesh_provider.clone(),
        ..Limits::default()
    };
    let name = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    let key = format!("{}/{}", name("/metadata/namespace"), name("/metadata/name"));
    // A live object has a history that the file has not: whether Flagger made it, and what runs.
    let live = look.live(object).await?;
    let mut merged = object.clone();
    let status = live.as_ref().and_then(|live| live.get("status"));
    if let (Some(root), Some(status)) = (merged.as_object_mut(), status) {
        root.insert("status".to_owned(), status.clone());
    }
    let (canary, mut errors) = match parse::canary(&merged, &limits) {
        Ok(canary) => (Some(canary), Vec::new()),
        Err(failure) => (None, failure.errors.iter().map(flaw).collect()),
    };
    for found in schema_flaws(object)? {
        if !errors.iter().any(|known: &Flaw| known.field == found.field) {
            errors.push(found);
        }
    }
    let Some(canary) = canary.filter(|_| errors.is_empty()) else {
        return Ok(CanaryPlan::broken(key, errors));
    };
    let writes = writes::of(&canary, live.is_some(), look).await?;
    let warnings = canary.spec.warnings.iter().map(flaw).collect();
    Ok(CanaryPlan {
        canary: key,
        errors,
        warnings,
        writes: Some(writes),
        schedule: Some(schedule::of(&canary, args.rps)),
        rollback: Some(rollback::of(&canary, args.rps)),
    })
}

fn flaw(error: &SpecError) -> Flaw {
    Flaw { field: error.field.clone(), message: error.message.clone() }
}

/// What the API server would refuse, and what it would drop.
fn schema_flaws(object: &Value) -> anyhow::Result<Vec<Flaw>> {
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
            flaws.push(Flaw { field, message: "there is no such field".to_owned() });
        }
    }
    flaws.extend(
        schema
            .validate(&known, None)
            .into_iter()
            .map(|error| Flaw { field: error.field, message: error.message }),
    );
    Ok(flaws)
}
