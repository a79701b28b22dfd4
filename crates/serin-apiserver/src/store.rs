//! The objects: one versioned store for every kind, with its history, finalizers and garbage collection.
//!
//! Everything in process (the actors, the simulation) and everything over HTTP goes through the same calls:
//! [`Store::create`], [`Store::update`], [`Store::modify`], [`Store::patch`], [`Store::delete`], and for readers
//! [`Store::get`], [`Store::list`], [`Store::changes_since`] with [`Store::changed`] to wait on.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::at::At;
use crate::failure::Failure;
use crate::journal::Journal;
use crate::registry::{self, Resource, ResourceId};

mod admit;
mod definitions;
mod index;
mod lifecycle;
mod write;

pub use write::{DeleteOptions, PatchKind, Propagation, Sub, Unknown, WriteOptions, Written};

/// Changes kept for watchers that fall behind; older ones get 410 and list again.
const LOG_MAX: usize = 2048;
/// The same in bytes of their objects: a few that are large must not cost as much as thousands.
const LOG_BYTES_MAX: usize = 8 << 20;
/// Events of all namespaces together; the oldest go first, as a real cluster forgets them after an hour.
const EVENTS_MAX: usize = 4096;

/// Versions between what a snapshot knows and what the next life of the server begins with. A server that was killed may have
/// given out versions that no snapshot knows, and none is ever used twice.
const LIVES_APART: u64 = 100_000;

/// Tells the time; a simulation hands in its own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    pub version: u64,
    /// None when the object was created.
    pub old: Option<Arc<Value>>,
    /// The last state, with the version of this change, when it was deleted.
    pub new: Arc<Value>,
    pub deleted: bool,
}

/// The wanted history is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired;

/// Namespace (empty for cluster-scoped kinds) and name.
pub(crate) type Name = (String, String);

#[derive(Clone, Default)]
struct Table {
    objects: BTreeMap<Name, Arc<Value>>,
    log: VecDeque<Change>,
    /// What the log's objects take, as JSON.
    log_bytes: usize,
    /// Changes up to this version are no longer in the log.
    forgotten: u64,
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
    /// Objects that are gone, and what follows from that has not been done yet.
    gone: VecDeque<(ResourceId, Name, Arc<Value>)>,
    /// Somebody works through `gone`.
    sweeping: bool,
    /// Changes whenever a CRD does; the OpenAPI documents' hash.
    schema_version: u64,
    /// Kinds with changes that nobody has been told of yet; none means all of them.
    news: Option<BTreeSet<ResourceId>>,
    /// Where changes go before they are acknowledged.
    journal: Option<Journal>,
}

/// Somebody who waits for changes of these kinds, or of any when there are none.
struct Waiting {
    kinds: Vec<ResourceId>,
    tell: watch::Sender<u64>,
}

/// The store; clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Mutex<Inner>>,
    /// One channel for each that waits: they are woken in the order in which they came, the same in every run.
    waiting: Arc<Mutex<Vec<Waiting>>>,
}

impl Store {
    /// An empty cluster with the namespaces `default`, `kube-system` and `kube-public`. `seed` makes uids and generated names.
    ///
    /// Versions start at the clock's microseconds: a client that comes back after a restart is told that its history is gone
    /// instead of waiting for ever.
    pub fn new(clock: Clock, seed: u64) -> Self {
        let version = u64::try_from(clock().as_microsecond()).unwrap_or(1).max(1);
        let resources: BTreeMap<_, _> =
            registry::builtins().into_iter().map(|r| (r.id.clone(), Arc::new(r))).collect();
        let tables = resources
            .keys()
            .map(|id| (id.clone(), Table { forgotten: version, ..Table::default() }))
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
            gone: VecDeque::new(),
            sweeping: false,
            schema_version: version,
            news: Some(BTreeSet::new()),
            journal: None,
        };
        let store = Self { inner: Arc::new(Mutex::new(inner)), waiting: Arc::default() };
        for name in ["default", "kube-system", "kube-public"] {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            // The names are well formed and the store is empty.
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

    /// A cluster in the same state, which goes its own way from here on.
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
            gone: inner.gone.clone(),
            sweeping: false,
            schema_version: inner.schema_version,
            news: Some(BTreeSet::new()),
            journal: None,
        };
        Self { inner: Arc::new(Mutex::new(copy)), waiting: Arc::default() }
    }

    /// Runs with the store to itself, then tells those who wait.
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        // Left behind only by a call that panicked.
        inner.sweeping = false;
        let schema = inner.schema_version;
        let result = work(&mut inner);
        if let Some(journal) = &mut inner.journal {
            journal.flush();
        }
        let version = inner.version;
        let news = inner.news.replace(BTreeSet::new()).filter(|_| schema == inner.schema_version);
        drop(inner);
        self.waiting().retain(|Waiting { kinds, tell }| {
            let concerned = kinds.is_empty()
                || news.as_ref().is_none_or(|news| kinds.iter().any(|kind| news.contains(kind)));
            tell.send_if_modified(|known| {
                let newer = concerned && version > *known;
                if newer {
                    *known = version;
                }
                newer
            });
            !tell.is_closed()
        });
        result
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every call leaves the tables whole before it can panic.
        self.inner.lock()
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock()
    }

    /// The version of the last change; wait on it to follow the store.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed_in(Vec::new())
    }

    /// The same for changes of these kinds only: who follows one kind need not wake for the others.
    pub fn changed_in(&self, kinds: Vec<ResourceId>) -> watch::Receiver<u64> {
        let mut waiting = self.waiting();
        let (tell, told) = watch::channel(self.version());
        waiting.push(Waiting { kinds, tell });
        told
    }

    pub fn version(&self) -> u64 {
        self.lock().version
    }

    pub fn now(&self) -> Timestamp {
        (self.lock().clock)()
    }

    /// Changes with every CRD that comes, goes or changes.
    pub fn schema_version(&self) -> u64 {
        self.lock().schema_version
    }

    pub fn resource(&self, id: &ResourceId) -> Option<Arc<Resource>> {
        self.lock().resources.get(id).cloned()
    }

    /// Every served kind, ordered by group and plural.
    pub fn resources(&self) -> Vec<Arc<Resource>> {
        self.lock().resources.values().cloned().collect()
    }

    pub fn get(&self, id: &ResourceId, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let key = (namespace.to_owned(), name.to_owned());
        self.lock().tables.get(id)?.objects.get(&key).cloned()
    }

    /// All objects of a kind, or those of one namespace, ordered by namespace and name.
    pub fn list(&self, id: &ResourceId, namespace: Option<&str>) -> Vec<Arc<Value>> {
        self.list_at(id, namespace).0
    }

    /// The same, and the version that it is the state of.
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

    /// Changes of a kind after `version`, and the version they lead up to.
    pub fn changes_since(
        &self,
        id: &ResourceId,
        version: u64,
    ) -> Result<(Vec<Change>, u64), Expired> {
        let inner = self.lock();
        if version > inner.version || version < inner.first_version {
            return Err(Expired);
        }
        // A kind that is gone has no more changes.
        let Some(table) = inner.tables.get(id) else { return Err(Expired) };
        if version < table.forgotten {
            return Err(Expired);
        }
        let start = table.log.partition_point(|change| change.version <= version);
        let changes = table.log.range(start..).cloned().collect();
        Ok((changes, inner.version))
    }

    /// From now on every change goes here before it is acknowledged.
    pub(crate) fn note_in(&self, journal: Journal) {
        self.lock().journal = Some(journal);
    }

    /// Why changes cannot be kept any more.
    pub(crate) fn unkept(&self) -> Option<std::io::Error> {
        self.lock().journal.as_ref()?.broken()
    }

    /// Everything, for a snapshot; later changes go into another journal.
    pub(crate) fn dump_for(&self, last: bool) -> std::io::Result<Dump<Arc<Value>>> {
        let mut inner = self.lock();
        if last {
            inner.journal = None;
        } else if let Some(journal) = &mut inner.journal {
            journal.rotate()?;
        }
        Ok(inner.dump())
    }

    /// Everything as it is now, for [`Store::restore`].
    pub fn backup(&self) -> Backup {
        Backup(self.lock().dump())
    }

    /// What restoring etcd from a backup does to a cluster: what was written since is gone, what is left has the version it
    /// had, lower than readers know it by, and every watch begins anew. Kinds are kept.
    pub fn restore(&self, backup: &Backup) {
        self.with(|inner| {
            inner.news = None;
            inner.version += LIVES_APART;
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
                table.log.clear();
                table.log_bytes = 0;
                table.forgotten = version;
            }
        });
    }

    /// Puts a snapshot's objects in place as they were; CRDs first, because the others need them.
    /// Versions go on above the snapshot's, and uids where it stopped.
    pub(crate) fn load(&self, dump: Dump<Value>) -> Result<(), Failure> {
        let Dump { version, uids, tables } = dump;
        self.with(|inner| {
            inner.news = None;
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
                    // The clock may have gone back since; versions never do.
                    inner.version = inner.version.max(version_of(&object).unwrap_or(0));
                    // A namespace that every cluster has gives way to the one that was saved.
                    let old = table.objects.get(&name).cloned();
                    inner.owners.moved(&id, &name, old.as_deref(), Some(&object));
                    table.objects.insert(name, Arc::new(object));
                }
            }
            inner.version += LIVES_APART;
            let version = inner.version;
            for table in inner.tables.values_mut() {
                table.log.clear();
                table.log_bytes = 0;
                table.forgotten = version;
            }
            inner.first_version = version;
            Ok(())
        })
    }
}

/// A cluster as it was at a moment.
pub struct Backup(Dump<Arc<Value>>);

/// All objects, and where the counters stood.
pub(crate) struct Dump<T> {
    pub(crate) version: u64,
    /// Uids given so far; none is given again.
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

    /// Stores a new state and notes the change.
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

    /// Takes an object out and notes the change.
    fn take_out(&mut self, id: &ResourceId, name: &Name) -> Option<Arc<Value>> {
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
        if let Some(news) = self.news.as_mut().filter(|news| !news.contains(id)) {
            news.insert(id.clone());
        }
    }

    /// A UUID that the seed determines.
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

    /// Five letters, as `generateName` appends.
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
                Some(name) => drop(self.take_out(&id, &name)),
                None => return,
            }
        }
    }
}

impl Table {
    fn note(&mut self, change: Change) {
        self.log_bytes += size(&change.new);
        self.log.push_back(change);
        // The last one stays, whatever it takes.
        while self.log.len() > LOG_MAX || self.log_bytes > LOG_BYTES_MAX && self.log.len() > 1 {
            if let Some(forgotten) = self.log.pop_front() {
                self.forgotten = forgotten.version;
                self.log_bytes -= size(&forgotten.new);
            }
        }
    }
}

/// About as many bytes as the value has when it is written.
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

/// As Kubernetes writes times: whole seconds, UTC.
pub(crate) fn time_text(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// Uids of the owners of an object.
pub(crate) fn owner_uids(object: &Value) -> BTreeSet<String> {
    let owners = object.at("/metadata/ownerReferences").and_then(Value::as_array);
    owners
        .into_iter()
        .flatten()
        .filter_map(|owner| owner.get("uid")?.as_str())
        .map(str::to_owned)
        .collect()
}
