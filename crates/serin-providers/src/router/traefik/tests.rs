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

/// Releases whose canary gets copies first, and what an earlier one left of what copies.
pub(in crate::router) struct Copied;

impl Worlds for Copied {
    fn router(&self) -> &'static dyn Router {
        &Traefik
    }

    fn canary(&self) -> Canary {
        canary("{analysis: {stepWeight: 10, mirror: true}}")
    }

    fn found(&self) -> BoxedStrategy<Vec<Value>> {
        let copying = (prop::option::of((0_i64..=120, any::<bool>())), any::<bool>());
        (Weighted.found(), copying)
            .prop_map(|(mut found, (copying, leads))| {
                if let Some(weighted) = found.first_mut().filter(|_| leads) {
                    let entry =
                        json!({"kind": "TraefikService", "name": "backend-mirrored", "weight": 5});
                    weighted["spec"]["weighted"]["services"].as_array_mut().unwrap().push(entry);
                }
                if let Some((percent, ours)) = copying {
                    let mut object = live("{}", "annotations: {foreign: kept}");
                    object["metadata"]["name"] = json!("backend-mirrored");
                    object["spec"] = json!({"mirroring": {
                        "name": "backend-primary", "port": 80,
                        "mirrors": [{"name": "backend-canary", "port": 80, "percent": percent}],
                    }});
                    if !ours {
                        object["spec"] = json!({"mirroring": {"name": "x", "port": 80}});
                    }
                    let uid = if ours { "u1" } else { "u2" };
                    object["metadata"]["ownerReferences"] =
                        json!([{"kind": "Canary", "name": "x", "uid": uid, "controller": true}]);
                    found.push(object);
                }
                found
            })
            .boxed()
    }

    fn foreign(&self, objects: &Objects) -> Value {
        let copying = objects.present(&TRAEFIK_SERVICE.named("develop", "backend-mirrored"));
        let theirs = copying.filter(|found| found.to_string().contains("u2"));
        json!([Weighted.foreign(objects), theirs])
    }

    fn goes_with_the_canary(&self, object: &Value) -> bool {
        object["metadata"]["name"] == "backend-mirrored"
    }
}

/// From the adoption to a canary without copies, with all objects at each step.
#[test]
fn copies_come_from_behind_the_primary_and_go_as_they_came() {
    let canary = canary("{analysis: {stepWeight: 10, mirror: true, mirrorWeight: 30}}");
    let users = live(
        "{weighted: {services: [{name: backend, port: http, scheme: h2c}, {name: legacy, port: 1}], sticky: {cookie: {}}}}",
        "",
    );
    let mut objects = world(&canary, &[users]);
    assert_eq!(
        Traefik.read(&canary, &objects),
        Err(RouterError::Missing(TRAEFIK_SERVICE.named("develop", "backend-mirrored")))
    );
    let mut out = String::new();
    for exposure in [
        Exposure::NONE,
        Exposure::mirrored(Weight::saturating(30)),
        Exposure::share(Weight::saturating(10)),
        Exposure::mirrored(Weight::saturating(30)),
        Exposure::NONE,
    ] {
        out.push_str(&format!("{exposure}\n"));
        for change in Traefik.write(&canary, exposure, &objects).unwrap() {
            let Change::Apply { target, object } = &change else { panic!("{change:?}") };
            let fence = change.fence().map(|version| format!(" at {version}")).unwrap_or_default();
            out.push_str(&format!("  {}{fence} {}\n", target.name, object["spec"]));
            objects = apply_all(&objects, &[change]);
        }
        assert_eq!(Traefik.read(&canary, &objects), Ok(exposure));
        assert_eq!(Traefik.ports(&canary, &objects), BTreeSet::from(["http".to_owned()]));
    }
    expect![[r#"
        0 %
          backend {"weighted":{"services":[{"name":"backend-primary","namespace":"develop","port":"http","scheme":"h2c","weight":100},{"name":"legacy","port":1}]}}
          backend-mirrored {"mirroring":{"maxBodySize":1048576,"mirrorBody":true,"mirrors":[],"name":"backend-primary","namespace":"develop","port":"http","scheme":"h2c"}}
        copies of 30 %
          backend-mirrored at 1 {"mirroring":{"maxBodySize":1048576,"mirrorBody":true,"mirrors":[{"name":"backend-canary","namespace":"develop","percent":30,"port":"http","scheme":"h2c"}],"name":"backend-primary","namespace":"develop","port":"http","scheme":"h2c"}}
          backend at 6 {"weighted":{"services":[{"kind":"TraefikService","name":"backend-mirrored","namespace":"develop","weight":100},{"name":"legacy","port":1}]}}
        10 %
          backend at 7 {"weighted":{"services":[{"name":"backend-primary","namespace":"develop","port":"http","scheme":"h2c","weight":90},{"name":"backend-canary","namespace":"develop","port":"http","scheme":"h2c","weight":10},{"name":"legacy","port":1}]}}
          backend-mirrored at 2 {"mirroring":{"maxBodySize":1048576,"mirrorBody":true,"mirrors":[],"name":"backend-primary","namespace":"develop","port":"http","scheme":"h2c"}}
        copies of 30 %
          backend-mirrored at 3 {"mirroring":{"maxBodySize":1048576,"mirrorBody":true,"mirrors":[{"name":"backend-canary","namespace":"develop","percent":30,"port":"http","scheme":"h2c"}],"name":"backend-primary","namespace":"develop","port":"http","scheme":"h2c"}}
          backend at 8 {"weighted":{"services":[{"kind":"TraefikService","name":"backend-mirrored","namespace":"develop","weight":100},{"name":"legacy","port":1}]}}
        0 %
          backend {"weighted":{"services":[{"name":"backend-primary","namespace":"develop","port":"http","scheme":"h2c","weight":100},{"name":"legacy","port":1}]}}
          backend-mirrored {"mirroring":{"maxBodySize":1048576,"mirrorBody":true,"mirrors":[],"name":"backend-primary","namespace":"develop","port":"http","scheme":"h2c"}}
    "#]].assert_eq(&out);
}

#[test]
fn nothing_that_copies_keeps_the_canary_exposed() {
    let canary = canary("{analysis: {stepWeight: 10, mirror: true}}");
    let copying =
        "{weighted: {services: [{kind: TraefikService, name: backend-mirrored, weight: 100}]}}";
    let mut objects = world(&canary, &[live(copying, "")]);
    let object = TRAEFIK_SERVICE.named("develop", "backend-mirrored");
    objects.put(object, serin_core::observed::Seen::Unreadable("forbidden".into()));
    let changes = Traefik.write(&canary, Exposure::NONE, &objects).unwrap();
    expect!["apply TraefikService develop/backend"].assert_eq(&shown(&changes));
    assert!(Traefik.write(&canary, Exposure::mirrored(Weight::TENTH), &objects).is_err());
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
