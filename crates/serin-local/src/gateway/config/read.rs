//! Reading untyped objects: names, fields, and names as Traefik writes them.

use serde_json::Value;

/// An object with what is needed to talk about it.
pub(super) struct Object<'a> {
    pub(super) value: &'a Value,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// Kind, namespace and name, for problems.
    pub(super) label: String,
}

impl<'a> Object<'a> {
    pub(super) fn new(kind: &str, value: &'a Value) -> Self {
        let namespace = text(&value["metadata"], "namespace").unwrap_or("default");
        let name = text(&value["metadata"], "name").unwrap_or("");
        Self { value, namespace, name, label: format!("{kind} {namespace}/{name}") }
    }

    pub(super) fn spec(&self) -> &'a Value {
        &self.value["spec"]
    }

    /// The name Traefik gives to what is made of this object.
    pub(super) fn id(&self) -> String {
        normalize(&format!("{}-{}", self.namespace, self.name))
    }
}

/// A non-empty string field.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value[field].as_str().filter(|text| !text.is_empty())
}

pub(super) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

/// Letters and digits stay, everything between them becomes one dash.
pub(super) fn normalize(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}
