//! Numbers as text: a few bytes each, with a digest at the end.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::digest::digest;

/// Counts from here on are kept as floats of 24 binary digits: five bytes instead of ten.
const EXACT_BELOW: u64 = 1 << 28;
/// Marks such a float; varints of counts never get there.
const FLOAT: u64 = 1 << 32;

const SEAL_BYTES: usize = 8;

/// What is to be read was not written by this crate, or was changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is damaged: {0}")]
pub struct Damaged(
    /// What gives it away.
    pub &'static str,
);

/// Writes numbers one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub(crate) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Seven bits a byte, the lowest first.
    pub(crate) fn uint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    pub(crate) fn int(&mut self, value: i64) {
        let sign = u64::from(value < 0);
        self.uint((value.unsigned_abs().min(u64::MAX >> 1) << 1) | sign);
    }

    /// At most five bytes; exact below 2^28, to seven digits above.
    pub(crate) fn count(&mut self, value: u64) {
        if value < EXACT_BELOW {
            self.uint(value);
        } else {
            self.uint(FLOAT | u64::from((value as f32).to_bits()));
        }
    }

    /// The lowest `bytes` bytes.
    pub(crate) fn fixed(&mut self, value: u64, bytes: usize) {
        self.0.extend(value.to_le_bytes().iter().take(bytes));
    }

    /// Seven digits.
    pub(crate) fn float(&mut self, value: f64) {
        self.0.extend((value as f32).to_le_bytes());
    }

    /// Ends with a digest of all that was written.
    pub(crate) fn with_digest(&mut self) {
        self.fixed(digest(&self.0), SEAL_BYTES);
    }

    pub(crate) fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.0)
    }

    pub(crate) fn append(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }
}

/// Reads numbers in the order they were written in.
#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    bytes: Vec<u8>,
    at: usize,
}

impl Decoder {
    pub(crate) fn of(text: &str) -> Result<Self, Damaged> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Damaged("no base64"))?;
        Ok(Self { bytes, at: 0 })
    }

    /// What [`Encoder::with_digest`] has ended, and nothing that was changed since.
    pub(crate) fn sealed(text: &str) -> Result<Self, Damaged> {
        let mut decoder = Self::of(text)?;
        let end = decoder.bytes.len().checked_sub(SEAL_BYTES).ok_or(Damaged("too short"))?;
        let written = Self { bytes: decoder.bytes.split_off(end), at: 0 }.fixed(SEAL_BYTES)?;
        if written != digest(&decoder.bytes) {
            return Err(Damaged("it is not what was written"));
        }
        Ok(decoder)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Damaged> {
        let byte = self.bytes.get(self.at).copied().ok_or(Damaged("too short"))?;
        self.at += 1;
        Ok(byte)
    }

    pub(crate) fn uint(&mut self) -> Result<u64, Damaged> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Damaged("a number without an end"))
    }

    pub(crate) fn int(&mut self) -> Result<i64, Damaged> {
        let value = self.uint()?;
        let size = i64::try_from(value >> 1).map_err(|_| Damaged("a number out of range"))?;
        Ok(if value & 1 == 1 { -size } else { size })
    }

    pub(crate) fn count(&mut self) -> Result<u64, Damaged> {
        let value = self.uint()?;
        if value < EXACT_BELOW {
            return Ok(value);
        }
        let float =
            f32::from_bits(value.to_le_bytes()[..4].try_into().map_or(0, u32::from_le_bytes));
        if value >> 33 != 0 || value & FLOAT == 0 || !float.is_finite() || float < 0.0 {
            return Err(Damaged("a count out of range"));
        }
        Ok(float as u64)
    }

    pub(crate) fn fixed(&mut self, bytes: usize) -> Result<u64, Damaged> {
        let mut value = 0_u64;
        for place in 0..bytes {
            value |= u64::from(self.byte()?) << (8 * place);
        }
        Ok(value)
    }

    pub(crate) fn float(&mut self) -> Result<f64, Damaged> {
        let bits = u32::try_from(self.fixed(4)?).map_err(|_| Damaged("a number out of range"))?;
        Ok(f64::from(f32::from_bits(bits)))
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            uint: u64, int in -(1_i64 << 61)..(1_i64 << 61), small in 0..EXACT_BELOW, large: u64, float in -1e30..1e30_f64,
        ) {
            let mut encoder = Encoder::default();
            encoder.uint(uint);
            encoder.int(int);
            encoder.count(small);
            encoder.count(large);
            encoder.fixed(uint, 5);
            encoder.float(float);
            let mut decoder = Decoder::of(&encoder.text()).unwrap();
            prop_assert_eq!(decoder.uint(), Ok(uint));
            prop_assert_eq!(decoder.int(), Ok(int));
            prop_assert_eq!(decoder.count(), Ok(small));
            let back = decoder.count().unwrap();
            prop_assert!((back as f64 - large as f64).abs() <= 1e-6 * large as f64);
            prop_assert_eq!(decoder.fixed(5), Ok(uint & 0xff_ffff_ffff));
            prop_assert!((decoder.float().unwrap() - float).abs() <= 1e-6 * float.abs());
            prop_assert!(decoder.is_at_end() && decoder.byte().is_err());
        }

        #[test]
        fn nothing_that_was_not_written_makes_it_panic(bytes: Vec<u8>) {
            let mut encoder = Encoder::default();
            bytes.iter().for_each(|byte| encoder.byte(*byte));
            let mut decoder = Decoder::of(&encoder.text()).unwrap();
            while !decoder.is_at_end() {
                if decoder.count().is_err() || decoder.int().is_err() || decoder.float().is_err() {
                    break;
                }
            }
        }
    }
}
