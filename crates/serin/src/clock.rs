//! Where the time comes from: the machine's clock, or a simulation's.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// Tells the time; handed to whatever needs it, so that a simulation can hand in its own.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock, which never goes back while this process lives: when somebody sets it back, or has set it wrong, time
/// goes on from where it was, as fast as it passes. Deadlines are met and looks stay in order.
#[derive(Debug, Default)]
pub struct SystemClock(Mutex<Option<(Timestamp, Instant)>>);

impl SystemClock {
    /// The later of what the machine says and of what has passed since it was last asked.
    fn steady(&self, told: Timestamp, passed: Instant) -> Timestamp {
        let mut last = self.0.lock();
        let at_least = last.and_then(|(time, then)| {
            let passed = SignedDuration::try_from(passed.saturating_duration_since(then)).ok()?;
            time.checked_add(passed).ok()
        });
        let now = at_least.map_or(told, |at_least| at_least.max(told));
        *last = Some((now, passed));
        now
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.steady(Timestamp::now(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_never_goes_back() {
        let clock = SystemClock::default();
        let (start, begun) = (Timestamp::UNIX_EPOCH, Instant::now());
        let at = |told: i64, passed: u64| {
            let told = Timestamp::from_second(told).unwrap();
            let now = clock.steady(told, begun + Duration::from_secs(passed));
            now.duration_since(start).as_secs()
        };
        assert_eq!(at(1000, 0), 1000);
        assert_eq!(at(1001, 1), 1001);
        assert_eq!(at(912, 2), 1002, "it was set back by 90 s");
        assert_eq!(at(920, 10), 1010);
        assert_eq!(at(2000, 11), 2000, "set forward");
        assert_eq!(at(2000, 10), 2000);
    }
}
