//! Answers of hooks and metrics whose decision was not written down, because somebody else wrote first or the API failed:
//! the tick that decides the same once more does not ask again.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::time::Duration;

use serin_core::model::{Canary, Key};
use serin_core::observed::{Answer, Check, Observed};
use tokio::time::Instant;

/// Older answers say too little of the present.
const FRESH: Duration = Duration::from_secs(10);

/// By canary; at most one decision of each is kept.
#[derive(Default)]
pub(crate) struct Unused(Mutex<BTreeMap<Key, Kept>>);

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

impl Unused {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Key, Kept>> {
        self.0.lock()
    }

    /// Before a decision: the answers to the one before, if that was the same, and when these were asked for.
    pub(crate) fn give_back(&self, canary: &Canary, observed: &mut Observed) -> Instant {
        let mut all = self.all();
        match all.remove(&canary.key).filter(|kept| is_same(kept, canary, observed)) {
            Some(kept) => {
                let Asked { revision: _, answers, reach, since } = kept.asked;
                (observed.answers, observed.reach) = (answers, reach);
                since
            }
            None => Instant::now(),
        }
    }

    /// After a decision that was not carried out.
    pub(crate) fn keep(&self, canary: &Canary, asked: Asked) {
        if !asked.answers.is_empty() {
            self.all().insert(canary.key.clone(), Kept { canary: canary.clone(), asked });
        }
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.all().remove(key);
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
