//! MetricTemplates and AlertProviders.

use std::collections::BTreeMap;

use serde_json::Value;

use super::doc::{Complaints, Doc};
use super::{Meta, address, reference, root_kind};
use crate::model::{
    AlertProvider, ChatKind, Finding, FindingCode, Key, MetricBackend, MetricKind, MetricTemplate,
    metric_kind,
};

/// Longer names of regions are mistakes.
const REGION_MAX: usize = 40;

pub fn metric_template(object: &Value) -> Result<MetricTemplate, Vec<Finding>> {
    let complaints = Complaints::default();
    let root = Doc::root(object, &complaints);
    root_kind(&root, "MetricTemplate");
    let meta = Meta::read(&root);
    let spec = required_object(&root, "spec");
    let provider = required_object(&spec, "provider");
    let kind = metric_kind(&provider);
    let template = MetricTemplate {
        key: meta.key.unwrap_or_else(|| Key::new("", "")),
        generation: meta.generation,
        provider: MetricBackend {
            kind: kind.unwrap_or(&metric_kind::PROMETHEUS),
            address: address(&provider, "address"),
            region: region(&provider, kind),
            headers: headers(&provider),
            secret: reference(&provider, "secretRef"),
            insecure_skip_verify: provider.flag("insecureSkipVerify"),
        },
        query: spec.required("query").to_owned(),
    };
    finish(template, complaints)
}

/// What the catalogue has of this name, or a complaint. Flagger takes an unknown type for Prometheus, which answers a question
/// nobody asked.
fn metric_kind(provider: &Doc<'_>) -> Option<&'static MetricKind> {
    let name = provider.required("type");
    let kind = MetricKind::named(name);
    match kind {
        Some(kind) => {
            if kind.home == metric_kind::Home::Named && provider.raw("address").is_none() {
                provider.is_required("address");
            }
            let named = provider.raw("secretRef").is_some();
            if kind.keys.secret == metric_kind::Need::Required && !named {
                let message =
                    format!("is required: {name} needs a Secret with {}", kind.keys.words());
                let finding = Finding::error(provider.at("secretRef"), message);
                provider.add(finding.coded(FindingCode::Required));
            }
        }
        None if name.is_empty() => {}
        None if metric_kind::LATER.contains(&name) => {
            let finding =
                Finding::unsupported(provider.at("type"), format!("{name} is not supported yet"));
            provider.add(finding.way_out(metric_kind::use_another()));
        }
        None => {
            provider.error_use(
                "type",
                format!("unknown type {name:?}"),
                metric_kind::use_another(),
            );
        }
    }
    kind
}

/// Part of a host name, so that nothing may stand in it that leads to another host.
fn region(provider: &Doc<'_>, kind: Option<&'static MetricKind>) -> Option<String> {
    let Some(region) = provider.text("region") else {
        if kind.is_some_and(|kind| kind.needs_region) {
            provider.is_required("region");
        }
        return None;
    };
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if region.len() > REGION_MAX || !region.bytes().all(fits) {
        provider.error_use(
            "region",
            format!("{region:?} is no region"),
            "write one such as eu-west-1",
        );
    }
    Some(region.to_owned())
}

fn headers(provider: &Doc<'_>) -> BTreeMap<String, Vec<String>> {
    let Some(doc) = provider.object("headers") else { return BTreeMap::new() };
    doc.entries().map(|(name, _)| (name.clone(), doc.texts(name))).collect()
}

pub fn alert_provider(object: &Value) -> Result<AlertProvider, Vec<Finding>> {
    let complaints = Complaints::default();
    let root = Doc::root(object, &complaints);
    root_kind(&root, "AlertProvider");
    let meta = Meta::read(&root);
    let spec = required_object(&root, "spec");
    let name = spec.required("type");
    let kind = ChatKind::ALL.into_iter().find(|kind| kind.name() == name);
    if kind.is_none() && !name.is_empty() {
        let known = ChatKind::ALL.map(ChatKind::name).join(", ");
        spec.error_use("type", format!("unknown type {name:?}"), format!("use {known}"));
    }
    let secret = reference(&spec, "secretRef");
    let address = address(&spec, "address");
    if spec.raw("secretRef").is_none() && spec.raw("address").is_none() {
        spec.error("address", "is required unless a secretRef has it");
    }
    let provider = AlertProvider {
        key: meta.key.unwrap_or_else(|| Key::new("", "")),
        generation: meta.generation,
        kind: kind.unwrap_or(ChatKind::Slack),
        channel: spec.text("channel").unwrap_or("general").to_owned(),
        username: spec.text("username").unwrap_or("flagger").to_owned(),
        address,
        proxy: super::address(&spec, "proxy"),
        secret,
    };
    finish(provider, complaints)
}

pub(super) fn required_object<'a>(doc: &Doc<'a>, field: &str) -> Doc<'a> {
    if doc.raw(field).is_none() {
        doc.is_required(field);
    }
    doc.object_or_empty(field)
}

fn finish<T>(value: T, complaints: Complaints) -> Result<T, Vec<Finding>> {
    let (errors, _) = complaints.into_parts();
    if errors.is_empty() { Ok(value) } else { Err(errors) }
}
