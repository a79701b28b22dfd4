//! The part of `spec.service` that makes a route: read only for providers that carry it out.

use super::doc::Doc;
use super::doc::says_something;
use super::{duration, matching, object_name};
use crate::model::Provider;
use crate::model::routing::{Cors, GatewayRef, HeaderChanges, PathRewrite, Rewrite, Routing};

const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
/// The Gateway API's own bounds.
const GATEWAYS_MAX: usize = 32;
const HOSTS_MAX: usize = 16;
const HEADERS_MAX: usize = 16;

pub(super) fn read(service: &Doc<'_>, provider: &Provider) -> Routing {
    let honours = |field: &str| provider.honours(&format!("spec.service.{field}"));
    let mut routing = Routing::default();
    if honours("gatewayRefs") {
        routing.gateways =
            bounded(service, "gatewayRefs", GATEWAYS_MAX).iter().map(gateway).collect();
    }
    if honours("hosts") {
        routing.hosts = hosts(service);
    }
    if honours("match") {
        routing.matches = matching::read_rules(service);
    }
    if honours("rewrite") {
        routing.rewrite = service.object("rewrite").and_then(|doc| rewrite(&doc));
    }
    if honours("headers") {
        let doc = service.object_or_empty("headers");
        routing.request_headers = headers(&doc.object_or_empty("request"));
        routing.response_headers = headers(&doc.object_or_empty("response"));
    }
    if honours("timeout") {
        routing.timeout = time(service, "timeout");
        routing.backend_timeout = time(service, "backendTimeout");
    }
    if honours("corsPolicy") {
        routing.cors = service.object("corsPolicy").map(|doc| cors(&doc));
    }
    routing
}

/// The user's own route, where `routeRef` names one of the kind that the provider has.
pub(super) fn users_route(spec: &Doc<'_>, provider: &Provider) -> Option<String> {
    let wanted = provider.route_kind?;
    let reference = spec.object("routeRef")?;
    let kind = reference.text("kind").unwrap_or(wanted);
    if kind != wanted && provider.honours("spec.service.gatewayRefs") {
        reference.error("kind", format!("must be {wanted} with provider {provider}, not {kind}"));
    } else if kind != wanted {
        let message = "is for another router and fills only the template words of queries here";
        spec.no_effect("routeRef", message);
        return None;
    }
    reference.text("name").map(str::to_owned)
}

/// Where the route comes from: made from the spec, or the user's own.
pub(super) fn check(spec: &Doc<'_>, provider: &Provider) {
    if !provider.honours("spec.service.gatewayRefs") {
        return;
    }
    let service = spec.object_or_empty("service");
    if spec.raw("routeRef").is_none() {
        let none = |refs: &serde_json::Value| refs.as_array().is_some_and(Vec::is_empty);
        if service.raw("gatewayRefs").is_none_or(none) {
            service.error_use(
                "gatewayRefs",
                format!("is required with provider {provider}"),
                "name the Gateway that the route attaches to, or your own HTTPRoute with spec.routeRef",
            );
        }
        return;
    }
    let made = provider.honours.iter().filter_map(|path| path.strip_prefix("spec.service."));
    for field in made.filter(|field| service.raw(field).is_some_and(says_something)) {
        service.no_effect(field, "has no effect beside spec.routeRef: that route is yours");
    }
}

fn bounded<'a>(doc: &Doc<'a>, field: &str, max: usize) -> Vec<Doc<'a>> {
    let mut docs = doc.objects(field);
    if docs.len() > max {
        doc.error(field, format!("must have at most {max} entries, not {}", docs.len()));
        docs.truncate(max);
    }
    docs
}

fn gateway(doc: &Doc<'_>) -> GatewayRef {
    let name = doc.required("name");
    if !name.is_empty() {
        object_name(doc, "name", name);
    }
    GatewayRef {
        group: doc.text("group").unwrap_or(GATEWAY_GROUP).to_owned(),
        kind: doc.text("kind").unwrap_or("Gateway").to_owned(),
        namespace: doc.text("namespace").map(str::to_owned),
        name: name.to_owned(),
        section: doc.text("sectionName").map(str::to_owned),
        port: doc.within("port", 1, 65535).and_then(|port| u16::try_from(port).ok()),
    }
}

/// Host names as the Gateway API takes them: no port, no `*` but as the whole first label.
fn hosts(doc: &Doc<'_>) -> Vec<String> {
    let mut hosts = doc.texts("hosts");
    if hosts.len() > HOSTS_MAX {
        doc.error("hosts", format!("must have at most {HOSTS_MAX} entries, not {}", hosts.len()));
        hosts.truncate(HOSTS_MAX);
    }
    // Flagger's way to say every host.
    hosts.retain(|host| host != "*");
    for (place, host) in hosts.iter().enumerate() {
        let name = host.strip_prefix("*.").unwrap_or(host);
        let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let label = |label: &str| {
            let ends = label.starts_with('-') || label.ends_with('-');
            !label.is_empty() && label.len() <= 63 && !ends && label.bytes().all(inside)
        };
        if name.len() > 253 || !name.split('.').all(label) {
            let field = format!("hosts[{place}]");
            doc.error(
                &field,
                format!("{host:?} is no host name such as app.example.com or *.example.com"),
            );
        }
    }
    hosts
}

fn rewrite(doc: &Doc<'_>) -> Option<Rewrite> {
    if doc.raw("uriRegexRewrite").is_some() {
        doc.error_use("uriRegexRewrite", "is for Istio", "use uri");
    }
    let uri = doc.text("uri").map(str::to_owned);
    let path = match doc.text("type") {
        None | Some("ReplaceFullPath") => uri.map(PathRewrite::Full),
        Some("ReplacePrefixMatch") => uri.map(PathRewrite::Prefix),
        Some(other) => {
            doc.error("type", format!("{other:?} is none of ReplaceFullPath, ReplacePrefixMatch"));
            None
        }
    };
    let read = Rewrite { host: doc.text("authority").map(str::to_owned), path };
    (read != Rewrite::default()).then_some(read)
}

fn headers(doc: &Doc<'_>) -> HeaderChanges {
    let read = HeaderChanges {
        add: doc.text_map("add"),
        set: doc.text_map("set"),
        remove: doc.texts("remove"),
    };
    let (add, set, remove) = (read.add.len(), read.set.len(), read.remove.len());
    for (field, len) in [("add", add), ("set", set), ("remove", remove)] {
        if len > HEADERS_MAX {
            doc.error(field, format!("must have at most {HEADERS_MAX} entries, not {len}"));
        }
    }
    read
}

/// A duration as the Gateway API writes it: hours, minutes, seconds and milliseconds.
fn time(doc: &Doc<'_>, field: &str) -> Option<String> {
    let text = doc.text(field)?;
    let whole = duration::millis(text).is_some_and(|millis| millis >= 0)
        && text.bytes().all(|b| b.is_ascii_digit() || b"hms".contains(&b));
    if !whole {
        doc.error(field, format!("{text:?} is no duration such as 15s or 500ms"));
    }
    Some(text.to_owned())
}

fn cors(doc: &Doc<'_>) -> Cors {
    let mut origins = doc.texts("allowOrigin");
    for origin in doc.objects("allowOrigins") {
        match origin.text("exact") {
            Some(exact) => origins.push(exact.to_owned()),
            None => origin.error_use(
                "exact",
                "is required: the Gateway API has no patterns of origins",
                "name the origins",
            ),
        }
    }
    Cors {
        origins,
        methods: doc.texts("allowMethods"),
        headers: doc.texts("allowHeaders"),
        exposed: doc.texts("exposeHeaders"),
        max_age_secs: doc.text("maxAge").and_then(|text| match duration::seconds(text) {
            Some(secs) => Some(secs),
            None => {
                doc.error("maxAge", format!("{text:?} is no duration such as 24h"));
                None
            }
        }),
        credentials: doc.flag("allowCredentials"),
    }
}
