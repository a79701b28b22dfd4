//! Whether what a status says is so now: conditions are held against the last reason, and both against the world.

use serde_json::Value;

use super::{Oracle, broken, is_rest, text};
use crate::invariants::Broken;

/// Reasons that a person must end: whoever waits for the object is told so.
const TROUBLE: [&str; 10] = [
    "NotOurs",
    "NoSelectorLabel",
    "PortNotServed",
    "ForeignEndpoints",
    "WriteRefused",
    "InitializationOverdue",
    "TargetMissing",
    "DuplicateTarget",
    "SpecInvalid",
    "Unsupported",
];
/// The conditions that speak of the decision.
const SPEAKING: [&str; 3] = ["Ready", "Reconciling", "Stalled"];
/// Reasons after which nothing is left to do.
const SETTLED: [&str; 5] = ["AtRest", "Initialized", "Promoted", "Reverted", "SoakPassed"];

pub(super) const LAW: &str = "law 10: conditions speak of the present";

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

impl Oracle {
    /// Judges a status as it is written: each condition says what the last reason says, and no two contradict each other.
    pub(super) fn contradicts(&self, status: &Value) -> Option<Broken> {
        let (code, message) =
            (text(status, "/lastReason/code"), text(status, "/lastReason/message"));
        if code.is_empty() {
            return None;
        }
        let is = |kind: &str| condition(status, kind).map_or("", |found| text(found, "/status"));
        let other = SPEAKING.into_iter().find(|kind| {
            condition(status, kind).is_none_or(|found| text(found, "/message") != message)
        });
        if let Some(kind) = other {
            let said = condition(status, kind).map(|found| found["message"].to_string());
            return Some(broken(
                LAW,
                format!("{}: {kind} says {said:?}, the reason is {code}: {message}", self.name),
            ));
        }
        let phase = text(status, "/phase");
        let rests = matches!(phase, "Initialized" | "Succeeded");
        let rejected = phase == "Failed"
            && (status["lastAppliedSpec"] != status["lastPromotedSpec"]
                || status["trackedConfigs"] != status["promotedConfigs"]);
        let stalled = is("Stalled") == "True";
        let wrong = (stalled && (is("Ready") != "False" || is("Reconciling") != "False"))
            || (TROUBLE.contains(&code) && !stalled)
            || (rests && SETTLED.contains(&code) && (stalled || is("Ready") != "True"))
            || (rejected && is("Ready") == "True");
        wrong.then(|| {
            let all = SPEAKING.map(|kind| format!("{kind}={}", is(kind)));
            broken(LAW, format!("{} is {phase} ({code}), and {all:?}", self.name))
        })
    }

    /// Judges a status at rest: what is in the way is what it says, and what was taken back is no failure any more.
    pub(crate) fn lags_behind(
        &self,
        status: &Value,
        blocked: Option<&str>,
        serves: bool,
    ) -> Option<Broken> {
        if !self.exists || !self.valid || self.suspended {
            return None;
        }
        let (code, phase) = (text(status, "/lastReason/code"), text(status, "/phase"));
        if let Some(by) = blocked.filter(|_| code != "NotOurs") {
            return Some(broken(
                LAW,
                format!("{}: {by} is in the way, and the reason is {code}", self.name),
            ));
        }
        if blocked.is_none() && code == "NotOurs" {
            let what =
                format!("{}: nothing is in the way any more, and the reason is {code}", self.name);
            return Some(broken(LAW, what));
        }
        let applied = status["lastAppliedSpec"] == status["lastPromotedSpec"]
            && status["trackedConfigs"] == status["promotedConfigs"];
        let settled = is_rest(phase) && applied && serves && SETTLED.contains(&code);
        let ready = condition(status, "Ready").map_or("", |found| text(found, "/status"));
        (settled && ready != "True").then(|| {
            broken(
                LAW,
                format!(
                    "{} runs what was promoted ({phase}, {code}), and Ready={ready}",
                    self.name
                ),
            )
        })
    }
}
