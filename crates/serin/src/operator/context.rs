//! What all ticks share.

use std::sync::Arc;

use kube::Client;

use crate::cache::World;
use crate::cache::wake::Wake;
use crate::clock::SharedClock;
use crate::guard::{self, Guards, Sources};
use crate::http_client::Outside;
use crate::metrics::Metrics;
use crate::operator::claims::Claims;
use crate::operator::memory::Memory;
use crate::operator::notifier::Teller;
use crate::operator::releasing::Releasing;
use crate::operator::settings::Settings;
use crate::operator::turns::Turns;

/// What every tick shares.
pub struct Context {
    pub client: Client,
    pub world: World,
    pub wake: Wake,
    pub clock: SharedClock,
    pub outside: Arc<dyn Outside>,
    pub metrics: Arc<Metrics>,
    pub settings: Settings,
    pub teller: Teller,
    /// Which canary writes which object.
    pub claims: Claims,
    /// Opinions of the guard.
    pub guards: Arc<Guards>,
    /// Ticks at once; what the guard wants off the road does not wait for one.
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
        outside: Arc<dyn Outside>,
        metrics: Arc<Metrics>,
        settings: Settings,
    ) -> Self {
        let turns = Turns::new(usize::from(settings.concurrency));
        let metrics_server = settings.providers.metrics_server.as_str();
        let sources = Sources::new(!settings.gateways.is_empty(), metrics_server);
        let guards = Arc::new(Guards::new(sources));
        let world = World::new(client.clone(), settings.namespace.clone(), wake.clone());
        let teller =
            Teller::start(client.clone(), Arc::clone(&clock), Arc::clone(&outside), &settings);
        Self {
            client,
            world,
            wake,
            clock,
            outside,
            metrics,
            settings,
            teller,
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
            world: self.world.clone(),
            wake: self.wake.clone(),
            clock: Arc::clone(&self.clock),
            outside: Arc::clone(&self.outside),
            metrics: Arc::clone(&self.metrics),
            gateways: self.settings.gateways.clone(),
            guards: Arc::clone(&self.guards),
        }
    }
}
