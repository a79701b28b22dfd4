//! Asks the world outside what `step` wants to know: hooks and metric queries, in parallel and bounded.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use serin_core::model::{Canary, MetricSource};
use serin_core::observed::{Answer, Check, Seen};
use serin_core::parse;
use serin_core::words::{SENTENCE_MAX, line};
use serin_providers::metric::{Measured, Progress, Question};
use serin_providers::{hook, metric};
use tokio::io::AsyncReadExt as _;

use crate::cache::{METRIC_TEMPLATE, Subscription};
use crate::http_client::chain;
use crate::http_client::retry::{options, send_with_retries};
use crate::operator::context::Context;
use crate::operator::observe;

/// Questions of one canary at a time.
const PARALLEL_MAX: usize = 8;

/// A token and its keys, pages of an answer, each asked for again a few times. More means that a backend asks in circles.
const ROUNDS_MAX: u32 = 24;
/// A conversation about one number that takes longer says nothing about now.
const CONVERSATION_MAX: Duration = Duration::from_secs(30);
/// Bytes of a token; it is no longer than a header may be.
const IDENTITY_MAX: u64 = 16 << 10;

/// What was answered to one check.
#[derive(Debug)]
pub struct Said {
    pub check: Check,
    pub answer: Answer,
    /// How many seconds it looks back, where the query says so.
    pub reach: Option<i64>,
}

/// Every check gets exactly one answer.
pub async fn ask(context: &Context, canary: &Canary, checks: &[Check]) -> Vec<Said> {
    futures::stream::iter(checks.iter().copied())
        .map(|check| async move {
            let (answer, reach) = match check {
                Check::Hook(index) => (ask_hook(context, canary, index).await, None),
                Check::Metric(index, source) => ask_metric(context, canary, index, source).await,
            };
            Said { check, answer: legible(answer), reach }
        })
        .buffer_unordered(PARALLEL_MAX)
        .collect()
        .await
}

/// Whatever was answered goes into the status, Events and a terminal.
fn legible(answer: Answer) -> Answer {
    let clean = |why: String| line(&why, SENTENCE_MAX);
    match answer {
        Answer::Value(value) => Answer::Value(value),
        Answer::NoData(why) => Answer::NoData(clean(why)),
        Answer::Approved => Answer::Approved,
        Answer::Refused(why) => Answer::Refused(clean(why)),
        Answer::Unreachable(why) => Answer::Unreachable(clean(why)),
    }
}

async fn ask_hook(context: &Context, canary: &Canary, index: usize) -> Answer {
    let Some(hook) = canary.spec.analysis.webhooks.get(index) else {
        return Answer::Unreachable(format!("there is no webhook number {index}"));
    };
    let call = match hook::call(canary, hook, &canary.status) {
        Ok(call) => call,
        Err(error) => return Answer::Unreachable(error.to_string()),
    };
    match send_with_retries(context.http_client.as_ref(), call, hook.retries).await {
        Ok(response) => hook::outcome(&response),
        Err(error) => Answer::Unreachable(error.to_string()),
    }
}

async fn ask_metric(
    context: &Context,
    canary: &Canary,
    index: usize,
    source: usize,
) -> (Answer, Option<i64>) {
    let nobody = |why: String| (Answer::Unreachable(why), None);
    let metrics = &canary.spec.analysis.metrics;
    let Some(metric) = metrics.get(index) else {
        return nobody(format!("there is no metric number {index}"));
    };
    let Some(source) = metric.sources.get(source) else {
        return nobody(format!("metric {} has no source number {source}", metric.name));
    };
    let question = match resolve(context, source) {
        Err(why) => return nobody(why),
        Ok(None) => metric::question(canary, metric, source, None, &context.settings.providers),
        Ok(Some((template, secret))) => {
            let resolved = metric::Resolved { template: &template, secret: secret.as_deref() };
            metric::question(canary, metric, source, Some(resolved), &context.settings.providers)
        }
    };
    let question = match question {
        Ok(question) => question,
        Err(error) => return nobody(error.to_string()),
    };
    let Measured { sample, reach_secs } = match converse(context, &question).await {
        Ok(measured) => measured,
        Err(why) => return nobody(why),
    };
    let answer = metric::answer(Ok(sample));
    let line_of_query = line(&question.query, SENTENCE_MAX);
    tracing::debug!(canary = %canary.key, metric = %metric.name, query = line_of_query, ?answer, "measured");
    (answer, reach_secs)
}

/// Asks and listens until there is an end: so many rounds and so long at most, each answer within the client's bounds.
async fn converse(context: &Context, question: &Question) -> Result<Measured, String> {
    let talk = async {
        let mut progress = question.begin(context.clock.now());
        for _ in 0..ROUNDS_MAX {
            progress = match progress.map_err(|error| error.to_string())? {
                Progress::Done(measured) => return Ok(measured),
                Progress::Http { call, after_secs, then } => {
                    if after_secs > 0 {
                        tokio::time::sleep(Duration::from_secs(after_secs.into())).await;
                    }
                    let options = options(&call);
                    let sent = context.http_client.send(call.request, options).await;
                    then(sent.map_err(|error| error.to_string())?, context.clock.now())
                }
                Progress::Read { object, then } => {
                    then(read(context, &object).await, context.clock.now())
                }
                Progress::Identity { then } => {
                    let token = identity(context.settings.identity_token.as_deref()).await?;
                    then(token, context.clock.now())
                }
            };
        }
        Err(format!("there was no end after {ROUNDS_MAX} rounds"))
    };
    let within = tokio::time::timeout(CONVERSATION_MAX, talk).await;
    within.unwrap_or_else(|_| Err(format!("no end within {CONVERSATION_MAX:?}")))
}

/// One object of another operator's, which nothing here watches.
async fn read(context: &Context, object: &Subscription) -> Seen<Arc<Value>> {
    let api = context.cache.api(&object.kind, &object.namespace);
    let found = api.get_opt(&object.name).await.map(|found| found.map(serde_json::to_value));
    match found {
        Ok(Some(Ok(found))) => Seen::Present(Arc::new(found)),
        Ok(None) => Seen::Absent,
        Ok(Some(Err(error))) => Seen::Unreadable(error.to_string()),
        Err(error) => Seen::Unreadable(chain(&error)),
    }
}

/// The token by which the controller shows who it is; it is renewed in its file, and so is never kept.
async fn identity(file: Option<&Path>) -> Result<String, String> {
    let Some(file) = file else {
        return Err("the controller has no token to show who it is".to_owned());
    };
    let cannot =
        |error: std::io::Error| format!("the controller's own token cannot be read: {error}");
    let file = tokio::fs::File::open(file).await.map_err(cannot)?;
    let mut token = String::new();
    file.take(IDENTITY_MAX).read_to_string(&mut token).await.map_err(cannot)?;
    Ok(token)
}

type Template = (serin_core::model::MetricTemplate, Option<Arc<Value>>);

/// The template behind a source, with its Secret, from the cache.
fn resolve(context: &Context, source: &MetricSource) -> Result<Option<Template>, String> {
    let MetricSource::Template { namespace, name, variables: _ } = source else { return Ok(None) };
    let subscription = METRIC_TEMPLATE.named(namespace, name);
    let object = match context.cache.object(&subscription) {
        Seen::Present(object) => object,
        Seen::Absent => return Err(format!("{subscription} does not exist")),
        Seen::Unreadable(why) => return Err(format!("{subscription} cannot be read: {why}")),
    };
    let template = parse::metric_template(&object).map_err(|errors| {
        let list: Vec<String> = errors.iter().map(ToString::to_string).collect();
        format!("{subscription} is invalid: {}", list.join("; "))
    })?;
    let secret = match observe::secret_of(context, &subscription) {
        None => None,
        Some(secret) => match context.cache.object(&secret) {
            Seen::Present(object) => Some(object),
            Seen::Absent => return Err(format!("{secret} of {subscription} does not exist")),
            Seen::Unreadable(why) => {
                return Err(format!("{secret} of {subscription} cannot be read: {why}"));
            }
        },
    };
    Ok(Some((template, secret)))
}
