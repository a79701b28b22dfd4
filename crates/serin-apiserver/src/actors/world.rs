//! One look at the store, indexed by owner.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::change::Kind;
use super::cluster::Cluster;
use super::object;

/// All objects of the kinds asked for, as of one moment each.
#[derive(Default)]
pub(crate) struct World {
    all: BTreeMap<Kind, Vec<Arc<Value>>>,
    by_owner: BTreeMap<(Kind, String), Vec<Arc<Value>>>,
    by_namespace: BTreeMap<(Kind, String), Vec<Arc<Value>>>,
}

impl World {
    pub(crate) fn read(cluster: &dyn Cluster, kinds: &[Kind]) -> Self {
        let mut world = Self::default();
        for kind in kinds {
            let objects = cluster.list(*kind);
            for item in &objects {
                if let Some(owner) = object::owner(item) {
                    world
                        .by_owner
                        .entry((*kind, owner.to_owned()))
                        .or_default()
                        .push(Arc::clone(item));
                }
                world
                    .by_namespace
                    .entry((*kind, object::namespace(item).to_owned()))
                    .or_default()
                    .push(Arc::clone(item));
            }
            world.all.insert(*kind, objects);
        }
        world
    }

    pub(crate) fn all(&self, kind: Kind) -> &[Arc<Value>] {
        self.all.get(&kind).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn owned(&self, kind: Kind, owner: &str) -> &[Arc<Value>] {
        self.by_owner.get(&(kind, owner.to_owned())).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn inside(&self, kind: Kind, namespace: &str) -> &[Arc<Value>] {
        self.by_namespace.get(&(kind, namespace.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// Objects of a namespace that no controller owns.
    pub(crate) fn orphans(&self, kind: Kind, namespace: &str) -> impl Iterator<Item = &Arc<Value>> {
        self.inside(kind, namespace).iter().filter(|item| object::owner(item).is_none())
    }
}
