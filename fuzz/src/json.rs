//! Changes documents by bytes: fields are dropped, copied elsewhere, or given values of other types.

use serde_json::{Map, Value, json};

use super::source::Source;

/// A document: the bytes themselves if they are JSON, else a known one, changed where the bytes say.
pub fn document(data: &[u8], known: &[&[u8]], words: &[&str]) -> Value {
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        return value;
    }
    let mut source = Source::new(data);
    let mut document = serde_json::from_slice(source.of(known)).expect("seeds are JSON");
    for _ in 0..=source.below(4) {
        change(&mut document, &mut source, words);
    }
    document
}

/// Down into the document; where it ends, or the bytes say so, something else is put.
fn change(place: &mut Value, source: &mut Source<'_>, words: &[&str]) {
    let leaf = match &*place {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    };
    if leaf || source.below(6) == 0 {
        *place = replacement(source, words);
        return;
    }
    let next = match place {
        Value::Object(map) => in_map(map, source, words),
        Value::Array(list) => in_list(list, source),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    };
    if let Some(next) = next {
        change(next, source, words);
    }
}

fn in_map<'a>(
    map: &'a mut Map<String, Value>,
    source: &mut Source<'_>,
    words: &[&str],
) -> Option<&'a mut Value> {
    let chosen = source.below(map.len());
    let key = map.keys().nth(chosen).cloned()?;
    match source.below(8) {
        0 => drop(map.remove(&key)),
        1 => {
            let value = map.get(&key).cloned()?;
            let word = if words.is_empty() { "x" } else { source.of(words) };
            map.insert(word.to_owned(), value);
        }
        _ => return map.get_mut(&key),
    }
    None
}

fn in_list<'a>(list: &'a mut Vec<Value>, source: &mut Source<'_>) -> Option<&'a mut Value> {
    let chosen = source.below(list.len());
    match source.below(8) {
        0 => drop(list.remove(chosen)),
        1 => list.push(list[chosen].clone()),
        _ => return list.get_mut(chosen),
    }
    None
}

fn replacement(source: &mut Source<'_>, words: &[&str]) -> Value {
    match source.below(4) {
        0 if !words.is_empty() => json!(source.of(words)),
        1 => source.value(2),
        2 => json!(source.of(&[-1_i64, 0, 1, 50, 100, 101, i64::MAX, i64::MIN])),
        _ => source.scalar(),
    }
}
