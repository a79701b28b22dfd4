//! A failing plan with everything taken out that it can fail without.

use crate::plan::Plan;
use crate::run::{Options, Outcome, run};

/// Runs that shrinking may take.
const RUNS_MAX: usize = 300;

/// The smallest plan that was found to break the same law, and what comes of it.
pub(crate) fn shrink(plan: &Plan, broken: &Outcome) -> (Plan, Outcome) {
    let law = broken.broken.as_ref().map(|broken| broken.law);
    let mut best = (plan.clone(), broken.clone());
    let mut runs = 0;
    let mut attempt = |candidate: Plan, best: &mut (Plan, Outcome)| {
        runs += 1;
        if runs > RUNS_MAX {
            return false;
        }
        let outcome = run(&candidate, &Options::default());
        let same = outcome.broken.as_ref().map(|broken| broken.law) == law;
        if same {
            *best = (candidate, outcome);
        }
        same
    };
    // Moves in ever smaller parts, as in delta debugging; their time goes to the move after them.
    let mut part = best.0.moves.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        while at < best.0.moves.len() {
            let mut candidate = best.0.clone();
            let end = (at + part).min(candidate.moves.len());
            let gone: std::time::Duration =
                candidate.moves.drain(at..end).map(|taken| taken.after).sum();
            if let Some(next) = candidate.moves.get_mut(at) {
                next.after += gone;
            }
            if !attempt(candidate, &mut best) {
                at += part;
            }
        }
        part /= 2;
    }
    if best.0.replicas > 1 {
        let candidate = Plan { replicas: 1, ..best.0.clone() };
        attempt(candidate, &mut best);
    }
    for canary in 0..best.0.canaries.len() {
        for simpler in simpler() {
            let mut candidate = best.0.clone();
            simpler(&mut candidate.canaries[canary]);
            attempt(candidate, &mut best);
        }
    }
    best
}

fn simpler() -> [fn(&mut crate::plan::Shape); 5] {
    [
        |shape| shape.hooks.clear(),
        |shape| shape.autoscaler = false,
        |shape| shape.configs = false,
        |shape| shape.guard = false,
        |shape| shape.strategy = 0,
    ]
}
