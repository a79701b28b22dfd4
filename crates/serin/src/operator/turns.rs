//! Turns: how many ticks work at once, and whose is next. Nobody keeps a turn while it waits for others.
//!
//! The next turn is that of the namespace that has the fewest, so that a crowd in one delays nobody in another.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Work takes milliseconds. A tick that takes longer waits for somebody, and whoever waits needs no turn.
const KEPT_MAX: Duration = Duration::from_secs(1);

/// The turns of all ticks; clones share them.
#[derive(Clone)]
pub struct Turns {
    state: Arc<Mutex<State>>,
}

struct State {
    free: usize,
    kept: BTreeMap<String, usize>,
    /// One entry at most for each canary.
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    namespace: String,
    call: oneshot::Sender<Kept>,
}

/// A turn that is given back when dropped.
struct Kept {
    turns: Turns,
    namespace: String,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.turns.give_back(&self.namespace);
    }
}

impl Turns {
    pub fn new(most: usize) -> Self {
        let state = State { free: most.max(1), kept: BTreeMap::new(), waiting: VecDeque::new() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The turn of one tick, not taken yet.
    pub fn of(&self, namespace: &str) -> Turn {
        Turn {
            turns: self.clone(),
            namespace: namespace.to_owned(),
            kept: Mutex::default(),
            taken: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two changes that belong together.
        self.state.lock()
    }

    async fn take(&self, namespace: &str) -> Kept {
        loop {
            let called = {
                let mut state = self.state();
                if state.free > 0 {
                    state.free -= 1;
                    *state.kept.entry(namespace.to_owned()).or_default() += 1;
                    return Kept { turns: self.clone(), namespace: namespace.to_owned() };
                }
                let (call, called) = oneshot::channel();
                state.waiting.push_back(Waiting { namespace: namespace.to_owned(), call });
                called
            };
            // Whoever calls lives as long as anybody waits.
            if let Ok(kept) = called.await {
                return kept;
            }
        }
    }

    fn give_back(&self, namespace: &str) {
        let next = {
            let mut state = self.state();
            if let Some(kept) = state.kept.get_mut(namespace) {
                *kept -= 1;
                if *kept == 0 {
                    state.kept.remove(namespace);
                }
            }
            state.waiting.retain(|waiting| !waiting.call.is_closed());
            let fewest = |waiting: &&Waiting| state.kept.get(&waiting.namespace).copied();
            let next = state.waiting.iter().min_by_key(fewest).map(|next| next.namespace.clone());
            let at = next.and_then(|next| state.waiting.iter().position(|w| w.namespace == next));
            let next = at.and_then(|at| state.waiting.remove(at));
            match &next {
                Some(next) => *state.kept.entry(next.namespace.clone()).or_default() += 1,
                None => state.free += 1,
            }
            next
        };
        if let Some(Waiting { namespace, call }) = next {
            // One that has gone meanwhile drops it, which gives it back.
            drop(call.send(Kept { turns: self.clone(), namespace }));
        }
    }
}

/// The turn of one tick.
pub struct Turn {
    turns: Turns,
    namespace: String,
    kept: Mutex<Option<(Kept, Instant)>>,
    taken: Notify,
}

impl Turn {
    /// Waits for it.
    pub async fn take(&self) {
        let kept = self.turns.take(&self.namespace).await;
        self.put(Some((kept, Instant::now())));
        self.taken.notify_one();
    }

    /// Before it waits for others.
    pub fn give_back(&self) {
        self.put(None);
    }

    fn put(&self, kept: Option<(Kept, Instant)>) {
        let before = std::mem::replace(&mut *self.kept.lock(), kept);
        drop(before);
    }

    /// Does the work, and gives the turn back when that takes too long.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let done = loop {
            let since = self.kept.lock().as_ref().map(|k| k.1);
            tokio::select! {
                biased;
                done = &mut work => break done,
                () = self.taken.notified() => {}
                () = async { tokio::time::sleep_until(since.unwrap_or_else(Instant::now) + KEPT_MAX).await },
                    if since.is_some() => self.give_back(),
            }
        };
        self.put(None);
        done
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_namespace_with_the_fewest_turns_is_next() {
        let turns = Turns::new(2);
        let order = Rc::new(RefCell::new(Vec::new()));
        let local = tokio::task::LocalSet::new();
        let (first, second) = (turns.of("crowd"), turns.of("crowd"));
        first.take().await;
        second.take().await;
        for (number, namespace) in ["crowd", "crowd", "quiet", "crowd"].into_iter().enumerate() {
            let (turn, order) = (turns.of(namespace), Rc::clone(&order));
            local.spawn_local(async move {
                turn.take().await;
                order.borrow_mut().push((number, namespace));
                turn.give_back();
            });
        }
        local.run_until(tokio::task::yield_now()).await;
        drop(first);
        local.run_until(tokio::time::sleep(Duration::from_millis(1))).await;
        assert_eq!(order.borrow()[0], (2, "quiet"));
        local.await;
        assert_eq!(order.borrow().len(), 4);
        drop(second);
        assert_eq!(turns.state().free, 2);
        assert!(turns.state().kept.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_others_keeps_no_turn() {
        let turns = Turns::new(1);
        let (slow, other) = (turns.of("a"), turns.of("a"));
        slow.take().await;
        let began = Instant::now();
        let waits = slow.during(std::future::pending::<()>());
        tokio::select! {
            () = waits => {}
            () = other.take() => {}
        }
        assert_eq!(began.elapsed(), KEPT_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_waits_no_longer_is_passed_over() {
        let turns = Turns::new(1);
        let (first, gone, last) = (turns.of("a"), turns.of("b"), turns.of("a"));
        first.take().await;
        assert!(tokio::time::timeout(Duration::from_secs(1), gone.take()).await.is_err());
        let waits = tokio::time::timeout(Duration::from_secs(5), last.take());
        let (taken, ()) = tokio::join!(waits, async { first.give_back() });
        assert!(taken.is_ok());
    }
}
