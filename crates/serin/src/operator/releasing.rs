//! Which canaries are being released, and whether any is: the lease is held on other terms then.

use parking_lot::Mutex;
use std::collections::BTreeSet;

use serin_core::model::{Canary, Key};
use tokio::sync::watch;

pub(crate) struct Releasing {
    keys: Mutex<BTreeSet<Key>>,
    any: watch::Sender<bool>,
}

impl Default for Releasing {
    fn default() -> Self {
        Self { keys: Mutex::default(), any: watch::Sender::new(false) }
    }
}

impl Releasing {
    /// Whether any canary is being released, now and from now on.
    pub(crate) fn any(&self) -> watch::Receiver<bool> {
        self.any.subscribe()
    }

    /// What the status says by now.
    pub(crate) fn note(&self, canary: &Canary) {
        let releases = canary.status.phase.is_some_and(|phase| phase.is_releasing());
        let soaks = canary.status.soak.is_some();
        self.change(|keys| {
            if releases || soaks {
                keys.insert(canary.key.clone());
            } else {
                keys.remove(&canary.key);
            }
        });
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.change(|keys| {
            keys.remove(key);
        });
    }

    pub(crate) fn clear(&self) {
        self.change(BTreeSet::clear);
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<Key>)) {
        let mut keys = self.keys.lock();
        change(&mut keys);
        let any = !keys.is_empty();
        self.any.send_if_modified(|was| std::mem::replace(was, any) != any);
    }
}
