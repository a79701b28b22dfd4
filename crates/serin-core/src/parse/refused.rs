//! What Flagger's API has and we do not honour yet: one catalogue, from which `parse` complains and the docs are made.

use serde_json::Value;

use super::doc::Complaints;
use super::doc::says_something;
use crate::model::provider::{PROVIDERS, use_one};
use crate::model::{Finding, FindingCode, Provider, metric_kind};

/// A field, or some values of it, that has no effect here.
pub struct Refused {
    /// From the root; `[]` stands for every element of a list.
    pub path: &'static str,
    /// For which providers.
    pub concerns: fn(&Provider) -> bool,
    /// Which values, for people; empty means any that says something.
    pub values: &'static str,
    /// Which values.
    pub applies: fn(&Value) -> bool,
    pub effect: Effect,
    pub words: Words,
}

/// What a field of the catalogue does to its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The object is not acted on: ignoring the field would change what users get.
    Refuse,
    /// The release goes on: Flagger ignores the field on this provider too, and traffic is not hurt.
    Warn,
}

/// Why, and what to do instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    Same(&'static str, &'static str),
    /// What the provider says of fields that it does not carry out.
    OfProvider,
}

impl Words {
    fn of(self, provider: &Provider) -> (&'static str, &'static str) {
        match self {
            Words::Same(why, way_out) => (why, way_out),
            Words::OfProvider => provider.elsewhere,
        }
    }
}

fn all(_provider: &Provider) -> bool {
    true
}

/// A router that sends no request to the canary because of what is in it.
fn router_without_matches(provider: &Provider) -> bool {
    provider.has_router() && !provider.capabilities.matches
}

fn router_without_mirror(provider: &Provider) -> bool {
    provider.has_router() && !provider.capabilities.mirror
}

fn router_without_copies_to_others(provider: &Provider) -> bool {
    provider.has_router() && !provider.honours("spec.service.mirror")
}

fn router_without_affinity(provider: &Provider) -> bool {
    provider.has_router() && !provider.capabilities.affinity
}

fn no_router(provider: &Provider) -> bool {
    !provider.has_router()
}

const REMOVE: &str = "remove it";
const NO_ROUTER: Words =
    Words::Same("has no effect with provider kubernetes, which has no router", REMOVE);
const OTHER_MESH: Words = Words::Same("belongs to another router and has no effect here", REMOVE);
const ONLY_IN_QUERIES: Words = Words::Same(
    "is for another router and fills only the template words of queries here",
    "remove it, unless a query uses it",
);
const TARGET: &str = "use a Deployment or a DaemonSet";
/// `spec.service.mirror` is of other backends than the canary.
const COPIES_TO_OTHERS: Words = Words::Same(
    "copies of all requests to other backends are not supported yet",
    "put the filter on an HTTPRoute or a TraefikService of your own",
);
const MIRROR: Words = Words::Same(
    "mirroring is not supported with this provider yet, and users would not get what it says",
    REMOVE,
);

fn scaled_object(value: &Value) -> bool {
    value == "ScaledObject"
}

fn service(value: &Value) -> bool {
    value == "Service"
}

const fn entry(
    path: &'static str,
    concerns: fn(&Provider) -> bool,
    effect: Effect,
    words: Words,
) -> Refused {
    Refused { path, concerns, values: "", applies: says_something, effect, words }
}

const fn refuse(path: &'static str, concerns: fn(&Provider) -> bool, words: Words) -> Refused {
    entry(path, concerns, Effect::Refuse, words)
}

const fn warn(path: &'static str, concerns: fn(&Provider) -> bool, words: Words) -> Refused {
    entry(path, concerns, Effect::Warn, words)
}

/// A field that some routers carry out: told where this one does not.
macro_rules! unless_honoured {
    ($path:literal, $words:expr) => {
        warn($path, |provider| !provider.honours($path), $words)
    };
}

const fn only(entry: Refused, values: &'static str, applies: fn(&Value) -> bool) -> Refused {
    Refused { values, applies, ..entry }
}

/// Every field that is not honoured. A field of the schema is either read by `parse` or stands here; a test holds us to it.
pub const REFUSED: &[Refused] = &[
    only(
        refuse(
            "spec.targetRef.kind",
            all,
            Words::Same("Service targets (Kubernetes and Knative) are not supported yet", TARGET),
        ),
        "`Service`",
        service,
    ),
    only(
        refuse(
            "spec.autoscalerRef.kind",
            all,
            Words::Same(
                "KEDA ScaledObjects are not supported yet",
                "name its HorizontalPodAutoscaler or leave the reference out",
            ),
        ),
        "`ScaledObject`",
        scaled_object,
    ),
    warn(
        "spec.autoscalerRef.primaryScalerQueries",
        all,
        Words::Same(
            "is for KEDA ScaledObjects and has no effect on a HorizontalPodAutoscaler",
            REMOVE,
        ),
    ),
    warn("spec.upstreamRef", all, Words::Same("is for Gloo and has no effect here", REMOVE)),
    warn("spec.ingressRef", all, ONLY_IN_QUERIES),
    unless_honoured!("spec.routeRef", ONLY_IN_QUERIES),
    refuse(
        "spec.analysis.match",
        router_without_matches,
        Words::Same(
            "A/B testing is not supported with this provider yet; Flagger would send all users to the canary",
            "use stepWeights, or iterations without match for Blue/Green",
        ),
    ),
    warn(
        "spec.analysis.match",
        no_router,
        Words::Same(
            "A/B testing needs a router; with provider kubernetes the release is Blue/Green",
            REMOVE,
        ),
    ),
    refuse("spec.analysis.mirror", router_without_mirror, MIRROR),
    warn("spec.analysis.mirror", no_router, NO_ROUTER),
    unless_honoured!("spec.analysis.mirrorWeight", NO_ROUTER),
    refuse(
        "spec.analysis.sessionAffinity",
        router_without_affinity,
        Words::Same(
            "session affinity is not supported with this provider yet, and users would move between versions",
            "remove it, if they may",
        ),
    ),
    warn("spec.analysis.sessionAffinity", no_router, NO_ROUTER),
    refuse("spec.service.mirror", router_without_copies_to_others, COPIES_TO_OTHERS),
    warn("spec.service.mirror", no_router, NO_ROUTER),
    unless_honoured!("spec.service.timeout", Words::OfProvider),
    unless_honoured!("spec.service.backendTimeout", Words::OfProvider),
    unless_honoured!("spec.service.retries", Words::OfProvider),
    unless_honoured!("spec.service.match", Words::OfProvider),
    unless_honoured!("spec.service.rewrite", Words::OfProvider),
    unless_honoured!("spec.service.headers", Words::OfProvider),
    unless_honoured!("spec.service.corsPolicy", Words::OfProvider),
    unless_honoured!("spec.service.trafficPolicy", Words::OfProvider),
    unless_honoured!("spec.service.hosts", Words::OfProvider),
    unless_honoured!("spec.service.gateways", OTHER_MESH),
    unless_honoured!("spec.service.gatewayRefs", OTHER_MESH),
    unless_honoured!("spec.service.delegation", OTHER_MESH),
    unless_honoured!("spec.service.meshName", OTHER_MESH),
    unless_honoured!("spec.service.backends", OTHER_MESH),
];

/// Complains about every field of the catalogue that the object uses; without a known provider, about those that no
/// provider honours.
///
/// `skip` is `spec.skipAnalysis`: what only shapes an analysis that does not happen hurts nobody.
pub(super) fn check(
    object: &Value,
    provider: Option<&Provider>,
    skip: bool,
    complaints: &Complaints,
) {
    let concerns = |entry: &&Refused| match provider {
        Some(provider) => (entry.concerns)(provider),
        // Another router may well honour a field that has no effect with ours.
        None => {
            PROVIDERS.iter().all(|known| (entry.concerns)(known)) && entry.effect == Effect::Refuse
        }
    };
    for entry in REFUSED.iter().filter(concerns) {
        let found = entry.path.split('.').try_fold(object, |value, key| value.get(key));
        if !found.is_some_and(|value| (entry.applies)(value)) {
            continue;
        }
        let idle = skip && entry.path.starts_with("spec.analysis.");
        let (why, way_out) = entry.words.of(provider.unwrap_or(PROVIDERS[0]));
        let finding = match entry.effect {
            Effect::Refuse if !idle => Finding::unsupported(entry.path, why),
            Effect::Refuse | Effect::Warn => {
                Finding::warning(FindingCode::NoEffect, entry.path, why)
            }
        };
        complaints.add(finding.way_out(way_out));
    }
}

/// The catalogue as a Markdown table.
pub fn refused_markdown() -> String {
    let mut out = String::from(
        "| Field | Values | Provider | What happens | Why | Way out |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    let lists = [
        ("Canary `spec.provider`", super::provider::LATER.as_slice(), use_one()),
        ("MetricTemplate `spec.provider.type`", metric_kind::LATER, metric_kind::use_another()),
    ];
    for (field, values, way_out) in lists {
        let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
        let values = values.join(", ");
        out.push_str(&format!(
            "| {field} | {values} | - | refused, as unsupported | not supported yet | {way_out} |\n"
        ));
    }
    for entry in REFUSED {
        let mut told: Vec<((&str, &str), Vec<&str>)> = Vec::new();
        for provider in PROVIDERS.iter().filter(|provider| (entry.concerns)(provider)) {
            let words = entry.words.of(provider);
            match told.iter_mut().find(|(known, _)| *known == words) {
                Some((_, names)) => names.push(provider.name),
                None => told.push((words, vec![provider.name])),
            }
        }
        for ((why, way_out), names) in told {
            out.push_str(&row(entry, &names.join(", "), why, way_out));
        }
    }
    out
}

fn row(entry: &Refused, providers: &str, why: &str, way_out: &str) -> String {
    let values = if entry.values.is_empty() { "any" } else { entry.values };
    let effect = match entry.effect {
        Effect::Refuse => "refused, as unsupported",
        Effect::Warn => "warning",
    };
    format!("| Canary `{}` | {values} | {providers} | {effect} | {why} | {way_out} |\n", entry.path)
}
