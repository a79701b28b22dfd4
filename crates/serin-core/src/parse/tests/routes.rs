//! What is said of fields that make a route, and of A/B tests.

use super::*;
use crate::model::{Form, RequestMatch, TextMatch};

/// A Canary on the Gateway API with this `service` and `analysis` besides.
fn on_gateway(patch: &str) -> String {
    format!("{{provider: 'gatewayapi:v1', {patch}}}")
}

#[test]
fn what_makes_a_route_is_read_whole() {
    let rows = [
        "service: {}",
        "service: {gatewayRefs: []}",
        "service: {gatewayRefs: [{name: edge}]}",
        "service: {gatewayRefs: [{}, {name: Edge, port: 0}]}",
        "routeRef: {apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, name: shop}",
        "routeRef: {apiVersion: apisix.apache.org/v2, kind: ApisixRoute, name: shop}",
        "{routeRef: {kind: HTTPRoute, name: shop}, service: {gatewayRefs: [{name: edge}], hosts: [a.example.com], timeout: 5s}}",
        "service: {gatewayRefs: [{name: edge}], hosts: ['*', '*.example.com', a_b, 'c:80']}",
        "service: {gatewayRefs: [{name: edge}], match: [{uri: {prefix: /a, exact: /b}}, {scheme: {exact: https}}, {}]}",
        "service: {gatewayRefs: [{name: edge}], rewrite: {uri: /, type: Other}, timeout: soon, backendTimeout: 500ms}",
        "service: {gatewayRefs: [{name: edge}], rewrite: {uriRegexRewrite: {match: a}}}",
        "service: {gatewayRefs: [{name: edge}], corsPolicy: {allowOrigins: [{exact: 'https://a'}, {regex: a}], maxAge: long}}",
        "service: {gatewayRefs: [{name: edge}], retries: {attempts: 3}, trafficPolicy: {tls: {}}, mirror: [{backendRef: {name: m}}]}",
    ];
    let rows: Vec<String> = rows
        .iter()
        .map(|row| {
            on_gateway(row.strip_prefix('{').and_then(|row| row.strip_suffix('}')).unwrap_or(row))
        })
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    complaints(
        &rows,
        expect![[r#"
            {provider: 'gatewayapi:v1', service: {}}
                error spec.service.gatewayRefs: is required with provider gatewayapi:v1; name the Gateway that the route attaches to, or your own HTTPRoute with spec.routeRef
            {provider: 'gatewayapi:v1', service: {gatewayRefs: []}}
                error spec.service.gatewayRefs: is required with provider gatewayapi:v1; name the Gateway that the route attaches to, or your own HTTPRoute with spec.routeRef
            {provider: 'gatewayapi:v1', service: {gatewayRefs: [{name: edge}]}}
                ok
            {provider: 'gatewayapi:v1', service: {gatewayRefs: [{}, {name: Edge, port: 0}]}}
                error spec.service.gatewayRefs[0].name: is required
                error spec.service.gatewayRefs[1].name: "Edge" is no object name: lower-case letters, digits, '-' and '.'
                error spec.service.gatewayRefs[1].port: must be between 1 and 65535, not 0
            {provider: 'gatewayapi:v1', routeRef: {apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, name: shop}}
                ok
            {provider: 'gatewayapi:v1', routeRef: {apiVersion: apisix.apache.org/v2, kind: ApisixRoute, name: shop}}
                error spec.routeRef.kind: must be HTTPRoute with provider gatewayapi:v1, not ApisixRoute
            {provider: 'gatewayapi:v1', routeRef: {kind: HTTPRoute, name: shop}, service: {gatewayRefs: [{name: edge}], hosts: [a.example.com], timeout: 5s}}
                warning spec.service.gatewayRefs: has no effect beside spec.routeRef: that route is yours
                warning spec.service.hosts: has no effect beside spec.routeRef: that route is yours
                warning spec.service.timeout: has no effect beside spec.routeRef: that route is yours
            {provider: 'gatewayapi:v1', service: {gatewayRefs: [{name: edge}], hosts: ['*', '*.example.com', a_b, 'c:80']}}
                error spec.service.hosts[1]: "a_b" is no host name such as app.example.com or *.example.com
                error spec.service.hosts[2]: "c:80" is no host name such as app.example.com or *.example.com
            {provider: 'gatewayapi:v1', service: {gatewayRefs: [{name: edge}], match: [{uri: {prefix: /a, exact: /b}}, {scheme: {exact: https}}, {}]}}
                error spec.service.match[0].uri.exact: needs exactly one of exact, prefix, suffix and regex
                warning spec.service.match[1].scheme: has no effect with this provider: the route takes more requests
            {provider: 'gatewayapi:v1', service: {gatewayRefs: [{name: edge}], rewrite: {uri: /, type: Other}, timeout: soon, backendTimeout: 500ms}}
                error spec.service.rewrite.type: "Other" is none of ReplaceFullPath, ReplacePrefixMatch
                error spec.service.timeout: "soon" is no duration such as 15s or 500ms
            {provider: 'gatewayapi:v1', service: {gatewayRefs: [{name: edge}], rewrite: {uriRegexRewrite: {match: a}}}}
                error spec.service.rewrite.uriRegexRewrite: is for Istio; use uri
            {provider: 'gatewayapi:v1', service: {gatewayRefs: [{name: edge}], corsPolicy: {allowOrigins: [{exact: 'https://a'}, {regex: a}], maxAge: long}}}
                error spec.service.corsPolicy.allowOrigins[1].exact: is required: the Gateway API has no patterns of origins; name the origins
                error spec.service.corsPolicy.maxAge: "long" is no duration such as 24h
            {provider: 'gatewayapi:v1', service: {gatewayRefs: [{name: edge}], retries: {attempts: 3}, trafficPolicy: {tls: {}}, mirror: [{backendRef: {name: m}}]}}
                unsupported spec.service.mirror: copies of all requests to other backends are not supported yet; put the filter on an HTTPRoute or a TraefikService of your own
                warning spec.service.retries: has no effect with the Gateway API; put it on a policy of your gateway's implementation
                warning spec.service.trafficPolicy: has no effect with the Gateway API; put it on a policy of your gateway's implementation
        "#]],
    );
}

#[test]
fn an_ab_test_says_who_meets_the_canary() {
    let rows = [
        "match: [{headers: {X-Canary: {exact: insider}}}, {headers: {cookie: {regex: '^(.*;)?canary=always(;.*)?$'}}}]",
        "match: [{}]",
        "match: [{headers: {'a b': {exact: c}}}]",
        "match: [{headers: {a: {}}}, {headers: {b: {exact: c, regex: d}}}, {headers: {e: {exact: ''}}}]",
        "match: [{method: {exact: get}}, {method: {regex: G.*}}, {uri: {prefix: /a}}, {queryParams: {v: {exact: '2'}}}]",
        "match: [{sourceLabels: {app: a}}]",
        "match: []",
    ];
    let service = "service: {gatewayRefs: [{name: edge}]}";
    let rows: Vec<String> = rows
        .iter()
        .map(|row| {
            on_gateway(&format!("{service}, analysis: {{stepWeight: null, iterations: 2, {row}}}"))
        })
        .chain([on_gateway(&format!(
            "{service}, analysis: {{match: [{{headers: {{a: {{exact: b}}}}}}]}}"
        ))])
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    complaints(
        &rows,
        expect![[r#"
            {provider: 'gatewayapi:v1', service: {gatewayRefs: [{name: edge}]}, analysis: {stepWeight: null, iterations: 2, match: [{headers: {X-Canary: {exact: insider}}}, {headers: {cookie: {regex: '^(.*;)?canary=always(;.*)?$'}}}]}}
                ok
            {provider: 'gatewayapi:v1', service: {gatewayRefs: [{name: edge}]}, analysis: {stepWeight: null, iterations: 2, match: [{}]}}
                error spec.analysis.match[0]: has no condition that can be used: all users would meet the canary
            {provider: 'gatewayapi:v1', service: {gatewayRefs: [{name: edge}]}, analysis: {stepWeight: null, iterations: 2, match: [{headers: {'a b': {exact: c}}}]}}
                error spec.analysis.match[0].headers: "a b" is no name of a header or parameter
                error spec.analysis.match[0]: has no condition that can be used: all users would meet the canary
            {provider: 'gatewayapi:v1', service: {gatewayRefs: [{name: edge}]}, analysis: {stepWeight: null, iterations: 2, match: [{headers: {a: {}}}, {headers: {b: {exact: c, regex: d}}}, {headers: {e: {exact: ''}}}]}}
                error spec.analysis.match[0].headers.a.exact: needs exactly one of exact, prefix, suffix and regex
                error spec.analysis.match[1].headers.b.exact: needs exactly one of exact, prefix, suffix and regex
                error spec.analysis.match[0]: has no condition that can be used: all users would meet the canary
                error spec.analysis.match[1]: has no condition that can be used: all users would meet the canary
                error spec.analysis.match[2]: has no condition that can be used: all users would meet the canary
            {provider: 'gatewayapi:v1', service: {gatewayRefs: [{name: edge}]}, analysis: {stepWeight: null, iterations: 2, match: [{method: {exact: get}}, {method: {regex: G.*}}, {uri: {prefix: /a}}, {queryParams: {v: {exact: '2'}}}]}}
                error spec.analysis.match[1].method.exact: must name one method, such as GET
                error spec.analysis.match[1]: has no condition that can be used: all users would meet the canary
            {provider: 'gatewayapi:v1', service: {gatewayRefs: [{name: edge}]}, analysis: {stepWeight: null, iterations: 2, match: [{sourceLabels: {app: a}}]}}
                error spec.analysis.match[0].sourceLabels: cannot be matched on here, and more users would meet the canary without it; match on headers, queryParams, uri or method
                error spec.analysis.match[0]: has no condition that can be used: all users would meet the canary
            {provider: 'gatewayapi:v1', service: {gatewayRefs: [{name: edge}]}, analysis: {stepWeight: null, iterations: 2, match: []}}
                ok
            {provider: 'gatewayapi:v1', service: {gatewayRefs: [{name: edge}]}, analysis: {match: [{headers: {a: {exact: b}}}]}}
                unsupported spec.analysis.match: a share of the matching requests only is not supported; use iterations for A/B testing, or remove match
        "#]],
    );
}

#[test]
fn a_match_is_read_as_flagger_reads_it() {
    let canary = canary(&object(&on_gateway(
        "service: {gatewayRefs: [{name: edge}]}, \
         analysis: {stepWeight: null, iterations: 2, match: [{headers: {X-User: {prefix: a}}, method: {exact: post}, uri: {exact: /x}}]}",
    )))
    .unwrap();
    let analysis = canary.spec.analysis;
    assert_eq!((analysis.schedule.form(), analysis.schedule.rounds()), (Form::Matched, 2));
    let headers = [("x-user".to_owned(), TextMatch::Prefix("a".to_owned()))];
    let wanted = RequestMatch {
        headers: headers.into_iter().collect(),
        path: Some(TextMatch::Exact("/x".to_owned())),
        method: Some("POST".to_owned()),
        ..RequestMatch::default()
    };
    assert_eq!(analysis.matches, [wanted]);
}
