//! A cursor over a JSON document that knows its path and collects every complaint instead of stopping at the first.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::model::{Finding, FindingCode, Policy};
use crate::words::{NAME_MAX, SENTENCE_MAX, line};

/// More findings than a person reads; a huge broken object must not make a huge status.
const FINDINGS_MAX: usize = 50;

/// What was found in one document, in the order it was found.
#[derive(Default)]
pub(super) struct Complaints {
    /// What keeps the object from being acted on has its own list: warnings must not crowd it out.
    obstacles: RefCell<Vec<Finding>>,
    warnings: RefCell<Vec<Finding>>,
}

impl Complaints {
    pub(super) fn add(&self, finding: Finding) {
        // It may repeat what the user has written.
        let finding = Finding {
            field: line(&finding.field, SENTENCE_MAX),
            message: line(&finding.message, SENTENCE_MAX),
            ..finding
        };
        let list = match finding.severity.is_obstacle() {
            true => &self.obstacles,
            false => &self.warnings,
        };
        let mut list = list.borrow_mut();
        if list.len() < FINDINGS_MAX && !list.contains(&finding) {
            list.push(finding);
        }
    }

    pub(super) fn error(&self, field: impl Into<String>, message: impl Into<String>) {
        self.add(Finding::error(field, message));
    }

    /// Obstacles and warnings.
    pub(super) fn into_parts(self) -> (Vec<Finding>, Vec<Finding>) {
        (self.obstacles.into_inner(), self.warnings.into_inner())
    }
}

/// One object of the document. A missing one reads as empty, so that its fields get their defaults.
#[derive(Clone)]
pub(super) struct Doc<'a> {
    pub(super) path: String,
    fields: Option<&'a Map<String, Value>>,
    complaints: &'a Complaints,
}

impl<'a> Doc<'a> {
    /// The root: anything but an object is one complaint and then empty.
    pub(super) fn root(value: &'a Value, complaints: &'a Complaints) -> Self {
        let doc = Self { path: String::new(), fields: value.as_object(), complaints };
        if doc.fields.is_none() {
            complaints.error("", format!("must be an object, not {}", kind(value)));
        }
        doc
    }

    pub(super) fn at(&self, key: &str) -> String {
        match self.path.is_empty() {
            true => key.to_owned(),
            false => format!("{}.{key}", self.path),
        }
    }

    /// The field, unless it is missing or null.
    pub(super) fn raw(&self, key: &str) -> Option<&'a Value> {
        self.fields.and_then(|fields| fields.get(key)).filter(|value| !value.is_null())
    }

    pub(super) fn add(&self, finding: Finding) {
        // It may repeat what the user has written.
        let finding = Finding {
            field: line(&finding.field, SENTENCE_MAX),
            message: line(&finding.message, SENTENCE_MAX),
            ..finding
        };
        self.complaints.add(finding);
    }

    pub(super) fn error(&self, key: &str, message: impl Into<String>) {
        self.add(Finding::error(self.at(key), message));
    }

    /// An error with what to do about it.
    pub(super) fn error_use(
        &self,
        key: &str,
        message: impl Into<String>,
        way_out: impl Into<String>,
    ) {
        self.add(Finding::error(self.at(key), message).way_out(way_out));
    }

    /// The value is taken as another one, or does something else than it seems.
    pub(super) fn taken_as(&self, key: &str, message: impl Into<String>) {
        self.add(Finding::warning(FindingCode::TakenAs, self.at(key), message));
    }

    pub(super) fn no_effect(&self, key: &str, message: impl Into<String>) {
        self.add(Finding::warning(FindingCode::NoEffect, self.at(key), message));
    }

    pub(super) fn is_required(&self, key: &str) {
        self.add(Finding::error(self.at(key), "is required").coded(FindingCode::Required));
    }

    fn wrong(&self, key: &str, wanted: &str, value: &Value) {
        self.error(key, format!("must be {wanted}, not {}", kind(value)));
    }

    /// The text, unless it is missing or empty.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        let value = self.raw(key)?;
        match value.as_str() {
            Some(text) => Some(text).filter(|text| !text.is_empty()),
            None => {
                self.wrong(key, "a string", value);
                None
            }
        }
    }

    /// The text, complaining when there is none.
    pub(super) fn required(&self, key: &str) -> &'a str {
        let missing = match self.raw(key) {
            None => true,
            Some(value) => value.as_str().is_some_and(str::is_empty),
        };
        if missing {
            self.is_required(key);
        }
        self.text(key).unwrap_or_default()
    }

    /// A name that people see, complaining when there is none, and taken as far as it can be shown.
    pub(super) fn name(&self, key: &str) -> String {
        let given = self.required(key);
        let name = line(given, NAME_MAX);
        if name != given {
            self.taken_as(
                key,
                format!("is taken as {name:?}: names are one line of {NAME_MAX} bytes at most"),
            );
        }
        name
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.flag_or(key, false)
    }

    pub(super) fn flag_or(&self, key: &str, default: bool) -> bool {
        match self.raw(key) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(value) => {
                self.wrong(key, "true or false", value);
                default
            }
        }
    }

    pub(super) fn whole(&self, key: &str) -> Option<i64> {
        let value = self.raw(key)?;
        let whole = as_whole(value);
        if whole.is_none() {
            match value.as_number() {
                Some(number) => self.error(key, format!("must be a whole number, not {number}")),
                None => self.wrong(key, "a whole number", value),
            }
        }
        whole
    }

    /// A whole number between bounds, both included.
    pub(super) fn within(&self, key: &str, low: i64, high: i64) -> Option<i64> {
        let number = self.whole(key)?;
        if (low..=high).contains(&number) {
            return Some(number);
        }
        self.error(key, format!("must be between {low} and {high}, not {number}"));
        None
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        let value = self.raw(key)?;
        let number = value.as_f64().filter(|number| number.is_finite());
        if number.is_none() {
            self.wrong(key, "a number", value);
        }
        number
    }

    pub(super) fn object(&self, key: &str) -> Option<Doc<'a>> {
        let value = self.raw(key)?;
        let doc = self.inside(self.at(key), value);
        doc.fields.is_some().then_some(doc)
    }

    /// The object, or an empty one.
    pub(super) fn object_or_empty(&self, key: &str) -> Doc<'a> {
        self.object(key).unwrap_or_else(|| Doc {
            path: self.at(key),
            fields: None,
            complaints: self.complaints,
        })
    }

    fn inside(&self, path: String, value: &'a Value) -> Doc<'a> {
        if !value.is_object() {
            self.complaints.error(path.clone(), format!("must be an object, not {}", kind(value)));
        }
        Doc { path, fields: value.as_object(), complaints: self.complaints }
    }

    /// Each element with its path.
    pub(super) fn list(&self, key: &str) -> Vec<(String, &'a Value)> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let Some(list) = value.as_array() else {
            self.wrong(key, "a list", value);
            return Vec::new();
        };
        let path = self.at(key);
        list.iter().enumerate().map(|(i, value)| (format!("{path}[{i}]"), value)).collect()
    }

    /// The elements that are objects; the others are complained about.
    pub(super) fn objects(&self, key: &str) -> Vec<Doc<'a>> {
        let docs = self.list(key).into_iter().map(|(path, value)| self.inside(path, value));
        docs.filter(|doc| doc.fields.is_some()).collect()
    }

    pub(super) fn whole_numbers(&self, key: &str) -> Vec<(String, i64)> {
        let mut numbers = Vec::new();
        for (path, value) in self.list(key) {
            match as_whole(value) {
                Some(number) => numbers.push((path, number)),
                None => {
                    let found = value.as_number().map_or(kind(value).to_owned(), |n| n.to_string());
                    self.complaints.error(path, format!("must be a whole number, not {found}"));
                }
            }
        }
        numbers
    }

    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for (path, value) in self.list(key) {
            match value.as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => {
                    self.complaints.error(path, format!("must be a string, not {}", kind(value)));
                }
            }
        }
        texts
    }

    /// A map of strings to strings.
    pub(super) fn text_map(&self, key: &str) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        let Some(doc) = self.object(key) else { return map };
        for (name, value) in doc.entries() {
            match value.as_str() {
                Some(text) => {
                    map.insert(name.clone(), text.to_owned());
                }
                None => doc.wrong(name, "a string", value),
            }
        }
        map
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.fields.into_iter().flat_map(Map::iter)
    }

    /// What follows from not knowing, where the spec says so.
    pub(super) fn policy(&self, field: &str) -> Option<Policy> {
        let text = self.text(field)?;
        let known = Policy::ALL.into_iter().find(|policy| policy.name() == text);
        if known.is_none() {
            self.error(field, format!("{text:?} is none of hold, pass, fail"));
        }
        known
    }
}

/// A number without a fraction. API servers store `5.0` as they got it, and it means 5.
fn as_whole(value: &Value) -> Option<i64> {
    if let Some(whole) = value.as_i64() {
        return Some(whole);
    }
    let float = value.as_f64()?;
    // 2^53: beyond it neighbouring whole numbers cannot be told apart.
    let exact = float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0;
    exact.then_some(float as i64)
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Something that says something: not null, false, zero or empty.
pub(super) fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}
