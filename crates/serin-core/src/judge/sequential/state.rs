//! A guard on paper: small enough for a status, exact enough that alpha is never spent twice.

use serde::{Deserialize, Serialize};

use super::block::ALTERNATIVES;
use super::stream::{Faded, Sample, Stream, Waiting, Wealth};
use super::{Guard, GuardConfig, GuardError};

/// Log wealth is kept in thousandths, rounded down: less wealth is still an e-process.
const GRAIN: f64 = 1000.0;
/// Prior mass is kept in units of this part of one.
const MASS: f64 = 1e12;
/// Wealth below this logarithm is kept as none at all.
const LOG_MIN: f64 = -1000.0;

/// A guard's memory, to be kept with the raw counters of the same scrape.
///
/// Restoring it continues the same e-process: the gap is one longer block. A fresh guard would spend alpha again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardState {
    /// What the numbers belong to; a guard with other questions cannot continue them.
    #[serde(rename = "f")]
    fingerprint: u64,
    /// The dispersion the rollout was begun with; a later measurement would not be one from before it.
    #[serde(rename = "d")]
    dispersion: f64,
    /// The highest log evidence, on the side of the threshold where it was; none before the first block.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    peak: Option<i64>,
    #[serde(rename = "s")]
    streams: Vec<StreamState>,
}

/// A stream's memory: counts as they are, logs in thousandths, rarely filled parts left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct StreamState {
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    slo: Option<[Option<i64>; ALTERNATIVES]>,
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    slo_live: Option<[Option<i64>; ALTERNATIVES]>,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    relative: Option<[Option<i64>; ALTERNATIVES]>,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    relative_live: Option<[Option<i64>; ALTERNATIVES]>,
    #[serde(rename = "k")]
    blocks: u64,
    /// In units of 10^-12, rounded up: rounding down would create mass.
    #[serde(rename = "g")]
    spent: u64,
    #[serde(rename = "l", default, skip_serializing_if = "is_zero")]
    spent_live: f64,
    #[serde(rename = "w")]
    steps_spent: u32,
    #[serde(rename = "q", default, skip_serializing_if = "std::ops::Not::not")]
    step_pending: bool,
    #[serde(rename = "r")]
    primary: (f64, f64),
    #[serde(rename = "i", default, skip_serializing_if = "is_zero")]
    primary_silent_secs: f64,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    waiting: Option<Waiting>,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    waiting_live: Option<Waiting>,
    #[serde(rename = "h", default, skip_serializing_if = "is_zero")]
    brake: f64,
    #[serde(rename = "t")]
    total: (u64, u64, u64, u64),
    #[serde(rename = "u")]
    step: (u64, u64),
}

/// Why a guard cannot be continued from a state.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RestoreError {
    #[error("the guard's configuration is not valid")]
    Config(#[from] GuardError),
    #[error("the kept evidence answers other questions than the ones asked now")]
    OtherQuestions,
    #[error("the kept evidence is damaged: {what}")]
    Damaged { what: &'static str },
}

impl Guard {
    /// What to keep of this guard.
    pub fn state(&self) -> GuardState {
        let streams = self.streams.iter().map(StreamState::from).collect();
        GuardState {
            fingerprint: fingerprint(&self.config),
            dispersion: self.config.dispersion,
            peak: grain(self.peak).map(|p| p + i64::from(self.peak >= self.threshold())),
            streams,
        }
    }

    /// The guard that goes on where `state` was taken, with the dispersion measured back then.
    pub fn restore(config: GuardConfig, state: &GuardState) -> Result<Self, RestoreError> {
        let mut guard = Self::new(GuardConfig { dispersion: state.dispersion, ..config })?;
        if state.fingerprint != fingerprint(&guard.config)
            || state.streams.len() != guard.streams.len()
        {
            return Err(RestoreError::OtherQuestions);
        }
        for (i, kept) in state.streams.iter().enumerate() {
            kept.check()?;
            let rules = &guard.seats[i].rules;
            let mut stream = kept.stream();
            if stream.blocks > 0 {
                stream.recombine(rules);
            }
            guard.streams[i] = stream;
        }
        guard.peak = ungrain(state.peak);
        Ok(guard)
    }
}

impl StreamState {
    /// Refuses what no guard has written.
    fn check(&self) -> Result<(), RestoreError> {
        let damaged = |what| Err(RestoreError::Damaged { what });
        let mass = 0.0..=1.0;
        if !mass.contains(&(self.spent as f64 / MASS)) || !mass.contains(&self.spent_live) {
            return damaged("prior mass outside 0 to 1");
        }
        if self.blocks > 0 && self.spent == 0 {
            return damaged("blocks without prior mass");
        }
        let waiting = [self.waiting, self.waiting_live].into_iter().flatten();
        let counts = waiting.flat_map(|w| [w.n, w.x, w.m, w.y, w.secs]);
        let others = [self.primary.0, self.primary.1, self.primary_silent_secs, self.brake];
        if counts.chain(others).any(|v| !v.is_finite() || v < 0.0) {
            return damaged("a count that is negative or not finite");
        }
        Ok(())
    }

    fn stream(&self) -> Stream {
        let (n, x, m, y) = self.total;
        Stream {
            slo: Wealth { ratio: read(&self.slo), live: read(&self.slo_live) },
            relative: Wealth { ratio: read(&self.relative), live: read(&self.relative_live) },
            blocks: self.blocks,
            spent: self.spent as f64 / MASS,
            spent_live: self.spent_live,
            steps_spent: self.steps_spent,
            step_pending: self.step_pending,
            primary: Faded { requests: self.primary.0, bad: self.primary.1 },
            primary_silent_secs: self.primary_silent_secs,
            waiting: self.waiting.unwrap_or_default(),
            waiting_live: self.waiting_live.unwrap_or_default(),
            brake: self.brake,
            total: Sample { n, x, m, y },
            step: self.step,
            ..Stream::new()
        }
    }
}

impl From<&Stream> for StreamState {
    fn from(stream: &Stream) -> Self {
        let waiting = |w: Waiting| (w != Waiting::default()).then_some(w);
        Self {
            slo: keep(&stream.slo.ratio),
            slo_live: keep(&stream.slo.live),
            relative: keep(&stream.relative.ratio),
            relative_live: keep(&stream.relative.live),
            blocks: stream.blocks,
            // What a double loses on the way back is less than a thousandth of a unit.
            spent: (stream.spent * MASS - 1e-3).ceil().max(0.0) as u64,
            spent_live: stream.spent_live,
            steps_spent: stream.steps_spent,
            step_pending: stream.step_pending,
            primary: (short(stream.primary.requests), short(stream.primary.bad)),
            primary_silent_secs: stream.primary_silent_secs,
            waiting: waiting(stream.waiting),
            waiting_live: waiting(stream.waiting_live),
            brake: short(stream.brake),
            total: (stream.total.n, stream.total.x, stream.total.m, stream.total.y),
            step: stream.step,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// Enough digits for an estimate that only has to be predictable.
fn short(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

fn grain(log: f64) -> Option<i64> {
    (log >= LOG_MIN).then(|| (log * GRAIN).floor() as i64)
}

fn ungrain(kept: Option<i64>) -> f64 {
    kept.map_or(f64::NEG_INFINITY, |kept| kept as f64 / GRAIN)
}

fn keep(logs: &[f64; ALTERNATIVES]) -> Option<[Option<i64>; ALTERNATIVES]> {
    logs.iter().any(|log| *log >= LOG_MIN).then(|| logs.map(grain))
}

fn read(kept: &Option<[Option<i64>; ALTERNATIVES]>) -> [f64; ALTERNATIVES] {
    kept.map_or([f64::NEG_INFINITY; ALTERNATIVES], |logs| logs.map(ungrain))
}

/// FNV-1a over what gives the numbers their meaning, so that it stays the same between releases and machines.
fn fingerprint(config: &GuardConfig) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let text = format!("{} {:?} {:?}", config.weight_steps, config.bets, config.metrics);
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // JSON numbers beyond 2^53 lose digits in many readers.
    hash >> 11
}

#[cfg(test)]
impl GuardState {
    pub(super) fn streams_len(&self) -> usize {
        self.streams.len()
    }
}
