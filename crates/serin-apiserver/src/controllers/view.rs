//! The objects of some kinds at one moment, indexed by owner and namespace.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::change::Kind;
use super::cluster::Cluster;
use super::object;

/// Objects by the name of their namespace, or by the uid of their owner.
type ByName = BTreeMap<String, Vec<Arc<Value>>>;

/// Objects of one kind.
#[derive(Default)]
struct KindIndex {
    all: Vec<Arc<Value>>,
    by_owner: ByName,
    by_namespace: ByName,
    /// Objects without a controller, by namespace.
    orphans: ByName,
}

/// The objects of the kinds that were read. Each kind is consistent in itself; writes can come between two kinds.
#[derive(Default)]
pub(crate) struct ClusterView(BTreeMap<Kind, KindIndex>);

fn push(map: &mut ByName, name: &str, item: &Arc<Value>) {
    match map.get_mut(name) {
        Some(list) => list.push(Arc::clone(item)),
        None => drop(map.insert(name.to_owned(), vec![Arc::clone(item)])),
    }
}

impl ClusterView {
    pub(crate) fn read(cluster: &dyn Cluster, kinds: &[Kind]) -> Self {
        let mut view = Self::default();
        for kind in kinds {
            let mut index_of_kind = KindIndex { all: cluster.list(*kind), ..KindIndex::default() };
            for item in &index_of_kind.all {
                let namespace = object::namespace(item);
                match object::owner(item) {
                    Some(owner) => push(&mut index_of_kind.by_owner, owner, item),
                    None => push(&mut index_of_kind.orphans, namespace, item),
                }
                push(&mut index_of_kind.by_namespace, namespace, item);
            }
            view.0.insert(*kind, index_of_kind);
        }
        view
    }

    pub(crate) fn all(&self, kind: Kind) -> &[Arc<Value>] {
        self.0.get(&kind).map_or(&[], |index_of_kind| index_of_kind.all.as_slice())
    }

    fn found(
        &self,
        kind: Kind,
        name: &str,
        index: impl Fn(&KindIndex) -> &ByName,
    ) -> &[Arc<Value>] {
        let index_of_kind = self.0.get(&kind);
        index_of_kind
            .and_then(|index_of_kind| index(index_of_kind).get(name))
            .map_or(&[], Vec::as_slice)
    }

    pub(crate) fn owned(&self, kind: Kind, owner: &str) -> &[Arc<Value>] {
        self.found(kind, owner, |index_of_kind| &index_of_kind.by_owner)
    }

    pub(crate) fn inside(&self, kind: Kind, namespace: &str) -> &[Arc<Value>] {
        self.found(kind, namespace, |index_of_kind| &index_of_kind.by_namespace)
    }

    /// Objects of a namespace that have no controller.
    pub(crate) fn orphans(&self, kind: Kind, namespace: &str) -> &[Arc<Value>] {
        self.found(kind, namespace, |index_of_kind| &index_of_kind.orphans)
    }
}
