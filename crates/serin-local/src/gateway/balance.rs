//! Who gets the next request: earliest deadline first, so that weights are met exactly and spread evenly.

/// Deals out requests to `weights.len()` choices; after as many requests as the weights sum up to,
/// each choice has had exactly its weight.
#[derive(Clone, Debug)]
pub struct Picker {
    weights: Vec<u64>,
    taken: Vec<u64>,
    /// Wider than a weight: the sum of two of them may not fit.
    left: u128,
}

impl Picker {
    /// A picker over positive weights; a weight of 0 is never chosen.
    pub fn new(weights: Vec<u64>) -> Self {
        let taken = vec![0; weights.len()];
        let left = weights.iter().copied().map(u128::from).sum();
        Self { weights, taken, left }
    }

    /// The index of the next choice, or nothing when no choice has a weight.
    pub fn pick(&mut self) -> Option<usize> {
        let earliest = (0..self.weights.len())
            .filter(|index| self.weights[*index] > 0)
            .min_by(|a, b| self.compare_deadlines(*a, *b))?;
        self.taken[earliest] += 1;
        self.left -= 1;
        if self.left == 0 {
            self.taken.fill(0);
            self.left = self.weights.iter().copied().map(u128::from).sum();
        }
        Some(earliest)
    }

    // The deadline of a choice is (taken + 1) / weight; compared crosswise, so that nothing is rounded.
    fn compare_deadlines(&self, a: usize, b: usize) -> std::cmp::Ordering {
        let left = u128::from(self.taken[a] + 1) * u128::from(self.weights[b]);
        let right = u128::from(self.taken[b] + 1) * u128::from(self.weights[a]);
        left.cmp(&right)
    }
}

/// Chooses a fixed percentage of requests, as evenly spread as whole requests allow.
#[derive(Clone, Debug, Default)]
pub struct Share {
    total: u64,
    chosen: u64,
}

impl Share {
    /// Whether the next request belongs to the `percent` that are chosen.
    pub fn pick(&mut self, percent: u64) -> bool {
        self.total += 1;
        let chosen = u128::from(self.chosen) * 100 < u128::from(self.total) * u128::from(percent);
        self.chosen += u64::from(chosen);
        chosen
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentages_are_met_exactly() {
        for (percent, expected) in [(5, 100), (10, 200), (50, 1000), (90, 1800), (0, 0)] {
            let mut picker = Picker::new(vec![100 - percent, percent]);
            let canary = (0..2000).filter(|_| picker.pick() == Some(1)).count();
            assert_eq!(canary, expected, "{percent} %");
        }
    }

    #[test]
    fn nothing_to_choose_from_is_no_choice() {
        assert_eq!(Picker::new(vec![]).pick(), None);
        assert_eq!(Picker::new(vec![0, 0]).pick(), None);
    }

    #[test]
    fn a_share_is_exact() {
        for percent in [0, 1, 33, 50, 100] {
            let mut share = Share::default();
            let chosen = (0..1000).filter(|_| share.pick(percent)).count() as u64;
            assert_eq!(chosen, percent * 10);
        }
    }

    proptest! {
        #[test]
        fn every_prefix_is_within_one_turn_of_its_share(
            weights in prop::collection::vec(0_u64..60, 1..6),
        ) {
            let sum: u64 = weights.iter().sum();
            let mut picker = Picker::new(weights.clone());
            let mut had = vec![0_u64; weights.len()];
            for step in 1..=sum * 2 {
                let chosen = picker.pick().expect("some weight is positive");
                had[chosen] += 1;
                for (index, weight) in weights.iter().enumerate() {
                    let due = step as f64 * *weight as f64 / sum as f64;
                    prop_assert!((had[index] as f64 - due).abs() <= weights.len() as f64);
                }
            }
            for (index, weight) in weights.iter().enumerate() {
                prop_assert_eq!(had[index], weight * 2);
            }
        }
    }
}
