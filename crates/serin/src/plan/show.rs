//! The plan as people read it: columns that line up, and a unit behind every number.

use std::fmt;

use super::report::{
    BlastRadius, CanaryPlan, Cell, Files, Flaw, Outcome, Plan, Rollback, Row, Schedule, Step,
    Worst, Write, Writes,
};

/// `45 s`, `2 min 5 s`, `1 h 5 min`.
pub(super) fn span(secs: f64) -> String {
    let all = secs.round() as i64;
    let (hours, minutes, secs) = (all / 3600, all / 60 % 60, all % 60);
    match (hours, minutes, secs) {
        (0, 0, secs) => format!("{secs} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, secs) => format!("{minutes} min {secs} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Three digits, without the noughts behind.
pub(super) fn figure(number: f64) -> String {
    let places = match number.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{number:.places$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Whole requests; what is less than one is said so.
pub(super) fn requests(count: f64) -> String {
    if count <= 0.0 {
        return "0 requests".to_owned();
    }
    if count < 1.0 {
        return "under 1 request".to_owned();
    }
    match count.round() as u64 {
        1 => "1 request".to_owned(),
        count => format!("{count} requests"),
    }
}

#[derive(Clone, Copy)]
enum Align {
    Left,
    Right,
}

/// Rows whose columns line up.
fn table(f: &mut fmt::Formatter<'_>, columns: &[Align], rows: &[Vec<String>]) -> fmt::Result {
    let width = |place: usize| {
        rows.iter().filter_map(|row| row.get(place)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns.len()).map(|place| width(place).unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::new();
        for ((cell, align), width) in row.iter().zip(columns).zip(&widths) {
            let cell = match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            };
            line.push_str("  ");
            line.push_str(&cell);
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

fn texts<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { compared_with, requests_per_second, files, canaries } = self;
        let Files { objects, errors } = files;
        match *compared_with {
            "cluster" => writeln!(f, "applying the files, compared with the cluster")?,
            _ => writeln!(f, "applying the files, where nothing of them is yet")?,
        }
        for Flaw { object, finding } in errors {
            writeln!(f, "  {}: {object}: {finding}", finding.severity.name())?;
        }
        writes(f, objects)?;
        for canary in canaries {
            writeln!(f)?;
            show(f, canary, *requests_per_second)?;
        }
        Ok(())
    }
}

fn show(f: &mut fmt::Formatter<'_>, plan: &CanaryPlan, rps: f64) -> fmt::Result {
    let CanaryPlan { canary, now, outcome, findings, writes: to_write, schedule, rollback } = plan;
    match (outcome, now) {
        (Outcome::Refused, _) => {
            writeln!(
                f,
                "{canary}: would be refused, and the running version would keep its traffic"
            )
        }
        (Outcome::Unsupported, _) => writeln!(
            f,
            "{canary}: would not be taken up, as it asks for what is not supported yet; the running version would keep its traffic"
        ),
        (Outcome::RefusedWhenStrict, _) => writeln!(
            f,
            "{canary}: would be refused to clients that validate strictly, as kubectl does; for others, unknown fields are dropped"
        ),
        (Outcome::TakenUp, Some(now)) => writeln!(f, "{canary}: {now}"),
        (Outcome::TakenUp, None) => writeln!(f, "{canary}"),
    }?;
    for finding in findings {
        writeln!(f, "  {}: {finding}", finding.severity.name())?;
    }
    if let Some(Writes { objects, notes: said }) = to_write {
        writeln!(f, "\nthen Serin writes")?;
        writes(f, objects)?;
        notes(f, said)?;
    }
    if let Some(schedule) = schedule {
        show_schedule(f, schedule, rps)?;
    }
    match rollback {
        Some(rollback) => show_rollback(f, rollback, rps),
        None => Ok(()),
    }
}

fn writes(f: &mut fmt::Formatter<'_>, objects: &[Write]) -> fmt::Result {
    if objects.is_empty() {
        return writeln!(f, "  nothing");
    }
    let width = |cell: fn(&Write) -> usize| objects.iter().map(cell).max().unwrap_or(0);
    let (verbs, kinds) = (width(|write| write.verb.len()), width(|write| write.kind.len()));
    for write in objects {
        let Write { verb, kind, namespace: _, name: _, fields } = write;
        writeln!(f, "  {verb:<verbs$}  {kind:<kinds$}  {}", write.object())?;
        for field in fields {
            writeln!(f, "      {field}")?;
        }
    }
    Ok(())
}

fn show_schedule(f: &mut fmt::Formatter<'_>, schedule: &Schedule, rps: f64) -> fmt::Result {
    let Schedule { pace, words, interval_secs: _, steps, promotion: _, blast_radius, notes: said } =
        schedule;
    writeln!(f, "\nschedule of a release at {} requests per second", figure(rps))?;
    writeln!(f, "  {words}; times count from the first traffic and are the earliest")?;
    match *pace {
        "fixed" | "evidence" => by_pace(f, schedule)?,
        _ => by_clock(f, schedule)?,
    }
    if let Some(radius) = blast_radius.as_ref().filter(|_| !steps.is_empty()) {
        show_radius(f, radius)?;
    }
    notes(f, said)
}

fn time(secs: Option<f64>) -> String {
    secs.map_or("-".to_owned(), span)
}

/// Where nothing but the interval counts.
fn by_clock(f: &mut fmt::Formatter<'_>, schedule: &Schedule) -> fmt::Result {
    let mut rows = vec![texts(["weight", "canary gets", "at"])];
    rows.extend(schedule.steps.iter().map(|step| {
        vec![
            format!("{} %", step.weight_percent),
            format!("{} requests/s", figure(step.canary_requests_per_second)),
            time(step.earliest.fixed_secs),
        ]
    }));
    rows.push(vec!["promoted".to_owned(), String::new(), time(schedule.promotion.fixed_secs)]);
    table(f, &[Align::Right, Align::Right, Align::Right], &rows)
}

/// Both paces, side by side.
fn by_pace(f: &mut fmt::Formatter<'_>, schedule: &Schedule) -> fmt::Result {
    let promotion = &schedule.promotion;
    let set = |name: &str| if schedule.pace == name { " (set)" } else { "" };
    let mut rows = vec![vec![
        "weight".to_owned(),
        "canary gets".to_owned(),
        "at stake".to_owned(),
        format!("pace fixed{}", set("fixed")),
        format!("pace evidence{}", set("evidence")),
        "once its share of bad requests is surely".to_owned(),
    ]];
    rows.extend(schedule.steps.iter().map(|step| row_of(step, schedule)));
    let last = match promotion.evidence_secs {
        Some(_) => "below twice the limit",
        None => "",
    };
    rows.push(vec![
        "promoted".to_owned(),
        String::new(),
        String::new(),
        time(promotion.fixed_secs),
        time(promotion.evidence_secs),
        last.to_owned(),
    ]);
    let columns =
        [Align::Right, Align::Right, Align::Right, Align::Right, Align::Right, Align::Left];
    table(f, &columns, &rows)
}

fn row_of(step: &Step, schedule: &Schedule) -> Vec<String> {
    let Step {
        weight_percent,
        canary_requests_per_second,
        at_stake_requests,
        earliest,
        bad_points_above_limit_max,
    } = step;
    let paced = schedule.steps.iter().find(|step| step.earliest.evidence_secs.is_some());
    let first = paced.is_some_and(|first| first.weight_percent == *weight_percent);
    let asked = match (bad_points_above_limit_max, earliest.evidence_secs) {
        (_, None) => String::new(),
        (_, Some(_)) if first => "unknown: it begins here".to_owned(),
        (None, Some(_)) => "known at all".to_owned(),
        (Some(points), Some(_)) => {
            format!("at most {} points above the limit", figure(*points))
        }
    };
    vec![
        format!("{weight_percent} %"),
        format!("{} requests/s", figure(*canary_requests_per_second)),
        at_stake_requests.map_or("-".to_owned(), requests),
        time(earliest.fixed_secs),
        time(earliest.evidence_secs),
        asked,
    ]
}

fn show_radius(f: &mut fmt::Formatter<'_>, radius: &BlastRadius) -> fmt::Result {
    let BlastRadius { requests: allowed, reaction_secs, in_force } = radius;
    writeln!(
        f,
        "  - at stake: requests that fail in one reaction time of {} s (two looks, and 1 s for the route) if all of the canary's do",
        figure(*reaction_secs)
    )?;
    let whose =
        if *in_force { "blastRadius" } else { "with pace evidence, and blastRadius by default" };
    writeln!(
        f,
        "  - {whose} {}: a weight is taken once no more than {} beyond the limit can be at stake there",
        figure(*allowed),
        requests(*allowed)
    )
}

fn show_rollback(f: &mut fmt::Formatter<'_>, rollback: &Rollback, rps: f64) -> fmt::Result {
    let Rollback { guard_watches, runs, worst_case, rows, notes: said } = rollback;
    writeln!(
        f,
        "\nrollback of a bad release at {} requests per second: from its first failing request to its last, and how many",
        figure(rps)
    )?;
    if rows.is_empty() {
        return notes(f, said);
    }
    show_worst(f, worst_case, rows)?;
    let mut lines =
        vec![texts(["failing", "begins", "", "Flagger's rule", "", "checks", "", "guard"])];
    lines.extend(rows.iter().map(line_of));
    let columns = [
        Align::Right,
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Right,
    ];
    table(f, &columns, &lines)?;
    writeln!(f, "  - Flagger's rule and the checks: the worst moment for the fault to begin")?;
    if let Some(name) = guard_watches {
        writeln!(
            f,
            "  - the guard, by its {name}: what 19 of 20 releases stay below, of up to {runs} that were imagined"
        )?;
    }
    notes(f, said)
}

fn show_worst(f: &mut fmt::Formatter<'_>, worst: &Worst, rows: &[Row]) -> fmt::Result {
    let Worst { rollback_secs, requests_at_risk, unseen_rows } = worst;
    for row in unseen_rows.iter().filter_map(|place| rows.get(*place)) {
        writeln!(
            f,
            "  worst case: a fault of {} % that begins {} is not rolled back for certain",
            figure(row.failing_percent),
            row.begins
        )?;
    }
    let (Some(secs), Some(hurt)) = (rollback_secs, requests_at_risk) else { return Ok(()) };
    writeln!(f, "  worst case: rolled back after {}, with {} at risk", span(*secs), requests(*hurt))
}

fn line_of(row: &Row) -> Vec<String> {
    let Row { failing_percent, begins, share_percent, flagger, checks, guard } = row;
    let mut line = vec![
        format!("{} %", figure(*failing_percent)),
        format!("{begins} ({} %)", figure(*share_percent)),
    ];
    line.extend([flagger, checks, guard].into_iter().flat_map(|cell| cell_of(cell.as_ref())));
    line
}

fn cell_of(cell: Option<&Cell>) -> [String; 2] {
    match cell {
        None => [String::new(), "never".to_owned()],
        Some(cell) if cell.misses() => {
            [String::new(), format!("missed in {} of {}", cell.missed, cell.imagined)]
        }
        Some(Cell { secs, requests: hurt, missed: _, imagined: _ }) => {
            [span(*secs), requests(*hurt)]
        }
    }
}

fn notes(f: &mut fmt::Formatter<'_>, notes: &[String]) -> fmt::Result {
    for note in notes {
        writeln!(f, "  - {note}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_unit() {
        let spans = [0.4, 59.6, 65.0, 3600.0, 3660.0, 3600.0 * 30.0 + 61.0].map(span);
        assert_eq!(spans, ["0 s", "1 min", "1 min 5 s", "1 h", "1 h 1 min", "30 h 1 min"]);
        let counts = [0.0, 0.4, 1.2, 1800.0].map(requests);
        assert_eq!(counts, ["0 requests", "under 1 request", "1 request", "1800 requests"]);
        let figures = [200.0, 100.0, 83.33, 9.0, 0.5, 1234.5, 0.05].map(figure);
        assert_eq!(figures, ["200", "100", "83.3", "9", "0.5", "1234", "0.05"]);
    }
}
