//! Sequential tests that decide from request counters whether a new version of a service is worse than it may be.
//!
//! The decision may be asked for after every request, second or minute, for as long as one likes, and the chance that a
//! version that is fine is ever rejected stays below `alpha`.
//!
//! ```
//! use serin_judge::{Decision, Guard, GuardConfig, Sample};
//!
//! let mut guard = Guard::new(GuardConfig::share("errors", 0.01))?;
//! let verdict = guard.observe(1.0, &[Sample { n: 50, x: 20, m: 950, y: 1 }]);
//! assert_ne!(verdict.decision, Decision::RollBack, "one scrape never decides");
//! assert_eq!(guard.observe(1.0, &[Sample { n: 50, x: 20, m: 950, y: 1 }]).decision, Decision::RollBack);
//! # Ok::<(), serin_judge::GuardError>(())
//! ```
//!
//! | to | use |
//! |---|---|
//! | judge increases that somebody else has computed | [`Guard`] |
//! | judge raw counters of processes that come, go and restart | [`monitor::Monitor`] |
//! | raise a share as fast as a mistake would stay small | [`pace`] |
//! | watch a version with nothing beside it, for ever | [`Soak`] |
//! | notice that requests of the canary are counted nowhere | [`ShareTest`] |
//! | measure how many requests share one fate | [`DispersionMeter`] |
//!
//! Nothing in this crate does I/O, reads a clock or knows who serves the requests.
#![warn(missing_docs)]

pub mod block;
pub mod bound;
mod codec;
pub mod config;
pub mod counters;
mod digest;
pub mod dispersion;
mod error;
mod guard;
pub mod math;
pub mod monitor;
pub mod pace;
pub mod settings;
pub mod share;
pub mod soak;
mod stream;
pub mod traffic;
mod verdict;
pub mod words;

#[cfg(test)]
mod adversary;

pub use block::Tolerance;
pub use bound::Interval;
pub use codec::Damaged;
pub use config::{Attribution, BOUNDS_MAX, Bets, GuardConfig, METRICS_MAX, Metric, Question};
pub use digest::digest;
pub use dispersion::DispersionMeter;
pub use error::GuardError;
pub use guard::{Guard, RestoreError, Unjudged};
pub use settings::Settings;
pub use share::ShareTest;
pub use soak::Soak;
pub use stream::Sample;
pub use verdict::{
    CheckKind, CheckReason, Decision, Explanation, Hold, Missing, Odds, Rate, Verdict,
};
