//! Functions of a series over a window: rates, and everything that ends in `_over_time`.

use super::aggregate::{mean, variance};
use super::quantile::quantile;

type Points = [(i64, f64)];

#[expect(clippy::cast_precision_loss, reason = "windows are shorter than 285,000 years")]
pub(super) fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// What a counter or a gauge gained over the window, extrapolated to its edges where samples come close to them.
#[expect(clippy::cast_precision_loss, reason = "so many samples do not fit")]
pub(super) fn gained(points: &Points, window: (i64, i64), counter: bool) -> Option<f64> {
    let [(first_at, first), .., (last_at, last)] = points else { return None };
    let mut gain = last - first;
    if counter {
        // A counter that falls was set back, and what it had before is not lost.
        gain += points.windows(2).filter(|w| w[1].1 < w[0].1).map(|w| w[0].1).sum::<f64>();
    }
    let sampled = seconds(last_at - first_at);
    let between = sampled / (points.len() - 1) as f64;
    let mut to_start = seconds(first_at - window.0);
    let to_end = seconds(window.1 - last_at);
    if counter && gain > 0.0 && *first >= 0.0 {
        // No counter was ever below zero.
        to_start = to_start.min(sampled * (first / gain));
    }
    let near = between * 1.1;
    let reach = |distance: f64| if distance < near { distance } else { between / 2.0 };
    Some(gain * ((sampled + reach(to_start) + reach(to_end)) / sampled))
}

pub(super) fn rate(points: &Points, window: (i64, i64)) -> Option<f64> {
    Some(gained(points, window, true)? / seconds(window.1 - window.0))
}

/// Between the last two samples only; per second for a counter.
pub(super) fn instant_gain(points: &Points, counter: bool) -> Option<f64> {
    let [.., (before_at, before), (last_at, last)] = points else { return None };
    if !counter {
        return Some(last - before);
    }
    let gain = if last < before { *last } else { last - before };
    (last_at > before_at).then(|| gain / seconds(last_at - before_at))
}

/// Slope per second and value at `at` of the straight line through the points.
#[expect(clippy::cast_precision_loss, reason = "so many samples do not fit")]
#[expect(clippy::float_cmp, reason = "a constant is exactly constant")]
pub(super) fn line(points: &Points, at: i64) -> Option<(f64, f64)> {
    let [(_, first), _, ..] = points else { return None };
    if points.iter().all(|(_, value)| value == first) {
        return Some(if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, *first) });
    }
    let count = points.len() as f64;
    let (mut x_sum, mut y_sum, mut xy_sum, mut xx_sum) = (0.0, 0.0, 0.0, 0.0);
    for (time, value) in points {
        let x = seconds(time - at);
        x_sum += x;
        y_sum += value;
        xy_sum += x * value;
        xx_sum += x * x;
    }
    let slope = (xy_sum - x_sum * y_sum / count) / (xx_sum - x_sum * x_sum / count);
    Some((slope, y_sum / count - slope * x_sum / count))
}

#[expect(clippy::cast_precision_loss, reason = "so many samples do not fit")]
pub(super) fn changes(points: &Points) -> f64 {
    let differ = |w: &&[(i64, f64)]| w[0].1 != w[1].1 && !(w[0].1.is_nan() && w[1].1.is_nan());
    points.windows(2).filter(differ).count() as f64
}

#[expect(clippy::cast_precision_loss, reason = "so many samples do not fit")]
pub(super) fn resets(points: &Points) -> f64 {
    points.windows(2).filter(|w| w[1].1 < w[0].1).count() as f64
}

/// `<name>_over_time`, of a window with at least one sample.
#[expect(clippy::cast_precision_loss, reason = "so many samples do not fit")]
pub(super) fn over_time(name: &str, param: f64, points: &Points) -> f64 {
    let values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
    let best = |better: fn(f64, f64) -> bool| {
        values.iter().copied().fold(f64::NAN, |best, value| {
            if best.is_nan() || better(value, best) { value } else { best }
        })
    };
    match name {
        "avg_over_time" => mean(&values),
        "sum_over_time" => sum(&values),
        "count_over_time" => values.len() as f64,
        "min_over_time" => best(|a, b| a < b),
        "max_over_time" => best(|a, b| a > b),
        "last_over_time" => values.last().copied().unwrap_or(f64::NAN),
        "stddev_over_time" => variance(&values).sqrt(),
        "stdvar_over_time" => variance(&values),
        "quantile_over_time" => quantile(param, &values),
        // `present_over_time`: there is one.
        _ => 1.0,
    }
}

/// With the small parts that large numbers would swallow (Neumaier).
fn sum(values: &[f64]) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0_f64);
    for value in values {
        let next = sum + value;
        lost += if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
        sum = next;
    }
    if sum.is_infinite() || lost.is_nan() { sum } else { sum + lost }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_reach_the_edges_of_the_window() {
        let points: Vec<(i64, f64)> =
            (0..=8_i32).map(|s| (i64::from(s) * 1000, f64::from(s) * 10.0)).collect();
        // Samples on both edges: nothing to extrapolate.
        assert_eq!(gained(&points, (0, 8000), true), Some(80.0));
        assert_eq!(rate(&points, (0, 8000)), Some(10.0));
        // Half a second on both sides, but the counter was zero at its first sample.
        assert_eq!(gained(&points, (-500, 8500), true), Some(85.0));
        assert_eq!(gained(&points, (-500, 8500), false), Some(90.0));
        assert_eq!(gained(&points[..1], (0, 8000), true), None);
    }

    #[test]
    fn a_reset_counts_from_zero() {
        let points = [(0, 10.0), (1000, 20.0), (2000, 5.0), (3000, 6.0)];
        assert_eq!(gained(&points, (0, 3000), true), Some(16.0));
        assert_eq!(resets(&points), 1.0);
        assert_eq!(instant_gain(&points[..3], true), Some(5.0));
        assert_eq!(instant_gain(&points[..3], false), Some(-15.0));
    }
}
