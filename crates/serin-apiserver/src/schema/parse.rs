//! Parses `openAPIV3Schema` to a schema, or returns all its errors.

use regex::Regex;
use serde_json::{Map, Value};

use super::{Additional, Checks, FieldError, Schema, Structural, Type, format};
use crate::cel::Rule;
use crate::patch::ListType;

/// The greatest depth of a schema; deeper ones would exhaust the stack, and real ones stay far below.
const DEPTH_MAX: usize = 100;
/// Bound of the nodes of a schema: far more than the Gateway API has.
const NODES_MAX: usize = 50_000;

const JUNCTORS: [&str; 3] = ["allOf", "anyOf", "oneOf"];

impl Structural {
    /// Reads a schema; the errors are those of `kubectl apply` on the definition, below `openAPIV3Schema`.
    pub fn parse(schema: &Value) -> Result<Structural, Vec<FieldError>> {
        let mut reader = Reader { errors: Vec::new(), warnings: Vec::new(), nodes: 0 };
        let mut root = reader.node(schema, "openAPIV3Schema", 0, false);
        if root.kind != Some(Type::Object) && reader.errors.is_empty() {
            reader.required("openAPIV3Schema.type", "must be object at the root");
        }
        if !reader.errors.is_empty() {
            return Err(reader.errors);
        }
        resource(&mut root);
        Ok(Structural { root, warnings: reader.warnings })
    }
}

/// Adds `apiVersion`, `kind` and `metadata`, which every resource has and the server checks.
fn resource(schema: &mut Schema) {
    let text = || Schema { kind: Some(Type::String), ..Schema::default() };
    schema.properties.entry("apiVersion".into()).or_insert_with(text);
    schema.properties.entry("kind".into()).or_insert_with(text);
    let metadata = schema.properties.entry("metadata".into()).or_default();
    metadata.kind = Some(Type::Object);
    metadata.preserve = true;
}

struct Reader {
    errors: Vec<FieldError>,
    warnings: Vec<String>,
    nodes: usize,
}

impl Reader {
    fn required(&mut self, field: impl Into<String>, detail: &str) {
        self.errors.push(FieldError::new(
            field,
            "FieldValueRequired",
            format!("Required value: {detail}"),
        ));
    }

    fn invalid(&mut self, field: impl Into<String>, value: &Value, detail: &str) {
        self.errors.push(FieldError::invalid(field, value, detail));
    }

    /// Reads one node; with `inside` it is in a junctor, where only checks are allowed.
    fn node(&mut self, json: &Value, at: &str, depth: usize, inside: bool) -> Schema {
        let mut schema = Schema::default();
        self.nodes += 1;
        let Some(map) = json.as_object() else {
            self.invalid(at, json, "must be an object");
            return schema;
        };
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            if self.errors.is_empty() {
                let message = format!(
                    "Too long: a schema may not pass {DEPTH_MAX} levels or {NODES_MAX} nodes"
                );
                self.errors.push(FieldError::new(at, "FieldValueTooLong", message));
            }
            return schema;
        }
        for unsupported in ["$ref", "definitions", "dependencies", "patternProperties", "id"] {
            if map.contains_key(unsupported) {
                let field = format!("{at}.{unsupported}");
                self.errors.push(FieldError::new(
                    field,
                    "FieldValueForbidden",
                    "Forbidden: is not supported",
                ));
            }
        }
        let flag = |name: &str| map.get(name).and_then(Value::as_bool).unwrap_or(false);
        schema.nullable = flag("nullable");
        schema.int_or_string = flag("x-kubernetes-int-or-string");
        schema.preserve = flag("x-kubernetes-preserve-unknown-fields");
        schema.embedded = flag("x-kubernetes-embedded-resource");
        schema.default = map.get("default").cloned();
        schema.atomic = map.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic");
        schema.kind = self.kind(map, at);
        schema.format = map.get("format").and_then(Value::as_str).map(str::to_owned);
        if let Some(name) = &schema.format
            && !format::is_checked(name)
        {
            self.warnings.push(format!("{at}.format: {name} is not checked"));
        }
        if schema.kind.is_none() && !schema.int_or_string && !schema.preserve && !inside {
            self.required(format!("{at}.type"), "must not be empty for specified object fields");
        }
        self.below(map, &mut schema, at, depth, inside);
        schema.list = self.list(map, &schema, at);
        schema.checks = self.checks(map, at, depth);
        self.rules(map, &mut schema, at);
        if schema.embedded {
            resource(&mut schema);
        }
        schema
    }

    fn kind(&mut self, map: &Map<String, Value>, at: &str) -> Option<Type> {
        let value = map.get("type")?;
        let kind = match value.as_str().unwrap_or("?") {
            "" => return None,
            "object" => Type::Object,
            "array" => Type::Array,
            "string" => Type::String,
            "integer" => Type::Integer,
            "number" => Type::Number,
            "boolean" => Type::Boolean,
            _ => {
                let message = format!(
                    "Unsupported value: {value}: supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\""
                );
                self.errors.push(FieldError::new(
                    format!("{at}.type"),
                    "FieldValueNotSupported",
                    message,
                ));
                return None;
            }
        };
        Some(kind)
    }

    fn below(
        &mut self,
        map: &Map<String, Value>,
        schema: &mut Schema,
        at: &str,
        depth: usize,
        inside: bool,
    ) {
        if let Some(properties) = map.get("properties").and_then(Value::as_object) {
            for (name, property) in properties {
                let property =
                    self.node(property, &format!("{at}.properties[{name}]"), depth + 1, inside);
                schema.properties.insert(name.clone(), property);
            }
        }
        schema.additional = match map.get("additionalProperties") {
            None | Some(Value::Bool(false)) => Additional::Nothing,
            Some(Value::Bool(true)) => Additional::Anything,
            Some(values) => {
                let values =
                    self.node(values, &format!("{at}.additionalProperties"), depth + 1, inside);
                Additional::Values(Box::new(values))
            }
        };
        if !schema.properties.is_empty() && !matches!(schema.additional, Additional::Nothing) {
            let field = format!("{at}.additionalProperties");
            let message = "Forbidden: additionalProperties and properties are mutual exclusive";
            self.errors.push(FieldError::new(field, "FieldValueForbidden", message));
        }
        match map.get("items") {
            Some(items) => {
                schema.items =
                    Some(Box::new(self.node(items, &format!("{at}.items"), depth + 1, inside)));
            }
            None if schema.kind == Some(Type::Array) && !inside => {
                self.required(format!("{at}.items"), "must be specified")
            }
            None => {}
        }
    }

    fn list(&mut self, map: &Map<String, Value>, schema: &Schema, at: &str) -> ListType {
        let Some(value) = map.get("x-kubernetes-list-type") else { return ListType::Atomic };
        let field = format!("{at}.x-kubernetes-list-type");
        if schema.kind != Some(Type::Array) {
            self.invalid(&field, value, "must be array if x-kubernetes-list-type is specified");
        }
        match value.as_str() {
            Some("atomic") => ListType::Atomic,
            Some("set") => ListType::Set,
            Some("map") => {
                let keys: Vec<String> = strings(map.get("x-kubernetes-list-map-keys"));
                let keys_at = format!("{at}.x-kubernetes-list-map-keys");
                if keys.is_empty() {
                    self.required(&keys_at, "must not be empty if x-kubernetes-list-type is map");
                }
                for key in &keys {
                    let known = schema.items.as_ref().and_then(|items| items.properties.get(key));
                    if known.is_none() {
                        let key = Value::from(key.as_str());
                        self.invalid(
                            &keys_at,
                            &key,
                            "entries must all be names of item properties",
                        );
                    }
                }
                ListType::Map { keys, defaults: Default::default() }
            }
            Some(_) | None => {
                let message = format!(
                    "Unsupported value: {value}: supported values: \"atomic\", \"map\", \"set\""
                );
                self.errors.push(FieldError::new(field, "FieldValueNotSupported", message));
                ListType::Atomic
            }
        }
    }

    fn checks(&mut self, map: &Map<String, Value>, at: &str, depth: usize) -> Checks {
        let number = |name: &str| map.get(name).and_then(Value::as_f64);
        let count = |name: &str| map.get(name).and_then(Value::as_u64);
        let flag = |name: &str| map.get(name).and_then(Value::as_bool).unwrap_or(false);
        let mut checks = Checks {
            required: strings(map.get("required")),
            allowed: map.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            pattern: None,
            minimum: number("minimum").map(|bound| (bound, flag("exclusiveMinimum"))),
            maximum: number("maximum").map(|bound| (bound, flag("exclusiveMaximum"))),
            multiple_of: number("multipleOf").filter(|step| *step > 0.0),
            length: (count("minLength"), count("maxLength")),
            count: (count("minItems"), count("maxItems")),
            size: (count("minProperties"), count("maxProperties")),
            ..Checks::default()
        };
        if let Some(pattern) =
            map.get("pattern").and_then(Value::as_str).filter(|pattern| !pattern.is_empty())
        {
            match Regex::new(&ascii_classes(pattern)) {
                Ok(regex) => checks.pattern = Some((pattern.to_owned(), regex)),
                Err(error) => {
                    let detail = format!("must be a valid regular expression, but isn't: {error}");
                    self.invalid(format!("{at}.pattern"), &pattern.into(), &detail);
                }
            }
        }
        for name in JUNCTORS {
            let Some(list) = map.get(name).and_then(Value::as_array) else { continue };
            let schemas = list
                .iter()
                .enumerate()
                .map(|(index, json)| {
                    self.node(json, &format!("{at}.{name}[{index}]"), depth + 1, true)
                })
                .collect();
            match name {
                "allOf" => checks.all_of = schemas,
                "anyOf" => checks.any_of = schemas,
                _ => checks.one_of = schemas,
            }
        }
        if let Some(not) = map.get("not") {
            checks.not = Some(Box::new(self.node(not, &format!("{at}.not"), depth + 1, true)));
        }
        checks
    }

    fn rules(&mut self, map: &Map<String, Value>, schema: &mut Schema, at: &str) {
        let rules = map.get("x-kubernetes-validations").and_then(Value::as_array);
        for (index, json) in rules.into_iter().flatten().enumerate() {
            let at = format!("{at}.x-kubernetes-validations[{index}]");
            match Rule::parse(json) {
                Ok(rule) => {
                    self.warnings.extend(
                        rule.unsupported()
                            .map(|why| format!("{at}.rule: {why}; the rule is not checked")),
                    );
                    schema.rules.push(rule);
                }
                Err(error) => {
                    let error = FieldError { field: format!("{at}.{}", error.field), ..error };
                    self.errors.push(error);
                }
            }
        }
    }
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Rewrites `\d`, `\w` and `\s` to ASCII classes, as Kubernetes has them; in this crate's regexes they are Unicode.
pub(super) fn ascii_classes(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            out.push(char);
            continue;
        }
        match chars.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('s') => out.push_str("[\\t\\n\\f\\r ]"),
            Some('S') => out.push_str("[^\\t\\n\\f\\r ]"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}
