//! Faults for a share of the requests: spread evenly, so that a share is exact and not a matter of luck, or at random, as in life.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::settings::SettingError;

/// A minute of added latency is past every deadline there is.
const LATENCY_MAX_MS: u64 = 60_000;

/// What goes wrong, for which share of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Faults {
    /// The share of requests that fail, 0 to 1.
    pub error_rate: f64,
    /// What they are answered with.
    pub error_status: u16,
    /// The share of requests that are slow, 0 to 1.
    pub latency_rate: f64,
    pub latency_ms: u64,
    /// The share of requests whose answer breaks off in its body, 0 to 1.
    pub cut_rate: f64,
    /// Each request has its own luck, instead of the shares being spread evenly.
    pub at_random: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            error_rate: 0.0,
            error_status: 500,
            latency_rate: 0.0,
            latency_ms: 0,
            cut_rate: 0.0,
            at_random: false,
        }
    }
}

impl Faults {
    /// Itself, if every value is in its range.
    pub fn check(self) -> Result<Self, SettingError> {
        let wrong = |name, value: String, wanted| Err(SettingError { name, value, wanted });
        let shares = [
            ("errorRate", self.error_rate),
            ("latencyRate", self.latency_rate),
            ("cutRate", self.cut_rate),
        ];
        for (name, rate) in shares {
            if !(0.0..=1.0).contains(&rate) {
                return wrong(name, rate.to_string(), "a share between 0 and 1");
            }
        }
        if !(200..=599).contains(&self.error_status) {
            return wrong(
                "errorStatus",
                self.error_status.to_string(),
                "a status between 200 and 599",
            );
        }
        if self.latency_ms > LATENCY_MAX_MS {
            return wrong("latencyMs", self.latency_ms.to_string(), "at most 60000 milliseconds");
        }
        Ok(self)
    }
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) status: Option<StatusCode>,
    pub(super) latency: Option<Duration>,
    /// The answer breaks off.
    pub(super) cut: bool,
}

/// Deals faults out.
pub(super) struct Injector {
    faults: Faults,
    requests: u64,
    /// The same luck for the same seed; its own for every pod.
    seed: u64,
}

impl Injector {
    pub(super) fn new(faults: Faults, seed: u64) -> Self {
        Self { faults, requests: 0, seed }
    }

    pub(super) fn faults(&self) -> Faults {
        self.faults
    }

    pub(super) fn set(&mut self, faults: Faults) {
        // Not the same luck once more.
        *self = Self::new(faults, hash(self.seed ^ self.requests));
    }

    /// Requests since the faults were last set.
    #[cfg(test)]
    pub(super) fn dealt(&self) -> u64 {
        self.requests
    }

    pub(super) fn next(&mut self) -> Fault {
        let at = self.requests;
        self.requests += 1;
        let Faults { error_rate, error_status, latency_rate, latency_ms, cut_rate, at_random } =
            self.faults;
        let seed = self.seed;
        let chosen = |rate: f64, what: u64| match at_random {
            true => share(hash(seed ^ hash(what))) < rate,
            // Whether the running total passes a whole number with this request.
            false => (at as f64 * rate).ceil() < ((at + 1) as f64 * rate).ceil(),
        };
        Fault {
            status: chosen(error_rate, 2 * at)
                .then(|| StatusCode::from_u16(error_status).ok())
                .flatten(),
            latency: chosen(latency_rate, 2 * at + 1).then(|| Duration::from_millis(latency_ms)),
            cut: chosen(cut_rate, u64::MAX - at),
        }
    }
}

/// SplitMix64: every bit of the result depends on every bit of the number.
fn hash(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number as a share of all numbers, from 0 up to but not including 1.
fn share(number: u64) -> f64 {
    (number >> 11) as f64 / (1_u64 << 53) as f64
}

/// A seed from a name.
pub(super) fn seed(name: &str) -> u64 {
    name.bytes().fold(0, |seed, byte| hash(seed ^ u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luck_has_the_right_share_and_is_the_same_again() {
        let faults = Faults { error_rate: 0.008, at_random: true, ..Faults::default() };
        let deal = |name: &str| -> Vec<u64> {
            let mut injector = Injector::new(faults, seed(name));
            (0..100_000).filter(|_| injector.next().status.is_some()).collect()
        };
        let one = deal("backend-1");
        // Three standard deviations are 85.
        assert!((700..900).contains(&one.len()), "{}", one.len());
        assert!(one == deal("backend-1") && one != deal("backend-2"));
        let gaps: Vec<u64> = one.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().min() < gaps.iter().max(), "not spread evenly");
    }
}
