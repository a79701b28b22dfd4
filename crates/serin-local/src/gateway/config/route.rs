//! IngressRoutes: one router for each route.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::read::{Object, list, normalize, text};
use super::{Builder, Built, Router, Service, Weighted, service};
use crate::gateway::ENTRY_POINT;
use crate::gateway::rule::Rule;

const SPEC: [&str; 2] = ["entryPoints", "routes"];
const ROUTE: [&str; 6] = ["kind", "match", "priority", "services", "middlewares", "syntax"];

pub(super) fn build(builder: &mut Builder<'_>, object: &Object<'_>) {
    let spec = object.spec();
    // A route with `tls` is served on HTTPS only, which this gateway does not have.
    if builder.only(&object.label, "spec", spec, &SPEC).is_err() || !on_entry_point(builder, object)
    {
        return;
    }
    for (index, route) in list(spec, "routes").iter().enumerate() {
        let path = format!("spec.routes[{index}]");
        if let Ok((name, router)) = router(builder, object, route, &path) {
            builder.config.routers.insert(name, router);
        }
    }
}

fn on_entry_point(builder: &mut Builder<'_>, object: &Object<'_>) -> bool {
    let wanted = list(object.spec(), "entryPoints");
    for (index, name) in wanted.iter().enumerate() {
        if name != ENTRY_POINT {
            let field = format!("spec.entryPoints[{index}]");
            let message =
                format!("the embedded gateway has one entry point, {ENTRY_POINT}, not {name}");
            builder.problem(&object.label, &field, message);
        }
    }
    wanted.is_empty() || wanted.iter().any(|name| name == ENTRY_POINT)
}

fn router(
    builder: &mut Builder<'_>,
    object: &Object<'_>,
    route: &Value,
    path: &str,
) -> Built<(String, Router)> {
    let label = object.label.as_str();
    builder.only(label, path, route, &ROUTE)?;
    if text(route, "kind").is_some_and(|kind| kind != "Rule") {
        return Err(builder.problem(label, &format!("{path}.kind"), "must be Rule"));
    }
    if text(route, "syntax").is_some_and(|syntax| syntax != "v3") {
        return Err(builder.problem(label, &format!("{path}.syntax"), "only v3 is supported"));
    }
    let text = text(route, "match").unwrap_or("");
    let rule = Rule::parse(text)
        .map_err(|error| builder.problem(label, &format!("{path}.match"), error.to_string()))?;
    let name = router_name(object, text);
    let service = route_service(builder, object, route, path, &name)?;
    let priority = match route["priority"].as_i64() {
        Some(priority) if priority != 0 => priority,
        Some(_) | None => i64::try_from(text.len()).unwrap_or(i64::MAX),
    };
    let middlewares = middlewares(builder, object, route, path)?;
    let origin = (object.label.clone(), path.to_owned());
    Ok((name, Router { rule, priority, service, middlewares, origin }))
}

fn router_name(object: &Object<'_>, rule: &str) -> String {
    let digest = Sha256::digest(rule.as_bytes());
    let hash: String = digest.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    normalize(&format!("{}-{}-{hash}", object.namespace, object.name))
}

// Several services become a weighted one named after the router; a single plain Service is named after
// the router as well, which is Traefik's doing and why routes should go through a TraefikService.
fn route_service(
    builder: &mut Builder<'_>,
    object: &Object<'_>,
    route: &Value,
    path: &str,
    router: &str,
) -> Built<String> {
    match list(route, "services") {
        [] => {
            Err(builder.problem(&object.label, &format!("{path}.services"), "must name a service"))
        }
        [one] => {
            let path = format!("{path}.services[0]");
            let reference = service::reference(builder, object, one, &path, &service::WITH_WEIGHT)?;
            match reference {
                service::Reference::Traefik(name) => Ok(name),
                service::Reference::Leaf(_, servers) => {
                    builder.config.services.insert(router.to_owned(), Service::Servers(servers));
                    Ok(router.to_owned())
                }
            }
        }
        several => {
            let services =
                service::weighted_list(builder, object, several, &format!("{path}.services"))?;
            let weighted = Weighted { services, sticky: None };
            builder.config.services.insert(router.to_owned(), Service::Weighted(weighted));
            Ok(router.to_owned())
        }
    }
}

fn middlewares(
    builder: &mut Builder<'_>,
    object: &Object<'_>,
    route: &Value,
    path: &str,
) -> Built<Vec<String>> {
    let mut names = Vec::new();
    for (index, middleware) in list(route, "middlewares").iter().enumerate() {
        let path = format!("{path}.middlewares[{index}]");
        builder.only(&object.label, &path, middleware, &["name", "namespace"])?;
        let name = text(middleware, "name").unwrap_or("");
        if name.contains('@') {
            let message = "middlewares of other providers are not supported";
            return Err(builder.problem(&object.label, &path, message));
        }
        let namespace = text(middleware, "namespace").unwrap_or(object.namespace);
        service::same_namespace(builder, object, namespace, &path)?;
        names.push(normalize(&format!("{namespace}-{name}")));
    }
    Ok(names)
}
