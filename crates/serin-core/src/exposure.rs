//! What a canary is exposed to: parts that rise and fall on their own, with what *raising* means defined once.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Percent of the traffic, 0 to 100.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Weight(u8);

impl Weight {
    pub const ZERO: Weight = Weight(0);
    pub const TENTH: Weight = Weight(10);
    pub const FULL: Weight = Weight(100);

    /// More than 100 becomes 100.
    pub fn saturating(percent: u32) -> Self {
        Self(u8::try_from(percent.min(100)).unwrap_or(100))
    }

    pub fn percent(self) -> u8 {
        self.0
    }

    /// What the other side gets.
    pub fn rest(self) -> Self {
        Self(100 - self.0)
    }

    pub fn plus(self, other: Self) -> Self {
        Self::saturating(u32::from(self.0) + u32::from(other.0))
    }

    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How much of the live traffic reaches a canary. The primary answers everything else.
///
/// The parts are independent, so that a router can be asked for any of them together. Exposures are ordered by their
/// parts and only in part: going from one to another *raises* the canary when any part goes up, whatever the others do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Exposure {
    /// Percent of the requests that the canary answers.
    pub share: Weight,
    /// Requests that match `analysis.match` are all answered by the canary.
    pub matched: bool,
    /// Percent of the requests of the primary that are copied to the canary; no user sees its answers.
    pub mirrored: Weight,
}

impl Exposure {
    pub const NONE: Self = Self { share: Weight::ZERO, matched: false, mirrored: Weight::ZERO };
    pub const FULL: Self = Self { share: Weight::FULL, matched: false, mirrored: Weight::ZERO };
    pub const MATCHED: Self = Self { share: Weight::ZERO, matched: true, mirrored: Weight::ZERO };

    pub fn share(share: Weight) -> Self {
        Self { share, ..Self::NONE }
    }

    pub fn mirrored(mirrored: Weight) -> Self {
        Self { mirrored, ..Self::NONE }
    }

    /// Neither a request nor a copy of one reaches the canary.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Some user is answered by the canary.
    pub fn has_users(self) -> bool {
        self.share > Weight::ZERO || self.matched
    }

    /// Percent of all requests that the canary has to deal with: those that it answers, and copies of some of the rest.
    pub fn load(self) -> Weight {
        let rest = u32::from(self.share.rest().0) * u32::from(self.mirrored.0);
        self.share.plus(Weight::saturating(rest.div_ceil(100)))
    }

    /// Going from `other` to this raises no part.
    pub fn is_within(self, other: Self) -> bool {
        self.share <= other.share
            && self.matched <= other.matched
            && self.mirrored <= other.mirrored
    }

    /// What both of them give the canary: within each of them.
    pub fn meet(self, other: Self) -> Self {
        Self {
            share: self.share.min(other.share),
            matched: self.matched && other.matched,
            mirrored: self.mirrored.min(other.mirrored),
        }
    }
}

impl fmt::Display for Exposure {
    /// `10 %`, `the matching requests`, `copies of 10 %`, or these joined by `and`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { share, matched, mirrored } = *self;
        let mut and = "";
        if matched {
            write!(f, "the matching requests")?;
            and = " and ";
        }
        if mirrored > Weight::ZERO {
            write!(f, "{and}copies of {mirrored} %")?;
            and = " and ";
        }
        if share > Weight::ZERO || and.is_empty() {
            write!(f, "{and}{share} %")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exposure() -> impl Strategy<Value = Exposure> {
        (0..=100_u32, any::<bool>(), 0..=100_u32).prop_map(|(share, matched, mirrored)| Exposure {
            share: Weight::saturating(share),
            matched,
            mirrored: Weight::saturating(mirrored),
        })
    }

    proptest! {
        #[test]
        fn what_two_have_in_common_raises_neither(a in exposure(), b in exposure()) {
            let both = a.meet(b);
            prop_assert!(both.is_within(a) && both.is_within(b));
            prop_assert_eq!(both, b.meet(a));
            prop_assert_eq!(a.is_within(b), a.meet(b) == a);
            prop_assert!(Exposure::NONE.is_within(a));
            prop_assert_eq!(a.is_within(Exposure::NONE), a.is_none());
        }
    }

    #[test]
    fn copies_are_a_load_as_well() {
        let of = |share, mirrored| {
            let (share, mirrored) = (Weight::saturating(share), Weight::saturating(mirrored));
            Exposure { share, mirrored, matched: false }.load().percent()
        };
        assert_eq!([of(0, 0), of(20, 0), of(0, 30), of(50, 50), of(99, 1)], [0, 20, 30, 75, 100]);
    }

    #[test]
    fn words() {
        let tenth = Weight::TENTH;
        let all = [
            Exposure::NONE,
            Exposure::share(tenth),
            Exposure::MATCHED,
            Exposure::mirrored(tenth),
            Exposure { share: tenth, matched: true, mirrored: tenth },
        ];
        let words: Vec<String> = all.iter().map(ToString::to_string).collect();
        let expected = [
            "0 %",
            "10 %",
            "the matching requests",
            "copies of 10 %",
            "the matching requests and copies of 10 % and 10 %",
        ];
        assert_eq!(words, expected);
    }
}
