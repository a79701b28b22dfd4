//! Calls of hooks and receivers, again where an answer is not final.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use serin_providers::call::Call;
use serin_providers::hook;

use super::{CallOptions, HttpClient, HttpError};

/// No attempt begins later than this after the first: as long as the longest attempt may take.
const RETRIES_WITHIN: Duration = Duration::from_secs(300);
/// More retries than this are not worth a release's time, whatever the spec says.
const RETRIES_MAX: u32 = 10;

/// Sends until an answer is final or the retries are used up; the last answer counts.
pub async fn send_with_retries(
    http_client: &dyn HttpClient,
    call: Call,
    retries: u32,
) -> Result<Response<Bytes>, HttpError> {
    let mut attempt = 0;
    let until = tokio::time::Instant::now() + RETRIES_WITHIN;
    loop {
        let result = http_client.send(call.request.clone(), options(&call)).await;
        let again = match &result {
            Ok(response) => hook::may_retry(response.status()),
            Err(HttpError::Timeout(_) | HttpError::Connect { .. }) => true,
            Err(
                HttpError::TooLong
                | HttpError::Unframed
                | HttpError::Setup(_)
                | HttpError::NotAllowed { .. },
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
pub fn options(call: &Call) -> CallOptions {
    CallOptions {
        timeout: Duration::from_secs(u64::from(call.timeout_secs)),
        insecure: call.insecure,
        ca: call.ca.clone(),
        proxy: call.proxy.clone(),
        trusted: call.trusted,
        framed: false,
    }
}
