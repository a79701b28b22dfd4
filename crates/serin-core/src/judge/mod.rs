//! From counters to a verdict: the guard that decides whether a canary is worse than it may be.

#[cfg(test)]
mod adversary;
pub mod design;
mod digest;
pub mod evidence;
pub mod ledger;
pub mod paper;
pub mod sequential;
pub mod traffic;
pub mod watch;
