//! The Kubernetes API in memory: good enough that kubectl, Traefik and kube clients cannot tell.

mod cel;
pub mod openapi;
pub mod patch;
pub mod schema;
