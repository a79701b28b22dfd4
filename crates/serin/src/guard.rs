//! Opinions of the guard, by canary: written by the guard loop, read by ticks.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serin_core::model::Key;
use serin_core::observed::Guard;

/// The latest opinion on each canary that has traffic.
#[derive(Default)]
pub struct Guards {
    opinions: Mutex<BTreeMap<Key, Guard>>,
}

impl Guards {
    pub fn opinion(&self, key: &Key) -> Guard {
        self.opinions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
            .unwrap_or_default()
    }

    /// Says whether the opinion is a new one.
    pub fn set(&self, key: &Key, opinion: Guard) -> bool {
        let mut opinions = self.opinions.lock().unwrap_or_else(PoisonError::into_inner);
        let before = opinions.insert(key.clone(), opinion.clone());
        before != Some(opinion)
    }

    pub fn forget(&self, key: &Key) {
        self.opinions.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
