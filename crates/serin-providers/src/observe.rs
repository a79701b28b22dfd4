//! From objects as they were found to what `step` looks at.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serin_core::model::{Canary, Exposure};
use serin_core::observed::{Guard, Observed, Seen, Watched};

use crate::change::Objects;
use crate::metric;
use crate::obstacles;
use crate::router::{RouterError, router};
use crate::service;
use crate::settings::Settings;
use crate::workload::names;
use crate::workload::{config, drift, kept, observe as workloads, scaler};

/// Answers are empty, the guard is quiet and no duplicate is known: those come from elsewhere.
pub fn observe(
    canary: &Canary,
    objects: &Objects,
    settings: &Settings,
    now: Timestamp,
) -> Observed {
    Observed {
        target: workloads::observe_target(canary, objects, now),
        primary: workloads::observe_primary(canary, objects, settings, now),
        configs: config::observe(&objects.get(&names::target(canary)), objects, settings),
        kept: kept::observe(canary, objects),
        scaler: scaler::observe(canary, objects),
        services: service::observe(canary, objects, settings),
        route: route(canary, objects),
        unmeasurable: metric::findings(canary, objects, settings),
        duplicate_of: None,
        obstacles: obstacles::find(canary, objects, settings),
        refused: None,
        passed_over: config::observe_passed_over(canary, objects, settings),
        requests: Vec::new(),
        drift: drift::observe(canary, objects, settings),
        answered: None,
        reach: BTreeMap::new(),
        guard: Guard::Quiet,
        watched: Watched::default(),
        answers: BTreeMap::new(),
    }
}

fn route(canary: &Canary, objects: &Objects) -> Seen<Exposure> {
    match router(canary.spec.provider).read(canary, objects) {
        Ok(exposure) => Seen::Present(exposure),
        Err(RouterError::Missing(_)) => Seen::Absent,
        Err(
            error @ (RouterError::Unreadable { .. }
            | RouterError::NotWeighted { .. }
            | RouterError::Unsupported { .. }
            | RouterError::LeadsElsewhere { .. }
            | RouterError::Shared { .. }
            | RouterError::OldSyntax { .. }
            | RouterError::Tie { .. }
            | RouterError::NotDone { .. }
            | RouterError::NotAccepted { .. }
            | RouterError::NotOurs { .. }),
        ) => Seen::Unreadable(error.to_string()),
    }
}
