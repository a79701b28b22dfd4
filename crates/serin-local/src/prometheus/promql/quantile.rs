//! Quantiles, of values and of classic histograms.

use std::collections::BTreeMap;

use super::eval::Outcome;
use super::{Labels, NAME, Sample};

const LE: &str = "le";

/// Interpolated between the two nearest values; what is no number is the smallest.
#[expect(clippy::cast_precision_loss, reason = "so many values do not fit")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "q is within 0..=1")]
pub(super) fn quantile(q: f64, values: &[f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then_with(|| a.total_cmp(b)));
    let rank = q * (sorted.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(sorted.len() - 1);
    let weight = rank - rank.floor();
    sorted[lower] * (1.0 - weight) + sorted[upper] * weight
}

/// `histogram_quantile`: one result for each set of labels without `le`.
pub(super) fn histogram(q: f64, vector: Vec<Sample>) -> Outcome<Vec<Sample>> {
    let mut histograms: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for Sample { mut labels, value } in vector {
        let bound = labels.remove(LE).and_then(|le| bound(&le));
        labels.remove(NAME);
        if let Some(bound) = bound {
            histograms.entry(labels).or_default().push((bound, value));
        }
    }
    Ok(histograms
        .into_iter()
        .map(|(labels, buckets)| Sample { labels, value: of_buckets(q, buckets) })
        .collect())
}

fn bound(le: &str) -> Option<f64> {
    match le {
        "+Inf" | "Inf" | "inf" | "+inf" => Some(f64::INFINITY),
        other => other.parse().ok(),
    }
}

#[expect(clippy::float_cmp, reason = "bounds of one bucket are written alike")]
fn of_buckets(q: f64, mut buckets: Vec<(f64, f64)>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    if buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
        return f64::NAN;
    }
    // One bound that is written in two ways is one bucket.
    let mut merged: Vec<(f64, f64)> = Vec::with_capacity(buckets.len());
    for (bound, count) in buckets {
        match merged.last_mut() {
            Some(last) if last.0 == bound => last.1 += count,
            _ => merged.push((bound, count)),
        }
    }
    // Counts never fall, and if they seem to, scrapes of different moments were added.
    let mut most = f64::NEG_INFINITY;
    for (index, (_, count)) in merged.iter_mut().enumerate() {
        if index == 0 || *count > most {
            most = *count;
        } else if *count < most {
            *count = most;
        }
    }
    let last = merged.len() - 1;
    let observations = merged[last].1;
    if last < 1 || observations == 0.0 {
        return f64::NAN;
    }
    let rank = q * observations;
    // What is no number reaches no rank.
    let below =
        |count: f64| matches!(count.partial_cmp(&rank), None | Some(std::cmp::Ordering::Less));
    let place = merged[..last].partition_point(|(_, count)| below(*count));
    if place == last {
        return merged[last - 1].0;
    }
    if place == 0 && merged[0].0 <= 0.0 {
        return merged[0].0;
    }
    let (end, mut count) = merged[place];
    let (mut begin, mut rank) = (0.0, rank);
    if place > 0 {
        let before = merged[place - 1];
        begin = before.0;
        count -= before.1;
        rank -= before.1;
    }
    begin + (end - begin) * (rank / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_values() {
        assert_eq!(quantile(0.5, &[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(quantile(0.75, &[1.0, 2.0]), 1.75);
        assert!(quantile(0.5, &[]).is_nan());
        assert_eq!(quantile(-0.1, &[1.0]), f64::NEG_INFINITY);
        assert_eq!(quantile(1.1, &[1.0]), f64::INFINITY);
    }

    #[test]
    fn quantiles_of_buckets() {
        let inf = f64::INFINITY;
        for (q, buckets, wanted) in [
            (0.5, vec![(1.0, 2.0), (2.0, 4.0), (inf, 4.0)], 1.0),
            (0.75, vec![(1.0, 2.0), (2.0, 4.0), (inf, 4.0)], 1.5),
            (0.99, vec![(1.0, 2.0), (2.0, 4.0), (inf, 100.0)], 2.0),
            (0.5, vec![(-1.0, 2.0), (2.0, 4.0), (inf, 4.0)], -1.0),
            // The second count seems to fall.
            (0.75, vec![(1.0, 2.0), (2.0, 1.0), (4.0, 4.0), (inf, 4.0)], 3.0),
        ] {
            assert_eq!(of_buckets(q, buckets.clone()), wanted, "{q} {buckets:?}");
        }
        assert!(of_buckets(0.5, vec![(1.0, 1.0), (2.0, 2.0)]).is_nan());
        assert!(of_buckets(0.5, vec![(inf, 2.0)]).is_nan());
        assert!(of_buckets(0.5, vec![(1.0, 0.0), (inf, 0.0)]).is_nan());
    }
}
