//! The integration tests that need no clock but their own, in one binary: every further one would link the world again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping")]

mod actions;
mod admission;
mod backends;
mod bad_input;
mod bed;
mod beside;
mod bookkeeping;
mod conflicts;
mod corpus;
mod daemon_sets;
mod deletions;
mod docs;
mod drift;
mod ear;
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
mod mishaps;
mod names;
mod pace;
mod pages;
mod patience;
mod restored;
mod rights;
mod shape;
mod sources;
mod stories;
mod strangers;
mod succession;
mod tidy;
