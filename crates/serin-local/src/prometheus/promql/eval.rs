//! Evaluation at one instant after the other: selectors, and what holds them together.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use super::super::store::{Series, is_stale};
use super::{
    At, Error, Expr, Labels, NAME, Range, Sample, Selector, Shift, Store, Value, aggregate, binary,
    call,
};

pub(super) type Outcome<T> = Result<T, Error>;

/// A sample that is older than this is not the present any more.
const LOOK_BACK_MS: i64 = 5 * 60 * 1000;
/// The steps of a subquery that names none: Prometheus' default evaluation interval.
const SUBQUERY_STEP_MS: i64 = 60 * 1000;
/// Samples a query may touch; more would keep one core busy for seconds.
const WORK_MAX: usize = 20_000_000;

pub(super) fn execution<T>(message: impl Into<String>) -> Outcome<T> {
    Err(Error::Execution(message.into()))
}

pub(super) struct Eval<'a> {
    store: &'a Store,
    start: i64,
    end: i64,
    work: Cell<usize>,
    /// What each selector of the query found, by its place in memory.
    found: RefCell<BTreeMap<*const Selector, Vec<&'a Series>>>,
}

impl<'a> Eval<'a> {
    pub(super) fn new(store: &'a Store, start: i64, end: i64) -> Self {
        Self { store, start, end, work: Cell::new(0), found: RefCell::default() }
    }

    pub(super) fn spend(&self, samples: usize) -> Outcome<()> {
        let work = self.work.get().saturating_add(samples).saturating_add(1);
        self.work.set(work);
        if work > WORK_MAX {
            return execution(
                "query processing would load too many samples into memory in query execution",
            );
        }
        Ok(())
    }

    pub(super) fn steps(&self, expr: &Expr, step: i64) -> Outcome<Vec<Range>> {
        let mut found: BTreeMap<Labels, Vec<(i64, f64)>> = BTreeMap::new();
        let mut at = self.start;
        while at <= self.end {
            match self.value(expr, at)? {
                Value::Scalar(value) => found.entry(Labels::new()).or_default().push((at, value)),
                Value::Vector(vector) => {
                    for Sample { labels, value } in vector {
                        found.entry(labels).or_default().push((at, value));
                    }
                }
                Value::Matrix(_) | Value::Text(_) => return execution("a range of ranges"),
            }
            let Some(next) = at.checked_add(step) else { break };
            at = next;
        }
        Ok(found.into_iter().map(|(labels, points)| Range { labels, points }).collect())
    }

    pub(super) fn value(&self, expr: &Expr, at: i64) -> Outcome<Value> {
        self.spend(0)?;
        match expr {
            Expr::Number(number) => Ok(Value::Scalar(*number)),
            Expr::Text(text) => Ok(Value::Text(text.clone())),
            Expr::Paren(inner) => self.value(inner, at),
            Expr::Vector(selector) => {
                let now = |(labels, (_, value))| Sample { labels, value };
                Ok(Value::Vector(self.present(selector, at)?.into_iter().map(now).collect()))
            }
            Expr::Matrix { .. } | Expr::Subquery { .. } => {
                Ok(Value::Matrix(self.ranges(expr, at)?.0))
            }
            Expr::Unary { negative, inner } => match self.value(inner, at)? {
                Value::Scalar(value) if *negative => Ok(Value::Scalar(-value)),
                Value::Vector(mut vector) if *negative => {
                    for sample in &mut vector {
                        sample.labels.remove(NAME);
                        sample.value = -sample.value;
                    }
                    unique(Value::Vector(vector))
                }
                same
                @ (Value::Scalar(_) | Value::Vector(_) | Value::Matrix(_) | Value::Text(_)) => {
                    Ok(same)
                }
            },
            Expr::Binary(binary) => unique(binary::evaluate(self, binary, at)?),
            Expr::Aggregate(aggregate) => aggregate::evaluate(self, aggregate, at),
            Expr::Call { function, args } => unique(call::evaluate(self, function, args, at)?),
        }
    }

    pub(super) fn vector(&self, expr: &Expr, at: i64) -> Outcome<Vec<Sample>> {
        match self.value(expr, at)? {
            Value::Vector(vector) => Ok(vector),
            Value::Scalar(_) | Value::Matrix(_) | Value::Text(_) => {
                execution("expected an instant vector")
            }
        }
    }

    pub(super) fn scalar(&self, expr: &Expr, at: i64) -> Outcome<f64> {
        match self.value(expr, at)? {
            Value::Scalar(value) => Ok(value),
            Value::Vector(_) | Value::Matrix(_) | Value::Text(_) => execution("expected a scalar"),
        }
    }

    fn shifted(&self, shift: Shift, at: i64) -> i64 {
        let base = match shift.at {
            None => at,
            Some(At::Time(time)) => time,
            Some(At::Start) => self.start,
            Some(At::End) => self.end,
        };
        base.saturating_sub(shift.offset.unwrap_or(0))
    }

    fn series(&self, selector: &Selector) -> Outcome<Vec<&'a Series>> {
        let place = std::ptr::from_ref(selector);
        if let Some(found) = self.found.borrow().get(&place) {
            return Ok(found.clone());
        }
        let matching = |series: &&Series| selector.matches(&series.labels);
        let found: Vec<&Series> = match selector.metric() {
            Some(name) => self.store.named(name).filter(matching).collect(),
            None => self.store.series().filter(matching).collect(),
        };
        self.found.borrow_mut().insert(place, found.clone());
        Ok(found)
    }

    /// The latest sample of each series, with its own time; series that have ended are left out.
    pub(super) fn present(
        &self,
        selector: &Selector,
        at: i64,
    ) -> Outcome<Vec<(Labels, (i64, f64))>> {
        let at = self.shifted(selector.shift, at);
        let oldest = at.saturating_sub(LOOK_BACK_MS);
        let series = self.series(selector)?;
        self.spend(series.len())?;
        Ok(series
            .into_iter()
            .filter_map(|series| {
                let point = series.latest(oldest, at).filter(|(_, value)| !is_stale(*value))?;
                Some(((*series.labels).clone(), point))
            })
            .collect())
    }

    /// The series of a range vector, and the window that they are about.
    pub(super) fn ranges(&self, expr: &Expr, at: i64) -> Outcome<(Vec<Range>, (i64, i64))> {
        match expr {
            Expr::Matrix { selector, range } => {
                let to = self.shifted(selector.shift, at);
                // Both edges belong to the window, as in every Prometheus 2.
                let from = to.saturating_sub(*range);
                let mut out = Vec::new();
                for series in self.series(selector)? {
                    let mut points = series.points(from, to);
                    self.spend(points.len())?;
                    points.retain(|(_, value)| !is_stale(*value));
                    if !points.is_empty() {
                        out.push(Range { labels: (*series.labels).clone(), points });
                    }
                }
                Ok((out, (from, to)))
            }
            Expr::Subquery { inner, range, step, shift } => {
                let to = self.shifted(*shift, at);
                let from = to.saturating_sub(*range);
                let step = step.unwrap_or(SUBQUERY_STEP_MS);
                // Steps are multiples of the step since 1970, wherever the window begins.
                let mut time = from.div_euclid(step).saturating_mul(step);
                if time < from {
                    time = time.saturating_add(step);
                }
                let mut found: BTreeMap<Labels, usize> = BTreeMap::new();
                let mut out: Vec<Range> = Vec::new();
                while time <= to {
                    for Sample { labels, value } in self.vector(inner, time)? {
                        let place = *found.entry(labels.clone()).or_insert_with(|| {
                            out.push(Range { labels, points: Vec::new() });
                            out.len() - 1
                        });
                        out[place].points.push((time, value));
                    }
                    time = time.saturating_add(step);
                }
                Ok((out, (from, to)))
            }
            Expr::Paren(inner) => self.ranges(inner, at),
            Expr::Number(_)
            | Expr::Text(_)
            | Expr::Vector(_)
            | Expr::Unary { .. }
            | Expr::Binary(_)
            | Expr::Aggregate(_)
            | Expr::Call { .. } => execution("expected a range vector"),
        }
    }
}

/// Two results under one name would be an accident.
fn unique(value: Value) -> Outcome<Value> {
    if let Value::Vector(vector) = &value {
        let labels: BTreeSet<&Labels> = vector.iter().map(|sample| &sample.labels).collect();
        if labels.len() < vector.len() {
            return execution("vector cannot contain metrics with the same labelset");
        }
    }
    Ok(value)
}
