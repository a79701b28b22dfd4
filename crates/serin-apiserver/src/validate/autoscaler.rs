//! Validation of HorizontalPodAutoscalers.

use serde_json::json;

use super::field::{Errors, Field};
use super::names;

/// The metric types, in the order in which kube-apiserver checks them.
const SOURCES: &[(&str, &str)] = &[
    ("object", "Object"),
    ("external", "External"),
    ("pods", "Pods"),
    ("resource", "Resource"),
    ("containerResource", "ContainerResource"),
];
const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];

pub(super) fn check(spec: &Field<'_>, errors: &mut Errors) {
    let (least, most) = (spec.child("minReplicas"), spec.child("maxReplicas"));
    if least.optional().is_some_and(|least| most.number() < least) {
        let shown = json!(most.number());
        errors.invalid_as(&most, &shown, "must be greater than or equal to `minReplicas`");
    }
    target(&spec.child("scaleTargetRef"), errors);
    let metrics = spec.child("metrics");
    for metric in metrics.items() {
        self::metric(&metric, errors);
    }
    let outside = |metric: Field<'_>| matches!(metric.child("type").text(), "Object" | "External");
    if least.optional() == Some(0) && !metrics.items().any(outside) {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(&metrics, why);
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = spec.child("behavior").child(direction);
        if rules.is_set() {
            self::rules(&rules, errors);
        }
    }
    // kube-apiserver checks these elsewhere, after all others.
    errors.not_negative(&least);
    if most.number() == 0 {
        errors.required(&most, "");
    } else if most.number() < 0 {
        errors.invalid(&most, "must be greater than or equal to 1");
    }
}

fn target(target: &Field<'_>, errors: &mut Errors) {
    for part in ["kind", "name"] {
        let part = target.child(part);
        if part.is_empty() {
            errors.required(&part, "");
        } else {
            errors.invalid_each(&part, names::path_segment(part.text()));
        }
    }
    let version = target.child("apiVersion");
    if !version.text().contains('/') && target.path.ends_with("scaleTargetRef") {
        let shown = json!(version.text());
        errors.invalid_as(&version, &shown, "apiVersion must specify API group");
    }
}

fn metric(metric: &Field<'_>, errors: &mut Errors) {
    let kind = metric.child("type");
    if kind.is_empty() {
        errors.required(&kind, "must specify a metric source type");
    }
    errors.one_of(&kind, TYPES);
    let present: Vec<&str> = SOURCES
        .iter()
        .map(|(field, _)| *field)
        .filter(|field| metric.child(field).is_set())
        .collect();
    if let Some(first) = present.first() {
        source(&metric.child(first), first, errors);
    }
    let expected = SOURCES.iter().find(|(_, name)| *name == kind.text()).map(|(field, _)| *field);
    match expected {
        Some(field) if !metric.child(field).is_set() => {
            errors.required(
                &metric.child(field),
                "must populate information for the given metric source",
            );
        }
        Some(_) | None => {}
    }
    if present.len() != 1 {
        for field in present.iter().filter(|field| Some(**field) != expected) {
            errors.forbidden(&metric.child(field), "must populate the given metric source only");
        }
    }
}

fn source(source: &Field<'_>, which: &str, errors: &mut Errors) {
    if which == "object" {
        target(&source.child("describedObject"), errors);
    }
    if matches!(which, "resource" | "containerResource") {
        let name = source.child("name");
        if name.is_empty() {
            errors.required(&name, "must specify a resource name");
        }
    } else {
        let name = source.child("metric").child("name");
        if name.is_empty() {
            errors.required(&name, "must specify a metric name");
        } else {
            errors.invalid_each(&name, names::path_segment(name.text()));
        }
    }
    let target = source.child("target");
    values(&target, errors);
    needed(&target, which, errors);
}

/// Checks the type of a target and its values, each above zero.
fn values(target: &Field<'_>, errors: &mut Errors) {
    let kind = target.child("type");
    if kind.is_empty() {
        errors.required(&kind, "must specify a metric target type");
    }
    if !matches!(kind.text(), "AverageValue" | "Utilization" | "Value") {
        let why = "must be either Utilization, Value, or AverageValue";
        errors.invalid_as(&kind, &json!(kind.text()), why);
    }
    let utilisation = target.child("averageUtilization");
    if utilisation.optional().is_some_and(|number| number < 1) {
        errors.invalid(&utilisation, "must be greater than 0");
    }
}

/// Checks which target values a metric type requires and allows.
fn needed(target: &Field<'_>, which: &str, errors: &mut Errors) {
    let (utilisation, average, value) =
        (target.child("averageUtilization"), target.child("averageValue"), target.child("value"));
    match which {
        "object" if !value.is_set() && !average.is_set() => {
            errors.required(&average, "must set either a target value or averageValue");
        }
        "external" if !value.is_set() && !average.is_set() => {
            errors.required(
                &average,
                "must set either a target value for metric or a per-pod target",
            );
        }
        "external" if value.is_set() && average.is_set() => {
            errors.forbidden(
                &value,
                "may not set both a target value for metric and a per-pod target",
            );
        }
        "pods" if !average.is_set() => {
            errors.required(&average, "must specify a positive target averageValue");
        }
        "resource" | "containerResource" if !utilisation.is_set() && !average.is_set() => {
            errors.required(
                &utilisation,
                "must set either a target raw value or a target utilization",
            );
        }
        "resource" | "containerResource" if utilisation.is_set() && average.is_set() => {
            errors.forbidden(
                &average,
                "may not set both a target raw value and a target utilization",
            );
        }
        _ => {}
    }
}

fn rules(rules: &Field<'_>, errors: &mut Errors) {
    let window = rules.child("stabilizationWindowSeconds");
    if window.number() < 0 {
        errors.invalid(&window, "must be greater than or equal to zero");
    }
    if window.number() > 3600 {
        errors.invalid(&window, "must be less than or equal to 3600");
    }
    let policy = rules.child("selectPolicy");
    if policy.is_set() {
        errors.one_of(&policy, &["Disabled", "Max", "Min"]);
    }
    let policies = rules.child("policies");
    if policies.is_empty() {
        errors.required(&policies, "must specify at least one Policy");
    }
    for policy in policies.items() {
        errors.one_of(&policy.child("type"), &["Percent", "Pods"]);
        for part in ["value", "periodSeconds"] {
            let part = policy.child(part);
            if part.number() <= 0 {
                errors.invalid(&part, "must be greater than zero");
            }
        }
        let period = policy.child("periodSeconds");
        if period.number() > 1800 {
            errors.invalid(&period, "must be less than or equal to 1800");
        }
    }
}
