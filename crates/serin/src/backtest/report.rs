//! What a backtest found, for people and for machines.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use serin_core::parse::INTERVAL_FLOOR_SECS;

use super::{Outcome, Policy, chance};

/// Releases of nothing, and how many of them a rule stopped.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Alarms {
    pub(super) releases: u64,
    pub(super) false_alarms: u64,
    /// The share of releases, and where it may lie with 95 % confidence.
    pub(super) share: Option<f64>,
    pub(super) low: f64,
    pub(super) high: f64,
    /// The first of them, as it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) example: Option<String>,
}

impl Alarms {
    pub(super) fn add(&mut self, outcome: Outcome, why: &str) {
        self.releases += 1;
        if outcome == Outcome::RolledBack {
            self.false_alarms += 1;
            self.example.get_or_insert_with(|| why.to_owned());
        }
    }

    pub(super) fn weighed(mut self) -> Self {
        (self.low, self.high) = chance::interval(self.false_alarms, self.releases);
        self.share = (self.releases > 0).then(|| self.false_alarms as f64 / self.releases as f64);
        self
    }
}

/// What quiet days say of a policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Quiet {
    pub(super) from: jiff::Timestamp,
    pub(super) to: jiff::Timestamp,
    /// How long one release takes.
    pub(super) release_secs: i64,
    /// How many of them there were.
    pub(super) tried: u64,
    /// Stretches without enough traffic.
    pub(super) skipped: u64,
    /// Stretches in which another version had requests as well: they were not quiet.
    pub(super) unquiet: u64,
    pub(super) flagger: Option<Alarms>,
    pub(super) checks: Option<Alarms>,
    pub(super) guard: Option<Alarms>,
    pub(super) notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    canary: String,
    history: String,
    /// The policy's step clock.
    interval_secs: i64,
    threshold: u32,
    metrics: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    alpha: Option<f64>,
    releases: Vec<Release>,
    /// Releases in which no incident was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<Stopped>,
    incidents: Vec<IncidentReport>,
    quiet: Vec<Quiet>,
    notes: Vec<String>,
}

/// One rule in one release.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    pub(super) outcome: Outcome,
    pub(super) time: Timestamp,
    /// After the first share.
    pub(super) seconds: f64,
    /// What the canary had answered until then, and how much of that was a failure.
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) why: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Release {
    /// As it was named.
    pub(super) release: Timestamp,
    /// When the canary's requests began; none if there were none.
    pub(super) started: Option<Timestamp>,
    pub(super) scraped_every_secs: Option<f64>,
    /// Flagger as it is; then the same metrics on Serin's step clock; then the guard.
    pub(super) flagger: Option<Rule>,
    pub(super) checks: Option<Rule>,
    pub(super) guard: Option<Rule>,
    pub(super) notes: Vec<String>,
}

impl Release {
    pub(super) fn silent(release: Timestamp) -> Self {
        let note = "the gateway counted no request of the canary in the ten minutes after it";
        Self {
            release,
            started: None,
            scraped_every_secs: None,
            flagger: None,
            checks: None,
            guard: None,
            notes: vec![note.to_owned()],
        }
    }
}

/// Whether a rule would have caught an incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Caught {
    pub(super) caught: bool,
    /// From the incident to the rollback; below zero if the release was without traffic before.
    pub(super) seconds: Option<f64>,
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) why: String,
}

impl Caught {
    pub(super) fn of(rule: &Rule, incident: Timestamp) -> Self {
        let Rule { outcome, time, seconds: _, requests, failed, why } = rule;
        let caught = *outcome == Outcome::RolledBack;
        Self {
            caught,
            seconds: caught.then(|| time.duration_since(incident).as_secs_f64()),
            requests: *requests,
            failed: *failed,
            why: why.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IncidentReport {
    pub(super) name: String,
    pub(super) time: Timestamp,
    pub(super) release_started: Option<Timestamp>,
    pub(super) flagger: Option<Caught>,
    pub(super) checks: Option<Caught>,
    pub(super) guard: Option<Caught>,
    pub(super) notes: Vec<String>,
}

/// How many releases each rule stopped, with the 95 % interval of the share.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stopped {
    flagger: Share,
    checks: Share,
    guard: Share,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Share {
    releases: u64,
    stopped: u64,
    low: f64,
    high: f64,
}

impl Share {
    fn of<'a>(rules: impl Iterator<Item = &'a Rule>) -> Self {
        let (mut releases, mut stopped) = (0, 0);
        for rule in rules {
            releases += 1;
            stopped += u64::from(rule.outcome == Outcome::RolledBack);
        }
        let (low, high) = chance::interval(stopped, releases);
        Self { releases, stopped, low, high }
    }
}

impl Report {
    pub(super) fn new(
        policy: &Policy,
        history: String,
        releases: Vec<Release>,
        incidents: Vec<IncidentReport>,
        quiet: Vec<Quiet>,
    ) -> Self {
        let analysis = &policy.canary.spec.analysis;
        let mut notes = Vec::new();
        if analysis.interval_secs < INTERVAL_FLOOR_SECS {
            notes.push(format!("Flagger itself takes no interval below {INTERVAL_FLOOR_SECS} s."));
        }
        if !analysis.webhooks.is_empty() {
            notes.push("Webhooks are not recorded: all of them are taken to approve.".to_owned());
        }
        if analysis.guard.is_none() {
            notes.push("This policy has no guard.".to_owned());
        }
        if analysis.evidence_pace().is_some() {
            let note = "pace: evidence is not played: the weights are those of history, and the checks' are the steps'.";
            notes.push(note.to_owned());
        }
        let hit = |release: &&Release| {
            !incidents
                .iter()
                .any(|i| i.release_started.is_some() && i.release_started == release.started)
        };
        let calm: Vec<&Release> = releases.iter().filter(hit).collect();
        let stopped = calm.iter().any(|release| release.started.is_some()).then(|| Stopped {
            flagger: Share::of(calm.iter().filter_map(|release| release.flagger.as_ref())),
            checks: Share::of(calm.iter().filter_map(|release| release.checks.as_ref())),
            guard: Share::of(calm.iter().filter_map(|release| release.guard.as_ref())),
        });
        Self {
            canary: policy.canary.key.to_string(),
            history,
            interval_secs: analysis.interval_secs,
            threshold: analysis.threshold,
            metrics: analysis.metrics.len(),
            alpha: analysis.guard.as_ref().map(|guard| guard.alpha),
            releases,
            stopped,
            incidents,
            quiet,
            notes,
        }
    }
}

impl Report {
    /// Whether there was any release to judge.
    pub(super) fn tried(&self) -> bool {
        let Self { releases, incidents, quiet, .. } = self;
        releases.iter().any(|release| release.started.is_some())
            || incidents.iter().any(|incident| incident.release_started.is_some())
            || quiet.iter().any(|quiet| quiet.tried > 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            canary,
            history,
            interval_secs,
            threshold,
            metrics,
            alpha,
            releases,
            stopped,
            incidents,
            quiet,
            notes,
        } = self;
        writeln!(f, "{canary} over {history}")?;
        writeln!(
            f,
            "  flagger  {metrics} {} every {interval_secs} s, threshold {threshold}, as Flagger acts: an interval later",
            if *metrics == 1 { "metric" } else { "metrics" }
        )?;
        writeln!(f, "  checks   the same in Serin: at once")?;
        if let Some(alpha) = alpha {
            let percent = alpha * 100.0;
            writeln!(f, "  guard    at most {percent} % of healthy releases rolled back")?;
        }
        for release in releases {
            write!(f, "\n{release}")?;
        }
        if let Some(Stopped { flagger, checks, guard }) = stopped {
            writeln!(f, "\nReleases without a named incident that were rolled back:")?;
            writeln!(f, "  flagger  {flagger}\n  checks   {checks}")?;
            if guard.releases > 0 {
                writeln!(f, "  guard    {guard}")?;
            }
        }
        for incident in incidents {
            write!(f, "\n{incident}")?;
        }
        for stretch in quiet {
            write!(f, "\n{stretch}")?;
        }
        for note in notes {
            writeln!(f, "\n{note}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { releases, stopped, low, high } = self;
        share(f, *stopped, *releases, *low, *high)
    }
}

fn share(f: &mut fmt::Formatter<'_>, k: u64, n: u64, low: f64, high: f64) -> fmt::Result {
    let percent = |share: f64| format!("{:.2}", share * 100.0);
    if n == 0 {
        return write!(f, "none tried");
    }
    let of = percent(k as f64 / n as f64);
    write!(f, "{k} of {n} ({of} %, between {} % and {} %)", percent(low), percent(high))
}

/// A line for each rule there is.
fn rows<T: fmt::Display>(f: &mut fmt::Formatter<'_>, rules: [Option<&T>; 3]) -> fmt::Result {
    for (name, rule) in ["flagger  ", "checks   ", "guard    "].into_iter().zip(rules) {
        if let Some(rule) = rule {
            writeln!(f, "  {name}{rule}")?;
        }
    }
    Ok(())
}

fn lines(f: &mut fmt::Formatter<'_>, notes: &[String]) -> fmt::Result {
    notes.iter().try_for_each(|note| writeln!(f, "  note     {note}"))
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { outcome, time: _, seconds, requests, failed, why } = self;
        let said = match outcome {
            Outcome::RolledBack => "rolled back",
            Outcome::Passed => "nothing against it",
            Outcome::Undecided => "undecided",
        };
        write!(f, "{said} after {seconds:.0} s, {failed} of {requests} requests failed")?;
        if *outcome != Outcome::Passed && !why.is_empty() {
            write!(f, ": {why}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { release, started, scraped_every_secs, flagger, checks, guard, notes } = self;
        write!(f, "Release {release}")?;
        if let (Some(started), Some(secs)) = (started, scraped_every_secs) {
            write!(f, ", first requests at {started}, counted every {secs} s")?;
        }
        writeln!(f)?;
        rows(f, [flagger.as_ref(), checks.as_ref(), guard.as_ref()])?;
        lines(f, notes)
    }
}

impl fmt::Display for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { caught: _, seconds, requests, failed, why } = self;
        match seconds {
            Some(before) if *before < 0.0 => {
                write!(f, "rolled back {:.0} s before it: {why}", -before)
            }
            Some(secs) => {
                write!(f, "caught after {secs:.0} s, {failed} of {requests} requests failed: {why}")
            }
            None => write!(f, "not caught, {failed} of {requests} requests failed"),
        }
    }
}

impl fmt::Display for IncidentReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, time, release_started, flagger, checks, guard, notes } = self;
        write!(f, "Incident {name} at {time}")?;
        match release_started {
            Some(started) => writeln!(f, ", in the release that began at {started}")?,
            None => writeln!(f, ", in no release")?,
        }
        rows(f, [flagger.as_ref(), checks.as_ref(), guard.as_ref()])?;
        lines(f, notes)
    }
}

impl fmt::Display for Alarms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { releases, false_alarms, share: _, low, high, example } = self;
        share(f, *false_alarms, *releases, *low, *high)?;
        match example {
            Some(example) => write!(f, ", the first: {example}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from,
            to,
            release_secs,
            tried: _,
            skipped,
            unquiet,
            flagger,
            checks,
            guard,
            notes,
        } = self;
        writeln!(
            f,
            "Quiet from {from} to {to}: the running version against itself, {release_secs} s each; false alarms:"
        )?;
        rows(f, [flagger.as_ref(), checks.as_ref(), guard.as_ref()])?;
        if *unquiet > 0 {
            writeln!(
                f,
                "  note     {unquiet} stretches were not quiet and are left out: another version had requests, as in a release"
            )?;
        }
        if *skipped > 0 {
            writeln!(f, "  note     {skipped} stretches had too little traffic and are left out")?;
        }
        lines(f, notes)
    }
}
