//! Where the guard's counters come from: one trait and its sources.

mod discovery;
mod gateway;
mod prometheus;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serin_core::model::{Canary, GuardSource, GuardSpec};
use serin_providers::gateway::{Page, Wanted};

pub(super) use self::discovery::Discovery;
pub use self::discovery::{Target, targets};
pub(super) use self::gateway::REPLICAS_MAX;
use crate::guard::Environment;

/// Whom a canary's counters are asked of; one look serves all canaries with the same one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SourceKey {
    /// Every replica of the gateways that the operator was told of.
    Gateway,
    /// The server at this address.
    Prometheus(String),
}

impl SourceKey {
    pub(super) fn open(&self, gateways: &Arc<Discovery>) -> Box<dyn Source> {
        match self {
            SourceKey::Gateway => Box::new(gateway::Gateway::new(Arc::clone(gateways))),
            SourceKey::Prometheus(server) => Box::new(prometheus::Prometheus::new(server.clone())),
        }
    }
}

/// Which sources the operator was told of.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    gateways: bool,
    metrics_server: String,
}

impl Sources {
    pub fn new(gateways: bool, metrics_server: &str) -> Self {
        Self { gateways, metrics_server: metrics_server.to_owned() }
    }

    /// Whom this guard asks; none when there is nobody. The gateway is nearer to the requests and comes first.
    pub(super) fn key(&self, canary: &Canary, spec: &GuardSpec) -> Option<SourceKey> {
        let gateway = self.gateways.then_some(SourceKey::Gateway);
        match spec.source {
            Some(GuardSource::Gateway) => gateway,
            Some(GuardSource::Prometheus) => self.prometheus(canary),
            None => gateway.or_else(|| self.prometheus(canary)),
        }
    }

    /// The metrics server of this canary, if it has one.
    pub(super) fn prometheus(&self, canary: &Canary) -> Option<SourceKey> {
        let server = canary.spec.metrics_server.as_ref().unwrap_or(&self.metrics_server);
        let server = server.trim().trim_end_matches('/');
        (!server.is_empty()).then(|| SourceKey::Prometheus(server.to_owned()))
    }
}

/// A process that was scraped, by a name that changes when it restarts.
pub(in crate::guard) type Scraped = (String, Page);

/// What came of a look.
#[derive(Default)]
pub(super) struct Look {
    pub pages: Vec<Scraped>,
    /// What one of those that did not answer said.
    pub failure: Option<String>,
    /// Somebody has answered, whatever it was.
    pub answered: bool,
    /// What is wanted is there under another label.
    pub renamed: bool,
    /// Replicas that are not looked at, as there are too many of them.
    pub beyond: usize,
    /// There can be nothing new before this has passed.
    pub wait: Duration,
}

/// Somebody who counts requests of both versions.
pub(super) trait Source: Send {
    /// Reads the counters of everything that is wanted, once for all canaries.
    fn look<'a>(&'a mut self, env: &'a Environment, wanted: &'a Wanted) -> BoxFuture<'a, Look>;
}
