//! One file that holds everything, so that a restart loses nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;
use crate::registry::ResourceId;
use crate::store::{Dump, Store};

/// Changes within this time make one write.
const DEBOUNCE: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is no snapshot of this program")]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{path} holds what cannot be loaded")]
    Load {
        path: PathBuf,
        #[source]
        source: Failure,
    },
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
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

/// Puts a snapshot's objects into the store; a file that does not exist is an empty one.
pub async fn load(store: &Store, path: &Path) -> Result<(), SnapshotError> {
    let text = match tokio::fs::read(path).await {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(SnapshotError::Read { path: path.to_owned(), source }),
    };
    let parse = |source| SnapshotError::Parse { path: path.to_owned(), source };
    let snapshot: Snapshot = serde_json::from_slice(&text).map_err(parse)?;
    let tables = snapshot
        .tables
        .into_iter()
        .map(|t| (ResourceId::new(&t.group, &t.plural), t.objects))
        .collect();
    let dump = Dump { version: snapshot.version, uids: snapshot.uids, tables };
    store.load(dump).map_err(|source| SnapshotError::Load { path: path.to_owned(), source })
}

/// Writes the store to the file now, beside it first and then in its place.
pub async fn save(store: &Store, path: &Path) -> Result<(), SnapshotError> {
    let Dump { version, uids, tables } = store.dump();
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
    let write = |source| SnapshotError::Write { path: path.to_owned(), source };
    let beside = path.with_extension("tmp");
    tokio::fs::write(&beside, text).await.map_err(write)?;
    tokio::fs::rename(&beside, path).await.map_err(write)
}

/// Keeps the file up to date until dropped.
pub async fn keep(store: Store, path: PathBuf) {
    let mut changed = store.changed();
    while changed.changed().await.is_ok() {
        tokio::time::sleep(DEBOUNCE).await;
        changed.mark_unchanged();
        if let Err(error) = save(&store, &path).await {
            tracing::error!(%error, "the cluster's state was not saved");
        }
    }
}
