//! The user's workload and its copy: what they say, and what the copy must be.

pub mod config;
mod daemon_set;
mod deployment;
pub mod drift;
pub mod kept;
pub(crate) mod kind;
pub mod names;
pub mod observe;
pub mod primary;
pub mod revision;
pub mod scaler;

pub use config::config_references;
pub use kept::kept_configs;
pub use names::ConfigRef;
pub use observe::saw_later;
pub use revision::revision;

use serin_core::model::{Canary, TargetKind};

use daemon_set::DaemonSet;
use deployment::Deployment;
use kind::WorkloadKind;

pub(crate) fn of_kind(kind: TargetKind) -> &'static dyn WorkloadKind {
    match kind {
        TargetKind::DaemonSet => &DaemonSet,
        TargetKind::Deployment => &Deployment,
    }
}

/// The kind of a Canary's target, which is its primary's too.
pub(crate) fn of(canary: &Canary) -> &'static dyn WorkloadKind {
    of_kind(canary.spec.target.kind)
}
