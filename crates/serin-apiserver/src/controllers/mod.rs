//! The controllers of a cluster: Deployment to ReplicaSet to Pod to EndpointSlice.
//!
//! One loop reads the store after every change, decides with pure functions, and writes. It does not poll: it sleeps until an object
//! changes, a pod reports a new state, or a requeue time comes.

mod change;
mod cluster;
mod daemonset;
mod deployment;
mod endpoints;
mod events;
mod hash;
mod hpa;
mod node;
pub(crate) mod object;
mod pods;
mod reconcile_cache;
mod replicaset;
mod rollout;
mod store_access;
mod view;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

pub use self::change::{Change, Deletion, Kind, NewEvent};
pub use self::cluster::{Cluster, Refused};
pub use self::hash::template_hash;
pub use self::node::{NODE, NODE_ADDRESS};
pub use self::rollout::{Limits, Next, Size, proportional, rolling};

use self::change::Outcome;
use self::pods::Kubelet;
use self::reconcile_cache::ReconcileCache;
use self::replicaset::Names;
use self::view::ClusterView;
use crate::kubelet::PodRuntime;
use crate::store::Clock;

/// The kinds whose changes start a pass. Others are left out because they are written far more often, Events above all.
const WATCHED_KINDS: [Kind; 9] = [
    Kind::Node,
    Kind::Pod,
    Kind::ReplicaSet,
    Kind::DaemonSet,
    Kind::Deployment,
    Kind::HorizontalPodAutoscaler,
    Kind::Service,
    Kind::EndpointSlice,
    Kind::Endpoints,
];

/// How long to wait when a requeue time has passed already, because a write was refused.
const RETRY: Duration = Duration::from_secs(1);

/// All controllers of one cluster, and its kubelet.
pub struct Controllers {
    cluster: Arc<dyn Cluster>,
    clock: Clock,
    names: Names,
    cache: ReconcileCache,
    kubelet: Kubelet,
}

impl Controllers {
    /// `clock` must advance with tokio's clock, paused or not.
    pub fn new(cluster: Arc<dyn Cluster>, runtime: Arc<dyn PodRuntime>, clock: Clock) -> Self {
        let kubelet = Kubelet::new(runtime, Arc::clone(&cluster), Arc::clone(&clock));
        Self { cluster, clock, names: Names::default(), cache: ReconcileCache::default(), kubelet }
    }

    /// Runs until `stop` completes, then ends the processes of all pods. Dropping the future instead kills them at once.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut changes = self.cluster.changes(&WATCHED_KINDS);
        let mut reports = self.kubelet.reports();
        let mut seen = None;
        let mut wake = None;
        loop {
            let version = *changes.borrow_and_update();
            let reported = reports.has_changed().unwrap_or(false);
            reports.borrow_and_update();
            let due = wake.is_some_and(|wake| wake <= (self.clock)());
            let touched = seen.is_none_or(|seen| self.cluster.touched(&WATCHED_KINDS, seen));
            if reported || due || touched {
                wake = self.pass();
            }
            seen = Some(version);
            let wait = self.until(wake);
            tokio::select! {
                biased;
                () = &mut stop => break,
                alive = changes.changed() => if alive.is_err() { break },
                _ = reports.changed() => reports.mark_changed(),
                () = sleep(wait) => {}
            }
        }
        self.kubelet.shutdown().await;
    }

    fn until(&self, wake: Option<Timestamp>) -> Option<Duration> {
        let now = (self.clock)();
        let left = now.duration_until(wake?);
        Some(Duration::try_from(left).ok().filter(|left| !left.is_zero()).unwrap_or(RETRY))
    }

    /// Reconciles all objects once. Returns when to run again even if nothing changes.
    fn pass(&mut self) -> Option<Timestamp> {
        let mut wake = None;
        let now = (self.clock)();
        let view = ClusterView::read(&*self.cluster, &[Kind::Node, Kind::Pod]);
        let changes = [node::reconcile(&view, now), self.kubelet.step(&view, now)].concat();
        self.apply(changes, now);
        let (names, cache) = (&mut self.names, &mut self.cache);
        let view = ClusterView::read(
            &*self.cluster,
            &[Kind::Node, Kind::Pod, Kind::ReplicaSet, Kind::DaemonSet],
        );
        let sets = each(&view, Kind::ReplicaSet, &mut wake, |set| {
            let seen = replicaset::inputs(set, &view);
            cache.reconcile_if_changed(seen, now, || replicaset::reconcile(set, &view, names, now))
        });
        let daemons = each(&view, Kind::DaemonSet, &mut wake, |set| {
            let seen = daemonset::inputs(set, &view);
            cache.reconcile_if_changed(seen, now, || daemonset::reconcile(set, &view, names, now))
        });
        self.apply([sets, daemons].concat(), now);
        let cache = &mut self.cache;
        let view = ClusterView::read(
            &*self.cluster,
            &[Kind::Pod, Kind::ReplicaSet, Kind::Deployment, Kind::HorizontalPodAutoscaler],
        );
        let scaled: Vec<Change> = view
            .all(Kind::HorizontalPodAutoscaler)
            .iter()
            .flat_map(|scaler| hpa::reconcile(scaler, &view, now))
            .collect();
        let rolled = each(&view, Kind::Deployment, &mut wake, |deployment| {
            let seen = deployment::inputs(deployment, &view);
            cache.reconcile_if_changed(seen, now, || deployment::reconcile(deployment, &view, now))
        });
        self.apply([rolled, scaled].concat(), now);
        let cache = &mut self.cache;
        let view = ClusterView::read(
            &*self.cluster,
            &[Kind::Pod, Kind::Service, Kind::EndpointSlice, Kind::Endpoints],
        );
        let served = each(&view, Kind::Service, &mut wake, |service| {
            let seen = endpoints::inputs(service, &view);
            let look =
                || Outcome { changes: endpoints::reconcile(service, &view), requeue_at: None };
            cache.reconcile_if_changed(seen, now, look)
        });
        self.cache.end_pass();
        self.apply(served, now);
        wake
    }

    fn apply(&mut self, changes: Vec<Change>, now: Timestamp) {
        for change in changes {
            if let Err(refused) = self.write(change, now) {
                match refused {
                    Refused::Stale(why) => {
                        tracing::debug!(why, "a controller's write was in conflict")
                    }
                    Refused::Invalid(why) => {
                        tracing::warn!(why, "a controller's write was refused")
                    }
                }
            }
        }
    }

    fn write(&mut self, change: Change, now: Timestamp) -> Result<(), Refused> {
        match change {
            Change::Create(kind, object) => {
                let refused = self.cluster.create(kind, object.clone());
                if let Err(Refused::Invalid(why)) = &refused {
                    self.report_to_owner(kind, &object, why, now)?;
                }
                refused
            }
            Change::Update(kind, object) => self.cluster.update(kind, object),
            Change::Status(kind, object) => self.cluster.update_status(kind, object),
            Change::Delete(deletion) => self.cluster.delete(&deletion),
            Change::Event(event) => events::record(&*self.cluster, &event, now),
        }
    }

    /// Records a FailedCreate Event on the owner when the API refuses an object that a controller creates for it.
    fn report_to_owner(
        &mut self,
        kind: Kind,
        child: &Value,
        why: &str,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let owner = match kind {
            Kind::Pod => Kind::ReplicaSet,
            Kind::ReplicaSet => Kind::Deployment,
            Kind::EndpointSlice | Kind::Endpoints => Kind::Service,
            Kind::Deployment
            | Kind::DaemonSet
            | Kind::Service
            | Kind::Node
            | Kind::ConfigMap
            | Kind::Secret
            | Kind::Event
            | Kind::HorizontalPodAutoscaler => return Ok(()),
        };
        let reference =
            &object::list(child, "/metadata/ownerReferences").first().cloned().unwrap_or_default();
        let owner =
            if object::text(reference, "/kind") == "DaemonSet" { Kind::DaemonSet } else { owner };
        let new = NewEvent {
            kind: owner,
            namespace: object::namespace(child).to_owned(),
            name: object::text(reference, "/name").to_owned(),
            uid: object::text(reference, "/uid").to_owned(),
            warning: true,
            reason: "FailedCreate",
            message: format!("Error creating: {why}"),
            component: "controller",
        };
        // Written once per message: the Event would otherwise trigger another pass and another Event.
        let known = self.cluster.list(Kind::Event).iter().any(|event| {
            event["involvedObject"]["uid"] == *new.uid && event["message"] == *new.message
        });
        if known { Ok(()) } else { events::record(&*self.cluster, &new, now) }
    }
}

fn each(
    view: &ClusterView,
    kind: Kind,
    wake: &mut Option<Timestamp>,
    mut reconcile: impl FnMut(&Arc<Value>) -> Outcome,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for object in view.all(kind) {
        let outcome = reconcile(object);
        changes.extend(outcome.changes);
        *wake = object::earliest(*wake, outcome.requeue_at);
    }
    changes
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
