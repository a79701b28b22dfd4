//! An object as the caches hold it: its JSON text, a tenth of what the same takes as a tree of maps.
//!
//! An idle canary is never looked at, so what it costs is what it holds. A tick that reads an object parses it again,
//! which takes tens of microseconds.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::{ApiResource, DynamicObject};
use kube::core::DynamicResourceScope;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Which Service a slice belongs to.
pub(crate) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// An object with no more of `metadata.managedFields` than is asked for.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Only what tells the object and its version from others, and the Service of a slice; the rest is in the text.
    identity: ObjectMeta,
    text: Box<str>,
}

impl Packed {
    pub fn new(object: &DynamicObject) -> serde_json::Result<Self> {
        let mut lean = Cow::Borrowed(object);
        if lean.metadata.managed_fields.is_some() {
            lean.to_mut().metadata.managed_fields = crate::cache::managers::kept(object);
        }
        let text = serde_json::to_string(&lean)?.into_boxed_str();
        let of = &object.metadata;
        let service = of.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME_LABEL));
        let identity = ObjectMeta {
            name: of.name.clone(),
            namespace: of.namespace.clone(),
            uid: of.uid.clone(),
            resource_version: of.resource_version.clone(),
            labels: service
                .map(|service| [(SERVICE_NAME_LABEL.to_owned(), service.clone())].into()),
            ..ObjectMeta::default()
        };
        Ok(Self { identity, text })
    }

    /// The object itself.
    pub fn object(&self) -> serde_json::Result<DynamicObject> {
        serde_json::from_str(&self.text)
    }

    /// The object as plain JSON.
    pub fn value(&self) -> serde_json::Result<Value> {
        serde_json::from_str(&self.text)
    }

    pub fn version(&self) -> Option<&str> {
        self.identity.resource_version.as_deref()
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&DynamicObject::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Resource for Packed {
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

    fn meta(&self) -> &ObjectMeta {
        &self.identity
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.identity
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_packed_comes_out_again() {
        let given = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7",
                "labels": {"k": "v"}, "managedFields": [{"manager": "m", "fieldsType": "FieldsV1"}]},
            "spec": {"ports": [{"port": 80}]}, "status": {},
        });
        let packed: Packed = serde_json::from_value(given.clone()).unwrap();
        let mut expected = given;
        expected["metadata"]["managedFields"] = json!([{"manager": "m"}]);
        assert_eq!(packed.value().unwrap(), expected);
        assert_eq!(serde_json::to_value(packed.object().unwrap()).unwrap(), expected);
        assert_eq!(packed.version(), Some("7"));
        assert_eq!(packed.meta().name.as_deref(), Some("a"));
    }
}
