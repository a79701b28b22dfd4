//! Tables of patches, with their results.

mod laws;

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

fn ssa(live: Option<&Value>, applied: &Value, manager: &str, force: bool, now: &str) -> Value {
    apply(live, applied, manager, force, &keys(), now, None).unwrap()
}

fn refused(live: &Value, applied: &Value, manager: &str) -> ApplyConflict {
    match apply(Some(live), applied, manager, false, &keys(), T1, None) {
        Err(ApplyError::Conflict(conflict)) => conflict,
        other => panic!("expected a conflict, got {other:?}"),
    }
}

/// The containers of a Deployment.
fn containers(object: &Value) -> &Value {
    &object["spec"]["template"]["spec"]["containers"]
}

#[test]
fn json_patches_apply_in_order_or_not_at_all() {
    let obj = json!({"a": {"b": [1, 2]}});
    let patched = json_patch(
        &obj,
        &json!([
            {"op": "test", "path": "/a/b/0", "value": 1}, {"op": "add", "path": "/a/b/-", "value": 3},
            {"op": "remove", "path": "/a/b/0"}, {"op": "copy", "from": "/a/b", "path": "/c"}, {"op": "move", "from": "/c", "path": "/d"},
        ]),
    );
    assert_eq!(patched, Ok(json!({"a": {"b": [2, 3]}, "d": [2, 3]})));
    let table = [
        (json!([{"op": "test", "path": "/a/b/0", "value": 9}]), 422),
        (json!([{"op": "remove", "path": "/nothing"}]), 422),
        (json!([{"op": "replace", "path": "", "value": 1}]), 422),
        (json!([{"op": "move", "from": "", "path": ""}]), 422),
        (json!([{"op": "remove", "path": ""}, {"op": "add", "path": "", "value": {}}]), 422),
        (json!([{"op": "fly", "path": "/a"}]), 400),
        (json!({"op": "add"}), 400),
    ];
    for (patch, code) in table {
        assert_eq!(json_patch(&obj, &patch).unwrap_err().status().0, code, "{patch}");
    }
}

#[test]
fn json_patches_cannot_blow_up() {
    let doubling: Vec<Value> =
        (0..200).map(|_| json!({"op": "copy", "from": "", "path": "/a"})).collect();
    let error = json_patch(&json!({"x": "y".repeat(100)}), &doubling.into()).unwrap_err();
    assert_eq!(error.status().0, 413);
    let many: Vec<Value> =
        (0..10_001).map(|_| json!({"op": "add", "path": "/a", "value": 1})).collect();
    assert_eq!(json_patch(&json!({}), &many.into()).unwrap_err().status().0, 413);
    let mut deep = json!(1);
    for _ in 0..200 {
        deep = json!({"a": deep});
    }
    assert_eq!(merge_patch(&json!({}), &deep).unwrap_err().status().0, 413);
    assert_eq!(strategic_merge(&json!({}), &deep, "Pod").unwrap_err().status().0, 413);
    assert!(apply(None, &deep, "m", false, &keys(), T0, None).is_err());
}

#[test]
fn merge_patches_merge_maps_and_drop_nulls() {
    let patched = merge_patch(
        &json!({"a": {"b": 1, "c": 2}, "l": [1]}),
        &json!({"a": {"b": null, "d": 3}, "l": [2]}),
    );
    assert_eq!(patched, Ok(json!({"a": {"c": 2, "d": 3}, "l": [2]})));
    assert_eq!(merge_patch(&json!({}), &json!([])).unwrap_err().status().0, 400);
}

#[test]
fn strategic_patches_that_kubectl_has_sent() {
    let spec =
        |containers: Value| json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let live = spec(json!([
        {"name": "injected", "image": "proxy"},
        {"name": "app", "image": "podinfo:1", "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 9898, "protocol": "TCP"}]},
    ]));
    // kubectl set image
    let patched = strategic_merge(&live, &json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "app"}], "containers": [{"image": "podinfo:2", "name": "app"}],
    }}}}), "Deployment").unwrap();
    let mut wanted = live.clone();
    wanted["spec"]["template"]["spec"]["containers"][1]["image"] = json!("podinfo:2");
    assert_eq!(patched, wanted);
    // kubectl set env B=2 A-
    let patched = strategic_merge(&live, &json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "app"}],
        "containers": [{"$setElementOrder/env": [{"name": "B"}], "env": [{"name": "B", "value": "2"}, {"$patch": "delete", "name": "A"}], "name": "app"}],
    }}}}), "Deployment").unwrap();
    assert_eq!(containers(&patched)[1]["env"], json!([{"name": "B", "value": "2"}]));
    // kubectl apply with a second port and a second container
    let patched = strategic_merge(&live, &json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "app"}, {"name": "side"}],
        "containers": [
            {"$setElementOrder/ports": [{"containerPort": 9898}, {"containerPort": 9797}], "name": "app",
             "ports": [{"containerPort": 9797, "protocol": "UDP"}]},
            {"image": "s", "name": "side"},
        ],
        "volumes": [{"emptyDir": {}, "name": "v"}],
    }}}}), "Deployment").unwrap();
    let names: Vec<&Value> =
        containers(&patched).as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["injected", "app", "side"]);
    assert_eq!(
        containers(&patched)[1]["ports"],
        json!([{"containerPort": 9898, "protocol": "TCP"}, {"containerPort": 9797, "protocol": "UDP"}])
    );
    assert_eq!(
        patched["spec"]["template"]["spec"]["volumes"],
        json!([{"emptyDir": {}, "name": "v"}])
    );
}

/// The live object, the patch, the kind, and the result.
#[test]
fn directives_of_strategic_patches() {
    let table = [
        (
            json!({"spec": {"paused": true}}),
            json!({"spec": {"paused": null}}),
            "Deployment",
            json!({"spec": {}}),
        ),
        (
            json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
            "Deployment",
            json!({"spec": {"strategy": {"type": "Recreate"}}}),
        ),
        (
            json!({"data": {"a": "1", "b": "2"}}),
            json!({"data": {"$patch": "replace", "c": "3"}}),
            "ConfigMap",
            json!({"data": {"c": "3"}}),
        ),
        (
            json!({"data": {"a": "1"}}),
            json!({"data": {"$patch": "delete"}}),
            "ConfigMap",
            json!({}),
        ),
        (
            json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "$setElementOrder/finalizers": ["c", "a"], "finalizers": ["d"]}}),
            "ConfigMap",
            json!({"metadata": {"finalizers": ["d", "c", "a"]}}),
        ),
        (
            json!({"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81}]}}),
            json!({"spec": {"ports": [{"$patch": "replace"}, {"port": 82}]}}),
            "Service",
            json!({"spec": {"ports": [{"port": 82}]}}),
        ),
        (
            json!({"spec": {"ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
            json!({"spec": {"ports": [{"port": 53, "protocol": "UDP", "name": "dns"}]}}),
            "Service",
            json!({"spec": {"ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP", "name": "dns"}]}}),
        ),
        (
            json!({"spec": {"tolerations": [{"key": "a"}]}}),
            json!({"spec": {"tolerations": [{"key": "b"}]}}),
            "Pod",
            json!({"spec": {"tolerations": [{"key": "b"}]}}),
        ),
        (
            json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
            json!({"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "X", "status": "True"}]}}),
            "Pod",
            json!({"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "X", "status": "True"}]}}),
        ),
    ];
    for (live, patch, kind, wanted) in table {
        assert_eq!(strategic_merge(&live, &patch, kind), Ok(wanted), "{patch}");
    }
}

#[test]
fn malformed_strategic_patches_are_refused() {
    for bad in [
        json!({"spec": {"$patch": "explode"}}),
        json!({"spec": {"$unknown": 1}}),
        json!({"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}),
        json!({"spec": {"template": {"spec": {"containers": ["x"]}}}}),
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}}),
        json!({"spec": {"$setElementOrder/x": 1}}),
    ] {
        assert_eq!(
            strategic_merge(&deployment(1, "a"), &bad, "Deployment").unwrap_err().status().0,
            400,
            "{bad}"
        );
    }
}

#[test]
fn applying_twice_changes_nothing() {
    let one = ssa(None, &deployment(1, "a"), "kubectl", false, T0);
    assert_eq!(ssa(Some(&one), &deployment(1, "a"), "kubectl", false, T1), one);
    assert_eq!(
        one["metadata"]["managedFields"],
        json!([{
            "manager": "kubectl", "operation": "Apply", "apiVersion": "apps/v1", "time": T0, "fieldsType": "FieldsV1", "fieldsV1": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"app\"}": {
                    ".": {}, "f:image": {}, "f:name": {},
                    "f:ports": {"k:{\"containerPort\":9898,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                }}}}},
            },
        }])
    );
}

#[test]
fn a_conflict_names_manager_and_field() {
    let mut live = deployment(1, "a");
    record_update(None, &mut live, "kubectl-client-side-apply", &keys(), T0, None);
    let conflict = refused(&live, &deployment(3, "a"), "flux");
    assert_eq!(
        conflict.message,
        r#"Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using apps/v1: .spec.replicas"#
    );
    let cause = r#"conflict with "kubectl-client-side-apply" using apps/v1"#.to_owned();
    assert_eq!(conflict.causes, [ConflictCause { message: cause, field: ".spec.replicas".into() }]);
    let two = refused(&live, &deployment(3, "b"), "flux");
    assert_eq!(
        two.message,
        "Apply failed with 2 conflicts: conflicts with \"kubectl-client-side-apply\" using apps/v1:\n- .spec.replicas\n- .spec.template.spec.containers[name=\"app\"].image"
    );
    let forced = ssa(Some(&live), &deployment(3, "a"), "flux", true, T1);
    assert_eq!(forced["spec"]["replicas"], 3);
    let again = refused(&forced, &deployment(5, "a"), "helm");
    assert_eq!(
        again.message,
        "Apply failed with 1 conflict: conflict with \"flux\": .spec.replicas"
    );
}

#[test]
fn equal_values_are_owned_together_and_go_with_the_last_owner() {
    let mut without = deployment(1, "a");
    without["metadata"]["labels"] = json!({});
    let one = ssa(None, &deployment(1, "a"), "one", false, T0);
    let both = ssa(Some(&one), &deployment(1, "a"), "two", false, T0);
    let left = ssa(Some(&both), &without, "one", false, T1);
    assert_eq!(left["metadata"]["labels"]["app"], "podinfo");
    let gone = ssa(Some(&left), &without, "two", false, T1);
    assert_eq!(gone["metadata"]["labels"], json!({}));
}

#[test]
fn fields_no_longer_applied_are_removed_unless_another_manager_owns_them() {
    let mut two = deployment(1, "a");
    two["spec"]["template"]["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "side", "image": "s", "env": [{"name": "A", "value": "1"}]}));
    let mut live = ssa(None, &two, "flux", false, T0);
    // A default without an owner is removed with its container.
    live["spec"]["template"]["spec"]["containers"][1]["imagePullPolicy"] = json!("Always");
    let less = ssa(Some(&live), &deployment(1, "a"), "flux", false, T1);
    assert_eq!(containers(&less).as_array().unwrap().len(), 1);
    // A field below it that another manager set stays, with the keys of its item.
    let mut touched = live.clone();
    touched["spec"]["template"]["spec"]["containers"][1]["env"][0]["value"] = json!("2");
    record_update(Some(&live), &mut touched, "kubectl-edit", &keys(), T1, None);
    let less = ssa(Some(&touched), &deployment(1, "a"), "flux", false, T1);
    assert_eq!(
        containers(&less)[1],
        json!({"name": "side", "env": [{"name": "A", "value": "2"}], "imagePullPolicy": "Always"})
    );
}

#[test]
fn ordinary_writes_take_what_they_change() {
    let live = ssa(None, &deployment(1, "a"), "flux", false, T0);
    let mut scaled = live.clone();
    scaled["spec"]["replicas"] = json!(4);
    record_update(Some(&live), &mut scaled, "hpa", &keys(), T1, Some("scale"));
    let entries = scaled["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert!(entries[0]["fieldsV1"]["f:spec"].get("f:replicas").is_none());
    assert_eq!(
        entries[1],
        json!({
            "manager": "hpa", "operation": "Update", "subresource": "scale", "apiVersion": "apps/v1",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}},
        })
    );
    let mut nothing = scaled.clone();
    record_update(Some(&scaled), &mut nothing, "other", &keys(), "2027-01-01T00:00:00Z", None);
    assert_eq!(nothing, scaled);
    // The manifest without replicas leaves the number to the autoscaler.
    let mut applied = deployment(1, "a");
    applied["spec"].as_object_mut().unwrap().remove("replicas");
    assert_eq!(ssa(Some(&scaled), &applied, "flux", false, T1)["spec"]["replicas"], 4);
    assert_eq!(
        refused(&scaled, &deployment(2, "a"), "flux").message,
        "Apply failed with 1 conflict: conflict with \"hpa\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn kubectl_moves_from_client_side_to_server_side() {
    let mut live = deployment(1, "a");
    live["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": deployment(1, "a").to_string()});
    record_update(None, &mut live, "kubectl-client-side-apply", &keys(), T0, None);
    // kubectl may change what it has applied itself, without force.
    let applied = ssa(Some(&live), &deployment(2, "a"), "kubectl", false, T1);
    assert_eq!(applied["spec"]["replicas"], 2);
    let annotation =
        &applied["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert_eq!(annotation.as_str().unwrap().trim_end(), deployment(2, "a").to_string());
    // But not a field that another manager has changed since.
    let mut set = live.clone();
    set["spec"]["template"]["spec"]["containers"][0]["image"] = json!("b");
    record_update(Some(&live), &mut set, "kubectl-set", &keys(), T1, None);
    assert_eq!(
        refused(&set, &deployment(1, "a"), "kubectl").message,
        "Apply failed with 1 conflict: conflict with \"kubectl-set\" using apps/v1: .spec.template.spec.containers[name=\"app\"].image"
    );
    // It then writes managed fields itself.
    let mut moved = applied.clone();
    let own = applied["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["operation"] == "Apply")
        .unwrap()
        .clone();
    moved["metadata"]["managedFields"] = json!([own]);
    record_update(Some(&applied), &mut moved, "kubectl", &keys(), T1, None);
    assert_eq!(moved["metadata"]["managedFields"], json!([own]));
    // Malformed managed fields are ignored; a list with an empty entry resets them.
    let mut broken = applied.clone();
    broken["metadata"]["managedFields"] = json!([{"operation": "Strange"}]);
    record_update(Some(&applied), &mut broken, "kubectl", &keys(), T1, None);
    assert_eq!(broken, applied);
    let mut reset = applied.clone();
    reset["metadata"]["managedFields"] = json!([{}]);
    record_update(Some(&applied), &mut reset, "kubectl", &keys(), T1, None);
    assert!(reset["metadata"].get("managedFields").is_none());
}

#[test]
fn objects_without_managed_fields_belong_to_before_first_apply() {
    let conflict = refused(&deployment(1, "a"), &deployment(2, "a"), "flux");
    assert_eq!(
        conflict.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn what_cannot_be_merged_cannot_be_applied() {
    let mut twice = deployment(1, "a");
    let one = containers(&twice)[0].clone();
    twice["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(one);
    let mut nameless = deployment(1, "a");
    nameless["spec"]["template"]["spec"]["containers"][0].as_object_mut().unwrap().remove("name");
    let mut managed = deployment(1, "a");
    managed["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    assert_eq!(
        apply(None, &twice, "m", false, &keys(), T0, None).unwrap_err().to_string(),
        "failed to create typed patch object (test/podinfo; apps/v1, Kind=Deployment): .spec.template.spec.containers: duplicate entries for key [name=\"app\"]"
    );
    // Its name is empty, which validation refuses later.
    assert!(apply(None, &nameless, "m", false, &keys(), T0, None).is_ok());
    for (bad, wanted) in [
        (managed, "metadata.managedFields must be nil"),
        (json!([]), "the applied configuration must be an object"),
    ] {
        let error = apply(None, &bad, "m", false, &keys(), T0, None).unwrap_err();
        assert_eq!(error, ApplyError::Malformed(wanted.into()));
    }
}

#[test]
fn the_number_of_updaters_is_bounded() {
    let mut live =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {}});
    for index in 0..40 {
        let old = live.clone();
        live["data"][format!("k{index}")] = json!("v");
        record_update(
            Some(&old),
            &mut live,
            &format!("m{index:02}"),
            &ListKeys::builtin("ConfigMap"),
            &format!("2026-01-01T00:00:{index:02}Z"),
            None,
        );
    }
    let entries = live["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 10);
    assert!(entries.iter().any(|entry| entry["manager"] == "ancient-changes"));
}

#[test]
fn long_sets_are_no_burden() {
    let object = |count: usize| {
        let finalizers: Vec<String> = (0..count).map(|at| format!("example.com/{at}")).collect();
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "finalizers": finalizers}})
    };
    let keys = ListKeys::builtin("ConfigMap");
    let live = apply(None, &object(20_000), "m", false, &keys, T0, None).unwrap();
    let less = apply(Some(&live), &object(1), "m", false, &keys, T1, None).unwrap();
    assert_eq!(less["metadata"]["finalizers"], json!(["example.com/0"]));
    assert_eq!(strategic_merge(&live, &object(20_000), "ConfigMap").unwrap_err().status().0, 413);
}
