//! A revision under analysis: what is asked when, and what each answer leads to.

use super::check::{self, Effect, Judgement, Subject, Verdict};
use super::guard;
use super::revision::{Change, change};
use super::{Cause, Draft, Step, roll_back};
use super::{conditions, schedule, window};
use crate::model::{Exposure, Form, HookKind, Phase};
use crate::observed::{Answer, Check, Guard, Readiness, Seen};
use crate::plan::Action;
use crate::reason::Reason;
use crate::status::CheckRecord;

/// Progressing and WaitingPromotion.
pub(super) fn step(mut draft: Draft<'_>) -> Step {
    if draft.seen.target == Seen::Absent {
        return roll_back(draft, &Cause::TargetGone);
    }
    // What the canary is compared with, and what the target can go back to.
    let _told = super::copied::arrived(&mut draft);
    let mut held = match change(&mut draft) {
        Change::None => None,
        Change::Revised => return super::restart(draft),
        Change::Reverted => return super::revert(draft),
        // No advance on what cannot be seen, and no new revision either; the checks go on.
        Change::Unknown(why) => Some((Reason::CannotSee, why)),
    };
    if !draft.status.exposure().is_none()
        && (draft.canary_endpoints() == Some(0) || draft.canary_taken())
    {
        return lost(draft);
    }
    if let Some(message) = lower(&mut draft) {
        return draft.hold(Reason::RouteLowered, message);
    }
    if draft.status.failed_checks >= draft.spec.analysis.threshold {
        return roll_back(draft, &Cause::Threshold("the threshold was lowered".to_owned()));
    }
    if let Some(Readiness::Stuck(why)) =
        draft.seen.target.present().map(|target| target.readiness.clone())
    {
        return roll_back(draft, &Cause::CanaryStuck(why));
    }
    if held.is_none() {
        held = unfit(&draft);
    }
    if super::control::promoted(&draft).is_some() {
        return promoted_by_hand(draft, held);
    }
    if held.is_none() {
        held = super::control::paused(&draft);
    }
    if draft.spec.skip_analysis {
        return skip(draft, held);
    }
    draft.repair();
    if draft.status.outdated_pods && draft.status.exposure().is_none() {
        return super::replace::step(draft);
    }
    draft.start_target();
    if draft.status.exposure().is_none() && draft.status.iterations <= 0 {
        opening(draft, held)
    } else {
        running(draft, held)
    }
}

/// A route above the status was never decided: it goes down to what was.
fn lower(draft: &mut Draft<'_>) -> Option<String> {
    let decided = draft.status.exposure();
    match draft.route() {
        Seen::Present(live) if !live.is_within(decided) => {
            draft.lower = Some(live.meet(decided));
            Some(format!("The route gave the canary {live}, lowered to {decided}."))
        }
        Seen::Present(_) | Seen::Absent | Seen::Unreadable(_) => None,
    }
}

/// No pod is left to take the canary's share: the primary gets it back, and the analysis opens again when they are.
fn lost(mut draft: Draft<'_>) -> Step {
    draft.take_off();
    draft.status.failed_checks += 1;
    if draft.status.failed_checks >= draft.spec.analysis.threshold {
        return roll_back(draft, &Cause::Lost);
    }
    draft.status.iterations = 0;
    draft.status.analysis_start_time = Some(draft.now);
    draft.status.last_step_time = Some(draft.now);
    draft.enter(Phase::Progressing);
    let event = format!("Halt {} advancement canary has no ready endpoint", draft.name());
    draft.warn(Reason::CanaryLost, event);
    draft.hold(Reason::CanaryLost, super::rollback::LOST)
}

/// What forbids more traffic for the canary now, other than its checks.
fn unfit(draft: &Draft<'_>) -> Option<(Reason, String)> {
    if let Some(obstacle) = draft.obstacle() {
        return Some(obstacle);
    }
    if let Seen::Unreadable(why) = &draft.seen.target {
        return Some((Reason::CannotSee, format!("cannot read the target: {why}")));
    }
    if !draft.canary_ready() {
        let why = match draft.seen.target.present().map(|target| &target.readiness) {
            Some(Readiness::Progressing(why) | Readiness::Stuck(why)) => why.clone(),
            Some(Readiness::Ready) | None => "no ready endpoint yet".to_owned(),
        };
        return Some((Reason::CanaryNotReady, format!("The canary is not ready: {why}")));
    }
    if let Seen::Unreadable(why) = draft.route() {
        return Some((Reason::CannotSee, format!("cannot read the route: {why}")));
    }
    if draft.route() == Seen::Absent {
        return Some((Reason::Repaired, "The route is made anew.".to_owned()));
    }
    if draft.spec.scaler.is_some() {
        match &draft.seen.scaler {
            Seen::Present(_) => {}
            Seen::Absent => {
                return Some((Reason::ScalerMissing, draft.missing_scaler()));
            }
            Seen::Unreadable(why) => {
                return Some((Reason::CannotSee, format!("cannot read the autoscaler: {why}")));
            }
        }
    }
    match &draft.seen.primary {
        Seen::Unreadable(why) => {
            Some((Reason::CannotSee, format!("cannot read the primary: {why}")))
        }
        Seen::Present(_) if draft.primary_ready() || draft.spec.skip_analysis => None,
        Seen::Present(primary) => match &primary.readiness {
            Readiness::Progressing(why) => {
                Some((Reason::PrimaryNotReady, format!("The primary is not ready: {why}")))
            }
            // It will not get better by waiting; the release that is being analysed may be what heals it.
            Readiness::Stuck(_) => None,
            Readiness::Ready => Some((
                Reason::PrimaryNotReady,
                "The primary's Service has no ready endpoint.".to_owned(),
            )),
        },
        // What it ran is lost; the promotion makes it anew.
        Seen::Absent => None,
    }
}

/// Before the first traffic: the canary's pods become ready within the deadline, or it is rolled back.
fn until_ready(draft: &Draft<'_>) -> Option<Cause> {
    let target = draft.seen.target.present()?;
    if draft.canary_ready() {
        return None;
    }
    let deadline = draft.spec.progress_deadline_secs;
    let started = draft.status.analysis_start_time.or(draft.status.phase_time)?;
    if draft.now.duration_since(started).as_secs() >= deadline {
        let obstacle = draft.obstacle().map(|(_, message)| message);
        let why = match &target.readiness {
            Readiness::Progressing(why) | Readiness::Stuck(why) => why.as_str(),
            Readiness::Ready => obstacle.as_deref().unwrap_or("no ready endpoint"),
        };
        return Some(Cause::CanaryStuck(format!("{why}; waited {deadline} s")));
    }
    None
}

/// No traffic yet: readiness, `pre-rollout` hooks, and the first share as soon as both are there.
fn opening(mut draft: Draft<'_>, held: Option<(Reason, String)>) -> Step {
    if let Some(cause) = until_ready(&draft) {
        return roll_back(draft, &cause);
    }
    if let Some((reason, message)) = held {
        draft.stalled |= !draft.seen.obstacles.is_empty();
        return draft.hold(reason, message);
    }
    if let Some(why) = super::blind::waits(&draft) {
        draft.stalled = true;
        return draft.hold(Reason::GuardBlind, why);
    }
    if !draft.is_due() {
        return not_due(draft);
    }
    if let Some((reason, message)) = schedule::blind(&draft) {
        return draft.hold(reason, message);
    }
    let rollback: Vec<_> = draft.hooks(HookKind::Rollback).collect();
    let pre = tests_to_pass(&draft);
    let unanswered = draft.unanswered(&[pre.clone(), rollback.clone()].concat());
    if !unanswered.is_empty() {
        return draft.ask(unanswered);
    }
    if let Some(hook) = approved(&draft, &rollback) {
        return roll_back(draft, &Cause::Hook(hook));
    }
    if draft.status.last_step_time.is_none() {
        let message = format!("Starting canary analysis for {}", draft.target_name());
        draft.note(Reason::NewRevision, message);
    }
    let findings = judge(&draft, &pre);
    record(&mut draft, &findings);
    remember(&mut draft, &findings);
    if counts(&findings) {
        return failed(draft, &findings);
    }
    if let Guard::Hold(why) | Guard::RollBack(why) = &draft.seen.guard {
        let why = why.clone();
        return passed_but_held(draft, Reason::GuardHolds, why);
    }
    schedule::advance(draft)
}

/// The `pre-rollout` hooks that have not passed yet: a test of the revision is not one of the interval, however long a gate
/// keeps the canary from its first share.
fn tests_to_pass(draft: &Draft<'_>) -> Vec<Check> {
    let passed = &draft.status.passed_tests;
    let open = |check: &Check| !passed.iter().any(|name| name == draft.hook_name(*check));
    draft.hooks(HookKind::PreRollout).filter(open).collect()
}

/// Takes down which tests have passed; one name may stand for several of them.
fn remember(draft: &mut Draft<'_>, findings: &[Judgement]) {
    for finding in findings {
        let same = findings.iter().filter(|other| other.name == finding.name);
        if same.into_iter().any(|other| other.verdict != Verdict::Pass) {
            continue;
        }
        draft.note(Reason::Advanced, format!("Pre-rollout check {} passed", finding.name));
        if !draft.status.passed_tests.contains(&finding.name) {
            draft.status.passed_tests.push(finding.name.clone());
        }
    }
}

/// With traffic: one round of hooks and metrics per interval, acted on at once.
fn running(mut draft: Draft<'_>, held: Option<(Reason, String)>) -> Step {
    if !draft.is_due() {
        return not_due(draft);
    }
    let rollback: Vec<_> = draft.hooks(HookKind::Rollback).collect();
    let mut checks: Vec<_> = draft.hooks(HookKind::Rollout).collect();
    for (index, metric) in draft.spec.analysis.metrics.iter().enumerate() {
        checks.extend((0..metric.sources.len()).map(|source| Check::Metric(index, source)));
    }
    let unanswered = draft.unanswered(&[checks.clone(), rollback.clone()].concat());
    if !unanswered.is_empty() {
        return draft.ask(unanswered);
    }
    if let Some(hook) = approved(&draft, &rollback) {
        return roll_back(draft, &Cause::Hook(hook));
    }
    let unrouted = routed_nothing(&draft);
    let mut findings = judge(&draft, &checks);
    findings.extend(guard::unknown(&draft));
    if unrouted {
        // Without traffic there is nothing to measure, and none comes by waiting. What is measured still counts: a
        // rollback that got no further than the route is decided again.
        findings.retain(|finding| finding.verdict != Verdict::NoData);
    }
    record(&mut draft, &findings);
    let (generation, now) = (draft.canary.generation, draft.now);
    conditions::checked(&mut draft.status, &findings, generation, now);
    if counts(&findings) {
        return failed(draft, &findings);
    }
    if let Some(finding) = findings.iter().find(|finding| finding.effect == Effect::Waits) {
        let (reason, message) = (unknown(finding.verdict), finding.message.clone());
        // It is one of those that wait which is worth a warning.
        let waits = |other: &&Judgement| other.effect == Effect::Waits;
        let expected = findings.iter().filter(waits).all(|other| other.expected);
        let event = message.clone();
        return hold_and_tell(draft, reason, message, event, !expected);
    }
    if let Guard::Hold(why) | Guard::RollBack(why) = &draft.seen.guard {
        let why = why.clone();
        return match draft.spec.analysis.evidence_pace() {
            Some(pace) => schedule::wait(draft, pace, Reason::GuardHolds, why),
            None => passed_but_held(draft, Reason::GuardHolds, why),
        };
    }
    if let Some((reason, message)) = held {
        return held_back(draft, reason, message);
    }
    if unrouted && draft.spec.analysis.schedule.form() != Form::BlueGreen {
        return return_to_first_share(draft);
    }
    let decided = draft.status.exposure();
    if let Seen::Present(live) = draft.route()
        && draft.has_router()
        && !decided.is_within(live)
    {
        if unrouted {
            draft.status.traffic_start_time = None;
        }
        draft.actions.push(Action::Route(decided));
        draft.status.last_step_time = Some(draft.now);
        let secs = draft.spec.analysis.interval_secs;
        let message = format!("The route had {live} and has {decided} again.");
        return draft.act(Reason::RouteRepaired, message, secs);
    }
    schedule::advance(draft)
}

fn counts(findings: &[Judgement]) -> bool {
    findings.iter().any(|finding| finding.effect == Effect::Counts)
}

/// The reason for waiting for a check that says nothing.
fn unknown(verdict: Verdict) -> Reason {
    match verdict {
        Verdict::NoData => Reason::NoData,
        Verdict::Early => Reason::WindowReachesBack,
        Verdict::Pass | Verdict::Fail | Verdict::CannotMeasure => Reason::CannotMeasure,
    }
}

fn not_due(mut draft: Draft<'_>) -> Step {
    let secs = draft.due().duration_since(draft.now).as_secs().max(1);
    let message = format!("The next step is due at {}.", draft.due());
    if !draft.is_news(Reason::EvidenceMissing) {
        // A person is still missed.
        draft.stalled = true;
        return draft.quiet(Reason::EvidenceMissing, message, secs);
    }
    draft.quiet(Reason::NotDue, message, secs)
}

/// The status speaks of traffic that the route does not give: nothing can be measured there.
fn routed_nothing(draft: &Draft<'_>) -> bool {
    draft.has_router()
        && !draft.status.exposure().is_none()
        && draft.route() == Seen::Present(Exposure::NONE)
}

/// As little as an analysis starts with. Blue/Green is another matter: its evidence was gathered without any user.
fn return_to_first_share(mut draft: Draft<'_>) -> Step {
    let decided = draft.status.exposure();
    let first = draft.spec.analysis.schedule.first_with_users();
    let to = if first.is_within(decided) { first } else { decided };
    draft.status.expose(to);
    draft.status.iterations = draft.status.iterations.min(1);
    // Only now traffic comes.
    draft.status.traffic_start_time = None;
    draft.actions.push(Action::Route(to));
    draft.status.last_step_time = Some(draft.now);
    let secs = draft.spec.analysis.interval_secs;
    let message = format!("The canary had lost its traffic and starts again at {to}.");
    draft.act(Reason::RouteRepaired, message, secs)
}

/// All checks passed, and something else forbids more. Who paused the release was told so.
fn held_back(mut draft: Draft<'_>, reason: Reason, message: String) -> Step {
    if reason == Reason::Paused {
        draft.status.last_step_time = Some(draft.now);
        let secs = draft.spec.analysis.interval_secs;
        return draft.act(reason, message, secs);
    }
    draft.stalled |= !draft.seen.obstacles.is_empty();
    passed_but_held(draft, reason, message)
}

fn passed_but_held(draft: Draft<'_>, reason: Reason, message: String) -> Step {
    let event = format!("Halt {} advancement {message}", draft.name());
    hold_and_tell(draft, reason, message, event, true)
}

/// The analysis waits where it is; the Event, in Flagger's words, is told when the wait begins.
fn hold_and_tell(
    mut draft: Draft<'_>,
    reason: Reason,
    message: String,
    event: String,
    warn: bool,
) -> Step {
    draft.status.last_step_time = Some(draft.now);
    let secs = draft.spec.analysis.interval_secs;
    let last = draft.canary.status.last_reason.as_ref();
    // What was expected at first is told once more when it is not.
    let other = reason == Reason::NoData && last.is_some_and(|last| last.message != message);
    if draft.is_news(reason) || other {
        match warn {
            true => draft.warn(reason, event),
            false => draft.note(reason, event),
        }
    }
    draft.act(reason, message, secs)
}

/// The first rollback hook that says yes.
pub(super) fn approved(draft: &Draft<'_>, checks: &[Check]) -> Option<String> {
    let yes = |check: &&Check| draft.answer(**check) == Some(&Answer::Approved);
    checks.iter().find(yes).map(|check| draft.hook_name(*check).to_owned())
}

fn judge(draft: &Draft<'_>, checks: &[Check]) -> Vec<Judgement> {
    let (canary, target) = (draft.name(), draft.target_name());
    let subject = Subject { canary: &canary, target: &target, provider: draft.spec.provider.name };
    let analysis = &draft.spec.analysis;
    let one = |check: &Check| {
        let answer = draft.answer(*check)?;
        match *check {
            Check::Hook(index) => {
                let hook = analysis.webhooks.get(index)?;
                let kind = match hook.kind {
                    HookKind::PreRollout => "pre-rollout",
                    HookKind::ConfirmRollout
                    | HookKind::Rollout
                    | HookKind::ConfirmTrafficIncrease
                    | HookKind::ConfirmPromotion
                    | HookKind::PostRollout
                    | HookKind::Rollback
                    | HookKind::Event => "external",
                };
                Some(check::hook(hook, kind, answer, subject))
            }
            Check::Metric(index, source) => {
                let metric = analysis.metrics.get(index)?;
                let finding = check::metric(metric, metric.sources.get(source)?, answer, subject);
                Some(window::owned(draft, *check, finding))
            }
        }
    };
    checks.iter().filter_map(one).collect()
}

/// Into the ledger, with what the guard has counted of the same requests.
fn record(draft: &mut Draft<'_>, findings: &[Judgement]) {
    let records = findings.iter().map(|finding| {
        let seen = guard::counted(draft, finding);
        CheckRecord {
            name: finding.name.clone(),
            verdict: finding.verdict.name().to_owned(),
            source: finding.source.clone(),
            window: finding.window.clone(),
            // The document is JSON, which has no infinity.
            value: finding.value.filter(|value| value.is_finite()),
            limit: finding.limit.clone(),
            message: finding.message.clone(),
            weight: draft.status.canary_weight,
            time: Some(draft.now),
            ..seen
        }
    });
    let records = records.collect();
    guard::note(draft, records);
    guard::record_all(draft);
}

/// One failed check however many of the round failed, acted on now.
fn failed(mut draft: Draft<'_>, findings: &[Judgement]) -> Step {
    draft.status.failed_checks += 1;
    draft.status.last_step_time = Some(draft.now);
    let worst = |verdict| {
        findings
            .iter()
            .any(|finding| finding.verdict == verdict && finding.effect == Effect::Counts)
    };
    let pre_rollout = draft.status.exposure().is_none() && draft.status.iterations <= 0;
    let reason = if pre_rollout {
        Reason::PreRolloutFailed
    } else if worst(Verdict::Fail) {
        Reason::CheckFailed
    } else if worst(Verdict::NoData) {
        Reason::NoData
    } else {
        Reason::CannotMeasure
    };
    let failing: Vec<_> =
        findings.iter().filter(|finding| finding.effect == Effect::Counts).collect();
    for finding in &failing {
        draft.warn(reason, finding.message.clone());
    }
    let first = failing.first().map_or(String::new(), |finding| finding.message.clone());
    let (count, threshold) = (draft.status.failed_checks, draft.spec.analysis.threshold);
    if count >= threshold {
        return roll_back(draft, &Cause::Threshold(first));
    }
    let secs = draft.spec.analysis.interval_secs;
    draft.act(reason, format!("{first} ({count} of {threshold})"), secs)
}

/// A person takes the rest of the analysis upon themselves: the canary must be ready, nothing else is asked.
fn promoted_by_hand(mut draft: Draft<'_>, held: Option<(Reason, String)>) -> Step {
    draft.repair();
    if draft.status.outdated_pods && draft.status.exposure().is_none() {
        return super::replace::step(draft);
    }
    draft.start_target();
    if let Some(cause) = until_ready(&draft).filter(|_| draft.status.exposure().is_none()) {
        return roll_back(draft, &cause);
    }
    if let Some((reason, message)) = held {
        return draft.hold(reason, message);
    }
    super::promote(draft)
}

/// `skipAnalysis`: the canary must be ready, nothing else is asked.
fn skip(mut draft: Draft<'_>, held: Option<(Reason, String)>) -> Step {
    if !draft.status.exposure().is_none() {
        draft.take_off();
    }
    draft.repair();
    draft.start_target();
    if let Some(cause) = until_ready(&draft) {
        return roll_back(draft, &cause);
    }
    if let Some((reason, message)) = held {
        return draft.hold(reason, message);
    }
    super::promote(draft)
}
