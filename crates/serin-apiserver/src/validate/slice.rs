//! Validation of EndpointSlices and addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::field::{Errors, Field};
use super::names;
use super::service::PROTOCOLS;

pub(super) const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

pub(super) fn check(slice: &Field<'_>, old: Option<&Value>, errors: &mut Errors) {
    let kind = slice.child("addressType");
    if kind.is_empty() {
        errors.required(&kind, "");
    } else {
        errors.one_of(&kind, &["FQDN", "IPv4", "IPv6"]);
    }
    ports(&slice.child("ports"), errors);
    let endpoints = slice.child("endpoints");
    if old.is_none_or(|old| old.get("endpoints") != Some(endpoints.value)) {
        for endpoint in endpoints.items() {
            self::endpoint(&endpoint, kind.text(), errors);
        }
    }
    if let Some(old) = old
        && old.get("addressType").unwrap_or(&Value::Null) != kind.value
    {
        errors.invalid(&kind, "field is immutable");
    }
}

fn ports(list: &Field<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for port in list.items() {
        let name = port.child("name");
        if !name.is_empty() {
            errors.invalid_each(&name, names::label(name.text()));
        }
        if !seen.insert(name.text()) {
            errors.duplicate(&name);
        }
        errors.one_of(&port.child("protocol"), PROTOCOLS);
        let protocol = port.child("appProtocol");
        if protocol.is_set() {
            errors.invalid_each(&protocol, names::qualified(protocol.text()));
        }
    }
}

fn endpoint(endpoint: &Field<'_>, kind: &str, errors: &mut Errors) {
    let addresses = endpoint.child("addresses");
    if addresses.is_empty() {
        errors.required(&addresses, "");
    }
    for one in addresses.items() {
        match (kind, one.text().parse::<IpAddr>()) {
            ("IPv4" | "IPv6", Err(_)) => errors.invalid(&one, NO_ADDRESS),
            ("IPv4" | "IPv6", Ok(parsed)) => {
                if parsed.is_ipv4() != (kind == "IPv4") {
                    let why = format!("must be an {kind} address");
                    errors.invalid_as(&addresses, one.value, &why);
                }
                special(&one, parsed, errors);
            }
            ("FQDN", _) => {
                for why in names::subdomain(one.text().trim_end_matches('.')) {
                    errors.invalid(&one, &why);
                }
                if !one.text().contains('.') {
                    errors.invalid(
                        &one,
                        "should be a domain with at least two segments separated by dots",
                    );
                }
            }
            (_, _) => {}
        }
    }
    let node = endpoint.child("nodeName");
    if node.is_set() {
        errors.invalid_each(&node, names::subdomain(node.text()));
    }
    let host = endpoint.child("hostname");
    if host.is_set() {
        errors.invalid_each(&host, names::label(host.text()));
    }
}

/// Checks an IP address: its syntax, and that an endpoint can have it.
pub(super) fn address(at: &Field<'_>, errors: &mut Errors) {
    match at.text().parse::<IpAddr>() {
        Ok(parsed) => special(at, parsed, errors),
        Err(_) => errors.invalid(at, NO_ADDRESS),
    }
}

/// Refuses addresses that no endpoint can have.
fn special(at: &Field<'_>, address: IpAddr, errors: &mut Errors) {
    if address.is_unspecified() {
        errors.invalid(at, &format!("may not be unspecified ({})", at.text()));
    }
    // kube-apiserver refuses loopback addresses too; here, pods are processes with loopback addresses.
    let (unicast, multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    if unicast {
        errors.invalid(at, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if multicast {
        errors.invalid_as(
            at,
            &json!(at.text()),
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        );
    }
}
