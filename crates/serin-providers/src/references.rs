//! Which objects a Canary is about: what the shell must have at hand before it observes or renders.

use serin_core::model::Canary;

use crate::change::{HORIZONTAL_POD_AUTOSCALER, ObjectRef, Objects, SERVICE};
use crate::router::router;
pub use crate::workload::names::{canary_object, primary, scaler, target};

/// What to look up for one Canary. Configs come on top, by [`crate::workload::config_references`] of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    pub objects: Vec<ObjectRef>,
    /// Namespace and name of the Services whose EndpointSlices are needed (label `kubernetes.io/service-name`).
    pub slices: Vec<(String, String)>,
}

pub fn references(canary: &Canary) -> References {
    let namespace = canary.key.namespace.as_str();
    let service = &canary.spec.service;
    let services = [service.name.clone(), service.primary_name(), service.canary_name()];

    let mut objects = vec![canary_object(canary), target(canary), primary(canary)];
    objects.extend(services.iter().map(|name| SERVICE.named(namespace, name)));
    if let (Some(scaler_ref), Some(object)) = (&canary.spec.scaler, scaler(canary)) {
        objects.push(object);
        objects.push(HORIZONTAL_POD_AUTOSCALER.named(namespace, scaler_ref.primary_name()));
    }
    objects.extend(crate::workload::kept::objects(canary));
    objects.extend(router(canary.spec.provider).reads(canary));
    let slices = services.into_iter().map(|name| (namespace.to_owned(), name)).collect();
    References { objects, slices }
}

/// What the objects that are known by now lead to. To be asked again when these are known, until nothing is new.
pub fn further(canary: &Canary, known: &Objects) -> Vec<ObjectRef> {
    router(canary.spec.provider).reads_next(canary, known)
}

/// What the primary ran before, where that is kept.
pub fn kept(canary: &Canary) -> ObjectRef {
    crate::workload::kept::object(canary)
}
