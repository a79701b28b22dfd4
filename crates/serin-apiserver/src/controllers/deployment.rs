//! Deployments: which ReplicaSets exist, and how many replicas each has.

mod status;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::change::{Change, Deletion, Kind, NewEvent, Outcome};
use super::hash::{TEMPLATE_HASH, template_hash};
use super::object::{self, int, text};
use super::rollout::{Limits, Next, Size, proportional, rolling};
use super::view::ClusterView;
use crate::json_pointer::At;

const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const COMPONENT: &str = "deployment-controller";

/// A ReplicaSet and the counts of its pods.
struct ReplicaSetState<'a> {
    object: &'a Value,
    revision: i64,
    size: Size,
    pods: i64,
    /// Pods that exist, including those that are terminating.
    present: i64,
    ready: i64,
}

/// A Deployment with its ReplicaSets, as of `now`.
struct Rollout<'a> {
    deployment: &'a Value,
    hash: String,
    new: Option<ReplicaSetState<'a>>,
    /// Oldest first.
    old: Vec<ReplicaSetState<'a>>,
    replicas: i64,
    limits: Limits,
    now: Timestamp,
}

/// The objects that reconciling a Deployment reads, the Deployment first.
pub(crate) fn inputs(deployment: &Arc<Value>, view: &ClusterView) -> Vec<Arc<Value>> {
    let sets = view.owned(Kind::ReplicaSet, object::uid(deployment));
    let pods = sets.iter().flat_map(|set| view.owned(Kind::Pod, object::uid(set)));
    let orphans = view.orphans(Kind::ReplicaSet, object::namespace(deployment));
    [deployment].into_iter().chain(sets).chain(pods).chain(orphans).cloned().collect()
}

/// The next writes for this Deployment.
pub(crate) fn reconcile(deployment: &Value, view: &ClusterView, now: Timestamp) -> Outcome {
    let mut outcome = Outcome::default();
    if object::deleting(deployment) {
        return outcome;
    }
    let orphans = orphans(deployment, view);
    if !orphans.is_empty() {
        outcome.changes = orphans;
        return outcome;
    }
    let min_ready = int(deployment, "/spec/minReadySeconds").unwrap_or(0);
    let rollout = Rollout::of(deployment, view, &mut outcome, min_ready, now);
    let created = rollout.scale(&mut outcome.changes);
    let fresh = rollout.status(created);
    if let Some(update) = rollout.with_revision() {
        outcome.changes.push(Change::Update(Kind::Deployment, update));
        return outcome;
    }
    outcome.requeue_at(status::deadline(deployment, &fresh));
    rollout.clean_up_history(&fresh, &mut outcome.changes);
    if deployment.get("status") != Some(&fresh) {
        let mut changed = deployment.clone();
        changed["status"] = fresh;
        outcome.changes.push(Change::Status(Kind::Deployment, changed));
    }
    outcome
}

/// Adopts ReplicaSets that the selector matches and that have no controller, for example after a deletion that orphaned them.
fn orphans(deployment: &Value, view: &ClusterView) -> Vec<Change> {
    let selector = &deployment["spec"]["selector"];
    view.orphans(Kind::ReplicaSet, object::namespace(deployment))
        .iter()
        .filter(|set| {
            !object::deleting(set) && object::selects(selector, &set["metadata"]["labels"])
        })
        .map(|set| {
            Change::Update(
                Kind::ReplicaSet,
                object::adopted(set, object::controlled_by(deployment, "apps/v1", "Deployment")),
            )
        })
        .collect()
}

impl<'a> Rollout<'a> {
    fn of(
        deployment: &'a Value,
        view: &'a ClusterView,
        outcome: &mut Outcome,
        min_ready: i64,
        now: Timestamp,
    ) -> Self {
        let template = &deployment["spec"]["template"];
        let hash = template_hash(template);
        let mut old = Vec::new();
        for set in view.owned(Kind::ReplicaSet, object::uid(deployment)) {
            let pods = view.owned(Kind::Pod, object::uid(set));
            let count = |keep: &dyn Fn(&Value) -> bool| {
                i64::try_from(pods.iter().filter(|pod| keep(pod)).count()).unwrap_or(i64::MAX)
            };
            let available = |pod: &Value| {
                object::is_active(pod)
                    && object::available_at(pod, min_ready).is_some_and(|at| at <= now)
            };
            for pod in pods {
                outcome.requeue_at(
                    object::available_at(pod, min_ready)
                        .filter(|at| object::is_active(pod) && *at > now),
                );
            }
            old.push(ReplicaSetState {
                object: set,
                revision: object::annotation(set, REVISION).parse().unwrap_or(0),
                size: Size {
                    wanted: int(set, "/spec/replicas").unwrap_or(1),
                    available: count(&available),
                },
                pods: count(&object::is_active),
                present: count(&|pod| !object::is_finished(pod)),
                ready: count(&|pod| object::is_active(pod) && object::is_ready(pod)),
            });
        }
        old.sort_by_key(|set| (set.revision, object::name(set.object).to_owned()));
        let current = |set: &ReplicaSetState<'_>| {
            object::label(set.object, TEMPLATE_HASH) == hash
                || template_hash(&set.object["spec"]["template"]) == hash
        };
        let new = old.iter().position(current).map(|at| old.remove(at));
        let replicas = int(deployment, "/spec/replicas").unwrap_or(1);
        let limits = Limits::of(replicas, &deployment["spec"]["strategy"]);
        Self { deployment, hash, new, old, replicas, limits, now }
    }

    fn paused(&self) -> bool {
        object::flag(self.deployment, "/spec/paused")
    }

    fn recreates(&self) -> bool {
        text(self.deployment, "/spec/strategy/type") == "Recreate"
    }

    fn revision(&self) -> i64 {
        let newest_old = self.old.iter().map(|set| set.revision).max().unwrap_or(0);
        self.new.as_ref().map_or(0, |new| new.revision).max(newest_old + 1)
    }

    /// Writes the next size of every ReplicaSet; true if the new ReplicaSet was created.
    fn scale(&self, changes: &mut Vec<Change>) -> bool {
        let next = self.next();
        for (set, size) in self.old.iter().zip(&next.old) {
            self.update_replica_set(set, *size, None, changes);
        }
        match &self.new {
            Some(new) => {
                let revision = (!self.paused()).then(|| self.revision());
                self.update_replica_set(new, next.new, revision, changes);
                false
            }
            None if self.paused() => false,
            None => {
                let set = self.make(next.new);
                self.event_scaled(object::name(&set), 0, next.new, changes);
                changes.push(Change::Create(Kind::ReplicaSet, set));
                true
            }
        }
    }

    fn next(&self) -> Next {
        let old: Vec<Size> = self.old.iter().map(|set| set.size).collect();
        let new = self.new.as_ref().map_or(Size::default(), |set| set.size);
        let mut all: Vec<i64> = old.iter().map(|size| size.wanted).collect();
        all.push(new.wanted);
        let active = all.iter().filter(|size| **size > 0).count();
        let rescaled = self.old.iter().chain(&self.new).any(|set| {
            set.size.wanted > 0 && self.desired(set).is_some_and(|wanted| wanted != self.replicas)
        });
        let mid_rollout = active > 1 || (self.paused() && active == 1 && new.wanted == 0);
        if (rescaled && mid_rollout && !self.recreates()) || self.paused() {
            let shared = self.scale_proportionally(&all, active, rescaled);
            return Next {
                new: shared.last().copied().unwrap_or(0),
                old: shared[..old.len()].to_vec(),
            };
        }
        if self.recreates() {
            let in_the_way = self.old.iter().any(|set| set.size.wanted > 0 || set.present > 0);
            let new = if in_the_way { new.wanted } else { self.replicas };
            return Next { new, old: vec![0; old.len()] };
        }
        rolling(self.replicas, self.limits, new, &old)
    }

    /// The sizes after scaling in the middle of a rollout or while paused: in proportion to the sizes so far.
    fn scale_proportionally(&self, all: &[i64], active: usize, rescaled: bool) -> Vec<i64> {
        if active == 0 {
            // No ReplicaSet has replicas: the newest one gets all.
            let mut sizes = all.to_vec();
            let at =
                if self.new.is_some() { sizes.len() - 1 } else { sizes.len().saturating_sub(2) };
            if self.new.is_some() || !self.old.is_empty() {
                sizes[at] = self.replicas;
            }
            return sizes;
        }
        if active == 1 {
            return all.iter().map(|size| if *size > 0 { self.replicas } else { 0 }).collect();
        }
        if !rescaled {
            return all.to_vec();
        }
        let total = if self.replicas > 0 { self.replicas + self.limits.surge } else { 0 };
        let before = self
            .old
            .iter()
            .chain(&self.new)
            .find_map(|set| object::annotation(set.object, MAX).parse::<i64>().ok())
            .unwrap_or(total);
        let sum: i64 = all.iter().sum();
        // Surge that the rollout had not used stays unused.
        proportional((total - (before - sum).max(0)).max(0), all)
    }

    fn desired(&self, set: &ReplicaSetState<'_>) -> Option<i64> {
        object::annotation(set.object, DESIRED).parse().ok()
    }

    /// Updates replicas, annotations and revision of one ReplicaSet, in one write.
    fn update_replica_set(
        &self,
        set: &ReplicaSetState<'_>,
        replicas: i64,
        revision: Option<i64>,
        changes: &mut Vec<Change>,
    ) {
        let mut fresh = set.object.clone();
        if let Some(revision) = revision {
            self.annotate_replica_set(&mut fresh, set, revision);
        }
        if replicas != set.size.wanted || (replicas > 0 && self.desired(set) != Some(self.replicas))
        {
            object::set(
                &mut fresh,
                &["metadata", "annotations", DESIRED],
                json!(self.replicas.to_string()),
            );
            object::set(
                &mut fresh,
                &["metadata", "annotations", MAX],
                json!((self.replicas + self.limits.surge).to_string()),
            );
        }
        object::set(&mut fresh, &["spec", "replicas"], json!(replicas));
        if fresh == *set.object {
            return;
        }
        if replicas != set.size.wanted {
            self.event_scaled(object::name(set.object), set.size.wanted, replicas, changes);
        }
        changes.push(Change::Update(Kind::ReplicaSet, fresh));
    }

    /// Copies annotations and `minReadySeconds` of the Deployment to the new ReplicaSet, and sets its revision.
    fn annotate_replica_set(&self, fresh: &mut Value, set: &ReplicaSetState<'_>, revision: i64) {
        for (key, value) in self.inherited() {
            object::set(fresh, &["metadata", "annotations", &key], value);
        }
        if revision != set.revision {
            object::set(fresh, &["metadata", "annotations", REVISION], json!(revision.to_string()));
            if set.revision > 0 {
                let history = object::annotation(set.object, REVISION_HISTORY);
                let history = if history.is_empty() {
                    set.revision.to_string()
                } else {
                    format!("{history},{}", set.revision)
                };
                object::set(fresh, &["metadata", "annotations", REVISION_HISTORY], json!(history));
            }
        }
        let min_ready = int(self.deployment, "/spec/minReadySeconds").unwrap_or(0);
        if int(fresh, "/spec/minReadySeconds").unwrap_or(0) != min_ready {
            object::set(fresh, &["spec", "minReadySeconds"], json!(min_ready));
        }
    }

    fn inherited(&self) -> Map<String, Value> {
        let own = [REVISION, REVISION_HISTORY, DESIRED, MAX, LAST_APPLIED];
        let all = self.deployment.at("/metadata/annotations").and_then(Value::as_object);
        all.into_iter()
            .flatten()
            .filter(|(key, _)| !own.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    fn make(&self, replicas: i64) -> Value {
        let spec = &self.deployment["spec"];
        let mut template = spec["template"].clone();
        object::set(&mut template, &["metadata", "labels", TEMPLATE_HASH], json!(self.hash));
        let mut selector = spec["selector"].clone();
        object::set(&mut selector, &["matchLabels", TEMPLATE_HASH], json!(self.hash));
        let mut annotations = self.inherited();
        annotations.insert(REVISION.to_owned(), json!(self.revision().to_string()));
        annotations.insert(DESIRED.to_owned(), json!(self.replicas.to_string()));
        annotations.insert(MAX.to_owned(), json!((self.replicas + self.limits.surge).to_string()));
        let mut set = json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": format!("{}-{}", object::name(self.deployment), self.hash),
                "namespace": object::namespace(self.deployment),
                "labels": template["metadata"]["labels"],
                "annotations": annotations,
                "ownerReferences": [object::controlled_by(self.deployment, "apps/v1", "Deployment")],
            },
            "spec": {"replicas": replicas, "selector": selector, "template": template},
        });
        if let Some(min_ready) =
            int(self.deployment, "/spec/minReadySeconds").filter(|seconds| *seconds > 0)
        {
            set["spec"]["minReadySeconds"] = json!(min_ready);
        }
        set
    }

    fn event_scaled(&self, set: &str, from: i64, to: i64, changes: &mut Vec<Change>) {
        if from == to {
            return;
        }
        let way = if to > from { "up" } else { "down" };
        let message = format!("Scaled {way} replica set {set} from {from} to {to}");
        changes.push(Change::Event(NewEvent::of(
            Kind::Deployment,
            self.deployment,
            COMPONENT,
            "ScalingReplicaSet",
            message,
        )));
    }

    /// The Deployment with the revision of its new ReplicaSet in its annotation; `None` if it is up to date.
    fn with_revision(&self) -> Option<Value> {
        let revision =
            self.new.as_ref().map(|new| new.revision).filter(|revision| *revision > 0)?.to_string();
        if object::annotation(self.deployment, REVISION) == revision {
            return None;
        }
        let mut changed = self.deployment.clone();
        object::set(&mut changed, &["metadata", "annotations", REVISION], json!(revision));
        Some(changed)
    }

    /// Deletes old ReplicaSets beyond `revisionHistoryLimit` once the rollout is complete.
    fn clean_up_history(&self, status: &Value, changes: &mut Vec<Change>) {
        if !status::complete(self.replicas, status) {
            return;
        }
        let limit = int(self.deployment, "/spec/revisionHistoryLimit")
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(10);
        let surplus = self.old.len().saturating_sub(limit);
        let empty = |set: &&ReplicaSetState<'_>| {
            set.size.wanted == 0 && set.present == 0 && !object::deleting(set.object)
        };
        let outdated = self.old.iter().take(surplus).filter(empty);
        changes.extend(
            outdated.map(|set| Change::Delete(Deletion::of(Kind::ReplicaSet, set.object, None))),
        );
    }
}
