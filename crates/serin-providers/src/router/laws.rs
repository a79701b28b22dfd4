//! Laws that every router keeps, whatever it finds. Each router brings the worlds that it may find ([`Worlds`]).

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;
use serin_core::model::provider::PROVIDERS;
use serin_core::model::{Canary, Exposure, Weight};
use serin_core::observed::Seen;

use super::{ROUTERS, Router, gateway_api, kubernetes, router, traefik};
use crate::change::{KINDS, Objects};
use crate::references::further;
use crate::testing::{apply_all, world};

/// What the laws must know of a router to try it.
pub(super) trait Worlds {
    fn router(&self) -> &'static dyn Router;
    /// A Canary of this provider, by name `backend` in `develop` with uid `u1`, and any strategy that it can have.
    fn canary(&self) -> Canary;
    /// Objects beside those of the smallest world: what a user or an earlier release may have left.
    fn found(&self) -> BoxedStrategy<Vec<Value>>;
    /// Everything in these objects that is not ours to change.
    fn foreign(&self, objects: &Objects) -> Value;
    /// Whether an object is made beside the user's, which serves without it.
    fn goes_with_the_canary(&self, _object: &Value) -> bool {
        false
    }
}

fn all() -> Vec<Box<dyn Worlds>> {
    vec![
        Box::new(kubernetes::tests::Plain),
        Box::new(traefik::tests::Weighted),
        Box::new(traefik::tests::Copied),
        Box::new(traefik::derived::tests::Beside),
        Box::new(gateway_api::tests::Routes),
        Box::new(gateway_api::tests::Copied { by_service: false }),
        Box::new(gateway_api::tests::Copied { by_service: true }),
    ]
}

#[test]
fn every_provider_has_its_router_and_its_worlds() {
    for provider in PROVIDERS {
        assert_eq!(router(provider).provider(), provider);
        assert!(all().iter().any(|worlds| worlds.router().provider() == provider), "{provider}");
    }
    assert_eq!(ROUTERS.len(), PROVIDERS.len());
}

/// What the provider can be asked for.
fn exposures(worlds: &dyn Worlds) -> impl Strategy<Value = Exposure> + use<> {
    let able = worlds.router().provider().capabilities;
    let tests = !worlds.canary().spec.analysis.matches.is_empty();
    let copies = worlds.canary().spec.analysis.schedule.copies().is_some();
    let part = |can: bool| if can { 0..=100_u32 } else { 0..=0 };
    let shares = (part(able.shares), any::<bool>(), part(able.mirror && copies));
    shares.prop_map(move |(share, matched, mirrored)| Exposure {
        share: Weight::saturating(share),
        // Everybody meets the canary already.
        matched: matched && tests && share < 100,
        mirrored: if share < 100 { Weight::saturating(mirrored) } else { Weight::ZERO },
    })
}

fn start(canary: &Canary, found: Vec<Value>) -> Objects {
    let mut objects = world(canary, &[]);
    for object in found {
        let (kind, name) = (object["kind"].as_str().unwrap(), &object["metadata"]["name"]);
        let kind = KINDS.into_iter().find(|known| known.kind == kind).unwrap();
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let reference = kind.named(namespace, name.as_str().unwrap());
        objects.put(reference, Seen::Present(Arc::new(object)));
    }
    for reference in further(canary, &objects) {
        if objects.present(&reference).is_none() {
            objects.put(reference, Seen::Absent);
        }
    }
    objects
}

#[test]
fn a_router_says_what_it_did_is_then_content_and_touches_nothing_else() {
    for worlds in all() {
        let (router, canary) = (worlds.router(), worlds.canary());
        proptest!(|(exposure in exposures(&*worlds), found in worlds.found())| {
            let before = start(&canary, found);
            let Ok(changes) = router.write(&canary, exposure, &before) else {
                // What it refuses to write it has not read either, or said why beforehand.
                let told = !router.obstacles(&canary, &before).is_empty();
                // What it needs for this is there once the canary has been without any exposure.
                let rested = |()| {
                    let changes = router.write(&canary, Exposure::NONE, &before).ok()?;
                    let rested = apply_all(&before, &changes);
                    router.write(&canary, exposure, &rested).ok()
                };
                let refused = told || router.read(&canary, &before).is_err();
                prop_assert!(refused || rested(()).is_some());
                return Ok(());
            };
            let after = apply_all(&before, &changes);
            prop_assert_eq!(router.read(&canary, &after).unwrap(), exposure);
            prop_assert_eq!(router.write(&canary, exposure, &after).unwrap(), vec![]);
            prop_assert_eq!(worlds.foreign(&after), worlds.foreign(&before));
        });
    }
}

#[test]
fn every_exposure_is_fenced_and_none_is_not() {
    for worlds in all() {
        let (router, canary) = (worlds.router(), worlds.canary());
        proptest!(|(exposure in exposures(&*worlds), found in worlds.found())| {
            let before = start(&canary, found);
            if router.read(&canary, &before).is_err() {
                return Ok(());
            }
            let Ok(changes) = router.write(&canary, exposure, &before) else { return Ok(()) };
            for change in changes {
                prop_assert_eq!(change.fence().is_some(), !exposure.is_none());
            }
        });
    }
}

#[test]
fn a_restored_route_needs_nothing_of_ours() {
    for worlds in all() {
        let (router, canary) = (worlds.router(), worlds.canary());
        proptest!(|(exposure in exposures(&*worlds), found in worlds.found())| {
            let before = start(&canary, found);
            let Ok(changes) = router.write(&canary, exposure, &before) else { return Ok(()) };
            let during = apply_all(&before, &changes);
            let after = apply_all(&during, &router.restore(&canary, &during).unwrap());
            prop_assert_eq!(router.restore(&canary, &after).unwrap(), vec![]);
            prop_assert_eq!(worlds.foreign(&after), worlds.foreign(&before));
            for reference in router.reads(&canary) {
                let Some(object) = after.present(&reference) else { continue };
                let text = object.to_string();
                prop_assert!(!text.contains("backend-canary") && !text.contains("backend-primary"));
                // What goes with the Canary needs nothing taken off it.
                if !worlds.goes_with_the_canary(object) {
                    prop_assert!(!text.contains("\"uid\":\"u1\"") && !text.contains("serin.dev"));
                }
            }
        });
    }
}

#[test]
fn what_a_provider_cannot_do_is_refused() {
    let tenth = Weight::TENTH;
    let wanted = [Exposure::share(tenth), Exposure::MATCHED, Exposure::mirrored(tenth)];
    for worlds in all() {
        let (router, canary) = (worlds.router(), worlds.canary());
        let able = router.provider().capabilities;
        for exposure in wanted.into_iter().filter(|exposure| able.lacks(*exposure).is_some()) {
            assert!(router.write(&canary, exposure, &world(&canary, &[])).is_err());
        }
    }
}
