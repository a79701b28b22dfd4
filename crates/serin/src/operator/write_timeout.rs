//! How long a write may take: a connection that is half open tells nobody, and must not hold a canary for minutes.

use std::future::Future;
use std::time::Duration;

use serin_core::model::Key;

use crate::operator::context::Context;

/// As long as the slowest admission webhook may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Law 1: what was begun before the guard condemned the canary gets no more than this of the rollback's time.
const CONDEMNED_TIMEOUT: Duration = Duration::from_secs(5);

/// What comes of the write, or that nothing has come of it. It may still be carried out, as every write that fails may.
pub(super) async fn bounded<T>(
    context: &Context,
    key: &Key,
    write: impl Future<Output = T>,
) -> kube::Result<T> {
    let condemned = context.guards.is_condemned(key);
    let cut_short = async {
        context.guards.condemned(key).await;
        tokio::time::sleep(CONDEMNED_TIMEOUT).await;
    };
    tokio::select! {
        biased;
        result = write => Ok(result),
        () = tokio::time::sleep(WRITE_TIMEOUT) => Err(late(WRITE_TIMEOUT)),
        () = cut_short, if !condemned => Err(late(CONDEMNED_TIMEOUT)),
    }
}

fn late(after: Duration) -> kube::Error {
    kube::Error::Service(format!("no answer within {after:?}").into())
}
