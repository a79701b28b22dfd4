//! Whose the pods behind a canary's Services are, and whether they listen: read once for each pod, when traffic is to move.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::PartialObjectMeta;
use serin_core::model::Canary;
use serin_core::observed::Seen;
use serin_providers::change::Kind;
use serin_providers::{Listening, Objects, PodOwner, PodRef, to_identify, to_probe};

use crate::cache::READ_TIMEOUT;
use crate::http_client::chain;
use crate::operator::context::Context;
use crate::operator::memory::Pods;

const POD: Kind = Kind { group: "", version: "v1", kind: "Pod", plural: "pods" };
const REPLICA_SET: Kind =
    Kind { group: "apps", version: "v1", kind: "ReplicaSet", plural: "replicasets" };

/// Reads of one tick; the rest is read by the next.
const READS_MAX: usize = 64;
const READS_AT_ONCE: usize = 8;

/// Adds what has to be known of pods to what was seen.
pub(crate) async fn look(context: &Context, canary: &Canary, objects: &mut Objects) {
    let pods = to_identify(canary, objects);
    let probes = to_probe(canary, objects, &context.settings.providers);
    if pods.is_empty() && probes.is_empty() {
        return;
    }
    let mut known = context.memory.with(&canary.key, |entry| std::mem::take(&mut entry.pods));
    let here: BTreeSet<&str> = pods.iter().map(|pod| pod.uid.as_str()).collect();
    known.owners.retain(|uid, _| here.contains(uid.as_str()));
    known.listens.retain(|probe| probes.contains(probe));
    identify(context, &pods, &mut known, objects).await;
    for (address, port) in probes {
        let listening = if known.listens.contains(&(address.clone(), port)) {
            Listening::Yes
        } else {
            connect(context, &address, port).await
        };
        if listening == Listening::Yes {
            known.listens.insert((address.clone(), port));
        }
        objects.put_listening(address, port, listening);
    }
    context.memory.with(&canary.key, |entry| entry.pods = known);
}

async fn connect(context: &Context, address: &str, port: u16) -> Listening {
    match address.parse::<IpAddr>() {
        Ok(address) => context.http_client.connects(SocketAddr::new(address, port)).await,
        Err(_) => Listening::Unknown,
    }
}

async fn identify(context: &Context, pods: &[PodRef], known: &mut Pods, objects: &mut Objects) {
    let unknown: BTreeSet<&PodRef> =
        pods.iter().filter(|pod| !known.owners.contains_key(&pod.uid)).collect();
    let asked: Vec<PodRef> = unknown.iter().take(READS_MAX).map(|pod| (*pod).clone()).collect();
    let found: Vec<(String, Seen<PodOwner>)> = futures::stream::iter(asked)
        .map(|pod| async move {
            let owner = owner(context, &pod).await;
            (pod.uid, owner)
        })
        .buffer_unordered(READS_AT_ONCE)
        .collect()
        .await;
    for pod in unknown.into_iter().skip(READS_MAX) {
        let why = "too many pods to look at in one go".to_owned();
        objects.put_owner(pod.uid.clone(), Seen::Unreadable(why));
    }
    for (uid, owner) in found {
        if let Seen::Present(owner) = &owner {
            known.owners.insert(uid.clone(), owner.clone());
        }
        objects.put_owner(uid, owner);
    }
    for (uid, owner) in &known.owners {
        objects.put_owner(uid.clone(), Seen::Present(owner.clone()));
    }
}

/// The controller of a pod, or of its ReplicaSet.
async fn owner(context: &Context, pod: &PodRef) -> Seen<PodOwner> {
    let meta = match read(context, &POD, &pod.namespace, &pod.name).await {
        Seen::Present(meta) => meta,
        Seen::Absent => return Seen::Absent,
        Seen::Unreadable(why) => return Seen::Unreadable(why),
    };
    if meta.metadata.uid.as_deref() != Some(&pod.uid) {
        // Another pod of that name: this one is gone.
        return Seen::Absent;
    }
    let Some(owner) = controller(&meta) else {
        return Seen::Present(PodOwner { uid: String::new(), words: String::new() });
    };
    if owner.kind != REPLICA_SET.kind {
        return Seen::Present(in_words(owner));
    }
    match read(context, &REPLICA_SET, &pod.namespace, &owner.name).await {
        Seen::Present(set) if set.metadata.uid.as_ref() == Some(&owner.uid) => {
            Seen::Present(in_words(controller(&set).unwrap_or(owner)))
        }
        Seen::Present(_) | Seen::Absent => Seen::Present(in_words(owner)),
        Seen::Unreadable(why) => Seen::Unreadable(why),
    }
}

fn controller(meta: &PartialObjectMeta) -> Option<&OwnerReference> {
    let owners = meta.metadata.owner_references.as_ref()?;
    owners.iter().find(|owner| owner.controller == Some(true))
}

fn in_words(owner: &OwnerReference) -> PodOwner {
    PodOwner { uid: owner.uid.clone(), words: format!("{} {}", owner.kind, owner.name) }
}

async fn read(
    context: &Context,
    kind: &Kind,
    namespace: &str,
    name: &str,
) -> Seen<PartialObjectMeta> {
    let api = context.cache.api(kind, namespace);
    match tokio::time::timeout(READ_TIMEOUT, api.get_metadata_opt(name)).await {
        Ok(Ok(Some(meta))) => Seen::Present(meta),
        Ok(Ok(None)) => Seen::Absent,
        Ok(Err(error)) => Seen::Unreadable(chain(&error)),
        Err(_) => Seen::Unreadable(format!("no answer within {READ_TIMEOUT:?}")),
    }
}
