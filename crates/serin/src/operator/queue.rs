//! Which canary is looked at when: at once when something wakes it, else when it is due, and never twice at the same time.
//!
//! The order is the same in every run: what kube's own queue does follows from hashes that differ each time.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serin_core::model::Key;
use tokio::time::Instant;

use crate::cache::wake::Wake;

/// Later than this is as good as never, and timers cannot count further.
const LATER: Duration = Duration::from_secs(24 * 3600);

/// When each canary is due, and which are being looked at.
#[derive(Default)]
struct Queue {
    due: BTreeMap<Key, Instant>,
    busy: BTreeSet<Key>,
}

impl Queue {
    /// The earlier of two wishes wins.
    fn put(&mut self, key: Key, at: Instant) {
        let due = self.due.entry(key).or_insert(at);
        *due = at.min(*due);
    }

    /// Those that are due and not being looked at.
    fn take(&mut self, now: Instant) -> Vec<Key> {
        let free = |(key, at): &(&Key, &Instant)| **at <= now && !self.busy.contains(*key);
        let keys: Vec<Key> = self.due.iter().filter(free).map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.due.remove(key);
            self.busy.insert(key.clone());
        }
        keys
    }

    fn next(&self) -> Option<Instant> {
        let free = self.due.iter().filter(|(key, _)| !self.busy.contains(*key));
        free.map(|(_, at)| *at).min()
    }
}

/// Calls `look` for each canary that is woken or due, until dropped. What it returns is when the canary is due again; none
/// waits until it is woken.
pub async fn work<L, F>(wake: &Wake, look: L)
where
    L: Fn(Key) -> F,
    F: Future<Output = Option<Duration>>,
{
    let mut queue = Queue::default();
    let mut looks = FuturesUnordered::new();
    loop {
        for key in queue.take(Instant::now()) {
            let looked = look(key.clone());
            looks.push(async move { (key, looked.await) });
        }
        let next = queue.next();
        tokio::select! {
            biased;
            key = wake.next() => queue.put(key, Instant::now()),
            Some((key, again)) = looks.next(), if !looks.is_empty() => {
                queue.busy.remove(&key);
                if let Some(wait) = again {
                    queue.put(key, Instant::now() + wait.min(LATER));
                }
            }
            () = async { tokio::time::sleep_until(next.unwrap_or_else(Instant::now)).await }, if next.is_some() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn key(name: &str) -> Key {
        Key::new("develop", name)
    }

    #[tokio::test(start_paused = true)]
    async fn a_canary_is_looked_at_when_due_and_when_woken_and_never_twice_at_once() {
        let wake = Wake::default();
        let began = Instant::now();
        let looked = RefCell::new(Vec::new());
        wake.wake(&key("a"));
        wake.wake(&key("b"));
        wake.wake(&key("a"));
        let look = |key: Key| {
            let (looked, wake) = (&looked, &wake);
            async move {
                looked.borrow_mut().push((key.name.clone(), began.elapsed().as_secs()));
                if key.name == "a" {
                    // Woken while it is looked at: it is its turn again afterwards.
                    wake.wake(&key);
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    return (began.elapsed().as_secs() < 5).then_some(Duration::from_secs(50));
                }
                Some(Duration::from_secs(4))
            }
        };
        drop(tokio::time::timeout(Duration::from_millis(8500), work(&wake, look)).await);
        let of = |name: &str| -> Vec<u64> {
            looked.borrow().iter().filter(|(of, _)| of == name).map(|(_, at)| *at).collect()
        };
        assert_eq!(of("a"), [0, 3, 6]);
        assert_eq!(of("b"), [0, 4, 8]);
    }
}
