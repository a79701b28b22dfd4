//! Schemas of custom resources with their CEL rules, and bodies in protobuf.

use serde_json::{Map, Value, json};
use serin_apiserver::protobuf;
use serin_apiserver::schema::Structural;

use super::source::Source;

pub fn schema(data: &[u8]) {
    let mut source = Source::new(data);
    let rule = String::from_utf8_lossy(data).into_owned();
    let with_rule = json!({
        "type": "object",
        "properties": {
            "a": {"type": "integer", "default": 3},
            "b": {"type": "array", "items": {"type": "string"}},
            "c": {"type": "object", "additionalProperties": {"type": "number"}},
            "name": {"type": "string"},
        },
        "x-kubernetes-validations": [{"rule": rule, "message": "no"}],
    });
    let object = json!({"a": 1, "b": ["x", "y"], "c": {"n": 0.5}, "name": "backend"});
    if let Ok(schema) = Structural::parse(&with_rule) {
        let errors = schema.validate(&object, None);
        assert_eq!(errors, schema.validate(&object, None), "judging is a function: {rule}");
        schema.validate(&source.object(3), Some(&object));
    }
    let mut invented = node(&mut source, 4);
    invented["type"] = json!("object");
    match Structural::parse(&invented) {
        Ok(schema) => hold(&schema, source.object(4)),
        Err(errors) => assert!(!errors.is_empty(), "a refusal says why: {invented}"),
    }
}

/// Pruning and defaulting are done once, and what is pruned is not complained about.
fn hold(schema: &Structural, mut object: Value) {
    schema.prune(&mut object);
    let once = object.clone();
    assert_eq!(schema.prune(&mut object), Vec::<String>::new(), "nothing is left to prune");
    assert_eq!(object, once);
    schema.default(&mut object);
    let once = object.clone();
    schema.default(&mut object);
    assert_eq!(object, once, "defaults are filled in once");
    for error in schema.validate(&object, None) {
        assert!(!error.message.is_empty());
    }
}

fn node(source: &mut Source<'_>, depth: usize) -> Value {
    let mut node = Map::new();
    let kind = source.of(&["object", "array", "string", "integer", "number", "boolean"]);
    node.insert("type".to_owned(), json!(kind));
    match kind {
        "object" if depth > 0 => {
            let mut properties = Map::new();
            for _ in 0..source.below(4) {
                let key = source.key();
                properties.insert(key, self::node(source, depth - 1));
            }
            node.insert("properties".to_owned(), Value::Object(properties));
        }
        "array" => {
            node.insert("items".to_owned(), self::node(source, depth.saturating_sub(1)));
        }
        _ => {}
    }
    for _ in 0..source.below(3) {
        let (word, value) = match source.below(12) {
            0 => ("default", source.value(2)),
            1 => ("nullable", json!(source.yes())),
            2 => ("enum", source.value(2)),
            3 => ("minimum", source.scalar()),
            4 => ("pattern", json!(source.of(&["^a", "(", "x{1000}{1000}", ""]))),
            5 => ("maxLength", source.scalar()),
            6 => ("required", json!([source.key()])),
            7 => ("x-kubernetes-preserve-unknown-fields", json!(source.yes())),
            8 => ("x-kubernetes-int-or-string", json!(true)),
            9 => ("x-kubernetes-list-type", json!(source.of(&["map", "set", "atomic", "?"]))),
            10 => ("x-kubernetes-list-map-keys", json!([source.key()])),
            _ => ("format", json!(source.of(&["date-time", "int32", "byte", "duration"]))),
        };
        node.insert(word.to_owned(), value);
    }
    Value::Object(node)
}

pub fn protobuf(data: &[u8]) {
    let mut framed = b"k8s\0".to_vec();
    framed.extend_from_slice(data);
    for body in [data, &framed] {
        if let Ok(object) = protobuf::decode(body) {
            assert!(object.is_object(), "a body is an object: {object}");
        }
    }
}
