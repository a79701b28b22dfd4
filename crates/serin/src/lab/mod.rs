//! The laboratory: a cluster in one process, and the story that is shown on it.

pub mod demo;
pub mod local;
