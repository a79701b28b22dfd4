//! Requests that every policy meets alike: routing and outcome depend on the seed and the place only.

/// Simulated time passes in quarters of a second.
pub(crate) const QUARTERS: u64 = 4;

/// A counter-based generator (the finaliser of SplitMix64, twice): no state, the same on every machine.
pub(crate) fn hash(seed: u64, tick: u64, index: u64) -> u64 {
    let mut z = seed
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(tick.wrapping_mul(0xd1b5_4a32_d192_ed03))
        .wrapping_add(index.wrapping_mul(0x8cb9_2ba7_2f3d_8dd7));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub(crate) fn uniform(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// Cumulative Poisson probabilities, so that a draw is one search.
#[derive(Clone)]
pub(crate) struct Poisson(Vec<f64>);

impl Poisson {
    pub(crate) fn new(mean: f64) -> Self {
        let (mut term, mut sum, mut k) = ((-mean).exp(), 0.0, 0.0);
        let mut table = Vec::new();
        while sum < 1.0 - 1e-15 && k < mean + 20.0 * mean.sqrt() + 50.0 {
            sum += term;
            table.push(sum);
            k += 1.0;
            term *= mean / k;
        }
        Self(table)
    }

    pub(crate) fn draw(&self, u: f64) -> u64 {
        self.0.partition_point(|p| *p < u) as u64
    }
}

/// The error rates of both sides at a time in seconds.
pub(crate) type Rates = fn(f64) -> (f64, f64);

/// A world: traffic, its error rates, and how requests depend on each other.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) rps: f64,
    pub(crate) pattern: Pattern,
    /// Requests that are routed together and share one fate.
    pub(crate) batch: u64,
    /// So many consecutive requests of a side share one fate, across scrapes; 1 when each has its own.
    pub(crate) sticky: u64,
    /// A burst of failures of the canary in one scrape: seconds, failures.
    pub(crate) burst: Option<(f64, u64)>,
    arrivals: Poisson,
}

/// Rates that stay, or change with time.
#[derive(Clone, Copy)]
pub(crate) enum Pattern {
    Fixed(f64, f64),
    Varying(Rates),
    /// The canary fails at this rate from this second on, and like the primary before.
    Late {
        at: f64,
        fault: f64,
        base: f64,
    },
}

impl Pattern {
    fn at(self, secs: f64) -> (f64, f64) {
        match self {
            Self::Fixed(pc, pp) => (pc, pp),
            Self::Varying(rates) => rates(secs),
            Self::Late { at, fault, base } => (if secs < at { base } else { fault }, base),
        }
    }
}

impl World {
    pub(crate) fn new(rps: f64, pattern: Pattern) -> Self {
        Self::batches(rps, pattern, 1)
    }

    pub(crate) fn batches(rps: f64, pattern: Pattern, batch: u64) -> Self {
        let arrivals = Poisson::new(rps / QUARTERS as f64 / batch as f64);
        Self { rps, pattern, batch, sticky: 1, burst: None, arrivals }
    }

    pub(crate) fn sticky(self, sticky: u64) -> Self {
        Self { sticky, ..self }
    }

    pub(crate) fn burst(self, at: f64, failures: u64) -> Self {
        Self { burst: Some((at, failures)), ..self }
    }

    /// The world before the rollout: both sides as the primary is at its start.
    pub(crate) fn healthy(&self) -> Self {
        let (_, pp) = self.pattern.at(0.0);
        Self { pattern: Pattern::Fixed(pp, pp), burst: None, ..self.clone() }
    }

    /// Plays one quarter of a second onto the counters, with the canary's share `w`.
    pub(crate) fn play(&self, seed: u64, tick: u64, w: f64, counters: &mut Counters) {
        let t = tick as f64 / QUARTERS as f64;
        let (pc, pp) = self.pattern.at(t);
        let scale = (1_u64 << 32) as f64;
        let (w, pc, pp) = ((w * scale) as u64, (pc * scale) as u64, (pp * scale) as u64);
        let arrivals = self.arrivals.draw(uniform(hash(seed, tick, u64::MAX)));
        for i in 0..arrivals {
            let bits = hash(seed, tick, i);
            let (route, mut fate) = (bits >> 32, bits & 0xffff_ffff);
            if self.sticky > 1 {
                let (side, count) = if route < w { (1, counters.n) } else { (2, counters.m) };
                fate = hash(seed ^ side, u64::MAX, count / self.sticky) & 0xffff_ffff;
            }
            if route < w {
                counters.n += self.batch;
                counters.x += if fate < pc { self.batch } else { 0 };
            } else {
                counters.m += self.batch;
                counters.y += if fate < pp { self.batch } else { 0 };
            }
        }
        if let Some((at, failures)) = self.burst
            && tick == (at * QUARTERS as f64) as u64
        {
            counters.n += failures;
            counters.x += failures;
        }
    }
}

/// Counters that only grow, as a gateway shows them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Counters {
    pub(crate) n: u64,
    pub(crate) x: u64,
    pub(crate) m: u64,
    pub(crate) y: u64,
}
