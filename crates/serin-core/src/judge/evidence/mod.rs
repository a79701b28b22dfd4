//! From raw counters to increases: per process, with restarts, new pods and scrapes that went wrong.
//!
//! Counters are never summed before they are differenced, because a sum cannot tell a restart from silence.
//! | what happens | what is counted |
//! |---|---|
//! | a counter falls | its process restarted, so all its counters did: the increase is the new value |
//! | a series appears | its whole value if it was born after the rollout began, else it is the base |
//! | bad requests ahead of their total | the surplus waits for the next scrape |
//! | a scrape or a series is missed | one longer block, once it is seen again |
//! | a timestamp again, or an older one | nothing |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::paper::{Damaged, Paper, Pen};
use super::sequential::Sample;

#[cfg(test)]
mod tests;

/// More series of one canary than this are not taken in, and counted as refused.
pub const SERIES_MAX: usize = 4096;
/// A series that was not seen for this long starts over from a new base.
pub const FORGOTTEN_AFTER_MILLIS: u64 = 600_000;

/// Which version a series counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Side {
    Canary,
    Primary,
}

/// Whether a series' process started, or a series in a process seen before appeared, after the rollout began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Born {
    Before,
    After,
}

/// One series as it was scraped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading<'a> {
    pub side: Side,
    /// Names the process, and the series in it if there are several: these counters restart together.
    pub series: &'a str,
    pub born: Born,
    /// Latencies of a pod's first seconds are left out; errors count from the first request.
    pub warm: bool,
    pub requests: u64,
    pub errors: u64,
    /// Requests with a measured latency: the histogram's count.
    pub timed: u64,
    /// Cumulative buckets: requests at or below each of the watched bounds.
    pub within: &'a [u64],
}

/// One side's increase.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arm {
    pub requests: u64,
    pub errors: u64,
    pub timed: u64,
    /// Requests slower than each of the watched bounds.
    pub slower: Vec<u64>,
}

/// What happened since the last scrape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Increase {
    /// Seconds since the last scrape; 0 for the first.
    pub secs: f64,
    pub canary: Arm,
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
        match (c.slower.get(bound), p.slower.get(bound)) {
            (Some(&x), Some(&y)) => Sample { n: c.timed, x, m: p.timed, y },
            (None, _) | (_, None) => Sample::default(),
        }
    }
}

/// The last values of a series, and what it owes to the next scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Last {
    seen_millis: u64,
    requests: u64,
    errors: u64,
    timed: u64,
    within: Vec<u64>,
    /// Errors ahead of their requests.
    errors_owed: u64,
    /// Slow requests ahead of the histogram's count (above zero) or behind it (below).
    slower_owed: Vec<i64>,
}

/// The counters of one canary and its primary.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    bounds: usize,
    at_millis: Option<u64>,
    series: BTreeMap<(Side, u64), Last>,
    increase: Increase,
}

impl Evidence {
    /// Nothing seen yet; every reading will carry `bounds` cumulative buckets.
    pub fn new(bounds: usize) -> Self {
        let arm = Arm { slower: vec![0; bounds], ..Arm::default() };
        let increase = Increase { canary: arm.clone(), primary: arm, ..Increase::default() };
        Self { bounds, at_millis: None, series: BTreeMap::new(), increase }
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

    /// Takes in one scrape; nothing when its time is not after the last one's.
    ///
    /// A series that exists nowhere yet in a process that was scraped should be read as zeros, so that its first request
    /// counts. A known series allocates nothing.
    pub fn observe<'a>(
        &mut self,
        at_millis: u64,
        readings: impl IntoIterator<Item = Reading<'a>>,
    ) -> Option<&Increase> {
        if self.at_millis.is_some_and(|last| at_millis <= last) {
            return None;
        }
        let since = self.at_millis.map_or(0, |last| at_millis - last);
        self.at_millis = Some(at_millis);
        self.increase.secs = since as f64 / 1000.0;
        self.increase.refused = 0;
        self.increase.canary.clear();
        self.increase.primary.clear();
        for reading in readings {
            self.take(at_millis, &reading);
        }
        Some(&self.increase)
    }

    fn take(&mut self, at_millis: u64, reading: &Reading<'_>) {
        let key = (reading.side, name_hash(reading.series));
        let arm = match reading.side {
            Side::Canary => &mut self.increase.canary,
            Side::Primary => &mut self.increase.primary,
        };
        if let Some(last) = self.series.get_mut(&key) {
            if last.seen_millis == at_millis {
                return;
            }
            if at_millis - last.seen_millis <= FORGOTTEN_AFTER_MILLIS {
                last.advance(at_millis, reading, arm);
            } else {
                *last = Last::base(at_millis, reading, self.bounds);
            }
            return;
        }
        if self.series.len() >= SERIES_MAX {
            self.series.retain(|_, last| at_millis - last.seen_millis <= FORGOTTEN_AFTER_MILLIS);
        }
        if self.series.len() >= SERIES_MAX {
            self.increase.refused += 1;
            return;
        }
        let last = match reading.born {
            Born::Before => Last::base(at_millis, reading, self.bounds),
            Born::After => {
                let mut last = Last::zero(self.bounds);
                last.advance(at_millis, reading, arm);
                last
            }
        };
        self.series.insert(key, last);
    }
}

impl Arm {
    fn clear(&mut self) {
        (self.requests, self.errors, self.timed) = (0, 0, 0);
        self.slower.fill(0);
    }
}

impl Last {
    fn zero(bounds: usize) -> Self {
        Self {
            seen_millis: 0,
            requests: 0,
            errors: 0,
            timed: 0,
            within: vec![0; bounds],
            errors_owed: 0,
            slower_owed: vec![0; bounds],
        }
    }

    fn base(at_millis: u64, reading: &Reading<'_>, bounds: usize) -> Self {
        let mut last = Self::zero(bounds);
        last.set(at_millis, reading);
        last
    }

    fn set(&mut self, at_millis: u64, reading: &Reading<'_>) {
        self.seen_millis = at_millis;
        self.requests = reading.requests;
        self.errors = reading.errors;
        self.timed = reading.timed;
        for (last, now) in self.within.iter_mut().zip(reading.within) {
            *last = *now;
        }
    }

    fn restarted(&self, reading: &Reading<'_>) -> bool {
        reading.requests < self.requests
            || reading.errors < self.errors
            || reading.timed < self.timed
            || reading.within.iter().zip(&self.within).any(|(now, last)| now < last)
    }

    /// Adds the increase since the last reading to `arm`, and remembers the reading.
    fn advance(&mut self, at_millis: u64, reading: &Reading<'_>, arm: &mut Arm) {
        if self.restarted(reading) {
            // What was owed to the old counters can never be matched by the new ones.
            *self = Self::zero(self.within.len());
        }
        let requests = reading.requests - self.requests;
        let errors = (reading.errors - self.errors).saturating_add(self.errors_owed);
        let counted = errors.min(requests);
        self.errors_owed = errors - counted;
        arm.requests = arm.requests.saturating_add(requests);
        arm.errors = arm.errors.saturating_add(counted);
        if reading.warm {
            self.advance_latency(reading, arm);
        } else {
            self.slower_owed.fill(0);
        }
        self.set(at_millis, reading);
    }

    fn advance_latency(&mut self, reading: &Reading<'_>, arm: &mut Arm) {
        let timed = reading.timed - self.timed;
        arm.timed = arm.timed.saturating_add(timed);
        let most = i64::try_from(timed).unwrap_or(i64::MAX);
        for (bound, within) in reading.within.iter().enumerate().take(self.within.len()) {
            let fast = i64::try_from(within - self.within[bound]).unwrap_or(i64::MAX);
            let slower = most.saturating_sub(fast).saturating_add(self.slower_owed[bound]);
            let counted = slower.clamp(0, most);
            self.slower_owed[bound] = slower - counted;
            arm.slower[bound] = arm.slower[bound].saturating_add(counted.unsigned_abs());
        }
    }
}

/// FNV-1a, cut to five bytes: names are long and only have to be told apart.
fn name_hash(name: &str) -> u64 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, fold) >> (64 - 8 * NAME_BYTES)
}

const NAME_BYTES: usize = 5;

/// Bits of a kept series' first byte.
const PRIMARY: u8 = 1;
const OWES: u8 = 2;

impl Evidence {
    /// Writes down the raw counters, to be kept with the guard's state of the same scrape.
    ///
    /// Without them a restored rollout takes new bases: the gap is not judged, and no evidence is counted twice.
    pub(super) fn write(&self, pen: &mut Pen) {
        pen.uint(self.bounds as u64);
        pen.uint(self.at_millis.unwrap_or(0));
        pen.uint(self.series.len() as u64);
        for (&(side, name), last) in &self.series {
            let owes = last.slower_owed.iter().any(|owed| *owed != 0) || last.errors_owed != 0;
            let side = match side {
                Side::Canary => 0,
                Side::Primary => PRIMARY,
            };
            pen.byte(side | if owes { OWES } else { 0 });
            pen.fixed(name, NAME_BYTES);
            pen.uint(self.at_millis.unwrap_or(0).saturating_sub(last.seen_millis));
            pen.uint(last.requests);
            pen.uint(last.errors);
            // Usually the same as the requests, and most of them fast.
            pen.int(last.timed.wrapping_sub(last.requests).cast_signed());
            for within in &last.within {
                pen.int(last.timed.wrapping_sub(*within).cast_signed());
            }
            if owes {
                pen.uint(last.errors_owed);
                last.slower_owed.iter().for_each(|owed| pen.int(*owed));
            }
        }
    }

    /// Continues from what [`Evidence::write`] wrote; with other bounds it starts anew, as its buckets cannot be compared.
    pub(super) fn read(bounds: usize, paper: &mut Paper) -> Result<Self, Damaged> {
        let mut evidence = Self::new(bounds);
        if paper.uint()? != bounds as u64 {
            return Ok(evidence);
        }
        let at = paper.uint()?;
        let series = paper.uint()?;
        if series > SERIES_MAX as u64 {
            return Err(Damaged("too many series"));
        }
        evidence.at_millis = Some(at);
        for _ in 0..series {
            let bits = paper.byte()?;
            let side = if bits & PRIMARY == 0 { Side::Canary } else { Side::Primary };
            let name = paper.fixed(NAME_BYTES)?;
            let mut last = Last::zero(bounds);
            last.seen_millis = at.saturating_sub(paper.uint()?);
            (last.requests, last.errors) = (paper.uint()?, paper.uint()?);
            last.timed = last.requests.wrapping_add(paper.int()?.cast_unsigned());
            for within in &mut last.within {
                *within = last.timed.wrapping_sub(paper.int()?.cast_unsigned());
            }
            if bits & OWES != 0 {
                last.errors_owed = paper.uint()?;
                for owed in &mut last.slower_owed {
                    *owed = paper.int()?;
                }
            }
            evidence.series.insert((side, name), last);
        }
        Ok(evidence)
    }
}
