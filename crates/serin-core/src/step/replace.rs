//! Law 4 for configs: what is analysed was started with what would be promoted.
//!
//! A ConfigMap that changes reaches running pods late (mounted), in part (`subPath` never) or not at all (environment). So
//! pods that may have been started before the change are scaled away, without traffic, and started again; the user's
//! template stays as it is.

use super::{Draft, Step};
use crate::model::Running;
use crate::observed::Seen;
use crate::reason::Reason;

/// Notes whether the target's pods may have been started with other configs than it has now; before these are taken up.
pub(super) fn note(draft: &mut Draft<'_>) {
    let (Seen::Present(now), Seen::Present(target)) = (&draft.seen.configs, &draft.seen.target)
    else {
        return;
    };
    let before = draft.status.tracked_configs.as_ref();
    // A config that was not referred to before comes with another template, and with pods of its own.
    let changed = before.is_some_and(|before| {
        now.iter().any(|(key, sum)| before.get(key).is_some_and(|before| before != sum))
    });
    draft.status.outdated_pods |= changed;
    if target.running == Running::Off && target.pods == 0 {
        draft.status.outdated_pods = false;
    }
}

/// Before the first traffic: pods away, and then the analysis begins with new ones.
pub(super) fn step(mut draft: Draft<'_>) -> Step {
    let (running, pods) = draft
        .seen
        .target
        .present()
        .map_or((Running::Off, 0), |target| (target.running, target.pods));
    let reason = Reason::PodsReplaced;
    if running != Running::Off {
        if !draft.is_unreached() {
            let message = "The canary's pods are to be started again, and it cannot be seen that nothing reaches them.";
            return draft.hold(Reason::CannotSee, message);
        }
        if !draft.drained() {
            let secs = draft.drain_left();
            return draft.quiet(Reason::Draining, "The canary finishes what it began.", secs);
        }
        draft.scale_away();
        let message =
            "A config changed after the canary's pods were started: they are started again.";
        return draft.hold(reason, message);
    }
    if pods > 0 {
        let message = format!("{pods} pods that were started before a config changed still run.");
        return draft.hold(reason, message);
    }
    draft.status.outdated_pods = false;
    draft.status.analysis_start_time = Some(draft.now);
    draft.start_target();
    draft.hold(reason, "The canary's pods are started with the configs as they are now.")
}
