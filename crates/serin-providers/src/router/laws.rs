//! Laws that every router keeps, whatever it finds.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use serin_core::model::provider::PROVIDERS;
use serin_core::model::{Canary, Capabilities, Split, Weight};
use serin_core::observed::Seen;

use super::{ROUTERS, Router, router};
use crate::change::{Objects, TRAEFIK_SERVICE};
use crate::testing::{apply_all, canary, world};

#[test]
fn every_provider_has_its_router() {
    for provider in PROVIDERS {
        assert_eq!(router(provider).provider(), provider);
    }
}

fn split(capabilities: Capabilities) -> impl Strategy<Value = Split> {
    let top = if capabilities.shares { 100_u32 } else { 0 };
    (0..=top).prop_map(|percent| Split::canary(Weight::saturating(percent)))
}

fn of(router: &dyn Router) -> Canary {
    canary(&format!(
        "{{provider: {}, analysis: {{stepWeight: null, maxWeight: null, iterations: 2}}}}",
        router.provider().name
    ))
}

/// Entries of a weighted list: ours, the apex, and those of others.
fn entries() -> impl Strategy<Value = Vec<Value>> {
    let name =
        prop::sample::select(vec!["backend-primary", "backend-canary", "backend", "legacy", "x"]);
    let weight = prop::option::of(-1_i64..300);
    let entry = (name, weight, any::<bool>()).prop_map(|(name, weight, sticky)| {
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

fn object() -> impl Strategy<Value = Option<Value>> {
    prop::option::of((entries(), any::<bool>(), any::<bool>()).prop_map(
        |(entries, sticky, ours)| {
            let mut object = json!({
                "apiVersion": TRAEFIK_SERVICE.api_version(), "kind": TRAEFIK_SERVICE.kind,
                "metadata": {"name": "backend", "namespace": "develop", "resourceVersion": "5",
                    "annotations": {"foreign": "kept"}},
                "spec": {"weighted": {"services": entries}},
            });
            if sticky {
                object["spec"]["weighted"]["sticky"] = json!({"cookie": {}});
            }
            if ours {
                object["metadata"]["ownerReferences"] =
                    json!([{"kind": "Canary", "name": "backend", "uid": "u1", "controller": true}]);
            }
            object
        },
    ))
}

fn start(canary: &Canary, object: Option<Value>) -> Objects {
    let mut objects = world(canary, &[]);
    if let Some(object) = object {
        let name = TRAEFIK_SERVICE.named("develop", "backend");
        objects.put(name, Seen::Present(Arc::new(object)));
    }
    objects
}

/// What is not ours in any object: everything but our entries and our metadata.
fn foreign(objects: &Objects) -> Value {
    let Some(live) = objects.present(&TRAEFIK_SERVICE.named("develop", "backend")) else {
        return json!(null);
    };
    let services = live.pointer("/spec/weighted/services").and_then(Value::as_array);
    let others: Vec<&Value> = services
        .into_iter()
        .flatten()
        .filter(|entry| !entry["name"].as_str().is_some_and(|name| name.starts_with("backend")))
        .collect();
    json!([others, live["spec"]["weighted"]["sticky"], live["metadata"]["annotations"]["foreign"]])
}

#[test]
fn a_router_says_what_it_did_is_then_content_and_touches_nothing_else() {
    for router in ROUTERS {
        let canary = of(*router);
        proptest!(|(split in split(router.provider().capabilities), object in object())| {
            let before = start(&canary, object);
            let existed = foreign(&before) != json!(null);
            let after = apply_all(&before, &router.write(&canary, split, &before).unwrap());
            prop_assert_eq!(router.read(&canary, &after).unwrap(), split);
            prop_assert_eq!(router.write(&canary, split, &after).unwrap(), vec![]);
            if existed {
                prop_assert_eq!(foreign(&after), foreign(&before));
            }
        });
    }
}

#[test]
fn every_share_is_fenced_and_none_is_not() {
    for router in ROUTERS {
        let canary = of(*router);
        proptest!(|(split in split(router.provider().capabilities), object in object())| {
            let before = start(&canary, object);
            if router.read(&canary, &before).is_err() {
                return Ok(());
            }
            for change in router.write(&canary, split, &before).unwrap() {
                prop_assert_eq!(change.fence().is_some(), split.canary > Weight::ZERO);
            }
        });
    }
}

#[test]
fn a_restored_route_needs_nothing_of_ours() {
    for router in ROUTERS {
        let canary = of(*router);
        proptest!(|(split in split(router.provider().capabilities), object in object())| {
            let before = start(&canary, object);
            let during = apply_all(&before, &router.write(&canary, split, &before).unwrap());
            let after = apply_all(&during, &router.restore(&canary, &during).unwrap());
            prop_assert_eq!(router.restore(&canary, &after).unwrap(), vec![]);
            for reference in router.objects(&canary) {
                let text = after.present(&reference).map(ToString::to_string).unwrap_or_default();
                prop_assert!(!text.contains("backend-canary") && !text.contains("\"uid\":\"u1\""));
                prop_assert!(!text.contains("serin.dev"));
            }
        });
    }
}

#[test]
fn mirroring_is_refused_by_those_who_cannot() {
    for router in ROUTERS.iter().filter(|router| !router.provider().capabilities.mirror) {
        let canary = of(*router);
        let split = Split { canary: Weight::saturating(10), mirrored: true };
        assert!(router.write(&canary, split, &world(&canary, &[])).is_err());
    }
}
