//! How many requests share one fate, measured on healthy pods before the rollout.

use crate::settings::GroupSettings;

/// Windows of 1, 2, 4 .. 64 scrapes.
const SCALES: usize = 7;
/// The open window of one pod at every scale.
#[derive(Debug, Clone, Default, PartialEq)]
struct Open {
    n: [f64; SCALES],
    x: [f64; SCALES],
}

/// Sums over closed windows of one scale.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Closed {
    windows: f64,
    n: f64,
    x: f64,
    /// Sum of `x^2 / n`.
    squares: f64,
}

/// Measures the dispersion `D`: the largest Pearson statistic over windows of 1 to 64 scrapes.
///
/// `D = sum (x - n p)^2 / (n p (1-p)) / (windows - 1)` equals the size of clusters whose requests share one fate.
/// Each pod has its own windows; the pods' spread is pooled. Bounded: it keeps 14 numbers per pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DispersionMeter {
    pods: Vec<(Open, u64)>,
    closed: [Closed; SCALES],
    settings: GroupSettings,
}

impl DispersionMeter {
    /// A meter for `pods` pods, numbered from 0.
    pub fn new(pods: usize) -> Self {
        Self::with(pods, GroupSettings::default())
    }

    /// The same with other settings.
    pub fn with(pods: usize, settings: GroupSettings) -> Self {
        Self { pods: vec![(Open::default(), 0); pods], closed: Default::default(), settings }
    }

    /// Takes in one scrape of a pod: `n` requests, `x` of them bad. Scrapes of unknown pods are left out.
    pub fn observe(&mut self, pod: usize, n: u64, x: u64) {
        let Some((open, scrapes)) = self.pods.get_mut(pod) else { return };
        *scrapes += 1;
        for scale in 0..SCALES {
            open.n[scale] += n as f64;
            open.x[scale] += x.min(n) as f64;
            if scrapes.is_multiple_of(1 << scale) {
                let (n, x) = (open.n[scale], open.x[scale]);
                (open.n[scale], open.x[scale]) = (0.0, 0.0);
                if n > 0.0 {
                    let closed = &mut self.closed[scale];
                    closed.windows += 1.0;
                    closed.n += n;
                    closed.x += x;
                    closed.squares += x * x / n;
                }
            }
        }
    }

    /// What this release goes by from now on, as far as it is beyond doubt: four standard deviations, because it is asked after
    /// every scrape, and a false answer makes the guard slow.
    pub fn beyond_doubt(&self, slo: f64) -> f64 {
        let Closed { windows, n, x, squares: _ } = self.closed[0];
        let seen = self.tells(windows, x) && x <= slo * n;
        if seen {
            self.above(self.settings.deviations_now).min(self.settings.most_learned)
        } else {
            1.0
        }
    }

    /// What the next release may go by: none when there was too little to see, or when more was bad than `slo` allows, as
    /// incidents are no sign of what is usual.
    pub fn usual(&self, slo: f64) -> Option<f64> {
        let Closed { windows, n, x, squares: _ } = self.closed[0];
        let seen = self.tells(windows, x) && x <= slo * n;
        seen.then(|| self.value().min(self.settings.most_learned))
    }

    /// What is left of a dispersion of `known` when there was too little to see: all of it, or after many requests of which hardly
    /// any was bad, half of what is above 1. A service that no longer fails has no groups that could speak for a bad canary.
    pub fn faded(&self, known: f64) -> Option<f64> {
        let Closed { windows, n, x, squares: _ } = self.closed[0];
        let GroupSettings { windows_min, bad_min, clean_requests, ignored, .. } = self.settings;
        let clean = windows >= windows_min && x < bad_min && n >= clean_requests;
        let left = 1.0 + 0.5 * (known - 1.0);
        (clean && known > 1.0).then_some(if left <= ignored { 1.0 } else { left })
    }

    /// The dispersion seen so far; 1 when nothing tells the requests from independent ones.
    ///
    /// A scale counts once it has 20 windows and its statistic stands two standard deviations
    /// (`sqrt(2/windows + 1/errors)` for rare errors) above 1.
    pub fn value(&self) -> f64 {
        self.above(self.settings.deviations_next)
    }

    fn tells(&self, windows: f64, bad: f64) -> bool {
        windows >= self.settings.windows_min && bad >= self.settings.bad_min
    }

    fn above(&self, deviations: f64) -> f64 {
        let mut largest = 1.0_f64;
        for closed in &self.closed {
            let p = closed.x / closed.n;
            if closed.windows < self.settings.windows_min || closed.x <= 0.0 || p >= 1.0 {
                continue;
            }
            let spread = closed.squares - closed.x * closed.x / closed.n;
            let pearson = spread / (p * (1.0 - p)) / (closed.windows - 1.0);
            let noise = (2.0 / closed.windows + 1.0 / closed.x).sqrt();
            if pearson > 1.0 + deviations * noise {
                largest = largest.max(pearson);
            }
        }
        if largest <= self.settings.ignored { 1.0 } else { largest.min(self.settings.most) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator, so that the test has no dependency on anybody's idea of randomness.
    fn uniform(state: &mut u64) -> f64 {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn measured(batch: u64, seed: u64) -> f64 {
        let mut state = seed;
        let mut meter = DispersionMeter::new(2);
        for _ in 0..2000 {
            for pod in 0..2 {
                let mut bad = 0;
                let batches = 200 / batch;
                for _ in 0..batches {
                    bad += if uniform(&mut state) < 0.005 { batch } else { 0 };
                }
                meter.observe(pod, 200, bad);
            }
        }
        meter.value()
    }

    #[test]
    fn recovers_the_size_of_batches() {
        for (batch, low, high) in [(1, 1.0, 1.0), (10, 8.5, 13.0), (50, 42.0, 65.0)] {
            for seed in 1..6 {
                let d = measured(batch, seed);
                assert!(d >= low && d <= high, "batch {batch} seed {seed}: {d}");
            }
        }
    }

    #[test]
    fn incidents_and_silence_are_not_kept() {
        let meter = |bad: &dyn Fn(u64) -> u64| {
            let mut meter = DispersionMeter::new(1);
            (0..300).for_each(|k| meter.observe(0, 200, bad(k)));
            meter.usual(0.01)
        };
        assert_eq!(meter(&|_| 0), None, "nothing bad");
        assert_eq!(meter(&|k| u64::from(k % 100 == 0)), None, "three bad ones");
        assert_eq!(meter(&|k| if k > 250 { 100 } else { 0 }), None, "an incident");
        assert_eq!(meter(&|k| u64::from(k % 3 == 0)), Some(1.0));
        let groups = meter(&|k| if k % 30 == 0 { 20 } else { 0 }).unwrap();
        assert!((15.0..30.0).contains(&groups), "{groups}");
    }

    #[test]
    fn what_was_learned_fades_with_clean_traffic_and_with_nothing_else() {
        let meter = |requests: u64, bad: &dyn Fn(u64) -> u64| {
            let mut meter = DispersionMeter::new(1);
            (0..300).for_each(|k| meter.observe(0, requests, bad(k)));
            meter
        };
        let clean = meter(200, &|k| u64::from(k % 100 == 0));
        let mut known = 50.0;
        let mut releases = 0;
        while let Some(left) = clean.faded(known) {
            (known, releases) = (left, releases + 1);
        }
        assert_eq!((known, releases), (1.0, 8));
        assert_eq!(meter(100, &|_| 0).faded(50.0), None, "too few requests to call it clean");
        assert_eq!(
            meter(200, &|k| u64::from(k % 20 == 0)).faded(50.0),
            None,
            "there is something to see"
        );
    }

    #[test]
    fn says_one_without_data() {
        assert_eq!(DispersionMeter::new(0).value(), 1.0);
        let mut meter = DispersionMeter::new(1);
        for _ in 0..10 {
            meter.observe(0, 100, 100);
            meter.observe(7, 100, 50);
        }
        assert_eq!(meter.value(), 1.0);
    }
}
