//! Faults for a share of the requests, spread evenly so that a share is exact and not a matter of luck.

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
}

impl Default for Faults {
    fn default() -> Self {
        Self { error_rate: 0.0, error_status: 500, latency_rate: 0.0, latency_ms: 0 }
    }
}

impl Faults {
    /// Itself, if every value is in its range.
    pub fn check(self) -> Result<Self, SettingError> {
        let wrong = |name, value: String, wanted| Err(SettingError { name, value, wanted });
        for (name, rate) in [("errorRate", self.error_rate), ("latencyRate", self.latency_rate)] {
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
}

/// Deals faults out.
pub(super) struct Injector {
    faults: Faults,
    requests: u64,
}

impl Injector {
    pub(super) fn new(faults: Faults) -> Self {
        Self { faults, requests: 0 }
    }

    pub(super) fn faults(&self) -> Faults {
        self.faults
    }

    pub(super) fn set(&mut self, faults: Faults) {
        *self = Self::new(faults);
    }

    /// Requests since the faults were last set.
    #[cfg(test)]
    pub(super) fn dealt(&self) -> u64 {
        self.requests
    }

    pub(super) fn next(&mut self) -> Fault {
        let at = self.requests;
        self.requests += 1;
        let Faults { error_rate, error_status, latency_rate, latency_ms } = self.faults;
        // Whether the running total passes a whole number with this request.
        let chosen = |rate: f64| (at as f64 * rate).ceil() < ((at + 1) as f64 * rate).ceil();
        Fault {
            status: chosen(error_rate).then(|| StatusCode::from_u16(error_status).ok()).flatten(),
            latency: chosen(latency_rate).then(|| Duration::from_millis(latency_ms)),
        }
    }
}
