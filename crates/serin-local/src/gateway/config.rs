//! From Kubernetes objects to what the gateway serves; pure, and every field it does not honour becomes a `Problem`.

mod middleware;
mod read;
mod route;
mod service;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

pub use middleware::Middleware;
pub(crate) use service::cookie_value;

use super::rule::Rule;
use read::Object;

/// The provider's name at the end of every name in metrics.
pub const PROVIDER: &str = "kubernetescrd";
/// A service inside a service inside a service is rare; this bound keeps requests from recursing.
const NESTING_MAX: usize = 16;

/// The objects the gateway looks at; whatever else is in the cluster does not concern it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GatewayObjects {
    /// `traefik.io/v1alpha1` IngressRoutes.
    pub ingress_routes: Vec<Value>,
    /// `traefik.io/v1alpha1` TraefikServices.
    pub traefik_services: Vec<Value>,
    /// `traefik.io/v1alpha1` Middlewares.
    pub middlewares: Vec<Value>,
    /// Core Services.
    pub services: Vec<Value>,
    /// `discovery.k8s.io/v1` EndpointSlices.
    pub endpoint_slices: Vec<Value>,
}

/// Something in an object that the gateway cannot do; the object's route is not served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Kind, namespace and name: `IngressRoute develop/backend`.
    pub object: String,
    /// A path into the object: `spec.routes[0].match`.
    pub field: String,
    pub message: String,
}

/// What to serve. Names carry no provider suffix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    pub routers: BTreeMap<String, Router>,
    pub services: BTreeMap<String, Service>,
    pub middlewares: BTreeMap<String, Middleware>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Router {
    pub rule: Rule,
    /// Higher is tried first.
    pub priority: i64,
    pub service: String,
    pub middlewares: Vec<String>,
    /// The object and field the router comes from, for problems found later.
    pub origin: (String, String),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Service {
    Servers(Servers),
    Weighted(Weighted),
    Mirroring(Mirroring),
}

/// A leaf: the endpoints of one port of a Kubernetes Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Servers {
    pub servers: Vec<Server>,
    pub pass_host_header: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// `address:port`, IPv6 in brackets.
    pub authority: String,
    /// Terminating: gets no new requests.
    pub fenced: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Weighted {
    /// Names and weights; those with weight 0 or less get nothing.
    pub services: Vec<(String, i64)>,
    pub sticky: Option<Cookie>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cookie {
    pub name: String,
    pub secure: bool,
    pub http_only: bool,
    pub same_site: Option<&'static str>,
    pub max_age: i64,
    pub path: Option<String>,
    pub domain: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Mirroring {
    pub main: String,
    pub mirrors: Vec<(String, u64)>,
    pub mirror_body: bool,
    /// Negative: no limit but the gateway's own.
    pub body_max: i64,
}

/// Builds the configuration; what cannot be built is left out and said. There is one entry point, `web`.
pub fn build(objects: &GatewayObjects) -> (Config, Vec<Problem>) {
    let mut builder = Builder::new(objects);
    builder.middlewares();
    builder.traefik_services();
    builder.routes();
    builder.drop_broken_routers();
    let Builder { config, problems, .. } = builder;
    (config, problems.into_iter().collect())
}

struct Builder<'a> {
    objects: &'a GatewayObjects,
    config: Config,
    problems: BTreeSet<Problem>,
}

impl<'a> Builder<'a> {
    fn new(objects: &'a GatewayObjects) -> Self {
        Self { objects, config: Config::default(), problems: BTreeSet::new() }
    }

    fn problem(&mut self, object: &str, field: &str, message: impl Into<String>) -> Refused {
        self.problems.insert(Problem {
            object: object.to_owned(),
            field: field.to_owned(),
            message: message.into(),
        });
        Refused
    }

    /// Refuses every field of `value` that is not in `known`: better no route than one that ignores a wish.
    fn only(&mut self, object: &str, path: &str, value: &Value, known: &[&str]) -> Built<()> {
        let Some(fields) = value.as_object() else {
            return Err(self.problem(object, path, "must be an object"));
        };
        let mut built = Ok(());
        for (name, value) in fields {
            if !known.contains(&name.as_str()) && !value.is_null() {
                let field = format!("{path}.{name}");
                built =
                    Err(self.problem(object, &field, "is not supported by the embedded gateway"));
            }
        }
        built
    }

    fn middlewares(&mut self) {
        for value in &self.objects.middlewares {
            let object = Object::new("Middleware", value);
            if let Ok(middleware) = middleware::build(self, &object) {
                self.config.middlewares.insert(object.id(), middleware);
            }
        }
    }

    fn traefik_services(&mut self) {
        for value in &self.objects.traefik_services {
            let object = Object::new("TraefikService", value);
            if let Ok(service) = service::traefik_service(self, &object) {
                self.config.services.insert(object.id(), service);
            }
        }
    }

    fn routes(&mut self) {
        for value in &self.objects.ingress_routes {
            route::build(self, &Object::new("IngressRoute", value));
        }
    }

    // Like Traefik, a router whose service or middleware cannot be built is not served at all.
    fn drop_broken_routers(&mut self) {
        let mut broken = Vec::new();
        for (name, router) in &self.config.routers {
            let missing =
                router.middlewares.iter().find(|m| !self.config.middlewares.contains_key(*m));
            let fault = match missing {
                Some(middleware) => {
                    Some(format!("middleware {middleware} does not exist or was refused"))
                }
                None => fault(&self.config, &router.service, &mut Vec::new()),
            };
            if let Some(fault) = fault {
                broken.push((name.clone(), router.origin.clone(), fault));
            }
        }
        for (name, (object, field), fault) in broken {
            self.config.routers.remove(&name);
            self.problem(&object, &field, format!("is not served: {fault}"));
        }
    }
}

/// What keeps a service from being used, looked for in everything it refers to.
fn fault(config: &Config, name: &str, above: &mut Vec<String>) -> Option<String> {
    if above.iter().any(|seen| seen == name) {
        return Some(format!("service {name} refers to itself"));
    }
    if above.len() >= NESTING_MAX {
        return Some(format!("services are nested deeper than {NESTING_MAX}"));
    }
    let children: Vec<&String> = match config.services.get(name) {
        None => return Some(format!("service {name} does not exist or was refused")),
        Some(Service::Servers(_)) => return None,
        Some(Service::Weighted(weighted)) => {
            weighted.services.iter().map(|(name, _)| name).collect()
        }
        Some(Service::Mirroring(mirroring)) => {
            mirroring.mirrors.iter().map(|(name, _)| name).chain([&mirroring.main]).collect()
        }
    };
    above.push(name.to_owned());
    let fault = children.into_iter().find_map(|child| self::fault(config, child, above));
    above.pop();
    fault
}

/// The problem has been noted; there is nothing to build.
#[derive(Debug)]
struct Refused;

type Built<T> = Result<T, Refused>;

#[cfg(test)]
mod tests;
