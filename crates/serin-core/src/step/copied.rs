//! Copies to the primary of which it is not known whether they arrived: one that arrives after its release was given up is what it runs.

use std::collections::BTreeMap;

use super::Draft;
use crate::observed::{Seen, Workload};
use crate::reason::Reason;
use crate::status::Sent;

/// A copy replaces the very version of the primary that it was decided about, so that of many that were sent one arrives.
/// More than these are given up only while the primary cannot be seen for as many releases.
const SENT_MAX: usize = 4;

/// The status says what goes to the primary before it goes.
pub(super) fn send(draft: &mut Draft<'_>) {
    let generation = draft.seen.primary.present().map_or(0, |primary| primary.generation);
    let status = &mut draft.status;
    let (revision, configs) = (&status.last_applied_spec, &status.tracked_configs);
    let again = |sent: &&mut Sent| sent.revision == *revision && sent.configs == *configs;
    if let Some(known) = status.sent.iter_mut().find(again) {
        // Whichever try it was: it cannot have arrived before the first. A primary that was made anew counts anew.
        known.generation = known.generation.min(generation);
        return;
    }
    if status.sent.len() >= SENT_MAX {
        status.sent.remove(0);
    }
    let (revision, configs) = (revision.clone(), configs.clone());
    status.sent.push(Sent { revision, configs, generation });
}

/// Whether a copy arrived that counted as lost. Then it is what is promoted; where the target counted as promoted it is
/// something else now, which the user brought and which goes through an analysis as everything does. Says so.
pub(super) fn arrived(draft: &mut Draft<'_>) -> Option<String> {
    let (Seen::Present(_), Seen::Present(primary)) = (&draft.seen.target, &draft.seen.primary)
    else {
        return None;
    };
    let status = &mut draft.status;
    let known = primary.configs.is_some();
    let as_said = !known || made_with(primary, status.promoted_configs.as_ref());
    if primary.revision == status.last_promoted_spec && as_said {
        return None;
    }
    let runs = |sent: &Sent| {
        sent.revision == primary.revision
            && primary.generation > sent.generation
            && (!known || made_with(primary, sent.configs.as_ref()))
    };
    let Sent { revision, configs, generation: _ } =
        status.sent.remove(status.sent.iter().rposition(runs)?);
    let before = std::mem::replace(&mut status.last_promoted_spec, revision.clone());
    let rested =
        status.last_applied_spec == before && status.tracked_configs == status.promoted_configs;
    status.promoted_configs.clone_from(&configs);
    if rested {
        status.last_applied_spec.clone_from(&revision);
        status.tracked_configs = configs;
        // The generation belongs to a revision that is no longer recorded.
        status.target_generation = None;
    }
    let other = if revision == before { "its configs before" } else { &before };
    let message = format!(
        "The primary runs {revision}, not {other}: the copy of a promotion that was given up had arrived"
    );
    draft.warn(Reason::CopyArrived, message.clone());
    Some(format!("{message}."))
}

/// Whether these are the configs that a primary was made with; none is as good as an empty list.
pub(super) fn made_with(primary: &Workload, configs: Option<&BTreeMap<String, String>>) -> bool {
    let none = BTreeMap::new();
    primary.configs.as_ref() == Some(configs.unwrap_or(&none))
}

/// A promotion that failed half-way left its revision on the primary.
pub(super) fn runs_rejected(draft: &Draft<'_>) -> bool {
    let status = &draft.status;
    let another = status.last_promoted_spec != status.last_applied_spec
        || status.promoted_configs != status.tracked_configs;
    another
        && draft.seen.primary.present().is_some_and(|primary| {
            primary.revision == status.last_applied_spec
                && (status.promoted_configs == status.tracked_configs
                    || made_with(primary, status.tracked_configs.as_ref()))
        })
}

/// Whether the primary was made from the revision last taken up, with its configs.
pub(super) fn primary_runs_applied(draft: &Draft<'_>) -> bool {
    let applied = &draft.status.last_applied_spec;
    let target = draft.seen.target.present();
    // Where they are the same as before, a primary that Flagger made need not say with which it was made.
    let (wanted, before) = (&draft.status.tracked_configs, &draft.status.promoted_configs);
    draft.seen.primary.present().is_some_and(|primary| {
        if wanted != before && !made_with(primary, wanted.as_ref()) {
            return false;
        }
        primary.revision == *applied
            || (primary.revision.is_empty()
                && primary.matches_target
                && target.is_some_and(|target| target.revision == *applied))
    })
}
