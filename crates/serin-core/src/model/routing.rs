//! What `spec.service` tells those routers that make the whole route: hosts, matches, rewrites, headers, time limits.

use std::collections::BTreeMap;

use super::RequestMatch;

/// Empty where the route is the user's own, or the router has no place for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// What the route attaches to.
    pub gateways: Vec<GatewayRef>,
    pub hosts: Vec<String>,
    /// Which requests the route takes; all of them when empty.
    pub matches: Vec<RequestMatch>,
    pub rewrite: Option<Rewrite>,
    pub request_headers: HeaderChanges,
    pub response_headers: HeaderChanges,
    /// Longest time of a request, such as `15s`.
    pub timeout: Option<String>,
    /// Longest time of one attempt at the backend.
    pub backend_timeout: Option<String>,
    pub cors: Option<Cors>,
}

/// A Gateway, or part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRef {
    pub group: String,
    pub kind: String,
    /// None: the canary's.
    pub namespace: Option<String>,
    pub name: String,
    /// None attaches to all listeners.
    pub section: Option<String>,
    pub port: Option<u16>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    pub host: Option<String>,
    pub path: Option<PathRewrite>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    Full(String),
    Prefix(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    pub add: BTreeMap<String, String>,
    pub set: BTreeMap<String, String>,
    pub remove: Vec<String>,
}

impl HeaderChanges {
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.set.is_empty() && self.remove.is_empty()
    }
}

/// Which other origins a browser may call from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    pub origins: Vec<String>,
    pub methods: Vec<String>,
    pub headers: Vec<String>,
    pub exposed: Vec<String>,
    pub max_age_secs: Option<i64>,
    pub credentials: bool,
}
