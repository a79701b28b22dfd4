//! From raw counters to increases: per process, with restarts, new pods and scrapes that went wrong.
//!
//! Counters are never summed before they are differenced, because a sum cannot tell a restart from silence.
//! | what happens | what is counted |
//! |---|---|
//! | a process has another start time | it restarted, so all its counters did: the increase is the new value |
//! | all series of a process that does not tell its start fall to less than half | the same |
//! | a counter falls otherwise, or is missing | nothing, until it is above its high-water mark again: one longer block |
//! | ... of a canary that has no share, for some seconds | nothing, and it goes on from where it is |
//! | a series appears | its whole value if it was born after the rollout began, else it is the base |
//! | bad requests ahead of their total | the surplus waits for the next scrapes, at most a minute |
//! | a scrape or a series is missed | one longer block, once it is seen again |
//! | a bound of the histogram is not measured | no request at it, rather than none that is slower; once it is, what came since it last was |
//! | a timestamp again, an older one, or not one series | nothing, and the caller is told which of them it was |

use std::collections::BTreeMap;

use crate::digest::digest;
use crate::guard::Unjudged;
use crate::settings::CounterSettings;
use crate::stream::Sample;

mod saved;
#[cfg(test)]
mod tests;

/// More series of one canary than this are not taken in, and counted as refused.
pub const SERIES_MAX: usize = 4096;
/// Which version a series counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The version under test.
    Canary,
    /// The version that runs beside it, the baseline.
    Primary,
}

/// Whether a series' process started, or a series in a process seen before appeared, after the rollout began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Born {
    /// What it counted before the first scrape is not of this rollout.
    Before,
    /// All that it has counted is of this rollout.
    After,
}

/// One series as it was scraped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading<'a> {
    /// Whose requests it counts.
    pub side: Side,
    /// Names the process, and the series in it if there are several: these counters restart together.
    pub series: &'a str,
    /// Whether its first value counts.
    pub born: Born,
    /// When the process started, in whole seconds since 1970, if it says so.
    pub started: Option<u64>,
    /// Latencies of a pod's first seconds are left out; errors count from the first request.
    pub warm: bool,
    /// All requests.
    pub requests: u64,
    /// Failed ones of them.
    pub errors: u64,
    /// Requests with a measured latency: the histogram's count.
    pub timed: u64,
    /// Cumulative buckets: requests at or below each of the watched bounds; none where that was not measured.
    pub within: &'a [Option<u64>],
}

/// One side's increase.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arm {
    /// All requests.
    pub requests: u64,
    /// Failed ones of them.
    pub errors: u64,
    /// At each of the watched bounds.
    pub latencies: Vec<Latency>,
}

/// Requests with a measured latency, and how many of them were slower than a bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// Requests with a measured latency.
    pub timed: u64,
    /// Those of them slower than the bound.
    pub slower: u64,
}

/// What happened since the last scrape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Increase {
    /// Seconds since the last scrape; 0 for the first.
    pub secs: f64,
    /// What the canary's counters grew by.
    pub canary: Arm,
    /// What the primary's counters grew by.
    pub primary: Arm,
    /// Readings beyond [`SERIES_MAX`] that were not taken in.
    pub refused: usize,
}

impl Increase {
    /// Errors among requests.
    pub fn errors(&self) -> Sample {
        let (c, p) = (&self.canary, &self.primary);
        Sample { n: c.requests, x: c.errors, m: p.requests, y: p.errors }
    }

    /// Requests slower than the watched bound number `bound`; silent for a bound nobody watches.
    pub fn slower(&self, bound: usize) -> Sample {
        let (c, p) = (&self.canary, &self.primary);
        match (c.latencies.get(bound), p.latencies.get(bound)) {
            (Some(c), Some(p)) => Sample { n: c.timed, x: c.slower, m: p.timed, y: p.slower },
            (None, _) | (_, None) => Sample::default(),
        }
    }
}

/// The time of looks for the evidence: by the clock, and always after the look before, whoever has set the clock back or which
/// other leader, with another clock, has looked before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Monotonic(Option<(i64, u64)>);

impl Monotonic {
    /// When a look is that the clock says was at `told`; `usual` is the time between two looks, and `after` when the last one
    /// was that the evidence knows of.
    pub fn at(&mut self, told: i64, usual: u64, after: Option<u64>) -> u64 {
        let at = match self.0 {
            None => u64::try_from(told).unwrap_or(0),
            // Set back, it does not tell how much time has passed.
            Some((then, at)) if told < then => at.saturating_add(usual.max(1)),
            Some((then, at)) => at.saturating_add(told.abs_diff(then).max(1)),
        };
        let at = after.map_or(at, |after| at.max(after.saturating_add(1)));
        self.0 = Some((told, at));
        at
    }
}

/// Why counters that were read do not tell what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inconsistency {
    /// A series is below what it was, for some time, and its process has not restarted.
    Fallen,
    /// Bad requests were counted that never got their requests.
    Ahead,
}

/// What is known of a process: its series restart together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Process {
    started: Option<u64>,
    /// The scrape that the rest is about.
    at_millis: u64,
    /// It says when it started.
    told: bool,
    /// How many series fell to less than half, and how many did not.
    fell: u32,
    stood: u32,
    /// Another start time than before.
    other: bool,
}

impl Process {
    fn has_restarted(&self) -> bool {
        self.other || (!self.told && self.fell > 0 && self.stood == 0)
    }
}

/// The high-water marks of a series, and what it owes to the next scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Last {
    /// When it was last read, and when it last was not below its marks.
    read_millis: u64,
    seen_millis: u64,
    requests: u64,
    errors: u64,
    timed: u64,
    buckets: Vec<Bucket>,
    /// Errors ahead of their requests, and since when.
    errors_owed: u64,
    owed_since: u64,
}

/// One bound of a histogram when it was last measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bucket {
    /// None before it was measured, where that is no zero.
    timed: Option<u64>,
    within: u64,
    /// Slow requests ahead of the histogram's count (above zero) or behind it (below).
    owed: i64,
}

impl Bucket {
    /// Nothing was counted before.
    const ZERO: Self = Self { timed: Some(0), within: 0, owed: 0 };
}

/// The counters of one canary and its primary.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracker {
    bounds: usize,
    at_millis: Option<u64>,
    /// By the digest of the process' name; both sides are beside each other.
    series: BTreeMap<(u64, Side), Last>,
    processes: BTreeMap<u64, Process>,
    /// When bad requests were last given up that never got their requests.
    ahead_millis: Option<u64>,
    increase: Increase,
    settings: CounterSettings,
    /// The canary has no share of the requests.
    idle: bool,
}

impl Tracker {
    /// Nothing seen yet; every reading will carry `bounds` cumulative buckets.
    pub fn new(bounds: usize) -> Self {
        Self::with(bounds, CounterSettings::default())
    }

    /// The same with other settings.
    pub fn with(bounds: usize, settings: CounterSettings) -> Self {
        let arm = Arm { latencies: vec![Latency::default(); bounds], ..Arm::default() };
        let increase = Increase { canary: arm.clone(), primary: arm, ..Increase::default() };
        Self {
            bounds,
            at_millis: None,
            series: BTreeMap::new(),
            processes: BTreeMap::new(),
            ahead_millis: None,
            increase,
            settings,
            idle: false,
        }
    }

    /// Whether the canary has no share of the requests from the next scrape on. Its counters are another's then: a gateway
    /// drops those of a version that has left, and they begin again with the next.
    pub fn set_idle(&mut self, idle: bool) {
        self.idle = idle;
    }

    /// What the last scrape brought.
    pub fn increase(&self) -> &Increase {
        &self.increase
    }

    /// When the counters were read last.
    pub fn at_millis(&self) -> Option<u64> {
        self.at_millis
    }

    /// How many series are remembered.
    pub fn series(&self) -> usize {
        self.series.len()
    }

    /// Whether every bound was measured with every scrape.
    pub(crate) fn is_even(&self) -> bool {
        self.series.values().all(|last| !last.is_uneven())
    }

    /// Why the counters do not tell what happens now; none when they do.
    pub fn inconsistency(&self) -> Option<Inconsistency> {
        let now = self.at_millis?;
        let fallen = |last: &Last| {
            last.read_millis == now
                && now - last.seen_millis.min(now) >= self.settings.fallen_millis
        };
        if self.series.values().any(fallen) {
            return Some(Inconsistency::Fallen);
        }
        let ahead =
            self.ahead_millis.filter(|at| now.saturating_sub(*at) < self.settings.owed_millis);
        ahead.map(|_| Inconsistency::Ahead)
    }

    /// Takes in one scrape, with the time when it was taken.
    ///
    /// A series that exists nowhere yet in a process that was scraped should be read as zeros, so that its first request
    /// counts. A known series allocates nothing.
    pub fn observe<'a>(
        &mut self,
        at_millis: u64,
        readings: impl IntoIterator<Item = Reading<'a>, IntoIter: Clone>,
    ) -> Result<&Increase, Unjudged> {
        let since = Unjudged::since(self.at_millis, at_millis)?;
        let readings = readings.into_iter();
        if readings.clone().next().is_none() {
            return Err(Unjudged::NotMeasured);
        }
        self.at_millis = Some(at_millis);
        self.increase.secs = since as f64 / 1000.0;
        self.increase.refused = 0;
        self.increase.canary.clear();
        self.increase.primary.clear();
        for reading in readings.clone() {
            self.compare(at_millis, &reading);
        }
        for reading in readings {
            self.take(at_millis, &reading);
        }
        Ok(&self.increase)
    }

    /// Whether the process of a reading has restarted is for all its series to say.
    fn compare(&mut self, at_millis: u64, reading: &Reading<'_>) {
        let name = digest(reading.series.as_bytes());
        let Some(last) = self.series.get(&(name, reading.side)) else { return };
        let process = self.processes.entry(name).or_default();
        if process.at_millis != at_millis {
            let both = reading.started.zip(process.started);
            let other =
                both.is_some_and(|(now, then)| now.abs_diff(then) > self.settings.start_secs_apart);
            let (told, started) = (reading.started.is_some(), reading.started.or(process.started));
            *process = Process { started, at_millis, told, fell: 0, stood: 0, other };
        }
        // Nothing counted and not shown look alike.
        if reading.requests == 0 || last.requests == 0 {
            return;
        }
        if reading.requests.saturating_mul(2) <= last.requests {
            process.fell += 1;
        } else {
            process.stood += 1;
        }
    }

    fn take(&mut self, at_millis: u64, reading: &Reading<'_>) {
        let name = digest(reading.series.as_bytes());
        let key = (name, reading.side);
        let arm = match reading.side {
            Side::Canary => &mut self.increase.canary,
            Side::Primary => &mut self.increase.primary,
        };
        if let Some(last) = self.series.get_mut(&key) {
            if last.read_millis == at_millis {
                return;
            }
            if self.processes.get(&name).is_some_and(Process::has_restarted) {
                // What was owed to the old counters can never be matched by the new ones.
                *last = Last { seen_millis: last.seen_millis, ..Last::zero(self.bounds) };
            }
            // Below what they were for long, without a request of the canary that could be lost by it.
            let left = self.idle
                && reading.side == Side::Canary
                && at_millis - last.seen_millis >= self.settings.fallen_millis;
            if !left && at_millis - last.seen_millis <= self.settings.forgotten_after_millis {
                if last.advance(at_millis, reading, arm, self.settings.owed_millis) > 0 {
                    self.ahead_millis = Some(at_millis);
                }
            } else {
                *last = Last::base(at_millis, reading, self.bounds);
            }
            return;
        }
        if self.series.len() >= SERIES_MAX {
            self.series.retain(|_, last| {
                at_millis - last.seen_millis <= self.settings.forgotten_after_millis
            });
            let series = &self.series;
            let known = |name: &u64| {
                [Side::Canary, Side::Primary]
                    .iter()
                    .any(|side| series.contains_key(&(*name, *side)))
            };
            self.processes.retain(|name, _| known(name));
        }
        if self.series.len() >= SERIES_MAX {
            self.increase.refused += 1;
            return;
        }
        let last = match reading.born {
            Born::Before => Last::base(at_millis, reading, self.bounds),
            Born::After => {
                let mut last = Last::zero(self.bounds);
                last.advance(at_millis, reading, arm, self.settings.owed_millis);
                last
            }
        };
        self.series.insert(key, last);
        let process = self.processes.entry(name).or_default();
        process.started = reading.started.or(process.started);
    }
}

impl Arm {
    fn clear(&mut self) {
        (self.requests, self.errors) = (0, 0);
        self.latencies.fill(Latency::default());
    }
}

impl Last {
    /// Some bound was not measured in the last scrape.
    fn is_uneven(&self) -> bool {
        self.buckets.iter().any(|bucket| bucket.timed != Some(self.timed))
    }

    fn zero(bounds: usize) -> Self {
        Self {
            read_millis: 0,
            seen_millis: 0,
            requests: 0,
            errors: 0,
            timed: 0,
            buckets: vec![Bucket::ZERO; bounds],
            errors_owed: 0,
            owed_since: 0,
        }
    }

    fn base(at_millis: u64, reading: &Reading<'_>, bounds: usize) -> Self {
        let mut last = Self::zero(bounds);
        last.buckets.fill(Bucket::default());
        (last.read_millis, last.seen_millis) = (at_millis, at_millis);
        (last.requests, last.errors) = (reading.requests, reading.errors);
        last.set_histogram(reading);
        last
    }

    /// Goes on from here without counting what came before.
    fn set_histogram(&mut self, reading: &Reading<'_>) {
        self.timed = reading.timed;
        for (place, bucket) in self.buckets.iter_mut().enumerate() {
            // What comes while a bound is not measured must not be counted for it later.
            *bucket = match reading.within.get(place).copied().flatten() {
                Some(within) => Bucket { timed: Some(reading.timed), within, owed: 0 },
                None => Bucket::default(),
            };
        }
    }

    /// Adds the increase since the last reading to `arm`, and remembers the reading, as far as it is not below what was seen
    /// before. Returns the errors that are given up, as their requests have not come.
    fn advance(
        &mut self,
        at_millis: u64,
        reading: &Reading<'_>,
        arm: &mut Arm,
        patience: u64,
    ) -> u64 {
        self.read_millis = at_millis;
        let fell = |(now, last): (&Option<u64>, &Bucket)| now.is_some_and(|now| now < last.within);
        let bucket_fell = reading.within.iter().zip(&self.buckets).any(fell);
        if reading.timed >= self.timed && !bucket_fell {
            if reading.warm {
                self.advance_latency(reading, arm);
            } else {
                self.set_histogram(reading);
            }
        }
        // Requests are the sum over all outcomes: where one of these is missing, both are less than they were.
        if reading.requests < self.requests || reading.errors < self.errors {
            return 0;
        }
        self.seen_millis = at_millis;
        self.advance_errors(at_millis, reading, arm, patience)
    }

    fn advance_errors(
        &mut self,
        at_millis: u64,
        reading: &Reading<'_>,
        arm: &mut Arm,
        patience: u64,
    ) -> u64 {
        let requests = reading.requests - self.requests;
        let errors = (reading.errors - self.errors).saturating_add(self.errors_owed);
        let counted = errors.min(requests);
        if self.errors_owed == 0 {
            self.owed_since = at_millis;
        }
        self.errors_owed = errors - counted;
        arm.requests = arm.requests.saturating_add(requests);
        arm.errors = arm.errors.saturating_add(counted);
        (self.requests, self.errors) = (reading.requests, reading.errors);
        let owed_for = at_millis.saturating_sub(self.owed_since);
        if owed_for < patience {
            return 0;
        }
        // Nor may what is owed one way or the other be made up for by requests of another time.
        self.buckets.iter_mut().for_each(|bucket| bucket.owed = 0);
        std::mem::take(&mut self.errors_owed)
    }

    fn advance_latency(&mut self, reading: &Reading<'_>, arm: &mut Arm) {
        self.timed = reading.timed;
        for (place, last) in self.buckets.iter_mut().enumerate() {
            let Some(now) = reading.within.get(place).copied().flatten() else { continue };
            let Some(before) = last.timed.replace(reading.timed) else {
                last.within = now;
                continue;
            };
            let timed = reading.timed.saturating_sub(before);
            let most = i64::try_from(timed).unwrap_or(i64::MAX);
            let fast = i64::try_from(now - last.within).unwrap_or(i64::MAX);
            let slower = most.saturating_sub(fast).saturating_add(last.owed);
            let counted = slower.clamp(0, most);
            (last.within, last.owed) = (now, slower - counted);
            if let Some(sum) = arm.latencies.get_mut(place) {
                sum.timed = sum.timed.saturating_add(timed);
                sum.slower = sum.slower.saturating_add(counted.unsigned_abs());
            }
        }
    }
}
