//! The private directory of a running cluster: its kubeconfig, the files of its pods, the logs of real parts.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::json;

/// Clusters that one process may run at once; tests run a few.
const TRIES: u32 = 100;

#[derive(Debug, thiserror::Error)]
pub enum DirError {
    #[error("cannot make {path}")]
    Make {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// A directory that goes when it is dropped.
pub(super) struct RunDir(PathBuf);

impl RunDir {
    pub(super) fn make() -> Result<Self, DirError> {
        let base = std::env::temp_dir();
        let mut last = 0;
        loop {
            let path = base.join(format!("serin-{}-{last}", std::process::id()));
            // Never an existing one: another client may have put it there.
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists && last < TRIES => last += 1,
                Err(source) => return Err(DirError::Make { path, source }),
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }

    pub(super) fn write_kubeconfig(&self, api: SocketAddr) -> Result<(), DirError> {
        let name = "serin-local";
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": format!("http://{api}")}}],
            "users": [{"name": name, "user": {}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        });
        write(&self.kubeconfig(), format!("{config:#}\n").as_bytes())
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "cannot remove the cluster's directory");
        }
    }
}

/// Writes beside the file and then into its place, so that nobody reads half of it.
pub(super) fn write(path: &Path, text: &[u8]) -> Result<(), DirError> {
    let beside = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(text))
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|source| DirError::Write { path: path.to_owned(), source })
}
