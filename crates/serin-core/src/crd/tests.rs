//! The definitions are ones that an API server takes.

#![allow(clippy::too_many_lines, reason = "snapshots are long")]

use std::collections::BTreeSet;

use expect_test::{Expect, expect};

use super::*;

/// Calls `visit` with each node's path and schema.
fn walk(path: &str, node: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, node);
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    if let Some(properties) = node.get("properties").and_then(Value::as_object) {
        for (key, inner) in properties {
            walk(&below(key), inner, visit);
        }
    }
    if let Some(inner) = node.get("items") {
        walk(&below("[]"), inner, visit);
    }
    if let Some(inner) = node.get("additionalProperties") {
        walk(&below("{}"), inner, visit);
    }
}

#[test]
fn structural_and_described() {
    /// What an API server knows of a schema, and we use.
    const KNOWN: [&str; 19] = [
        "type",
        "description",
        "properties",
        "items",
        "additionalProperties",
        "required",
        "enum",
        "format",
        "pattern",
        "minimum",
        "maximum",
        "maxItems",
        "default",
        "oneOf",
        "x-kubernetes-validations",
        "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields",
        "maxLength",
        "minLength",
    ];
    for (kind, schema) in schemas() {
        walk("", &schema, &mut |path, node| {
            let map = node.as_object().unwrap();
            for key in map.keys() {
                assert!(KNOWN.contains(&key.as_str()), "{kind} {path}: {key}");
            }
            let typed = map.get("type").is_some_and(Value::is_string);
            let free = map.contains_key("x-kubernetes-int-or-string")
                || map.contains_key("x-kubernetes-preserve-unknown-fields");
            assert!(typed || free, "{kind} {path}: no type");
            assert!(
                !map.contains_key("properties") || !map.contains_key("additionalProperties"),
                "{kind} {path}"
            );
            let field = !path.ends_with("[]") && !path.ends_with("{}") && path != "metadata";
            assert!(!field || map.contains_key("description"), "{kind} {path}: no description");
            let type_ = map.get("type").and_then(Value::as_str).unwrap_or_default();
            assert!(type_ != "array" || map.contains_key("items"), "{kind} {path}: no items");
        });
    }
}

#[test]
fn whole_numbers_are_integers() {
    let mut numbers = BTreeSet::new();
    for (_, schema) in schemas() {
        walk("", &schema, &mut |path, node| {
            if node["type"] == "number" {
                numbers.insert(path.to_owned());
            }
        });
    }
    let numbers: Vec<_> = numbers.iter().filter(|path| !path.contains(".guard")).collect();
    let expected = [
        "spec.analysis.metrics.[].threshold",
        "spec.analysis.metrics.[].thresholdRange.max",
        "spec.analysis.metrics.[].thresholdRange.min",
        "status.checks.[].canary.high",
        "status.checks.[].canary.low",
        "status.checks.[].primary.high",
        "status.checks.[].primary.low",
        "status.checks.[].value",
        "status.dispersion.{}",
    ];
    assert_eq!(numbers, expected);
}

#[test]
fn every_row_of_the_tables_finds_its_place() {
    for kind in &KINDS {
        let mut schema = complete(kind);
        for (path, names) in kind.required {
            let node = node(&mut schema, path).unwrap_or_else(|| panic!("{path}"));
            for name in *names {
                assert!(node["properties"].get(name).is_some(), "{path}.{name}");
            }
        }
        for rule in kind.rules {
            assert!(node(&mut schema, rule.path).is_some(), "{}", rule.path);
        }
    }
    let mut canary = complete(&KINDS[0]);
    for Filled { path, field, value: _ } in DEFAULTS {
        assert!(node(&mut canary, &format!("{path}.{field}")).is_some(), "{path}.{field}");
    }
    for (path, _) in ENUMS {
        assert!(node(&mut canary, path).is_some(), "{path}");
    }
}

/// Quantifiers walk lists of users: an API server refuses a rule whose cost it cannot bound.
#[test]
fn lists_under_rules_are_bounded() {
    for kind in &KINDS {
        for rule in kind.rules {
            let mut schema = complete(kind);
            for (i, _) in rule.path.match_indices(".[]") {
                let list = node(&mut schema, &rule.path[..i]).unwrap();
                assert!(list.contains_key("maxItems"), "{}", rule.path);
            }
        }
    }
    let mut canary = complete(&KINDS[0]);
    assert_eq!(node(&mut canary, "spec.analysis.stepWeights").unwrap()["maxItems"], 100);
}

fn check(pointer: &str, expected: Expect) {
    let crds = Value::Array(crds());
    let value = crds.pointer(pointer).unwrap();
    expected.assert_eq(&serde_json::to_string_pretty(value).unwrap());
}

#[test]
fn names_and_columns() {
    check(
        "/0/metadata",
        expect![[r#"
        {
          "annotations": {
            "helm.sh/resource-policy": "keep"
          },
          "name": "canaries.flagger.app"
        }"#]],
    );
    check(
        "/0/spec/names",
        expect![[r#"
        {
          "categories": [
            "all"
          ],
          "kind": "Canary",
          "listKind": "CanaryList",
          "plural": "canaries",
          "shortNames": [
            "cn"
          ],
          "singular": "canary"
        }"#]],
    );
    check(
        "/1/spec/names",
        expect![[r#"
        {
          "categories": [
            "all"
          ],
          "kind": "MetricTemplate",
          "listKind": "MetricTemplateList",
          "plural": "metrictemplates",
          "singular": "metrictemplate"
        }"#]],
    );
    check(
        "/2/spec/names",
        expect![[r#"
        {
          "categories": [
            "all"
          ],
          "kind": "AlertProvider",
          "listKind": "AlertProviderList",
          "plural": "alertproviders",
          "singular": "alertprovider"
        }"#]],
    );
    check(
        "/0/spec/versions/0/additionalPrinterColumns",
        expect![[r#"
        [
          {
            "jsonPath": ".status.phase",
            "name": "Status",
            "type": "string"
          },
          {
            "jsonPath": ".status.canaryWeight",
            "name": "Weight",
            "type": "string"
          },
          {
            "jsonPath": ".spec.suspend",
            "name": "Suspended",
            "priority": 1,
            "type": "boolean"
          },
          {
            "jsonPath": ".status.failedChecks",
            "name": "FailedChecks",
            "priority": 1,
            "type": "string"
          },
          {
            "jsonPath": ".spec.analysis.interval",
            "name": "Interval",
            "priority": 1,
            "type": "string"
          },
          {
            "jsonPath": ".spec.analysis.mirror",
            "name": "Mirror",
            "priority": 1,
            "type": "boolean"
          },
          {
            "jsonPath": ".spec.analysis.stepWeight",
            "name": "StepWeight",
            "priority": 1,
            "type": "string"
          },
          {
            "jsonPath": ".spec.analysis.stepWeights",
            "name": "StepWeights",
            "priority": 1,
            "type": "string"
          },
          {
            "jsonPath": ".spec.analysis.maxWeight",
            "name": "MaxWeight",
            "priority": 1,
            "type": "string"
          },
          {
            "jsonPath": ".status.lastTransitionTime",
            "name": "LastTransitionTime",
            "type": "string"
          },
          {
            "jsonPath": ".spec.targetRef.name",
            "name": "Target",
            "priority": 1,
            "type": "string"
          },
          {
            "jsonPath": ".status.iterations",
            "name": "Iterations",
            "priority": 1,
            "type": "string"
          },
          {
            "jsonPath": ".status.lastReason.code",
            "name": "Reason",
            "priority": 1,
            "type": "string"
          },
          {
            "jsonPath": ".status.lastReason.message",
            "name": "Message",
            "priority": 1,
            "type": "string"
          }
        ]"#]],
    );
    check(
        "/0/spec/versions/0/subresources",
        expect![[r#"
        {
          "status": {}
        }"#]],
    );
}

#[test]
fn some_schemas() {
    let at = |path: &str, expected: Expect| {
        let mut schema = complete(&KINDS[0]);
        let node = node(&mut schema, path).unwrap().clone();
        expected.assert_eq(&serde_json::to_string_pretty(&node).unwrap());
    };
    at(
        "spec.targetRef",
        expect![[r#"
            {
              "description": "The workload that is released. It stays yours; between releases it is scaled to zero.",
              "properties": {
                "apiVersion": {
                  "description": "API group and version of the object, such as `apps/v1`.",
                  "maxLength": 253,
                  "type": "string"
                },
                "kind": {
                  "description": "Kind of the object.",
                  "enum": [
                    "DaemonSet",
                    "Deployment",
                    "Service"
                  ],
                  "type": "string"
                },
                "name": {
                  "description": "Name of the object.",
                  "maxLength": 253,
                  "type": "string"
                }
              },
              "required": [
                "apiVersion",
                "kind",
                "name"
              ],
              "type": "object"
            }"#]],
    );
    at(
        "spec.analysis.interval",
        expect![[r#"
            {
              "description": "Time between two steps, such as `30s` or `1m`. At each step all checks are made once. Default `1m`; less than `10s` is raised to `10s`.",
              "maxLength": 8192,
              "pattern": "^[0-9]+(m|s)",
              "type": "string"
            }"#]],
    );
    at(
        "spec.analysis.stepWeights",
        expect![[r#"
            {
              "description": "Percent of the traffic that the canary gets, step by step, rising. It is promoted after the last.",
              "items": {
                "format": "int32",
                "maximum": 100,
                "minimum": 0,
                "type": "integer"
              },
              "maxItems": 100,
              "type": "array"
            }"#]],
    );
    at(
        "spec.analysis.metrics.[].thresholdRange",
        expect![[r#"
        {
          "description": "The values that pass.",
          "properties": {
            "max": {
              "description": "Greatest value that passes. Unset has no upper bound.",
              "type": "number"
            },
            "min": {
              "description": "Least value that passes. Unset has no lower bound.",
              "type": "number"
            }
          },
          "type": "object",
          "x-kubernetes-validations": [
            {
              "message": "min must not be more than max: nothing would pass",
              "rule": "!has(self.min) || !has(self.max) || self.min <= self.max"
            }
          ]
        }"#]],
    );
    at(
        "spec.analysis.match.[].headers",
        expect![[r#"
            {
              "additionalProperties": {
                "description": "A condition on a header; exactly one field is set.",
                "oneOf": [
                  {
                    "required": [
                      "exact"
                    ]
                  },
                  {
                    "required": [
                      "prefix"
                    ]
                  },
                  {
                    "required": [
                      "suffix"
                    ]
                  },
                  {
                    "required": [
                      "regex"
                    ]
                  }
                ],
                "properties": {
                  "exact": {
                    "description": "The whole value.",
                    "maxLength": 8192,
                    "type": "string"
                  },
                  "prefix": {
                    "description": "The beginning of the value.",
                    "maxLength": 8192,
                    "type": "string"
                  },
                  "regex": {
                    "description": "A regular expression (RE2) that the whole value matches.",
                    "maxLength": 8192,
                    "type": "string"
                  },
                  "suffix": {
                    "description": "The end of the value.",
                    "maxLength": 8192,
                    "type": "string"
                  }
                },
                "type": "object"
              },
              "description": "Conditions on headers, by lower-case name.",
              "type": "object"
            }"#]],
    );
    at(
        "spec.analysis.sessionAffinity.maxAge",
        expect![[r#"
        {
          "default": 86400,
          "description": "`Max-Age` of the canary's cookie, in seconds. Default 86400.",
          "format": "int64",
          "type": "integer"
        }"#]],
    );
    at(
        "spec.service.targetPort",
        expect![[r#"
        {
          "description": "Container port behind it, by number or name. Default: the same number as `port`.",
          "x-kubernetes-int-or-string": true
        }"#]],
    );
    at(
        "spec.service.match",
        expect![[r#"
        {
          "description": "Which requests the route takes, in Istio's terms: uri, method, headers, query parameters and more.",
          "items": {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true
          },
          "type": "array"
        }"#]],
    );
    at(
        "spec.service.trafficPolicy",
        expect![[r#"
        {
          "description": "Load balancing, connection pools, outlier detection and TLS of the DestinationRules (Istio).",
          "type": "object",
          "x-kubernetes-preserve-unknown-fields": true
        }"#]],
    );
    at(
        "status.phase",
        expect![[r#"
        {
          "description": "Where the release stands.",
          "enum": [
            "",
            "Initializing",
            "Initialized",
            "Waiting",
            "Progressing",
            "WaitingPromotion",
            "Promoting",
            "Finalising",
            "Succeeded",
            "Failed",
            "Terminating",
            "Terminated"
          ],
          "type": "string"
        }"#]],
    );
    at(
        "status.conditions",
        expect![[r#"
        {
          "description": "What is true of this Canary now.",
          "items": {
            "description": "A Kubernetes condition. `Promoted` is Flagger's; `Ready`, `Reconciling`, `Stalled`, `SpecValid` and `MetricsReady` are for kstatus and people.",
            "properties": {
              "lastTransitionTime": {
                "description": "When status last changed.",
                "format": "date-time",
                "type": "string"
              },
              "lastUpdateTime": {
                "description": "When status, reason or message last changed.",
                "format": "date-time",
                "type": "string"
              },
              "message": {
                "description": "A sentence, for people.",
                "type": "string"
              },
              "observedGeneration": {
                "description": "Generation of the Canary that the condition speaks of.",
                "format": "int64",
                "type": "integer"
              },
              "reason": {
                "description": "CamelCase, for machines.",
                "type": "string"
              },
              "status": {
                "description": "`True`, `False` or `Unknown`.",
                "type": "string"
              },
              "type": {
                "description": "What the condition speaks of, such as `Promoted`.",
                "type": "string"
              }
            },
            "required": [
              "reason",
              "status",
              "type"
            ],
            "type": "object"
          },
          "type": "array"
        }"#]],
    );
    at(
        "status.trackedConfigs",
        expect![[r#"
        {
          "additionalProperties": {
            "type": "string"
          },
          "description": "`configmap/<name>` or `secret/<name>` to a checksum, as of the revision last taken up.",
          "type": "object"
        }"#]],
    );
    at(
        "status.guard",
        expect![[r#"
        {
          "description": "Evidence of the guard, opaque to people; written at weight changes and at a bounded rate.",
          "x-kubernetes-preserve-unknown-fields": true
        }"#]],
    );
}

#[test]
fn every_string_of_a_spec_is_bounded() {
    for (kind, schema) in schemas() {
        walk("", &schema["properties"]["spec"], &mut |path, node| {
            if node["type"] == "string" && node.get("enum").is_none() {
                let most = node["maxLength"].as_u64();
                assert!(most.is_some_and(|most| most <= 256 << 10), "{kind} {path}: {node}");
            }
        });
    }
}
