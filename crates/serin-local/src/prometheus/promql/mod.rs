//! PromQL as Prometheus 2.42 understands it, over the samples of [`Store`]; native histograms are refused.

mod aggregate;
mod binary;
mod call;
mod eval;
mod lex;
mod over_time;
mod parse;
mod quantile;
mod selectors;

use std::fmt;

use regex::Regex;

use super::store::{Labels, NAME, Store};
pub use aggregate::valid_label;
pub(super) use lex::duration;
pub use parse::parse;
pub use selectors::selectors;

/// What a query was refused for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is no query.
    #[error("{line}:{column}: parse error: {message}")]
    Parse { line: usize, column: usize, message: String },
    /// The query cannot be carried out over these samples.
    #[error("{0}")]
    Execution(String),
}

/// What an expression gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Scalar,
    Vector,
    Matrix,
    Text,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::Text => "string",
        })
    }
}

/// A parsed query.
#[derive(Debug)]
pub enum Expr {
    Number(f64),
    Text(String),
    Vector(Selector),
    Matrix { selector: Selector, range: i64 },
    Subquery { inner: Box<Expr>, range: i64, step: Option<i64>, shift: Shift },
    Unary { negative: bool, inner: Box<Expr> },
    Binary(Box<Binary>),
    Aggregate(Box<Aggregate>),
    Call { function: &'static call::Function, args: Vec<Expr> },
    Paren(Box<Expr>),
}

impl Expr {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Number(_) => Kind::Scalar,
            Self::Text(_) => Kind::Text,
            Self::Vector(_) | Self::Aggregate(_) => Kind::Vector,
            Self::Matrix { .. } | Self::Subquery { .. } => Kind::Matrix,
            Self::Unary { inner, .. } | Self::Paren(inner) => inner.kind(),
            Self::Binary(binary) => {
                if binary.left.kind() == Kind::Scalar && binary.right.kind() == Kind::Scalar {
                    Kind::Scalar
                } else {
                    Kind::Vector
                }
            }
            Self::Call { function, .. } => function.gives,
        }
    }
}

/// `offset` and `@`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shift {
    offset: Option<i64>,
    at: Option<At>,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Time(i64),
    Start,
    End,
}

/// Which series.
#[derive(Debug)]
pub struct Selector {
    matchers: Vec<Matcher>,
    shift: Shift,
}

impl Selector {
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| {
            matcher.test.holds(labels.get(&matcher.label).map_or("", String::as_str))
        })
    }

    /// The metric, if the selector names exactly one.
    pub fn metric(&self) -> Option<&str> {
        self.matchers.iter().find_map(|matcher| match &matcher.test {
            Test::Equal(value) if matcher.label == NAME => Some(value.as_str()),
            Test::Equal(_) | Test::NotEqual(_) | Test::Like(_) | Test::NotLike(_) => None,
        })
    }
}

#[derive(Debug)]
struct Matcher {
    label: String,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Equal(String),
    NotEqual(String),
    Like(Regex),
    NotLike(Regex),
}

impl Test {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Equal(wanted) => value == wanted,
            Self::NotEqual(unwanted) => value != unwanted,
            Self::Like(pattern) => pattern.is_match(value),
            Self::NotLike(pattern) => !pattern.is_match(value),
        }
    }
}

/// As in Prometheus, a pattern is about the whole value.
fn anchored(pattern: &str) -> Result<Regex, String> {
    /// A pattern that needs more memory than this is not for a laptop's labels.
    const PATTERN_BYTES_MAX: usize = 1 << 20;
    regex::RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(PATTERN_BYTES_MAX)
        .build()
        .map_err(|error| format!("error parsing regexp: {error}"))
}

#[derive(Debug)]
pub struct Binary {
    op: Op,
    returns_bool: bool,
    matching: Matching,
    left: Expr,
    right: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
    And,
    Or,
    Unless,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Side {
    #[default]
    One,
    Left,
    Right,
}

/// `on`, `ignoring`, `group_left`, `group_right`.
#[derive(Clone, Debug, Default)]
struct Matching {
    on: bool,
    labels: Vec<String>,
    many: Side,
    include: Vec<String>,
}

#[derive(Debug)]
pub struct Aggregate {
    op: aggregate::Op,
    param: Option<Expr>,
    inner: Expr,
    without: bool,
    labels: Vec<String>,
}

/// A series at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub labels: Labels,
    pub value: f64,
}

/// A series over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    pub labels: Labels,
    pub points: Vec<(i64, f64)>,
}

/// A number in full, as in the label of `count_values`.
pub fn decimal(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}

/// The answer to a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Scalar(f64),
    Vector(Vec<Sample>),
    Matrix(Vec<Range>),
    Text(String),
}

/// Answers `query` for one instant, in milliseconds since 1970.
pub fn instant(store: &Store, query: &str, at: i64) -> Result<Value, Error> {
    let expr = parse(query)?;
    eval::Eval::new(store, at, at).value(&expr, at)
}

/// Answers `query` for every step from `start` to `end`; series come sorted by their labels.
pub fn range(
    store: &Store,
    query: &str,
    start: i64,
    end: i64,
    step: i64,
) -> Result<Vec<Range>, Error> {
    let expr = parse(query)?;
    let kind = expr.kind();
    if !matches!(kind, Kind::Scalar | Kind::Vector) {
        let message = format!(
            "invalid expression type \"{kind}\" for range query, must be Scalar or instant Vector"
        );
        return Err(Error::Parse { line: 1, column: 1, message });
    }
    eval::Eval::new(store, start, end).steps(&expr, step.max(1))
}
