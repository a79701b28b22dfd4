//! What a guard saw over time, in bounded room: old looks are thinned, those beside a change of the weight stay.

use jiff::Timestamp;
use serin_core::model::{Bad, GuardSpec};
use serin_core::status::Counts;

use crate::guard::evidence::{Check, Evidence};

/// Enough for the widest screen.
pub const LOOKS_MAX: usize = 600;

/// One look of the guard.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    pub time: Timestamp,
    pub weight: u8,
    pub log_evidence: f64,
    /// In the order of the guard's objectives; none where it was not measured.
    pub objectives: Vec<Option<Measured>>,
}

/// Both sides of one objective.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    pub canary: Counts,
    pub primary: Counts,
    pub limit: f64,
}

impl Look {
    /// What this evidence says of the objectives that are shares of requests.
    pub fn new(spec: &GuardSpec, evidence: &Evidence, weight: u8) -> Self {
        let shares = spec.objectives.iter().filter(|objective| objective.bad != Bad::Shape);
        let measured = |name: &str| {
            let of = |check: &&Check| check.metric == name;
            let beside = evidence.checks.iter().filter(of).find(|check| check.beside_primary);
            let check = beside.or_else(|| evidence.checks.iter().find(of))?;
            Some(Measured { canary: check.canary, primary: check.primary, limit: check.limit })
        };
        Self {
            time: evidence.time,
            weight,
            log_evidence: evidence.log_evidence,
            objectives: shares.map(|objective| measured(&objective.name)).collect(),
        }
    }
}

/// Looks in the order of time, at most [`LOOKS_MAX`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    looks: Vec<Look>,
}

impl Series {
    pub fn looks(&self) -> &[Look] {
        &self.looks
    }

    /// Whether it is news: the same look is not told twice, and none comes late.
    pub fn push(&mut self, look: Look) -> bool {
        if self.looks.last().is_some_and(|last| look.time <= last.time) {
            return false;
        }
        self.looks.push(look);
        if self.looks.len() > LOOKS_MAX {
            self.thin();
        }
        true
    }

    /// Leaves every second look, and those on both sides of a change.
    fn thin(&mut self) {
        let weights: Vec<u8> = self.looks.iter().map(|look| look.weight).collect();
        let last = weights.len().saturating_sub(1);
        let changes = |place: usize| {
            let here = weights.get(place);
            place == last
                || (place > 0 && weights.get(place - 1) != here)
                || weights.get(place + 1) != here
        };
        let mut place = 0;
        self.looks.retain(|_| {
            let keep = place % 2 == 0 || changes(place);
            place += 1;
            keep
        });
        // A weight that changes at every look leaves nothing to thin.
        let surplus = self.looks.len().saturating_sub(LOOKS_MAX);
        self.looks.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(second: i64, weight: u8) -> Look {
        let time = Timestamp::from_second(second).unwrap();
        Look { time, weight, log_evidence: 0.0, objectives: Vec::new() }
    }

    #[test]
    fn a_day_of_looks_stays_bounded_and_keeps_its_changes() {
        let mut series = Series::default();
        let day = 86_400;
        for second in 0..day {
            series.push(look(second, u8::try_from(second / 10_000).unwrap()));
            assert!(series.looks().len() <= LOOKS_MAX);
        }
        let looks = series.looks();
        assert_eq!(looks.last().unwrap().time.as_second(), day - 1);
        for pair in looks.windows(2) {
            assert!(pair[0].time < pair[1].time);
            if pair[0].weight != pair[1].weight {
                assert_eq!(pair[1].time.as_second() % 10_000, 0, "both sides of a change stay");
                assert_eq!(pair[0].time.as_second(), pair[1].time.as_second() - 1);
            }
        }
        assert_eq!(looks.windows(2).filter(|pair| pair[0].weight != pair[1].weight).count(), 8);
    }

    #[test]
    fn restless_weights_are_bounded_as_well() {
        let mut series = Series::default();
        for second in 0..5000 {
            series.push(look(second, u8::try_from(second % 2).unwrap()));
            assert!(series.looks().len() <= LOOKS_MAX);
        }
        assert!(!series.push(look(4999, 0)), "the same look again");
        assert!(!series.push(look(17, 0)), "a look that comes late");
    }
}
