//! OpenAPI v3 documents, one per group and version, as `kubectl apply`, `edit`, `diff` and `explain` read them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::protobuf::table;

/// One kind of a document.
#[derive(Clone, Copy, Debug)]
pub struct ApiKind<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    pub plural: &'a str,
    pub namespaced: bool,
    /// The `openAPIV3Schema` of a custom resource; a built-in kind has none.
    pub schema: Option<&'a Value>,
}

/// The answer to `GET /openapi/v3`; `documents` are paths like `apis/apps/v1` with their hashes.
pub fn index<'a>(documents: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let paths: Map<String, Value> = documents
        .into_iter()
        .map(|(path, hash)| {
            (
                path.to_owned(),
                json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}),
            )
        })
        .collect();
    json!({"paths": paths})
}

/// The path of a document below `/openapi/v3/`.
pub fn path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The hash of a document, for clients' caches; it changes when the document does.
pub fn hash(document: &Value) -> String {
    Sha256::digest(document.to_string()).iter().take(16).map(|byte| format!("{byte:02X}")).collect()
}

/// The document of one group and version.
pub fn document<'a>(kinds: impl IntoIterator<Item = ApiKind<'a>>) -> Value {
    let mut paths = Map::new();
    let mut schemas: BTreeMap<String, Value> = BTreeMap::new();
    let mut wanted: BTreeSet<String> = BTreeSet::from(["ObjectMeta".to_owned()]);
    for kind in kinds {
        operations(&kind, &mut paths);
        let (name, schema) = root(&kind, &mut wanted);
        schemas.insert(name, schema);
    }
    let mut done = BTreeSet::new();
    while let Some(name) = wanted.pop_first() {
        if !done.contains(&name)
            && let Some(described) = type_named(&name)
        {
            done.insert(name.clone());
            wanted.extend(described.fields.iter().map(|field| base(&field.kind).to_owned()));
            schemas.insert(format!("{PREFIX}{name}"), schema_of(&described));
        }
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1"},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

const PREFIX: &str = "io.k8s.api.";

/// The operations that kubectl reads: that `fieldValidation` is supported, and the kind behind a path.
fn operations(kind: &ApiKind<'_>, paths: &mut Map<String, Value>) {
    let gvk = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let query = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let path_part = |name: &str| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}});
    let operation = |verb: &str, action: &str, parameters: &[&str]| {
        json!({
            "operationId": format!("{verb}{}", kind.kind),
            "parameters": parameters.iter().map(|name| query(name)).collect::<Vec<_>>(),
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk,
        })
    };
    let writes = ["dryRun", "fieldManager", "fieldValidation"];
    let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    let all = format!("/{}{scope}/{}", path(kind.group, kind.version), kind.plural);
    let mut parameters = Vec::new();
    if kind.namespaced {
        parameters.push(path_part("namespace"));
    }
    let list = json!({
        "get": operation("list", "list", &["labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "watch"]),
        "post": operation("create", "post", &writes),
        "parameters": parameters,
    });
    parameters.push(path_part("name"));
    let one = json!({
        "get": operation("read", "get", &[]),
        "put": operation("replace", "put", &writes),
        "patch": operation("patch", "patch", &["dryRun", "fieldManager", "fieldValidation", "force"]),
        "delete": operation("delete", "delete", &["dryRun", "gracePeriodSeconds", "propagationPolicy"]),
        "parameters": parameters,
    });
    paths.insert(format!("{all}/{{name}}"), one);
    paths.insert(all, list);
}

/// The schema of a kind itself under its name.
fn root(kind: &ApiKind<'_>, wanted: &mut BTreeSet<String>) -> (String, Value) {
    let version = if kind.group.is_empty() {
        kind.version.to_owned()
    } else {
        format!("{}/{}", kind.group, kind.version)
    };
    let message = table().roots.get(&(version, kind.kind.to_owned()));
    let described = type_named(kind.kind).or_else(|| type_named(message?));
    let mut schema = match (kind.schema, described) {
        (Some(schema), _) => schema.clone(),
        (None, Some(described)) => {
            wanted.extend(described.fields.iter().map(|field| base(&field.kind).to_owned()));
            schema_of(&described)
        }
        (None, None) => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
    };
    if !schema.is_object() {
        schema = json!({"type": "object"});
    }
    schema["x-kubernetes-group-version-kind"] =
        json!([{"group": kind.group, "version": kind.version, "kind": kind.kind}]);
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    let properties = &mut schema["properties"];
    properties["apiVersion"] =
        json!({"type": "string", "description": "The API's group and version."});
    properties["kind"] = json!({"type": "string", "description": "What this is."});
    properties["metadata"] = reference("ObjectMeta", "Name, namespace, labels and the like.");
    let group = if kind.group.is_empty() { "core" } else { kind.group };
    let reversed: Vec<&str> = group.split('.').rev().collect();
    (format!("{}.{}.{}", reversed.join("."), kind.version, kind.kind), schema)
}

/// A type by its name in the hand-written table, or else, without descriptions, in the table of protobuf messages.
fn type_named(name: &str) -> Option<Described> {
    if let Some(described) = types().get(name) {
        return Some(described.clone());
    }
    let mut fields = Vec::new();
    let mut inside = vec![name.to_owned()];
    while let Some(message) = inside.pop() {
        for field in table().messages.get(&message)?.values() {
            if field.name == "." {
                inside.push(field.kind.clone());
                continue;
            }
            fields.push(Field {
                name: field.name.clone(),
                kind: plain(&field.kind),
                required: false,
                description: String::new(),
            });
        }
    }
    Some(Described { description: String::new(), fields })
}

/// The name of a protobuf message's type in the hand-written table.
fn plain(kind: &str) -> String {
    let base = base(kind);
    let name = match base {
        "int" | "double" => "integer",
        "bool" => "boolean",
        "Time" | "MicroTime" => "time",
        "Duration" => "string",
        "IntOrString" => "int-or-string",
        "Quantity" => "quantity",
        "RawExtension" | "-" => "any",
        other => other,
    };
    format!("{}{name}", &kind[..kind.len() - base.len()])
}

/// A type of the hand-written table.
#[derive(Clone)]
struct Described {
    description: String,
    fields: Vec<Field>,
}

#[derive(Clone)]
struct Field {
    name: String,
    kind: String,
    required: bool,
    description: String,
}

/// The table, parsed once.
fn types() -> &'static BTreeMap<String, Described> {
    static TYPES: OnceLock<BTreeMap<String, Described>> = OnceLock::new();
    TYPES.get_or_init(|| {
        let mut types = BTreeMap::new();
        let mut last = String::new();
        for line in include_str!("openapi/builtin.txt").lines() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(field) = line.strip_prefix("  ") {
                let mut words = field.splitn(3, ' ').map(str::to_owned);
                let (Some(name), Some(kind)) = (words.next(), words.next()) else { continue };
                let required = name.ends_with('!');
                let name = name.trim_end_matches('!').to_owned();
                let field =
                    Field { name, kind, required, description: words.next().unwrap_or_default() };
                if let Some(described) = types.get_mut(&last) {
                    let described: &mut Described = described;
                    described.fields.push(field);
                }
                continue;
            }
            let (name, description) = line.split_once(' ').unwrap_or((line, ""));
            name.clone_into(&mut last);
            types.insert(
                last.clone(),
                Described { description: description.to_owned(), fields: Vec::new() },
            );
        }
        drop_repeated_descriptions(&mut types);
        types
    })
}

/// Removes a type's description where it repeats that of its field: `kubectl explain` prints both.
fn drop_repeated_descriptions(types: &mut BTreeMap<String, Described>) {
    let said: BTreeSet<(String, String)> = types
        .values()
        .flat_map(|described| &described.fields)
        .map(|field| (base(&field.kind).to_owned(), field.description.clone()))
        .collect();
    for (name, described) in types.iter_mut() {
        if said.contains(&(name.clone(), described.description.clone())) {
            described.description.clear();
        }
    }
}

fn base(kind: &str) -> &str {
    kind.trim_start_matches("[]").trim_start_matches("{}")
}

fn reference(name: &str, description: &str) -> Value {
    json!({"allOf": [{"$ref": format!("#/components/schemas/{PREFIX}{name}")}], "description": description, "default": {}})
}

fn schema_of(described: &Described) -> Value {
    let properties: Map<String, Value> = described
        .fields
        .iter()
        .map(|field| (field.name.clone(), field_schema(&field.kind, Some(&field.description))))
        .collect();
    let mut schema =
        json!({"type": "object", "description": described.description, "properties": properties});
    let required: Vec<&str> = described
        .fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name.as_str())
        .collect();
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn field_schema(kind: &str, description: Option<&str>) -> Value {
    let mut schema = if let Some(items) = kind.strip_prefix("[]") {
        json!({"type": "array", "items": field_schema(items, None)})
    } else if let Some(values) = kind.strip_prefix("{}") {
        json!({"type": "object", "additionalProperties": field_schema(values, None)})
    } else {
        match kind {
            "string" | "boolean" | "integer" => json!({"type": kind}),
            "time" => json!({"type": "string", "format": "date-time"}),
            "bytes" => json!({"type": "string", "format": "byte"}),
            "int-or-string" | "quantity" => {
                json!({"oneOf": [{"type": "string"}, {"type": "number"}]})
            }
            "any" => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
            name => reference(name, description.unwrap_or_default()),
        }
    };
    if let Some(description) = description {
        schema["description"] = description.into();
    }
    schema
}

#[cfg(test)]
mod tests;
