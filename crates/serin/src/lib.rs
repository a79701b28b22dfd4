//! The operator and its commands: reads the world, asks the core, carries the decision out.
//!
//! Rooms, each of which may import what stands above it:
//!
//! - ground: `clock`, `document`, `http_client`, `http_server`, `kubeconfig`, `metrics`, `shutdown`, `telemetry`
//! - `cache`: objects of the API server, kept by watches
//! - `guard`: what counters say of canaries that have traffic, between ticks
//! - `operator`: the control loop
//! - `view`, `console`, `term`: a release as people see it
//! - `lab`, `plan`, `backtest`: what needs no cluster
//! - `cli`: the commands

#[cfg(feature = "laboratory")]
pub mod backtest;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod console;
pub(crate) mod document;
pub mod guard;
pub mod http_client;
pub mod http_server;
pub mod kubeconfig;
#[cfg(feature = "laboratory")]
pub mod lab;
pub mod metrics;
pub mod operator;
#[cfg(feature = "laboratory")]
pub mod plan;
pub(crate) mod shutdown;
pub mod telemetry;
pub mod term;
pub mod view;
