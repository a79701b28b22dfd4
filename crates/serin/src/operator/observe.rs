//! From the cache to what `step` looks at.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serin_core::model::{Canary, Exposure, MetricSource};
use serin_core::observed::{Observed, Seen, Workload};
use serin_providers::change::{ENDPOINT_SLICE, SECRET};
use serin_providers::router::router;
use serin_providers::workload::{config_references, kept_configs, saw_later};
use serin_providers::{Objects, references};

use crate::cache::{ALERT_PROVIDER, METRIC_TEMPLATE, RELEASE_ACTION, Subscription};
use crate::guard::TickRead;
use crate::operator::actions::{self, Actions};
use crate::operator::context::Context;
use crate::operator::pods;

/// From an object to those that it names, to those that they name: a route, its Gateway, the class of that.
const LED_ON_MAX: usize = 4;

/// What was seen, and the objects it was seen in.
pub struct Observation {
    pub observed: Observed,
    pub objects: Objects,
    pub actions: Actions,
}

/// Looks at everything that this canary is about.
pub async fn observe(context: &Context, canary: &Canary, now: Timestamp) -> Observation {
    let (wanted, confirmed) = tokio::select! {
        biased;
        settled = settled(context, canary) => settled,
        // Law 1: what is to go without traffic waits for nothing but its route.
        () = context.guards.condemned(&canary.key) => {
            let wanted = subscribe(context, canary);
            let route = router(canary.spec.provider).reads(canary).into_iter().collect();
            context.cache.settle(&route).await;
            (wanted, false)
        }
    };
    let mut objects = collect(context, &wanted);
    tokio::select! {
        biased;
        () = context.guards.condemned(&canary.key) => {}
        () = pods::look(context, canary, &mut objects) => {}
    }
    let mut observed = serin_providers::observe(canary, &objects, &context.settings.providers, now);
    if let Seen::Present(target) = &mut observed.target {
        target.confirmed = confirmed;
    }
    let pods = |seen: &Seen<Workload>| seen.present().map(|workload| workload.available_replicas);
    let route_exists = matches!(observed.route, Seen::Present(_));
    let read = TickRead {
        route: match observed.route {
            Seen::Present(exposure) => Some(exposure),
            Seen::Absent => Some(Exposure::NONE),
            Seen::Unreadable(_) => None,
        },
        route_exists,
        sticky: route_exists && router(canary.spec.provider).is_sticky(canary, &objects),
        target_pods: pods(&observed.target),
        primary_pods: pods(&observed.primary),
    };
    (observed.guard, observed.watched) = context.guards.observe(canary, &read);
    let actions = actions::look(context, &canary.key, now);
    observed.requests.clone_from(&actions.requests);
    Observation { observed, objects, actions }
}

/// Waits, within bounds, until everything that this canary is about is known, and says whether the API server stands by a
/// target that seems to be of the past.
async fn settled(context: &Context, canary: &Canary) -> (BTreeSet<Subscription>, bool) {
    let target = references::target(canary);
    context.cache.settle(&subscribe(context, canary)).await;
    // The target says which configs there are, each template which Secret, and a route which Gateways of which class.
    let mut wanted = subscribe(context, canary);
    for _ in 0..LED_ON_MAX {
        context.cache.settle(&wanted).await;
        let next = subscribe(context, canary);
        if next == wanted {
            break;
        }
        wanted = next;
    }
    let mut confirmed = false;
    if let Seen::Present(object) = context.cache.object(&target)
        && saw_later(canary, &object)
    {
        confirmed = context.cache.read_again(&target).await;
        wanted = subscribe(context, canary);
        context.cache.settle(&wanted).await;
    }
    (wanted, confirmed)
}

/// Objects as they are known now, without waiting.
pub fn collect(context: &Context, wanted: &BTreeSet<Subscription>) -> Objects {
    let mut objects = Objects::new();
    for subscription in wanted {
        if subscription.kind == ENDPOINT_SLICE {
            let slices = match context.cache.objects(subscription) {
                Seen::Present(slices) => Seen::Present(slices.into_values().collect()),
                Seen::Absent => Seen::Absent,
                Seen::Unreadable(why) => Seen::Unreadable(why),
            };
            objects.put_slices(&subscription.namespace, &subscription.name, slices);
        } else if subscription.kind != RELEASE_ACTION {
            objects.put(subscription.clone(), context.cache.object(subscription));
        }
    }
    objects
}

/// Registers and returns everything this canary is about, as far as is known by now.
pub fn subscribe(context: &Context, canary: &Canary) -> BTreeSet<Subscription> {
    let serin_providers::References { objects, slices } = references(canary);
    let own = references::canary_object(canary);
    // The Canary has a watch of its own.
    let mut wanted: BTreeSet<Subscription> =
        objects.into_iter().filter(|object| *object != own).collect();
    wanted
        .extend(slices.into_iter().map(|(namespace, name)| ENDPOINT_SLICE.named(namespace, name)));
    if context.settings.providers.track_configs
        && let Seen::Present(target) = context.cache.object(&references::target(canary))
    {
        for config in config_references(&target) {
            wanted.extend(config.copies(canary));
            wanted.insert(config.object);
        }
    }
    let mut known = Objects::new();
    for object in [references::primary(canary), references::kept(canary)] {
        let seen =
            if wanted.contains(&object) { context.cache.object(&object) } else { Seen::Absent };
        known.put(object, seen);
    }
    wanted.extend(kept_configs(canary, &known));
    let router = router(canary.spec.provider);
    for object in router.reads(canary) {
        let seen = context.cache.object(&object);
        known.put(object, seen);
    }
    for _ in 0..LED_ON_MAX {
        let next = references::further(canary, &known);
        let new: Vec<Subscription> =
            next.into_iter().filter(|one| wanted.insert(one.clone())).collect();
        if new.is_empty() {
            break;
        }
        for object in new {
            let seen = context.cache.object(&object);
            known.put(object, seen);
        }
    }
    for source in canary.spec.analysis.metrics.iter().flat_map(|metric| &metric.sources) {
        if let MetricSource::Template { namespace, name, variables: _ } = source {
            let template = METRIC_TEMPLATE.named(namespace, name);
            if let Some(secret) = secret_of(context, &template) {
                wanted.insert(secret);
            }
            wanted.insert(template);
        }
    }
    for alert in &canary.spec.analysis.alerts {
        let provider = ALERT_PROVIDER.named(&alert.provider_namespace, &alert.provider_name);
        if let Some(secret) = secret_at(context, &provider, "/spec/secretRef/name") {
            wanted.insert(secret);
        }
        wanted.insert(provider);
    }
    wanted.insert(actions::subscription(&canary.key));
    context.cache.subscribe(&canary.key, &wanted);
    wanted
}

/// The Secret that a template names.
pub fn secret_of(context: &Context, template: &Subscription) -> Option<Subscription> {
    secret_at(context, template, "/spec/provider/secretRef/name")
}

fn secret_at(context: &Context, of: &Subscription, pointer: &str) -> Option<Subscription> {
    let Seen::Present(object) = context.cache.object(of) else { return None };
    let name = object.pointer(pointer)?.as_str()?;
    Some(SECRET.named(&of.namespace, name))
}
