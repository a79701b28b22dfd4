//! Gateway API: an HTTPRoute named after the apex that is made from the spec, or one of the user's that `spec.routeRef`
//! names.
//!
//! The rules of a generated route come from the spec alone. Of a user's route only the backends that are the apex or one
//! of its sides are touched: rules, matches and filters stay as they are. While matching requests meet the canary, each
//! rule has a copy behind them that asks for the match as well; by the API's order the more specific rule wins.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use serin_core::fence;
use serin_core::model::provider::GATEWAY_API;
use serin_core::model::{Builtin, Canary, Exposure, Finding, Provider, Weight};
use serin_core::observed::Seen;

use super::sides::{self, Side, percent_of, side};
use super::{Router, RouterError, mirrored, own, supported};
use crate::change::{Change, HTTP_ROUTE, ObjectRef, Objects};
use crate::json::{
    TOOLKIT_ANNOTATIONS, TOUCHED, child, covers, int, items, resource_version, set, strings, text,
};
use crate::metric::of_pods;
use crate::ownership::other_controller;
use crate::ownership::{owned_by, owner};

use self::features::Copying;
use self::rules::Copies;

mod features;
mod rules;

const RULES: &str = "/spec/rules";
/// The API takes no more.
const RULES_MAX: usize = 16;
/// In one rule.
const MATCHES_MAX: usize = 64;

pub(super) struct GatewayApi;

impl Router for GatewayApi {
    fn provider(&self) -> &'static Provider {
        &GATEWAY_API
    }

    fn reads(&self, canary: &Canary) -> Vec<ObjectRef> {
        vec![object(canary)]
    }

    fn reads_next(&self, canary: &Canary, live: &Objects) -> Vec<ObjectRef> {
        features::reads(canary, live.present(&object(canary)), live)
    }

    fn fenced(&self, canary: &Canary) -> Vec<ObjectRef> {
        vec![object(canary)]
    }

    fn read(&self, canary: &Canary, live: &Objects) -> Result<Exposure, RouterError> {
        let Some(route) = look(canary, live)? else {
            return Err(RouterError::Missing(object(canary)));
        };
        if let Some(error) = not_accepted(canary, route) {
            return Err(error);
        }
        let exposure = exposure(canary, route, live)?;
        let lacks = is_copied_by_service(canary, Some(route), live)
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
        let route = look(canary, live)?;
        let unfit =
            route.and_then(|live| leads_elsewhere(canary, live).or_else(|| shared(canary, live)));
        if let Some(error) = unfit {
            return Err(error);
        }
        let copies = copies(canary, wanted, route, live)?;
        let copying = copying_service(canary, wanted, route, live)?;
        let mut object = applied(canary, wanted, route, copies)?;
        if route.is_some_and(|live| in_order(live, &object)) {
            return Ok(copying.into_iter().collect());
        }
        let fenced = route.filter(|_| fence::route_is_fenced(wanted));
        if let (Some(version), Some(metadata)) =
            (fenced.and_then(resource_version), child(&mut object, "metadata"))
        {
            metadata.insert("resourceVersion".into(), version.into());
        }
        let change = Change::Apply { target: self::object(canary), object };
        Ok(match wanted.mirrored {
            Weight::ZERO => std::iter::once(change).chain(copying).collect(),
            _ => copying.into_iter().chain([change]).collect(),
        })
    }

    fn ports(&self, canary: &Canary, live: &Objects) -> BTreeSet<String> {
        let rules = live.present(&object(canary)).map_or(&[][..], |live| items(live, RULES));
        let backends = rules.iter().flat_map(|rule| items(rule, "/backendRefs"));
        let ours = backends.filter(|backend| match side(canary, backend) {
            Side::Primary | Side::Canary => true,
            Side::Apex | Side::Foreign => false,
        });
        let behind = mirrored::main(canary, live);
        let ours =
            ours.filter(|backend| !sides::is_copying(canary, backend)).chain(behind.as_ref());
        ours.filter_map(|backend| Some(int(backend, "/port")?.to_string())).collect()
    }

    fn obstacles(&self, canary: &Canary, live: &Objects) -> Vec<RouterError> {
        let route = match look(canary, live) {
            Ok(route) => route,
            Err(RouterError::Unreadable { .. } | RouterError::Missing(_)) => return Vec::new(),
            Err(error) => return vec![error],
        };
        let Some(route) = route else {
            return match is_users_by_name(canary) {
                true => vec![RouterError::Missing(object(canary))],
                false => features::refusals(canary, None, live),
            };
        };
        let of_route = leads_elsewhere(canary, route).or_else(|| shared(canary, route));
        let taken = is_copied_by_service(canary, Some(route), live)
            .then(|| own::taken(canary, live, mirrored::object(canary)));
        let refused = features::refusals(canary, Some(route), live);
        of_route.into_iter().chain(taken.flatten()).chain(refused).collect()
    }

    fn findings(&self, canary: &Canary, live: &Objects) -> Vec<Finding> {
        features::doubts(canary, live.present(&object(canary)), live)
    }

    fn is_sticky(&self, canary: &Canary, live: &Objects) -> bool {
        let rules =
            live.present(&object(canary)).map_or(&[][..], |live| items(live, "/spec/rules"));
        rules
            .iter()
            .any(|rule| rule.get("sessionPersistence").is_some_and(|value| !value.is_null()))
    }

    fn restore(&self, canary: &Canary, live: &Objects) -> Result<Vec<Change>, RouterError> {
        let Some(route) = look(canary, live)? else { return Ok(Vec::new()) };
        let patch = restored(canary, route);
        let change = patch.map(|patch| Change::MergePatch { target: object(canary), patch });
        Ok(change.into_iter().chain(mirrored::restore(canary, live)).collect())
    }

    fn builtin(&self, canary: &Canary, builtin: Builtin, window: &str) -> String {
        of_pods(canary, builtin, window)
    }
}

fn object(canary: &Canary) -> ObjectRef {
    let name = canary.spec.users_route.as_deref().unwrap_or(&canary.spec.service.name);
    HTTP_ROUTE.named(&canary.key.namespace, name)
}

/// `spec.routeRef` names it: it is never made here.
fn is_users_by_name(canary: &Canary) -> bool {
    canary.spec.users_route.is_some()
}

/// Whether the route is made from the spec, rather than found.
fn is_generated(canary: &Canary, live: Option<&Value>) -> bool {
    !is_users_by_name(canary) && live.is_none_or(|live| owned_by(live, canary))
}

/// The live route if it can be ours to split; none when it is not there.
fn look<'a>(canary: &Canary, live: &'a Objects) -> Result<Option<&'a Value>, RouterError> {
    let object = object(canary);
    let live = match live.get(&object) {
        Seen::Present(live) => live,
        Seen::Absent => return Ok(None),
        Seen::Unreadable(why) => return Err(RouterError::Unreadable { object, why }),
    };
    match other_controller(live, canary) {
        Some(owner) => Err(RouterError::NotOurs { object, owner }),
        None => Ok(Some(live)),
    }
}

/// What the gateway says of the route as it is now, where that is a refusal.
fn not_accepted(canary: &Canary, live: &Value) -> Option<RouterError> {
    let generation = int(live, "/metadata/generation");
    let current = |condition: &&Value| int(condition, "/observedGeneration") == generation;
    let refuses = |condition: &&Value| {
        text(condition, "/status") == Some("False")
            && matches!(text(condition, "/type"), Some("Accepted" | "ResolvedRefs"))
    };
    let parents = items(live, "/status/parents").iter();
    let mut conditions = parents.flat_map(|parent| items(parent, "/conditions"));
    let refusal = conditions.find(|one| refuses(one) && (generation.is_none() || current(one)))?;
    let word = |path| crate::json::bounded(text(refusal, path).unwrap_or_default(), 300);
    Some(RouterError::NotAccepted {
        object: object(canary),
        why: format!("{}: {}", word("/reason"), word("/message")),
    })
}

fn weights(canary: &Canary, rule: &Value) -> Option<(u64, u64)> {
    sides::weights(canary, items(rule, "/backendRefs"))
}

/// A rule that only the canary answers, while the primary answers another one, is for the requests that match.
fn is_for_matches(weights: (u64, u64), primary_serves: bool) -> bool {
    primary_serves && weights.0 == 0 && weights.1 > 0
}

fn primary_serves(canary: &Canary, live: &Value) -> bool {
    items(live, RULES)
        .iter()
        .filter_map(|rule| weights(canary, rule))
        .any(|(primary, _)| primary > 0)
}

/// Where the route leads to what copies, or would be led to it.
fn is_copied_by_service(canary: &Canary, route: Option<&Value>, live: &Objects) -> bool {
    mirrored::is_needed(canary) && features::copying(canary, route, live) == Ok(Copying::Service)
}

/// In the way in which it copies by now, or in that of its gateways.
fn copies(
    canary: &Canary,
    wanted: Exposure,
    route: Option<&Value>,
    live: &Objects,
) -> Result<Copies, RouterError> {
    if wanted.mirrored == Weight::ZERO {
        return Ok(Copies::None);
    }
    let rules = route.map_or(&[][..], |route| items(route, RULES));
    let leads =
        |rule: &Value| items(rule, "/backendRefs").iter().any(|one| sides::is_copying(canary, one));
    if rules.iter().any(leads) {
        return Ok(Copies::ByService);
    }
    if rules.iter().any(|rule| rules::copied(canary, rule) > Weight::ZERO) {
        return Ok(Copies::ByFilter(wanted.mirrored));
    }
    Ok(match features::copying(canary, route, live)? {
        Copying::Filter => Copies::ByFilter(wanted.mirrored),
        Copying::Service => Copies::ByService,
    })
}

/// The write to what copies, where that is a service of its own.
fn copying_service(
    canary: &Canary,
    wanted: Exposure,
    route: Option<&Value>,
    live: &Objects,
) -> Result<Option<Change>, RouterError> {
    let is_its = match wanted.mirrored {
        // One that is left over copies nothing either.
        Weight::ZERO => {
            live.present(&mirrored::object(canary)).is_some()
                || is_copied_by_service(canary, route, live)
        }
        _ => copies(canary, wanted, route, live)? == Copies::ByService,
    };
    if !is_its {
        return Ok(None);
    }
    let service = &canary.spec.service;
    let reference = |name: String| json!({"name": name, "namespace": canary.key.namespace, "port": service.port});
    let sides = [reference(service.primary_name()), reference(service.canary_name())];
    mirrored::write(canary, wanted, live, sides)
}

/// The greatest share of all rules, so that what one rule gives too much is lowered.
fn exposure(canary: &Canary, live: &Value, objects: &Objects) -> Result<Exposure, RouterError> {
    let serves = primary_serves(canary, live);
    let mut exposure = Exposure::NONE;
    for rule in items(live, RULES) {
        let Some(weights) = weights(canary, rule) else { continue };
        if weights.0 > 0 {
            let by_service = mirrored::read(canary, items(rule, "/backendRefs"), objects)?;
            let copies = rules::copied(canary, rule).max(by_service);
            exposure.mirrored = exposure.mirrored.max(copies);
        }
        if is_for_matches(weights, serves) {
            exposure.matched = true;
        } else {
            exposure.share = exposure.share.max(percent_of(weights.0, weights.1));
        }
    }
    Ok(exposure)
}

/// A user's route in which neither the apex nor a side of it has a place.
fn leads_elsewhere(canary: &Canary, live: &Value) -> Option<RouterError> {
    let rules = items(live, RULES);
    if owned_by(live, canary) || rules.iter().any(|rule| weights(canary, rule).is_some()) {
        return None;
    }
    let backends = rules.iter().flat_map(|rule| items(rule, "/backendRefs"));
    let names: Vec<&str> = backends.filter_map(|backend| text(backend, "/name")).take(3).collect();
    let leads_to = if names.is_empty() { "no Service".to_owned() } else { names.join(", ") };
    Some(RouterError::LeadsElsewhere {
        object: object(canary),
        leads_to: format!("{leads_to} and not to {}", canary.spec.service.name),
    })
}

/// A user's rule that splits its traffic between this application and others: shares of it would be of something else.
fn shared(canary: &Canary, live: &Value) -> Option<RouterError> {
    if owned_by(live, canary) {
        return None;
    }
    for (place, rule) in items(live, RULES).iter().enumerate() {
        let backends = items(rule, "/backendRefs");
        let other = backends.iter().find(|one| side(canary, one) == Side::Foreign);
        if let (Some(_), Some(other)) = (weights(canary, rule), other) {
            let other = text(other, "/name").unwrap_or("?").to_owned();
            return Some(RouterError::Shared { object: object(canary), rule: place, other });
        }
    }
    None
}

/// Exactly our fields. Of a user's route that is the list of rules, which the API has as one piece.
fn applied(
    canary: &Canary,
    wanted: Exposure,
    live: Option<&Value>,
    copies: Copies,
) -> Result<Value, RouterError> {
    let target = object(canary);
    let mut object = json!({
        "apiVersion": target.kind.api_version(),
        "kind": target.kind.kind,
        "metadata": {"name": target.name, "namespace": target.namespace},
        "spec": {"rules": []},
    });
    if is_generated(canary, live) {
        let mut annotations = canary.spec.service.apex.annotations.clone();
        annotations
            .extend(TOOLKIT_ANNOTATIONS.map(|(key, value)| (key.to_owned(), value.to_owned())));
        if let Some(metadata) = child(&mut object, "metadata") {
            metadata.insert("labels".into(), json!(canary.spec.service.apex.labels));
            metadata.insert("annotations".into(), json!(annotations));
            metadata.insert("ownerReferences".into(), json!([owner(canary)]));
        }
        object["spec"] = rules::generated(canary);
    } else if live.is_none() {
        return Err(RouterError::Missing(target));
    }
    let base = match live.filter(|live| !is_generated(canary, Some(live))) {
        Some(live) => base(canary, live),
        None => items(&object, RULES).to_vec(),
    };
    let rules = rules::exposed(canary, &base, wanted, copies);
    let matches = rules.iter().map(|rule| items(rule, "/matches").len()).max().unwrap_or(0);
    if rules.len() > RULES_MAX || matches > MATCHES_MAX {
        let why = format!(
            "with the rules of the test it would have {} rules and up to {matches} matches in one; the API allows {RULES_MAX} and {MATCHES_MAX}",
            rules.len()
        );
        return Err(RouterError::NotWeighted { object: target, why });
    }
    set(&mut object["spec"], "rules", Value::Array(rules));
    Ok(object)
}

/// A user's rules without those that were put behind them for the requests that match.
fn base(canary: &Canary, live: &Value) -> Vec<Value> {
    let serves = primary_serves(canary, live);
    let keeps = |rule: &&Value| {
        weights(canary, rule).is_none_or(|weights| !is_for_matches(weights, serves))
    };
    items(live, RULES).iter().filter(keeps).cloned().collect()
}

/// The list of rules is atomic and compared whole, the rest merges with what others have.
fn in_order(live: &Value, wanted: &Value) -> bool {
    covers(live, wanted) && live.pointer(RULES) == wanted.pointer(RULES)
}

/// What makes the route lead to the apex Service and need us no more; none when it already is so.
fn restored(canary: &Canary, live: &Value) -> Option<Value> {
    let annotations = strings(live, "/metadata/annotations");
    let rules: Vec<Value> =
        base(canary, live).iter().map(|rule| rules::to_apex(canary, rule)).collect();
    let owned = owned_by(live, canary);
    let is_there = items(live, RULES) == rules;
    if is_there && !owned && !annotations.contains_key(TOUCHED) {
        return None;
    }
    let mut metadata = json!({"annotations": {TOUCHED: null}});
    if owned {
        for (key, value) in TOOLKIT_ANNOTATIONS {
            if annotations.get(key).is_some_and(|live| live == value)
                && let Some(map) = child(&mut metadata, "annotations")
            {
                map.insert(key.to_owned(), Value::Null);
            }
        }
        // It would be collected with the Canary, and users would reach nothing.
        let others: Vec<Value> = items(live, "/metadata/ownerReferences")
            .iter()
            .filter(|owner| text(owner, "/uid") != Some(&canary.uid))
            .cloned()
            .collect();
        set(&mut metadata, "ownerReferences", Value::Array(others));
    }
    Some(json!({"metadata": metadata, "spec": {"rules": rules}}))
}

/// Sides with their weights, as backends are written.
fn with_weights(canary: &Canary, share: Weight) -> [(String, Weight); 2] {
    let service = &canary.spec.service;
    [(service.primary_name(), share.rest()), (service.canary_name(), share)]
}

#[cfg(test)]
pub(super) mod tests;
