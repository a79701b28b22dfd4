//! Tables of TraefikServices, and what is written to them.

use expect_test::{Expect, expect};
use proptest::prelude::{BoxedStrategy, Strategy, any, prop};
use serde_json::Value;
use serin_core::model::{Canary, Exposure, Weight};

use super::*;
use crate::router::laws::Worlds;
use crate::router::{Router, RouterError};
use crate::testing::{apply_all, canary, shown, world, yaml};

fn live(spec: &str, meta: &str) -> Value {
    yaml(&format!(
        "{{apiVersion: traefik.io/v1alpha1, kind: TraefikService, \
         metadata: {{name: backend, namespace: develop, resourceVersion: '5', {meta}}}, spec: {spec}}}"
    ))
}

fn list(services: &str) -> String {
    format!("{{weighted: {{services: {services}}}}}")
}

/// Weighted TraefikServices as users and earlier releases leave them.
pub(in crate::router) struct Weighted;

/// Entries of a weighted list: ours, the apex, and those of others.
fn entries() -> impl Strategy<Value = Vec<Value>> {
    let names = ["backend-primary", "backend-canary", "backend", "legacy", "x"];
    let weight = prop::option::of(-1_i64..300);
    let entry = (prop::sample::select(names.to_vec()), weight, any::<bool>());
    let entry = entry.prop_map(|(name, weight, sticky)| {
        let mut entry = json!({"name": name, "port": 80});
        if let Some(weight) = weight {
            entry["weight"] = json!(weight);
        }
        if sticky {
            entry["sticky"] = json!({"cookie": {"name": "s"}});
        }
        entry
    });
    prop::collection::vec(entry, 0..5)
}

impl Worlds for Weighted {
    fn router(&self) -> &'static dyn Router {
        &Traefik
    }

    fn canary(&self) -> Canary {
        canary("{analysis: {stepWeight: 10}}")
    }

    fn found(&self) -> BoxedStrategy<Vec<Value>> {
        let object = (entries(), any::<bool>(), any::<bool>());
        let object = object.prop_map(|(entries, sticky, ours)| {
            let meta = "annotations: {foreign: kept}";
            let mut object = live("{weighted: {services: []}}", meta);
            object["spec"]["weighted"]["services"] = json!(entries);
            if sticky {
                object["spec"]["weighted"]["sticky"] = json!({"cookie": {}});
            }
            if ours {
                object["metadata"]["ownerReferences"] =
                    json!([{"kind": "Canary", "name": "backend", "uid": "u1", "controller": true}]);
            }
            object
        });
        prop::collection::vec(object, 0..=1).boxed()
    }

    /// Entries that are not ours, and what stands beside the list.
    fn foreign(&self, objects: &Objects) -> Value {
        let live = objects.present(&TRAEFIK_SERVICE.named("develop", "backend"));
        let entries = live.map_or(&[][..], |live| items(live, SERVICES)).iter();
        let others = entries
            .filter(|entry| !entry["name"].as_str().is_some_and(|name| name.starts_with("backend")))
            .cloned();
        let beside = ["/spec/weighted/sticky", "/metadata/annotations/foreign"];
        let beside = beside.into_iter().filter_map(|path| live?.pointer(path).cloned());
        others.chain(beside).collect()
    }
}

fn read(canary: &Canary, spec: &str) -> Result<u8, RouterError> {
    Traefik.read(canary, &world(canary, &[live(spec, "")])).map(|split| split.share.percent())
}

#[test]
fn a_missing_weight_is_one_and_shares_are_proportions() {
    for (services, percent) in [
        ("[{name: backend-primary, weight: 100}]", 0),
        ("[{name: backend-primary, weight: 90}, {name: backend-canary, weight: 10}]", 10),
        ("[{name: backend-primary}, {name: backend-canary, weight: 100}]", 99),
        ("[{name: backend-primary}, {name: backend-canary}]", 50),
        ("[{name: backend-primary, weight: 0}, {name: backend-canary}]", 100),
        ("[{name: backend-primary, weight: 9999}, {name: backend-canary}]", 1),
        ("[{name: backend-primary, weight: 3}, {name: backend-canary, weight: 1}]", 25),
        ("[{name: backend, weight: 1}, {name: backend-canary, weight: -1}]", 0),
        ("[{name: backend-canary, kind: TraefikService}, {name: backend-primary}]", 0),
        ("[{name: backend-canary, namespace: other}, {name: backend-primary}]", 0),
        ("[]", 0),
    ] {
        assert_eq!(read(&canary(""), &list(services)), Ok(percent), "{services}");
    }
    assert_eq!(read(&canary(""), "{}"), Ok(0));
}

#[test]
fn what_is_not_weighted_is_refused_and_not_overwritten() {
    let canary = canary("");
    for kind in ["mirroring", "highestRandomWeight", "failover"] {
        let objects = world(&canary, &[live(&format!("{{{kind}: {{name: x}}}}"), "")]);
        for result in [
            Traefik.read(&canary, &objects).map(|_| ()),
            Traefik.write(&canary, Exposure::NONE, &objects).map(|_| ()),
            Traefik.restore(&canary, &objects).map(|_| ()),
        ] {
            assert!(matches!(result, Err(RouterError::NotWeighted { .. })), "{kind}");
        }
    }
}

fn check_write(spec: &str, percent: u32, change: Expect, services: Expect) {
    let canary = canary("");
    let objects = match spec {
        "" => world(&canary, &[]),
        spec => world(&canary, &[live(spec, "")]),
    };
    let split = Exposure::share(Weight::saturating(percent));
    let changes = Traefik.write(&canary, split, &objects).unwrap();
    change.assert_eq(&shown(&changes));
    let after = apply_all(&objects, &changes);
    let lines: Vec<String> = items(after.present(&object(&canary)).unwrap(), SERVICES)
        .iter()
        .map(ToString::to_string)
        .collect();
    services.assert_eq(&lines.join("\n"));
}

#[test]
fn a_new_one_begins_with_the_primary() {
    check_write(
        "",
        0,
        expect!["apply TraefikService develop/backend"],
        expect![[r#"{"name":"backend-primary","namespace":"develop","port":80,"weight":100}"#]],
    );
}

#[test]
fn a_raise_is_fenced_and_a_lowering_is_not() {
    let at_10 = list(
        "[{name: backend-primary, port: 80, weight: 90}, {name: backend-canary, port: 80, weight: 10}]",
    );
    check_write(
        &at_10,
        20,
        expect!["apply TraefikService develop/backend at 5"],
        expect![[r#"
            {"name":"backend-primary","namespace":"develop","port":80,"weight":80}
            {"name":"backend-canary","namespace":"develop","port":80,"weight":20}"#]],
    );
    check_write(
        &at_10,
        0,
        expect!["apply TraefikService develop/backend"],
        expect![[r#"{"name":"backend-primary","namespace":"develop","port":80,"weight":100}"#]],
    );
}

#[test]
fn a_side_without_traffic_is_left_out_and_comes_back_alike() {
    check_write(
        &list(
            "[{name: backend-primary, port: http, scheme: h2c, weight: 100}, {name: legacy, port: 1, weight: 5}]",
        ),
        100,
        expect!["apply TraefikService develop/backend at 5"],
        expect![[r#"
            {"name":"backend-canary","namespace":"develop","port":"http","scheme":"h2c","weight":100}
            {"name":"legacy","port":1,"weight":5}"#]],
    );
}

#[test]
fn an_entry_for_the_apex_becomes_the_primary() {
    check_write(
        &list("[{name: backend, port: 80, passHostHeader: false}]"),
        0,
        expect!["apply TraefikService develop/backend"],
        expect![[
            r#"{"name":"backend-primary","namespace":"develop","passHostHeader":false,"port":80,"weight":100}"#
        ]],
    );
}

#[test]
fn foreign_metadata_is_no_reason_to_write() {
    let canary = canary("service: {port: 80, apex: {labels: {a: b}}}");
    let objects = world(
        &canary,
        &[live(
            "{weighted: {sticky: {cookie: {name: x}}}}",
            "annotations: {foreign: x}, labels: {c: d}",
        )],
    );
    let split = Exposure::share(Weight::saturating(30));
    let after = apply_all(&objects, &Traefik.write(&canary, split, &objects).unwrap());
    assert_eq!(Traefik.write(&canary, split, &after), Ok(vec![]));
    let live = after.present(&object(&canary)).unwrap();
    assert_eq!(live["spec"]["weighted"]["sticky"]["cookie"]["name"], "x");
    assert_eq!(live["metadata"]["annotations"]["foreign"], "x");
    assert_eq!(live["metadata"]["labels"], serde_json::json!({"a": "b", "c": "d"}));
}

#[test]
fn what_was_the_users_is_given_back_and_what_was_ours_outlives_us() {
    let canary = canary("");
    let split = Exposure::share(Weight::saturating(30));
    let adopted = live(&list("[{name: backend, port: 80}, {name: legacy, port: 1}]"), "");
    for (present, services) in [
        (vec![adopted], r#"[{"name":"backend","port":80},{"name":"legacy","port":1}]"#),
        (vec![], r#"[{"name":"backend","namespace":"develop","port":80,"weight":100}]"#),
    ] {
        let objects = world(&canary, &present);
        let split = apply_all(&objects, &Traefik.write(&canary, split, &objects).unwrap());
        let restored = apply_all(&split, &Traefik.restore(&canary, &split).unwrap());
        let live = restored.present(&object(&canary)).unwrap();
        assert_eq!(live.pointer(SERVICES).unwrap().to_string(), services);
        assert!(!owned_by(live, &canary));
        assert!(strings(live, "/metadata/annotations").is_empty());
        assert_eq!(Traefik.restore(&canary, &restored), Ok(vec![]));
    }
}

#[test]
fn one_that_belongs_to_another_canary_is_left_alone() {
    let canary = canary("");
    let other = "ownerReferences: [{kind: Canary, name: other, uid: u2, controller: true}]";
    let objects = world(&canary, &[live("{}", other)]);
    let error = Traefik.write(&canary, Exposure::NONE, &objects).unwrap_err().to_string();
    expect!["TraefikService develop/backend belongs to Canary other and is left alone: delete or rename it"]
        .assert_eq(&error);
}
