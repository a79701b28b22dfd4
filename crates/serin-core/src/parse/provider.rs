//! `spec.provider`: the router, which is not guessed where the object speaks of another one.

use serde_json::Value;

use super::doc::Doc;
use super::doc::says_something;
use crate::model::provider::use_one;
use crate::model::{Finding, FindingCode, FindingSeverity, Provider};

/// Providers that Flagger has and we do not honour yet: the user is not mistaken, only early.
pub(super) const LATER: [&str; 15] = [
    "apisix",
    "appmesh",
    "appmesh:v1beta2",
    "contour",
    "gloo",
    "istio",
    "knative",
    "kuma",
    "linkerd",
    "nginx",
    "osm",
    "skipper",
    "smi:v1alpha1",
    "smi:v1alpha2",
    "smi:v1alpha3",
];

/// Fields that not every router carries out, and whose they are. Who sets one and no provider has a default in mind that
/// carries it out, and taking over a live service by the wrong router would cut it off.
const OF_OTHERS: [(&[&str], &str); 11] = [
    (&["ingressRef"], "nginx or skipper"),
    (&["routeRef"], "apisix or gatewayapi:v1"),
    (&["upstreamRef"], "gloo"),
    (&["service", "gateways"], "istio"),
    (&["service", "gatewayRefs"], "gatewayapi:v1"),
    (&["service", "delegation"], "istio"),
    (&["service", "trafficPolicy"], "istio"),
    (&["service", "hosts"], "istio or gatewayapi:v1"),
    (&["service", "meshName"], "appmesh"),
    (&["service", "backends"], "appmesh"),
    (&["analysis", "mirrorWeight"], "istio, gatewayapi:v1 or traefik"),
];

/// The router, or none together with what is in its way.
pub(super) fn read(doc: &Doc<'_>, default: &str) -> Option<&'static Provider> {
    let (name, written) = match doc.raw("provider") {
        Some(Value::String(name)) if !name.is_empty() => (name.as_str(), true),
        Some(Value::String(_)) | None => (default, false),
        Some(_) => {
            doc.text("provider");
            return None;
        }
    };
    let known = Provider::named(name);
    if known.is_none() && LATER.contains(&name) {
        let message = format!("{name} is not supported yet");
        doc.add(Finding::unsupported(doc.at("provider"), message).way_out(use_one()));
    } else if known.is_none() {
        doc.error_use("provider", format!("unknown provider {name:?}"), use_one());
    }
    if written { known } else { known.filter(|provider| !belongs_to_another(doc, provider)) }
}

/// Says of every such field that the object is not taken for the default in silence.
fn belongs_to_another(doc: &Doc<'_>, default: &Provider) -> bool {
    let mut found = false;
    for (path, whose) in OF_OTHERS {
        let of_this_kind = |kind: &str| doc.raw("routeRef").is_some_and(|one| one["kind"] == *kind);
        let honoured = match path {
            ["routeRef"] => default.route_kind.is_some_and(of_this_kind),
            _ => default.honours(&format!("spec.{}", path.join("."))),
        };
        if honoured {
            continue;
        }
        let mut names = path.iter();
        let first = names.next().and_then(|name| doc.raw(name));
        let value = names.try_fold(first, |value, name| Some(value?.get(name)));
        if !value.flatten().is_some_and(says_something) {
            continue;
        }
        found = true;
        let message = format!(
            "is not set, and spec.{} is a field of {whose}, not of {}, which is the default here",
            path.join("."),
            default.name
        );
        let finding = Finding {
            severity: FindingSeverity::Unsupported,
            ..Finding::error(doc.at("provider"), message).coded(FindingCode::ProviderUnclear)
        };
        doc.add(
            finding.way_out(format!("set it to {}, or to the router that is meant", default.name)),
        );
    }
    found
}
