//! Whose an object is: shown by owner reference, field manager or Flagger's marks, never by its name.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use serin_core::model::Canary;

use crate::change::{CANARY, FIELD_MANAGER};
use crate::json::{items, strings, text};

/// The field manager of Flagger's writes: the name of its binary.
const FLAGGERS_MANAGER: &str = "flagger";

/// What Helm leaves on everything that it installs.
const HELM_RELEASE: &str = "meta.helm.sh/release-name";

/// Managers that write to objects of all owners, and tell nothing of who made one.
const PASSERS_BY: [&str; 3] = ["kube-controller-manager", "kube-scheduler", "kubelet"];

/// Who made an object, as far as the object itself shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This Canary's: made by Serin, or by Flagger before it.
    Ours,
    /// Someone else's, in words: `Deployment shop`, `Helm release shop`.
    Other(String),
}

/// Whose an object is that stands under a name derived for `canary`.
///
/// Ours is what lists the Canary among its owners. What has lost its owner references, as backups and exports do, is
/// ours where Serin or Flagger is one of its field managers and no other controls it.
pub(crate) fn of(live: &Value, canary: &Canary) -> Owner {
    if owned_by(live, canary) {
        return Owner::Ours;
    }
    if let Some(owner) = items(live, "/metadata/ownerReferences").first() {
        return Owner::Other(in_words(owner));
    }
    let managers = managers(live);
    if managers.contains(FIELD_MANAGER) || managers.contains(FLAGGERS_MANAGER) {
        return Owner::Ours;
    }
    Owner::Other(nobodys(live, &managers))
}

/// The owners of kind Canary, by uid.
pub(crate) fn canaries(live: &Value) -> BTreeSet<&str> {
    items(live, "/metadata/ownerReferences")
        .iter()
        .filter(|owner| text(owner, "/kind") == Some(CANARY.kind))
        .filter_map(|owner| text(owner, "/uid"))
        .collect()
}

/// The controller of the object, if that is something else than this Canary: `Kind name`.
pub(crate) fn other_controller(object: &Value, canary: &Canary) -> Option<String> {
    items(object, "/metadata/ownerReferences")
        .iter()
        .find(|owner| {
            owner.pointer("/controller") == Some(&Value::Bool(true))
                && text(owner, "/uid") != Some(&canary.uid)
        })
        .map(in_words)
}

fn in_words(owner: &Value) -> String {
    let part = |pointer| text(owner, pointer).unwrap_or("?");
    format!("{} {}", part("/kind"), part("/name"))
}

fn managers(live: &Value) -> BTreeSet<&str> {
    items(live, "/metadata/managedFields")
        .iter()
        .filter_map(|entry| text(entry, "/manager"))
        .filter(|manager| !PASSERS_BY.contains(manager))
        .collect()
}

/// Made by hand or by a tool, and controlled by nothing.
fn nobodys(live: &Value, managers: &BTreeSet<&str>) -> String {
    if let Some(release) = strings(live, "/metadata/annotations").get(HELM_RELEASE) {
        return format!("Helm release {release}");
    }
    if managers.is_empty() {
        return "someone else (it names no owner)".to_owned();
    }
    let managers: Vec<&str> = managers.iter().take(3).copied().collect();
    format!("someone else (written by {})", managers.join(", "))
}

/// The owner reference that marks what is generated for a Canary.
pub(crate) fn owner(canary: &Canary) -> Value {
    json!({
        "apiVersion": CANARY.api_version(),
        "kind": CANARY.kind,
        "name": canary.key.name,
        "uid": canary.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// Whether the object lists the Canary among its owners.
pub(crate) fn owned_by(object: &Value, canary: &Canary) -> bool {
    items(object, "/metadata/ownerReferences")
        .iter()
        .any(|owner| text(owner, "/uid") == Some(&canary.uid))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{canary, yaml};

    #[test]
    fn the_object_says_whose_it_is_and_its_name_does_not() {
        let canary = canary("");
        let metadata = [
            "{ownerReferences: [{kind: Canary, name: backend, uid: u1, controller: true}]}",
            "{ownerReferences: [{kind: Canary, name: backend, uid: u0, controller: true}]}",
            "{ownerReferences: [{kind: Deployment, name: db, uid: d1}]}",
            "{managedFields: [{manager: serin, operation: Apply}, {manager: kube-controller-manager}]}",
            "{managedFields: [{manager: flagger, operation: Update}]}",
            "{managedFields: [{manager: kubectl-client-side-apply}, {manager: kubelet}]}",
            "{annotations: {meta.helm.sh/release-name: shop}, managedFields: [{manager: helm}]}",
            "{}",
        ];
        let told: Vec<String> = metadata
            .iter()
            .map(|metadata| match of(&yaml(&format!("{{metadata: {metadata}}}")), &canary) {
                Owner::Ours => "ours".to_owned(),
                Owner::Other(owner) => owner,
            })
            .collect();
        expect![[r#"
            ours
            Canary backend
            Deployment db
            ours
            ours
            someone else (written by kubectl-client-side-apply)
            Helm release shop
            someone else (it names no owner)"#]]
        .assert_eq(&told.join("\n"));
    }
}
