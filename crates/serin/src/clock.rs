//! Where the time comes from: the machine's clock, or a simulation's.

use std::sync::Arc;

use jiff::Timestamp;

/// Tells the time; handed to whatever needs it, so that a simulation can hand in its own.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
