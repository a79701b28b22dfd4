//! The Kubernetes API in memory: good enough that kubectl, Traefik and kube clients cannot tell.

pub mod patch;
