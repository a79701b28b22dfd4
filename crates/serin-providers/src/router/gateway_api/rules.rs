//! Rules of an HTTPRoute: from the spec, with the canary's exposure in them, and back to the apex.
//!
//! Everything that the API would fill in is written out, so that what is live compares equal to what is wanted.

use serde_json::{Value, json};
use serin_core::model::routing::{Cors, HeaderChanges, PathRewrite, Routing};
use serin_core::model::{Canary, Exposure, RequestMatch, TextMatch, Weight};

use super::{Side, side, weights, with_weights};
use crate::change::TRAEFIK_SERVICE;
use crate::json::{int, items, set};

const FILTERS: &str = "/filters";

/// How the primary's requests are copied to the canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copies {
    None,
    /// So many percent, by a filter of each rule.
    ByFilter(Weight),
    /// By the service that stands in the primary's place.
    ByService,
}

/// `spec` of a route that is made here; its one rule leads to the apex until an exposure is put into it.
pub(super) fn generated(canary: &Canary) -> Value {
    let Routing { gateways, hosts, .. } = &canary.spec.service.routing;
    let parents: Vec<Value> = gateways
        .iter()
        .map(|gateway| {
            let mut parent =
                json!({"group": gateway.group, "kind": gateway.kind, "name": gateway.name});
            if let Some(namespace) = &gateway.namespace {
                set(&mut parent, "namespace", json!(namespace));
            }
            if let Some(section) = &gateway.section {
                set(&mut parent, "sectionName", json!(section));
            }
            if let Some(port) = gateway.port {
                set(&mut parent, "port", json!(port));
            }
            parent
        })
        .collect();
    let mut spec = json!({"parentRefs": parents, "rules": [rule(canary)]});
    if !hosts.is_empty() {
        set(&mut spec, "hostnames", json!(hosts));
    }
    spec
}

fn rule(canary: &Canary) -> Value {
    let routing = &canary.spec.service.routing;
    let mut matches: Vec<Value> = routing.matches.iter().map(condition).collect();
    if matches.is_empty() {
        matches.push(condition(&RequestMatch::default()));
    }
    let apex = backend(canary, &canary.spec.service.name, Weight::FULL, None);
    let mut rule = json!({"matches": matches, "backendRefs": [apex]});
    let filters = filters(routing);
    if !filters.is_empty() {
        set(&mut rule, "filters", Value::Array(filters));
    }
    let times = [("request", &routing.timeout), ("backendRequest", &routing.backend_timeout)];
    let timeouts: serde_json::Map<String, Value> = times
        .into_iter()
        .filter_map(|(name, time)| Some((name.to_owned(), json!(time.as_ref()?))))
        .collect();
    if !timeouts.is_empty() {
        set(&mut rule, "timeouts", Value::Object(timeouts));
    }
    rule
}

fn filters(routing: &Routing) -> Vec<Value> {
    let mut filters = Vec::new();
    let changes = [
        ("RequestHeaderModifier", "requestHeaderModifier", &routing.request_headers),
        ("ResponseHeaderModifier", "responseHeaderModifier", &routing.response_headers),
    ];
    for (kind, field, changes) in changes.into_iter().filter(|(.., changes)| !changes.is_empty()) {
        filters.push(json!({"type": kind, field: header_changes(changes)}));
    }
    if let Some(rewrite) = &routing.rewrite {
        let mut filter = json!({});
        if let Some(host) = &rewrite.host {
            set(&mut filter, "hostname", json!(host));
        }
        let path = rewrite.path.as_ref().map(|path| match path {
            PathRewrite::Full(path) => json!({"type": "ReplaceFullPath", "replaceFullPath": path}),
            PathRewrite::Prefix(path) => {
                json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": path})
            }
        });
        if let Some(path) = path {
            set(&mut filter, "path", path);
        }
        filters.push(json!({"type": "URLRewrite", "urlRewrite": filter}));
    }
    if let Some(allowed) = &routing.cors {
        filters.push(json!({"type": "CORS", "cors": cors(allowed)}));
    }
    filters
}

fn header_changes(changes: &HeaderChanges) -> Value {
    let HeaderChanges { add, set: replace, remove } = changes;
    let mut out = json!({});
    for (field, map) in
        [("add", add), ("set", replace)].into_iter().filter(|(_, map)| !map.is_empty())
    {
        let list: Vec<Value> =
            map.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        set(&mut out, field, Value::Array(list));
    }
    if !remove.is_empty() {
        set(&mut out, "remove", json!(remove));
    }
    out
}

fn cors(allowed: &Cors) -> Value {
    let Cors { origins, methods, headers, exposed, max_age_secs, credentials } = allowed;
    let mut out = json!({});
    let lists = [
        ("allowOrigins", origins),
        ("allowMethods", methods),
        ("allowHeaders", headers),
        ("exposeHeaders", exposed),
    ];
    for (field, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        set(&mut out, field, json!(list));
    }
    if *credentials {
        set(&mut out, "allowCredentials", json!(true));
    }
    // The API's own default, written out.
    set(&mut out, "maxAge", json!(max_age_secs.unwrap_or(5)));
    out
}

/// One entry of `matches`.
fn condition(of: &RequestMatch) -> Value {
    let RequestMatch { headers, query, path, method } = of;
    let path =
        path.as_ref().map_or_else(|| json!({"type": "PathPrefix", "value": "/"}), path_match);
    let mut out = json!({"path": path});
    for (field, map) in [("headers", headers), ("queryParams", query)] {
        let list: Vec<Value> = map.iter().map(|(name, text)| named(name, text)).collect();
        if !list.is_empty() {
            set(&mut out, field, Value::Array(list));
        }
    }
    if let Some(method) = method {
        set(&mut out, "method", json!(method));
    }
    out
}

fn path_match(path: &TextMatch) -> Value {
    match path {
        TextMatch::Exact(value) => json!({"type": "Exact", "value": value}),
        TextMatch::Prefix(value) => json!({"type": "PathPrefix", "value": value}),
        TextMatch::Suffix(_) | TextMatch::Regex(_) => {
            json!({"type": "RegularExpression", "value": path.pattern()})
        }
    }
}

/// A header or a query parameter; the API has exact values and regular expressions.
fn named(name: &str, text: &TextMatch) -> Value {
    let (kind, value) = match text {
        TextMatch::Exact(value) => ("Exact", value.clone()),
        TextMatch::Prefix(_) | TextMatch::Suffix(_) | TextMatch::Regex(_) => {
            ("RegularExpression", text.pattern())
        }
    };
    json!({"type": kind, "name": name, "value": value})
}

/// The rules with this exposure: each that leads to the application has the sides in the place of what it had.
pub(super) fn exposed(
    canary: &Canary,
    base: &[Value],
    wanted: Exposure,
    copies: Copies,
) -> Vec<Value> {
    let ours = |rule: &&Value| weights(canary, rule).is_some();
    let shared = base.iter().map(|rule| match ours(&rule) {
        true => with(canary, rule, wanted.share, copies),
        false => rule.clone(),
    });
    // Behind the others, whose place some gateways count their requests under; the more specific rule wins wherever it is.
    let tested = base.iter().filter(ours).filter(|_| wanted.matched);
    shared.chain(tested.map(|rule| for_matches(canary, rule))).collect()
}

fn with(canary: &Canary, rule: &Value, share: Weight, copies: Copies) -> Value {
    let backends = items(rule, "/backendRefs");
    let first = |wanted: Side| backends.iter().find(|one| side(canary, one) == wanted);
    let of_primary = first(Side::Primary).or_else(|| first(Side::Apex));
    let of_canary = first(Side::Canary);
    let likes = [of_primary.or(of_canary), of_canary.or(of_primary)];
    // At rest the canary is left out: nothing is to depend on its Service. The primary keeps its place without a share.
    let ours = with_weights(canary, share).into_iter().zip(likes);
    let ours = ours.filter(|((name, weight), _)| {
        *weight > Weight::ZERO || *name == canary.spec.service.primary_name()
    });
    let ours = ours.map(|((name, weight), like)| {
        let of_primary = name == canary.spec.service.primary_name();
        match copies {
            Copies::ByService if of_primary => copying(canary, weight, like),
            Copies::ByService | Copies::ByFilter(_) | Copies::None => {
                backend(canary, &name, weight, like)
            }
        }
    });
    let others = backends.iter().filter(|one| side(canary, one) == Side::Foreign).cloned();
    let mut rule = without_copies(canary, rule);
    set(&mut rule, "backendRefs", ours.chain(others).collect());
    if let Copies::ByFilter(percent) = copies {
        let filters = items(&rule, FILTERS).iter().cloned().chain([filter(canary, percent)]);
        let filters = filters.collect();
        set(&mut rule, "filters", filters);
    }
    rule
}

/// The filter that copies requests to the canary. All of them is what the API takes when it says nothing of a part, and what
/// versions of it know that have no parts.
fn filter(canary: &Canary, percent: Weight) -> Value {
    let service = &canary.spec.service;
    let mut mirror = json!({
        "backendRef": {"group": "", "kind": "Service", "name": service.canary_name(), "port": service.port},
    });
    if percent < Weight::FULL {
        set(&mut mirror, "percent", percent.percent().into());
    }
    json!({"type": "RequestMirror", "requestMirror": mirror})
}

fn is_ours(canary: &Canary, filter: &Value) -> bool {
    let to = filter.pointer("/requestMirror/backendRef");
    to.is_some_and(|to| side(canary, to) == Side::Canary)
}

/// Percent of the rule's requests that filters copy to the canary.
pub(super) fn copied(canary: &Canary, rule: &Value) -> Weight {
    let ours = items(rule, FILTERS).iter().filter(|filter| is_ours(canary, filter));
    let percent = |filter: &Value| {
        let of = |field: &str| int(filter, &format!("/requestMirror/{field}"));
        of("percent").or_else(|| {
            let whole = of("fraction/denominator").unwrap_or(100).max(1);
            Some(of("fraction/numerator")?.saturating_mul(100).saturating_add(whole - 1) / whole)
        })
    };
    let sum = ours.map(|filter| percent(filter).unwrap_or(100)).fold(0, i64::saturating_add);
    Weight::saturating(u32::try_from(sum.max(0)).unwrap_or(100))
}

pub(super) fn without_copies(canary: &Canary, rule: &Value) -> Value {
    let mut rule = rule.clone();
    let kept: Vec<Value> =
        items(&rule, FILTERS).iter().filter(|filter| !is_ours(canary, filter)).cloned().collect();
    match kept.is_empty() {
        true => crate::json::remove(&mut rule, "filters"),
        false => set(&mut rule, "filters", Value::Array(kept)),
    }
    rule
}

/// The primary's backend while what copies stands before it; filters of the backend stay.
fn copying(canary: &Canary, weight: Weight, like: Option<&Value>) -> Value {
    let mut out = like.cloned().unwrap_or_else(|| json!({}));
    for field in ["port", "namespace"] {
        crate::json::remove(&mut out, field);
    }
    let fields = [
        ("group", json!(TRAEFIK_SERVICE.group)),
        ("kind", json!(TRAEFIK_SERVICE.kind)),
        ("name", json!(crate::router::sides::copying_name(canary))),
        ("weight", json!(weight.percent())),
    ];
    for (key, value) in fields {
        set(&mut out, key, value);
    }
    out
}

/// The rule for requests that match as well, answered by the canary alone.
fn for_matches(canary: &Canary, rule: &Value) -> Value {
    let wanted: Vec<Value> = canary.spec.analysis.matches.iter().map(condition).collect();
    let bare = [condition(&RequestMatch::default())];
    let of_rule = match items(rule, "/matches") {
        [] => &bare[..],
        matches => matches,
    };
    let matches = of_rule.iter().flat_map(|of| wanted.iter().map(move |and| both(of, and)));
    let matches = matches.collect();
    let mut rule = with(canary, rule, Weight::FULL, Copies::None);
    if let Some(backends) = rule.get_mut("backendRefs").and_then(Value::as_array_mut) {
        backends.retain(|one| side(canary, one) != Side::Primary);
    }
    set(&mut rule, "matches", matches);
    // Its name would be there twice.
    crate::json::remove(&mut rule, "name");
    rule
}

/// A match that asks for both; where they ask for one thing differently, the test's condition stands, as in Flagger.
fn both(of_rule: &Value, wanted: &Value) -> Value {
    let mut out = of_rule.clone();
    for field in ["headers", "queryParams"] {
        let ours = items(wanted, &format!("/{field}"));
        let same = |one: &Value, other: &Value| {
            let name = |value: &Value| value["name"].as_str().map(str::to_ascii_lowercase);
            name(one) == name(other)
        };
        let theirs = items(of_rule, &format!("/{field}"));
        let kept = theirs.iter().filter(|their| !ours.iter().any(|our| same(our, their)));
        let list: Vec<Value> = ours.iter().chain(kept).cloned().collect();
        if !list.is_empty() {
            set(&mut out, field, Value::Array(list));
        }
    }
    let any = json!({"type": "PathPrefix", "value": "/"});
    if wanted["path"] != any {
        set(&mut out, "path", wanted["path"].clone());
    }
    if let Some(method) = wanted.get("method") {
        set(&mut out, "method", method.clone());
    }
    out
}

/// The rule with one backend of ours, the apex Service.
pub(super) fn to_apex(canary: &Canary, rule: &Value) -> Value {
    let backends = items(rule, "/backendRefs");
    let ours = backends.iter().find(|one| side(canary, one) != Side::Foreign);
    let Some(like) = ours else { return rule.clone() };
    let apex = backend(canary, &canary.spec.service.name, Weight::FULL, Some(like));
    let others = backends.iter().filter(|one| side(canary, one) == Side::Foreign).cloned();
    let mut rule = without_copies(canary, rule);
    set(&mut rule, "backendRefs", std::iter::once(apex).chain(others).collect());
    rule
}

/// A backend with everything that the API would fill in; filters stay as on the one that was there.
fn backend(canary: &Canary, name: &str, weight: Weight, like: Option<&Value>) -> Value {
    let mut out = like.cloned().unwrap_or_else(|| json!({}));
    let port = canary.spec.service.port;
    let fields = [
        ("group", json!("")),
        ("kind", json!("Service")),
        ("name", json!(name)),
        ("port", json!(port)),
        ("weight", json!(weight.percent())),
    ];
    for (key, value) in fields {
        set(&mut out, key, value);
    }
    out
}
