//! The operator: reads the world, asks the core, carries the decision out.

pub mod clock;
pub mod http;
pub mod leader;
pub mod metrics;
pub mod outside;
pub mod telemetry;
pub mod wake;
pub mod world;
