//! The part of JSONPath that printer columns use. A path that it does not support selects nothing.

use serde_json::Value;

/// Bound of the segments of a path; printer columns have fewer.
const STEPS_MAX: usize = 32;

/// All values at `path` (`.status.conditions[?(@.type=="Ready")].status`, `.items[*].name`, `.a['b.c']`).
pub fn find<'a>(object: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![object];
    let mut rest =
        path.trim().trim_start_matches('{').trim_end_matches('}').trim_start_matches('$');
    for _ in 0..STEPS_MAX {
        if rest.is_empty() || rest == "." {
            return found;
        }
        let Some((step, after)) = step(rest) else { return Vec::new() };
        found = found.into_iter().flat_map(|value| take(value, &step)).collect();
        rest = after;
    }
    Vec::new()
}

enum Step {
    Field(String),
    Index(i64),
    All,
    Filter { field: Vec<String>, value: String, equal: bool },
}

fn step(text: &str) -> Option<(Step, &str)> {
    if let Some(inside) = text.strip_prefix('[') {
        let end = closing(inside)?;
        let (content, after) = (inside.get(..end)?, inside.get(end + 1..)?);
        return Some((bracket(content)?, after));
    }
    let text = text.strip_prefix('.').unwrap_or(text);
    let mut name = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.push(chars.next()?.1),
            '.' | '[' if !name.is_empty() => return Some((field(name), text.get(at..)?)),
            '[' => return step(text.get(at..)?),
            other => name.push(other),
        }
    }
    Some((field(name), ""))
}

fn field(name: String) -> Step {
    if name == "*" { Step::All } else { Step::Field(name) }
}

/// The position of the closing bracket, outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, ']') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

fn bracket(content: &str) -> Option<Step> {
    let content = content.trim();
    if content == "*" {
        return Some(Step::All);
    }
    if let Ok(index) = content.parse() {
        return Some(Step::Index(index));
    }
    if let Some(filter) = content.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        let (left, right, equal) = match filter.split_once("!=") {
            Some((left, right)) => (left, right, false),
            None => filter.split_once("==").map(|(left, right)| (left, right, true))?,
        };
        let path = left.trim().strip_prefix('@')?.trim_start_matches('.');
        let field = path.split('.').map(str::to_owned).collect();
        let value = right.trim().trim_matches(['"', '\'']).to_owned();
        return Some(Step::Filter { field, value, equal });
    }
    let quoted = content.trim_matches(['"', '\'']);
    (quoted.len() + 2 == content.len()).then(|| Step::Field(quoted.to_owned()))
}

fn take<'a>(value: &'a Value, step: &Step) -> Vec<&'a Value> {
    match (step, value) {
        (Step::Field(name), Value::Object(map)) => map.get(name).into_iter().collect(),
        (Step::All, Value::Array(list)) => list.iter().collect(),
        (Step::All, Value::Object(map)) => map.values().collect(),
        (Step::Index(index), Value::Array(list)) => {
            let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
            let at = if *index < 0 { length.saturating_add(*index) } else { *index };
            usize::try_from(at).ok().and_then(|at| list.get(at)).into_iter().collect()
        }
        (Step::Filter { field, value, equal }, Value::Array(list)) => list
            .iter()
            .filter(|item| {
                let found = field.iter().try_fold(*item, |inner, name| inner.get(name));
                let text = found.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
                (text.as_deref() == Some(value.as_str())) == *equal
            })
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finds_what_printer_columns_ask_for() {
        let object = json!({
            "spec": {"a.b": 1, "list": [{"n": "x"}, {"n": "y"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Promoted", "status": "False"}]},
        });
        for (path, expected) in [
            (".spec.list[*].n", json!(["x", "y"])),
            (".spec.list[1].n", json!(["y"])),
            (".spec.list[-1].n", json!(["y"])),
            (".status.conditions[?(@.type==\"Promoted\")].status", json!(["False"])),
            (".spec['a.b']", json!([1])),
            (".spec.a\\.b", json!([1])),
            (".spec.nothing.at.all", json!([])),
            (".spec[?(", json!([])),
            ("[[[[", json!([])),
        ] {
            assert_eq!(json!(find(&object, path)), expected, "{path}");
        }
    }
}
