//! Keeping what a backtest reads, as OpenMetrics with times.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serin_local::prometheus::promql::selectors;

use super::history::History;
use super::release::{BEFORE_MS, WAIT_MS, query};
use super::{BacktestArgs, Policy, checks, counters};

/// A window of time in milliseconds.
type Window = (i64, i64);
/// So much is held in memory at once.
const PIECE_MS: i64 = 3_600_000;

/// Reads everything that the same backtest reads of this history, and writes it.
pub(super) async fn write(
    policy: &Policy,
    history: &History,
    args: &BacktestArgs,
    path: &Path,
) -> anyhow::Result<()> {
    let shown = path.display();
    let failed = || format!("--record {shown}: cannot write it");
    let file = std::fs::File::create(path).with_context(failed)?;
    let mut out = std::io::BufWriter::new(file);
    let (wanted, back) = wanted(policy)?;
    for (from, to) in windows(policy, args, back) {
        let mut all: BTreeMap<BTreeMap<String, String>, BTreeMap<i64, f64>> = BTreeMap::new();
        let counted = counters::fetch(history, &policy.canary, from, to, true).await?;
        let mut curves = counted;
        for selector in &wanted {
            curves.extend(history.raw(selector, from, to).await?);
        }
        for curve in curves {
            all.entry(curve.labels).or_default().extend(curve.points);
        }
        for (labels, points) in all {
            let head = head(&labels);
            for (at, value) in points {
                writeln!(out, "{head} {value} {}.{:03}", at.div_euclid(1000), at.rem_euclid(1000))
                    .with_context(failed)?;
            }
        }
    }
    writeln!(out, "# EOF").and_then(|()| out.flush()).with_context(failed)
}

/// What the metrics' queries select, and how far back they look.
fn wanted(policy: &Policy) -> anyhow::Result<(Vec<String>, i64)> {
    let (mut wanted, mut back) = (Vec::new(), BEFORE_MS);
    for (check, metric, _) in checks::sources(&policy.canary) {
        let query = query(policy, check)?;
        let found = selectors(&query).map_err(anyhow::Error::msg).with_context(|| {
            format!("metric {}: cannot tell which series {query} reads", metric.name)
        })?;
        for (selector, range) in found {
            back = back.max(range);
            if !wanted.contains(&selector) {
                wanted.push(selector);
            }
        }
    }
    Ok((wanted, back))
}

/// Everything that is read, without the same time twice, in pieces.
fn windows(policy: &Policy, args: &BacktestArgs, back: i64) -> Vec<Window> {
    let length = policy.length_secs() * 1000;
    let releases = args.release.iter().chain(args.incident.iter().map(|incident| &incident.time));
    let mut all: Vec<Window> = releases
        .map(|time| (time.as_millisecond() - back, time.as_millisecond() + WAIT_MS + length))
        .chain(
            args.quiet
                .iter()
                .map(|stretch| (stretch.from.as_millisecond() - back, stretch.to.as_millisecond())),
        )
        .collect();
    all.sort_unstable();
    pieces(merged(&all))
}

/// Windows without overlaps.
fn merged(all: &[Window]) -> Vec<Window> {
    let mut merged: Vec<Window> = Vec::new();
    for &(from, to) in all {
        match merged.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            Some(_) | None => merged.push((from, to)),
        }
    }
    merged
}

fn pieces(windows: Vec<Window>) -> Vec<Window> {
    let cut = |(from, to): Window| {
        let starts = (0..).map(move |k| from + k * PIECE_MS).take_while(move |start| *start < to);
        starts.map(move |start| (start, to.min(start + PIECE_MS)))
    };
    windows.into_iter().flat_map(cut).collect()
}

fn head(labels: &BTreeMap<String, String>) -> String {
    let inner: Vec<String> = labels
        .iter()
        .filter(|(name, _)| *name != "__name__")
        .map(|(name, value)| format!("{name}={}", serde_json::Value::from(value.as_str())))
        .collect();
    format!(
        "{}{{{}}}",
        labels.get("__name__").map(String::as_str).unwrap_or_default(),
        inner.join(",")
    )
}
