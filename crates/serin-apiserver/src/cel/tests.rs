//! Tables of CEL rules, with values that pass or fail.

use serde_json::{Value, json};

use crate::schema::Structural;

fn check(schema: Value, value: Value, old: Option<Value>) -> Vec<String> {
    let schema = json!({"type": "object", "properties": {"spec": schema}});
    let schema = Structural::parse(&schema).unwrap();
    assert!(schema.warnings().is_empty(), "{:?}", schema.warnings());
    let old = old.map(|old| json!({"spec": old}));
    schema.validate(&json!({"spec": value}), old.as_ref()).iter().map(ToString::to_string).collect()
}

#[test]
fn rules_hold_or_say_why_not() {
    let int = json!({"type": "integer"});
    let text = json!({"type": "string"});
    let ints = json!({"type": "array", "items": {"type": "integer"}});
    let table = [
        ("self >= 3", &int, json!(3), true),
        ("self >= 3", &int, json!(2), false),
        ("self.matches('^a+$')", &text, json!("aaa"), true),
        ("self.startsWith('b') || self.size() > 2", &text, json!("aaa"), true),
        ("self.all(x, x > 0) && self.exists_one(x, x == 2)", &ints, json!([1, 2]), true),
        (
            "self.isSorted() && self.sum() == 6 && self.max() == 3 && self.min() == 1",
            &ints,
            json!([1, 2, 3]),
            true,
        ),
        ("self.isSorted()", &ints, json!([3, 1]), false),
        ("self.indexOf(3) == 1 && self.lastIndexOf(3) == 2", &ints, json!([1, 3, 3]), true),
        ("duration(self) < duration('1h')", &text, json!("5m"), true),
        ("isURL(self)", &text, json!("https://a.b/c"), true),
        ("isURL(self)", &text, json!("nonsense"), false),
        (
            "self.find('[0-9]+') == '42' && self.findAll('[a-z]').size() == 2",
            &text,
            json!("a42b"),
            true,
        ),
        ("self in ['a', 'b']", &text, json!("c"), false),
        ("self.lowerAscii().split('-').size() == 2", &text, json!("A-b"), true),
        ("self.exists(x, self.exists(y, x + y == 5))", &ints, json!([2, 3]), true),
    ];
    for (rule, schema, value, fine) in table {
        let mut schema = schema.clone();
        schema["x-kubernetes-validations"] = json!([{"rule": rule, "message": "no"}]);
        let found = check(schema, value.clone(), None);
        assert_eq!(found.is_empty(), fine, "{rule} on {value}: {found:?}");
    }
}

#[test]
fn fields_are_seen_as_the_schema_types_them() {
    let schema = |rule: &str| {
        json!({"type": "object", "properties": {
            "a-b": {"type": "integer"}, "number": {"type": "number"}, "namespace": {"type": "string"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "maybe": {"type": "string", "nullable": true},
        }, "x-kubernetes-validations": [{"rule": rule}]})
    };
    let value =
        json!({"a-b": 1, "number": 1, "namespace": "x", "labels": {"a/b": "c"}, "maybe": null});
    for rule in [
        "self.a__dash__b == 1",
        "self.number * 1.5 == 1.5",
        "self.__namespace__ == 'x'",
        "self.labels['a/b'] == 'c' && self.labels.all(k, k.size() == 3)",
        "!has(self.maybe)",
        "has(self.labels) && !('z' in self.labels)",
    ] {
        assert_eq!(check(schema(rule), value.clone(), None), Vec::<String>::new(), "{rule}");
    }
    assert_eq!(
        check(schema("self.labels['q'] == 'c'"), value, None),
        ["spec: Invalid value: no such key: q evaluating rule: self.labels['q'] == 'c'"]
    );
}

#[test]
fn messages_reasons_and_paths_are_the_rule_s() {
    let schema = json!({"type": "object", "properties": {"x": {"type": "integer"}}, "x-kubernetes-validations": [
        {"rule": "self.x < 3", "messageExpression": "'x is ' + string(self.x)", "reason": "FieldValueForbidden", "fieldPath": ".x"},
    ]});
    assert_eq!(check(schema, json!({"x": 4}), None), ["spec.x: Forbidden: x is 4"]);
}

#[test]
fn transition_rules_wait_for_an_old_value() {
    let schema = json!({"type": "object", "properties": {"x": {"type": "integer", "x-kubernetes-validations": [
        {"rule": "self == oldSelf", "message": "x is immutable"},
    ]}}});
    assert!(check(schema.clone(), json!({"x": 1}), None).is_empty());
    assert!(check(schema.clone(), json!({"x": 1}), Some(json!({"x": 1}))).is_empty());
    assert_eq!(
        check(schema, json!({"x": 2}), Some(json!({"x": 1}))),
        ["spec.x: Invalid value: 2: x is immutable"]
    );
    let optional = json!({"type": "integer", "x-kubernetes-validations": [
        {"rule": "oldSelf.hasValue() || self == 1", "optionalOldSelf": true, "message": "start at 1"},
    ]});
    assert!(check(optional.clone(), json!(1), None).is_empty());
    assert!(check(optional.clone(), json!(7), Some(json!(1))).is_empty());
    assert_eq!(check(optional, json!(7), None), ["spec: Invalid value: 7: start at 1"]);
}

#[test]
fn bad_rules_are_refused_and_unknown_functions_reported() {
    let parse = |rule: &str| {
        Structural::parse(&json!({"type": "object", "x-kubernetes-validations": [{"rule": rule}]}))
    };
    for bad in [
        "self.",
        "(((",
        "",
        "other == 1",
        &format!("{}1{}", "(".repeat(500), ")".repeat(500)),
        &"!".repeat(3000),
    ] {
        let errors = parse(bad).unwrap_err();
        assert_eq!(errors[0].field, "openAPIV3Schema.x-kubernetes-validations[0].rule", "{bad}");
    }
    assert!(parse(&format!("self{} == 1", ".a".repeat(2000))).is_err());
    assert!(parse(&format!("1{} == 1", " + 1".repeat(1500))).is_err());
    // From the Gateway API: sixteen choices side by side are not deep.
    let term = |at: usize| {
        format!("(self.size() > {at} ? (has(self[{at}].m) ? self[{at}].m.size() : 0) : 0)")
    };
    let sum: Vec<String> = (0..16).map(term).collect();
    assert!(parse(&format!("{} <= 128", sum.join(" + "))).is_ok());
    assert_eq!(parse("format.dns1123Label().validate(self) == null").unwrap().warnings().len(), 1);
    let known = parse("quantity(self.a).isGreaterThan(quantity('1'))").unwrap();
    assert_eq!(known.warnings().len(), 1, "{:?}", known.warnings());
    assert!(known.warnings()[0].contains("is not supported"));
}

#[test]
fn loops_within_loops_have_a_budget() {
    let schema = json!({"type": "array", "items": {"type": "integer"}, "x-kubernetes-validations": [
        {"rule": "self.all(a, self.all(b, self.all(c, a + b + c > 0)))"},
    ]});
    let found = check(schema, json!(vec![1; 2000]), None);
    assert!(found[0].contains("cost budget"), "{found:?}");
}

#[test]
fn rules_as_deep_as_allowed_are_compiled_and_run() {
    let deep = [
        format!("{}self{} == 1", "(".repeat(31), ")".repeat(31)),
        format!("{}true{}", "[1].all(x, ".repeat(15), ")".repeat(15)),
        format!("self{} == 1", " + 0".repeat(120)),
        format!("{}true", "self == 1 && ".repeat(200)),
    ];
    for rule in deep {
        let schema = json!({"type": "integer", "x-kubernetes-validations": [{"rule": rule}]});
        assert_eq!(check(schema, json!(1), None), Vec::<String>::new());
    }
}

#[test]
fn noise_compiles_or_not_but_never_panics() {
    const PIECES: &[&str] = &[
        "self",
        "oldSelf",
        ".a",
        "[0]",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "'",
        "\"",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "/",
        "%",
        "?",
        ":",
        ",",
        "1",
        "1.5",
        "2u",
        "size",
        "has(",
        ".all(x, ",
        ".map(",
        "x",
        " in ",
        "==",
        "<",
        "\\",
        "b'\\xff'",
        "r'",
        "\u{fe0f}",
        "9223372036854775808",
        "null",
        "duration('1s')",
        ".sum()",
        ".matches('(')",
        "optional.of(",
        ".?a",
        "true",
        "e9",
    ];
    let mut seed = 3u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let mut compiled = 0;
    for _ in 0..600 {
        let rule: String = (0..1 + random(9)).map(|_| PIECES[random(PIECES.len())]).collect();
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "x-kubernetes-validations": [{"rule": rule}]});
        if let Ok(schema) = Structural::parse(&schema) {
            compiled += 1;
            schema.validate(&json!({"a": 1}), Some(&json!({"a": 2})));
        }
    }
    assert!(compiled > 5, "{compiled}");
}
