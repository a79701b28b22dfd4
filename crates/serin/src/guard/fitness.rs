//! Whether the guard can measure what it is asked to, and the first thing to put right where it cannot.

use jiff::{SignedDuration, Timestamp};
use serin_core::model::{Bad, Canary, GuardSpec, Objective};
use serin_core::observed::Fitness;
use serin_providers::gateway::{Page, Pair};

use super::ward::Scraped;

/// What a gateway has not counted by then after the first traffic is missing for a reason.
const GRACE: SignedDuration = SignedDuration::from_secs(10);

pub(super) fn unfit(reason: &'static str, message: impl Into<String>) -> Fitness {
    Fitness::Unfit { reason, message: message.into() }
}

/// There is nobody to ask.
pub(super) fn nobody() -> Fitness {
    unfit("NoGateway", "There is no gateway to ask: name its metrics with --gateway-metrics.")
}

/// Nobody has answered for too long.
pub(super) fn unreachable(recorded: bool, why: String) -> Fitness {
    unfit(if recorded { "PrometheusUnreachable" } else { "GatewayUnreachable" }, why)
}

/// What pages tell, `since` the first look; none when nothing can be said yet.
pub(super) fn judge(
    canary: &Canary,
    spec: &GuardSpec,
    pages: &[Scraped],
    since: Timestamp,
    now: Timestamp,
) -> Option<Fitness> {
    if let Some(coarse) = coarse(spec, pages) {
        return Some(coarse);
    }
    let Pair { canary: of_canary, primary } = &Pair::of(canary);
    if pages.iter().any(|(_, page)| page.knows(of_canary) && page.knows(primary)) {
        return Some(Fitness::Fit);
    }
    if now.duration_since(since) < grace(pages) {
        return None;
    }
    if pages.iter().all(|(_, page)| !page.services) {
        let why = "The gateway counts no requests by service: set its metrics.prometheus.addServicesLabels.";
        return Some(unfit("ServicesNotCounted", why));
    }
    let alone = canary.status.canary_weight >= 100;
    if !alone && pages.iter().all(|(_, page)| !page.knows(primary)) {
        return Some(elsewhere(canary));
    }
    Some(Fitness::Fit)
}

/// A latency objective whose bound is none of the histogram's.
pub(super) fn coarse(spec: &GuardSpec, pages: &[Scraped]) -> Option<Fitness> {
    let missing = |page: &Page| {
        let lacks =
            |o: &&Objective| matches!(o.bad, Bad::SlowerThan(millis) if !page.has_bound(millis));
        spec.objectives.iter().find(lacks).map(|objective| objective.name.clone())
    };
    let (process, page, name) =
        pages.iter().find_map(|(process, page)| Some((process, page, missing(page)?)))?;
    let bounds: Vec<String> = page.bounds.iter().map(f64::to_string).collect();
    let gateway = process.split('#').next().unwrap_or_default();
    Some(unfit(
        "NoSuchBucket",
        format!(
            "Nobody can count what is {name}: the histogram of {gateway} has the bounds {} ms; take one of them or add yours to its buckets.",
            bounds.join(", ")
        ),
    ))
}

pub(super) fn elsewhere(canary: &Canary) -> Fitness {
    let service = &canary.spec.service;
    unfit(
        "PrimaryNotCounted",
        format!(
            "The gateway has counted no request of {}: its route must go to the TraefikService {}.",
            service.primary_name(),
            service.name
        ),
    )
}

/// Samples that somebody else takes come late.
fn grace(pages: &[Scraped]) -> SignedDuration {
    let every = pages.iter().filter_map(|(_, page)| page.sampled?.every_millis).max();
    let three = every.and_then(|millis| i64::try_from(millis.saturating_mul(3)).ok());
    GRACE.max(SignedDuration::from_millis(three.unwrap_or_default()))
}
