//! Laws about more than one thing that a oracle has noted.

use std::time::Duration;

use tokio::time::Instant;

use super::{AFTERMATH, Oracle, broken};
use crate::faults::By;
use crate::invariants::{Broken, Moment};
use crate::plan::Shape;

impl Oracle {
    /// The operator let the Canary go: whoever leaves has given the traffic back.
    pub(super) fn left(&self, moment: Moment) -> Vec<Broken> {
        let begun = !matches!(self.phase.as_str(), "" | "Initializing");
        let kept = self.apex == format!("{}-primary", self.name);
        let lost = self.shape.revert_on_deletion && begun && kept && !self.image.is_empty();
        let what = "the Canary is gone, and the apex selects the primary that goes with it";
        let found = (moment.by == By::Operator && lost)
            .then(|| broken("law 5: no request lost", what.to_owned()));
        found.into_iter().collect()
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// What the canary gets, and whether the apex leads to the primary.
    pub(crate) fn led(&self) -> (i64, bool) {
        (self.routed, self.apex == format!("{}-primary", self.name))
    }

    /// The guard has rolled back: nobody was asked whether it may. A tick of the analysis asks its metrics as well.
    pub(super) fn asked_first(&self, moment: Moment) -> Option<Broken> {
        let now = |time: &Instant| *time == moment.now;
        let asked = self.hooks.get("rollback").is_some_and(now);
        let analysed = self.evidence.values().any(|(time, _)| now(time))
            || self.hooks.iter().any(|(kind, time)| kind != "rollback" && now(time));
        (asked && !analysed).then(|| {
            broken("law 1: lowering never waits", "a rollback by the guard asks a hook".to_owned())
        })
    }

    /// Route and status after everything had time to settle.
    pub(crate) fn disagrees(&self) -> Option<Broken> {
        let settled = |since: Instant| since.elapsed() > Duration::from_secs(30);
        let watched = self.exists
            && self.valid
            && !self.suspended
            && self.shape.provider.has_router()
            && !matches!(self.phase.as_str(), "" | "Initializing" | "Terminating" | "Terminated")
            && self.meddled.is_none_or(|time| time.elapsed() >= AFTERMATH);
        let differs =
            self.routed != self.stated && settled(self.routed_since) && settled(self.stated_since);
        (watched && differs).then(|| {
            broken(
                "route and status agree",
                format!("{}: {} % are routed, {} % stated", self.name, self.routed, self.stated),
            )
        })
    }
}
