//! The two sides of a release among the backends of a route, whichever router lists them.

use serde_json::Value;
use serin_core::model::{Canary, Weight};
use serin_core::names;

use crate::change::TRAEFIK_SERVICE;
use crate::json::text;

/// What a backend is to a Canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Primary,
    Canary,
    /// The apex Service, which selects the primary's pods: the primary under another name.
    Apex,
    Foreign,
}

/// By name, of a Service in the Canary's namespace. What is left out means a core Service of the route's own namespace. What
/// copies the primary's requests answers as the primary.
pub(super) fn side(canary: &Canary, backend: &Value) -> Side {
    let or_empty = |pointer| text(backend, pointer).unwrap_or_default();
    let here = ["", canary.key.namespace.as_str()].contains(&or_empty("/namespace"));
    let service = ["", "Service"].contains(&or_empty("/kind")) && or_empty("/group").is_empty();
    let name = or_empty("/name");
    if is_copying(canary, backend) {
        return Side::Primary;
    }
    match here && service {
        true if name == canary.spec.service.primary_name() => Side::Primary,
        true if name == canary.spec.service.canary_name() => Side::Canary,
        true if name == canary.spec.service.name => Side::Apex,
        true | false => Side::Foreign,
    }
}

/// Traefik and the Gateway API read a missing weight as 1.
pub(super) fn weight(backend: &Value) -> u64 {
    match backend.get("weight") {
        None | Some(Value::Null) => 1,
        Some(weight) => weight.as_u64().unwrap_or(0),
    }
}

/// Weights of the primary, under either of its names, and of the canary; none where neither is a backend.
pub(super) fn weights(canary: &Canary, backends: &[Value]) -> Option<(u64, u64)> {
    let (mut of_primary, mut of_canary, mut any) = (0_u64, 0_u64, false);
    for backend in backends {
        let sum = match side(canary, backend) {
            Side::Primary | Side::Apex => &mut of_primary,
            Side::Canary => &mut of_canary,
            Side::Foreign => continue,
        };
        any = true;
        *sum = sum.saturating_add(weight(backend));
    }
    any.then_some((of_primary, of_canary))
}

/// The canary's share of what the two sides get, rounded, but never to nothing or everything when it is neither.
pub(super) fn percent_of(of_primary: u64, of_canary: u64) -> Weight {
    let percent = match (of_primary, of_canary) {
        (_, 0) => 0,
        (0, _) => 100,
        (primary, canary) => {
            let total = u128::from(primary) + u128::from(canary);
            ((u128::from(canary) * 200 + total) / (total * 2)).clamp(1, 99)
        }
    };
    Weight::saturating(u32::try_from(percent).unwrap_or(100))
}

/// Whether this backend, of a TraefikService or of a route, is it.
pub(super) fn is_copying(canary: &Canary, backend: &Value) -> bool {
    let namespace = text(backend, "/namespace").unwrap_or_default();
    text(backend, "/kind") == Some(TRAEFIK_SERVICE.kind)
        && ["", canary.key.namespace.as_str()].contains(&namespace)
        && text(backend, "/name") == Some(&copying_name(canary))
}

pub(crate) fn copying_name(canary: &Canary) -> String {
    names::derived(&canary.spec.service.name, "-mirrored", names::LABEL_MAX)
}
