//! A promotion and its undoing, write by write.

use serde_json::json;

use super::*;
use crate::render::render;
use crate::settings::Settings;
use crate::testing::{apply_all, canary, shown, target, with, world, yaml};
use crate::workload::names;
use crate::workload::revision;
use serin_core::plan::Action;

const SOAK: &str = "analysis: {guard: {errorRate: {slo: 1}, soak: {duration: 1m}}}";
const READS: &str = "
spec:
  template:
    spec:
      volumes:
      - {name: a, configMap: {name: settings}}
      - {name: b, secret: {secretName: keys}}
";

fn config(colour: &str) -> Value {
    let config = yaml(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: develop, resourceVersion: '1'}}",
    );
    with(config, &format!("data: {{colour: {colour}}}"))
}

fn secret(key: &str) -> Value {
    let secret = yaml(
        "{apiVersion: v1, kind: Secret, type: Opaque, metadata: {name: keys, namespace: develop, resourceVersion: '1'}}",
    );
    with(secret, &format!("data: {{key: {key}}}"))
}

/// With everything a look-up of the shell would have found.
fn seen(canary: &Canary, mut objects_now: Objects) -> Objects {
    for name in ["settings-primary", "settings"] {
        let object = CONFIG_MAP.named("develop", name);
        if matches!(objects_now.get(&object), Seen::Unreadable(_)) {
            objects_now.put(object, Seen::Absent);
        }
    }
    for object in objects(canary) {
        if matches!(objects_now.get(&object), Seen::Unreadable(_)) {
            objects_now.put(object, Seen::Absent);
        }
    }
    objects_now
}

fn put(objects_now: &mut Objects, value: Value) {
    let kind = crate::change::KINDS.into_iter().find(|kind| value["kind"] == kind.kind).unwrap();
    let name = value["metadata"]["name"].as_str().unwrap().to_owned();
    objects_now.put(kind.named("develop", name), Seen::Present(std::sync::Arc::new(value)));
}

fn act(canary: &Canary, action: &Action, objects_now: &Objects) -> (String, Objects) {
    let changes = render(canary, action, objects_now, &Settings::default()).unwrap();
    (shown(&changes), apply_all(objects_now, &changes))
}

#[test]
fn what_was_kept_is_given_back_with_its_configs() {
    let canary = canary(SOAK);
    let first = with(target(), READS);
    let start = seen(&canary, world(&canary, &[first.clone(), config("green"), secret("b2xk")]));
    let create = Action::CreatePrimary { revision: revision(&first), replicas: 1 };
    let (_, mut now) = act(&canary, &create, &start);
    let before = now.present(&names::primary(&canary)).unwrap().clone();

    let second = with(first.clone(), "spec: {minReadySeconds: 9, template: {spec: {nodeName: x}}}");
    for value in [second.clone(), config("blue"), secret("bmV3")] {
        put(&mut now, value);
    }
    let keep = Action::KeepPrimary { token: revision(&first) };
    let (shown_keep, now) = act(&canary, &keep, &now);
    assert_eq!(
        shown_keep,
        "create Secret develop/backend-primary-kept\ncreate ConfigMap develop/backend-primary-kept"
    );
    assert_eq!(act(&canary, &keep, &now).0, "", "it is kept once");
    let promote = Action::PromotePrimary { revision: revision(&second) };
    let (_, now) = act(&canary, &promote, &now);
    // Configs have moved on, and what was kept has not.
    assert_eq!(act(&canary, &keep, &now).0, "");
    assert_eq!(
        super::observe(&canary, &now),
        Seen::Present(Kept { token: revision(&first), in_force: false })
    );

    let undo = Action::UndoPrimary { token: revision(&first) };
    let (shown_undo, now) = act(&canary, &undo, &now);
    assert_eq!(
        shown_undo,
        "replace ConfigMap develop/settings-primary at 2\nreplace Secret develop/keys-primary at 2\nreplace Deployment develop/backend-primary at 2"
    );
    let after = now.present(&names::primary(&canary)).unwrap();
    let mut expected = before["spec"].clone();
    // How many there are is what is needed now.
    expected["replicas"] = after["spec"]["replicas"].clone();
    assert_eq!(expected, after["spec"]);
    assert_eq!(before["metadata"]["annotations"], after["metadata"]["annotations"]);
    let copy = now.present(&CONFIG_MAP.named("develop", "settings-primary")).unwrap();
    assert_eq!(copy["data"], json!({"colour": "green"}));
    let copy = now.present(&SECRET.named("develop", "keys-primary")).unwrap();
    assert_eq!((&copy["data"], &copy["type"]), (&json!({"key": "b2xk"}), &json!("Opaque")));
    assert_eq!(act(&canary, &undo, &now).0, "", "twice is once");
    assert_eq!(
        super::observe(&canary, &now),
        Seen::Present(Kept { token: revision(&first), in_force: true })
    );
}

#[test]
fn only_what_the_primary_runs_is_kept_and_only_what_is_kept_is_given_back() {
    let canary = canary(SOAK);
    let start = seen(&canary, world(&canary, &[target()]));
    let create = Action::CreatePrimary { revision: revision(&target()), replicas: 1 };
    let (_, now) = act(&canary, &create, &start);
    let other = Action::KeepPrimary { token: "s1:other".into() };
    assert_eq!(act(&canary, &other, &now).0, "");
    let keep = Action::KeepPrimary { token: revision(&target()) };
    let (written, now) = act(&canary, &keep, &now);
    assert_eq!(written, "create ConfigMap develop/backend-primary-kept");
    let undo = Action::UndoPrimary { token: "s1:other".into() };
    let error = render(&canary, &undo, &now, &Settings::default()).unwrap_err();
    assert_eq!(error, RenderError::NotKept { wanted: "s1:other".into() });
}

#[test]
fn nobody_keeps_anything_without_a_soak() {
    let canary = canary("");
    let now = world(&canary, &[target()]);
    assert_eq!(objects(&canary), Vec::new());
    assert_eq!(super::observe(&canary, &now), Seen::Absent);
    assert_eq!(kept_configs(&canary, &now), Vec::new());
}
