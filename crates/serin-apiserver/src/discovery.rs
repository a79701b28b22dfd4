//! Discovery of the served kinds, in the plain and in the aggregated form.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::registry::{Resource, Version, rank};

/// The content type of aggregated discovery.
pub(crate) const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

pub(crate) fn versions() -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
    })
}

/// Groups with their versions, preferred first.
fn groups(resources: &[Arc<Resource>]) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in resources {
        let versions = groups.entry(resource.id.group.clone()).or_default();
        for version in &resource.versions {
            if !versions.contains(&version.name) {
                versions.push(version.name.clone());
            }
        }
    }
    for versions in groups.values_mut() {
        versions.sort_by_key(|name| rank(name));
    }
    groups
}

pub(crate) fn group_list(resources: &[Arc<Resource>]) -> Value {
    let list: Vec<Value> = groups(resources)
        .iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(g, v)| group(g, v))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list})
}

pub(crate) fn one_group(resources: &[Arc<Resource>], name: &str) -> Result<Value, Failure> {
    let groups = groups(resources);
    let versions = groups.get(name).ok_or_else(missing)?;
    let mut body = group(name, versions);
    body["kind"] = json!("APIGroup");
    body["apiVersion"] = json!("v1");
    Ok(body)
}

fn group(name: &str, versions: &[String]) -> Value {
    let list: Vec<Value> = versions
        .iter()
        .map(|v| json!({"groupVersion": format!("{name}/{v}"), "version": v}))
        .collect();
    json!({"name": name, "versions": list, "preferredVersion": list.first()})
}

fn missing() -> Failure {
    Failure::new(404, "NotFound", "the server could not find the requested resource")
}

/// The kinds of one group and version.
pub(crate) fn resource_list(
    resources: &[Arc<Resource>],
    group: &str,
    version: &str,
) -> Result<Value, Failure> {
    let mut list = Vec::new();
    let mut group_version = version.to_owned();
    for resource in resources.iter().filter(|resource| resource.id.group == group) {
        let Some(served) = resource.version(version) else { continue };
        group_version = resource.api_version(version);
        list.push(json!({
            "name": resource.id.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": resource.verbs(),
            "shortNames": resource.short_names,
            "categories": resource.categories,
        }));
        for (sub, kind, verbs) in subresources(resource, served) {
            list.push(json!({
                "name": format!("{}/{sub}", resource.id.plural),
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": kind,
                "verbs": verbs,
            }));
        }
    }
    if list.is_empty() {
        return Err(missing());
    }
    Ok(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list}),
    )
}

fn subresources(
    resource: &Resource,
    version: &Version,
) -> Vec<(&'static str, String, &'static [&'static str])> {
    let mut subs: Vec<(&'static str, String, &'static [&'static str])> = Vec::new();
    if version.status {
        subs.push(("status", resource.kind.clone(), &["get", "patch", "update"]));
    }
    if version.scale.is_some() {
        subs.push(("scale", "Scale".to_owned(), &["get", "patch", "update"]));
    }
    if resource.id.group.is_empty() && resource.id.plural == "pods" {
        subs.push(("log", "Pod".to_owned(), &["get"]));
    }
    subs
}

/// Aggregated discovery of the core group (`/api`) or of all the others (`/apis`).
pub(crate) fn aggregated(resources: &[Arc<Resource>], core: bool) -> Value {
    let items: Vec<Value> = groups(resources)
        .iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> =
                versions.iter().map(|v| aggregated_version(resources, group, v)).collect();
            json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

fn aggregated_version(resources: &[Arc<Resource>], group: &str, version: &str) -> Value {
    let list: Vec<Value> = resources
        .iter()
        .filter(|resource| resource.id.group == group)
        .filter_map(|resource| Some((resource, resource.version(version)?)))
        .map(|(resource, served)| {
            let kind = |kind: &str, group: &str, version: &str| json!({"group": group, "version": version, "kind": kind});
            let subs: Vec<Value> = subresources(resource, served)
                .into_iter()
                .map(|(sub, name, verbs)| {
                    let response = match sub {
                        "scale" => kind("Scale", "autoscaling", "v1"),
                        _ => kind(&name, group, version),
                    };
                    json!({"subresource": sub, "responseKind": response, "verbs": verbs})
                })
                .collect();
            json!({
                "resource": resource.id.plural,
                "responseKind": kind(&resource.kind, group, version),
                "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
                "singularResource": resource.singular,
                "verbs": resource.verbs(),
                "shortNames": resource.short_names,
                "categories": resource.categories,
                "subresources": subs,
            })
        })
        .collect();
    json!({"version": version, "resources": list, "freshness": "Current"})
}

pub(crate) fn version() -> Value {
    json!({
        "major": "1",
        "minor": "37",
        "gitVersion": "v1.37.0+serin",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": "linux/amd64",
    })
}
