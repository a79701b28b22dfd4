//! Tables, as `kubectl get` prints them.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::jsonpath;
use crate::registry::{Column, Resource, Version};

mod builtin;

use builtin::{age, at};
pub(crate) use builtin::{selector_text, since};

/// What table rows contain beside their cells (`includeObject`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    None,
    Metadata,
    Object,
}

type Cells = fn(&Value, Timestamp) -> Vec<Value>;
type Columns = &'static [(&'static str, &'static str, i64)];

struct Layout {
    columns: Vec<(String, &'static str, String, i64)>,
    cells: Option<Cells>,
    custom: Vec<Column>,
}

/// A `Table` of these objects.
pub(crate) fn table(
    resource: &Resource,
    version: &Version,
    objects: &[Value],
    include: Include,
    with_columns: bool,
    now: Timestamp,
) -> Value {
    let layout = layout(resource, version);
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut row = json!({"cells": cells(&layout, object, now)});
            match include {
                Include::None => row["object"] = Value::Null,
                Include::Metadata => row["object"] = metadata_only(object),
                Include::Object => row["object"] = object.clone(),
            }
            row
        })
        .collect();
    let columns: Vec<Value> = layout
        .columns
        .iter()
        .map(|(name, kind, description, priority)| {
            let format = if name == "Name" { "name" } else { "" };
            json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority})
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": if with_columns { json!(columns) } else { Value::Null },
        "rows": rows,
    })
}

/// `PartialObjectMetadata` of an object.
pub(crate) fn metadata_only(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata").cloned().unwrap_or(Value::Null),
    })
}

fn layout(resource: &Resource, version: &Version) -> Layout {
    let column = |name: &str, kind: &'static str, priority: i64| {
        (name.to_owned(), kind, name.to_owned(), priority)
    };
    if resource.custom {
        let mut columns = vec![column("Name", "string", 0)];
        for c in &version.columns {
            let kind = match c.kind.as_str() {
                "integer" => "integer",
                "number" => "number",
                "boolean" => "boolean",
                "date" => "date",
                _ => "string",
            };
            columns.push((c.name.clone(), kind, c.description.clone(), c.priority));
        }
        if version.columns.is_empty() {
            columns.push(column("Age", "date", 0));
        }
        return Layout { columns, cells: None, custom: version.columns.clone() };
    }
    let (names, cells) = builtin::layout(&resource.kind);
    let columns =
        names.iter().map(|(name, kind, priority)| column(name, kind, *priority)).collect();
    Layout { columns, cells: Some(cells), custom: Vec::new() }
}

fn cells(layout: &Layout, object: &Value, now: Timestamp) -> Vec<Value> {
    if let Some(cells) = layout.cells {
        return cells(object, now);
    }
    let mut row = vec![at(object, "/metadata/name")];
    for column in &layout.custom {
        row.push(custom_cell(column, object, now));
    }
    if layout.custom.is_empty() {
        row.push(age(object, now));
    }
    row
}

fn custom_cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    let found = jsonpath::find(object, &column.path);
    let wildcard = column.path.contains("[*]");
    let value = match found.as_slice() {
        [] => return Value::Null,
        [one] if !wildcard => (*one).clone(),
        many => {
            let texts: Vec<String> = many.iter().map(|v| text(v)).collect();
            return json!(format!("[{}]", texts.join(" ")));
        }
    };
    match column.kind.as_str() {
        "date" => value
            .as_str()
            .and_then(|t| t.parse().ok())
            .map_or(Value::Null, |t| json!(since(t, now))),
        "integer" | "number" if value.is_number() => value,
        "boolean" if value.is_boolean() => value,
        _ => json!(text(&value)),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(text).collect::<Vec<_>>().join(" ")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}
