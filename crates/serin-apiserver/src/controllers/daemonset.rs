//! DaemonSets: one pod on the one node, if the node selector and affinity allow it.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::change::{Change, Deletion, Kind, NewEvent, Outcome};
use super::hash::template_hash;
use super::node;
use super::object::{self, int, text};
use super::replicaset::{Names, pod_of};
use super::rollout::portion;
use super::view::ClusterView;

const COMPONENT: &str = "daemonset-controller";
const REVISION_HASH: &str = "controller-revision-hash";

/// The pods of a DaemonSet, by revision; `leaving` counts those that are terminating.
struct DaemonPods<'a> {
    current: Vec<&'a Value>,
    outdated: Vec<&'a Value>,
    leaving: usize,
}

/// The objects that reconciling a DaemonSet reads, the DaemonSet first.
pub(crate) fn inputs(set: &Arc<Value>, view: &ClusterView) -> Vec<Arc<Value>> {
    let owned = view.owned(Kind::Pod, object::uid(set));
    [set].into_iter().chain(owned).chain(view.all(Kind::Node)).cloned().collect()
}

/// The next writes for this DaemonSet.
pub(crate) fn reconcile(
    set: &Value,
    view: &ClusterView,
    names: &mut Names,
    now: Timestamp,
) -> Outcome {
    let mut outcome = Outcome::default();
    if object::deleting(set) {
        return outcome;
    }
    let hash = template_hash(&set["spec"]["template"]);
    let pods = view.owned(Kind::Pod, object::uid(set));
    let (current, outdated) = pods
        .iter()
        .map(AsRef::as_ref)
        .filter(|pod| object::is_active(pod))
        .partition(|pod| object::label(pod, REVISION_HASH) == hash);
    let pods_of_set = DaemonPods {
        current,
        outdated,
        leaving: pods.iter().filter(|pod| object::deleting(pod)).count(),
    };
    let wanted = node::fits(&set["spec"]["template"]["spec"], &node::labels(view));
    let min_ready = int(set, "/spec/minReadySeconds").unwrap_or(0);
    let available = |pod: &&Value| object::available_at(pod, min_ready).is_some_and(|at| at <= now);
    for pod in pods_of_set.current.iter().chain(&pods_of_set.outdated) {
        outcome.requeue_at(object::available_at(pod, min_ready).filter(|at| *at > now));
    }
    // A failed pod is deleted and replaced.
    for pod in pods.iter().filter(|pod| object::is_finished(pod) && !object::deleting(pod)) {
        remove(set, pod, &mut outcome.changes);
    }
    let (create, surplus) =
        plan(set, &pods_of_set, wanted, pods_of_set.current.iter().any(available));
    for pod in surplus {
        remove(set, pod, &mut outcome.changes);
    }
    if create {
        let mut pod = pod_of(set, "DaemonSet", names.next(set));
        object::set(&mut pod, &["metadata", "labels", REVISION_HASH], json!(hash));
        let message = format!("Created pod: {}", object::name(&pod));
        outcome.changes.push(Change::Create(Kind::Pod, pod));
        outcome.changes.push(Change::Event(NewEvent::of(
            Kind::DaemonSet,
            set,
            COMPONENT,
            "SuccessfulCreate",
            message,
        )));
    }
    let ready =
        pods_of_set.current.iter().chain(&pods_of_set.outdated).any(|pod| object::is_ready(pod));
    let up = pods_of_set.current.iter().chain(&pods_of_set.outdated).any(available);
    let status = status(set, &pods_of_set, wanted, ready, up);
    if set.get("status") != Some(&status) {
        let mut changed = set.clone();
        changed["status"] = status;
        outcome.changes.push(Change::Status(Kind::DaemonSet, changed));
    }
    outcome
}

/// Whether to create a pod now, and which pods to delete.
fn plan<'a>(
    set: &Value,
    pods_of_set: &DaemonPods<'a>,
    wanted: bool,
    available: bool,
) -> (bool, Vec<&'a Value>) {
    if !wanted {
        return (false, pods_of_set.current.iter().chain(&pods_of_set.outdated).copied().collect());
    }
    let extra = pods_of_set.current.iter().skip(1).copied();
    if text(set, "/spec/updateStrategy/type") == "OnDelete" {
        let none = pods_of_set.current.is_empty()
            && pods_of_set.outdated.is_empty()
            && pods_of_set.leaving == 0;
        return (none, extra.collect());
    }
    let surge = set
        .pointer("/spec/updateStrategy/rollingUpdate/maxSurge")
        .is_some_and(|surge| portion(Some(surge), 1, true) > 0);
    if surge {
        let old = pods_of_set.outdated.iter().copied().filter(|_| available);
        return (pods_of_set.current.is_empty(), old.chain(extra).collect());
    }
    let nothing_left = pods_of_set.current.is_empty()
        && pods_of_set.outdated.is_empty()
        && pods_of_set.leaving == 0;
    (nothing_left, pods_of_set.outdated.iter().copied().chain(extra).collect())
}

fn remove(set: &Value, pod: &Value, changes: &mut Vec<Change>) {
    changes.push(Change::Delete(Deletion::of(Kind::Pod, pod, None)));
    let message = format!("Deleted pod: {}", object::name(pod));
    changes.push(Change::Event(NewEvent::of(
        Kind::DaemonSet,
        set,
        COMPONENT,
        "SuccessfulDelete",
        message,
    )));
}

fn status(set: &Value, pods_of_set: &DaemonPods<'_>, wanted: bool, ready: bool, up: bool) -> Value {
    let one = |yes: bool| i64::from(yes);
    let present = !pods_of_set.current.is_empty() || !pods_of_set.outdated.is_empty();
    let mut status = json!({
        "currentNumberScheduled": one(wanted && present),
        "desiredNumberScheduled": one(wanted),
        "numberMisscheduled": one(!wanted && present),
        "numberReady": one(wanted && ready),
        "observedGeneration": set["metadata"]["generation"],
    });
    let optional = [
        ("numberAvailable", wanted && up),
        ("numberUnavailable", wanted && !up),
        ("updatedNumberScheduled", wanted && !pods_of_set.current.is_empty()),
    ];
    for (key, _) in optional.into_iter().filter(|(_, yes)| *yes) {
        status[key] = json!(1);
    }
    status
}
