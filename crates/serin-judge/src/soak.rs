//! Watching the primary after a promotion for as long as wanted: a Shiryaev-Roberts detector.

use crate::block::{self, ALTERNATIVES, Block};
use crate::codec::{Damaged, Decoder, Encoder};
use crate::digest::digest;
use crate::math::{log_add, log_sum};

/// The first byte of what is kept; another way to write it takes another number.
const VERSION: u8 = 1;
/// Logarithms are kept in units of this part of one.
const GRAIN: f64 = 1000.0;

/// `R_k(j) = (R_{k-1}(j) + 1) S_k(j)`, alarm at `sum_j w_j R_k(j) >= 1/alpha`.
///
/// Without a fault the average number of blocks until an alarm is at least `1/alpha`: `sum_j w_j R_k(j) - k` is a
/// supermartingale (Shin, Ramdas, Rinaldo, NEJSDS 2024). It compares with the objective alone, as nobody runs beside it,
/// and no block may say more than half of the threshold, so that one burst is not an alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct Soak {
    p0: f64,
    alpha: f64,
    dispersion: f64,
    /// Log `R` per alternative; none stands for zero.
    log_r: [Option<f64>; ALTERNATIVES],
}

impl Soak {
    /// A detector for rates above `p0` whose false alarms are at least `1/alpha` blocks apart on average.
    pub fn new(p0: f64, alpha: f64, dispersion: f64) -> Self {
        Self { p0, alpha, dispersion: dispersion.max(1.0), log_r: [None; ALTERNATIVES] }
    }

    /// Takes in `n` requests, `x` of them bad; true when the alarm is raised.
    pub fn observe(&mut self, n: u64, x: u64) -> bool {
        if n > 0 {
            let counts = Block { n: n as f64, x: x.min(n) as f64, m: 0.0, y: 0.0 };
            let cap = 0.5 * ((ALTERNATIVES as f64).ln() - self.alpha.ln());
            for (log_r, q) in self.log_r.iter_mut().zip(block::alternatives(self.p0)) {
                let says = (block::slo(&counts, q, self.p0) / self.dispersion).min(cap);
                *log_r = Some(log_add(log_r.unwrap_or(f64::NEG_INFINITY), 0.0) + says);
            }
        }
        self.log_evidence() >= -self.alpha.ln()
    }

    /// All that is to be kept of it, with a digest at the end; rounded down, as less evidence delays an alarm and raises none.
    pub fn save(&self) -> String {
        let mut encoder = Encoder::default();
        encoder.byte(VERSION);
        encoder.fixed(self.fingerprint(), 7);
        for log_r in &self.log_r {
            encoder.byte(u8::from(log_r.is_some()));
            encoder.int((log_r.unwrap_or(0.0) * GRAIN).floor() as i64);
        }
        encoder.with_digest();
        encoder.text()
    }

    /// Goes on where [`Soak::save`] was called on a detector that was made alike.
    pub fn restore(p0: f64, alpha: f64, dispersion: f64, saved: &str) -> Result<Self, Damaged> {
        let mut soak = Self::new(p0, alpha, dispersion);
        let mut decoder = Decoder::sealed(saved)?;
        if decoder.byte()? != VERSION || decoder.fixed(7)? != soak.fingerprint() {
            return Err(Damaged("it is about something else"));
        }
        for log_r in &mut soak.log_r {
            let some = decoder.byte()? == 1;
            let log = decoder.int()? as f64 / GRAIN;
            *log_r = some.then_some(log);
        }
        Ok(soak)
    }

    fn fingerprint(&self) -> u64 {
        let Self { p0, alpha, dispersion, log_r: _ } = self;
        digest(format!("{p0:?} {alpha:?} {dispersion:?}").as_bytes()) >> 8
    }

    /// The logarithm of the weighted sum of `R`.
    pub fn log_evidence(&self) -> f64 {
        let log_r = self.log_r.map(|r| r.unwrap_or(f64::NEG_INFINITY));
        log_sum(&log_r) - (ALTERNATIVES as f64).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_calm_when_healthy_and_finds_a_late_fault() {
        let mut soak = Soak::new(0.01, 1e-6, 1.0);
        for block in 0..20_000_u64 {
            assert!(!soak.observe(100, u64::from(block % 2 == 0)), "block {block}");
        }
        let blocks = (1..100).find(|_| soak.observe(100, 20)).unwrap();
        assert!((2..5).contains(&blocks), "{blocks}");
        let copy = Soak::restore(0.01, 1e-6, 1.0, &soak.save()).unwrap();
        let less = soak.log_evidence() - copy.log_evidence();
        assert!((0.0..0.002).contains(&less), "{less}");
        for (alpha, text) in [(1e-5, soak.save()), (1e-6, soak.save()[1..].to_owned())] {
            assert!(Soak::restore(0.01, alpha, 1.0, &text).is_err());
        }
    }

    #[test]
    fn one_burst_is_no_alarm() {
        let mut soak = Soak::new(0.01, 1e-4, 1.0);
        assert!(!soak.observe(100, 100));
        assert!(soak.observe(100, 100));
    }
}
