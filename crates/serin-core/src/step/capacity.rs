//! Enough pods for every share: what carried the traffic before is what has to be there for it, within a deadline.

use jiff::Timestamp;

use super::Draft;
use crate::model::{Phase, Weight};
use crate::observed::{Seen, Workload};
use crate::plan::Action;

/// A release begins: what the primary has now carries everything.
pub(super) fn begin(draft: &mut Draft<'_>) {
    draft.status.primary_replicas = draft.seen.primary.present().map(|primary| primary.replicas);
}

/// Pods that carried all of the traffic: the primary's when the release began, or more where the canary has grown beyond them.
fn full(draft: &Draft<'_>) -> Option<u32> {
    let began = draft.status.primary_replicas?;
    let carries = draft.status.exposure().has_users();
    let grown = draft.seen.target.present().filter(|_| carries);
    Some(began.max(grown.map_or(0, |target| target.available_replicas)))
}

/// While a release runs, the primary's autoscaler may not take away what a rollback or the promotion will need; at rest
/// it is free again.
pub(super) fn hold(draft: &mut Draft<'_>) {
    let Seen::Present(scaler) = &draft.seen.scaler else { return };
    let releasing = draft.status.phase.is_some_and(Phase::is_releasing);
    let wanted = full(draft).filter(|_| releasing && draft.spec.analysis.hold_primary_replicas);
    let missing = match (wanted, scaler.held) {
        (Some(wanted), held) => held.is_none_or(|held| held < wanted),
        (None, held) => held.is_some(),
    };
    if scaler.primary_exists && missing && draft.seen.primary.present().is_some() {
        draft.actions.push(Action::HoldPrimary(wanted));
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
    let full = draft.status.primary_replicas?;
    let wanted = (full * u32::from(share.percent())).div_ceil(100);
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
    let since = since.unwrap_or(draft.now);
    let over = draft.now.duration_since(since).as_secs() >= draft.spec.progress_deadline_secs;
    if workload.available_replicas >= wanted || over {
        return None;
    }
    let message = format!(
        "The {side} has {} of the {wanted} ready pods that {share} % of the traffic needs; it is waited for until {} s of progressDeadlineSeconds are over.",
        workload.available_replicas, draft.spec.progress_deadline_secs
    );
    Some(Shortage { message, wanted })
}

/// Said where the deadline is over and the traffic moves all the same.
pub(super) fn warn_of_short_primary(draft: &mut Draft<'_>) {
    let available = draft.seen.primary.present().map_or(0, |primary| primary.available_replicas);
    if let Some(wanted) = full(draft).filter(|wanted| available < *wanted)
        && draft.status.exposure().has_users()
    {
        let message = format!(
            "The primary gets all traffic with {available} of the {wanted} ready pods that carried it: progressDeadlineSeconds are over"
        );
        draft.warn(crate::reason::CAPACITY_SHORT, message);
    }
}
