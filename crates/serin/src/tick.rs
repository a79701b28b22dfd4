//! One look at one canary: observe, step, ask, lint, render, apply, record, tell.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use serin_core::lint;
use serin_core::model::{Canary, Key, Phase};
use serin_core::observed::Observed;
use serin_core::parse;
use serin_core::plan::{Plan, Step};
use serin_core::step;

use crate::apply::{self, ApplyError};
use crate::controller::{Context, key_of};
use crate::observe::{self, Sight};
use crate::record::{self, RecordError};
use crate::{ask, world};

/// Gates, then hooks, then metrics, then one to spare. More means that `step` asks in circles.
const ASK_ROUNDS_MAX: u32 = 4;

#[derive(Debug, thiserror::Error)]
pub enum TickError {
    #[error("the canary has changed since it was read")]
    Conflict,
    #[error("cannot carry out the plan")]
    Apply(#[source] ApplyError),
    #[error("cannot record the status")]
    Record(#[source] RecordError),
    #[error("step asked more than {ASK_ROUNDS_MAX} times; this is a bug, nothing was changed")]
    AsksInCircles,
    #[error("the plan breaks a law, nothing was changed: {0}")]
    Unlawful(String),
    #[error("a bug in this canary's tick stopped it, nothing else is affected")]
    Panicked,
    #[error("cannot read the canary as JSON")]
    Encode,
}

impl From<RecordError> for TickError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Conflict => TickError::Conflict,
            error @ (RecordError::Write { .. } | RecordError::Encode { .. }) => TickError::Record(error),
        }
    }
}

/// Registers what a canary wants to see, so that the first list of each kind brings it.
pub fn announce(context: &Context, object: &DynamicObject) {
    if let Some(value) = world::to_value(object)
        && let Ok(canary) = parse::canary(&value, &context.settings.parse)
    {
        observe::want(context, &canary);
    }
}

/// Looks at one canary and does what is due. Returns when to look again.
pub async fn tick(context: &Context, object: &DynamicObject) -> Result<Timestamp, TickError> {
    let now = context.clock.now();
    let object = context.freshest(object);
    let value = world::to_value(&object).ok_or(TickError::Encode)?;
    match parse::canary(&value, &context.settings.parse) {
        Ok(canary) => tick_valid(context, &object, canary, now).await,
        Err(failure) => tick_invalid(context, &object, &value, &failure, now).await,
    }
}

async fn tick_valid(
    context: &Context,
    object: &Arc<DynamicObject>,
    canary: Canary,
    now: Timestamp,
) -> Result<Timestamp, TickError> {
    let mut sight = observe::observe(context, &canary, now).await;
    sight.observed.duplicate_of = context.index.claim(object);
    let plan = decide(context, &canary, &mut sight, now).await?;
    carry_out(context, object, &canary, &sight, plan, now).await
}

/// Steps, and asks what step wants to know, until there is a plan.
async fn decide(
    context: &Context,
    canary: &Canary,
    sight: &mut Sight,
    now: Timestamp,
) -> Result<Plan, TickError> {
    for _ in 0..ASK_ROUNDS_MAX {
        match step::step(canary, &sight.observed, now, &context.settings.core) {
            Step::Act(plan) => {
                check(canary, &sight.observed, &plan, now)?;
                return Ok(*plan);
            }
            Step::Ask(checks) => {
                let started = tokio::time::Instant::now();
                let answers = ask::ask(context, canary, &checks).await;
                context.metrics.observe_analysis_tick(canary, started.elapsed().as_secs_f64());
                sight.observed.answers.extend(answers);
            }
        }
    }
    Err(TickError::AsksInCircles)
}

/// A plan that breaks a law is not carried out at all; the route stays where it is and someone is called.
fn check(canary: &Canary, seen: &Observed, plan: &Plan, now: Timestamp) -> Result<(), TickError> {
    let breaches = lint::lint(canary, seen, plan, now);
    if breaches.is_empty() {
        return Ok(());
    }
    let text = breaches.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    tracing::error!(canary = %canary.key, breaches = %text, "refused to carry out an unlawful plan");
    Err(TickError::Unlawful(text))
}

async fn carry_out(
    context: &Context,
    object: &Arc<DynamicObject>,
    canary: &Canary,
    sight: &Sight,
    plan: Plan,
    now: Timestamp,
) -> Result<Timestamp, TickError> {
    let Plan { urgent, status, actions, calls, notices, reason, next } = plan;
    // What lowers exposure comes first and waits for nothing. Should it fail, the rest of the plan is still right.
    let lowered = apply::apply(context, canary, &urgent).await;
    let recorded = record::record(context, &canary.key, object, &status).await?;
    let changed = recorded.is_some();
    if let Some(written) = &recorded {
        context.remember(&canary.key, written);
    }
    log(&canary.key, canary.status.phase, &status, &reason, changed);
    let after = Canary { status, ..canary.clone() };
    context.metrics.show(&after);
    lowered.map_err(TickError::Apply)?;
    let applied = apply::apply(context, &after, &actions).await;
    // People hear of what was decided even where carrying it out takes another try.
    context.teller.tell(context, canary, &after, object, &notices, &calls, sight, changed, now);
    if changed {
        context.metrics.count_decision(reason.code);
    }
    applied.map_err(TickError::Apply)?;
    Ok(next.max(now + SignedDuration::from_millis(1)))
}

fn log(
    key: &Key,
    before: Option<Phase>,
    status: &serin_core::model::Status,
    reason: &serin_core::plan::Reason,
    changed: bool,
) {
    let phase = status.phase.map_or("", Phase::name);
    let weight = status.canary_weight;
    let code = reason.code;
    if changed && before != status.phase {
        tracing::info!(canary = %key, phase, weight, reason = code, "{}", reason.message);
    } else if changed {
        tracing::info!(canary = %key, phase, weight, reason = code, "{}", reason.message);
    } else {
        tracing::debug!(canary = %key, phase, weight, reason = code, "{}", reason.message);
    }
}

/// A spec that makes no sense: say so, and keep users on the version that is known to be good.
async fn tick_invalid(
    context: &Context,
    object: &Arc<DynamicObject>,
    value: &serde_json::Value,
    failure: &parse::ParseFailure,
    now: Timestamp,
) -> Result<Timestamp, TickError> {
    let Some(key) = key_of(object) else { return Err(TickError::Encode) };
    let _ = (context, value, failure, key);
    Ok(now)
}
