//! The store as the API that controllers use.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use super::change::{Deletion, Kind};
use super::cluster::{Cluster, Refused};
use super::object;
use crate::failure::Failure;
use crate::registry::ResourceId;
use crate::store::{DeleteOptions, Store, Sub, WriteOptions};

/// The field manager of all controllers, named like the program that they replace.
const MANAGER: &str = "kube-controller-manager";

fn id(kind: Kind) -> ResourceId {
    let (group, _, plural, _) = kind.resource();
    ResourceId::new(group, plural)
}

fn refused(failure: Failure) -> Refused {
    // Not found, exists already, or a conflict: the next pass reads the object again.
    if matches!(failure.code, 404 | 409) {
        Refused::Stale(failure.message)
    } else {
        Refused::Invalid(failure.message)
    }
}

fn put(store: &Store, kind: Kind, object: Value, sub: Sub) -> Result<(), Refused> {
    let (namespace, name) =
        (object::namespace(&object).to_owned(), object::name(&object).to_owned());
    store
        .update(&id(kind), &namespace, &name, object, sub, &WriteOptions::by(MANAGER))
        .map(drop)
        .map_err(refused)
}

impl Cluster for Store {
    fn list(&self, kind: Kind) -> Vec<Arc<Value>> {
        Store::list(self, &id(kind), None)
    }

    fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        Store::get(self, &id(kind), namespace, name)
    }

    fn create(&self, kind: Kind, object: Value) -> Result<(), Refused> {
        let namespace = object::namespace(&object).to_owned();
        Store::create(self, &id(kind), &namespace, object, &WriteOptions::by(MANAGER))
            .map(drop)
            .map_err(refused)
    }

    fn update(&self, kind: Kind, object: Value) -> Result<(), Refused> {
        put(self, kind, object, Sub::Main)
    }

    fn update_status(&self, kind: Kind, object: Value) -> Result<(), Refused> {
        put(self, kind, object, Sub::Status)
    }

    fn delete(&self, deletion: &Deletion) -> Result<(), Refused> {
        let options = DeleteOptions {
            uid: Some(deletion.uid.clone()),
            grace_secs: deletion.grace_secs,
            ..DeleteOptions::default()
        };
        Store::delete(self, &id(deletion.kind), &deletion.namespace, &deletion.name, &options)
            .map(drop)
            .map_err(refused)
    }

    fn touched(&self, kinds: &[Kind], since: u64) -> bool {
        kinds.iter().any(|kind| !matches!(self.changes_since(&id(*kind), since), Ok((changes, _)) if changes.is_empty()))
    }

    fn changes(&self, kinds: &[Kind]) -> watch::Receiver<u64> {
        self.changed_in(kinds.iter().copied().map(id).collect())
    }
}
