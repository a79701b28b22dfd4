//! Patches of every kind, held against the slowest way to do the same.

use serde_json::{Map, Value, json};
use serin_apiserver::patch::{self, ListKeys};

use super::source::Source;

const KINDS: &[&str] = &["Deployment", "Pod", "Service", "ConfigMap", "Nothing"];
const NOW: &str = "2026-01-02T03:04:05Z";

pub fn patch(data: &[u8]) {
    let mut source = Source::new(data);
    let kind = source.of(KINDS);
    let object = source.object(4);
    let changes = source.object(4);

    let merged = patch::merge_patch(&object, &changes).expect("an object merges");
    assert_eq!(merged, naive_merge(&object, &changes), "{object} {changes}");
    assert_eq!(patch::merge_patch(&merged, &changes).as_ref(), Ok(&merged), "twice is once");

    let operations = operations(&mut source);
    let result = patch::json_patch(&object, &operations);
    match naive_operations(&object, &operations) {
        Some(wanted) if wanted.is_object() => {
            assert_eq!(result.as_ref(), Ok(&wanted), "{object} {operations}");
        }
        Some(_) | None => assert!(result.is_err(), "{object} {operations} {result:?}"),
    }

    let strategic = patch::strategic_merge(&object, &changes, kind);
    if plain(&object) && plain(&changes) {
        assert_eq!(strategic, Ok(naive_merge(&object, &changes)), "{kind} {object} {changes}");
    }
    for text in [
        &b"$patch"[..],
        b"$setElementOrder/containers",
        b"$deleteFromPrimitiveList/args",
        b"$retainKeys",
    ] {
        let mut directed = changes.clone();
        let key = String::from_utf8_lossy(text).into_owned();
        directed[key] = source.value(2);
        let _ = patch::strategic_merge(&object, &directed, kind);
    }
}

/// Without lists, directives and nulls all merges are one.
fn plain(value: &Value) -> bool {
    match value {
        Value::Null | Value::Array(_) => false,
        Value::Object(map) => {
            map.values().all(plain) && !map.keys().any(|key| key.starts_with('$'))
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// RFC 7386, as it is written there.
fn naive_merge(target: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut result = target.as_object().cloned().unwrap_or_default();
    for (name, value) in patch {
        if value.is_null() {
            result.remove(name);
        } else {
            let before = result.get(name).cloned().unwrap_or(Value::Null);
            result.insert(name.clone(), naive_merge(&before, value));
        }
    }
    Value::Object(result)
}

fn operations(source: &mut Source<'_>) -> Value {
    let count = source.below(5);
    let one = |source: &mut Source<'_>| {
        let op = source.of(&["add", "remove", "replace", "move", "copy", "test"]);
        let (path, from) = (pointer(source), pointer(source));
        let mut operation = json!({"op": op, "path": path});
        match op {
            "move" | "copy" => operation["from"] = json!(from),
            "remove" => {}
            _ => operation["value"] = source.value(2),
        }
        operation
    };
    Value::Array((0..count).map(|_| one(source)).collect())
}

fn pointer(source: &mut Source<'_>) -> String {
    let mut text = String::new();
    for _ in 0..source.below(4) {
        text.push('/');
        match source.below(6) {
            0 => text.push_str(source.of(&["0", "1", "2", "-", "01", "9999999999999999999"])),
            _ => text.push_str(&source.key().replace('~', "~0").replace('/', "~1")),
        }
    }
    text
}

/// RFC 6902, one step at a time; nothing if it cannot be done.
fn naive_operations(object: &Value, operations: &Value) -> Option<Value> {
    let mut document = object.clone();
    for operation in operations.as_array()? {
        let path = tokens(operation["path"].as_str()?);
        let from = operation["from"].as_str().map(tokens);
        match operation["op"].as_str()? {
            "add" => add(&mut document, &path, operation["value"].clone())?,
            "remove" => drop(remove(&mut document, &path)?),
            "replace" => *find(&mut document, &path)? = operation["value"].clone(),
            "test" if *find(&mut document, &path)? == operation["value"] => {}
            "copy" => {
                let value = find(&mut document, &from?)?.clone();
                add(&mut document, &path, value)?;
            }
            "move" => {
                let from = from?;
                if path.len() > from.len() && path.starts_with(&from) {
                    return None;
                }
                let value = remove(&mut document, &from)?;
                add(&mut document, &path, value)?;
            }
            _ => return None,
        }
    }
    Some(document)
}

fn tokens(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|t| t.replace("~1", "/").replace("~0", "~")).collect()
}

fn index(token: &str) -> Option<usize> {
    let canonical = token == "0" || !token.starts_with('0');
    token.parse().ok().filter(|_| canonical && token.bytes().all(|b| b.is_ascii_digit()))
}

fn find<'a>(value: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, token| match value {
        Value::Object(map) => map.get_mut(token),
        Value::Array(list) => list.get_mut(index(token)?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

fn add(document: &mut Value, path: &[String], value: Value) -> Option<()> {
    let Some((last, above)) = path.split_last() else {
        *document = value;
        return Some(());
    };
    match find(document, above)? {
        Value::Object(map) => drop(map.insert(last.clone(), value)),
        Value::Array(list) if last == "-" => list.push(value),
        Value::Array(list) => {
            let at = index(last).filter(|at| *at <= list.len())?;
            list.insert(at, value);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    }
    Some(())
}

fn remove(document: &mut Value, path: &[String]) -> Option<Value> {
    // The document itself can be replaced, but not taken away, so it cannot be moved either.
    let (last, above) = path.split_last()?;
    match find(document, above)? {
        Value::Object(map) => map.remove(last),
        Value::Array(list) => {
            let at = index(last).filter(|at| *at < list.len())?;
            Some(list.remove(at))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

pub fn apply(data: &[u8]) {
    let mut source = Source::new(data);
    let keys = ListKeys::builtin(source.of(KINDS));
    let (first, second) = (source.object(4), source.object(4));
    let live = source.yes().then(|| source.object(3));
    let Ok(one) = patch::apply(live.as_ref(), &first, "one", true, &keys, NOW, None) else {
        return;
    };
    let again = patch::apply(Some(&one), &first, "one", false, &keys, "2027-01-01T00:00:00Z", None);
    assert_eq!(again.as_ref().ok(), Some(&one), "what is so already changes nothing: {first}");
    if plain_lists(&first) {
        assert!(contains(&one, &first), "what is applied is so: {first} in {one}");
    }
    // Whoever forces gets what they want, and the other one's claim is gone.
    if let Ok(two) = patch::apply(Some(&one), &second, "two", true, &keys, NOW, None) {
        if plain_lists(&second) {
            assert!(contains(&two, &second), "what is forced is so: {second} in {two}");
        }
        let peaceful = patch::apply(Some(&two), &second, "two", false, &keys, NOW, None);
        assert_eq!(peaceful.as_ref().ok(), Some(&two), "and nobody else claims it");
    }
    let mut updated = one.clone();
    if let Some(map) = updated.as_object_mut() {
        map.extend(source.object(2).as_object().cloned().unwrap_or_else(Map::new));
    }
    patch::record_update(Some(&one), &mut updated, "three", &keys, NOW, None);
    let _ = patch::apply(Some(&updated), &first, "one", true, &keys, NOW, None);
}

/// No lists, whose items merge by rules of their own, and no nulls, which are not applied.
fn plain_lists(value: &Value) -> bool {
    match value {
        Value::Array(_) | Value::Null => false,
        Value::Object(map) => {
            map.iter().all(|(key, value)| key != "metadata" && plain_lists(value))
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(key, value)| whole.get(key).is_some_and(|whole| contains(whole, value))),
        (whole, part) => whole == part,
    }
}
