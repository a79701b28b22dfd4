//! Whether the guard can measure what it is asked to, and the first thing to put right where it cannot.

use jiff::{SignedDuration, Timestamp};
use serin_core::model::{Bad, Canary, GuardSpec, Objective};
use serin_core::observed::Fitness;
use serin_providers::gateway::{Counted, Page, Pair};

use super::shortfall::{Untested, is_ambiguous};
use super::source::{Look, REPLICAS_MAX, Scraped};

/// What a gateway has not counted by then after the first traffic is missing for a reason.
const GRACE: SignedDuration = SignedDuration::from_secs(10);

pub(super) fn unfit(reason: &'static str, message: impl Into<String>) -> Fitness {
    Fitness::Unfit { reason, message: message.into() }
}

const NO_SUCH_BUCKET: &str = "NoSuchBucket";
const NO_HISTOGRAM: &str = "NoHistogram";
const HISTOGRAM_IS_NEW: &str = "HistogramIsNew";
const TOO_MANY_REPLICAS: &str = "TooManyReplicas";

/// Whether a reason is about durations only, so that failures can be counted.
pub(super) fn is_about_histogram(reason: &str) -> bool {
    [NO_SUCH_BUCKET, NO_HISTOGRAM, HISTOGRAM_IS_NEW].contains(&reason)
}

const COUNTERS_CONTRADICT: &str = "CountersContradict";

/// Whether what is counted is what it should be, though it is not all.
pub(super) fn is_about_replicas(reason: &str) -> bool {
    reason == TOO_MANY_REPLICAS
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
        NO_SUCH_BUCKET,
        format!(
            "What is {name} cannot be counted: the histogram of {gateway} has the bounds {} ms; take one of them or add yours to its buckets.",
            bounds.join(", ")
        ),
    ))
}

/// A latency objective without a histogram to measure it by.
pub(super) fn timeless(objective: &Objective) -> Fitness {
    unfit(
        NO_HISTOGRAM,
        format!(
            "{} cannot be measured: the gateway counts requests and has no histogram of their durations. Traefik has one with --metrics.prometheus=true, unless something drops its buckets.",
            objective.name
        ),
    )
}

/// There is a histogram now, which was missing when the questions of this release were chosen.
pub(super) fn late(objective: &Objective) -> Fitness {
    unfit(
        HISTOGRAM_IS_NEW,
        format!(
            "The histogram for {} came after this release began; the next release is judged by it.",
            objective.name
        ),
    )
}

/// What is counted cannot have happened.
pub(super) fn contradictory(objective: &Objective, why: &str) -> Fitness {
    unfit(COUNTERS_CONTRADICT, format!("{} cannot be measured: {why}.", objective.name))
}

/// Requests of the canary are in no counter.
pub(super) fn missing(objective: &Objective, told: &str) -> Fitness {
    unfit(
        "RequestsMissing",
        format!(
            "{} cannot be measured: {told}. Answers that break off and requests that find no endpoint are in no counter; look at the canary's pods and logs. Requests that go to one version by another route look alike: then set cannotMeasure to pass.",
            objective.name
        ),
    )
}

/// What the gateway cannot show of these requests, though all that it counts is right.
pub(super) fn unseen(
    untested: Option<Untested>,
    pages: &[Scraped],
    pair: &Pair,
) -> Option<Fitness> {
    const UNCOUNTED: &str = "Answers that break off and requests that find no endpoint are in no counter of the gateway, and the canary's counted share does not tell of them here";
    let part = |reason, message| Some(Fitness::Partial { reason, message });
    if is_ambiguous(pages, pair) {
        let message = "The gateway counts calls of gRPC by their status, and writes UNKNOWN for healthy ones too: DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS are failures, UNKNOWN is not.";
        return part("GrpcStatusUnknown", message.to_owned());
    }
    match untested? {
        Untested::Sticky => {
            part("ShareNotTested", format!("{UNCOUNTED}: the route keeps clients with a version."))
        }
        Untested::Recorded => part(
            "ShareNotTested",
            format!(
                "{UNCOUNTED}: a metrics server has other times than the weight. source: gateway has not."
            ),
        ),
        Untested::Streams => part(
            "ShareNotTested",
            format!("{UNCOUNTED}: some connections stay open, and are counted when they end."),
        ),
    }
}

/// Part of the gateway is not looked at.
pub(super) fn too_many(beyond: usize) -> Fitness {
    unfit(
        TOO_MANY_REPLICAS,
        format!(
            "The guard looks at {REPLICAS_MAX} replicas of the gateway, and {beyond} more are running: what they count is not judged. Name fewer with --gateway-metrics, or let source: prometheus read them all."
        ),
    )
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

/// Samples that another client takes come late.
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

/// Traefik's word for it, and why the server has another.
pub(super) fn renamed() -> Fitness {
    unfit(
        "LabelsDiffer",
        "The server has put its own label over Traefik's service, which it keeps as exported_service: scrape the gateway with honor_labels (honorLabels in a ServiceMonitor or PodMonitor).",
    )
}

impl Rest<'_> {
    /// The first thing to put right.
    pub(super) fn judge(&self) -> Fitness {
        let pages = &self.second.pages;
        let Pair { canary: _, primary } = &Pair::of(self.canary);
        if self.second.renamed {
            return renamed();
        }
        if pages.is_empty() {
            let why = self.second.failure.clone().unwrap_or_default();
            if self.recorded && self.second.answered {
                return self.quiet(&why);
            }
            let whose = if self.recorded { "The metrics server" } else { "The gateway" };
            let what = format!("{whose} does not tell what it has counted: {why}.");
            return unreachable(self.recorded, what);
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
        let slow = |objective: &&Objective| objective.bad != Bad::Failed;
        let timeless = pages.iter().all(|(_, page)| page.bounds.is_empty());
        if let Some(objective) = self.spec.objectives.iter().find(slow).filter(|_| timeless)
            && grown(&|page| page.requests(primary)) > 0
        {
            return self::timeless(objective);
        }
        self.silent().unwrap_or(Fitness::Fit)
    }

    /// One of the replicas has answered neither time.
    fn silent(&self) -> Option<Fitness> {
        if self.second.beyond > 0 {
            return Some(too_many(self.second.beyond));
        }
        let why = self.second.failure.as_ref().filter(|_| self.first.failure.is_some())?;
        Some(unfit(
            "ReplicaUnreachable",
            format!(
                "The guard judges by {} of the gateway's replicas, and cannot read what another has counted: {why}.",
                self.second.pages.len()
            ),
        ))
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
