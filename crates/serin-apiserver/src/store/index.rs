//! An index of owners and dependents by uid.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Name, owner_uids};
use crate::json_pointer::At;
use crate::registry::ResourceId;

/// The key of an object: kind, namespace and name.
pub(super) type ObjectKey = (ResourceId, Name);

/// Objects by their uid, and by the uids of their owners.
#[derive(Clone, Default)]
pub(super) struct Owners {
    places: BTreeMap<String, ObjectKey>,
    dependents: BTreeMap<String, BTreeSet<ObjectKey>>,
}

impl Owners {
    /// Updates the index after the object at this place changed from `old` to `new`.
    pub(super) fn moved(
        &mut self,
        id: &ResourceId,
        name: &Name,
        old: Option<&Value>,
        new: Option<&Value>,
    ) {
        let place = || (id.clone(), name.clone());
        let (before, after) = (old.map(owner_uids), new.map(owner_uids));
        for gone in before.iter().flatten() {
            if after.as_ref().is_some_and(|after| after.contains(gone)) {
                continue;
            }
            if let Some(set) = self.dependents.get_mut(gone) {
                set.remove(&place());
                if set.is_empty() {
                    self.dependents.remove(gone);
                }
            }
        }
        for owner in after.iter().flatten() {
            self.dependents.entry(owner.clone()).or_default().insert(place());
        }
        let (before, after) = (old.and_then(uid_of), new.and_then(uid_of));
        if before != after {
            before.map(|uid| self.places.remove(uid));
            after.map(|uid| self.places.insert(uid.to_owned(), place()));
        }
    }

    pub(super) fn dependents(&self, uid: &str) -> Vec<ObjectKey> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    pub(super) fn place(&self, uid: &str) -> Option<&ObjectKey> {
        self.places.get(uid)
    }
}

pub(super) fn uid_of(object: &Value) -> Option<&str> {
    object.at("/metadata/uid")?.as_str()
}

/// Whether a dependent blocks the foreground deletion of its owner.
pub(super) fn blocks(dependent: &Value, owner: &str) -> bool {
    let owners = dependent.at("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().any(|reference| {
        reference.get("uid").and_then(Value::as_str) == Some(owner)
            && reference.get("blockOwnerDeletion").and_then(Value::as_bool) == Some(true)
    })
}
