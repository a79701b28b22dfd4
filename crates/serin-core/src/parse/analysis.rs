//! `spec.analysis`: the step clock, the schedule, and what is asked at each step.

use super::doc::Doc;
use super::{Limits, duration, is_http, saturating_u32, units};
use crate::model::{
    AlertRef, Analysis, Builtin, Finding, Form, HookKind, Limit, Metric, MetricSource, Pace,
    Provider, Schedule, Severity, Webhook, Weight,
};

/// Flagger's step clock when the object has none that it can read, in seconds.
const INTERVAL_SECS: i64 = 60;

/// Flagger's range for metrics that name none.
const METRIC_INTERVAL: &str = "1m";

/// Flagger's timeout for webhooks that name none, in seconds.
const HOOK_TIMEOUT_SECS: u32 = 10;
/// Longer than any test that a release should wait for at one stretch; the object is taken at this.
const HOOK_TIMEOUT_MAX_SECS: i64 = 300;

/// More extra attempts than any back-off can use; the object is taken at this.
const HOOK_RETRIES_MAX: i64 = 100;

/// What Flagger does on provider kubernetes when it is asked for weights.
const KUBERNETES_ITERATIONS: u32 = 10;

/// Far more than anyone can read; keeps one object from asking thousands of questions per tick.
const LIST_MAX: usize = 100;

/// What an analysis must know of the rest of its object.
pub(super) struct Scope<'a> {
    pub(super) namespace: &'a str,
    pub(super) limits: &'a Limits,
    pub(super) provider: Option<&'static Provider>,
    /// `spec.skipAnalysis`: the schedule is never used, so that what would never end does no harm.
    pub(super) skip: bool,
    /// Flagger ran the last release.
    pub(super) adopted: bool,
}

pub(super) fn read(spec: &Doc<'_>, scope: &Scope<'_>) -> Analysis {
    if spec.raw("analysis").is_none() {
        spec.is_required("analysis");
    }
    let missing = spec.raw("analysis").is_none_or(|value| !value.is_object());
    let doc = spec.object_or_empty("analysis");
    let threshold = doc.whole("threshold").unwrap_or_default();
    let ready = |field| {
        // Flagger takes anything below 0 for 0, and never reaches more than 100.
        let percent = doc.within(field, i64::from(i32::MIN), 100).unwrap_or(100);
        u8::try_from(percent.max(0)).unwrap_or(100)
    };
    let metrics: Vec<Metric> =
        bounded(&doc, "metrics").iter().map(|doc| metric(doc, scope)).collect();
    let guard = super::guard::read(&doc, scope.provider, &metrics, scope.adopted);
    let mut schedule = if missing { at_once() } else { schedule(&doc, scope) };
    if let Some(copies) = copies(&doc, scope, &schedule) {
        schedule = schedule.mirrored(copies);
    }
    if guard.as_ref().is_some_and(|guard| guard.pace != Pace::Fixed) {
        schedule = super::pace::climb(&doc, schedule);
    }
    let matched = doc.raw("match").is_some_and(super::doc::says_something);
    let testable = scope.provider.is_some_and(|provider| provider.capabilities.matches);
    let beside = scope.provider.is_some_and(|one| !one.honours("spec.service.gatewayRefs"));
    if schedule.form() == Form::Matched && beside && spec.raw("routeRef").is_none() {
        let message = "A/B testing with this provider needs to know the route of the application";
        doc.add(
            Finding::unsupported(doc.at("match"), message)
                .way_out("name the IngressRoute with spec.routeRef"),
        );
    }
    if matched && testable && schedule.form() == Form::Weighted && !scope.skip {
        let message = "a share of the matching requests only is not supported";
        doc.add(
            Finding::unsupported(doc.at("match"), message)
                .way_out("use iterations for A/B testing, or remove match"),
        );
    }
    Analysis {
        guard,
        interval_secs: interval(&doc, scope.limits),
        // Flagger takes anything below 1 for 1.
        threshold: saturating_u32(threshold).max(1),
        matches: match schedule.form() {
            Form::Matched => super::matching::read(&doc),
            Form::Weighted | Form::BlueGreen => Vec::new(),
        },
        schedule,
        primary_ready_threshold: ready("primaryReadyThreshold"),
        hold_primary_replicas: doc.flag_or("holdPrimaryReplicas", true),
        canary_ready_threshold: ready("canaryReadyThreshold"),
        metrics,
        webhooks: bounded(&doc, "webhooks").iter().map(webhook).collect(),
        alerts: bounded(&doc, "alerts").iter().map(|doc| alert(doc, scope)).collect(),
    }
}

fn bounded<'a>(doc: &Doc<'a>, field: &str) -> Vec<Doc<'a>> {
    let mut docs = doc.objects(field);
    if docs.len() > LIST_MAX {
        doc.error(field, format!("must have at most {LIST_MAX} entries, not {}", docs.len()));
        docs.truncate(LIST_MAX);
    }
    docs
}

fn interval(doc: &Doc<'_>, limits: &Limits) -> i64 {
    let Some(text) = doc.text("interval") else { return INTERVAL_SECS };
    match duration::seconds(text) {
        None => {
            let message =
                format!("{text:?} is no duration such as 30s or 1m; {INTERVAL_SECS}s is used");
            doc.taken_as("interval", message);
            INTERVAL_SECS.max(limits.min_interval_secs)
        }
        Some(seconds) if seconds < limits.min_interval_secs => {
            doc.taken_as("interval", format!("{text} is raised to {}s", limits.min_interval_secs));
            limits.min_interval_secs
        }
        Some(seconds) => seconds,
    }
}

/// Percent of the requests that are copied to the canary before it has users; none where none are.
fn copies(doc: &Doc<'_>, scope: &Scope<'_>, schedule: &Schedule) -> Option<Weight> {
    let able = scope.provider.is_some_and(|provider| provider.capabilities.mirror);
    if !able {
        return None;
    }
    let wanted = doc.flag_or("mirror", false);
    let percent = doc.within("mirrorWeight", 0, 100).unwrap_or(0);
    if !wanted && percent > 0 {
        doc.no_effect("mirrorWeight", "has no effect without mirror");
    }
    if wanted && schedule.form() == Form::Matched {
        doc.no_effect("mirror", "has no effect with match: the test has users from the beginning");
        return None;
    }
    let copies = match percent {
        0 => Weight::FULL,
        percent => Weight::saturating(saturating_u32(percent)),
    };
    (wanted && !scope.skip).then_some(copies)
}

/// Stands in where the schedule is never used.
fn at_once() -> Schedule {
    Schedule::weighted([Weight::FULL], None)
}

fn schedule(doc: &Doc<'_>, scope: &Scope<'_>) -> Schedule {
    let asked: Vec<&str> = ["iterations", "stepWeight", "stepWeights"]
        .into_iter()
        .filter(|field| doc.raw(field).is_some())
        .collect();
    match asked.as_slice() {
        [_] if scope.provider.is_some_and(|provider| !provider.has_router()) => without_router(doc),
        ["iterations"] => iterations(doc, scope),
        ["stepWeight"] => step_weight(doc, scope),
        ["stepWeights"] => step_weights(doc, scope),
        [] if scope.skip => at_once(),
        [] => {
            doc.error("stepWeight", "one of iterations, stepWeight and stepWeights is required");
            at_once()
        }
        [..] => {
            let message = format!("only one of {} can be set", asked.join(", "));
            doc.error(asked[0], message);
            at_once()
        }
    }
}

/// Blue/Green whatever is asked for: there are no weights to set.
fn without_router(doc: &Doc<'_>) -> Schedule {
    let count = doc.within("iterations", i64::from(i32::MIN), i64::from(i32::MAX)).unwrap_or(0);
    for field in ["maxWeight", "stepWeightPromotion"] {
        if doc.whole(field).is_some_and(|weight| weight != 0) {
            doc.no_effect(field, "has no effect with provider kubernetes, which has no router");
        }
    }
    doc.whole("stepWeight");
    doc.whole_numbers("stepWeights");
    if count >= 1 {
        return Schedule::blue_green(saturating_u32(count), false);
    }
    let field = if doc.raw("stepWeights").is_some() {
        "stepWeights"
    } else if doc.raw("stepWeight").is_some() {
        "stepWeight"
    } else {
        "iterations"
    };
    let message = format!(
        "provider kubernetes has no router to shift traffic with: the release is Blue/Green with {KUBERNETES_ITERATIONS} iterations"
    );
    doc.taken_as(field, message);
    Schedule::blue_green(KUBERNETES_ITERATIONS, false)
}

fn iterations(doc: &Doc<'_>, scope: &Scope<'_>) -> Schedule {
    let count = doc.within("iterations", i64::from(i32::MIN), i64::from(i32::MAX)).unwrap_or(1);
    if count >= 1 {
        if doc.whole("maxWeight").is_some_and(|weight| weight != 0) {
            doc.no_effect("maxWeight", "has no effect with iterations");
        }
        if promotion_step(doc).is_some() {
            doc.no_effect(
                "stepWeightPromotion",
                "has no effect with iterations: all traffic returns at once",
            );
        }
        let rounds = saturating_u32(count);
        let matched = doc.raw("match").is_some_and(super::doc::says_something);
        let testable = scope.provider.is_some_and(|provider| provider.capabilities.matches);
        return match matched && testable {
            true => Schedule::matched(rounds),
            false => Schedule::blue_green(rounds, true),
        };
    }
    if !scope.skip {
        doc.error(
            "iterations",
            format!("must be at least 1, not {count}: the release would never end"),
        );
    }
    at_once()
}

/// Steps of one size: the last may pass `maxWeight`, as with Flagger (20 up to 50 visits 20, 40 and 60).
fn step_weight(doc: &Doc<'_>, scope: &Scope<'_>) -> Schedule {
    let step = doc.whole("stepWeight");
    let max = max_weight(doc, scope);
    let promotion_step = promotion_step(doc);
    let step = match step {
        Some(step) if step >= 1 => saturating_u32(step),
        Some(step) => {
            if !scope.skip {
                let message =
                    format!("must be at least 1, not {step}: the release would never advance");
                doc.error("stepWeight", message);
            }
            return at_once();
        }
        None => return at_once(),
    };
    let mut rungs = Vec::new();
    let mut weight = Weight::ZERO;
    while weight < max {
        weight = weight.plus(Weight::saturating(step));
        rungs.push(weight);
    }
    Schedule::weighted(rungs, promotion_step)
}

/// 1 to 100; unset, zero or less is 100, as with Flagger.
fn max_weight(doc: &Doc<'_>, scope: &Scope<'_>) -> Weight {
    match doc.whole("maxWeight") {
        None | Some(i64::MIN..=0) => Weight::FULL,
        Some(max @ 1..=100) => Weight::saturating(saturating_u32(max)),
        Some(max) => {
            if !scope.skip {
                let message = format!("must be at most 100, not {max}: it would never be reached");
                doc.error("maxWeight", message);
            }
            Weight::FULL
        }
    }
}

fn step_weights(doc: &Doc<'_>, scope: &Scope<'_>) -> Schedule {
    let promotion_step = promotion_step(doc);
    let steps = doc.whole_numbers("stepWeights");
    let list = doc.raw("stepWeights").and_then(|value| value.as_array());
    if scope.skip || list.is_none() {
        return at_once();
    }
    if list.is_some_and(Vec::is_empty) {
        doc.error("stepWeights", "must not be empty: the release would never advance");
        return at_once();
    }
    let mut rungs = Vec::new();
    let mut before = 0;
    for (path, step) in steps {
        let field = path.strip_prefix(&format!("{}.", doc.path)).unwrap_or(&path).to_owned();
        if step <= before {
            let message = match before {
                0 => format!("must be at least 1, not {step}"),
                _ => format!("must be more than {before} before it, not {step}: steps rise"),
            };
            doc.error(&field, message);
            continue;
        }
        before = step;
        let weight = Weight::saturating(saturating_u32(step));
        if step > 100 {
            doc.taken_as(&field, format!("{step} is taken as 100"));
        }
        if rungs.last() != Some(&weight) {
            rungs.push(weight);
        }
    }
    let last = rungs.last().copied().unwrap_or(Weight::FULL);
    if doc.whole("maxWeight").is_some_and(|max| max != 0 && max != i64::from(last.percent())) {
        doc.no_effect("maxWeight", format!("has no effect with stepWeights, whose last is {last}"));
    }
    Schedule::weighted(rungs, promotion_step)
}

fn promotion_step(doc: &Doc<'_>) -> Option<Weight> {
    let step = doc.within("stepWeightPromotion", 0, i64::from(i32::MAX))?;
    (step > 0).then(|| Weight::saturating(saturating_u32(step)))
}

fn metric(doc: &Doc<'_>, scope: &Scope<'_>) -> Metric {
    let name = doc.name("name");
    let interval = doc.text("interval").unwrap_or(METRIC_INTERVAL);
    // It becomes part of a query.
    if duration::seconds(interval).is_none_or(|seconds| seconds == 0) {
        doc.error("interval", format!("{interval:?} is no duration such as 30s or 1m"));
    }
    let builtin = match name.as_str() {
        "request-success-rate" => Some(Builtin::RequestSuccessRate),
        "request-duration" => Some(Builtin::RequestDuration),
        _ => None,
    };
    let sources = sources(doc, builtin, scope);
    let limit = limit(doc, builtin, &sources);
    if let Some(builtin) = builtin {
        let range = doc.object("thresholdRange");
        units::check(range.as_ref().unwrap_or(doc), builtin, limit);
    }
    Metric {
        name,
        interval: interval.to_owned(),
        sources,
        limit,
        no_data: doc.policy("noData").unwrap_or_default(),
        cannot_measure: doc.policy("cannotMeasure").unwrap_or_default(),
    }
}

fn sources(doc: &Doc<'_>, builtin: Option<Builtin>, scope: &Scope<'_>) -> Vec<MetricSource> {
    let query = doc.text("query").map(|query| MetricSource::Query(query.to_owned()));
    let variables = doc.text_map("templateVariables");
    let template = doc.object("templateRef").map(|template| MetricSource::Template {
        namespace: other_namespace(&template, scope),
        name: template.required("name").to_owned(),
        variables,
    });
    let sources: Vec<_> =
        [builtin.map(MetricSource::Builtin), query, template].into_iter().flatten().collect();
    if sources.is_empty()
        && doc.raw("templateRef").is_none()
        && doc.raw("query").is_none_or(|q| q == "")
    {
        let message =
            "needs a query, a templateRef, or the name request-success-rate or request-duration";
        doc.error("templateRef", message);
    }
    sources
}

fn limit(doc: &Doc<'_>, builtin: Option<Builtin>, sources: &[MetricSource]) -> Limit {
    let threshold = doc.number("threshold");
    if doc.raw("thresholdRange").is_some() {
        let range = doc.object_or_empty("thresholdRange");
        let (min, max) = (range.number("min"), range.number("max"));
        if let (Some(low), Some(high)) = (min, max)
            && low > high
        {
            range.error("min", format!("{low} is more than max {high}: nothing would pass"));
        }
        if min.is_none() && max.is_none() {
            let message = "has neither min nor max: every value passes";
            doc.taken_as("thresholdRange", message);
        }
        if threshold.is_some() {
            doc.no_effect("threshold", "has no effect beside thresholdRange");
        }
        return Limit::Range { min, max };
    }
    if builtin == Some(Builtin::RequestSuccessRate) {
        if sources.len() > 1 {
            let message =
                "is read as a minimum by one query of this metric and as a maximum by the other";
            doc.error_use("threshold", message, "use thresholdRange");
        }
        return Limit::AtLeast(threshold.unwrap_or_default());
    }
    if threshold.is_none() {
        doc.taken_as(
            "thresholdRange",
            "neither thresholdRange nor threshold is set: any value above 0 fails",
        );
    }
    Limit::AtMost(threshold.unwrap_or_default())
}

/// The namespace of a reference: the canary's own unless it says another and may.
fn other_namespace(doc: &Doc<'_>, scope: &Scope<'_>) -> String {
    let namespace = doc.text("namespace").unwrap_or(scope.namespace);
    if !scope.limits.cross_namespace && namespace != scope.namespace {
        let message =
            format!("{namespace} is another namespace, which this controller does not allow");
        doc.error("namespace", message);
    }
    namespace.to_owned()
}

fn webhook(doc: &Doc<'_>) -> Webhook {
    let name = doc.text("type").unwrap_or(HookKind::Rollout.name());
    let kind = HookKind::ALL.into_iter().find(|kind| kind.name() == name);
    if kind.is_none() {
        let known = HookKind::ALL.map(HookKind::name).join(", ");
        doc.error_use("type", format!("unknown type {name:?}"), format!("use {known}"));
    }
    let url = doc.required("url");
    if !url.is_empty() && !is_http(url) {
        doc.error("url", format!("{url:?} is no http or https URL"));
    }
    Webhook {
        name: doc.name("name"),
        kind: kind.unwrap_or(HookKind::Rollout),
        url: url.to_owned(),
        timeout_secs: timeout(doc),
        retries: retries(doc),
        disable_tls: doc.flag("disableTLS"),
        mute_alert: doc.flag("muteAlert"),
        metadata: doc.text_map("metadata"),
    }
}

/// Flagger reads anything shorter than two characters as unset.
fn timeout(doc: &Doc<'_>) -> u32 {
    let Some(text) = doc.text("timeout").filter(|text| text.len() >= 2) else {
        return HOOK_TIMEOUT_SECS;
    };
    match duration::seconds(text) {
        Some(seconds) if seconds > HOOK_TIMEOUT_MAX_SECS => {
            doc.taken_as("timeout", format!("{text} is taken as {HOOK_TIMEOUT_MAX_SECS}s"));
            saturating_u32(HOOK_TIMEOUT_MAX_SECS)
        }
        Some(seconds @ 1..) => saturating_u32(seconds),
        Some(_) => {
            doc.error("timeout", "must be more than nothing");
            HOOK_TIMEOUT_SECS
        }
        None => {
            doc.error("timeout", format!("{text:?} is no duration such as 30s or 1m"));
            HOOK_TIMEOUT_SECS
        }
    }
}

fn retries(doc: &Doc<'_>) -> u32 {
    match doc.whole("retries") {
        Some(retries) if retries < 0 => {
            doc.error("retries", format!("must not be negative, but is {retries}"));
            0
        }
        Some(retries) if retries > HOOK_RETRIES_MAX => {
            doc.taken_as("retries", format!("{retries} is taken as {HOOK_RETRIES_MAX}"));
            saturating_u32(HOOK_RETRIES_MAX)
        }
        Some(retries) => saturating_u32(retries),
        None => 0,
    }
}

fn alert(doc: &Doc<'_>, scope: &Scope<'_>) -> AlertRef {
    let severity = match doc.text("severity").unwrap_or("info") {
        "info" => Severity::Info,
        "warn" => Severity::Warn,
        "error" => Severity::Error,
        other => {
            doc.error_use(
                "severity",
                format!("unknown severity {other:?}"),
                "use info, warn or error",
            );
            Severity::Info
        }
    };
    if doc.raw("providerRef").is_none() {
        doc.is_required("providerRef");
    }
    let (provider_namespace, provider_name) = match doc.raw("providerRef") {
        Some(_) => {
            let reference = doc.object_or_empty("providerRef");
            (other_namespace(&reference, scope), reference.required("name").to_owned())
        }
        None => (String::new(), String::new()),
    };
    AlertRef { name: doc.name("name"), severity, provider_namespace, provider_name }
}
