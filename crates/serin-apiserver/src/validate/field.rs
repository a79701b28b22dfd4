//! A field with its path, and the list of errors.

use serde_json::Value;

use crate::schema::FieldError;

static NOTHING: Value = Value::Null;

/// A value and its field path.
#[derive(Clone)]
pub(super) struct Field<'a> {
    pub(super) path: String,
    pub(super) value: &'a Value,
}

impl<'a> Field<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { path: String::new(), value }
    }

    pub(super) fn child(&self, name: &str) -> Field<'a> {
        let path =
            if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Field { path, value: self.value.get(name).unwrap_or(&NOTHING) }
    }

    /// An entry of a map; its key is in brackets in the path.
    pub(super) fn key(&self, name: &str) -> Field<'a> {
        let path = format!("{}[{name}]", self.path);
        Field { path, value: self.value.get(name).unwrap_or(&NOTHING) }
    }

    pub(super) fn items(&self) -> impl Iterator<Item = Field<'a>> {
        let path = self.path.clone();
        let list = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter()
            .enumerate()
            .map(move |(index, value)| Field { path: format!("{path}[{index}]"), value })
    }

    /// The entries of a map of strings.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let map = self.value.as_object().into_iter().flatten();
        map.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
    }

    pub(super) fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    pub(super) fn number(&self) -> i64 {
        self.optional().unwrap_or(0)
    }

    pub(super) fn optional(&self) -> Option<i64> {
        self.value.as_i64().or_else(|| {
            let number = self.value.as_f64().filter(|number| number.fract() == 0.0)?;
            // Integers in Kubernetes have at most 64 bits.
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a whole number, and cut off at the ends"
            )]
            Some(number as i64)
        })
    }

    pub(super) fn flag(&self) -> bool {
        self.value.as_bool().unwrap_or(false)
    }

    pub(super) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// Whether the value is missing or empty.
    pub(super) fn is_empty(&self) -> bool {
        match self.value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        }
    }
}

/// The errors, in the order in which they are found.
#[derive(Default)]
pub(super) struct Errors(Vec<FieldError>);

impl Errors {
    pub(super) fn list(mut self, max: usize) -> Vec<FieldError> {
        self.0.truncate(max);
        self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn add(&mut self, at: &Field<'_>, reason: &'static str, message: String, detail: &str) {
        let message = if detail.is_empty() { message } else { format!("{message}: {detail}") };
        self.0.push(FieldError { field: at.path.clone(), reason, message });
    }

    pub(super) fn invalid(&mut self, at: &Field<'_>, detail: &str) {
        self.add(at, "FieldValueInvalid", format!("Invalid value: {}", at.value), detail);
    }

    /// An invalid value, shown as `shown` instead of the field's own.
    pub(super) fn invalid_as(&mut self, at: &Field<'_>, shown: &Value, detail: &str) {
        self.add(at, "FieldValueInvalid", format!("Invalid value: {shown}"), detail);
    }

    /// One error per message of a rule for names.
    pub(super) fn invalid_each(&mut self, at: &Field<'_>, details: Vec<String>) {
        details.iter().for_each(|detail| self.invalid(at, detail));
    }

    pub(super) fn required(&mut self, at: &Field<'_>, detail: &str) {
        self.add(at, "FieldValueRequired", "Required value".to_owned(), detail);
    }

    pub(super) fn forbidden(&mut self, at: &Field<'_>, detail: &str) {
        self.add(at, "FieldValueForbidden", "Forbidden".to_owned(), detail);
    }

    pub(super) fn duplicate(&mut self, at: &Field<'_>) {
        self.add(at, "FieldValueDuplicate", format!("Duplicate value: {}", at.value), "");
    }

    pub(super) fn duplicate_as(&mut self, at: &Field<'_>, shown: &str) {
        self.add(at, "FieldValueDuplicate", format!("Duplicate value: {shown}"), "");
    }

    pub(super) fn not_found(&mut self, at: &Field<'_>) {
        self.add(at, "FieldValueNotFound", format!("Not found: {}", at.value), "");
    }

    pub(super) fn too_long(&mut self, at: &Field<'_>, max: usize) {
        let detail = format!("may not be more than {max} bytes");
        self.add(at, "FieldValueTooLong", "Too long".to_owned(), &detail);
    }

    /// An unsupported value; `supported` are the allowed ones, in the order of the message.
    pub(super) fn unsupported(&mut self, at: &Field<'_>, supported: &[&str]) {
        let value = if at.is_set() { at.value.to_string() } else { "\"\"".to_owned() };
        self.unsupported_as(at, &value, supported);
    }

    /// The same, with the value as kube-apiserver's own type prints it.
    pub(super) fn unsupported_as(&mut self, at: &Field<'_>, value: &str, supported: &[&str]) {
        let shown: Vec<String> = supported.iter().map(|one| format!("\"{one}\"")).collect();
        let detail = format!("supported values: {}", shown.join(", "));
        self.add(at, "FieldValueNotSupported", format!("Unsupported value: {value}"), &detail);
    }

    pub(super) fn one_of(&mut self, at: &Field<'_>, supported: &[&str]) {
        if !supported.contains(&at.text()) {
            self.unsupported(at, supported);
        }
    }

    pub(super) fn not_negative(&mut self, at: &Field<'_>) {
        if at.optional().is_some_and(|number| number < 0) {
            self.invalid(at, "must be greater than or equal to 0");
        }
    }
}
