//! Validation of metadata, labels and selectors.

use serde_json::{Value, json};

use super::field::{Errors, Field};
use super::names;

/// The kind under which all custom resources are checked.
pub(super) const CUSTOM: &str = "";

const ANNOTATIONS_MAX: usize = 256 << 10;

/// The rule for names of a kind.
fn name_rule(kind: &str) -> fn(&str) -> Vec<String> {
    match kind {
        "Service" | "Namespace" => names::label,
        "Role" | "ClusterRole" | "RoleBinding" | "ClusterRoleBinding" => names::path_segment,
        _ => names::subdomain,
    }
}

pub(super) fn check(kind: &str, meta: &Field<'_>, old: Option<&Value>, errors: &mut Errors) {
    let name = meta.child("name");
    match old {
        None if name.text().is_empty() => {
            errors.required(&name, "name or generateName is required");
        }
        None => errors.invalid_each(&name, name_rule(kind)(name.text())),
        Some(_) => {}
    }
    labels(&meta.child("labels"), errors);
    annotations(&meta.child("annotations"), errors);
    owners(&meta.child("ownerReferences"), errors);
    let finalizers = meta.child("finalizers");
    for one in finalizers.items() {
        for why in names::qualified(one.text()) {
            errors.invalid_as(&finalizers, one.value, &why);
        }
    }
    for one in finalizers.items().filter(|_| kind != CUSTOM) {
        let standard = ["kubernetes", "orphan", "foregroundDeletion"].contains(&one.text());
        if !one.text().contains('/') && !standard {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(&one, why);
        }
    }
    if let Some(old) = old {
        no_new_finalizers(&finalizers, old, errors);
    }
}

/// Refuses new finalizers on an object that is being deleted.
fn no_new_finalizers(finalizers: &Field<'_>, old: &Value, errors: &mut Errors) {
    if old.get("deletionTimestamp").is_none() {
        return;
    }
    let before = Field { path: String::new(), value: &old["finalizers"] };
    let before: Vec<&str> = before.items().map(|one| one.text()).collect();
    let mut new: Vec<String> = finalizers
        .items()
        .filter(|one| !before.contains(&one.text()))
        .map(|one| format!("{:?}", one.text()))
        .collect();
    new.sort();
    if !new.is_empty() {
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            new.join(", ")
        );
        errors.forbidden(finalizers, &why);
    }
}

pub(super) fn labels(labels: &Field<'_>, errors: &mut Errors) {
    for (name, value) in labels.entries() {
        for why in names::qualified(name) {
            errors.invalid_as(labels, &json!(name), &why);
        }
        for why in names::label_value(value) {
            errors.invalid_as(labels, &json!(value), &why);
        }
    }
}

pub(super) fn annotations(annotations: &Field<'_>, errors: &mut Errors) {
    let mut size = 0;
    for (name, value) in annotations.entries() {
        for why in names::qualified(&name.to_lowercase()) {
            errors.invalid_as(annotations, &json!(name), &why);
        }
        size += name.len() + value.len();
    }
    if size > ANNOTATIONS_MAX {
        errors.too_long(annotations, ANNOTATIONS_MAX);
    }
}

fn owners(owners: &Field<'_>, errors: &mut Errors) {
    let mut first: Option<String> = None;
    for owner in owners.items() {
        for part in ["apiVersion", "kind", "name", "uid"] {
            let part = owner.child(part);
            if part.text().is_empty() {
                errors.required(&part, "must not be empty");
            }
        }
        let (version, kind) = (owner.child("apiVersion").text(), owner.child("kind").text());
        if (version, kind) == ("v1", "Event") {
            errors.invalid(&owner, "/v1, Kind=Event is disallowed from being an owner");
        }
        if !owner.child("controller").flag() {
            continue;
        }
        let this = format!("{kind}/{}", owner.child("name").text());
        match &first {
            Some(first) => {
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                );
                errors.invalid(owners, &why);
            }
            None => first = Some(this),
        }
    }
}

/// Checks a label selector; false if it cannot be used.
pub(super) fn selector(selector: &Field<'_>, errors: &mut Errors) -> bool {
    labels(&selector.child("matchLabels"), errors);
    let mut usable = true;
    for expression in selector.child("matchExpressions").items() {
        let (operator, values) = (expression.child("operator"), expression.child("values"));
        match operator.text() {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
                usable = false;
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&values, why);
                usable = false;
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => {
                errors.invalid(&operator, "not a valid selector operator");
                usable = false;
            }
        }
        let key = expression.child("key");
        errors.invalid_each(&key, names::qualified(key.text()));
        usable &= names::qualified(key.text()).is_empty();
        for value in values.items() {
            errors.invalid_each(&value, names::label_value(value.text()));
            usable &= names::label_value(value.text()).is_empty();
        }
    }
    usable
        && selector.child("matchLabels").entries().all(|(name, value)| {
            names::qualified(name).is_empty() && names::label_value(value).is_empty()
        })
}
