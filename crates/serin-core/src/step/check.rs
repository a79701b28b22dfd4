//! From an answer to a verdict: a number against its limit, a hook's yes or no, and what could not be known.

use crate::model::{Builtin, Limit, Metric, MetricSource, Policy, Webhook};
use crate::observed::Answer;

/// What one check said.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub name: String,
    pub verdict: Verdict,
    /// What follows from the verdict.
    pub effect: Effect,
    /// Where the value came from, and what time it stands for.
    pub source: String,
    pub window: String,
    pub value: Option<f64>,
    /// What the value was held against: `<= 500`, empty for hooks.
    pub limit: String,
    /// Why it is not a pass, in the words of Flagger's events; empty for a pass.
    pub message: String,
    /// It cannot be otherwise yet, and is worth no warning.
    pub expected: bool,
}

/// What a judgement does to the analysis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    GoesOn,
    /// No advance, and nothing is counted.
    Waits,
    /// A failed check.
    Counts,
}

impl From<Policy> for Effect {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Hold => Effect::Waits,
            Policy::Pass => Effect::GoesOn,
            Policy::Fail => Effect::Counts,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Fail,
    /// The query worked and there is nothing to judge.
    NoData,
    /// It is not known: the hook or the query could not be asked.
    CannotMeasure,
    /// A value, and it is not of this revision alone: its window begins before this revision was measured.
    Early,
}

impl Judgement {
    /// Hooks have no limit, and every metric has one in words.
    pub fn is_metric(&self) -> bool {
        !self.limit.is_empty()
    }
}

impl Verdict {
    /// As the status writes it.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::NoData => "noData",
            Verdict::CannotMeasure => "cannotMeasure",
            Verdict::Early => "hold",
        }
    }
}

/// Whose check it is, for the words of the message.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// `<canary>.<namespace>`.
    pub canary: &'a str,
    /// `<target>.<namespace>`.
    pub target: &'a str,
    pub provider: &'a str,
}

/// A value against its inclusive bounds; the bound that it breaks and on which side.
pub fn broken(value: f64, limit: Limit) -> Option<(char, f64)> {
    let (min, max) = match limit {
        Limit::Range { min, max } => (min, max),
        Limit::AtLeast(min) => (Some(min), None),
        Limit::AtMost(max) => (None, Some(max)),
    };
    match (min, max) {
        (Some(min), _) if value < min => Some(('<', min)),
        (_, Some(max)) if value > max => Some(('>', max)),
        (None | Some(_), None | Some(_)) => None,
    }
}

/// The limit in words: `99 <= x <= 100`.
pub fn limit_text(limit: Limit) -> String {
    match limit {
        Limit::Range { min: Some(min), max: Some(max) } => format!("{min} to {max}"),
        Limit::Range { min: Some(min), max: None } | Limit::AtLeast(min) => format!(">= {min}"),
        Limit::Range { min: None, max: Some(max) } | Limit::AtMost(max) => format!("<= {max}"),
        Limit::Range { min: None, max: None } => "none".to_owned(),
    }
}

/// One source of a metric.
pub fn metric(
    metric: &Metric,
    source: &MetricSource,
    answer: &Answer,
    subject: Subject<'_>,
) -> Judgement {
    let finding = |verdict, value, message| Judgement {
        name: metric.name.clone(),
        verdict,
        effect: match verdict {
            Verdict::Pass => Effect::GoesOn,
            Verdict::Fail => Effect::Counts,
            Verdict::NoData => metric.no_data.into(),
            Verdict::CannotMeasure => metric.cannot_measure.into(),
            Verdict::Early => Effect::Waits,
        },
        source: source_text(source, subject),
        window: metric.interval.clone(),
        value,
        limit: limit_text(metric.limit),
        message,
        expected: false,
    };
    match answer {
        Answer::Value(value) if value.is_nan() => {
            finding(Verdict::NoData, None, no_data(metric, source, "the value is NaN", subject))
        }
        Answer::Value(value) => match broken(*value, metric.limit) {
            // A status is JSON, which has no infinity: it is shown in words.
            None if value.is_infinite() => {
                finding(Verdict::Pass, Some(*value), format!("the value is {}", number(*value)))
            }
            None => finding(Verdict::Pass, Some(*value), String::new()),
            Some((sign, bound)) => {
                let text = format!(
                    "Halt {} advancement {}",
                    subject.canary,
                    breach(metric, source, *value, sign, bound)
                );
                finding(Verdict::Fail, Some(*value), text)
            }
        },
        Answer::NoData(why) => {
            finding(Verdict::NoData, None, no_data(metric, source, why, subject))
        }
        Answer::Unreachable(why) => {
            finding(Verdict::CannotMeasure, None, unreachable(metric, source, why))
        }
        // Yes and no are no numbers: whoever answered did not understand the question.
        Answer::Approved => finding(
            Verdict::CannotMeasure,
            None,
            unreachable(metric, source, "no number came back"),
        ),
        Answer::Refused(why) => {
            finding(Verdict::CannotMeasure, None, unreachable(metric, source, why))
        }
    }
}

/// A hook whose refusal is a failed check.
pub fn hook(hook: &Webhook, kind: &str, answer: &Answer, subject: Subject<'_>) -> Judgement {
    let halt = |why: &str| {
        format!("Halt {} advancement {kind} check {} failed {why}", subject.canary, hook.name)
    };
    let (verdict, message) = match answer {
        Answer::Approved => (Verdict::Pass, String::new()),
        Answer::Refused(why) => (Verdict::Fail, halt(why)),
        Answer::Unreachable(why) | Answer::NoData(why) => (Verdict::CannotMeasure, halt(why)),
        Answer::Value(value) => {
            (Verdict::CannotMeasure, halt(&format!("the answer is a number ({value})")))
        }
    };
    let effect = if verdict == Verdict::Pass { Effect::GoesOn } else { Effect::Counts };
    let (name, source) = (hook.name.clone(), format!("{kind} webhook"));
    let (window, limit) = (String::new(), String::new());
    let (value, expected) = (None, false);
    Judgement { name, verdict, effect, source, window, value, limit, message, expected }
}

fn source_text(source: &MetricSource, subject: Subject<'_>) -> String {
    match source {
        MetricSource::Builtin(_) => format!("builtin query for {}", subject.provider),
        MetricSource::Query(_) => "query of the canary".to_owned(),
        MetricSource::Template { namespace, name, variables: _ } => {
            format!("MetricTemplate {namespace}/{name}")
        }
    }
}

fn breach(metric: &Metric, source: &MetricSource, value: f64, sign: char, bound: f64) -> String {
    match source {
        MetricSource::Builtin(Builtin::RequestSuccessRate) => {
            format!("success rate {}% {sign} {bound}%", number(value))
        }
        MetricSource::Builtin(Builtin::RequestDuration) => {
            format!("request duration {} {sign} {}", duration(value), duration(bound))
        }
        MetricSource::Query(_) | MetricSource::Template { .. } => {
            format!("{} {} {sign} {bound}", metric.name, number(value))
        }
    }
}

fn no_data(metric: &Metric, source: &MetricSource, why: &str, subject: Subject<'_>) -> String {
    let name = &metric.name;
    match source {
        MetricSource::Builtin(_) => format!(
            "Halt advancement no values found for {} metric {name} probably {} is not receiving traffic",
            subject.provider, subject.target
        ),
        MetricSource::Query(_) => {
            format!("Halt advancement no values found for metric: {name}: {why}")
        }
        MetricSource::Template { .. } => {
            format!("Halt advancement no values found for custom metric: {name}: {why}")
        }
    }
}

fn unreachable(metric: &Metric, source: &MetricSource, why: &str) -> String {
    match source {
        MetricSource::Builtin(_) | MetricSource::Query(_) => {
            format!("Prometheus query failed: {why} (metric {})", metric.name)
        }
        MetricSource::Template { .. } => format!("Metric query failed for {}: {why}", metric.name),
    }
}

/// Two decimals, and infinities as Prometheus writes them.
fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => format!("{value:.2}"),
    }
}

/// Milliseconds as Go prints a duration: `1.5s`, `500ms`, `2m0s`.
fn duration(millis: f64) -> String {
    if !millis.is_finite() || millis < 0.0 {
        return format!("{}ms", number(millis));
    }
    if millis < 1000.0 {
        return format!("{}ms", trimmed(millis));
    }
    let secs = millis / 1000.0;
    if secs < 60.0 {
        return format!("{}s", trimmed(secs));
    }
    let minutes = (secs / 60.0).floor();
    let rest = format!("{}s", trimmed(secs - minutes * 60.0));
    if minutes < 60.0 {
        return format!("{minutes}m{rest}");
    }
    let hours = (minutes / 60.0).floor();
    format!("{hours}h{}m{rest}", minutes - hours * 60.0)
}

/// At most three decimals: more is noise.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: Subject<'_> =
        Subject { canary: "backend.develop", target: "api.develop", provider: "traefik" };

    fn said(name: &str, source: MetricSource, limit: Limit, answer: Answer) -> String {
        let of = Metric {
            name: name.into(),
            interval: "1m".into(),
            sources: vec![source.clone()],
            limit,
            no_data: Policy::Fail,
            cannot_measure: Policy::Fail,
        };
        let finding = metric(&of, &source, &answer, SUBJECT);
        format!("{} [{}] {}", finding.verdict.name(), finding.limit, finding.message)
    }

    fn at_most(max: f64) -> Limit {
        Limit::Range { min: None, max: Some(max) }
    }

    #[test]
    fn bounds_are_inclusive_and_failures_speak_as_flagger_does() {
        let rate = MetricSource::Builtin(Builtin::RequestSuccessRate);
        let time = MetricSource::Builtin(Builtin::RequestDuration);
        let query = MetricSource::Query("up".into());
        let min = Limit::Range { min: Some(99.0), max: None };
        for (got, want) in [
            (said("request-success-rate", rate.clone(), min, Answer::Value(99.0)), "pass [>= 99] "),
            (
                said("request-success-rate", rate.clone(), min, Answer::Value(98.69)),
                "fail [>= 99] Halt backend.develop advancement success rate 98.69% < 99%",
            ),
            (
                said("request-duration", time.clone(), at_most(500.0), Answer::Value(1500.0)),
                "fail [<= 500] Halt backend.develop advancement request duration 1.5s > 500ms",
            ),
            (
                said("errors", query.clone(), Limit::AtMost(5.0), Answer::Value(6.2)),
                "fail [<= 5] Halt backend.develop advancement errors 6.20 > 5",
            ),
            (
                said("errors", query.clone(), Limit::AtMost(5.0), Answer::Value(f64::NAN)),
                "noData [<= 5] Halt advancement no values found for metric: errors: the value is NaN",
            ),
            (
                said("errors", query.clone(), Limit::AtMost(5.0), Answer::Value(f64::INFINITY)),
                "fail [<= 5] Halt backend.develop advancement errors +Inf > 5",
            ),
            (
                said("errors", query.clone(), Limit::AtMost(5.0), Answer::Value(f64::NEG_INFINITY)),
                "pass [<= 5] the value is -Inf",
            ),
            (
                said("request-duration", time, at_most(500.0), Answer::Value(f64::INFINITY)),
                "fail [<= 500] Halt backend.develop advancement request duration +Infms > 500ms",
            ),
            (
                said("request-success-rate", rate, min, Answer::NoData("empty".into())),
                "noData [>= 99] Halt advancement no values found for traefik metric request-success-rate probably api.develop is not receiving traffic",
            ),
            (
                said("errors", query, at_most(1.0), Answer::Unreachable("refused".into())),
                "cannotMeasure [<= 1] Prometheus query failed: refused (metric errors)",
            ),
        ] {
            assert_eq!(got, want);
        }
    }

    #[test]
    fn durations_read_as_in_go() {
        for (millis, text) in
            [(0.0, "0ms"), (12.5, "12.5ms"), (500.0, "500ms"), (1500.0, "1.5s"), (61_000.0, "1m1s")]
        {
            assert_eq!(duration(millis), text);
        }
    }
}
