//! Edits by hand of what was promoted: of the primary's pod template, and of its copies of configs.

use std::collections::BTreeMap;

use serde_json::Value;
use serin_core::model::Canary;
use serin_core::observed::{Drift, Seen};

use super::revision::{REVISION_ANNOTATION, revision};
use super::{config, primary};
use crate::change::{Change, Objects};
use crate::error::RenderError;
use crate::json::{significant, strings};
use crate::ownership::{self, Owner};
use crate::settings::Settings;
use crate::workload::names;

/// Told where the target is what was promoted, so that it can be compared: a rejected target tells nothing of the primary.
pub(crate) fn observe(canary: &Canary, objects: &Objects, settings: &Settings) -> Drift {
    let (Some(target), Some(live)) =
        (objects.present(&names::target(canary)), objects.present(&names::primary(canary)))
    else {
        return Drift::default();
    };
    let made_from = strings(live, "/metadata/annotations").remove(REVISION_ANNOTATION);
    let promoted = &canary.status.last_promoted_spec;
    let same = made_from.as_ref() == Some(promoted) && revision(target) == *promoted;
    let Ok(tracked) = config::tracked(target, objects, settings) else { return Drift::default() };
    let kept = canary.status.promoted_configs.as_ref();
    let as_promoted =
        kept.and_then(|kept| config::of_status(canary, kept)) == Some(tracked.clone());
    if !same || !as_promoted || ownership::of(live, canary) != Owner::Ours {
        return Drift::default();
    }
    let places = config::places_in(canary, tracked.keys(), live);
    let none = BTreeMap::new();
    let template =
        primary::selector(canary, target, Some(live), &none, settings).and_then(|selector| {
            let wanted = primary::template(canary, target, &selector, &places, settings);
            let live = live.pointer("/spec/template").cloned().unwrap_or(Value::Null);
            difference("spec.template", &wanted, &primary::without_id(live))
        });
    let paused = |workload: &Value| workload.pointer("/spec/paused") == Some(&Value::Bool(true));
    let stopped = (paused(live) && !paused(target)).then(|| "spec.paused".to_owned());
    let copies = places.iter().filter_map(|(source, place)| {
        let source = objects.present(source)?;
        let differs = match objects.get(place) {
            Seen::Present(copy) => !config::same_contents(source, copy),
            // The next pod would not start.
            Seen::Absent => true,
            Seen::Unreadable(_) => false,
        };
        differs.then(|| place.to_string())
    });
    Drift { template: template.or(stopped), copies: copies.collect() }
}

/// The path of the first field in which two objects differ by more than what the API server adds or drops.
pub(super) fn difference(path: &str, wanted: &Value, live: &Value) -> Option<String> {
    let (wanted, live) = (significant(wanted), significant(live));
    if wanted == live {
        return None;
    }
    let (Some(wanted), Some(live)) = (wanted, live) else { return Some(path.to_owned()) };
    let inner = match (&wanted, &live) {
        (Value::Object(wanted), Value::Object(live)) => {
            let keys: std::collections::BTreeSet<&String> =
                wanted.keys().chain(live.keys()).collect();
            keys.into_iter().find_map(|key| {
                let of = |map: &serde_json::Map<String, Value>| {
                    map.get(key).cloned().unwrap_or(Value::Null)
                };
                difference(&format!("{path}.{key}"), &of(wanted), &of(live))
            })
        }
        (Value::Array(wanted), Value::Array(live)) if wanted.len() == live.len() => {
            let pairs = wanted.iter().zip(live).enumerate();
            pairs
                .filter_map(|(at, (wanted, live))| {
                    difference(&format!("{path}[{at}]"), wanted, live)
                })
                .next()
        }
        _ => None,
    };
    inner.or_else(|| Some(path.to_owned()))
}

/// Copies with the contents of their sources, which are those that were promoted. The primary is not touched: pods read
/// them as they read any change of a ConfigMap.
pub(crate) fn repair(
    canary: &Canary,
    objects: &Objects,
    settings: &Settings,
) -> Result<Vec<Change>, RenderError> {
    let target_ref = names::target(canary);
    let target = primary::require(objects, &target_ref)?;
    let live = primary::require(objects, &names::primary(canary))?;
    let tracked = config::tracked(target, objects, settings).map_err(RenderError::Config)?;
    let kept = canary.status.promoted_configs.as_ref();
    if kept.and_then(|kept| config::of_status(canary, kept)).as_ref() != Some(&tracked) {
        return Err(RenderError::ConfigsMoved(target_ref));
    }
    let mut places = config::places_in(canary, tracked.keys(), live);
    // One that other Canaries read as well, as Flagger has it, is not ours to write.
    places.retain(|_, place| match objects.get(place) {
        Seen::Present(copy) => config::is_ours_alone(copy, canary),
        Seen::Absent => true,
        Seen::Unreadable(_) => false,
    });
    config::copies(canary, &places, objects, settings)
}
