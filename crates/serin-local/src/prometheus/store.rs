//! Samples in memory: series in the order of their labels, their points packed, all of it bounded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A series' labels, `__name__` among them.
pub type Labels = BTreeMap<String, String>;

/// The label that holds the metric's name.
pub const NAME: &str = "__name__";

/// Series in memory; the samples of more are dropped, and counted.
const SERIES_MAX: usize = 100_000;
/// Packed points in memory; beyond it the oldest go, whatever the retention.
const BYTES_MAX: usize = 128 << 20;
/// Points that are packed together: a query unpacks at most so many that it does not need.
const CHUNK_POINTS: usize = 240;
/// The value that says "this series has ended" (Prometheus, `value.StaleNaN`).
const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;
/// Whole numbers up to here are exact in a float, and so are their differences.
const WHOLE_MAX: f64 = 4_503_599_627_370_496.0;

/// The marker for the end of a series.
pub fn stale() -> f64 {
    f64::from_bits(STALE_BITS)
}

pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// Points of consecutive times: differences of times, and of values where they are whole numbers.
#[derive(Debug, Default)]
struct Chunk {
    first: i64,
    last: i64,
    value: f64,
    points: usize,
    bytes: Vec<u8>,
}

impl Chunk {
    fn new(at: i64) -> Self {
        Self { first: at, last: at, ..Self::default() }
    }

    fn push(&mut self, at: i64, value: f64) {
        varint(at.abs_diff(self.last), &mut self.bytes);
        match whole_difference(value, self.value) {
            Some(difference) => varint(difference << 1, &mut self.bytes),
            None => {
                self.bytes.push(1);
                self.bytes.extend(value.to_bits().to_le_bytes());
            }
        }
        (self.last, self.value) = (at, value);
        self.points += 1;
    }

    fn read(&self, from: i64, to: i64, out: &mut Vec<(i64, f64)>) {
        let mut bytes = self.bytes.as_slice();
        let (mut at, mut value) = (self.first, 0.0);
        for _ in 0..self.points {
            let (Some(elapsed), Some(tag)) = (unvarint(&mut bytes), unvarint(&mut bytes)) else {
                return;
            };
            at = at.saturating_add_unsigned(elapsed);
            value = if tag & 1 == 0 {
                value + zigzag(tag >> 1)
            } else {
                let Some((bits, rest)) = bytes.split_first_chunk::<8>() else { return };
                bytes = rest;
                f64::from_bits(u64::from_le_bytes(*bits))
            };
            if at > to {
                return;
            }
            if at >= from {
                out.push((at, value));
            }
        }
    }
}

/// Zigzag of the difference, if both numbers are whole, small and not the negative zero.
#[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
fn whole_difference(value: f64, before: f64) -> Option<u64> {
    let whole =
        |v: f64| v.abs() < WHOLE_MAX && v.fract() == 0.0 && (v != 0.0 || v.is_sign_positive());
    (whole(value) && whole(before)).then(|| {
        let difference = (value as i64) - (before as i64);
        ((difference << 1) ^ (difference >> 63)).cast_unsigned()
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "only differences of exact whole numbers are packed"
)]
fn zigzag(packed: u64) -> f64 {
    let magnitude = (packed >> 1).cast_signed();
    (if packed & 1 == 0 { magnitude } else { !magnitude }) as f64
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn unvarint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// One series.
#[derive(Debug)]
pub struct Series {
    pub labels: Arc<Labels>,
    chunks: VecDeque<Chunk>,
}

impl Series {
    /// Points from `from` to `to`, both included, in order; markers of the end among them.
    pub fn points(&self, from: i64, to: i64) -> Vec<(i64, f64)> {
        let mut out = Vec::new();
        let begin = self.chunks.partition_point(|chunk| chunk.last < from);
        for chunk in self.chunks.iter().skip(begin).take_while(|chunk| chunk.first <= to) {
            chunk.read(from, to, &mut out);
        }
        out
    }

    /// The last point from `from` to `to`, both included.
    pub fn latest(&self, from: i64, to: i64) -> Option<(i64, f64)> {
        let end = self.chunks.partition_point(|chunk| chunk.first <= to);
        let mut out = Vec::new();
        for chunk in self.chunks.iter().take(end).rev().take_while(|chunk| chunk.last >= from) {
            chunk.read(from, to, &mut out);
            if let Some(point) = out.last() {
                return Some(*point);
            }
        }
        None
    }

    fn last(&self) -> Option<i64> {
        self.chunks.back().map(|chunk| chunk.last)
    }

    fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }
}

/// All series.
#[derive(Debug, Default)]
pub struct Store {
    retention_ms: i64,
    series: BTreeMap<Arc<Labels>, Series>,
    names: BTreeMap<String, BTreeSet<Arc<Labels>>>,
}

/// How many samples a write kept, and why it dropped the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub kept: usize,
    /// Not younger than what the series has already.
    pub old: usize,
    /// Of a new series, when there are too many.
    pub too_many: usize,
}

impl Store {
    pub fn new(retention_ms: i64) -> Self {
        Self { retention_ms, ..Self::default() }
    }

    /// Appends samples, each after what its series has, then forgets what is older than the retention.
    pub fn write<'a>(
        &mut self,
        samples: impl IntoIterator<Item = (&'a Labels, i64, f64)>,
        now: i64,
    ) -> Written {
        let mut written = Written::default();
        for (labels, at, value) in samples {
            let Some(series) = self.of(labels) else {
                written.too_many += 1;
                continue;
            };
            if series.last().is_some_and(|last| at <= last) {
                written.old += 1;
                continue;
            }
            if series.chunks.back().is_none_or(|chunk| chunk.points >= CHUNK_POINTS) {
                series.chunks.push_back(Chunk::new(at));
            }
            if let Some(chunk) = series.chunks.back_mut() {
                chunk.push(at, value);
            }
            written.kept += 1;
        }
        self.forget(now.saturating_sub(self.retention_ms));
        written
    }

    fn of(&mut self, labels: &Labels) -> Option<&mut Series> {
        if !self.series.contains_key(labels) {
            if self.series.len() >= SERIES_MAX {
                return None;
            }
            let labels = Arc::new(labels.clone());
            let name = labels.get(NAME).cloned().unwrap_or_default();
            self.names.entry(name).or_default().insert(Arc::clone(&labels));
            let series = Series { labels: Arc::clone(&labels), chunks: VecDeque::new() };
            self.series.insert(labels, series);
        }
        self.series.get_mut(labels)
    }

    fn forget(&mut self, mut horizon: i64) {
        let bytes: usize = self.series.values().map(Series::bytes).sum();
        if bytes > BYTES_MAX {
            let oldest =
                self.series.values().filter_map(|s| s.chunks.front()).map(|c| c.first).min();
            let newest = self.series.values().filter_map(Series::last).max();
            if let (Some(oldest), Some(newest)) = (oldest, newest) {
                horizon = horizon.max(oldest + (newest - oldest) / 4);
            }
        }
        let mut empty = Vec::new();
        for (labels, series) in &mut self.series {
            while series.chunks.front().is_some_and(|chunk| chunk.last < horizon) {
                series.chunks.pop_front();
            }
            if series.chunks.is_empty() {
                empty.push(Arc::clone(labels));
            }
        }
        for labels in empty {
            self.series.remove(&labels);
            let name = labels.get(NAME).map_or("", String::as_str);
            if let Some(named) = self.names.get_mut(name) {
                named.remove(&labels);
                if named.is_empty() {
                    self.names.remove(name);
                }
            }
        }
    }

    /// Every series, in the order of its labels.
    pub fn series(&self) -> impl Iterator<Item = &Series> {
        self.series.values()
    }

    /// The series of one metric, in the order of their labels.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Series> {
        self.names.get(name).into_iter().flatten().filter_map(|labels| self.series.get(labels))
    }

    /// Bytes of packed points, for figures.
    pub fn bytes(&self) -> usize {
        self.series.values().map(Series::bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(name: &str) -> Labels {
        Labels::from([(NAME.to_owned(), name.to_owned())])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_is_packed_comes_out_again(
            steps in prop::collection::vec((1..100_000_i64, prop_oneof![
                any::<f64>(), (-9_000_000_000_000_000_i64..9_000_000_000_000_000).prop_map(|v| v as f64),
                (0..50_i64).prop_map(|v| v as f64), Just(-0.0), Just(stale()),
            ]), 1..600)
        ) {
            let mut at = 0;
            let points: Vec<(i64, f64)> = steps.iter().map(|(step, v)| { at += step; (at, *v) }).collect();
            let mut store = Store::new(i64::MAX);
            let name = labels("x");
            for (at, value) in &points {
                store.write([(&name, *at, *value)], *at);
            }
            let series = store.named("x").next().unwrap();
            let bits = |points: &[(i64, f64)]| points.iter().map(|(t, v)| (*t, v.to_bits())).collect::<Vec<_>>();
            prop_assert_eq!(bits(&series.points(i64::MIN, i64::MAX)), bits(&points));
            let (from, to) = (points[points.len() / 3].0, points[points.len() / 2].0);
            let within: Vec<_> = points.iter().copied().filter(|(t, _)| (from..=to).contains(t)).collect();
            prop_assert_eq!(bits(&series.points(from, to)), bits(&within));
            prop_assert_eq!(series.latest(from, to).map(|p| p.0), Some(to));
            prop_assert_eq!(series.latest(from, to - 1).map(|p| p.0),
                within.iter().map(|p| p.0).filter(|t| *t < to).max());
        }
    }

    #[test]
    fn old_points_and_old_series_are_forgotten() {
        let mut store = Store::new(1_000_000);
        let (x, y) = (labels("x"), labels("y"));
        store.write([(&y, 0, 1.0)], 0);
        for at in 1..5_000 {
            store.write([(&x, at * 1000, 1.0)], at * 1000);
        }
        assert_eq!(store.named("y").count(), 0);
        assert_eq!(store.series().count(), 1);
        let kept = store.named("x").next().unwrap().points(i64::MIN, i64::MAX);
        assert!((1_000..1_300).contains(&kept.len()), "{}", kept.len());
        assert!(store.bytes() < 5_000, "{}", store.bytes());
    }

    #[test]
    fn a_sample_that_is_not_newer_is_dropped() {
        let mut store = Store::new(i64::MAX);
        let x = labels("x");
        let written = store.write([(&x, 5, 1.0), (&x, 5, 2.0), (&x, 4, 3.0), (&x, 6, 4.0)], 6);
        assert_eq!(written, Written { kept: 2, old: 2, too_many: 0 });
        assert_eq!(store.named("x").next().unwrap().points(0, 9), [(5, 1.0), (6, 4.0)]);
    }
}
