//! Answers of hooks and metrics whose decision was not written down, because another client wrote first or the API failed:
//! the tick that decides the same once more does not ask again.

use std::collections::BTreeMap;
use std::time::Duration;

use serin_core::model::Canary;
use serin_core::observed::{Answer, Check, Observed};
use tokio::time::Instant;

/// Older answers say too little of the present.
const FRESH: Duration = Duration::from_secs(10);

/// The answers to at most one decision.
#[derive(Default)]
pub(crate) struct Answers(Option<Box<Kept>>);

/// What one decision was told.
pub(crate) struct Asked {
    /// The revision of the target.
    revision: Option<String>,
    answers: BTreeMap<Check, Answer>,
    /// How far back they look.
    reach: BTreeMap<Check, i64>,
    since: Instant,
}

struct Kept {
    /// The Canary that was decided on.
    canary: Canary,
    asked: Asked,
}

impl Answers {
    /// Before a decision: the answers to the one before, if that was the same, and when these were asked for.
    pub(crate) fn give_back(&mut self, canary: &Canary, observed: &mut Observed) -> Instant {
        match self.0.take().filter(|kept| is_same(kept, canary, observed)) {
            Some(kept) => {
                let Asked { revision: _, answers, reach, since } = kept.asked;
                (observed.answers, observed.reach) = (answers, reach);
                since
            }
            None => Instant::now(),
        }
    }

    /// After a decision that was not carried out.
    pub(crate) fn keep(&mut self, canary: &Canary, asked: Asked) {
        if !asked.answers.is_empty() {
            self.0 = Some(Box::new(Kept { canary: canary.clone(), asked }));
        }
    }
}

impl Asked {
    pub(crate) fn of(observed: &Observed, since: Instant) -> Self {
        let (answers, reach) = (observed.answers.clone(), observed.reach.clone());
        Self { revision: revision(observed), answers, reach, since }
    }
}

/// Whether the same is decided on again: the same spec in the same state, about the same revision, a moment later.
fn is_same(kept: &Kept, canary: &Canary, observed: &Observed) -> bool {
    kept.asked.since.elapsed() < FRESH
        && kept.canary.uid == canary.uid
        && kept.canary.spec == canary.spec
        && kept.canary.status == canary.status
        && kept.asked.revision == revision(observed)
}

fn revision(observed: &Observed) -> Option<String> {
    observed.target.present().map(|target| target.revision.clone())
}
