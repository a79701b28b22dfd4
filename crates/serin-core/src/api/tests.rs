//! Documents come out as they went in.

use serde_json::Value;

use super::*;

fn round_trip<T: Serialize + serde::de::DeserializeOwned>(yaml: &str) {
    let before: Value = serde_saphyr::from_str(yaml).unwrap();
    let document: T = serde_json::from_value(before.clone()).unwrap();
    assert_eq!(serde_json::to_value(&document).unwrap(), before);
}

/// Every field of the schema, so that a field that is misspelt here or there shows.
fn every_field_occurs(kind: &str, yaml: &str) {
    let object: Value = serde_saphyr::from_str(yaml).unwrap();
    let (_, schema) = crate::crd::schemas().into_iter().find(|(name, _)| *name == kind).unwrap();
    let spec = &schema["properties"]["spec"];
    missing("spec", spec, &[&object["spec"]]);
}

/// `samples` are all the values that the example has at this place.
fn missing(path: &str, schema: &Value, samples: &[&Value]) {
    if let Some(properties) = schema["properties"].as_object() {
        for (name, inner) in properties {
            let found: Vec<_> = samples.iter().filter_map(|sample| sample.get(name)).collect();
            assert!(!found.is_empty(), "no example of {path}.{name}");
            missing(&format!("{path}.{name}"), inner, &found);
        }
        for sample in samples {
            for name in sample.as_object().unwrap().keys() {
                assert!(properties.contains_key(name), "{path}.{name} is not in the schema");
            }
        }
    }
    if schema["items"].is_object() {
        let found: Vec<_> = samples.iter().flat_map(|s| s.as_array().unwrap()).collect();
        missing(&format!("{path}[]"), &schema["items"], &found);
    }
    if schema["additionalProperties"].is_object() {
        let found: Vec<_> = samples.iter().flat_map(|s| s.as_object().unwrap().values()).collect();
        missing(&format!("{path}{{}}"), &schema["additionalProperties"], &found);
    }
}

const CANARY: &str = include_str!("tests/canary.yaml");
const METRIC_TEMPLATE: &str = include_str!("tests/metric-template.yaml");
const ALERT_PROVIDER: &str = include_str!("tests/alert-provider.yaml");

#[test]
fn documents_come_out_as_they_went_in() {
    round_trip::<Canary>(CANARY);
    round_trip::<MetricTemplate>(METRIC_TEMPLATE);
    round_trip::<AlertProvider>(ALERT_PROVIDER);
    round_trip::<Canary>("{}");
    round_trip::<Canary>(
        "{spec: {analysis: {metrics: [], webhooks: [{}], match: [{}]}, service: {}}}",
    );
}

#[test]
fn the_examples_have_every_field() {
    every_field_occurs("Canary", CANARY);
    every_field_occurs("MetricTemplate", METRIC_TEMPLATE);
    every_field_occurs("AlertProvider", ALERT_PROVIDER);
}
