//! Webhooks: what they are sent, and what their answers mean.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use serin_core::model::{Canary, HookKind, Phase, Status, Webhook};
use serin_core::observed::Answer;

use crate::call::Call;
use crate::json::{bounded, sha256_hex};

/// Of the receiver's own words in a message.
const WORDS_MAX: usize = 200;
/// For the global event webhook, as in Flagger.
const EVENT_TIMEOUT_SECS: u32 = 10;
/// Longest wait between two attempts.
const BACKOFF_MAX_SECS: u64 = 30;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("webhook {name} cannot be called: {why}")]
pub struct HookError {
    pub name: String,
    pub why: String,
}

/// The call of one webhook of any kind but `event`.
pub fn call(canary: &Canary, hook: &Webhook, status: &Status) -> Result<Call, HookError> {
    let phase = payload_phase(hook.kind, status.phase.unwrap_or(Phase::Initializing));
    send(hook, &payload(canary, phase, status, &hook.metadata))
}

/// What a webhook is told of an Event.
#[derive(Clone, Copy, Debug)]
pub struct EventNote<'a> {
    pub message: &'a str,
    pub warning: bool,
}

/// The call of an `event` webhook. Its own metadata cannot take the place of the Event's.
pub fn event_call(
    canary: &Canary,
    hook: &Webhook,
    status: &Status,
    event: EventNote<'_>,
    now: Timestamp,
) -> Result<Call, HookError> {
    let mut metadata = hook.metadata.clone();
    let kind = if event.warning { "Warning" } else { "Normal" };
    metadata.insert("eventMessage".to_owned(), event.message.to_owned());
    metadata.insert("eventType".to_owned(), kind.to_owned());
    metadata.insert("timestamp".to_owned(), now.as_millisecond().to_string());
    let phase = status.phase.unwrap_or(Phase::Initializing);
    send(hook, &payload(canary, phase, status, &metadata))
}

/// The webhook of the operator itself, for canaries that have no `event` webhook.
pub fn global_event_hook(url: &str) -> Webhook {
    Webhook {
        name: "event-webhook".to_owned(),
        kind: HookKind::Event,
        url: url.to_owned(),
        timeout_secs: EVENT_TIMEOUT_SECS,
        retries: 0,
        disable_tls: false,
        mute_alert: true,
        metadata: BTreeMap::new(),
    }
}

/// Gates speak of where the canary stands; the hooks of an analysis always say that it is one.
fn payload_phase(kind: HookKind, current: Phase) -> Phase {
    match kind {
        HookKind::ConfirmRollout | HookKind::PostRollout | HookKind::Rollback | HookKind::Event => {
            current
        }
        HookKind::PreRollout
        | HookKind::Rollout
        | HookKind::ConfirmTrafficIncrease
        | HookKind::ConfirmPromotion => Phase::Progressing,
    }
}

fn payload(
    canary: &Canary,
    phase: Phase,
    status: &Status,
    metadata: &BTreeMap<String, String>,
) -> Value {
    let mut payload = json!({
        "name": canary.key.name,
        "namespace": canary.key.namespace,
        "phase": phase.name(),
        "checksum": checksum(status),
    });
    if !metadata.is_empty() {
        crate::json::set(&mut payload, "metadata", json!(metadata));
    }
    payload
}

/// Tells one release from another: the revision with its configs.
pub fn checksum(status: &Status) -> String {
    let configs = json!(status.tracked_configs.clone().unwrap_or_default());
    sha256_hex(&format!("{configs}\n{}", status.last_applied_spec), 5)
}

fn send(hook: &Webhook, payload: &Value) -> Result<Call, HookError> {
    let mut call = Call::post_json(&hook.url, payload, hook.timeout_secs)
        .map_err(|why| HookError { name: hook.name.clone(), why })?;
    call.insecure = hook.disable_tls;
    Ok(call)
}

/// 200, 201 and 202 approve; everything else refuses, in the receiver's own words if it has any.
pub fn outcome(response: &Response<Bytes>) -> Answer {
    let status = response.status();
    if matches!(status, StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED) {
        return Answer::Approved;
    }
    // No more than may be shown of a page that somebody's proxy has sent.
    let body = response.body().get(..WORDS_MAX * 16).unwrap_or(response.body());
    let words = String::from_utf8_lossy(body);
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = bounded(&words, WORDS_MAX);
    Answer::Refused(match words.is_empty() {
        true => format!("answered {}", status.as_u16()),
        false => format!("answered {}: {words}", status.as_u16()),
    })
}

/// Whether another attempt may help, if the hook has any left. No answer at all always may be tried again.
pub fn may_retry(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

/// Seconds to wait before attempt `attempt + 1`, the first being attempt 0; what the receiver asks for counts, within bounds.
pub fn backoff_secs(attempt: u32, response: Option<&Response<Bytes>>) -> u64 {
    let asked = response
        .filter(|response| {
            matches!(
                response.status(),
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            )
        })
        .and_then(|response| response.headers().get(http::header::RETRY_AFTER))
        .and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    let doubled = 1_u64.checked_shl(attempt).unwrap_or(BACKOFF_MAX_SECS);
    asked.unwrap_or(doubled).min(BACKOFF_MAX_SECS)
}

#[cfg(test)]
mod tests;
