//! Fresh pods are slow for reasons that say nothing of their version: their first seconds are left out of latencies.

use jiff::{SignedDuration, Timestamp};

/// What is known of the age of the pods that are judged.
#[derive(Debug, Default)]
pub(super) struct Warmth {
    pods: Option<u32>,
    /// There are more of them than at the last look.
    grown: bool,
    until: Option<Timestamp>,
    /// At the last look.
    cold: bool,
}

impl Warmth {
    pub(super) fn count(&mut self, pods: Option<u32>) {
        let Some(now) = pods else { return };
        self.grown |= self.pods.is_some_and(|before| now > before);
        self.pods = Some(now);
    }

    /// Whether latencies count now. `begun` is when the first request could come, none when it is not known; `secs` what
    /// pods take to get warm.
    ///
    /// Pods that come and go for ever cannot hide: at least as much time is judged as is left out.
    pub(super) fn is_warm(&mut self, begun: Option<Timestamp>, secs: i64, now: Timestamp) -> bool {
        let warm_up = SignedDuration::from_secs(secs);
        let first = begun.map(|begun| begun.saturating_add(warm_up).unwrap_or(Timestamp::MAX));
        let until = self.until.max(first);
        if std::mem::take(&mut self.grown)
            && until.is_none_or(|until| now.duration_since(until) >= warm_up)
        {
            self.until = now.saturating_add(warm_up).ok();
        }
        self.cold = self.until.max(first).is_some_and(|until| now < until);
        !self.cold
    }

    /// What [`Warmth::is_warm`] said last.
    pub(super) fn was_warm(&self) -> bool {
        !self.cold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + secs).unwrap()
    }

    /// Seconds of the first `end` at which latencies count, as ranges; `pods` tells how many there are.
    fn warm(secs: i64, end: i64, pods: impl Fn(i64) -> u32) -> Vec<(i64, i64)> {
        let mut warmth = Warmth::default();
        let mut ranges: Vec<(i64, i64)> = Vec::new();
        for now in 0..end {
            warmth.count(Some(pods(now)));
            if !warmth.is_warm(Some(at(0)), secs, at(now)) {
                continue;
            }
            match ranges.last_mut() {
                Some((_, last)) if *last == now - 1 => *last = now,
                Some(_) | None => ranges.push((now, now)),
            }
        }
        ranges
    }

    #[test]
    fn the_first_seconds_do_not_count() {
        assert_eq!(warm(5, 20, |_| 2), [(5, 19)]);
        assert_eq!(warm(0, 20, |_| 2), [(0, 19)]);
    }

    #[test]
    fn nor_do_those_of_pods_that_come_later() {
        assert_eq!(warm(5, 30, |now| if now < 15 { 2 } else { 4 }), [(5, 14), (20, 29)]);
        assert_eq!(warm(5, 30, |now| if now < 15 { 4 } else { 2 }), [(5, 29)], "nobody came");
    }

    #[test]
    fn pods_that_never_stay_are_judged_half_of_the_time() {
        let judged: i64 =
            warm(5, 1005, |now| 1 + (now % 2) as u32).iter().map(|(from, to)| to - from + 1).sum();
        assert!((500..=520).contains(&judged), "{judged}");
    }

    #[test]
    fn without_a_beginning_only_newcomers_are_cold() {
        let mut warmth = Warmth::default();
        assert!(warmth.is_warm(None, 5, at(0)));
        warmth.count(Some(1));
        assert!(warmth.is_warm(None, 5, at(1)));
        warmth.count(None);
        warmth.count(Some(2));
        assert!(!warmth.is_warm(None, 5, at(2)));
        assert!(warmth.is_warm(None, 5, at(7)));
    }
}
