//! Structural schemas of custom resources: parse once, then prune, default and validate as Kubernetes does.

mod builtin;
mod format;
pub(crate) mod number;
mod parse;
mod prune;
pub(crate) mod quantity;
mod validate;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use crate::cel::Rule;
use crate::patch::{ListKeys, ListType, Shape};

pub use builtin::prune_builtin;
pub(crate) use format::duration_nanos;

/// One thing wrong with a value or with a schema; a cause in the `Status` of a 422.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// As in `spec.analysis.steps[0]`.
    pub field: String,
    /// As in `FieldValueInvalid`.
    pub reason: &'static str,
    /// Without the field, as in `Required value`.
    pub message: String,
}

impl FieldError {
    pub(crate) fn new(
        field: impl Into<String>,
        reason: &'static str,
        message: impl Into<String>,
    ) -> FieldError {
        FieldError { field: field.into(), reason, message: message.into() }
    }

    pub(crate) fn invalid(
        field: impl Into<String>,
        value: &Value,
        detail: impl AsRef<str>,
    ) -> FieldError {
        let message = format!("Invalid value: {value}: {}", detail.as_ref());
        Self::new(field, "FieldValueInvalid", message)
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// The schema of one version of a custom resource.
#[derive(Debug)]
pub struct Structural {
    pub(crate) root: Schema,
    warnings: Vec<String>,
}

impl Structural {
    /// What is accepted but not checked, such as rules that call functions unknown here.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Type {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Type::Object => "object",
            Type::Array => "array",
            Type::String => "string",
            Type::Integer => "integer",
            Type::Number => "number",
            Type::Boolean => "boolean",
        }
    }
}

/// What a map may hold beside its properties.
#[derive(Debug, Default)]
pub(crate) enum Additional {
    #[default]
    Nothing,
    Anything,
    Values(Box<Schema>),
}

/// One node of a schema. Inside `allOf` and its like only the checks are used.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    pub(crate) kind: Option<Type>,
    pub(crate) nullable: bool,
    pub(crate) int_or_string: bool,
    pub(crate) preserve: bool,
    pub(crate) embedded: bool,
    pub(crate) properties: BTreeMap<String, Schema>,
    pub(crate) additional: Additional,
    pub(crate) items: Option<Box<Schema>>,
    pub(crate) default: Option<Value>,
    pub(crate) format: Option<String>,
    pub(crate) list: ListType,
    pub(crate) atomic: bool,
    pub(crate) checks: Checks,
    pub(crate) rules: Vec<Rule>,
}

/// The value validations of a node.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(crate) required: Vec<String>,
    pub(crate) allowed: Vec<Value>,
    /// As written, and as this program matches it.
    pub(crate) pattern: Option<(String, Regex)>,
    /// The bound, and whether it is excluded.
    pub(crate) minimum: Option<(f64, bool)>,
    pub(crate) maximum: Option<(f64, bool)>,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) length: (Option<u64>, Option<u64>),
    pub(crate) count: (Option<u64>, Option<u64>),
    pub(crate) size: (Option<u64>, Option<u64>),
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Box<Schema>>,
}

impl ListKeys {
    /// The merge rules that a schema's `x-kubernetes-list-type` and its like state.
    pub fn from_schema(schema: &Structural) -> ListKeys {
        ListKeys::custom(shape(&schema.root))
    }
}

fn shape(schema: &Schema) -> Shape {
    let mut list = schema.list.clone();
    if let (ListType::Map { keys, defaults }, Some(items)) = (&mut list, &schema.items) {
        for key in keys.iter() {
            if let Some(default) =
                items.properties.get(key).and_then(|property| property.default.clone())
            {
                defaults.insert(key.clone(), default);
            }
        }
    }
    let rest = match &schema.additional {
        Additional::Nothing | Additional::Anything => None,
        Additional::Values(values) => Some(Box::new(shape(values))),
    };
    Shape {
        fields: schema
            .properties
            .iter()
            .map(|(name, property)| (name.clone(), shape(property)))
            .collect(),
        rest,
        items: schema.items.as_deref().map(|items| Box::new(shape(items))),
        list,
        atomic: schema.atomic,
    }
}

#[cfg(test)]
mod tests;
