//! Whose pods stand behind the generated Services, and whether they listen: looked at before traffic moves, and whenever
//! more of them are ready than the workload says it has.

use std::collections::BTreeMap;

use serde_json::Value;
use serin_core::model::{Canary, Phase, TargetPort};
use serin_core::observed::Seen;

use super::endpoints::{self, Endpoint};
use super::{Context, Role};
use crate::change::{Listening, ObjectRef, Objects};
use crate::json::{strings, text};
use crate::ownership::{self, Owner};
use crate::settings::Settings;
use crate::workload;
use crate::workload::names;

/// Strangers that are named; of more only how many there are.
const NAMED_MAX: usize = 3;

/// A pod whose owner is to be found out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodRef {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// A Service of ours with the workload that it stands for.
struct Side<'a> {
    role: Role,
    service: ObjectRef,
    live: &'a Value,
    workload: &'a Value,
    endpoints: BTreeMap<String, Endpoint>,
}

fn sides<'a>(canary: &Canary, objects: &'a Objects) -> Vec<Side<'a>> {
    let of = [(Role::Primary, names::primary(canary)), (Role::Canary, names::target(canary))];
    let side = |(role, workload): (Role, ObjectRef)| {
        let service = role.object(canary);
        let live = objects.present(&service)?;
        let workload = objects.present(&workload)?;
        let Seen::Present(slices) = objects.slices(&service.namespace, &service.name) else {
            return None;
        };
        let port = super::port_name(canary, live);
        let endpoints = endpoints::ready(slices.iter().map(AsRef::as_ref), port);
        let ours = ownership::of(live, canary) == Owner::Ours;
        ours.then_some(Side { role, service, live, workload, endpoints })
    };
    of.into_iter().filter_map(side).collect()
}

/// Pods whose owners must be known now. At rest none, as long as no more are ready than the workload has: all of its ready
/// pods are behind the Service, so that as many are exactly these.
pub fn to_identify(canary: &Canary, objects: &Objects) -> Vec<PodRef> {
    if canary.deleting {
        return Vec::new();
    }
    let rests = match canary.status.phase {
        Some(Phase::Initialized | Phase::Succeeded | Phase::Failed | Phase::Waiting) => true,
        None
        | Some(
            Phase::Initializing
            | Phase::Progressing
            | Phase::WaitingPromotion
            | Phase::Promoting
            | Phase::Finalising
            | Phase::Terminating
            | Phase::Terminated,
        ) => false,
    };
    let surplus = |side: &Side<'_>| {
        let ready = usize::try_from(workload::of(canary).pods(side.workload).ready).unwrap_or(0);
        !rests || side.endpoints.len() > ready
    };
    let sides = sides(canary, objects).into_iter().filter(surplus);
    let pods = sides.flat_map(|side| {
        let namespace = side.service.namespace.clone();
        side.endpoints.into_values().map(move |endpoint| PodRef {
            namespace: namespace.clone(),
            name: endpoint.pod,
            uid: endpoint.uid,
        })
    });
    pods.filter(|pod| !pod.uid.is_empty()).collect()
}

/// Services that pick pods of other workloads, or of which that cannot be told.
pub(crate) fn foreign(canary: &Canary, objects: &Objects) -> Vec<String> {
    let mut found = Vec::new();
    for side in sides(canary, objects) {
        let own = text(side.workload, "/metadata/uid").unwrap_or_default();
        let mut strangers = Vec::new();
        for endpoint in side.endpoints.values() {
            match objects.owner(&endpoint.uid) {
                None => {}
                Some(Seen::Present(owner)) if owner.uid == own => {}
                Some(Seen::Present(owner)) if owner.words.is_empty() => {
                    strangers.push(format!("Pod {}", endpoint.pod));
                }
                Some(Seen::Present(owner)) => {
                    strangers.push(format!("Pod {} of {}", endpoint.pod, owner.words));
                }
                // It is gone, and its endpoint goes after it.
                Some(Seen::Absent) => {}
                Some(Seen::Unreadable(why)) => {
                    found.push(format!(
                        "it cannot be told whose pods {} sends requests to: {why}",
                        side.service
                    ));
                    break;
                }
            }
        }
        if !strangers.is_empty() {
            found.push(named(&side, &strangers));
        }
    }
    found
}

fn named(side: &Side<'_>, strangers: &[String]) -> String {
    let mut names = strangers.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if strangers.len() > NAMED_MAX {
        names.push_str(&format!(" and {} more", strangers.len() - NAMED_MAX));
    }
    let selector: Vec<String> = strings(side.live, "/spec/selector")
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    format!(
        "{} selects {} and so sends requests to {names} too: change the labels of these pods, or remove them",
        side.service,
        selector.join(",")
    )
}

/// Addresses to which one connection shows whether anything listens: of the primary before the apex leads to it and before
/// its Service leads to another port, of the canary before its first share.
pub fn to_probe(canary: &Canary, objects: &Objects, settings: &Settings) -> Vec<(String, u16)> {
    probes(canary, objects, settings).into_iter().map(|probe| (probe.address, probe.port)).collect()
}

struct Probe {
    pod: String,
    address: String,
    port: u16,
}

fn probes(canary: &Canary, objects: &Objects, settings: &Settings) -> Vec<Probe> {
    let Ok(context) = Context::new(canary, objects, settings) else { return Vec::new() };
    if canary.deleting {
        return Vec::new();
    }
    let phase = canary.status.phase;
    let opens = matches!(phase, Some(Phase::Progressing)) && canary.status.canary_weight == 0;
    let begins = matches!(phase, None | Some(Phase::Initializing));
    let probe = |side: Side<'_>| {
        let (address, endpoint) = side.endpoints.iter().next()?;
        let wanted = match &context.port.target {
            TargetPort::Number(number) => *number,
            TargetPort::Name(_) => endpoint.port?,
        };
        let moves = endpoint.port.is_some_and(|port| port != wanted);
        let asked = match side.role {
            Role::Primary => begins || moves,
            Role::Canary => opens,
            Role::Apex => false,
        };
        let (pod, address) = (endpoint.pod.clone(), address.clone());
        asked.then_some(Probe { pod, address, port: wanted })
    };
    sides(canary, objects).into_iter().filter_map(probe).collect()
}

/// Pods that nothing listens in on the port that a Service leads to, or is about to.
pub(crate) fn deaf(canary: &Canary, objects: &Objects, settings: &Settings) -> Vec<String> {
    let refused =
        |probe: &Probe| objects.listening(&probe.address, probe.port) == Some(Listening::Refused);
    let told = |Probe { pod, address, port }: Probe| {
        format!(
            "spec.service.targetPort: nothing listens on port {port} of Pod {pod} ({address}); name the port that its container listens on"
        )
    };
    probes(canary, objects, settings).into_iter().filter(refused).map(told).collect()
}
