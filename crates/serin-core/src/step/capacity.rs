//! Enough pods for every share: what carried the traffic before is what has to be there for it, within a deadline.

use jiff::Timestamp;

use super::Draft;
use crate::model::{Phase, Running, Weight};
use crate::observed::{Seen, Workload};
use crate::plan::Action;
use crate::reason::Reason;

/// A release begins: what the primary has now carries everything.
pub(super) fn begin(draft: &mut Draft<'_>) {
    draft.status.primary_replicas = draft.seen.primary.present().map(|primary| primary.replicas);
}

/// Pods of the primary when the release began. Where the nodes decide how many there are, one that is gone since is not
/// waited for.
fn began(draft: &Draft<'_>) -> Option<u32> {
    let began = draft.status.primary_replicas?;
    let nodes = draft.seen.primary.present().filter(|primary| primary.running == Running::On(None));
    Some(nodes.map_or(began, |primary| began.min(primary.replicas)))
}

/// Pods that carried all of the traffic: the primary's when the release began, or more where the canary has grown beyond them.
fn full(draft: &Draft<'_>) -> Option<u32> {
    let began = began(draft)?;
    let carries = draft.status.exposure().has_users();
    let grown = draft.seen.target.present().filter(|_| carries);
    Some(began.max(grown.map_or(0, |target| target.available_replicas)))
}

/// Whether the primary must not get smaller: a release may hand it everything at any moment, and one that ended with too
/// few pods, or is undone, is still getting there.
fn holds(draft: &Draft<'_>) -> bool {
    let undone = draft.status.soak.as_ref().is_some_and(|soak| !soak.undo.is_empty());
    let failed = draft.status.phase == Some(Phase::Failed);
    draft.status.phase.is_some_and(Phase::is_releasing) || undone || (failed && is_short(draft))
}

fn is_short(draft: &Draft<'_>) -> bool {
    let has = draft.seen.primary.present().map_or(0, |primary| primary.available_replicas);
    full(draft).is_some_and(|full| has < full) && !is_over(draft, draft.status.phase_time)
}

fn is_over(draft: &Draft<'_>, since: Option<Timestamp>) -> bool {
    let since = since.unwrap_or(draft.now);
    draft.now.duration_since(since).as_secs() >= draft.spec.progress_deadline_secs
}

/// While a release runs, the primary's autoscaler may not take away what a rollback or the promotion will need, nor may
/// anybody else; at rest it is free again.
pub(super) fn hold(draft: &mut Draft<'_>) {
    let Some(primary) = draft.seen.primary.present() else { return };
    let held = holds(draft) && draft.spec.analysis.hold_primary_replicas;
    let wanted = full(draft).filter(|_| held);
    let missing = match (&draft.seen.scaler, wanted) {
        (Seen::Present(scaler), _) if !scaler.primary_exists => false,
        (Seen::Present(scaler), Some(wanted)) => scaler.held.is_none_or(|held| held < wanted),
        (Seen::Present(scaler), None) => scaler.held.is_some(),
        (Seen::Absent, Some(_)) if draft.spec.scaler.is_none() => {
            // Nobody sizes it by its load, so that what it had when the release began is what it needs.
            draft.status.primary_replicas.is_some_and(|began| primary.running.is_below(began))
        }
        (Seen::Absent | Seen::Unreadable(_), _) => false,
    };
    if missing {
        let unscaled = draft.spec.scaler.is_none();
        let wanted = if unscaled { draft.status.primary_replicas } else { wanted };
        draft.actions.push(Action::HoldPrimary(wanted));
    }
}

/// The primary has everything back, or had it for as long as anybody waits: what it had when the release began is history.
pub(super) fn settle(draft: &mut Draft<'_>) {
    if draft.status.phase == Some(Phase::Failed) && !holds(draft) {
        draft.status.primary_replicas = None;
    }
}

/// Too few pods for a share, in words.
pub(super) struct Shortage {
    pub message: String,
    /// How many there should be.
    pub wanted: u32,
}

/// Whether the canary has too few ready pods for this share. One that an autoscaler sizes grows with its share, so that
/// only all of the traffic at once is held against its size.
pub(super) fn of_canary(
    draft: &Draft<'_>,
    share: Weight,
    since: Option<Timestamp>,
) -> Option<Shortage> {
    if draft.spec.scaler.is_some() && share < Weight::FULL {
        return None;
    }
    let wanted = for_share(draft, share)?;
    short(draft, "canary", &draft.seen.target, wanted, share, since)
}

/// Whether the primary has too few ready pods to have all of the traffic again.
pub(super) fn of_primary(draft: &Draft<'_>, since: Option<Timestamp>) -> Option<Shortage> {
    if !draft.status.exposure().has_users() {
        return None;
    }
    short(draft, "primary", &draft.seen.primary, full(draft)?, Weight::FULL, since)
}

fn short(
    draft: &Draft<'_>,
    side: &str,
    seen: &Seen<Workload>,
    wanted: u32,
    share: Weight,
    since: Option<Timestamp>,
) -> Option<Shortage> {
    let workload = seen.present()?;
    if workload.available_replicas >= wanted || is_over(draft, since) {
        return None;
    }
    let message = format!(
        "The {side} has {} of the {wanted} ready pods that {share} % of the traffic needs; it is waited for until {} s of progressDeadlineSeconds are over.",
        workload.available_replicas, draft.spec.progress_deadline_secs
    );
    Some(Shortage { message, wanted })
}

/// Pods of the canary for a share: as many, in proportion, as carried everything before.
fn for_share(draft: &Draft<'_>, share: Weight) -> Option<u32> {
    let began = began(draft)?;
    // The primary may have grown with the load since.
    let carries = draft.status.exposure().share < Weight::FULL;
    let grown = draft.seen.primary.present().filter(|_| carries);
    let full = began.max(grown.map_or(0, |primary| primary.available_replicas));
    let wanted = (u64::from(full) * u64::from(share.percent())).div_ceil(100);
    Some(u32::try_from(wanted).unwrap_or(u32::MAX))
}

/// Said where the deadline is over and the traffic moves all the same.
pub(super) fn warn_of_short_canary(draft: &mut Draft<'_>, share: Weight) {
    let sized = draft.spec.scaler.is_some() && share < Weight::FULL;
    let available = draft.seen.target.present().map_or(0, |target| target.available_replicas);
    if let Some(wanted) = for_share(draft, share).filter(|wanted| available < *wanted && !sized) {
        let message = format!(
            "The canary gets {share} % with {available} of the {wanted} ready pods that it needs: progressDeadlineSeconds are over"
        );
        draft.warn(Reason::CapacityShort, message);
    }
}

/// The same for the primary, which gets everything.
pub(super) fn warn_of_short_primary(draft: &mut Draft<'_>) {
    if draft.status.exposure().has_users() {
        let why = "progressDeadlineSeconds are over";
        warn_of_few(draft, why);
    }
}

/// A rollback waits for nothing: what the primary lacks is said, and made up for afterwards. Called while the status still
/// says what the canary has.
pub(super) fn warn_of_rollback(draft: &mut Draft<'_>) {
    if draft.status.exposure().has_users() {
        let why = "a rollback waits for nothing";
        warn_of_few(draft, why);
    }
    // The canary's pods are no measure once its users are gone, and nothing is left to make up for where nothing lacks.
    let has = draft.seen.primary.present().map_or(0, |primary| primary.available_replicas);
    draft.status.primary_replicas = full(draft).filter(|full| has < *full);
}

fn warn_of_few(draft: &mut Draft<'_>, why: &str) {
    let available = draft.seen.primary.present().map_or(0, |primary| primary.available_replicas);
    if let Some(wanted) = full(draft).filter(|wanted| available < *wanted) {
        let message = format!(
            "The primary gets all traffic with {available} of the {wanted} ready pods that carried it: {why}"
        );
        draft.warn(Reason::CapacityShort, message);
    }
}

/// Whether a primary that is taken back has fewer ready pods than it had before.
pub(super) fn of_undone(draft: &Draft<'_>) -> Option<Shortage> {
    let wanted = began(draft)?;
    short(draft, "primary", &draft.seen.primary, wanted, Weight::FULL, draft.status.phase_time)
}

/// Whether the target of a Canary that leaves has fewer ready pods than it is to have.
pub(super) fn of_target(draft: &Draft<'_>, wanted: u32) -> Option<Shortage> {
    short(draft, "target", &draft.seen.target, wanted, Weight::FULL, draft.status.phase_time)
}
