//! What differs between two objects, field by field, and how a file is laid over what is there.

use serde_json::{Map, Value};

/// Differences of one object that are shown.
const FIELDS_MAX: usize = 12;
/// Characters of a value that are shown.
const VALUE_MAX: usize = 60;
/// What the API server writes into every object by itself.
const OF_THE_SERVER: [&str; 7] = [
    "status",
    "metadata.managedFields",
    "metadata.resourceVersion",
    "metadata.generation",
    "metadata.creationTimestamp",
    "metadata.uid",
    "metadata.selfLink",
];

/// The live object as it is once the file is applied: what the file does not mention stays.
pub(super) fn overlay(live: &mut Value, file: &Value) {
    match (live, file) {
        (Value::Object(live), Value::Object(file)) => {
            for (key, value) in file {
                if value.is_null() {
                    live.remove(key);
                } else {
                    overlay(live.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (Value::Array(live), Value::Array(file)) => {
            let same = live.len() == file.len();
            let old = std::mem::take(live);
            for (place, value) in file.iter().enumerate() {
                let named = name(value);
                let found = match named {
                    Some(_) => old.iter().find(|old| name(old) == named),
                    None => old.get(place).filter(|_| same),
                };
                let mut merged = found.cloned().unwrap_or(Value::Null);
                overlay(&mut merged, value);
                live.push(merged);
            }
        }
        (live, Value::Object(file)) => {
            *live = Value::Object(Map::new());
            overlay(live, &Value::Object(file.clone()));
        }
        (live, file) => *live = file.clone(),
    }
}

fn name(value: &Value) -> Option<&str> {
    value.get("name")?.as_str()
}

/// `path: before -> after` for every leaf that differs; of a Secret the paths alone.
pub(super) fn differences(before: &Value, after: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let secret = after.get("kind").or_else(|| before.get("kind")) == Some(&"Secret".into());
    between("", before, after, secret, &mut out);
    let more = out.len().saturating_sub(FIELDS_MAX);
    out.truncate(FIELDS_MAX);
    if more > 0 {
        out.push(format!("and {more} more"));
    }
    out
}

fn between(path: &str, before: &Value, after: &Value, secret: bool, out: &mut Vec<String>) {
    if before == after || OF_THE_SERVER.contains(&path) {
        return;
    }
    let none = Value::Null;
    match (before, after) {
        (Value::Object(_) | Value::Null, Value::Object(new)) if !new.is_empty() => {
            let empty = Map::new();
            let old = before.as_object().unwrap_or(&empty);
            let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let (old, new) = (old.get(key), new.get(key));
                let path = below(path, key);
                between(&path, old.unwrap_or(&none), new.unwrap_or(&none), secret, out);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (place, (old, new)) in old.iter().zip(new).enumerate() {
                between(&format!("{path}[{place}]"), old, new, secret, out);
            }
        }
        (_, _) if secret && path.contains("ata") => out.push(format!("{path}: differs")),
        (_, _) => out.push(format!("{path}: {} -> {}", short(before), short(after))),
    }
}

fn below(path: &str, key: &str) -> String {
    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    match (path, plain) {
        (path, false) => format!("{path}[{key}]"),
        ("", true) => key.to_owned(),
        (path, true) => format!("{path}.{key}"),
    }
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    let text = text.replace('\n', "\\n");
    if text.chars().count() <= VALUE_MAX {
        return text;
    }
    format!("{}…", text.chars().take(VALUE_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(live: &Value, file: &Value, expected: &[&str]) {
        let mut after = live.clone();
        overlay(&mut after, file);
        assert_eq!(differences(live, &after), expected);
    }

    #[test]
    fn what_a_file_does_not_mention_stays() {
        let live = json!({
            "kind": "Deployment",
            "metadata": {"uid": "1", "annotations": {"a.b/c": "x"}},
            "spec": {"replicas": 3, "containers": [
                {"name": "app", "image": "app:1", "imagePullPolicy": "Always"},
                {"name": "side", "image": "side:1"},
            ], "ports": [{"port": 80, "protocol": "TCP"}]},
        });
        check(&live, &live, &[]);
        check(&live, &json!({"spec": {"ports": [{"port": 80}]}}), &[]);
        check(
            &live,
            &json!({
                "metadata": {"annotations": {"a.b/c": "y"}, "labels": {"app": "x"}},
                "spec": {"replicas": null, "containers": [
                    {"name": "app", "image": "app:2"}, {"name": "side", "image": "side:1"},
                ]},
            }),
            &[
                "metadata.annotations[a.b/c]: x -> y",
                "metadata.labels.app: nothing -> x",
                "spec.containers[0].image: app:1 -> app:2",
                "spec.replicas: 3 -> nothing",
            ],
        );
        check(
            &live,
            &json!({"spec": {"ports": [{"port": 80}, {"port": 81}]}}),
            &[r#"spec.ports: [{"port":80,"protocol":"TCP"}] -> [{"port":80},{"port":81}]"#],
        );
    }

    #[test]
    fn secrets_stay_secret_and_lists_of_differences_end() {
        let live = json!({"kind": "Secret", "data": {"password": "b2xk"}});
        check(&live, &json!({"data": {"password": "bmV3"}}), &["data.password: differs"]);
        let many: Map<String, Value> = (0..20).map(|n| (format!("k{n:02}"), n.into())).collect();
        let told = differences(&json!({}), &json!({"data": many}));
        assert_eq!(
            (told.len(), &*told[0], &*told[12]),
            (13, "data.k00: nothing -> 0", "and 8 more")
        );
        let long = differences(&json!({"a": ""}), &json!({"a": "x\n".repeat(100)}));
        assert!(long[0].starts_with("a: \"\" -> x\\nx\\n") && long[0].ends_with('…'), "{long:?}");
    }
}
