//! The guard over history: the operator's own evidence and judge, fed with what the gateway had counted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serin_core::judge::design::{Design, Measured, weight_steps};
use serin_core::model::{Bad, Canary};
use serin_judge::monitor::Monitor;
use serin_judge::{Decision, Odds};

use super::Outcome;
use super::counters::{Looks, watched};

/// How the guard saw a release.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ApplyOrder {
    pub(super) outcome: Outcome,
    pub(super) at: Timestamp,
    pub(super) why: String,
    /// `ln E` at its highest.
    pub(super) peak: f64,
    /// Looks at which it would not have let the release go on.
    pub(super) held: u32,
    pub(super) looks: u32,
    /// How errors came at the primary, for the next release.
    pub(super) groups: Groups,
}

/// How many requests share one fate, by objective.
pub(super) type Groups = BTreeMap<String, f64>;

/// Objectives that the history can tell of, by their places, and the names of the others.
pub(super) fn measurable(canary: &Canary, looks: &Looks) -> (Vec<usize>, Vec<String>) {
    let (mut places, mut others) = (Vec::new(), Vec::new());
    let Some(spec) = &canary.spec.analysis.guard else { return (places, others) };
    for (place, objective) in spec.objectives.iter().enumerate() {
        let counted = match objective.bad {
            Bad::Failed => true,
            Bad::SlowerThan(millis) => looks.bounds.contains(&millis),
            Bad::Shape => !looks.shape.is_empty(),
        };
        if counted { places.push(place) } else { others.push(objective.name.clone()) }
    }
    (places, others)
}

/// Watches from the first look to `end`; the weight changes at `steps`, in milliseconds, and `known` is what releases before
/// have shown of errors in groups.
pub(super) fn watch(
    canary: &Canary,
    looks: &Looks,
    steps: &[i64],
    end: Timestamp,
    known: &Groups,
) -> Result<Option<ApplyOrder>, String> {
    let Some(spec) = &canary.spec.analysis.guard else { return Ok(None) };
    let interval = canary.spec.analysis.interval_secs * 1000;
    let over = steps.last().map_or(i64::MAX, |last| last.saturating_add(interval));
    let over = Timestamp::from_millisecond(over).unwrap_or(Timestamp::MAX);
    let (places, _) = measurable(canary, looks);
    if places.is_empty() {
        let bounds: Vec<String> = watched(canary).iter().map(f64::to_string).collect();
        return Err(format!(
            "the guard's objectives cannot be measured: the recorded histogram has none of the bounds {} ms",
            bounds.join(", ")
        ));
    }
    let measured = Measured::new(spec, places, known, looks.shape.clone());
    let steps_expected = weight_steps(&canary.spec.analysis);
    let Design { config, sources, bounds } = Design::new(spec, &measured, steps_expected);
    let mut watch =
        Monitor::new(config, bounds.len(), sources).map_err(|error| error.to_string())?;
    let mut order = ApplyOrder {
        outcome: if over <= end { Outcome::Passed } else { Outcome::Undecided },
        at: end,
        why: String::new(),
        peak: f64::NEG_INFINITY,
        held: 0,
        looks: 0,
        groups: Groups::new(),
    };
    // The first share is where the evidence begins.
    let begun = steps.first().copied().unwrap_or(i64::MIN);
    let warm = begun.saturating_add(spec.warm_up_secs * 1000);
    let mut steps = steps.iter().copied().skip(1).peekable();
    for look in looks.looks.iter().take_while(|look| look.at <= end.as_millisecond()) {
        while steps.next_if(|step| *step < look.at).is_some() {
            watch.weight_changed();
        }
        let at = u64::try_from(look.at).unwrap_or(0);
        let pages = look.pages.iter();
        let readings = pages.flat_map(|(process, sides)| sides.readings(process, look.at >= warm));
        let Ok(verdict) = watch.observe(at, readings) else { continue };
        order.looks += 1;
        order.peak = order.peak.max(verdict.log_e);
        match verdict.decision {
            Decision::Continue => {}
            Decision::Hold(_) => order.held += 1,
            Decision::RollBack => {
                order.outcome = Outcome::RolledBack;
                order.at = Timestamp::from_millisecond(look.at).unwrap_or(end);
                break;
            }
        }
    }
    if order.outcome == Outcome::Passed {
        order.groups = watch.dispersion().map(|(name, seen)| (name.to_owned(), seen)).collect();
    }
    let explanation = watch.explain();
    let main = explanation.checks.first().map(ToString::to_string).unwrap_or_default();
    order.why = match order.outcome {
        Outcome::RolledBack => main,
        Outcome::Passed | Outcome::Undecided => {
            let odds = Odds(order.peak);
            if order.peak > 0.0 { format!("at most {odds}") } else { odds.to_string() }
        }
    };
    Ok(Some(order))
}
