//! The reference of the API, made from the types, so that it is never stale.

use serde_json::Value;

use crate::crd;
use crate::parse::refused_markdown;

const HEAD: &str = "\
# Canary, MetricTemplate, AlertProvider

<!-- Generated from the types of `serin-core`; do not edit. -->

API group and version: `flagger.app/v1beta1`.
The fields are Flagger's; objects made for Flagger keep working.
A field in bold must be set.
`kubectl explain canary.spec.analysis` shows the same words.
";

const REFUSED_HEAD: &str = "\
## What is not honoured

Nothing is ignored silently.
A field that would change what users get is *refused*: the condition `SpecValid` is `Unknown` with the reason `Unsupported` and names the field, nothing is released, and the running version keeps its traffic.
A field that Flagger ignores on the same provider too, and that does not hurt traffic, is a *warning*: the condition `SpecValid` says so, and the release goes on.
With `skipAnalysis: true`, fields that only shape the analysis are warnings.

";

/// All kinds, their fields and what is not honoured.
pub fn reference_markdown() -> String {
    let mut out = String::from(HEAD);
    for (kind, schema) in crd::schemas() {
        out.push_str(&format!("\n## {kind}\n\n{}\n", sentences(&schema)));
        for part in ["spec", "status"] {
            let Some(node) = schema.pointer(&format!("/properties/{part}")) else { continue };
            if node.get("properties").is_none() {
                continue;
            }
            out.push_str(&format!(
                "\n### {kind} {part}\n\n| Field | Type | What it is |\n| --- | --- | --- |\n"
            ));
            rows(part, node, &mut out);
            rules(part, node, &mut out);
        }
    }
    out.push('\n');
    out.push_str(REFUSED_HEAD);
    out.push_str(&refused_markdown());
    out
}

const METRICS_HEAD: &str = "\
# Metric providers

<!-- Generated from the catalogue of `serin-core`; do not edit. -->

A MetricTemplate says with `spec.provider.type` who answers its query.
Every one of them is asked within five seconds (CloudWatch: ten) and a whole answer within thirty, for at most 1 MiB, and never follows a redirect.
Secrets are read by name from the template's namespace; besides the keys below, `ca.crt` may hold the PEM of an authority to trust.
What cannot be asked is said before the release begins: of the Canary in the condition `MetricsReady`, and by `serin plan`.
[How to add one](../contributing/add-a-metric-provider.md).

";

/// The backends of MetricTemplates.
pub fn metric_providers_markdown() -> String {
    format!("{METRICS_HEAD}{}", crate::model::metric_kind::markdown())
}

/// One sentence per line.
fn sentences(schema: &Value) -> String {
    description(schema).replace(". ", ".\n")
}

fn description(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

/// A row for each field below, depth first.
fn rows(path: &str, node: &Value, out: &mut String) {
    let Some(properties) = node.get("properties").and_then(Value::as_object) else { return };
    let required = |name: &str| {
        let list = node.get("required").and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|required| required == name))
    };
    for (name, field) in properties {
        let path = format!("{path}.{name}");
        let shown = if required(name) { format!("**`{path}`**") } else { format!("`{path}`") };
        let text = description(field).replace('|', "\\|");
        out.push_str(&format!("| {shown} | {} | {text} |\n", type_name(field)));
        let (suffix, inner) = below(field);
        rows(&format!("{path}{suffix}"), inner, out);
    }
}

/// Into lists and maps, down to what has fields.
fn below(field: &Value) -> (&'static str, &Value) {
    if let Some(items) = field.get("items") {
        ("[]", items)
    } else if let Some(values) = field.get("additionalProperties") {
        ("{}", values)
    } else {
        ("", field)
    }
}

fn type_name(field: &Value) -> String {
    if let Some(values) = field.get("enum").and_then(Value::as_array) {
        let values: Vec<_> = values
            .iter()
            .filter_map(Value::as_str)
            .filter(|value| !value.is_empty())
            .map(|value| format!("`{value}`"))
            .collect();
        return values.join(", ");
    }
    if field.get("x-kubernetes-int-or-string").is_some() {
        return "integer or string".to_owned();
    }
    match field.get("type").and_then(Value::as_str) {
        Some("array") => format!("list of {}", type_name(below(field).1)),
        Some("object") if field.get("additionalProperties").is_some() => {
            format!("map to {}", type_name(below(field).1))
        }
        Some("string") if field.get("format").is_some() => "time".to_owned(),
        Some(name) => name.to_owned(),
        None => "anything".to_owned(),
    }
}

/// What the API server checks beyond types.
fn rules(part: &str, node: &Value, out: &mut String) {
    let mut messages = Vec::new();
    collect(node, &mut messages);
    if messages.is_empty() {
        return;
    }
    out.push_str(&format!("\nThe API server refuses a {part} against these rules:\n\n"));
    for message in messages {
        out.push_str(&format!("- {message}.\n"));
    }
}

fn collect<'a>(node: &'a Value, messages: &mut Vec<&'a str>) {
    let rules = node.get("x-kubernetes-validations").and_then(Value::as_array);
    for rule in rules.into_iter().flatten() {
        messages.extend(rule.get("message").and_then(Value::as_str));
    }
    if let Some(properties) = node.get("properties").and_then(Value::as_object) {
        properties.values().for_each(|inner| collect(inner, messages));
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = node.get(key) {
            collect(inner, messages);
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    #[test]
    fn the_reference_is_fresh() {
        expect_file!["../../../docs/reference/canary.md"].assert_eq(&reference_markdown());
    }

    #[test]
    fn tables_are_tables() {
        let text = reference_markdown();
        for line in text.lines().filter(|line| line.starts_with('|')) {
            let bars = line.replace("\\|", "").matches('|').count();
            assert!(bars == 4 || bars == 7, "{line}");
        }
        assert!(text.contains("| **`spec.targetRef.name`** | string |"));
        assert!(text.contains("| `spec.analysis.stepWeights` | list of integer |"));
    }
}
