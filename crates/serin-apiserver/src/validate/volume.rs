//! Validation of volumes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::field::{Errors, Field};
use super::names;

/// The volume types, in the order in which kube-apiserver checks them.
const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "secret",
    "nfs",
    "persistentVolumeClaim",
    "downwardAPI",
    "configMap",
    "csi",
    "projected",
    "ephemeral",
    "image",
];
const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// Checks the volumes and returns those that can be mounted.
pub(super) fn check<'a>(list: &Field<'a>, errors: &mut Errors) -> BTreeMap<&'a str, &'a Value> {
    let mut usable = BTreeMap::new();
    for volume in list.items() {
        let name = volume.child("name");
        let before = errors.len();
        source(&volume, errors);
        if name.is_empty() {
            errors.required(&name, "");
        } else {
            errors.invalid_each(&name, names::label(name.text()));
        }
        if usable.contains_key(name.text()) {
            errors.duplicate(&name);
        }
        if errors.len() == before {
            usable.insert(name.text(), volume.value);
        }
    }
    usable
}

fn source(volume: &Field<'_>, errors: &mut Errors) {
    let mut found = 0;
    let others = volume.value.as_object().into_iter().flatten();
    let unknown = others.filter(|(name, _)| *name != "name" && !SOURCES.contains(&name.as_str()));
    found += unknown.count();
    for which in SOURCES {
        let source = volume.child(which);
        if !source.is_set() {
            continue;
        }
        found += 1;
        if found > 1 {
            errors.forbidden(&source, "may not specify more than 1 volume type");
            continue;
        }
        match *which {
            "hostPath" => {
                let path = source.child("path");
                if path.is_empty() {
                    errors.required(&path, "");
                }
            }
            "secret" => named(&source, "secretName", errors),
            "configMap" => named(&source, "name", errors),
            "persistentVolumeClaim" => {
                let claim = source.child("claimName");
                if claim.is_empty() {
                    errors.required(&claim, "");
                }
            }
            _ => {}
        }
    }
    if found == 0 {
        errors.required(volume, "must specify a volume type");
    }
}

/// Checks a volume of a ConfigMap or Secret.
fn named(source: &Field<'_>, name: &str, errors: &mut Errors) {
    if source.child(name).is_empty() {
        errors.required(&source.child(name), "");
    }
    mode(&source.child("defaultMode"), errors);
    for item in source.child("items").items() {
        let (key, path) = (item.child("key"), item.child("path"));
        if key.is_empty() {
            errors.required(&key, "");
        }
        if path.is_empty() {
            errors.required(&path, "");
        }
        descends(&path, errors);
        mode(&item.child("mode"), errors);
    }
}

fn mode(mode: &Field<'_>, errors: &mut Errors) {
    if mode.optional().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        errors.invalid(mode, MODE);
    }
}

/// Checks a relative path: it must not leave its directory.
pub(super) fn descends(path: &Field<'_>, errors: &mut Errors) {
    if path.text().starts_with('/') {
        errors.invalid(path, "must be a relative path");
    }
    if path.text().split('/').any(|part| part == "..") {
        errors.invalid(path, "must not contain '..'");
    } else if path.text().starts_with("..") {
        errors.invalid(path, "must not start with '..'");
    }
}
