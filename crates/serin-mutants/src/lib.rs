//! Deliberate bugs, kept as patches beside the source, that the tests of Serin must find.
//!
//! [`all`] lists them, [`plant`] puts them into a copy of the source, and [`Switched`] turns one on for the current thread
//! of a program that was built from that copy.

mod plant;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

pub use plant::{PlantError, plant};

/// The search that must find a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FoundBy {
    /// Every order of events of one canary.
    SmallWorld,
    /// Simulated lives of the whole operator.
    Lives,
    /// Hundreds of canaries that share what there is.
    Crowds,
    /// Lives beside objects of other owners.
    Strangers,
}

impl FoundBy {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "the small world" => Self::SmallWorld,
            "lives" => Self::Lives,
            "crowds" => Self::Crowds,
            "lives among strangers" => Self::Strangers,
            _ => return None,
        })
    }
}

/// One deliberate bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bug {
    /// The name of its file, and of its switch.
    pub name: String,
    /// What goes wrong.
    pub what: String,
    pub found_by: FoundBy,
    /// The patch, in the unified format.
    patch: String,
}

/// Why the list of bugs cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read {}", .path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} does not begin with the lines `What:` and `Found by:`", .0.display())]
    Header(PathBuf),
}

/// Every bug, by name.
pub fn all() -> Result<Vec<Bug>, ReadError> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("patches");
    let io = |source| ReadError::Io { path: folder.clone(), source };
    let mut bugs = Vec::new();
    for entry in fs::read_dir(&folder).map_err(io)? {
        bugs.push(read(&entry.map_err(io)?.path())?);
    }
    bugs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(bugs)
}

/// The bugs that one search must find.
pub fn found_by(search: FoundBy) -> Result<Vec<Bug>, ReadError> {
    let mut bugs = all()?;
    bugs.retain(|bug| bug.found_by == search);
    Ok(bugs)
}

fn read(path: &Path) -> Result<Bug, ReadError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
    let parsed = || {
        let name = path.file_stem()?.to_str()?.to_owned();
        let (head, patch) = text.split_once("\n\n")?;
        let mut lines = head.lines();
        let what = lines.next()?.strip_prefix("What: ")?.to_owned();
        let found_by = FoundBy::parse(lines.next()?.strip_prefix("Found by: ")?)?;
        Some(Bug { name, what, found_by, patch: patch.to_owned() })
    };
    parsed().ok_or_else(|| ReadError::Header(path.to_owned()))
}

thread_local! {
    static CURRENT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Whether this bug is to happen here. Called by the patches only.
pub fn on(name: &str) -> bool {
    CURRENT.with_borrow(|current| current.as_deref() == Some(name))
}

/// One bug, switched on for this thread until it is dropped: a simulated world lives on one thread.
#[derive(Debug)]
pub struct Switched(());

impl Switched {
    pub fn on(bug: &Bug) -> Self {
        CURRENT.set(Some(bug.name.clone()));
        Self(())
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}
