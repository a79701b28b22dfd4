//! A small world searched to its end: one canary, three steps, at most two faults, every order of them.
//!
//! The decision is the operator's own `step`, the order of writes its own `ApplyOrder`, the fences its own `fence`; the API
//! server, the watches and the pods are a model of a few lines. The laws are told by code of their own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping")]

mod key;
mod laws;
mod moves;
mod search;
mod searches;
mod soak;
mod walk;
mod world;
