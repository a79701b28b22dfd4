//! A restart loses nothing and repeats nothing.

use super::*;
use crate::snapshot;

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
    let old = Server::with_widgets().await;
    old.made(CONFIGS, config("a", "1")).await;
    old.made(WIDGETS, widget("w", 3)).await;
    let before = (
        old.get(CONFIGS).await.body["items"].clone(),
        old.get(WIDGETS).await.body["items"].clone(),
    );
    let version: u64 = old.version().await.parse().unwrap();
    snapshot::save(old.api.store(), &file).await.unwrap();
    // Also when the clock of the machine was set back.
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
async fn a_missing_file_is_an_empty_cluster_and_a_broken_one_is_said() {
    let folder = Folder::new("broken");
    let server = server();
    snapshot::load(server.api.store(), &folder.0.join("none")).await.unwrap();
    let file = folder.0.join("broken");
    std::fs::write(&file, "{\"tables\": 5}").unwrap();
    let error = snapshot::load(server.api.store(), &file).await.unwrap_err();
    assert!(error.to_string().ends_with("is no snapshot of this program"), "{error}");
}
