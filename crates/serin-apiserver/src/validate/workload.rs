//! Validation of Deployments and the other kinds with a pod template.

use serde_json::{Value, json};

use super::field::{Errors, Field};
use super::{meta, names, pod};
use crate::controllers::object;

pub(super) fn deployment(spec: &Field<'_>, old: Option<&Value>, errors: &mut Errors) {
    errors.not_negative(&spec.child("replicas"));
    selected(spec, "deployment", "invalid label selector", "ReplicaSet", errors);
    strategy(&spec.child("strategy"), errors);
    let ready = spec.child("minReadySeconds");
    errors.not_negative(&ready);
    errors.not_negative(&spec.child("revisionHistoryLimit"));
    let deadline = spec.child("progressDeadlineSeconds");
    errors.not_negative(&deadline);
    if deadline.optional().is_some_and(|deadline| deadline <= ready.number()) {
        errors.invalid(&deadline, "must be greater than minReadySeconds");
    }
    immutable(spec, old, "selector", errors);
}

pub(super) fn replica_set(spec: &Field<'_>, old: Option<&Value>, errors: &mut Errors) {
    errors.not_negative(&spec.child("replicas"));
    errors.not_negative(&spec.child("minReadySeconds"));
    selected(spec, "deployment", "invalid label selector", "ReplicaSet", errors);
    immutable(spec, old, "selector", errors);
}

pub(super) fn daemon_set(spec: &Field<'_>, old: Option<&Value>, errors: &mut Errors) {
    let (selector, template) = (spec.child("selector"), spec.child("template"));
    let usable = meta::selector(&selector, errors);
    if usable && !matches(&selector, &template) {
        mismatch(&template, errors);
    }
    if selector.is_set() && bare(&selector) {
        errors.invalid(&selector, "empty selector is invalid for daemonset");
    }
    pod::template(&template, errors);
    always(&template, "DaemonSet", errors);
    errors.not_negative(&spec.child("minReadySeconds"));
    let strategy = spec.child("updateStrategy");
    if !matches!(strategy.child("type").text(), "RollingUpdate" | "OnDelete") {
        let kind = json!(strategy.child("type").text());
        let shown = format!("{{\"Type\":{kind},\"RollingUpdate\":null}}");
        errors.unsupported_as(&strategy, &shown, &["RollingUpdate", "OnDelete"]);
    }
    errors.not_negative(&spec.child("revisionHistoryLimit"));
    immutable(spec, old, "selector", errors);
}

pub(super) fn stateful_set(spec: &Field<'_>, old: Option<&Value>, errors: &mut Errors) {
    let policy = spec.child("podManagementPolicy");
    if !matches!(policy.text(), "OrderedReady" | "Parallel") {
        errors.invalid(&policy, "must be 'OrderedReady' or 'Parallel'");
    }
    let strategy = spec.child("updateStrategy");
    if !matches!(strategy.child("type").text(), "RollingUpdate" | "OnDelete") {
        errors.invalid(&strategy, "must be 'RollingUpdate' or 'OnDelete'");
    }
    errors.not_negative(&spec.child("replicas"));
    errors.not_negative(&spec.child("minReadySeconds"));
    let service = spec.child("serviceName");
    if !service.is_empty() {
        errors.invalid_each(&service, names::label(service.text()));
    }
    selected(spec, "statefulset", "", "StatefulSet", errors);
    if let Some(old) = old {
        set_updates(spec, old, errors);
    }
}

/// Refuses changes of a StatefulSet's immutable fields.
fn set_updates(spec: &Field<'_>, old: &Value, errors: &mut Errors) {
    for part in ["selector", "volumeClaimTemplates", "serviceName", "podManagementPolicy"] {
        immutable(spec, Some(old), part, errors);
    }
}

fn immutable(spec: &Field<'_>, old: Option<&Value>, part: &str, errors: &mut Errors) {
    let field = spec.child(part);
    if let Some(old) = old
        && old.get(part).unwrap_or(&Value::Null) != field.value
    {
        errors.invalid(&field, "field is immutable");
    }
}

/// Checks selector and template of a workload.
fn selected(spec: &Field<'_>, word: &str, unusable: &str, kind: &str, errors: &mut Errors) {
    let (selector, template) = (spec.child("selector"), spec.child("template"));
    let mut usable = true;
    if selector.is_set() {
        usable = meta::selector(&selector, errors);
        if bare(&selector) {
            errors.invalid(&selector, &format!("empty selector is invalid for {word}"));
        }
    } else {
        errors.required(&selector, "");
    }
    if !usable {
        errors.invalid(&selector, unusable);
        return;
    }
    // A missing selector matches nothing, an empty one everything.
    if !bare(&selector) && !matches(&selector, &template) || !selector.is_set() {
        mismatch(&template, errors);
    }
    pod::template(&template, errors);
    always(&template, kind, errors);
}

fn bare(selector: &Field<'_>) -> bool {
    selector.child("matchLabels").is_empty() && selector.child("matchExpressions").is_empty()
}

fn matches(selector: &Field<'_>, template: &Field<'_>) -> bool {
    let labels = template.child("metadata").child("labels");
    object::selects(selector.value, labels.value)
}

fn mismatch(template: &Field<'_>, errors: &mut Errors) {
    let labels = template.child("metadata").child("labels");
    errors.invalid(&labels, "`selector` does not match template `labels`");
}

/// Checks that the pods run for ever: restart policy Always, no deadline.
fn always(template: &Field<'_>, kind: &str, errors: &mut Errors) {
    let spec = template.child("spec");
    errors.one_of(&spec.child("restartPolicy"), &["Always"]);
    let deadline = spec.child("activeDeadlineSeconds");
    if deadline.is_set() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden(&deadline, &why);
    }
}

fn strategy(strategy: &Field<'_>, errors: &mut Errors) {
    let rolling = strategy.child("rollingUpdate");
    match strategy.child("type").text() {
        "Recreate" => {
            if rolling.is_set() {
                let why = "may not be specified when strategy `type` is 'Recreate'";
                errors.forbidden(&rolling, why);
            }
        }
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.child("maxUnavailable"), rolling.child("maxSurge"));
            number_or_percent(&unavailable, errors);
            number_or_percent(&surge, errors);
            if amount(&unavailable) == 0 && amount(&surge) == 0 {
                errors.invalid(&unavailable, "may not be 0 when `maxSurge` is 0");
            }
            at_most_all(&unavailable, errors);
        }
        kind => {
            let shown = format!("{{\"Type\":{},\"RollingUpdate\":null}}", json!(kind));
            errors.unsupported_as(strategy, &shown, &["Recreate", "RollingUpdate"]);
        }
    }
}

fn number_or_percent(field: &Field<'_>, errors: &mut Errors) {
    match field.value {
        Value::String(text) => errors.invalid_each(field, names::percent(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            errors.not_negative(field);
        }
    }
}

/// The number, or that of a percentage; 0 for anything else.
fn amount(field: &Field<'_>) -> i64 {
    match field.value {
        Value::String(text) => {
            text.strip_suffix('%').and_then(|text| text.parse().ok()).unwrap_or(0)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            field.number()
        }
    }
}

fn at_most_all(field: &Field<'_>, errors: &mut Errors) {
    if field.value.is_string() && amount(field) > 100 {
        errors.invalid(field, "must not be greater than 100%");
    }
}

/// Checks the spec of a PodDisruptionBudget.
pub(super) fn budget(spec: &Field<'_>, errors: &mut Errors) {
    let (least, most) = (spec.child("minAvailable"), spec.child("maxUnavailable"));
    if least.is_set() && most.is_set() {
        errors.invalid_as(
            spec,
            &json!(spec.value),
            "minAvailable and maxUnavailable cannot be both set",
        );
    }
    for field in [least, most].iter().filter(|field| field.is_set()) {
        number_or_percent(field, errors);
        at_most_all(field, errors);
    }
    meta::selector(&spec.child("selector"), errors);
}

/// Checks the status of a Deployment.
pub(super) fn deployment_status(status: &Field<'_>, errors: &mut Errors) {
    for part in [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ] {
        errors.not_negative(&status.child(part));
    }
    let all = status.child("replicas").number();
    for part in ["updatedReplicas", "readyReplicas", "availableReplicas"] {
        let part = status.child(part);
        if part.number() > all {
            let shown = json!(part.number());
            errors.invalid_as(&part, &shown, "cannot be greater than status.replicas");
        }
    }
    let available = status.child("availableReplicas");
    if available.number() > status.child("readyReplicas").number() {
        let shown = json!(available.number());
        errors.invalid_as(&available, &shown, "cannot be greater than readyReplicas");
    }
}
