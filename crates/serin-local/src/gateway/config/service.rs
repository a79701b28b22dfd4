//! TraefikServices and the Services and EndpointSlices they refer to.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::read::{Object, list, normalize, text};
use super::{Builder, Built, Cookie, Mirroring, Server, Servers, Service, Weighted};

const REFERENCE: [&str; 9] = [
    "kind",
    "name",
    "namespace",
    "port",
    "scheme",
    "strategy",
    "passHostHeader",
    "responseForwarding",
    "nativeLB",
];
pub(super) const WITH_WEIGHT: [&str; 1] = ["weight"];
const WITH_PERCENT: [&str; 1] = ["percent"];
const WITH_MIRRORS: [&str; 3] = ["mirrors", "mirrorBody", "maxBodySize"];

/// What a reference names.
pub(super) enum Reference {
    Traefik(String),
    Leaf(String, Servers),
}

pub(super) fn traefik_service(builder: &mut Builder<'_>, object: &Object<'_>) -> Built<Service> {
    let spec = object.spec();
    builder.only(&object.label, "spec", spec, &["weighted", "mirroring"])?;
    match (&spec["weighted"], &spec["mirroring"]) {
        (weighted, Value::Null) if !weighted.is_null() => build_weighted(builder, object, weighted),
        (Value::Null, mirroring) if !mirroring.is_null() => {
            build_mirroring(builder, object, mirroring)
        }
        (_, _) => {
            Err(builder.problem(&object.label, "spec", "must have either weighted or mirroring"))
        }
    }
}

fn build_weighted(builder: &mut Builder<'_>, object: &Object<'_>, value: &Value) -> Built<Service> {
    builder.only(&object.label, "spec.weighted", value, &["services", "sticky"])?;
    let services =
        weighted_list(builder, object, list(value, "services"), "spec.weighted.services")?;
    let sticky = &value["sticky"];
    if !sticky.is_null() {
        builder.only(&object.label, "spec.weighted.sticky", sticky, &["cookie"])?;
    }
    let sticky = match sticky["cookie"].is_null() {
        true => None,
        false => Some(build_cookie(builder, object, &sticky["cookie"])?),
    };
    Ok(Service::Weighted(Weighted { services, sticky }))
}

pub(super) fn weighted_list(
    builder: &mut Builder<'_>,
    object: &Object<'_>,
    values: &[Value],
    path: &str,
) -> Built<Vec<(String, i64)>> {
    let mut services = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let name = add_reference(builder, object, value, &path, &WITH_WEIGHT)?;
        // A missing weight is 1, not 0.
        let weight = if value["weight"].is_null() { Some(1) } else { value["weight"].as_i64() };
        match weight.filter(|weight| *weight <= i64::from(i32::MAX)) {
            Some(weight) => services.push((name, weight)),
            None => {
                let message = "must be a whole number";
                return Err(builder.problem(&object.label, &format!("{path}.weight"), message));
            }
        }
    }
    Ok(services)
}

fn build_cookie(builder: &mut Builder<'_>, object: &Object<'_>, value: &Value) -> Built<Cookie> {
    const PATH: &str = "spec.weighted.sticky.cookie";
    let known = ["name", "secure", "httpOnly", "sameSite", "maxAge", "path", "domain"];
    builder.only(&object.label, PATH, value, &known)?;
    let same_site = match text(value, "sameSite").map(str::to_ascii_lowercase).as_deref() {
        None => None,
        Some("none") => Some("None"),
        Some("lax") => Some("Lax"),
        Some("strict") => Some("Strict"),
        Some(_) => {
            let message = "must be none, lax or strict";
            return Err(builder.problem(&object.label, &format!("{PATH}.sameSite"), message));
        }
    };
    let generated = || format!("_{}", &hex(&Sha256::digest(object.id().as_bytes()))[..5]);
    let name = text(value, "name").map_or_else(generated, cookie_name);
    let attribute = |field: &str| text(value, field).map(str::to_owned);
    let cookie = Cookie {
        name,
        secure: value["secure"].as_bool().unwrap_or(false),
        http_only: value["httpOnly"].as_bool().unwrap_or(false),
        same_site,
        max_age: value["maxAge"].as_i64().unwrap_or(0),
        path: attribute("path"),
        domain: attribute("domain"),
    };
    let attributes = [cookie.path.as_deref(), cookie.domain.as_deref()];
    if attributes.into_iter().flatten().any(|text| text.contains(';') || !is_visible(text)) {
        return Err(builder.problem(
            &object.label,
            PATH,
            "path or domain is not valid in a cookie",
        ));
    }
    Ok(cookie)
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

// Characters that are not allowed in the name of a cookie become underscores.
fn cookie_name(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    name.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

/// The value of a sticky cookie for a chosen service.
pub(crate) fn cookie_value(service: &str) -> String {
    hex(&Sha256::digest(service.as_bytes()))[..16].to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn build_mirroring(
    builder: &mut Builder<'_>,
    object: &Object<'_>,
    value: &Value,
) -> Built<Service> {
    let main = add_reference(builder, object, value, "spec.mirroring", &WITH_MIRRORS)?;
    let mut mirrors = Vec::new();
    for (index, mirror) in list(value, "mirrors").iter().enumerate() {
        let path = format!("spec.mirroring.mirrors[{index}]");
        let name = add_reference(builder, object, mirror, &path, &WITH_PERCENT)?;
        let percent = mirror["percent"].as_i64().unwrap_or(0);
        match u64::try_from(percent).ok().filter(|percent| *percent <= 100) {
            Some(percent) => mirrors.push((name, percent)),
            None => {
                let message = "must be between 0 and 100";
                return Err(builder.problem(&object.label, &format!("{path}.percent"), message));
            }
        }
    }
    Ok(Service::Mirroring(Mirroring {
        main,
        mirrors,
        mirror_body: value["mirrorBody"].as_bool().unwrap_or(true),
        body_max: value["maxBodySize"].as_i64().unwrap_or(-1),
    }))
}

/// Resolves a reference and keeps the leaf it may name.
fn add_reference(
    builder: &mut Builder<'_>,
    object: &Object<'_>,
    value: &Value,
    path: &str,
    also: &[&str],
) -> Built<String> {
    match reference(builder, object, value, path, also)? {
        Reference::Traefik(name) => Ok(name),
        Reference::Leaf(name, servers) => {
            builder.config.services.insert(name.clone(), Service::Servers(servers));
            Ok(name)
        }
    }
}

pub(super) fn reference(
    builder: &mut Builder<'_>,
    object: &Object<'_>,
    value: &Value,
    path: &str,
    also: &[&str],
) -> Built<Reference> {
    let label = object.label.as_str();
    let known: Vec<&str> = REFERENCE.iter().chain(also).copied().collect();
    builder.only(label, path, value, &known)?;
    let Some(name) = text(value, "name").filter(|name| !name.contains('@')) else {
        let message = "must name a service of this cluster";
        return Err(builder.problem(label, &format!("{path}.name"), message));
    };
    for (field, fine) in [
        ("scheme", text(value, "scheme").is_none_or(|scheme| scheme == "http")),
        ("strategy", text(value, "strategy").is_none_or(|s| s == "wrr" || s == "RoundRobin")),
        ("nativeLB", !value["nativeLB"].as_bool().unwrap_or(false)),
    ] {
        if !fine {
            let message = format!("{} is not supported by the embedded gateway", value[field]);
            return Err(builder.problem(label, &format!("{path}.{field}"), message));
        }
    }
    let namespace = text(value, "namespace").unwrap_or(object.namespace);
    same_namespace(builder, object, namespace, path)?;
    match text(value, "kind").unwrap_or("Service") {
        "TraefikService" => Ok(Reference::Traefik(normalize(&format!("{namespace}-{name}")))),
        "Service" => {
            let target = Target { namespace, name, port: &value["port"], path };
            let servers = servers(builder, object, &target)?;
            let port = port_text(&value["port"]);
            let pass_host_header = value["passHostHeader"].as_bool().unwrap_or(true);
            let leaf = normalize(&format!("{namespace}-{name}-{port}"));
            Ok(Reference::Leaf(leaf, Servers { servers, pass_host_header }))
        }
        other => {
            let message = format!("{other} is neither Service nor TraefikService");
            Err(builder.problem(label, &format!("{path}.kind"), message))
        }
    }
}

pub(super) fn same_namespace(
    builder: &mut Builder<'_>,
    object: &Object<'_>,
    namespace: &str,
    path: &str,
) -> Built<()> {
    if namespace == object.namespace {
        return Ok(());
    }
    let message = "references to other namespaces are not allowed (allowCrossNamespace is off)";
    Err(builder.problem(&object.label, &format!("{path}.namespace"), message))
}

struct Target<'a> {
    namespace: &'a str,
    name: &'a str,
    port: &'a Value,
    path: &'a str,
}

fn port_text(port: &Value) -> String {
    port.as_str().map_or_else(|| port.to_string(), str::to_owned)
}

// A Service without endpoints is fine (allowEmptyServices): its share of requests is answered with 503.
fn servers(
    builder: &mut Builder<'_>,
    object: &Object<'_>,
    target: &Target<'_>,
) -> Built<Vec<Server>> {
    let Target { namespace, name, port, path } = *target;
    let objects = builder.objects;
    let services = objects.services.iter().map(|value| Object::new("Service", value));
    let Some(service) = services.into_iter().find(|s| s.namespace == namespace && s.name == name)
    else {
        let message = format!("Service {namespace}/{name} does not exist");
        return Err(builder.problem(&object.label, &format!("{path}.name"), message));
    };
    if text(service.spec(), "type") == Some("ExternalName") {
        let message = "Services of type ExternalName are not supported";
        return Err(builder.problem(&object.label, &format!("{path}.name"), message));
    }
    let ports = list(service.spec(), "ports");
    let found = ports.iter().find(|candidate| match (port.as_i64(), port.as_str()) {
        (Some(number), _) => candidate["port"].as_i64() == Some(number),
        (None, Some(wanted)) => text(candidate, "name") == Some(wanted),
        (None, None) => false,
    });
    let Some(found) = found else {
        let message = format!("Service {namespace}/{name} has no port {}", port_text(port));
        return Err(builder.problem(&object.label, &format!("{path}.port"), message));
    };
    let port_name = text(found, "name").unwrap_or("");
    if found["port"].as_i64() == Some(443) || port_name.starts_with("https") {
        let message = "backends that speak HTTPS are not supported";
        return Err(builder.problem(&object.label, &format!("{path}.port"), message));
    }
    Ok(endpoints(builder, namespace, name, port_name))
}

fn endpoints(builder: &Builder<'_>, namespace: &str, name: &str, port_name: &str) -> Vec<Server> {
    let mut found: BTreeMap<String, bool> = BTreeMap::new();
    for value in &builder.objects.endpoint_slices {
        let slice = Object::new("EndpointSlice", value);
        let owner = text(&value["metadata"]["labels"], "kubernetes.io/service-name");
        if slice.namespace != namespace || owner != Some(name) {
            continue;
        }
        // A port without a name (null) matches nothing; an unnamed port is called "".
        let port =
            list(value, "ports").iter().find(|port| port["name"].as_str() == Some(port_name));
        let Some(port) = port.and_then(|port| port["port"].as_u64()) else { continue };
        for endpoint in list(value, "endpoints") {
            let conditions = &endpoint["conditions"];
            if conditions["serving"].as_bool() == Some(false) {
                continue;
            }
            let fenced = conditions["terminating"].as_bool().unwrap_or(false);
            for address in list(endpoint, "addresses").iter().filter_map(Value::as_str) {
                let authority = match address.contains(':') {
                    true => format!("[{address}]:{port}"),
                    false => format!("{address}:{port}"),
                };
                found.entry(authority).or_insert(fenced);
            }
        }
    }
    found.into_iter().map(|(authority, fenced)| Server { authority, fenced }).collect()
}
