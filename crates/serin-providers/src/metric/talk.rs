//! Conversations as transcripts: what goes out, what is heard, and how it ends. What nobody may see is hidden here, too.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use serin_core::model::MetricTemplate;
use serin_core::observed::Seen;
use serin_core::parse;

use super::{Measured, MetricError, Progress, Resolved, Sample, question};
use crate::settings::Settings;
use crate::testing::{canary, yaml};

/// When every conversation begins.
pub(crate) const NOW: &str = "2026-01-01T00:10:00Z";

/// What comes back.
pub(crate) enum Heard {
    Http(u16, String),
    Object(Seen<Arc<Value>>),
    Token(&'static str),
}

pub(crate) fn http(status: u16, body: impl Into<String>) -> Heard {
    Heard::Http(status, body.into())
}

pub(crate) fn template(spec: &str) -> MetricTemplate {
    let object = serde_json::json!({
        "apiVersion": "flagger.app/v1beta1", "kind": "MetricTemplate",
        "metadata": {"name": "t", "namespace": "develop"}, "spec": yaml(spec),
    });
    parse::metric_template(&object).unwrap()
}

/// A conversation of a check that looks at `interval`.
pub(crate) struct Talk {
    pub template: MetricTemplate,
    pub interval: &'static str,
    pub secret: Option<Value>,
    pub settings: Settings,
    /// Of what was sent, for who wants to look at it whole.
    pub sent: Vec<Request<Bytes>>,
    pub transcript: String,
}

impl Talk {
    pub(crate) fn of(spec: &str, secret: Option<&str>) -> Self {
        Self {
            template: template(spec),
            interval: "1m",
            secret: secret.map(|pairs| {
                let pairs = yaml(pairs);
                let encoded = pairs.as_object().unwrap().iter().map(|(key, value)| {
                    use base64::Engine;
                    let text = value.as_str().unwrap();
                    let text = base64::engine::general_purpose::STANDARD.encode(text);
                    (key.clone(), Value::from(text))
                });
                serde_json::json!({"data": encoded.collect::<serde_json::Map<_, _>>()})
            }),
            settings: Settings::default(),
            sent: Vec::new(),
            transcript: String::new(),
        }
    }

    /// The whole of it, or why it cannot even begin.
    pub(crate) fn hold(&mut self, heard: Vec<Heard>) -> Result<Measured, MetricError> {
        let canary = canary(&format!(
            "analysis: {{metrics: [{{name: m, interval: {}, thresholdRange: {{max: 1}}, templateRef: {{name: t}}}}]}}",
            self.interval
        ));
        let metric = canary.spec.analysis.metrics.first().unwrap();
        let template = self.template.clone();
        let resolved = Resolved { template: &template, secret: self.secret.as_ref() };
        let question =
            question(&canary, metric, &metric.sources[0], Some(resolved), &self.settings)?;
        question.check()?;
        let mut now: Timestamp = NOW.parse().unwrap();
        let mut progress = question.begin(now)?;
        let mut heard = heard.into_iter();
        loop {
            progress = match progress {
                Progress::Done(measured) => {
                    assert!(heard.next().is_none(), "there is more to hear");
                    return Ok(measured);
                }
                Progress::Http { call, after_secs, then } => {
                    now += SignedDuration::from_secs(after_secs.into());
                    self.send(&call.request, after_secs);
                    // What is asked takes time.
                    now += SignedDuration::from_millis(200);
                    let Some(Heard::Http(status, body)) = heard.next() else {
                        panic!("an answer is missing after\n{}", self.transcript)
                    };
                    let response = Response::builder().status(status);
                    then(response.body(Bytes::from(body)).unwrap(), now)?
                }
                Progress::Read { object, then } => {
                    self.transcript.push_str(&format!("read {object}\n"));
                    let Some(Heard::Object(seen)) = heard.next() else { panic!("no object") };
                    then(seen, now)?
                }
                Progress::Identity { then } => {
                    self.transcript.push_str("read the controller's token\n");
                    let Some(Heard::Token(token)) = heard.next() else { panic!("no token") };
                    then(token.to_owned(), now)?
                }
            };
        }
    }

    fn send(&mut self, request: &Request<Bytes>, after_secs: u32) {
        if after_secs > 0 {
            self.transcript.push_str(&format!("after {after_secs} s\n"));
        }
        self.transcript.push_str(&format!("{} {}\n", request.method(), request.uri()));
        for (name, value) in request.headers() {
            let value = match value.is_sensitive() {
                true => "(hidden)",
                false => value.to_str().unwrap(),
            };
            self.transcript.push_str(&format!("{name}: {value}\n"));
        }
        let body = std::str::from_utf8(request.body()).unwrap();
        if !body.is_empty() {
            self.transcript.push_str(&format!("{body}\n"));
        }
        self.sent.push(request.clone());
    }

    /// The transcript, with how it ended.
    pub(crate) fn told(mut self, heard: Vec<Heard>) -> String {
        let end = self.hold(heard);
        let end = ended(&end);
        format!("{}{end}\n", self.transcript)
    }
}

pub(crate) fn ended(end: &Result<Measured, MetricError>) -> String {
    let (what, reach) = match end {
        Ok(Measured { sample: Sample::Value(value), reach_secs }) => {
            (value.to_string(), *reach_secs)
        }
        Ok(Measured { sample: Sample::NoData(why), reach_secs }) => {
            (format!("no data: {why}"), *reach_secs)
        }
        Err(error) => return format!("= error: {error}"),
    };
    let reach = reach.map_or_else(String::new, |secs| format!(", of the last {secs} s"));
    format!("= {what}{reach}")
}
