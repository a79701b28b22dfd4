//! What Flagger's API has and we do not honour yet: one catalogue, from which `parse` complains and the docs are made.

use serde_json::Value;

use super::doc::Complaints;
use crate::model::{Finding, FindingCode, Provider};

/// A field, or some values of it, that has no effect here.
pub struct Refused {
    /// From the root; `[]` stands for every element of a list.
    pub path: &'static str,
    /// For which providers.
    pub providers: &'static [Provider],
    /// Which values, for people; empty means any that says something.
    pub values: &'static str,
    /// Which values.
    pub applies: fn(&Value) -> bool,
    pub effect: Effect,
    pub why: &'static str,
    /// What to do instead.
    pub way_out: &'static str,
}

/// What a field of the catalogue does to its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The object is not acted on: ignoring the field would change what users get.
    Refuse,
    /// The release goes on: Flagger ignores the field on this provider too, and traffic is not hurt.
    Warn,
}

const ALL: &[Provider] = &[Provider::Traefik, Provider::Kubernetes];
const TRAEFIK: &[Provider] = &[Provider::Traefik];
const KUBERNETES: &[Provider] = &[Provider::Kubernetes];

/// Why, and the way out.
type Words = (&'static str, &'static str);

const REMOVE: &str = "remove it";
const IN_TRAEFIK: Words = (
    "has no effect with Traefik",
    "put it on the IngressRoute, a Middleware or a ServersTransport, which stay yours",
);
const NO_ROUTER: Words = ("has no effect with provider kubernetes, which has no router", REMOVE);
const OTHER_MESH: Words = ("belongs to another router and has no effect here", REMOVE);
const ONLY_IN_QUERIES: Words = (
    "is for another router and fills only the template words of queries here",
    "remove it, unless a query uses it",
);
const TARGET: &str = "use a Deployment";
const MIRROR: Words = (
    "mirroring is not supported with this provider yet, and users would not get what it says",
    REMOVE,
);

/// Something that says something: not null, false, zero or empty.
pub(super) fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

fn scaled_object(value: &Value) -> bool {
    value == "ScaledObject"
}

fn daemon_set(value: &Value) -> bool {
    value == "DaemonSet"
}

fn service(value: &Value) -> bool {
    value == "Service"
}

const fn entry(
    path: &'static str,
    providers: &'static [Provider],
    effect: Effect,
    (why, way_out): Words,
) -> Refused {
    Refused { path, providers, values: "", applies: says_something, effect, why, way_out }
}

const fn refuse(path: &'static str, providers: &'static [Provider], words: Words) -> Refused {
    entry(path, providers, Effect::Refuse, words)
}

const fn warn(path: &'static str, providers: &'static [Provider], words: Words) -> Refused {
    entry(path, providers, Effect::Warn, words)
}

const fn only(entry: Refused, values: &'static str, applies: fn(&Value) -> bool) -> Refused {
    Refused { values, applies, ..entry }
}

/// Every field that is not honoured. A field of the schema is either read by `parse` or stands here; a test holds us to it.
pub const REFUSED: &[Refused] = &[
    only(
        refuse("spec.targetRef.kind", ALL, ("DaemonSet targets are not supported yet", TARGET)),
        "`DaemonSet`",
        daemon_set,
    ),
    only(
        refuse(
            "spec.targetRef.kind",
            ALL,
            ("Service targets (Kubernetes and Knative) are not supported yet", TARGET),
        ),
        "`Service`",
        service,
    ),
    only(
        refuse(
            "spec.autoscalerRef.kind",
            ALL,
            (
                "KEDA ScaledObjects are not supported yet",
                "name its HorizontalPodAutoscaler or leave the reference out",
            ),
        ),
        "`ScaledObject`",
        scaled_object,
    ),
    warn(
        "spec.autoscalerRef.primaryScalerQueries",
        ALL,
        ("is for KEDA ScaledObjects and has no effect on a HorizontalPodAutoscaler", REMOVE),
    ),
    warn("spec.upstreamRef", ALL, ("is for Gloo and has no effect here", REMOVE)),
    warn("spec.ingressRef", ALL, ONLY_IN_QUERIES),
    warn("spec.routeRef", ALL, ONLY_IN_QUERIES),
    refuse(
        "spec.analysis.match",
        TRAEFIK,
        (
            "A/B testing is not supported with Traefik yet; Flagger would send all users to the canary",
            "use stepWeights, or iterations without match for Blue/Green",
        ),
    ),
    warn(
        "spec.analysis.match",
        KUBERNETES,
        ("A/B testing needs a router; with provider kubernetes the release is Blue/Green", REMOVE),
    ),
    refuse("spec.analysis.mirror", TRAEFIK, MIRROR),
    warn("spec.analysis.mirror", KUBERNETES, NO_ROUTER),
    warn("spec.analysis.mirrorWeight", ALL, ("has an effect with Istio only", REMOVE)),
    refuse(
        "spec.analysis.sessionAffinity",
        TRAEFIK,
        (
            "session affinity is not supported with Traefik yet, and users would move between versions",
            "remove it, if they may",
        ),
    ),
    warn("spec.analysis.sessionAffinity", KUBERNETES, NO_ROUTER),
    refuse("spec.service.mirror", TRAEFIK, MIRROR),
    warn("spec.service.mirror", KUBERNETES, NO_ROUTER),
    warn("spec.service.timeout", TRAEFIK, IN_TRAEFIK),
    warn("spec.service.timeout", KUBERNETES, NO_ROUTER),
    warn("spec.service.backendTimeout", TRAEFIK, IN_TRAEFIK),
    warn("spec.service.backendTimeout", KUBERNETES, NO_ROUTER),
    warn("spec.service.retries", TRAEFIK, IN_TRAEFIK),
    warn("spec.service.retries", KUBERNETES, NO_ROUTER),
    warn("spec.service.match", TRAEFIK, IN_TRAEFIK),
    warn("spec.service.match", KUBERNETES, NO_ROUTER),
    warn("spec.service.rewrite", TRAEFIK, IN_TRAEFIK),
    warn("spec.service.rewrite", KUBERNETES, NO_ROUTER),
    warn("spec.service.headers", TRAEFIK, IN_TRAEFIK),
    warn("spec.service.headers", KUBERNETES, NO_ROUTER),
    warn("spec.service.corsPolicy", TRAEFIK, IN_TRAEFIK),
    warn("spec.service.corsPolicy", KUBERNETES, NO_ROUTER),
    warn("spec.service.trafficPolicy", TRAEFIK, IN_TRAEFIK),
    warn("spec.service.trafficPolicy", KUBERNETES, NO_ROUTER),
    warn("spec.service.hosts", TRAEFIK, IN_TRAEFIK),
    warn("spec.service.hosts", KUBERNETES, NO_ROUTER),
    warn("spec.service.gateways", ALL, OTHER_MESH),
    warn("spec.service.gatewayRefs", ALL, OTHER_MESH),
    warn("spec.service.delegation", ALL, OTHER_MESH),
    warn("spec.service.meshName", ALL, OTHER_MESH),
    warn("spec.service.backends", ALL, OTHER_MESH),
];

/// Complains about every field of the catalogue that the object uses; without a known provider, about those that no
/// provider honours.
///
/// `skip` is `spec.skipAnalysis`: what only shapes an analysis that does not happen hurts nobody.
pub(super) fn check(
    object: &Value,
    provider: Option<Provider>,
    skip: bool,
    complaints: &Complaints,
) {
    let concerns = |entry: &&Refused| match provider {
        Some(provider) => entry.providers.contains(&provider),
        // Another router may well honour a field that has no effect with ours.
        None => entry.providers.len() == ALL.len() && entry.effect == Effect::Refuse,
    };
    for entry in REFUSED.iter().filter(concerns) {
        let found = entry.path.split('.').try_fold(object, |value, key| value.get(key));
        if !found.is_some_and(|value| (entry.applies)(value)) {
            continue;
        }
        let idle = skip && entry.path.starts_with("spec.analysis.");
        let finding = match entry.effect {
            Effect::Refuse if !idle => Finding::unsupported(entry.path, entry.why),
            Effect::Refuse | Effect::Warn => {
                Finding::warning(FindingCode::NoEffect, entry.path, entry.why)
            }
        };
        complaints.add(finding.way_out(entry.way_out));
    }
}

/// The catalogue as a Markdown table.
pub fn refused_markdown() -> String {
    let mut out = String::from(
        "| Field | Values | Provider | What happens | Why | Way out |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    let lists = [
        ("Canary `spec.provider`", super::provider::LATER.as_slice(), "use traefik or kubernetes"),
        (
            "MetricTemplate `spec.provider.type`",
            super::template::LATER.as_slice(),
            "use prometheus",
        ),
    ];
    for (field, values, way_out) in lists {
        let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
        let values = values.join(", ");
        out.push_str(&format!(
            "| {field} | {values} | - | refused, as unsupported | not supported yet | {way_out} |\n"
        ));
    }
    for entry in REFUSED {
        let values = if entry.values.is_empty() { "any" } else { entry.values };
        let providers: Vec<_> = entry.providers.iter().map(|p| p.name()).collect();
        let effect = match entry.effect {
            Effect::Refuse => "refused, as unsupported",
            Effect::Warn => "warning",
        };
        let row = format!(
            "| Canary `{}` | {values} | {} | {effect} | {} | {} |\n",
            entry.path,
            providers.join(", "),
            entry.why,
            entry.way_out
        );
        out.push_str(&row);
    }
    out
}
