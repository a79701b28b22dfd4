//! How many requests per second both versions get together, now: what a share of the traffic means in requests.

/// Older requests count half after this long.
const HALF_LIFE_SECS: f64 = 15.0;
/// Less than this says nothing about the traffic.
const SEEN_SECS_MIN: f64 = 3.0;

/// A fading mean of requests per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Traffic {
    requests: f64,
    secs: f64,
    looks: f64,
    seen_secs: f64,
}

impl Traffic {
    /// Takes in the requests of the last `secs` seconds.
    pub fn observe(&mut self, secs: f64, requests: u64) {
        if !secs.is_finite() || secs <= 0.0 {
            return;
        }
        let keep = (-secs / HALF_LIFE_SECS).exp2();
        self.requests = self.requests * keep + requests as f64;
        self.secs = self.secs * keep + secs;
        self.looks = self.looks * keep + 1.0;
        self.seen_secs += secs;
    }

    /// Seconds between two looks; 0 before the second.
    pub fn look_secs(&self) -> f64 {
        if self.looks > 0.0 { self.secs / self.looks } else { 0.0 }
    }

    /// Requests per second; none before enough was seen.
    pub fn rate(&self) -> Option<f64> {
        (self.seen_secs >= SEEN_SECS_MIN).then(|| self.requests / self.secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_the_traffic() {
        let mut traffic = Traffic::default();
        traffic.observe(0.0, 1_000_000);
        traffic.observe(1.0, 100);
        assert_eq!(traffic.rate(), None, "one second says too little");
        for _ in 0..9 {
            traffic.observe(1.0, 100);
        }
        assert_eq!(traffic.rate().map(f64::round), Some(100.0));
        assert_eq!(traffic.look_secs(), 1.0);
        for _ in 0..60 {
            traffic.observe(1.0, 400);
        }
        let rate = traffic.rate().unwrap();
        assert!((370.0..400.0).contains(&rate), "{rate}");
    }
}
