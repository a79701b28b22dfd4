//! A copy of the source with all bugs in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use diffy::Patch;

use crate::{Bug, ReadError};

/// Why the copy could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PlantError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{}", .path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{bug}.patch is not a patch of files below crates/")]
    Malformed { bug: String },
    #[error("{bug}.patch no longer fits {}: its lines have changed; see crates/serin-mutants/README.md", .file.display())]
    Stale { bug: String, file: PathBuf },
    #[error("{} has no line `{line}`, which the copy needs to replace", .file.display())]
    Manifest { file: PathBuf, line: &'static str },
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> PlantError + '_ {
    |source| PlantError::Io { path: path.to_owned(), source }
}

/// The files that `bugs` change, with all bugs in them. Paths are relative to `root`, the workspace.
pub(crate) fn patched(root: &Path, bugs: &[Bug]) -> Result<BTreeMap<PathBuf, String>, PlantError> {
    let mut files: BTreeMap<PathBuf, String> = BTreeMap::new();
    for bug in bugs {
        let malformed = || PlantError::Malformed { bug: bug.name.clone() };
        for part in parts(&bug.patch) {
            let patch = Patch::from_str(&part).map_err(|_| malformed())?;
            let name = patch.original().and_then(|name| name.strip_prefix("a/"));
            let file = PathBuf::from(name.ok_or_else(malformed)?);
            let before = match files.remove(&file) {
                Some(text) => text,
                None => fs::read_to_string(root.join(&file)).map_err(io(&file))?,
            };
            let after = diffy::apply(&before, &patch)
                .map_err(|_| PlantError::Stale { bug: bug.name.clone(), file: file.clone() })?;
            files.insert(file, after);
        }
    }
    Ok(files)
}

/// A patch of several files, one by one.
fn parts(patch: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for line in patch.split_inclusive('\n') {
        if line.starts_with("--- a/") {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push_str(line);
        }
    }
    parts
}

/// Writes a workspace to `copy` that has the crates of `root` which `bugs` change, with the bugs in them, and refers to
/// `root` for everything else. What has not changed since the last time is not touched, so that builds are short.
pub fn plant(root: &Path, copy: &Path, bugs: &[Bug]) -> Result<(), PlantError> {
    let patched = patched(root, bugs)?;
    let crates: BTreeSet<&str> = patched
        .keys()
        .filter_map(|file| file.strip_prefix("crates").ok()?.iter().next()?.to_str())
        .collect();
    for name in &crates {
        let below = Path::new("crates").join(name);
        copy_folder(root, copy, &below, &patched)?;
        let manifest = below.join("Cargo.toml");
        let text = fs::read_to_string(root.join(&manifest)).map_err(io(&manifest))?;
        let with = "[dependencies]\nserin-mutants.workspace = true\n";
        write(&copy.join(&manifest), &replaced(&manifest, &text, "[dependencies]\n", with)?)?;
    }
    link_the_rest(root, copy)?;
    let lock = Path::new("Cargo.lock");
    write(&copy.join(lock), &fs::read_to_string(root.join(lock)).map_err(io(lock))?)?;
    let manifest = Path::new("Cargo.toml");
    let text = fs::read_to_string(root.join(manifest)).map_err(io(manifest))?;
    write(&copy.join(manifest), &workspace(root, manifest, &text, &crates)?)
}

/// The manifest of the workspace, with only the changed crates as members; the others are where they are.
fn workspace(
    root: &Path,
    file: &Path,
    text: &str,
    crates: &BTreeSet<&str>,
) -> Result<String, PlantError> {
    let members: Vec<String> = crates.iter().map(|name| format!("\"crates/{name}\"")).collect();
    let members = format!("members = [{}]", members.join(", "));
    let mut text = replaced(file, text, "members = [\"crates/*\"]", &members)?;
    for entry in fs::read_dir(root.join("crates")).map_err(io(file))? {
        let name = entry.map_err(io(file))?.file_name();
        let Some(name) = name.to_str().filter(|name| !crates.contains(name)) else { continue };
        let there = root.join("crates").join(name);
        let path = format!("path = \"{}\"", there.display());
        text = text.replace(&format!("path = \"crates/{name}\""), &path);
    }
    Ok(text)
}

fn replaced(file: &Path, text: &str, line: &'static str, by: &str) -> Result<String, PlantError> {
    if !text.contains(line) {
        return Err(PlantError::Manifest { file: file.to_owned(), line });
    }
    Ok(text.replacen(line, by, 1))
}

/// Files of a crate; the manifest is written by the caller.
fn copy_folder(
    root: &Path,
    copy: &Path,
    below: &Path,
    patched: &BTreeMap<PathBuf, String>,
) -> Result<(), PlantError> {
    let mut wanted = BTreeSet::new();
    for entry in fs::read_dir(root.join(below)).map_err(io(below))? {
        let entry = entry.map_err(io(below))?;
        let path = below.join(entry.file_name());
        wanted.insert(entry.file_name());
        if entry.file_type().map_err(io(below))?.is_dir() {
            copy_folder(root, copy, &path, patched)?;
        } else if entry.file_name() != "Cargo.toml" {
            match patched.get(&path) {
                Some(text) => write(&copy.join(&path), text)?,
                None => {
                    let bytes = fs::read(root.join(&path)).map_err(io(&path))?;
                    write_bytes(&copy.join(&path), &bytes)?;
                }
            }
        }
    }
    // What was renamed or deleted since must not be built.
    for entry in fs::read_dir(copy.join(below)).map_err(io(below))? {
        let entry = entry.map_err(io(below))?;
        if !wanted.contains(&entry.file_name()) {
            let path = entry.path();
            let gone =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            gone.map_err(io(&path))?;
        }
    }
    Ok(())
}

/// Tests read manifests, documents and examples beside the crates.
fn link_the_rest(root: &Path, copy: &Path) -> Result<(), PlantError> {
    const OWN: [&str; 6] = ["crates", "target", "Cargo.toml", "Cargo.lock", ".git", ".parts"];
    for entry in fs::read_dir(root).map_err(io(root))? {
        let name = entry.map_err(io(root))?.file_name();
        let (here, there) = (copy.join(&name), root.join(&name));
        let own = OWN.iter().any(|own| name == *own);
        if own || here.symlink_metadata().is_ok() {
            continue;
        }
        std::os::unix::fs::symlink(&there, &here).map_err(io(&here))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), PlantError> {
    write_bytes(path, text.as_bytes())
}

fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), PlantError> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(io(folder))?;
    }
    fs::write(path, bytes).map_err(io(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::all;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    #[test]
    #[expect(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping")]
    fn every_bug_fits_the_source_and_has_a_switch_of_its_name() {
        let bugs = all().unwrap();
        assert!(bugs.len() > 40, "{} bugs", bugs.len());
        let files = patched(&root(), &bugs).unwrap_or_else(|error| panic!("{error}"));
        for bug in &bugs {
            let switch = format!("serin_mutants::on(\"{}\")", bug.name);
            assert!(
                files.values().any(|text| text.contains(&switch)),
                "{} has no switch",
                bug.name
            );
        }
    }

    #[test]
    #[expect(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping")]
    fn the_source_has_none_of_them() {
        for bug in all().unwrap() {
            for file in patched(&root(), std::slice::from_ref(&bug)).unwrap().keys() {
                let text = fs::read_to_string(root().join(file)).unwrap();
                assert!(!text.contains("serin_mutants"), "{}", file.display());
            }
        }
    }

    #[test]
    #[expect(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping")]
    fn a_bug_whose_lines_have_changed_is_named() {
        let mut bug = all().unwrap().remove(0);
        bug.patch = bug.patch.replace("\n ", "\n changed");
        let error = patched(&root(), &[bug.clone()]).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{}.patch no longer fits crates/", bug.name)),
            "{error}"
        );
    }
}
