//! What the implementation behind a route does: by the GatewayClass of its Gateways, before anything relies on it.
//!
//! Implementations accept what they do not do: the route is `Accepted`, and a time limit is ignored or a copied request
//! answered with an error. Only `status.supportedFeatures` of the class tells.

use std::collections::BTreeSet;

use serde_json::Value;
use serin_core::model::routing::Routing;
use serin_core::model::{Canary, Finding, FindingCode, RequestMatch, Weight};
use serin_core::observed::Seen;

use crate::change::{GATEWAY, GATEWAY_CLASS, ObjectRef, Objects};
use crate::json::{bounded, items, text};
use crate::router::{RouterError, mirrored};

/// What Traefik calls itself in its GatewayClass.
const TRAEFIK: &str = "traefik.io/gateway-controller";
/// What Traefik accepts and does not do, where its class says nothing: seen on 3.7.
const GAPS_OF_TRAEFIK: [&str; 4] = [MIRROR, PART_MIRROR, REQUEST_TIMEOUT, BACKEND_TIMEOUT];

const MIRROR: &str = "HTTPRouteRequestMirror";
const PART_MIRROR: &str = "HTTPRouteRequestPercentageMirror";
const REQUEST_TIMEOUT: &str = "HTTPRouteRequestTimeout";
const BACKEND_TIMEOUT: &str = "HTTPRouteBackendTimeout";

const NAME_MAX: usize = 100;

/// Something that not every implementation does, and the field that asks for it.
struct Need {
    field: &'static str,
    feature: &'static str,
}

/// How copies of requests come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copying {
    /// A `RequestMirror` filter of the route.
    Filter,
    /// A mirroring TraefikService in the primary's place.
    Service,
}

/// What is known of one Gateway's implementation.
struct Class {
    /// `GatewayClass traefik (traefik.io/gateway-controller)`.
    name: String,
    traefik: bool,
    /// None where it lists nothing.
    lists: Option<BTreeSet<String>>,
}

impl Class {
    /// None where nobody knows.
    fn does(&self, feature: &str) -> Option<bool> {
        match &self.lists {
            Some(lists) => Some(lists.contains(feature)),
            None if self.traefik && GAPS_OF_TRAEFIK.contains(&feature) => Some(false),
            None => None,
        }
    }
}

/// The Gateways that the route attaches to: of the spec, or of the user's own route. Other parents have no class.
fn gateways(canary: &Canary, route: Option<&Value>) -> Vec<ObjectRef> {
    let namespace = &canary.key.namespace;
    if canary.spec.users_route.is_none() {
        let of_spec = canary.spec.service.routing.gateways.iter();
        return of_spec
            .filter(|one| one.group == GATEWAY.group && one.kind == GATEWAY.kind)
            .map(|one| GATEWAY.named(one.namespace.as_ref().unwrap_or(namespace), &one.name))
            .collect();
    }
    let parents = route.map_or(&[][..], |route| items(route, "/spec/parentRefs"));
    let gateway = |parent: &&Value| {
        text(parent, "/group").is_none_or(|group| group == GATEWAY.group)
            && text(parent, "/kind").is_none_or(|kind| kind == GATEWAY.kind)
    };
    let named = |parent: &Value| {
        let of = text(parent, "/namespace").unwrap_or(namespace);
        Some(GATEWAY.named(of, text(parent, "/name")?))
    };
    parents.iter().filter(gateway).filter_map(named).collect()
}

fn class_of(gateway: &Value) -> Option<ObjectRef> {
    Some(GATEWAY_CLASS.named("", text(gateway, "/spec/gatewayClassName")?))
}

/// What has to be looked at as well, as far as it is known by now: nothing where the route asks for nothing special.
pub(super) fn reads(canary: &Canary, route: Option<&Value>, live: &Objects) -> Vec<ObjectRef> {
    let mut all = Vec::new();
    if !needs(canary).is_empty() || mirrored::is_needed(canary) {
        let gateways = gateways(canary, route);
        all.extend(gateways.iter().filter_map(|one| live.present(one)).filter_map(class_of));
        all.extend(gateways);
    }
    let leads = |rule: &Value| {
        items(rule, "/backendRefs").iter().any(|one| crate::router::sides::is_copying(canary, one))
    };
    let rules = route.map_or(&[][..], |route| items(route, super::RULES));
    let by_service = mirrored::is_needed(canary) && is_traefik(canary, route, live);
    if by_service || rules.iter().any(leads) {
        all.push(mirrored::object(canary));
    }
    all
}

/// Without a word about a class that is not known: what is asked here is what there is to look at.
fn is_traefik(canary: &Canary, route: Option<&Value>, live: &Objects) -> bool {
    let classes = classes(canary, route, live);
    classes.iter().any(|class| class.as_ref().is_ok_and(|class| class.traefik))
}

/// The class of each Gateway, or why it is not known.
fn classes(canary: &Canary, route: Option<&Value>, live: &Objects) -> Vec<Result<Class, String>> {
    gateways(canary, route).iter().map(|gateway| class(gateway, live)).collect()
}

fn class(gateway: &ObjectRef, live: &Objects) -> Result<Class, String> {
    let found = look(gateway, live)?;
    let class = class_of(found).ok_or_else(|| format!("{gateway} names no class"))?;
    let found = look(&class, live)?;
    let controller = text(found, "/spec/controllerName").unwrap_or_default();
    // Strings until version 1.2 of the API, then objects.
    let name = |one: &Value| one.as_str().or_else(|| text(one, "/name")).map(str::to_owned);
    let lists: BTreeSet<String> =
        items(found, "/status/supportedFeatures").iter().filter_map(name).collect();
    Ok(Class {
        name: format!("{class} ({})", bounded(controller, NAME_MAX)),
        traefik: controller == TRAEFIK,
        lists: Some(lists).filter(|lists| !lists.is_empty()),
    })
}

fn look<'a>(object: &ObjectRef, live: &'a Objects) -> Result<&'a Value, String> {
    match live.get(object) {
        Seen::Present(found) => Ok(found),
        Seen::Absent => Err(format!("{object} does not exist")),
        Seen::Unreadable(why) => Err(format!("{object} cannot be read: {why}")),
    }
}

/// What a route that is made from this spec, or a test that is put into a user's, asks for beside what every implementation
/// does.
fn needs(canary: &Canary) -> Vec<Need> {
    let mut all = Vec::new();
    let mut add = |asked: bool, field: &'static str, feature: &'static str| {
        if asked {
            all.push(Need { field, feature });
        }
    };
    let any = |matches: &[RequestMatch], asks: fn(&RequestMatch) -> bool| matches.iter().any(asks);
    // Beside a route of the user's these fields have no effect, and what is in that route is the user's.
    let none = Routing::default();
    let routing = match &canary.spec.users_route {
        Some(_) => &none,
        None => &canary.spec.service.routing,
    };
    add(routing.timeout.is_some(), "spec.service.timeout", REQUEST_TIMEOUT);
    add(routing.backend_timeout.is_some(), "spec.service.backendTimeout", BACKEND_TIMEOUT);
    let rewrite = routing.rewrite.as_ref();
    let host = rewrite.is_some_and(|rewrite| rewrite.host.is_some());
    add(host, "spec.service.rewrite.authority", "HTTPRouteHostRewrite");
    let path = rewrite.is_some_and(|rewrite| rewrite.path.is_some());
    add(path, "spec.service.rewrite.uri", "HTTPRoutePathRewrite");
    let headers = !routing.response_headers.is_empty();
    add(headers, "spec.service.headers.response", "HTTPRouteResponseHeaderModification");
    add(routing.cors.is_some(), "spec.service.corsPolicy", "HTTPRouteCORS");
    let port = routing.gateways.iter().any(|gateway| gateway.port.is_some());
    add(port, "spec.service.gatewayRefs[].port", "HTTPRouteParentRefPort");
    for (field, matches) in [
        ("spec.service.match", &routing.matches),
        ("spec.analysis.match", &canary.spec.analysis.matches),
    ] {
        add(any(matches, |one| one.method.is_some()), field, "HTTPRouteMethodMatching");
        add(any(matches, |one| !one.query.is_empty()), field, "HTTPRouteQueryParamMatching");
    }
    all
}

/// What the implementation is known not to do, and copies that it would do in no way that is known.
pub(super) fn refusals(canary: &Canary, route: Option<&Value>, live: &Objects) -> Vec<RouterError> {
    let mut found = Vec::new();
    let classes = classes(canary, route, live);
    for need in needs(canary) {
        let lacking =
            classes.iter().flatten().find(|class| class.does(need.feature) == Some(false));
        found.extend(lacking.map(|class| lacks(need.field, need.feature, class)));
    }
    if mirrored::is_needed(canary) {
        found.extend(copying(canary, route, live).err());
    }
    found
}

fn lacks(field: &'static str, feature: &str, class: &Class) -> RouterError {
    let listed = class.lists.is_some();
    let why = match listed {
        true => format!("{} does not list it", class.name),
        false => format!("{} accepts it and does not do it", class.name),
    };
    RouterError::NotDone { field, feature: feature.to_owned(), why }
}

/// What nobody can say, because a class says nothing; in one sentence, as it has one cause.
pub(super) fn doubts(canary: &Canary, route: Option<&Value>, live: &Objects) -> Vec<Finding> {
    let needs = needs(canary);
    if needs.is_empty() {
        return Vec::new();
    }
    let doubt = |class: &Result<Class, String>| {
        let unknown = |need: &&Need| match class {
            Ok(class) => class.does(need.feature).is_none(),
            Err(_) => true,
        };
        let needs: Vec<String> = needs
            .iter()
            .filter(unknown)
            .map(|Need { field, feature }| format!("{feature} ({field})"))
            .collect();
        let why = match class {
            Ok(class) => silent(class),
            Err(why) => why.clone(),
        };
        (!needs.is_empty())
            .then(|| format!("{why}, so that it is not known whether it does {}", needs.join(", ")))
    };
    let field = match canary.spec.users_route {
        Some(_) => "spec.routeRef",
        None => "spec.service.gatewayRefs",
    };
    let told: BTreeSet<String> = classes(canary, route, live).iter().filter_map(doubt).collect();
    told.into_iter()
        .map(|message| {
            Finding::warning(FindingCode::ObjectUnusable, field, message)
                .way_out("try it: some gateways accept what they do not do")
        })
        .collect()
}

fn silent(class: &Class) -> String {
    format!("{} lists no supportedFeatures", class.name)
}

/// How this route copies requests, which is one way for all its Gateways.
pub(super) fn copying(
    canary: &Canary,
    route: Option<&Value>,
    live: &Objects,
) -> Result<Copying, RouterError> {
    let copies = canary.spec.analysis.schedule.copies().unwrap_or(Weight::FULL);
    let feature = if copies < Weight::FULL { PART_MIRROR } else { MIRROR };
    let refused = |why: String| RouterError::NotDone {
        field: "spec.analysis.mirror",
        feature: feature.to_owned(),
        why,
    };
    let mut ways = Vec::new();
    for class in classes(canary, route, live) {
        let class = class.map_err(&refused)?;
        let does = class.does(MIRROR) == Some(true) && class.does(feature) == Some(true);
        match (does, class.traefik) {
            (true, _) => ways.push(Copying::Filter),
            (false, true) => ways.push(Copying::Service),
            (false, false) if class.lists.is_some() => {
                return Err(lacks("spec.analysis.mirror", feature, &class));
            }
            // A filter that is not done is answered with an error, to users.
            (false, false) => {
                return Err(refused(silent(&class)));
            }
        }
    }
    match ways.as_slice() {
        [] => Err(refused("the route attaches to no Gateway".to_owned())),
        [first, others @ ..] if others.iter().all(|other| other == first) => Ok(*first),
        [..] => Err(refused("its Gateways copy requests in different ways".to_owned())),
    }
}

#[cfg(test)]
mod tests;
