//! Ports of a Canary's Services: what the Canary leaves out comes from what is live, and what others use stays.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use serin_core::model::{Canary, PORT_NAME, TargetPort};

use super::Role;
use crate::change::FIELD_MANAGER;
use crate::json::{int, items, text};
use crate::ownership::owned_by;

/// Containers whose ports are the mesh's: Istio, App Mesh and Open Service Mesh, Linkerd, Kuma, Consul, NGINX Service Mesh, Dapr.
/// Sidecars that are init containers are never looked at.
const SIDECARS: [&str; 10] = [
    "istio-proxy",
    "envoy",
    "xray-daemon",
    "linkerd-proxy",
    "kuma-sidecar",
    "consul-dataplane",
    "consul-connect-envoy-sidecar",
    "envoy-sidecar",
    "nginx-mesh-sidecar",
    "daprd",
];

/// The port that the Canary speaks of, with what it leaves out filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) number: u16,
    /// What the generated Services call it.
    pub(crate) name: String,
    pub(crate) target: TargetPort,
    app_protocol: Option<String>,
    /// The live port under this number has no name, as Services with one port may.
    unnamed: bool,
}

/// From the Canary, or else from the live port with this number: of the apex, or of the primary's Service, which is made
/// like it.
pub(crate) fn resolve(canary: &Canary, apex: Option<&Value>, primary: Option<&Value>) -> Port {
    let service = &canary.spec.service;
    let live = [apex, primary].into_iter().flatten().find_map(|live| entry(live, service.port));
    let target = live.and_then(|live| match live.get("targetPort") {
        Some(Value::Number(_)) => {
            let number = int(live, "/targetPort").and_then(|number| u16::try_from(number).ok());
            number.filter(|number| *number > 0).map(TargetPort::Number)
        }
        Some(Value::String(name)) if !name.is_empty() => Some(TargetPort::Name(name.clone())),
        Some(_) | None => None,
    });
    // A generated Service may call it otherwise, while its old port is still in use.
    let of_apex = apex.and_then(|apex| entry(apex, service.port));
    let name = of_apex.and_then(|live| text(live, "/name")).filter(|name| !name.is_empty());
    let protocol = live.and_then(|live| text(live, "/appProtocol")).map(str::to_owned);
    Port {
        number: service.port,
        name: service.port_name.as_deref().or(name).unwrap_or(PORT_NAME).to_owned(),
        target: service.target_port.clone().or(target).unwrap_or(TargetPort::Number(service.port)),
        app_protocol: service.app_protocol.clone().or(protocol),
        unnamed: of_apex.is_some() && name.is_none() && service.port_name.is_none(),
    }
}

/// The live TCP port with this number.
pub(super) fn entry(service: &Value, number: u16) -> Option<&Value> {
    items(service, "/spec/ports").iter().find(|port| {
        int(port, "/port") == Some(i64::from(number))
            && matches!(text(port, "/protocol"), None | Some("TCP"))
    })
}

/// A port of a Service that was there before has one name, and whoever calls it by that would lose it.
pub(super) fn renamed(canary: &Canary, apex: Option<&Value>) -> Option<String> {
    let service = &canary.spec.service;
    let wanted = service.port_name.as_deref()?;
    let live = text(entry(apex?, service.port)?, "/name").filter(|name| !name.is_empty())?;
    (live != wanted).then(|| {
        format!(
            "spec.service.portName: Service {} calls its port {} {live}, and what refers to that name would lose it; set portName to {live} or leave it out",
            service.name, service.port
        )
    })
}

/// The list that is ours in a Service. Server-side apply merges it with what others have there, by number and protocol.
pub(super) fn wanted(
    canary: &Canary,
    role: Role,
    port: &Port,
    target: &Value,
    live: Option<&Value>,
    mentioned: &BTreeSet<String>,
) -> Vec<Value> {
    let kept = live.map_or_else(Vec::new, |live| match role {
        Role::Apex => others(canary, live, port.number),
        Role::Primary | Role::Canary => in_use(live, port.number, mentioned),
    });
    let more = if canary.spec.service.port_discovery {
        discovered(canary, port, target)
    } else {
        Vec::new()
    };
    let mut first = json!({
        "port": port.number,
        "protocol": "TCP",
        "targetPort": match &port.target {
            TargetPort::Number(number) => json!(number),
            TargetPort::Name(name) => json!(name),
        },
    });
    if let Some(protocol) = &port.app_protocol {
        first["appProtocol"] = protocol.clone().into();
    }
    // A port without a name must be the only one.
    let alone = role == Role::Apex && port.unnamed && kept.is_empty() && more.is_empty();
    if !alone {
        first["name"] = free_name(port, &kept).into();
    }
    let mut ports = vec![first];
    if role != Role::Apex {
        // Others' stay by themselves; these are ours, and would go.
        ports.extend(kept.into_iter().cloned());
    }
    let numbers: BTreeSet<i64> = ports.iter().filter_map(|port| int(port, "/port")).collect();
    ports.extend(
        more.into_iter()
            .filter(|more| int(more, "/port").is_none_or(|number| !numbers.contains(&number))),
    );
    ports
}

/// Names of ports are unique in a Service. Where the name is another port's, which somebody may call by it, ours gets its
/// number behind it.
fn free_name(port: &Port, others: &[&Value]) -> String {
    let taken: BTreeSet<&str> = others.iter().filter_map(|port| text(port, "/name")).collect();
    if !taken.contains(port.name.as_str()) {
        return port.name.clone();
    }
    /// A port's name is a DNS label.
    const NAME_MAX: usize = 63;
    let tail = format!("-{}", port.number);
    let head: String = port.name.chars().take(NAME_MAX - tail.len()).collect();
    format!("{head}{tail}")
}

/// Ports of an apex that stay there whatever we apply: others than ours have them.
fn others<'a>(canary: &Canary, live: &'a Value, number: u16) -> Vec<&'a Value> {
    let managed = items(live, "/metadata/managedFields");
    let all_ours = managed.is_empty() && owned_by(live, canary);
    let stays = |port: &Value| {
        let protocol = text(port, "/protocol").unwrap_or("TCP");
        let same = int(port, "/port") == Some(i64::from(number)) && protocol == "TCP";
        let field = json!({"port": port.get("port"), "protocol": protocol}).to_string();
        let has = |entry: &&Value| {
            let ports = entry.pointer("/fieldsV1/f:spec/f:ports").and_then(Value::as_object);
            ports.is_some_and(|ports| ports.contains_key(&format!("k:{field}")))
        };
        let ours = |entry: &&Value| text(entry, "/manager") == Some(FIELD_MANAGER);
        let mut owners = managed.iter().filter(has).peekable();
        !same && !all_ours && (owners.peek().is_none() || owners.any(|entry| !ours(&entry)))
    };
    items(live, "/spec/ports").iter().filter(|port| stays(port)).collect()
}

/// Ports of a generated Service that the route leads to, by number or name: they go once it does not.
fn in_use<'a>(live: &'a Value, number: u16, mentioned: &BTreeSet<String>) -> Vec<&'a Value> {
    let used = |port: &&Value| {
        let is = int(port, "/port");
        is != Some(i64::from(number))
            && (is.is_some_and(|is| mentioned.contains(&is.to_string()))
                || text(port, "/name").is_some_and(|name| mentioned.contains(name)))
    };
    items(live, "/spec/ports").iter().filter(used).collect()
}

/// Every other port of the target's containers, under its own number.
fn discovered(canary: &Canary, first: &Port, target: &Value) -> Vec<Value> {
    let mut seen = BTreeSet::from([i64::from(canary.spec.service.port)]);
    let mut ports = Vec::new();
    for container in items(target, "/spec/template/spec/containers") {
        let container_name = text(container, "/name").unwrap_or_default();
        if SIDECARS.contains(&container_name) {
            continue;
        }
        for (index, port) in items(container, "/ports").iter().enumerate() {
            let Some(number) = int(port, "/containerPort") else { continue };
            let name = text(port, "/name").filter(|name| !name.is_empty());
            let is_first = match &first.target {
                TargetPort::Number(first) => number == i64::from(*first),
                TargetPort::Name(first) => name == Some(first),
            };
            if is_first || !seen.insert(number) {
                continue;
            }
            let name = name.map_or_else(|| format!("tcp-{container_name}-{index}"), str::to_owned);
            ports.push(json!({
                "name": name, "port": number, "protocol": "TCP", "targetPort": number,
            }));
        }
    }
    ports
}

/// Whether a container of the workload has a port of this name: pods of one that has not serve nothing under it.
pub(super) fn has_port(workload: &Value, name: &str) -> bool {
    let restarting = |container: &&Value| text(container, "/restartPolicy") == Some("Always");
    let spec = "/spec/template/spec";
    items(workload, &format!("{spec}/containers"))
        .iter()
        .chain(items(workload, &format!("{spec}/initContainers")).iter().filter(restarting))
        .flat_map(|container| items(container, "/ports"))
        .any(|port| {
            text(port, "/name") == Some(name)
                && matches!(text(port, "/protocol"), None | Some("TCP"))
        })
}
