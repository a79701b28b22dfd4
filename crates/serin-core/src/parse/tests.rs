//! Tables of specs and what becomes of them.

#![allow(clippy::too_many_lines, reason = "tables are long")]

mod documents;
mod findings;
mod guards;
mod laws;
mod mistakes;
mod routes;
mod strategies;

use expect_test::{Expect, expect};
use serde_json::{Map, Value, json};

use super::*;
use crate::model::Form;

#[allow(clippy::result_large_err, reason = "as the function it calls")]
fn canary(object: &Value) -> Result<Canary, ParseFailure> {
    super::canary(object, &Limits::default())
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// The smallest Canary, with the fields of `patch` (YAML below `spec`) put over it; null takes a field away.
fn object(patch: &str) -> Value {
    let mut object = yaml(
        "
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: backend, namespace: develop, uid: u1, resourceVersion: '7', generation: 3}
spec:
  provider: traefik
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: backend}
  service: {port: 80}
  analysis: {interval: 10s, threshold: 1, stepWeight: 10}
",
    );
    if !patch.trim().is_empty() {
        merge(&mut object["spec"], &yaml(patch));
    }
    object
}

fn merge(into: &mut Value, from: &Value) {
    let Value::Object(from) = from else {
        *into = from.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    for (key, value) in from {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}

/// What `parse` says of each row: nothing, warnings, or errors.
fn complaints(rows: &[&str], expected: Expect) {
    let mut out = String::new();
    for row in rows {
        out.push_str(&format!("{row}\n"));
        match canary(&object(row)) {
            Ok(canary) if canary.spec.findings.is_empty() => out.push_str("    ok\n"),
            Ok(canary) => {
                canary
                    .spec
                    .findings
                    .iter()
                    .for_each(|w| out.push_str(&format!("    warning {w}\n")));
            }
            Err(failure) => {
                for found in failure.findings {
                    out.push_str(&format!("    {} {found}\n", found.severity.name()));
                }
            }
        }
    }
    expected.assert_eq(&out);
}

fn strategies(rows: &[&str], expected: Expect) {
    let mut out = String::new();
    for row in rows {
        let text = match canary(&object(row)) {
            Err(failure) => format!("error {failure}"),
            Ok(canary) => {
                let warnings: String =
                    canary.spec.findings.iter().map(|w| format!("\n    warning {w}")).collect();
                let schedule = canary.spec.analysis.schedule;
                let iterations = schedule.iterations().unwrap_or_default();
                let copies = schedule.copies().map(|copies| format!("copies of {copies}, then "));
                let copies = copies.unwrap_or_default();
                match schedule.form() {
                    Form::Weighted => {
                        let shares: Vec<_> = schedule.shares().map(|w| w.to_string()).collect();
                        let back = schedule.promotion_step.map(|w| format!(", back by {w}"));
                        format!(
                            "{copies}{}{}{warnings}",
                            shares.join(" "),
                            back.unwrap_or_default()
                        )
                    }
                    Form::BlueGreen => format!("{copies}blue-green {iterations}{warnings}"),
                    Form::Matched => format!("matched {iterations}{warnings}"),
                }
            }
        };
        out.push_str(&format!("{row} => {text}\n"));
    }
    expected.assert_eq(&out);
}
