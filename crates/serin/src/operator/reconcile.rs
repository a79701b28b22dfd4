//! One look at one canary: observe, step, ask, lint, render, apply, record, tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use serin_core::apply_order::{ApplyOrder, Next};
use serin_core::control::Handled;
use serin_core::lint;
use serin_core::model::{Builtin, Canary, Key, MetricSource, Phase};
use serin_core::observed::{Answer, Check, Guard, Observed, Seen};
use serin_core::parse::{self, ParseFailure};
use serin_core::plan::{Action, Explanation, Plan, Step};
use serin_core::step;
use serin_providers::{Objects, notify};

use crate::cache;
use crate::cache::key_of;
use crate::operator::actions::{self, Actions};
use crate::operator::answer_cache::Asked;
use crate::operator::apply::Stage;
use crate::operator::ask;
use crate::operator::context::Context;
use crate::operator::error::{ASK_ROUNDS_MAX, ApplyError, TickError};
use crate::operator::observe::{self, Observation};
use crate::operator::record::{self, Recorded};
use crate::operator::turns::Turn;

/// A raise that is recorded later than this after it was decided, or than the next round of checks is due, is decided again.
const RAISE_WITHIN: Duration = Duration::from_secs(10);

type Answers = BTreeMap<Check, Answer>;

/// Registers what a canary wants to see, so that the first list of each kind brings it.
pub fn announce(context: &Context, object: &DynamicObject) {
    if let Some(value) = cache::to_value(object)
        && let Ok(canary) = parse::canary(&value, &context.settings.parse)
    {
        observe::subscribe(context, &canary);
    }
}

/// Looks at one canary and does what is due. Returns when to look again.
pub async fn tick(
    context: &Context,
    object: &Arc<DynamicObject>,
    turn: &Turn,
) -> Result<Timestamp, TickError> {
    let now = context.clock.now();
    let object = match key_of(&**object) {
        Some(key) => context.memory.freshest(&key, object),
        None => Arc::clone(object),
    };
    let value = cache::to_value(&object).ok_or(TickError::Encode)?;
    match parse::canary(&value, &context.settings.parse) {
        Ok(canary) => tick_valid(context, &object, canary, turn, now).await,
        Err(failure) => tick_invalid(context, &object, &failure, turn, now).await,
    }
}

/// Waits until it is the canary's turn. Law 1: a rollback goes ahead without one.
pub async fn wait_for(context: &Context, key: &Key, turn: &Turn) {
    tokio::select! {
        biased;
        () = turn.take() => {}
        () = context.guards.condemned(key) => {}
    }
}

async fn tick_valid(
    context: &Context,
    object: &Arc<DynamicObject>,
    mut canary: Canary,
    turn: &Turn,
    now: Timestamp,
) -> Result<Timestamp, TickError> {
    context.memory.with(&canary.key, |entry| entry.valid = Some(Box::new(canary.clone())));
    context.guards.follow(&canary, None);
    let mut observation = observe::observe(context, &canary, now).await;
    if let Seen::Present(configs) = &observation.observed.configs {
        serin_core::configs::recognise(&mut canary.status, configs);
    }
    canary.spec.findings.extend(notify::findings(&canary, &observation.objects));
    let router = serin_providers::router::router(canary.spec.provider);
    canary.spec.findings.extend(router.findings(&canary, &observation.objects));
    observation.observed.duplicate_of = context.claims.claim(object);
    let since = context.memory.with(&canary.key, |entry| {
        observation.observed.refused = entry.refused.told();
        entry.answers.give_back(&canary, &mut observation.observed)
    });
    let plan = decide(context, &canary, &mut observation, turn, now).await?;
    let asked = Asked::of(&observation.observed, since);
    let actions = std::mem::take(&mut observation.actions);
    let handled: Vec<_> = actions.refused.iter().chain(&plan.handled).cloned().collect();
    let result = carry_out(context, object, &canary, observation, plan, now).await;
    let result = match result {
        Ok(next) => Ok(close(context, &canary.key, &actions, &handled, next).await),
        Err(error) => Err(error),
    };
    if result.is_err() {
        context.memory.with(&canary.key, |entry| entry.answers.keep(&canary, asked));
    }
    result
}

/// What came of what people asked is said on their objects. Returns when to look again.
async fn close(
    context: &Context,
    key: &Key,
    actions: &Actions,
    handled: &[Handled],
    next: Timestamp,
) -> Timestamp {
    let now = context.clock.now();
    actions::clean(context, key, actions).await;
    match actions::answer(context, key, handled, now).await {
        true => next,
        false => next.min(now + SignedDuration::from_secs(context.settings.core.retry_secs)),
    }
}

/// Steps, and asks what step wants to know, until there is a plan.
async fn decide(
    context: &Context,
    canary: &Canary,
    observation: &mut Observation,
    turn: &Turn,
    now: Timestamp,
) -> Result<Plan, TickError> {
    for _ in 0..ASK_ROUNDS_MAX {
        match step::step(canary, &observation.observed, now, &context.settings.core) {
            Step::Act(plan) => {
                return Ok(lawful(context, canary, &observation.observed, *plan, now));
            }
            Step::Ask(checks) => {
                let started = tokio::time::Instant::now();
                let condemned = matches!(observation.observed.guard, Guard::RollBack(_));
                // Law 8: whose servers are slow waits by itself.
                turn.give_back();
                tokio::select! {
                    biased;
                    // Nobody's answer is worth waiting for any more.
                    () = context.guards.condemned(&canary.key), if !condemned => {
                        let (guard, watched) = context.guards.report(&canary.key);
                        (observation.observed.guard, observation.observed.watched) = (guard, watched);
                    }
                    () = actions::abort_asked(context, &canary.key, &observation.observed.requests, now) => {
                        observation.observed.requests = actions::look(context, &canary.key, now).requests;
                    }
                    answers = ask::ask(context, canary, &checks) => {
                        let secs = started.elapsed().as_secs_f64();
                        context.metrics.observe_analysis_tick(canary, secs);
                        for ask::Said { check, answer, reach } in answers {
                            observation.observed.answers.insert(check, answer);
                            observation.observed.reach.extend(reach.map(|secs| (check, secs)));
                        }
                        observation.observed.answered = Some(context.clock.now());
                    }
                }
                wait_for(context, &canary.key, turn).await;
            }
        }
    }
    Err(TickError::AsksInCircles)
}

/// A plan that breaks a law is not carried out at all: the route stays where it is, and what is said of it takes its place.
fn lawful(context: &Context, canary: &Canary, seen: &Observed, plan: Plan, now: Timestamp) -> Plan {
    let breaches = lint::lint(canary, seen, &plan, now);
    if breaches.is_empty() {
        return plan;
    }
    let refused = step::unlawful(canary, seen, &breaches, now, &context.settings.core);
    let (reason, message) = (refused.explanation.reason.code(), &refused.explanation.message);
    tracing::error!(canary = %canary.key, reason, "{message}");
    refused
}

/// Carries a plan out in the order that its order says.
async fn carry_out(
    context: &Context,
    object: &Arc<DynamicObject>,
    canary: &Canary,
    observation: Observation,
    plan: Plan,
    now: Timestamp,
) -> Result<Timestamp, TickError> {
    let Observation { observed, objects, actions: _ } = observation;
    let decided = tokio::time::Instant::now();
    let mut order = ApplyOrder::of(&plan);
    let mut stage = Stage { context, objects };
    stage.put_canary(canary, object);
    let mut after = canary.clone();
    let mut news = plan.notices.clone();
    let (mut object, mut changed) = (Arc::clone(object), false);
    let mut proof = None;
    let mut result = Ok(());
    loop {
        match order.next() {
            Next::Record => {
                match record::record(context, &canary.key, &object, &plan.status).await {
                    Ok(recorded) => {
                        if let Some(written) = recorded.written() {
                            changed = true;
                            context.memory.wrote(&canary.key, written);
                            object = Arc::clone(written);
                            stage.put_canary(canary, &object);
                        }
                        proof = Some(recorded);
                        if is_overtaken(context, canary, &observed.guard, decided) {
                            order.overtaken();
                        }
                        after.status = plan.status.clone();
                        context.releasing.note(&after);
                        order.done();
                    }
                    Err(error) => {
                        result = Err(error.into());
                        order.failed();
                    }
                }
            }
            Next::Tell => {
                log(&canary.key, &plan, changed);
                // The first counters are read before the first request that they are to show.
                context.guards.follow(&after, Some(false));
                show(context, canary, &after, &observed.answers, &plan.explanation, changed, now);
                let news = std::mem::take(&mut news);
                context.notifier.tell(&after, &object, news, plan.calls.clone(), now);
                order.done();
            }
            next @ (Next::Lower | Next::Act(_)) => {
                let written = write(&mut stage, &plan, next, proof.as_ref(), &after).await;
                let Some((action, written)) = written else { break };
                match written {
                    Ok(()) => order.done(),
                    Err(error) => {
                        context
                            .memory
                            .with(&canary.key, |entry| entry.refused.note(&action, &error));
                        result = Err(TickError::Apply(Box::new(error)));
                        order.failed();
                    }
                }
            }
            Next::Done | Next::GivenUp => break,
        }
    }
    result?;
    if order.next() == Next::Done {
        context.memory.with(&canary.key, |entry| entry.refused.clear());
        return Ok(plan.next.max(now + SignedDuration::from_millis(1)));
    }
    // What was overtaken is decided again at once.
    Ok(now)
}

/// The write that is next: the lowering, which needs nothing, or an action, which needs the proof of the record.
async fn write(
    stage: &mut Stage<'_>,
    plan: &Plan,
    next: Next,
    recorded: Option<&Recorded>,
    canary: &Canary,
) -> Option<(Action, Result<(), ApplyError>)> {
    match next {
        Next::Lower => {
            let exposure = plan.lower?;
            Some((Action::Route(exposure), stage.lower(canary, exposure).await))
        }
        Next::Act(index) => {
            let action = plan.actions.get(index)?;
            Some((action.clone(), stage.act(recorded?, canary, action).await))
        }
        Next::Record | Next::Tell | Next::Done | Next::GivenUp => None,
    }
}

/// Whether a raise that was decided on `guard` must be decided again: the guard has found something meanwhile, or it is time
/// for other checks. It is not known how long a status write takes.
fn is_overtaken(
    context: &Context,
    canary: &Canary,
    guard: &Guard,
    decided: tokio::time::Instant,
) -> bool {
    let interval = match canary.spec.analysis.evidence_pace() {
        Some(_) => Duration::ZERO,
        None => u64::try_from(canary.spec.analysis.interval_secs)
            .map_or(Duration::ZERO, Duration::from_secs),
    };
    let turned = match (guard, context.guards.verdict(&canary.key)) {
        (_, Guard::Quiet) | (Guard::Hold(_), Guard::Hold(_)) | (Guard::RollBack(_), _) => false,
        (Guard::Quiet, Guard::Hold(_)) | (Guard::Quiet | Guard::Hold(_), Guard::RollBack(_)) => {
            true
        }
    };
    turned || decided.elapsed() >= RAISE_WITHIN.max(interval)
}

/// Gauges and counters of what was decided.
fn show(
    context: &Context,
    before: &Canary,
    after: &Canary,
    answers: &Answers,
    explanation: &Explanation,
    changed: bool,
    now: Timestamp,
) {
    let metrics = &context.metrics;
    metrics.show(after);
    for (check, answer) in answers {
        if let (Check::Metric(index, source), Answer::Value(value)) = (check, answer)
            && let Some(metric) = after.spec.analysis.metrics.get(*index)
        {
            let millis = matches!(
                metric.sources.get(*source),
                Some(MetricSource::Builtin(Builtin::RequestDuration))
            );
            metrics.show_analysis(
                after,
                &metric.name,
                if millis { value / 1000.0 } else { *value },
            );
        }
    }
    if !changed {
        return;
    }
    metrics.count_decision(explanation.reason);
    for record in after.status.checks.iter().filter(|record| record.time == Some(now)) {
        metrics.show_check(after, record);
    }
    let entered = |phase| before.status.phase != Some(phase) && after.status.phase == Some(phase);
    let promoted = entered(Phase::Succeeded)
        && before.status.last_promoted_spec != after.status.last_promoted_spec;
    let failed = entered(Phase::Failed);
    if promoted || failed {
        metrics.count_outcome(after, promoted, promoted && after.spec.skip_analysis);
        if let Some(start) = before.status.analysis_start_time {
            metrics.observe_rollout(after, now.duration_since(start).as_secs_f64());
        }
    }
}

/// A warning where the Event is one, or where a person must end the wait.
fn log(key: &Key, plan: &Plan, changed: bool) {
    let Plan { status, notices, explanation: Explanation { reason, message }, .. } = plan;
    let phase = status.phase.map_or("", Phase::name);
    let weight = status.canary_weight;
    let reason = reason.code();
    let stalled = status.conditions.iter().any(|condition| {
        condition.kind == "Stalled" && condition.status == "True" && condition.reason == reason
    });
    if changed && (stalled || notices.iter().any(|notice| notice.warning)) {
        tracing::warn!(canary = %key, phase, weight, reason, "{message}");
    } else if changed {
        tracing::info!(canary = %key, phase, weight, reason, "{message}");
    } else {
        tracing::debug!(canary = %key, phase, weight, reason, "{message}");
    }
}

/// An invalid spec, or asks for what is not supported: say so, and keep users on the version that is known to be good.
async fn tick_invalid(
    context: &Context,
    object: &Arc<DynamicObject>,
    failure: &ParseFailure,
    turn: &Turn,
    now: Timestamp,
) -> Result<Timestamp, TickError> {
    let Some(key) = &failure.key else { return Err(TickError::Encode) };
    // The last spec that was valid knows the route; after a restart, what is left of this one may.
    let last = context.memory.with(key, |entry| entry.valid.clone()).map(|canary| canary.spec);
    let known = last.or_else(|| failure.known.as_deref().cloned());
    let Some(spec) = known else { return tick_unknown(context, object, key, failure, now).await };
    let canary = Canary {
        key: key.clone(),
        uid: failure.uid.clone(),
        generation: failure.generation,
        resource_version: failure.resource_version.clone(),
        deleting: failure.deleting,
        has_finalizer: failure.has_finalizer,
        // Put right once the spec is valid again; a deletion takes away either.
        other_finalizer: false,
        collected: failure.collected,
        spec,
        status: (*failure.status).clone(),
    };
    if failure.deleting {
        // What is being deleted must not wait for somebody to mend its spec.
        context.guards.follow(&canary, None);
        let mut observation = observe::observe(context, &canary, now).await;
        observation.observed.refused = context.memory.with(key, |entry| entry.refused.told());
        let plan = decide(context, &canary, &mut observation, turn, now).await?;
        return carry_out(context, object, &canary, observation, plan, now).await;
    }
    let mut observation = observe::observe(context, &canary, now).await;
    let route = &observation.observed.route;
    let plan = step::invalid(&failure.status, failure.generation, &failure.findings, route, now);
    let why = "the spec of the Canary is not valid; correct it first";
    let actions = std::mem::take(&mut observation.actions);
    let next = carry_out(context, object, &canary, observation, plan, now).await?;
    let handled = actions::all_refused(actions.clone(), why);
    Ok(close(context, key, &actions, &handled, next).await)
}

/// Nothing of the spec leads to a route: there is only something to say, and nothing to keep the object for.
async fn tick_unknown(
    context: &Context,
    object: &Arc<DynamicObject>,
    key: &Key,
    failure: &ParseFailure,
    now: Timestamp,
) -> Result<Timestamp, TickError> {
    if failure.deleting {
        let mut stage = Stage { context, objects: Objects::new() };
        let gone = stage.release(key, object).await;
        gone.map_err(|error| TickError::Apply(Box::new(error)))?;
        return Ok(now + SignedDuration::from_secs(context.settings.core.idle_secs));
    }
    let plan =
        step::invalid(&failure.status, failure.generation, &failure.findings, &Seen::Absent, now);
    let recorded = record::record(context, key, object, &plan.status).await?;
    let changed = recorded.written().is_some();
    let object = recorded.written().unwrap_or(object);
    if changed {
        context.memory.wrote(key, object);
    }
    log(key, &plan, changed);
    context.notifier.announce(key, &failure.uid, object, plan.notices, now);
    Ok(plan.next)
}
