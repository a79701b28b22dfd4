//! The status of a pod from its report, as the kubelet writes it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::report::{ContainerReport, ContainerState, Exit, PodReport};
use crate::controllers::NODE_ADDRESS;
use crate::controllers::object::{self, stamp, text};
use crate::json_pointer::At;

/// The next status of a pod.
pub(crate) fn pod_status(pod: &Value, report: &PodReport, now: Timestamp) -> Value {
    let phase = phase(pod, report);
    let started = pod
        .at("/status/startTime")
        .filter(|at| at.is_string())
        .cloned()
        .unwrap_or_else(|| json!(stamp(now)));
    let mut status = json!({
        "phase": phase,
        "conditions": conditions(pod, report, phase, now),
        "hostIP": NODE_ADDRESS,
        "hostIPs": [{"ip": NODE_ADDRESS}],
        "startTime": started,
        "qosClass": "BestEffort",
        "containerStatuses": report.containers.iter().map(container).collect::<Vec<_>>(),
    });
    if !report.init.is_empty() {
        status["initContainerStatuses"] = report.init.iter().map(container).collect();
    }
    if let Some(ip) = &report.ip {
        status["podIP"] = json!(ip);
        status["podIPs"] = json!([{"ip": ip}]);
    }
    status
}

/// The four conditions that the kubelet sets; conditions of others are kept.
fn conditions(pod: &Value, report: &PodReport, phase: &str, now: Timestamp) -> Vec<Value> {
    let all_ready =
        !report.containers.is_empty() && report.containers.iter().all(|container| container.ready);
    let initialized = report.init.iter().all(
        |container| matches!(&container.state, ContainerState::Exited(exit) if exit.code == 0),
    );
    let mut conditions = object::list(pod, "/status/conditions").to_vec();
    let unready = match phase {
        "Succeeded" => Some(("PodCompleted", String::new())),
        "Failed" => Some(("PodFailed", String::new())),
        _running => {
            let waiting: Vec<&str> = report
                .containers
                .iter()
                .filter(|container| !container.ready)
                .map(|container| container.name.as_str())
                .collect();
            (!all_ready).then(|| {
                (
                    "ContainersNotReady",
                    format!("containers with unready status: [{}]", waiting.join(" ")),
                )
            })
        }
    };
    let gated = gates_pass(pod);
    let facts = [
        ("PodScheduled", true, None),
        (
            "Initialized",
            initialized,
            (!initialized).then(|| {
                ("ContainersNotInitialized", "init containers have not completed".to_owned())
            }),
        ),
        ("ContainersReady", unready.is_none(), unready.clone()),
        (
            "Ready",
            unready.is_none() && gated,
            unready.or_else(|| {
                (!gated)
                    .then(|| ("ReadinessGatesNotReady", "a readiness gate is not true".to_owned()))
            }),
        ),
    ];
    for (kind, holds, why) in facts {
        let mut condition = json!({"type": kind, "status": if holds { "True" } else { "False" }});
        if let Some((reason, message)) = why {
            condition["reason"] = json!(reason);
            if !message.is_empty() {
                condition["message"] = json!(message);
            }
        }
        object::put_condition(&mut conditions, condition, now);
    }
    conditions
}

/// Whether all `readinessGates` are true.
fn gates_pass(pod: &Value) -> bool {
    let holds = |kind: &str| {
        object::condition(pod, kind).is_some_and(|condition| text(condition, "/status") == "True")
    };
    object::list(pod, "/spec/readinessGates").iter().all(|gate| holds(text(gate, "/conditionType")))
}

fn phase(pod: &Value, report: &PodReport) -> &'static str {
    let policy = text(pod, "/spec/restartPolicy");
    let ends = |exit: &Exit| {
        policy == "Never" || (policy == "OnFailure" && exit.code == 0) || object::deleting(pod)
    };
    let exits: Vec<&Exit> = report
        .containers
        .iter()
        .filter_map(|container| exit(container))
        .filter(|exit| ends(exit))
        .collect();
    let init_failed =
        policy == "Never" && report.init.iter().filter_map(exit).any(|exit| exit.code != 0);
    if init_failed || (!report.containers.is_empty() && exits.len() == report.containers.len()) {
        return if init_failed || exits.iter().any(|exit| exit.code != 0) {
            "Failed"
        } else {
            "Succeeded"
        };
    }
    let begun = report.containers.iter().any(|container| {
        container.restarts > 0 || !matches!(container.state, ContainerState::Waiting { .. })
    });
    if begun { "Running" } else { "Pending" }
}

fn exit(container: &ContainerReport) -> Option<&Exit> {
    match &container.state {
        ContainerState::Exited(exit) => Some(exit),
        ContainerState::Waiting { .. } | ContainerState::Running { .. } => None,
    }
}

fn container(report: &ContainerReport) -> Value {
    let ContainerReport { name, image, state, last, restarts, ready, started } = report;
    let running = !matches!(state, ContainerState::Waiting { .. });
    json!({
        "name": name,
        "image": image,
        "imageID": if running { image.as_str() } else { "" },
        "ready": ready,
        "started": started,
        "restartCount": restarts,
        "state": match state {
            ContainerState::Waiting { reason, message } if message.is_empty() => json!({"waiting": {"reason": reason}}),
            ContainerState::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
            ContainerState::Running { since } => json!({"running": {"startedAt": stamp(*since)}}),
            ContainerState::Exited(exit) => terminated(exit),
        },
        "lastState": last.as_ref().map_or_else(|| json!({}), terminated),
    })
}

fn terminated(exit: &Exit) -> Value {
    let Exit { code, signal, message, started, finished } = exit;
    let reason = if *code == 0 { "Completed" } else { "Error" };
    let mut terminated = json!({"exitCode": code, "reason": reason, "startedAt": stamp(*started), "finishedAt": stamp(*finished)});
    if let Some(signal) = signal {
        terminated["signal"] = json!(signal);
    }
    if !message.is_empty() {
        terminated["message"] = json!(message);
    }
    json!({"terminated": terminated})
}
