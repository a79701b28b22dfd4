//! Whether the guard can measure what it is asked to, and the first thing to put right where it cannot.

use jiff::{SignedDuration, Timestamp};
use serin_core::model::{Bad, Builtin, Canary, GuardSpec, Limit, MetricSource, Objective};
use serin_core::observed::Fitness;
use serin_core::parse::duration_millis;
use serin_providers::gateway::{Counted, Page, Pair};

use super::source::Look;
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
        return Some(uncounted_services());
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

/// Two looks at the source of a canary that has no traffic.
pub(super) struct Rest<'a> {
    pub canary: &'a Canary,
    pub spec: &'a GuardSpec,
    pub recorded: bool,
    pub first: &'a Look,
    pub second: &'a Look,
}

impl Rest<'_> {
    /// The first thing to put right; `queries` are those that people have written, by metric.
    pub(super) fn judge(&self, queries: &[(String, String)]) -> Fitness {
        let pages = &self.second.pages;
        let Pair { canary: _, primary } = &Pair::of(self.canary);
        if pages.is_empty() {
            let why = self.second.failure.clone().unwrap_or_default();
            if self.recorded && self.second.answered {
                return self.quiet(&why);
            }
            return unreachable(self.recorded, format!("The guard cannot be had: {why}."));
        }
        if let Some(coarse) = coarse(self.spec, pages) {
            return coarse;
        }
        if !pages.iter().any(|(_, page)| page.knows(primary)) {
            return self.uncounted(primary);
        }
        let grown = |count: &dyn Fn(&Page) -> u64| {
            let sum = |look: &Look| look.pages.iter().map(|(_, page)| count(page)).sum::<u64>();
            sum(self.second).saturating_sub(sum(self.first))
        };
        let routed = grown(&|page| page.routed(primary).unwrap_or(0));
        if routed > 0 && grown(&|page| page.requests(primary)) == 0 {
            let service = &self.canary.spec.service;
            return unfit(
                "CountersStand",
                format!(
                    "Routers have sent {routed} requests to {} and none of them was counted for {}: do its pods answer?",
                    service.name,
                    service.primary_name()
                ),
            );
        }
        let safe = pages.iter().any(|(_, page)| page.safe);
        safe.then(|| unsafe_query(queries)).flatten().unwrap_or(Fitness::Fit)
    }

    /// No request of the primary has been counted.
    fn uncounted(&self, primary: &Counted) -> Fitness {
        let pages = &self.second.pages;
        let any = |of: &dyn Fn(&Page) -> bool| pages.iter().any(|(_, page)| of(page));
        if !any(&|page| page.services) && any(&|page| page.entries > 0) {
            return uncounted_services();
        }
        let routed = any(&|page| page.routed(primary).is_some_and(|requests| requests > 0));
        if routed || any(&|page| page.has_plain_route(primary)) {
            return elsewhere(self.canary);
        }
        self.quiet("")
    }

    fn quiet(&self, why: &str) -> Fitness {
        let service = &self.canary.spec.service;
        let mut message = format!(
            "No request of {} has been counted yet. If it has users, its route must go to the TraefikService {}, and the gateway must count by service.",
            service.primary_name(),
            service.name
        );
        if !why.is_empty() {
            message.push(' ');
            message.push_str(why);
        }
        Fitness::Unknown { reason: "NoTrafficYet", message }
    }
}

fn uncounted_services() -> Fitness {
    let why =
        "The gateway counts no requests by service: set its metrics.prometheus.addServicesLabels.";
    unfit("ServicesNotCounted", why)
}

/// A query that knows only the names that Traefik gives without `safeNaming`.
fn unsafe_query(queries: &[(String, String)]) -> Option<Fitness> {
    let old = |text: &str| {
        text.contains("traefik_service_")
            && text.contains("@kubernetescrd")
            && !text.contains("wrr")
    };
    let (metric, _) = queries.iter().find(|(_, text)| old(text))?;
    Some(unfit(
        "NamesDiffer",
        format!(
            "The query of {metric} finds nothing: Traefik runs with safeNaming and calls a service NAMESPACE_APEX_wrr_N_NAMESPACE_SERVICE_PORT@kubernetescrd; let it match that, or use the builtin check."
        ),
    ))
}

/// Whether the builtin checks have what they need of the metrics server.
pub(super) fn checks(canary: &Canary, look: &Look) -> Option<Fitness> {
    let metrics = canary.spec.analysis.metrics.iter();
    let builtin: Vec<_> = metrics
        .filter_map(|metric| match metric.sources.first() {
            Some(MetricSource::Builtin(builtin)) => Some((metric, *builtin)),
            Some(MetricSource::Query(_) | MetricSource::Template { .. }) | None => None,
        })
        .collect();
    let (first, _) = builtin.first()?;
    let Pair { canary: _, primary } = &Pair::of(canary);
    let its: Vec<&Page> =
        look.pages.iter().map(|(_, page)| page).filter(|page| page.knows(primary)).collect();
    if its.is_empty() {
        let why = look.failure.as_deref().unwrap_or("it has recorded no request of the primary");
        let message = format!(
            "{} has nothing to judge: {why}. Let the server scrape the gateway.",
            first.name
        );
        let reason = if look.answered { "NotRecorded" } else { "PrometheusUnreachable" };
        return Some(unfit(reason, message));
    }
    let Some(every) = its.iter().filter_map(|page| page.sampled?.every_millis).max() else {
        let message = format!(
            "The server has scraped the gateway once only; two scrapes tell whether {} can be measured.",
            first.name
        );
        return Some(Fitness::Unknown { reason: "OneScrape", message });
    };
    for (metric, builtin) in &builtin {
        let window =
            duration_millis(&metric.interval).and_then(|window| u64::try_from(window).ok());
        let short = window.is_some_and(|window| window < every.saturating_mul(2));
        if short {
            return Some(unfit(
                "WindowTooShort",
                format!(
                    "{} looks back {}, in which the server, that scrapes every {} s, has fewer than two samples: set its interval to {} s or more.",
                    metric.name,
                    metric.interval,
                    every as f64 / 1000.0,
                    (every.saturating_mul(2)).div_ceil(1000),
                ),
            ));
        }
        if let Some(coarse) = too_coarse(&metric.name, metric.limit, *builtin, &its) {
            return Some(coarse);
        }
    }
    None
}

/// A percentile is never above the highest bound, so a limit that is can never be passed.
fn too_coarse(name: &str, limit: Limit, builtin: Builtin, pages: &[&Page]) -> Option<Fitness> {
    let max = match (builtin, limit) {
        (Builtin::RequestDuration, Limit::Range { min: _, max }) => max?,
        (Builtin::RequestDuration, Limit::AtMost(max)) => max,
        (Builtin::RequestDuration, Limit::AtLeast(_)) | (Builtin::RequestSuccessRate, _) => {
            return None;
        }
    };
    let highest = pages.iter().filter_map(|page| page.bounds.last().copied()).reduce(f64::max)?;
    (pages.iter().any(|page| !page.has_bound(max)) && highest < max).then(|| {
        unfit(
            "BucketsTooCoarse",
            format!(
                "{name} can never be above {max} ms: the highest bucket of the gateway ends at {highest} ms; add some to its metrics.prometheus.buckets."
            ),
        )
    })
}
