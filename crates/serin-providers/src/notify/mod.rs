//! Chats: who is told of an alert, and in which words each of them expects it.

mod findings;
mod gchat;
mod msteams;
mod slack;

use bytes::Bytes;
use http::Response;
use http::header::{AUTHORIZATION, HeaderValue};
use serde_json::Value;
use serin_core::model::{AlertProvider, Canary, ChatKind, Form, Schedule, Severity};

pub use findings::{ALERT_PROVIDER, findings, findings_in};

use crate::call::{Call, secret_text};
use crate::settings::Settings;

/// A chat that hangs must not hold up anything.
const TIMEOUT_SECS: u32 = 5;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotifyError {
    #[error("AlertProvider {provider}: {why}")]
    Provider { provider: String, why: String },
    #[error("the chat answered {0}")]
    Refused(u16),
}

/// What is said, before it takes the form of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `<canary>.<namespace>`.
    pub subject: String,
    pub text: String,
    pub severity: Severity,
    /// Name and value, in order.
    pub fields: Vec<(String, String)>,
}

/// The room and the name to speak under.
#[derive(Clone, Copy, Debug)]
pub struct Voice<'a> {
    pub channel: &'a str,
    pub username: &'a str,
}

pub trait Notifier: Send + Sync {
    fn kind(&self) -> ChatKind;
    /// Where to post, from the address that the user gave.
    fn url(&self, address: &str) -> String;
    fn payload(&self, message: &Message, voice: Voice<'_>) -> Value;
}

/// Every chat that is complete.
pub const NOTIFIERS: &[&dyn Notifier] =
    &[&slack::Slack, &slack::Discord, &slack::Rocket, &msteams::MsTeams, &gchat::GoogleChat];

pub fn notifier(kind: ChatKind) -> &'static dyn Notifier {
    match kind {
        ChatKind::Slack => &slack::Slack,
        ChatKind::Discord => &slack::Discord,
        ChatKind::Rocket => &slack::Rocket,
        ChatKind::MsTeams => &msteams::MsTeams,
        ChatKind::GoogleChat => &gchat::GoogleChat,
    }
}

/// Whether an alert of this severity passes what the canary asks for: `info` hears all, `error` only errors.
pub fn is_wanted(asked: Severity, severity: Severity) -> bool {
    severity >= asked
}

pub fn message(
    canary: &Canary,
    text: &str,
    severity: Severity,
    with_fields: bool,
    settings: &Settings,
) -> Message {
    let mut fields = Vec::new();
    let mut field = |name: &str, value: String| fields.push((name.to_owned(), value));
    let namespace = &canary.key.namespace;
    if !settings.cluster_name.is_empty() {
        field("Cluster", settings.cluster_name.clone());
    }
    if with_fields {
        let target = &canary.spec.target;
        field("Target", format!("{}/{}.{namespace}", target.kind.name(), target.name));
        field("Failed checks threshold", canary.spec.analysis.threshold.to_string());
        field("Progress deadline", format!("{}s", canary.spec.progress_deadline_secs));
        field("Traffic routing", routing(&canary.spec.analysis.schedule));
    }
    Message {
        subject: format!("{}.{namespace}", canary.key.name),
        text: text.to_owned(),
        severity,
        fields,
    }
}

fn routing(schedule: &Schedule) -> String {
    match schedule.form() {
        Form::BlueGreen => return "Blue/Green".to_owned(),
        Form::Matched => return "A/B Testing".to_owned(),
        Form::Weighted => {}
    }
    let shares: Vec<u8> = schedule.shares().map(|share| share.percent()).collect();
    let max = shares.last().copied().unwrap_or(0);
    let step = shares.first().copied().unwrap_or(0);
    let even =
        (1_u32..).zip(&shares).all(|(index, share)| u32::from(*share) == index * u32::from(step));
    if even {
        return format!("Weight step: {step} max: {max}");
    }
    let listed: Vec<String> = shares.iter().map(u8::to_string).collect();
    format!("Weight steps: {} max: {max}", listed.join(","))
}

/// `secret` is the Secret that the provider names, as the API has it: its `address` wins, its `token` is sent along.
pub fn call(
    provider: &AlertProvider,
    secret: Option<&Value>,
    message: &Message,
) -> Result<Call, NotifyError> {
    let complaint = |why: String| NotifyError::Provider { provider: provider.key.to_string(), why };
    let (address, token) = match (&provider.secret, secret) {
        (None, _) => (None, None),
        (Some(name), None) => return Err(complaint(format!("Secret {name} does not exist"))),
        (Some(name), Some(secret)) => {
            let address = secret_text(secret, "address").map_err(complaint)?;
            if address.is_none() {
                return Err(complaint(format!("Secret {name} has no key address")));
            }
            (address, secret_text(secret, "token").map_err(complaint)?)
        }
    };
    let Some(address) = address.or_else(|| provider.address.clone()) else {
        return Err(complaint("it has no address".to_owned()));
    };
    let notifier = notifier(provider.kind);
    let voice = Voice { channel: &provider.channel, username: &provider.username };
    let body = notifier.payload(message, voice);
    let mut call =
        Call::post_json(&notifier.url(&address), &body, TIMEOUT_SECS).map_err(complaint)?;
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| complaint("its token has characters that no header may have".into()))?;
        value.set_sensitive(true);
        call.request.headers_mut().insert(AUTHORIZATION, value);
    }
    call.proxy.clone_from(&provider.proxy);
    Ok(call)
}

/// Any 2xx means that it was heard.
pub fn outcome(response: &Response<Bytes>) -> Result<(), NotifyError> {
    match response.status().is_success() {
        true => Ok(()),
        false => Err(NotifyError::Refused(response.status().as_u16())),
    }
}

#[cfg(test)]
mod tests;
