//! Quiet days: the running version is released against itself, again and again, and whoever complains is wrong.
//!
//! Every request that the gateway counted goes to the released half with the probability of the canary's weight at that
//! time, as a weighted route would send it. Both halves are then read as two versions: by the same queries, in memory, and
//! by the guard.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use serin_core::model::Canary;
use serin_local::prometheus::history::History as Recorded;

use super::chance::Coin;
use super::counters::{self, BUCKET, REQUESTS, TIMED};
use super::history::{Curve, History};
use super::release::{self, BEFORE_MS};
use super::report::{Alarms, Quiet};
use super::{Policy, Stretch, checks, past};

/// More releases than this say nothing new, and take long.
const WINDOWS_MAX: usize = 5000;
/// Fewer requests in a whole window are no traffic to release into.
const REQUESTS_MIN: f64 = 20.0;

/// Counts the false alarms of both rules.
pub(super) async fn alarms(
    policy: &Policy,
    history: &History,
    stretch: Stretch,
    seed: u64,
) -> anyhow::Result<Quiet> {
    let (policy, mut notes) = gateway_only(policy)?;
    let Stretch { from, to } = stretch;
    let length = policy.length_secs();
    let windows = usize::try_from((to.as_second() - from.as_second()) / length).unwrap_or(0);
    if windows == 0 {
        bail!("it is shorter than one release, which takes up to {length} s");
    }
    if windows > WINDOWS_MAX {
        bail!("{windows} releases fit into it, more than {WINDOWS_MAX}: name less time");
    }
    let has_checks = !policy.canary.spec.analysis.metrics.is_empty();
    let (mut flagger, mut checks) = (Alarms::default(), Alarms::default());
    let (mut guard, mut guarded, mut skipped) = (Alarms::default(), false, 0);
    let (mut known, mut unquiet) = (false, 0);
    let mut groups = policy.canary.status.dispersion.clone();
    for window in 0..windows as i64 {
        let begin = (from.as_second() + window * length) * 1000;
        let end = begin + length * 1000;
        let curves = counters::fetch(history, &policy.canary, begin - BEFORE_MS, end, true).await?;
        known |= !curves.is_empty();
        let mut coin = Coin::new(seed ^ begin.unsigned_abs());
        let split = Split { policy: &policy, begin };
        let Some((halves, requests)) = split.halves(&curves, &mut coin) else {
            unquiet += 1;
            continue;
        };
        if requests < REQUESTS_MIN {
            skipped += 1;
            continue;
        }
        let memory = remember(&halves)?;
        let replayed =
            release::evaluate(&policy, &memory, &halves, (begin, end), &mut groups).await?;
        let Some(replayed) = replayed else {
            skipped += 1;
            continue;
        };
        flagger.add(replayed.flagger.outcome, &replayed.flagger.why);
        checks.add(replayed.checks.outcome, &replayed.checks.why);
        let (start, end) = (replayed.start.as_millisecond(), replayed.end.as_millisecond());
        notes.extend(replayed.looks.gaps(start, end).into_iter().map(past::gap));
        match replayed.guard {
            Ok(Some(order)) => {
                guarded = true;
                guard.add(order.outcome, &order.why);
            }
            Ok(None) => {}
            Err(why) if notes.contains(&why) => {}
            Err(why) => notes.push(why),
        }
    }
    if !known {
        let (from, to) = (from.as_millisecond(), to.as_millisecond());
        bail!("{}", past::nothing(history, &policy.canary, from, to).await?);
    }
    past::shorten(&mut notes);
    Ok(Quiet {
        from,
        to,
        release_secs: length,
        tried: flagger.releases,
        skipped,
        unquiet,
        flagger: has_checks.then(|| flagger.weighed()),
        checks: has_checks.then(|| checks.weighed()),
        guard: guarded.then(|| guard.weighed()),
        notes,
    })
}

/// The policy without what cannot be halved: only the gateway's counters tell single requests.
fn gateway_only(policy: &Policy) -> anyhow::Result<(Policy, Vec<String>)> {
    let mut notes = Vec::new();
    let mut kept = Vec::new();
    let all = checks::sources(&policy.canary);
    for (place, metric) in policy.canary.spec.analysis.metrics.iter().enumerate() {
        let mut counted = true;
        for (check, ..) in all.iter().filter(|(check, ..)| {
            matches!(check, serin_core::observed::Check::Metric(of, _) if *of == place)
        }) {
            let query = release::query(policy, *check)?;
            counted &= counters::is_counted(&query);
        }
        if counted {
            kept.push(metric.clone());
        } else {
            notes.push(format!(
                "metric {} is left out: it reads something else than the gateway's counters, which cannot be halved",
                metric.name
            ));
        }
    }
    let mut canary = policy.canary.clone();
    canary.spec.analysis.metrics = kept;
    Ok((Policy { canary, templates: policy.templates.clone() }, notes))
}

/// The labels of a series without `le`, and its buckets in rising order with their labels as they are written.
type Family<'a> = BTreeMap<BTreeMap<&'a str, &'a str>, Group<'a>>;

/// The series that count the same requests.
#[derive(Default)]
struct Group<'a> {
    requests: Option<&'a Curve>,
    timed: Option<&'a Curve>,
    buckets: Vec<(f64, &'a Curve)>,
}

impl<'a> Group<'a> {
    fn lead(&self) -> Option<&'a Curve> {
        self.timed.or(self.requests)
    }
}

/// Whether a counter counted anything.
fn grows(curve: &Curve) -> bool {
    curve.points.windows(2).any(|pair| pair[0].1 != pair[1].1)
}

/// Whether a service's name is the canary's, in either of Traefik's ways.
fn is_canary(policy: &Policy, service: &str) -> bool {
    let name = policy.canary.spec.service.canary_name();
    service.contains(&format!("-{name}-")) || service.contains(&format!("_{name}_"))
}

struct Split<'a> {
    policy: &'a Policy,
    begin: i64,
}

/// A counter as it grows in both halves: canary and primary.
type Both = (u64, u64);

impl Split<'_> {
    /// Both halves as series, and how many requests the canary's half has; none if more than one version had requests.
    fn halves(&self, curves: &[Curve], coin: &mut Coin) -> Option<(Vec<Curve>, f64)> {
        let mut out = Vec::new();
        let mut requests = 0.0;
        let mut families = families(curves);
        // The gateway goes on showing what it once counted.
        let running: BTreeSet<&str> = families
            .iter()
            .filter(|(_, group)| group.lead().is_some_and(grows))
            .filter_map(|(labels, _)| labels.get("service").copied())
            .collect();
        if running.len() > 1 || running.iter().any(|service| is_canary(self.policy, service)) {
            return None;
        }
        families.retain(|labels, _| labels.get("service").is_some_and(|s| running.contains(s)));
        for group in families.values_mut() {
            group.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            requests += self.group(group, coin, &mut out);
        }
        Some((out, requests))
    }

    /// The canary's share of the requests at a time.
    fn share(&self, at: i64) -> f64 {
        let since = (at - self.begin) / 1000;
        let interval = self.policy.canary.spec.analysis.interval_secs.max(1);
        if since <= 0 {
            return 0.0;
        }
        let Some(ladder) = self.policy.canary.spec.analysis.schedule.ladder() else {
            // Both run, and how many users the canary has is not known beforehand.
            return 0.5;
        };
        let step = usize::try_from((since - 1) / interval).unwrap_or(usize::MAX);
        let step = step.min(ladder.len().saturating_sub(1));
        ladder.get(step).map_or(0.0, |share| f64::from(share.percent()) / 100.0)
    }

    /// Deals every request of a group to a half, with all that is counted of it.
    fn group(&self, group: &Group<'_>, coin: &mut Coin, out: &mut Vec<Curve>) -> f64 {
        let Some(lead) = group.lead() else { return 0.0 };
        let mut sums: Vec<Both> = vec![(0, 0); group.buckets.len()];
        let (mut timed, mut counted): (Both, Both) = ((0, 0), (0, 0));
        let mut made = Made::new(self.policy, group);
        let mut last = (0.0, 0.0, vec![0.0; group.buckets.len()]);
        for (place, (at, _)) in lead.points.iter().enumerate() {
            let value = |curve: Option<&Curve>| curve.map_or(0.0, |curve| value_at(curve, *at));
            let buckets: Vec<f64> =
                group.buckets.iter().map(|(_, curve)| value_at(curve, *at)).collect();
            let now = (value(group.timed), value(group.requests), buckets);
            // The first values are what was before.
            let grown = |now: f64, last: f64| {
                let grown = if now < last { now } else { now - last };
                if place == 0 { 0 } else { grown.max(0.0) as u64 }
            };
            let share = self.share(*at);
            let (all, requests) = (grown(now.0, last.0), grown(now.1, last.1));
            let mut below = 0;
            let mut dealt = (0, 0);
            for (i, sum) in sums.iter_mut().enumerate() {
                let within = grown(now.2[i], last.2[i]).clamp(below, all.max(below));
                dealt = deal(dealt, within - below, share, coin);
                below = within;
                *sum = (sum.0 + dealt.0, sum.1 + dealt.1);
            }
            dealt = deal(dealt, all.saturating_sub(below), share, coin);
            timed = (timed.0 + dealt.0, timed.1 + dealt.1);
            // Counted and timed are the same requests, unless a scrape came between the two.
            let of = if group.timed.is_some() && requests == all {
                dealt
            } else {
                deal((0, 0), requests, share, coin)
            };
            counted = (counted.0 + of.0, counted.1 + of.1);
            made.push(*at, counted, timed, &sums);
            last = now;
        }
        let dealt = if group.requests.is_some() { counted.0 } else { timed.0 };
        made.finish(out);
        dealt as f64
    }
}

fn deal(dealt: Both, more: u64, share: f64, coin: &mut Coin) -> Both {
    let canary = coin.binomial(more, share);
    (dealt.0 + canary, dealt.1 + more - canary)
}

/// The value at a time, or the last before it.
fn value_at(curve: &Curve, at: i64) -> f64 {
    let place = curve.points.partition_point(|(time, _)| *time <= at);
    place.checked_sub(1).and_then(|place| curve.points.get(place)).map_or(0.0, |(_, value)| *value)
}

fn families(curves: &[Curve]) -> Family<'_> {
    let mut families = Family::new();
    for curve in curves {
        let labels = curve.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let key = labels.filter(|(name, _)| !["__name__", "le"].contains(name)).collect();
        let group: &mut Group<'_> = families.entry(key).or_default();
        let le = || curve.labels.get("le").and_then(|le| le.trim_start_matches('+').parse().ok());
        match curve.labels.get("__name__").map(String::as_str) {
            Some(REQUESTS) => group.requests = Some(curve),
            Some(TIMED) => group.timed = Some(curve),
            Some(BUCKET) => group.buckets.extend(le().map(|le: f64| (le, curve))),
            Some(_) | None => {}
        }
    }
    families
}

/// The series of both halves while they are made.
struct Made {
    /// Canary and primary, by turns; requests, timed, then the buckets.
    curves: Vec<Curve>,
}

impl Made {
    fn new(policy: &Policy, group: &Group<'_>) -> Self {
        let sides = [service(&policy.canary, true), service(&policy.canary, false)];
        let sources = [group.requests, group.timed].into_iter().flatten();
        let sources = sources.chain(group.buckets.iter().map(|(_, curve)| *curve));
        let curves = sources.flat_map(|curve| {
            sides.clone().map(|side| {
                let mut labels = curve.labels.clone();
                labels.insert("service".to_owned(), side);
                Curve { labels, points: Vec::with_capacity(curve.points.len()) }
            })
        });
        Self { curves: curves.collect() }
    }

    fn push(&mut self, at: i64, counted: Both, timed: Both, buckets: &[Both]) {
        let mut places = self.curves.chunks_exact_mut(2);
        let heads = [(REQUESTS, counted), (TIMED, timed)];
        let mut pending = heads.into_iter().peekable();
        let mut buckets = buckets.iter();
        while let Some([canary, primary]) = places.next() {
            let name = canary.labels.get("__name__").map(String::as_str).unwrap_or_default();
            let head = loop {
                match pending.next_if(|(head, _)| *head != name && name != BUCKET) {
                    Some(_) => {}
                    None => break pending.next_if(|(head, _)| *head == name),
                }
            };
            let value = match head {
                Some((_, value)) => value,
                None => buckets.next().copied().unwrap_or_default(),
            };
            canary.points.push((at, value.0 as f64));
            primary.points.push((at, value.1 as f64));
        }
    }

    /// A series begins with its first request, as a gateway shows it.
    fn finish(self, out: &mut Vec<Curve>) {
        // The buckets of a histogram begin together.
        let begins = |curve: &Curve| curve.points.iter().find(|(_, v)| *v > 0.0).map(|(at, _)| *at);
        for side in 0..2 {
            let curves: Vec<&Curve> = self.curves.iter().skip(side).step_by(2).collect();
            let Some(first) = curves.iter().filter_map(|curve| begins(curve)).min() else {
                continue;
            };
            out.extend(curves.into_iter().map(|curve| {
                let points = curve.points.iter().filter(|(at, _)| *at >= first).copied();
                Curve { labels: curve.labels.clone(), points: points.collect() }
            }));
        }
    }
}

/// A half's name, as the gateway would give it.
fn service(canary: &Canary, released: bool) -> String {
    let service = &canary.spec.service;
    let name = if released { service.canary_name() } else { service.primary_name() };
    format!("{}-{name}-{}@kubernetescrd", canary.key.namespace, service.port)
}

/// A history of the halves, for the queries.
fn remember(curves: &[Curve]) -> anyhow::Result<History> {
    let mut recorded = Recorded::default();
    for Curve { labels, points } in curves {
        for (at, value) in points {
            recorded.add(labels.clone(), *at, *value).map_err(anyhow::Error::msg)?;
        }
    }
    History::recorded(recorded)
}
