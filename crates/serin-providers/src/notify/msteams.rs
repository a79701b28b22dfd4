//! Microsoft Teams: a MessageCard.

use serde_json::{Value, json};
use serin_core::model::{ChatKind, Severity};

use super::{Message, Notifier, Voice};

pub(super) struct MsTeams;

impl Notifier for MsTeams {
    fn kind(&self) -> ChatKind {
        ChatKind::MsTeams
    }

    fn url(&self, address: &str) -> String {
        address.to_owned()
    }

    /// The webhook knows its room and its name.
    fn payload(&self, message: &Message, _voice: Voice<'_>) -> Value {
        let color = match message.severity {
            Severity::Info | Severity::Warn => "0076D7",
            Severity::Error => "FF0000",
        };
        let facts: Vec<Value> = message
            .fields
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        json!({
            "@type": "MessageCard",
            "@context": "http://schema.org/extensions",
            "themeColor": color,
            "summary": message.subject,
            "sections": [{
                "activityTitle": message.text,
                "activitySubtitle": message.subject,
                "facts": facts,
            }],
        })
    }
}
