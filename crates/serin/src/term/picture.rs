//! The pictures of the terminal: staircase, ranges, rates over time and the evidence, in blocks and signs.

use super::tone::{Row, Tone, tone_of};
use crate::view::{Mark, ReleaseView, SideColumns};

/// The signs of a terminal, or those that ASCII has for them.
pub(super) struct Signs {
    pub(super) arrow: &'static str,
    pub(super) running: &'static str,
    pub(super) canary: &'static str,
    pub(super) primary: &'static str,
    pub(super) good: &'static str,
    pub(super) down: &'static str,
    pub(super) gate: &'static str,
    pub(super) wall: &'static str,
    pub(super) up_down: &'static str,
    pub(super) left_right: &'static str,
    full: char,
    ahead: char,
    eighths: [char; 9],
    range: char,
    other_range: char,
    objective: char,
    limit: char,
    empty: char,
    holds: char,
    back: char,
    quiet: char,
    ascii: bool,
}

impl Signs {
    pub(super) fn new(ascii: bool) -> Self {
        match ascii {
            false => Self {
                arrow: "→",
                running: "▶",
                canary: "●",
                primary: "■",
                good: "✓",
                down: "■",
                gate: "◌",
                wall: "▕",
                up_down: "↑↓",
                left_right: "←→",
                full: '█',
                ahead: '░',
                eighths: [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
                range: '─',
                other_range: '╌',
                objective: '│',
                limit: '┃',
                empty: '·',
                holds: '▒',
                back: '▓',
                quiet: '○',
                ascii,
            },
            true => Self {
                arrow: "->",
                running: ">",
                canary: "*",
                primary: "o",
                good: "+",
                down: "!",
                gate: "?",
                wall: "|",
                up_down: "up/down",
                left_right: "left/right",
                full: '#',
                ahead: ':',
                eighths: [' ', '_', '_', '.', '-', '-', '=', '=', '#'],
                range: '=',
                other_range: '-',
                objective: '|',
                limit: '|',
                empty: '.',
                holds: ':',
                back: '%',
                quiet: 'o',
                ascii,
            },
        }
    }

    pub(super) fn mark(&self, mark: Mark) -> &'static str {
        if self.ascii {
            return match mark {
                Mark::Up => "^",
                Mark::Down | Mark::Trouble => "!",
                Mark::Hold => "=",
                Mark::Gate | Mark::Start => "?",
                Mark::Good => "+",
                Mark::End => "-",
                Mark::Info => ".",
            };
        }
        match mark {
            Mark::Up => "▲",
            Mark::Down => "■",
            Mark::Trouble => "!",
            Mark::Hold => "‖",
            Mark::Gate | Mark::Start => "◌",
            Mark::Good => "✓",
            Mark::End => "─",
            Mark::Info => "·",
        }
    }

    fn eighth(&self, part: f64) -> char {
        let place = (part * 8.0).round().clamp(0.0, 8.0) as usize;
        self.eighths.get(place).copied().unwrap_or(self.full)
    }
}

/// As wide as a range is drawn.
pub(super) fn bar_width(width: usize) -> usize {
    if width < 100 { (width / 2).saturating_sub(10).clamp(14, 30) } else { 48 }
}

pub(super) fn clock(view: &ReleaseView, t: f64) -> String {
    let millis = view.t0.saturating_add((t * 1000.0) as i64);
    let secs = millis.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)
}

/// Shares of requests on one scale that never moves, with room where the limits are: 0 to 100 %.
fn share(p: f64) -> f64 {
    (p / 0.001).asinh() / 1000_f64.asinh()
}

fn place(part: f64, width: usize) -> usize {
    ((part.clamp(0.0, 1.0) * width as f64) as usize).min(width.saturating_sub(1))
}

fn put(line: &mut [char], at: usize, sign: char) {
    if let Some(cell) = line.get_mut(at) {
        *cell = sign;
    }
}

fn write(line: &mut [char], at: usize, text: &str) {
    for (step, sign) in text.chars().enumerate() {
        put(line, at + step, sign);
    }
}

/// The numbers above the ranges.
pub(super) fn scale(width: usize) -> String {
    let mut line = vec![' '; width];
    for (p, text) in [(0.0, "0"), (0.001, "0.1"), (0.01, "1"), (0.1, "10"), (1.0, "100 %")] {
        let at = place(share(p), width).saturating_sub(text.len() / 2);
        write(&mut line, at.min(width.saturating_sub(text.len())), text);
    }
    line.into_iter().collect()
}

/// One line from 0 to 100 %: the range, the rate, and the objective.
pub(super) fn band(
    shares: Option<(f64, f64, f64)>,
    slo: f64,
    width: usize,
    canary: bool,
    signs: &Signs,
) -> Row {
    let mut line = vec![signs.empty; width];
    let (range, dot) = match canary {
        true => (signs.range, signs.canary),
        false => (signs.other_range, signs.primary),
    };
    if let Some((low, _, high)) = shares {
        for at in place(share(low), width)..=place(share(high), width) {
            put(&mut line, at, range);
        }
    }
    let objective = place(share(slo), width);
    put(&mut line, objective, signs.objective);
    let rate = shares.map(|(_, rate, _)| place(share(rate), width));
    if let (Some(at), Some(sign)) = (rate, dot.chars().next()) {
        put(&mut line, at, sign);
    }
    let tone = if canary { Tone::Canary } else { Tone::Primary };
    let mut row: Row = Vec::new();
    for (at, sign) in line.into_iter().enumerate() {
        let tone = match at {
            _ if Some(at) == rate => tone,
            _ if at == objective => Tone::Bold,
            _ if sign == signs.empty => Tone::Dim,
            _ => tone,
        };
        push(&mut row, tone, sign);
    }
    row.push((Tone::Plain, "  ".to_owned()));
    row
}

/// Signs of one tone are one piece.
fn push(row: &mut Row, tone: Tone, sign: char) {
    match row.last_mut().filter(|(last, _)| *last == tone) {
        Some((_, text)) => text.push(sign),
        None => row.push((tone, sign.to_string())),
    }
}

/// The evidence on its way to the line.
pub(super) fn gauge(log: Option<f64>, limit: f64, width: usize, signs: &Signs) -> Row {
    const LOW: f64 = -3.0;
    let high = limit * 1.52;
    let at = |e: f64| place((e - LOW) / (high - LOW), width);
    let mut row = Row::new();
    for cell in 0..width {
        let full = log.is_some_and(|log| log > 0.0 && (at(0.0)..=at(log)).contains(&cell));
        let (tone, sign) = if cell == at(limit) {
            (Tone::Bad, signs.limit)
        } else if full {
            (if cell < at(limit) { Tone::Hold } else { Tone::Bad }, signs.full)
        } else if log.is_some_and(|log| log <= 0.0 && cell == at(log)) {
            (Tone::Dim, signs.quiet)
        } else if cell < at(0.0) {
            (Tone::Dim, signs.empty)
        } else if cell < at(limit) {
            (Tone::Hold, signs.holds)
        } else {
            (Tone::Bad, signs.back)
        };
        push(&mut row, tone, sign);
    }
    row
}

/// The time that a screen shows, column by column.
fn span(view: &ReleaseView) -> (f64, f64) {
    let now = if view.running { view.now } else { view.end.unwrap_or(view.now) }.max(1.0);
    (0.0, if view.running { now * 1.36 } else { now * 1.08 })
}

/// The rate of a side over time, as blocks on the scale of the ranges.
pub(super) fn rates(view: &ReleaseView, side: &SideColumns, width: usize, signs: &Signs) -> String {
    let (low, high) = span(view);
    let column = |cell: usize| {
        let x = low + (high - low) * (cell as f64 + 0.5) / width as f64;
        let last = view.looks.t.last().copied().unwrap_or_default();
        if x > last + (high - low) / width as f64 {
            return ' ';
        }
        let Some(at) = view.looks.t.iter().rposition(|t| *t <= x) else { return ' ' };
        let requests = side.requests.get(at).copied().unwrap_or_default();
        if requests == 0 {
            return ' ';
        }
        let bad = side.bad.get(at).copied().unwrap_or_default();
        signs.eighth(share(bad as f64 / requests as f64) * 1.6)
    };
    (0..width).map(column).collect()
}

/// The staircase of weights, with the steps ahead.
pub(super) struct Chart<'a> {
    view: &'a ReleaseView,
    width: usize,
    signs: &'a Signs,
    top: f64,
}

impl<'a> Chart<'a> {
    pub(super) fn new(view: &'a ReleaseView, width: usize, signs: &'a Signs) -> Self {
        let steps = view.plan.iter().flat_map(|plan| &plan.steps).copied();
        let seen = view.staircase.iter().map(|step| step.weight);
        let top = steps.chain(seen).max().filter(|top| *top > 0).unwrap_or(100);
        Self { view, width, signs, top: f64::from(top) }
    }

    /// The weight at a column, and whether it is still ahead.
    fn at(&self, cell: usize) -> (f64, bool) {
        let (low, high) = span(self.view);
        let x = low + (high - low) * (cell as f64 + 0.5) / self.width.max(1) as f64;
        let view = self.view;
        if !view.running || x <= view.now {
            let step = view.staircase.iter().rev().find(|step| step.t <= x);
            return (step.map_or(0.0, |step| f64::from(step.weight)), false);
        }
        let ahead = view.plan.iter().flat_map(|plan| &plan.ahead);
        let count = ahead.clone().count() as f64;
        let reached = ahead.enumerate().filter(|(place, _)| {
            let part = (*place as f64 + 0.62) / (count + 0.62);
            view.now + (high - view.now) * part <= x
        });
        let weight = reached.map(|(_, step)| step.weight).last().unwrap_or(view.weight);
        (f64::from(weight).min(self.top), true)
    }

    pub(super) fn rows(&self, height: usize) -> Vec<Row> {
        let mut rows = vec![self.marks()];
        for line in 0..height {
            let label = match line {
                0 => format!("{:>3.0} % {}", self.top, self.signs.wall),
                _ if line + 1 == height => format!("  0 % {}", self.signs.wall),
                _ => format!("      {}", self.signs.wall),
            };
            let mut row: Row = vec![(Tone::Dim, label)];
            for cell in 0..self.width {
                let (weight, ahead) = self.at(cell);
                let part = weight / self.top * height as f64 - (height - 1 - line) as f64;
                let sign = match ahead {
                    _ if part <= 0.0 => ' ',
                    true => self.signs.ahead,
                    false if part >= 1.0 => self.signs.full,
                    false => self.signs.eighth(part.max(0.13)),
                };
                push(&mut row, if ahead { Tone::Dim } else { Tone::Canary }, sign);
            }
            rows.push(row);
        }
        rows.push(self.axis());
        rows
    }

    fn marks(&self) -> Row {
        let (low, high) = span(self.view);
        let mut cells: Vec<Option<Mark>> = vec![None; self.width];
        for decision in &self.view.decisions {
            let mut at = place((decision.t - low) / (high - low), self.width);
            while at + 1 < self.width && cells.get(at).copied().flatten().is_some() {
                at += 1;
            }
            if let Some(cell) = cells.get_mut(at) {
                *cell = Some(decision.mark);
            }
        }
        let mut row: Row = vec![(Tone::Plain, " ".repeat(7))];
        for cell in cells {
            match cell {
                Some(mark) => row.push((tone_of(mark), self.signs.mark(mark).to_owned())),
                None => push(&mut row, Tone::Plain, ' '),
            }
        }
        row
    }

    fn axis(&self) -> Row {
        const CLOCK: usize = 8;
        let (low, high) = span(self.view);
        let mut line = vec![' '; self.width];
        let now =
            self.view.running.then(|| place((self.view.now - low) / (high - low), self.width));
        let count = if self.width < 90 { 4 } else { 6 };
        for tick in 0..count {
            let at = tick * self.width / count;
            let text = clock(self.view, low + (high - low) * tick as f64 / count as f64);
            let free = now.is_none_or(|now| at + CLOCK + 2 <= now);
            if free && at + CLOCK <= self.width {
                write(&mut line, at, &text);
            }
        }
        if let Some(now) = now {
            write(&mut line, now.saturating_sub(1), "now");
            write(&mut line, now + 6, "planned");
        }
        vec![(Tone::Dim, format!("{}{}", " ".repeat(7), line.into_iter().collect::<String>()))]
    }
}
