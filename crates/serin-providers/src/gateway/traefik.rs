//! Traefik's names: leaf services under `safeNaming` and without, routers, entry points.

use std::collections::BTreeSet;

use serin_core::model::{Canary, provider};

use super::line::Series;
use super::{Count, Counted, Said, Wanted, class, seconds};
use crate::metric::quoted;
use crate::router::mirrored_name;

pub(super) const REQUESTS: &str = "traefik_service_requests_total";
pub(super) const BUCKET: &str = "traefik_service_request_duration_seconds_bucket";
pub(super) const TIMED: &str = "traefik_service_request_duration_seconds_count";
pub(super) const ROUTED: &str = "traefik_router_requests_total";
pub(super) const ENTERED: &str = "traefik_entrypoint_requests_total";
const TOOK: &str = "traefik_service_request_duration_seconds_sum";
/// Calls of gRPC are counted under its own statuses instead of HTTP's. These are failures of whoever serves the call:
/// DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS.
const GRPC_FAILED: [&str; 5] = ["4", "12", "13", "14", "15"];
/// UNKNOWN is what Traefik writes for a healthy unary call as well.
const GRPC_UNKNOWN: &str = "2";
/// Hexadecimal digits of a rule's hash.
const HASH: usize = 20;
/// Services of other providers have other names.
const PROVIDER: &str = "@kubernetescrd";
/// Of those that stand in HTTPRoutes: `httproute-<ns>-<route>-gw-…-svc-<ns>-<service>-<place>@kubernetesgateway`.
const GATEWAY_API: &str = "@kubernetesgateway";
/// What a safe name says of the place of a Service in a TraefikService.
const PLACES: [&str; 3] = ["_wrr_", "_mirror_", "_mirroring_"];
const IN_HTTP_ROUTE: &str = "-svc-";

/// Every name that Traefik may have for a Service of this canary, as a regular expression in a PromQL string.
pub(crate) fn pattern(canary: &Canary, side: &str) -> String {
    let service = &canary.spec.service;
    let namespace = quoted(&canary.key.namespace);
    let (apex, side) = (quoted(&service.name), quoted(side));
    let port = format!("({}|{})", service.port, quoted(service.port_name()));
    // The primary behind what copies its requests, and the canary that gets the copies.
    let copies = canary.spec.analysis.schedule.copies().map(|_| {
        let copying = quoted(&mirrored_name(canary));
        format!("{namespace}_{copying}_mirror(ing|_[0-9]+)_{namespace}_{side}_{port}{PROVIDER}")
    });
    let copies = copies.map_or_else(String::new, |copies| format!("|{copies}"));
    let plain = format!("{namespace}-{side}-{port}{PROVIDER}");
    if *canary.spec.provider == provider::GATEWAY_API {
        let of_route =
            format!("httproute-{namespace}-.+-svc-{namespace}-{side}-[0-9]+{GATEWAY_API}");
        return match copies.as_str() {
            "" => of_route,
            copies => format!("{of_route}|{plain}{copies}"),
        };
    }
    format!("{plain}|{namespace}_{apex}_wrr_[0-9]+_{namespace}_{side}_{port}{PROVIDER}{copies}")
}

/// What routers say of these apexes, which are given with their namespaces.
pub(super) fn apexes<'a>(
    apexes: impl Iterator<Item = (&'a String, &'a Counted)>,
) -> BTreeSet<String> {
    let apex = |(joined, primary): (&String, &Counted)| {
        let name = joined.get(primary.namespace.len() + 1..).unwrap_or_default();
        format!("{}[-_]{}{PROVIDER}", quoted(&primary.namespace), quoted(name))
    };
    apexes.map(apex).collect()
}

/// Names of routes to plain Services in these namespaces.
pub(super) fn plain_routes<'a>(namespaces: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let route = |ns: &str| {
        let ns = quoted(ns);
        format!("{ns}-.+-[0-9a-f]{{{HASH}}}{PROVIDER}|{ns}_.+_[0-9]+_lb{PROVIDER}")
    };
    namespaces.map(route).collect()
}

pub(super) fn is_ours(line: &[u8]) -> bool {
    [&b"traefik_service_request"[..], b"traefik_router_requests_", b"traefik_entrypoint_requests_t"]
        .iter()
        .any(|name| line.starts_with(name))
}

/// Whether the label is the one that `safeNaming` gives.
pub(super) fn is_safe(series: &Series<'_>) -> bool {
    let label = series.label("service");
    PLACES.iter().any(|place| label.contains(place))
}

/// The namespace of a route to a plain Service, which is counted as `namespace-route-hash`, or under `safeNaming` as
/// `namespace_route_0_lb`.
pub(super) fn plain_route<'n>(
    series: &Series<'_>,
    mut namespaces: impl Iterator<Item = &'n String>,
) -> Option<&'n String> {
    let name = series.label("service").strip_suffix(PROVIDER)?;
    if let Some(route) = name.strip_suffix("_lb") {
        let (route, number) = route.rsplit_once('_')?;
        let (namespace, _) = route.split_once('_')?;
        let counted = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        return namespaces.find(|ns| counted && *ns == namespace);
    }
    let (route, hash) = name.rsplit_once('-')?;
    let hashed = hash.len() == HASH && hash.bytes().all(|b| b.is_ascii_hexdigit());
    if !hashed {
        return None;
    }
    namespaces.find(|ns| route.strip_prefix(ns.as_str()).is_some_and(|r| r.starts_with('-')))
}

/// What a series of requests tells of them beside their number.
pub(super) enum Kind {
    /// They are counted when somebody closes them.
    Stream,
    /// Calls of gRPC that may be healthy or not.
    AmbiguousCall,
}

pub(super) fn kind(series: &Series<'_>) -> Option<Kind> {
    if series.name != REQUESTS {
        return None;
    }
    if matches!(series.label("protocol"), "websocket" | "sse") {
        return Some(Kind::Stream);
    }
    (series.label("code") == GRPC_UNKNOWN).then_some(Kind::AmbiguousCall)
}

/// Three digits are a status of HTTP, fewer are one of gRPC.
fn failed(code: &str) -> bool {
    if code.len() == 3 { class(code) } else { GRPC_FAILED.contains(&code) }
}

pub(super) fn read<'w>(wanted: &'w Wanted, series: &Series<'_>) -> Option<Said<'w>> {
    let count = match series.name {
        ENTERED if series.label("code") == "404" => return None,
        ENTERED => return Some(Said { counted: None, count: Count::Entered }),
        REQUESTS | ROUTED => Count::Requests(failed(series.label("code"))),
        TIMED => Count::Timed,
        TOOK => Count::Took,
        BUCKET => Count::Within(seconds(series.label("le"))),
        _ => return None,
    };
    let label = series.label("service");
    if series.name == ROUTED {
        // Under `safeNaming` it is `namespace_apex`.
        let name = label.strip_suffix(PROVIDER)?;
        let counted =
            wanted.apexes.get(name).or_else(|| wanted.apexes.get(&name.replacen('_', "-", 1)));
        return Some(Said { counted, count: Count::Routed });
    }
    Some(Said { counted: service(wanted, label), count })
}

/// The service behind a label: `namespace-service-port`, or `namespace_apex_wrr_0_namespace_service_port` and its like.
fn service<'w>(wanted: &'w Wanted, label: &str) -> Option<&'w Counted> {
    if let Some(name) = label.strip_suffix(GATEWAY_API) {
        return of_http_route(wanted, name);
    }
    let name = label.strip_suffix(PROVIDER)?;
    if let Some(counted) = wanted.joined.get(name) {
        return Some(counted);
    }
    // Names of Kubernetes have no underscores.
    let mut parts = name.rsplitn(4, '_');
    let (_port, service, namespace) = (parts.next()?, parts.next()?, parts.next()?);
    let of = parts.next()?;
    let numbered = of.rsplit_once("_wrr_").or_else(|| of.rsplit_once("_mirror_"));
    let placed = match numbered {
        Some((_, number)) => number.bytes().all(|b| b.is_ascii_digit()),
        None => of.ends_with("_mirroring"),
    };
    if placed { wanted.service(namespace, service) } else { None }
}

/// Names of Services may have `-svc-` in them as well.
fn of_http_route<'w>(wanted: &'w Wanted, name: &str) -> Option<&'w Counted> {
    let (backend, place) = name.strip_prefix("httproute-")?.rsplit_once('-')?;
    if place.is_empty() || !place.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut ends = backend.match_indices(IN_HTTP_ROUTE);
    ends.find_map(|(at, _)| wanted.plain.get(backend.get(at + IN_HTTP_ROUTE.len()..)?))
}
