//! Chance: what an observed share says of the true one, and a coin that falls the same way for the same seed.

/// 95 % intervals.
const TAIL: f64 = 0.025;

/// Clopper and Pearson's interval for a share of which `k` of `n` were seen.
pub(super) fn interval(k: u64, n: u64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let low = if k == 0 { 0.0 } else { solve(|p| 1.0 - at_most(k - 1, n, p) < TAIL) };
    let high = if k >= n { 1.0 } else { solve(|p| at_most(k, n, p) > TAIL) };
    (low, high)
}

/// Where a statement that is true for small shares stops to be.
fn solve(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// `P(X <= k)` for a binomial `X`, summed in logarithms.
fn at_most(k: u64, n: u64, p: f64) -> f64 {
    if p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return if k >= n { 1.0 } else { 0.0 };
    }
    let odds = (p / (1.0 - p)).ln();
    let mut log = n as f64 * (1.0 - p).ln();
    let mut sum = log.exp();
    for i in 0..k.min(n) {
        log += ((n - i) as f64 / (i + 1) as f64).ln() + odds;
        sum += log.exp();
    }
    sum.min(1.0)
}

/// SplitMix64.
pub(super) struct Coin(u64);

impl Coin {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 up to but not including 1.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// How many of `n` fall into a share `p`: exact, in as many steps as there are.
    pub(super) fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if p <= 0.0 || n == 0 {
            return 0;
        }
        if p >= 1.0 {
            return n;
        }
        if p > 0.5 {
            return n - self.binomial(n, 1.0 - p);
        }
        let (scale, mut at, mut hits) = ((1.0 - p).ln(), 0.0, 0);
        loop {
            // Failures before the next success are geometric.
            at += ((1.0 - self.uniform()).ln() / scale).floor() + 1.0;
            if at > n as f64 {
                return hits;
            }
            hits += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_clopper_and_pearsons() {
        for (k, n, low, high) in [
            (0, 10, 0.0, 0.3085),
            (1, 10, 0.0025, 0.4450),
            (5, 10, 0.1871, 0.8129),
            (10, 10, 0.6915, 1.0),
            (0, 300, 0.0, 0.0122),
        ] {
            let (a, b) = interval(k, n);
            assert!((a - low).abs() < 1e-3 && (b - high).abs() < 1e-3, "{k} of {n}: {a} {b}");
        }
        assert_eq!(interval(0, 0), (0.0, 1.0));
    }

    #[test]
    fn the_coin_is_fair_and_repeatable() {
        let toss = |seed| {
            let mut coin = Coin::new(seed);
            (0..2000).map(|_| coin.binomial(50, 0.1)).collect::<Vec<_>>()
        };
        let one = toss(7);
        assert_eq!(one, toss(7));
        let (sum, squares) = one.iter().fold((0, 0), |(s, q), x| (s + x, q + x * x));
        let mean = sum as f64 / 2000.0;
        let variance = squares as f64 / 2000.0 - mean * mean;
        assert!((mean - 5.0).abs() < 0.2 && (variance - 4.5).abs() < 0.5, "{mean} {variance}");
        let mut coin = Coin::new(1);
        assert_eq!(
            (coin.binomial(9, 0.0), coin.binomial(9, 1.0), coin.binomial(0, 0.5)),
            (0, 9, 0)
        );
        let most: u64 = (0..1000).map(|_| coin.binomial(10, 0.9)).sum();
        assert!((8700..9300).contains(&most), "{most}");
    }
}
