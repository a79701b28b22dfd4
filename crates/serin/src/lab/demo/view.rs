//! What the terminal shows: lines that stay, and below them a picture that is redrawn in place.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use serin_core::status::{Phase, Status};
use serin_local::load::{Snapshot, Tally, UNVERSIONED};
use terminal_size::{Width, terminal_size};

/// Of the bar that stands for the weight.
const BAR: usize = 40;
const WIDTH: usize = 80;
/// How evidence begins that speaks for the canary.
const HEALTHY: &str = "nothing against it";
/// Checks of one round that are shown.
const CHECKS_MAX: usize = 5;
/// Without a change, a pipe hears of us this often.
const QUIET_MAX: Duration = Duration::from_secs(10);

const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// A moment of the story.
pub(super) struct Frame<'a> {
    pub(super) elapsed: Duration,
    pub(super) title: &'a str,
    pub(super) status: &'a Status,
    pub(super) load: Option<&'a Snapshot>,
    /// Version that is being released, if any.
    pub(super) canary: &'a str,
    /// What the guard knows at this moment.
    pub(super) evidence: Option<&'a str>,
}

pub(super) struct View {
    terminal: bool,
    color: bool,
    /// Lines of the picture that are on the screen.
    drawn: usize,
    last: Option<(Option<Phase>, u8, String)>,
    spoken: Duration,
    /// The evidence that a pipe was told last.
    told: String,
}

impl View {
    pub(super) fn new(terminal: bool) -> Self {
        let color = terminal && std::env::var_os("NO_COLOR").is_none();
        let (spoken, told) = (Duration::ZERO, String::new());
        Self { terminal, color, drawn: 0, last: None, spoken, told }
    }

    /// A line that stays.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.put(&format!("{text}\n"), "")
    }

    /// Draws the picture, and a line that stays if the release has moved on.
    pub(super) fn show(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let news = self.news(frame);
        let picture = if self.terminal { picture(frame, self.color) } else { String::new() };
        if news.is_empty() && picture.is_empty() {
            return Ok(());
        }
        self.put(&news, &picture)
    }

    /// Lets the picture stand.
    pub(super) fn leave(&mut self) -> io::Result<()> {
        self.drawn = 0;
        io::stdout().flush()
    }

    fn news(&mut self, frame: &Frame<'_>) -> String {
        let reason = frame.status.last_reason.clone().unwrap_or_default();
        let now = (frame.status.phase, frame.status.canary_weight, reason.code.clone());
        let quiet = self.terminal || frame.elapsed < self.spoken + QUIET_MAX;
        if frame.status.phase.is_none() || reason.code == "AtRest" && quiet {
            return String::new();
        }
        if self.last.as_ref() == Some(&now) && quiet {
            // What speaks against a canary is told as it grows.
            return self.guard(frame, true);
        }
        self.last = Some(now);
        self.spoken = frame.elapsed;
        let mut line = format!(
            "{:>6.1} s  {:<12} {:>3} %",
            frame.elapsed.as_secs_f64(),
            frame.status.phase.map_or("", Phase::name),
            frame.status.canary_weight,
        );
        for (version, tally) in versions(frame) {
            let _infallible = write!(line, "  {version} {} {}", rate(tally), p99(tally));
        }
        line = format!("{line}  {}: {}\n", reason.code, reason.message);
        line + &self.guard(frame, false)
    }

    /// The evidence for a pipe, which has no picture of it.
    fn guard(&mut self, frame: &Frame<'_>, only_against: bool) -> String {
        let Some(evidence) = frame.evidence.filter(|_| !self.terminal) else {
            return String::new();
        };
        let healthy = evidence.starts_with(HEALTHY);
        if (only_against && healthy) || (!healthy && evidence == self.told) {
            return String::new();
        }
        evidence.clone_into(&mut self.told);
        match only_against {
            true => format!("{:>6.1} s  guard: {evidence}\n", frame.elapsed.as_secs_f64()),
            false => format!("{:>10}guard: {evidence}\n", ""),
        }
    }

    fn put(&mut self, news: &str, picture: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.drawn > 0 {
            write!(out, "\x1b[{}A\x1b[J", self.drawn)?;
        }
        out.write_all(news.as_bytes())?;
        out.write_all(picture.as_bytes())?;
        self.drawn = picture.lines().count();
        out.flush()
    }
}

/// Versions that have answered; what the gateway itself answers has none.
fn versions<'a>(frame: &Frame<'a>) -> impl Iterator<Item = (&'a str, &'a Tally)> {
    let all = frame.load.into_iter().flat_map(|load| &load.by_version);
    all.filter(|(version, _)| *version != UNVERSIONED)
        .map(|(version, tally)| (version.as_str(), tally))
}

pub(super) fn rate(tally: &Tally) -> String {
    tally.success_rate().map_or("-".to_owned(), |rate| format!("{:.2} %", 100.0 * rate))
}

pub(super) fn p99(tally: &Tally) -> String {
    tally.quantile(0.99).map_or("-".to_owned(), |seconds| format!("{:.0} ms", 1000.0 * seconds))
}

fn picture(frame: &Frame<'_>, color: bool) -> String {
    let paint = |code: &str, text: &str| match color {
        true => format!("{code}{text}{PLAIN}"),
        false => text.to_owned(),
    };
    let width = terminal_size().map_or(WIDTH, |(Width(width), _)| usize::from(width)).max(40);
    let Frame { elapsed, title, status, load: _, canary, evidence } = frame;
    let weight = usize::from(status.canary_weight.min(100));
    let full = weight * BAR / 100;
    let bar = format!("{}{}", "#".repeat(full), ".".repeat(BAR - full));
    let phase = status.phase.map_or("", Phase::name);
    let phase = match status.phase {
        Some(Phase::Failed) => paint(RED, phase),
        Some(Phase::Succeeded) => paint(GREEN, phase),
        _ => paint(BOLD, phase),
    };
    let reason = status.last_reason.clone().unwrap_or_default();
    let why = cut(&format!("  why     {}: {}", reason.code, reason.message), width);
    let title = cut(&format!("{title}, {:.0} s", elapsed.as_secs_f64()), width);
    let mut text = format!(
        "\n{}\n  phase   {phase}\n  weight  [{bar}] {weight} %\n{why}\n\n",
        paint(BOLD, &title)
    );
    text += &cut(
        &format!(
            "  {:<10}{:<9}{:>9}{:>9}{:>12}{:>10}",
            "version", "", "requests", "failed", "success", "p99"
        ),
        width,
    );
    text.push('\n');
    for (version, tally) in versions(frame) {
        let role = if version == *canary && weight > 0 { "canary" } else { "" };
        let row = format!(
            "  {version:<10}{role:<9}{:>9}{:>9}{:>12}{:>10}",
            tally.requests,
            tally.bad,
            rate(tally),
            p99(tally)
        );
        let row = cut(&row, width);
        text += &if tally.bad > 0 { paint(RED, &row) } else { row };
        text.push('\n');
    }
    if let Some(evidence) = evidence {
        text += &cut(&format!("  guard   {evidence}"), width);
        text.push('\n');
    }
    // The last round.
    let last = status.checks.last().and_then(|check| check.time);
    for check in status.checks.iter().filter(|check| check.time == last).take(CHECKS_MAX) {
        let value = check.value.map_or("nothing".to_owned(), |value| format!("{value:.2}"));
        let row =
            format!("  check   {} = {value} ({}): {}", check.name, check.limit, check.verdict);
        text += &cut(&row, width);
        text.push('\n');
    }
    text
}

/// A line that wraps would be taken for two when the picture is redrawn.
fn cut(line: &str, width: usize) -> String {
    line.chars().take(width - 1).collect()
}

#[cfg(test)]
mod tests {
    use serin_core::status::ReasonRecord;

    use super::*;

    fn status() -> Status {
        let reason = ReasonRecord {
            code: "Advanced".to_owned(),
            message: "The canary gets 30 %.".to_owned(),
            time: None,
        };
        Status {
            phase: Some(Phase::Progressing),
            canary_weight: 30,
            last_reason: Some(reason),
            ..Status::default()
        }
    }

    #[test]
    fn a_line_for_each_step_and_no_more() {
        let mut view = View::new(false);
        let status = status();
        let frame = |secs| Frame {
            elapsed: Duration::from_secs(secs),
            title: "A good release",
            status: &status,
            load: None,
            canary: "v2",
            evidence: None,
        };
        let line = "   4.0 s  Progressing   30 %  Advanced: The canary gets 30 %.\n";
        assert_eq!(view.news(&frame(4)), line);
        assert_eq!(view.news(&frame(5)), "");
        assert_ne!(view.news(&frame(15)), "", "a pipe hears that it is still alive");
    }

    #[test]
    fn evidence_against_a_canary_is_told_as_it_grows() {
        let mut view = View::new(false);
        let status = status();
        let mut told = Vec::new();
        for (secs, odds) in [(4, "nothing against it"), (5, "nothing against it"), (6, "1 in 12")] {
            let evidence = format!("{odds}; error-rate: canary {secs} of 40");
            let frame = Frame {
                elapsed: Duration::from_secs(secs),
                title: "A bad release",
                status: &status,
                load: None,
                canary: "v3",
                evidence: Some(&evidence),
            };
            told.push(view.news(&frame));
            assert_eq!(view.news(&frame), "", "once is enough");
        }
        assert!(told[0].ends_with("guard: nothing against it; error-rate: canary 4 of 40\n"));
        assert_eq!(told[1], "");
        assert_eq!(told[2], "   6.0 s  guard: 1 in 12; error-rate: canary 6 of 40\n");
    }

    #[test]
    fn a_picture() {
        let status = status();
        let frame = Frame {
            elapsed: Duration::from_secs(4),
            title: "A good release",
            status: &status,
            load: None,
            canary: "v2",
            evidence: Some("1 in 12 if healthy; error-rate: canary 3 of 40"),
        };
        let picture = picture(&frame, false);
        assert!(
            picture.contains("  weight  [############............................] 30 %\n"),
            "{picture}"
        );
        assert!(picture.contains("\n  guard   1 in 12 if healthy; error-rate"), "{picture}");
        assert!(picture.lines().all(|line| line.chars().count() < WIDTH), "{picture}");
    }
}
