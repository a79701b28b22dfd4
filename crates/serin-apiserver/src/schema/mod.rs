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

/// An error in a value or a schema: a cause in the `Status` of a 422.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field path, such as `spec.analysis.steps[0]`.
    pub field: String,
    /// The cause's reason, such as `FieldValueInvalid`.
    pub reason: &'static str,
    /// The message without the field path, such as `Required value`.
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
    /// Warnings about parts of the schema that are accepted but not checked, such as rules with unknown functions.
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

/// The additional properties that a map can have.
#[derive(Debug, Default)]
pub(crate) enum Additional {
    #[default]
    Nothing,
    Anything,
    Values(Box<Schema>),
}

/// One node of a schema. Inside `allOf` and other junctors only the checks are used.
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
    /// The pattern as written, and compiled.
    pub(crate) pattern: Option<(String, Regex)>,
    /// The bound, and whether it is exclusive.
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
