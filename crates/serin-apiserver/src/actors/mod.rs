//! Actors that do what a cluster would: Deployment to ReplicaSet to Pod to EndpointSlice.
//!
//! One loop looks at the store after every change, decides with pure functions, and writes. It never polls: it sleeps until something
//! changes, a pod reports, or a deadline that some object carries comes up.

mod change;
mod cluster;
mod daemonset;
mod deployment;
mod endpoints;
mod events;
mod hash;
mod hpa;
mod memo;
mod node;
pub(crate) mod object;
mod pods;
mod replicaset;
mod rollout;
mod stored;
mod world;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

pub use self::change::{Change, Doomed, Kind, Note};
pub use self::cluster::{Cluster, Refused};
pub use self::hash::template_hash;
pub use self::node::{NODE, NODE_ADDRESS};
pub use self::rollout::{Limits, Next, Size, proportional, rolling};

use self::change::Outcome;
use self::memo::Memo;
use self::pods::Kubelet;
use self::replicaset::Names;
use self::world::World;
use crate::kubelet::PodRuntime;
use crate::store::Clock;

/// What a pass depends on. Other kinds, Events above all, are written far more often.
const READ: [Kind; 9] = [
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

/// A deadline that has passed without effect, because a write was refused, is tried again after this long.
const RETRY: Duration = Duration::from_secs(1);

/// The actors of one cluster.
pub struct Actors {
    cluster: Arc<dyn Cluster>,
    clock: Clock,
    names: Names,
    memo: Memo,
    kubelet: Kubelet,
}

impl Actors {
    /// The clock must move with tokio's, paused or not.
    pub fn new(cluster: Arc<dyn Cluster>, runtime: Arc<dyn PodRuntime>, clock: Clock) -> Self {
        let kubelet = Kubelet::new(runtime, Arc::clone(&cluster), Arc::clone(&clock));
        Self { cluster, clock, names: Names::default(), memo: Memo::default(), kubelet }
    }

    /// Works until `stop` completes, then ends every pod's process. Dropping the future instead kills them at once.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut changes = self.cluster.changes(&READ);
        let mut reports = self.kubelet.reports();
        let mut seen = None;
        let mut wake = None;
        loop {
            let version = *changes.borrow_and_update();
            let reported = reports.has_changed().unwrap_or(false);
            reports.borrow_and_update();
            let due = wake.is_some_and(|wake| wake <= (self.clock)());
            let touched = seen.is_none_or(|seen| self.cluster.touched(&READ, seen));
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

    /// One look at everything; the time at which to look again even if nothing changes.
    fn pass(&mut self) -> Option<Timestamp> {
        let mut wake = None;
        let now = (self.clock)();
        let world = World::read(&*self.cluster, &[Kind::Node, Kind::Pod]);
        let changes = [node::reconcile(&world, now), self.kubelet.step(&world, now)].concat();
        self.apply(changes, now);
        let (names, memo) = (&mut self.names, &mut self.memo);
        let world = World::read(
            &*self.cluster,
            &[Kind::Node, Kind::Pod, Kind::ReplicaSet, Kind::DaemonSet],
        );
        let sets = each(&world, Kind::ReplicaSet, &mut wake, |set| {
            let seen = replicaset::looks_at(set, &world);
            memo.look(seen, now, || replicaset::reconcile(set, &world, names, now))
        });
        let fleets = each(&world, Kind::DaemonSet, &mut wake, |set| {
            let seen = daemonset::looks_at(set, &world);
            memo.look(seen, now, || daemonset::reconcile(set, &world, names, now))
        });
        self.apply([sets, fleets].concat(), now);
        let memo = &mut self.memo;
        let world = World::read(
            &*self.cluster,
            &[Kind::Pod, Kind::ReplicaSet, Kind::Deployment, Kind::HorizontalPodAutoscaler],
        );
        let scaled: Vec<Change> = world
            .all(Kind::HorizontalPodAutoscaler)
            .iter()
            .flat_map(|scaler| hpa::reconcile(scaler, &world, now))
            .collect();
        let rolled = each(&world, Kind::Deployment, &mut wake, |deployment| {
            let seen = deployment::looks_at(deployment, &world);
            memo.look(seen, now, || deployment::reconcile(deployment, &world, now))
        });
        self.apply([rolled, scaled].concat(), now);
        let memo = &mut self.memo;
        let world = World::read(
            &*self.cluster,
            &[Kind::Pod, Kind::Service, Kind::EndpointSlice, Kind::Endpoints],
        );
        let served = each(&world, Kind::Service, &mut wake, |service| {
            let seen = endpoints::looks_at(service, &world);
            let look = || Outcome { changes: endpoints::reconcile(service, &world), wake: None };
            memo.look(seen, now, look)
        });
        self.memo.end_pass();
        self.apply(served, now);
        wake
    }

    fn apply(&mut self, changes: Vec<Change>, now: Timestamp) {
        for change in changes {
            if let Err(refused) = self.write(change, now) {
                match refused {
                    Refused::Stale(why) => tracing::debug!(why, "an actor was late"),
                    Refused::Invalid(why) => tracing::warn!(why, "an actor's write was refused"),
                }
            }
        }
    }

    fn write(&mut self, change: Change, now: Timestamp) -> Result<(), Refused> {
        match change {
            Change::Create(kind, object) => {
                let refused = self.cluster.create(kind, object.clone());
                if let Err(Refused::Invalid(why)) = &refused {
                    self.tell_owner(kind, &object, why, now)?;
                }
                refused
            }
            Change::Update(kind, object) => self.cluster.update(kind, object),
            Change::Status(kind, object) => self.cluster.update_status(kind, object),
            Change::Delete(doomed) => self.cluster.delete(&doomed),
            Change::Event(note) => events::record(&*self.cluster, &note, now),
        }
    }

    /// A child that the store will not have is the owner's trouble, and the owner's user should hear of it.
    fn tell_owner(
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
        let note = Note {
            kind: owner,
            namespace: object::namespace(child).to_owned(),
            name: object::text(reference, "/name").to_owned(),
            uid: object::text(reference, "/uid").to_owned(),
            warning: true,
            reason: "FailedCreate",
            message: format!("Error creating: {why}"),
            from: "controller",
        };
        // The note itself must not wake the loop for another try, so it is written once.
        let known = self.cluster.list(Kind::Event).iter().any(|event| {
            event["involvedObject"]["uid"] == *note.uid && event["message"] == *note.message
        });
        if known { Ok(()) } else { events::record(&*self.cluster, &note, now) }
    }
}

fn each(
    world: &World,
    kind: Kind,
    wake: &mut Option<Timestamp>,
    mut reconcile: impl FnMut(&Arc<Value>) -> Outcome,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for object in world.all(kind) {
        let outcome = reconcile(object);
        changes.extend(outcome.changes);
        *wake = object::earliest(*wake, outcome.wake);
    }
    changes
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
