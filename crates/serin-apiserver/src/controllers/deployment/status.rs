//! The status of a Deployment: replica counts and the conditions Available and Progressing.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::super::object::{self, int, stamp, text};
use super::{ReplicaSetState, Rollout};

/// The default of `progressDeadlineSeconds` in Kubernetes.
const PROGRESS_DEADLINE_SECS: i64 = 600;
/// The value of `progressDeadlineSeconds` that means no deadline.
const NO_DEADLINE: i64 = i32::MAX as i64;

const AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";

/// Whether all replicas are of the new version and available, and no old ones are left.
pub(super) fn complete(replicas: i64, status: &Value) -> bool {
    let is = |key: &str| status.get(key).and_then(Value::as_i64).unwrap_or(0) == replicas;
    is("updatedReplicas") && is("replicas") && is("availableReplicas")
}

/// When the progress deadline passes; `None` if no rollout is in progress or there is no deadline.
pub(super) fn deadline(deployment: &Value, status: &Value) -> Option<Timestamp> {
    let holder = json!({"status": status});
    let progressing = object::condition(&holder, "Progressing")?;
    let over = [AVAILABLE, TIMED_OUT, "DeploymentPaused"].contains(&text(progressing, "/reason"));
    let limit = limit(deployment).filter(|_| !over)?;
    // The first second that is later than the deadline.
    Some(object::plus(object::time(progressing, "/lastUpdateTime")?, limit + 1))
}

fn limit(deployment: &Value) -> Option<i64> {
    let limit = int(deployment, "/spec/progressDeadlineSeconds").unwrap_or(PROGRESS_DEADLINE_SECS);
    (limit != NO_DEADLINE).then_some(limit)
}

impl Rollout<'_> {
    fn sum(&self, count: impl Fn(&ReplicaSetState<'_>) -> i64) -> i64 {
        self.old.iter().chain(&self.new).map(count).sum()
    }

    /// The next status. `created` says that the new ReplicaSet is created in this pass.
    pub(super) fn status(&self, created: bool) -> Value {
        let available = self.sum(|set| set.size.available);
        let counts = [
            ("availableReplicas", available),
            ("readyReplicas", self.sum(|set| set.ready)),
            ("replicas", self.sum(|set| set.pods)),
            ("unavailableReplicas", (self.sum(|set| set.size.wanted) - available).max(0)),
            ("updatedReplicas", self.new.as_ref().map_or(0, |new| new.pods)),
        ];
        let mut status = Map::new();
        status.insert(
            "observedGeneration".to_owned(),
            self.deployment["metadata"]["generation"].clone(),
        );
        for (key, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
            status.insert(key.to_owned(), json!(count));
        }
        let fresh = Value::Object(status);
        let mut conditions = object::list(self.deployment, "/status/conditions").to_vec();
        self.put_available(&mut conditions, available);
        self.put_progress(&mut conditions, &fresh, created);
        let mut fresh = fresh;
        fresh["conditions"] = Value::Array(conditions);
        fresh
    }

    fn put_available(&self, conditions: &mut Vec<Value>, available: i64) {
        let enough = available >= self.replicas - self.limits.unavailable;
        let (status, reason, message) = if enough {
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            )
        };
        self.put(conditions, "Available", status, reason, message.to_owned(), false);
    }

    fn put_progress(&self, conditions: &mut Vec<Value>, fresh: &Value, created: bool) {
        if limit(self.deployment).is_none() {
            conditions.retain(|condition| condition["type"] != "Progressing");
            return;
        }
        let current = object::condition(self.deployment, "Progressing");
        let reason = current.map_or("", |condition| text(condition, "/reason"));
        if self.paused() {
            if reason != TIMED_OUT {
                self.put(
                    conditions,
                    "Progressing",
                    "Unknown",
                    "DeploymentPaused",
                    "Deployment is paused".to_owned(),
                    false,
                );
            }
            return;
        }
        let name = self.new.as_ref().map_or_else(
            || format!("{}-{}", object::name(self.deployment), self.hash),
            |new| object::name(new.object).to_owned(),
        );
        if created {
            self.put(
                conditions,
                "Progressing",
                "True",
                "NewReplicaSetCreated",
                format!("Created new replica set \"{name}\""),
                true,
            );
        } else if reason == "DeploymentPaused" {
            self.put(
                conditions,
                "Progressing",
                "Unknown",
                "DeploymentResumed",
                "Deployment is resumed".to_owned(),
                true,
            );
        } else if reason == AVAILABLE && fresh.get("replicas") == fresh.get("updatedReplicas") {
            // Once complete, a rollout stays so until the template changes.
        } else if complete(self.replicas, fresh) {
            let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
            self.put(conditions, "Progressing", "True", AVAILABLE, message, false);
        } else if self.moved(fresh) {
            self.put(
                conditions,
                "Progressing",
                "True",
                "ReplicaSetUpdated",
                format!("ReplicaSet \"{name}\" is progressing."),
                true,
            );
        } else if self.timed_out(current, reason) {
            let message = format!("ReplicaSet \"{name}\" has timed out progressing.");
            self.put(conditions, "Progressing", "False", TIMED_OUT, message, false);
        } else if current.is_none() {
            self.put(
                conditions,
                "Progressing",
                "True",
                "FoundNewReplicaSet",
                format!("Found new replica set \"{name}\""),
                true,
            );
        }
    }

    /// Whether the rollout progressed since the last status: more new pods, fewer old ones, or more that are ready or available.
    fn moved(&self, fresh: &Value) -> bool {
        let before = |key: &str| int(self.deployment, &format!("/status/{key}")).unwrap_or(0);
        let after = |key: &str| fresh.get(key).and_then(Value::as_i64).unwrap_or(0);
        let more = |key: &str| after(key) > before(key);
        let old_before = before("replicas") - before("updatedReplicas");
        let old_after = after("replicas") - after("updatedReplicas");
        more("updatedReplicas")
            || old_after < old_before
            || more("readyReplicas")
            || more("availableReplicas")
    }

    fn timed_out(&self, current: Option<&Value>, reason: &str) -> bool {
        if reason == TIMED_OUT {
            return true;
        }
        let since = current
            .filter(|_| reason != AVAILABLE)
            .and_then(|condition| object::time(condition, "/lastUpdateTime"));
        since
            .zip(limit(self.deployment))
            .is_some_and(|(since, limit)| object::plus(since, limit) < self.now)
    }

    /// Sets a condition. If status and reason are as before its times stay, unless `touch` asks for a new update time.
    fn put(
        &self,
        conditions: &mut Vec<Value>,
        kind: &str,
        status: &str,
        reason: &str,
        message: String,
        touch: bool,
    ) {
        let same = conditions
            .iter()
            .any(|old| old["type"] == kind && old["status"] == status && old["reason"] == reason);
        if same && !touch {
            return;
        }
        let fresh = json!({"type": kind, "status": status, "reason": reason, "message": message, "lastUpdateTime": stamp(self.now)});
        object::put_condition(conditions, fresh, self.now);
    }
}
