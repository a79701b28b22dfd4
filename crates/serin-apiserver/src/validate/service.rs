//! Validation of Services.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::field::{Errors, Field};
use super::{meta, names};

pub(super) const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

pub(super) fn check(spec: &Field<'_>, old: Option<&Value>, errors: &mut Errors) {
    if let Some(old) = old {
        addresses_stay(spec, old, errors);
    }
    let kind = spec.child("type");
    let headless = spec.child("clusterIP").text() == "None";
    let ports = spec.child("ports");
    if ports.is_empty() && !headless && kind.text() != "ExternalName" {
        errors.required(&ports, "");
    }
    match kind.text() {
        "LoadBalancer" | "NodePort" if headless => {
            let at = Field {
                path: format!("{}.clusterIPs[0]", spec.path),
                value: spec.child("clusterIP").value,
            };
            errors.invalid(&at, &format!("may not be set to 'None' for {} services", kind.text()));
        }
        "ExternalName" => external_name(spec, errors),
        _ => {}
    }
    let mut seen = BTreeSet::new();
    for port in ports.items() {
        self::port(
            &port,
            ports.value.as_array().is_some_and(|list| list.len() > 1),
            &mut seen,
            errors,
        );
    }
    meta::labels(&spec.child("selector"), errors);
    affinity(spec, errors);
    cluster_address(spec, errors);
    for address in spec.child("externalIPs").items() {
        super::slice::address(&address, errors);
    }
    errors.one_of(&kind, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    port_sets(spec, errors);
    policies(spec, errors);
}

fn external_name(spec: &Field<'_>, errors: &mut Errors) {
    if !spec.child("clusterIPs").is_empty() {
        errors.forbidden(&spec.child("clusterIPs"), "may not be set for ExternalName services");
    }
    for field in ["ipFamilies", "ipFamilyPolicy"] {
        let field = spec.child(field);
        if !field.is_empty() {
            errors.forbidden(&field, "may not be set for ExternalName services");
        }
    }
    let name = spec.child("externalName");
    let bare = name.text().trim_end_matches('.');
    if bare.is_empty() {
        errors.required(&name, "");
    } else {
        errors.invalid_each(&name, names::subdomain(bare));
    }
}

fn port<'a>(port: &Field<'a>, named: bool, seen: &mut BTreeSet<&'a str>, errors: &mut Errors) {
    let name = port.child("name");
    if named && name.is_empty() {
        errors.required(&name, "");
    } else if !name.is_empty() {
        errors.invalid_each(&name, names::label(name.text()));
        if !seen.insert(name.text()) {
            errors.duplicate(&name);
        }
    }
    let number = port.child("port");
    let shown = json!(number.number());
    for why in names::port_number(number.number()) {
        errors.invalid_as(&number, &shown, &why);
    }
    errors.one_of(&port.child("protocol"), PROTOCOLS);
    number_or_name(&port.child("targetPort"), errors);
    let protocol = port.child("appProtocol");
    if protocol.is_set() {
        errors.invalid_each(&protocol, names::qualified(protocol.text()));
    }
}

/// Checks a port of a pod, by number or by name.
pub(super) fn number_or_name(port: &Field<'_>, errors: &mut Errors) {
    match port.value {
        Value::String(text) => errors.invalid_each(port, names::port_name(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            let shown = json!(port.number());
            for why in names::port_number(port.number()) {
                errors.invalid_as(port, &shown, &why);
            }
        }
    }
}

fn affinity(spec: &Field<'_>, errors: &mut Errors) {
    let (affinity, config) = (spec.child("sessionAffinity"), spec.child("sessionAffinityConfig"));
    errors.one_of(&affinity, &["ClientIP", "None"]);
    match affinity.text() {
        "ClientIP" => {
            let timeout = config.child("clientIP").child("timeoutSeconds");
            if !(1..=86_400).contains(&timeout.number()) {
                errors.invalid(&timeout, "must be greater than 0 and less than 86400");
            }
        }
        "None" if config.is_set() => {
            errors.forbidden(&config, "must not be set when session affinity is None");
        }
        _ => {}
    }
}

fn cluster_address(spec: &Field<'_>, errors: &mut Errors) {
    let address = spec.child("clusterIP");
    if spec.child("type").text() == "ExternalName" || address.is_empty() || address.text() == "None"
    {
        return;
    }
    if address.text().parse::<std::net::IpAddr>().is_err() {
        let at = Field { path: format!("{}.clusterIPs[0]", spec.path), value: address.value };
        errors.invalid(&at, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
}

/// Refuses a change of a Service's address.
fn addresses_stay(spec: &Field<'_>, old: &Value, errors: &mut Errors) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kinds = (text(&old["type"]), spec.child("type").text());
    if kinds.0 == "ExternalName" || kinds.1 == "ExternalName" {
        return;
    }
    let before = text(&old["clusterIP"]);
    let after = spec.child("clusterIP");
    if !before.is_empty() && after.text() != before {
        let list = spec.child("clusterIPs");
        let first = Field { path: format!("{}[0]", list.path), value: after.value };
        errors.invalid_as(&first, &json!([after.text()]), "may not change once set");
    }
}

/// Refuses two ports with one number and protocol.
fn port_sets(spec: &Field<'_>, errors: &mut Errors) {
    let cluster = spec.child("type").text() == "ClusterIP";
    for port in spec.child("ports").items() {
        let node_port = port.child("nodePort");
        if cluster && node_port.number() != 0 {
            errors.forbidden(&node_port, "may not be used when `type` is 'ClusterIP'");
        }
    }
    let (mut node_ports, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for port in spec.child("ports").items() {
        let node_port = port.child("nodePort");
        let key = (port.child("protocol").text(), node_port.number());
        if key.1 != 0 && !node_ports.insert(key) {
            errors.duplicate(&node_port);
        }
    }
    for port in spec.child("ports").items() {
        let key = (port.child("protocol").text(), port.child("port").number());
        if !numbers.insert(key) {
            // The message shows a port with nothing else set, as kube-apiserver prints its own type.
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                json!(key.0),
                key.1
            );
            errors.duplicate_as(&port, &shown);
        }
    }
}

fn policies(spec: &Field<'_>, errors: &mut Errors) {
    let outside = matches!(spec.child("type").text(), "LoadBalancer" | "NodePort")
        || (spec.child("type").text() == "ClusterIP" && !spec.child("externalIPs").is_empty());
    let external = spec.child("externalTrafficPolicy");
    if !outside && !external.is_empty() {
        errors.invalid(&external, "may only be set for externally-accessible services");
    } else if outside {
        errors.one_of(&external, &["Cluster", "Local"]);
    }
    let internal = spec.child("internalTrafficPolicy");
    if internal.is_set() {
        errors.one_of(&internal, &["Cluster", "Local"]);
    }
    let distribution = spec.child("trafficDistribution");
    if distribution.is_set() {
        errors.one_of(&distribution, &["PreferClose", "PreferSameZone", "PreferSameNode"]);
    }
}
