//! The ten laws that hold in every phase, for every router and under every fault.

use std::fmt;

/// One of the laws, by its number in the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    LoweringNeverWaits = 1,
    RaisingIsFenced,
    NoSurpriseRelease,
    AnalysedIsPromoted,
    NoRequestLost,
    OnlyOurFields,
    FailedReadIsAFact,
    OneHarmsNoOther,
    EverythingEnds,
    SaysWhy,
}

impl Law {
    pub const ALL: [Law; 10] = [
        Law::LoweringNeverWaits,
        Law::RaisingIsFenced,
        Law::NoSurpriseRelease,
        Law::AnalysedIsPromoted,
        Law::NoRequestLost,
        Law::OnlyOurFields,
        Law::FailedReadIsAFact,
        Law::OneHarmsNoOther,
        Law::EverythingEnds,
        Law::SaysWhy,
    ];

    pub fn number(self) -> u8 {
        self as u8
    }

    pub fn title(self) -> &'static str {
        match self {
            Law::LoweringNeverWaits => "lowering exposure never waits",
            Law::RaisingIsFenced => "raising exposure is fenced",
            Law::NoSurpriseRelease => "no surprise release",
            Law::AnalysedIsPromoted => "what was analysed is what is promoted",
            Law::NoRequestLost => "no request lost",
            Law::OnlyOurFields => "only our objects, only our fields",
            Law::FailedReadIsAFact => "a failed read is a fact to decide on",
            Law::OneHarmsNoOther => "one bad object harms no other",
            Law::EverythingEnds => "everything ends",
            Law::SaysWhy => "it says why",
        }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "law {} ({})", self.number(), self.title())
    }
}

#[cfg(test)]
mod tests {
    use super::Law;

    #[test]
    fn every_law_has_the_number_of_its_place() {
        for (index, law) in Law::ALL.iter().enumerate() {
            assert_eq!(usize::from(law.number()), index + 1);
        }
        assert_eq!(Law::RaisingIsFenced.to_string(), "law 2 (raising exposure is fenced)");
    }
}
