//! Raw counters as text, so that a rollout goes on where it was.

use super::{Last, Process, SERIES_MAX, Side, Tracker};
use crate::codec::{Damaged, Decoder, Encoder};
use crate::settings::CounterSettings;

/// Names of processes are kept as digests of so many bytes, which do not fall together by chance.
const NAME_BYTES: usize = 8;

/// Bits of a kept series' first byte.
const PRIMARY: u8 = 1;
const OWES: u8 = 2;
/// Of the same process as the series before.
const BESIDE: u8 = 4;
/// Some bound was not measured in the last scrape.
const UNEVEN: u8 = 8;

impl Tracker {
    /// Writes down the raw counters, to be kept with the guard's state of the same scrape.
    ///
    /// Without them a restored rollout takes new bases: the gap is not judged, and no evidence is counted twice.
    pub(crate) fn write(&self, encoder: &mut Encoder) {
        encoder.uint(self.bounds as u64);
        encoder.uint(self.at_millis.unwrap_or(0));
        encoder.uint(self.series.len() as u64);
        let mut before = None;
        for (&(name, side), last) in &self.series {
            let owed = last.buckets.iter().any(|bucket| bucket.owed != 0);
            let (owes, uneven) = (owed || last.errors_owed != 0, last.is_uneven());
            let side = match side {
                Side::Canary => 0,
                Side::Primary => PRIMARY,
            };
            let beside = before == Some(name);
            let bits = [(owes, OWES), (beside, BESIDE), (uneven, UNEVEN)];
            encoder.byte(bits.iter().filter(|(is, _)| *is).fold(side, |all, (_, bit)| all | bit));
            if !beside {
                encoder.fixed(name, NAME_BYTES);
                let process = self.processes.get(&name);
                encoder.uint(process.and_then(|process| process.started).unwrap_or(0));
            }
            before = Some(name);
            encoder.uint(self.at_millis.unwrap_or(0).saturating_sub(last.seen_millis));
            encoder.uint(last.requests);
            encoder.uint(last.errors);
            // Usually the same as the requests, and most of them fast.
            encoder.int(last.timed.wrapping_sub(last.requests).cast_signed());
            for bucket in &last.buckets {
                encoder.int(last.timed.wrapping_sub(bucket.within).cast_signed());
            }
            if uneven {
                let behind = |timed: u64| last.timed.saturating_sub(timed).saturating_add(1);
                last.buckets.iter().for_each(|b| encoder.uint(b.timed.map_or(0, behind)));
            }
            if owes {
                encoder.uint(last.errors_owed);
                last.buckets.iter().for_each(|bucket| encoder.int(bucket.owed));
            }
        }
    }

    /// Continues from what [`Tracker::write`] wrote; with other bounds it starts anew, as its buckets cannot be compared.
    pub(crate) fn read(
        bounds: usize,
        settings: CounterSettings,
        decoder: &mut Decoder,
    ) -> Result<Self, Damaged> {
        let mut tracker = Self::with(bounds, settings);
        if decoder.uint()? != bounds as u64 {
            return Ok(tracker);
        }
        let at = decoder.uint()?;
        let series = decoder.uint()?;
        if series > SERIES_MAX as u64 {
            return Err(Damaged("too many series"));
        }
        tracker.at_millis = Some(at);
        let mut before = None;
        for _ in 0..series {
            let bits = decoder.byte()?;
            let side = if bits & PRIMARY == 0 { Side::Canary } else { Side::Primary };
            let name = match before {
                Some(name) if bits & BESIDE != 0 => name,
                Some(_) | None => {
                    let name = decoder.fixed(NAME_BYTES)?;
                    let started = Some(decoder.uint()?).filter(|started| *started > 0);
                    tracker.processes.insert(name, Process { started, ..Process::default() });
                    name
                }
            };
            before = Some(name);
            let mut last = Last::zero(bounds);
            (last.read_millis, last.seen_millis) = (at, at.saturating_sub(decoder.uint()?));
            (last.requests, last.errors) = (decoder.uint()?, decoder.uint()?);
            last.timed = last.requests.wrapping_add(decoder.int()?.cast_unsigned());
            for bucket in &mut last.buckets {
                bucket.within = last.timed.wrapping_sub(decoder.int()?.cast_unsigned());
                bucket.timed = Some(last.timed);
            }
            if bits & UNEVEN != 0 {
                for bucket in &mut last.buckets {
                    let behind = decoder.uint()?.checked_sub(1);
                    bucket.timed = behind.map(|behind| last.timed.saturating_sub(behind));
                }
            }
            if bits & OWES != 0 {
                (last.errors_owed, last.owed_since) = (decoder.uint()?, at);
                for bucket in &mut last.buckets {
                    bucket.owed = decoder.int()?;
                }
            }
            tracker.series.insert((name, side), last);
        }
        Ok(tracker)
    }
}
