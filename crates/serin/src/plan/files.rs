//! The files of a plan: their documents, what is wrong with those that are no Canary, and what applying them would do.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;
use serin_core::model::Finding;
use serin_core::parse;

use super::look::Look;
use super::report::{Files, Flaw, Write};

/// A file is a file of manifests, not a disk image.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// More than anyone plans at once.
const DOCUMENTS_MAX: usize = 1000;
/// Kinds that lie in no namespace, as far as files of a release have them.
const OF_THE_CLUSTER: [&str; 9] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "GatewayClass",
    "IngressClass",
    "Namespace",
    "PersistentVolume",
    "PriorityClass",
    "StorageClass",
];

/// All documents of all files and directories; objects that name no namespace get one.
pub(super) fn documents(names: &[String], namespace: &str) -> anyhow::Result<Vec<Value>> {
    let mut documents = Vec::new();
    for name in names {
        for file in within(name)? {
            documents.extend(read(&file, namespace)?);
        }
    }
    anyhow::ensure!(documents.len() <= DOCUMENTS_MAX, "more than {DOCUMENTS_MAX} documents");
    Ok(documents)
}

/// A file itself, or the manifests in a directory by their names, as kubectl takes them.
fn within(file: &str) -> anyhow::Result<Vec<String>> {
    if file == "-" || !Path::new(file).is_dir() {
        return Ok(vec![file.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(file).with_context(|| format!("cannot list {file}"))? {
        let path = entry.with_context(|| format!("cannot list {file}"))?.path();
        let kind = path.extension().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
        if path.is_file() && ["yaml", "yml", "json"].contains(&kind) {
            files.push(path.to_string_lossy().into_owned());
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &str, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let mut text = String::new();
    let what = if file == "-" { "stdin" } else { file };
    let size = if file == "-" {
        std::io::stdin().take(FILE_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        let open = std::fs::File::open(file).with_context(|| format!("cannot open {file}"))?;
        open.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)
    };
    let size = size.with_context(|| format!("cannot read {what}"))?;
    anyhow::ensure!(size as u64 <= FILE_BYTES_MAX, "{what} has more than {FILE_BYTES_MAX} bytes");
    let read = crate::lab::local::manifest::documents(&text)
        .with_context(|| format!("{what} is no YAML"))?;
    let mut documents = Vec::new();
    for document in read {
        anyhow::ensure!(document.is_object(), "{what} has a document that is no object");
        match document.get("items").and_then(Value::as_array) {
            Some(items) if document["kind"] == "List" => documents.extend(items.iter().cloned()),
            Some(_) | None => documents.push(document),
        }
    }
    for document in &mut documents {
        place(document, namespace);
    }
    Ok(documents)
}

fn place(document: &mut Value, namespace: &str) {
    let named = document.pointer("/metadata/namespace").is_some();
    let cluster = OF_THE_CLUSTER.contains(&document["kind"].as_str().unwrap_or_default());
    let metadata = document.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata.filter(|_| !named && !cluster) {
        metadata.insert("namespace".into(), namespace.into());
    }
}

/// What applying the files themselves would write.
pub(super) async fn of(look: &Look<'_>) -> anyhow::Result<Files> {
    let mut objects = Vec::new();
    let mut errors = Vec::new();
    for document in look.documents {
        let write = Write::unknown(document);
        errors.extend(
            flaws(document).into_iter().map(|finding| Flaw {
                object: format!("{} {}", write.kind, write.object()),
                finding,
            }),
        );
        objects.extend(look.applied(document, write).await?);
    }
    Ok(Files { objects, errors })
}

/// Templates and alert providers are read when a release needs them; what is wrong with them is better known before.
fn flaws(document: &Value) -> Vec<Finding> {
    match document["kind"].as_str() {
        Some("MetricTemplate") => parse::metric_template(document).err().unwrap_or_default(),
        Some("AlertProvider") => parse::alert_provider(document).err().unwrap_or_default(),
        Some(_) | None => Vec::new(),
    }
}
