//! What the operator was told at its start.

use std::path::PathBuf;

/// The settings that the control loop and its ticks need.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Watch this namespace only.
    pub namespace: Option<String>,
    /// Ticks at once.
    pub concurrency: u16,
    pub core: serin_core::step::Settings,
    pub parse: serin_core::parse::Limits,
    pub providers: serin_providers::Settings,
    /// Hook for all Events of canaries that have no `event` hook of their own.
    pub event_webhook: Option<String>,
    /// `/metrics` of every replica of the gateway, for the guard.
    pub gateways: Vec<String>,
    /// File of the token by which the controller shows other services who it is.
    pub identity_token: Option<PathBuf>,
    /// Which replica speaks: host name and a random part.
    pub instance: String,
}
