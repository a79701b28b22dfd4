//! Operators between scalars and vectors, with Prometheus' rules of which series belong together.

use std::collections::{BTreeMap, BTreeSet};

use super::eval::{Eval, Outcome, execution};
use super::{Binary, Labels, Matching, NAME, Op, Sample, Side, Value};

impl Op {
    pub(super) fn compares(self) -> bool {
        use Op::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        matches!(self, Equal | NotEqual | Less | Greater | LessOrEqual | GreaterOrEqual)
    }

    pub(super) fn sets(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::Greater => ">",
            Self::LessOrEqual => "<=",
            Self::GreaterOrEqual => ">=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// The value, and whether a filter keeps it.
    #[expect(clippy::float_cmp, reason = "PromQL compares exactly")]
    fn apply(self, left: f64, right: f64) -> (f64, bool) {
        match self {
            Self::Add => (left + right, true),
            Self::Sub => (left - right, true),
            Self::Mul => (left * right, true),
            Self::Div => (left / right, true),
            Self::Mod => (left % right, true),
            Self::Pow => (left.powf(right), true),
            Self::Atan2 => (left.atan2(right), true),
            Self::Equal => (left, left == right),
            Self::NotEqual => (left, left != right),
            Self::Less => (left, left < right),
            Self::Greater => (left, left > right),
            Self::LessOrEqual => (left, left <= right),
            Self::GreaterOrEqual => (left, left >= right),
            // Sets look at labels only.
            Self::And | Self::Or | Self::Unless => (left, true),
        }
    }
}

fn one_or_zero(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}

pub(super) fn evaluate(eval: &Eval<'_>, binary: &Binary, at: i64) -> Outcome<Value> {
    let left = eval.value(&binary.left, at)?;
    let right = eval.value(&binary.right, at)?;
    let Binary { op, returns_bool, matching, .. } = binary;
    match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => {
            let (value, kept) = op.apply(left, right);
            Ok(Value::Scalar(if op.compares() { one_or_zero(kept) } else { value }))
        }
        (Value::Vector(vector), Value::Scalar(scalar)) => {
            let apply = |value| op.apply(value, scalar);
            Ok(Value::Vector(with_scalar(vector, *op, *returns_bool, apply)))
        }
        (Value::Scalar(scalar), Value::Vector(vector)) => {
            // A filter keeps the vector's value on either side.
            let apply = |value| {
                let (result, kept) = op.apply(scalar, value);
                (if op.compares() { value } else { result }, kept)
            };
            Ok(Value::Vector(with_scalar(vector, *op, *returns_bool, apply)))
        }
        (Value::Vector(left), Value::Vector(right)) => {
            eval.spend(left.len() + right.len())?;
            let result = match op {
                Op::And | Op::Unless => {
                    let known: BTreeSet<Labels> =
                        right.iter().map(|s| matching.signature(&s.labels)).collect();
                    let keep = |s: &Sample| {
                        known.contains(&matching.signature(&s.labels)) == (*op == Op::And)
                    };
                    left.into_iter().filter(keep).collect()
                }
                Op::Or => {
                    let known: BTreeSet<Labels> =
                        left.iter().map(|s| matching.signature(&s.labels)).collect();
                    let more = right
                        .into_iter()
                        .filter(|s| !known.contains(&matching.signature(&s.labels)));
                    left.into_iter().chain(more).collect()
                }
                Op::Add
                | Op::Sub
                | Op::Mul
                | Op::Div
                | Op::Mod
                | Op::Pow
                | Op::Atan2
                | Op::Equal
                | Op::NotEqual
                | Op::Less
                | Op::Greater
                | Op::LessOrEqual
                | Op::GreaterOrEqual => pairs(binary, left, right)?,
            };
            Ok(Value::Vector(result))
        }
        _ => execution("binary expression must contain only scalar and instant vector types"),
    }
}

fn with_scalar(
    vector: Vec<Sample>,
    op: Op,
    returns_bool: bool,
    apply: impl Fn(f64) -> (f64, bool),
) -> Vec<Sample> {
    let one = |Sample { mut labels, value }| {
        let (mut value, kept) = apply(value);
        if returns_bool {
            value = one_or_zero(kept);
        } else if !kept {
            return None;
        }
        if !op.compares() || returns_bool {
            labels.remove(NAME);
        }
        Some(Sample { labels, value })
    };
    vector.into_iter().filter_map(one).collect()
}

/// Each series of one side with the series of the other side that it belongs to.
fn pairs(binary: &Binary, left: Vec<Sample>, right: Vec<Sample>) -> Outcome<Vec<Sample>> {
    let Binary { op, returns_bool, matching, .. } = binary;
    if left.is_empty() || right.is_empty() {
        return Ok(Vec::new());
    }
    let (many, one, side) = match matching.many {
        Side::One | Side::Left => (left, right, "right"),
        Side::Right => (right, left, "left"),
    };
    let mut ones: BTreeMap<Labels, Sample> = BTreeMap::new();
    for sample in one {
        let group = matching.signature(&sample.labels);
        if let Some(other) = ones.insert(group.clone(), sample) {
            return execution(format!(
                "found duplicate series for the match group {group:?} on the {side} hand-side of the operation: [{:?}, ...];many-to-many matching not allowed: matching labels must be unique on one side",
                other.labels
            ));
        }
    }
    let mut out = Vec::new();
    let mut seen: BTreeMap<Labels, BTreeSet<Labels>> = BTreeMap::new();
    for sample in many {
        let group = matching.signature(&sample.labels);
        let Some(other) = ones.get(&group) else { continue };
        let (mut value, kept) = match matching.many {
            Side::One | Side::Left => op.apply(sample.value, other.value),
            Side::Right => op.apply(other.value, sample.value),
        };
        if *returns_bool {
            value = one_or_zero(kept);
        } else if !kept {
            continue;
        }
        let mut labels = matching.result(sample.labels, &other.labels, *op);
        if *returns_bool {
            labels.remove(NAME);
        }
        let results = seen.entry(group).or_default();
        if matching.many == Side::One && !results.is_empty() {
            return execution(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
            );
        }
        if !results.insert(labels.clone()) {
            return execution(
                "multiple matches for labels: grouping labels must ensure unique matches",
            );
        }
        out.push(Sample { labels, value });
    }
    Ok(out)
}

impl Matching {
    /// The labels by which series belong together.
    fn signature(&self, labels: &Labels) -> Labels {
        let listed = |name: &String| self.labels.contains(name);
        labels
            .iter()
            .filter(|(name, _)| if self.on { listed(name) } else { !listed(name) && *name != NAME })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    fn result(&self, mut labels: Labels, other: &Labels, op: Op) -> Labels {
        if !op.compares() {
            labels.remove(NAME);
        }
        if self.many == Side::One {
            labels.retain(|name, _| self.labels.contains(name) == self.on);
        }
        for name in &self.include {
            match other.get(name) {
                Some(value) => labels.insert(name.clone(), value.clone()),
                None => labels.remove(name),
            };
        }
        labels
    }
}
