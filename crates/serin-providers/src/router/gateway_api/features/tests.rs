//! What is refused and what is doubted, by what a GatewayClass lists.

use expect_test::expect;
use serde_json::{Value, json};
use serin_core::observed::Seen;

use super::*;
use crate::router::Router;
use crate::router::gateway_api::GatewayApi;
use crate::router::gateway_api::tests::edge;
use crate::testing::{canary, world};

const ALL: &str = "{provider: 'gatewayapi:v1', service: {port: 80, gatewayRefs: [{name: edge, namespace: gateways, port: 443}], \
    timeout: 5s, backendTimeout: 2s, rewrite: {uri: /x, authority: a.test}, \
    headers: {request: {set: {a: b}}, response: {set: {c: d}}}, corsPolicy: {allowOrigins: [{exact: 'https://a.test'}]}, \
    match: [{method: {exact: get}, queryParams: {v: {exact: '2'}}}]}, \
    analysis: {stepWeight: null, maxWeight: null, iterations: 2, match: [{headers: {x: {exact: z}}}]}}";
const MIRRORED: &str = "{provider: 'gatewayapi:v1', service: {port: 80, gatewayRefs: [{name: edge, namespace: gateways}]}, \
    analysis: {mirror: true}}";
const PLAIN: &str = "{provider: 'gatewayapi:v1', service: {port: 80, gatewayRefs: [{name: edge, namespace: gateways}]}}";

fn told(spec: &str, found: &[Value], out: &mut String) {
    let canary = canary(spec);
    let objects = world(&canary, found);
    for error in GatewayApi.obstacles(&canary, &objects) {
        out.push_str(&format!("  refused: {error}\n"));
    }
    for finding in GatewayApi.findings(&canary, &objects) {
        out.push_str(&format!("  doubted: {finding}\n"));
    }
}

const TRAEFIK_LISTS: [&str; 3] =
    ["HTTPRouteMethodMatching", "HTTPRouteQueryParamMatching", "HTTPRouteHostRewrite"];
const MIRRORS: [&str; 2] = [MIRROR, PART_MIRROR];

#[test]
fn what_is_not_done_is_refused_and_what_is_not_known_is_told() {
    let part = MIRRORED.replace("mirror: true", "mirror: true, mirrorWeight: 20");
    let mut gone = edge("x", &[]);
    gone.truncate(1);
    let mut without_class = edge("x", &[]);
    without_class[0]["spec"] = json!({});
    let rows: Vec<(&str, &str, Vec<Value>)> = vec![
        ("everything, Traefik with a list", ALL, edge(super::TRAEFIK, &TRAEFIK_LISTS)),
        ("everything, Traefik without one", ALL, edge(super::TRAEFIK, &[])),
        ("everything, unknown", ALL, edge("x.test/y", &[])),
        ("everything, no class", ALL, gone.clone()),
        ("everything, no Gateway", ALL, vec![]),
        ("everything, no name of a class", ALL, without_class),
        ("copies, listed", MIRRORED, edge("x", &MIRRORS)),
        ("a part, listed", &part, edge("x", &MIRRORS)),
        ("a part, only all listed", &part, edge("x", &[MIRROR])),
        ("copies, not listed", MIRRORED, edge("x", &["HTTPRouteCORS"])),
        ("copies, Traefik", MIRRORED, edge(super::TRAEFIK, &TRAEFIK_LISTS)),
        ("a part, Traefik", &part, edge(super::TRAEFIK, &[])),
        ("copies, unknown", MIRRORED, edge("x", &[])),
        ("copies, no Gateway", MIRRORED, vec![]),
        ("nothing special", PLAIN, vec![]),
    ];
    let mut out = String::new();
    for (name, spec, found) in rows {
        out.push_str(&format!("{name}\n"));
        told(spec, &found, &mut out);
    }
    expect![[r#"
        everything, Traefik with a list
          refused: spec.service.timeout needs HTTPRouteRequestTimeout of the gateway, and GatewayClass public (traefik.io/gateway-controller) does not list it: remove the field, or leave it to a policy of the implementation
          refused: spec.service.backendTimeout needs HTTPRouteBackendTimeout of the gateway, and GatewayClass public (traefik.io/gateway-controller) does not list it: remove the field, or leave it to a policy of the implementation
          refused: spec.service.rewrite.uri needs HTTPRoutePathRewrite of the gateway, and GatewayClass public (traefik.io/gateway-controller) does not list it: remove the field, or leave it to a policy of the implementation
          refused: spec.service.headers.response needs HTTPRouteResponseHeaderModification of the gateway, and GatewayClass public (traefik.io/gateway-controller) does not list it: remove the field, or leave it to a policy of the implementation
          refused: spec.service.corsPolicy needs HTTPRouteCORS of the gateway, and GatewayClass public (traefik.io/gateway-controller) does not list it: remove the field, or leave it to a policy of the implementation
          refused: spec.service.gatewayRefs[].port needs HTTPRouteParentRefPort of the gateway, and GatewayClass public (traefik.io/gateway-controller) does not list it: remove the field, or leave it to a policy of the implementation
        everything, Traefik without one
          refused: spec.service.timeout needs HTTPRouteRequestTimeout of the gateway, and GatewayClass public (traefik.io/gateway-controller) accepts it and does not do it: remove the field, or leave it to a policy of the implementation
          refused: spec.service.backendTimeout needs HTTPRouteBackendTimeout of the gateway, and GatewayClass public (traefik.io/gateway-controller) accepts it and does not do it: remove the field, or leave it to a policy of the implementation
          doubted: spec.service.gatewayRefs: GatewayClass public (traefik.io/gateway-controller) lists no supportedFeatures, so that it is not known whether it does HTTPRouteHostRewrite (spec.service.rewrite.authority), HTTPRoutePathRewrite (spec.service.rewrite.uri), HTTPRouteResponseHeaderModification (spec.service.headers.response), HTTPRouteCORS (spec.service.corsPolicy), HTTPRouteParentRefPort (spec.service.gatewayRefs[].port), HTTPRout...; try it: some gateways accept what they do not do
        everything, unknown
          doubted: spec.service.gatewayRefs: GatewayClass public (x.test/y) lists no supportedFeatures, so that it is not known whether it does HTTPRouteRequestTimeout (spec.service.timeout), HTTPRouteBackendTimeout (spec.service.backendTimeout), HTTPRouteHostRewrite (spec.service.rewrite.authority), HTTPRoutePathRewrite (spec.service.rewrite.uri), HTTPRouteResponseHeaderModification (spec.service.headers.response), HTTPRouteCORS (spec.servi...; try it: some gateways accept what they do not do
        everything, no class
          doubted: spec.service.gatewayRefs: GatewayClass public does not exist, so that it is not known whether it does HTTPRouteRequestTimeout (spec.service.timeout), HTTPRouteBackendTimeout (spec.service.backendTimeout), HTTPRouteHostRewrite (spec.service.rewrite.authority), HTTPRoutePathRewrite (spec.service.rewrite.uri), HTTPRouteResponseHeaderModification (spec.service.headers.response), HTTPRouteCORS (spec.service.corsPolicy), HTTPRou...; try it: some gateways accept what they do not do
        everything, no Gateway
          doubted: spec.service.gatewayRefs: Gateway gateways/edge does not exist, so that it is not known whether it does HTTPRouteRequestTimeout (spec.service.timeout), HTTPRouteBackendTimeout (spec.service.backendTimeout), HTTPRouteHostRewrite (spec.service.rewrite.authority), HTTPRoutePathRewrite (spec.service.rewrite.uri), HTTPRouteResponseHeaderModification (spec.service.headers.response), HTTPRouteCORS (spec.service.corsPolicy), HTTPR...; try it: some gateways accept what they do not do
        everything, no name of a class
          doubted: spec.service.gatewayRefs: Gateway gateways/edge names no class, so that it is not known whether it does HTTPRouteRequestTimeout (spec.service.timeout), HTTPRouteBackendTimeout (spec.service.backendTimeout), HTTPRouteHostRewrite (spec.service.rewrite.authority), HTTPRoutePathRewrite (spec.service.rewrite.uri), HTTPRouteResponseHeaderModification (spec.service.headers.response), HTTPRouteCORS (spec.service.corsPolicy), HTTPR...; try it: some gateways accept what they do not do
        copies, listed
        a part, listed
        a part, only all listed
          refused: spec.analysis.mirror needs HTTPRouteRequestPercentageMirror of the gateway, and GatewayClass public (x) does not list it: remove the field, or leave it to a policy of the implementation
        copies, not listed
          refused: spec.analysis.mirror needs HTTPRouteRequestMirror of the gateway, and GatewayClass public (x) does not list it: remove the field, or leave it to a policy of the implementation
        copies, Traefik
        a part, Traefik
        copies, unknown
          refused: spec.analysis.mirror needs HTTPRouteRequestMirror of the gateway, and GatewayClass public (x) lists no supportedFeatures: remove the field, or leave it to a policy of the implementation
        copies, no Gateway
          refused: spec.analysis.mirror needs HTTPRouteRequestMirror of the gateway, and Gateway gateways/edge does not exist: remove the field, or leave it to a policy of the implementation
        nothing special
    "#]].assert_eq(&out);
}

#[test]
fn a_list_is_read_in_both_of_its_forms_and_a_long_name_is_cut() {
    let canary = canary(MIRRORED);
    let mut found = edge("x", &[]);
    found[1]["status"]["supportedFeatures"] =
        json!(["HTTPRouteRequestMirror", {"name": "HTTPRouteCORS"}, 7]);
    let objects = world(&canary, &found);
    assert_eq!(copying(&canary, None, &objects), Ok(Copying::Filter));
    found[1]["spec"]["controllerName"] = json!("y".repeat(5000));
    found[1]["status"] = json!({});
    let error = copying(&canary, None, &world(&canary, &found)).unwrap_err().to_string();
    assert!(error.len() < 400, "{error}");
}

/// What nothing asks for is not looked at: no watch begins for it.
#[test]
fn only_what_is_asked_for_is_looked_at() {
    let nothing = canary(PLAIN);
    assert!(GatewayApi.reads_next(&nothing, &world(&nothing, &[])).is_empty());
    let copied = canary(MIRRORED);
    let names = |found: &[Value]| {
        let all = GatewayApi.reads_next(&copied, &world(&copied, found));
        let all: BTreeSet<String> = all.iter().map(ToString::to_string).collect();
        all.into_iter().collect::<Vec<_>>().join(", ")
    };
    assert_eq!(names(&[]), "Gateway gateways/edge");
    let traefik = edge(super::TRAEFIK, &[]);
    assert_eq!(names(&traefik[..1]), "Gateway gateways/edge, GatewayClass public");
    assert_eq!(
        names(&traefik),
        "Gateway gateways/edge, GatewayClass public, TraefikService develop/backend-mirrored"
    );
}

#[test]
fn gateways_of_a_users_route_are_those_that_it_names() {
    let canary = canary(
        "{provider: 'gatewayapi:v1', routeRef: {apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, name: shop}, \
         analysis: {mirror: true}}",
    );
    let route = json!({"spec": {"parentRefs": [
        {"name": "a"}, {"name": "b", "namespace": "other"}, {"kind": "Service", "group": "", "name": "mesh"},
    ]}});
    let all: Vec<String> =
        gateways(&canary, Some(&route)).iter().map(ToString::to_string).collect();
    assert_eq!(all, ["Gateway develop/a", "Gateway other/b"]);
    let mut objects = world(&canary, &edge("x", &MIRRORS));
    for (gateway, class) in [(("develop", "a"), "x"), (("other", "b"), "y")] {
        let found = json!({"spec": {"gatewayClassName": class}});
        objects.put(GATEWAY.named(gateway.0, gateway.1), Seen::Present(std::sync::Arc::new(found)));
        let controller = if class == "y" { super::TRAEFIK } else { "x" };
        let found = json!({"spec": {"controllerName": controller}, "status": {"supportedFeatures":
            if class == "x" { json!([MIRROR]) } else { json!([]) }}});
        objects.put(GATEWAY_CLASS.named("", class), Seen::Present(std::sync::Arc::new(found)));
    }
    let error = copying(&canary, Some(&route), &objects).unwrap_err().to_string();
    assert!(error.contains("in different ways"), "{error}");
}
