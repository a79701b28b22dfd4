//! The figures of a load: how many, by whom, how fast, since when.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::exposition::Histogram;

/// The name under which answers without a version are counted: those of the gateway itself.
pub const UNVERSIONED: &str = "";
/// A story has two or three versions; a server that invents them must not fill the memory.
const VERSIONS_MAX: usize = 64;
/// Bounds in seconds, close enough together for a p99.
pub const LATENCY_BOUNDS: [f64; 22] = [
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25,
    0.4, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0,
];

/// Figures of a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub began: Timestamp,
    pub elapsed: Duration,
    /// Requests sent, answered or not.
    pub sent: u64,
    /// Due, but left out because too many were under way.
    pub skipped: u64,
    /// Without an answer: refused, broken off or timed out.
    pub failed: u64,
    pub by_status: BTreeMap<u16, u64>,
    pub by_version: BTreeMap<String, Tally>,
    /// Everything, failures included.
    pub total: Tally,
}

/// Figures of one version. Bad is a status of 500 and above, or no answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    pub requests: u64,
    pub bad: u64,
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
    pub first_bad: Option<Timestamp>,
    pub last_bad: Option<Timestamp>,
    latency: Histogram,
}

impl Snapshot {
    pub(super) fn new(began: Timestamp) -> Self {
        Self {
            began,
            elapsed: Duration::ZERO,
            sent: 0,
            skipped: 0,
            failed: 0,
            by_status: BTreeMap::new(),
            by_version: BTreeMap::new(),
            total: Tally::new(),
        }
    }

    /// Requests whose fate is known.
    pub fn completed(&self) -> u64 {
        self.total.requests
    }

    pub(super) fn answered(
        &mut self,
        status: u16,
        version: Option<&str>,
        seconds: f64,
        now: Timestamp,
    ) {
        let bad = status >= 500;
        *self.by_status.entry(status).or_default() += 1;
        self.total.add(bad, seconds, now);
        let mut version = version.unwrap_or(UNVERSIONED);
        if self.by_version.len() >= VERSIONS_MAX && !self.by_version.contains_key(version) {
            version = UNVERSIONED;
        }
        self.by_version.entry(version.to_owned()).or_insert_with(Tally::new).add(bad, seconds, now);
    }

    pub(super) fn failed(&mut self, seconds: f64, now: Timestamp) {
        self.failed += 1;
        self.total.add(true, seconds, now);
    }
}

impl Tally {
    fn new() -> Self {
        let latency = Histogram::new(&LATENCY_BOUNDS);
        Self {
            requests: 0,
            bad: 0,
            first: None,
            last: None,
            first_bad: None,
            last_bad: None,
            latency,
        }
    }

    fn add(&mut self, bad: bool, seconds: f64, now: Timestamp) {
        self.requests += 1;
        self.first.get_or_insert(now);
        self.last = Some(now);
        if bad {
            self.bad += 1;
            self.first_bad.get_or_insert(now);
            self.last_bad = Some(now);
        }
        self.latency.observe(&LATENCY_BOUNDS, seconds);
    }

    /// The share of requests that were not bad.
    pub fn success_rate(&self) -> Option<f64> {
        (self.requests > 0).then(|| (self.requests - self.bad) as f64 / self.requests as f64)
    }

    /// The latency in seconds below which a share `q` of the requests lies.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        self.latency.quantile(&LATENCY_BOUNDS, q)
    }
}
