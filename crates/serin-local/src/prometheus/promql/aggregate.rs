//! Aggregations: many series into one for each group.

use std::collections::BTreeMap;

use super::eval::{Eval, Outcome, execution};
use super::quantile::quantile;
use super::{Aggregate, Kind, Labels, NAME, Sample, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    CountValues,
    Quantile,
}

impl Op {
    pub(super) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "count" => Self::Count,
            "group" => Self::Group,
            "stddev" => Self::Stddev,
            "stdvar" => Self::Stdvar,
            "topk" => Self::TopK,
            "bottomk" => Self::BottomK,
            "count_values" => Self::CountValues,
            "quantile" => Self::Quantile,
            _ => return None,
        })
    }

    pub(super) fn parameter(self) -> Option<Kind> {
        match self {
            Self::TopK | Self::BottomK | Self::Quantile => Some(Kind::Scalar),
            Self::CountValues => Some(Kind::Text),
            Self::Sum
            | Self::Avg
            | Self::Min
            | Self::Max
            | Self::Count
            | Self::Group
            | Self::Stddev
            | Self::Stdvar => None,
        }
    }
}

/// Groups in the order of their first series, as Prometheus gives them.
struct Groups {
    order: Vec<(Labels, Vec<Sample>)>,
    known: BTreeMap<Labels, usize>,
}

fn grouped(labels: &Labels, aggregate: &Aggregate) -> Labels {
    labels
        .iter()
        .filter(|(name, _)| {
            let listed = aggregate.labels.contains(name);
            if aggregate.without { !listed && *name != NAME } else { listed }
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

pub(super) fn evaluate(eval: &Eval<'_>, aggregate: &Aggregate, at: i64) -> Outcome<Value> {
    let param = aggregate.param.as_ref().map(|param| eval.value(param, at)).transpose()?;
    let vector = eval.vector(&aggregate.inner, at)?;
    eval.spend(vector.len())?;
    let count_label = match (&param, aggregate.op) {
        (Some(Value::Text(label)), Op::CountValues) => {
            if !valid_label(label) {
                return execution(format!("invalid label name {label:?}"));
            }
            Some(label.clone())
        }
        _ => None,
    };
    let mut groups = Groups { order: Vec::new(), known: BTreeMap::new() };
    for sample in vector {
        let mut key = grouped(&sample.labels, aggregate);
        if let Some(label) = &count_label {
            key.insert(label.clone(), super::decimal(sample.value));
        }
        let next = groups.order.len();
        let place = *groups.known.entry(key.clone()).or_insert(next);
        if place == next {
            groups.order.push((key, Vec::new()));
        }
        groups.order[place].1.push(sample);
    }
    let param = match param {
        Some(Value::Scalar(number)) => number,
        _ => 0.0,
    };
    let mut out = Vec::new();
    for (labels, samples) in groups.order {
        match aggregate.op {
            Op::TopK => extend(&mut out, samples, param, |a, b| b.total_cmp(a))?,
            Op::BottomK => extend(&mut out, samples, param, f64::total_cmp)?,
            Op::Sum
            | Op::Avg
            | Op::Min
            | Op::Max
            | Op::Count
            | Op::Group
            | Op::Stddev
            | Op::Stdvar
            | Op::CountValues
            | Op::Quantile => {
                let values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
                out.push(Sample { labels, value: reduce(aggregate.op, &values, param) });
            }
        }
    }
    Ok(Value::Vector(out))
}

/// The first `k` in that order; what is no number comes last.
fn extend(
    out: &mut Vec<Sample>,
    mut samples: Vec<Sample>,
    k: f64,
    order: impl Fn(&f64, &f64) -> std::cmp::Ordering,
) -> Outcome<()> {
    if k.is_nan() || k.abs() >= 9.2e18 {
        return execution(format!("Scalar value {k} overflows int64"));
    }
    samples.sort_by(|a, b| {
        let nan = a.value.is_nan().cmp(&b.value.is_nan());
        // Zero has one place, whatever its sign.
        nan.then_with(|| order(&(a.value + 0.0), &(b.value + 0.0)))
    });
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded by max and by the vector"
    )]
    out.extend(samples.into_iter().take(k.max(0.0) as usize));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "so many series do not fit")]
fn reduce(op: Op, values: &[f64], param: f64) -> f64 {
    let kept = |better: fn(f64, f64) -> bool| {
        values.iter().copied().fold(f64::NAN, |best, value| {
            if best.is_nan() || better(value, best) { value } else { best }
        })
    };
    match op {
        Op::Sum => values.iter().copied().reduce(|a, b| a + b).unwrap_or(0.0),
        Op::Avg => mean(values),
        Op::Min => kept(|a, b| a < b),
        Op::Max => kept(|a, b| a > b),
        Op::Count | Op::CountValues => values.len() as f64,
        Op::Stddev => spread(values).sqrt(),
        Op::Stdvar => spread(values),
        Op::Quantile => quantile(param, values),
        // `topk` and `bottomk` give series and not one number.
        Op::Group | Op::TopK | Op::BottomK => 1.0,
    }
}

/// Incremental, so that large values do not overflow.
#[expect(clippy::cast_precision_loss, reason = "so many series do not fit")]
pub(super) fn mean(values: &[f64]) -> f64 {
    let mut mean = 0.0;
    for (index, value) in values.iter().enumerate() {
        let count = (index + 1) as f64;
        if index == 0 {
            mean = *value;
        } else if !mean_is_fixed(mean, *value) {
            mean += value / count - mean / count;
        }
    }
    mean
}

/// An infinite mean stays, unless its opposite or something that is no number comes along.
#[expect(clippy::float_cmp, reason = "infinities compare exactly")]
fn mean_is_fixed(mean: f64, value: f64) -> bool {
    mean.is_infinite() && (value == mean || value.is_finite())
}

/// One value does not spread, whatever it is.
fn spread(values: &[f64]) -> f64 {
    if values.len() < 2 { 0.0 } else { variance(values) }
}

#[expect(clippy::cast_precision_loss, reason = "so many series do not fit")]
pub(super) fn variance(values: &[f64]) -> f64 {
    let (mut mean, mut squares) = (0.0, 0.0);
    for (index, value) in values.iter().enumerate() {
        let delta = value - mean;
        mean += delta / (index + 1) as f64;
        squares += delta * (value - mean);
    }
    squares / values.len() as f64
}

/// As in the data model: letters, digits and underscores, no digit first.
pub fn valid_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with(|c: char| c.is_ascii_digit())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
