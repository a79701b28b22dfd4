//! Label selectors, field selectors and the JSONPath of printer columns.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use serin_apiserver::jsonpath;
use serin_apiserver::selector::Selector;

use super::source::Source;

const NAMES: &[&str] = &["app", "tier", "app.kubernetes.io/name", "a-b", "x_y"];
const VALUES: &[&str] = &["", "x", "y", "web", "v1.2", "in", "notin"];
/// A path has few steps, and each can give as many values as the document has.
const FOUND_MAX: usize = 10_000;

pub fn selector(data: &[u8]) {
    any_text(&String::from_utf8_lossy(data));
    let mut source = Source::new(data);
    let mut labels: BTreeMap<&str, &str> = BTreeMap::new();
    for _ in 0..source.below(4) {
        labels.insert(source.of(NAMES), source.of(VALUES));
    }
    let object = json!({"metadata": {"name": "a", "labels": labels}, "spec": {"n": 3}});
    let mut terms = Vec::new();
    let mut fits = true;
    for _ in 0..source.below(4) {
        let (text, holds) = term(&mut source, &labels);
        terms.push(text);
        fits &= holds;
    }
    let text = terms.join(source.of(&[",", ", ", " , "]));
    let parsed = Selector::parse(&text, "").unwrap_or_else(|why| panic!("{text:?}: {why:?}"));
    assert_eq!(parsed.matches(&object), fits, "{text:?} of {labels:?}");
    assert_eq!(parsed.is_empty(), terms.is_empty());
}

/// A requirement as it is written, and whether it holds.
fn term(source: &mut Source<'_>, labels: &BTreeMap<&str, &str>) -> (String, bool) {
    let (name, value, other) = (source.of(NAMES), source.of(VALUES), source.of(VALUES));
    let found = labels.get(name);
    let space = source.of(&["", " "]);
    match source.below(7) {
        0 => (format!("{name}{space}={space}{value}"), found == Some(&value)),
        1 => (format!("{name}{space}=={space}{value}"), found == Some(&value)),
        2 => (format!("{name}{space}!={space}{value}"), found != Some(&value)),
        3 => (name.to_owned(), found.is_some()),
        4 => (format!("!{name}"), found.is_none()),
        5 => {
            let holds = found.is_some_and(|v| *v == value || *v == other);
            (format!("{name} in ({value},{space}{other})"), holds)
        }
        _ => {
            let holds = !found.is_some_and(|v| *v == value || *v == other);
            (format!("{name} notin{space}({value},{space}{other})"), holds)
        }
    }
}

fn any_text(text: &str) {
    let object = json!({
        "metadata": {"name": "a", "labels": {"app": "x"}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "b"}], "n": [1, [2, 3]]},
    });
    for selector in [Selector::parse(text, ""), Selector::parse("", text)] {
        match selector {
            Ok(selector) => {
                selector.matches(&object);
                selector.matches(&Value::Null);
            }
            Err(failure) => assert!(!format!("{failure:?}").is_empty()),
        }
    }
    let found = jsonpath::find(&object, text);
    assert!(found.len() < FOUND_MAX, "{text:?} gives {} values", found.len());
}
