//! Which canaries are to be looked at: a set, so that ten reasons make one tick.

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;

use serin_core::model::Key;
use tokio::sync::Notify;

/// Wakes canaries; clones share the set. It holds each canary at most once, so it cannot outgrow them.
#[derive(Clone, Default)]
pub struct Wake {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    due: Mutex<BTreeSet<Key>>,
    notify: Notify,
}

impl Wake {
    pub fn wake(&self, key: &Key) {
        self.inner.due.lock().insert(key.clone());
        self.inner.notify.notify_one();
    }

    /// The next canary to look at.
    pub async fn next(&self) -> Key {
        loop {
            let notified = self.inner.notify.notified();
            if let Some(key) = self.inner.due.lock().pop_first() {
                return key;
            }
            notified.await;
        }
    }
}
