//! What all ticks share.

use std::sync::Arc;

use kube::Client;

use crate::cache::ObjectCache;
use crate::cache::wake::Wake;
use crate::clock::SharedClock;
use crate::guard::{self, Guards, Sources};
use crate::http_client::HttpClient;
use crate::metrics::Metrics;
use crate::operator::claims::Claims;
use crate::operator::memory::Memory;
use crate::operator::notifier::Notifier;
use crate::operator::releasing::Releasing;
use crate::operator::settings::Settings;
use crate::operator::turns::Turns;

/// What every tick shares.
pub struct Context {
    pub client: Client,
    pub cache: ObjectCache,
    pub wake: Wake,
    pub clock: SharedClock,
    pub http_client: Arc<dyn HttpClient>,
    pub metrics: Arc<Metrics>,
    pub settings: Settings,
    pub notifier: Notifier,
    /// Which canary writes which object.
    pub claims: Claims,
    /// Verdicts of the guard.
    pub guards: Arc<Guards>,
    /// Ticks at once; what the guard condemns does not wait for one.
    pub(crate) turns: Turns,
    pub(crate) releasing: Releasing,
    /// What is remembered of each canary.
    pub memory: Memory,
}

impl Context {
    pub fn new(
        client: Client,
        wake: Wake,
        clock: SharedClock,
        http_client: Arc<dyn HttpClient>,
        metrics: Arc<Metrics>,
        settings: Settings,
    ) -> Self {
        let turns = Turns::new(usize::from(settings.concurrency));
        let metrics_server = settings.providers.metrics_server.as_str();
        let sources = Sources::new(!settings.gateways.is_empty(), metrics_server);
        let guards = Arc::new(Guards::new(sources));
        let cache = ObjectCache::new(client.clone(), settings.namespace.clone(), wake.clone());
        let notifier = Notifier::start(
            client.clone(),
            Arc::clone(&clock),
            Arc::clone(&http_client),
            &settings,
        );
        Self {
            client,
            cache,
            wake,
            clock,
            http_client,
            metrics,
            settings,
            notifier,
            claims: Claims::default(),
            guards,
            turns,
            releasing: Releasing::default(),
            memory: Memory::default(),
        }
    }
}

impl Context {
    /// What the guard needs of it.
    pub fn guard(&self) -> guard::Environment {
        guard::Environment {
            client: self.client.clone(),
            cache: self.cache.clone(),
            wake: self.wake.clone(),
            clock: Arc::clone(&self.clock),
            http_client: Arc::clone(&self.http_client),
            metrics: Arc::clone(&self.metrics),
            gateways: self.settings.gateways.clone(),
            guards: Arc::clone(&self.guards),
        }
    }
}
