//! `serin backtest`: a Canary's whole analysis over recorded history, Flagger's rule and the guard side by side.
//!
//! It decides with the operator's own code: `step` on a virtual clock, and the guard's evidence and judge.

mod chance;
mod checks;
mod counters;
mod flagger;
mod guarded;
mod history;
mod past;
mod quiet;
mod record;
mod release;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use serin_core::model::{Canary, Key, MetricTemplate};
use serin_core::parse::{self, Limits};

use crate::clock::Clock;
use crate::lab::local::manifest;
use history::History;
use report::Report;

/// Longer analyses than this are no replay of one release.
const LENGTH_MAX_SECS: i64 = 7 * 24 * 3600;
/// Releases, incidents and stretches of quiet days together.
const ASKED_MAX: usize = 1000;

/// A policy, a history, and what to ask of them.
#[derive(Clone, Debug, Args)]
pub struct BacktestArgs {
    /// Files with the Canary and its MetricTemplates; other objects in them are left aside.
    #[arg(short, long, value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
    /// The Prometheus server that has the history.
    #[arg(
        long,
        value_name = "URL",
        required_unless_present = "history",
        conflicts_with = "history"
    )]
    prometheus: Option<String>,
    /// A recording instead: OpenMetrics with a time on every line, as --record and `promtool tsdb dump-openmetrics` write it.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// A file with the token that the server wants.
    #[arg(long, value_name = "FILE")]
    bearer_token_file: Option<PathBuf>,
    /// When a past release began, such as 2026-11-01T10:00:00Z; may be given many times.
    #[arg(long, value_name = "TIME", value_parser = time_of)]
    release: Vec<Timestamp>,
    /// A release, or a moment in one, that should have been caught.
    #[arg(long, value_name = "NAME=TIME", value_parser = incident)]
    incident: Vec<Incident>,
    /// Quiet days: the running version is released against itself, again and again, from one time to the other.
    #[arg(long, value_name = "FROM..TO", value_parser = stretch)]
    quiet: Vec<Stretch>,
    /// Which requests the released half gets on quiet days; another number, other requests.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Keep what was read in this file, for --history.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Shortest analysis interval that is accepted as written, in seconds, as of the operator.
    #[arg(long, value_name = "SECONDS", default_value_t = parse::INTERVAL_FLOOR_SECS, value_parser = clap::value_parser!(i64).range(1..=3600))]
    min_interval: i64,
    /// For people or for machines.
    #[arg(short, long, default_value = "human")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Human,
    Json,
}

#[derive(Clone, Debug, PartialEq)]
struct Incident {
    name: String,
    time: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Stretch {
    from: Timestamp,
    to: Timestamp,
}

fn incident(text: &str) -> Result<Incident, String> {
    let (name, time) = text.split_once('=').ok_or("write NAME=TIME")?;
    Ok(Incident { name: name.to_owned(), time: time_of(time)? })
}

fn stretch(text: &str) -> Result<Stretch, String> {
    let (from, to) = text.split_once("..").ok_or("write FROM..TO")?;
    let (from, to) = (time_of(from)?, time_of(to)?);
    if from < to { Ok(Stretch { from, to }) } else { Err("it ends before it begins".to_owned()) }
}

fn time_of(text: &str) -> Result<Timestamp, String> {
    let whole = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    whole.parse().map_err(|_| format!("{text:?} is no time such as 2026-11-01T10:00:00Z"))
}

/// How one rule ended a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Outcome {
    RolledBack,
    /// It had nothing against the release.
    Passed,
    /// The history ended before the rule had decided.
    Undecided,
}

/// What is tried.
struct Policy {
    canary: Canary,
    templates: BTreeMap<Key, MetricTemplate>,
}

impl Policy {
    /// How long a release of it can take, in seconds.
    fn length_secs(&self) -> i64 {
        let analysis = &self.canary.spec.analysis;
        let rounds = analysis.schedule.iterations().unwrap_or_else(|| analysis.schedule.rounds());
        let rounds =
            i64::from(rounds).saturating_add(i64::from(analysis.threshold)).saturating_add(2);
        rounds.saturating_mul(analysis.interval_secs)
    }
}

/// Does what the arguments say: the text, and whether anything could be tried.
pub async fn run(args: &BacktestArgs, clock: &dyn Clock) -> anyhow::Result<(String, bool)> {
    let BacktestArgs { release, incident, quiet, .. } = args;
    let asked = release.len() + incident.len() + quiet.len();
    let history = history_of(args)?;
    if asked == 0 {
        let there = history.describe();
        bail!("nothing to try: name a --release, an --incident or --quiet days; there is {there}");
    }
    if asked > ASKED_MAX {
        bail!("{asked} releases, incidents and quiet days are more than {ASKED_MAX}");
    }
    past::check(args, &history, clock.now())?;
    let policy = policy(&args.filename, args.min_interval)?;
    let report = report(&policy, &history, args).await?;
    if let Some(path) = &args.record {
        record::write(&policy, &history, args, path).await?;
    }
    let text = match args.output {
        Output::Human => report.to_string(),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&report)?),
    };
    Ok((text, report.tried()))
}

async fn report(policy: &Policy, history: &History, args: &BacktestArgs) -> anyhow::Result<Report> {
    // Each is judged by what those before it have shown.
    let mut known = policy.canary.status.dispersion.clone();
    let mut learnt = vec![(Timestamp::MIN, known.clone())];
    let mut releases = Vec::new();
    let mut times = args.release.clone();
    times.sort();
    for time in times {
        let replayed = release::replay(policy, history, time, &mut known).await;
        releases.push(replayed.with_context(|| format!("--release {time}"))?);
        learnt.push((time, known.clone()));
    }
    let mut incidents = Vec::new();
    for incident in &args.incident {
        let before = learnt.iter().rfind(|(time, _)| *time < incident.time);
        let known = before.map(|(_, known)| known.clone()).unwrap_or_default();
        let caught = release::caught(policy, history, incident, &releases, known).await;
        incidents.push(caught.with_context(|| format!("--incident {}", incident.name))?);
    }
    let mut quiet = Vec::new();
    for stretch in &args.quiet {
        let Stretch { from, to } = stretch;
        let tried = quiet::alarms(policy, history, *stretch, args.seed).await;
        quiet.push(tried.with_context(|| format!("--quiet {from}..{to}"))?);
    }
    Ok(Report::new(policy, history.describe(), releases, incidents, quiet))
}

fn history_of(args: &BacktestArgs) -> anyhow::Result<History> {
    if let Some(path) = &args.history {
        return History::file(path);
    }
    let token = args.bearer_token_file.as_ref().map(|path| {
        let shown = path.display();
        let text = std::fs::read_to_string(path);
        text.with_context(|| format!("--bearer-token-file {shown}: cannot read it"))
    });
    let token = token.transpose()?.map(|text| text.trim().to_owned());
    History::server(args.prometheus.as_deref().unwrap_or_default(), token)
}

/// The one Canary of the files, and the templates beside it.
fn policy(files: &[PathBuf], min_interval_secs: i64) -> anyhow::Result<Policy> {
    let limits = Limits { min_interval_secs, ..Limits::default() };
    let (mut canaries, mut templates) = (Vec::new(), BTreeMap::new());
    for path in files {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("--filename {shown}: cannot read it"))?;
        let documents = manifest::documents(&text)
            .with_context(|| format!("--filename {shown}: it is no YAML"))?;
        for mut document in documents {
            if let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) {
                let namespace = metadata.entry("namespace").or_insert(Value::Null);
                if namespace.is_null() {
                    *namespace = "default".into();
                }
            }
            match document["kind"].as_str() {
                Some("Canary") => {
                    let canary = parse::canary(&document, &limits);
                    canaries.push(canary.map_err(|failure| anyhow::anyhow!("{shown}: {failure}"))?);
                }
                Some("MetricTemplate") => {
                    let template = parse::metric_template(&document).map_err(|errors| {
                        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                        anyhow::anyhow!("{shown}: {}", errors.join("; "))
                    })?;
                    templates.insert(template.key.clone(), template);
                }
                Some(_) | None => {}
            }
        }
    }
    let found = canaries.len();
    let Some(canary) = canaries.pop().filter(|_| found == 1) else {
        bail!("--filename: there must be one Canary, and there are {found}");
    };
    counters::supported(&canary).map_err(anyhow::Error::msg)?;
    let policy = Policy { canary, templates };
    let length = policy.length_secs();
    if length > LENGTH_MAX_SECS {
        let length = SignedDuration::from_secs(length);
        bail!(
            "spec.analysis: a release of this policy takes up to {length:#}, which is more than a week"
        );
    }
    Ok(policy)
}
