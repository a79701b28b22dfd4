//! The write-ahead journal: changes since the last snapshot, written to a file before they are acknowledged.
//!
//! A killed process loses nothing that it has written to the kernel. Against a power cut there is the snapshot, which is
//! synced to the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::registry::ResourceId;

/// The first line of a journal, by which other files are told apart.
const HEADER: &str = "{\"journal\":\"serin\"}\n";

/// One change: a line of the file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) version: u64,
    pub(crate) uids: u64,
    pub(crate) group: String,
    pub(crate) plural: String,
    /// The new object, or the last one if it was deleted.
    pub(crate) object: Value,
    pub(crate) deleted: bool,
}

/// An [`Entry`] with borrowed values, for writing.
#[derive(Serialize)]
struct Line<'a> {
    version: u64,
    uids: u64,
    group: &'a str,
    plural: &'a str,
    object: &'a Value,
    deleted: bool,
}

/// An open journal.
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// Changes of the current call, not yet written.
    pending: Vec<u8>,
    /// The error of the first failed write; nothing is written after it.
    broken: Option<io::Error>,
}

impl Journal {
    /// Opens the journal of this snapshot, or creates it. An incomplete last line was never acknowledged and is cut off.
    pub(crate) fn open(snapshot: &Path) -> io::Result<Self> {
        let path = beside(snapshot);
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Self::begin(path),
            Err(error) => return Err(error),
            Ok(found) if !found.is_file() => return Err(not_a_journal(&path)),
            Ok(_) => {}
        }
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        let whole = whole_lines(&path, &file)?;
        file.set_len(whole)?;
        file.seek(SeekFrom::End(0))?;
        if whole == 0 {
            file.write_all(HEADER.as_bytes())?;
        }
        Ok(Self::on(path, file))
    }

    fn begin(path: PathBuf) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(HEADER.as_bytes())?;
        Ok(Self::on(path, file))
    }

    pub(crate) fn on(path: PathBuf, file: File) -> Self {
        Self { path, file, pending: Vec::new(), broken: None }
    }

    /// Queues a change; [`Journal::flush`] writes it.
    pub(crate) fn note(
        &mut self,
        id: &ResourceId,
        object: &Value,
        deleted: bool,
        version: u64,
        uids: u64,
    ) {
        let (group, plural) = (id.group.as_str(), id.plural.as_str());
        let line = Line { version, uids, group, plural, object, deleted };
        match serde_json::to_writer(&mut self.pending, &line) {
            Ok(()) => self.pending.push(b'\n'),
            Err(error) if self.broken.is_none() => self.broken = Some(error.into()),
            Err(_) => {}
        }
    }

    /// Writes the queued changes to the kernel, in one call.
    pub(crate) fn flush(&mut self) {
        if !self.pending.is_empty() && self.broken.is_none() {
            self.broken = self.file.write_all(&self.pending).err();
        }
        self.pending.clear();
    }

    /// The error because of which changes are no longer written.
    pub(crate) fn broken(&self) -> Option<io::Error> {
        let error = self.broken.as_ref()?;
        Some(io::Error::new(error.kind(), error.to_string()))
    }

    /// Starts a new file, because the next snapshot contains the changes of this one. If an older file is left from before, it is kept until
    /// that snapshot, and this one is continued.
    pub(crate) fn rotate(&mut self) -> io::Result<()> {
        let old = with_suffix(&self.path, OLD);
        if old.symlink_metadata().is_ok() {
            return Ok(());
        }
        std::fs::rename(&self.path, &old)?;
        self.file = Self::begin(self.path.clone())?.file;
        Ok(())
    }
}

const OLD: &str = ".old";

fn beside(snapshot: &Path) -> PathBuf {
    with_suffix(snapshot, ".journal")
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn not_a_journal(path: &Path) -> io::Error {
    let why = format!("{} is not a journal of this program", path.display());
    io::Error::new(ErrorKind::InvalidData, why)
}

/// The number of bytes of complete lines.
fn whole_lines(path: &Path, file: &File) -> io::Result<u64> {
    let (mut reader, mut line, mut whole) = (BufReader::new(file), Vec::new(), 0_u64);
    while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        if whole == 0 && line != HEADER.as_bytes() {
            return Err(not_a_journal(path));
        }
        whole += u64::try_from(line.len()).unwrap_or(u64::MAX);
        line.clear();
    }
    if whole == 0 && !HEADER.as_bytes().starts_with(&line) {
        return Err(not_a_journal(path));
    }
    Ok(whole)
}

/// Removes the older journal, whose changes the snapshot contains.
pub(crate) fn forget_old(snapshot: &Path) -> io::Result<()> {
    remove(&with_suffix(&beside(snapshot), OLD))
}

/// Removes both journals, whose changes the snapshot contains.
pub(crate) fn forget(snapshot: &Path) -> io::Result<()> {
    forget_old(snapshot)?;
    remove(&beside(snapshot))
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The changes in the journals of this snapshot, in order.
pub(crate) fn read(snapshot: &Path) -> io::Result<Vec<Entry>> {
    let path = beside(snapshot);
    let mut entries = Vec::new();
    for path in [with_suffix(&path, OLD), path] {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut left = whole_lines(&path, &file)?;
        let mut file = file;
        file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::new(file);
        let mut line = String::new();
        while left > 0 {
            line.clear();
            let length = reader.read_line(&mut line)?;
            left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
            if line != HEADER {
                entries.push(serde_json::from_str(&line)?);
            }
        }
    }
    Ok(entries)
}
