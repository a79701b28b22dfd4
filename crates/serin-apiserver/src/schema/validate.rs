//! Checking a value against its schema, in Kubernetes' words.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::prune::child;
use super::{Additional, Checks, FieldError, Schema, Structural, Type, format};
use crate::patch::{ListType, item_key};

/// The greatest number of errors reported; a hostile object has megabytes of them.
const ERRORS_MAX: usize = 100;

impl Structural {
    /// The errors of `value`. Fields unchanged since `old` are not checked (ratcheting), so that a stricter schema does not
    /// block updates of existing objects.
    pub fn validate(&self, value: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if !value.is_object() {
            return vec![type_error("", value, "object")];
        }
        node(&self.root, value, old, "", Pass::Checks, &mut errors);
        if !has_rules(&self.root) {
            errors.truncate(ERRORS_MAX);
            return errors;
        }
        // Rules are only evaluated on values that fit the schema.
        if errors.iter().any(|error| BLOCKING.contains(&error.reason)) {
            errors.truncate(ERRORS_MAX);
            errors.push(FieldError::new("<nil>", "FieldValueInvalid", UNCHECKED));
            return errors;
        }
        node(&self.root, value, old, "", Pass::Rules, &mut errors);
        errors.truncate(ERRORS_MAX);
        errors
    }
}

/// Errors after which no rule is evaluated.
const BLOCKING: &[&str] = &[
    "FieldValueNotSupported",
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
];
const UNCHECKED: &str = "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

/// What a walk over a value checks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Checks,
    Rules,
}

fn has_rules(schema: &Schema) -> bool {
    let values = match &schema.additional {
        Additional::Values(values) => has_rules(values),
        Additional::Nothing | Additional::Anything => false,
    };
    !schema.rules.is_empty()
        || values
        || schema.properties.values().any(has_rules)
        || schema.items.as_deref().is_some_and(has_rules)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn type_error(at: &str, value: &Value, wanted: &str) -> FieldError {
    let is = type_name(value);
    let message = format!("Invalid value: {is:?}: {at} in body must be of type {wanted}: {is:?}");
    FieldError::new(at, "FieldValueTypeInvalid", message)
}

fn has_type(kind: Type, value: &Value) -> bool {
    match kind {
        Type::Object => value.is_object(),
        Type::Array => value.is_array(),
        Type::String => value.is_string(),
        Type::Boolean => value.is_boolean(),
        Type::Number => value.is_number(),
        Type::Integer => {
            value.is_i64()
                || value.is_u64()
                || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
    }
}

fn node(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    at: &str,
    pass: Pass,
    errors: &mut Vec<FieldError>,
) {
    if errors.len() >= ERRORS_MAX || old == Some(value) {
        return;
    }
    if value.is_null() && schema.nullable {
        return;
    }
    if pass == Pass::Checks {
        if !typed(schema, value, at, errors) {
            return;
        }
        checks(&schema.checks, value, at, errors);
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let property = match (schema.properties.get(name), &schema.additional) {
                    (Some(property), _) => property,
                    (None, Additional::Values(values)) => values,
                    (None, Additional::Nothing | Additional::Anything) => continue,
                };
                let old = old.and_then(|old| old.get(name));
                node(property, value, old, &child(at, name), pass, errors);
            }
        }
        Value::Array(list) => array(schema, list, old, at, pass, errors),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    for rule in schema.rules.iter().filter(|_| pass == Pass::Rules) {
        if errors.len() < ERRORS_MAX
            && let Some(violation) = rule.check(value, old, schema, at)
        {
            errors.push(violation);
        }
    }
}

/// Checks type and format; false if the value has an error there, and then nothing else about it is checked.
fn typed(schema: &Schema, value: &Value, at: &str, errors: &mut Vec<FieldError>) -> bool {
    if schema.int_or_string {
        if !value.is_string() && !has_type(Type::Integer, value) {
            errors.push(type_error(at, value, "integer,string"));
            return false;
        }
        return true;
    }
    match schema.kind {
        Some(kind) if !has_type(kind, value) => {
            errors.push(type_error(at, value, kind.name()));
            return false;
        }
        Some(_) | None => {}
    }
    if let Some(name) = &schema.format
        && !format::fits(name, value)
    {
        errors.push(FieldError::invalid(
            at,
            value,
            format!("{at} in body must be of type {name}: {value}"),
        ));
        return false;
    }
    true
}

fn array(
    schema: &Schema,
    list: &[Value],
    old: Option<&Value>,
    at: &str,
    pass: Pass,
    errors: &mut Vec<FieldError>,
) {
    let mut seen = BTreeSet::new();
    let before = match &schema.list {
        // Items of these lists have no identity across updates.
        ListType::Atomic | ListType::Set => BTreeMap::new(),
        ListType::Map { keys, defaults } => {
            let items = old.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            items
                .iter()
                .filter_map(|item| Some((item_key(item, keys, defaults).ok()?, item)))
                .collect()
        }
    };
    for (index, item) in list.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let key = match &schema.list {
            ListType::Atomic => None,
            ListType::Set => Some((item.to_string(), item.to_string())),
            ListType::Map { keys, defaults } => item_key(item, keys, defaults)
                .ok()
                .map(|key| (key.clone(), key.trim_start_matches("k:").to_owned())),
        };
        let mut old_item = None;
        if let Some((key, shown)) = key {
            old_item = before.get(&key).copied();
            if !seen.insert(key) && pass == Pass::Checks {
                errors.push(FieldError::new(
                    &at,
                    "FieldValueDuplicate",
                    format!("Duplicate value: {shown}"),
                ));
            }
        }
        if let Some(items) = &schema.items {
            node(items, item, old_item, &at, pass, errors);
        }
        if errors.len() >= ERRORS_MAX {
            return;
        }
    }
}

fn checks(checks: &Checks, value: &Value, at: &str, errors: &mut Vec<FieldError>) {
    if !checks.allowed.is_empty() && !checks.allowed.contains(value) {
        let allowed: Vec<String> = checks.allowed.iter().map(Value::to_string).collect();
        let message =
            format!("Unsupported value: {value}: supported values: {}", allowed.join(", "));
        errors.push(FieldError::new(at, "FieldValueNotSupported", message));
    }
    match value {
        Value::Object(map) => {
            for name in checks.required.iter().filter(|name| !map.contains_key(*name)) {
                errors.push(FieldError::new(
                    child(at, name),
                    "FieldValueRequired",
                    "Required value",
                ));
            }
            bounds(checks.size, map.len(), at, "properties", errors);
        }
        Value::Array(list) => bounds(checks.count, list.len(), at, "items", errors),
        Value::String(text) => text_checks(checks, text, at, errors),
        Value::Number(_) => number_checks(checks, value, at, errors),
        Value::Null | Value::Bool(_) => {}
    }
    junctors(checks, value, at, errors);
}

fn bounds(
    (min, max): (Option<u64>, Option<u64>),
    is: usize,
    at: &str,
    what: &str,
    errors: &mut Vec<FieldError>,
) {
    let is = is as u64;
    if let Some(min) = min.filter(|min| is < *min) {
        errors.push(FieldError::invalid(
            at,
            &is.into(),
            format!("{at} in body should have at least {min} {what}"),
        ));
    }
    if let Some(max) = max.filter(|max| is > *max) {
        let message = format!("Too many: {is}: must have at most {max} items");
        errors.push(FieldError::new(at, "FieldValueTooMany", message));
    }
}

fn text_checks(checks: &Checks, text: &str, at: &str, errors: &mut Vec<FieldError>) {
    let value = Value::from(text);
    let (min, max) = checks.length;
    let length = text.chars().count() as u64;
    if let Some(min) = min.filter(|min| length < *min) {
        errors.push(FieldError::invalid(
            at,
            &value,
            format!("{at} in body should be at least {min} chars long"),
        ));
    }
    if let Some(max) = max.filter(|max| length > *max) {
        let message = format!("Too long: may not be more than {max} bytes");
        errors.push(FieldError::new(at, "FieldValueTooLong", message));
    }
    if let Some((pattern, regex)) = &checks.pattern
        && !regex.is_match(text)
    {
        errors.push(FieldError::invalid(
            at,
            &value,
            format!("{at} in body should match '{pattern}'"),
        ));
    }
}

fn number_checks(checks: &Checks, value: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let Some(number) = value.as_f64() else { return };
    let mut wrong = |detail: String| {
        errors.push(FieldError::invalid(at, value, format!("{at} in body should be {detail}")))
    };
    match checks.minimum {
        Some((min, true)) if number <= min => wrong(format!("greater than {min}")),
        Some((min, false)) if number < min => wrong(format!("greater than or equal to {min}")),
        Some(_) | None => {}
    }
    match checks.maximum {
        Some((max, true)) if number >= max => wrong(format!("less than {max}")),
        Some((max, false)) if number > max => wrong(format!("less than or equal to {max}")),
        Some(_) | None => {}
    }
    if let Some(step) = checks.multiple_of
        && ((number / step).round() - number / step).abs() > 1e-9
    {
        wrong(format!("a multiple of {step}"));
    }
}

fn junctors(checks: &Checks, value: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let failed = |schema: &Schema| {
        let mut found = Vec::new();
        inner(schema, value, at, &mut found);
        found
    };
    let mut must = |detail: String| {
        let message = format!("Invalid value: \"\": {at:?} must {detail}");
        errors.push(FieldError::new(at, "FieldValueInvalid", message));
    };
    let mut because = Vec::new();
    let all: Vec<FieldError> = checks.all_of.iter().flat_map(&failed).collect();
    if !all.is_empty() {
        must("validate all the schemas (allOf)".to_owned());
        because.extend(all);
    }
    let any: Vec<Vec<FieldError>> = checks.any_of.iter().map(&failed).collect();
    if !any.is_empty() && any.iter().all(|found| !found.is_empty()) {
        must("validate at least one schema (anyOf)".to_owned());
        because.extend(any.into_iter().next().unwrap_or_default());
    }
    let one: Vec<Vec<FieldError>> = checks.one_of.iter().map(&failed).collect();
    let valid = one.iter().filter(|found| found.is_empty()).count();
    if !one.is_empty() && valid != 1 {
        let found = match valid {
            0 => "Found none valid".to_owned(),
            several => format!("Found {several} valid alternatives"),
        };
        must(format!("validate one and only one schema (oneOf). {found}"));
        because.extend(one.into_iter().next().unwrap_or_default());
    }
    if checks.not.as_deref().is_some_and(|schema| failed(schema).is_empty()) {
        must("not validate the schema (not)".to_owned());
    }
    errors.extend(because);
}

/// A schema inside a junctor: its checks, and those of its properties and items.
fn inner(schema: &Schema, value: &Value, at: &str, errors: &mut Vec<FieldError>) {
    if errors.len() >= ERRORS_MAX || !typed(schema, value, at, errors) {
        return;
    }
    checks(&schema.checks, value, at, errors);
    match value {
        Value::Object(map) => {
            for (name, property) in &schema.properties {
                if let Some(value) = map.get(name) {
                    inner(property, value, &child(at, name), errors);
                }
            }
        }
        Value::Array(list) => {
            for (index, item) in list.iter().enumerate() {
                if let Some(items) = &schema.items {
                    inner(items, item, &format!("{at}[{index}]"), errors);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
