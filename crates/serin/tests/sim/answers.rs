//! What gates have said and what the guard has counted, and what must follow from it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::invariants::{Broken, Moment};

/// Where a release begins.
const FROM_REST: [&str; 4] = ["Waiting", "Initialized", "Succeeded", "Failed"];

/// Of one canary.
#[derive(Default)]
pub(crate) struct Answers {
    /// The last answer of each gate, in this release.
    gates: BTreeMap<String, bool>,
    /// The analysis that the guard counts for, and the requests of both sides in it by objective.
    analysis: String,
    counted: BTreeMap<String, i64>,
}

/// One write of a status.
pub(crate) struct Change<'a> {
    pub(crate) before: &'a str,
    pub(crate) phase: &'a str,
    /// The canary gets more.
    pub(crate) rises: bool,
    pub(crate) status: &'a Value,
}

impl Answers {
    /// A gate was asked.
    pub(crate) fn said(&mut self, kind: &str, yes: bool) {
        if kind.starts_with("confirm-") {
            self.gates.insert(kind.to_owned(), yes);
        }
    }

    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Judges a write of the status.
    pub(crate) fn change(&mut self, change: &Change<'_>, moment: Moment) -> Vec<Broken> {
        let Change { before, phase, rises, status } = *change;
        let entered = before != phase;
        let mut found = Vec::new();
        let passed = match phase {
            "Progressing" if entered && FROM_REST.contains(&before) => Some("confirm-rollout"),
            "Promoting" | "Finalising" if entered && before != "Promoting" => {
                Some("confirm-promotion")
            }
            _ if rises => Some("confirm-traffic-increase"),
            _ => None,
        };
        // A fault may have kept an answer from whoever asked.
        if let Some(gate) = passed
            && moment.clear
            && self.gates.get(gate) == Some(&false)
        {
            found.push(Broken {
                law: "a gate that refuses holds",
                what: format!("{before} to {phase}, and {gate} has said no"),
            });
        }
        if entered && matches!(phase, "Initialized" | "Succeeded" | "Failed") {
            self.gates.clear();
        }
        found.extend(self.count(status));
        found
    }

    /// What the guard has counted in one analysis is never less than before: it goes on where it was.
    fn count(&mut self, status: &Value) -> Option<Broken> {
        // Whoever watches the primary after its promotion asks another question under the same name.
        let soak = status.pointer("/soak/startTime");
        let started = soak.unwrap_or(&status["analysisStartTime"]);
        let analysis = format!("{} {started}", status["lastAppliedSpec"]);
        if self.analysis != analysis {
            self.counted.clear();
            self.analysis = analysis;
        }
        // The ledger remembers earlier checks: the last of each objective is what the guard has counted by now.
        let started = started.as_str().unwrap_or_default();
        let mut last = BTreeMap::new();
        for check in status["checks"].as_array().map_or(&[][..], Vec::as_slice) {
            let text = |field: &str| check[field].as_str().unwrap_or_default();
            let of = |side: &str| check[side]["requests"].as_i64();
            let requests = of("canary").map(|requests| requests + of("primary").unwrap_or(0));
            if let Some(requests) = requests.filter(|_| text("source").starts_with("guard"))
                && text("time") >= started
            {
                let known = last.entry(text("name")).or_default();
                *known = (text("time"), requests).max(*known);
            }
        }
        let mut found = None;
        for (name, (_, requests)) in last {
            let before = self.counted.insert(name.to_owned(), requests).unwrap_or(0);
            if requests < before {
                found = Some(Broken {
                    law: "alpha is spent once",
                    what: format!("{before} requests were counted for {name}, now {requests}"),
                });
            }
        }
        found
    }
}
