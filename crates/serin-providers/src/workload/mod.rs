//! The user's workload and its copy: what they say, and what the copy must be.

pub mod config;
mod daemon_set;
mod deployment;
pub mod drift;
pub mod kept;
pub(crate) mod kind;
pub mod observe;
pub mod primary;
pub mod scaler;

pub use crate::references::ConfigRef;
pub use config::config_references;
pub use kept::kept_configs;
pub use observe::{revision, saw_later};
