//! The integration tests that need no clock but their own, in one binary: every further one would link the world again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping")]

mod actions;
mod admission;
mod backends;
mod bad_input;
mod beside;
mod bookkeeping;
mod cluster;
mod conflicts;
mod corpus;
mod daemon_sets;
mod deletions;
mod docs;
mod drift;
mod edges;
mod election;
mod fitness;
mod fuzz;
mod gateway_api;
mod guard;
mod hanging;
mod histogram;
mod leaving;
mod left_by_flagger;
mod log_capture;
mod mishaps;
mod names;
mod other_owners;
mod pace;
mod pages;
mod patience;
mod restored;
mod rights;
mod shape;
mod sources;
mod stories;
mod succession;
mod tidy;
