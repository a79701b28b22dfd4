//! What a watch on metadata tells of an object: that this version of it exists. The API server leaves the rest out.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::ApiResource;
use kube::core::DynamicResourceScope;
use serde::{Deserialize, Deserializer};

/// An object that exists. Annotations and managed fields may be as long as an object may, so they are never built.
#[derive(Clone, Debug)]
pub(super) struct Told(ObjectMeta);

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Whole {
            metadata: Identity,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Identity {
            name: Option<String>,
            namespace: Option<String>,
            resource_version: Option<String>,
        }
        let Whole { metadata } = Whole::deserialize(deserializer)?;
        let Identity { name, namespace, resource_version } = metadata;
        Ok(Self(ObjectMeta { name, namespace, resource_version, ..ObjectMeta::default() }))
    }
}

impl Resource for Told {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&of.kind)
    }

    fn group(of: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&of.group)
    }

    fn version(of: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&of.version)
    }

    fn plural(of: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&of.plural)
    }

    /// What makes the client ask for metadata only. Its own `PartialObjectMeta` would build all of the metadata.
    fn metadata_api() -> bool {
        true
    }

    fn meta(&self) -> &ObjectMeta {
        &self.0
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_tells_an_object_and_its_version_is_kept() {
        let object = json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": "a", "namespace": "n", "resourceVersion": "7", "uid": "u",
                "annotations": {"long": "x".repeat(1000)}, "managedFields": [{"manager": "m"}]},
        });
        let told: Told = serde_json::from_value(object).unwrap();
        let expected = ObjectMeta {
            name: Some("a".to_owned()),
            namespace: Some("n".to_owned()),
            resource_version: Some("7".to_owned()),
            ..ObjectMeta::default()
        };
        assert_eq!(told.meta(), &expected);
    }
}
