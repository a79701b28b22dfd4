//! Copies of requests by Traefik: the mirroring TraefikService `<apex>-mirrored`, which takes the primary's place among the
//! backends for as long as the canary gets copies.
//!
//! It is there from the adoption on, without mirrors and with nothing leading to it, so that copies never begin with the
//! creation of an object, which no version could fence.

use serde_json::{Value, json};
use serin_core::model::{Canary, Exposure, Weight};

use super::sides::{self, Side};
use super::{RouterError, own};
use crate::change::{Change, ObjectRef, Objects, TRAEFIK_SERVICE};
use crate::json::{int, items, set, text};

const MIRRORS: &str = "/spec/mirroring/mirrors";
/// Requests with a longer body are not copied: Traefik reads the body of each request that it copies into memory first.
pub(super) const BODY_MAX_BYTES: u32 = 1 << 20;
/// What a mirroring service has beside the reference to its main service.
const BESIDE: [&str; 3] = ["mirrors", "mirrorBody", "maxBodySize"];

pub(super) fn object(canary: &Canary) -> ObjectRef {
    TRAEFIK_SERVICE.named(&canary.key.namespace, sides::copying_name(canary))
}

/// Whether the release has copies at some stage.
pub(super) fn is_needed(canary: &Canary) -> bool {
    canary.spec.analysis.schedule.copies().is_some()
}

/// Percent of the requests that are copied to the canary while this backend is among those that get any.
pub(super) fn read(
    canary: &Canary,
    backends: &[Value],
    live: &Objects,
) -> Result<Weight, RouterError> {
    let leads = |one: &Value| sides::is_copying(canary, one) && sides::weight(one) > 0;
    if !backends.iter().any(leads) {
        return Ok(Weight::ZERO);
    }
    let found = own::ours(canary, live, object(canary))?;
    let found = found.ok_or_else(|| RouterError::Missing(object(canary)))?;
    let mirrors = items(found, MIRRORS).iter();
    let ours = mirrors.filter(|one| sides::side(canary, one) == Side::Canary);
    let sum = ours.filter_map(|one| int(one, "/percent")).fold(0_i64, i64::saturating_add);
    Ok(Weight::saturating(u32::try_from(sum.max(0)).unwrap_or(100)))
}

/// How the primary is spoken to while it answers from behind the mirroring service: the reference to it, as an entry.
pub(super) fn main(canary: &Canary, live: &Objects) -> Option<Value> {
    let found = own::ours(canary, live, object(canary)).ok()??;
    let mut main = found.pointer("/spec/mirroring")?.clone();
    for field in BESIDE {
        crate::json::remove(&mut main, field);
    }
    Some(main)
}

/// What makes it copy so much. The two references are to the primary and to the canary.
pub(super) fn write(
    canary: &Canary,
    wanted: Exposure,
    live: &Objects,
    [primary, mirror]: [Value; 2],
) -> Result<Option<Change>, RouterError> {
    let copies = wanted.mirrored > Weight::ZERO;
    let found = match own::ours(canary, live, object(canary)) {
        // Nothing is kept from going off the road by what it does not lead to.
        Err(_) if !copies => return Ok(None),
        found => found?,
    };
    if found.is_none() && copies {
        return Err(RouterError::Missing(object(canary)));
    }
    let taken = own::taken(canary, live, object(canary)).is_some();
    // Made where no canary is exposed, and never in passing.
    let made = is_needed(canary) && wanted.is_none() && !taken;
    if found.is_none() && !made {
        return Ok(None);
    }
    let mut spec = primary;
    let mut mirrors = Vec::new();
    if copies {
        let mut mirror = mirror;
        set(&mut mirror, "percent", wanted.mirrored.percent().into());
        mirrors.push(mirror);
    }
    set(&mut spec, "mirrors", Value::Array(mirrors));
    set(&mut spec, "mirrorBody", true.into());
    set(&mut spec, "maxBodySize", BODY_MAX_BYTES.into());
    let spec = json!({"mirroring": spec});
    Ok(own::applied(canary, wanted, object(canary), spec, found, MIRRORS))
}

/// The backend that leads to it, beside which others have a share.
pub(super) fn entry(canary: &Canary, weight: Weight) -> Value {
    json!({
        "kind": TRAEFIK_SERVICE.kind,
        "name": sides::copying_name(canary),
        "namespace": canary.key.namespace,
        "weight": weight.percent(),
    })
}

/// Nothing leads to it any more; it is collected with the Canary and names no Service of ours until then.
pub(super) fn restore(canary: &Canary, live: &Objects) -> Option<Change> {
    let found = own::ours(canary, live, object(canary)).ok()??;
    let apex = canary.spec.service.name.as_str();
    let is_there = text(found, "/spec/mirroring/name") == Some(apex);
    if is_there && items(found, MIRRORS).is_empty() {
        return None;
    }
    let patch = json!({"spec": {"mirroring": {"name": apex, "mirrors": []}}});
    Some(Change::MergePatch { target: object(canary), patch })
}
