//! Tables of schemas and values.

use serde_json::{Value, json};

use super::*;

fn parse(spec: Value) -> Structural {
    Structural::parse(&json!({"type": "object", "properties": {"spec": spec}})).unwrap()
}

fn errors(spec: Value, value: Value) -> Vec<String> {
    parse(spec).validate(&json!({"spec": value}), None).iter().map(ToString::to_string).collect()
}

#[test]
fn errors_are_worded_as_kubernetes_does() {
    let table = [
        (
            json!({"type": "integer"}),
            json!("x"),
            "spec: Invalid value: \"string\": spec in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "integer", "maximum": 100}),
            json!(150),
            "spec: Invalid value: 150: spec in body should be less than or equal to 100",
        ),
        (
            json!({"type": "integer", "minimum": 1}),
            json!(0),
            "spec: Invalid value: 0: spec in body should be greater than or equal to 1",
        ),
        (
            json!({"type": "integer", "multipleOf": 5}),
            json!(7),
            "spec: Invalid value: 7: spec in body should be a multiple of 5",
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            "spec: Unsupported value: \"c\": supported values: \"a\", \"b\"",
        ),
        (
            json!({"type": "string", "pattern": "^a\\d$"}),
            json!("b"),
            "spec: Invalid value: \"b\": spec in body should match '^a\\d$'",
        ),
        (
            json!({"type": "string", "minLength": 1}),
            json!(""),
            "spec: Invalid value: \"\": spec in body should be at least 1 chars long",
        ),
        (
            json!({"type": "string", "maxLength": 1}),
            json!("abc"),
            "spec: Too long: may not be more than 1 bytes",
        ),
        (json!({"type": "object", "required": ["x"]}), json!({}), "spec.x: Required value"),
        (
            json!({"type": "string"}),
            Value::Null,
            "spec: Invalid value: \"null\": spec in body must be of type string: \"null\"",
        ),
    ];
    for (schema, value, wanted) in table {
        assert_eq!(errors(schema, value), [wanted]);
    }
}

#[test]
fn errors_about_lists_and_formats_too() {
    let table = [
        (
            json!({"type": "array", "maxItems": 1, "items": {"type": "integer"}}),
            json!([1, 2]),
            "spec: Too many: 2: must have at most 1 items",
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
            json!(["a", "a"]),
            "spec[1]: Duplicate value: \"a\"",
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("yesterday"),
            "spec: Invalid value: \"yesterday\": spec in body must be of type date-time: \"yesterday\"",
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            "spec: Invalid value: \"boolean\": spec in body must be of type integer,string: \"boolean\"",
        ),
    ];
    for (schema, value, wanted) in table {
        assert_eq!(errors(schema, value), [wanted]);
    }
}

#[test]
fn keyed_lists_are_unique_and_paths_have_indices() {
    let schema = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {
        "type": "object", "properties": {"name": {"type": "string"}, "weight": {"type": "integer"}}}});
    assert_eq!(
        errors(schema, json!([{"name": "a", "weight": "x"}, {"name": "a"}])),
        [
            "spec[0].weight: Invalid value: \"string\": spec[0].weight in body must be of type integer: \"string\"",
            "spec[1]: Duplicate value: {\"name\":\"a\"}",
        ]
    );
}

#[test]
fn junctors_count() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
    assert!(errors(schema.clone(), json!({"a": 1})).is_empty());
    assert!(
        errors(schema.clone(), json!({}))[0]
            .ends_with("must validate one and only one schema (oneOf). Found none valid")
    );
    assert!(
        errors(schema, json!({"a": 1, "b": 2}))[0].ends_with("(oneOf). Found 2 valid alternatives")
    );
    let int_or_string = json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]});
    assert!(errors(int_or_string.clone(), json!(1)).is_empty());
    assert!(errors(int_or_string, json!("25%")).is_empty());
    assert!(!errors(json!({"type": "string", "not": {"enum": ["x"]}}), json!("x")).is_empty());
}

#[test]
fn unknown_fields_are_dropped_and_named() {
    let schema = parse(json!({"type": "object", "properties": {
        "known": {"type": "integer"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "strict": {"type": "object", "properties": {"a": {"type": "integer"}}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true},
    }}));
    let mut value = json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n", "labels": {"a": "b"}}, "extra": 1, "spec": {
        "known": 1, "unknown": 2, "free": {"x": 1, "strict": {"a": 1, "b": 2}}, "map": {"k": {"a": 1, "z": 2}},
        "list": [{"a": 1}, {"a": 1, "y": 2}],
        "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {}},
    }});
    let mut dropped = schema.prune(&mut value);
    dropped.sort();
    assert_eq!(
        dropped,
        [
            "extra",
            "spec.free.strict.b",
            "spec.list[1].y",
            "spec.map.k.z",
            "spec.template.spec",
            "spec.unknown"
        ]
    );
    assert_eq!(value["spec"]["free"]["x"], 1);
    assert_eq!(value["metadata"]["labels"]["a"], "b");
    assert!(schema.prune(&mut value).is_empty());
}

#[test]
fn defaults_fill_from_the_outside_in() {
    let schema = parse(json!({"type": "object", "default": {}, "properties": {
        "a": {"type": "integer", "default": 1},
        "list": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
    }}));
    let mut value = json!({});
    schema.default(&mut value);
    assert_eq!(value, json!({"spec": {"a": 1}}));
    let mut value = json!({"spec": {"a": null, "list": [{}]}});
    schema.default(&mut value);
    assert_eq!(value, json!({"spec": {"a": 1, "list": [{"p": "TCP"}]}}));
}

#[test]
fn what_has_not_changed_is_let_be() {
    let schema = parse(
        json!({"type": "object", "properties": {"a": {"type": "integer", "maximum": 1}, "b": {"type": "integer"}}}),
    );
    let old = json!({"spec": {"a": 5, "b": 1}});
    assert!(schema.validate(&json!({"spec": {"a": 5, "b": 2}}), Some(&old)).is_empty());
    assert_eq!(schema.validate(&json!({"spec": {"a": 6, "b": 2}}), Some(&old)).len(), 1);
}

#[test]
fn schemas_that_are_not_structural_are_refused() {
    for bad in [
        json!("x"),
        json!({}),
        json!({"type": "object", "properties": {"a": {}}}),
        json!({"type": "object", "properties": {"a": {"type": "strange"}}}),
        json!({"type": "object", "properties": {"a": {"type": "array"}}}),
        json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
        json!({"type": "object", "properties": {"a": {"type": "object"}}, "additionalProperties": {"type": "string"}}),
        json!({"type": "object", "properties": {"a": {"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}}}}),
    ] {
        assert!(!Structural::parse(&bad).unwrap_err().is_empty(), "{bad}");
    }
    let mut deep = json!({"type": "string"});
    for _ in 0..300 {
        deep = json!({"type": "object", "properties": {"a": deep}});
    }
    assert_eq!(Structural::parse(&deep).unwrap_err().len(), 1);
}

/// A random generator with a fixed seed, so that every machine has the same input.
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.next(of.len())]
    }

    /// A schema, often an invalid one.
    fn schema(&mut self, depth: usize) -> Value {
        let mut schema = json!({"type": self.pick(&["object", "array", "string", "integer", "number", "boolean", "strange"])});
        if schema["type"] == "array" {
            schema["items"] =
                if depth == 0 { json!({"type": "string"}) } else { self.schema(depth - 1) };
            schema["x-kubernetes-list-type"] = json!(self.pick(&["atomic", "set", "map"]));
            schema["x-kubernetes-list-map-keys"] = json!(["a"]);
        }
        if schema["type"] == "object" && depth > 0 {
            let values = self.schema(depth - 1);
            match self.next(3) {
                0 => schema["additionalProperties"] = values,
                _ => schema["properties"] = json!({"a": values, "b": self.schema(depth - 1)}),
            }
        }
        for _ in 0..self.next(4) {
            let key = self.pick(&[
                "default",
                "enum",
                "pattern",
                "minimum",
                "maximum",
                "multipleOf",
                "maxLength",
                "maxItems",
                "required",
                "nullable",
                "format",
                "x-kubernetes-preserve-unknown-fields",
                "x-kubernetes-int-or-string",
                "x-kubernetes-embedded-resource",
                "oneOf",
                "anyOf",
                "not",
            ]);
            schema[key] = match self.next(6) {
                0 => json!(true),
                1 => json!(self.next(4)),
                2 => json!(self.pick(&["^a*$", "date-time", "int32", "(", "a"])),
                3 => json!(["a", "b"]),
                4 => json!([{"type": "string"}, {"required": ["a"]}]),
                _ => self.value(1),
            };
        }
        schema
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.next(if depth == 0 { 5 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.next(9)),
            2 => json!(1.5),
            3 => json!(self.next(2) == 0),
            4 => json!(self.pick(&["", "a", "aaa", "2026-01-01T00:00:00Z", "1h"])),
            5 => (0..self.next(4)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                json!({"a": self.value(depth - 1), "b": self.value(depth - 1), "c": self.value(depth - 1)})
            }
        }
    }
}

#[test]
fn noise_never_panics_and_pruned_values_stay_pruned() {
    let mut noise = Noise(11);
    let mut parsed = 0;
    for _ in 0..4000 {
        let schema =
            json!({"type": "object", "properties": {"a": noise.schema(3), "b": noise.schema(2)}});
        let Ok(schema) = Structural::parse(&schema) else { continue };
        parsed += 1;
        let _ = ListKeys::from_schema(&schema);
        for _ in 0..4 {
            let mut value = noise.value(4);
            let old = noise.value(4);
            schema.prune(&mut value);
            assert!(schema.prune(&mut value).is_empty(), "{value}");
            schema.default(&mut value);
            let before = value.clone();
            schema.default(&mut value);
            assert_eq!(value, before);
            schema.validate(&value, Some(&old));
            if value.is_object() {
                assert!(schema.validate(&value, Some(&value)).is_empty());
            }
        }
    }
    assert!(parsed > 200, "{parsed}");
}

#[test]
fn list_keys_come_from_the_schema() {
    let schema = parse(json!({"type": "object", "properties": {
        "steps": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "protocol"], "items": {
            "type": "object", "properties": {"name": {"type": "string"}, "protocol": {"type": "string", "default": "TCP"}, "w": {"type": "integer"}}}},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "integer"}}},
    }}));
    let keys = ListKeys::from_schema(&schema);
    let object = |spec: Value| json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n"}, "spec": spec});
    let one = object(json!({"steps": [{"name": "a", "w": 1}], "whole": {"a": 1}}));
    let live = crate::patch::apply(None, &one, "one", false, &keys, "t", None).unwrap();
    assert_eq!(
        live["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:spec": {"f:steps": {"k:{\"name\":\"a\",\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:w": {}}}, "f:whole": {}}})
    );
    let two = object(json!({"steps": [{"name": "b", "w": 2}]}));
    let both = crate::patch::apply(Some(&live), &two, "two", false, &keys, "t", None).unwrap();
    assert_eq!(both["spec"]["steps"].as_array().unwrap().len(), 2);
}

#[test]
fn built_in_kinds_have_fields_too() {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "lables": {}, "managedFields": [{"x": 1}]},
        "spec": {"replcas": 2, "replicas": 2, "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
            "template": {"spec": {"containers": [{"name": "a", "imge": "x", "env": [{"name": "A", "valeu": "1"}],
                "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}, "readinessProbe": {"httpGet": {"port": "http", "path": "/"}}}],
                "volumes": [{"name": "v", "emptyDir": {}}]}}},
        "status": {"anything": 1}});
    let mut dropped = prune_builtin(&mut object).unwrap();
    dropped.sort();
    assert_eq!(
        dropped,
        [
            "metadata.lables",
            "spec.replcas",
            "spec.template.spec.containers[0].env[0].valeu",
            "spec.template.spec.containers[0].imge"
        ]
    );
    assert_eq!(prune_builtin(&mut object), Ok(Vec::new()));
    assert_eq!(object["apiVersion"], "apps/v1");
    let mut wrong =
        json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": "eighty"}]}});
    assert_eq!(
        prune_builtin(&mut wrong).unwrap_err(),
        "Service in version \"v1\" cannot be handled as a Service: json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32"
    );
    assert_eq!(
        prune_builtin(&mut json!({"apiVersion": "x/v1", "kind": "Y", "z": 1})),
        Ok(Vec::new())
    );
}
