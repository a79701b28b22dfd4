//! The Kubernetes API in memory: good enough that kubectl, Traefik and kube clients cannot tell.

mod cel;
mod defaults;
pub mod failure;
pub mod openapi;
pub mod actors;
pub mod kubelet;
pub mod patch;
pub mod protobuf;
pub mod registry;
pub mod schema;
pub mod store;
