//! Persistence: a snapshot file with all objects, and a journal beside it with the changes since, so that a restart loses nothing.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;
use crate::journal::{self, Entry, Journal, with_suffix};
use crate::registry::ResourceId;
use crate::store::{Dump, Name, Store, name_of, version_of};

/// Changes within this time are written together.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Why a snapshot cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is not a snapshot of this program")]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{path} has objects that cannot be loaded")]
    Load {
        path: PathBuf,
        #[source]
        source: Failure,
    },
    #[error("{path} is in use by another running cluster")]
    Taken { path: PathBuf },
    #[error("{path} has resourceVersions that are out of range")]
    Versions { path: PathBuf },
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot write the journal of {path}")]
    Journal {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// The greatest version that a snapshot can have: beyond any real one, and far from overflow.
const VERSION_MAX: u64 = 1 << 62;

/// An exclusive lock on a snapshot file, held until it is dropped.
pub struct FileLock {
    path: PathBuf,
    _lock: File,
}

impl FileLock {
    /// Locks the file; an error if another process holds it. A symbolic link is followed, so that it keeps its target.
    pub fn take(path: &Path) -> Result<Self, SnapshotError> {
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let beside = with_suffix(&path, ".lock");
        let write = |source| SnapshotError::Write { path: beside.clone(), source };
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&beside)
            .map_err(write)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(SnapshotError::Taken { path }),
            Err(TryLockError::Error(source)) => Err(write(source)),
        }
    }

    /// The locked file, with symbolic links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Replaces a file atomically: writes a temporary file that only its owner can read, syncs it, and renames it.
fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    // An existing file is never overwritten: it belongs to another program.
    let mut tries = 0_u32;
    let (beside, mut file) = loop {
        let beside = with_suffix(path, &format!(".{}-{tries}.new", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside) {
            Ok(file) => break (beside, file),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && tries < 100 => {
                tries += 1;
            }
            Err(error) => return Err(error),
        }
    };
    let written = file
        .write_all(text)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&beside, path));
    if let Err(error) = written {
        // An incomplete file is of no use and takes space on a disk that may be full.
        drop(std::fs::remove_file(&beside));
        return Err(error);
    }
    // Syncs the folder as well, so that the new name survives a power cut.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all())
}

#[derive(Serialize, Deserialize)]
struct Snapshot {
    #[serde(default)]
    version: u64,
    #[serde(default)]
    uids: u64,
    tables: Vec<Table>,
}

#[derive(Serialize, Deserialize)]
struct Table {
    group: String,
    plural: String,
    objects: Vec<Value>,
}

/// Loads the objects of a snapshot and its journal into the store; a missing file is an empty one.
pub async fn load(store: &Store, path: &Path) -> Result<(), SnapshotError> {
    let text = match tokio::fs::read(path).await {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => return Err(SnapshotError::Read { path: path.to_owned(), source }),
    };
    let entries = journal::read(path).map_err(|source| journal_error(path, source))?;
    let snapshot = match &text {
        None if entries.is_empty() => return Ok(()),
        None => Snapshot { version: 0, uids: 0, tables: Vec::new() },
        Some(text) => serde_json::from_slice(text)
            .map_err(|source| SnapshotError::Parse { path: path.to_owned(), source })?,
    };
    let dump = merge(snapshot, entries);
    let objects = || dump.tables.iter().flat_map(|(_, objects)| objects);
    let highest = objects().filter_map(version_of).chain([dump.version, dump.uids]).max();
    if highest.is_some_and(|highest| highest > VERSION_MAX) {
        return Err(SnapshotError::Versions { path: path.to_owned() });
    }
    store.load(dump).map_err(|source| SnapshotError::Load { path: path.to_owned(), source })
}

/// The snapshot with the changes of its journal applied.
fn merge(snapshot: Snapshot, entries: Vec<Entry>) -> Dump<Value> {
    let Snapshot { mut version, mut uids, tables } = snapshot;
    let taken = version;
    let mut all: BTreeMap<ResourceId, BTreeMap<Name, Value>> = BTreeMap::new();
    for table in tables {
        let objects = table.objects.into_iter().map(|object| (name_of(&object), object));
        all.entry(ResourceId::new(&table.group, &table.plural)).or_default().extend(objects);
    }
    for entry in entries.into_iter().filter(|entry| entry.version > taken) {
        (version, uids) = (version.max(entry.version), uids.max(entry.uids));
        let table = all.entry(ResourceId::new(&entry.group, &entry.plural)).or_default();
        let name = name_of(&entry.object);
        if entry.deleted {
            table.remove(&name);
        } else {
            table.insert(name, entry.object);
        }
    }
    let tables = all.into_iter().map(|(id, table)| (id, table.into_values().collect())).collect();
    Dump { version, uids, tables }
}

fn journal_error(path: &Path, source: std::io::Error) -> SnapshotError {
    SnapshotError::Journal { path: path.to_owned(), source }
}

/// Writes a snapshot now: to a temporary file, then renamed to `path`.
pub async fn save(store: &Store, path: &Path) -> Result<(), SnapshotError> {
    write(store, path, false).await
}

/// Writes the last snapshot; later changes are not saved.
pub async fn close(store: &Store, path: &Path) -> Result<(), SnapshotError> {
    write(store, path, true).await
}

async fn write(store: &Store, path: &Path, last: bool) -> Result<(), SnapshotError> {
    let dump = store.dump_for(last).map_err(|source| journal_error(path, source))?;
    let Dump { version, uids, tables } = dump;
    let tables = tables
        .into_iter()
        .map(|(id, objects)| Table {
            group: id.group,
            plural: id.plural,
            objects: objects.iter().map(|object| (**object).clone()).collect(),
        })
        .collect();
    let parse = |source| SnapshotError::Parse { path: path.to_owned(), source };
    let text = serde_json::to_vec(&Snapshot { version, uids, tables }).map_err(parse)?;
    let place = path.to_owned();
    let written = tokio::task::spawn_blocking(move || {
        replace(&place, &text)?;
        if last { journal::forget(&place) } else { journal::forget_old(&place) }
    });
    let written = written.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    written.map_err(|source| SnapshotError::Write { path: path.to_owned(), source })
}

/// From now on every change is written to the journal of this file before it is acknowledged. The file must be loaded.
pub fn begin(store: &Store, path: &Path) -> Result<(), SnapshotError> {
    let journal = Journal::open(path).map_err(|source| journal_error(path, source))?;
    store.set_journal(journal);
    Ok(())
}

/// Writes snapshots after changes until dropped; returns only with an error.
pub async fn keep(store: Store, path: PathBuf) -> SnapshotError {
    let mut changed = store.changed();
    loop {
        changed.mark_unchanged();
        if let Some(source) = store.journal_error() {
            return journal_error(&path, source);
        }
        if let Err(error) = save(&store, &path).await {
            return error;
        }
        if changed.changed().await.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep(DEBOUNCE).await;
    }
}
