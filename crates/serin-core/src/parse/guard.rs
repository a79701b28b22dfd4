//! `spec.analysis.guard`: what the fast clock watches, asked for by name or derived from the builtin checks.

use super::doc::Doc;
use super::{duration, pace, units};
use crate::model::{
    Bad, Builtin, GuardMode, GuardSource, GuardSpec, Limit, Margin, Metric, MetricSource,
    Objective, Pace, Policy, Provider,
};

/// Time between two looks of guards that name none.
const INTERVAL_MILLIS: u64 = 1000;
/// Looking more often than the routers of this world change anything helps nobody.
const INTERVAL_MILLIS_MIN: i64 = 250;
const INTERVAL_MILLIS_MAX: i64 = 60_000;
/// A false rollback in a hundred healthy releases.
const ALPHA: f64 = 0.01;
/// Above this a guard says nothing that is worth acting on.
const ALPHA_MAX: f64 = 0.5;
/// Each objective takes its part of alpha; more of them make all of them slow.
const LATENCIES_MAX: usize = 8;
/// "99th percentile at most" is "at most one percent slower".
const SLOW_SHARE: f64 = 0.01;
/// An objective of no failure at all could be broken by one request; this is the strictest that evidence can be had for.
const SHARE_MIN: f64 = 0.0001;

/// How much slower than the primary is no news, at any bound, in percentage points and as a factor.
const SHAPE_ABSOLUTE: f64 = 0.5;
const SHAPE_RELATIVE: f64 = 1.25;
/// With nothing allowed, one request decides at a bound that none of the primary's reaches.
const SHAPE_ABSOLUTE_MIN: f64 = 0.01;

/// The guard of an analysis; none when it is off or when there is nothing to hold the canary to.
pub(super) fn read(
    analysis: &Doc<'_>,
    provider: Option<&Provider>,
    metrics: &[Metric],
    adopted: bool,
) -> Option<GuardSpec> {
    let asked = analysis.raw("guard").is_some();
    let doc = analysis.object_or_empty("guard");
    let attributed = one_of(&doc, "attribution", &["primary", "none"]) != Some("none");
    let mode = mode(&doc, adopted);
    let source = source(&doc);
    let interval_millis = interval(&doc);
    let alpha = alpha(&doc);
    let mut objectives = objectives(&doc);
    derive(&mut objectives, metrics);
    let judged = !objectives.is_empty();
    objectives.extend(shape(&doc));
    let pace = pace::read(&doc, mode);
    let (min_bake_secs, soak_secs) = pace::around(&doc, mode);
    let warm_up_secs = pace::warm_up(&doc);
    let blind = pace::blind(&doc);
    let mode = mode?;
    if provider.is_some_and(|provider| !provider.capabilities.counts) {
        if asked {
            let message = "needs a router that counts the requests of both versions, which provider kubernetes has not";
            analysis.error_use("guard", message, "remove it or set mode off");
        }
        return None;
    }
    if !judged && !objectives.is_empty() {
        alone(&doc, matches!(pace, Pace::Evidence(_)), soak_secs.is_some());
    }
    if objectives.is_empty() {
        if asked {
            let message = "has nothing to watch: set errorRate, latency or latencyShape, or use the builtin checks request-success-rate and request-duration";
            analysis.error("guard", message);
        }
        return None;
    }
    Some(GuardSpec {
        mode,
        asked,
        source,
        interval_millis,
        alpha,
        attributed,
        objectives,
        pace,
        warm_up_secs,
        min_bake_secs,
        soak_secs,
        blind,
    })
}

/// None is off. What came from Flagger has never been judged this way: it is only watched until someone says `enforce`.
fn mode(doc: &Doc<'_>, adopted: bool) -> Option<GuardMode> {
    match one_of(doc, "mode", &["enforce", "observe", "off"]) {
        Some("off") => None,
        Some("observe") => Some(GuardMode::Observe),
        None if adopted => Some(GuardMode::Observe),
        Some(_) | None => Some(GuardMode::Enforce),
    }
}

/// One of the words, complaining about any other.
fn one_of<'a>(doc: &Doc<'a>, field: &str, words: &[&str]) -> Option<&'a str> {
    let text = doc.text(field)?;
    if words.contains(&text) {
        return Some(text);
    }
    doc.error(field, format!("{text:?} is none of {}", words.join(", ")));
    None
}

fn source(doc: &Doc<'_>) -> Option<GuardSource> {
    match one_of(doc, "source", &["gateway", "prometheus"]) {
        Some("gateway") => Some(GuardSource::Gateway),
        Some(_) => Some(GuardSource::Prometheus),
        None => None,
    }
}

fn interval(doc: &Doc<'_>) -> u64 {
    let Some(text) = doc.text("interval") else { return INTERVAL_MILLIS };
    match duration::millis(text) {
        Some(millis) if (INTERVAL_MILLIS_MIN..=INTERVAL_MILLIS_MAX).contains(&millis) => {
            u64::try_from(millis).unwrap_or(INTERVAL_MILLIS)
        }
        Some(_) | None => {
            doc.error("interval", format!("{text:?} is no duration between 250ms and 1m"));
            INTERVAL_MILLIS
        }
    }
}

fn alpha(doc: &Doc<'_>) -> f64 {
    match doc.number("alpha") {
        None => ALPHA,
        Some(alpha) if alpha > 0.0 && alpha <= ALPHA_MAX => alpha,
        Some(alpha) => {
            doc.error("alpha", format!("must be more than 0 and at most {ALPHA_MAX}, not {alpha}"));
            ALPHA
        }
    }
}

/// What the guard itself names.
fn objectives(doc: &Doc<'_>) -> Vec<Objective> {
    let mut objectives = Vec::new();
    if let Some(errors) = doc.object("errorRate") {
        let slo = share(&errors);
        let (margin, policies) = (margin(&errors, slo), policies(&errors));
        objectives.extend(slo.map(|slo| asked(failing(slo, margin, true), policies)));
    }
    let latencies = doc.objects("latency");
    if latencies.len() > LATENCIES_MAX {
        let message = format!("must have at most {LATENCIES_MAX} entries, not {}", latencies.len());
        doc.error("latency", message);
    }
    for latency in latencies.iter().take(LATENCIES_MAX) {
        let (slo, millis) = (share(latency), threshold(latency));
        let (margin, policies) = (margin(latency, slo), policies(latency));
        let (Some(slo), Some(millis)) = (slo, millis) else { continue };
        if objectives.iter().any(|known| known.bad == Bad::SlowerThan(millis)) {
            latency.error("threshold", format!("{millis} ms has an entry already"));
            continue;
        }
        objectives.push(asked(slower(millis, slo, margin, true), policies));
    }
    objectives
}

fn failing(slo: f64, margin: Margin, asked: bool) -> Objective {
    let (no_data, cannot_measure) = (Policy::Pass, None);
    let (name, bad) = ("error-rate".to_owned(), Bad::Failed);
    Objective { name, bad, slo, margin, asked, no_data, cannot_measure }
}

fn slower(millis: f64, slo: f64, margin: Margin, asked: bool) -> Objective {
    let name = format!("slower than {millis} ms");
    Objective { name, bad: Bad::SlowerThan(millis), ..failing(slo, margin, asked) }
}

/// The comparison of all durations with the primary's; always the last of the objectives.
fn shape(doc: &Doc<'_>) -> Option<Objective> {
    let shape = doc.object("latencyShape")?;
    let tolerance = shape.object_or_empty("tolerance");
    let margin = Margin {
        absolute: within(&tolerance, "absolute", SHAPE_ABSOLUTE_MIN, 100.0, SHAPE_ABSOLUTE) / 100.0,
        relative: within(&tolerance, "relative", 0.1, 100.0, SHAPE_RELATIVE),
    };
    let objective = failing(SLOW_SHARE, margin, true);
    let objective = Objective { name: "latency-shape".to_owned(), bad: Bad::Shape, ..objective };
    Some(asked(objective, policies(&shape)))
}

/// A comparison alone has no limit: nothing says when a share is small enough, or what a primary without a canary may do.
fn alone(doc: &Doc<'_>, paced: bool, soaks: bool) {
    let needs = "needs an objective beside latencyShape, which only compares: set errorRate or latency, or use a builtin check";
    if paced {
        doc.error("pace", format!("evidence {needs}"));
    }
    if soaks {
        doc.error("soak", needs);
    }
}

/// What is asked by name waits for its answer, unless told otherwise.
fn asked(
    objective: Objective,
    (no_data, cannot_measure): (Option<Policy>, Option<Policy>),
) -> Objective {
    Objective { no_data: no_data.unwrap_or(Policy::Hold), cannot_measure, ..objective }
}

/// `noData` and `cannotMeasure`.
fn policies(doc: &Doc<'_>) -> (Option<Policy>, Option<Policy>) {
    (doc.policy("noData"), doc.policy("cannotMeasure"))
}

fn threshold(doc: &Doc<'_>) -> Option<f64> {
    if doc.raw("threshold").is_none() {
        doc.is_required("threshold");
    }
    let millis = doc.number("threshold")?;
    if millis > 0.0 {
        units::slow(doc, "threshold", millis);
        return Some(millis);
    }
    doc.error("threshold", format!("must be more than 0 ms, not {millis}"));
    None
}

/// `slo`, as a share.
fn share(doc: &Doc<'_>) -> Option<f64> {
    if doc.raw("slo").is_none() {
        doc.is_required("slo");
    }
    let percent = doc.number("slo")?;
    let share = percent / 100.0;
    if (SHARE_MIN..1.0).contains(&share) {
        units::objective(doc, "slo", percent);
        return Some(share);
    }
    let least = SHARE_MIN * 100.0;
    doc.error("slo", format!("must be at least {least} and less than 100 percent, not {percent}"));
    None
}

fn margin(doc: &Doc<'_>, slo: Option<f64>) -> Margin {
    let usual = usual(slo.unwrap_or_default());
    let tolerance = doc.object_or_empty("tolerance");
    Margin {
        absolute: within(&tolerance, "absolute", 0.0, 100.0, usual.absolute * 100.0) / 100.0,
        relative: within(&tolerance, "relative", 0.1, 100.0, usual.relative),
    }
}

fn within(doc: &Doc<'_>, field: &str, low: f64, high: f64, default: f64) -> f64 {
    match doc.number(field) {
        None => default,
        Some(number) if (low..=high).contains(&number) => number,
        Some(number) => {
            doc.error(field, format!("must be between {low} and {high}, not {number}"));
            default
        }
    }
}

/// As bad as the primary and half an objective more.
fn usual(slo: f64) -> Margin {
    Margin { absolute: slo / 2.0, relative: 1.0 }
}

/// What Flagger's builtin checks ask for, where the guard itself names nothing of the kind.
fn derive(objectives: &mut Vec<Objective>, metrics: &[Metric]) {
    let named = |objectives: &[Objective], slow: bool| {
        objectives.iter().any(|o| o.asked && matches!(o.bad, Bad::SlowerThan(_)) == slow)
    };
    let (errors, latency) = (named(objectives, false), named(objectives, true));
    for metric in metrics {
        let Some(MetricSource::Builtin(builtin)) = metric.sources.first() else { continue };
        let derived = match builtin {
            Builtin::RequestSuccessRate if !errors => failures(metric.limit),
            Builtin::RequestDuration if !latency => slowness(metric.limit),
            Builtin::RequestSuccessRate | Builtin::RequestDuration => None,
        };
        if let Some(derived) = derived
            && objectives.len() <= LATENCIES_MAX
            && !objectives.iter().any(|known| known.bad == derived.bad)
        {
            objectives.push(derived);
        }
    }
}

fn failures(limit: Limit) -> Option<Objective> {
    let min = match limit {
        Limit::Range { min, max: _ } => min?,
        Limit::AtLeast(min) => min,
        Limit::AtMost(_) => return None,
    };
    // Nothing is asked of a success rate that may be 0 %.
    let slo = (min > 0.0).then_some((1.0 - min / 100.0).max(SHARE_MIN))?;
    // 1 - 0.99 is not quite 0.01.
    let slo = (slo * 1e9).round() / 1e9;
    Some(failing(slo, usual(slo), false))
}

fn slowness(limit: Limit) -> Option<Objective> {
    let max = match limit {
        Limit::Range { min: _, max } => max?,
        Limit::AtMost(max) => max,
        Limit::AtLeast(_) => return None,
    };
    (max > 0.0).then(|| slower(max, SLOW_SHARE, usual(SLOW_SHARE), false))
}
