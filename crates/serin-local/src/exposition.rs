//! The Prometheus text format 0.0.4, as far as counters, gauges and histograms need it.

use std::fmt::Write as _;

/// What a `/metrics` answer says it is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A histogram with fixed upper bounds; the bound `+Inf` is implied.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    counts: Vec<u64>,
    sum: f64,
    count: u64,
}

impl Histogram {
    /// An empty histogram for `bounds`, which every later call must be given again.
    pub fn new(bounds: &[f64]) -> Self {
        Self { counts: vec![0; bounds.len()], sum: 0.0, count: 0 }
    }

    pub fn observe(&mut self, bounds: &[f64], value: f64) {
        let at = bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum += value;
        self.count += 1;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// The value below which a share `q` of the observations lies, interpolated inside its bucket.
    pub fn quantile(&self, bounds: &[f64], q: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * self.count as f64;
        let (mut seen, mut lower) = (0_u64, 0.0);
        for (bound, count) in bounds.iter().zip(&self.counts) {
            let before = seen;
            seen += count;
            if seen as f64 >= rank && *count > 0 {
                let share = (rank - before as f64) / *count as f64;
                return Some(lower + (bound - lower) * share.clamp(0.0, 1.0));
            }
            lower = *bound;
        }
        bounds.last().copied()
    }

    /// Writes the `_bucket`, `_sum` and `_count` lines; `labels` is what stands between the braces.
    pub fn write(&self, bounds: &[f64], name: &str, labels: &str, out: &mut String) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut cumulative = 0;
        for (bound, count) in bounds.iter().zip(&self.counts) {
            cumulative += count;
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {cumulative}");
        }
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", self.count);
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", self.sum);
        let _ = writeln!(out, "{name}_count{{{labels}}} {}", self.count);
    }
}

/// Writes the `# HELP` and `# TYPE` lines of a metric family.
pub fn write_head(name: &str, kind: &str, help: &str, out: &mut String) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Renders labels in the order given, values escaped.
pub fn labels(pairs: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (index, (name, value)) in pairs.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(out, "{comma}{name}=\"");
        for character in value.chars() {
            match character {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                other => out.push(other),
            }
        }
        out.push('"');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_bounds_inclusive() {
        let bounds = [0.1, 0.5];
        let mut histogram = Histogram::new(&bounds);
        for value in [0.1, 0.2, 7.0] {
            histogram.observe(&bounds, value);
        }
        let mut out = String::new();
        histogram.write(&bounds, "x", &labels(&[("a", "q\"\\\n")]), &mut out);
        let expected = "x_bucket{a=\"q\\\"\\\\\\n\",le=\"0.1\"} 1\n\
            x_bucket{a=\"q\\\"\\\\\\n\",le=\"0.5\"} 2\n\
            x_bucket{a=\"q\\\"\\\\\\n\",le=\"+Inf\"} 3\n\
            x_sum{a=\"q\\\"\\\\\\n\"} 7.3\n\
            x_count{a=\"q\\\"\\\\\\n\"} 3\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn quantiles_are_interpolated_and_capped() {
        let bounds = [1.0, 2.0];
        let mut histogram = Histogram::new(&bounds);
        assert_eq!(histogram.quantile(&bounds, 0.5), None);
        for value in [0.5, 1.5, 1.6, 9.0] {
            histogram.observe(&bounds, value);
        }
        assert_eq!(histogram.quantile(&bounds, 0.5), Some(1.5));
        assert_eq!(histogram.quantile(&bounds, 0.99), Some(2.0));
    }
}
