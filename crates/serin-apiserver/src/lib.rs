//! The Kubernetes API in memory: good enough that kubectl, Traefik and kube clients cannot tell.

pub mod actors;
pub mod admission;
pub mod at;
mod cel;
mod core_events;
pub mod crds;
mod defaults;
mod discovery;
pub mod failure;
mod generated;
pub mod http;
mod journal;
pub mod jsonpath;
pub mod kubelet;
mod old_scaler;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod registry;
pub mod schema;
pub mod selector;
mod skeleton;
pub mod snapshot;
pub mod store;
mod table;
mod validate;
pub mod watch;
