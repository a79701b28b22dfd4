//! A guard as text: a few hundred bytes, exact enough that alpha is never spent twice.
//!
//! | what | how | why that is right |
//! |---|---|---|
//! | log wealth | the largest in thousandths, the others as distances from it, finely or in one byte, all rounded down | less wealth is still an e-process |
//! | prior mass | in 10^-12, rounded up | rounding down would create mass |
//! | counts | exact below 2^28, to seven digits above | they are for bounds and for people |
//! | what streams have in common | once | buckets of one histogram count the same requests |

use super::Guard;
use crate::block::ALTERNATIVES;
use crate::block::Tolerance;
use crate::codec::{Damaged, Decoder, Encoder};
use crate::config::{Attribution, Bets, GuardConfig, Metric, Question};
use crate::digest::digest;
use crate::error::GuardError;
use crate::settings::Settings;
use crate::stream::{Faded, Sample, Stream, Waiting, Wealth};

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
    /// What is asked now cannot be asked.
    #[error("the guard's configuration is not valid")]
    Config(#[from] GuardError),
    /// The evidence is about something else.
    #[error("the kept evidence answers other questions than the ones asked now")]
    OtherQuestions,
    /// It is not what was written.
    #[error("the kept evidence cannot be read, {0}")]
    Damaged(#[from] Damaged),
}

/// The first byte of a guard that is kept alone. [`crate::monitor`] has other numbers.
const ALONE: u8 = 6;

impl Guard {
    /// All that is to be kept of a guard that is fed with [`Guard::observe`] or [`Guard::observe_at`]: a line of a few hundred
    /// characters that ends with a digest of the rest.
    pub fn save(&self) -> String {
        let mut encoder = Encoder::default();
        encoder.byte(ALONE);
        encoder.uint(self.at_millis.map_or(0, |at| at.saturating_add(1)));
        self.write(true, &mut encoder);
        encoder.with_digest();
        encoder.text()
    }

    /// Goes on where [`Guard::save`] was called: the same e-process, in which the gap is one longer block.
    ///
    /// On an error the caller must not start anew within the same rollout: that would spend alpha a second time.
    pub fn restore(config: GuardConfig, saved: &str) -> Result<Self, RestoreError> {
        let mut decoder = Decoder::sealed(saved)?;
        if decoder.byte()? != ALONE {
            return Err(Damaged("it was written by another release").into());
        }
        let at = decoder.uint()?;
        let mut guard = Self::read(config, &mut decoder)?;
        if !decoder.is_at_end() {
            return Err(Damaged("there is more than a guard").into());
        }
        guard.at_millis = at.checked_sub(1);
        Ok(guard)
    }

    /// Writes down what outlives this process. Reading it continues the same e-process: the gap is one longer block.
    ///
    /// What is not `fine` loses up to an eighth of a nat of each alternative, and is a third shorter.
    pub(crate) fn write(&self, fine: bool, encoder: &mut Encoder) {
        encoder.fixed(fingerprint(&self.config), 7);
        encoder.uint((self.config.dispersion * DISPERSION).ceil() as u64);
        for metric in &self.config.metrics {
            encoder.uint((metric.dispersion * DISPERSION).ceil() as u64);
        }
        encoder.byte(u8::from(self.peak >= LOG_MIN));
        if self.peak >= LOG_MIN {
            // On the side of the threshold where it was: a rollback is not taken back.
            encoder.int(grain(self.peak) + i64::from(self.peak >= self.threshold()));
        }
        let patience = self.config.settings.patience_secs;
        let mut before = None;
        for stream in &self.streams {
            let common = Common::of(stream, patience);
            let same = if before.as_ref() == Some(&common) { SAME } else { 0 };
            write(encoder, stream, &common, same | if fine { FINE } else { 0 });
            before = Some(common);
        }
    }

    /// Goes on from what would be kept: what is said of it from now on is what will be read of it.
    pub(crate) fn settle(&mut self) {
        let mut encoder = Encoder::default();
        self.write(true, &mut encoder);
        let decoder = Decoder::of(&encoder.text());
        let read = decoder
            .map_err(RestoreError::from)
            .map(|mut decoder| Self::read(self.config.clone(), &mut decoder));
        if let Ok(Ok(Self { streams, peak, repeats, .. })) = read {
            (self.streams, self.peak, self.repeats) = (streams, peak, repeats);
            self.refresh();
        }
    }

    /// The guard that goes on where [`Guard::write`] was called, with the dispersion measured back then: a later
    /// measurement would not be one from before the rollout.
    pub(crate) fn read(
        mut config: GuardConfig,
        decoder: &mut Decoder,
    ) -> Result<Self, RestoreError> {
        if decoder.fixed(7)? != fingerprint(&config) {
            return Err(RestoreError::OtherQuestions);
        }
        config.dispersion = decoder.uint()? as f64 / DISPERSION;
        for metric in &mut config.metrics {
            metric.dispersion = decoder.uint()? as f64 / DISPERSION;
        }
        let mut guard = Self::new(config)?;
        if decoder.byte()? == 1 {
            guard.peak = decoder.int()? as f64 / GRAIN;
        }
        let mut before = None;
        for (slot, stream) in guard.slots.iter().zip(&mut guard.streams) {
            let (read, common) = read(decoder, before)?;
            *stream = read;
            before = Some(common);
            if stream.blocks > 0 {
                stream.recombine(&slot.rules);
            }
        }
        guard.find_repeats();
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
    fn of(stream: &Stream, patience: f64) -> Self {
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
            silent: millis(stream.primary_silent_secs.min(2.0 * patience)),
            alone: stream.alone,
            waiting: (m as u64, millis(secs)),
            waiting_live: (live.n as u64, live.m as u64, millis(live.secs)),
        }
    }

    fn write(&self, encoder: &mut Encoder) {
        let Self { blocks, spent, spent_live, steps_spent, .. } = *self;
        encoder.count(blocks);
        encoder.uint(spent);
        encoder.uint(spent_live);
        encoder.uint(u64::from(steps_spent));
        encoder.count(self.requests.0);
        encoder.count(self.requests.1);
        encoder.count(self.step_requests.0);
        encoder.count(self.step_requests.1);
        encoder.float(self.primary);
        encoder.uint(self.silent);
        encoder.count(self.alone);
        encoder.count(self.waiting.0);
        encoder.uint(self.waiting.1);
        encoder.count(self.waiting_live.0);
        encoder.count(self.waiting_live.1);
        encoder.uint(self.waiting_live.2);
    }

    fn read(decoder: &mut Decoder) -> Result<Self, Damaged> {
        let (blocks, spent, spent_live) = (decoder.count()?, decoder.uint()?, decoder.uint()?);
        if spent.max(spent_live) as f64 > MASS || (blocks > 0) != (spent > 0) {
            return Err(Damaged("more prior mass than there is"));
        }
        Ok(Self {
            blocks,
            spent,
            spent_live,
            steps_spent: u32::try_from(decoder.uint()?).map_err(|_| Damaged("too many steps"))?,
            requests: (decoder.count()?, decoder.count()?),
            step_requests: (decoder.count()?, decoder.count()?),
            primary: positive(decoder.float()?)?,
            silent: decoder.uint()?,
            alone: decoder.count()?,
            waiting: (decoder.count()?, decoder.uint()?),
            waiting_live: (decoder.count()?, decoder.count()?, decoder.uint()?),
        })
    }
}

/// Bits of a stream's first byte: which wealth it has, and whether the common part is the one before.
const SAME: u8 = 1 << 4;
const STEP_PENDING: u8 = 1 << 5;
const FINE: u8 = 1 << 6;

fn write(encoder: &mut Encoder, stream: &Stream, common: &Common, mut bits: u8) {
    let (slo, relative) = (&stream.slo, &stream.relative);
    let logs = [&slo.ratio, &slo.live, &relative.ratio, &relative.live].map(Wealth::logs);
    for (place, logs) in logs.iter().enumerate() {
        bits |= u8::from(logs.iter().any(|log| *log >= LOG_MIN)) << place;
    }
    bits |= if stream.step_pending { STEP_PENDING } else { 0 };
    encoder.byte(bits);
    if bits & SAME == 0 {
        common.write(encoder);
    }
    for (place, logs) in logs.iter().enumerate() {
        if bits & (1 << place) != 0 {
            write_logs(encoder, logs, bits & FINE != 0);
        }
    }
    encoder.float(stream.primary.bad);
    encoder.count(stream.waiting.y as u64);
    encoder.count(stream.waiting_live.x as u64);
    encoder.count(stream.waiting_live.y as u64);
    encoder.uint(millis(stream.brake));
    encoder.count(stream.total.x);
    encoder.count(stream.total.y);
    encoder.count(stream.step.1);
}

fn read(decoder: &mut Decoder, before: Option<Common>) -> Result<(Stream, Common), Damaged> {
    let bits = decoder.byte()?;
    let common = match before {
        Some(before) if bits & SAME != 0 => before,
        Some(_) | None if bits & SAME == 0 => Common::read(decoder)?,
        Some(_) | None => return Err(Damaged("the first stream cannot be like one before")),
    };
    let mut stream = Stream::new();
    let (slo, relative) = (&mut stream.slo, &mut stream.relative);
    let all = [&mut slo.ratio, &mut slo.live, &mut relative.ratio, &mut relative.live];
    for (place, wealth) in all.into_iter().enumerate() {
        if bits & (1 << place) != 0 {
            *wealth = Wealth::of_logs(&read_logs(decoder, bits & FINE != 0)?);
        }
    }
    stream.primary = Faded { requests: common.primary, bad: positive(decoder.float()?)? };
    let seconds = |millis: u64| millis as f64 / GRAIN;
    let (m, secs) = common.waiting;
    let y = decoder.count()?.min(m) as f64;
    stream.waiting = Waiting { n: 0.0, x: 0.0, m: m as f64, y, secs: seconds(secs) };
    let (n, m, secs) = common.waiting_live;
    let (x, y) = (decoder.count()?.min(n) as f64, decoder.count()?.min(m) as f64);
    stream.waiting_live = Waiting { n: n as f64, x, m: m as f64, y, secs: seconds(secs) };
    stream.brake = seconds(decoder.uint()?);
    let ((n, m), (step, step_primary)) = (common.requests, common.step_requests);
    stream.total = Sample { n, x: decoder.count()?.min(n), m, y: decoder.count()?.min(m) };
    stream.step = (step, decoder.count()?.min(step));
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
fn write_logs(encoder: &mut Encoder, logs: &[f64; ALTERNATIVES], fine: bool) {
    let largest = grain(logs.iter().copied().fold(LOG_MIN, f64::max).min(LOG_MAX));
    encoder.int(largest);
    for log in logs {
        let distance = (largest as f64 / GRAIN - log).max(0.0);
        // The small parts are for what a double loses; they are less than a step.
        if fine {
            encoder.uint((distance.min(DEPTH + 1.0) * GRAIN - 1e-6).ceil() as u64);
        } else {
            let step = (DISTANCES * (distance / DEPTH).sqrt() - 1e-6).ceil();
            encoder.byte(if step <= DISTANCES { step as u8 } else { NONE });
        }
    }
}

fn read_logs(decoder: &mut Decoder, fine: bool) -> Result<[f64; ALTERNATIVES], Damaged> {
    let largest = decoder.int()? as f64 / GRAIN;
    if !(LOG_MIN..=LOG_MAX).contains(&largest) {
        return Err(Damaged("evidence out of range"));
    }
    let mut logs = [f64::NEG_INFINITY; ALTERNATIVES];
    for log in &mut logs {
        let distance = if fine {
            decoder.uint()? as f64 / GRAIN
        } else {
            match decoder.byte()? {
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

/// A digest of what gives the numbers their meaning. It is spelt out, so that it stays the same between releases, machines and
/// renamings.
fn fingerprint(config: &GuardConfig) -> u64 {
    let bets = match config.bets {
        Bets::Auto => "Auto",
        Bets::Ratios => "Ratios",
        Bets::Live => "Live",
    };
    let mut text = format!("{} {bets}", config.weight_steps);
    let tolerated = |tolerance: &Tolerance| {
        let Tolerance { rho, delta } = tolerance;
        format!("Tolerance {{ rho: {rho:?}, delta: {delta:?} }}")
    };
    for Metric { name, question, weight, dispersion: _ } in &config.metrics {
        let question = match question {
            Question::Share { slo, attribution, tolerance } => {
                let attribution = match attribution {
                    Attribution::Primary => "Primary",
                    Attribution::None => "None",
                };
                let tolerance = tolerated(tolerance);
                format!(
                    "Share {{ slo: {slo:?}, attribution: {attribution}, tolerance: {tolerance} }}"
                )
            }
            Question::Dominance { bounds, tolerance, scale } => {
                let tolerance = tolerated(tolerance);
                format!(
                    "Dominance {{ bounds: {bounds:?}, tolerance: {tolerance}, scale: {scale:?} }}"
                )
            }
        };
        text += &format!(" {name} {question} {weight}");
    }
    if config.settings != Settings::default() {
        text += &format!(" {:?}", config.settings);
    }
    digest(text.as_bytes()) >> 8
}
