//! What a route gives a canary, read from either kind of object by code that shares nothing with the operator's.

use serde_json::{Value, json};

use crate::manifests::NAMESPACE;
use crate::plan::Shape;

pub(crate) const TRAEFIK_SERVICES: (&str, &str) = ("traefik.io", "traefikservices");
pub(crate) const HTTP_ROUTES: (&str, &str) = ("gateway.networking.k8s.io", "httproutes");

/// Of the requests of this world, so many percent match the rule of an A/B test.
pub(crate) const MATCHING: i64 = 30;

/// What copies of requests count for: less than any share, so that the first share after them is a raise. A canary with copies
/// has so much traffic in this world, though no user's.
pub(crate) const COPIED: i64 = 4;

/// Whether an object of this name is a route, and not what copies requests beside it.
pub(crate) fn is_route(name: &str) -> bool {
    !name.ends_with("-mirrored")
}

/// Where the route of a canary is.
pub(crate) fn of(shape: &Shape) -> (&'static str, &'static str) {
    if shape.provider.name == "gatewayapi:v1" { HTTP_ROUTES } else { TRAEFIK_SERVICES }
}

/// Percent of the requests that the canary of this name gets.
pub(crate) fn routed(route: &Value, name: &str) -> i64 {
    if let Some(rules) = route.pointer("/spec/rules").and_then(Value::as_array) {
        let sides: Vec<(i64, i64)> = rules
            .iter()
            .map(|rule| {
                (
                    weight(&rule["backendRefs"], name, "primary"),
                    weight(&rule["backendRefs"], name, "canary"),
                )
            })
            .collect();
        let serves = sides.iter().any(|(primary, _)| *primary > 0);
        let of_rule = |(primary, canary): &(i64, i64)| match (primary, canary) {
            (_, 0) => 0,
            (0, _) if serves => MATCHING,
            (primary, canary) => canary * 100 / (primary + canary),
        };
        return sides.iter().map(of_rule).max().unwrap_or(0);
    }
    let services = &route["spec"]["weighted"]["services"];
    let copied = if weight(services, name, "mirrored") > 0 { COPIED } else { 0 };
    weight(services, name, "canary").max(copied)
}

fn weight(list: &Value, name: &str, side: &str) -> i64 {
    let name = format!("{name}-{side}");
    let entry = list.as_array().and_then(|list| list.iter().find(|one| one["name"] == *name));
    entry.map_or(0, |entry| entry["weight"].as_i64().unwrap_or(1))
}

/// What the status decided, in the same percent.
pub(crate) fn stated(status: &Value) -> i64 {
    let share = status["canaryWeight"].as_i64().unwrap_or(0);
    let copied = if status["mirrorWeight"].as_i64().unwrap_or(0) > 0 { COPIED } else { 0 };
    let share = share.max(copied);
    if status["matched"] == true { share.max(MATCHING) } else { share }
}

/// Another client gives the canary this share.
pub(crate) fn set_share(route: &mut Value, name: &str, share: i64) {
    let entry = |side: &str, weight: i64| {
        json!({
            "name": format!("{name}-{side}"), "namespace": NAMESPACE, "port": 80,
            "kind": "Service", "weight": weight,
        })
    };
    let both = json!([entry("primary", 100 - share), entry("canary", share)]);
    match route.pointer_mut("/spec/rules").and_then(Value::as_array_mut) {
        Some(rules) => rules.iter_mut().for_each(|rule| rule["backendRefs"] = both.clone()),
        None => route["spec"]["weighted"]["services"] = both,
    }
}

/// What the spec says of an A/B test.
pub(crate) fn test_of_three_rounds() -> Value {
    json!({"iterations": 3, "match": [{"headers": {"x-canary": {"exact": "always"}}}]})
}
