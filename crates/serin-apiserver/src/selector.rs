//! Label and field selectors of a query string.

use serde_json::Value;

use crate::failure::Failure;
use crate::json_pointer::At;

/// Bound of the terms of a selector.
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
    /// Parses a label and a field selector; BadRequest if one is malformed or both have too many terms.
    pub fn parse(labels: &str, fields: &str) -> Result<Self, Failure> {
        let mut selector = Self { labels: label_terms(labels)?, fields: Vec::new() };
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

    /// The selector with its field names mapped.
    #[must_use]
    pub(crate) fn with_fields(mut self, rename: impl Fn(&str) -> String) -> Self {
        for (path, _, _) in &mut self.fields {
            *path = rename(path);
        }
        self
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(path, _, _)| path.as_str())
    }

    /// Whether it selects every object.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether the object has the labels and fields.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = object.at("/metadata/labels");
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

/// A field as text; empty if it is missing.
fn field(object: &Value, path: &str) -> String {
    let path = if path == "source" { "source.component" } else { path };
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

/// Parses a label selector by the grammar of Kubernetes.
fn label_terms(text: &str) -> Result<Vec<Term>, Failure> {
    let mut words = Words { text, rest: text };
    let mut terms = Vec::new();
    if words.peek().is_empty() {
        return Ok(terms);
    }
    loop {
        if terms.len() > TERMS_MAX {
            return Ok(terms);
        }
        terms.push(words.requirement()?);
        match words.next() {
            "" => return Ok(terms),
            "," => {}
            other => return Err(words.unexpected(other, "',' or the end")),
        }
    }
}

/// Splits a selector into names, values and operators.
struct Words<'a> {
    text: &'a str,
    rest: &'a str,
}

const SIGNS: &[&str] = &["==", "!=", "=", "!", "<", ">", "(", ")", ","];

impl<'a> Words<'a> {
    /// The next token; empty at the end.
    fn next(&mut self) -> &'a str {
        let word = self.peek();
        self.rest = self.rest.trim_start().get(word.len()..).unwrap_or_default();
        word
    }

    fn peek(&self) -> &'a str {
        let rest = self.rest.trim_start();
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            return rest.get(..sign.len()).unwrap_or_default();
        }
        let end = rest.find(|c: char| c.is_whitespace() || "=!<>(),".contains(c));
        rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
    }

    fn unexpected(&self, found: &str, wanted: &str) -> Failure {
        let text = self.text;
        Failure::bad_request(format!(
            "unable to parse requirement: found '{found}', expected: {wanted} in {text:?}"
        ))
    }

    fn requirement(&mut self) -> Result<Term, Failure> {
        let absent = self.peek() == "!";
        if absent {
            self.next();
        }
        let name = self.next();
        if !is_key(name) {
            return Err(self.unexpected(name, "the name of a label"));
        }
        let name = name.to_owned();
        if absent {
            return Ok(Term::Absent(name));
        }
        match self.peek() {
            "" | "," => return Ok(Term::Exists(name)),
            "=" | "==" => {
                self.next();
                return Ok(Term::In(name, vec![self.value()?]));
            }
            "!=" => {
                self.next();
                return Ok(Term::NotIn(name, vec![self.value()?]));
            }
            _ => {}
        }
        match self.next() {
            "in" => Ok(Term::In(name, self.values()?)),
            "notin" => Ok(Term::NotIn(name, self.values()?)),
            sign @ ("<" | ">") => Err(self.unexpected(sign, "in, notin, =, == or !=")),
            other => Err(self.unexpected(other, "in, notin, =, == or !=")),
        }
    }

    /// Parses a value; it can be empty.
    fn value(&mut self) -> Result<String, Failure> {
        if matches!(self.peek(), "" | "," | ")") {
            return Ok(String::new());
        }
        let value = self.next();
        if is_value(value) { Ok(value.to_owned()) } else { Err(self.unexpected(value, "a value")) }
    }

    /// Values in parentheses.
    fn values(&mut self) -> Result<Vec<String>, Failure> {
        let open = self.next();
        if open != "(" {
            return Err(self.unexpected(open, "'('"));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            match self.next() {
                ")" => return Ok(values),
                "," => {}
                other => return Err(self.unexpected(other, "',' or ')'")),
            }
        }
    }
}

/// `app` or `app.kubernetes.io/name`.
fn is_key(text: &str) -> bool {
    let name = match text.split_once('/') {
        None => text,
        Some((prefix, name)) if !prefix.is_empty() && prefix.len() <= 253 && is_plain(prefix) => {
            name
        }
        Some(_) => return false,
    };
    !name.is_empty() && is_value(name)
}

/// At most 63 letters, digits, dashes, underscores and dots; first and last are letters or digits.
fn is_value(text: &str) -> bool {
    text.len() <= 63 && is_plain(text)
}

fn is_plain(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.chars().all(|c| edge(c) || "-_.".contains(c))
        && (text.is_empty() || (text.starts_with(edge) && text.ends_with(edge)))
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
            ("app notin(x)", "", false),
            ("app in(,x) , tier", "", true),
            ("in in (notin)", "", false),
            ("app.kubernetes.io/name=", "", false),
            ("owner!=", "", true),
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
        for wrong in [
            "a b c(", "a=b=c", "a in (x", "a in x", "a,,b", "a,", ",", "!", "a b=c", "a!b", "-a",
            "a=b/c", "/a", "a>1",
        ] {
            assert!(Selector::parse(wrong, "").is_err(), "{wrong}");
        }
        assert!(Selector::parse("", "x").is_err());
    }
}
