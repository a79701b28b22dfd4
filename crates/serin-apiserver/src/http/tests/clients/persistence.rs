//! A restart loses nothing and repeats nothing.

use std::io::Write;

use super::*;
use crate::journal::Journal;
use crate::snapshot::{self, SnapshotError};

struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("serin-snapshot-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[tokio::test]
async fn a_restored_server_is_the_same_one() {
    let folder = Folder::new("same");
    let file = folder.0.join("state.json");
    let old = TestServer::with_widgets().await;
    old.made(CONFIGS, config("a", "1")).await;
    old.made(WIDGETS, widget("w", 3)).await;
    let before = (
        old.get(CONFIGS).await.body["items"].clone(),
        old.get(WIDGETS).await.body["items"].clone(),
    );
    let version: u64 = old.version().await.parse().unwrap();
    snapshot::save(old.api.store(), &file).await.unwrap();
    // Also if the clock of the machine was set back.
    for start in [START_SECS + 10, START_SECS - 1000] {
        let new = server_at(start);
        snapshot::load(new.api.store(), &file).await.unwrap();
        let after = (
            new.get(CONFIGS).await.body["items"].clone(),
            new.get(WIDGETS).await.body["items"].clone(),
        );
        assert_eq!(after, before);
        let again: u64 = new.version().await.parse().unwrap();
        assert!(again > version, "{again} > {version}");
        let mut watch = new.watch(&format!("{CONFIGS}?watch=true&resourceVersion={version}")).await;
        assert_eq!(watch.next().await.unwrap()["object"]["code"], 410);
        let fresh = new.made(CONFIGS, config("b", "1")).await;
        let everything = json!([
            before.0,
            before.1,
            old.get("/api/v1/namespaces").await.body["items"],
            old.get(CRDS).await.body["items"]
        ])
        .to_string();
        assert!(!everything.contains(&text(&fresh, "/metadata/uid")), "a uid is given once");
    }
}

#[tokio::test]
async fn a_missing_file_is_an_empty_cluster_and_a_broken_one_is_an_error() {
    let folder = Folder::new("broken");
    let server = server();
    snapshot::load(server.api.store(), &folder.0.join("none")).await.unwrap();
    let file = folder.0.join("broken");
    std::fs::write(&file, "{\"tables\": 5}").unwrap();
    let error = snapshot::load(server.api.store(), &file).await.unwrap_err();
    assert!(error.to_string().ends_with("is not a snapshot of this program"), "{error}");
}

#[tokio::test]
async fn the_file_is_private_whole_and_kept_by_one_cluster() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("private");
    let (real, link) = (folder.0.join("real.json"), folder.0.join("link.json"));
    let server = server();
    std::fs::write(&real, "{\"tables\": []}").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    // A file of another program beside it is not changed.
    let foreign = folder.0.join("real.tmp");
    std::fs::write(&foreign, "mine").unwrap();
    let claim = snapshot::FileLock::take(&link).unwrap();
    assert!(matches!(snapshot::FileLock::take(&real), Err(SnapshotError::Taken { .. })));
    snapshot::save(server.api.store(), claim.path()).await.unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink(), "the link leads there still");
    let mode = std::fs::metadata(&real).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "mine");
    let left: Vec<_> =
        std::fs::read_dir(&folder.0).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "{left:?}");
    drop(claim);
    assert!(snapshot::FileLock::take(&real).is_ok());
    let nowhere = folder.0.join("no/such/folder/state.json");
    let error = snapshot::save(server.api.store(), &nowhere).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot write "), "{error}");
}

#[tokio::test]
async fn versions_out_of_range_are_refused() {
    let folder = Folder::new("versions");
    let file = folder.0.join("state.json");
    for text in [
        format!("{{\"version\": {}, \"tables\": []}}", u64::MAX),
        format!(
            "{{\"tables\": [{{\"group\": \"\", \"plural\": \"configmaps\", \"objects\": [{{\"metadata\": {{\"name\": \"a\", \"namespace\": \"default\", \"resourceVersion\": \"{}\"}}}}]}}]}}",
            u64::MAX - 1
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = snapshot::load(server().api.store(), &file).await.unwrap_err();
        assert!(
            error.to_string().ends_with("has resourceVersions that are out of range"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_history_of_watches_is_bounded_in_bytes() {
    let server = server();
    let version = server.version().await;
    server.made(CONFIGS, config("big", "0")).await;
    for number in 0..20 {
        let value = format!("{number}{}", "x".repeat(900_000));
        let patch = json!({"data": {"value": value}});
        assert_eq!(server.patch(MERGE, &format!("{CONFIGS}/big"), patch).await.code, 200);
    }
    let mut watch = server.watch(&format!("{CONFIGS}?watch=true&resourceVersion={version}")).await;
    assert_eq!(watch.next().await.unwrap()["object"]["code"], 410, "the oldest are forgotten");
}

/// Every object that users created, as the server returns it.
async fn everything(server: &TestServer) -> Value {
    json!([
        server.get(CONFIGS).await.body["items"],
        server.get(WIDGETS).await.body["items"],
        server.get("/api/v1/namespaces").await.body["items"],
    ])
}

/// The server after a restart from `file`.
async fn revived(file: &std::path::Path) -> TestServer {
    let server = server();
    snapshot::load(server.api.store(), file).await.unwrap();
    snapshot::begin(server.api.store(), file).unwrap();
    server
}

#[tokio::test]
async fn nothing_that_was_acknowledged_is_lost_by_a_kill() {
    let folder = Folder::new("killed");
    let file = folder.0.join("state.json");
    let journal = folder.0.join("state.json.journal");
    let server = revived(&file).await;
    server.made(CRDS, widgets()).await;
    server.made(WIDGETS, widget("w", 3)).await;
    for number in 0..61 {
        server.made(CONFIGS, config(&format!("c{number}"), "1")).await;
    }
    assert_eq!(server.delete(&format!("{CONFIGS}/c7")).await.code, 200);
    let patch = json!({"data": {"value": "2"}});
    assert_eq!(server.patch(MERGE, &format!("{CONFIGS}/c8"), patch).await.code, 200);
    let before = everything(&server).await;
    assert!(!file.exists(), "no snapshot has been written");
    drop(server);
    // Killed while writing a line that was never acknowledged.
    let mut cut = std::fs::OpenOptions::new().append(true).open(&journal).unwrap();
    cut.write_all(b"{\"version\": 12, \"obj").unwrap();

    let server = revived(&file).await;
    assert_eq!(everything(&server).await, before);
    server.made(CONFIGS, config("later", "1")).await;
    // A snapshot has all changes, and later ones are in a new journal.
    snapshot::save(server.api.store(), &file).await.unwrap();
    let head = std::fs::read_to_string(&journal).unwrap();
    assert_eq!(head.lines().count(), 1, "{head}");
    server.made(CONFIGS, config("last", "1")).await;
    let before = everything(&server).await;
    drop(server);

    // Killed between removing the old journal and writing the snapshot.
    let server = revived(&file).await;
    assert_eq!(everything(&server).await, before);
    server.api.store().dump_for(false).unwrap();
    server.made(CONFIGS, config("beside", "1")).await;
    let before = everything(&server).await;
    drop(server);
    assert_eq!(everything(&revived(&file).await).await, before);

    let server = revived(&file).await;
    snapshot::close(server.api.store(), &file).await.unwrap();
    server.made(CONFIGS, config("unkept", "1")).await;
    let left: Vec<_> =
        std::fs::read_dir(&folder.0).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["state.json"], "a cluster that ended in order leaves one file");
    assert_eq!(everything(&revived(&file).await).await, before);
}

#[tokio::test]
async fn a_journal_of_another_program_is_not_written_to() {
    let folder = Folder::new("foreign");
    let file = folder.0.join("state.json");
    let journal = folder.0.join("state.json.journal");
    std::fs::write(&journal, "dear diary\n").unwrap();
    for error in [
        snapshot::load(server().api.store(), &file).await.unwrap_err(),
        snapshot::begin(server().api.store(), &file).unwrap_err(),
    ] {
        assert!(error.to_string().starts_with("cannot write the journal of "), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&journal).unwrap(), "dear diary\n");
    std::fs::remove_file(&journal).unwrap();
    std::os::unix::fs::symlink(folder.0.join("elsewhere"), &journal).unwrap();
    assert!(snapshot::begin(server().api.store(), &file).is_err(), "a link is not followed");
}

#[tokio::test]
async fn a_change_that_cannot_be_journaled_is_not_acknowledged() {
    let folder = Folder::new("full");
    let file = folder.0.join("state.json");
    let server = server();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    server.api.store().set_journal(Journal::on(folder.0.join("full"), full));
    let refused = server.post(CONFIGS, config("a", "1")).await;
    assert_eq!(refused.code, 500);
    assert!(text(&refused.body, "/message").starts_with("the change cannot be kept: "));
    assert_eq!(server.get(CONFIGS).await.code, 200);
    let why = snapshot::keep(server.api.store().clone(), file).await;
    assert!(matches!(why, SnapshotError::Journal { .. }), "{why}");
}
