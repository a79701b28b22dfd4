//! One release on a terminal of any size, as rows of toned text; pure, so that what is drawn can be held to a golden copy.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::picture::{self, Chart, Signs};
use super::tone::{Row, Tone, tone_of};
use crate::view::{Ahead, Looks, Pod, ReleaseView, SideColumns, State};
use serin_core::words::{About, Percent};

/// How a release is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    pub width: usize,
    pub height: usize,
    /// Only ASCII.
    pub ascii: bool,
    /// Decisions that are scrolled over, from the newest on.
    pub scrolled: usize,
    /// Looks of the guard before the last one; 0 is now.
    pub back: usize,
}

/// Narrower, there are no pictures.
const NARROW: usize = 60;
/// From here on, numbers stand beside the pictures.
const WIDE: usize = 100;
/// From here on, there is room for checks and pods.
const TALL: usize = 30;

fn cells(text: &str) -> usize {
    text.width()
}

/// Cut with a mark, or filled up.
fn fit(row: Row, width: usize) -> Row {
    let mut out = Row::new();
    let mut left = width;
    let whole: usize = row.iter().map(|(_, text)| cells(text)).sum();
    let cut = whole > width;
    for (tone, text) in row {
        let mut kept = String::new();
        for sign in text.chars() {
            let wide = sign.width().unwrap_or(0);
            if wide + usize::from(cut) > left {
                left -= usize::from(cut && left > 0);
                if cut {
                    kept.push('…');
                }
                out.push((tone, kept));
                out.push((Tone::Plain, " ".repeat(left)));
                return out;
            }
            left -= wide;
            kept.push(sign);
        }
        out.push((tone, kept));
    }
    out.push((Tone::Plain, " ".repeat(left)));
    out
}

/// Something at the left and something at the right, which is never cut.
fn both(left: Row, right: Row, width: usize) -> Row {
    let wide: usize = right.iter().map(|(_, text)| cells(text)).sum();
    let mut row = fit(left, width.saturating_sub(wide + 1));
    row.push((Tone::Plain, " ".to_owned()));
    row.extend(right);
    fit(row, width)
}

fn wrap(text: &str, width: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && cells(&line) + 1 + cells(word) > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            last.push_str(" …");
        }
    }
    lines
}

/// The tag of an image, which is what people call the version.
fn tag(image: &str) -> &str {
    image.rsplit_once(':').map_or(image, |(_, tag)| tag)
}

fn tone(state: State) -> Tone {
    match state {
        State::Failed | State::Trouble => Tone::Bad,
        State::Held | State::Gate => Tone::Hold,
        State::Running | State::Starting => Tone::Canary,
        State::Suspended => Tone::Dim,
        State::Rest => Tone::Good,
    }
}

/// The whole screen: `height` rows of `width` cells.
pub fn screen(view: &ReleaseView, look: Look) -> Vec<Row> {
    let Look { width, height, ascii, .. } = look;
    let signs = Signs::new(ascii);
    let mut rows = vec![title(view, look, &signs)];
    rows.extend(headline(view, look, &signs));
    let pictured = width >= NARROW;
    let tall = height > TALL;
    if pictured {
        let chart = Chart::new(view, width.saturating_sub(9), &signs);
        rows.extend(chart.rows(if tall { 6 } else { 3 }));
    } else if let Some(next) = next(view) {
        rows.push(vec![(Tone::Plain, format!("   Next: {next}"))]);
    }
    rows.extend(measures(view, look, &signs));
    let below = if tall { below(view, &signs) } else { Vec::new() };
    let room = height.saturating_sub(rows.len() + below.len() + 1);
    rows.extend(decisions(view, look, room, &signs));
    rows.extend(below);
    rows.truncate(height.saturating_sub(1));
    rows.resize(height.saturating_sub(1), Row::new());
    rows.push(keys(&signs));
    rows.into_iter()
        .map(|row| fit(row, width))
        .map(|row| if ascii { plain(row) } else { row })
        .collect()
}

fn title(view: &ReleaseView, look: Look, signs: &Signs) -> Row {
    let release = &view.release;
    let versions = match (tag(&release.old), tag(&release.new)) {
        ("", "") => String::new(),
        (old, new) if old == new || old.is_empty() => format!("  {new}"),
        (old, new) => format!("  {old} {} {new}", signs.arrow),
    };
    let phase = view.phase.map_or("not taken up yet", serin_core::model::Phase::name);
    let sign = if view.running { signs.running } else { signs.mark(view.headline.mark) };
    let left = format!(" {}{versions}   {sign} {phase}  {} %", view.canary, view.weight);
    let secs = if view.running { view.now } else { view.end.unwrap_or_default() };
    let clock = picture::clock(view, view.now);
    let took = if view.running { "for" } else { "took" };
    let right = match look.width >= NARROW {
        true => format!("{took} {}   {clock} UTC ", About(secs)),
        false => format!("{took} {} ", About(secs)),
    };
    let row = both(vec![(Tone::Title, left)], vec![(Tone::Title, right)], look.width);
    row.into_iter().map(|(_, text)| (Tone::Title, text)).collect()
}

fn headline(view: &ReleaseView, look: Look, signs: &Signs) -> Vec<Row> {
    let head = &view.headline;
    let tone = tone(view.state);
    let room = look.width.saturating_sub(4).max(10);
    // The guard's own numbers are below; the sentence may be as long as they are.
    let most = if look.height > TALL { 3 } else { 2 };
    let what = wrap(&head.what, room, most).into_iter().enumerate().map(|(place, text)| {
        let sign = if place == 0 { signs.mark(head.mark) } else { " " };
        vec![(tone, format!(" {sign} ")), (Tone::Bold, text)]
    });
    // What is to be done is never cut.
    let todo = wrap(&format!("Now: {}", head.todo), room, usize::MAX);
    let todo = todo.into_iter().enumerate().map(|(place, text)| {
        match text.strip_prefix("Now:").filter(|_| place == 0) {
            Some(rest) => vec![
                (Tone::Plain, "   ".to_owned()),
                (Tone::Bold, "Now:".to_owned()),
                (Tone::Plain, rest.to_owned()),
            ],
            None => vec![(Tone::Plain, format!("   {text}"))],
        }
    });
    what.chain(todo).collect()
}

/// The step that comes next, in words.
fn next(view: &ReleaseView) -> Option<String> {
    let Ahead { weight, promotes, at, why } = view.plan.as_ref()?.ahead.first()?;
    let what = if *promotes { "the promotion".to_owned() } else { format!("{weight} %") };
    let when = at.map(|at| format!(" in {}", About((at - view.now).max(0.0))));
    let why = if why.is_empty() { String::new() } else { format!(", waits {why}") };
    Some(format!("{what}{}{why}", when.unwrap_or_default()))
}

/// Both versions beside each objective, and the evidence.
fn measures(view: &ReleaseView, look: Look, signs: &Signs) -> Vec<Row> {
    let Some(guard) = &view.guard else {
        return vec![vec![(
            Tone::Dim,
            " No guard: the spec has none, and no builtin check.".into(),
        )]];
    };
    let Looks { t, log_evidence, objectives, .. } = &view.looks;
    let at = t.len().checked_sub(1 + look.back);
    let bar = picture::bar_width(look.width);
    let pictured = look.width >= NARROW;
    let mut rows = Vec::new();
    for (place, objective) in guard.objectives.iter().enumerate() {
        let scale = if place == 0 { picture::scale(bar) } else { " ".repeat(bar) };
        let head = vec![(Tone::Bold, format!(" {}", objective.title))];
        let limit = format!("at most {}", Percent(objective.slo));
        rows.push(match pictured {
            true => both(head, vec![(Tone::Dim, format!("{scale}  "))], look.width),
            false => both(head, vec![(Tone::Dim, format!("{limit} "))], look.width),
        });
        let Some(columns) = objectives.get(place) else { continue };
        for (canary, side) in [(true, &columns.canary), (false, &columns.primary)] {
            let counts = at.and_then(|at| counts(side, at));
            rows.push(side_row(canary, counts, objective.slo, look, signs));
        }
        if look.height > TALL && pictured && objectives.len() < 3 {
            let line = picture::rates(view, &columns.canary, look.width.saturating_sub(9), signs);
            rows.push(vec![
                (Tone::Canary, format!("  {}   {}", signs.canary, signs.wall)),
                (Tone::Canary, line),
            ]);
        }
    }
    let known = at.and_then(|at| log_evidence.get(at)).copied();
    let words = match known {
        Some(log) => serin_judge::Odds(log).to_string(),
        None => "nothing seen of this release".to_owned(),
    };
    let limit = guard.log_limit.exp().round();
    let more = match look.width > WIDE {
        true => format!("; holds from 1 in 1, rolls back at 1 in {limit}"),
        false => String::new(),
    };
    let head = vec![(Tone::Bold, " Evidence   ".to_owned()), (Tone::Plain, words + &more)];
    rows.push(match pictured {
        true => {
            let mut gauge = picture::gauge(known, guard.log_limit, bar, signs);
            gauge.push((Tone::Plain, "  ".to_owned()));
            both(head, gauge, look.width)
        }
        false => head,
    });
    rows
}

/// Requests, bad ones, and the bounds of their share, at one look.
type Counted = (u64, u64, f64, f64);

fn counts(side: &SideColumns, at: usize) -> Option<Counted> {
    let counted =
        (*side.requests.get(at)?, *side.bad.get(at)?, *side.low.get(at)?, *side.high.get(at)?);
    (counted.0 > 0).then_some(counted)
}

fn side_row(canary: bool, counts: Option<Counted>, slo: f64, look: Look, signs: &Signs) -> Row {
    let (tone, sign, name) = match canary {
        true => (Tone::Canary, signs.canary, "canary"),
        false => (Tone::Primary, signs.primary, "primary"),
    };
    let mut left = vec![(tone, format!("   {sign} ")), (Tone::Plain, format!("{name:<8}"))];
    let bar = picture::bar_width(look.width);
    let Some((requests, bad, low, high)) = counts else {
        left.push((Tone::Dim, "no requests".to_owned()));
        let band = picture::band(None, slo, bar, canary, signs);
        return if look.width < NARROW { left } else { both(left, band, look.width) };
    };
    let rate = Percent(bad as f64 / requests as f64).to_string();
    left.push((Tone::Bold, format!("{rate:>7}")));
    left.push((Tone::Plain, format!("  {bad} of {requests}")));
    if look.width > WIDE {
        let mut row = fit(left, 36);
        row.push((Tone::Dim, format!("between {} and {}", Percent(low), Percent(high))));
        left = row;
    }
    if look.width < NARROW {
        return left;
    }
    let shares = (low, bad as f64 / requests as f64, high);
    both(left, picture::band(Some(shares), slo, bar, canary, signs), look.width)
}

fn decisions(view: &ReleaseView, look: Look, room: usize, signs: &Signs) -> Vec<Row> {
    let all = view.decisions.len();
    let scrolled = look.scrolled.min(all.saturating_sub(1));
    let shown = room.saturating_sub(1).max(1);
    let list: Vec<_> = view.decisions.iter().rev().skip(scrolled).take(shown).collect();
    let count = match list.len() < all {
        true => format!("{} of {all}, {} for more ", list.len(), signs.up_down),
        false => String::new(),
    };
    let head = vec![(Tone::Bold, " Decisions".to_owned())];
    let mut rows = vec![both(head, vec![(Tone::Dim, count)], look.width)];
    if list.is_empty() {
        rows.push(vec![(Tone::Dim, "   none was seen yet".to_owned())]);
    }
    for decision in list {
        rows.push(vec![
            (tone_of(decision.mark), format!("   {} ", signs.mark(decision.mark))),
            (Tone::Dim, format!("{}  ", picture::clock(view, decision.t))),
            (Tone::Plain, decision.text.clone()),
        ]);
    }
    rows
}

/// Checks and pods, where there is room.
fn below(view: &ReleaseView, signs: &Signs) -> Vec<Row> {
    const CHECKS_MAX: usize = 4;
    const PODS_MAX: usize = 6;
    let mut rows = Vec::new();
    // The last round, newest first.
    let last = view.checks.last().and_then(|check| check.time);
    let checks: Vec<_> =
        view.checks.iter().filter(|check| check.time == last).take(CHECKS_MAX).collect();
    if !checks.is_empty() {
        rows.push(vec![(Tone::Bold, " Checks".to_owned())]);
    }
    for check in checks {
        let (tone, sign) = match check.verdict.as_str() {
            "pass" => (Tone::Good, signs.good),
            "fail" => (Tone::Bad, signs.down),
            _ => (Tone::Hold, "?"),
        };
        let value = check.value.map_or("–".to_owned(), |value| format!("{value:.3}"));
        rows.push(vec![
            (tone, format!("   {sign} ")),
            (Tone::Plain, format!("{:<24}{value:>12}", check.name)),
            (Tone::Dim, format!("  limit {:<12} over {}", check.limit, check.window)),
        ]);
    }
    if !view.pods.is_empty() {
        rows.push(vec![(Tone::Bold, " Pods".to_owned())]);
    }
    for Pod { name, ready, status, restarts, why, .. } in view.pods.iter().take(PODS_MAX) {
        let (tone, sign) = match ready {
            true => (Tone::Good, signs.good),
            false => (Tone::Hold, signs.gate),
        };
        let restarts = match restarts {
            0 => String::new(),
            1 => ", 1 restart".to_owned(),
            many => format!(", {many} restarts"),
        };
        rows.push(vec![
            (tone, format!("   {sign} ")),
            (Tone::Plain, format!("{name}  {status}{restarts}")),
            (Tone::Dim, format!("  {why}")),
        ]);
    }
    rows
}

fn keys(signs: &Signs) -> Row {
    let key =
        |key: &str, what: &str| [(Tone::Bold, format!(" {key} ")), (Tone::Dim, format!("{what} "))];
    let keys = [key(signs.up_down, "decisions"), key(signs.left_right, "moment"), key("q", "quit")];
    keys.into_iter().flatten().collect()
}

/// Words from outside may have any letters; a terminal that has none of them shows what it can.
fn plain(row: Row) -> Row {
    let plain = |sign: char| match sign {
        '…' => '~',
        '–' => '-',
        sign if sign.is_ascii() => sign,
        _ => '?',
    };
    row.into_iter().map(|(tone, text)| (tone, text.chars().map(plain).collect())).collect()
}
