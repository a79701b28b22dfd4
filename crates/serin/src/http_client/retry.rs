//! Calls of hooks and receivers, again where an answer is not final.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use serin_providers::call::Call;
use serin_providers::hook;

use super::{Manner, Outside, OutsideError};

/// No attempt begins later than this after the first: as long as the longest attempt may take.
const RETRIES_WITHIN: Duration = Duration::from_secs(300);
/// More retries than this are not worth a release's time, whatever the spec says.
const RETRIES_MAX: u32 = 10;

/// Sends until an answer is final or the retries are used up; the last answer counts.
pub async fn send_with_retries(
    outside: &dyn Outside,
    call: Call,
    retries: u32,
) -> Result<Response<Bytes>, OutsideError> {
    let mut attempt = 0;
    let until = tokio::time::Instant::now() + RETRIES_WITHIN;
    loop {
        let result = outside.send(call.request.clone(), manner(&call)).await;
        let again = match &result {
            Ok(response) => hook::may_retry(response.status()),
            Err(OutsideError::Timeout(_) | OutsideError::Connect { .. }) => true,
            Err(
                OutsideError::TooLong
                | OutsideError::Unframed
                | OutsideError::Setup(_)
                | OutsideError::NotAllowed { .. },
            ) => false,
        };
        let wait = Duration::from_secs(hook::backoff_secs(attempt, result.as_ref().ok()));
        let late = tokio::time::Instant::now() + wait > until;
        if !again || late || attempt >= retries.min(RETRIES_MAX) {
            return result;
        }
        tokio::time::sleep(wait).await;
        attempt += 1;
    }
}

/// How this call is made.
pub fn manner(call: &Call) -> Manner {
    Manner {
        timeout: Duration::from_secs(u64::from(call.timeout_secs)),
        insecure: call.insecure,
        ca: call.ca.clone(),
        proxy: call.proxy.clone(),
        trusted: call.trusted,
        framed: false,
    }
}
