//! Tables and laws of the patches.

use serde_json::{Value, json};

use super::*;

const T0: &str = "2026-01-01T00:00:00Z";
const T1: &str = "2026-01-01T00:01:00Z";

fn deployment(replicas: u32, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "podinfo", "namespace": "test", "labels": {"app": "podinfo"}},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": [
            {"name": "app", "image": image, "ports": [{"containerPort": 9898}]},
        ]}}},
    })
}

fn keys() -> ListKeys {
    ListKeys::builtin("Deployment")
}

#[test]
fn applying_twice_changes_nothing() {
    let one = apply(None, &deployment(1, "a"), "kubectl", false, &keys(), T0, None).unwrap();
    let two = apply(Some(&one), &deployment(1, "a"), "kubectl", false, &keys(), T1, None).unwrap();
    assert_eq!(one, two);
    assert_eq!(one["metadata"]["managedFields"][0]["operation"], "Apply");
}

#[test]
fn a_conflict_names_manager_and_field() {
    let mut live = deployment(1, "a");
    record_update(None, &mut live, "kubectl-client-side-apply", &keys(), T0, None);
    let error =
        apply(Some(&live), &deployment(3, "a"), "flux", false, &keys(), T1, None).unwrap_err();
    let ApplyError::Conflict(conflict) = error else { panic!("{error}") };
    assert_eq!(
        conflict.message,
        r#"Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using apps/v1: .spec.replicas"#
    );
    assert_eq!(conflict.causes[0].field, ".spec.replicas");
    let forced = apply(Some(&live), &deployment(3, "a"), "flux", true, &keys(), T1, None).unwrap();
    assert_eq!(forced["spec"]["replicas"], 3);
}
