//! Tables of DaemonSets.

use expect_test::{Expect, expect};
use serin_core::observed::Seen;

use super::*;
use crate::observe;
use crate::settings::Settings;
use crate::testing::{apply_all, canary, merge, shown, world, yaml};
use crate::workload::{primary, revision};

const CANARY: &str = "{provider: kubernetes, targetRef: {kind: DaemonSet, name: agent}, analysis: {iterations: 2, stepWeight: null, maxWeight: null}}";

fn set() -> Value {
    yaml(
        "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: develop, uid: d1, resourceVersion: '7', generation: 2}
spec:
  selector: {matchLabels: {app: agent}}
  minReadySeconds: 5
  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 0, maxUnavailable: 2}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      containers: [{name: agent, image: local/agent:v1, ports: [{containerPort: 80}]}]
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: agent}}}
status:
  {observedGeneration: 2, desiredNumberScheduled: 4, currentNumberScheduled: 4, updatedNumberScheduled: 4,
   numberReady: 4, numberAvailable: 4, numberMisscheduled: 0}
",
    )
}

fn with(changes: Value) -> Value {
    let mut set = set();
    merge(&mut set, &changes);
    set
}

fn target() -> ObjectRef {
    DAEMON_SET.named("develop", "agent")
}

#[test]
fn it_runs_on_no_node_and_on_every_one_without_another_revision() {
    let live = set();
    let canary = canary(CANARY);
    assert_eq!(DaemonSet.running(&live), Running::On(None));
    let off = DaemonSet.run(target(), Running::Off, Some("7".to_owned()));
    assert_eq!(shown(std::slice::from_ref(&off)), "patch DaemonSet develop/agent at 7");
    let objects = apply_all(&world(&canary, std::slice::from_ref(&live)), &[off]);
    let stopped = objects.present(&target()).unwrap().clone();
    assert_eq!(DaemonSet.running(&stopped), Running::Off);
    assert_eq!(revision(&stopped), revision(&live));
    let objects = apply_all(&objects, &[DaemonSet.run(target(), Running::On(None), None)]);
    let started = objects.present(&target()).unwrap();
    assert_eq!(DaemonSet.running(started), Running::On(None));
    assert_eq!(revision(started), revision(&live));
}

#[test]
fn it_is_ready_when_the_nodes_are() {
    let check = |changes: Value, expected: Expect| {
        let ready = DaemonSet.readiness(&with(changes), 50, 600, Timestamp::UNIX_EPOCH);
        expected.assert_eq(&format!("{ready:?}"));
    };
    check(json!({}), expect!["Ready"]);
    check(
        json!({"metadata": {"generation": 3}}),
        expect![[r#"Progressing("the controller has seen generation 2 of 3")"#]],
    );
    check(
        json!({"status": {"updatedNumberScheduled": 3}}),
        expect![[r#"Progressing("3 out of 4 nodes have a new pod")"#]],
    );
    check(json!({"status": {"numberAvailable": 2}}), expect!["Ready"]);
    check(
        json!({"status": {"numberAvailable": null}}),
        expect![[r#"Progressing("0 of 4 (readyThreshold 50%) pods are available")"#]],
    );
}

#[test]
fn its_primary_is_made_without_a_gap_and_apart_from_it() {
    let canary = canary(CANARY);
    let off = with(json!({"spec": {"template": {"spec": {"nodeSelector": {NOWHERE: "true"}}}}}));
    let objects = world(&canary, std::slice::from_ref(&off));
    let changes =
        primary::render(&canary, &revision(&off), Some(1), &objects, &Settings::default()).unwrap();
    let [Change::Create { target: _, object }] = changes.as_slice() else { panic!("{changes:?}") };
    expect![[r#"
        {
          "minReadySeconds": 5,
          "selector": {
            "matchLabels": {
              "app": "agent-primary"
            }
          },
          "template": {
            "metadata": {
              "annotations": {
                "flagger-id": "299af9b1-4d36-4f5f-8b47-df9c8a8241b4"
              },
              "labels": {
                "app": "agent-primary"
              }
            },
            "spec": {
              "affinity": {
                "podAntiAffinity": {
                  "requiredDuringSchedulingIgnoredDuringExecution": [
                    {
                      "labelSelector": {
                        "matchLabels": {
                          "app": "agent-primary"
                        }
                      },
                      "topologyKey": "kubernetes.io/hostname"
                    }
                  ]
                }
              },
              "containers": [
                {
                  "image": "local/agent:v1",
                  "name": "agent",
                  "ports": [
                    {
                      "containerPort": 80
                    }
                  ]
                }
              ],
              "nodeSelector": {}
            }
          },
          "updateStrategy": {
            "rollingUpdate": {
              "maxSurge": 2,
              "maxUnavailable": 0
            },
            "type": "RollingUpdate"
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&object["spec"]).unwrap());
    let objects = apply_all(&objects, &changes);
    let seen = observe::observe(&canary, &objects, &Settings::default(), Timestamp::UNIX_EPOCH);
    let Seen::Present(made) = seen.primary else { panic!("{:?}", seen.primary) };
    assert!(made.matches_target && made.owned);
    assert_eq!(seen.target.present().map(|target| target.running), Some(Running::Off));
}

#[test]
fn what_leaves_no_room_for_a_primary_is_in_the_way() {
    let check = |changes: Value, expected: Expect| {
        expected.assert_eq(&DaemonSet.obstacles(&target(), &with(changes)).join("\n"));
    };
    check(json!({}), expect![""]);
    check(
        json!({"spec": {"updateStrategy": {"type": "OnDelete"}}}),
        expect![
            "DaemonSet develop/agent: spec.updateStrategy.type is OnDelete, so its pods would stay what they are: set RollingUpdate"
        ],
    );
    let ports = |ports: Value, host: bool| {
        let containers = json!([{"name": "agent", "ports": ports}]);
        json!({"spec": {"template": {"spec": {"containers": containers, "hostNetwork": host}}}})
    };
    check(
        ports(json!([{"containerPort": 80, "hostPort": 9100}]), false),
        expect![
            "DaemonSet develop/agent: its pods take port 9100 of their node (hostPort or hostNetwork), and those of its primary need it on the same nodes: leave it out and reach them through the Service"
        ],
    );
    check(
        ports(json!([{"containerPort": 80}, {"containerPort": 81}]), true),
        expect![[r#"
        DaemonSet develop/agent: its pods take port 80 of their node (hostPort or hostNetwork), and those of its primary need it on the same nodes: leave it out and reach them through the Service
        DaemonSet develop/agent: its pods take port 81 of their node (hostPort or hostNetwork), and those of its primary need it on the same nodes: leave it out and reach them through the Service"#]],
    );
}
