//! Stand-ins for the parts around a cluster on a laptop: a gateway, a Prometheus, a sample application and a load generator.

pub mod app;
pub mod exposition;
pub mod gateway;
mod http_server;
pub mod load;
pub mod prometheus;
