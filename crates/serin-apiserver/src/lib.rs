//! An API server of Kubernetes in memory, with controllers and a kubelet, that kubectl, Traefik and kube clients work with unchanged.

pub mod admission;
mod autoscaler_conversion;
mod cel;
pub mod controllers;
pub mod crds;
mod defaults;
mod discovery;
mod event_conversion;
pub mod failure;
mod generated;
pub mod http;
mod journal;
pub mod json_pointer;
pub mod jsonpath;
pub mod kubelet;
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
