//! Properties of patches, on random objects, and random input from a fixed seed.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{ssa, *};

/// A Deployment with several fields that are merged by key.
fn deployments() -> impl Strategy<Value = Value> {
    let labels = prop::collection::btree_map("[a-c]", "[x-z]", 0..3);
    let env = prop::collection::btree_map("[A-C]", "[0-2]", 0..3);
    let container = (prop::option::of("[x-z]"), env);
    let containers = prop::collection::btree_map("[p-r]", container, 0..3);
    (labels, prop::option::of(0u32..3), containers).prop_map(|(labels, replicas, containers)| {
        let containers: Vec<Value> = containers
            .into_iter()
            .map(|(name, (image, env))| {
                let env: Vec<Value> = env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
                let mut container = json!({"name": name, "env": env});
                if let Some(image) = image {
                    container["image"] = json!(image);
                }
                container
            })
            .collect();
        let mut spec = json!({"template": {"spec": {"containers": containers}}});
        if let Some(replicas) = replicas {
            spec["replicas"] = json!(replicas);
        }
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "labels": labels}, "spec": spec})
    })
}

/// The object without `managedFields` and without empty maps and lists, which may or may not remain.
fn content(value: &Value) -> Value {
    fn strip(value: &Value) -> Option<Value> {
        match value {
            Value::Object(map) => {
                let map: Map<String, Value> = map
                    .iter()
                    .filter_map(|(name, value)| Some((name.clone(), strip(value)?)))
                    .collect();
                (!map.is_empty()).then_some(Value::Object(map))
            }
            Value::Array(list) => {
                let list: Vec<Value> = list.iter().filter_map(strip).collect();
                (!list.is_empty()).then_some(Value::Array(list))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                Some(value.clone())
            }
        }
    }
    let mut value = value.clone();
    value["metadata"].as_object_mut().unwrap().remove("managedFields");
    strip(&value).unwrap_or_default()
}

/// Maps a keyed list to a map, so that order does not count.
fn unordered(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().map(|(name, value)| (name.clone(), unordered(value))).collect()
        }
        Value::Array(list) => {
            let mut list: Vec<Value> = list.iter().map(unordered).collect();
            list.sort_by_key(Value::to_string);
            Value::Array(list)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn same(one: &Value, other: &Value) -> bool {
    unordered(&content(one)) == unordered(&content(other))
}

proptest! {
    #[test]
    fn applying_again_is_nothing(first in deployments(), second in deployments()) {
        let live = ssa(None, &first, "a", false, T0);
        let live = ssa(Some(&live), &second, "b", true, T0);
        prop_assert_eq!(ssa(Some(&live), &second, "b", false, T1), live);
    }

    #[test]
    fn a_sole_manager_gets_what_it_applies(first in deployments(), second in deployments()) {
        let live = ssa(None, &first, "a", false, T0);
        let live = ssa(Some(&live), &second, "a", false, T1);
        prop_assert!(same(&live, &second), "{live} is not {second}");
    }

    #[test]
    fn fields_of_other_managers_stay(mine in deployments(), theirs in deployments()) {
        let live = ssa(None, &mine, "a", false, T0);
        let live = ssa(Some(&live), &theirs, "b", true, T0);
        let nothing = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}});
        let live = ssa(Some(&live), &nothing, "a", false, T1);
        prop_assert!(same(&live, &theirs), "{live} is not {theirs}");
    }

    #[test]
    fn forced_values_win_and_stay(mine in deployments(), theirs in deployments()) {
        let live = ssa(None, &mine, "a", false, T0);
        let forced = ssa(Some(&live), &theirs, "b", true, T0);
        // What manager a can still apply without a conflict does not change the fields of b.
        if let Ok(after) = apply(Some(&forced), &mine, "a", false, &keys(), T1, None) {
            prop_assert_eq!(ssa(Some(&after), &theirs, "b", false, T1), after);
        }
    }

    #[test]
    fn updates_own_what_they_change(first in deployments(), second in deployments()) {
        let live = ssa(None, &first, "a", false, T0);
        let mut updated = second.clone();
        record_update(Some(&live), &mut updated, "u", &keys(), T1, None);
        // Applying the current values causes no conflict.
        prop_assert!(apply(Some(&updated), &second, "c", false, &keys(), T1, None).is_ok());
        // The content is as written.
        prop_assert_eq!(content(&updated), content(&second));
        // The same write again changes nothing.
        let mut again = updated.clone();
        record_update(Some(&updated), &mut again, "v", &keys(), T1, None);
        prop_assert_eq!(again, updated);
    }

    #[test]
    fn a_strategic_patch_of_itself_is_nothing(one in deployments()) {
        prop_assert_eq!(strategic_merge(&one, &one, "Deployment"), Ok(one));
    }

    #[test]
    fn strategic_patches_set_what_they_say(live in deployments(), patch in deployments()) {
        let once = strategic_merge(&live, &patch, "Deployment").unwrap();
        prop_assert_eq!(strategic_merge(&once, &patch, "Deployment"), Ok(once));
    }

    #[test]
    fn field_sets_are_read_as_they_are_written(one in deployments()) {
        let set = crate::patch::fields::FieldSet::of(&one, &keys().root, false).unwrap();
        prop_assert_eq!(crate::patch::fields::FieldSet::from_json(&set.to_json()), Some(set));
    }
}

/// A random generator with a fixed seed, so that every machine has the same input.
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }

    fn value(&mut self, depth: usize) -> Value {
        const NAMES: &[&str] = &[
            "metadata",
            "spec",
            "template",
            "containers",
            "name",
            "env",
            "ports",
            "containerPort",
            "finalizers",
            "managedFields",
            "$patch",
            "$retainKeys",
            "$setElementOrder/containers",
            "$deleteFromPrimitiveList/finalizers",
            "f:spec",
            "k:{",
            ".",
            "",
            "annotations",
            "labels",
            "operation",
            "apiVersion",
            "fieldsV1",
            "manager",
            "op",
            "path",
            "value",
            "from",
        ];
        const TEXTS: &[&str] = &[
            "", "replace", "delete", "merge", "app", "Apply", "Update", "v1", "add", "copy",
            "/spec/a", "/-", "~",
        ];
        match self.next(if depth == 0 { 4 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.next(3)),
            2 => json!(self.next(2) == 0),
            3 => json!(TEXTS[self.next(TEXTS.len())]),
            4 | 5 => (0..self.next(4)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let size = self.next(5);
                Value::Object(
                    (0..size)
                        .map(|_| (NAMES[self.next(NAMES.len())].to_owned(), self.value(depth - 1)))
                        .collect(),
                )
            }
        }
    }
}

#[test]
fn noise_is_refused_or_applied_but_never_panics() {
    let mut noise = Noise(7);
    for round in 0..4000 {
        let live = if round % 2 == 0 { deployment(1, "a") } else { noise.value(6) };
        let patch = noise.value(6);
        let _ = json_patch(&live, &patch);
        let _ = merge_patch(&live, &patch);
        let _ = strategic_merge(&live, &patch, "Deployment");
        if let Ok(applied) = apply(Some(&live), &patch, "m", round % 3 == 0, &keys(), T0, None) {
            assert_eq!(
                apply(Some(&applied), &patch, "m", false, &keys(), T1, None),
                Ok(applied),
                "{live} {patch}"
            );
        }
        let mut written = patch.clone();
        record_update(Some(&live), &mut written, "m", &keys(), T0, None);
    }
}
