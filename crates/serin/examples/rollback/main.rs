//! How fast a bad release has no traffic on the real stack, what it hurts, and whether good ones are left alone.
//!
//! `make bench-rollback` runs it in release, with Traefik, Prometheus and kubectl as their authors ship them. One table for
//! a canary that fails every request, by the guard and by Flagger's rule; then healthy releases that fail 0.8 % of their
//! requests at random; then an incident that both versions suffer. It fails when a target is missed.

mod cluster;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Parser;
use futures::future::try_join_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use serin_core::status::Phase;
use serin_local::app::Faults;

use cluster::{App, Outcome, Parts, SETTLE, TestCluster};

/// Targets for a canary that fails every request at 5 % of 200 requests per second, as medians.
const SECS_MAX: f64 = 3.0;
const HURT_MAX: f64 = 30.0;
/// How long the shared incident lasts, and how much of it fails.
const INCIDENT: Duration = Duration::from_secs(20);
const INCIDENT_RATE: f64 = 0.3;

#[derive(Parser)]
struct Args {
    /// The program under test.
    #[arg(long, default_value = "target/release/serin")]
    serin: PathBuf,
    /// The real Traefik; without it the embedded gateway.
    #[arg(long, env = "SERIN_TRAEFIK")]
    traefik: Option<PathBuf>,
    /// The real Prometheus; without it the embedded one.
    #[arg(long, env = "SERIN_PROMETHEUS")]
    prometheus: Option<PathBuf>,
    /// The real kubectl; without it objects are written into the store.
    #[arg(long, env = "SERIN_KUBECTL")]
    kubectl: Option<PathBuf>,
    /// Requests per second at the canary that fails.
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Releases of it under the guard.
    #[arg(long, default_value_t = 10)]
    releases: usize,
    /// The same under Flagger's rule with interval 10 s and threshold 1.
    #[arg(long, default_value_t = 3)]
    fast: usize,
    /// The same with interval 60 s and threshold 5, five minutes each.
    #[arg(long, default_value_t = 1)]
    slow: usize,
    /// Healthy releases under the guard.
    #[arg(long, default_value_t = 50)]
    healthy: usize,
    /// The same under Flagger's rule with interval 10 s and threshold 1.
    #[arg(long, default_value_t = 10)]
    healthy_fast: usize,
    /// Healthy releases at once, each with its own application.
    #[arg(long, default_value_t = 5)]
    parallel: usize,
    /// Requests per second at each of them.
    #[arg(long, default_value_t = 100.0)]
    healthy_rate: f64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(args))
}

fn say(text: &str) {
    use std::io::Write;
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

async fn run(args: Args) -> anyhow::Result<()> {
    let (traefik, prometheus) = (args.traefik.clone(), args.prometheus.clone());
    let (serin, kubectl) = (args.serin.clone(), args.kubectl.clone());
    let cluster = TestCluster::start(Parts { serin, traefik, prometheus, kubectl }).await?;
    say(&format!("{}\n", cluster.describe()));
    let mut missed = Vec::new();
    bad(&cluster, &args, &mut missed).await?;
    good(&cluster, &args, &mut missed).await?;
    shared(&cluster, &args, &mut missed).await?;
    cluster.stop().await;
    if missed.is_empty() {
        return Ok(());
    }
    bail!("missed: {}", missed.join("; "))
}

/// The builtin checks on Flagger's clock; the guard is derived from them, or off.
fn rule(interval: &str, threshold: u32, guard: bool) -> Value {
    json!({
        "interval": interval, "threshold": threshold, "stepWeights": [5, 10, 20, 30, 40, 50],
        "guard": {"mode": if guard { "enforce" } else { "off" }},
        "metrics": [
            {"name": "request-success-rate", "thresholdRange": {"min": 99}, "interval": "1m"},
            {"name": "request-duration", "thresholdRange": {"max": 500}, "interval": "1m"},
        ],
    })
}

/// The guard alone, three steps.
fn guard_only(interval: &str) -> Value {
    let guard = json!({"errorRate": {"slo": 1}, "latency": [{"threshold": 500, "slo": 1}]});
    json!({"interval": interval, "threshold": 1, "stepWeights": [5, 20, 50], "guard": guard})
}

/// What releases that fail every request came to.
struct Series {
    title: &'static str,
    secs: Vec<f64>,
    /// Until the route was written; the rest is Traefik's, and requests under way.
    route: Vec<f64>,
    hurt: Vec<f64>,
    codes: Vec<String>,
}

/// A canary that fails every request.
async fn bad(cluster: &TestCluster, args: &Args, missed: &mut Vec<String>) -> anyhow::Result<()> {
    say(&format!("A canary that fails every request, 5 % of {} requests per second:\n", args.rate));
    say(
        "| rule | releases | seconds to zero canary traffic: median (worst) | of these until the route was lowered | requests hurt: median (worst) | rolled back by |",
    );
    say("|---|---:|---:|---:|---:|---|");
    let rules = [
        ("guard", "Serin's guard", args.releases, 10, rule("10s", 1, true)),
        ("fast", "Flagger's rule, 10 s, threshold 1", args.fast, 10, rule("10s", 1, false)),
        ("slow", "Flagger's rule, 60 s, threshold 5", args.slow, 60, rule("60s", 5, false)),
    ];
    let mut all = Vec::new();
    for (name, title, releases, interval, analysis) in rules {
        if releases == 0 {
            continue;
        }
        let app = App { name: name.to_owned(), tag: "v1", analysis };
        let series = series(cluster, &app, title, releases, args.rate).await?;
        let Series { secs, route, hurt, codes, .. } = &series;
        say(&format!(
            "| {title} | {releases} | {:.2} ({:.2}) | {:.2} | {:.0} ({:.0}) | {} |",
            median(secs),
            worst(secs),
            median(route),
            median(hurt),
            worst(hurt),
            codes.join(", ")
        ));
        all.push((series, interval));
    }
    say("");
    if let Some((guard, others)) =
        all.split_first().filter(|((first, _), _)| first.title == "Serin's guard")
    {
        let (guard, _) = guard;
        let (secs, hurt) = (median(&guard.secs), median(&guard.hurt));
        for (other, interval) in others {
            // Serin's checks act on the round that failed; Flagger on the round after, with the canary still at 5 %.
            let later = f64::from(*interval);
            let (long, many) = (median(&other.secs), median(&other.hurt));
            let (slower, more) = (long / secs, many / hurt);
            let (flagger, most) = ((long + later) / secs, (many + later * args.rate * 0.05) / hurt);
            say(&format!(
                "{}: {slower:.1} times as long, {more:.1} times as many hurt; with Flagger, which acts {interval} s later: {flagger:.1} times, {most:.1} times",
                other.title
            ));
        }
        if secs >= SECS_MAX || hurt >= HURT_MAX {
            missed.push(format!("a dead canary took {secs:.2} s and hurt {hurt:.0} requests"));
        }
        if guard.codes.iter().any(|code| code != "GuardRolledBack") {
            missed.push("something else than the guard rolled back".to_owned());
        }
    }
    Ok(())
}

async fn series(
    cluster: &TestCluster,
    app: &App,
    title: &'static str,
    releases: usize,
    rate: f64,
) -> anyhow::Result<Series> {
    cluster.set_up(app).await?;
    let load = cluster.load(&app.name, rate)?;
    let mut series = Series { title, secs: vec![], route: vec![], hurt: vec![], codes: vec![] };
    for number in 1..=releases {
        let tag = format!("r{number}-dead");
        let outcome = cluster.release(&app.name, &tag).await?;
        if outcome.phase != Phase::Failed {
            bail!("{title}: a release that fails every request ended {}", outcome.phase.name());
        }
        tokio::time::sleep(SETTLE).await;
        let seen = load.snapshot();
        let Some((tally, first, last)) =
            seen.by_version.get(&tag).and_then(|tally| Some((tally, tally.first?, tally.last?)))
        else {
            bail!("{title}: {tag} answered no request");
        };
        series.secs.push(secs(first, last));
        series.route.push(secs(first, outcome.off).max(0.0));
        series.hurt.push(tally.bad as f64);
        if !series.codes.contains(&outcome.code) {
            series.codes.push(outcome.code);
        }
    }
    let end = load.stop().await;
    if end.skipped > 0 {
        say(&format!(
            "(of {} requests {} were left out by this busy machine)",
            end.sent, end.skipped
        ));
    }
    Ok(series)
}

fn secs(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => (sorted[even / 2 - 1] + sorted[even / 2]) / 2.0,
    }
}

fn worst(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::max)
}

/// Healthy releases: both versions fail 0.8 % of their requests, at random.
async fn good(cluster: &TestCluster, args: &Args, missed: &mut Vec<String>) -> anyhow::Result<()> {
    let rate = args.healthy_rate;
    say(&format!(
        "\nHealthy releases, 0.8 % errors on both sides at random, {rate} requests per second, steps 5, 20, 50:\n"
    ));
    say("| rule | releases | rolled back | median seconds of traffic |");
    say("|---|---:|---:|---:|");
    let flagger = {
        let mut analysis = rule("10s", 1, false);
        analysis["stepWeights"] = json!([5, 20, 50]);
        analysis
    };
    let rules = [
        ("calm", "Serin's guard", args.healthy, guard_only("5s")),
        ("nervous", "Flagger's rule, 10 s, threshold 1", args.healthy_fast, flagger),
    ];
    for (name, title, releases, analysis) in rules {
        if releases == 0 {
            continue;
        }
        let lanes = args.parallel.clamp(1, releases);
        let lane = |lane: usize| {
            let app =
                App { name: format!("{name}{lane}"), tag: "v0-base08", analysis: analysis.clone() };
            let count = releases / lanes + usize::from(lane < releases % lanes);
            healthy(cluster, app, count, rate)
        };
        let outcomes: Vec<Outcome> =
            try_join_all((0..lanes).map(lane)).await?.into_iter().flatten().collect();
        let failed: Vec<&Outcome> =
            outcomes.iter().filter(|outcome| outcome.phase != Phase::Succeeded).collect();
        let traffic: Vec<f64> = outcomes.iter().map(|o| secs(o.on, o.off)).collect();
        let (count, back) = (outcomes.len(), failed.len());
        say(&format!("| {title} | {count} | {back} | {:.0} |", median(&traffic)));
        if name == "calm" && back > 0 {
            missed.push(format!("{back} healthy releases were rolled back"));
            for outcome in failed {
                say(&format!("  {}: {}", outcome.code, outcome.message));
            }
        }
    }
    Ok(())
}

async fn healthy(
    cluster: &TestCluster,
    app: App,
    releases: usize,
    rate: f64,
) -> anyhow::Result<Vec<Outcome>> {
    cluster.set_up(&app).await?;
    let load = cluster.load(&app.name, rate)?;
    let mut outcomes = Vec::new();
    for number in 1..=releases {
        outcomes.push(cluster.release(&app.name, &format!("r{number}-base08")).await?);
    }
    load.stop().await;
    Ok(outcomes)
}

/// An incident that both versions suffer holds the release, and then it goes on.
async fn shared(
    cluster: &TestCluster,
    args: &Args,
    missed: &mut Vec<String>,
) -> anyhow::Result<()> {
    let app = App { name: "shared".to_owned(), tag: "v1", analysis: guard_only("3s") };
    cluster.set_up(&app).await?;
    let load = cluster.load(&app.name, args.rate)?;
    cluster.bring(&app.name, "v2").await?;
    let begun = cluster
        .until("the canary has a share", || cluster.routed("shared").then(Timestamp::now))
        .await?;
    let faults = Faults { error_rate: INCIDENT_RATE, at_random: true, ..Faults::default() };
    let pods = cluster.set_faults(&app.name, faults).await?;
    tokio::time::sleep(INCIDENT / 4).await;
    let weight = cluster.status(&app.name).canary_weight;
    tokio::time::sleep(INCIDENT * 3 / 4).await;
    let held = cluster.status(&app.name);
    cluster.set_faults(&app.name, Faults::default()).await?;
    let over = Timestamp::now();
    let reason = held.last_reason.clone().unwrap_or_default();
    say(&format!(
        "\nAn incident of {} s in which {:.0} % of the requests of both versions fail ({pods} pods), beginning {:.1} s after the canary's first share:",
        INCIDENT.as_secs(),
        INCIDENT_RATE * 100.0,
        secs(begun, over) - INCIDENT.as_secs_f64(),
    ));
    say(&format!(
        "  at its end {} at {} %: {}: {}",
        held.phase.map_or("", Phase::name),
        held.canary_weight,
        reason.code,
        reason.message
    ));
    if held.phase != Some(Phase::Progressing) || held.canary_weight != weight {
        missed.push("the shared incident did not hold the release".to_owned());
    }
    let on = cluster
        .until("the release goes on", || {
            let status = cluster.status("shared");
            let moved = status.canary_weight > weight || status.phase != Some(Phase::Progressing);
            moved.then(Timestamp::now)
        })
        .await?;
    let end = cluster
        .until("the release ends", || {
            let phase = cluster.status("shared").phase?;
            matches!(phase, Phase::Succeeded | Phase::Failed).then_some(phase)
        })
        .await?;
    say(&format!(
        "  it goes on {:.1} s after the end of the incident, and ends {}",
        secs(over, on),
        end.name()
    ));
    if end != Phase::Succeeded {
        missed.push("the release did not survive the shared incident".to_owned());
    }
    load.stop().await;
    Ok(())
}
