//! `spec.service`: the apex Service and its two siblings.

use serde_json::Value;

use super::doc::{Doc, kind};
use super::routing;
use crate::model::routing::Routing;
use crate::model::{Meta, Provider, Service, TargetPort};
use crate::names::LABEL_MAX;

/// A port's name, by the API server's rule.
const PORT_NAME_MAX: usize = 15;

const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameZone", "PreferSameNode"];

pub(super) fn read(spec: &Doc<'_>, target: &str, provider: Option<&Provider>) -> Service {
    if spec.raw("service").is_none() {
        spec.is_required("service");
    }
    let doc = match spec.raw("service") {
        Some(_) => spec.object("service"),
        None => None,
    };
    let Some(doc) = doc else { return empty(target) };
    let port = match doc.raw("port") {
        Some(_) => doc.within("port", 1, 65535).and_then(as_port).unwrap_or_default(),
        None => {
            doc.is_required("port");
            0
        }
    };
    let unmanaged = doc.object_or_empty("unmanagedMetadata");
    Service {
        name: name(&doc, target),
        port,
        port_name: port_name(&doc),
        target_port: target_port(&doc),
        app_protocol: doc.text("appProtocol").map(str::to_owned),
        port_discovery: doc.flag("portDiscovery"),
        headless: doc.flag("headless"),
        traffic_distribution: distribution(&doc),
        apex: meta(&doc, "apex"),
        primary: meta(&doc, "primary"),
        canary: meta(&doc, "canary"),
        routing: provider.map(|provider| routing::read(&doc, provider)).unwrap_or_default(),
        unmanaged_annotations: unmanaged.texts("annotations"),
        unmanaged_labels: unmanaged.texts("labels"),
    }
}

/// Stands in after a complaint.
fn empty(target: &str) -> Service {
    Service {
        name: target.to_owned(),
        port: 0,
        port_name: None,
        target_port: None,
        app_protocol: None,
        port_discovery: false,
        headless: false,
        traffic_distribution: None,
        apex: Meta::default(),
        primary: Meta::default(),
        canary: Meta::default(),
        routing: Routing::default(),
        unmanaged_annotations: Vec::new(),
        unmanaged_labels: Vec::new(),
    }
}

fn name(doc: &Doc<'_>, target: &str) -> String {
    let written = doc.text("name");
    let name = written.unwrap_or(target);
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let label = name.bytes().all(inside)
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-');
    let message = if name.len() > LABEL_MAX {
        format!("must have at most {LABEL_MAX} characters")
    } else if !label && !name.is_empty() {
        "is no Service name: lower-case letters, digits and '-', starting with a letter".to_owned()
    } else {
        return name.to_owned();
    };
    match written {
        Some(_) => doc.error("name", format!("{name:?} {message}")),
        None => doc.error_use(
            "name",
            format!("{name:?} (from targetRef.name) {message}"),
            "name the Service with spec.service.name",
        ),
    }
    name.to_owned()
}

fn port_name(doc: &Doc<'_>) -> Option<String> {
    let name = doc.text("portName")?;
    // A Service's own port names are DNS labels of up to 63 characters.
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.len() > 63 || !name.bytes().all(inside) || name.starts_with('-') || name.ends_with('-')
    {
        doc.error(
            "portName",
            format!("{name:?} is no port name: lower-case letters, digits and '-'"),
        );
    }
    Some(name.to_owned())
}

/// A number or a name; Flagger reads zero in either form as unset.
fn target_port(doc: &Doc<'_>) -> Option<TargetPort> {
    match doc.raw("targetPort")? {
        Value::Number(_) => {
            let number = doc.within("targetPort", 0, 65535).and_then(as_port).unwrap_or_default();
            (number != 0).then_some(TargetPort::Number(number))
        }
        Value::String(text) if text.is_empty() || text == "0" => None,
        Value::String(text) => Some(match text.parse::<u16>() {
            Ok(number) => TargetPort::Number(number),
            Err(_) => {
                container_port_name(doc, text);
                TargetPort::Name(text.clone())
            }
        }),
        other @ (Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            let found = kind(other);
            doc.error("targetPort", format!("must be a number or a port's name, not {found}"));
            None
        }
    }
}

fn container_port_name(doc: &Doc<'_>, name: &str) {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let letter = name.bytes().any(|b| b.is_ascii_lowercase());
    let edges = name.starts_with('-') || name.ends_with('-') || name.contains("--");
    if name.len() > PORT_NAME_MAX || !name.bytes().all(inside) || !letter || edges {
        let message = format!(
            "{name:?} is no port name: at most {PORT_NAME_MAX} lower-case letters, digits and '-'"
        );
        doc.error("targetPort", message);
    }
}

fn distribution(doc: &Doc<'_>) -> Option<String> {
    let text = doc.text("trafficDistribution")?;
    if !DISTRIBUTIONS.contains(&text) {
        let way_out = format!("use {}", DISTRIBUTIONS.join(", "));
        doc.error_use("trafficDistribution", format!("unknown value {text:?}"), way_out);
    }
    Some(text.to_owned())
}

fn meta(doc: &Doc<'_>, field: &str) -> Meta {
    let doc = doc.object_or_empty(field);
    Meta { labels: doc.text_map("labels"), annotations: doc.text_map("annotations") }
}

fn as_port(number: i64) -> Option<u16> {
    u16::try_from(number).ok()
}
