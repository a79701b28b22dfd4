//! The parts of the documents that kubectl reads.

use serde_json::json;

use super::*;

fn deployment() -> ApiKind<'static> {
    ApiKind {
        group: "apps",
        version: "v1",
        kind: "Deployment",
        plural: "deployments",
        namespaced: true,
        schema: None,
    }
}

#[test]
fn every_type_of_the_table_is_known() {
    for (name, described) in types() {
        for field in &described.fields {
            let base = base(&field.kind);
            let plain = [
                "string",
                "boolean",
                "integer",
                "time",
                "bytes",
                "int-or-string",
                "quantity",
                "any",
            ];
            assert!(
                plain.contains(&base) || types().contains_key(base),
                "{name}.{}: {base}",
                field.name
            );
            assert!(field.description.ends_with('.'), "{name}.{}", field.name);
        }
    }
}

#[test]
fn kubectl_finds_field_validation_and_the_kind() {
    let document = document([deployment()]);
    let patch =
        &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    assert!(
        patch["parameters"].as_array().unwrap().iter().any(|one| one["name"] == "fieldValidation")
    );
    assert_complete(&document);
    // A kind that the hand-written table does not have.
    let policy = ApiKind {
        group: "networking.k8s.io",
        version: "v1",
        kind: "NetworkPolicy",
        plural: "networkpolicies",
        namespaced: true,
        schema: None,
    };
    let document = super::document([policy]);
    assert_complete(&document);
    let spec = &document["components"]["schemas"]["io.k8s.api.networking.NetworkPolicySpec"];
    assert_eq!(spec["properties"]["ingress"]["type"], "array");
}

/// Every reference has a target.
fn assert_complete(document: &Value) {
    let text = document.to_string();
    for part in text.split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(
            document["components"]["schemas"].get(name).is_some(),
            "{name} is referred to but missing"
        );
    }
}

#[test]
fn a_custom_resource_brings_its_own_schema() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object"}}});
    let kind = ApiKind {
        group: "flagger.app",
        version: "v1beta1",
        kind: "Canary",
        plural: "canaries",
        namespaced: true,
        schema: Some(&schema),
    };
    let one = document([kind]);
    let root = &one["components"]["schemas"]["app.flagger.v1beta1.Canary"];
    assert_eq!(root["properties"]["spec"], json!({"type": "object"}));
    assert_eq!(root["x-kubernetes-group-version-kind"][0]["kind"], "Canary");
    assert_ne!(hash(&one), hash(&document([deployment()])));
}

/// kubectl prints a field's description and then that of its type.
#[test]
fn nothing_is_explained_twice() {
    for described in types().values() {
        for field in &described.fields {
            let named = types().get(base(&field.kind));
            let twice = named.is_some_and(|named| named.description == field.description);
            assert!(
                !twice || field.description.is_empty(),
                "{}: {}",
                field.name,
                field.description
            );
        }
    }
}
