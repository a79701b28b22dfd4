//! The loops of the guard clock: one for each source, only while some canary that is judged by it has traffic.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serin_providers::gateway::Wanted;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::session::News;
use super::source::{Discovery, Look, Source, SourceKey, targets};
use super::{lock, probe};
use crate::guard::Environment;

/// Evidence that is growing is looked at again after this long.
const AGAIN: Duration = Duration::from_millis(250);
/// A look that takes longer is asked about, each time.
const PATIENCE: Duration = Duration::from_secs(1);
/// Whoever comes, the sources are not asked more often.
const GAP: Duration = Duration::from_millis(100);

/// Looks until dropped; ends only when one of the loops has panicked.
pub async fn run(env: Arc<Environment>) {
    let gateways = Arc::new(gateways(&env));
    tokio::select! {
        biased;
        () = watch_all(&env, &gateways) => {}
        () = probe::run(&env, &gateways) => {}
    }
}

async fn watch_all(env: &Arc<Environment>, gateways: &Arc<Discovery>) {
    let mut came = env.guards.came.subscribe();
    let mut loops = JoinSet::new();
    let mut running = BTreeSet::new();
    loop {
        came.borrow_and_update();
        for key in env.guards.sources() {
            if running.insert(key.clone()) {
                loops.spawn(watch(Arc::clone(env), key, Arc::clone(gateways)));
            }
        }
        tokio::select! {
            biased;
            changed = came.changed() => if changed.is_err() { return },
            Some(ended) = loops.join_next() => match ended {
                Ok(key) => { running.remove(&key); }
                Err(_) => return,
            },
        }
    }
}

/// Those that the operator was told of; what is invalid was refused at the start.
fn gateways(env: &Environment) -> Discovery {
    let targets = targets(&env.gateways).unwrap_or_else(|why| {
        tracing::error!(error = %why, "no gateway is asked");
        Vec::new()
    });
    Discovery::start(&env.client, targets)
}

/// Looks at one source for as long as a canary needs it. No source waits for another.
async fn watch(env: Arc<Environment>, key: SourceKey, gateways: Arc<Discovery>) -> SourceKey {
    let guards = &env.guards;
    let mut came = guards.came.subscribe();
    let mut source = key.open(&gateways);
    loop {
        came.borrow_and_update();
        let last = Instant::now();
        let Turn { again, wait } = look(&env, &key, source.as_mut()).await;
        let Some(interval) = guards.interval(&key) else { return key };
        let pause = if again { AGAIN.min(interval) } else { interval };
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(last + pause.max(wait)) => {}
            _ = came.changed() => {}
        }
        tokio::time::sleep_until(last + GAP).await;
    }
}

/// A look takes long: whoever waits for it for too long is told.
fn hang(env: &Environment, key: &SourceKey) {
    let now = env.clock.now();
    let mut turned = false;
    for (name, session) in &env.guards.of(key) {
        let news = lock(session).hangs(now);
        turned |= news.turned;
        if news.wake {
            env.wake.wake(name);
        }
    }
    if turned {
        env.guards.turned.notify_waiters();
    }
}

/// What a look leads to.
struct Turn {
    /// Something is worth another look soon.
    again: bool,
    /// There is nothing new before this has passed.
    wait: Duration,
}

/// One look for all canaries that are judged by a source.
async fn look(env: &Environment, key: &SourceKey, source: &mut dyn Source) -> Turn {
    let mut wanted = Wanted::default();
    let asked = env.clock.now();
    for (_, session) in &env.guards.of(key) {
        let mut session = lock(session);
        session.add_to(&mut wanted);
        session.ask(asked);
    }
    let Look { pages, failure, answered: _, renamed: _, beyond, wait } = {
        let look = source.look(env, &wanted);
        tokio::pin!(look);
        loop {
            tokio::select! {
                biased;
                look = &mut look => break look,
                () = tokio::time::sleep(PATIENCE) => hang(env, key),
            }
        }
    };
    let now = env.clock.now();
    let (mut again, mut turned) = (false, false);
    // Who came in between was not asked for.
    for (name, session) in &env.guards.of(key) {
        let mut session = lock(session);
        if !wanted.has(session.canary()) {
            continue;
        }
        session.leave_out(beyond);
        let news: News = session.look(&pages, failure.as_deref(), now);
        if let Some(log_e) = session.log_evidence() {
            env.metrics.show_guard(session.canary(), log_e);
        }
        again |= news.again;
        turned |= news.turned;
        drop(session);
        if news.wake {
            env.wake.wake(name);
        }
    }
    if turned {
        env.guards.turned.notify_waiters();
    }
    Turn { again, wait }
}
