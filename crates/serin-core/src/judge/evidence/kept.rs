//! Raw counters on paper, so that a rollout goes on where it was.

use super::{Evidence, Last, Process, SERIES_MAX, Side};
use crate::judge::paper::{Damaged, Paper, Pen};

/// Names of processes are kept as digests of so many bytes, which do not fall together by chance.
const NAME_BYTES: usize = 8;

/// Bits of a kept series' first byte.
const PRIMARY: u8 = 1;
const OWES: u8 = 2;
/// Of the same process as the series before.
const BESIDE: u8 = 4;

impl Evidence {
    /// Writes down the raw counters, to be kept with the guard's state of the same scrape.
    ///
    /// Without them a restored rollout takes new bases: the gap is not judged, and no evidence is counted twice.
    pub(in crate::judge) fn write(&self, pen: &mut Pen) {
        pen.uint(self.bounds as u64);
        pen.uint(self.at_millis.unwrap_or(0));
        pen.uint(self.series.len() as u64);
        let mut before = None;
        for (&(name, side), last) in &self.series {
            let owes = last.slower_owed.iter().any(|owed| *owed != 0) || last.errors_owed != 0;
            let side = match side {
                Side::Canary => 0,
                Side::Primary => PRIMARY,
            };
            let beside = before == Some(name);
            pen.byte(side | if owes { OWES } else { 0 } | if beside { BESIDE } else { 0 });
            if !beside {
                pen.fixed(name, NAME_BYTES);
                let process = self.processes.get(&name);
                pen.uint(process.and_then(|process| process.started).unwrap_or(0));
            }
            before = Some(name);
            pen.uint(self.at_millis.unwrap_or(0).saturating_sub(last.seen_millis));
            pen.uint(last.requests);
            pen.uint(last.errors);
            // Usually the same as the requests, and most of them fast.
            pen.int(last.timed.wrapping_sub(last.requests).cast_signed());
            for within in &last.within {
                pen.int(last.timed.wrapping_sub(*within).cast_signed());
            }
            if owes {
                pen.uint(last.errors_owed);
                last.slower_owed.iter().for_each(|owed| pen.int(*owed));
            }
        }
    }

    /// Continues from what [`Evidence::write`] wrote; with other bounds it starts anew, as its buckets cannot be compared.
    pub(in crate::judge) fn read(bounds: usize, paper: &mut Paper) -> Result<Self, Damaged> {
        let mut evidence = Self::new(bounds);
        if paper.uint()? != bounds as u64 {
            return Ok(evidence);
        }
        let at = paper.uint()?;
        let series = paper.uint()?;
        if series > SERIES_MAX as u64 {
            return Err(Damaged("too many series"));
        }
        evidence.at_millis = Some(at);
        let mut before = None;
        for _ in 0..series {
            let bits = paper.byte()?;
            let side = if bits & PRIMARY == 0 { Side::Canary } else { Side::Primary };
            let name = match before {
                Some(name) if bits & BESIDE != 0 => name,
                Some(_) | None => {
                    let name = paper.fixed(NAME_BYTES)?;
                    let started = Some(paper.uint()?).filter(|started| *started > 0);
                    evidence.processes.insert(name, Process { started, ..Process::default() });
                    name
                }
            };
            before = Some(name);
            let mut last = Last::zero(bounds);
            (last.read_millis, last.seen_millis) = (at, at.saturating_sub(paper.uint()?));
            (last.requests, last.errors) = (paper.uint()?, paper.uint()?);
            last.timed = last.requests.wrapping_add(paper.int()?.cast_unsigned());
            for within in &mut last.within {
                *within = last.timed.wrapping_sub(paper.int()?.cast_unsigned());
            }
            if bits & OWES != 0 {
                (last.errors_owed, last.owed_since) = (paper.uint()?, at);
                for owed in &mut last.slower_owed {
                    *owed = paper.int()?;
                }
            }
            evidence.series.insert((name, side), last);
        }
        Ok(evidence)
    }
}
