//! What Traefik, Prometheus, Deployments, chats and webhooks look like, as pure translations without I/O or a clock.

pub mod call;
pub mod change;
mod error;
pub mod gateway;
pub mod hook;
pub mod json;
pub mod metric;
pub mod notify;
pub mod observe;
pub mod obstacles;
mod ownership;
pub mod references;
pub mod render;
pub mod router;
pub mod service;
pub mod settings;
#[cfg(test)]
mod testing;
pub mod workload;

pub use call::Call;
pub use change::{Change, Kind, ObjectRef, Objects};
pub use change::{Listening, PodOwner};
pub use error::RenderError;
pub use observe::observe;
pub use references::{References, references};
pub use render::render;
pub use service::pods::{PodRef, to_identify, to_probe};
pub use settings::{Aws, AwsKeys, Settings};
