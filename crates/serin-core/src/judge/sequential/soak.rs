//! Watching the primary after a promotion for as long as wanted: a Shiryaev-Roberts detector.

use serde::{Deserialize, Serialize};

use super::block::{self, ALTERNATIVES, Block};
use super::math::{log_add, log_sum};

/// `R_k(j) = (R_{k-1}(j) + 1) S_k(j)`, alarm at `sum_j w_j R_k(j) >= 1/alpha`.
///
/// Without a fault the average number of blocks until an alarm is at least `1/alpha`: `sum_j w_j R_k(j) - k` is a
/// supermartingale (Shin, Ramdas, Rinaldo, NEJSDS 2024). It compares with the objective alone, as nobody runs beside it,
/// and no block may say more than half of the threshold, so that one burst is not an alarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Soak {
    p0: f64,
    alpha: f64,
    dispersion: f64,
    /// Log `R` per alternative; none stands for zero, which JSON cannot say in the log domain.
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
        let copy: Soak = serde_json::from_str(&serde_json::to_string(&soak).unwrap()).unwrap();
        assert!((copy.log_evidence() - soak.log_evidence()).abs() < 1e-9);
    }

    #[test]
    fn one_burst_is_no_alarm() {
        let mut soak = Soak::new(0.01, 1e-4, 1.0);
        assert!(!soak.observe(100, 100));
        assert!(soak.observe(100, 100));
    }
}
