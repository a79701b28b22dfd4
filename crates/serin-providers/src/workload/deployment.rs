//! Deployments: so many replicas, and conditions that tell whether they get there.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use serin_core::model::{Running, TargetKind};
use serin_core::observed::Readiness;
use serin_core::words::line;

use super::kind::{Pods, WorkloadKind};
use crate::change::{Change, DEPLOYMENT, Kind, ObjectRef};
use crate::json::{count, int, items, text, unsigned};

/// Admission webhooks may say as much as they like.
const REFUSAL_MAX: usize = 300;

const STRATEGY: &str = "strategy";

pub(crate) struct Deployment;

impl WorkloadKind for Deployment {
    fn kind(&self) -> Kind {
        DEPLOYMENT
    }

    fn running(&self, live: &Value) -> Running {
        TargetKind::Deployment.running(unsigned(int(live, "/spec/replicas").unwrap_or(1)))
    }

    fn pods(&self, live: &Value) -> Pods {
        let of = |field: &str| unsigned(count(live, field));
        Pods {
            wanted: unsigned(int(live, "/spec/replicas").unwrap_or(1)),
            present: of("/status/replicas"),
            ready: of("/status/readyReplicas"),
            available: of("/status/availableReplicas"),
        }
    }

    fn is_rolled_out(&self, live: &Value) -> bool {
        let of = |pointer| count(live, pointer);
        of("/status/observedGeneration") >= of("/metadata/generation")
            && of("/status/replicas") == of("/status/updatedReplicas")
    }

    fn readiness(
        &self,
        deployment: &Value,
        threshold_percent: u8,
        deadline_secs: i64,
        now: Timestamp,
    ) -> Readiness {
        let generation = count(deployment, "/metadata/generation");
        let observed = count(deployment, "/status/observedGeneration");
        if generation > observed {
            return Readiness::Progressing(format!(
                "the controller has seen generation {observed} of {generation}"
            ));
        }
        let progressing = condition(deployment, "Progressing");
        if progressing.and_then(|condition| text(condition, "/reason"))
            == Some("ProgressDeadlineExceeded")
        {
            return Readiness::Stuck(and_refused(
                deployment,
                "its own progress deadline is exceeded".to_owned(),
            ));
        }
        let Some(waiting) = waiting_for(deployment, threshold_percent) else {
            return Readiness::Ready;
        };
        let waiting = and_refused(deployment, waiting);
        let paused = deployment.pointer("/spec/paused").and_then(Value::as_bool) == Some(true);
        let waiting = match paused {
            true => format!("it is paused, set spec.paused to false; {waiting}"),
            false => waiting,
        };
        let deadline_past = progressing.is_some()
            && condition(deployment, "Available").is_some_and(|available| {
                text(available, "/status") == Some("False")
                    && text(available, "/reason") == Some("MinimumReplicasUnavailable")
                    && text(available, "/lastUpdateTime")
                        .and_then(|time| time.parse::<Timestamp>().ok())
                        .and_then(|time| {
                            time.checked_add(SignedDuration::from_secs(deadline_secs)).ok()
                        })
                        .is_some_and(|deadline| deadline < now)
            });
        if deadline_past {
            return Readiness::Stuck(format!("{waiting} after {deadline_secs} s"));
        }
        Readiness::Progressing(waiting)
    }

    fn run(&self, target: ObjectRef, running: Running, version: Option<String>) -> Change {
        let replicas = match running {
            Running::Off => 0,
            Running::On(replicas) => replicas.unwrap_or(1),
        };
        Change::Scale { target, replicas, version }
    }

    fn copied(&self) -> &'static [&'static str] {
        &["progressDeadlineSeconds", "minReadySeconds", "revisionHistoryLimit", STRATEGY]
    }

    fn for_primary(&self, field: &str, value: &Value, replicas: u64) -> Value {
        match field {
            STRATEGY => serving(value, replicas),
            _ => value.clone(),
        }
    }

    fn obstacles(&self, _: &ObjectRef, _: &Value) -> Vec<String> {
        Vec::new()
    }
}

/// A strategy under which the primary serves while it is replaced: it has users whenever it takes up a revision. One that
/// takes all pods away at once becomes one that takes none before there is another.
fn serving(strategy: &Value, replicas: u64) -> Value {
    let limit = |field: &str, up: bool| {
        let pods = match strategy.pointer(&format!("/rollingUpdate/{field}")) {
            Some(Value::Number(pods)) => pods.as_u64(),
            Some(Value::String(percent)) => {
                let percent =
                    percent.strip_suffix('%').and_then(|number| number.parse::<u64>().ok());
                percent.map(|percent| {
                    let hundredths = percent.saturating_mul(replicas);
                    if up { hundredths.div_ceil(100) } else { hundredths / 100 }
                })
            }
            Some(_) | None => None,
        };
        pods.unwrap_or_else(|| if up { replicas.div_ceil(4) } else { replicas / 4 })
    };
    let recreates = text(strategy, "/type") == Some("Recreate");
    let (surge, mut unavailable) = (limit("maxSurge", true), limit("maxUnavailable", false));
    if surge == 0 && unavailable == 0 {
        // As Kubernetes has it: something must give.
        unavailable = 1;
    }
    if !recreates && unavailable < replicas.max(1) {
        return strategy.clone();
    }
    let kept = strategy.pointer("/rollingUpdate/maxSurge").filter(|_| surge > 0).cloned();
    let surge = kept.unwrap_or_else(|| "25%".into());
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": surge}})
}

/// What the API server says to its pods, where it refuses them: a quota, Pod Security, an admission webhook.
fn and_refused(deployment: &Value, waiting: String) -> String {
    let failure = condition(deployment, "ReplicaFailure")
        .filter(|condition| text(condition, "/status") == Some("True"));
    let Some(message) = failure.and_then(|condition| text(condition, "/message")) else {
        return waiting;
    };
    // What stands before is the pod's name, which is another one at each try.
    let why = message.split_once("is forbidden: ").map_or(message, |(_, why)| why);
    format!("{waiting}, its pods are refused: {}", line(why, REFUSAL_MAX))
}

fn waiting_for(deployment: &Value, threshold_percent: u8) -> Option<String> {
    let wanted = int(deployment, "/spec/replicas").unwrap_or(1);
    let replicas = count(deployment, "/status/replicas");
    let updated = count(deployment, "/status/updatedReplicas");
    let available = count(deployment, "/status/availableReplicas");
    if updated < wanted {
        return Some(format!("{updated} out of {wanted} new replicas have been updated"));
    }
    if replicas > updated {
        let old = replicas - updated;
        return Some(format!("{old} old replicas are pending termination"));
    }
    if available < updated * i64::from(threshold_percent) / 100 {
        return Some(format!(
            "{available} of {updated} (readyThreshold {threshold_percent}%) updated replicas are available"
        ));
    }
    None
}

fn condition<'a>(deployment: &'a Value, kind: &str) -> Option<&'a Value> {
    items(deployment, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == Some(kind))
}

#[cfg(test)]
mod tests;
