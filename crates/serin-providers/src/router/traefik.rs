//! Traefik: a weighted `TraefikService` named after the apex, to which the user's IngressRoute points.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use serin_core::fence;
use serin_core::model::provider::TRAEFIK;
use serin_core::model::{Builtin, Canary, Exposure, Provider, Weight};
use serin_core::observed::Seen;

use super::sides::{self, Side, percent_of, side};
use super::{Router, RouterError, mirrored, own, supported};
use crate::change::{Change, ObjectRef, Objects, TRAEFIK_SERVICE};
use crate::gateway::traefik_pattern;
use crate::json::{
    TOOLKIT_ANNOTATIONS, TOUCHED, child, covers, items, resource_version, set, strings, text,
};
use crate::metric::{p99_in_ms, success_rate};
use crate::ownership::other_controller;
use crate::ownership::{owned_by, owner};

pub(super) mod derived;
mod hosts;

/// On a TraefikService that we did not make: the services it had, in JSON, to give back.
const ORIGINAL_SERVICES: &str = "serin.dev/original-services";

const SERVICES: &str = "/spec/weighted/services";

pub(super) struct Traefik;

impl Router for Traefik {
    fn provider(&self) -> &'static Provider {
        &TRAEFIK
    }

    fn reads(&self, canary: &Canary) -> Vec<ObjectRef> {
        let copying = Some(mirrored::object(canary)).filter(|_| mirrored::is_needed(canary));
        std::iter::once(object(canary)).chain(copying).chain(derived::reads(canary)).collect()
    }

    /// What copies is led to though the spec has no copies any more.
    fn reads_next(&self, canary: &Canary, live: &Objects) -> Vec<ObjectRef> {
        let entries = live.present(&object(canary)).map_or(&[][..], |live| items(live, SERVICES));
        let leads = entries.iter().any(|entry| sides::is_copying(canary, entry));
        leads.then(|| mirrored::object(canary)).into_iter().collect()
    }

    fn fenced(&self, canary: &Canary) -> Vec<ObjectRef> {
        std::iter::once(object(canary)).chain(derived::fenced(canary)).collect()
    }

    fn read(&self, canary: &Canary, live: &Objects) -> Result<Exposure, RouterError> {
        let Some(weighted) = look(canary, live)? else {
            return Err(RouterError::Missing(object(canary)));
        };
        let matched = derived::is_matched(canary, live)?;
        let mirrored = mirrored::read(canary, items(weighted, SERVICES), live)?;
        let exposure = Exposure { share: share(canary, weighted), matched, mirrored };
        let lacks = mirrored::is_needed(canary)
            && own::ours(canary, live, mirrored::object(canary))?.is_none();
        match exposure.is_none() && lacks {
            true => Err(RouterError::Missing(mirrored::object(canary))),
            false => Ok(exposure),
        }
    }

    fn write(
        &self,
        canary: &Canary,
        wanted: Exposure,
        live: &Objects,
    ) -> Result<Vec<Change>, RouterError> {
        supported(self.provider(), wanted)?;
        let weighted = look(canary, live)?;
        let beside = derived::write(canary, wanted, live)?;
        let main = mirrored::main(canary, live);
        let references = references(canary, weighted, main.as_ref());
        let copying = mirrored::write(canary, wanted, live, references.clone())?;
        let mut object = applied(canary, wanted, weighted, references);
        if weighted.is_some_and(|live| in_order(live, &object)) {
            return Ok(copying.into_iter().chain(beside).collect());
        }
        let fenced = weighted.filter(|_| fence::route_is_fenced(wanted));
        if let (Some(version), Some(metadata)) =
            (fenced.and_then(resource_version), child(&mut object, "metadata"))
        {
            metadata.insert("resourceVersion".into(), version.into());
        }
        // The weighted service first: what stands beside the user's route leads to it.
        let first = Change::Apply { target: self::object(canary), object };
        let (before, after) = match wanted.mirrored {
            // What copies is led to no more before it changes, and changed before it is led to.
            Weight::ZERO => (None, copying),
            _ => (copying, None),
        };
        Ok(before.into_iter().chain([first]).chain(after).chain(beside).collect())
    }

    fn ports(&self, canary: &Canary, live: &Objects) -> BTreeSet<String> {
        let entries = live.present(&object(canary)).map_or(&[][..], |live| items(live, SERVICES));
        let ours = |entry: &&Value| matches!(side(canary, entry), Side::Primary | Side::Canary);
        let port = |entry: &Value| match entry.get("port") {
            Some(Value::String(name)) => Some(name.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            Some(_) | None => None,
        };
        let behind = mirrored::main(canary, live);
        let entries = entries.iter().filter(|entry| !sides::is_copying(canary, entry));
        entries.filter(ours).chain(behind.as_ref()).filter_map(port).collect()
    }

    fn obstacles(&self, canary: &Canary, live: &Objects) -> Vec<RouterError> {
        let of_weighted = match look(canary, live) {
            Ok(weighted) => weighted.and_then(|weighted| leads_elsewhere(canary, weighted)),
            Err(RouterError::Unreadable { .. } | RouterError::Missing(_)) => None,
            Err(error) => Some(error),
        };
        let of_copies = Some(mirrored::object(canary)).filter(|_| mirrored::is_needed(canary));
        let of_copies = of_copies.and_then(|object| own::taken(canary, live, object));
        let beside = derived::obstacles(canary, live);
        of_weighted.into_iter().chain(of_copies).chain(beside).collect()
    }

    fn is_sticky(&self, canary: &Canary, live: &Objects) -> bool {
        let sticky = live.present(&object(canary)).and_then(|l| l.pointer("/spec/weighted/sticky"));
        sticky.is_some_and(|sticky| !sticky.is_null())
    }

    fn restore(&self, canary: &Canary, live: &Objects) -> Result<Vec<Change>, RouterError> {
        let main = mirrored::main(canary, live);
        let restored = |weighted| restored(canary, weighted, main.as_ref());
        let weighted = look(canary, live)?.and_then(restored);
        let weighted = weighted.map(|patch| Change::MergePatch { target: object(canary), patch });
        let copying = mirrored::restore(canary, live);
        let beside = derived::restore(canary, live)?;
        Ok(weighted.into_iter().chain(copying).chain(beside).collect())
    }

    /// Traefik names a child of a weighted service in one of two ways, by its `safeNaming`. Both speak of the Service and
    /// of the port as it is written, never of the target.
    fn builtin(&self, canary: &Canary, builtin: Builtin, window: &str) -> String {
        let bucket = "traefik_service_request_duration_seconds_bucket";
        let pattern = traefik_pattern(canary, &canary.spec.service.canary_name());
        let service = format!("service=~\"{pattern}\"");
        match builtin {
            Builtin::RequestSuccessRate => {
                let all = format!("{service},le=\"+Inf\"");
                success_rate(bucket, &all, "code!~\"5..\"", window)
            }
            Builtin::RequestDuration => p99_in_ms(bucket, &service, window),
        }
    }
}

fn object(canary: &Canary) -> ObjectRef {
    TRAEFIK_SERVICE.named(&canary.key.namespace, &canary.spec.service.name)
}

/// The live object if it can be ours to split; none when it is not there.
fn look<'a>(canary: &Canary, live: &'a Objects) -> Result<Option<&'a Value>, RouterError> {
    let object = object(canary);
    let live = match live.get(&object) {
        Seen::Present(live) => live,
        Seen::Absent => return Ok(None),
        Seen::Unreadable(why) => return Err(RouterError::Unreadable { object, why }),
    };
    if let Some(owner) = other_controller(live, canary) {
        return Err(RouterError::NotOurs { object, owner });
    }
    for other in ["mirroring", "highestRandomWeight", "failover"] {
        if live.pointer(&format!("/spec/{other}")).is_some_and(|value| !value.is_null()) {
            let why = format!("it has spec.{other}");
            return Err(RouterError::NotWeighted { object, why });
        }
    }
    Ok(Some(live))
}

/// One of the user's own, in which neither the apex nor a side of it has a place: users of other Services come this way.
fn leads_elsewhere(canary: &Canary, live: &Value) -> Option<RouterError> {
    let entries = items(live, SERVICES);
    let known = strings(live, "/metadata/annotations").contains_key(ORIGINAL_SERVICES);
    let foreign = entries.iter().all(|entry| side(canary, entry) == Side::Foreign);
    if owned_by(live, canary) || known || entries.is_empty() || !foreign {
        return None;
    }
    let names: Vec<&str> =
        entries.iter().take(3).filter_map(|entry| text(entry, "/name")).collect();
    Some(RouterError::LeadsElsewhere {
        object: object(canary),
        leads_to: format!("{} and not to {}", names.join(", "), canary.spec.service.name),
    })
}

/// The canary's share of what the two sides get.
fn share(canary: &Canary, live: &Value) -> Weight {
    let (primary, canary) = sides::weights(canary, items(live, SERVICES)).unwrap_or((0, 0));
    percent_of(primary, canary)
}

/// Exactly our fields; `sticky` and whatever else the user has beside the list are not among them.
fn applied(
    canary: &Canary,
    wanted: Exposure,
    live: Option<&Value>,
    references: [Value; 2],
) -> Value {
    let service = &canary.spec.service;
    let target = object(canary);
    let mut annotations = service.apex.annotations.clone();
    annotations.extend(TOOLKIT_ANNOTATIONS.map(|(key, value)| (key.to_owned(), value.to_owned())));
    annotations.extend(live.and_then(|live| remembered(canary, live)));
    let mut object = json!({
        "apiVersion": target.kind.api_version(),
        "kind": target.kind.kind,
        "metadata": {
            "name": target.name,
            "namespace": target.namespace,
            "labels": service.apex.labels,
            "annotations": annotations,
        },
        "spec": {"weighted": {"services": services(canary, wanted, live, references)}},
    });
    // One that was there before stays the user's: it must outlive the Canary.
    if live.is_none_or(|live| owned_by(live, canary))
        && let Some(metadata) = child(&mut object, "metadata")
    {
        metadata.insert("ownerReferences".into(), json!([owner(canary)]));
    }
    object
}

/// How primary and canary are spoken to: scheme, transport and the like are those of the entry that was there, and a side
/// that comes back is spoken to like the other.
fn references(canary: &Canary, live: Option<&Value>, main: Option<&Value>) -> [Value; 2] {
    let entries = live.map_or(&[][..], |live| items(live, SERVICES));
    let direct = |entry: &&Value| !sides::is_copying(canary, entry);
    let first =
        |wanted: Side| entries.iter().filter(direct).find(|entry| side(canary, entry) == wanted);
    // While the primary answers from behind what copies, its own entry is there.
    let behind = main.filter(|_| entries.iter().any(|entry| sides::is_copying(canary, entry)));
    let of_primary = first(Side::Primary).or(behind).or_else(|| first(Side::Apex));
    let of_canary = first(Side::Canary);
    let service = &canary.spec.service;
    [
        reference(canary, service.primary_name(), of_primary.or(of_canary)),
        reference(canary, service.canary_name(), of_canary.or(of_primary)),
    ]
}

/// Our two entries, then the others as they are. A side that gets nothing is left out: Traefik drops the whole service
/// when one child has no endpoints, even at weight 0.
fn services(
    canary: &Canary,
    wanted: Exposure,
    live: Option<&Value>,
    [primary, other]: [Value; 2],
) -> Vec<Value> {
    let entries = live.map_or(&[][..], |live| items(live, SERVICES));
    let share = wanted.share;
    let primary = match wanted.mirrored {
        Weight::ZERO => weighing(primary, share.rest()),
        _ => mirrored::entry(canary, share.rest()),
    };
    let sides = [(primary, share.rest()), (weighing(other, share), share)];
    let mut services: Vec<Value> = sides
        .into_iter()
        .filter(|(_, weight)| *weight > Weight::ZERO)
        .map(|(entry, _)| entry)
        .collect();
    services.extend(entries.iter().filter(|entry| side(canary, entry) == Side::Foreign).cloned());
    services
}

fn weighing(mut entry: Value, weight: Weight) -> Value {
    set(&mut entry, "weight", weight.percent().into());
    entry
}

fn reference(canary: &Canary, name: String, like: Option<&Value>) -> Value {
    let service = &canary.spec.service;
    let mut entry = like.cloned().unwrap_or_else(|| json!({}));
    // A port by its name says the same as by its number.
    if entry.get("port").and_then(Value::as_str) != Some(service.port_name()) {
        set(&mut entry, "port", service.port.into());
    }
    set(&mut entry, "name", name.into());
    set(&mut entry, "namespace", canary.key.namespace.clone().into());
    crate::json::remove(&mut entry, "weight");
    entry
}

/// The list is atomic and compared whole, the rest merges with what others have.
fn in_order(live: &Value, wanted: &Value) -> bool {
    covers(live, wanted) && live.pointer(SERVICES) == wanted.pointer(SERVICES)
}

/// The note of the services that an adopted TraefikService had.
fn remembered(canary: &Canary, live: &Value) -> Option<(String, String)> {
    if owned_by(live, canary) {
        return None;
    }
    let noted = strings(live, "/metadata/annotations").remove(ORIGINAL_SERVICES);
    let now = || Value::Array(items(live, SERVICES).to_vec()).to_string();
    Some((ORIGINAL_SERVICES.to_owned(), noted.unwrap_or_else(now)))
}

/// What makes the object the user's again; none when it already is.
fn restored(canary: &Canary, live: &Value, main: Option<&Value>) -> Option<Value> {
    let annotations = strings(live, "/metadata/annotations");
    let original = annotations
        .get(ORIGINAL_SERVICES)
        .and_then(|noted| serde_json::from_str::<Vec<Value>>(noted).ok());
    let services = original_services(canary, original.as_deref(), items(live, SERVICES), main);
    let is_there = Some(&Value::Array(services.clone())) == live.pointer(SERVICES);
    let owned = owned_by(live, canary);
    let sealed = annotations.contains_key(TOUCHED);
    if is_there && !owned && original.is_none() && !sealed {
        return None;
    }
    let mut metadata = json!({"annotations": {ORIGINAL_SERVICES: null, TOUCHED: null}});
    for (key, value) in TOOLKIT_ANNOTATIONS {
        if annotations.get(key).is_some_and(|live| live == value)
            && let Some(map) = child(&mut metadata, "annotations")
        {
            map.insert(key.to_owned(), Value::Null);
        }
    }
    if owned {
        // It would be collected with the Canary, and the user's route would lead nowhere.
        let others: Vec<Value> = items(live, "/metadata/ownerReferences")
            .iter()
            .filter(|owner| text(owner, "/uid") != Some(&canary.uid))
            .cloned()
            .collect();
        set(&mut metadata, "ownerReferences", Value::Array(others));
    }
    Some(json!({"metadata": metadata, "spec": {"weighted": {"services": services}}}))
}

/// The services as before, or as now, with the apex Service in the place of those that vanish with the Canary.
fn original_services(
    canary: &Canary,
    original: Option<&[Value]>,
    live: &[Value],
    main: Option<&Value>,
) -> Vec<Value> {
    let apex = |like| {
        let name = canary.spec.service.name.clone();
        weighing(reference(canary, name, like), Weight::FULL)
    };
    let mut services = Vec::new();
    let mut has_apex = false;
    for entry in original.unwrap_or(live) {
        match side(canary, entry) {
            Side::Foreign => services.push(entry.clone()),
            Side::Apex if has_apex => {}
            Side::Apex => {
                has_apex = true;
                services.push(entry.clone());
            }
            Side::Primary | Side::Canary if has_apex => {}
            Side::Primary | Side::Canary => {
                has_apex = true;
                services.push(match sides::is_copying(canary, entry) {
                    true => apex(main),
                    false => apex(Some(entry)),
                });
            }
        }
    }
    if services.is_empty() {
        services.push(apex(None));
    }
    services
}

#[cfg(test)]
pub(super) mod tests;
