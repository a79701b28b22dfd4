//! The plan as it is printed, for people and for machines.

use std::fmt;

use serde::Serialize;
use serin_providers::ObjectRef;

/// Everything that was found out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Plan {
    pub(super) requests_per_second: f64,
    pub(super) canaries: Vec<CanaryPlan>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CanaryPlan {
    pub(super) canary: String,
    /// Why it would be refused; then there is no plan.
    pub(super) errors: Vec<Flaw>,
    /// What has no effect, or another one than it seems.
    pub(super) warnings: Vec<Flaw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) writes: Option<Writes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) schedule: Option<Schedule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rollback: Option<Rollback>,
}

impl CanaryPlan {
    pub(super) fn broken(canary: String, errors: Vec<Flaw>) -> Self {
        let warnings = Vec::new();
        Self { canary, errors, warnings, writes: None, schedule: None, rollback: None }
    }
}

/// A field and what is wrong with it.
#[derive(Debug, Serialize)]
pub(super) struct Flaw {
    pub(super) field: String,
    pub(super) message: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Writes {
    /// What the objects were compared with.
    pub(super) compared_with: &'static str,
    pub(super) objects: Vec<Write>,
    pub(super) notes: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Write {
    /// `create` or `change`.
    pub(super) verb: &'static str,
    pub(super) object: String,
    /// What changes: `path: before -> after`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) fields: Vec<String>,
}

impl Write {
    pub(super) fn create(object: &ObjectRef) -> Self {
        Self { verb: "create", object: object.to_string(), fields: Vec::new() }
    }
}

/// Times are seconds after the first traffic.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Schedule {
    pub(super) pace: &'static str,
    pub(super) steps: Vec<Step>,
    /// The earliest; none when it does not come.
    pub(super) promotion_secs: Option<f64>,
    pub(super) notes: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    pub(super) at_secs: f64,
    pub(super) weight: u8,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rollback {
    /// The objective whose failures were imagined; none without a guard.
    pub(super) guard_watches: Option<String>,
    /// Imagined releases behind each of the guard's figures.
    pub(super) runs: u64,
    pub(super) rows: Vec<Row>,
    pub(super) notes: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    /// Share of the canary's requests that fail.
    pub(super) failing: f64,
    pub(super) begins: &'static str,
    /// Percent of the traffic that the canary has then.
    pub(super) share: f64,
    /// None: never.
    pub(super) flagger: Option<Cell>,
    pub(super) checks: Option<Cell>,
    pub(super) guard: Option<Cell>,
}

#[derive(Debug, Serialize)]
pub(super) struct Cell {
    /// From the first failing request to the rollback.
    pub(super) secs: f64,
    /// Requests that fail until then.
    pub(super) hurt: f64,
    /// Imagined releases that were not rolled back.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) missed: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// `1:05`, `1:00:00`.
fn clock(secs: f64) -> String {
    let all = secs.round() as i64;
    let (hours, minutes, secs) = (all / 3600, all / 60 % 60, all % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{secs:02}")
    } else {
        format!("{minutes}:{secs:02}")
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, canary) in self.canaries.iter().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            show(f, canary, self.requests_per_second)?;
        }
        Ok(())
    }
}

fn show(f: &mut fmt::Formatter<'_>, plan: &CanaryPlan, rps: f64) -> fmt::Result {
    let CanaryPlan { canary, errors, warnings, writes, schedule, rollback } = plan;
    if errors.is_empty() {
        writeln!(f, "{canary}")?;
    } else {
        writeln!(f, "{canary}: would be refused, and the running version would keep its traffic")?;
    }
    for Flaw { field, message } in errors {
        writeln!(f, "  error: {field}: {message}")?;
    }
    for Flaw { field, message } in warnings {
        writeln!(f, "  warning: {field}: {message}")?;
    }
    if let Some(writes) = writes {
        show_writes(f, writes)?;
    }
    if let Some(schedule) = schedule {
        show_schedule(f, schedule, rps)?;
    }
    match rollback {
        Some(rollback) => show_rollback(f, rollback, rps),
        None => Ok(()),
    }
}

fn show_writes(f: &mut fmt::Formatter<'_>, writes: &Writes) -> fmt::Result {
    writeln!(f, "\nwrites, compared with {}", writes.compared_with)?;
    if writes.objects.is_empty() {
        writeln!(f, "  none")?;
    }
    for Write { verb, object, fields } in &writes.objects {
        writeln!(f, "  {verb} {object}")?;
        for field in fields {
            writeln!(f, "    {field}")?;
        }
    }
    notes(f, &writes.notes)
}

fn show_schedule(f: &mut fmt::Formatter<'_>, schedule: &Schedule, rps: f64) -> fmt::Result {
    writeln!(f, "\nschedule of a release at {rps} requests per second, from its first traffic")?;
    writeln!(f, "  {}", schedule.pace)?;
    for Step { at_secs, weight } in &schedule.steps {
        writeln!(f, "  {:>8}  {weight:>3} %", clock(*at_secs))?;
    }
    match schedule.promotion_secs {
        Some(secs) => writeln!(f, "  {:>8}  promotion, at the earliest", clock(secs))?,
        None => writeln!(f, "  {:>8}  promotion", "never")?,
    }
    notes(f, &schedule.notes)
}

fn show_rollback(f: &mut fmt::Formatter<'_>, rollback: &Rollback, rps: f64) -> fmt::Result {
    writeln!(
        f,
        "\nrollback of a bad release at {rps} requests per second: time, and requests hurt"
    )?;
    writeln!(
        f,
        "  {:>7}  {:<34}{:>16}{:>16}{:>16}",
        "failing", "from", "Flagger's rule", "checks", "guard"
    )?;
    for row in &rollback.rows {
        let from = format!("{} ({} %)", row.begins, row.share.round());
        let failing = format!("{} %", (row.failing * 100.0).round());
        let cells =
            [&row.flagger, &row.checks, &row.guard].map(|cell| shown(cell.as_ref(), rollback.runs));
        let [flagger, checks, guard] = cells;
        writeln!(f, "  {failing:>7}  {from:<34}{flagger:>16}{checks:>16}{guard:>16}")?;
    }
    match &rollback.guard_watches {
        Some(name) => writeln!(
            f,
            "  Flagger's rule and the checks: the worst moment for the fault to begin; the guard, by its {name}: 19 of 20 releases stay below, imagined {} times",
            rollback.runs
        )?,
        None => writeln!(f, "  the worst moment for the fault to begin")?,
    }
    notes(f, &rollback.notes)
}

fn shown(cell: Option<&Cell>, runs: u64) -> String {
    match cell {
        None => "never".to_owned(),
        Some(Cell { secs: _, hurt: _, missed }) if *missed as u64 * 20 > runs => {
            format!("missed {missed} of {runs}")
        }
        Some(Cell { secs, hurt, missed: _ }) => format!("{}, {hurt:.0}", clock(*secs)),
    }
}

fn notes(f: &mut fmt::Formatter<'_>, notes: &[String]) -> fmt::Result {
    for note in notes {
        writeln!(f, "  - {note}")?;
    }
    Ok(())
}
