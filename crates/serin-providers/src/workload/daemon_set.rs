//! DaemonSets: a pod on every node that fits, and no node that fits when they are to be off, as Flagger does it.

use jiff::Timestamp;
use serde_json::{Value, json};
use serin_core::model::Running;
use serin_core::observed::Readiness;

use super::kind::{Pods, WorkloadKind};
use crate::change::{Change, DAEMON_SET, Kind, ObjectRef};
use crate::json::{count, items, text, unsigned};

/// In the node selector of a DaemonSet that is to have no pods: no node has this label.
pub(crate) const NOWHERE: &str = "flagger.app/scale-to-zero";

const STRATEGY: &str = "updateStrategy";

pub(crate) struct DaemonSet;

impl WorkloadKind for DaemonSet {
    fn kind(&self) -> Kind {
        DAEMON_SET
    }

    fn running(&self, live: &Value) -> Running {
        let selector = live.pointer("/spec/template/spec/nodeSelector");
        match selector.and_then(|selector| selector.get(NOWHERE)) {
            Some(_) => Running::Off,
            None => Running::On(None),
        }
    }

    fn pods(&self, live: &Value) -> Pods {
        let of = |field: &str| unsigned(count(live, field));
        Pods {
            wanted: of("/status/desiredNumberScheduled"),
            // The second are where none is to be any more.
            present: of("/status/currentNumberScheduled")
                .saturating_add(of("/status/numberMisscheduled")),
            ready: of("/status/numberReady"),
            available: of("/status/numberAvailable"),
        }
    }

    fn is_rolled_out(&self, live: &Value) -> bool {
        let of = |pointer| count(live, pointer);
        of("/status/observedGeneration") >= of("/metadata/generation")
            && of("/status/updatedNumberScheduled") == of("/status/desiredNumberScheduled")
    }

    /// It has no conditions and no deadline of its own: who waits for it has one.
    fn readiness(&self, live: &Value, threshold_percent: u8, _: i64, _: Timestamp) -> Readiness {
        let generation = count(live, "/metadata/generation");
        let observed = count(live, "/status/observedGeneration");
        if generation > observed {
            return Readiness::Progressing(format!(
                "the controller has seen generation {observed} of {generation}"
            ));
        }
        let nodes = count(live, "/status/desiredNumberScheduled");
        let updated = count(live, "/status/updatedNumberScheduled");
        let available = count(live, "/status/numberAvailable");
        if updated < nodes {
            return Readiness::Progressing(format!(
                "{updated} out of {nodes} nodes have a new pod"
            ));
        }
        if available < nodes * i64::from(threshold_percent) / 100 {
            return Readiness::Progressing(format!(
                "{available} of {nodes} (readyThreshold {threshold_percent}%) pods are available"
            ));
        }
        Readiness::Ready
    }

    fn run(&self, target: ObjectRef, running: Running, version: Option<String>) -> Change {
        let wanted = match running {
            Running::Off => json!("true"),
            Running::On(_) => Value::Null,
        };
        let mut patch =
            json!({"spec": {"template": {"spec": {"nodeSelector": {NOWHERE: wanted}}}}});
        if let Some(version) = version {
            patch["metadata"] = json!({"resourceVersion": version});
        }
        Change::MergePatch { target, patch }
    }

    fn copied(&self) -> &'static [&'static str] {
        &["minReadySeconds", "revisionHistoryLimit", STRATEGY]
    }

    fn for_primary(&self, field: &str, value: &Value, _: u64) -> Value {
        match field {
            STRATEGY => serving(value),
            _ => value.clone(),
        }
    }

    fn obstacles(&self, target: &ObjectRef, live: &Value) -> Vec<String> {
        let mut found = Vec::new();
        if text(live, "/spec/updateStrategy/type") == Some("OnDelete") {
            found.push(format!(
                "{target}: spec.updateStrategy.type is OnDelete, so its pods would stay what they are: set RollingUpdate"
            ));
        }
        for port in ports_of_nodes(live) {
            found.push(format!(
                "{target}: its pods take port {port} of their node (hostPort or hostNetwork), and those of its primary need it on the same nodes: leave it out and reach them through the Service"
            ));
        }
        found
    }
}

/// No node is without a pod of the primary while that is replaced: the new one comes before the old one goes.
fn serving(strategy: &Value) -> Value {
    let of = |field: &str| strategy.pointer(&format!("/rollingUpdate/{field}"));
    let surges = of("maxSurge").is_some_and(|surge| *surge != json!(0) && *surge != json!("0%"));
    if surges {
        return strategy.clone();
    }
    let at_once = of("maxUnavailable").cloned().unwrap_or_else(|| json!(1));
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": at_once, "maxUnavailable": 0}})
}

fn ports_of_nodes(live: &Value) -> Vec<i64> {
    let shares = live.pointer("/spec/template/spec/hostNetwork") == Some(&Value::Bool(true));
    let field = if shares { "/containerPort" } else { "/hostPort" };
    let containers = items(live, "/spec/template/spec/containers").iter();
    let ports = containers.flat_map(|container| items(container, "/ports"));
    ports.map(|port| count(port, field)).filter(|port| *port > 0).collect()
}

#[cfg(test)]
mod tests;
