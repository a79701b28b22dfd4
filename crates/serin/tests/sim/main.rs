//! The whole operator in simulated worlds: one seed, one life, every law checked after every change.
//!
//! - `plan` is a life as data, `chance` makes one of a seed, `run` carries one out: `run(&plan, &options) -> Outcome`.
//! - `wide` adds to a life what came later, without changing what was drawn before.
//! - `other_owners` has lives of its own, among objects of others.
//! - `world`, `external`, `faults` are what the operator lives in; `invariants` and `oracle` judge it and share nothing with it.
//! - `shrink` takes everything out of a failing plan that it can fail without.
//!
//! `crashes` searches small worlds: it runs a plan once for [`run::Outcome::writes`], and then puts
//! `Trouble::Next { call: Call::Write, skip: n, fault }` at its beginning for every `n` and every fault.
//! A test of a deliberate bug switches the bug on, runs the plans of seed after seed, and wants `Outcome::broken` within its
//! budget.
//!
//! `SERIN_SEED=7 cargo test -p serin --test sim` runs one seed and prints its timeline, `SERIN_SEEDS=1000` that many;
//! `SERIN_FIRST=5000` begins at another seed, `SERIN_LENGTH=20` makes lives longer, `SERIN_FAULTS=crash,lag` leaves only
//! these kinds of faults.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping")]
#![expect(clippy::print_stdout, reason = "what was simulated is printed")]

mod answers;
mod chance;
mod crashes;
mod crossings;
mod crowd;
mod external;
mod faults;
mod invariants;
mod manifests;
mod mutants;
mod oracle;
mod other_owners;
mod plan;
mod provoke;
mod random;
mod routes;
mod run;
mod seeds;
mod shrink;
mod switches;
mod table;
mod wide;
mod world;
