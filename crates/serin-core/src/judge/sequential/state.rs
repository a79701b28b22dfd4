//! A guard on paper: small enough for a status, exact enough that alpha is never spent twice.
//!
//! | what | how | why that is right |
//! |---|---|---|
//! | log wealth | the largest in thousandths, the others as distances from it, finely or in one byte, all rounded down | less wealth is still an e-process |
//! | prior mass | in 10^-12, rounded up | rounding down would create mass |
//! | counts | exact below 2^28, to seven digits above | they are for bounds and for people |
//! | what streams have in common | once | buckets of one histogram count the same requests |

use super::block::ALTERNATIVES;
use super::stream::{Faded, PATIENCE_SECS, Sample, Stream, Waiting, Wealth};
use super::{Guard, GuardConfig, GuardError};
use crate::judge::digest::digest;
use crate::judge::paper::{Damaged, Paper, Pen};

/// Of the largest log wealth, and of times, in one unit.
const GRAIN: f64 = 1000.0;
/// Prior mass is kept in units of this part of one.
const MASS: f64 = 1e12;
/// Wealth below this logarithm is kept as none at all, and wealth above as this much.
const LOG_MIN: f64 = -1000.0;
const LOG_MAX: f64 = 100_000.0;
/// Wealth this many nats below the largest adds nothing to it.
const DEPTH: f64 = 50.0;
/// Distances have this many steps, finest near the largest; one more says "none".
const DISTANCES: f64 = 250.0;
const NONE: u8 = 255;
/// Dispersions are kept in hundredths.
const DISPERSION: f64 = 100.0;

/// Why a guard cannot be continued from what was kept.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RestoreError {
    #[error("the guard's configuration is not valid")]
    Config(#[from] GuardError),
    #[error("the kept evidence answers other questions than the ones asked now")]
    OtherQuestions,
    #[error("the kept evidence cannot be read, {0}")]
    Damaged(#[from] Damaged),
}

impl Guard {
    /// Writes down what outlives this process. Reading it continues the same e-process: the gap is one longer block.
    ///
    /// What is not `fine` loses up to an eighth of a nat of each alternative, and is a third shorter.
    pub(in crate::judge) fn write(&self, fine: bool, pen: &mut Pen) {
        pen.fixed(fingerprint(&self.config), 7);
        pen.uint((self.config.dispersion * DISPERSION).ceil() as u64);
        for metric in &self.config.metrics {
            pen.uint((metric.dispersion * DISPERSION).ceil() as u64);
        }
        pen.byte(u8::from(self.peak >= LOG_MIN));
        if self.peak >= LOG_MIN {
            // On the side of the threshold where it was: a rollback is not taken back.
            pen.int(grain(self.peak) + i64::from(self.peak >= self.threshold()));
        }
        let mut before = None;
        for stream in &self.streams {
            let common = Common::of(stream);
            let same = if before.as_ref() == Some(&common) { SAME } else { 0 };
            write(pen, stream, &common, same | if fine { FINE } else { 0 });
            before = Some(common);
        }
    }

    /// Goes on from what would be kept: what is said of it from now on is what will be read of it.
    pub(in crate::judge) fn settle(&mut self) {
        let mut pen = Pen::default();
        self.write(true, &mut pen);
        let paper = Paper::of(&pen.text());
        let read = paper
            .map_err(RestoreError::from)
            .map(|mut paper| Self::read(self.config.clone(), &mut paper));
        if let Ok(Ok(Self { streams, peak, twins, .. })) = read {
            (self.streams, self.peak, self.twins) = (streams, peak, twins);
            self.refresh();
        }
    }

    /// The guard that goes on where [`Guard::write`] was called, with the dispersion measured back then: a later
    /// measurement would not be one from before the rollout.
    pub(in crate::judge) fn read(
        mut config: GuardConfig,
        paper: &mut Paper,
    ) -> Result<Self, RestoreError> {
        if paper.fixed(7)? != fingerprint(&config) {
            return Err(RestoreError::OtherQuestions);
        }
        config.dispersion = paper.uint()? as f64 / DISPERSION;
        for metric in &mut config.metrics {
            metric.dispersion = paper.uint()? as f64 / DISPERSION;
        }
        let mut guard = Self::new(config)?;
        if paper.byte()? == 1 {
            guard.peak = paper.int()? as f64 / GRAIN;
        }
        let mut before = None;
        for (seat, stream) in guard.seats.iter().zip(&mut guard.streams) {
            let (read, common) = read(paper, before)?;
            *stream = read;
            before = Some(common);
            if stream.blocks > 0 {
                stream.recombine(&seat.rules);
            }
        }
        guard.find_twins();
        guard.refresh();
        Ok(guard)
    }
}

/// What streams on the same requests have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Common {
    blocks: u64,
    spent: u64,
    spent_live: u64,
    steps_spent: u32,
    requests: (u64, u64),
    step_requests: (u64, u64),
    primary: f64,
    silent: u64,
    alone: u64,
    waiting: (u64, u64),
    waiting_live: (u64, u64, u64),
}

impl Common {
    fn of(stream: &Stream) -> Self {
        let Waiting { n: _, x: _, m, y: _, secs } = stream.waiting;
        let live = stream.waiting_live;
        Self {
            blocks: stream.blocks,
            // What a double loses on the way back is less than a thousandth of a unit.
            spent: (stream.spent * MASS - 1e-3).ceil().max(0.0) as u64,
            spent_live: (stream.spent_live * MASS + 1e-3).floor() as u64,
            steps_spent: stream.steps_spent,
            requests: (stream.total.n, stream.total.m),
            step_requests: (stream.step.0, stream.step_primary),
            primary: f64::from(stream.primary.requests as f32),
            // Beyond its patience nobody asks how long.
            silent: millis(stream.primary_silent_secs.min(2.0 * PATIENCE_SECS)),
            alone: stream.alone,
            waiting: (m as u64, millis(secs)),
            waiting_live: (live.n as u64, live.m as u64, millis(live.secs)),
        }
    }

    fn write(&self, pen: &mut Pen) {
        let Self { blocks, spent, spent_live, steps_spent, .. } = *self;
        pen.count(blocks);
        pen.uint(spent);
        pen.uint(spent_live);
        pen.uint(u64::from(steps_spent));
        pen.count(self.requests.0);
        pen.count(self.requests.1);
        pen.count(self.step_requests.0);
        pen.count(self.step_requests.1);
        pen.float(self.primary);
        pen.uint(self.silent);
        pen.count(self.alone);
        pen.count(self.waiting.0);
        pen.uint(self.waiting.1);
        pen.count(self.waiting_live.0);
        pen.count(self.waiting_live.1);
        pen.uint(self.waiting_live.2);
    }

    fn read(paper: &mut Paper) -> Result<Self, Damaged> {
        let (blocks, spent, spent_live) = (paper.count()?, paper.uint()?, paper.uint()?);
        if spent.max(spent_live) as f64 > MASS || (blocks > 0) != (spent > 0) {
            return Err(Damaged("prior mass that nobody had"));
        }
        Ok(Self {
            blocks,
            spent,
            spent_live,
            steps_spent: u32::try_from(paper.uint()?).map_err(|_| Damaged("too many steps"))?,
            requests: (paper.count()?, paper.count()?),
            step_requests: (paper.count()?, paper.count()?),
            primary: positive(paper.float()?)?,
            silent: paper.uint()?,
            alone: paper.count()?,
            waiting: (paper.count()?, paper.uint()?),
            waiting_live: (paper.count()?, paper.count()?, paper.uint()?),
        })
    }
}

/// Bits of a stream's first byte: which wealth it has, and whether the common part is the one before.
const SAME: u8 = 1 << 4;
const STEP_PENDING: u8 = 1 << 5;
const FINE: u8 = 1 << 6;

fn write(pen: &mut Pen, stream: &Stream, common: &Common, mut bits: u8) {
    let (slo, relative) = (&stream.slo, &stream.relative);
    let logs = [&slo.ratio, &slo.live, &relative.ratio, &relative.live].map(Wealth::logs);
    for (place, logs) in logs.iter().enumerate() {
        bits |= u8::from(logs.iter().any(|log| *log >= LOG_MIN)) << place;
    }
    bits |= if stream.step_pending { STEP_PENDING } else { 0 };
    pen.byte(bits);
    if bits & SAME == 0 {
        common.write(pen);
    }
    for (place, logs) in logs.iter().enumerate() {
        if bits & (1 << place) != 0 {
            write_logs(pen, logs, bits & FINE != 0);
        }
    }
    pen.float(stream.primary.bad);
    pen.count(stream.waiting.y as u64);
    pen.count(stream.waiting_live.x as u64);
    pen.count(stream.waiting_live.y as u64);
    pen.uint(millis(stream.brake));
    pen.count(stream.total.x);
    pen.count(stream.total.y);
    pen.count(stream.step.1);
}

fn read(paper: &mut Paper, before: Option<Common>) -> Result<(Stream, Common), Damaged> {
    let bits = paper.byte()?;
    let common = match before {
        Some(before) if bits & SAME != 0 => before,
        Some(_) | None if bits & SAME == 0 => Common::read(paper)?,
        Some(_) | None => return Err(Damaged("the first stream cannot be like one before")),
    };
    let mut stream = Stream::new();
    let (slo, relative) = (&mut stream.slo, &mut stream.relative);
    let all = [&mut slo.ratio, &mut slo.live, &mut relative.ratio, &mut relative.live];
    for (place, wealth) in all.into_iter().enumerate() {
        if bits & (1 << place) != 0 {
            *wealth = Wealth::of_logs(&read_logs(paper, bits & FINE != 0)?);
        }
    }
    stream.primary = Faded { requests: common.primary, bad: positive(paper.float()?)? };
    let seconds = |millis: u64| millis as f64 / GRAIN;
    let (m, secs) = common.waiting;
    let y = paper.count()?.min(m) as f64;
    stream.waiting = Waiting { n: 0.0, x: 0.0, m: m as f64, y, secs: seconds(secs) };
    let (n, m, secs) = common.waiting_live;
    let (x, y) = (paper.count()?.min(n) as f64, paper.count()?.min(m) as f64);
    stream.waiting_live = Waiting { n: n as f64, x, m: m as f64, y, secs: seconds(secs) };
    stream.brake = seconds(paper.uint()?);
    let ((n, m), (step, step_primary)) = (common.requests, common.step_requests);
    stream.total = Sample { n, x: paper.count()?.min(n), m, y: paper.count()?.min(m) };
    stream.step = (step, paper.count()?.min(step));
    (stream.step_primary, stream.alone) = (step_primary, common.alone);
    stream.blocks = common.blocks;
    stream.spent = common.spent as f64 / MASS;
    stream.spent_live = common.spent_live as f64 / MASS;
    stream.steps_spent = common.steps_spent;
    stream.step_pending = bits & STEP_PENDING != 0;
    stream.primary_silent_secs = seconds(common.silent);
    Ok((stream, common))
}

/// The largest, and how far below it the others are: in thousandths, or `d = DEPTH (b / DISTANCES)^2`, so that what
/// matters is kept best.
fn write_logs(pen: &mut Pen, logs: &[f64; ALTERNATIVES], fine: bool) {
    let largest = grain(logs.iter().copied().fold(LOG_MIN, f64::max).min(LOG_MAX));
    pen.int(largest);
    for log in logs {
        let distance = (largest as f64 / GRAIN - log).max(0.0);
        // The small parts are for what a double loses; they are less than a step.
        if fine {
            pen.uint((distance.min(DEPTH + 1.0) * GRAIN - 1e-6).ceil() as u64);
        } else {
            let step = (DISTANCES * (distance / DEPTH).sqrt() - 1e-6).ceil();
            pen.byte(if step <= DISTANCES { step as u8 } else { NONE });
        }
    }
}

fn read_logs(paper: &mut Paper, fine: bool) -> Result<[f64; ALTERNATIVES], Damaged> {
    let largest = paper.int()? as f64 / GRAIN;
    if !(LOG_MIN..=LOG_MAX).contains(&largest) {
        return Err(Damaged("evidence out of range"));
    }
    let mut logs = [f64::NEG_INFINITY; ALTERNATIVES];
    for log in &mut logs {
        let distance = if fine {
            paper.uint()? as f64 / GRAIN
        } else {
            match paper.byte()? {
                NONE => f64::INFINITY,
                step => DEPTH * (f64::from(step) / DISTANCES).powi(2),
            }
        };
        if distance <= DEPTH {
            *log = largest - distance;
        }
    }
    Ok(logs)
}

fn positive(value: f64) -> Result<f64, Damaged> {
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err(Damaged("a count below zero")) }
}

fn grain(log: f64) -> i64 {
    // What a double loses on the way back must not cost another thousandth.
    (log * GRAIN + 1e-6).floor() as i64
}

fn millis(secs: f64) -> u64 {
    (secs * GRAIN).round() as u64
}

/// FNV-1a over what gives the numbers their meaning, so that it stays the same between releases and machines.
fn fingerprint(config: &GuardConfig) -> u64 {
    let mut text = format!("{} {:?}", config.weight_steps, config.bets);
    for metric in &config.metrics {
        text += &format!(" {} {:?} {}", metric.name, metric.question, metric.weight);
    }
    digest(text.as_bytes()) >> 8
}
