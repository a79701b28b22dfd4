//! Following some kinds of the store: called at once for the first change, then no more often than a few times a second.

use std::time::Duration;

use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::Store;

/// A rollout writes in bursts; looking once per burst is enough.
const PAUSE: Duration = Duration::from_millis(20);

/// Calls `look` now and after every change of these kinds, until dropped.
pub(super) async fn follow(store: Store, kinds: &[ResourceId], mut look: impl FnMut(&Store)) {
    let mut changed = store.changed();
    // Read before looking: what comes in between is looked at again, never missed.
    let mut seen = *changed.borrow_and_update();
    look(&store);
    while changed.changed().await.is_ok() {
        let version = *changed.borrow_and_update();
        if touched(&store, kinds, seen) {
            seen = version;
            look(&store);
            tokio::time::sleep(PAUSE).await;
        } else {
            seen = version;
        }
    }
}

fn touched(store: &Store, kinds: &[ResourceId], since: u64) -> bool {
    kinds.iter().any(|kind| match store.changes_since(kind, since) {
        Ok((changes, _)) => !changes.is_empty(),
        // Too long ago to tell, or the kind itself is gone.
        Err(_) => true,
    })
}
