//! The store: objects of every kind under one version counter, with history, finalizers and garbage collection.
//!
//! Clients in process (controllers, the simulation) and over HTTP use the same calls:
//! [`Store::create`], [`Store::update`], [`Store::modify`], [`Store::patch`], [`Store::delete`], and for readers
//! [`Store::get`], [`Store::list`], [`Store::changes_since`] with [`Store::changed`] to wait on.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::failure::Failure;
use crate::journal::Journal;
use crate::json_pointer::At;
use crate::registry::{self, Resource, ResourceId};

mod admit;
mod definitions;
mod index;
mod lifecycle;
mod write;

pub use write::{DeleteOptions, PatchKind, Propagation, Sub, Unknown, WriteOptions, Written};

/// Changes kept per kind for watchers that fall behind; a watch from an older version gets 410 and lists again.
const HISTORY_MAX: usize = 2048;
/// The same bound in bytes: a few large objects must not cost as much as thousands of small ones.
const HISTORY_BYTES_MAX: usize = 8 << 20;
/// Bound of Events of all namespaces together; the oldest are deleted, as a real cluster deletes them after an hour.
const EVENTS_MAX: usize = 4096;

/// The gap between the last version of a snapshot and the first one after a restart. A server that was killed may have
/// returned versions that no snapshot has, and no version is used twice.
const RESTART_VERSION_GAP: u64 = 100_000;

/// The clock; a simulation passes its own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    pub version: u64,
    /// The object before; `None` when it was created.
    pub old: Option<Arc<Value>>,
    /// The object after; when it was deleted, its last state with the version of the deletion.
    pub new: Arc<Value>,
    pub deleted: bool,
}

/// The requested version is no longer in the history: 410 Gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired;

/// Namespace (empty for cluster-scoped kinds) and name.
pub(crate) type Name = (String, String);

#[derive(Clone, Default)]
struct Table {
    objects: BTreeMap<Name, Arc<Value>>,
    history: VecDeque<Change>,
    /// The size of the objects in `history`, in bytes of JSON.
    history_bytes: usize,
    /// The version up to which changes were dropped from `history`.
    compacted: u64,
}

struct Inner {
    clock: Clock,
    version: u64,
    first_version: u64,
    seed: u64,
    uids: u64,
    resources: BTreeMap<ResourceId, Arc<Resource>>,
    tables: BTreeMap<ResourceId, Table>,
    owners: index::Owners,
    /// Deleted objects whose dependents and namespaces are not handled yet.
    removed: VecDeque<(ResourceId, Name, Arc<Value>)>,
    /// Whether a call is working through `removed`.
    collecting_garbage: bool,
    /// A counter that rises with every change of a CRD; the hash of the OpenAPI documents.
    schema_version: u64,
    /// Kinds with changes that waiters were not told of yet; `None` means all kinds.
    changed_kinds: Option<BTreeSet<ResourceId>>,
    /// The journal that changes are written to before they are acknowledged.
    journal: Option<Journal>,
}

/// A receiver of changes of these kinds, or of all kinds if `kinds` is empty.
struct Waiter {
    kinds: Vec<ResourceId>,
    sender: watch::Sender<u64>,
}

/// The store; clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Mutex<Inner>>,
    /// One channel per receiver: they are woken in the order in which they subscribed, the same in every run.
    waiters: Arc<Mutex<Vec<Waiter>>>,
}

impl Store {
    /// An empty cluster with the namespaces `default`, `kube-system` and `kube-public`. uids and generated names are a function of `seed`.
    ///
    /// Versions start at the clock's microseconds: a client that returns after a restart gets 410 Gone
    /// instead of waiting for a version that never comes.
    pub fn new(clock: Clock, seed: u64) -> Self {
        let version = u64::try_from(clock().as_microsecond()).unwrap_or(1).max(1);
        let resources: BTreeMap<_, _> =
            registry::builtins().into_iter().map(|r| (r.id.clone(), Arc::new(r))).collect();
        let tables = resources
            .keys()
            .map(|id| (id.clone(), Table { compacted: version, ..Table::default() }))
            .collect();
        let inner = Inner {
            clock,
            version,
            first_version: version,
            seed,
            uids: 0,
            resources,
            tables,
            owners: index::Owners::default(),
            removed: VecDeque::new(),
            collecting_garbage: false,
            schema_version: version,
            changed_kinds: Some(BTreeSet::new()),
            journal: None,
        };
        let store = Self { inner: Arc::new(Mutex::new(inner)), waiters: Arc::default() };
        for name in ["default", "kube-system", "kube-public"] {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            // This cannot fail: the names are valid and the store is empty.
            let created = store.create(
                &ResourceId::core("namespaces"),
                "",
                namespace,
                &WriteOptions::by("serin"),
            );
            debug_assert!(created.is_ok());
        }
        store
    }

    /// An independent copy of the cluster, with its own clock and seed.
    pub fn fork(&self, clock: Clock, seed: u64) -> Self {
        let inner = self.lock();
        let copy = Inner {
            clock,
            version: inner.version,
            first_version: inner.first_version,
            seed,
            uids: inner.uids,
            resources: inner.resources.clone(),
            tables: inner.tables.clone(),
            owners: inner.owners.clone(),
            removed: inner.removed.clone(),
            collecting_garbage: false,
            schema_version: inner.schema_version,
            changed_kinds: Some(BTreeSet::new()),
            journal: None,
        };
        Self { inner: Arc::new(Mutex::new(copy)), waiters: Arc::default() }
    }

    /// Runs `work` under the lock, writes the journal, then wakes the receivers of changes.
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        // Only still set if a call panicked.
        inner.collecting_garbage = false;
        let schema = inner.schema_version;
        let result = work(&mut inner);
        if let Some(journal) = &mut inner.journal {
            journal.flush();
        }
        let version = inner.version;
        let changed_kinds =
            inner.changed_kinds.replace(BTreeSet::new()).filter(|_| schema == inner.schema_version);
        drop(inner);
        self.waiters().retain(|Waiter { kinds, sender }| {
            let concerned = kinds.is_empty()
                || changed_kinds.as_ref().is_none_or(|changed_kinds| {
                    kinds.iter().any(|kind| changed_kinds.contains(kind))
                });
            sender.send_if_modified(|known| {
                let newer = concerned && version > *known;
                if newer {
                    *known = version;
                }
                newer
            });
            !sender.is_closed()
        });
        result
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The tables are consistent before every call that can panic.
        self.inner.lock()
    }

    fn waiters(&self) -> MutexGuard<'_, Vec<Waiter>> {
        self.waiters.lock()
    }

    /// A channel with the version of the last change.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed_in(Vec::new())
    }

    /// A channel with the version of the last change of these kinds; it is not woken for other kinds.
    pub fn changed_in(&self, kinds: Vec<ResourceId>) -> watch::Receiver<u64> {
        let mut waiters = self.waiters();
        let (sender, receiver) = watch::channel(self.version());
        waiters.push(Waiter { kinds, sender });
        receiver
    }

    /// The resourceVersion of the last change of any kind.
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// The time of the store's clock.
    pub fn now(&self) -> Timestamp {
        (self.lock().clock)()
    }

    /// A counter that rises when a CRD is created, changed or deleted.
    pub fn schema_version(&self) -> u64 {
        self.lock().schema_version
    }

    /// A served kind; `None` if it is not served.
    pub fn resource(&self, id: &ResourceId) -> Option<Arc<Resource>> {
        self.lock().resources.get(id).cloned()
    }

    /// Every served kind, ordered by group and plural.
    pub fn resources(&self) -> Vec<Arc<Resource>> {
        self.lock().resources.values().cloned().collect()
    }

    /// One object; `namespace` is empty for cluster-scoped kinds.
    pub fn get(&self, id: &ResourceId, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let key = (namespace.to_owned(), name.to_owned());
        self.lock().tables.get(id)?.objects.get(&key).cloned()
    }

    /// All objects of a kind, or those of one namespace, ordered by namespace and name.
    pub fn list(&self, id: &ResourceId, namespace: Option<&str>) -> Vec<Arc<Value>> {
        self.list_at(id, namespace).0
    }

    /// The same list, and the version that it is of.
    pub fn list_at(&self, id: &ResourceId, namespace: Option<&str>) -> (Vec<Arc<Value>>, u64) {
        let inner = self.lock();
        let Some(table) = inner.tables.get(id) else { return (Vec::new(), inner.version) };
        let objects = table
            .objects
            .iter()
            .filter(|((ns, _), _)| namespace.is_none_or(|wanted| wanted == ns))
            .map(|(_, object)| Arc::clone(object))
            .collect();
        (objects, inner.version)
    }

    /// The changes of a kind after `version`, and the current version of the store. [`Expired`] if the history does not reach back that far.
    pub fn changes_since(
        &self,
        id: &ResourceId,
        version: u64,
    ) -> Result<(Vec<Change>, u64), Expired> {
        let inner = self.lock();
        if version > inner.version || version < inner.first_version {
            return Err(Expired);
        }
        // A kind that is no longer served has no history.
        let Some(table) = inner.tables.get(id) else { return Err(Expired) };
        if version < table.compacted {
            return Err(Expired);
        }
        let start = table.history.partition_point(|change| change.version <= version);
        let changes = table.history.range(start..).cloned().collect();
        Ok((changes, inner.version))
    }

    /// Sets the journal that changes are written to before they are acknowledged.
    pub(crate) fn set_journal(&self, journal: Journal) {
        self.lock().journal = Some(journal);
    }

    /// The error because of which the journal is no longer written.
    pub(crate) fn journal_error(&self) -> Option<std::io::Error> {
        self.lock().journal.as_ref()?.broken()
    }

    /// All objects for a snapshot; later changes go to a new journal.
    pub(crate) fn dump_for(&self, last: bool) -> std::io::Result<Dump<Arc<Value>>> {
        let mut inner = self.lock();
        if last {
            inner.journal = None;
        } else if let Some(journal) = &mut inner.journal {
            journal.rotate()?;
        }
        Ok(inner.dump())
    }

    /// A backup of all objects, for [`Store::restore`].
    pub fn backup(&self) -> Backup {
        Backup(self.lock().dump())
    }

    /// Restores a backup as etcd does: later writes are lost, objects have the versions of the backup,
    /// lower than clients know them by, and every watch starts anew. Kinds are kept.
    pub fn restore(&self, backup: &Backup) {
        self.with(|inner| {
            inner.changed_kinds = None;
            inner.version += RESTART_VERSION_GAP;
            let version = inner.version;
            inner.first_version = version;
            let kept: BTreeMap<_, _> = backup.0.tables.iter().map(|(id, o)| (id, o)).collect();
            for (id, table) in &mut inner.tables {
                for (name, old) in std::mem::take(&mut table.objects) {
                    inner.owners.moved(id, &name, Some(&old), None);
                }
                for object in kept.get(id).into_iter().copied().flatten() {
                    let name = name_of(object);
                    inner.owners.moved(id, &name, None, Some(object));
                    table.objects.insert(name, Arc::clone(object));
                }
                table.history.clear();
                table.history_bytes = 0;
                table.compacted = version;
            }
        });
    }

    /// Loads the objects of a snapshot unchanged, CRDs first, because the others need them.
    /// Versions continue above the snapshot's, and uids where they stopped.
    pub(crate) fn load(&self, dump: Dump<Value>) -> Result<(), Failure> {
        let Dump { version, uids, tables } = dump;
        self.with(|inner| {
            inner.changed_kinds = None;
            inner.version = inner.version.max(version);
            inner.uids = inner.uids.max(uids);
            let crds = ResourceId::new("apiextensions.k8s.io", "customresourcedefinitions");
            for (_, objects) in tables.iter().filter(|(id, _)| *id == crds) {
                for crd in objects {
                    inner.install(crd)?;
                }
            }
            for (id, objects) in tables {
                let Some(table) = inner.tables.get_mut(&id) else { continue };
                for object in objects {
                    let name = name_of(&object);
                    // The clock may be behind the snapshot; versions never go back.
                    inner.version = inner.version.max(version_of(&object).unwrap_or(0));
                    // A built-in namespace is replaced by the saved one.
                    let old = table.objects.get(&name).cloned();
                    inner.owners.moved(&id, &name, old.as_deref(), Some(&object));
                    table.objects.insert(name, Arc::new(object));
                }
            }
            inner.version += RESTART_VERSION_GAP;
            let version = inner.version;
            for table in inner.tables.values_mut() {
                table.history.clear();
                table.history_bytes = 0;
                table.compacted = version;
            }
            inner.first_version = version;
            Ok(())
        })
    }
}

/// The objects of a cluster at one moment.
pub struct Backup(Dump<Arc<Value>>);

/// All objects and counters.
pub(crate) struct Dump<T> {
    pub(crate) version: u64,
    /// The number of uids assigned; none is assigned twice.
    pub(crate) uids: u64,
    pub(crate) tables: Vec<(ResourceId, Vec<T>)>,
}

impl Inner {
    fn dump(&self) -> Dump<Arc<Value>> {
        let tables = self
            .tables
            .iter()
            .map(|(id, table)| (id.clone(), table.objects.values().cloned().collect()))
            .collect();
        Dump { version: self.version, uids: self.uids, tables }
    }

    fn now_text(&self) -> String {
        time_text((self.clock)())
    }

    fn find(&self, id: &ResourceId) -> Result<Arc<Resource>, Failure> {
        let missing =
            || Failure::new(404, "NotFound", "the server could not find the requested resource");
        self.resources.get(id).cloned().ok_or_else(missing)
    }

    fn object(&self, id: &ResourceId, name: &Name) -> Option<Arc<Value>> {
        self.tables.get(id)?.objects.get(name).cloned()
    }

    fn existing(&self, id: &ResourceId, name: &Name) -> Result<Arc<Value>, Failure> {
        self.object(id, name).ok_or_else(|| Failure::not_found(&id.group, &id.plural, &name.1))
    }

    /// Stores an object under a new version and records the change.
    fn commit(&mut self, id: &ResourceId, name: &Name, mut object: Value) -> Arc<Value> {
        self.version += 1;
        let version = self.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let new = Arc::new(object);
        if let Some(table) = self.tables.get_mut(id) {
            let old = table.objects.insert(name.clone(), Arc::clone(&new));
            self.owners.moved(id, name, old.as_deref(), Some(&new));
            table.note(Change { version, old, new: Arc::clone(&new), deleted: false });
            self.note_news(id);
            self.note_down(id, &new, false);
        }
        new
    }

    /// Removes an object and records the change.
    fn remove_object(&mut self, id: &ResourceId, name: &Name) -> Option<Arc<Value>> {
        let table = self.tables.get_mut(id)?;
        let old = table.objects.remove(name)?;
        self.owners.moved(id, name, Some(&old), None);
        self.version += 1;
        let mut last = (*old).clone();
        last["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let last = Arc::new(last);
        table.note(Change {
            version: self.version,
            old: Some(old),
            new: Arc::clone(&last),
            deleted: true,
        });
        self.note_news(id);
        self.note_down(id, &last, true);
        Some(last)
    }

    fn note_down(&mut self, id: &ResourceId, object: &Value, deleted: bool) {
        if let Some(journal) = &mut self.journal {
            journal.note(id, object, deleted, self.version, self.uids);
        }
    }

    fn note_news(&mut self, id: &ResourceId) {
        if let Some(changed_kinds) =
            self.changed_kinds.as_mut().filter(|changed_kinds| !changed_kinds.contains(id))
        {
            changed_kinds.insert(id.clone());
        }
    }

    /// A UUID that is a function of seed and counter.
    fn next_uid(&mut self) -> String {
        let digest = self.next_random();
        let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!(
            "{}-{}-4{}-8{}-{}",
            part(0, 8),
            part(8, 12),
            part(13, 16),
            part(17, 20),
            part(20, 32)
        )
    }

    /// A suffix of five characters for `generateName`.
    fn next_suffix(&mut self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let digest = self.next_random();
        digest
            .iter()
            .take(5)
            .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
            .collect()
    }

    fn next_random(&mut self) -> Vec<u8> {
        self.uids += 1;
        let mut hasher = Sha256::new();
        hasher.update(self.seed.to_le_bytes());
        hasher.update(self.uids.to_le_bytes());
        hasher.finalize().to_vec()
    }

    fn trim_events(&mut self) {
        let id = ResourceId::core("events");
        while self.tables.get(&id).is_some_and(|table| table.objects.len() > EVENTS_MAX) {
            let oldest = self.tables.get(&id).and_then(|table| {
                let version = |object: &Value| version_of(object).unwrap_or(0);
                table
                    .objects
                    .iter()
                    .min_by_key(|(_, object)| version(object))
                    .map(|(name, _)| name.clone())
            });
            match oldest {
                Some(name) => drop(self.remove_object(&id, &name)),
                None => return,
            }
        }
    }
}

impl Table {
    fn note(&mut self, change: Change) {
        self.history_bytes += size(&change.new);
        self.history.push_back(change);
        // The last change is kept, whatever its size.
        while self.history.len() > HISTORY_MAX
            || self.history_bytes > HISTORY_BYTES_MAX && self.history.len() > 1
        {
            if let Some(compacted) = self.history.pop_front() {
                self.compacted = compacted.version;
                self.history_bytes -= size(&compacted.new);
            }
        }
    }
}

/// The approximate size of the value as JSON, in bytes.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(list) => 2 + list.iter().map(|item| 1 + size(item)).sum::<usize>(),
        Value::Object(map) => {
            2 + map.iter().map(|(name, value)| name.len() + 4 + size(value)).sum::<usize>()
        }
    }
}

pub(crate) fn version_of(object: &Value) -> Option<u64> {
    object.at("/metadata/resourceVersion")?.as_str()?.parse().ok()
}

pub(crate) fn name_of(object: &Value) -> Name {
    let text = |name: &str| {
        object
            .get("metadata")
            .and_then(|m| m.get(name))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    (text("namespace"), text("name"))
}

/// A time as Kubernetes writes it: RFC 3339 in UTC, whole seconds.
pub(crate) fn time_text(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// The uids of the owners of an object.
pub(crate) fn owner_uids(object: &Value) -> BTreeSet<String> {
    let owners = object.at("/metadata/ownerReferences").and_then(Value::as_array);
    owners
        .into_iter()
        .flatten()
        .filter_map(|owner| owner.get("uid")?.as_str())
        .map(str::to_owned)
        .collect()
}
