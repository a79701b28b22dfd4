//! How long a version that fails stays on the road, where a release is, and where it may go.

use std::time::Duration;

use serde_json::Value;
use serin_core::model::Policy;
use tokio::time::Instant;

use super::{AFTERMATH, Oracle, Version, broken};
use crate::invariants::Broken;
use crate::plan::{Quality, Sight};

/// By then a guard that is not hindered has seen half of all requests fail, whatever the share.
const ROAD: Duration = Duration::from_secs(40);

/// A minute blindly, the time to notice it and to act, and the jump of a clock in between.
const UNSEEN: Duration = Duration::from_secs(60 + 45 + 90);
/// No analysis begins with more.
const FIRST_SHARE_MAX: i64 = 25;

impl Oracle {
    /// Judges how long a version keeps its share while its guard, which is to hold then, sees nothing of it.
    pub(crate) fn goes_unseen(&mut self, hidden: bool, now: Instant) -> Option<Broken> {
        let policy = self.shape.extra.guard.cannot_measure;
        let holds = self.shape.guard
            && !self.shape.extra.observes
            && policy.is_none_or(|policy| policy == Policy::Hold);
        let analysed = matches!(self.phase.as_str(), "Progressing" | "WaitingPromotion");
        let exposed = self.exists && self.valid && !self.skips && self.routed > FIRST_SHARE_MAX;
        let meddled = Self::lately(self.meddled, now, AFTERMATH);
        if !(hidden && holds && analysed && exposed) || meddled {
            self.unseen_since = None;
            return None;
        }
        let since = *self.unseen_since.get_or_insert(now);
        (now.duration_since(since) > UNSEEN).then(|| {
            let secs = now.duration_since(since).as_secs();
            broken(
                "law 7: not knowing is not a good canary",
                format!("{} has {} %, and nobody has seen for {secs} s", self.image, self.routed),
            )
        })
    }

    /// Whether it is where a move waits for it.
    pub(crate) fn is_at(&self, sight: Sight) -> bool {
        match sight {
            Sight::Traffic => self.stated > 0,
            Sight::Promotion => self.phase == "Promoting",
            Sight::Rest => matches!(self.phase.as_str(), "Succeeded" | "Failed"),
        }
    }

    /// Judges how long a version that fails has had traffic under a guard which could see it.
    pub(crate) fn lingers(&mut self, seen: bool, now: Instant) -> Option<Broken> {
        let guarded = self.shape.guard && !self.shape.extra.observes && self.valid && !self.skips;
        let alone = Quality::of(&self.primary_image) == Quality::Healthy;
        let fails = self.routed > 0 && Quality::of(&self.image) == Quality::Bad && alone;
        if !(seen && guarded && fails && self.exists && !Self::lately(self.foe, now, AFTERMATH)) {
            self.bad_since = None;
            return None;
        }
        let since = *self.bad_since.get_or_insert(now);
        (now.duration_since(since) > ROAD).then(|| {
            let secs = now.duration_since(since).as_secs();
            broken(
                "law 1: lowering never waits",
                format!("{} fails, and has traffic for {secs} s under a guard", self.image),
            )
        })
    }

    /// Judges whether a version that never fails has a failed check: its window was another version's.
    pub(super) fn blames_others(
        &self,
        status: &Value,
        phase: &str,
        applied: Option<&Version>,
    ) -> Option<Broken> {
        let image = &applied?.0;
        let judged = matches!(phase, "Progressing" | "WaitingPromotion" | "Failed");
        if !judged || Quality::of(image) != Quality::Healthy {
            return None;
        }
        let began = status["analysisStartTime"].as_str().unwrap_or_default();
        let text =
            |check: &Value, field: &str| check[field].as_str().unwrap_or_default().to_owned();
        let failed = |check: &&Value| {
            let source = text(check, "source");
            let of_metric = ["query of ", "builtin ", "MetricTemplate "]
                .iter()
                .any(|kind| source.starts_with(kind));
            of_metric && text(check, "verdict") == "fail" && text(check, "time").as_str() >= began
        };
        let check = status["checks"].as_array()?.iter().find(failed)?;
        let what = format!("{image} never fails, and {} {}", check["name"], check["message"]);
        Some(broken("law 4: a revision answers for itself", what))
    }

    /// Judges where a write of the status leads: what is suspended stays where it is, and a promotion is of what was
    /// analysed. No fault excuses it, since whoever writes a status has seen the spec beside it.
    pub(super) fn goes_further(
        &self,
        [before, phase]: [&str; 2],
        stated: i64,
        applied: Option<&Version>,
    ) -> Option<Broken> {
        let moves = before != phase && matches!(phase, "Progressing" | "Promoting" | "Finalising");
        if self.suspended && self.valid && (stated > self.stated || moves) {
            let what = format!("{before} at {} % to {phase} at {stated} %", self.stated);
            return Some(broken("a suspended canary stays where it is", what));
        }
        let analysed = matches!(before, "Progressing" | "WaitingPromotion" | "Promoting");
        let promotes = matches!(phase, "Promoting" | "Finalising");
        let (then, now) = (&self.applied.as_ref()?.0, &applied?.0);
        (analysed && promotes && !self.skips && then != now).then(|| {
            let what = format!("{then} was analysed, and {now} is to be promoted");
            broken("law 4: what is analysed is what is promoted", what)
        })
    }
}
