//! Mutations by dice, for the short search of `make test`.

/// SplitMix64: small, and the same everywhere.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides.max(1) as u64).unwrap_or(0)
    }
}

/// Longer inputs find the same and take longer.
const INPUT_MAX: usize = 4096;

/// One of the seeds, changed in a few places.
pub fn mutated(seeds: &[&[u8]], words: &[&str], dice: &mut Dice) -> Vec<u8> {
    // Some inputs have nothing to do with any seed.
    let mut input = match dice.roll(8) {
        0 => (0..dice.roll(200)).map(|_| u8::try_from(dice.roll(256)).unwrap_or(0)).collect(),
        _ => seeds[dice.roll(seeds.len())].to_vec(),
    };
    for _ in 0..=dice.roll(6) {
        let at = dice.roll(input.len() + 1);
        match dice.roll(7) {
            0 if at < input.len() => input[at] ^= 1 << dice.roll(8),
            1 => input.insert(at, u8::try_from(dice.roll(256)).unwrap_or(0)),
            2 => drop(input.drain(at..(at + dice.roll(8)).min(input.len()))),
            3 if !words.is_empty() => {
                let word = words[dice.roll(words.len())].as_bytes();
                input.splice(at..at, word.iter().copied());
            }
            4 => {
                let piece = input[at..(at + 1 + dice.roll(24)).min(input.len())].to_vec();
                let times = if dice.roll(6) == 0 { 64 } else { 1 };
                for _ in 0..times {
                    input.splice(at..at, piece.iter().copied());
                }
            }
            5 => {
                let other = seeds[dice.roll(seeds.len())];
                let from = dice.roll(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ if !words.is_empty() && at < input.len() => {
                let word = words[dice.roll(words.len())].as_bytes();
                let end = (at + word.len()).min(input.len());
                input.splice(at..end, word.iter().copied());
            }
            _ => input.truncate(at),
        }
        input.truncate(INPUT_MAX);
    }
    input
}
