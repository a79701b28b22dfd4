//! One look at the store, indexed by owner.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::change::Kind;
use super::cluster::Cluster;
use super::object;

/// Objects by a name: that of their namespace, or the uid of their owner.
type ByName = BTreeMap<String, Vec<Arc<Value>>>;

/// Objects of one kind.
#[derive(Default)]
struct Kindred {
    all: Vec<Arc<Value>>,
    by_owner: ByName,
    by_namespace: ByName,
    /// By their namespace, those that no controller owns.
    orphans: ByName,
}

/// All objects of the kinds asked for, as of one moment each.
#[derive(Default)]
pub(crate) struct World(BTreeMap<Kind, Kindred>);

fn push(map: &mut ByName, name: &str, item: &Arc<Value>) {
    match map.get_mut(name) {
        Some(list) => list.push(Arc::clone(item)),
        None => drop(map.insert(name.to_owned(), vec![Arc::clone(item)])),
    }
}

impl World {
    pub(crate) fn read(cluster: &dyn Cluster, kinds: &[Kind]) -> Self {
        let mut world = Self::default();
        for kind in kinds {
            let mut kindred = Kindred { all: cluster.list(*kind), ..Kindred::default() };
            for item in &kindred.all {
                let namespace = object::namespace(item);
                match object::owner(item) {
                    Some(owner) => push(&mut kindred.by_owner, owner, item),
                    None => push(&mut kindred.orphans, namespace, item),
                }
                push(&mut kindred.by_namespace, namespace, item);
            }
            world.0.insert(*kind, kindred);
        }
        world
    }

    pub(crate) fn all(&self, kind: Kind) -> &[Arc<Value>] {
        self.0.get(&kind).map_or(&[], |kindred| kindred.all.as_slice())
    }

    fn found(&self, kind: Kind, name: &str, index: impl Fn(&Kindred) -> &ByName) -> &[Arc<Value>] {
        let kindred = self.0.get(&kind);
        kindred.and_then(|kindred| index(kindred).get(name)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn owned(&self, kind: Kind, owner: &str) -> &[Arc<Value>] {
        self.found(kind, owner, |kindred| &kindred.by_owner)
    }

    pub(crate) fn inside(&self, kind: Kind, namespace: &str) -> &[Arc<Value>] {
        self.found(kind, namespace, |kindred| &kindred.by_namespace)
    }

    /// Objects of a namespace that no controller owns.
    pub(crate) fn orphans(&self, kind: Kind, namespace: &str) -> &[Arc<Value>] {
        self.found(kind, namespace, |kindred| &kindred.orphans)
    }
}
