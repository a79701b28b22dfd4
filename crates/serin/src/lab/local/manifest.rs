//! Manifests: YAML with any number of documents, applied to the store as `kubectl apply --server-side` would.

use serde_json::Value;
use serin_apiserver::failure::Failure;
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{PatchKind, Store, Sub, WriteOptions};

/// Field manager of what this program itself puts into its cluster.
pub const MANAGER: &str = "serin-local";

#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("cannot read the YAML")]
    Yaml(#[source] serde_saphyr::Error),
    #[error("there is no kind {kind} in {api_version}")]
    Kind { api_version: String, kind: String },
    #[error("{kind} {name} was refused")]
    Refused {
        kind: String,
        name: String,
        #[source]
        source: Box<Failure>,
    },
}

/// The documents of a file.
pub fn documents(yaml: &str) -> Result<Vec<Value>, ManifestError> {
    let all: Vec<Value> = serde_saphyr::from_multiple(yaml).map_err(ManifestError::Yaml)?;
    Ok(all.into_iter().filter(|document| !document.is_null()).collect())
}

/// Creates or changes one object.
pub fn apply(store: &Store, object: &Value) -> Result<(), ManifestError> {
    let text = |pointer: &str| {
        object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let resource = store
        .resources()
        .into_iter()
        .find(|r| r.id.group == group && r.kind == kind && r.version(version).is_some())
        .ok_or_else(|| ManifestError::Kind {
            api_version: api_version.clone(),
            kind: kind.clone(),
        })?;
    let namespace = match text("/metadata/namespace") {
        _ if !resource.namespaced => String::new(),
        none if none.is_empty() => "default".to_owned(),
        namespace => namespace,
    };
    let options =
        WriteOptions { version: version.to_owned(), force: true, ..WriteOptions::by(MANAGER) };
    store
        .patch(&resource.id, &namespace, &name, PatchKind::Apply, object, Sub::Main, &options)
        .map(drop)
        .map_err(|source| ManifestError::Refused { kind, name, source: Box::new(source) })
}

/// Gives a container of a Deployment another image, as `kubectl set image` does.
pub fn set_image(
    store: &Store,
    namespace: &str,
    deployment: &str,
    container: &str,
    image: &str,
) -> Result<(), ManifestError> {
    let containers = serde_json::json!([{"name": container, "image": image}]);
    let patch = serde_json::json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let id = ResourceId::new("apps", "deployments");
    let options = WriteOptions::by(MANAGER);
    store
        .patch(&id, namespace, deployment, PatchKind::Strategic, &patch, Sub::Main, &options)
        .map(drop)
        .map_err(|source| ManifestError::Refused {
            kind: "Deployment".to_owned(),
            name: deployment.to_owned(),
            source: Box::new(source),
        })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn applies_all_documents_of_a_file() {
        let store = Store::new(Arc::new(jiff::Timestamp::now), 1);
        let yaml = "# nothing\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: develop}\n---\n\
                    apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: develop}\ndata: {k: v}\n";
        for document in documents(yaml).unwrap() {
            apply(&store, &document).unwrap();
        }
        let id = ResourceId::core("configmaps");
        assert_eq!(store.get(&id, "develop", "a").unwrap()["data"]["k"], "v");
    }

    #[test]
    fn names_an_unknown_kind() {
        let store = Store::new(Arc::new(jiff::Timestamp::now), 1);
        let object =
            serde_json::json!({"apiVersion": "x.y/v1", "kind": "Z", "metadata": {"name": "a"}});
        let error = apply(&store, &object).unwrap_err();
        assert_eq!(error.to_string(), "there is no kind Z in x.y/v1");
    }
}
