//! The routers that are complete, as data: what each can do, and which optional fields it carries out.
//!
//! Everything else that depends on a provider asks this table: what `parse` refuses, what the strategies may use, what
//! the docs say. The code of a router is in `serin-providers`.

use std::fmt;

use crate::exposure::{Exposure, Weight};

/// What a router can do with the traffic of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The canary answers any share of the live requests, from nothing to everything. Without it there is no router, and
    /// the canary meets users at its promotion.
    pub shares: bool,
    /// Requests that match `analysis.match` all go to the canary (A/B testing).
    pub matches: bool,
    /// Requests are copied to the canary, whose answers no user sees.
    pub mirror: bool,
    /// A user who met the canary meets it again.
    pub affinity: bool,
    /// The router counts requests, failures and durations of both versions where the guard can read them.
    pub counts: bool,
}

impl Capabilities {
    /// What of this exposure is out of reach; none when all of it can be carried out.
    pub fn lacks(&self, exposure: Exposure) -> Option<&'static str> {
        let Exposure { share, matched, mirrored } = exposure;
        if mirrored > Weight::ZERO && !self.mirror {
            Some("mirror traffic")
        } else if matched && !self.matches {
            Some("send only the matching requests to the canary")
        } else if share > Weight::ZERO && !self.shares {
            Some("send live traffic to the canary")
        } else {
            None
        }
    }
}

/// A router that is complete; the others of Flagger are refused by `parse` until they are.
pub struct Provider {
    /// As `spec.provider` and `--mesh-provider` say it.
    pub name: &'static str,
    /// Other values that mean the same.
    pub aliases: &'static [&'static str],
    pub capabilities: Capabilities,
    /// Optional fields, from the root, that are for some routers only and that this one carries out.
    pub honours: &'static [&'static str],
    /// Kind of the user's own route that `spec.routeRef` may name.
    pub route_kind: Option<&'static str>,
    /// Why a field of `spec.service` that it does not carry out has no effect, and what to do instead.
    pub elsewhere: (&'static str, &'static str),
}

/// Two providers are the same when they have one name.
impl PartialEq for Provider {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Provider {}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Provider {
    /// The provider that a spec or a flag names.
    pub fn named(name: &str) -> Option<&'static Self> {
        let known = |provider: &&&Self| provider.name == name || provider.aliases.contains(&name);
        PROVIDERS.iter().find(known).copied()
    }

    /// Whether anything but the apex Service decides which version answers a request.
    pub fn has_router(&self) -> bool {
        self.capabilities.shares
    }

    pub fn honours(&self, path: &str) -> bool {
        self.honours.contains(&path)
    }
}

pub static TRAEFIK: Provider = Provider {
    name: "traefik",
    aliases: &[],
    capabilities: Capabilities {
        shares: true,
        matches: true,
        mirror: true,
        affinity: false,
        counts: true,
    },
    honours: &["spec.analysis.mirrorWeight", "spec.routeRef"],
    route_kind: Some("IngressRoute"),
    elsewhere: (
        "has no effect with Traefik",
        "put it on the IngressRoute, a Middleware or a ServersTransport, which stay yours",
    ),
};

pub static KUBERNETES: Provider = Provider {
    name: "kubernetes",
    aliases: &[],
    capabilities: Capabilities {
        shares: false,
        matches: false,
        mirror: false,
        affinity: false,
        counts: false,
    },
    honours: &[],
    route_kind: None,
    elsewhere: ("has no effect with provider kubernetes, which has no router", "remove it"),
};

/// A user's route and a generated one alike: `spec.routeRef` names one that is there.
pub static GATEWAY_API: Provider = Provider {
    name: "gatewayapi:v1",
    aliases: &["gatewayapi", "gatewayapi:v1beta1"],
    capabilities: Capabilities {
        shares: true,
        matches: true,
        mirror: true,
        affinity: false,
        counts: true,
    },
    honours: &[
        "spec.analysis.mirrorWeight",
        "spec.routeRef",
        "spec.service.backendTimeout",
        "spec.service.corsPolicy",
        "spec.service.gatewayRefs",
        "spec.service.headers",
        "spec.service.hosts",
        "spec.service.match",
        "spec.service.rewrite",
        "spec.service.timeout",
    ],
    route_kind: Some("HTTPRoute"),
    elsewhere: (
        "has no effect with the Gateway API",
        "put it on a policy of your gateway's implementation",
    ),
};

/// Every provider; the names of a message list them in this order.
pub static PROVIDERS: [&Provider; 3] = [&TRAEFIK, &GATEWAY_API, &KUBERNETES];

/// `use traefik or kubernetes`.
pub fn use_one() -> String {
    let names: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
    match names.split_last() {
        Some((last, [])) => format!("use {last}"),
        Some((last, others)) => format!("use {} or {last}", others.join(", ")),
        None => String::new(),
    }
}
