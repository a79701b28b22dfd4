//! Short stable names: the pod template hash and the suffixes of generated names.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The letters and digits of generated names in Kubernetes: no vowels, so that no words appear.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The label that distinguishes the pods of one revision from those of another.
pub(crate) const TEMPLATE_HASH: &str = "pod-template-hash";

/// The hash of a pod template. It does not depend on key order, nulls, or the hash label itself.
pub fn template_hash(template: &Value) -> String {
    let mut digest = Sha256::new();
    feed(&mut digest, template, &mut Vec::new());
    letters(&digest.finalize(), 10)
}

/// A suffix of five characters that is a function of `parts`.
pub(crate) fn suffix(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part.as_bytes());
    }
    letters(&digest.finalize(), 5)
}

fn letters(bytes: &[u8], count: usize) -> String {
    bytes
        .iter()
        .take(count)
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect()
}

fn feed<'a>(digest: &mut Sha256, value: &'a Value, path: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            digest.update(b"{");
            for key in keys {
                let ignored = map[key].is_null()
                    || (path.as_slice() == ["metadata", "labels"] && key == TEMPLATE_HASH);
                if ignored {
                    continue;
                }
                digest.update((key.len() as u64).to_le_bytes());
                digest.update(key.as_bytes());
                path.push(key);
                feed(digest, &map[key], path);
                path.pop();
            }
            digest.update(b"}");
        }
        Value::Array(items) => {
            digest.update(b"[");
            for item in items {
                path.push("");
                feed(digest, item, path);
                path.pop();
            }
            digest.update(b"]");
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let text = value.to_string();
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_content_counts() {
        let plain = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}});
        let marked = json!({"spec": {"containers": [{"image": "x:1", "name": "c"}]}, "metadata": {"creationTimestamp": null, "labels": {"app": "a", "pod-template-hash": "zz"}}});
        let other = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "x:2"}]}});
        assert_eq!(template_hash(&plain), template_hash(&marked));
        assert_ne!(template_hash(&plain), template_hash(&other));
        assert_eq!(template_hash(&plain).len(), 10);
    }
}
