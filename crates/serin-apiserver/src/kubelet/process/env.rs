//! The environment variables of a container, and their expansion in its command.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use base64::Engine;
use serde_json::Value;

use super::super::Configs;
use super::images;
use crate::controllers::object::{self, flag, list, text};
use crate::controllers::{NODE, NODE_ADDRESS};

pub(crate) type Env = BTreeMap<String, String>;

/// The values that a container's environment can refer to.
pub(crate) struct EnvSources<'a> {
    pub(crate) pod: &'a Value,
    pub(crate) ip: Ipv4Addr,
    pub(crate) configs: &'a dyn Configs,
}

impl EnvSources<'_> {
    /// All environment variables of a container.
    pub(crate) fn environment(&self, container: &Value) -> Result<Env, String> {
        let mut env = self.own(container);
        for source in list(container, "/envFrom") {
            let prefix = text(source, "/prefix");
            for (key, value) in self.all_of(source)? {
                env.insert(format!("{prefix}{key}"), value);
            }
        }
        for entry in list(container, "/env") {
            let name = text(entry, "/name");
            let value = match entry.get("valueFrom").filter(|from| from.is_object()) {
                Some(from) => self.value_from(name, from)?,
                None => Some(expand(text(entry, "/value"), &env)),
            };
            if let Some(value) = value {
                env.insert(name.to_owned(), value);
            }
        }
        Ok(env)
    }

    /// The variables that every process gets, beside those of its spec.
    fn own(&self, container: &Value) -> Env {
        let mut env = Env::new();
        for key in ["PATH", "TMPDIR", "LANG"] {
            if let Ok(value) = std::env::var(key) {
                env.insert(key.to_owned(), value);
            }
        }
        let port = object::int(container, "/ports/0/containerPort").map(|port| port.to_string());
        let facts = [
            ("HOST", Some(self.ip.to_string())),
            ("HOSTNAME", Some(object::name(self.pod).to_owned())),
            ("IMAGE_TAG", Some(images::tag(text(container, "/image")).to_owned())),
            ("POD_IP", Some(self.ip.to_string())),
            ("POD_NAME", Some(object::name(self.pod).to_owned())),
            ("POD_NAMESPACE", Some(object::namespace(self.pod).to_owned())),
            ("PORT", port),
        ];
        env.extend(facts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        env
    }

    fn all_of(&self, source: &Value) -> Result<Env, String> {
        for (key, secret) in [("configMapRef", false), ("secretRef", true)] {
            if let Some(reference) = source.get(key).filter(|reference| reference.is_object()) {
                return Ok(self.data(reference, secret)?.unwrap_or_default());
            }
        }
        Err("envFrom names neither a ConfigMap nor a Secret".to_owned())
    }

    fn value_from(&self, name: &str, from: &Value) -> Result<Option<String>, String> {
        if let Some(path) = from.pointer("/fieldRef/fieldPath").and_then(Value::as_str) {
            return self
                .field(path)
                .map(Some)
                .ok_or_else(|| format!("env {name}: fieldPath {path:?} is not supported"));
        }
        for (key, secret) in [("configMapKeyRef", false), ("secretKeyRef", true)] {
            let Some(reference) = from.get(key).filter(|reference| reference.is_object()) else {
                continue;
            };
            let wanted = text(reference, "/key");
            let value = self.data(reference, secret)?.and_then(|mut data| data.remove(wanted));
            if value.is_none() && !flag(reference, "/optional") {
                return Err(format!(
                    "couldn't find key {wanted} in {} {}/{}",
                    kind(secret),
                    object::namespace(self.pod),
                    text(reference, "/name")
                ));
            }
            return Ok(value);
        }
        Err(format!(
            "env {name}: valueFrom knows only fieldRef, configMapKeyRef and secretKeyRef for pods that are processes"
        ))
    }

    fn field(&self, path: &str) -> Option<String> {
        let keyed = |map: &str| {
            path.strip_prefix(&format!("metadata.{map}['"))?.strip_suffix("']").map(str::to_owned)
        };
        if let Some(key) = keyed("labels") {
            return Some(object::label(self.pod, &key).to_owned());
        }
        if let Some(key) = keyed("annotations") {
            return Some(object::annotation(self.pod, &key).to_owned());
        }
        let value = match path {
            "metadata.name" => object::name(self.pod),
            "metadata.namespace" => object::namespace(self.pod),
            "metadata.uid" => object::uid(self.pod),
            "spec.nodeName" => NODE,
            "spec.serviceAccountName" => match text(self.pod, "/spec/serviceAccountName") {
                "" => "default",
                name => name,
            },
            "status.hostIP" | "status.hostIPs" => NODE_ADDRESS,
            "status.podIP" | "status.podIPs" => return Some(self.ip.to_string()),
            _ => return None,
        };
        Some(value.to_owned())
    }

    /// The text entries of a ConfigMap or Secret; `None` if it does not exist and the reference is optional.
    ///
    /// As with a kubelet, `binaryData` of a ConfigMap is for volumes only.
    fn data(&self, reference: &Value, secret: bool) -> Result<Option<Env>, String> {
        let name = text(reference, "/name");
        let mut all = entries(self.configs, object::namespace(self.pod), name, secret);
        if let Some(all) = &mut all
            && let Some(map) = self.configs.config_map(object::namespace(self.pod), name)
            && !secret
        {
            all.retain(|key, _| map.get("data").is_some_and(|data| data.get(key).is_some()));
        }
        match all {
            Some(all) => Ok(Some(
                all.into_iter()
                    .filter_map(|(key, bytes)| Some((key, String::from_utf8(bytes).ok()?)))
                    .collect(),
            )),
            None if flag(reference, "/optional") => Ok(None),
            None => Err(format!("{} {name:?} not found", kind(secret))),
        }
    }
}

fn kind(secret: bool) -> &'static str {
    if secret { "secret" } else { "configmap" }
}

/// The entries of a ConfigMap or Secret, decoded.
pub(crate) fn entries(
    configs: &dyn Configs,
    namespace: &str,
    name: &str,
    secret: bool,
) -> Option<BTreeMap<String, Vec<u8>>> {
    let object =
        if secret { configs.secret(namespace, name) } else { configs.config_map(namespace, name) }?;
    let encoded =
        |text: &str| base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
    let mut all = BTreeMap::new();
    for (key, value) in object.get("data").and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().unwrap_or("");
        all.insert(key.clone(), if secret { encoded(value) } else { value.as_bytes().to_vec() });
    }
    for (key, value) in object.get("binaryData").and_then(Value::as_object).into_iter().flatten() {
        all.insert(key.clone(), encoded(value.as_str().unwrap_or("")));
    }
    Some(all)
}

/// Replaces `$(NAME)`; `$$` is a dollar sign, and an unknown name stays as it is.
pub(crate) fn expand(text: &str, env: &Env) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        let named = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        match named.and_then(|(name, after)| Some((env.get(name)?, after))) {
            Some((value, after)) => {
                expanded.push_str(value);
                rest = after;
            }
            None => expanded.push('$'),
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    struct Held;

    impl Configs for Held {
        fn config_map(&self, _: &str, name: &str) -> Option<Arc<Value>> {
            (name == "settings").then(|| {
                Arc::new(json!({"data": {"COLOR": "blue"}, "binaryData": {"RAW": "AAEC"}}))
            })
        }

        fn secret(&self, _: &str, name: &str) -> Option<Arc<Value>> {
            (name == "keys").then(|| Arc::new(json!({"data": {"token": "aHVudGVyMg=="}})))
        }
    }

    fn environment(container: Value) -> Result<Env, String> {
        let pod =
            json!({"metadata": {"name": "web-1", "namespace": "test", "labels": {"app": "web"}}});
        EnvSources { pod: &pod, ip: Ipv4Addr::new(127, 1, 1, 1), configs: &Held }
            .environment(&container)
    }

    #[test]
    fn sources() {
        let env = environment(json!({
            "image": "x/app:2", "ports": [{"containerPort": 9898}],
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "settings"}}, {"configMapRef": {"name": "none", "optional": true}}],
            "env": [
                {"name": "A", "value": "$(POD_IP):$(PORT) $$(PORT) $(NONE)"},
                {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "C", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
                {"name": "D", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "SIZE", "optional": true}}},
            ],
        }))
        .unwrap();
        let held = |key: &str| env.get(key).map(String::as_str);
        assert_eq!(held("A"), Some("127.1.1.1:9898 $(PORT) $(NONE)"));
        assert_eq!((held("B"), held("C"), held("D")), (Some("web"), Some("hunter2"), None));
        assert_eq!(
            (held("P_COLOR"), held("IMAGE_TAG"), held("POD_NAME")),
            (Some("blue"), Some("2"), Some("web-1"))
        );
        assert_eq!(held("P_RAW"), None, "what is binary is for volumes");
    }

    #[test]
    fn a_missing_reference_is_an_error() {
        let of = |from: Value| {
            environment(json!({"env": [{"name": "A", "valueFrom": from}]})).unwrap_err()
        };
        assert_eq!(
            of(json!({"configMapKeyRef": {"name": "none", "key": "k"}})),
            "configmap \"none\" not found"
        );
        assert_eq!(
            of(json!({"secretKeyRef": {"name": "keys", "key": "k"}})),
            "couldn't find key k in secret test/keys"
        );
        assert!(of(json!({"resourceFieldRef": {"resource": "limits.cpu"}})).contains("fieldRef"));
    }
}
