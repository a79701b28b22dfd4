//! Validation of Ingresses.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::field::{Errors, Field};
use super::names;

const CLASS: &str = "kubernetes.io/ingress.class";

pub(super) fn check(ingress: &Field<'_>, new: bool, errors: &mut Errors) {
    let spec = ingress.child("spec");
    let (rules, default) = (spec.child("rules"), spec.child("defaultBackend"));
    if rules.is_empty() && !default.is_set() {
        errors.invalid_as(
            &spec,
            rules.value,
            "either `defaultBackend` or `rules` must be specified",
        );
    }
    if default.is_set() {
        backend(&default, errors);
    }
    for rule in rules.items() {
        self::rule(&rule, errors);
    }
    for entry in spec.child("tls").items() {
        for host in entry.child("hosts").items() {
            name_of_host(&host, errors);
        }
        let secret = entry.child("secretName");
        if !secret.is_empty() {
            errors.invalid_each(&secret, names::subdomain(secret.text()));
        }
    }
    let class = spec.child("ingressClassName");
    if class.is_set() {
        errors.invalid_each(&class, names::subdomain(class.text()));
    }
    let annotation = ingress.child("metadata").child("annotations").child(CLASS);
    if new && annotation.is_set() && class.is_set() && annotation.text() != class.text() {
        let at = Field { path: format!("annotations.{CLASS}"), value: annotation.value };
        errors.invalid(&at, "must match `ingressClassName` when both are specified");
    }
}

fn name_of_host(host: &Field<'_>, errors: &mut Errors) {
    if host.text().contains('*') {
        errors.invalid_each(host, names::wildcard(host.text()));
    } else {
        errors.invalid_each(host, names::subdomain(host.text()));
    }
}

fn rule(rule: &Field<'_>, errors: &mut Errors) {
    let host = rule.child("host");
    if !host.is_empty() {
        if host.text().parse::<IpAddr>().is_ok() {
            errors.invalid(&host, "must be a DNS name, not an IP address");
        }
        name_of_host(&host, errors);
    }
    let http = rule.child("http");
    if !http.is_set() {
        return;
    }
    let paths = http.child("paths");
    if paths.is_empty() {
        errors.required(&paths, "");
    }
    for path in paths.items() {
        self::path(&path, errors);
    }
}

fn path(entry: &Field<'_>, errors: &mut Errors) {
    let (kind, path) = (entry.child("pathType"), entry.child("path"));
    let shown = json!(path.text());
    match kind.text() {
        _ if !kind.is_set() => {
            errors.required(&kind, "pathType must be specified");
            return;
        }
        "Exact" | "Prefix" => {
            if !path.text().starts_with('/') {
                errors.invalid_as(&path, &shown, "must be an absolute path");
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if path.text().contains(part) {
                    errors.invalid(&path, &format!("must not contain '{part}'"));
                }
            }
            for end in ["/..", "/."] {
                if path.text().ends_with(end) {
                    errors.invalid(&path, &format!("cannot end with '{end}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if !path.is_empty() && !path.text().starts_with('/') {
                errors.invalid(&path, "must be an absolute path");
            }
        }
        _ => errors.unsupported(&kind, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    backend(&entry.child("backend"), errors);
}

fn backend(backend: &Field<'_>, errors: &mut Errors) {
    let (resource, service) = (backend.child("resource"), backend.child("service"));
    let why = match (resource.is_set(), service.is_set()) {
        (true, true) => "cannot set both resource and service backends",
        (false, false) => "resource or service backend is required",
        (true, false) => return,
        (false, true) => return self::service(backend, &service, errors),
    };
    errors.invalid_as(backend, &json!(""), why);
}

fn service(backend: &Field<'_>, service: &Field<'_>, errors: &mut Errors) {
    let name = service.child("name");
    if name.is_empty() {
        errors.required(&name, "");
    } else {
        errors.invalid_each(&name, names::label(name.text()));
    }
    let (named, number) =
        (service.child("port").child("name"), service.child("port").child("number"));
    match (named.is_empty(), number.number()) {
        (false, 0) => errors.invalid_each(&named, names::port_name(named.text())),
        (false, _) => {
            errors.invalid_as(backend, &json!(""), "cannot set both port name & port number");
        }
        (true, 0) => errors.required(backend, "port name or number is required"),
        (true, at) => errors.invalid_each(&number, names::port_number(at)),
    }
    debug_assert!(matches!(service.value, Value::Object(_)));
}
