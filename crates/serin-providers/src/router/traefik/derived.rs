//! Beside a user's IngressRoute: a route of our own that comes before it, made from it and followed wherever it goes.
//!
//! It is there from the adoption on and leads to the primary, so that a share or a test never begins with the creation of an
//! object, which no version could fence. What it adds: requests that match an A/B test go to the TraefikService
//! `<apex>-matched`, whose version fences the test, and a rule that leads to the plain Service leads to the weighted
//! service of the apex, without an edit by the user. Entry points and middlewares are the user's, and so is TLS as far as
//! it can be ([`with_tls`]).

use std::collections::BTreeSet;

use serde_json::{Value, json};
use serin_core::model::{Canary, Exposure, RequestMatch, TextMatch};
use serin_core::names;
use serin_core::observed::Seen;

use crate::change::{Change, INGRESS_ROUTE, ObjectRef, Objects, TRAEFIK_SERVICE};
use crate::json::{child, int, items, set, text};
use crate::router::RouterError;
use crate::router::own::{self, applied, ours, present};
use crate::router::traefik::hosts;

const ROUTES: &str = "/spec/routes";
/// Which Traefik serves an IngressRoute.
const CLASS: &str = "kubernetes.io/ingress.class";

/// The user's IngressRoute, where `spec.routeRef` names one.
fn users(canary: &Canary) -> Option<ObjectRef> {
    let name = canary.spec.users_route.as_ref()?;
    Some(INGRESS_ROUTE.named(&canary.key.namespace, name))
}

fn derived(canary: &Canary) -> ObjectRef {
    INGRESS_ROUTE.named(&canary.key.namespace, name(canary, "-derived"))
}

/// Where the requests go that match the test.
fn matched(canary: &Canary) -> ObjectRef {
    TRAEFIK_SERVICE.named(&canary.key.namespace, name(canary, "-matched"))
}

fn name(canary: &Canary, suffix: &str) -> String {
    names::derived(&canary.spec.service.name, suffix, names::LABEL_MAX)
}

fn tests(canary: &Canary) -> bool {
    !canary.spec.analysis.matches.is_empty()
}

/// The service of the matching requests always, because a test whose spec was edited away has still to be ended.
pub(super) fn reads(canary: &Canary) -> Vec<ObjectRef> {
    let mut all = vec![matched(canary)];
    if let Some(users) = users(canary) {
        all.extend([users, derived(canary)]);
    }
    all
}

pub(super) fn fenced(canary: &Canary) -> Option<ObjectRef> {
    tests(canary).then(|| matched(canary))
}

/// Whether the requests that match go to the canary. What a test needs and is not there is made first.
pub(super) fn is_matched(canary: &Canary, live: &Objects) -> Result<bool, RouterError> {
    let service = ours(canary, live, matched(canary))?;
    if service.is_none() && tests(canary) {
        return Err(RouterError::Missing(matched(canary)));
    }
    if users(canary).is_some()
        && !routes(canary, live)?.is_empty()
        && ours(canary, live, derived(canary))?.is_none()
    {
        return Err(RouterError::Missing(derived(canary)));
    }
    let canary_name = canary.spec.service.canary_name();
    let leads = |service: &Value| {
        let entries = items(service, super::SERVICES).iter();
        entries.clone().any(|entry| text(entry, "/name") == Some(&canary_name))
    };
    Ok(service.is_some_and(leads))
}

pub(super) fn write(
    canary: &Canary,
    wanted: Exposure,
    live: &Objects,
) -> Result<Vec<Change>, RouterError> {
    let mut changes = Vec::new();
    let service = ours(canary, live, matched(canary))?;
    if service.is_none() && wanted.matched {
        return Err(RouterError::Missing(matched(canary)));
    }
    if tests(canary) || service.is_some() {
        let side = match wanted.matched {
            true => canary.spec.service.canary_name(),
            false => canary.spec.service.primary_name(),
        };
        let spec = json!({"weighted": {"services": [entry(canary, side)]}});
        changes.extend(applied(canary, wanted, matched(canary), spec, service, super::SERVICES));
    }
    if users(canary).is_some() {
        let routes = routes(canary, live)?;
        let found = ours(canary, live, derived(canary))?;
        if let Some(users) = users(canary).map(|users| present(live, users)).transpose()?.flatten()
            && (!routes.is_empty() || found.is_some())
        {
            let (routes, tls) = with_tls(canary, wanted, routes, users["spec"].get("tls"));
            let mut spec = json!({"routes": routes});
            if let Some(tls) = tls {
                set(&mut spec, "tls", tls);
            }
            for field in ["entryPoints", "ingressClassName"] {
                if let Some(value) = users["spec"].get(field) {
                    set(&mut spec, field, value.clone());
                }
            }
            let mut change = applied(canary, wanted, derived(canary), spec, found, ROUTES);
            if let (Some(Change::Apply { object, .. }), Some(class)) =
                (&mut change, users["metadata"]["annotations"].get(CLASS))
                && let Some(metadata) = child(object, "metadata")
            {
                metadata.insert("annotations".into(), json!({CLASS: class}));
            }
            changes.extend(change);
        }
    }
    Ok(changes)
}

/// The routes with their TLS, so that they have as little say in the options of their hosts as can be.
///
/// Where two routers name a host and different options, Traefik takes its default ones: a host that is to demand client
/// certificates from now on would answer without one until the user's change is followed. While the user names no options,
/// these routes name no host, and cannot disagree ([`hosts`]). Where the user names some, a route has to name both, as
/// Traefik answers nothing on one that has others than the connection (421); then those of a test are there only while it
/// goes on. Where a rule is not understood they are the user's at this moment.
fn with_tls(
    canary: &Canary,
    wanted: Exposure,
    routes: Vec<Value>,
    users: Option<&Value>,
) -> (Vec<Value>, Option<Value>) {
    let Some(tls) = users else { return (routes, None) };
    if tls.get("options").is_some_and(|options| !options.is_null()) {
        let matched = matched(canary).name;
        let is_of_test = |route: &Value| text(route, "/services/0/name") == Some(&matched);
        let kept = routes.into_iter().filter(|route| wanted.matched || !is_of_test(route));
        return (kept.collect(), Some(tls.clone()));
    }
    let unnamed = routes.iter().map(|route| {
        let rule = hosts::unnamed(text(route, "/match").unwrap_or_default())?;
        let mut route = route.clone();
        set(&mut route, "match", rule.into());
        Some(route)
    });
    match unnamed.collect::<Option<Vec<Value>>>() {
        Some(unnamed) => (unnamed, Some(json!({}))),
        None => (routes, Some(tls.clone())),
    }
}

fn entry(canary: &Canary, name: String) -> Value {
    json!({
        "name": name, "namespace": canary.key.namespace, "port": canary.spec.service.port, "weight": 100,
    })
}

/// Where a route of the user's leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leads {
    /// To the weighted service of the apex.
    Weighted,
    /// To the apex Service itself.
    Plain,
    /// To it and to others, which share the requests.
    Shared,
    Elsewhere,
}

fn leads(canary: &Canary, route: &Value) -> Leads {
    let apex = &canary.spec.service.name;
    let here = |one: &&Value| {
        let namespace = text(one, "/namespace").unwrap_or_default();
        text(one, "/name") == Some(apex)
            && (namespace.is_empty() || namespace == canary.key.namespace)
    };
    let services = items(route, "/services");
    match services.iter().find(here) {
        None => Leads::Elsewhere,
        Some(_) if services.len() > 1 => Leads::Shared,
        Some(one) if text(one, "/kind") == Some(TRAEFIK_SERVICE.kind) => Leads::Weighted,
        Some(_) => Leads::Plain,
    }
}

/// The user's own number, or the one that Traefik takes: the length of the rule.
fn priority(route: &Value) -> i64 {
    let length = text(route, "/match").map_or(0, str::len);
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    int(route, "/priority").filter(|priority| *priority != 0).unwrap_or(length)
}

/// The routes of ours, made from those of the user's that lead to the application.
fn routes(canary: &Canary, live: &Objects) -> Result<Vec<Value>, RouterError> {
    let Some(users) = users(canary) else { return Ok(Vec::new()) };
    let Some(users) = present(live, users)? else { return Ok(Vec::new()) };
    let mut ours = Vec::new();
    for route in items(users, ROUTES) {
        let plain = match leads(canary, route) {
            Leads::Weighted => false,
            Leads::Plain => true,
            Leads::Shared | Leads::Elsewhere => continue,
        };
        let base = priority(route);
        if plain {
            let apex = canary.spec.service.name.clone();
            ours.push(copy(canary, route, apex, base.saturating_add(1), None));
        }
        if tests(canary) {
            let above = base.saturating_add(1 + i64::from(plain));
            let rule = rule(&canary.spec.analysis.matches);
            ours.push(copy(canary, route, matched(canary).name, above, Some(&rule)));
        }
    }
    Ok(ours)
}

/// The route to another service, with another priority, for the requests that match as well.
fn copy(canary: &Canary, route: &Value, to: String, priority: i64, and: Option<&str>) -> Value {
    let mut copy = route.clone();
    let users = text(route, "/match").unwrap_or_default();
    let rule = and.map_or_else(|| users.to_owned(), |and| format!("({users}) && ({and})"));
    set(&mut copy, "match", rule.into());
    set(&mut copy, "priority", priority.into());
    let service =
        json!({"kind": TRAEFIK_SERVICE.kind, "name": to, "namespace": canary.key.namespace});
    set(&mut copy, "services", json!([service]));
    copy
}

/// Any of the alternatives, in Traefik's language.
fn rule(matches: &[RequestMatch]) -> String {
    let alternative = |one: &RequestMatch| {
        let RequestMatch { headers, query, path, method } = one;
        let mut all: Vec<String> = Vec::new();
        all.extend(headers.iter().map(|(name, value)| named("Header", name, value)));
        all.extend(query.iter().map(|(name, value)| named("Query", name, value)));
        all.extend(path.iter().map(|path| match path {
            TextMatch::Exact(value) => format!("Path({})", quoted(value)),
            TextMatch::Prefix(value) => format!("PathPrefix({})", quoted(value)),
            TextMatch::Suffix(_) | TextMatch::Regex(_) => {
                format!("PathRegexp({})", quoted(&path.pattern()))
            }
        }));
        all.extend(method.iter().map(|method| format!("Method({})", quoted(method))));
        all.join(" && ")
    };
    let all: Vec<String> = matches.iter().map(|one| format!("({})", alternative(one))).collect();
    all.join(" || ")
}

fn named(matcher: &str, name: &str, value: &TextMatch) -> String {
    match value {
        TextMatch::Exact(value) => format!("{matcher}({}, {})", quoted(name), quoted(value)),
        TextMatch::Prefix(_) | TextMatch::Suffix(_) | TextMatch::Regex(_) => {
            format!("{matcher}Regexp({}, {})", quoted(name), quoted(&value.pattern()))
        }
    }
}

/// Between back quotes, as is customary; a text with one in it between double ones.
fn quoted(text: &str) -> String {
    if text.contains('`') { Value::from(text).to_string() } else { format!("`{text}`") }
}

/// Everything that keeps the user's route from being stood beside.
pub(super) fn obstacles(canary: &Canary, live: &Objects) -> Vec<RouterError> {
    let mut found = Vec::new();
    let needed = users(canary).is_some();
    for object in
        [Some(matched(canary)).filter(|_| tests(canary)), Some(derived(canary)).filter(|_| needed)]
            .into_iter()
            .flatten()
    {
        found.extend(own::taken(canary, live, object));
    }
    let Some(object) = users(canary) else { return found };
    let users = match live.get(&object) {
        Seen::Present(users) => users,
        Seen::Absent => {
            found.push(RouterError::Missing(object));
            return found;
        }
        Seen::Unreadable(_) => return found,
    };
    let routes = items(users, ROUTES);
    let leading: Vec<Leads> = routes.iter().map(|route| leads(canary, route)).collect();
    if leading.iter().all(|leads| *leads == Leads::Elsewhere) {
        let names = routes.iter().flat_map(|route| items(route, "/services"));
        let names: Vec<&str> = names.filter_map(|one| text(one, "/name")).take(3).collect();
        let leads_to = format!("{} and not to {}", names.join(", "), canary.spec.service.name);
        found.push(RouterError::LeadsElsewhere { object: object.clone(), leads_to });
    }
    for (rule, route) in routes.iter().enumerate() {
        let other = items(route, "/services")
            .iter()
            .filter_map(|one| text(one, "/name"))
            .find(|name| *name != canary.spec.service.name);
        if let (Some(Leads::Shared), Some(other)) = (leading.get(rule), other) {
            let other = other.to_owned();
            found.push(RouterError::Shared { object: object.clone(), rule, other });
        }
        if text(route, "/syntax") == Some("v2") && leading.get(rule) != Some(&Leads::Elsewhere) {
            found.push(RouterError::OldSyntax { object: object.clone(), rule });
        }
    }
    found.extend(ties(canary, live, object, routes));
    found
}

/// Traefik does not say which of two routes with one number it asks first.
fn ties(
    canary: &Canary,
    live: &Objects,
    object: ObjectRef,
    users: &[Value],
) -> Option<RouterError> {
    let ours: BTreeSet<i64> = routes(canary, live).ok()?.iter().map(priority).collect();
    let tie = users.iter().map(priority).find(|priority| ours.contains(priority))?;
    Some(RouterError::Tie { object, priority: tie })
}

/// The matching requests go where all others go, until both objects are collected with the Canary.
pub(super) fn restore(canary: &Canary, live: &Objects) -> Result<Vec<Change>, RouterError> {
    let Some(found) = ours(canary, live, matched(canary))? else { return Ok(Vec::new()) };
    let services = json!([entry(canary, canary.spec.service.name.clone())]);
    if found.pointer(super::SERVICES) == Some(&services) {
        return Ok(Vec::new());
    }
    let patch = json!({"spec": {"weighted": {"services": services}}});
    Ok(vec![Change::MergePatch { target: matched(canary), patch }])
}

#[cfg(test)]
pub(in crate::router) mod tests;
