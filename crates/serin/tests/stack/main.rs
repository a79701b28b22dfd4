//! The tests that live in real time, with real processes: a binary of their own, so that nothing that fills the cores
//! runs beside them, and one cluster at a time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping")]

mod backtest;
mod browser;
mod chart;
mod console;
mod daemon_sets;
mod image;
mod install;
mod kill;
mod lab;
mod local;
mod mirror;
mod monitoring;
mod refusals;
mod routes;
mod tls;
mod uncounted;

use tokio::sync::{Mutex, MutexGuard};

/// Held for as long as a cluster lives: what is measured in seconds is not to be shared.
static MACHINE: Mutex<()> = Mutex::const_new(());

async fn alone() -> MutexGuard<'static, ()> {
    MACHINE.lock().await
}
