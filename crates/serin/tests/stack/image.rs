//! The image, unpacked by umoci into a bare root that is mounted read-only, in which its user runs the operator: with
//! nothing of this machine but a kubeconfig and a resolv.conf, as a kubelet would mount them.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use serin::lab::local::{Cluster, Options};

use crate::alone;
use crate::chart::released;
use crate::install::{Scratch, install, leads, replicas};
use crate::local::{Kubectl, options, part, until};

/// The whole image, packed.
const BYTES_MAX: u64 = 20 << 20;
/// Where the image's own resolver asks. A name that no file knows, so that it has to.
const NAMES: &str = "127.53.53.53:53";
const PROMETHEUS: &str = "prometheus.monitoring.svc.cluster.test";

/// The JSON document of a descriptor.
fn blob(layout: &Path, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:");
    let path = layout.join("blobs/sha256").join(digest);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// What a registry and a kubelet read of it; gives the tag.
fn described(layout: &Path) -> String {
    let index: Value =
        serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let entry = &index["manifests"][0];
    let manifest = blob(layout, entry);
    let size = |part: &Value| part["size"].as_u64().unwrap();
    let packed: u64 = manifest["layers"].as_array().unwrap().iter().map(size).sum();
    assert!(packed < BYTES_MAX, "{:.1} MiB", packed as f64 / f64::from(1 << 20));
    let config = blob(layout, &manifest["config"]);
    assert_eq!(config["config"]["User"], "10001:10001");
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/usr/local/bin/serin"]));
    for label in ["source", "version", "revision", "licenses", "created", "title"] {
        let value = &config["config"]["Labels"][format!("org.opencontainers.image.{label}")];
        assert!(value.as_str().is_some_and(|value| !value.is_empty()), "{label}: {value}");
    }
    entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap().to_owned()
}

fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// Nothing is in it that is not meant to be: no shell, no library.
fn holds(root: &Path) {
    let wanted = [
        "etc/group",
        "etc/nsswitch.conf",
        "etc/passwd",
        "etc/ssl/certs/ca-certificates.crt",
        "usr/local/bin/serin",
        "usr/share/doc/serin/LICENSE",
        "usr/share/doc/serin/LICENSES-OF-DEPENDENCIES.txt",
        "usr/share/sbom/serin.cdx.json",
    ];
    assert_eq!(files(root), wanted.map(str::to_owned).into());
    let sbom = std::fs::read(root.join("usr/share/sbom/serin.cdx.json")).unwrap();
    let sbom: Value = serde_json::from_slice(&sbom).unwrap();
    assert_eq!(sbom["bomFormat"], "CycloneDX");
    let parts: BTreeSet<&str> = sbom["components"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|part| part["name"].as_str())
        .collect();
    assert!(["kube", "tokio", "rustls", "serin-core"].iter().all(|part| parts.contains(part)));
    assert!(!parts.contains("serin-local"), "the laboratory is in it");
    let licences =
        std::fs::read_to_string(root.join("usr/share/doc/serin/LICENSES-OF-DEPENDENCIES.txt"))
            .unwrap();
    assert!(licences.contains("Permission is hereby granted"), "no text of a licence");
}

/// Runs the image's binary as its user in its root, read-only.
fn entrypoint(scratch: &Scratch, root: &Path) -> (String, Vec<String>) {
    let script = format!(
        "set -e; root={root}; mount --bind $root $root; mount -o remount,bind,ro $root; set -a; . {settings}; \
         SERIN_ADDRESS=$POD_IP; set +a; cd $root; exec chroot --userspec=10001:10001 $root /usr/local/bin/serin \"$@\"",
        root = root.display(),
        settings = scratch.0.join("settings").display(),
    );
    let words = ["unshare", "--mount", "/bin/sh", "-c", &script, "serin"];
    ("ghcr.io/serin-rs/serin:*".to_owned(), words.map(str::to_owned).to_vec())
}

/// What a kubelet would mount, and of the devices that the OCI runtime specification promises those that may be asked for.
fn mounted(scratch: &Scratch, root: &Path, cluster: &Cluster) {
    std::fs::create_dir_all(root.join("etc/serin")).unwrap();
    std::fs::create_dir_all(root.join("dev")).unwrap();
    for (name, minor) in [("random", "8"), ("urandom", "9")] {
        let device = root.join("dev").join(name);
        let made =
            Command::new("mknod").args(["-m", "666"]).arg(&device).args(["c", "1", minor]).status();
        assert!(made.unwrap().success(), "{}", device.display());
    }
    let kubeconfig = std::fs::read(cluster.kubeconfig()).unwrap();
    std::fs::write(root.join("etc/serin/kubeconfig"), kubeconfig).unwrap();
    let resolver = format!("nameserver {}\n", NAMES.trim_end_matches(":53"));
    std::fs::write(root.join("etc/resolv.conf"), resolver).unwrap();
    let settings = format!(
        "SERIN_KUBECONFIG=/etc/serin/kubeconfig\nSERIN_GATEWAY_METRICS={}/metrics\nSERIN_MIN_INTERVAL=1\n",
        cluster.gateway_admin_url(),
    );
    std::fs::write(scratch.0.join("settings"), settings).unwrap();
}

/// The cluster's DNS: one name, on loopback; anything else does not exist.
fn name_server() {
    let socket = UdpSocket::bind(NAMES).unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let Some(answer) = answer(&packet[..length]) else { continue };
            drop(socket.send_to(&answer, from));
        }
    });
}

/// A header of twelve bytes, then one question: labels, a type, a class.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut name = Vec::new();
    while *query.get(at)? != 0 {
        let length = usize::from(query[at]);
        name.push(String::from_utf8(query.get(at + 1..=at + length)?.to_vec()).ok()?);
        at += length + 1;
    }
    let question = query.get(12..at + 5)?;
    let known = name.join(".") == PROMETHEUS;
    let address = known && query.get(at + 1..at + 3)? == [0, 1];
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, if known { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(address), 0, 0, 0, 0]);
    reply.extend(question);
    if address {
        reply.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    Some(reply)
}

fn unpacked(umoci: &Path, layout: &Path, tag: &str, scratch: &Scratch) -> PathBuf {
    let bundle = scratch.0.join("bundle");
    let output = Command::new(umoci)
        .args(["unpack", "--image", &format!("{}:{tag}", layout.display())])
        .arg(&bundle)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    bundle.join("rootfs")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_runs_in_a_bare_root_as_its_user() {
    let _alone = alone().await;
    let (Some(layout), Some(umoci)) = (part("SERIN_IMAGE"), part("SERIN_UMOCI")) else { return };
    let Some(kubectl) = part("SERIN_KUBECTL") else { return };
    let scratch = Scratch::new("image");
    let root = unpacked(&umoci, &layout, &described(&layout), &scratch);
    holds(&root);
    name_server();

    let images = vec![entrypoint(&scratch, &root)];
    let cluster = Cluster::start(Options { operator: false, images, ..options() }).await.unwrap();
    mounted(&scratch, &root, &cluster);
    let kubectl = Kubectl::new(kubectl, &cluster);
    // Both replicas become ready by their probes, and one leads.
    install(&kubectl).await;
    until("one of the two leads", || async {
        let pods = replicas(&cluster);
        pods.len() == 2 && leads(&pods[0]).await != leads(&pods[1]).await
    })
    .await;
    let prometheus = cluster.prometheus_url().replace("127.0.0.1", PROMETHEUS);
    assert!(prometheus.contains(PROMETHEUS), "{prometheus}");
    released(&kubectl, &cluster, &prometheus, &[("v2", "Succeeded")]).await;
    cluster.stop().await;
}
