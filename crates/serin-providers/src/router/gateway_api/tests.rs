//! HTTPRoutes as they are made from specs, and as users have them.

use expect_test::{Expect, expect};
use proptest::prelude::{BoxedStrategy, Strategy, any, prop};
use serde_json::{Value, json};
use serin_core::model::{Canary, Exposure, Weight};

use super::*;
use crate::router::laws::Worlds;
use crate::testing::{apply_all, canary, world, yaml};

const SPEC: &str = "
provider: gatewayapi:v1
service:
  port: 80
  gatewayRefs: [{name: edge, namespace: gateways}]
  hosts: [app.example.com]
analysis: {stepWeight: null, maxWeight: null, iterations: 3, match: [{headers: {x-canary: {exact: insider}}}, {headers: {cookie: {regex: '^(.*?;)?(canary=always)(;.*)?$'}}}]}
";

fn tested() -> Canary {
    canary(SPEC)
}

/// A route of the user's, found under `spec.routeRef`.
fn with_own_route() -> Canary {
    canary(
        "{provider: 'gatewayapi:v1', routeRef: {apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, name: shop}, \
         analysis: {stepWeight: null, maxWeight: null, iterations: 3, match: [{headers: {x-canary: {exact: insider}}}]}}",
    )
}

fn live(name: &str, rules: &str) -> Value {
    yaml(&format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: {name}, namespace: develop, \
         resourceVersion: '5', generation: 2}}, spec: {{parentRefs: [{{name: edge}}], rules: {rules}}}}}"
    ))
}

/// Routes of a user, with rules that lead to the application, elsewhere, and to both sides as a release leaves them.
pub(in crate::router) struct Routes;

fn rule() -> impl Strategy<Value = Value> {
    let weight = prop::option::of(0_u32..200);
    let ours = (prop::sample::select(vec!["backend", "backend-primary", "backend-canary"]), weight);
    let ours = ours.prop_map(|(name, weight)| {
        let mut backend = json!({"group": "", "kind": "Service", "name": name, "port": 80});
        if let Some(weight) = weight {
            backend["weight"] = json!(weight);
        }
        backend
    });
    let backends = prop::collection::vec(ours, 0..3);
    (backends, any::<bool>(), 0_u8..3).prop_map(|(mut backends, filters, path)| {
        if backends.is_empty() {
            backends = vec![json!({"group": "", "kind": "Service", "name": "legacy", "port": 80, "weight": 1})];
        }
        let mut rule = json!({
            "matches": [{"path": {"type": "PathPrefix", "value": format!("/{path}")}}],
            "backendRefs": backends,
        });
        if filters {
            rule["filters"] = json!([{"type": "RequestHeaderModifier",
                "requestHeaderModifier": {"set": [{"name": "x-rule", "value": path.to_string()}]}}]);
        }
        rule
    })
}

impl Worlds for Routes {
    fn router(&self) -> &'static dyn Router {
        &GatewayApi
    }

    fn canary(&self) -> Canary {
        tested()
    }

    fn found(&self) -> BoxedStrategy<Vec<Value>> {
        let found = (prop::collection::vec(rule(), 0..4), any::<bool>());
        let object = found.prop_map(|(rules, ours)| {
            let mut object = live("backend", "[]");
            object["spec"]["rules"] = json!(rules);
            object["metadata"]["annotations"] = json!({"foreign": "kept"});
            if ours {
                object["metadata"]["annotations"] = json!({"foreign": "kept on ours"});
                object["metadata"]["ownerReferences"] =
                    json!([{"kind": "Canary", "name": "backend", "uid": "u1", "controller": true}]);
            }
            object
        });
        prop::collection::vec(object, 0..=1).boxed()
    }

    /// Of a user's route: parents, and of each rule that is not of the test what is not a backend of ours. Of a generated
    /// one only the annotation.
    fn foreign(&self, objects: &Objects) -> Value {
        let Some(live) = objects.present(&HTTP_ROUTE.named("develop", "backend")) else {
            return json!([]);
        };
        let note = live.pointer("/metadata/annotations/foreign").cloned();
        let generated = note != Some(json!("kept"));
        let users = base(&tested(), live).into_iter().map(|mut rule| {
            rule = rules::without_copies(&tested(), &rule);
            let foreign = |one: &&Value| side(&tested(), one) == Side::Foreign;
            let backends = items(&rule, "/backendRefs").iter().filter(foreign).cloned().collect();
            set(&mut rule, "backendRefs", backends);
            rule
        });
        let users = users.filter(|_| !generated);
        let parents = live.pointer("/spec/parentRefs").cloned().filter(|_| !generated);
        users.chain(parents).chain(note).collect()
    }
}

/// The Gateway `gateways/edge` and its class, whose implementation lists these features.
pub(super) fn edge(controller: &str, features: &[&str]) -> Vec<Value> {
    let group = "gateway.networking.k8s.io/v1";
    let features: Vec<Value> = features.iter().map(|name| json!({"name": name})).collect();
    vec![
        json!({
            "apiVersion": group, "kind": "Gateway", "metadata": {"name": "edge", "namespace": "gateways"},
            "spec": {"gatewayClassName": "public"},
        }),
        json!({
            "apiVersion": group, "kind": "GatewayClass", "metadata": {"name": "public"},
            "spec": {"controllerName": controller}, "status": {"supportedFeatures": features},
        }),
    ]
}

/// Releases whose canary gets copies first, by a filter or by a service.
pub(in crate::router) struct Copied {
    pub(in crate::router) by_service: bool,
}

fn copied(copies: &str) -> Canary {
    canary(&format!(
        "{{provider: 'gatewayapi:v1', service: {{port: 80, gatewayRefs: [{{name: edge, namespace: gateways}}]}}, \
         analysis: {{mirror: true, {copies}}}}}"
    ))
}

impl Copied {
    fn edge(&self) -> Vec<Value> {
        match self.by_service {
            true => edge("traefik.io/gateway-controller", &["HTTPRouteMethodMatching"]),
            false => edge("x", &["HTTPRouteRequestMirror", "HTTPRouteRequestPercentageMirror"]),
        }
    }
}

impl Worlds for Copied {
    fn router(&self) -> &'static dyn Router {
        &GatewayApi
    }

    fn canary(&self) -> Canary {
        copied("mirrorWeight: 30")
    }

    fn found(&self) -> BoxedStrategy<Vec<Value>> {
        let edge = self.edge();
        let copying = (prop::option::of((0_i64..=100, any::<bool>())), 0_u8..4);
        (Routes.found(), copying)
            .prop_map(move |(mut found, (copying, led))| {
                let rules = found.first_mut().map(|route| route["spec"]["rules"].as_array_mut());
                if let Some(rule) = rules.flatten().and_then(|rules| rules.first_mut()) {
                    let service = json!({"group": "traefik.io", "kind": "TraefikService", "name": "backend-mirrored", "weight": 5});
                    let filter = json!({"type": "RequestMirror", "requestMirror": {
                        "backendRef": {"group": "", "kind": "Service", "name": "backend-canary", "port": 80}, "percent": 20}});
                    let ours = items(rule, "/backendRefs").iter().any(|one| side(&tested(), one) != Side::Foreign);
                    match led {
                        1 if ours => rule["backendRefs"].as_array_mut().unwrap().push(service),
                        2 if ours => rule["filters"] = json!([filter]),
                        _ => {}
                    }
                }
                if let Some((percent, ours)) = copying {
                    let spec = match ours {
                        true => json!({"mirroring": {"name": "backend-primary", "port": 80,
                            "mirrors": [{"name": "backend-canary", "port": 80, "percent": percent}]}}),
                        false => json!({"mirroring": {"name": "x", "port": 80}}),
                    };
                    let uid = if ours { "u1" } else { "u2" };
                    found.push(json!({
                        "apiVersion": "traefik.io/v1alpha1", "kind": "TraefikService",
                        "metadata": {"name": "backend-mirrored", "namespace": "develop", "resourceVersion": "4",
                            "ownerReferences": [{"kind": "Canary", "name": "x", "uid": uid, "controller": true}]},
                        "spec": spec,
                    }));
                }
                found.extend(edge.clone());
                found
            })
            .boxed()
    }

    fn foreign(&self, objects: &Objects) -> Value {
        let copying = objects.present(&mirrored::object(&self.canary()));
        let theirs = copying.filter(|found| found.to_string().contains("u2"));
        let edge = objects.present(&crate::change::GATEWAY.named("gateways", "edge"));
        json!([Routes.foreign(objects), theirs, edge])
    }

    fn goes_with_the_canary(&self, object: &Value) -> bool {
        object["metadata"]["name"] == "backend-mirrored"
    }
}

/// From the adoption to a canary without copies, with all objects at each step.
fn copied_release(by_service: bool, expected: &Expect) {
    let canary = copied("mirrorWeight: 30");
    let mut objects = world(&canary, &Copied { by_service }.edge());
    let mut out = String::new();
    for exposure in [
        Exposure::NONE,
        Exposure::mirrored(Weight::saturating(30)),
        Exposure::share(Weight::saturating(10)),
        Exposure::NONE,
    ] {
        out.push_str(&format!("{exposure}\n"));
        for change in GatewayApi.write(&canary, exposure, &objects).unwrap() {
            let Change::Apply { target, object } = &change else { panic!("{change:?}") };
            let fence = change.fence().map(|version| format!(" at {version}")).unwrap_or_default();
            out.push_str(&format!("  {target}{fence}\n"));
            for rule in items(object, RULES) {
                out.push_str(&format!("    {} {}\n", rule["backendRefs"], rule["filters"]));
            }
            if let Some(mirroring) = object.pointer("/spec/mirroring") {
                out.push_str(&format!("    {mirroring}\n"));
            }
            objects = apply_all(&objects, &[change]);
        }
        assert_eq!(GatewayApi.read(&canary, &objects), Ok(exposure));
    }
    expected.assert_eq(&out);
}

#[test]
fn copies_by_a_filter() {
    copied_release(
        false,
        &expect![[r#"
        0 %
          HTTPRoute develop/backend
            [{"group":"","kind":"Service","name":"backend-primary","port":80,"weight":100}] null
        copies of 30 %
          HTTPRoute develop/backend at 1
            [{"group":"","kind":"Service","name":"backend-primary","port":80,"weight":100}] [{"requestMirror":{"backendRef":{"group":"","kind":"Service","name":"backend-canary","port":80},"percent":30},"type":"RequestMirror"}]
        10 %
          HTTPRoute develop/backend at 2
            [{"group":"","kind":"Service","name":"backend-primary","port":80,"weight":90},{"group":"","kind":"Service","name":"backend-canary","port":80,"weight":10}] null
        0 %
          HTTPRoute develop/backend
            [{"group":"","kind":"Service","name":"backend-primary","port":80,"weight":100}] null
    "#]],
    );
}

#[test]
fn copies_by_a_service_of_traefik() {
    copied_release(
        true,
        &expect![[r#"
        0 %
          HTTPRoute develop/backend
            [{"group":"","kind":"Service","name":"backend-primary","port":80,"weight":100}] null
          TraefikService develop/backend-mirrored
            {"maxBodySize":1048576,"mirrorBody":true,"mirrors":[],"name":"backend-primary","namespace":"develop","port":80}
        copies of 30 %
          TraefikService develop/backend-mirrored at 1
            {"maxBodySize":1048576,"mirrorBody":true,"mirrors":[{"name":"backend-canary","namespace":"develop","percent":30,"port":80}],"name":"backend-primary","namespace":"develop","port":80}
          HTTPRoute develop/backend at 1
            [{"group":"traefik.io","kind":"TraefikService","name":"backend-mirrored","weight":100}] null
        10 %
          HTTPRoute develop/backend at 2
            [{"group":"","kind":"Service","name":"backend-primary","port":80,"weight":90},{"group":"","kind":"Service","name":"backend-canary","port":80,"weight":10}] null
          TraefikService develop/backend-mirrored at 2
            {"maxBodySize":1048576,"mirrorBody":true,"mirrors":[],"name":"backend-primary","namespace":"develop","port":80}
        0 %
          HTTPRoute develop/backend
            [{"group":"","kind":"Service","name":"backend-primary","port":80,"weight":100}] null
    "#]],
    );
}

/// A class that cannot be read any more keeps nobody from being taken off, and changes no way.
#[test]
fn a_class_that_is_gone_keeps_nothing() {
    let canary = copied("mirrorWeight: 30");
    for by_service in [false, true] {
        let mut objects = world(&canary, &Copied { by_service }.edge());
        for exposure in [Exposure::NONE, Exposure::mirrored(Weight::saturating(30))] {
            objects = apply_all(&objects, &GatewayApi.write(&canary, exposure, &objects).unwrap());
        }
        let class = crate::change::GATEWAY_CLASS.named("", "public");
        objects.put(class, serin_core::observed::Seen::Unreadable("forbidden".into()));
        let copies = Exposure::mirrored(Weight::saturating(30));
        assert_eq!(GatewayApi.read(&canary, &objects), Ok(copies));
        assert_eq!(GatewayApi.write(&canary, copies, &objects), Ok(vec![]));
        let after =
            apply_all(&objects, &GatewayApi.write(&canary, Exposure::NONE, &objects).unwrap());
        assert_eq!(GatewayApi.read(&canary, &after), Ok(Exposure::NONE));
    }
}

/// Metadata in a line, then each field of the spec and each part of each rule in one.
fn lines(object: &Value) -> String {
    let mut out = format!("{}\n", object["metadata"]);
    for (field, value) in
        object["spec"].as_object().unwrap().iter().filter(|(key, _)| *key != "rules")
    {
        out.push_str(&format!("{field}: {value}\n"));
    }
    for rule in items(object, RULES) {
        out.push_str("rule\n");
        for (field, value) in rule.as_object().unwrap() {
            out.push_str(&format!("  {field}: {value}\n"));
        }
    }
    out
}

fn written(canary: &Canary, exposure: Exposure, found: &[Value], expected: &Expect) {
    let before = world(canary, found);
    let changes = GatewayApi.write(canary, exposure, &before).unwrap();
    let [Change::Apply { object, .. }] = changes.as_slice() else { panic!("{changes:?}") };
    expected.assert_eq(&lines(object));
    let after = apply_all(&before, &changes);
    assert_eq!(GatewayApi.read(canary, &after).unwrap(), exposure);
}

#[test]
fn a_route_is_made_from_the_spec() {
    let canary = canary(
        "
provider: gatewayapi:v1
service:
  port: 9898
  gatewayRefs: [{name: edge, namespace: gateways, sectionName: https}]
  hosts: [app.example.com, '*']
  match: [{uri: {prefix: /api}, method: {exact: get}}, {queryParams: {v: {exact: '2'}}}]
  rewrite: {uri: /, type: ReplacePrefixMatch}
  headers: {request: {set: {x-b: '1', x-a: '2'}, remove: [x-c]}, response: {add: {x-served: serin}}}
  timeout: 15s
  corsPolicy: {allowOrigin: [https://example.com], allowMethods: [GET], maxAge: 24h, allowCredentials: true}
",
    );
    written(
        &canary,
        Exposure::NONE,
        &[],
        &expect![[r#"
        {"annotations":{"helm.toolkit.fluxcd.io/driftDetection":"disabled","kustomize.toolkit.fluxcd.io/reconcile":"disabled"},"labels":{},"name":"backend","namespace":"develop","ownerReferences":[{"apiVersion":"flagger.app/v1beta1","blockOwnerDeletion":true,"controller":true,"kind":"Canary","name":"backend","uid":"u1"}]}
        hostnames: ["app.example.com"]
        parentRefs: [{"group":"gateway.networking.k8s.io","kind":"Gateway","name":"edge","namespace":"gateways","sectionName":"https"}]
        rule
          backendRefs: [{"group":"","kind":"Service","name":"backend-primary","port":9898,"weight":100}]
          filters: [{"requestHeaderModifier":{"remove":["x-c"],"set":[{"name":"x-a","value":"2"},{"name":"x-b","value":"1"}]},"type":"RequestHeaderModifier"},{"responseHeaderModifier":{"add":[{"name":"x-served","value":"serin"}]},"type":"ResponseHeaderModifier"},{"type":"URLRewrite","urlRewrite":{"path":{"replacePrefixMatch":"/","type":"ReplacePrefixMatch"}}},{"cors":{"allowCredentials":true,"allowMethods":["GET"],"allowOrigins":["https://example.com"],"maxAge":86400},"type":"CORS"}]
          matches: [{"method":"GET","path":{"type":"PathPrefix","value":"/api"}},{"path":{"type":"PathPrefix","value":"/"},"queryParams":[{"name":"v","type":"Exact","value":"2"}]}]
          timeouts: {"request":"15s"}
    "#]],
    );
}

#[test]
fn shares_and_matches_stand_side_by_side() {
    let both = Exposure { share: Weight::saturating(5), ..Exposure::MATCHED };
    written(
        &tested(),
        both,
        &[],
        &expect![[r#"
            {"annotations":{"helm.toolkit.fluxcd.io/driftDetection":"disabled","kustomize.toolkit.fluxcd.io/reconcile":"disabled"},"labels":{},"name":"backend","namespace":"develop","ownerReferences":[{"apiVersion":"flagger.app/v1beta1","blockOwnerDeletion":true,"controller":true,"kind":"Canary","name":"backend","uid":"u1"}]}
            hostnames: ["app.example.com"]
            parentRefs: [{"group":"gateway.networking.k8s.io","kind":"Gateway","name":"edge","namespace":"gateways"}]
            rule
              backendRefs: [{"group":"","kind":"Service","name":"backend-primary","port":80,"weight":95},{"group":"","kind":"Service","name":"backend-canary","port":80,"weight":5}]
              matches: [{"path":{"type":"PathPrefix","value":"/"}}]
            rule
              backendRefs: [{"group":"","kind":"Service","name":"backend-canary","port":80,"weight":100}]
              matches: [{"headers":[{"name":"x-canary","type":"Exact","value":"insider"}],"path":{"type":"PathPrefix","value":"/"}},{"headers":[{"name":"cookie","type":"RegularExpression","value":"^(?:(.*?;)?(canary=always)(;.*)?)$"}],"path":{"type":"PathPrefix","value":"/"}}]
        "#]],
    );
}

#[test]
fn of_a_users_route_only_our_backends_change() {
    let rules = "[{name: api, matches: [{path: {type: PathPrefix, value: /api}}], filters: [{type: CORS, cors: {allowOrigins: ['*']}}], \
        backendRefs: [{group: '', kind: Service, name: backend, port: 80, weight: 1, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}]}}]}]}, \
        {matches: [{path: {type: PathPrefix, value: /docs}}], backendRefs: [{name: docs, port: 80}]}]";
    let route = live("shop", rules);
    written(
        &with_own_route(),
        Exposure::MATCHED,
        std::slice::from_ref(&route),
        &expect![[r#"
            {"name":"shop","namespace":"develop","resourceVersion":"5"}
            rule
              backendRefs: [{"filters":[{"requestHeaderModifier":{"set":[{"name":"a","value":"b"}]},"type":"RequestHeaderModifier"}],"group":"","kind":"Service","name":"backend-primary","port":80,"weight":100}]
              filters: [{"cors":{"allowOrigins":["*"]},"type":"CORS"}]
              matches: [{"path":{"type":"PathPrefix","value":"/api"}}]
              name: "api"
            rule
              backendRefs: [{"name":"docs","port":80}]
              matches: [{"path":{"type":"PathPrefix","value":"/docs"}}]
            rule
              backendRefs: [{"filters":[{"requestHeaderModifier":{"set":[{"name":"a","value":"b"}]},"type":"RequestHeaderModifier"}],"group":"","kind":"Service","name":"backend-canary","port":80,"weight":100}]
              filters: [{"cors":{"allowOrigins":["*"]},"type":"CORS"}]
              matches: [{"headers":[{"name":"x-canary","type":"Exact","value":"insider"}],"path":{"type":"PathPrefix","value":"/api"}}]
        "#]],
    );
    written(
        &with_own_route(),
        Exposure::share(Weight::TENTH),
        &[route],
        &expect![[r#"
            {"name":"shop","namespace":"develop","resourceVersion":"5"}
            rule
              backendRefs: [{"filters":[{"requestHeaderModifier":{"set":[{"name":"a","value":"b"}]},"type":"RequestHeaderModifier"}],"group":"","kind":"Service","name":"backend-primary","port":80,"weight":90},{"filters":[{"requestHeaderModifier":{"set":[{"name":"a","value":"b"}]},"type":"RequestHeaderModifier"}],"group":"","kind":"Service","name":"backend-canary","port":80,"weight":10}]
              filters: [{"cors":{"allowOrigins":["*"]},"type":"CORS"}]
              matches: [{"path":{"type":"PathPrefix","value":"/api"}}]
              name: "api"
            rule
              backendRefs: [{"name":"docs","port":80}]
              matches: [{"path":{"type":"PathPrefix","value":"/docs"}}]
        "#]],
    );
}

#[test]
fn what_is_in_the_way_is_said() {
    let mut out = String::new();
    for rules in [
        "[{backendRefs: [{name: docs, port: 80}]}]",
        "[{backendRefs: [{name: backend, port: 80}, {name: legacy, port: 80}]}]",
        "[]",
    ] {
        let objects = world(&with_own_route(), &[live("shop", rules)]);
        let obstacle = GatewayApi.obstacles(&with_own_route(), &objects).remove(0);
        out.push_str(&format!("{obstacle}\n"));
    }
    let absent = GatewayApi.obstacles(&with_own_route(), &world(&with_own_route(), &[])).remove(0);
    out.push_str(&format!("{absent}\n"));
    let mut refused = live("shop", "[{backendRefs: [{name: backend, port: 80}]}]");
    refused["status"] = json!({"parents": [{"conditions": [
        {"type": "Accepted", "status": "False", "observedGeneration": 2, "reason": "NoMatchingParent", "message": "no listener"},
    ]}]});
    let unread = GatewayApi.read(&with_own_route(), &world(&with_own_route(), &[refused.clone()]));
    out.push_str(&format!("{}\n", unread.unwrap_err()));
    refused["metadata"]["generation"] = json!(3);
    assert!(GatewayApi.read(&with_own_route(), &world(&with_own_route(), &[refused])).is_ok());
    expect![[r#"
        HTTPRoute develop/shop leads to docs and not to backend: give the Canary's service another name, or remove it
        HTTPRoute develop/shop: rule 0 splits its requests between this application and legacy, so that no share of it can be set: give the application a rule of its own
        HTTPRoute develop/shop leads to no Service and not to backend: give the Canary's service another name, or remove it
        HTTPRoute develop/shop does not exist
        HTTPRoute develop/shop is not accepted by its gateway (NoMatchingParent: no listener)
    "#]].assert_eq(&out);
}
