//! Slack, and the two that read Slack's messages: Discord and Rocket.Chat.

use serde_json::{Value, json};
use serin_core::model::{ChatKind, Severity};

use super::{Message, Notifier, Voice};

pub(super) struct Slack;
pub(super) struct Discord;
pub(super) struct Rocket;

impl Notifier for Slack {
    fn kind(&self) -> ChatKind {
        ChatKind::Slack
    }

    fn url(&self, address: &str) -> String {
        address.to_owned()
    }

    fn payload(&self, message: &Message, voice: Voice<'_>) -> Value {
        payload(message, voice, "good", "danger")
    }
}

impl Notifier for Discord {
    fn kind(&self) -> ChatKind {
        ChatKind::Discord
    }

    /// Discord reads Slack's format at a path of its own.
    fn url(&self, address: &str) -> String {
        let (path, query) = match address.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (address, String::new()),
        };
        let path = path.trim_end_matches('/');
        match path.ends_with("/slack") {
            true => format!("{path}{query}"),
            false => format!("{path}/slack{query}"),
        }
    }

    fn payload(&self, message: &Message, voice: Voice<'_>) -> Value {
        payload(message, voice, "good", "danger")
    }
}

impl Notifier for Rocket {
    fn kind(&self) -> ChatKind {
        ChatKind::Rocket
    }

    fn url(&self, address: &str) -> String {
        address.to_owned()
    }

    fn payload(&self, message: &Message, voice: Voice<'_>) -> Value {
        payload(message, voice, "#0076D7", "#FF0000")
    }
}

fn payload(message: &Message, voice: Voice<'_>, good: &str, bad: &str) -> Value {
    let color = match message.severity {
        Severity::Info | Severity::Warn => good,
        Severity::Error => bad,
    };
    let fields: Vec<Value> = message
        .fields
        .iter()
        .map(|(title, value)| json!({"title": title, "value": value, "short": false}))
        .collect();
    json!({
        "channel": voice.channel,
        "username": voice.username,
        "icon_url": "",
        "icon_emoji": ":rocket:",
        "attachments": [{
            "color": color,
            "author_name": message.subject,
            "text": message.text,
            "mrkdwn_in": ["text"],
            "fields": fields,
        }],
    })
}
