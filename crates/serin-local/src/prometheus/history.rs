//! Recorded samples in memory, without scraping: read from a file, asked as the query API is asked.
//!
//! The file is OpenMetrics with a time on every line, in seconds or milliseconds since 1970, as `promtool tsdb
//! dump-openmetrics` writes it.

use super::store::{Labels, NAME, Store, is_stale};
use super::{exposition, promql};

/// Samples are handed to the store in pieces of this many.
const BATCH: usize = 20_000;
/// Packed samples in memory. The store would forget the oldest a little later, which a recording must not.
const BYTES_MAX: usize = 96 << 20;
/// A number of milliseconds since 1970 is larger than this, a number of seconds is not (until the year 5138).
const SECONDS_MAX: f64 = 1e11;

/// Labels, and points in milliseconds.
pub type Curve = (Labels, Vec<(i64, f64)>);

/// Samples with their times.
pub struct History {
    store: Store,
    rows: Vec<(Labels, i64, f64)>,
    /// First and last time, in milliseconds since 1970.
    span: Option<(i64, i64)>,
}

impl Default for History {
    fn default() -> Self {
        Self { store: Store::new(i64::MAX), rows: Vec::new(), span: None }
    }
}

impl History {
    /// The first and the last time there is a sample of, in milliseconds since 1970.
    pub fn span(&self) -> Option<(i64, i64)> {
        self.span
    }

    /// Takes a line of a file. Comments are skipped; what else is invalid is an error.
    pub fn read_line(&mut self, line: &str) -> Result<(), String> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let (sample, time) = exposition::timed(line).ok_or("it is no sample")?;
        let time = time.filter(|time| time.is_finite()).ok_or("it has no time")?;
        let secs = if time.abs() < SECONDS_MAX { time } else { time / 1000.0 };
        let mut labels: Labels = sample.labels.into_iter().collect();
        labels.insert(NAME.to_owned(), sample.name);
        self.add(labels, (secs * 1000.0).round() as i64, sample.value)
    }

    /// Adds a sample; the name is among the labels.
    pub fn add(&mut self, mut labels: Labels, at: i64, value: f64) -> Result<(), String> {
        labels.retain(|_, value| !value.is_empty());
        self.rows.push((labels, at, value));
        let (first, last) = self.span.unwrap_or((at, at));
        self.span = Some((first.min(at), last.max(at)));
        if self.rows.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    /// To be called before it is asked.
    pub fn flush(&mut self) -> Result<(), String> {
        let rows = std::mem::take(&mut self.rows);
        let samples = rows.iter().map(|(labels, at, value)| (labels, *at, *value));
        let written = self.store.write(samples, 0);
        if written.too_many > 0 {
            return Err("there are too many series".to_owned());
        }
        if written.old > 0 {
            return Err("the samples of a series must be in the order of their times".to_owned());
        }
        if self.store.bytes() > BYTES_MAX {
            return Err(format!("there are more samples than fit into {} MiB", BYTES_MAX >> 20));
        }
        Ok(())
    }

    /// A query at every `step` from `from` to `to`, both included, in milliseconds.
    pub fn range(&self, query: &str, from: i64, to: i64, step: i64) -> Result<Vec<Curve>, String> {
        let found = promql::range(&self.store, query, from, to, step.max(1));
        let curve = |promql::Range { labels, points }| (labels, points);
        Ok(found.map_err(|error| error.to_string())?.into_iter().map(curve).collect())
    }

    /// The raw samples of a selector in `(from, to]`.
    pub fn raw(&self, selector: &str, from: i64, to: i64) -> Result<Vec<Curve>, String> {
        let selector = match promql::parse(selector) {
            Ok(promql::Expr::Vector(selector)) => selector,
            Ok(_) => return Err("it is no selector".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        let wanted = self.store.series().filter(|series| selector.matches(&series.labels));
        let curve = |series: &super::store::Series| {
            let mut points = series.points(from + 1, to);
            points.retain(|(_, value)| !is_stale(*value));
            (Labels::clone(&series.labels), points)
        };
        Ok(wanted.map(curve).filter(|(_, points)| !points.is_empty()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_asked_like_a_server() {
        let mut history = History::default();
        for k in 0..60 {
            let line = format!("hits_total{{code=\"200\"}} {} {}.500", 10 * k, 1_600_000_000 + k);
            history.read_line(&line).unwrap();
        }
        history.read_line("# EOF").unwrap();
        history.flush().unwrap();
        let (first, last) = history.span().unwrap();
        assert_eq!((first, last), (1_600_000_000_500, 1_600_000_059_500));
        let rate = history.range("sum(rate(hits_total[10s]))", last - 10_000, last, 5000).unwrap();
        assert_eq!(rate.len(), 1);
        assert_eq!((rate[0].1.len(), rate[0].1[0].1), (3, 10.0));
        let raw = history.raw("hits_total{code=~\"2..\"}", last - 3000, last).unwrap();
        assert_eq!((raw[0].1.len(), raw[0].0[NAME].as_str()), (3, "hits_total"));
        assert!(history.range("sum(", first, last, 1000).is_err());
        assert!(history.raw("sum(hits_total)", first, last).is_err());
    }

    #[test]
    fn lines_without_sense_or_time_are_errors() {
        let mut history = History::default();
        assert_eq!(history.read_line("a{b=\"c\"").unwrap_err(), "it is no sample");
        assert_eq!(history.read_line("a 3").unwrap_err(), "it has no time");
        history.read_line("a 3 1600000000000").unwrap();
        assert_eq!(history.span(), Some((1_600_000_000_000, 1_600_000_000_000)));
        history.read_line("a 3 1500000000").unwrap();
        assert!(history.flush().unwrap_err().contains("order"));
    }
}
