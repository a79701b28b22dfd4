//! What a guard is asked, and with which guarantee.

use crate::block::Tolerance;
use crate::error::GuardError;
use crate::settings::Settings;

/// Bounds of latency dominance above this are refused: each costs ten alternatives per scrape.
pub const BOUNDS_MAX: usize = 64;
/// Metrics above this are refused.
pub const METRICS_MAX: usize = 16;

/// Whether the objective's check excuses the canary for what the primary suffers as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribution {
    /// A block counts against the objective only as far as the canary is also worse than the primary in it.
    Primary,
    /// The objective is asked of the canary alone.
    None,
}

/// Which bets a check makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bets {
    /// Likelihood ratios, and half live-ceiling bets once errors come in groups.
    Auto,
    /// Likelihood ratios only.
    Ratios,
    /// Live-ceiling bets only.
    Live,
}

/// What a metric asks of the canary.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Bad requests (errors, or slower than one bucket bound) stay within an objective and close to the primary's.
    Share {
        /// The share of bad requests that is allowed.
        slo: f64,
        /// Whether the primary excuses the canary.
        attribution: Attribution,
        /// How much worse than the primary the canary may be.
        tolerance: Tolerance,
    },
    /// At no bucket bound is the share of slower requests above `tolerance` of the primary's: stochastic dominance with a
    /// margin. `bounds` are names for people, in the order of the samples; `scale` is the prior scale of the shares.
    Dominance {
        /// What the bounds are called.
        bounds: Vec<String>,
        /// How much larger than the primary's the share of slower requests may be at each of them.
        tolerance: Tolerance,
        /// The scale of the prior on the primary's share.
        scale: f64,
    },
}

/// One metric and its share of the evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// What it is called in explanations.
    pub name: String,
    /// What is asked.
    pub question: Question,
    /// The weight `v` of the metric's checks together; all metrics' weights sum to at most one.
    pub weight: f64,
    /// The dispersion `D` of this metric's bad requests, measured on healthy pods; up to 1.2 counts as 1.
    pub dispersion: f64,
}

/// What a guard is asked to guarantee, and about what.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardConfig {
    /// The chance of a false rollback, of all metrics together, over the whole rollout.
    pub alpha: f64,
    /// The chance that a bound or the evidence for going on is ever wrong.
    pub beta: f64,
    /// The least dispersion `D` of every metric.
    pub dispersion: f64,
    /// Weight changes that are expected, the start included.
    pub weight_steps: u32,
    /// Which bets every check makes.
    pub bets: Bets,
    /// What is asked of the canary.
    pub metrics: Vec<Metric>,
    /// The constants of the method.
    pub settings: Settings,
}

impl GuardConfig {
    /// Equal shares for all `questions`, alpha 1 %, beta 5 %.
    pub fn new(questions: Vec<(String, Question)>, weight_steps: u32) -> Self {
        let weight = 1.0 / questions.len().max(1) as f64;
        let metrics = questions
            .into_iter()
            .map(|(name, question)| Metric { name, question, weight, dispersion: 1.0 })
            .collect();
        Self {
            alpha: 0.01,
            beta: 0.05,
            dispersion: 1.0,
            weight_steps,
            bets: Bets::Auto,
            metrics,
            settings: Settings::default(),
        }
    }

    /// One question: at most `slo` of the requests are bad, or no larger share than the primary's at the same time, and the
    /// canary's share is at most half an objective above the primary's.
    pub fn share(name: &str, slo: f64) -> Self {
        let tolerance = Tolerance { rho: 1.0, delta: 0.5 * slo };
        let question = Question::Share { slo, attribution: Attribution::Primary, tolerance };
        Self::new(vec![(name.to_owned(), question)], 1)
    }
}

fn share(what: impl FnOnce() -> String, value: f64) -> Result<(), GuardError> {
    if value > 0.0 && value < 1.0 {
        Ok(())
    } else {
        Err(GuardError::NoShare { what: what(), value })
    }
}

fn least(what: impl FnOnce() -> String, value: f64, least: f64) -> Result<(), GuardError> {
    if value.is_finite() && value >= least {
        return Ok(());
    }
    Err(GuardError::TooSmall { what: what(), value, least })
}

fn count(what: impl FnOnce() -> String, count: usize, most: usize) -> Result<(), GuardError> {
    if (1..=most).contains(&count) {
        return Ok(());
    }
    Err(GuardError::Count { what: what(), count, most })
}

pub(crate) fn check(config: &GuardConfig) -> Result<(), GuardError> {
    share(|| "alpha".into(), config.alpha)?;
    share(|| "beta".into(), config.beta)?;
    least(|| "the dispersion".into(), config.dispersion, 1.0)?;
    count(|| "the weight steps".into(), config.weight_steps as usize, 10_000)?;
    count(|| "the metrics".into(), config.metrics.len(), METRICS_MAX)?;
    for Metric { name, question, weight, dispersion } in &config.metrics {
        least(|| format!("the dispersion of {name}"), *dispersion, 1.0)?;
        least(|| format!("the weight of {name}"), *weight, f64::MIN_POSITIVE)?;
        let tolerance = match question {
            Question::Share { slo, tolerance, attribution: _ } => {
                share(|| format!("the objective of {name}"), *slo)?;
                tolerance
            }
            Question::Dominance { bounds, tolerance, scale } => {
                share(|| format!("the scale of {name}"), *scale)?;
                count(|| format!("the bounds of {name}"), bounds.len(), BOUNDS_MAX)?;
                // With nothing absolute allowed, a bound no request reaches has no boundary to stand on.
                least(|| format!("the absolute tolerance of {name}"), tolerance.delta, 1e-6)?;
                tolerance
            }
        };
        least(|| format!("the relative tolerance of {name}"), tolerance.rho, 1e-3)?;
        least(|| format!("the absolute tolerance of {name}"), tolerance.delta, 0.0)?;
    }
    let sum: f64 = config.metrics.iter().map(|metric| metric.weight).sum();
    if sum > 1.0 + 1e-9 {
        return Err(GuardError::Weights { what: "the metrics' weights".into(), sum });
    }
    config.settings.check()
}
