//! The functions of PromQL, all in one table.

use super::aggregate::valid_label;
use super::eval::{Eval, Outcome, execution};
use super::over_time::{changes, gained, instant_gain, line, over_time, rate, resets, seconds};
use super::{Expr, Kind, Labels, NAME, Range, Sample, Test, Value, anchored, quantile};

/// A function: what it takes, how many of the last ones may be missing, and what it gives.
#[derive(Debug)]
pub struct Function {
    pub(super) name: &'static str,
    pub(super) takes: &'static [Kind],
    /// `None`: the last one may come any number of times, or not at all.
    pub(super) optional: Option<usize>,
    pub(super) gives: Kind,
}

/// Functions of Prometheus that are not here, so that they are refused by name.
pub(super) const REFUSED: &[&str] =
    &["histogram_count", "histogram_sum", "histogram_fraction", "holt_winters"];

const S: Kind = Kind::Scalar;
const V: Kind = Kind::Vector;
const M: Kind = Kind::Matrix;
const T: Kind = Kind::Text;

const fn f(name: &'static str, takes: &'static [Kind], gives: Kind) -> Function {
    Function { name, takes, optional: Some(0), gives }
}

const fn opt(name: &'static str, takes: &'static [Kind], optional: Option<usize>) -> Function {
    Function { name, takes, optional, gives: V }
}

#[rustfmt::skip]
const FUNCTIONS: &[Function] = &[
    f("abs", &[V], V), f("absent", &[V], V), f("absent_over_time", &[M], V), f("acos", &[V], V),
    f("acosh", &[V], V), f("asin", &[V], V), f("asinh", &[V], V), f("atan", &[V], V),
    f("atanh", &[V], V), f("avg_over_time", &[M], V), f("ceil", &[V], V), f("changes", &[M], V),
    f("clamp", &[V, S, S], V), f("clamp_max", &[V, S], V), f("clamp_min", &[V, S], V),
    f("cos", &[V], V), f("cosh", &[V], V), f("count_over_time", &[M], V), f("deg", &[V], V),
    f("delta", &[M], V), f("deriv", &[M], V), f("exp", &[V], V), f("floor", &[V], V),
    f("histogram_quantile", &[S, V], V), f("idelta", &[M], V), f("increase", &[M], V),
    f("irate", &[M], V), opt("label_join", &[V, T, T, T], None),
    f("label_replace", &[V, T, T, T, T], V), f("last_over_time", &[M], V), f("ln", &[V], V),
    f("log10", &[V], V), f("log2", &[V], V), f("max_over_time", &[M], V),
    f("min_over_time", &[M], V), f("pi", &[], S), f("predict_linear", &[M, S], V),
    f("present_over_time", &[M], V), f("quantile_over_time", &[S, M], V), f("rad", &[V], V),
    f("rate", &[M], V), f("resets", &[M], V), opt("round", &[V, S], Some(1)),
    f("scalar", &[V], S), f("sgn", &[V], V), f("sin", &[V], V), f("sinh", &[V], V),
    f("sort", &[V], V), f("sort_desc", &[V], V), f("sqrt", &[V], V),
    f("stddev_over_time", &[M], V), f("stdvar_over_time", &[M], V), f("sum_over_time", &[M], V),
    f("tan", &[V], V), f("tanh", &[V], V), f("time", &[], S), f("timestamp", &[V], V),
    f("vector", &[S], V), opt("day_of_month", &[V], Some(1)), opt("day_of_week", &[V], Some(1)),
    opt("day_of_year", &[V], Some(1)), opt("days_in_month", &[V], Some(1)),
    opt("hour", &[V], Some(1)), opt("minute", &[V], Some(1)), opt("month", &[V], Some(1)),
    opt("year", &[V], Some(1)),
];

pub(super) fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

pub(super) fn evaluate(
    eval: &Eval<'_>,
    function: &Function,
    args: &[Expr],
    at: i64,
) -> Outcome<Value> {
    let name = function.name;
    match (name, args) {
        ("time", _) => Ok(Value::Scalar(seconds(at))),
        ("pi", _) => Ok(Value::Scalar(std::f64::consts::PI)),
        ("vector", [inner]) => {
            let value = eval.scalar(inner, at)?;
            Ok(Value::Vector(vec![Sample { labels: Labels::new(), value }]))
        }
        ("scalar", [inner]) => Ok(Value::Scalar(match eval.vector(inner, at)?.as_slice() {
            [only] => only.value,
            _ => f64::NAN,
        })),
        ("absent", [inner]) => {
            let empty = eval.vector(inner, at)?.is_empty();
            Ok(Value::Vector(missing(empty, inner)))
        }
        ("absent_over_time", [inner]) => {
            let empty = eval.ranges(inner, at)?.0.is_empty();
            Ok(Value::Vector(missing(empty, inner)))
        }
        ("timestamp", [inner]) => timestamp(eval, inner, at).map(Value::Vector),
        ("sort" | "sort_desc", [inner]) => {
            let mut vector = eval.vector(inner, at)?;
            vector.sort_by(|a, b| {
                let order = (a.value + 0.0).total_cmp(&(b.value + 0.0));
                let order = if name == "sort" { order } else { order.reverse() };
                // What is no number comes last in both.
                a.value.is_nan().cmp(&b.value.is_nan()).then(order)
            });
            Ok(Value::Vector(vector))
        }
        ("histogram_quantile", [q, inner]) => {
            let q = eval.scalar(q, at)?;
            let vector = eval.vector(inner, at)?;
            eval.spend(vector.len())?;
            quantile::histogram(q, vector).map(Value::Vector)
        }
        ("label_replace", [inner, rest @ ..]) => {
            label_replace(eval.vector(inner, at)?, &texts(eval, rest, at)?).map(Value::Vector)
        }
        ("label_join", [inner, rest @ ..]) => {
            label_join(eval.vector(inner, at)?, &texts(eval, rest, at)?).map(Value::Vector)
        }
        (_, [inner, ..]) if function.takes.first() == Some(&M) => {
            let param = args.get(1).map_or(Ok(0.0), |param| eval.scalar(param, at))?;
            windows(eval, name, inner, param, at)
        }
        ("quantile_over_time", [q, inner]) => windows(eval, name, inner, eval.scalar(q, at)?, at),
        (_, []) => {
            let now = Sample { labels: Labels::new(), value: seconds(at) };
            Ok(Value::Vector(elementwise(name, vec![now], &[])))
        }
        (_, [inner, rest @ ..]) => {
            let vector = eval.vector(inner, at)?;
            let params: Vec<f64> =
                rest.iter().map(|param| eval.scalar(param, at)).collect::<Outcome<_>>()?;
            Ok(Value::Vector(elementwise(name, vector, &params)))
        }
    }
}

fn texts(eval: &Eval<'_>, args: &[Expr], at: i64) -> Outcome<Vec<String>> {
    let text = |arg: &Expr| match eval.value(arg, at)? {
        Value::Text(text) => Ok(text),
        Value::Scalar(_) | Value::Vector(_) | Value::Matrix(_) => execution("expected a string"),
    };
    args.iter().map(text).collect()
}

/// One for what is absent, under the labels that it would have for certain.
fn missing(empty: bool, expr: &Expr) -> Vec<Sample> {
    if !empty {
        return Vec::new();
    }
    let mut labels = Labels::new();
    if let Expr::Vector(selector) | Expr::Matrix { selector, .. } = expr {
        let mut seen = std::collections::BTreeSet::new();
        for matcher in selector.matchers.iter().filter(|matcher| matcher.label != NAME) {
            match &matcher.test {
                Test::Equal(value) if seen.insert(&matcher.label) => {
                    if !value.is_empty() {
                        labels.insert(matcher.label.clone(), value.clone());
                    }
                }
                Test::Equal(_) | Test::NotEqual(_) | Test::Like(_) | Test::NotLike(_) => {
                    labels.remove(&matcher.label);
                }
            }
        }
    }
    vec![Sample { labels, value: 1.0 }]
}

/// The samples' own times for a plain selector, the instant for everything else.
fn timestamp(eval: &Eval<'_>, inner: &Expr, at: i64) -> Outcome<Vec<Sample>> {
    let mut out: Vec<Sample> = if let Expr::Vector(selector) = inner {
        let present = eval.present(selector, at)?.into_iter();
        present.map(|(labels, (time, _))| Sample { labels, value: seconds(time) }).collect()
    } else {
        let now = |sample: Sample| Sample { value: seconds(at), ..sample };
        eval.vector(inner, at)?.into_iter().map(now).collect()
    };
    for sample in &mut out {
        sample.labels.remove(NAME);
    }
    Ok(out)
}

fn label_replace(vector: Vec<Sample>, texts: &[String]) -> Outcome<Vec<Sample>> {
    let [target, replacement, source, pattern] = texts else {
        return execution("label_replace takes four strings");
    };
    let pattern = match anchored(pattern) {
        Ok(pattern) => pattern,
        Err(_) => {
            return execution(format!("invalid regular expression in label_replace(): {pattern}"));
        }
    };
    if !valid_label(target) {
        return execution(format!("invalid destination label name in label_replace(): {target}"));
    }
    let replace = |mut sample: Sample| {
        let value = sample.labels.get(source).map_or("", String::as_str);
        if let Some(found) = pattern.captures(value) {
            let mut new = String::new();
            found.expand(replacement, &mut new);
            set(&mut sample.labels, target, new);
        }
        sample
    };
    Ok(vector.into_iter().map(replace).collect())
}

fn label_join(vector: Vec<Sample>, texts: &[String]) -> Outcome<Vec<Sample>> {
    let [target, separator, sources @ ..] = texts else {
        return execution("label_join takes a label and a separator");
    };
    if let Some(wrong) = sources.iter().find(|source| !valid_label(source)) {
        return execution(format!("invalid source label name in label_join(): {wrong}"));
    }
    if !valid_label(target) {
        return execution(format!("invalid destination label name in label_join(): {target}"));
    }
    let join = |mut sample: Sample| {
        let values: Vec<&str> = sources
            .iter()
            .map(|source| sample.labels.get(source).map_or("", String::as_str))
            .collect();
        let joined = values.join(separator);
        set(&mut sample.labels, target, joined);
        sample
    };
    Ok(vector.into_iter().map(join).collect())
}

/// A label without a value is no label.
fn set(labels: &mut Labels, name: &str, value: String) {
    if value.is_empty() {
        labels.remove(name);
    } else {
        labels.insert(name.to_owned(), value);
    }
}

/// Functions of a range vector.
fn windows(eval: &Eval<'_>, name: &str, inner: &Expr, param: f64, at: i64) -> Outcome<Value> {
    let (ranges, window) = eval.ranges(inner, at)?;
    let one = |Range { mut labels, points }: Range| {
        let value = match name {
            "rate" => rate(&points, window),
            "increase" => gained(&points, window, true),
            "delta" => gained(&points, window, false),
            "irate" => instant_gain(&points, true),
            "idelta" => instant_gain(&points, false),
            "changes" => Some(changes(&points)),
            "resets" => Some(resets(&points)),
            "deriv" => {
                let first = points.first().map_or(0, |(time, _)| *time);
                line(&points, first).map(|(slope, _)| slope)
            }
            "predict_linear" => line(&points, at).map(|(slope, now)| slope * param + now),
            _ => Some(over_time(name, param, &points)),
        }?;
        if name != "last_over_time" {
            labels.remove(NAME);
        }
        Some(Sample { labels, value })
    };
    Ok(Value::Vector(ranges.into_iter().filter_map(one).collect()))
}

/// Functions of each value by itself.
fn elementwise(name: &str, vector: Vec<Sample>, params: &[f64]) -> Vec<Sample> {
    let param = |index: usize, default: f64| params.get(index).copied().unwrap_or(default);
    if name == "clamp" && param(1, 0.0) < param(0, 0.0) {
        return Vec::new();
    }
    let one = |Sample { mut labels, value }: Sample| {
        labels.remove(NAME);
        let value = match name {
            "clamp" => at_least(param(0, 0.0), at_most(param(1, 0.0), value)),
            "clamp_min" => at_least(param(0, 0.0), value),
            "clamp_max" => at_most(param(0, 0.0), value),
            "round" => {
                // Through the inverse, because tenths are not exact and tens are.
                let inverse = 1.0 / param(0, 1.0);
                (value * inverse + 0.5).floor() / inverse
            }
            "minute" | "hour" | "day_of_week" | "day_of_month" | "day_of_year"
            | "days_in_month" | "month" | "year" => calendar(name, value),
            _ => plain(name, value),
        };
        Sample { labels, value }
    };
    vector.into_iter().map(one).collect()
}

// An infinity decides even against what is no number, as in Go.
fn at_least(bound: f64, value: f64) -> f64 {
    if bound == f64::INFINITY || value == f64::INFINITY {
        f64::INFINITY
    } else if bound.is_nan() || value.is_nan() {
        f64::NAN
    } else {
        value.max(bound)
    }
}

fn at_most(bound: f64, value: f64) -> f64 {
    -at_least(-bound, -value)
}

fn plain(name: &str, value: f64) -> f64 {
    match name {
        "abs" => value.abs(),
        "ceil" => value.ceil(),
        "floor" => value.floor(),
        "exp" => value.exp(),
        "sqrt" => value.sqrt(),
        "ln" => value.ln(),
        "log2" => value.log2(),
        "log10" => value.log10(),
        "sgn" if value > 0.0 => 1.0,
        "sgn" if value < 0.0 => -1.0,
        "sin" => value.sin(),
        "cos" => value.cos(),
        "tan" => value.tan(),
        "asin" => value.asin(),
        "acos" => value.acos(),
        "atan" => value.atan(),
        "sinh" => value.sinh(),
        "cosh" => value.cosh(),
        "tanh" => value.tanh(),
        "asinh" => value.asinh(),
        "acosh" => value.acosh(),
        "atanh" => value.atanh(),
        "deg" => value * 180.0 / std::f64::consts::PI,
        "rad" => value * std::f64::consts::PI / 180.0,
        // `sgn` of zero and of what is no number.
        _ => value,
    }
}

/// In UTC; outside the years that a calendar knows there is no answer.
#[expect(clippy::cast_possible_truncation, reason = "the calendar bounds what is taken")]
fn calendar(name: &str, secs: f64) -> f64 {
    let Ok(time) = jiff::Timestamp::from_second(secs as i64) else { return f64::NAN };
    let time = time.to_zoned(jiff::tz::TimeZone::UTC);
    f64::from(match name {
        "minute" => i16::from(time.minute()),
        "hour" => i16::from(time.hour()),
        "day_of_week" => i16::from(time.weekday().to_sunday_zero_offset()),
        "day_of_month" => i16::from(time.day()),
        "day_of_year" => time.day_of_year(),
        "days_in_month" => i16::from(time.days_in_month()),
        "month" => i16::from(time.month()),
        _ => time.year(),
    })
}
