//! One past release: what both rules would have done with it, and what it would have cost.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde_json::json;
use serin_core::judge::design::learn;
use serin_core::model::MetricSource;
use serin_core::observed::Answer;
use serin_providers::metric::{self, Resolved};

use super::counters::{self, Counted, Looks};
use super::guarded::Groups;
use super::history::{Curve, History};
use super::report::{Caught, IncidentReport, Release, Rule};
use super::{Incident, Outcome, Policy, checks, flagger, guarded, past};

/// Looks before a release, so that its first requests count from a base.
pub(super) const BEFORE_MS: i64 = 120_000;
/// A release may be named by the moment its image was set: its traffic is waited for this long.
pub(super) const WAIT_MS: i64 = 600_000;
/// Traffic that stops for longer has ended.
const PAUSE_MS: i64 = 300_000;

/// A release as the history has it.
pub(super) struct Replayed {
    pub(super) start: Timestamp,
    /// When nothing more is looked at.
    pub(super) end: Timestamp,
    pub(super) looks: Looks,
    pub(super) counts: Vec<Counted>,
    /// Metrics that never had data, in words.
    pub(super) unanswered: Vec<String>,
    pub(super) flagger: flagger::ApplyOrder,
    pub(super) checks: checks::ApplyOrder,
    pub(super) guard: Result<Option<guarded::ApplyOrder>, String>,
}

/// What happened at a release that began at this time.
pub(super) async fn replay(
    policy: &Policy,
    history: &History,
    time: Timestamp,
    known: &mut Groups,
) -> anyhow::Result<Release> {
    let asked = time.as_millisecond();
    let until = asked + WAIT_MS + policy.length_secs() * 1000;
    let from = asked - BEFORE_MS;
    let curves = counters::fetch(history, &policy.canary, from, until, false).await?;
    if curves.is_empty() {
        bail!("{}", past::nothing(history, &policy.canary, from, until).await?);
    }
    let Some(replayed) = evaluate(policy, history, &curves, (asked, until), known).await? else {
        return Ok(Release::silent(time));
    };
    Ok(told(policy, time, &replayed))
}

/// Plays both rules over what was counted; none without traffic. The guard goes by `known` groups of errors, and a release
/// that passes adds what it shows, as the operator does.
pub(super) async fn evaluate(
    policy: &Policy,
    history: &History,
    curves: &[Curve],
    (asked, until): (i64, i64),
    known: &mut Groups,
) -> anyhow::Result<Option<Replayed>> {
    let canary = &policy.canary;
    let looks = counters::looks(canary, curves, Timestamp::from_millisecond(asked)?);
    let counts = counters::count(&looks);
    let Some((first, last)) = traffic(&counts, asked) else { return Ok(None) };
    // The step clock counts in whole seconds.
    let start = Timestamp::from_second(first.div_euclid(1000))?;
    let interval = canary.spec.analysis.interval_secs * 1000;
    let longest = start.as_millisecond() + policy.length_secs() * 1000;
    let end = (last + 2 * looks.interval_ms).min(until).min(longest);
    let answers = answers(policy, history, start.as_millisecond(), end, interval).await?;
    let end = Timestamp::from_millisecond(end)?;
    let unanswered = past::unanswered(canary, &answers);
    let flagger = flagger::play(canary, &answers, start, end);
    let past = known_past(policy, &counts, start)?;
    let checks = checks::play(canary, &answers, &past, start, end);
    // What a promotion would have ended was counted in history as long as it went on.
    let over = match checks.outcome {
        Outcome::Passed => checks.at,
        Outcome::RolledBack | Outcome::Undecided => end,
    };
    let guard = guarded::watch(canary, &looks, &ladder(policy, &checks), over, known);
    if let Ok(Some(order)) = &guard {
        learn(known, &order.groups);
    }
    Ok(Some(Replayed { start, end, looks, counts, unanswered, flagger, checks, guard }))
}

/// When the weight changed; a release that the checks stopped is watched as if they had not.
fn ladder(policy: &Policy, checks: &checks::ApplyOrder) -> Vec<i64> {
    let interval = policy.canary.spec.analysis.interval_secs * 1000;
    let mut steps = checks.steps.clone();
    let rungs = serin_core::judge::design::weight_steps(&policy.canary.spec.analysis);
    while let Some(last) = steps.last()
        && steps.len() < rungs as usize
    {
        steps.push(last + interval);
    }
    steps
}

/// When the canary's requests began and ended, in milliseconds.
fn traffic(counts: &[Counted], asked: i64) -> Option<(i64, i64)> {
    let mut found: Option<(i64, i64)> = None;
    for pair in counts.windows(2) {
        let [before, now] = pair else { continue };
        if now.requests == before.requests || now.at <= asked {
            continue;
        }
        match &mut found {
            None if now.at - asked > WAIT_MS => return None,
            None => found = Some((before.at.max(asked), now.at)),
            Some((_, last)) if now.at - *last > PAUSE_MS => break,
            Some((_, last)) => *last = now.at,
        }
    }
    found
}

/// What the checks of a release have to know of the time before it.
fn known_past(
    policy: &Policy,
    counts: &[Counted],
    start: Timestamp,
) -> anyhow::Result<checks::Past> {
    let mut reach = BTreeMap::new();
    for (check, ..) in checks::sources(&policy.canary) {
        let query = query(policy, check)?;
        reach.extend(metric::reach_secs(&query).map(|secs| (check, secs)));
    }
    let moved = |pair: &&[Counted]| match pair {
        [before, now] => now.requests > before.requests && now.at <= start.as_millisecond(),
        _ => false,
    };
    let last = counts.windows(2).filter(moved).filter_map(|pair| pair.last()).next_back();
    let traffic_end = last.and_then(|last| Timestamp::from_millisecond(last.at).ok());
    Ok(checks::Past { reach, traffic_end })
}

/// What every metric said at every time that it is asked.
async fn answers(
    policy: &Policy,
    history: &History,
    start: i64,
    end: i64,
    interval: i64,
) -> anyhow::Result<checks::Answers> {
    let mut answers = checks::Answers::new();
    for (check, metric, _) in checks::sources(&policy.canary) {
        let query = query(policy, check)?;
        let curves = history
            .range(&query, start, end, interval)
            .await
            .with_context(|| format!("metric {}", metric.name))?;
        let mut said = BTreeMap::new();
        let mut at = start;
        while at <= end {
            said.insert(at, spoken(&curves, at));
            at += interval;
        }
        answers.insert(check, said);
    }
    Ok(answers)
}

/// The query of a check, as the operator would send it.
pub(super) fn query(policy: &Policy, check: serin_core::observed::Check) -> anyhow::Result<String> {
    let all = checks::sources(&policy.canary);
    let Some((_, metric, source)) = all.into_iter().find(|(known, ..)| *known == check) else {
        bail!("there is no such check");
    };
    let template = match source {
        MetricSource::Template { namespace, name, .. } => {
            let key = serin_core::model::Key::new(namespace, name);
            let Some(template) = policy.templates.get(&key) else {
                bail!("metric {}: MetricTemplate {key} is in none of the files", metric.name);
            };
            Some(template.clone())
        }
        MetricSource::Builtin(_) | MetricSource::Query(_) => None,
    };
    if let Some(kind) = template.as_ref().map(|template| template.provider.kind)
        && !kind.speaks_promql()
    {
        bail!(
            "metric {}: its query is for {}, and the history is that of a Prometheus: leave the metric out to try the rest of the policy",
            metric.name,
            kind.product
        );
    }
    // The answer comes from the history, wherever the provider's address leads.
    let template = template.map(|mut template| {
        (template.provider.secret, template.provider.address) = (None, None);
        template.provider.headers.clear();
        template
    });
    let resolved = template.as_ref().map(|template| Resolved { template, secret: None });
    let settings = serin_providers::Settings::default();
    let question = metric::question(&policy.canary, metric, source, resolved, &settings)
        .with_context(|| format!("metric {}", metric.name))?;
    Ok(question.query)
}

/// What the operator would have heard: the same reader reads it.
fn spoken(curves: &[Curve], at: i64) -> Answer {
    let result: Vec<_> = curves
        .iter()
        .filter_map(|curve| {
            let place = curve.points.binary_search_by_key(&at, |(time, _)| *time).ok()?;
            let (_, value) = curve.points.get(place)?;
            let text = match value {
                infinite if infinite.is_infinite() && *infinite > 0.0 => "+Inf".to_owned(),
                infinite if infinite.is_infinite() => "-Inf".to_owned(),
                value => value.to_string(),
            };
            Some(json!({"metric": curve.labels, "value": [at / 1000, text]}))
        })
        .collect();
    let data = json!({"resultType": "vector", "result": result});
    let body = json!({"status": "success", "data": data}).to_string();
    metric::answer(metric::prometheus_sample(&Response::new(Bytes::from(body))))
}

/// Requests of the canary, and failed ones, from its start up to a moment.
fn cost(replayed: &Replayed, at: Timestamp) -> (u64, u64) {
    let upto = |millis: i64| {
        let before = replayed.counts.iter().take_while(|counted| counted.at <= millis);
        before.last().copied().unwrap_or_default()
    };
    let (from, to) = (upto(replayed.start.as_millisecond()), upto(at.as_millisecond()));
    (to.requests.saturating_sub(from.requests), to.failed.saturating_sub(from.failed))
}

fn told(policy: &Policy, time: Timestamp, replayed: &Replayed) -> Release {
    let Replayed { start, end, looks, counts: _, unanswered, flagger, checks, guard } = replayed;
    let rule = |outcome, at: Timestamp, why: &str| {
        let (requests, failed) = cost(replayed, at);
        let seconds = at.duration_since(*start).as_secs_f64();
        Rule { outcome, time: at, seconds, requests, failed, why: why.to_owned() }
    };
    let (guard, mut notes) = match guard {
        Ok(Some(order)) => (Some(rule(order.outcome, order.at, &order.why)), Vec::new()),
        Ok(None) => (None, Vec::new()),
        Err(why) => (None, vec![why.clone()]),
    };
    let (_, others) = guarded::measurable(&policy.canary, looks);
    if guard.is_some() && !others.is_empty() {
        notes.push(format!(
            "the recorded histogram has no such bound, so the guard did without: {}",
            others.join(", ")
        ));
    }
    notes.extend(unanswered.iter().cloned());
    let gaps = looks.gaps(start.as_millisecond(), end.as_millisecond());
    notes.extend(gaps.into_iter().map(past::gap));
    Release {
        release: time,
        started: Some(*start),
        scraped_every_secs: Some(looks.interval_ms as f64 / 1000.0),
        flagger: Some(rule(flagger.outcome, flagger.at, &flagger.why)),
        checks: Some(rule(checks.outcome, checks.at, &checks.why)),
        guard,
        notes,
    }
}

/// Whether both rules would have caught what happened at a moment.
pub(super) async fn caught(
    policy: &Policy,
    history: &History,
    incident: &Incident,
    releases: &[Release],
    mut known: Groups,
) -> anyhow::Result<IncidentReport> {
    let Incident { name, time } = incident;
    let length = policy.length_secs();
    let around = releases.iter().rfind(|release| {
        let since = |start: Timestamp| time.duration_since(start).as_secs();
        release.started.is_some_and(|start| (0..=length).contains(&since(start)))
    });
    let own;
    let release = match around {
        Some(release) => release,
        None => {
            own = replay(policy, history, *time, &mut known).await?;
            &own
        }
    };
    let caught = |rule: &Option<Rule>| rule.as_ref().map(|rule| Caught::of(rule, *time));
    Ok(IncidentReport {
        name: name.clone(),
        time: *time,
        release_started: release.started,
        flagger: caught(&release.flagger),
        checks: caught(&release.checks),
        guard: caught(&release.guard),
        notes: release.notes.clone(),
    })
}
