//! A configuration made ready to serve: routers in order, services with their balancers.

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};

use super::balance::{Picker, Share};
use super::config::{Config, Cookie, Middleware, Problem, Service, cookie_value};
use super::metrics::Scope;
use super::rule::{Facts, Rule};

#[derive(Default)]
pub(super) struct Runtime {
    config: Config,
    problems: Vec<Problem>,
    generation: u64,
    routes: Vec<Route>,
    nodes: Vec<Node>,
    names: BTreeSet<Arc<str>>,
}

pub(super) struct Route {
    pub(super) name: Arc<str>,
    pub(super) service_name: Arc<str>,
    pub(super) middlewares: Vec<Middleware>,
    rule: Rule,
    service: usize,
}

enum Node {
    Servers { name: Arc<str>, servers: Vec<Arc<str>>, turn: Mutex<usize>, pass_host_header: bool },
    Weighted { children: Vec<Child>, picker: Mutex<Picker>, cookie: Option<Cookie> },
    Mirroring { main: usize, mirrors: Vec<(usize, u64, Mutex<Share>)>, body: BodyCopy },
}

struct Child {
    node: usize,
    cookie_value: String,
}

/// What of the body a mirror gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyCopy {
    Nothing,
    /// All of it if it is not longer than this, else the request is not mirrored.
    UpTo(usize),
}

/// Where one request goes.
#[derive(Default)]
pub(super) struct Choice {
    pub(super) target: Option<Target>,
    pub(super) cookies: Vec<HeaderValue>,
    pub(super) mirrors: Vec<(usize, BodyCopy)>,
}

#[derive(Clone)]
pub(super) struct Target {
    pub(super) service: Arc<str>,
    pub(super) authority: Arc<str>,
    pub(super) pass_host_header: bool,
}

/// Memory a single mirrored request may take when its TraefikService sets no limit.
const MIRROR_BODY_MAX: usize = 16 << 20;

impl Runtime {
    pub(super) fn build(config: Config, problems: Vec<Problem>, generation: u64) -> Self {
        let index: BTreeMap<&str, usize> =
            config.services.keys().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        let nodes: Vec<Node> =
            config.services.iter().map(|(name, service)| node(name, service, &index)).collect();
        let mut order: Vec<_> = config.routers.iter().collect();
        // Stable: routers of one priority stay in the order of their names.
        order.sort_by_key(|(_, router)| std::cmp::Reverse(router.priority));
        let routes = order
            .into_iter()
            .filter_map(|(name, router)| {
                let known = router.middlewares.iter().filter_map(|m| config.middlewares.get(m));
                Some(Route {
                    name: name.as_str().into(),
                    service_name: router.service.as_str().into(),
                    middlewares: known.cloned().collect(),
                    rule: router.rule.clone(),
                    service: *index.get(router.service.as_str())?,
                })
            })
            .collect();
        let names = config.services.keys().map(|name| name.as_str().into()).collect();
        Self { config, problems, generation, routes, nodes, names }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn describes(&self, config: &Config, problems: &[Problem]) -> bool {
        self.config == *config && self.problems == problems
    }

    /// Whether what was counted is still configured.
    pub(super) fn knows(&self, scope: &Scope) -> bool {
        match scope {
            Scope::EntryPoint => true,
            Scope::Router { router, service } => {
                self.config.routers.get(&**router).is_some_and(|found| found.service == **service)
            }
            Scope::Service(service) => self.names.contains(service),
        }
    }

    pub(super) fn route(&self, request: &Facts<'_>) -> Option<&Route> {
        self.routes.iter().find(|route| route.rule.matches(request))
    }

    pub(super) fn choose(&self, route: &Route, headers: &HeaderMap) -> Choice {
        let mut choice = Choice::default();
        choice.target = self.descend(route.service, headers, &mut choice);
        choice
    }

    /// The target of a mirrored request; mirrors of mirrors are not followed further.
    pub(super) fn choose_mirror(&self, service: usize, headers: &HeaderMap) -> Option<Target> {
        self.descend(service, headers, &mut Choice::default())
    }

    // The builder has made sure that services form no circle.
    fn descend(&self, at: usize, headers: &HeaderMap, choice: &mut Choice) -> Option<Target> {
        match self.nodes.get(at)? {
            Node::Servers { name, servers, turn, pass_host_header } => {
                let mut turn = turn.lock();
                let authority = servers.get(*turn)?;
                *turn = (*turn + 1) % servers.len();
                Some(Target {
                    service: Arc::clone(name),
                    authority: Arc::clone(authority),
                    pass_host_header: *pass_host_header,
                })
            }
            Node::Weighted { children, picker, cookie } => {
                if let Some(child) = cookie.as_ref().and_then(|c| pinned(c, children, headers)) {
                    return self.descend(child.node, headers, choice);
                }
                let next = picker.lock().pick()?;
                let child = children.get(next)?;
                if let Some(cookie) = cookie {
                    choice.cookies.extend(set_cookie(cookie, &child.cookie_value));
                }
                self.descend(child.node, headers, choice)
            }
            Node::Mirroring { main, mirrors, body } => {
                for (mirror, percent, share) in mirrors {
                    if share.lock().pick(*percent) {
                        choice.mirrors.push((*mirror, *body));
                    }
                }
                self.descend(*main, headers, choice)
            }
        }
    }
}

fn node(name: &str, service: &Service, index: &BTreeMap<&str, usize>) -> Node {
    // A name that is missing leads nowhere, which `descend` answers with "no server".
    let find = |name: &str| index.get(name).copied().unwrap_or(usize::MAX);
    match service {
        Service::Servers(servers) => Node::Servers {
            name: name.into(),
            servers: servers
                .servers
                .iter()
                .filter(|server| !server.fenced)
                .map(|server| server.authority.as_str().into())
                .collect(),
            turn: Mutex::new(0),
            pass_host_header: servers.pass_host_header,
        },
        Service::Weighted(weighted) => {
            let positive: Vec<(&String, u64)> = weighted
                .services
                .iter()
                .filter_map(|(name, weight)| Some((name, u64::try_from(*weight).ok()?)))
                .filter(|(_, weight)| *weight > 0)
                .collect();
            let weights = positive.iter().map(|(_, weight)| *weight).collect();
            let children = positive
                .into_iter()
                .map(|(name, _)| Child { node: find(name), cookie_value: cookie_value(name) })
                .collect();
            Node::Weighted {
                children,
                picker: Mutex::new(Picker::new(weights)),
                cookie: weighted.sticky.clone(),
            }
        }
        Service::Mirroring(mirroring) => {
            let mirrors = mirroring.mirrors.iter();
            let limit = usize::try_from(mirroring.body_max).unwrap_or(MIRROR_BODY_MAX);
            Node::Mirroring {
                main: find(&mirroring.main),
                mirrors: mirrors
                    .map(|(name, percent)| (find(name), *percent, Mutex::default()))
                    .collect(),
                body: match mirroring.mirror_body {
                    true => BodyCopy::UpTo(limit.min(MIRROR_BODY_MAX)),
                    false => BodyCopy::Nothing,
                },
            }
        }
    }
}

fn pinned<'a>(cookie: &Cookie, children: &'a [Child], headers: &HeaderMap) -> Option<&'a Child> {
    let pairs = headers
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    let value = pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == cookie.name)?
        .1;
    children.iter().find(|child| child.cookie_value == value)
}

fn set_cookie(cookie: &Cookie, value: &str) -> Option<HeaderValue> {
    let Cookie { name, secure, http_only, same_site, max_age, path, domain } = cookie;
    let mut text = format!("{name}={value}; Path={}", path.as_deref().unwrap_or("/"));
    if let Some(domain) = domain {
        text.push_str(&format!("; Domain={domain}"));
    }
    match max_age {
        0 => {}
        age if *age < 0 => text.push_str("; Max-Age=0"),
        age => text.push_str(&format!("; Max-Age={age}")),
    }
    text.push_str(if *http_only { "; HttpOnly" } else { "" });
    text.push_str(if *secure { "; Secure" } else { "" });
    if let Some(same_site) = same_site {
        text.push_str(&format!("; SameSite={same_site}"));
    }
    HeaderValue::try_from(text).ok()
}
