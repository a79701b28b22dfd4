//! What stands beside a user's IngressRoute, by the user's rules.

use expect_test::expect;
use proptest::prelude::{BoxedStrategy, Strategy, any, prop};
use serde_json::{Value, json};
use serin_core::model::{Canary, Exposure};

use super::*;
use crate::router::laws::Worlds;
use crate::router::traefik::Traefik;
use crate::router::{Router, RouterError};
use crate::testing::{apply_all, canary, world, yaml};

/// An A/B test beside the IngressRoute `shop`.
fn tested() -> Canary {
    canary(
        "{routeRef: {apiVersion: traefik.io/v1alpha1, kind: IngressRoute, name: shop}, \
         analysis: {stepWeight: null, maxWeight: null, iterations: 3, match: \
         [{headers: {x-canary: {exact: insider}}, method: {exact: get}}, {headers: {cookie: {regex: '^(.*;)?canary=always(;.*)?$'}}}]}}",
    )
}

/// A weighted release of a plain Service beside it.
fn plain() -> Canary {
    canary("{routeRef: {apiVersion: traefik.io/v1alpha1, kind: IngressRoute, name: shop}}")
}

fn users(routes: &str) -> Value {
    yaml(&format!(
        "{{apiVersion: traefik.io/v1alpha1, kind: IngressRoute, metadata: {{name: shop, namespace: develop, \
         resourceVersion: '9', annotations: {{kubernetes.io/ingress.class: edge}}}}, \
         spec: {{entryPoints: [websecure], tls: {{secretName: s, options: {{name: strict}}}}, routes: {routes}}}}}"
    ))
}

const ROUTES_OF_BOTH: &str = "[{kind: Rule, match: 'Host(`a`)', services: [{kind: TraefikService, name: backend}], middlewares: [{name: auth}]}, \
    {kind: Rule, match: 'Host(`a`) && PathPrefix(`/api`)', priority: 50, services: [{name: backend, port: 80}]}, \
    {kind: Rule, match: 'Host(`b`)', services: [{name: docs, port: 80}]}]";

/// A user's IngressRoute, and what an earlier release may have left beside it.
pub(in crate::router) struct Beside;

impl Worlds for Beside {
    fn router(&self) -> &'static dyn Router {
        &Traefik
    }

    fn canary(&self) -> Canary {
        tested()
    }

    fn found(&self) -> BoxedStrategy<Vec<Value>> {
        let leads = prop::sample::select(vec!["TraefikService", "Service"]);
        let number = prop::option::of(1_i64..90);
        let before = (any::<bool>(), any::<bool>());
        (leads, number, before)
            .prop_map(|(kind, number, (made, on_canary))| {
                let mut route = json!({"kind": "Rule", "match": "Host(`a`)", "services": [{"kind": kind, "name": "backend"}]});
                if let Some(number) = number {
                    route["priority"] = json!(number);
                }
                let mut shop = users("[]");
                shop["spec"]["routes"] = json!([route]);
                let mut found = vec![shop];
                if made {
                    let exposure = if on_canary { Exposure::MATCHED } else { Exposure::NONE };
                    let mut objects = world(&tested(), &found);
                    for exposure in [Exposure::NONE, exposure] {
                        let changes = Traefik.write(&tested(), exposure, &objects).unwrap();
                        objects = apply_all(&objects, &changes);
                    }
                    for reference in Traefik.reads(&tested()) {
                        if let Some(object) = objects.present(&reference).filter(|_| reference.name != "shop") {
                            let mut object = object.clone();
                            object["metadata"]["resourceVersion"] = json!("6");
                            found.push(object);
                        }
                    }
                }
                found
            })
            .boxed()
    }

    /// All of the user's IngressRoute.
    fn foreign(&self, objects: &Objects) -> Value {
        let shop = objects.present(&INGRESS_ROUTE.named("develop", "shop"));
        json!([shop])
    }

    fn goes_with_the_canary(&self, object: &Value) -> bool {
        ["backend-matched", "backend-derived"]
            .iter()
            .any(|name| object["metadata"]["name"] == *name)
    }
}

fn written(canary: &Canary, exposure: Exposure, objects: &Objects) -> String {
    let mut out = String::new();
    for change in Traefik.write(canary, exposure, objects).unwrap() {
        let Change::Apply { target, object } = &change else { panic!("{change:?}") };
        let fence = change.fence().map(|version| format!(" at {version}")).unwrap_or_default();
        out.push_str(&format!("{target}{fence}\n"));
        for (field, value) in object["spec"].as_object().unwrap() {
            match value.as_array().filter(|_| field == "routes") {
                Some(routes) => {
                    routes.iter().for_each(|route| out.push_str(&format!("  route {route}\n")))
                }
                None => out.push_str(&format!("  {field} {value}\n")),
            }
        }
    }
    out
}

#[test]
fn a_test_begins_where_everything_is_there_and_leads_to_the_primary() {
    let canary = tested();
    let before = world(&canary, &[users(ROUTES_OF_BOTH)]);
    expect![[r#"
        TraefikService develop/backend
          weighted {"services":[{"name":"backend-primary","namespace":"develop","port":80,"weight":100}]}
        TraefikService develop/backend-matched
          weighted {"services":[{"name":"backend-primary","namespace":"develop","port":80,"weight":100}]}
        IngressRoute develop/backend-derived
          entryPoints ["websecure"]
          route {"kind":"Rule","match":"Host(`a`) && PathPrefix(`/api`)","priority":51,"services":[{"kind":"TraefikService","name":"backend","namespace":"develop"}]}
          tls {"options":{"name":"strict"},"secretName":"s"}
    "#]].assert_eq(&written(&canary, Exposure::NONE, &before));
    assert_eq!(
        Traefik.write(&canary, Exposure::MATCHED, &before).unwrap_err(),
        RouterError::Missing(matched(&canary))
    );
    let made = apply_all(&before, &Traefik.write(&canary, Exposure::NONE, &before).unwrap());
    assert_eq!(Traefik.read(&canary, &made).unwrap(), Exposure::NONE);
    expect![[r#"
        TraefikService develop/backend-matched at 1
          weighted {"services":[{"name":"backend-canary","namespace":"develop","port":80,"weight":100}]}
        IngressRoute develop/backend-derived at 1
          entryPoints ["websecure"]
          route {"kind":"Rule","match":"(Host(`a`)) && ((Header(`x-canary`, `insider`) && Method(`GET`)) || (HeaderRegexp(`cookie`, `^(?:(.*;)?canary=always(;.*)?)$`)))","middlewares":[{"name":"auth"}],"priority":10,"services":[{"kind":"TraefikService","name":"backend-matched","namespace":"develop"}]}
          route {"kind":"Rule","match":"Host(`a`) && PathPrefix(`/api`)","priority":51,"services":[{"kind":"TraefikService","name":"backend","namespace":"develop"}]}
          route {"kind":"Rule","match":"(Host(`a`) && PathPrefix(`/api`)) && ((Header(`x-canary`, `insider`) && Method(`GET`)) || (HeaderRegexp(`cookie`, `^(?:(.*;)?canary=always(;.*)?)$`)))","priority":52,"services":[{"kind":"TraefikService","name":"backend-matched","namespace":"develop"}]}
          tls {"options":{"name":"strict"},"secretName":"s"}
    "#]].assert_eq(&written(&canary, Exposure::MATCHED, &made));
}

#[test]
fn a_plain_service_gets_its_share_without_an_edit() {
    let canary = plain();
    let before = world(&canary, &[users(ROUTES_OF_BOTH)]);
    expect![[r#"
        TraefikService develop/backend
          weighted {"services":[{"name":"backend-primary","namespace":"develop","port":80,"weight":100}]}
        IngressRoute develop/backend-derived
          entryPoints ["websecure"]
          route {"kind":"Rule","match":"Host(`a`) && PathPrefix(`/api`)","priority":51,"services":[{"kind":"TraefikService","name":"backend","namespace":"develop"}]}
          tls {"options":{"name":"strict"},"secretName":"s"}
    "#]].assert_eq(&written(&canary, Exposure::NONE, &before));
}

#[test]
fn a_test_that_was_edited_away_ends() {
    let before = world(&tested(), &[users(ROUTES_OF_BOTH)]);
    let mut objects = before;
    for exposure in [Exposure::NONE, Exposure::MATCHED] {
        objects = apply_all(&objects, &Traefik.write(&tested(), exposure, &objects).unwrap());
    }
    let edited = canary("");
    let mut seen = world(&edited, &[]);
    for reference in Traefik.reads(&edited) {
        if let Some(object) = objects.present(&reference) {
            seen.put(reference, Seen::Present(std::sync::Arc::new(object.clone())));
        }
    }
    assert_eq!(Traefik.read(&edited, &seen).unwrap(), Exposure::MATCHED);
    let after = apply_all(&seen, &Traefik.write(&edited, Exposure::NONE, &seen).unwrap());
    assert_eq!(Traefik.read(&edited, &after).unwrap(), Exposure::NONE);
}

#[test]
fn what_is_in_the_way_is_said() {
    let mut out = String::new();
    let stranger = yaml(
        "{apiVersion: traefik.io/v1alpha1, kind: TraefikService, metadata: {name: backend-matched, namespace: develop}, spec: {weighted: {services: []}}}",
    );
    let rows = [
        vec![],
        vec![users("[{match: 'Host(`b`)', services: [{name: docs}]}]")],
        vec![users("[{match: 'Host(`b`)', services: [{name: backend}, {name: docs}]}]"), stranger],
        vec![users("[{match: 'Host(`a`)', syntax: v2, services: [{name: backend}]}]")],
        vec![users(
            "[{match: 'Host(`a`)', services: [{name: backend}]}, {match: 'Host(`b`)', priority: 11, services: [{name: docs}]}]",
        )],
    ];
    for found in rows {
        for error in Traefik.obstacles(&tested(), &world(&tested(), &found)) {
            out.push_str(&format!("{error}\n"));
        }
        out.push('\n');
    }
    expect![[r#"
        IngressRoute develop/shop does not exist

        IngressRoute develop/shop leads to docs and not to backend: give the Canary's service another name, or remove it

        TraefikService develop/backend-matched belongs to someone else (it names no owner) and is left alone: delete or rename it
        IngressRoute develop/shop: rule 0 splits its requests between this application and docs, so that no share of it can be set: give the application a rule of its own

        IngressRoute develop/shop: rule 0 has the syntax of Traefik v2, in which a test cannot be written: write it in v3

        IngressRoute develop/shop: one of its routes has priority 11, which the derived route needs: give it another number

    "#]].assert_eq(&out);
}

/// Without options of the user's no route of ours names a host, where its rule is understood.
#[test]
fn a_route_without_tls_options_names_no_host() {
    let canary = tested();
    for (rule, ours, tls) in [
        ("Host(`a`)", "(HostRegexp(`^a\\.?$`)) && ", json!({})),
        ("Host(`a`, `b`)", "(Host(`a`, `b`)) && ", json!({"secretName": "s"})),
    ] {
        let mut shop = users("[]");
        shop["spec"]["tls"] = json!({"secretName": "s"});
        shop["spec"]["routes"] = json!([
            {"kind": "Rule", "match": rule, "services": [{"kind": "TraefikService", "name": "backend"}]},
        ]);
        let before = world(&canary, &[shop]);
        let after = apply_all(&before, &Traefik.write(&canary, Exposure::NONE, &before).unwrap());
        let derived = after.present(&INGRESS_ROUTE.named("develop", "backend-derived")).unwrap();
        let found = derived["spec"]["routes"][0]["match"].as_str().unwrap();
        assert!(found.starts_with(ours), "{found}");
        assert_eq!(derived["spec"]["tls"], tls);
    }
}
