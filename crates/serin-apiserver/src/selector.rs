//! Label and field selectors, as they stand in a query string.

use serde_json::Value;

use crate::failure::Failure;

/// Longest selector that is read, in terms; nobody writes more.
const TERMS_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// Labels and fields that objects must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<Term>,
    fields: Vec<(String, String, bool)>,
}

impl Selector {
    pub fn parse(labels: &str, fields: &str) -> Result<Self, Failure> {
        let mut selector = Self::default();
        for term in split(labels) {
            selector.labels.push(label_term(term)?);
        }
        for term in fields.split(',').filter(|term| !term.trim().is_empty()) {
            let (name, value, equal) = if let Some((name, value)) = term.split_once("!=") {
                (name, value, false)
            } else if let Some((name, value)) =
                term.split_once("==").or_else(|| term.split_once('='))
            {
                (name, value, true)
            } else {
                return Err(Failure::bad_request(format!("invalid field selector: {term:?}")));
            };
            selector.fields.push((name.trim().to_owned(), value.trim().to_owned(), equal));
        }
        if selector.labels.len() + selector.fields.len() > TERMS_MAX {
            return Err(Failure::bad_request(format!("a selector has at most {TERMS_MAX} terms")));
        }
        Ok(selector)
    }

    /// The same with other names of fields.
    #[must_use]
    pub(crate) fn with_fields(mut self, rename: impl Fn(&str) -> String) -> Self {
        for (path, _, _) in &mut self.fields {
            *path = rename(path);
        }
        self
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        let label = |name: &str| labels.and_then(|l| l.get(name)).and_then(Value::as_str);
        let labels_fit = self.labels.iter().all(|term| match term {
            Term::In(name, values) => label(name).is_some_and(|v| values.iter().any(|w| w == v)),
            Term::NotIn(name, values) => {
                !label(name).is_some_and(|v| values.iter().any(|w| w == v))
            }
            Term::Exists(name) => label(name).is_some(),
            Term::Absent(name) => label(name).is_none(),
        });
        labels_fit
            && self
                .fields
                .iter()
                .all(|(path, value, equal)| (field(object, path) == *value) == *equal)
    }
}

/// A field as text; one that is not there is empty.
fn field(object: &Value, path: &str) -> String {
    let mut value = object;
    for part in path.split('.') {
        match value.get(part) {
            Some(inner) => value = inner,
            None => return String::new(),
        }
    }
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                terms.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(text.get(start..).unwrap_or_default());
    terms.into_iter().map(str::trim).filter(|term| !term.is_empty()).collect()
}

fn label_term(term: &str) -> Result<Term, Failure> {
    let name = |text: &str| text.trim().to_owned();
    if let Some((left, right)) = term.split_once("!=") {
        return Ok(Term::NotIn(name(left), vec![name(right)]));
    }
    if let Some((left, right)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Ok(Term::In(name(left), vec![name(right)]));
    }
    for (word, negated) in [(" notin ", true), (" in ", false)] {
        let Some((left, right)) = term.split_once(word) else { continue };
        let inside = right.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        let Some(inside) = inside else { break };
        let values = inside.split(',').map(name).collect();
        return Ok(if negated {
            Term::NotIn(name(left), values)
        } else {
            Term::In(name(left), values)
        });
    }
    let known = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    match term.strip_prefix('!') {
        Some(absent) if absent.trim().chars().all(known) => Ok(Term::Absent(name(absent))),
        None if term.chars().all(known) => Ok(Term::Exists(name(term))),
        _ => Err(Failure::bad_request(format!("unable to parse requirement: {term:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selects_by_labels_and_fields() {
        let object = json!({"metadata": {"name": "a", "labels": {"app": "x", "tier": "web"}}, "spec": {"n": 3}});
        for (labels, fields, fits) in [
            ("", "", true),
            ("app=x", "", true),
            ("app==x,tier!=db", "", true),
            ("app in (y, x),tier", "", true),
            ("app notin (y)", "", true),
            ("app notin (x)", "", false),
            ("!owner", "metadata.name=a", true),
            ("owner!=helm", "spec.n=3", true),
            ("owner", "", false),
            ("", "metadata.name!=a", false),
            ("", "metadata.namespace=", true),
        ] {
            assert_eq!(
                Selector::parse(labels, fields).unwrap().matches(&object),
                fits,
                "{labels} | {fields}"
            );
        }
        assert!(Selector::parse("a b c(", "").is_err());
        assert!(Selector::parse("", "x").is_err());
    }
}
