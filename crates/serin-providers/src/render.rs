//! From actions to the writes that carry them out. What is already so is not written again.

use serde_json::{Value, json};
use serin_core::fence::{self, Touch};
use serin_core::model::{Canary, Exposure, Running};
use serin_core::parse::{self, FINALIZER, OWN_FINALIZER};
use serin_core::plan::Action;

use crate::change::{Change, ObjectRef, Objects};
use crate::error::RenderError;
use crate::json::{TOUCHED, items, strings};
use crate::router::{RouterError, router};
use crate::service;
use crate::settings::Settings;
use crate::workload;
use crate::workload::names;
use crate::workload::primary::require;
use crate::workload::{drift, kept, primary, scaler};

/// The writes that make an action true, in order. Empty when it already is.
pub fn render(
    canary: &Canary,
    action: &Action,
    objects: &Objects,
    settings: &Settings,
) -> Result<Vec<Change>, RenderError> {
    match action {
        Action::Services => service::render_generated(canary, objects, settings),
        Action::ApexToPrimary => service::render_apex_to_primary(canary, objects, settings),
        Action::ApexToTarget => service::render_apex_to_target(canary, objects, settings),
        Action::CreatePrimary { revision, replicas } => {
            primary::render(canary, revision, Some(*replicas), objects, settings)
        }
        Action::PromotePrimary { revision } => {
            primary::render(canary, revision, None, objects, settings)
        }
        Action::KeepPrimary { token } => kept::keep(canary, token, objects),
        Action::UndoPrimary { token } => kept::undo(canary, token, objects),
        Action::PrimaryScaler => scaler::render(canary, objects),
        Action::RepairCopies => drift::repair(canary, objects, settings),
        Action::HoldPrimary(replicas) => scaler::hold(canary, *replicas, objects),
        Action::ScaleTarget(running) => scale_target(canary, *running, objects),
        Action::Route(exposure) => route(canary, *exposure, objects),
        Action::EnsureRoute(exposure) => ensure_route(canary, *exposure, objects),
        Action::RestoreRoute => Ok(router(canary.spec.provider).restore(canary, objects)?),
        Action::Finalizer(wanted) => finalizer(canary, *wanted, objects),
    }
}

fn scale_target(
    canary: &Canary,
    running: Running,
    objects: &Objects,
) -> Result<Vec<Change>, RenderError> {
    let target = names::target(canary);
    let live = require(objects, &target)?;
    let kind = workload::of(canary);
    if kind.running(live) == running {
        return Ok(Vec::new());
    }
    let version = crate::json::resource_version(live)
        .filter(|_| fence::scale_is_fenced(running))
        .map(str::to_owned);
    Ok(vec![kind.run(target, running, version)])
}

/// The exposure, and where the canary is to have none: nothing that another client decided and has not written yet.
fn route(
    canary: &Canary,
    exposure: Exposure,
    objects: &Objects,
) -> Result<Vec<Change>, RenderError> {
    let router = router(canary.spec.provider);
    let changes = router.write(canary, exposure, objects)?;
    let how = fence::touch(&canary.status);
    let needless = exposure != Exposure::NONE || how == Touch::None;
    if !changes.is_empty() || needless {
        return Ok(changes);
    }
    let touch = |target: ObjectRef| {
        let live = objects.get(&target).present().copied()?;
        let touched = strings(live, "/metadata/annotations").remove(TOUCHED);
        let mut patch = json!({"metadata": {"annotations": {TOUCHED: canary.resource_version}}});
        if how == Touch::Fenced {
            patch["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        }
        (touched.as_ref() != Some(&canary.resource_version))
            .then_some(Change::MergePatch { target, patch })
    };
    Ok(router.fenced(canary).into_iter().filter_map(touch).collect())
}

/// Repair never raises: what is live stays when it is lower than what is wanted.
fn ensure_route(
    canary: &Canary,
    wanted: Exposure,
    objects: &Objects,
) -> Result<Vec<Change>, RenderError> {
    let router = router(canary.spec.provider);
    let exposure = match router.read(canary, objects) {
        Ok(live) => live.meet(wanted),
        Err(RouterError::Missing(_)) => wanted,
        Err(error) => return Err(error.into()),
    };
    Ok(router.write(canary, exposure, objects)?)
}

/// A list of bare strings, so the whole list is written, fenced by its version.
fn finalizer(canary: &Canary, wanted: bool, objects: &Objects) -> Result<Vec<Change>, RenderError> {
    let target = names::canary_object(canary);
    let live = require(objects, &target)?;
    if !wanted {
        return Ok(released(target, live).into_iter().collect());
    }
    let before: Vec<Value> = items(live, "/metadata/finalizers").to_vec();
    let right = parse::finalizer(live);
    let keep = |finalizer: &&Value| !is_ours(finalizer) || **finalizer == right;
    let mut finalizers: Vec<Value> = before.iter().filter(keep).cloned().collect();
    if !finalizers.iter().any(|finalizer| *finalizer == right) {
        finalizers.push(right.into());
    }
    if finalizers == before {
        return Ok(Vec::new());
    }
    Ok(vec![with_finalizers(target, live, &finalizers)])
}

fn is_ours(finalizer: &Value) -> bool {
    [FINALIZER, OWN_FINALIZER].iter().any(|known| *finalizer == *known)
}

/// Takes our finalizers off an object, whatever else is known of it; none where it has none of them.
pub fn released(target: ObjectRef, live: &Value) -> Option<Change> {
    let mut finalizers: Vec<Value> = items(live, "/metadata/finalizers").to_vec();
    let before = finalizers.len();
    finalizers.retain(|finalizer| !is_ours(finalizer));
    (finalizers.len() < before).then(|| with_finalizers(target, live, &finalizers))
}

fn with_finalizers(target: ObjectRef, live: &Value, finalizers: &[Value]) -> Change {
    let version = crate::json::resource_version(live);
    let patch = json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
    Change::MergePatch { target, patch }
}

#[cfg(test)]
mod tests;
