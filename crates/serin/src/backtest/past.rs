//! What the past can be asked: times that have been, series that are there, and what is missing between.

use jiff::Timestamp;
use serin_core::model::Canary;
use serin_core::observed::{Answer, Check};

use super::checks::{self, Answers};
use super::counters::{REQUESTS, services};
use super::history::History;
use super::{BacktestArgs, Incident, Stretch};

/// More names than this help nobody to find theirs.
const NAMES_MAX: usize = 5;
/// More gaps than this are said to be many.
const GAPS_MAX: usize = 5;

/// Refuses times that the history cannot know.
pub(super) fn check(args: &BacktestArgs, history: &History, now: Timestamp) -> anyhow::Result<()> {
    let releases = args.release.iter().map(|time| (format!("--release {time}"), *time, *time));
    let incidents = args
        .incident
        .iter()
        .map(|Incident { name, time }| (format!("--incident {name}={time}"), *time, *time));
    let quiet =
        args.quiet.iter().map(|Stretch { from, to }| (format!("--quiet {from}..{to}"), *from, *to));
    for (name, from, to) in releases.chain(incidents).chain(quiet) {
        match history.span() {
            // A recording is as old as it says it is, whatever the clock here says.
            Some((first, last)) if to < first || from > last => {
                anyhow::bail!("{name}: the recording is from {first} to {last}")
            }
            None if history.is_recording() => anyhow::bail!("--history: the recording is empty"),
            None if to > now => anyhow::bail!("{name}: that is yet to come, it is {now:.0}"),
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// Why there is no series of the canary's services between two times, in milliseconds.
pub(super) async fn nothing(
    history: &History,
    canary: &Canary,
    from: i64,
    to: i64,
) -> anyhow::Result<String> {
    let query = format!("count by (service) ({REQUESTS})");
    let step = ((to - from) / 20).max(60_000);
    let found = history.range(&query, from, to, step).await?;
    let mut names: Vec<&str> =
        found.iter().filter_map(|curve| curve.labels.get("service").map(String::as_str)).collect();
    let all = names.len();
    names.truncate(NAMES_MAX);
    let more =
        if all > NAMES_MAX { format!(", and {} more", all - NAMES_MAX) } else { String::new() };
    let time = |millis| Timestamp::from_millisecond(millis).unwrap_or_default();
    let window = format!("from {} to {}", time(from), time(to));
    let wanted = services(canary);
    Ok(match names.is_empty() {
        true => format!(
            "there is no {REQUESTS} {window}: is that time kept, and is Traefik scraped, with addServicesLabels?"
        ),
        false => format!(
            "there is no {REQUESTS}{{{wanted}}} {window}; there is: {}{more}",
            names.join(", ")
        ),
    })
}

/// Metrics that said nothing at any time: perhaps their queries do not fit this history.
pub(super) fn unanswered(canary: &Canary, answers: &Answers) -> Vec<String> {
    let silent = |check: &Check| {
        let nothing = |answer: &Answer| matches!(answer, Answer::NoData(_));
        answers.get(check).is_some_and(|said| said.len() > 1 && said.values().skip(1).all(nothing))
    };
    let sources = checks::sources(canary).into_iter().filter(|(check, ..)| silent(check));
    sources
        .map(|(_, metric, _)| {
            let name = &metric.name;
            format!("metric {name} had no data at any time of this release: does its query fit this history?")
        })
        .collect()
}

/// A gap in words.
pub(super) fn gap((from, to): (i64, i64)) -> String {
    let time = |millis| Timestamp::from_millisecond(millis).unwrap_or_default();
    let secs = (to - from) as f64 / 1000.0;
    format!(
        "nothing was recorded for {secs:.0} s, from {} to {}: a check that asked meanwhile had little or no data",
        time(from),
        time(to)
    )
}

/// Keeps each note once, and not more than some.
pub(super) fn shorten(notes: &mut Vec<String>) {
    let mut seen = std::collections::BTreeSet::new();
    notes.retain(|note| seen.insert(note.clone()));
    let over = notes.len().saturating_sub(GAPS_MAX);
    if over > 0 {
        notes.truncate(GAPS_MAX);
        notes.push(format!("and {over} notes more like these"));
    }
}
