//! The user's workload and its copy: what they say, and what the copy must be.

pub mod config;
pub mod deployment;
pub mod drift;
pub mod kept;
pub mod primary;
pub mod scaler;

pub use crate::references::ConfigRef;
pub use config::config_references;
pub use deployment::{revision, saw_later};
pub use kept::kept_configs;
