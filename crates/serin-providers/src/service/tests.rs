//! Tables of Services.

use expect_test::expect;

use super::*;
use crate::testing::{apply_all, canary, shown, target, with, world, yaml};

fn apex(canary: &Canary, objects: &Objects) -> Value {
    objects.present(&Role::Apex.object(canary)).unwrap().clone()
}

#[test]
fn the_two_services_tell_the_sides_apart() {
    let canary = canary("");
    let settings = Settings::default();
    let objects = world(&canary, &[target()]);
    let changes = render_generated(&canary, &objects, &settings).unwrap();
    expect![[r#"
        apply Service develop/backend-primary
        apply Service develop/backend-canary"#]]
    .assert_eq(&shown(&changes));
    let Some(Change::Apply { target: _, object }) = changes.last() else { panic!("no apply") };
    expect![[r#"{"apiVersion":"v1","kind":"Service","metadata":{"annotations":{"helm.toolkit.fluxcd.io/driftDetection":"disabled","kustomize.toolkit.fluxcd.io/reconcile":"disabled"},"labels":{"app":"backend-canary"},"name":"backend-canary","namespace":"develop","ownerReferences":[{"apiVersion":"flagger.app/v1beta1","blockOwnerDeletion":true,"controller":true,"kind":"Canary","name":"backend","uid":"u1"}]},"spec":{"ports":[{"name":"http","port":80,"protocol":"TCP","targetPort":8080}],"selector":{"app":"backend","tier":"web"}}}"#]]
    .assert_eq(&object.to_string());

    let after = apply_all(&objects, &changes);
    assert_eq!(render_generated(&canary, &after, &settings), Ok(vec![]));
    let seen = observe(&canary, &after, &settings);
    let side = |seen: &Seen<ServiceSeen>| seen.present().map(|s| (s.selects, s.in_order));
    assert_eq!(side(&seen.primary), Some((Selects::Primary, true)));
    assert_eq!(side(&seen.canary), Some((Selects::Target, true)));
    assert_eq!(seen.apex, Seen::Absent);
}

#[test]
fn ports_are_discovered_but_for_the_first_and_those_of_sidecars() {
    let canary = canary(
        "service: {port: 80, targetPort: http, portName: web, appProtocol: h2c, portDiscovery: true}",
    );
    let patch = "{spec: {template: {spec: {containers: [
        {name: app, ports: [{name: http, containerPort: 8080}, {name: admin, containerPort: 9000}, {containerPort: 9001}, {containerPort: 80}]},
        {name: envoy, ports: [{containerPort: 15000}]},
        {name: linkerd-proxy, ports: [{containerPort: 4143}, {name: linkerd-admin, containerPort: 4191}]},
        {name: kuma-sidecar, ports: [{containerPort: 15006}]}, {name: consul-dataplane, ports: [{containerPort: 20000}]}, {name: side, ports: [{containerPort: 9000}]}],
        initContainers: [{name: proxy, restartPolicy: Always, ports: [{containerPort: 4190}]}]}}}}";
    let objects = world(&canary, &[with(target(), patch)]);
    let context = Context::new(&canary, &objects, &Settings::default()).unwrap();
    let target = with(target(), patch);
    let none = BTreeSet::new();
    let ports = ports::wanted(&canary, Role::Primary, &context.port, &target, None, &none);
    let ports: Vec<String> = ports
        .iter()
        .map(|port| format!("{} {} {}", port["name"], port["port"], port["targetPort"]))
        .collect();
    expect![[r#"
        "web" 80 "http"
        "admin" 9000 9000
        "tcp-app-2" 9001 9001"#]]
    .assert_eq(&ports.join("\n"));
}

#[test]
fn an_adopted_apex_stays_the_users_and_gets_its_selector_back() {
    let canary = canary("service: {port: 80, unmanagedMetadata: {labels: [app]}}");
    let settings = Settings::default();
    let users = yaml("{apiVersion: v1, kind: Service, metadata: {name: backend, namespace: develop, labels: {app: mine}},
        spec: {type: NodePort, clusterIP: 10.0.0.1, selector: {app: backend, tier: web}, ports: [{port: 80, nodePort: 30000}]}}");
    let objects = world(&canary, &[target(), users]);
    let seen = observe(&canary, &objects, &settings);
    assert_eq!(seen.apex.present().map(|apex| apex.selects), Some(Selects::Target));

    let changes = render_apex_to_primary(&canary, &objects, &settings).unwrap();
    let Some(Change::Apply { target: _, object }) = changes.first() else { panic!("no apply") };
    assert!(object["metadata"].get("ownerReferences").is_none());
    assert!(object["metadata"].get("labels").is_none());
    // The API server replaces a selector whole.
    let mut live = apex(&canary, &apply_all(&objects, &changes));
    live["spec"]["selector"] = object["spec"]["selector"].clone();
    assert_eq!(live["spec"]["type"], "NodePort");
    let objects = world(&canary, &[target(), live]);
    let seen = observe(&canary, &objects, &settings);
    let seen = seen.apex.present().cloned().unwrap();
    assert_eq!((seen.selects, seen.in_order), (Selects::Primary, true));
    assert_eq!(render_apex_to_primary(&canary, &objects, &settings), Ok(vec![]));

    let changes = render_apex_to_target(&canary, &objects, &settings).unwrap();
    let objects = apply_all(&objects, &changes);
    let live = apex(&canary, &objects);
    assert_eq!(live["spec"]["selector"], json!({"app": "backend", "tier": "web"}));
    assert!(strings(&live, "/metadata/annotations").is_empty());
    assert_eq!(render_apex_to_target(&canary, &objects, &settings), Ok(vec![]));
}

#[test]
fn what_flagger_adopted_goes_back_to_what_kubectl_applied() {
    let canary = canary("");
    let settings = Settings::default();
    let live = |annotations: Value, owners: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "backend", "namespace": "develop",
            "annotations": annotations, "ownerReferences": owners}, "spec": {"selector": {"app": "backend-primary"}}})
    };
    let applied = json!({LAST_APPLIED: r#"{"spec":{"selector":{"x":"y"}}}"#});
    let all = json!({"app": "backend", "tier": "web"});
    for (annotations, owners, selector) in [
        (applied.clone(), json!([]), json!({"x": "y"})),
        (json!({}), json!([]), all.clone()),
        (json!({LAST_APPLIED: "not json"}), json!([]), all.clone()),
        (applied, json!([{"uid": "u1", "controller": true}]), all),
    ] {
        let objects = world(&canary, &[target(), live(annotations, owners)]);
        let changes = render_apex_to_target(&canary, &objects, &settings).unwrap();
        let live = apex(&canary, &apply_all(&objects, &changes));
        assert_eq!(live["spec"]["selector"], selector);
        assert!(!owned_by(&live, &canary), "it must outlive the Canary");
    }
}

#[test]
fn a_label_that_is_no_longer_asked_for_is_out_of_order() {
    let canary = canary("");
    let settings = Settings::default();
    let objects = world(&canary, &[target()]);
    let changes = render_generated(&canary, &objects, &settings).unwrap();
    let after = apply_all(&objects, &changes);
    let name = Role::Primary.object(&canary);
    let old = with(after.present(&name).unwrap().clone(), "{metadata: {labels: {old: x},
        managedFields: [{manager: serin, operation: Apply, fieldsV1: {f:metadata: {f:labels: {f:old: {}, f:app: {}}}}}]}}");
    let objects = world(&canary, &[target(), old]);
    let seen = observe(&canary, &objects, &settings);
    assert_eq!(seen.primary.present().map(|s| s.in_order), Some(false));
}

#[test]
fn endpoints_count_once_and_only_when_ready() {
    let slices = [
        yaml(
            "{ports: [{name: http, port: 80}], endpoints: [{addresses: [10.0.0.1], conditions: {ready: true}}, {addresses: [10.0.0.2], conditions: {ready: false}}]}",
        ),
        yaml(
            "{ports: [{name: http, port: 80}], endpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.3], conditions: {ready: true, terminating: true}}, {addresses: [10.0.0.4]}, {}]}",
        ),
        // Ready only because the Service publishes all addresses; and a pod without a port of the name that is asked for.
        yaml(
            "{ports: [{name: http, port: 80}], endpoints: [{addresses: [10.0.0.5], conditions: {ready: true, serving: false}}]}",
        ),
        yaml("{ports: null, endpoints: [{addresses: [10.0.0.6]}]}"),
        yaml("{}"),
    ];
    let ready = |port| endpoints::ready(slices.iter(), port).into_keys().collect::<Vec<_>>();
    assert_eq!(ready(Some("http")), ["10.0.0.1", "10.0.0.4"]);
    assert_eq!(ready(None), ["10.0.0.1", "10.0.0.4", "10.0.0.6"]);
}

#[test]
fn a_service_of_another_canary_is_left_alone() {
    let canary = canary("");
    let other = yaml(
        "{apiVersion: v1, kind: Service, metadata: {name: backend-canary, namespace: develop,
        ownerReferences: [{kind: Canary, name: other, uid: u2, controller: true}]}, spec: {}}",
    );
    let objects = world(&canary, &[target(), other]);
    let error = render_generated(&canary, &objects, &Settings::default()).unwrap_err();
    expect!["Service develop/backend-canary belongs to Canary other and is left alone: delete or rename it"]
        .assert_eq(&error.to_string());
}
