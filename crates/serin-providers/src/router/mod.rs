//! Routers: how a canary's exposure is read from and written to the objects of a mesh or an ingress.

mod gateway_api;
mod kubernetes;
mod mirrored;
mod own;
mod sides;
mod traefik;

use std::collections::BTreeSet;

use serin_core::model::{Builtin, Canary, Exposure, Finding, Provider};

use crate::change::{Change, ObjectRef, Objects};
pub(crate) use sides::copying_name as mirrored_name;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouterError {
    #[error("{0} does not exist")]
    Missing(ObjectRef),
    #[error("{object} cannot be read: {why}")]
    Unreadable { object: ObjectRef, why: String },
    #[error(
        "{object} is not a weighted service ({why}): give the Canary's service another name or remove it"
    )]
    NotWeighted { object: ObjectRef, why: String },
    #[error("{object} belongs to {owner} and is left alone: delete or rename it")]
    NotOurs { object: ObjectRef, owner: String },
    #[error("{object} leads to {leads_to}: give the Canary's service another name, or remove it")]
    LeadsElsewhere { object: ObjectRef, leads_to: String },
    #[error(
        "{object}: rule {rule} splits its requests between this application and {other}, so that no share of it can be set: give the application a rule of its own"
    )]
    Shared { object: ObjectRef, rule: usize, other: String },
    #[error("{object} is not accepted by its gateway ({why})")]
    NotAccepted { object: ObjectRef, why: String },
    #[error(
        "{object}: rule {rule} has the syntax of Traefik v2, in which a test cannot be written: write it in v3"
    )]
    OldSyntax { object: ObjectRef, rule: usize },
    #[error(
        "{object}: one of its routes has priority {priority}, which the derived route needs: give it another number"
    )]
    Tie { object: ObjectRef, priority: i64 },
    #[error(
        "{field} needs {feature} of the gateway, and {why}: remove the field, or leave it to a policy of the implementation"
    )]
    NotDone { field: &'static str, feature: String, why: String },
    #[error("provider {provider} cannot {what}")]
    Unsupported { provider: &'static str, what: &'static str },
}

/// Writes are the same for setting and repairing, and empty when the objects already say it.
pub trait Router: Send + Sync {
    fn provider(&self) -> &'static Provider;
    /// What [`Router::read`] and the writes need to see.
    fn reads(&self, canary: &Canary) -> Vec<ObjectRef>;
    /// What those that are known by now lead to, and must be seen as well.
    fn reads_next(&self, _canary: &Canary, _live: &Objects) -> Vec<ObjectRef> {
        Vec::new()
    }
    /// The objects whose versions fence every raise; none where nothing routes.
    fn fenced(&self, canary: &Canary) -> Vec<ObjectRef>;
    fn read(&self, canary: &Canary, live: &Objects) -> Result<Exposure, RouterError>;
    /// Taking everything from the canary is fenced by nothing, any other share by the object's version.
    fn write(
        &self,
        canary: &Canary,
        wanted: Exposure,
        live: &Objects,
    ) -> Result<Vec<Change>, RouterError>;
    /// Ports of the generated Services that the route leads to as it is, by number or name.
    fn ports(&self, canary: &Canary, live: &Objects) -> BTreeSet<String>;
    /// Why the route must not be taken over as it is, all of it; empty when it may, or is not there.
    fn obstacles(&self, canary: &Canary, live: &Objects) -> Vec<RouterError>;
    /// Whether the live route keeps clients with a version once they have been there, so that its weights are none of requests.
    fn is_sticky(&self, canary: &Canary, live: &Objects) -> bool;
    /// What the objects that are there say about the spec, and stands in nobody's way.
    fn findings(&self, _canary: &Canary, _live: &Objects) -> Vec<Finding> {
        Vec::new()
    }
    /// All traffic to the apex Service, and nothing of ours left.
    fn restore(&self, canary: &Canary, live: &Objects) -> Result<Vec<Change>, RouterError>;
    /// What a builtin check of the canary asks Prometheus, over a window such as `1m`.
    fn builtin(&self, canary: &Canary, builtin: Builtin, window: &str) -> String;
}

/// Every router that is complete.
pub const ROUTERS: &[&dyn Router] =
    &[&kubernetes::Kubernetes, &traefik::Traefik, &gateway_api::GatewayApi];

/// The router of a provider; a test holds every provider of the catalogue to one.
pub fn router(provider: &Provider) -> &'static dyn Router {
    let its = |router: &&&dyn Router| router.provider() == provider;
    ROUTERS.iter().find(its).copied().unwrap_or(&kubernetes::Kubernetes)
}

/// What no router is asked for: `parse` has refused it.
fn supported(provider: &'static Provider, exposure: Exposure) -> Result<(), RouterError> {
    match provider.capabilities.lacks(exposure) {
        Some(what) => Err(RouterError::Unsupported { provider: provider.name, what }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod laws;
