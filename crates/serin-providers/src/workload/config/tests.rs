//! Tables of references, checksums and copies.

use expect_test::expect;
use serin_core::observed::Seen;

use super::*;
use crate::testing::{canary, shown, target, with, world, yaml};

const MENTIONS: &str = "
spec: {template: {spec: {
  volumes: [
    {name: a, configMap: {name: files}},
    {name: b, secret: {secretName: keys, optional: true}},
    {name: c, projected: {sources: [{configMap: {name: more}}, {secret: {name: certs}}, {downwardAPI: {}}]}},
    {name: d, emptyDir: {}}],
  initContainers: [{name: i, envFrom: [{configMapRef: {name: boot, optional: true}}]}],
  containers: [{name: app, image: x,
    env: [{name: A, valueFrom: {configMapKeyRef: {name: files, key: a, optional: true}}},
          {name: B, valueFrom: {secretKeyRef: {name: keys, key: b, optional: true}}}, {name: C, value: c}],
    envFrom: [{secretRef: {name: env}}]}]}}}";

#[test]
fn every_mention_is_found_once_and_optional_only_if_all_are() {
    let found: Vec<String> = config_references(&with(target(), MENTIONS))
        .into_iter()
        .map(|reference| format!("{} {}", reference.key(), reference.optional))
        .collect();
    expect![[r#"
        configmap/boot true
        configmap/files false
        configmap/more false
        secret/certs false
        secret/env false
        secret/keys true"#]]
    .assert_eq(&found.join("\n"));
}

#[test]
fn checksums_are_those_of_go() {
    // Each is the sha256 of the text beside it.
    for (data, json) in [
        ("{}", "null"),
        ("{data: {}}", "{}"),
        ("{data: {b: '2', a: '1'}}", r#"{"a":"1","b":"2"}"#),
        (r#"{data: {k: "<a href='x'>&\n"}}"#, r#"{"k":"\u003ca href='x'\u003e\u0026\n"}"#),
        (r#"{data: {k: "\u2028ä\u0001"}}"#, r#"{"k":"\u2028ä\u0001"}"#),
    ] {
        assert_eq!(checksum(&yaml(data)), sha256_hex(json, 8), "{json}");
    }
    expect!["21f76dfbfe6dfe21"].assert_eq(&checksum(&yaml("{data: {a: '1', b: '2'}}")));
}

fn seen(config: &str, target_patch: &str) -> Seen<BTreeMap<String, String>> {
    let canary = canary("");
    let target = with(target(), target_patch);
    let mut objects = world(&canary, std::slice::from_ref(&target));
    for line in config.lines().filter(|line| !line.trim().is_empty()) {
        let config = yaml(line);
        let kind = if config["kind"] == "Secret" { SECRET } else { CONFIG_MAP };
        let name = kind.named("develop", config["metadata"]["name"].as_str().unwrap());
        objects.put(name, Seen::Present(std::sync::Arc::new(config)));
    }
    observe(&Seen::Present(&target), &objects, &Settings::default())
}

fn env_from(sources: &str) -> String {
    format!(
        "{{spec: {{template: {{spec: {{containers: [{{name: app, envFrom: [{sources}]}}]}}}}}}}}"
    )
}

#[test]
fn what_is_optional_may_be_missing_and_what_is_not_may_not() {
    let optional = env_from("{configMapRef: {name: a, optional: true}}");
    assert_eq!(seen("", &optional), Seen::Present(BTreeMap::new()));
    let mandatory = env_from("{configMapRef: {name: a}}");
    expect![[r#"Unreadable("ConfigMap develop/a, which the target reads, does not exist")"#]]
        .assert_eq(&format!("{:?}", seen("", &mandatory)));
}

#[test]
fn an_optional_config_that_cannot_be_read_is_not_taken_for_missing() {
    let canary = canary("");
    let target = with(target(), &env_from("{configMapRef: {name: a, optional: true}}"));
    let mut objects = world(&canary, std::slice::from_ref(&target));
    objects.put(CONFIG_MAP.named("develop", "a"), Seen::Unreadable("forbidden".to_owned()));
    let seen = observe(&Seen::Present(&target), &objects, &Settings::default());
    assert!(matches!(seen, Seen::Unreadable(_)));
}

#[test]
fn some_are_shared_and_not_tracked() {
    let target =
        env_from("{configMapRef: {name: a}}, {secretRef: {name: b}}, {secretRef: {name: c}}");
    let configs = "
{kind: ConfigMap, metadata: {name: a, annotations: {flagger.app/config-tracking: disabled}}, data: {k: v}}
{kind: Secret, metadata: {name: b}, type: kubernetes.io/dockerconfigjson}
{kind: Secret, metadata: {name: c}, type: Opaque, data: {k: dg==}}";
    let Seen::Present(found) = seen(configs, &target) else { panic!("unreadable") };
    assert_eq!(found.keys().collect::<Vec<_>>(), ["secret/c"]);
}

#[test]
fn every_canary_has_copies_of_its_own_and_objects_of_others_are_left_alone() {
    let canary = canary("");
    let target = with(target(), &env_from("{configMapRef: {name: a}}"));
    let source = yaml(
        "{kind: ConfigMap, metadata: {name: a, namespace: develop, annotations: {x: y}}, data: {k: v}, binaryData: {b: AA==}}",
    );
    let settings = Settings::default();
    let written = |beside: &[Value]| {
        let present = [&[target.clone(), source.clone()], beside].concat();
        let objects = world(&canary, &present);
        let tracked = tracked(&target, &objects, &settings).unwrap();
        let places = places(&canary, tracked.keys(), &objects)?;
        Ok::<_, RenderError>(copies(&canary, &places, &objects, &settings).unwrap())
    };
    let changes = written(&[]).unwrap();
    expect!["create ConfigMap develop/a-primary"].assert_eq(&shown(&changes));
    let Some(Change::Create { target: _, object }) = changes.first() else { panic!("no copy") };
    assert_eq!(object["binaryData"]["b"], "AA==");
    assert!(object["metadata"].get("annotations").is_none());

    let copy = |owners: &str| {
        yaml(&format!(
            "{{kind: ConfigMap, metadata: {{name: a-primary, namespace: develop, resourceVersion: '3', ownerReferences: [{owners}]}}, data: {{k: old}}}}"
        ))
    };
    let (ours, theirs) = (
        "{kind: Canary, name: backend, uid: u1, controller: true}",
        "{kind: Canary, name: o, uid: u2}",
    );
    let beside = |owners: &str| shown(&written(&[copy(owners)]).unwrap());
    expect!["replace ConfigMap develop/a-primary at 3"].assert_eq(&beside(ours));
    // Flagger lets several Canaries share a copy; what one of them rejected must not run in the other's primary.
    let own = "create ConfigMap develop/a-backend-primary-1f34ee1f";
    assert_eq!(beside(&format!("{ours}, {theirs}")), own);
    assert_eq!(beside(theirs), own);
    assert_eq!(beside(""), own);

    let mut own = copy("");
    own["metadata"]["name"] = "a-backend-primary-1f34ee1f".into();
    assert!(matches!(written(&[own]), Err(RenderError::NotOurs { .. })));
}
